//! With what an agent begins: its file; where that is no good, the last topology that it ran by; where there is none
//! either, nothing but a door for its programs, until the file is mended.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf, absolute};
use std::time::SystemTime;

use hobnail_core::assign::{Assignment, Door, DoorKind, Role, assign};
use hobnail_core::ids::Name;
use hobnail_core::node::Common;
use hobnail_core::rights::Rights;
use hobnail_core::topology::Topology;
use hobnail_core::topology::model::{Failover, Heartbeat, Limits, Store, WhenFull};
use tracing::{error, warn};

use super::outcome::Outcome;
use super::{Files, Held, Read, Unread};
use crate::control::Origin;
use crate::history::History;
use crate::running::Wanted;
use crate::state_dir;
use crate::texts::Texts;
use crate::topology_files::Disk;
use crate::whoami::whoami;

/// Where programs find the door of a machine that has no topology.
const PROGRAMS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1883);
/// The name of the network that nobody has named yet.
const NOWHERE: &str = "unknown";

/// What an agent begins with.
pub struct Boot {
    pub wanted: Wanted,
    /// `None` in safe mode.
    pub topology: Option<Topology>,
    /// Of the files as they are now, for whoever watches them.
    pub texts: Texts,
    /// What is in force.
    pub held: Held,
    pub origin: Origin,
    /// Why it is not the file.
    pub pending: Option<Outcome>,
}

/// Whether somebody is there to read what is wrong, and to start the agent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starter {
    /// A service manager: the agent lives on, and watches the file.
    Manager,
    /// A person, or a script: it ends.
    Person,
}

impl Boot {
    /// The best that there is; an error where it is nothing, and somebody is there to be told.
    pub fn find(files: &Files, state: Option<&Path>, starter: Starter) -> Result<Self, Outcome> {
        let (outcome, texts) = match files.read() {
            Ok(Read { texts, topology, assignment: Some(assignment), .. }) => {
                let wanted = Wanted { assignment, common: Common::of(&topology), provisional: false };
                let held = Held { texts: texts.clone(), on_disk: texts.clone(), unsaved: Vec::new() };
                return Ok(Self { wanted, topology: Some(topology), texts, held, origin: Origin::File, pending: None });
            }
            Ok(Read { texts, topology, me, assignment: None, .. }) => (no_place(&topology, &me), texts),
            Err(Unread { texts, outcome }) => (outcome, texts),
        };
        if let Some((wanted, topology, in_force)) = last_good(files, state) {
            let held = Held { texts: in_force, ..Held::default() };
            error!(why = outcome.error, "the topology is no good: the last good one is in force");
            let (topology, pending) = (Some(topology), Some(outcome));
            return Ok(Self { wanted, topology, texts, held, origin: Origin::LastGood, pending });
        }
        if starter == Starter::Person {
            return Err(outcome);
        }
        error!(why = outcome.error, "the topology is no good, and there is no earlier one: only programs are served");
        let wanted = Wanted { assignment: nothing(files), common: Common::default(), provisional: true };
        let held = Held::default();
        Ok(Self { wanted, topology: None, texts, held, origin: Origin::Nothing, pending: Some(outcome) })
    }
}

fn no_place(topology: &Topology, me: &Name) -> Outcome {
    let error = assign(topology, me).err().map(|error| error.to_string()).unwrap_or_default();
    let known: Vec<&str> = topology.machines.keys().map(|name| name.as_str()).collect();
    Outcome::bad(format!("{error}; say which machine this is with --name: {}", known.join(", ")), String::new())
}

/// The newest topology that an agent of this computer ran by which had this file.
fn last_good(files: &Files, state: Option<&Path>) -> Option<(Wanted, Topology, Texts)> {
    let root = state_dir::root(state);
    let named = files.name.clone().or_else(|| std::env::var("HOBNAIL_NAME").ok()).filter(|name| !name.is_empty());
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for network in subfolders(&root) {
        for machine in subfolders(&network) {
            let folder = machine.join("topologies");
            let called = machine.file_name().and_then(|name| name.to_str());
            if named.as_deref().is_none_or(|named| called == Some(named))
                && let Ok(changed) = fs::metadata(&folder).and_then(|facts| facts.modified())
            {
                found.push((changed, machine));
            }
        }
    }
    found.sort();
    found.into_iter().rev().find_map(|(_, machine)| from(&machine, files))
}

fn from(machine: &Path, files: &Files) -> Option<(Wanted, Topology, Texts)> {
    let me = Name::new(machine.file_name()?.to_str()?).ok()?;
    let entry = History::at(machine.join("topologies")).newest()?;
    if absolute(entry.texts.name()).ok()? != absolute(&files.topology).ok()? {
        return None;
    }
    let loaded = entry.texts.load(&mut Disk::new(files.keys.as_deref(), Some(me.as_str())));
    let Some(topology) = loaded.topology else {
        warn!(file = entry.texts.name(), "an earlier topology is no good any more");
        return None;
    };
    let assignment = assign(&topology, &me).ok()?;
    Some((Wanted { assignment, common: Common::of(&topology), provisional: false }, topology, entry.texts))
}

/// In no order that means anything.
fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// A machine that knows nothing but that programs are there.
fn nothing(files: &Files) -> Assignment {
    let nowhere = || Name::new(NOWHERE).expect("a legal name");
    Assignment {
        me: whoami(files.name.as_deref()).unwrap_or_else(|_| nowhere()),
        network: nowhere(),
        role: Role::Client,
        doors: BTreeMap::from([(DoorKind::Programs, Door::Tcp(PROGRAMS))]),
        origins: hobnail_core::topology::origin::Origins::default(),
        links: BTreeMap::new(),
        homes: Vec::new(),
        rights: Rights::default(),
        peers: BTreeMap::new(),
        devices: BTreeMap::new(),
        keys: None,
        topics: Vec::new(),
        heartbeat: Heartbeat::default(),
        failover: Failover::default(),
        store: Store { max_bytes: None, when_full: WhenFull::default() },
        limits: Limits::default(),
    }
}
