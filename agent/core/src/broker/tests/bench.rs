//! A scripted client: it sends packets, and hears what the broker answers.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::time::Duration;

use super::durable::Disk;
use crate::broker::{Action, Broker, ConnId, Peer, Principal, Saved, Settings, Trust, Verdict};
use crate::ids::Name;
use crate::mqtt::packet::{
    Ack, ConnAck, Connect, Disconnect, Packet, PacketId, Props, Publish, QoS, Reason, Subscribe, SubscribeFilter,
    SubscribeOptions, Unsubscribe, Version, Will,
};
use crate::mqtt::props::{Prop, SUBSCRIPTION_ID};
use crate::mqtt::{decode, encode};
use crate::rights::{Allow, Rights};
use crate::time::Now;
use crate::topic::Filter;
use crate::topology::model::{Limits, WhenFull};

pub use crate::mqtt::packet::QoS::{AtLeastOnce as Q1, AtMostOnce as Q0, ExactlyOnce as Q2};
pub use crate::mqtt::packet::Version::{V5, V31, V311};

/// A packet as a client hears it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    ConnAck { present: bool, reason: Reason },
    Publish(Message),
    PubAck(u16, Reason),
    PubRec(u16, Reason),
    PubRel(u16, Reason),
    PubComp(u16, Reason),
    SubAck(u16, Vec<u8>),
    UnsubAck(u16, Vec<u8>),
    PingResp,
    Disconnect(Reason),
    Other(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    pub dup: bool,
    pub id: u16,
    pub expiry_s: Option<u32>,
    pub alias: Option<u16>,
    pub ids: Vec<u32>,
    /// All properties, as text.
    pub props: Vec<String>,
}

pub struct Bench {
    pub broker: Broker,
    pub now: Now,
    pub asked: BTreeSet<ConnId>,
    pub paused: BTreeSet<ConnId>,
    pub closed: BTreeSet<ConnId>,
    pub lingers: BTreeMap<ConnId, Duration>,
    pub proofs: Vec<(ConnId, String)>,
    /// What concerns the network.
    pub seam: Vec<Action>,
    pub disk: Disk,
    versions: BTreeMap<ConnId, Version>,
}

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn limits() -> Limits {
    Limits::default()
}

pub fn settings() -> Settings {
    let local = Principal { name: name("here"), rights: Rights::default() };
    Settings {
        limits: limits(),
        when_full: WhenFull::DropOldest,
        local,
        devices: BTreeMap::new(),
        id_seed: 7,
        elsewhere: BTreeMap::new(),
        topics: Vec::new(),
        outward: false,
    }
}

pub fn only(filters: &[&str]) -> Allow {
    Allow::Only(filters.iter().map(|filter| Filter::new(filter).unwrap()).collect())
}

pub fn pid(id: u16) -> PacketId {
    PacketId(NonZeroU16::new(id).unwrap())
}

pub fn hello(version: Version, client_id: &str) -> Connect<'_> {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 0,
        client_id,
        will: None,
        user: None,
        password: None,
        session_expiry_s: None,
        receive_max: None,
        packet_bytes_max: None,
        topic_alias_max: 0,
        request_response_info: false,
        request_problem_info: true,
        auth_method: None,
        auth_data: None,
        user_props: Props::default(),
    }
}

/// A CONNECT whose session stays when the connection ends.
pub fn durable(version: Version, client_id: &str) -> Connect<'_> {
    let session_expiry_s = if version == V5 { Some(3_600) } else { None };
    Connect { clean_start: false, session_expiry_s, ..hello(version, client_id) }
}

pub fn will<'a>(topic: &'a str, payload: &'a [u8]) -> Will<'a> {
    Will { topic, payload, qos: Q0, retain: false, delay_s: 0, expiry_s: None, props: Props::default() }
}

pub fn message<'a>(topic: &'a str, payload: &'a str, qos: QoS, id: u16) -> Publish<'a> {
    Publish {
        dup: false,
        retain: false,
        qos,
        id: NonZeroU16::new(id).map(PacketId),
        topic,
        payload: payload.as_bytes(),
        topic_alias: None,
        expiry_s: None,
        props: Props::default(),
    }
}

