//! Bytes in: taking packets apart, and when to read no more.
//!
//! A publish that has to wait keeps what came behind it waiting too, but for acknowledgements: two clients that feed
//! each other would else lock each other up.

use super::connection::{Connection, Phase};
use super::table::Key;
use super::{Action, Broker, ConnId, FIRST_BYTES_MAX, Flow, deliver};
use crate::mqtt::packet::{Packet, Reason, Version};
use crate::mqtt::{DecodeError, decode, length_of, version_of_connect};
use crate::time::Now;

/// Bytes that a connection may have waiting behind a publish before it is read no more.
const HELD_INPUT_MAX: usize = 64 << 10;
/// What they take then, with those that were read last, in a buffer that doubles.
const HELD_BYTES_MAX: usize = 4 * HELD_INPUT_MAX;

impl Broker {
    pub(super) fn process_input(&mut self, conn: Key, bytes: &[u8], now: Now) {
        self.take_input(conn, bytes, now);
        self.count_input(conn);
        let limits = &self.settings.limits;
        let most = (limits.memory_bytes_max / 4).max(4 * u64::from(limits.packet_bytes_max));
        if self.input_bytes as u64 > most {
            let largest = self.conns.iter().max_by_key(|(_, connection)| connection.input_counted);
            if let Some((conn, _)) = largest {
                self.close(conn, Reason::QUOTA_EXCEEDED, now);
            }
        }
    }

    /// What a connection's input takes goes into the sum of all. While it waits for us it has its own limit, and only a
    /// large packet counts.
    pub(super) fn count_input(&mut self, conn: Key) {
        let Some(connection) = self.conns.get_mut(conn) else { return };
        let own = if connection.paused { HELD_BYTES_MAX } else { 0 };
        let count = connection.input.capacity().saturating_sub(own);
        self.input_bytes = self.input_bytes + count - std::mem::replace(&mut connection.input_counted, count);
    }

    fn take_input(&mut self, conn: Key, bytes: &[u8], now: Now) {
        let Some(connection) = self.conns.get_mut(conn) else { return };
        if matches!(connection.phase, Phase::Closing) {
            return;
        }
        connection.last_seen = now;
        if connection.paused {
            connection.input.extend_from_slice(bytes);
            return self.look_ahead(conn, now);
        }
        connection.looked_at = 0;
        let rest = self.complete_input(conn, bytes, now);
        let used = self.packets(conn, rest, now);
        if let (Some(connection), Some(rest)) = (self.conns.get_mut(conn), rest.get(used..)) {
            connection.input.extend_from_slice(rest);
        }
        self.look_ahead(conn, now);
    }

