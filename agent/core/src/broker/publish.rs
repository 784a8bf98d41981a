//! PUBLISH in: rights, acknowledgement, routing to those who subscribed, and what happens when one of them has no room.

use std::collections::BTreeMap;
use std::time::Duration;

use super::deliver::may_hear;
use super::filter_tree::target;
use super::message::{Content, Place, Shared};
use super::session::{Granted, Ids, Pace, Queued, Session, Waiter};
use super::table::{Key, Table};
use super::why::Words;
use super::{Broker, Flow, PATIENCE, message, outward};
use crate::mqtt::packet::{Ack as Answer, Packet, PacketId, Publish, QoS, Reason, Version};
use crate::mqtt::{encode_plain_ack, props, put_others};
use crate::promise::{end, promise};
use crate::time::Now;
use crate::topology::model::{Ack, Limits, WhenFull};

/// Properties of a PUBLISH that concern only the hop it came by.
const OF_THIS_HOP: &[u8] = &[props::MESSAGE_EXPIRY, props::TOPIC_ALIAS, props::SUBSCRIPTION_ID];

/// All topics that one connection has given an alias.
const ALIAS_BYTES_MAX: usize = 64 << 10;

impl Broker {
    pub(super) fn publish(&mut self, conn: Key, packet: &Publish<'_>, now: Now) -> Flow {
        let Some(open) = self.conns.get_mut(conn).and_then(|connection| connection.open_mut()) else {
            return Flow::Done;
        };
        let (session, version) = (open.session, open.version);
        let aliased: Box<str>;
        let topic = match (packet.topic_alias, packet.topic) {
            (None, topic) => topic,
            (Some(alias), _) if alias.get() > super::connection::ALIASES_IN_MAX => {
                self.fault(conn, Reason::TOPIC_ALIAS_INVALID, now);
                return Flow::Done;
            }
            (Some(alias), "") => match open.aliases_in.get(&alias) {
                Some(known) => {
                    aliased = known.clone();
                    &aliased
                }
                None => {
                    self.fault(conn, Reason::PROTOCOL_ERROR, now);
                    return Flow::Done;
                }
            },
            (Some(alias), topic) => {
                let before = open.aliases_in.insert(alias, topic.into()).map_or(0, |before| before.len());
                open.alias_bytes = open.alias_bytes + topic.len() - before;
                if open.alias_bytes > ALIAS_BYTES_MAX {
                    self.fault(conn, Reason::QUOTA_EXCEEDED, now);
                    return Flow::Done;
                }
                topic
            }
        };
        if packet.props.iter().any(|prop| prop.id() == props::SUBSCRIPTION_ID) {
            self.fault(conn, Reason::PROTOCOL_ERROR, now);
            return Flow::Done;
        }
        self.publish_to(conn, session, version, topic, packet, now)
    }

    fn publish_to(
        &mut self,
        conn: Key,
        session: Key,
        version: Version,
        topic: &str,
        packet: &Publish<'_>,
        now: Now,
    ) -> Flow {
        if packet.id.is_some() && self.owes_too_many(conn) {
            self.leave_waiting(conn);
            return Flow::Wait;
        }
        let Some(known) = self.sessions.get(session) else { return Flow::Done };
        if let (QoS::ExactlyOnce, Some(id)) = (packet.qos, packet.id)
            && known.received.contains(&id)
        {
            // Received before; only the answer was lost, or is still to come.
            if !self.awaits_settling(conn, session, id) {
                self.answer(conn, version, packet, Reason::SUCCESS);
            }
            return Flow::Done;
        }
        if known.received.len() >= usize::from(self.settings.limits.inflight_max) && packet.qos == QoS::ExactlyOnce {
            self.fault(conn, Reason::RECEIVE_MAXIMUM_EXCEEDED, now);
            return Flow::Done;
        }
        let allowed = known.principal.rights.publish.topic(topic) && outward::is_for_programs(topic);
        if !allowed {
            self.counters.refused_publishes += 1;
            self.answer(conn, version, packet, Reason::NOT_AUTHORIZED);
            return Flow::Done;
        }
        let mut found = std::mem::take(&mut self.found);
        self.matches(topic, &mut found);
        let size = message::size(topic, packet.payload, packet.props.as_bytes());
        let flow = match self.room(topic, packet, &found, size, version) {
            Room::Enough => {
                let message = self.message(topic, packet, now);
                self.accept_from(conn, session, packet, message, &found, now);
                Flow::Done
            }
            Room::Refuse => {
                self.counters.refused_publishes += 1;
                self.answer(conn, version, packet, Reason::QUOTA_EXCEEDED);
                Flow::Done
            }
            Room::WaitFor(full) => {
                self.wait_for(Waiter::Publisher(conn), full, now);
                self.leave_waiting(conn);
                Flow::Wait
            }
            Room::WaitForOutward => {
                self.wait_for_outward(conn);
                Flow::Wait
            }
        };
        found.clear();
        self.found = found;
        if flow == Flow::Done {
            self.counters.publishes_received += 1;
            self.counters.publish_bytes_received += packet.payload.len() as u64;
        }
        flow
    }

