//! Arbitrary bytes as what clients do: a step is a byte that says who and what, and a few bytes that say how. Most of
//! what comes out is well formed, so that it gets far; raw bytes are there too.

use std::num::NonZeroU16;
use std::time::Duration;

use hobnail_core::mqtt::encode;
use hobnail_core::mqtt::packet::{
    Ack, Connect, Disconnect, Packet, PacketId, Props, Publish, QoS, Reason, RetainHandling, Subscribe,
    SubscribeFilter, SubscribeOptions, Unsubscribe, Version, Will,
};
use hobnail_core::mqtt::props::{self, Prop, PropsBuf};

/// Clients at the same time.
pub const SLOTS: usize = 4;
pub const TOPICS: &[&str] = &["a", "a/b", "a/b/c", "b", "noise/x", "innocent/q", "$x", "/"];
const FILTERS: &[&str] = &[
    "#",
    "a/#",
    "a/+",
    "+/b",
    "b",
    "$share/g/a/#",
    "$share/h/#",
    "innocent/#",
    "$share/g/#",
    "+",
    "a/b/c",
    "$x",
    "+/#",
];
const CLIENT_IDS: &[&str] = &["x", "y", "z", ""];
const WAITS_MS: &[u64] = &[1, 50, 500, 1_000, 3_000, 60_000, 3_600_000, 800_000_000];
const EXPIRIES_S: &[u32] = &[0, 1, 60, u32::MAX];

#[derive(Debug)]
pub enum Step<'a> {
    /// These bytes come in, in pieces of `piece`.
    Bytes {
        bytes: std::borrow::Cow<'a, [u8]>,
        piece: usize,
    },
    /// The client's socket takes about so many bytes.
    Read {
        room: usize,
    },
    /// The client answers the first, the second … of what it was sent.
    Answer {
        which: usize,
    },
    Drop,
    Wait(Duration),
    Verdict {
        welcome: bool,
    },
    Settings {
        which: u8,
    },
    /// The innocent pair goes on by one message.
    Innocent {
        qos: QoS,
    },
}

