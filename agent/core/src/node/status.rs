//! What the node can say of itself and of the network.

use std::collections::BTreeSet;

use serde::Serialize;

use super::facts::{Kind, StatusFact};
use super::link::{Attached, Phase};
use super::{Node, STATUS_REPEAT, Settings};
use crate::home::State;
use crate::ids::Name;
use crate::time::Now;

/// A machine that has told nothing of itself for so long is late.
const OVERDUE: std::time::Duration = STATUS_REPEAT.saturating_mul(3);

/// What happened since the start. Whatever is dropped or refused is counted here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Publishes that went into a stream.
    pub offered: u64,
    /// Publishes that nobody elsewhere wanted.
    pub unwanted: u64,
    /// Publishes that could not be sealed.
    pub unsealed: u64,
    pub refused_full: u64,
    /// Messages that a limit dropped before everybody had them.
    pub dropped_full: u64,
    /// Messages that were on the disk, and could not be read back.
    pub unreadable: u64,
    pub expired: u64,
    /// Messages that are longer than the topology lets any machine take by now.
    pub too_long: u64,
    pub records_sent: u64,
    /// Retained messages sent besides, to machines that come anew.
    pub retained_sent: u64,
    pub delivered: u64,
    /// Envelopes whose key is not here.
    pub unknown_key: u64,
    /// Of these, those that no room was left to keep until it comes.
    pub parked_dropped: u64,
    /// Envelopes of which only the relay's half of the key is here.
    pub unopened: u64,
    pub forged: u64,
    pub malformed: u64,
    /// Records to topics that their sender has no right to.
    pub refused_rights: u64,
    pub frames_unknown: u64,
    /// Pages of a topology that a busy link had no room for.
    pub pages_dropped: u64,
    pub frames_refused: u64,
    pub link_faults: u64,
    pub links_silent: u64,
    pub links_unread: u64,
    /// Machines that called while another one of the same name still spoke.
    pub twins: u64,
    pub versions_refused: u64,
    pub gaps: u64,
    pub doubted: u64,
    /// Messages and skips of streams for which there was no place.
    pub streams_refused: u64,
    /// Streams that gave way to others.
    pub streams_forgotten: u64,
    pub retained_refused: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    pub me: Name,
    pub network: Name,
    pub broker: bool,
    pub home: Option<Name>,
    pub home_since_s: u64,
    pub home_changes: u64,
    pub promoted: Option<Name>,
    pub fingerprint: Box<str>,
    pub in_step: bool,
    pub uptime_s: u64,
    pub queue: usize,
    /// What is kept for other machines.
    pub bytes: u64,
    /// What of that is in memory.
    pub memory_bytes: u64,
    pub streams: usize,
    pub retained: usize,
    pub links: Vec<LinkView>,
    pub machines: Vec<MachineView>,
    /// The last name that two machines spoke under.
    pub twin: Option<Name>,
    pub counters: Counters,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkView {
    pub peer: Name,
    pub broker: bool,
    pub state: &'static str,
    pub since_s: u64,
    pub rtt_us: Option<u64>,
    pub in_step: bool,
    pub version: Box<str>,
    /// It calls us home, or we it.
    pub attached: bool,
    pub in_flight_bytes: u64,
}

/// How a machine stands with the network, as far as it can be seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Online,
    /// Its link is suspect, or it has not told of itself for long though it is linked.
    Late,
    /// It was stopped, and said so.
    Left,
    Offline,
}

/// One machine, as `$hobnail/nodes/NAME` and the status say it. Fields are added, never changed in meaning.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MachineView {
    pub name: Name,
    pub state: Standing,
    pub role: &'static str,
    /// `None` on a broker, and where it has none.
    pub home: Option<Box<str>>,
    /// When it came to that state: milliseconds since 1970, by this machine's clock; `None` while that is not set.
    pub since_ms: Option<u64>,
    pub boot: Option<String>,
    /// While it is there.
    pub uptime_s: Option<u64>,
    pub version: Option<Box<str>>,
    /// To there and back, where there is a link to it.
    pub round_trip_ms: Option<f64>,
    /// Messages that are not yet where they have to be.
    pub queue: Option<u64>,
    /// The fingerprint of what it runs.
    pub topology: Option<Box<str>>,
    /// For how long it has; while it is there.
    pub topology_s: Option<u64>,
}

