//! What leaves for other machines: a publish that was let in is offered to the network, and its acknowledgement waits
//! until the offer is settled.
//!
//! Never decides what is sent where, and knows nothing of other machines. Answers of one connection go out in the order
//! of its publishes (MQTT-4.6.0-2, MQTT-4.6.0-3), in whatever order they are settled. With `Settings::outward` off
//! nothing here runs: no answer is ever withheld, so every check ends at an empty queue.

use std::collections::BTreeSet;

use super::message::Shared;
use super::session::Granted;
use super::session::Unsettled;
use super::table::Key;
use super::{Action, Broker, Ticket, figures};
use crate::mqtt::packet::{PacketId, Publish, QoS, Reason, Version};
use crate::promise::promise;
use crate::time::Now;
use crate::topology::model::Ack;

/// Topics that every program may subscribe to and none may publish to: hobnail itself speaks there.
pub(super) const OWN: &str = "$hobnail/";
/// Where below `OWN` programs may publish all the same.
const OPEN_TO_PROGRAMS: &[&str] = &[];

/// A publish that was offered and whose publisher waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OfferId {
    session: Key,
    number: u64,
}

#[cfg(test)]
impl OfferId {
    /// One that no broker gave out, for tests of what lies behind the seam.
    pub fn numbered(number: u64) -> Self {
        Self { session: Key::NOWHERE, number }
    }
}

/// What the broker knows of the network.
#[derive(Debug, Default)]
pub(super) struct Outward {
    /// It takes nothing that it would have to keep.
    full: bool,
    /// The same of the disk.
    disk_full: bool,
    /// Connections whose publish waits for either.
    waiting: BTreeSet<Key>,
    offers: u64,
}

/// An answer that waits for its turn.
#[derive(Debug)]
pub(super) struct Withheld {
    id: PacketId,
    qos: QoS,
    /// The number that it waits under.
    number: u64,
    /// The network has not settled its offer.
    offered: bool,
    /// What it led to here is on disk once this is stored.
    by: Ticket,
    reason: Reason,
}

/// Whether a program may publish there at all, whatever its rights.
pub(super) fn is_for_programs(topic: &str) -> bool {
    !is_of_this_broker(topic)
        && (!topic.starts_with(OWN) || OPEN_TO_PROGRAMS.iter().any(|open| topic.starts_with(open)))
}

/// Whether it concerns this broker alone, whoever else has the like.
pub(super) fn is_of_this_broker(topic: &str) -> bool {
    topic.starts_with(figures::ROOT)
}

/// Whether everybody may hear it, whatever their rights.
pub(super) fn is_for_everyone(topic: &str) -> bool {
    topic.starts_with(OWN)
}

impl Broker {
    /// The network is full and drops nothing, or it has room again.
    pub fn handle_outward_room(&mut self, room: bool, now: Now) {
        if room {
            self.outward_has_room();
        } else {
            self.outward.full = self.settings.outward;
        }
        self.settle(now);
    }

    /// The disk takes nothing more, or takes everything again.
    pub fn handle_disk_room(&mut self, room: bool, now: Now) {
        self.outward.disk_full = !room;
        if room {
            self.let_them_try();
        }
        self.settle(now);
    }

    /// Whether it would be answered only once it is on a disk that takes nothing.
    pub(super) fn lacks_a_disk(&self, topic: &str, packet: &Publish<'_>, found: &[(Key, Granted)]) -> bool {
        let waits = |(key, _): &(Key, Granted)| self.sessions.get(*key).is_some_and(|to| to.durable().is_some());
        self.outward.disk_full
            && promise(&self.settings.topics, topic, packet.qos, packet.retain).ack > Ack::Memory
            && (self.settings.outward || packet.retain || found.iter().any(waits))
    }

    fn outward_has_room(&mut self) {
        self.outward.full = false;
        self.let_them_try();
    }

    /// Those who wait find out themselves whether there is room for theirs.
    fn let_them_try(&mut self) {
        for conn in std::mem::take(&mut self.outward.waiting) {
            self.resume(conn);
        }
    }

    /// An offer has come to its end: kept as its topic's `ack` asks for, or not.
    pub fn handle_settled(&mut self, offer: OfferId, reason: Reason, now: Now) {
        if reason.is_error() {
            self.counters.refused_publishes += 1;
        }
        if !self.settle_offer(offer, reason) {
            self.counters.settled_unheard += 1;
        }
        self.settle(now);
    }

    /// False where nobody waits for the answer any more.
    fn settle_offer(&mut self, offer: OfferId, reason: Reason) -> bool {
        let Some(session) = self.sessions.get_mut(offer.session) else { return false };
        let unsettled = session.unsettled.get_mut(&offer.number).map(|unsettled| {
            unsettled.offered = false;
            unsettled.id
        });
        let conn = session.conn;
        let open = conn.and_then(|conn| self.conns.get_mut(conn)).and_then(|connection| connection.open_mut());
        let version = open.as_ref().map(|open| open.version);
        if let Some(id) = unsettled
            && reason.is_error()
            && version.is_none_or(|version| version == Version::V5)
        {
            // The exchange ends with the refusal; what comes with this identifier next is another message.
            session.unsettled.remove(&offer.number);
            if session.received.remove(&id) {
                self.ledger.released(session.durable(), id);
            }
        }
        let (Some(conn), Some(open)) = (conn, open) else { return false };
        let Some(waits) = open.withheld.iter_mut().find(|waits| waits.offered && waits.number == offer.number) else {
            return false;
        };
        waits.offered = false;
        waits.reason = reason;
        self.answer_those_settled(conn);
        true
    }

