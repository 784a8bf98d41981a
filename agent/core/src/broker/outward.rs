//! What leaves for other machines: a publish that was let in is offered to the network, and its acknowledgement waits
//! until the offer is settled.
//!
//! Never decides what is sent where, and knows nothing of other machines. Answers of one connection go out in the order
//! of its publishes (MQTT-4.6.0-2, MQTT-4.6.0-3), in whatever order they are settled. With `Settings::outward` off
//! nothing here runs: no answer is ever withheld, so every check ends at an empty queue.

use std::collections::BTreeSet;

use super::message::Shared;
use super::table::Key;
use super::{Action, Broker, figures};
use crate::mqtt::packet::{PacketId, Publish, QoS, Reason, Version};
use crate::time::Now;

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
    /// Connections whose publish waits for it.
    waiting: BTreeSet<Key>,
    offers: u64,
}

/// An answer that waits for its turn.
#[derive(Debug)]
pub(super) struct Withheld {
    id: PacketId,
    qos: QoS,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// By the number of its offer.
    Offered(u64),
    Settled(Reason),
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

    fn outward_has_room(&mut self) {
        self.outward.full = false;
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
        let unsettled = session.unsettled.remove(&offer.number);
        let conn = session.conn;
        let open = conn.and_then(|conn| self.conns.get_mut(conn)).and_then(|connection| connection.open_mut());
        let version = open.as_ref().map(|open| open.version);
        if let Some(id) = unsettled
            && reason.is_error()
            && version.is_none_or(|version| version == Version::V5)
        {
            // The exchange ends with the refusal; what comes with this identifier next is another message.
            session.received.remove(&id);
        }
        let (Some(conn), Some(open), Some(version)) = (conn, open, version) else { return false };
        let was_full = open.withheld.len() >= usize::from(self.settings.limits.inflight_max);
        let Some(waits) = open.withheld.iter_mut().find(|waits| waits.standing == Standing::Offered(offer.number))
        else {
            return false;
        };
        waits.standing = Standing::Settled(reason);
        self.answer_those_settled(conn, version);
        if was_full {
            self.resume(conn);
        }
        true
    }

    fn answer_those_settled(&mut self, conn: Key, version: Version) {
        while let Some(open) = self.conns.get_mut(conn).and_then(|connection| connection.open_mut())
            && let Some(Withheld { id, qos, standing: Standing::Settled(reason) }) = open.withheld.front()
        {
            let (id, qos, reason) = (*id, *qos, *reason);
            open.withheld.pop_front();
            self.answer_now(conn, version, id, qos, reason);
        }
    }

    /// Offer what was let in and routed here. An answer that it owes waits for `handle_settled`.
    pub(super) fn offer(&mut self, conn: Key, session: Key, packet: &Publish<'_>, message: Shared) {
        let Some(id) = packet.id else { return self.offer_unanswered(message) };
        self.outward.offers += 1;
        let number = self.outward.offers;
        if packet.qos == QoS::ExactlyOnce
            && let Some(known) = self.sessions.get_mut(session)
        {
            known.received.insert(id);
            known.unsettled.insert(number, id);
        }
        self.withhold(conn, Withheld { id, qos: packet.qos, standing: Standing::Offered(number) });
        self.actions.push_back(Action::Offer { token: Some(OfferId { session, number }), message });
    }

    /// What nobody waits for an answer to: QoS 0, and wills.
    pub(super) fn offer_unanswered(&mut self, message: Shared) {
        self.actions.push_back(Action::Offer { token: None, message });
    }

    fn withhold(&mut self, conn: Key, answer: Withheld) {
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
        open.withheld.push_back(Withheld { id, qos, standing: Standing::Settled(reason) });
        true
    }

    /// A QoS 2 publish that has come before. True where its offer is not settled: the answer follows, once.
    pub(super) fn awaits_settling(&mut self, conn: Key, session: Key, id: PacketId) -> bool {
        let Some(known) = self.sessions.get(session) else { return false };
        let Some(number) = known.unsettled.iter().find(|(_, known)| **known == id).map(|(number, _)| *number) else {
            return false;
        };
        let standing = Standing::Offered(number);
        let open = self.conns.get(conn).and_then(|connection| connection.open());
        if open.is_some_and(|open| !open.withheld.iter().any(|waits| waits.standing == standing)) {
            // It came by a connection that is gone; this one is answered in its stead.
            self.withhold(conn, Withheld { id, qos: QoS::ExactlyOnce, standing });
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
            known.unsettled.clear();
            let Some(conn) = known.conn else { continue };
            let Some(open) = self.conns.get_mut(conn).and_then(|connection| connection.open_mut()) else { continue };
            for waits in &mut open.withheld {
                if let Standing::Offered(_) = waits.standing {
                    waits.standing = Standing::Settled(Reason::SUCCESS);
                }
            }
            let version = open.version;
            self.answer_those_settled(conn, version);
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