impl Node {
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        Status {
            me: self.settings.me.clone(),
            network: self.settings.network.clone(),
            broker: self.settings.is_broker(),
            home: self.home.home().cloned(),
            home_since_s: now.since(self.home.home_since()).as_secs(),
            home_changes: self.home.changes(),
            promoted: self.home.promoted().cloned(),
            fingerprint: self.settings.common.fingerprint.clone(),
            in_step: self.in_step,
            uptime_s: now.since(self.started).as_secs(),
            queue: self.outbox.unsettled(),
            bytes: self.weight.bytes + self.retained.bytes(),
            memory_bytes: self.weight.memory + self.retained.bytes(),
            streams: self.copies.len(),
            retained: self.retained.len(),
            links: self.link_views(now),
            machines: self.machine_views(now),
            twin: self.presence.twin.clone(),
            counters: self.counters.clone(),
        }
    }

    /// Whether these are the settings of the same machine in the same network.
    #[must_use]
    pub fn is_of(&self, settings: &Settings) -> bool {
        self.settings.me == settings.me && self.settings.network == settings.network
    }

    #[must_use]
    pub fn is_broker(&self) -> bool {
        self.settings.is_broker()
    }

    /// Whom this machine sends what others want, and where it comes from.
    #[must_use]
    pub fn home(&self) -> Option<&Name> {
        self.home.home()
    }

    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn link_views(&self, now: Now) -> Vec<LinkView> {
        let brokers = self.home.views().map(|view| {
            let link = self.by_peer.get(view.name).and_then(|id| self.links.get(id));
            LinkView {
                peer: view.name.clone(),
                broker: true,
                state: word(view.state),
                since_s: now.since(view.since).as_secs(),
                rtt_us: link.and_then(|link| link.rtt_us),
                in_step: view.in_step,
                version: link.map(|link| link.agent.clone()).unwrap_or_default(),
                attached: self.home.home() == Some(view.name),
                in_flight_bytes: link.map_or(0, |link| link.in_flight),
            }
        });
        let clients = self.links.values().filter(|link| !link.is_broker && link.phase == Phase::Open);
        let clients = clients.map(|link| LinkView {
            peer: link.peer.clone(),
            broker: false,
            state: "up",
            since_s: now.since(link.since).as_secs(),
            rtt_us: link.rtt_us,
            in_step: true,
            version: link.agent.clone(),
            attached: link.attached == Attached::Yes,
            in_flight_bytes: link.in_flight,
        });
        brokers.chain(clients).collect()
    }

    /// How the machine stands, seen from here.
    #[must_use]
    pub fn standing(&self, name: &Name, now: Now) -> Standing {
        let said = self.facts.get(name, Kind::Status);
        let fact: Option<StatusFact> = said.and_then(|said| serde_json::from_slice(&said.body).ok());
        self.standing_in(&self.seen(), name, fact.as_ref().zip(said.map(|said| said.heard)), now)
    }

    /// A machine is here if it is linked to us, or to a broker that is here.
    pub(super) fn standing_in(
        &self,
        seen: &BTreeSet<&str>,
        name: &Name,
        said: Option<(&StatusFact, Now)>,
        now: Now,
    ) -> Standing {
        if let Some(view) = self.home.state(name) {
            match view.state {
                State::Up => return Standing::Online,
                State::Suspect => return Standing::Late,
                State::Down | State::Dialing => {}
            }
        }
        let linked = self.by_peer.get(name).and_then(|id| self.links.get(id));
        if *name == self.settings.me || linked.is_some_and(|link| link.attached == Attached::Yes) {
            return Standing::Online;
        }
        let overdue = said.is_some_and(|(_, heard)| now.since(heard) > OVERDUE);
        match (seen.contains(name.as_str()), said) {
            (true, _) if overdue => Standing::Late,
            (true, _) => Standing::Online,
            (false, Some((fact, _))) if fact.leaving => Standing::Left,
            (false, _) => Standing::Offline,
        }
    }

    /// Brokers list who is attached to them, each other included; what our own links do not show, they do.
    pub(super) fn seen(&self) -> BTreeSet<&str> {
        let list = |broker: &str| {
            let broker = Name::new(broker).ok().filter(|broker| self.settings.is_a_broker(broker));
            let said = broker.and_then(|broker| self.facts.get(&broker, Kind::Attached));
            let lines = said.into_iter().flat_map(|said| said.body.split(|byte| *byte == b'\n'));
            lines.filter_map(|line| std::str::from_utf8(line).ok()).filter(|line| !line.is_empty())
        };
        let linked = self.home.views().filter(|view| view.state.is_linked()).map(|view| view.name.as_str());
        let mut seen: BTreeSet<&str> = linked.collect();
        // Twice: from our brokers to all brokers, from all brokers to everybody.
        for _ in 0..2 {
            let near: Vec<&str> = seen.iter().flat_map(|name| list(name)).collect();
            seen.extend(near);
        }
        seen
    }
}

impl Standing {
    #[must_use]
    pub fn is_here(self) -> bool {
        match self {
            Self::Online | Self::Late => true,
            Self::Left | Self::Offline => false,
        }
    }

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Late => "late",
            Self::Left => "left",
            Self::Offline => "offline",
        }
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Down => "down",
        State::Dialing => "dialing",
        State::Up => "up",
        State::Suspect => "suspect",
    }
}
