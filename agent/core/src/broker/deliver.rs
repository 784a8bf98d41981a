//! What a connection has to send, encoded when its socket can take it, and the acknowledgements that come back.

use std::num::NonZeroU16;

use super::connection::{Connection, Open, Phase};
use super::flights::{Step, packet_id};
use super::message::Place;
use super::pieces::Out;
use super::session::{Pace, Queued, RetainedWalk, Session};
use super::table::Key;
use super::{Broker, ConnId, Principal, Ticket, Write, outward};
use crate::mqtt::packet::{Ack, Packet, PacketId, Props, Publish, QoS, Reason, Version};
use crate::mqtt::{encode_plain_ack, encode_publish_head};
use crate::time::Now;

/// Answers that a client may leave unread before it is no longer read itself.
pub(super) const CONTROL_BYTES_MAX: usize = 64 << 10;
/// What a client gets at most of what waits for it when the broker stops; beyond, nobody waits for it.
const LAST_BYTES_MAX: usize = 256 << 10;
/// Longer topics get no alias, for it would have to be remembered what it stands for.
const ALIASED_TOPIC_BYTES_MAX: usize = 512;
/// An idle connection keeps no larger buffer than this.
const CONTROL_BYTES_KEPT: usize = 512;

/// What became of an attempt to send the next thing.
enum Sent {
    Something,
    /// There is nothing, or the client has to acknowledge first.
    Nothing,
}

impl Connection {
    /// Append the answers that wait. True where it is read no further because of them, and may be again.
    fn put_control(&mut self, out: &mut Vec<u8>) -> bool {
        let unread = self.control.len() + self.held_bytes;
        out.append(&mut self.control);
        if self.control.capacity() > CONTROL_BYTES_KEPT {
            self.control = Vec::new();
        }
        self.paused && unread >= CONTROL_BYTES_MAX && self.held_bytes < CONTROL_BYTES_MAX
    }
}

impl Broker {
    /// Append what this connection has to send to `out`, at most about `room` bytes more. What is left then waits for
    /// the next call, which the shell makes when the socket has taken these.
    pub fn poll_transmit(&mut self, conn: ConnId, out: &mut Vec<u8>, room: usize, now: Now) {
        let conn = conn.0;
        let Some(connection) = self.conns.get_mut(conn) else { return };
        connection.transmit_asked = false;
        let start = out.len();
        let end = start.saturating_add(room);
        let goes_on = !connection.begun.is_empty();
        let relieved = connection.put_begun(out, end) && connection.put_control(out);
        // Taken out while it is worked on: the session and the retained messages are reached through the broker.
        let phase = std::mem::replace(&mut connection.phase, Phase::Closing);
        let mut out = Out { bytes: out, end, begun: None };
        let phase = match phase {
            Phase::Open(mut open) => {
                if goes_on && let Some(session) = self.sessions.get_mut(open.session) {
                    session.note_progress(now);
                }
                while out.has_room() && matches!(self.send_next(&mut open, &mut out, now), Sent::Something) {}
                Phase::Open(open)
            }
            other @ (Phase::New | Phase::Proving(_) | Phase::Closing) => other,
        };
        let session = if let Phase::Open(open) = &phase { Some(open.session) } else { None };
        self.counters.bytes_sent += (out.bytes.len() - start) as u64;
        let has_room = out.has_room();
        if let Some(connection) = self.conns.get_mut(conn) {
            connection.phase = phase;
            connection.begun.extend(out.begun);
            if !connection.begun.is_empty() {
                self.ask_transmit(conn);
            }
        }
        if let Some(session) = session {
            self.after_sending(conn, session, !has_room);
        }
        if relieved {
            self.resume(conn);
        }
        self.settle(now);
    }

    /// Before the end: what waits for the client, as far as it may be sent now, goes before the last word.
    pub(super) fn say_the_rest(&mut self, conn: Key, now: Now) {
        let Some(connection) = self.conns.get_mut(conn) else { return };
        if !matches!(connection.phase, Phase::Open(_)) {
            return;
        }
        let Phase::Open(mut open) = std::mem::replace(&mut connection.phase, Phase::Closing) else { return };
        let mut control = std::mem::take(&mut connection.control);
        let mut out = Out { bytes: &mut control, end: LAST_BYTES_MAX, begun: None };
        while out.has_room() && matches!(self.send_next(&mut open, &mut out, now), Sent::Something) {}
        let begun = out.begun;
        let Some(connection) = self.conns.get_mut(conn) else { return };
        connection.begun.extend(begun.map(|begun| begun.behind(&control)));
        connection.control = control;
        connection.phase = Phase::Open(open);
        self.ask_transmit(conn);
    }

