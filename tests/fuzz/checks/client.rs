//! One connection seen from its client: what was said, what was heard, and what the standard lets it expect of that.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use hobnail_core::mqtt::packet::{Ack, Packet, PacketId, Props, Publish, QoS, Reason, Version};
use hobnail_core::mqtt::{decode, encode};

/// How far a message to this client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// PUBACK is owed.
    Acknowledge,
    /// PUBREC is owed.
    Receive,
    /// PUBREC was sent; PUBREL is awaited, or here.
    Complete,
}

/// A message as this client heard it.
#[derive(Clone, Debug)]
pub struct Heard {
    pub topic: String,
    pub payload: Vec<u8>,
    pub dup: bool,
    pub qos: QoS,
}

#[derive(Debug)]
pub struct Client {
    pub version: Version,
    receive_max: usize,
    packet_bytes_max: usize,
    alias_max: u16,
    aliases: BTreeMap<u16, String>,
    said: Vec<u8>,
    /// The start of a PUBLISH to it.
    begun: Vec<u8>,
    greeted: bool,
    welcomed: bool,
    ended: bool,
    /// Messages to this client that it has not yet answered in full.
    pub owed: BTreeMap<u16, Step>,
    /// Those of them that came on this connection, and so count against its receive maximum.
    counted: BTreeSet<u16>,
    /// Identifiers whose PUBREL is here.
    released: BTreeSet<u16>,
    /// Identifiers of PUBRECs that nobody asked for: a PUBREL that answers one says nothing.
    strays: BTreeSet<u16>,
    /// PUBACK and PUBREC that came, with their reasons, and PUBCOMP.
    pub answers: Vec<(u16, Reason)>,
    pub completed: Vec<u16>,
    pub messages: Vec<Heard>,
}

impl Client {
    pub fn new() -> Self {
        Self {
            version: Version::V311,
            receive_max: usize::from(u16::MAX),
            packet_bytes_max: usize::MAX,
            alias_max: 0,
            aliases: BTreeMap::new(),
            said: Vec::new(),
            begun: Vec::new(),
            greeted: false,
            welcomed: false,
            ended: false,
            owed: BTreeMap::new(),
            counted: BTreeSet::new(),
            released: BTreeSet::new(),
            strays: BTreeSet::new(),
            answers: Vec::new(),
            completed: Vec::new(),
            messages: Vec::new(),
        }
    }

    /// What the client sends is looked at too: it says what the client is owed.
    pub fn says(&mut self, bytes: &[u8]) {
        self.said.extend_from_slice(bytes);
        let said = std::mem::take(&mut self.said);
        let mut rest = &said[..];
        loop {
            let version = if self.greeted { Some(self.version) } else { None };
            let Ok(Some((packet, length))) = decode(rest, version, usize::MAX) else { break };
            self.said_packet(&packet);
            rest = &rest[length..];
        }
        self.said = rest.to_vec();
    }

