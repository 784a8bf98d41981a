//! Three machines that run by one topology, edited on all of them, with a connection of every sort.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use hobnail::topology_files::load_from_disk;
use hobnail_core::assign::{Assignment, Door, DoorKind, assign};
use hobnail_core::ids::Name;
use serde_json::Value;

use super::kinds::Places;
use super::standing::{Held, Place, links};
use crate::dial::{CONNACK, certify, connect_as, dial, expect, frame, tls_trusting, websocket, with_a_device};
use crate::machine::{Machine, Style};

/// How long anything may take before a test gives up on it.
const LIMIT: Duration = Duration::from_secs(20);
/// How long what nobody named is given to drop all the same.
const LATE: Duration = Duration::from_millis(300);
/// Links that stay as they are for so long have come to rest.
const REST: Duration = Duration::from_millis(250);

/// The key that links are proved with, until the one edit that takes it away.
const PROVED_BY: &str = "k1";
const NAMES: [&str; 3] = ["hub", "spare", "press"];

pub struct Network {
    machines: Vec<Machine>,
    keys: tempfile::TempDir,
    ports: [u16; 9],
    programs: BTreeMap<Place, Held>,
    links: BTreeMap<Place, u64>,
}

impl Network {
    /// Nothing where no tool can make a certificate.
    pub fn start(places: &Places, keys: tempfile::TempDir) -> Option<Self> {
        with_a_device(keys.path(), "")?;
        for (made, other) in [("door.crt", "other.crt"), ("door.key", "other.key"), ("plc.pw", "other.pw")] {
            fs::copy(keys.path().join(made), keys.path().join(other)).unwrap();
        }
        certify(keys.path())?;
        for key in ["k1", "k2"] {
            let made = Command::new(env!("CARGO_BIN_EXE_hobnail"))
                .args(["key", "new", key, "--keys"])
                .arg(keys.path())
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        let text = places.topology(&[]);
        let start = |name: &&str| {
            let machine = Machine::start_with(&text, name, |command| {
                command.arg("--keys").arg(keys.path());
            });
            fs::write(machine.file.with_file_name("more.yaml"), "topics: [{ match: \"y/#\", max_age: 1d }]\n").unwrap();
            machine
        };
        let machines = NAMES.iter().map(start).collect();
        let (programs, links) = Default::default();
        let mut network = Self { machines, keys, ports: places.ports, programs, links };
        network.fill();
        Some(network)
    }

    pub fn standing(&self) -> BTreeSet<Place> {
        self.programs.keys().chain(self.links.keys()).copied().collect()
    }

    /// Of these, whose connections `hobnail plan` says that this edit ends.
    pub fn planned(&self, text: &str, places: &BTreeSet<Place>) -> BTreeSet<Place> {
        let machine = &self.machines[0];
        let wanted = machine.file.with_file_name("wanted.yaml");
        fs::write(&wanted, text).unwrap();
        let output = machine.tool(&["plan", machine.file.to_str().unwrap(), wanted.to_str().unwrap(), "--json"]);
        let plans: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            panic!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        });
        let plans = plans.as_array().unwrap().iter();
        plans.flat_map(|plan| dropped_by(plan["machine"].as_str().unwrap(), &plan["steps"], places)).collect()
    }

    /// Write this topology on every machine, and have it in force. A machine that is not in it waits.
    pub fn edit(&self, text: &str) {
        for machine in &self.machines {
            machine.write(text, Style::Rename);
        }
        for (machine, name) in self.machines.iter().zip(NAMES) {
            let (code, outcome) = machine.reload(&[]);
            match assignment(machine, name) {
                Some(_) => assert_eq!(code, Some(0), "{name}: {outcome:#}"),
                None => assert_eq!(outcome["verdict"], "doubted", "{name}: {outcome:#}"),
            }
        }
    }

    /// What stood and stands no more, once all of `planned` is gone and what else may go has had its time.
    pub fn dropped(&mut self, planned: &BTreeSet<Place>) -> BTreeSet<Place> {
        let end = Instant::now() + LIMIT;
        let is_gone = |links: &BTreeMap<Place, BTreeSet<u64>>, place: &Place, socket: &u64| {
            links.get(place).is_none_or(|sockets| !sockets.contains(socket))
        };
        let all_gone = |links: BTreeMap<Place, BTreeSet<u64>>| {
            self.links.iter().all(|(place, socket)| !planned.contains(place) || is_gone(&links, place, socket))
        };
        while !all_gone(self.all_links()) && Instant::now() < end {
            sleep(Duration::from_millis(10));
        }
        sleep(LATE);
        let now = self.all_links();
        let mut gone: BTreeSet<Place> =
            self.links.iter().filter(|(place, socket)| is_gone(&now, place, socket)).map(|(place, _)| *place).collect();
        gone.extend(self.programs.iter_mut().filter_map(|(place, held)| (!held.is_served()).then_some(*place)));
        gone
    }

    /// Dial anew what is to stand and does not.
    pub fn refill(&mut self, gone: &BTreeSet<Place>) {
        self.programs.retain(|place, _| !gone.contains(place));
        self.fill();
    }

    fn fill(&mut self) {
        self.links = self.links_at_rest();
        for (machine, name) in self.machines.iter().zip(NAMES) {
            let Some(assignment) = assignment(machine, name) else { continue };
            for (kind, door) in &assignment.doors {
                let Some(word) = word(*kind) else { continue };
                if *kind != DoorKind::Devices || !assignment.devices.is_empty() {
                    self.programs.entry(Place::Door(name, word)).or_insert_with(|| {
                        let usual = machine.agent.programs();
                        enter(*kind, door, usual, self.keys.path())
                    });
                }
            }
        }
    }

    fn all_links(&self) -> BTreeMap<Place, BTreeSet<u64>> {
        let [.., hub, spare, press, _, _, hub_later] = self.ports;
        let doors = [(hub, "hub"), (spare, "spare"), (press, "press"), (hub_later, "hub")];
        let processes: Vec<(&str, u32)> =
            NAMES.into_iter().zip(&self.machines).map(|(name, machine)| (name, machine.agent.pid())).collect();
        links(&processes, &doors.into())
    }

    /// Of the machines that are in the topology, once there is one way between each two that are to have one.
    fn links_at_rest(&self) -> BTreeMap<Place, u64> {
        let assignments: BTreeMap<&str, Assignment> = NAMES
            .into_iter()
            .zip(&self.machines)
            .filter_map(|(name, machine)| Some((name, assignment(machine, name)?)))
            .collect();
        let is_wanted = |from: &str, to: &str| {
            assignments.contains_key(to)
                && assignments.get(from).is_some_and(|from| from.links.keys().any(|name| name.as_str() == to))
        };
        let pairs = [("hub", "spare"), ("hub", "press"), ("spare", "press")];
        let end = Instant::now() + LIMIT;
        let (mut before, mut since) = (BTreeMap::new(), Instant::now());
        loop {
            let mut now = self.all_links();
            now.retain(|place, _| matches!(place, Place::Link(from, to) if is_wanted(from, to)));
            let are_joined = |(one, two): &(&'static str, &'static str)| {
                let ways = [Place::Link(one, two), Place::Link(two, one)];
                let is_any = is_wanted(one, two) || is_wanted(two, one);
                ways.iter().filter_map(|way| now.get(way)).map(BTreeSet::len).sum::<usize>() == usize::from(is_any)
            };
            let are_complete = pairs.iter().all(are_joined);
            if now != before {
                (before, since) = (now, Instant::now());
            } else if are_complete && since.elapsed() >= REST {
                let one = |(place, sockets): (Place, BTreeSet<u64>)| Some((place, sockets.first().copied()?));
                return now.into_iter().filter_map(one).collect();
            }
            assert!(Instant::now() < end, "the links come to no rest: {before:?}");
            sleep(Duration::from_millis(10));
        }
    }

    /// What the agent of the hub would say to this edit.
    pub fn verdict(&self, text: &str) -> Value {
        self.machines[0].write(text, Style::Rename);
        self.machines[0].reload(&[]).1
    }
}