pub fn ack<'a>(id: u16) -> Ack<'a> {
    Ack { id: pid(id), reason: Reason::SUCCESS, reason_string: None, user_props: Props::default() }
}

impl Bench {
    pub fn new() -> Self {
        Self::with(settings())
    }

    pub fn with(settings: Settings) -> Self {
        Self {
            broker: Broker::new(settings, Saved::default(), Now::ZERO),
            now: Now(1_000_000),
            asked: BTreeSet::new(),
            paused: BTreeSet::new(),
            closed: BTreeSet::new(),
            lingers: BTreeMap::new(),
            proofs: Vec::new(),
            seam: Vec::new(),
            disk: Disk::default(),
            versions: BTreeMap::new(),
        }
    }

    pub fn limited(change: impl FnOnce(&mut Limits)) -> Self {
        let mut settings = settings();
        change(&mut settings.limits);
        Self::with(settings)
    }

    pub fn open(&mut self, trust: Trust) -> ConnId {
        let address = Some([10, 0, 0, 1].into());
        let conn = self.broker.handle_open(Peer { address, trust }, self.now);
        self.drain();
        conn
    }

    /// A connection that has said `connect`; what it was answered is still to be heard.
    pub fn greet(&mut self, connect: Connect<'_>) -> ConnId {
        let conn = self.open(Trust::Local);
        self.versions.insert(conn, connect.version);
        self.send(conn, &Packet::Connect(Box::new(connect)));
        conn
    }

    pub fn connect(&mut self, connect: Connect<'_>) -> ConnId {
        self.connect_present(connect).0
    }

    /// Whether a session was there, too.
    pub fn connect_present(&mut self, connect: Connect<'_>) -> (ConnId, bool) {
        let conn = self.greet(connect);
        let heard = self.next(conn);
        let Heard::ConnAck { present, reason: Reason::SUCCESS } = heard else { panic!("not let in: {heard:?}") };
        (conn, present)
    }

    /// A session that was there; what else comes with its CONNACK is left to be heard.
    pub fn connect_with_backlog(&mut self, connect: Connect<'_>) -> ConnId {
        let conn = self.greet(connect);
        let mut bytes = Vec::new();
        assert!(self.asked.remove(&conn), "a CONNECT is answered");
        self.broker.poll_transmit(conn, &mut bytes, 1, self.now);
        self.drain();
        let connack = Heard::ConnAck { present: true, reason: Reason::SUCCESS };
        assert_eq!(self.read(conn, &bytes), [connack]);
        conn
    }

    pub fn speaks(&mut self, conn: ConnId, version: Version) {
        self.versions.insert(conn, version);
    }

    pub fn client(&mut self, version: Version, client_id: &str) -> ConnId {
        self.connect(hello(version, client_id))
    }

    pub fn send(&mut self, conn: ConnId, packet: &Packet<'_>) {
        let version = self.versions.get(&conn).copied().unwrap_or(V311);
        let mut bytes = Vec::new();
        encode(packet, version, &mut bytes).unwrap();
        self.bytes(conn, &bytes);
    }

