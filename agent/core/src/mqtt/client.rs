//! The client's half of a connection, as a pure state machine.
//!
//! Packets that came in go through [`Client::handle_packet`], one event out for each; what has to be said collects in
//! [`Client::transmit`]. It holds packet ids and windows, never payloads, and it never connects again by itself: a new
//! connection starts with [`Client::connect`].
//!
//! ```text
//!   Idle ──connect──▶ Greeting ──CONNACK──▶ Open ──disconnect, DISCONNECT──▶ Closed
//!                         └────CONNACK with an error───────────────────────────▲
//! ```
//!
//! Invariants: at most `window` publishes are unacknowledged; a QoS 2 message is handed on once a packet id, until its
//! PUBREL; what the caller has been given is acknowledged only in bytes that leave after it was given.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::time::Duration;

use super::encode::{TooLong, encode};
use super::packet::{
    Ack, ConnAck, Connect, Disconnect, Packet, PacketId, Props, Publish, QoS, Reason, SubAck, Subscribe,
    SubscribeFilter, Unsubscribe, Version,
};
use crate::time::Now;

/// Sent bytes are kept in front of the unsent ones until there are this many, so that a slow peer does not make every
/// write move memory.
const SENT_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Greeting,
    Open,
    Closed,
}

/// What a packet id of ours waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    PubAck,
    PubRec,
    PubComp,
    SubAck,
    UnsubAck,
}

#[derive(Debug)]
pub struct Client {
    state: State,
    version: Version,
    out: Vec<u8>,
    sent: usize,
    awaited: BTreeMap<PacketId, Awaited>,
    publishes: u16,
    window_own: NonZeroU16,
    window: NonZeroU16,
    last_id: u16,
    received: BTreeSet<PacketId>,
    aliases: BTreeMap<NonZeroU16, Box<str>>,
    alias_max: u16,
    keep_alive: Duration,
    last_sent: Now,
    last_heard: Now,
    pinged: Option<Now>,
    server: ServerLimits,
    acks: Acks,
}

/// Who acknowledges QoS 1 messages; QoS 2 has its own exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acks {
    /// Each as it is handed on.
    AtOnce,
    /// The owner, when it is done with the message.
    ByHand,
}

/// What the server said it can do; a publish beyond it is refused here.
#[derive(Clone, Copy, Debug)]
struct ServerLimits {
    packet_bytes_max: u32,
    qos_max: QoS,
    retain: bool,
}

const BOUNDLESS: ServerLimits = ServerLimits { packet_bytes_max: u32::MAX, qos_max: QoS::ExactlyOnce, retain: true };