/// The places that one machine's plan names.
fn dropped_by(me: &str, steps: &Value, places: &BTreeSet<Place>) -> BTreeSet<Place> {
    let is_named = |place: &Place, drops: &Value| match (*place, drops) {
        (Place::Door(machine, kind), Value::Object(of)) => {
            let is_plc = kind == "devices" && of.get("device").is_some_and(|name| name == "plc");
            machine == me && (of.get("door").is_some_and(|door| door == kind) || is_plc)
        }
        (Place::Link(from, to), Value::Object(of)) => {
            let other = if from == me { to } else { from };
            let is_the_other = |what: &str| of.get(what).is_some_and(|name| name == other);
            let is_retired = of.get("links-proved-by").is_some_and(|keys| keys[0] == PROVED_BY);
            (from == me || to == me)
                && (is_the_other("link")
                    || is_the_other("peer")
                    || from == me && is_the_other("link-dialled-here")
                    || is_retired)
        }
        (Place::Link(from, to), drops) => drops == "all-machines" && (from == me || to == me),
        (Place::Door(..), _) => false,
    };
    let steps = steps.as_array().unwrap();
    let is_dropped = |place: &&Place| steps.iter().any(|step| is_named(place, &step["drops"]));
    places.iter().filter(is_dropped).copied().collect()
}