    /// Room may have come for those who wait for it, and there may be more to send.
    fn after_sending(&mut self, conn: Key, key: Key, more: bool) {
        let Some(session) = self.sessions.get(key) else { return };
        let has_more = more && session.has_something_to_send();
        self.eased.insert(key);
        if has_more {
            self.ask_transmit(conn);
        }
    }

    fn send_next(&mut self, open: &mut Open, out: &mut Out<'_>, now: Now) -> Sent {
        let Some(session) = self.sessions.get_mut(open.session) else { return Sent::Nothing };
        let Some(conn) = session.conn else { return Sent::Nothing };
        let most = session.most_at_once(open.receive_max);
        if let Some(next) = session.in_flight.next_resend() {
            let by = released_by(next);
            self.ledger.wait_for(by, conn);
            let has_room = matches!(next, Step::Release(_)) || session.in_flight.sent() < most;
            if !has_room || !self.ledger.is_stored(by) {
                return Sent::Nothing;
            }
            let Some(id) = session.in_flight.take_resend() else { return Sent::Nothing };
            return self.send_again(open, id, out, now);
        }
        let bytes_max = self.settings.limits.queue_bytes_max.max(1);
        let is_full = session.in_flight.len() >= most || session.in_flight.bytes() >= bytes_max;
        if session.ahead.is_none()
            && let Some(walk) = session.walks.first_entry()
        {
            if is_full && walk.get().granted.options.qos != QoS::AtMostOnce {
                return Sent::Nothing;
            }
            let (filter, walk) = walk.remove_entry();
            return self.walk_on(open, filter, walk, out, now);
        }
        let Some(next) = session.ahead.as_ref().or(session.queue.front()) else { return Sent::Nothing };
        if next.qos != QoS::AtMostOnce {
            let by = next.kept.filter(|_| next.qos == QoS::ExactlyOnce).map_or(Ticket::default(), |kept| kept.by);
            self.ledger.wait_for(by, conn);
            if is_full || !session.in_flight.has_room_for(next.turn) || !self.ledger.is_stored(by) {
                return Sent::Nothing;
            }
        }
        let Some(queued) = session.ahead.take().or_else(|| session.pop()) else { return Sent::Nothing };
        session.note_progress(now);
        self.send_first(open, queued, out, now);
        Sent::Something
    }

    /// One step through the retained messages of a new subscription.
    fn walk_on(
        &mut self,
        open: &mut Open,
        filter: Box<str>,
        mut walk: RetainedWalk,
        out: &mut Out<'_>,
        now: Now,
    ) -> Sent {
        let own = filter.starts_with(super::figures::ROOT);
        let retained = if own { &self.figures.retained } else { &self.retained };
        let portion = retained.next(&filter, walk.after.as_deref(), now);
        walk.after = portion.after.or(walk.after);
        let granted = walk.granted;
        if !portion.ended
            && let Some(session) = self.sessions.get_mut(open.session)
        {
            session.walks.insert(filter, walk);
        }
        if let Some(message) = portion.found.map(Place::new) {
            let mut ids = super::session::Ids::default();
            if let Some(id) = granted.id {
                ids.add(id);
            }
            let qos = message.qos.min(granted.options.qos);
            let mut queued = Queued { ids, retain: true, ..Queued::new(message, qos) };
            if qos == QoS::AtMostOnce {
                self.send_first(open, queued, out, now);
            } else if let Some(session) = self.sessions.get_mut(open.session) {
                queued.turn = session.next_turn();
                if let Some(number) = session.durable() {
                    self.ledger.queue(number, &mut queued, true);
                }
                session.ahead = Some(queued);
            }
        }
        Sent::Something
    }

    fn send_first(&mut self, open: &mut Open, queued: Queued, out: &mut Out<'_>, now: Now) {
        let Some(session) = self.sessions.get_mut(open.session) else { return };
        let id = (queued.qos != QoS::AtMostOnce).then(|| packet_id(queued.turn));
        let counters = &mut self.counters;
        let dropped = if queued.message.is_expired(now) {
            Some(&mut counters.dropped_expired)
        } else if !may_hear(&session.principal, &queued.message.topic) {
            Some(&mut counters.dropped_rights)
        } else if !put_publish(open, &queued, id, queued.again, out, now) {
            Some(&mut counters.dropped_too_large)
        } else {
            None
        };
        if let Some(dropped) = dropped {
            *dropped += 1;
            return self.ledger.done(session.durable(), &queued);
        }
        self.counters.publishes_sent += 1;
        self.counters.publish_bytes_sent += queued.message.payload.len() as u64;
        self.counters.messages_sent += 1;
        if id.is_some() {
            session.in_flight.push(Queued { again: false, ..queued });
        }
    }