    fn said_packet(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Connect(connect) if !self.greeted => {
                self.greeted = true;
                self.version = connect.version;
                self.receive_max = connect.receive_max.map_or(self.receive_max, |max| usize::from(max.get()));
                self.packet_bytes_max = connect.packet_bytes_max.map_or(usize::MAX, |max| max as usize);
                self.alias_max = connect.topic_alias_max;
            }
            Packet::PubAck(ack) if self.owed.get(&ack.id.0.get()) == Some(&Step::Acknowledge) => self.settled(ack.id),
            Packet::PubRec(ack) => {
                let id = ack.id.0.get();
                if self.owed.get(&id).is_some_and(|step| *step != Step::Acknowledge) {
                    if ack.reason.is_error() {
                        self.settled(ack.id);
                    } else {
                        self.owed.insert(id, Step::Complete);
                    }
                } else {
                    self.strays.insert(id);
                }
            }
            Packet::PubComp(ack) if self.owed.get(&ack.id.0.get()) == Some(&Step::Complete) => self.settled(ack.id),
            Packet::Connect(_) | Packet::ConnAck(_) | Packet::Publish(_) | Packet::PubAck(_) | Packet::PubRel(_) => {}
            Packet::PubComp(_) | Packet::Subscribe(_) | Packet::SubAck(_) | Packet::Unsubscribe(_) => {}
            Packet::UnsubAck(_) | Packet::PingReq | Packet::PingResp | Packet::Disconnect(_) | Packet::Auth(_) => {}
        }
    }

    fn settled(&mut self, id: PacketId) {
        self.owed.remove(&id.0.get());
        self.counted.remove(&id.0.get());
        self.released.remove(&id.0.get());
    }

    /// The bytes that answer the `which`th of what is owed, if that can be answered now.
    pub fn answer(&self, which: usize) -> Option<Vec<u8>> {
        let (id, step) = self.owed.iter().nth(which % self.owed.len().max(1))?;
        let id = PacketId(NonZeroU16::new(*id)?);
        let ack = Ack { id, reason: Reason::SUCCESS, reason_string: None, user_props: Props::default() };
        let packet = match step {
            Step::Acknowledge => Packet::PubAck(ack),
            Step::Receive => Packet::PubRec(ack),
            Step::Complete if self.released.contains(&id.0.get()) => Packet::PubComp(ack),
            Step::Complete => return None,
        };
        let mut bytes = Vec::new();
        encode(&packet, self.version, &mut bytes).expect("it is short");
        Some(bytes)
    }

    /// Whole packets, as the broker gives them; only a PUBLISH may come in pieces, with nothing between them.
    pub fn hears(&mut self, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.begun);
        let mut rest = &all[..];
        while !rest.is_empty() {
            let decoded = decode(rest, Some(self.version), usize::MAX);
            if matches!(decoded, Ok(None)) && rest[0] >> 4 == 3 {
                self.begun = rest.to_vec();
                return;
            }
            let Ok(Some((packet, length))) = decoded else { panic!("sent {rest:?}, which is {decoded:?}") };
            assert!(length <= self.packet_bytes_max, "{length} bytes to a client that takes {}", self.packet_bytes_max);
            self.heard_packet(&packet);
            rest = &rest[length..];
        }
    }

    fn heard_packet(&mut self, packet: &Packet<'_>) {
        assert!(!self.ended, "{packet:?} after the end");
        assert_eq!(matches!(packet, Packet::ConnAck(_)), !self.welcomed, "{packet:?} at the wrong time");
        match packet {
            Packet::ConnAck(connack) => {
                self.welcomed = true;
                self.ended = connack.reason.is_error();
            }
            Packet::Publish(publish) => self.heard_publish(publish),
            Packet::PubAck(ack) | Packet::PubRec(ack) => self.answers.push((ack.id.0.get(), ack.reason)),
            Packet::PubRel(ack) => {
                self.released.insert(ack.id.0.get());
                if !ack.reason.is_error() && !self.strays.contains(&ack.id.0.get()) {
                    // After a reconnect this is the first that the client hears of it.
                    self.owed.insert(ack.id.0.get(), Step::Complete);
                }
            }
            Packet::PubComp(ack) => self.completed.push(ack.id.0.get()),
            Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {}
            Packet::Disconnect(_) => {
                assert_eq!(self.version, Version::V5, "older clients know no DISCONNECT from a server");
                self.ended = true;
            }
            Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq | Packet::Auth(_) => {
                panic!("a server never says {packet:?}");
            }
        }
    }

    fn heard_publish(&mut self, publish: &Publish<'_>) {
        let topic = match publish.topic_alias.map(NonZeroU16::get) {
            Some(alias) => {
                assert!(alias <= self.alias_max, "alias {alias} of {}", self.alias_max);
                if !publish.topic.is_empty() {
                    self.aliases.insert(alias, publish.topic.to_owned());
                }
                self.aliases.get(&alias).cloned().expect("an alias stands for a topic")
            }
            None => publish.topic.to_owned(),
        };
        assert!(publish.expiry_s != Some(0), "an expired message");
        if let Some(PacketId(id)) = publish.id {
            let step = if publish.qos == QoS::AtLeastOnce { Step::Acknowledge } else { Step::Receive };
            let before = self.owed.insert(id.get(), step);
            assert_eq!(before, None, "identifier {id} is in use");
            self.counted.insert(id.get());
            let count = self.counted.len();
            assert!(count <= self.receive_max, "{count} messages at once to a client that takes {}", self.receive_max);
        }
        let payload = publish.payload.to_vec();
        self.messages.push(Heard { topic, payload, dup: publish.dup, qos: publish.qos });
    }
}