    /// The one place where publishes are acknowledged that had to be kept first.
    pub(super) fn answer_those_settled(&mut self, conn: Key) {
        let most = usize::from(self.settings.limits.inflight_max);
        while let Some(open) = self.conns.get_mut(conn).and_then(|connection| connection.open_mut())
            && let Some(next) = open.withheld.front().filter(|next| !next.offered && self.ledger.is_stored(next.by))
        {
            let (id, qos, reason, version) = (next.id, next.qos, next.reason, open.version);
            let was_full = open.withheld.len() >= most;
            open.withheld.pop_front();
            self.answer_now(conn, version, id, qos, reason);
            if was_full {
                self.resume(conn);
            }
        }
    }

    /// Answer what was let in and routed here, once that is stored and the network, where there is one, has settled it.
    pub(super) fn answer_once_kept(&mut self, conn: Key, session: Key, id: PacketId, message: Shared, by: Ticket) {
        let (qos, offered) = (message.qos, self.settings.outward);
        self.outward.offers += 1;
        let number = self.outward.offers;
        if (offered || !self.ledger.is_stored(by))
            && qos == QoS::ExactlyOnce
            && let Some(known) = self.sessions.get_mut(session)
        {
            known.unsettled.insert(number, Unsettled { id, offered, by });
        }
        self.withhold(conn, Withheld { id, qos, number, offered, by, reason: Reason::SUCCESS });
        if offered {
            self.actions.push_back(Action::Offer { token: Some(OfferId { session, number }), message });
        } else {
            self.answer_those_settled(conn);
        }
    }

    /// What nobody waits for an answer to: QoS 0, and wills.
    pub(super) fn offer_unanswered(&mut self, message: Shared) {
        self.actions.push_back(Action::Offer { token: None, message });
    }

    fn withhold(&mut self, conn: Key, answer: Withheld) {
        self.ledger.wait_for(answer.by, conn);
        if let Some(open) = self.conns.get_mut(conn).and_then(|connection| connection.open_mut()) {
            open.withheld.push_back(answer);
        }
    }

    /// Whether this answer has to wait behind others; then it is kept for its turn.
    pub(super) fn is_behind_others(&mut self, conn: Key, id: PacketId, qos: QoS, reason: Reason) -> bool {
        let Some(open) = self.conns.get_mut(conn).and_then(|connection| connection.open_mut()) else { return false };
        if open.withheld.is_empty() {
            return false;
        }
        open.withheld.push_back(Withheld { id, qos, number: 0, offered: false, by: Ticket::default(), reason });
        true
    }

    /// A QoS 2 publish that has come before. True where it is not kept yet: the answer follows, once.
    pub(super) fn awaits_settling(&mut self, conn: Key, session: Key, id: PacketId) -> bool {
        let Some(known) = self.sessions.get(session) else { return false };
        let Some((number, Unsettled { offered, by, .. })) = known.unsettled.iter().find(|(_, known)| known.id == id)
        else {
            return false;
        };
        let (number, offered, by) = (*number, *offered, *by);
        if !offered && self.ledger.is_stored(by) {
            return false;
        }
        let open = self.conns.get(conn).and_then(|connection| connection.open());
        if open.is_some_and(|open| !open.withheld.iter().any(|waits| waits.number == number)) {
            // It came by a connection that is gone; this one is answered in its stead.
            let (qos, reason) = (QoS::ExactlyOnce, Reason::SUCCESS);
            self.withhold(conn, Withheld { id, qos, number, offered, by, reason });
        }
        true
    }

    /// Whether as many answers wait as this connection may have; then it is read no further.
    pub(super) fn owes_too_many(&self, conn: Key) -> bool {
        let most = usize::from(self.settings.limits.inflight_max);
        self.conns.get(conn).and_then(|connection| connection.open()).is_some_and(|open| open.withheld.len() >= most)
    }

    pub(super) fn outward_is_full(&self) -> bool {
        self.outward.full
    }

    /// Read no more from `conn` until the network has room.
    pub(super) fn wait_for_outward(&mut self, conn: Key) {
        self.outward.waiting.insert(conn);
        self.leave_waiting(conn);
    }

    pub(super) fn wait_for_outward_no_more(&mut self, conn: Key) {
        self.outward.waiting.remove(&conn);
    }

    /// The network is left behind: what is owed is answered as if there had never been one.
    pub(super) fn leave_outward(&mut self) {
        for session in self.sessions.keys() {
            let Some(known) = self.sessions.get_mut(session) else { continue };
            known.unsettled.values_mut().for_each(|unsettled| unsettled.offered = false);
            let Some(conn) = known.conn else { continue };
            let Some(open) = self.conns.get_mut(conn).and_then(|connection| connection.open_mut()) else { continue };
            for waits in &mut open.withheld {
                waits.offered = false;
            }
            self.answer_those_settled(conn);
            self.resume(conn);
        }
        self.outward_has_room();
    }

    /// Every filter that somebody subscribed to, without its group.
    pub fn wanted(&self) -> impl Iterator<Item = &str> {
        let filters = self.sessions.iter().flat_map(|(_, session)| session.subscriptions.keys());
        let filters = filters.filter_map(|written| super::filter_tree::target(written)).map(|target| target.filter);
        filters.filter(|filter| !is_of_this_broker(filter)).collect::<BTreeSet<_>>().into_iter()
    }

    /// Whether nobody subscribes to this filter, and the network is to know of it.
    pub(super) fn is_unwanted(&self, filter: &str) -> bool {
        self.settings.outward && !is_of_this_broker(filter) && !self.tree.holds(filter)
    }

    /// A subscription to this filter has gone; tell the network if it was the last one.
    pub(super) fn unwanted(&mut self, filter: &str) {
        if self.is_unwanted(filter) {
            self.actions.push_back(Action::Unwanted(filter.into()));
        }
    }
}