    /// Who subscribed to `topic` and may still hear it: what somebody would never be sent must not fill its queue, and
    /// hold up those who publish.
    pub(super) fn matches(&mut self, topic: &str, found: &mut Vec<(Key, Granted)>) {
        let sessions = &self.sessions;
        let limits = &self.settings.limits;
        let hears = |who: Key| sessions.get(who).is_some_and(|session| may_hear(&session.principal, topic));
        let mut pick = |who: Key, _: Granted| has_room(sessions, limits, who) && hears(who);
        self.tree.visit(topic, found, &mut pick);
        let before = found.len();
        found.retain(|(who, _)| hears(*who));
        self.counters.dropped_rights += (before - found.len()) as u64;
    }

    /// What a session left behind that had come to it as one of a group goes to another of the group, if that is not
    /// what MQTT 5 4.8.2 forbids: a QoS 2 message that was sent already.
    pub(super) fn hand_on(&mut self, subscriptions: &BTreeMap<Box<str>, Granted>, left: Vec<Queued>, now: Now) {
        for queued in left {
            let Some(group) = queued.group.filter(|_| queued.qos != QoS::AtMostOnce) else { continue };
            let of_group = subscriptions.iter().find(|(_, granted)| granted.group == Some(group));
            let (sessions, limits) = (&self.sessions, &self.settings.limits);
            let mut pick = |who: Key, _: Granted| has_room(sessions, limits, who);
            let next = of_group.and_then(|(filter, _)| target(filter)).and_then(|to| self.tree.member(to, &mut pick));
            let Some((who, granted)) = next else { continue };
            let (qos, retain, ids) = one(granted);
            let (qos, retain) = (queued.message.qos.min(qos), queued.message.retain && retain);
            self.enqueue(who, Queued { retain, ids, group: granted.group, ..Queued::new(queued.message, qos) }, now);
        }
    }

    /// Whether a message can be taken now, for everyone who has a right to all of them.
    fn room(&self, topic: &str, packet: &Publish<'_>, found: &[(Key, Granted)], size: u64, version: Version) -> Room {
        let is_kept = || self.outward_is_full() || self.lacks_a_disk(topic, packet, found);
        if packet.qos != QoS::AtMostOnce && is_kept() {
            return if version == Version::V5 { Room::Refuse } else { Room::WaitForOutward };
        }
        match self.room_here(found, packet.qos, size) {
            RoomHere::Enough => Room::Enough,
            RoomHere::Behind(who) => Room::WaitFor(who),
            RoomHere::Blocked(_) | RoomHere::NoMemoryFor(_) if version == Version::V5 => Room::Refuse,
            RoomHere::Blocked(who) | RoomHere::NoMemoryFor(who) => Room::WaitFor(who),
        }
    }

