//! CONNECT to CONNACK, take-over, and the end of connections and sessions.

use std::num::NonZeroU16;
use std::rc::Rc;
use std::time::Duration;

use super::connection::{ALIASES_IN_MAX, ALIASES_OUT_MAX, Open, Phase};
use super::keeping::note_session_gone;
use super::message::Shared;
use super::session::Session;
use super::table::Key;
use super::why::Words;
use super::{Action, Broker, ConnId, Principal, SESSIONS_PER_CONNECTION, Timer, Trust, Verdict, Will};
use crate::mqtt::decode;
use crate::mqtt::packet::{ConnAck, Connect, Disconnect, Packet, Reason, Version};
use crate::time::Now;
use crate::topic;

/// How long bytes that are still to be sent keep a closing connection open.
const LINGER: Duration = Duration::from_secs(2);
/// Connections that may take that long at a time. One more is closed at once, as is one that never said who it is:
/// whoever comes only to be refused would else use up all sockets.
const CLOSING_MAX: usize = 256;
/// Longest client identifier, in bytes.
const CLIENT_ID_MAX: usize = 256;

impl Broker {
    pub(super) fn connect(&mut self, conn: Key, packet: &Connect<'_>, raw: &[u8], now: Now) {
        self.counters.connects_received += 1;
        let Some(connection) = self.conns.get_mut(conn) else { return };
        if let Some(max) = packet.packet_bytes_max {
            connection.answer_bytes_max = usize::try_from(max).unwrap_or(usize::MAX);
        }
        if packet.auth_method.is_some() {
            return self.refuse(conn, packet.version, Reason::BAD_AUTHENTICATION_METHOD, now);
        }
        match connection.peer.trust {
            Trust::Local => {
                let principal = self.local.clone();
                self.admit(conn, packet, principal, now);
            }
            Trust::Password => {
                let (Some(user), Some(password)) = (packet.user, packet.password) else {
                    return self.refuse(conn, packet.version, Reason::NOT_AUTHORIZED, now);
                };
                if connection.peer.address.is_some_and(|address| self.failures.are_too_many(address, now)) {
                    self.counters.logins_limited += 1;
                    return self.refuse(conn, packet.version, Reason::CONNECTION_RATE_EXCEEDED, now);
                }
                connection.phase = Phase::Proving(raw.into());
                self.pause(conn);
                let (user, password) = (user.into(), password.into());
                self.actions.push_back(Action::Authenticate { conn: ConnId(conn), user, password });
            }
        }
    }

    /// The answer to `Action::Authenticate`.
    pub fn handle_verdict(&mut self, conn: ConnId, verdict: Verdict, now: Now) {
        let Some(connection) = self.conns.get_mut(conn.0) else { return };
        let Phase::Proving(raw) = &mut connection.phase else { return };
        let raw = std::mem::take(raw);
        connection.phase = Phase::New;
        let Ok(Some((Packet::Connect(packet), _))) = decode(&raw, None, raw.len()) else {
            self.close(conn.0, Reason::UNSPECIFIED, now);
            return self.settle(now);
        };
        match verdict {
            Verdict::Welcome(principal) => self.admit(conn.0, &packet, Rc::new(principal), now),
            Verdict::Busy => self.refuse(conn.0, packet.version, Reason::SERVER_BUSY, now),
            Verdict::Refused => {
                self.counters.wrong_passwords += 1;
                let address = self.conns.get(conn.0).and_then(|connection| connection.peer.address);
                if let Some(address) = address {
                    self.failures.note(address, now);
                }
                self.refuse(conn.0, packet.version, Reason::BAD_USER_OR_PASSWORD, now);
            }
        }
        self.resume(conn.0);
        self.settle(now);
    }

