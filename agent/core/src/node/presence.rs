//! Who is there, told to the programs here: one retained message for each machine under `$hobnail/nodes/`, and one for
//! the whole under `$hobnail/network`.
//!
//! It is looked at once a beat, and what has changed is told. Nothing travels for it: every machine makes it of the
//! facts and links that it has anyway, so two machines may see it differently, each truly.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::facts::{Kind, Said, StatusFact};
use super::{Action, MachineView, Node, Standing, greet};
use crate::ids::Name;
use crate::time::Now;

const NODES: &str = "$hobnail/nodes/";
const NETWORK: &str = "$hobnail/network";

/// What was told last.
#[derive(Debug, Default)]
pub struct Presence {
    told: BTreeMap<Name, Told>,
    network: Box<[u8]>,
    /// The last machine of which two lives spoke at once.
    pub twin: Option<Name>,
}

#[derive(Debug)]
struct Told {
    standing: Standing,
    /// When it came to be so, as `since_ms`.
    since_ms: Option<u64>,
    /// When what it said of itself was heard, and what that was.
    heard: Option<Now>,
    fact: Option<StatusFact>,
}

/// The whole, as `$hobnail/network` says it.
#[derive(Debug, Serialize)]
struct NetworkSaid<'a> {
    name: &'a Name,
    brokers: BTreeSet<&'a Name>,
    promoted: Option<&'a Name>,
    machines: BTreeMap<&'static str, u64>,
    topology: &'a str,
    /// Machines that run another topology.
    drift: Vec<&'a Name>,
}

impl Presence {
    /// Where something was told.
    pub(super) fn topics(&self) -> Vec<Box<str>> {
        self.told.keys().map(topic_of).chain([NETWORK.into()]).collect()
    }
}

impl Node {
    pub(super) fn refresh_presence(&mut self, now: Now) {
        let mut presence = std::mem::take(&mut self.presence);
        let seen = self.seen();
        let mut actions = Vec::new();
        let mut now_told = BTreeMap::new();
        for name in self.known_machines() {
            let said = self.facts.get(name, Kind::Status);
            let heard = said.map(|said| said.heard);
            let before = presence.told.remove(name);
            let same_words = before.as_ref().is_some_and(|told| told.heard == heard);
            let (was, since_ms, fact) = match before {
                Some(told) if same_words => (Some(told.standing), told.since_ms, told.fact),
                Some(told) => (Some(told.standing), told.since_ms, said.and_then(parse)),
                None => (None, None, said.and_then(parse)),
            };
            let standing = self.standing_in(&seen, name, fact.as_ref().zip(heard), now);
            let same_standing = was == Some(standing);
            let since_ms = if same_standing { since_ms } else { self.wall_ms(now) };
            let told = Told { standing, since_ms, heard, fact };
            if !(same_words && same_standing) {
                actions.push(self.tell_node(name, &told, now));
            }
            now_told.insert(name.clone(), told);
        }
        // What is left there belongs to the network no longer.
        for gone in std::mem::replace(&mut presence.told, now_told).into_keys() {
            actions.push(Action::Tell { topic: topic_of(&gone), payload: Box::default() });
        }
        let network = self.network_said(&presence);
        if network != presence.network {
            actions.push(Action::Tell { topic: NETWORK.into(), payload: network.clone() });
            presence.network = network;
        }
        self.actions.extend(actions);
        self.presence = presence;
    }

    /// Everybody who is named to us, and members that were ever heard of.
    fn known_machines(&self) -> BTreeSet<&Name> {
        let members = &self.settings.common.machines;
        let heard = self.facts.of(Kind::Status).map(|(name, _)| name).filter(|name| members.contains(*name));
        let named = self.settings.brokers.iter().chain(self.settings.peers.keys());
        named.chain(heard).chain([&self.settings.me]).collect()
    }