pub struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// Zero when the script is at its end.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }

    fn id(&mut self) -> PacketId {
        PacketId(NonZeroU16::new(u16::from(self.byte() % 8)).unwrap_or(NonZeroU16::MIN))
    }

    fn qos(&mut self) -> QoS {
        self.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
    }

    /// Who does what next; `None` at the end. `version` is what a client speaks.
    pub fn next(&mut self, version: impl Fn(usize) -> Version) -> Option<(usize, Step<'a>)> {
        if self.rest.is_empty() {
            return None;
        }
        let first = self.byte();
        let who = usize::from(first >> 6) % SLOTS;
        let version = version(who);
        let step = match first & 0x1f {
            0 => {
                let count = usize::from(self.byte());
                Step::Bytes { bytes: self.bytes(count).into(), piece: usize::MAX }
            }
            1 => Step::Read { room: usize::from(self.byte()) * 4 },
            2..=4 => Step::Read { room: 1 << 20 },
            5..=7 => Step::Answer { which: usize::from(self.byte()) },
            8 => Step::Drop,
            9..=10 => Step::Wait(Duration::from_millis(self.pick(WAITS_MS))),
            11 => Step::Verdict { welcome: self.byte() != 0 },
            12 => Step::Settings { which: self.byte() },
            13..=15 => Step::Innocent { qos: self.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce]) },
            16..=17 => self.packet(version, Self::connect),
            18..=19 => self.packet(version, Self::subscribe),
            20 => self.packet(version, Self::unsubscribe),
            21..=25 => self.packet(version, Self::publish),
            26..=29 => self.packet(version, Self::ack),
            30 => self.packet(version, Self::disconnect),
            _ => self.packet(version, |_, _, out| put(&Packet::PingReq, Version::V311, out)),
        };
        Some((who, step))
    }

    fn packet(&mut self, version: Version, build: impl Fn(&mut Self, Version, &mut Vec<u8>)) -> Step<'a> {
        let (mut bytes, how) = (Vec::new(), self.byte());
        // Now and then the same again, many times over.
        let times = if how & 0xc0 == 0xc0 { 16 } else { 1 };
        build(self, version, &mut bytes);
        let piece = if how & 0x20 == 0 { usize::MAX } else { usize::from(how & 0x1f) + 1 };
        Step::Bytes { bytes: bytes.repeat(times).into(), piece }
    }

    fn connect(&mut self, _: Version, out: &mut Vec<u8>) {
        let version = self.pick(&[Version::V311, Version::V5, Version::V31]);
        let flags = self.byte();
        let five = version == Version::V5;
        let topic = self.pick(TOPICS);
        let mut will = Will {
            topic,
            payload: b"last words",
            qos: self.qos(),
            retain: flags & 0x04 != 0,
            delay_s: 0,
            expiry_s: None,
            props: Props::default(),
        };
        if five {
            will.delay_s = self.pick(EXPIRIES_S);
        }
        let connect = Connect {
            version,
            clean_start: flags & 0x01 != 0,
            keep_alive_s: u16::from(flags & 0x08),
            client_id: self.pick(CLIENT_IDS),
            will: if flags & 0x02 != 0 { Some(will) } else { None },
            user: if flags & 0x10 != 0 { Some("device") } else { None },
            password: if flags & 0x10 != 0 { Some(b"secret") } else { None },
            session_expiry_s: if five { Some(self.pick(EXPIRIES_S)) } else { None },
            receive_max: if five { NonZeroU16::new(u16::from(self.byte() % 8)) } else { None },
            packet_bytes_max: if five && flags & 0x20 != 0 { Some(u32::from(self.byte()) + 1) } else { None },
            topic_alias_max: if five { u16::from(flags >> 6) } else { 0 },
            request_response_info: false,
            request_problem_info: true,
            auth_method: None,
            auth_data: None,
            user_props: Props::default(),
        };
        put(&Packet::Connect(Box::new(connect)), version, out);
    }

    fn subscribe(&mut self, version: Version, out: &mut Vec<u8>) {
        let count = usize::from(self.byte() % 3) + 1;
        let five = version == Version::V5;
        let filters = (0..count).map(|_| {
            let (filter, bits) = (self.pick(FILTERS), self.byte());
            let options = SubscribeOptions {
                qos: self.qos(),
                no_local: five && bits & 1 != 0,
                retain_as_published: five && bits & 2 != 0,
                retain_handling: match bits >> 2 & 3 {
                    1 if five => RetainHandling::IfNew,
                    2 if five => RetainHandling::Never,
                    _ => RetainHandling::Always,
                },
            };
            SubscribeFilter { filter, options }
        });
        let filters = filters.collect();
        let subscription_id = if five { Some(u32::from(self.byte())).filter(|id| *id > 0) } else { None };
        let packet = Subscribe { id: self.id(), subscription_id, user_props: Props::default(), filters };
        put(&Packet::Subscribe(packet), version, out);
    }

    fn unsubscribe(&mut self, version: Version, out: &mut Vec<u8>) {
        let filters = vec![self.pick(FILTERS)];
        let packet = Unsubscribe { id: self.id(), user_props: Props::default(), filters };
        put(&Packet::Unsubscribe(packet), version, out);
    }

    fn publish(&mut self, version: Version, out: &mut Vec<u8>) {
        let (flags, qos, size) = (self.byte(), self.qos(), self.byte());
        let five = version == Version::V5;
        let mut block = PropsBuf::default();
        if five && flags & 0x10 != 0 {
            block.push(Prop::Text(props::CONTENT_TYPE, "text/plain"));
        }
        let topic = self.pick(TOPICS);
        let payload = vec![b'.'; usize::from(size) * if flags & 0x20 != 0 { 16 } else { 1 }];
        let topic_alias = if five && flags & 0x04 != 0 { NonZeroU16::new(u16::from(self.byte() % 40)) } else { None };
        let publish = Publish {
            dup: flags & 0x01 != 0 && qos != QoS::AtMostOnce,
            retain: flags & 0x02 != 0,
            qos,
            id: if qos == QoS::AtMostOnce { None } else { Some(self.id()) },
            topic: if topic_alias.is_some() && flags & 0x08 != 0 { "" } else { topic },
            payload: &payload,
            topic_alias,
            expiry_s: if five && flags & 0x40 != 0 { Some(self.pick(EXPIRIES_S)) } else { None },
            props: block.as_props(),
        };
        put(&Packet::Publish(publish), version, out);
    }

    fn ack(&mut self, version: Version, out: &mut Vec<u8>) {
        let (kind, refuses) = (self.byte(), self.byte());
        let reason = match kind % 4 {
            0 | 1 if refuses & 7 == 1 => Reason::QUOTA_EXCEEDED,
            2 | 3 if refuses & 7 == 1 => Reason::PACKET_ID_NOT_FOUND,
            _ => Reason::SUCCESS,
        };
        let ack = Ack { id: self.id(), reason, reason_string: None, user_props: Props::default() };
        let packet = match kind % 4 {
            0 => Packet::PubAck(ack),
            1 => Packet::PubRec(ack),
            2 => Packet::PubRel(ack),
            _ => Packet::PubComp(ack),
        };
        put(&packet, version, out);
    }

    fn disconnect(&mut self, version: Version, out: &mut Vec<u8>) {
        let session_expiry_s = Some(self.pick(EXPIRIES_S)).filter(|expiry| *expiry > 0);
        let reason = if self.byte() & 1 == 0 { Reason::NORMAL_DISCONNECTION } else { Reason::DISCONNECT_WITH_WILL };
        put(&Packet::Disconnect(Disconnect { reason, session_expiry_s, ..Disconnect::default() }), version, out);
    }
}

fn put(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) {
    encode(packet, version, out).expect("it is short");
}