    /// What an earlier connection left unacknowledged.
    fn send_again(&mut self, open: &mut Open, id: PacketId, out: &mut Out<'_>, now: Now) -> Sent {
        let Some(session) = self.sessions.get_mut(open.session) else { return Sent::Nothing };
        match session.in_flight.step(id) {
            None => {}
            Some(Step::Release(_)) => encode_plain_ack(0x62, id, out.bytes),
            Some(Step::Publish(queued)) if !may_hear(&session.principal, &queued.message.topic) => {
                self.counters.dropped_rights += 1;
                self.forget_flight(open.session, id, now);
                return Sent::Something;
            }
            Some(Step::Publish(queued)) if put_publish(open, queued, Some(id), true, out, now) => {
                self.counters.publishes_sent += 1;
                self.counters.publish_bytes_sent += queued.message.payload.len() as u64;
            }
            Some(Step::Publish(_)) => {
                self.counters.dropped_too_large += 1;
                self.forget_flight(open.session, id, now);
                return Sent::Something;
            }
        }
        self.counters.messages_sent += 1;
        Sent::Something
    }

    /// What has expired and waited in an earlier life. Whether it was sent there nobody knows; the client is to be done with
    /// it either way, and has to let go of a QoS 2 message that it may hold.
    pub(super) fn pass_over_expired(&mut self, session: Key, now: Now) {
        let Some(known) = self.sessions.get_mut(session) else { return };
        let durable = known.durable();
        for id in known.in_flight.expired_before_sent(now) {
            self.counters.dropped_expired += 1;
            match known.in_flight.step(id) {
                Some(Step::Publish(queued)) if queued.qos == QoS::ExactlyOnce => {
                    let kept = self.ledger.taken(durable, queued);
                    known.in_flight.note_released(id, kept);
                }
                Some(_) | None => {
                    known.in_flight.remove(id).into_iter().for_each(|ended| self.ledger.ended(durable, &ended));
                }
            }
        }
    }

    fn forget_flight(&mut self, session: Key, id: PacketId, now: Now) {
        let Some(known) = self.sessions.get_mut(session) else { return };
        if let Some(ended) = known.in_flight.remove(id) {
            known.note_progress(now);
            self.ledger.ended(known.durable(), &ended);
        }
    }

    /// PUBACK, PUBREC and PUBCOMP: the client has taken something. In any order; what is not known is answered or
    /// passed over.
    pub(super) fn acknowledged(&mut self, conn: Key, packet: &Packet<'_>, now: Now) {
        let Some(open) = self.conns.get(conn).and_then(|connection| connection.open()) else { return };
        let (key, version) = (open.session, open.version);
        let Some(session) = self.sessions.get(key) else { return };
        match packet {
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack) => {
                if session.in_flight.step(ack.id).is_some_and(|step| !fits(step, packet)) {
                    return self.fault(conn, Reason::PROTOCOL_ERROR, now);
                }
                if ack.reason.is_error() && !matches!(packet, Packet::PubComp(_)) {
                    self.refused_by_client(key, ack, now);
                } else if matches!(packet, Packet::PubRec(_)) {
                    self.received_by_client(conn, key, version, ack, now);
                } else {
                    self.forget_flight(key, ack.id, now);
                }
            }
            Packet::Connect(_) | Packet::ConnAck(_) | Packet::Publish(_) | Packet::PubRel(_) => {}
            Packet::Subscribe(_) | Packet::SubAck(_) | Packet::Unsubscribe(_) | Packet::UnsubAck(_) => {}
            Packet::PingReq | Packet::PingResp | Packet::Disconnect(_) | Packet::Auth(_) => {}
        }
        if self.sessions.get(key).is_some_and(Session::has_something_to_send) {
            self.ask_transmit(conn);
        }
        self.eased.insert(key);
    }

    /// Whether room has come for those who wait for it.
    pub(super) fn let_wait_no_longer(&mut self, key: Key) {
        let limits = &self.settings.limits;
        let has_memory = self.memory_bytes() < limits.memory_bytes_max;
        let Some(session) = self.sessions.get_mut(key) else { return };
        if !session.has_room(limits) {
            return;
        }
        session.pace = Pace::Moving;
        if !has_memory && session.holds_something() {
            return;
        }
        // Who waits no more has no turn.
        while let Some(session) = self.sessions.get_mut(key).filter(|session| !session.waiting.is_empty()) {
            let waiting = session.whose_turn();
            if self.go_on(waiting) {
                return;
            }
        }
    }

    fn received_by_client(&mut self, conn: Key, key: Key, version: Version, ack: &Ack<'_>, now: Now) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if let Some(queued) = session.in_flight.release(ack.id) {
            session.note_progress(now);
            let kept = self.ledger.taken(session.durable(), &queued);
            session.in_flight.note_released(ack.id, kept);
        }
        let (by, reason) = match session.in_flight.step(ack.id) {
            Some(step) => (released_by(step), Reason::SUCCESS),
            None => (Ticket::default(), Reason::PACKET_ID_NOT_FOUND),
        };
        self.once_stored(conn, by, |broker| broker.send_release(conn, version, ack.id, reason));
    }

    fn send_release(&mut self, conn: Key, version: Version, id: PacketId, reason: Reason) {
        let ack = Ack { id, reason, reason_string: None, user_props: Props::default() };
        self.send(conn, &Packet::PubRel(ack), version);
    }

    /// PUBREL: the client will not send this one again.
    pub(super) fn released(&mut self, conn: Key, ack: &Ack<'_>) {
        let Some(open) = self.conns.get(conn).and_then(|connection| connection.open()) else { return };
        let (key, version) = (open.session, open.version);
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.unsettled.retain(|_, unsettled| unsettled.id != ack.id);
        let known = session.received.remove(&ack.id);
        if known && let Some(number) = session.durable() {
            self.ledger.write(Write::Released { session: number, id: ack.id });
            session.released_by = self.ledger.ticket();
        }
        let by = session.released_by;
        let reason = if known { Reason::SUCCESS } else { Reason::PACKET_ID_NOT_FOUND };
        let answer = Ack { id: ack.id, reason, reason_string: None, user_props: Props::default() };
        self.once_stored(conn, by, |broker| broker.send(conn, &Packet::PubComp(answer), version));
    }
}