    fn admit(&mut self, conn: Key, packet: &Connect<'_>, principal: Rc<Principal>, now: Now) {
        if let Some(reason) = reason_to_refuse(packet) {
            return self.refuse(conn, packet.version, reason, now);
        }
        let assigned = packet.client_id.is_empty().then(|| self.assign_id());
        let name = assigned.as_deref().unwrap_or(packet.client_id);
        let client_id = self.scoped_id(conn, &principal, name);
        if let Some(reason) = self.no_room_for(&client_id, packet) {
            return self.refuse(conn, packet.version, reason, now);
        }
        if let Some(before) = self.by_client.get(&client_id).copied() {
            self.take_over(before, now);
            if packet.clean_start {
                // Where its own expiry has ended it already, there is nothing left to end.
                self.end_session(before, now);
            }
        }
        let (session, present) = match self.by_client.get(&client_id).copied() {
            Some(session) => (session, true),
            None => (self.new_session(client_id, &principal, now), false),
        };
        let expiry = self.expiry_of(packet);
        self.bind(conn, session, packet, principal, expiry, now);
        self.greet(conn, packet, assigned.as_deref(), present, expiry);
        if self.conns.get(conn).is_some_and(|connection| connection.unanswerable) {
            return self.ungreeted(conn, packet.version, now);
        }
        self.counters.connections_accepted += 1;
        if self.sessions.get(session).is_some_and(Session::has_something_to_send) {
            self.ask_transmit(conn);
        }
    }

    /// Whoever takes over its own connection or comes back to its session needs no new place.
    fn no_room_for(&self, client_id: &str, packet: &Connect<'_>) -> Option<Reason> {
        if packet.will.is_some() && self.memory_bytes() > self.settings.limits.memory_bytes_max {
            return Some(Reason::QUOTA_EXCEEDED);
        }
        let known = self.by_client.get(client_id).and_then(|session| self.sessions.get(*session));
        let connections_max = self.settings.limits.connections_max as usize;
        if self.open_count >= connections_max && known.is_none_or(|session| session.conn.is_none()) {
            return Some(Reason::SERVER_BUSY);
        }
        let sessions_max = connections_max * SESSIONS_PER_CONNECTION;
        (known.is_none() && self.sessions.len() >= sessions_max).then_some(Reason::QUOTA_EXCEEDED)
    }

    fn assign_id(&mut self) -> String {
        self.ids_assigned += 1;
        format!("auto-{:016x}-{}", self.settings.id_seed, self.ids_assigned)
    }

    /// Devices cannot take each other's sessions: a client identifier counts within its owner.
    fn scoped_id(&self, conn: Key, principal: &Principal, name: &str) -> Box<str> {
        match self.conns.get(conn).map(|connection| &connection.peer.trust) {
            Some(Trust::Password) => format!("{}\0{name}", principal.name).into(),
            Some(Trust::Local) | None => name.into(),
        }
    }

    pub(super) fn new_session(&mut self, client_id: Box<str>, principal: &Rc<Principal>, now: Now) -> Key {
        let session = self.sessions.insert(Session::new(client_id.clone(), principal.clone(), now));
        self.by_client.insert(client_id, session);
        session
    }

    fn expiry_of(&self, packet: &Connect<'_>) -> Duration {
        let max = self.settings.limits.session_expiry_max;
        match (packet.version, packet.session_expiry_s) {
            (Version::V5, seconds) => Duration::from_secs(u64::from(seconds.unwrap_or(0))).min(max),
            (Version::V31 | Version::V311, _) if packet.clean_start => Duration::ZERO,
            (Version::V31 | Version::V311, _) => max,
        }
    }