    /// Deal with what was there before, with no more of `bytes` added than that takes: what is whole in them need not be
    /// copied. Gives back the others.
    fn complete_input<'b>(&mut self, conn: Key, bytes: &'b [u8], now: Now) -> &'b [u8] {
        let mut rest = bytes;
        loop {
            let Some(connection) = self.conns.get_mut(conn) else { return rest };
            if connection.input.is_empty() {
                return rest;
            }
            let mut input = std::mem::take(&mut connection.input);
            let (lacking, others) = rest.split_at(missing(&input).min(rest.len()));
            rest = others;
            input.extend_from_slice(lacking);
            let used = self.packets(conn, &input, now);
            let Some(connection) = self.conns.get_mut(conn) else { return rest };
            if matches!(connection.phase, Phase::Closing) {
                return rest;
            }
            if used < input.len() {
                input.drain(..used);
                if input.capacity() > HELD_BYTES_MAX {
                    // It grew for one large packet.
                    input.shrink_to_fit();
                }
                connection.input = input;
            }
            if used == 0 && lacking.is_empty() || connection.paused {
                return rest;
            }
        }
    }

    /// Deal with the acknowledgements that came behind a publish that waits. Each packet is looked at once for every
    /// time that its connection begins to wait.
    fn look_ahead(&mut self, conn: Key, now: Now) {
        let packet_bytes_max = self.settings.limits.packet_bytes_max as usize;
        let Some(connection) = self.conns.get_mut(conn).filter(|connection| connection.paused) else { return };
        let Phase::Open(open) = &connection.phase else { return };
        let version = open.version;
        let mut input = std::mem::take(&mut connection.input);
        let mut at = connection.looked_at.min(input.len());
        let mut kept = at;
        while let Some(rest) = input.get(at..)
            && let Ok(Some((packet, length))) = decode(rest, Some(version), packet_bytes_max)
        {
            if matches!(packet, Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_)) {
                self.counters.messages_received += 1;
                self.acknowledged(conn, &packet, now);
            } else {
                input.copy_within(at..at + length, kept);
                kept += length;
            }
            at += length;
        }
        // What is cut off, or no packet, waits for its turn.
        input.drain(kept..at);
        let Some(connection) = self.conns.get_mut(conn) else { return };
        if matches!(connection.phase, Phase::Closing) {
            return;
        }
        connection.looked_at = kept;
        connection.input = input;
        if connection.input.len() >= HELD_INPUT_MAX {
            self.pause(conn);
        }
    }

    /// Deal with every whole packet, and say how many bytes are done with.
    fn packets(&mut self, conn: Key, bytes: &[u8], now: Now) -> usize {
        let packet_bytes_max = self.settings.limits.packet_bytes_max as usize;
        let mut used = 0;
        loop {
            let Some(connection) = self.conns.get(conn).filter(|connection| !connection.paused) else { return used };
            let (version, most) = match &connection.phase {
                Phase::New => (None, FIRST_BYTES_MAX.min(packet_bytes_max)),
                Phase::Open(open) => (Some(open.version), packet_bytes_max),
                Phase::Proving(_) => return used,
                Phase::Closing => return bytes.len(),
            };
            let Some(rest) = bytes.get(used..) else { return used };
            match decode(rest, version, most) {
                Ok(None) => return used,
                Ok(Some((packet, length))) => {
                    self.counters.messages_received += 1;
                    let raw = rest.get(..length).unwrap_or(rest);
                    if self.packet(conn, &packet, raw, now) == Flow::Wait {
                        self.counters.messages_received -= 1;
                        return used;
                    }
                    used += length;
                }
                Err(error) => {
                    self.broken(conn, version.or_else(|| version_of_connect(rest)), &error, now);
                    return bytes.len();
                }
            }
        }
    }

    fn packet(&mut self, conn: Key, packet: &Packet<'_>, raw: &[u8], now: Now) -> Flow {
        match packet {
            Packet::Connect(connect) if self.is_new(conn) => self.connect(conn, connect, raw, now),
            Packet::Publish(publish) => return self.publish(conn, publish, now),
            Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_) => self.acknowledged(conn, packet, now),
            Packet::PubRel(ack) => self.released(conn, ack),
            Packet::Subscribe(subscribe) => self.subscribe(conn, subscribe, now),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(conn, unsubscribe),
            Packet::PingReq => self.send(conn, &Packet::PingResp, Version::V311),
            Packet::Disconnect(disconnect) => self.disconnect(conn, disconnect, now),
            // A second CONNECT, or what only a server says.
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp
            | Packet::Auth(_) => self.fault(conn, Reason::PROTOCOL_ERROR, now),
        }
        if self.conns.get(conn).is_some_and(|connection| connection.unanswerable) {
            self.close(conn, Reason::PACKET_TOO_LARGE, now);
        }
        let over =
            |connection: &Connection| connection.control.len() + connection.held_bytes >= deliver::CONTROL_BYTES_MAX;
        if self.conns.get(conn).is_some_and(over) {
            self.pause(conn);
        }
        Flow::Done
    }

    /// The client broke the protocol: it is told, and let go.
    pub(super) fn fault(&mut self, conn: Key, reason: Reason, now: Now) {
        self.counters.protocol_errors += 1;
        self.close(conn, reason, now);
    }

    /// Bytes that are no packet; before CONNECT is through, `version` is what it claims.
    fn broken(&mut self, conn: Key, version: Option<Version>, error: &DecodeError, now: Now) {
        self.counters.protocol_errors += 1;
        if !self.is_new(conn) {
            return self.close(conn, error.reason(), now);
        }
        match (version, error) {
            // 3.1.1 asks for return code 1; a version 5 client reads 0x84 in the same place only if it knows version 5.
            (None, DecodeError::UnsupportedVersion) => {
                self.refuse(conn, Version::V311, Reason::UNSUPPORTED_PROTOCOL_VERSION, now);
            }
            (Some(Version::V5), _) => self.refuse(conn, Version::V5, error.reason(), now),
            (None | Some(Version::V31 | Version::V311), _) => self.close_silently(conn, now),
        }
    }

    /// Leave what comes in where it is; but for too much of it, reading goes on.
    pub(super) fn leave_waiting(&mut self, conn: Key) {
        if let Some(connection) = self.conns.get_mut(conn) {
            self.waits += 1;
            (connection.paused, connection.waits_since) = (true, self.waits);
        }
    }

    /// Read no more.
    pub(super) fn pause(&mut self, conn: Key) {
        let Some(connection) = self.conns.get_mut(conn) else { return };
        connection.paused = true;
        if !connection.pause_told {
            connection.pause_told = true;
            self.actions.push_back(Action::PauseReading(ConnId(conn)));
        }
    }

    /// False where it does not wait with a publish.
    pub(super) fn resume(&mut self, conn: Key) -> bool {
        let Some(connection) = self.conns.get(conn) else { return false };
        self.resumed.insert((connection.waits_since, conn));
        connection.waits_since > 0 && !matches!(connection.phase, Phase::Closing)
    }

    /// Deal with the input of connections that may be read again, who waits longest first: one alone may take all the room
    /// that there is, and those whom it left none keep their places before it. Each may let others go on.
    pub(super) fn settle(&mut self, now: Now) {
        loop {
            while let Some(session) = self.eased.pop_first() {
                self.let_wait_no_longer(session);
            }
            let Some((_, conn)) = self.resumed.pop_first() else { break };
            let Some(connection) = self.conns.get_mut(conn) else { continue };
            if !connection.paused || matches!(connection.phase, Phase::Closing) {
                continue;
            }
            connection.paused = false;
            let since = std::mem::take(&mut connection.waits_since);
            let let_in = self.counters.publishes_received;
            self.process_input(conn, &[], now);
            let Some(connection) = self.conns.get_mut(conn) else { continue };
            if since > 0 && connection.waits_since > 0 && self.counters.publishes_received == let_in {
                connection.waits_since = since;
            }
            if connection.pause_told && !connection.paused {
                connection.pause_told = false;
                self.actions.push_back(Action::ResumeReading(ConnId(conn)));
            }
        }
        self.look_at_memory();
        self.actions.extend(self.ledger.poll_ticket().map(Action::Store));
    }
}

/// How many bytes the first packet of `input` lacks; one at a time while its length is not known.
fn missing(input: &[u8]) -> usize {
    match length_of(input) {
        Some(length) => length.saturating_sub(input.len()),
        None => 1,
    }
}