    /// The same of this machine alone, whoever asks: whether `size` bytes have room wherever they would wait.
    pub(super) fn room_here(&self, found: &[(Key, Granted)], qos: QoS, size: u64) -> RoomHere {
        if qos == QoS::AtMostOnce {
            return RoomHere::Enough;
        }
        let limits = &self.settings.limits;
        let may_be_dropped = self.settings.when_full != WhenFull::Block;
        let can_be_stored = self.can_be_stored(cost(size, found.len()));
        for (who, _) in found.iter().filter(|(_, granted)| granted.options.qos != QoS::AtMostOnce) {
            let Some(session) = self.sessions.get(*who) else { continue };
            let full = session.is_full(limits);
            let closed = session.is_closed(limits);
            match (session.is_moving(), full) {
                (true, _) if closed => return RoomHere::Behind(*who),
                (false, true) if !may_be_dropped => return RoomHere::Blocked(*who),
                (false, false) if !may_be_dropped && !can_be_stored => return RoomHere::NoMemoryFor(*who),
                (true | false, _) => {}
            }
        }
        if self.memory_bytes() < limits.memory_bytes_max {
            return RoomHere::Enough;
        }
        // Who reads makes room; until then its publishers wait. Who does not read has less than all of the memory.
        let reads = |(who, _): &&(Key, Granted)| {
            let session = self.sessions.get(*who);
            session.is_some_and(|session| session.is_moving() && session.holds_something())
        };
        // Whoever reads and holds nothing gets it though: it must not miss what others hold the memory for. Those who
        // do not read lose it, each by itself, where they may.
        found.iter().find(reads).map_or(RoomHere::Enough, |(who, _)| RoomHere::Behind(*who))
    }

    /// Whether so much more may wait for those who do not read.
    pub(super) fn can_be_stored(&self, cost: u64) -> bool {
        self.memory_bytes() + cost <= stored_bytes_max(&self.settings.limits)
    }

    /// Whether so much could ever wait for them.
    pub(super) fn could_be_stored(&self, cost: u64) -> bool {
        cost <= stored_bytes_max(&self.settings.limits)
    }

    /// Have `who` told when the session `full` has room.
    pub(super) fn wait_for(&mut self, who: Waiter, full: Key, now: Now) {
        let Some(session) = self.sessions.get_mut(full) else { return };
        if !session.waiting.contains(&who) {
            session.waiting.push(who);
        }
        if session.stall_at.is_none() {
            let since = if session.is_moving() { session.progress } else { now };
            self.look_for_stall(full, since.after(PATIENCE).max(now));
        }
    }

    /// A queue has room, or holds up nobody any more. False where nobody waits for that now.
    pub(super) fn go_on(&mut self, waiting: Vec<Waiter>) -> bool {
        waiting.into_iter().fold(false, |before, who| {
            before
                | match who {
                    Waiter::Publisher(conn) => self.resume(conn),
                    Waiter::Inward => self.inward_may_go_on(),
                }
        })
    }

    fn message(&mut self, topic: &str, packet: &Publish<'_>, now: Now) -> Shared {
        let mut block = Vec::new();
        put_others(&mut block, packet.props, OF_THIS_HOP);
        self.meter.share(Content {
            topic: topic.into(),
            payload: packet.payload.into(),
            props: block.into(),
            qos: packet.qos,
            retain: packet.retain,
            expires: end(&self.settings.topics, topic, packet.expiry_s.map(u64::from).map(Duration::from_secs), now),
        })
    }

    /// Take in a publish, and answer it once it is kept: here, where it waits for somebody or is retained on disk, and in
    /// the network.
    fn accept_from(
        &mut self,
        conn: Key,
        session: Key,
        packet: &Publish<'_>,
        message: Shared,
        found: &[(Key, Granted)],
        now: Now,
    ) {
        let mark = self.ledger.mark();
        self.accept(message.clone(), found, Some(session), now);
        let Some(id) = packet.id else {
            if self.settings.outward {
                self.offer_unanswered(message);
            }
            return;
        };
        if packet.qos == QoS::ExactlyOnce {
            self.note_received(session, id);
        }
        let by = self
            .ledger
            .ticket_since(mark)
            .filter(|_| promise(&self.settings.topics, &message.topic, packet.qos, message.retain).ack > Ack::Memory);
        let by = by.unwrap_or_default();
        self.answer_once_kept(conn, session, id, message, by);
    }

    /// Retain and route a message that has been let in. The one place where a publish is accepted.
    pub(super) fn accept(
        &mut self,
        message: Shared,
        found: &[(Key, Granted)],
        publisher: Option<Key>,
        now: Now,
    ) -> Reason {
        if message.retain {
            self.retain(&message, now);
        }
        self.route(message, found, publisher, now)
    }