/// What one packet means to the owner of the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Nothing the owner has to know.
    Quiet,
    Connected(Box<ConnAck<'a>>),
    Refused(Box<ConnAck<'a>>),
    /// The topic is filled in where an alias stood for it.
    Message(Publish<'a>),
    /// A publish of ours is done with, for better or worse.
    Published(Ack<'a>),
    Subscribed(SubAck<'a>),
    Unsubscribed(SubAck<'a>),
    /// The server ends the connection.
    Closed(Disconnect<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    #[error("the server sent {0} where the protocol has no place for it")]
    Unexpected(&'static str),
    #[error("the server used topic alias {0}, which stands for nothing")]
    UnknownAlias(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("not connected")]
    NotOpen,
    #[error("too many publishes are unacknowledged")]
    WindowFull,
    #[error("the packet has {bytes} bytes, and the server takes at most {bytes_max}")]
    TooLarge { bytes: usize, bytes_max: u32 },
    #[error("the server takes nothing above QoS {0}")]
    QosTooHigh(u8),
    #[error("the server keeps no retained messages")]
    RetainUnavailable,
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

/// Nothing was heard from the server for a whole keep alive after it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server did not answer a ping within {} s", .0.as_secs())]
pub struct Silent(pub Duration);

impl Client {
    /// At most `window` publishes stay unacknowledged, fewer where the server asks for fewer.
    #[must_use]
    pub fn new(window: NonZeroU16) -> Self {
        Self {
            state: State::Idle,
            version: Version::V5,
            out: Vec::new(),
            sent: 0,
            awaited: BTreeMap::new(),
            publishes: 0,
            window_own: window,
            window,
            last_id: 0,
            received: BTreeSet::new(),
            aliases: BTreeMap::new(),
            alias_max: 0,
            keep_alive: Duration::ZERO,
            last_sent: Now::ZERO,
            last_heard: Now::ZERO,
            pinged: None,
            server: BOUNDLESS,
            acks: Acks::AtOnce,
        }
    }

    /// Leave QoS 1 messages to the owner, who calls [`Self::acknowledge`] when it is done with one. What it never
    /// acknowledges the server keeps in the session, and sends again on the next connection.
    #[must_use]
    pub fn acknowledging_by_hand(self) -> Self {
        Self { acks: Acks::ByHand, ..self }
    }

    /// Start on a fresh connection. What the last one left unanswered is forgotten; QoS 2 ids that wait for their
    /// PUBREL are kept until the server says whether it still has the session.
    pub fn connect(&mut self, now: Now, connect: Connect<'_>) -> Result<(), SendError> {
        let received = std::mem::take(&mut self.received);
        let out = std::mem::take(&mut self.out);
        *self = Self { received, out, acks: self.acks, ..Self::new(self.window_own) };
        self.out.clear();
        self.version = connect.version;
        self.alias_max = connect.topic_alias_max;
        self.keep_alive = Duration::from_secs(connect.keep_alive_s.into());
        self.last_sent = now;
        self.last_heard = now;
        self.put(&Packet::Connect(Box::new(connect)))?;
        self.state = State::Greeting;
        Ok(())
    }

    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Whether a publish at QoS 1 or 2 would be taken now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.state == State::Open && self.publishes < self.window.get()
    }

    /// How many publishes are not acknowledged yet.
    #[must_use]
    pub const fn unacknowledged(&self) -> u16 {
        self.publishes
    }

    /// The bytes to write next.
    #[must_use]
    pub fn transmit(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }

    /// The first `count` bytes of [`Self::transmit`] are written.
    pub fn transmitted(&mut self, now: Now, count: usize) {
        self.last_sent = now;
        self.sent = self.sent.saturating_add(count).min(self.out.len());
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        } else if self.sent >= SENT_BYTES_MAX {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Publish; `message.id` is filled in here. The id comes back in [`Event::Published`] at QoS 1 and 2.
    pub fn publish(&mut self, message: &Publish<'_>) -> Result<Option<PacketId>, SendError> {
        if self.state != State::Open {
            return Err(SendError::NotOpen);
        }
        if message.qos > self.server.qos_max {
            return Err(SendError::QosTooHigh(self.server.qos_max as u8));
        }
        if message.retain && !self.server.retain {
            return Err(SendError::RetainUnavailable);
        }
        let awaited = match message.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(Awaited::PubAck),
            QoS::ExactlyOnce => Some(Awaited::PubRec),
        };
        let Some(awaited) = awaited else {
            self.put(&Packet::Publish(Publish { id: None, ..message.clone() }))?;
            return Ok(None);
        };
        if !self.has_room() {
            return Err(SendError::WindowFull);
        }
        let id = self.free_id()?;
        self.put(&Packet::Publish(Publish { id: Some(id), ..message.clone() }))?;
        self.awaited.insert(id, awaited);
        self.publishes += 1;
        Ok(Some(id))
    }

    /// The owner is done with a QoS 1 message of this connection.
    pub fn acknowledge(&mut self, id: PacketId) -> Result<(), SendError> {
        if self.state != State::Open {
            return Err(SendError::NotOpen);
        }
        self.put(&Packet::PubAck(Ack {
            id,
            reason: Reason::SUCCESS,
            reason_string: None,
            user_props: Props::default(),
        }))
    }

    pub fn subscribe(
        &mut self,
        filters: &[SubscribeFilter<'_>],
        subscription_id: Option<u32>,
        user_props: Props<'_>,
    ) -> Result<PacketId, SendError> {
        let id = self.free_id()?;
        self.put(&Packet::Subscribe(Subscribe { id, subscription_id, user_props, filters: filters.to_vec() }))?;
        self.awaited.insert(id, Awaited::SubAck);
        Ok(id)
    }

    pub fn unsubscribe(&mut self, filters: &[&str], user_props: Props<'_>) -> Result<PacketId, SendError> {
        let id = self.free_id()?;
        self.put(&Packet::Unsubscribe(Unsubscribe { id, user_props, filters: filters.to_vec() }))?;
        self.awaited.insert(id, Awaited::UnsubAck);
        Ok(id)
    }

    /// Say goodbye; nothing can be sent afterwards.
    pub fn disconnect(&mut self, disconnect: Disconnect<'_>) -> Result<(), SendError> {
        if self.state == State::Open {
            self.put(&Packet::Disconnect(disconnect))?;
        }
        self.state = State::Closed;
        Ok(())
    }

    /// When [`Self::handle_time`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Now> {
        if self.state != State::Open || self.keep_alive.is_zero() {
            return None;
        }
        let since = self.pinged.unwrap_or(self.last_sent.min(self.last_heard));
        Some(since.after(self.keep_alive))
    }

    /// Ping where it is time to; an error where the last ping was not answered.
    pub fn handle_time(&mut self, now: Now) -> Result<(), Silent> {
        let Some(due) = self.next_deadline().filter(|due| *due <= now) else {
            return Ok(());
        };
        if self.pinged.is_some() {
            return Err(Silent(now.since(due).saturating_add(self.keep_alive)));
        }
        self.pinged = Some(now);
        self.put(&Packet::PingReq).map_err(|_never| Silent(self.keep_alive))
    }

    /// Take in one packet of the server's.
    pub fn handle_packet<'a>(&'a mut self, now: Now, packet: Packet<'a>) -> Result<Event<'a>, HandleError> {
        self.last_heard = now;
        match (self.state, packet) {
            (State::Greeting, Packet::ConnAck(ack)) => Ok(self.handle_connack(ack)),
            (State::Open, Packet::Publish(message)) => self.handle_publish(message),
            (State::Open, Packet::PubAck(ack)) => Ok(self.handle_final_ack(ack, Awaited::PubAck)),
            (State::Open, Packet::PubRec(ack)) => Ok(self.handle_pubrec(ack)),
            (State::Open, Packet::PubRel(ack)) => {
                let known = self.received.remove(&ack.id);
                let reason = if known { Reason::SUCCESS } else { Reason::PACKET_ID_NOT_FOUND };
                self.answer(Packet::PubComp, ack.id, reason)
            }
            (State::Open, Packet::PubComp(ack)) => Ok(self.handle_final_ack(ack, Awaited::PubComp)),
            (State::Open, Packet::SubAck(ack)) => {
                Ok(if self.settle(ack.id, Awaited::SubAck) { Event::Subscribed(ack) } else { Event::Quiet })
            }
            (State::Open, Packet::UnsubAck(ack)) => {
                Ok(if self.settle(ack.id, Awaited::UnsubAck) { Event::Unsubscribed(ack) } else { Event::Quiet })
            }
            (State::Open, Packet::PingResp) => {
                self.pinged = None;
                Ok(Event::Quiet)
            }
            (State::Greeting | State::Open, Packet::Disconnect(disconnect)) => {
                self.state = State::Closed;
                Ok(Event::Closed(disconnect))
            }
            // We have said goodbye; what was on its way already means nothing any more.
            (State::Closed, _) => Ok(Event::Quiet),
            (State::Idle | State::Greeting | State::Open, other) => Err(HandleError::Unexpected(name(&other))),
        }
    }

    fn handle_connack<'a>(&mut self, ack: Box<ConnAck<'a>>) -> Event<'a> {
        if ack.reason.is_error() {
            self.state = State::Closed;
            return Event::Refused(ack);
        }
        self.state = State::Open;
        if !ack.session_present {
            self.received.clear();
        }
        self.window = self.window_own.min(ack.receive_max.unwrap_or(NonZeroU16::MAX));
        self.server = ServerLimits {
            packet_bytes_max: ack.packet_bytes_max.unwrap_or(u32::MAX),
            qos_max: ack.qos_max.unwrap_or(QoS::ExactlyOnce),
            retain: ack.retain_available.unwrap_or(true),
        };
        if let Some(seconds) = ack.server_keep_alive_s {
            self.keep_alive = Duration::from_secs(seconds.into());
        }
        Event::Connected(ack)
    }

    fn handle_publish<'a>(&'a mut self, mut message: Publish<'a>) -> Result<Event<'a>, HandleError> {
        let fresh = match (message.qos, message.id) {
            (QoS::AtLeastOnce, Some(id)) => {
                if self.acks == Acks::AtOnce {
                    self.answer(Packet::PubAck, id, Reason::SUCCESS)?;
                }
                true
            }
            (QoS::ExactlyOnce, Some(id)) => {
                self.answer(Packet::PubRec, id, Reason::SUCCESS)?;
                self.received.insert(id)
            }
            (QoS::AtMostOnce, _) | (QoS::AtLeastOnce | QoS::ExactlyOnce, None) => true,
        };
        if let Some(alias) = message.topic_alias {
            if alias.get() > self.alias_max {
                return Err(HandleError::UnknownAlias(alias.get()));
            }
            if message.topic.is_empty() {
                message.topic = self.aliases.get(&alias).ok_or(HandleError::UnknownAlias(alias.get()))?;
            } else {
                self.aliases.insert(alias, message.topic.into());
            }
        }
        Ok(if fresh { Event::Message(message) } else { Event::Quiet })
    }

    /// PUBACK and PUBCOMP: the publish is done with. One that nothing waits for is a late answer, and is ignored.
    fn handle_final_ack<'a>(&mut self, ack: Ack<'a>, awaited: Awaited) -> Event<'a> {
        if !self.settle(ack.id, awaited) {
            return Event::Quiet;
        }
        self.publishes = self.publishes.saturating_sub(1);
        Event::Published(ack)
    }

    fn handle_pubrec<'a>(&mut self, ack: Ack<'a>) -> Event<'a> {
        if ack.reason.is_error() {
            return self.handle_final_ack(ack, Awaited::PubRec);
        }
        let reason = match self.awaited.get_mut(&ack.id) {
            Some(state @ (Awaited::PubRec | Awaited::PubComp)) => {
                *state = Awaited::PubComp;
                Reason::SUCCESS
            }
            Some(Awaited::PubAck | Awaited::SubAck | Awaited::UnsubAck) | None => Reason::PACKET_ID_NOT_FOUND,
        };
        self.answer(Packet::PubRel, ack.id, reason).unwrap_or(Event::Quiet)
    }

    fn settle(&mut self, id: PacketId, awaited: Awaited) -> bool {
        if self.awaited.get(&id) != Some(&awaited) {
            return false;
        }
        self.awaited.remove(&id);
        true
    }

    fn answer<'a>(
        &mut self,
        packet: fn(Ack<'static>) -> Packet<'static>,
        id: PacketId,
        reason: Reason,
    ) -> Result<Event<'a>, HandleError> {
        let answer = packet(Ack { id, reason, reason_string: None, user_props: Props::default() });
        self.put(&answer).map_err(|_never| HandleError::Unexpected("a packet that has no answer"))?;
        Ok(Event::Quiet)
    }

    /// The next packet id that nothing waits for.
    fn free_id(&mut self) -> Result<PacketId, SendError> {
        if self.state != State::Open {
            return Err(SendError::NotOpen);
        }
        for _ in 0..=u16::MAX {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let id = NonZeroU16::new(self.last_id).map(PacketId);
            if let Some(id) = id.filter(|id| !self.awaited.contains_key(id)) {
                return Ok(id);
            }
        }
        Err(SendError::WindowFull)
    }

    /// Append a packet to what is to be written; on an error nothing is appended.
    fn put(&mut self, packet: &Packet<'_>) -> Result<(), SendError> {
        let before = self.out.len();
        if let Err(error) = encode(packet, self.version, &mut self.out) {
            self.out.truncate(before);
            return Err(error.into());
        }
        let bytes = self.out.len() - before;
        let bytes_max = self.server.packet_bytes_max;
        if bytes > usize::try_from(bytes_max).unwrap_or(usize::MAX) {
            self.out.truncate(before);
            return Err(SendError::TooLarge { bytes, bytes_max });
        }
        Ok(())
    }
}

/// What the standard calls a packet.
#[must_use]
pub const fn name(packet: &Packet<'_>) -> &'static str {
    match packet {
        Packet::Connect(_) => "CONNECT",
        Packet::ConnAck(_) => "CONNACK",
        Packet::Publish(_) => "PUBLISH",
        Packet::PubAck(_) => "PUBACK",
        Packet::PubRec(_) => "PUBREC",
        Packet::PubRel(_) => "PUBREL",
        Packet::PubComp(_) => "PUBCOMP",
        Packet::Subscribe(_) => "SUBSCRIBE",
        Packet::SubAck(_) => "SUBACK",
        Packet::Unsubscribe(_) => "UNSUBSCRIBE",
        Packet::UnsubAck(_) => "UNSUBACK",
        Packet::PingReq => "PINGREQ",
        Packet::PingResp => "PINGRESP",
        Packet::Disconnect(_) => "DISCONNECT",
        Packet::Auth(_) => "AUTH",
    }
}

#[cfg(test)]
mod tests;
