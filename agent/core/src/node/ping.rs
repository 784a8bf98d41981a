//! Is that machine there, and how far away? A question that goes from agent to agent by the links that stand, and comes
//! back the same way. Nothing waits for it, nothing is kept of it on the way, and a lost one stays lost.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Node;
use super::facts::Kind;
use super::link::{LinkId, Phase};
use crate::frame::{Frame, Ping, Way};
use crate::ids::Name;
use crate::time::Now;

/// Brokers that pass a question on: from a client's home to another broker, and what a change on the way may add.
const HOPS_MAX: u8 = 4;
/// Questions of which the answer is still of interest here.
const ASKED_MAX: usize = 64;

#[derive(Debug, Default)]
pub struct Pings {
    last: u64,
    asked: BTreeMap<u64, Asked>,
}

#[derive(Debug)]
struct Asked {
    of: Name,
    at: Now,
    answered: Option<Duration>,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pong {
    /// The way there and back took so long.
    After(Duration),
    NotYet,
    /// It is not known any more, or was never asked.
    Forgotten,
}

impl Node {
    /// Ask whether `machine` is there; `take_pong` tells under the number that this gives.
    pub fn handle_ping(&mut self, machine: &Name, now: Now) -> u64 {
        self.pings.last += 1;
        let number = self.pings.last;
        if self.pings.asked.len() >= ASKED_MAX {
            self.pings.asked.pop_first();
        }
        let is_me = *machine == self.settings.me;
        let asked = Asked { of: machine.clone(), at: now, answered: is_me.then_some(Duration::ZERO) };
        self.pings.asked.insert(number, asked);
        if !is_me {
            let me = self.settings.me.clone();
            self.pass_ping(&Ping { to: machine.as_str(), from: me.as_str(), number, way: Way::There, hops: 0 });
        }
        self.settle(now);
        number
    }

    /// The answer is given once.
    pub fn take_pong(&mut self, number: u64) -> Pong {
        let Some(asked) = self.pings.asked.get(&number) else { return Pong::Forgotten };
        let Some(after) = asked.answered else { return Pong::NotYet };
        self.pings.asked.remove(&number);
        Pong::After(after)
    }

    pub(super) fn ping_comes(&mut self, id: LinkId, ping: &Ping<'_>, now: Now) {
        if !self.may_route(id, ping) {
            return;
        }
        if ping.to != self.settings.me.as_str() {
            if let Some(ping) = self.next_hop(ping) {
                self.pass_ping(&ping);
            }
            return;
        }
        match ping.way {
            Way::There => {
                let me = self.settings.me.clone();
                self.pass_ping(&Ping { to: ping.from, from: me.as_str(), way: Way::Back, hops: 0, ..*ping });
            }
            Way::Back => {
                let asked = self.pings.asked.get_mut(&ping.number);
                if let Some(asked) = asked.filter(|asked| asked.of.as_str() == ping.from && asked.answered.is_none()) {
                    asked.answered = Some(now.since(asked.at));
                }
            }
        }
    }

    /// A client speaks for itself alone.
    pub(super) fn may_route(&mut self, id: LinkId, route: &Ping<'_>) -> bool {
        let Some(link) = self.links.get(&id) else { return false };
        let speaks_for_another = self.settings.is_broker() && !link.is_broker && link.peer.as_str() != route.from;
        if speaks_for_another {
            self.counters.frames_refused += 1;
        }
        !speaks_for_another
    }

    /// The same one broker further; `None` where it goes no further.
    pub(super) fn next_hop<'p>(&self, route: &Ping<'p>) -> Option<Ping<'p>> {
        let hops = route.hops.saturating_add(1);
        (self.settings.is_broker() && hops <= HOPS_MAX).then_some(Ping { hops, ..*route })
    }

    /// On by the link that leads there; without one it is lost, as a packet is.
    fn pass_ping(&mut self, ping: &Ping<'_>) {
        if let Ok(to) = Name::new(ping.to)
            && let Some(link) = self.link_towards(&to)
        {
            self.say_frame(link, &Frame::Ping(*ping));
        }
    }

    /// The link to that machine, or to the broker that has one: for a client its home, which knows more.
    pub(super) fn link_towards(&self, machine: &Name) -> Option<LinkId> {
        let open = |name: &Name| {
            let id = self.by_peer.get(name).copied()?;
            self.links.get(&id).is_some_and(|link| link.phase == Phase::Open).then_some(id)
        };
        if let Some(direct) = open(machine) {
            return Some(direct);
        }
        if !self.settings.is_broker() {
            return self.home.home().and_then(open);
        }
        let lists = |broker: &&Name| {
            let said = self.facts.get(broker, Kind::Attached);
            said.is_some_and(|said| said.body.split(|byte| *byte == b'\n').any(|at| at == machine.as_str().as_bytes()))
        };
        self.settings.brokers.iter().filter(lists).find_map(open)
    }
}