    pub(super) fn route(
        &mut self,
        message: Shared,
        found: &[(Key, Granted)],
        publisher: Option<Key>,
        now: Now,
    ) -> Reason {
        let mut heard = false;
        for (index, (who, granted)) in found.iter().enumerate() {
            if granted.options.no_local && publisher == Some(*who) {
                continue;
            }
            heard = true;
            // Several subscriptions of one session that match make one message, at the best QoS of them.
            let earlier = found.get(..index).unwrap_or(&[]);
            let own = publisher == Some(*who);
            let passed_over = |by: &Granted| by.group.is_some() || own && by.options.no_local;
            if granted.group.is_none() && earlier.iter().any(|(other, by)| other == who && !passed_over(by)) {
                continue;
            }
            let (qos, retain, ids) = match granted.group {
                Some(_) => one(*granted),
                None => together(found, *who, publisher),
            };
            let queued = Queued {
                retain: message.retain && retain,
                group: granted.group,
                ids,
                ..Queued::new(Place::new(message.clone()), message.qos.min(qos))
            };
            self.enqueue(*who, queued, now);
        }
        if heard { Reason::SUCCESS } else { Reason::NO_MATCHING_SUBSCRIBERS }
    }

    /// Put a message where the session will find it, or drop what its limits say.
    pub(super) fn enqueue(&mut self, who: Key, mut queued: Queued, now: Now) {
        let limits = &self.settings.limits;
        let Some(session) = self.sessions.get_mut(who) else { return };
        let moving = session.is_moving();
        if !moving && queued.qos == QoS::AtMostOnce {
            self.counters.dropped_qos0 += u64::from(session.conn.is_some());
            return;
        }
        let full = session.is_full(limits);
        if queued.qos == QoS::AtMostOnce && session.is_closed(limits) {
            self.counters.dropped_qos0 += 1;
            return;
        }
        let memory_bytes_max = if moving { limits.memory_bytes_max } else { stored_bytes_max(limits) };
        if self.memory_bytes() > limits.memory_bytes_max && now >= self.relief_due {
            self.forget_the_deaf(now);
        }
        if full || self.memory_bytes() > memory_bytes_max {
            if queued.qos == QoS::AtMostOnce {
                self.counters.dropped_qos0 += 1;
                return;
            }
            if !moving && self.settings.when_full != WhenFull::DropOldest {
                self.counters.dropped_full += 1;
                return;
            }
            if !moving && full {
                self.drop_oldest(who);
            } else if !moving {
                self.drop_from_the_largest();
            }
        }
        let Some(session) = self.sessions.get_mut(who) else { return };
        if session.queue.is_empty() {
            // An empty queue has nothing to be late with.
            session.progress = now;
        }
        if queued.qos != QoS::AtMostOnce {
            queued.turn = session.next_turn();
            if let Some(number) = session.durable() {
                self.ledger.queue(number, &mut queued, false);
            }
        }
        session.push(queued);
        if let Some(conn) = session.conn {
            self.ask_transmit(conn);
        }
    }

    /// The memory is full: what nobody has promised to a client that has taken nothing for too long is let go of. One that
    /// nothing was promised to gets no more before it has caught up.
    fn forget_the_deaf(&mut self, now: Now) {
        self.relief_due = now.after(PATIENCE);
        for who in self.sessions.keys() {
            let Some(session) = self.sessions.get_mut(who) else { continue };
            if session.is_moving() && !session.queue.is_empty() && session.progress.after(PATIENCE) <= now {
                self.counters.dropped_qos0 += session.drop_qos0();
                if !session.holds_something() {
                    session.pace = Pace::Stalled;
                }
            }
        }
    }

    /// False where nothing waits.
    fn drop_oldest(&mut self, who: Key) -> bool {
        let Some(session) = self.sessions.get_mut(who) else { return false };
        let Some(dropped) = session.pop() else { return false };
        self.ledger.done(session.durable(), &dropped);
        self.counters.dropped_full += 1;
        true
    }

    /// The session that nobody reads for and that holds most pays for all of them, down to half of what it has, so that
    /// looking for it is seldom.
    fn drop_from_the_largest(&mut self) {
        let enough = stored_bytes_max(&self.settings.limits);
        let standing = self.sessions.iter().filter(|(_, session)| !session.is_moving());
        let Some((who, half)) =
            standing.map(|(who, session)| (session.queue_bytes, who)).max().map(|(bytes, who)| (who, bytes / 2))
        else {
            return;
        };
        let holds_more = |broker: &Self| broker.sessions.get(who).is_some_and(|session| session.queue_bytes > half);
        while self.memory_bytes() > enough && holds_more(self) && self.drop_oldest(who) {}
    }