/// What `name` is to do by the file on `machine`; nothing where it is not in there.
fn assignment(machine: &Machine, name: &str) -> Option<Assignment> {
    let topology = load_from_disk(&machine.file, None).topology.expect("a good one");
    assign(&topology, &Name::new(name).unwrap()).ok()
}

/// As `hobnail plan` writes it; nothing for the door of the agents.
fn word(kind: DoorKind) -> Option<&'static str> {
    match kind {
        DoorKind::Programs => Some("programs"),
        DoorKind::WebSocket => Some("web-socket"),
        DoorKind::Unix => Some("unix"),
        DoorKind::Devices => Some("devices"),
        DoorKind::Agents => None,
    }
}

/// A program that has come in by this door; where the system chose the place, it is `usual`.
fn enter(kind: DoorKind, door: &Door, usual: SocketAddr, keys: &Path) -> Held {
    let connect = match kind {
        DoorKind::Devices => connect_as("plc", "sesame"),
        DoorKind::Programs => b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01p".to_vec(),
        DoorKind::WebSocket => b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01w".to_vec(),
        DoorKind::Unix | DoorKind::Agents => b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01u".to_vec(),
    };
    let plain = |wire| Held { wire, ping: b"\xc0\0".to_vec(), pong: b"\xd0\0".to_vec() };
    let mut held = match door {
        Door::Tcp(address) if kind == DoorKind::WebSocket => {
            Held { wire: Box::new(websocket(*address)), ping: frame(b"\xc0\0"), pong: b"\x82\x02\xd0\0".to_vec() }
        }
        Door::Tcp(address) => plain(Box::new(dial(if address.port() == 0 { usual } else { *address }))),
        Door::Tls { listen, .. } => {
            let known = ["door.crt", "other.crt"].map(|file| crate::dial::certificate_in(&keys.join(file)));
            plain(Box::new(tls_trusting(*listen, &known.each_ref())))
        }
        Door::Unix(path) => {
            let stream = UnixStream::connect(&**path).expect("the door is open");
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            plain(Box::new(stream))
        }
        Door::Agents(_) => unreachable!("no program comes in there"),
    };
    if kind == DoorKind::WebSocket {
        held.wire.write_all(&frame(&connect)).unwrap();
        expect(&mut held.wire, &[&[0x82, 4], CONNACK].concat());
    } else {
        held.wire.write_all(&connect).unwrap();
        expect(&mut held.wire, CONNACK);
    }
    assert!(held.is_served());
    held
}