    pub fn bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        self.broker.handle_bytes(conn, bytes, self.now);
        self.drain();
    }

    pub fn publish(&mut self, conn: ConnId, publish: Publish<'_>) {
        self.send(conn, &Packet::Publish(publish));
    }

    pub fn subscribe_with(&mut self, conn: ConnId, filter: &str, options: SubscribeOptions, id: Option<u32>) {
        let filters = vec![SubscribeFilter { filter, options }];
        let packet = Subscribe { id: pid(1), subscription_id: id, user_props: Props::default(), filters };
        self.send(conn, &Packet::Subscribe(packet));
    }

    /// Subscribe, and see it granted at `qos`.
    pub fn subscribe(&mut self, conn: ConnId, filter: &str, qos: QoS) {
        self.subscribe_with(conn, filter, SubscribeOptions { qos, ..SubscribeOptions::default() }, None);
        assert_eq!(self.next(conn), Heard::SubAck(1, vec![qos as u8]), "{filter}");
    }

    pub fn unsubscribe(&mut self, conn: ConnId, filter: &str) {
        let packet = Unsubscribe { id: pid(2), user_props: Props::default(), filters: vec![filter] };
        self.send(conn, &Packet::Unsubscribe(packet));
    }

    /// The client says good-bye and its socket closes.
    pub fn leave(&mut self, conn: ConnId) {
        self.send(conn, &Packet::Disconnect(Disconnect::default()));
        self.drop_socket(conn);
    }

    pub fn drop_socket(&mut self, conn: ConnId) {
        self.broker.handle_close(conn, self.now);
        self.asked.remove(&conn);
        self.drain();
    }

    pub fn wait(&mut self, wait: Duration) {
        let end = self.now.after(wait);
        while let Some(due) = self.broker.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.broker.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub fn seconds(&mut self, seconds: u64) {
        self.wait(Duration::from_secs(seconds));
    }

    pub fn verdict(&mut self, conn: ConnId, verdict: Verdict) {
        self.broker.handle_verdict(conn, verdict, self.now);
        self.drain();
    }

    pub fn forget_connections(&mut self) {
        self.asked.clear();
        self.paused.clear();
        self.closed.clear();
        self.proofs.clear();
        self.versions.clear();
    }

    pub fn drain(&mut self) {
        while let Some(action) = self.broker.poll_action() {
            match action {
                Action::Transmit(conn) => {
                    assert!(self.asked.insert(conn), "asked twice before it was polled");
                }
                Action::PauseReading(conn) => assert!(self.paused.insert(conn), "paused twice"),
                Action::ResumeReading(conn) => assert!(self.paused.remove(&conn), "resumed without a pause"),
                Action::Close { conn, linger } => {
                    assert!(self.closed.insert(conn), "closed twice");
                    self.lingers.insert(conn, linger);
                }
                Action::Authenticate { conn, user, .. } => self.proofs.push((conn, user.into())),
                Action::Store(ticket) => {
                    self.disk.take_in(&mut self.broker, ticket);
                    if !self.disk.slow {
                        self.broker.handle_stored(ticket, self.now);
                    }
                }
                Action::Offer { .. } | Action::InwardRoom | Action::Wanted(_) | Action::Unwanted(_) => {
                    self.seam.push(action);
                }
            }
        }
        self.disk.agrees_with(&self.broker);
    }

    /// Everything that waits for this client, at once.
    pub fn hear(&mut self, conn: ConnId) -> Vec<Heard> {
        let mut bytes = Vec::new();
        while self.asked.remove(&conn) {
            self.broker.poll_transmit(conn, &mut bytes, 1 << 16, self.now);
            self.drain();
        }
        self.read(conn, &bytes)
    }

    pub fn read(&mut self, conn: ConnId, mut bytes: &[u8]) -> Vec<Heard> {
        let version = self.versions.get(&conn).copied().unwrap_or(V311);
        let mut heard = Vec::new();
        while !bytes.is_empty() {
            let (packet, length) = decode(bytes, Some(version), usize::MAX).unwrap().expect("whole packets are sent");
            heard.push(Heard::of(&packet));
            bytes = &bytes[length..];
        }
        heard
    }

    /// CONNACK whole, for its properties.
    pub fn connack(&mut self, connect: Connect<'_>, check: impl FnOnce(&ConnAck<'_>)) -> ConnId {
        let conn = self.greet(connect);
        let mut bytes = Vec::new();
        assert!(self.asked.remove(&conn), "a CONNECT is answered");
        self.broker.poll_transmit(conn, &mut bytes, 1 << 16, self.now);
        self.drain();
        let version = self.versions[&conn];
        match decode(&bytes, Some(version), usize::MAX) {
            Ok(Some((Packet::ConnAck(connack), _))) => check(&connack),
            other => panic!("no CONNACK: {other:?}"),
        }
        conn
    }

    /// The one packet that waits for this client.
    pub fn next(&mut self, conn: ConnId) -> Heard {
        let mut heard = self.hear(conn);
        assert_eq!(heard.len(), 1, "{heard:?}");
        heard.remove(0)
    }

    pub fn silent(&mut self, conn: ConnId) {
        assert_eq!(self.hear(conn), [], "nothing is sent");
    }

    pub fn messages(&mut self, conn: ConnId) -> Vec<Message> {
        let of = |heard| if let Heard::Publish(message) = heard { message } else { panic!("not a PUBLISH: {heard:?}") };
        self.hear(conn).into_iter().map(of).collect()
    }

    pub fn message(&mut self, conn: ConnId) -> Message {
        let mut messages = self.messages(conn);
        assert_eq!(messages.len(), 1, "{messages:?}");
        messages.remove(0)
    }

    pub fn payloads(&mut self, conn: ConnId) -> Vec<String> {
        let text = |message: Message| String::from_utf8(message.payload).unwrap();
        self.messages(conn).into_iter().map(text).collect()
    }

    /// Hear and acknowledge until nothing more comes; the payloads, in order.
    pub fn take_all(&mut self, conn: ConnId) -> Vec<String> {
        let mut payloads = Vec::new();
        loop {
            let heard = self.hear(conn);
            if heard.is_empty() {
                return payloads;
            }
            for packet in heard {
                match packet.clone() {
                    Heard::Publish(message) => {
                        if message.qos == Q1 {
                            self.send(conn, &Packet::PubAck(ack(message.id)));
                        } else if message.qos == Q2 {
                            self.send(conn, &Packet::PubRec(ack(message.id)));
                        }
                        payloads.push(String::from_utf8(message.payload).unwrap());
                    }
                    Heard::PubRel(id, _) => self.send(conn, &Packet::PubComp(ack(id))),
                    Heard::PubAck(..) | Heard::PubRec(..) | Heard::PubComp(..) | Heard::PingResp => {}
                    Heard::ConnAck { .. } | Heard::SubAck(..) | Heard::UnsubAck(..) => panic!("{packet:?}"),
                    Heard::Disconnect(_) | Heard::Other(_) => panic!("{packet:?}"),
                }
            }
        }
    }

    /// The connection ended with this reason, which only version 5 is told.
    pub fn ended(&mut self, conn: ConnId, reason: Reason) {
        if self.versions.get(&conn) == Some(&V5) {
            assert_eq!(self.hear(conn).last(), Some(&Heard::Disconnect(reason)));
        } else {
            assert!(!self.hear(conn).iter().any(|heard| matches!(heard, Heard::Disconnect(_))));
        }
        assert!(self.closed.contains(&conn), "the connection is closed");
    }
}