    /// PUBACK or PUBREC, where the QoS has one.
    fn answer(&mut self, conn: Key, version: Version, packet: &Publish<'_>, reason: Reason) {
        let Some(id) = packet.id else { return };
        if !self.is_behind_others(conn, id, packet.qos, reason) {
            self.answer_now(conn, version, id, packet.qos, reason);
        }
    }

    pub(super) fn answer_now(&mut self, conn: Key, version: Version, id: PacketId, qos: QoS, reason: Reason) {
        let first = match qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => 0x40,
            QoS::ExactlyOnce => 0x50,
        };
        if version != Version::V5 && reason.is_error() && qos == QoS::ExactlyOnce {
            // Older clients know no refusal: the exchange is played to its end, the message is dropped and counted.
            self.remember_received(conn, id);
        }
        let reason = if reason == Reason::NO_MATCHING_SUBSCRIBERS { Reason::SUCCESS } else { reason };
        if version != Version::V5 || reason == Reason::SUCCESS {
            let Some(connection) = self.conns.get_mut(conn) else { return };
            encode_plain_ack(first, id, &mut connection.control);
            self.counters.messages_sent += 1;
            return self.ask_transmit(conn);
        }
        self.send_why(conn, version, reason, Words::IfWanted, |reason_string| {
            let ack = Answer { id, reason, reason_string, user_props: crate::mqtt::packet::Props::default() };
            if first == 0x40 { Packet::PubAck(ack) } else { Packet::PubRec(ack) }
        });
    }

    fn remember_received(&mut self, conn: Key, id: PacketId) {
        let session = self.conns.get(conn).and_then(|connection| connection.open()).map(|open| open.session);
        if let Some(session) = session {
            self.note_received(session, id);
        }
    }

    fn note_received(&mut self, session: Key, id: PacketId) {
        let Some(session) = self.sessions.get_mut(session) else { return };
        if session.received.insert(id) {
            self.ledger.received(session.durable(), id);
        }
    }
}

/// Whether a publish can be taken.
enum Room {
    Enough,
    Refuse,
    WaitFor(Key),
    WaitForOutward,
}

/// Whether a message can be taken, by those who subscribed here.
pub(super) enum RoomHere {
    Enough,
    /// Somebody has no room, but takes what it is sent.
    Behind(Key),
    /// Somebody has no room, stands still, and may lose nothing.
    Blocked(Key),
    /// Somebody has room, stands still, and may lose nothing, but there is no memory to store it in.
    NoMemoryFor(Key),
}

/// What may wait for those who do not read, so that something is left for those who do.
fn stored_bytes_max(limits: &Limits) -> u64 {
    limits.memory_bytes_max / 4 * 3
}

/// What a message and the places where it waits count for, at the most.
pub(super) fn cost(size: u64, places: usize) -> u64 {
    size + places as u64 * message::PLACE_BYTES
}

fn has_room(sessions: &Table<Session>, limits: &Limits, who: Key) -> bool {
    let Some(session) = sessions.get(who) else { return false };
    session.is_moving() && !session.is_closed(limits)
}

fn one(granted: Granted) -> (QoS, bool, Ids) {
    let mut ids = Ids::default();
    if let Some(id) = granted.id {
        ids.add(id);
    }
    (granted.options.qos, granted.options.retain_as_published, ids)
}

/// The best QoS, any wish to see the retain flag, and all identifiers of one session's plain subscriptions.
fn together(found: &[(Key, Granted)], who: Key, publisher: Option<Key>) -> (QoS, bool, Ids) {
    let (mut qos, mut retain, mut ids) = (QoS::AtMostOnce, false, Ids::default());
    for (_, granted) in found.iter().filter(|(other, granted)| *other == who && granted.group.is_none()) {
        if granted.options.no_local && publisher == Some(who) {
            continue;
        }
        qos = qos.max(granted.options.qos);
        retain |= granted.options.retain_as_published;
        if let Some(id) = granted.id {
            ids.add(id);
        }
    }
    (qos, retain, ids)
}