/// What has to be stored before PUBREL may go out.
fn released_by(step: &Step) -> Ticket {
    match step {
        Step::Release(Some(kept)) => kept.by,
        Step::Release(None) | Step::Publish(_) => Ticket::default(),
    }
}

/// By the rights as they are now.
pub(super) fn may_hear(who: &Principal, topic: &str) -> bool {
    who.rights.subscribe.topic(topic) || outward::is_for_everyone(topic)
}

/// Whether this is the acknowledgement that is awaited. A PUBREC may come again, before PUBREL has.
fn fits(step: &Step, packet: &Packet<'_>) -> bool {
    match step {
        Step::Publish(queued) if queued.qos == QoS::AtLeastOnce => matches!(packet, Packet::PubAck(_)),
        Step::Publish(_) => matches!(packet, Packet::PubRec(_)),
        Step::Release(_) => matches!(packet, Packet::PubRec(_) | Packet::PubComp(_)),
    }
}

/// False where the packet is larger than the client takes; then nothing is written.
fn put_publish(open: &mut Open, queued: &Queued, id: Option<PacketId>, dup: bool, out: &mut Out<'_>, now: Now) -> bool {
    let message = &queued.message;
    let (topic, topic_alias) = alias(open, &message.topic);
    let publish = Publish {
        dup,
        retain: queued.retain,
        qos: queued.qos,
        id,
        topic,
        payload: &message.payload,
        topic_alias,
        expiry_s: message.expiry_s(now),
        props: message.props(),
    };
    let before = out.bytes.len();
    let length = encode_publish_head(&publish, queued.ids.as_slice(), open.version, out.bytes);
    if length.is_ok_and(|length| length <= open.packet_bytes_max) {
        out.put_rest(message, open.version);
        return true;
    }
    out.bytes.truncate(before);
    // The client never sees the topic that would have come with a new alias.
    if topic_alias.is_some() && !topic.is_empty() {
        open.aliases_out.remove(&*message.topic);
    }
    false
}

/// The first topics of a connection get an alias, as many as the client allows.
fn alias<'t>(open: &mut Open, topic: &'t str) -> (&'t str, Option<NonZeroU16>) {
    if open.aliases_out_max == 0 {
        return (topic, None);
    }
    if let Some(known) = open.aliases_out.get(topic) {
        return ("", Some(*known));
    }
    if open.aliases_out.len() >= usize::from(open.aliases_out_max) || topic.len() > ALIASED_TOPIC_BYTES_MAX {
        return (topic, None);
    }
    let next = u16::try_from(open.aliases_out.len() + 1).ok().and_then(NonZeroU16::new);
    if let Some(next) = next {
        open.aliases_out.insert(topic.into(), next);
    }
    (topic, next)
}