impl Heard {
    fn of(packet: &Packet<'_>) -> Self {
        match packet {
            Packet::ConnAck(connack) => Self::ConnAck { present: connack.session_present, reason: connack.reason },
            Packet::Publish(publish) => Self::Publish(Message::of(publish)),
            Packet::PubAck(ack) => Self::PubAck(ack.id.0.get(), ack.reason),
            Packet::PubRec(ack) => Self::PubRec(ack.id.0.get(), ack.reason),
            Packet::PubRel(ack) => Self::PubRel(ack.id.0.get(), ack.reason),
            Packet::PubComp(ack) => Self::PubComp(ack.id.0.get(), ack.reason),
            Packet::SubAck(ack) => Self::SubAck(ack.id.0.get(), ack.reasons.iter().map(|reason| reason.0).collect()),
            Packet::UnsubAck(ack) => {
                Self::UnsubAck(ack.id.0.get(), ack.reasons.iter().map(|reason| reason.0).collect())
            }
            Packet::PingResp => Self::PingResp,
            Packet::Disconnect(disconnect) => Self::Disconnect(disconnect.reason),
            Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq | Packet::Auth(_) => {
                Self::Other(format!("{packet:?}"))
            }
        }
    }
}

impl Message {
    fn of(publish: &Publish<'_>) -> Self {
        let ids = publish.props.iter().filter_map(|prop| match prop {
            Prop::Varint(SUBSCRIPTION_ID, id) => Some(id),
            Prop::Varint(..) | Prop::Byte(..) | Prop::Two(..) | Prop::Four(..) => None,
            Prop::Text(..) | Prop::Binary(..) | Prop::Pair(..) => None,
        });
        Self {
            topic: publish.topic.into(),
            payload: publish.payload.into(),
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            id: publish.id.map_or(0, |id| id.0.get()),
            expiry_s: publish.expiry_s,
            alias: publish.topic_alias.map(NonZeroU16::get),
            ids: ids.collect(),
            props: publish.props.iter().map(|prop| format!("{prop:?}")).collect(),
        }
    }
}