    fn tell_node(&self, name: &Name, told: &Told, now: Now) -> Action {
        let payload = serde_json::to_vec(&self.machine_view(name, told, now)).unwrap_or_default().into();
        Action::Tell { topic: topic_of(name), payload }
    }

    /// Every machine that is named to us or was ever heard of, as it was told last.
    pub(super) fn machine_views(&self, now: Now) -> Vec<MachineView> {
        self.presence.told.iter().map(|(name, told)| self.machine_view(name, told, now)).collect()
    }

    fn machine_view(&self, name: &Name, told: &Told, now: Now) -> MachineView {
        let fact = told.fact.as_ref();
        let link = self.by_peer.get(name).and_then(|id| self.links.get(id));
        let ago = told.heard.map_or(0, |heard| now.since(heard).as_secs());
        let here = fact.filter(|_| told.standing.is_here());
        MachineView {
            name: name.clone(),
            state: told.standing,
            role: if self.has_role_of_broker(name) { "broker" } else { "client" },
            home: fact.and_then(|fact| fact.home.clone()),
            since_ms: told.since_ms,
            boot: fact.map(|fact| format!("{:016x}", fact.boot)),
            uptime_s: here.map(|fact| fact.uptime_s.saturating_add(ago)),
            version: fact.map(|fact| fact.version.clone()),
            round_trip_ms: link.and_then(|link| link.rtt_us).map(milliseconds),
            queue: fact.map(|fact| fact.queue),
            topology: fact.map(|fact| fact.fingerprint.clone()),
            topology_s: here.and_then(|fact| fact.topology_s).map(|time| time.saturating_add(ago)),
        }
    }

    fn network_said(&self, presence: &Presence) -> Box<[u8]> {
        let mut machines = BTreeMap::new();
        for told in presence.told.values() {
            *machines.entry(told.standing.word()).or_default() += 1;
        }
        let brokers = presence.told.keys().filter(|name| self.has_role_of_broker(name)).collect();
        let said = NetworkSaid {
            name: &self.settings.network,
            brokers,
            promoted: self.home.promoted(),
            machines,
            topology: &self.settings.common.fingerprint,
            drift: self.drift(presence).collect(),
        };
        serde_json::to_vec(&said).unwrap_or_default().into()
    }

    /// Machines that are here and run another topology than this one.
    fn drift<'a>(&'a self, presence: &'a Presence) -> impl Iterator<Item = &'a Name> {
        let here = presence.told.iter().filter(|(_, told)| told.standing.is_here());
        let strays = |fact: &StatusFact| fact.fingerprint != self.settings.common.fingerprint;
        here.filter(move |(_, told)| told.fact.as_ref().is_some_and(strays)).map(|(name, _)| name)
    }

    pub(super) fn has_role_of_broker(&self, name: &Name) -> bool {
        self.settings.is_a_broker(name) || (*name == self.settings.me && self.settings.is_broker())
    }

    /// `None` while the wall clock is not set: these machines boot in 1970.
    fn wall_ms(&self, now: Now) -> Option<u64> {
        Some(self.clock.wall_ms(now)).filter(|ms| *ms >= CLOCK_IS_SET_MS)
    }

    /// The last that the others hear of this life: it ends, and is not lost.
    pub(super) fn tell_leaving(&mut self, now: Now) {
        self.leaving = true;
        self.tell_status(now);
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            let mut out = Vec::new();
            self.put_facts(id, &mut out, usize::MAX);
            self.say(id, &out);
            self.bye(id, greet::Parting::Stopping);
        }
    }
}

/// The start of 2020: a clock that says less has not been set since the power came.
const CLOCK_IS_SET_MS: u64 = 1_577_836_800_000;

fn topic_of(name: &Name) -> Box<str> {
    format!("{NODES}{name}").into()
}

fn parse(said: &Said) -> Option<StatusFact> {
    serde_json::from_slice(&said.body).ok()
}

#[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
fn milliseconds(us: u64) -> f64 {
    us as f64 / 1_000.0
}
