//! A topology that was edited: what this node does differently from now on, and which links that ends.
//!
//! A link lives on unless the machine at its other end is gone, or one of the two sides has another role: each role
//! speaks its own half of the protocol, so such a link begins anew. Other machines are edited earlier or later than this
//! one, in any order; until then the two sides may disagree, and what is on its way waits where it is.

use super::facts::Kind;
use super::greet::Parting;
use super::link::{Attached, LinkId, Phase};
use super::{Action, Node, Settings, Write};
use crate::broker::Ticket;
use crate::envelope::SenderId;
use crate::frame::Fresh;
use crate::ids::Name;
use crate::interest::Interest;
use crate::stream::{Stream, StreamId, Weight};
use crate::time::Now;
use crate::topology::model::WhenFull;

/// How far links, tickets, lives and fetches are numbered: what the shell still says of a node that is gone means none of the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    pub(super) links: u64,
    pub(super) ticket: Ticket,
    pub(super) lives: u32,
    pub(super) fetches: u64,
}

/// Whether every link begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Same,
    Other,
}

impl Node {
    /// What the topology says from now on, of the same machine of the same network: another one is another node.
    pub fn handle_settings(&mut self, settings: Settings, now: Now) {
        let keyring = settings.keyring.clone();
        let before = std::mem::replace(&mut self.settings, settings);
        if before.common.fingerprint != self.settings.common.fingerprint {
            self.topology_since = now;
        }
        let role = if before.is_broker() == self.settings.is_broker() { Role::Same } else { Role::Other };
        if role == Role::Other {
            self.take_role(now);
        }
        self.remember_members();
        self.home.handle_rules(self.settings.home_rules(), now);
        self.settle(now);
        self.end_links(role, now);
        self.walk_new_rights(&before);
        self.take_limits(now);
        for stream in self.copies.keys().copied().collect::<Vec<_>>() {
            self.weigh_stability(stream);
        }
        self.tell_status(now);
        self.handle_keyring(keyring, now);
    }

    fn take_limits(&mut self, now: Now) {
        self.make_room();
        if self.settings.when_full == WhenFull::Block {
            self.say_room();
        } else {
            self.say_unblocked();
        }
        self.sweep_due = self.sweep_due.min(now.after(self.settings.heartbeat.every));
    }

    /// A broker's copies say what is on its disk, a client's only how far its programs have got; so they are not the
    /// same, and what other machines sent is asked for anew from there on.
    fn take_role(&mut self, now: Now) {
        let broker = self.settings.is_broker();
        self.doubts.clear();
        for id in self.copies.keys().copied().collect::<Vec<_>>() {
            self.recast_copy(id);
        }
        self.retained.forget_records();
        self.serving_since = now;
        self.in_step = !self.settings.waits_for_others();
        self.settled = self.in_step;
        if !broker {
            // What there was before it became a client it has had, or gets by the streams.
            self.fresh = Fresh::No;
            self.tell_attached_to_none(now);
        }
    }

    fn recast_copy(&mut self, id: StreamId) {
        let (mine, broker) = (id.sender == self.me, self.settings.is_broker());
        let Some(copy) = self.copies.get_mut(&id) else { return };
        copy.holders.clear();
        copy.cursors.clear();
        copy.by_origin = false;
        // What no disk keeps is the same on both.
        if mine || !id.lane.is_kept() {
            return;
        }
        let before = copy.stream.weight();
        copy.stream = Stream::default();
        self.weight.note(before, Weight::default());
        if !broker {
            let covered = copy.stream.skip(1, copy.delivered);
            debug_assert!(covered.is_ok(), "an empty stream takes any skip from 1");
        }
        copy.swept = copy.stream.last();
        copy.stable_said = 0;
        self.ahead.forget();
        self.unstored.retain(|(_, stream, progress)| *stream != id || !progress.is_of_copy());
        let delivered = copy.delivered;
        self.begin_anew(id, delivered);
    }

    /// Only members are waited for, and only brokers' disks count.
    fn remember_members(&mut self) {
        let network = &self.settings.network;
        let sender = |name: &Name| SenderId::of(network, name);
        let brokers: Vec<SenderId> = self.settings.brokers.iter().map(sender).collect();
        let members = &self.settings.common.senders;
        for copy in self.copies.values_mut() {
            copy.holders.retain(|holder, _| brokers.contains(holder));
            copy.cursors.retain(|machine, _| members.contains(machine));
        }
        self.interests.clear();
        let said = self.facts.of(Kind::Interest).filter(|(owner, _)| **owner != self.settings.me);
        let known = said.filter_map(|(owner, said)| Some((owner.clone(), Interest::from_bytes(&said.body)?)));
        for (owner, interest) in known.collect::<Vec<_>>() {
            self.note_interest(&owner, interest);
        }
    }

    fn end_links(&mut self, role: Role, now: Now) {
        let ended: Vec<LinkId> =
            self.links.keys().copied().filter(|id| role == Role::Other || !self.fits(*id)).collect();
        for id in ended {
            let Some(link) = self.links.get(&id).filter(|link| link.phase != Phase::Closing) else { continue };
            let peer = link.peer.clone();
            self.bye(id, Parting::Unneeded);
            if self.by_peer.get(&peer) == Some(&id) {
                self.by_peer.remove(&peer);
                self.home.handle_link_down(&peer, now);
            }
            self.left(id, now);
        }
        self.settle(now);
    }

    /// Whether the other end of a link is what it was taken for when it was opened.
    fn fits(&self, id: LinkId) -> bool {
        self.links.get(&id).is_some_and(|link| {
            let is_broker = self.settings.is_a_broker(&link.peer);
            link.is_broker == is_broker && (is_broker || self.settings.peers.contains_key(&link.peer))
        })
    }

    /// Whoever may hear more than before is given what is retained there.
    fn walk_new_rights(&mut self, before: &Settings) {
        let attached = self.links.iter_mut().filter(|(_, link)| !link.is_broker && link.attached == Attached::Yes);
        let mut woken = Vec::new();
        for (id, link) in attached {
            let rights = |settings: &Settings| settings.peers.get(&link.peer).map(|rights| rights.subscribe.clone());
            if rights(before) != rights(&self.settings) {
                link.walk_anew();
                woken.push(*id);
            }
        }
        woken.into_iter().for_each(|id| self.ask_transmit(id));
    }

    /// This machine leaves the network: its links end, nobody tells its programs of other machines any more, and what
    /// was kept for others is kept for nobody.
    pub fn handle_end(&mut self, now: Now) {
        self.settings.brokers.clear();
        self.home.handle_rules(self.settings.home_rules(), now);
        self.settle(now);
        self.end_links(Role::Other, now);
        for topic in self.presence.topics() {
            self.actions.push_back(Action::Tell { topic, payload: Box::default() });
        }
        let streams = self.copies.keys().copied().map(Write::Forget);
        self.writes.extend(streams.chain(self.retained.topics().map(|topic| Write::RetainedGone(topic.into()))));
    }

    /// What the node that comes after this one goes on from.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        Numbers { links: self.links_opened, ticket: self.ticket, lives: self.life, fetches: self.fetches.newest() }
    }
}