    /// Tie the connection and its session together.
    fn bind(
        &mut self,
        conn: Key,
        session: Key,
        packet: &Connect<'_>,
        principal: Rc<Principal>,
        expiry: Duration,
        now: Now,
    ) {
        let keep_alive_s = self.keep_alive_s(packet);
        if expiry.is_zero() {
            // What it was when it outlived its connections is over on disk, and goes on in memory until this one ends.
            self.forget_session(session);
        }
        if let Some(known) = self.sessions.get_mut(session) {
            if let Some(ends) = known.ends() {
                self.timers.remove(&(ends, Timer::SessionEnd(session)));
            }
            if let Some((at, _)) = known.will.take() {
                self.timers.remove(&(at, Timer::Will(session)));
            }
            known.principal = principal;
            known.conn = Some(conn);
            known.left = None;
            known.expiry = expiry;
            known.begin_to_move(now);
            known.in_flight.resend_all();
        }
        self.pass_over_expired(session, now);
        let will = packet.will.as_ref().map(|will| Box::new(self.will_of(will)));
        let limits = &self.settings.limits;
        let silence_max_us = u64::from(keep_alive_s) * 1_500_000;
        let Some(connection) = self.conns.get_mut(conn) else { return };
        connection.phase = Phase::Open(Box::new(Open {
            session,
            version: packet.version,
            silence_max_us,
            receive_max: packet.receive_max.map_or(u16::MAX, NonZeroU16::get).min(limits.inflight_max),
            packet_bytes_max: packet
                .packet_bytes_max
                .map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX)),
            wants_words: packet.request_problem_info,
            will,
            alias_bytes: 0,
            aliases_in: std::collections::BTreeMap::new(),
            aliases_out: std::collections::BTreeMap::new(),
            aliases_out_max: packet.topic_alias_max.min(ALIASES_OUT_MAX),
            withheld: std::collections::VecDeque::new(),
        }));
        self.open_count += 1;
        self.open_count_max = self.open_count_max.max(self.open_count);
        self.new_count -= 1;
        self.note_standing(session);
        if silence_max_us > 0 {
            let at = now.after(Duration::from_micros(silence_max_us));
            self.arm(conn, Some((at, Timer::Silence(conn))));
        } else {
            self.arm(conn, None);
        }
    }

    /// The limit is a longest one: a client that asks for less wants its silence noticed sooner, and shall have that.
    fn keep_alive_s(&self, packet: &Connect<'_>) -> u16 {
        let asked = packet.keep_alive_s;
        let Some(longest) = self.settings.limits.keep_alive else { return asked };
        let longest = u16::try_from(longest.as_secs()).unwrap_or(u16::MAX);
        let told = packet.version == Version::V5;
        if told && (asked == 0 || asked > longest) { longest } else { asked }
    }

    fn greet(&mut self, conn: Key, packet: &Connect<'_>, assigned: Option<&str>, present: bool, expiry: Duration) {
        let client_id = assigned.unwrap_or(packet.client_id);
        let limits = &self.settings.limits;
        let keep_alive_s = self.keep_alive_s(packet);
        let expiry_s = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
        let response_info = packet.request_response_info.then(|| self.response_info(conn, client_id)).flatten();
        let connack = ConnAck {
            session_present: present,
            reason: Reason::SUCCESS,
            session_expiry_s: (packet.session_expiry_s.unwrap_or(0) != expiry_s).then_some(expiry_s),
            receive_max: NonZeroU16::new(limits.inflight_max),
            packet_bytes_max: Some(limits.packet_bytes_max),
            assigned_client_id: assigned,
            topic_alias_max: ALIASES_IN_MAX,
            server_keep_alive_s: (keep_alive_s != packet.keep_alive_s).then_some(keep_alive_s),
            response_info: response_info.as_deref(),
            ..ConnAck::default()
        };
        // 3.1 and 3.1.1: MQIsdp has no flag for a session that was there.
        let connack =
            if packet.version == Version::V31 { ConnAck { session_present: false, ..connack } } else { connack };
        self.send(conn, &Packet::ConnAck(Box::new(connack)), packet.version);
    }

    /// Topics that are this client's alone, as long as nobody takes its identifier, where it may hear answers there.
    fn response_info(&self, conn: Key, client_id: &str) -> Option<String> {
        let connection = self.conns.get(conn)?;
        let principal = &self.sessions.get(connection.open()?.session)?.principal;
        let own = match connection.peer.trust {
            Trust::Local => format!("reply/{client_id}/"),
            Trust::Password => format!("reply/{}/{client_id}/", principal.name),
        };
        let may_hear = topic::check_name(&own).is_ok() && principal.rights.subscribe.filter(&format!("{own}#"));
        may_hear.then_some(own)
    }

    /// The client takes no packet as long as the one that lets it in: it was never here.
    fn ungreeted(&mut self, conn: Key, version: Version, now: Now) {
        if let Some(open) = self.conns.get_mut(conn).and_then(|connection| connection.open_mut()) {
            open.will = None;
        }
        self.refuse(conn, version, Reason::PACKET_TOO_LARGE, now);
    }

    /// A CONNACK that says no, and the end.
    pub(super) fn refuse(&mut self, conn: Key, version: Version, reason: Reason, now: Now) {
        self.counters.connections_refused += 1;
        let connack =
            |reason_string| Packet::ConnAck(Box::new(ConnAck { reason, reason_string, ..ConnAck::default() }));
        self.send_why(conn, version, reason, Words::Always, connack);
        self.close_silently(conn, now);
    }

    /// End a connection from our side, with a word to those whose protocol has one.
    pub(super) fn close(&mut self, conn: Key, reason: Reason, now: Now) {
        self.close_with(conn, reason, None, now);
    }

    pub(super) fn close_with(&mut self, conn: Key, reason: Reason, server_reference: Option<&str>, now: Now) {
        let version = self.conns.get(conn).and_then(|connection| connection.open()).map(|open| open.version);
        if version == Some(Version::V5) {
            let disconnect = |reason_string| {
                Packet::Disconnect(Disconnect { reason, reason_string, server_reference, ..Disconnect::default() })
            };
            self.send_why(conn, Version::V5, reason, Words::Always, disconnect);
        }
        self.close_silently(conn, now);
    }

    pub(super) fn close_silently(&mut self, conn: Key, now: Now) {
        let Some(connection) = self.conns.get_mut(conn) else { return };
        if matches!(connection.phase, Phase::Closing) {
            return;
        }
        connection.input = Vec::new();
        let was_new = matches!(connection.phase, Phase::New) && connection.control.is_empty();
        self.leave(conn, now);
        self.count_input(conn);
        let closing = self.conns.len().saturating_sub(self.open_count + self.new_count);
        let at_once = was_new || closing > CLOSING_MAX && !self.stopping;
        let linger = if at_once { Duration::ZERO } else { LINGER };
        self.actions.push_back(Action::Close { conn: ConnId(conn), linger });
    }

    /// The connection serves its session no longer. Its will, unless a DISCONNECT took it back, is on its way.
    pub(super) fn leave(&mut self, conn: Key, now: Now) {
        self.arm(conn, None);
        let Some(connection) = self.conns.get_mut(conn) else { return };
        let open = match std::mem::replace(&mut connection.phase, Phase::Closing) {
            Phase::Open(open) => open,
            Phase::New | Phase::Proving(_) => {
                self.new_count -= 1;
                return;
            }
            Phase::Closing => return,
        };
        self.open_count -= 1;
        self.wait_for_outward_no_more(conn);
        let key = open.session;
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.conn = None;
        session.walks.clear();
        let waiting = std::mem::take(&mut session.waiting);
        let ends = self.await_return(key, open.will.map(|will| *will), now);
        self.go_on(waiting);
        if ends <= now {
            self.end_session(key, now);
        } else {
            self.note_standing(key);
            self.will_due(key, now);
        }
    }

    /// A session without a connection, since it `left`: when its will is said, and when it ends.
    pub(super) fn await_return(&mut self, key: Key, will: Option<Will>, left: Now) -> Now {
        let Some(session) = self.sessions.get_mut(key) else { return left };
        let ends = left.after(session.expiry);
        session.left = Some(left);
        if let Some(will) = will {
            let delay = Duration::from_secs(u64::from(will.delay_s)).min(session.expiry);
            let at = left.after(delay);
            session.will = Some((at, will));
            self.timers.insert((at, Timer::Will(key)));
        }
        self.timers.insert((ends, Timer::SessionEnd(key)));
        ends
    }

    fn take_over(&mut self, session: Key, now: Now) {
        if let Some(conn) = self.sessions.get(session).and_then(|session| session.conn) {
            self.close(conn, Reason::SESSION_TAKEN_OVER, now);
        }
    }

    /// Forget a session and all that waits for it.
    pub(super) fn end_session(&mut self, key: Key, now: Now) {
        if let Some(session) = self.sessions.get_mut(key)
            && let Some((at, _)) = &mut session.will
        {
            self.timers.remove(&(*at, Timer::Will(key)));
            *at = now;
            self.will_due(key, now);
        }
        let Some(mut session) = self.sessions.remove(key) else { return };
        if let Some(ends) = session.ends() {
            self.timers.remove(&(ends, Timer::SessionEnd(key)));
        }
        if let Some((at, _)) = session.will {
            self.timers.remove(&(at, Timer::Will(key)));
        }
        if let Some(at) = session.stall_at {
            self.timers.remove(&(at, Timer::Stall(key)));
        }
        self.by_client.remove(&session.client_id);
        for filter in session.subscriptions.keys() {
            if let Some(target) = super::filter_tree::target(filter) {
                self.tree.remove(target, key);
                self.unwanted(target.filter);
            }
        }
        note_session_gone(&mut self.ledger, &session);
        let kept: Vec<Shared> = session
            .all_waiting()
            .filter(|queued| queued.kept.is_some())
            .map(|queued| (*queued.message).clone())
            .collect();
        let left = session.in_flight.into_unacknowledged().chain(session.ahead).chain(session.queue).collect();
        self.hand_on(&session.subscriptions, left, now);
        kept.iter().for_each(|message| self.ledger.let_go(message));
        self.go_on(session.waiting);
    }

    pub(super) fn disconnect(&mut self, conn: Key, packet: &Disconnect<'_>, now: Now) {
        let limit = self.settings.limits.session_expiry_max;
        let Some(open) = self.conns.get_mut(conn).and_then(|connection| connection.open_mut()) else { return };
        if packet.reason != Reason::DISCONNECT_WITH_WILL {
            open.will = None;
        }
        let key = open.session;
        if let (Some(seconds), Some(session)) = (packet.session_expiry_s, self.sessions.get_mut(key)) {
            if session.expiry.is_zero() && seconds > 0 {
                self.counters.protocol_errors += 1;
                return self.close(conn, Reason::PROTOCOL_ERROR, now);
            }
            let expiry = Duration::from_secs(u64::from(seconds)).min(limit);
            if expiry.is_zero() {
                self.forget_session(key);
            }
            if let Some(session) = self.sessions.get_mut(key) {
                session.expiry = expiry;
            }
        }
        self.close_silently(conn, now);
    }
}

/// What is wrong with a CONNECT in itself.
fn reason_to_refuse(packet: &Connect<'_>) -> Option<Reason> {
    if packet.client_id.len() > CLIENT_ID_MAX {
        return Some(Reason::CLIENT_ID_NOT_VALID);
    }
    let needs_id = match packet.version {
        Version::V31 => true,
        Version::V311 => !packet.clean_start,
        Version::V5 => false,
    };
    if packet.client_id.is_empty() && needs_id {
        return Some(Reason::CLIENT_ID_NOT_VALID);
    }
    let will = packet.will.as_ref()?;
    (!super::outward::is_for_programs(will.topic)).then_some(Reason::NOT_AUTHORIZED)
}
