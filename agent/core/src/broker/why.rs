//! What a version 5 client is told in words beside a reason code, for the people who read its log.

use super::table::Key;
use super::{Broker, ConnId};
use crate::mqtt::encode;
use crate::mqtt::packet::{Packet, Reason, Version};

/// Short, for it counts towards the largest packet that the client takes; nothing about other clients.
pub fn why(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::MALFORMED_PACKET => "a packet that is not as MQTT says",
        Reason::PROTOCOL_ERROR => "a packet that does not belong here",
        Reason::UNSUPPORTED_PROTOCOL_VERSION => "this broker speaks MQTT 3.1, 3.1.1 and 5",
        Reason::CLIENT_ID_NOT_VALID => "the client identifier is too long, or missing where a session is to stay",
        Reason::BAD_USER_OR_PASSWORD => "the user or the password is wrong",
        Reason::NOT_AUTHORIZED => "the rights of this client do not cover it",
        Reason::SERVER_BUSY => "this broker has as much to do as it may; try again later",
        Reason::SERVER_SHUTTING_DOWN => "this broker stops",
        Reason::BAD_AUTHENTICATION_METHOD => "this broker knows no authentication methods, only passwords",
        Reason::KEEP_ALIVE_TIMEOUT => "nothing came for one and a half times the keep alive",
        Reason::SESSION_TAKEN_OVER => "another connection came with the same client identifier",
        Reason::TOPIC_FILTER_INVALID => "a topic filter with too many levels",
        Reason::TOPIC_NAME_INVALID => "a topic with too many levels",
        Reason::RECEIVE_MAXIMUM_EXCEEDED => "more QoS 2 messages on their way than this broker's receive maximum",
        Reason::TOPIC_ALIAS_INVALID => "a topic alias of 0 or above this broker's topic alias maximum",
        Reason::PACKET_TOO_LARGE => "a packet above this broker's maximum packet size",
        Reason::QUOTA_EXCEEDED => "a limit of this broker is reached",
        Reason::ADMINISTRATIVE_ACTION => "the topology was edited, and has no place for this connection any more",
        Reason::USE_ANOTHER_SERVER => "this broker stops; another one serves on",
        Reason::CONNECTION_RATE_EXCEEDED => "too many wrong passwords from this address; try again in a minute",
        _ => return None,
    })
}

/// Whether a client that did not ask for words gets them all the same: MQTT 5 3.1.2.11.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    Always,
    IfWanted,
}

impl Broker {
    /// Send a packet that carries `reason`, in words too where the client's version, wish and packet size allow.
    pub(super) fn send_why<'p>(
        &mut self,
        conn: Key,
        version: Version,
        reason: Reason,
        words: Words,
        packet: impl Fn(Option<&'static str>) -> Packet<'p>,
    ) {
        let open = self.conns.get(conn).and_then(|connection| connection.open());
        let wanted = words == Words::Always || open.is_none_or(|open| open.wants_words);
        let why = why(reason).filter(|_| wanted && version == Version::V5);
        if why.is_none() || !self.append(conn, &packet(why), version) {
            self.send(conn, &packet(None), version);
        }
    }

    /// Append a packet to what the connection has to send.
    pub(super) fn send(&mut self, conn: Key, packet: &Packet<'_>, version: Version) {
        // What a client cannot take even in its shortest form it is not sent (MQTT 5 3.1.2.11.4); nor can it go on
        // without it.
        if !self.append(conn, packet, version)
            && let Some(connection) = self.conns.get_mut(conn)
        {
            connection.unanswerable = true;
        }
    }

    /// False where the packet is larger than the client takes.
    fn append(&mut self, conn: Key, packet: &Packet<'_>, version: Version) -> bool {
        let Some(connection) = self.conns.get_mut(conn) else { return true };
        let room = connection.answer_bytes_max;
        let before = connection.control.len();
        // Only PUBLISH could be too long, and that takes another road.
        if encode(packet, version, &mut connection.control).is_err() || connection.control.len() - before > room {
            connection.control.truncate(before);
            return false;
        }
        self.counters.messages_sent += 1;
        self.ask_transmit(conn);
        true
    }

    pub(super) fn ask_transmit(&mut self, conn: Key) {
        let Some(connection) = self.conns.get_mut(conn) else { return };
        if !connection.transmit_asked {
            connection.transmit_asked = true;
            self.actions.push_back(super::Action::Transmit(ConnId(conn)));
        }
    }
}
