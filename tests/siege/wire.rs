//! Packets made by hand, and a client that sends what it is told to. Nothing here comes from our own codec.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::run::dial::dial;

/// The protocol level of CONNECT: 3, 4 or 5.
pub type Level = u8;

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let more = if left > 127 { 0x80 } else { 0 };
        bytes.push((left % 128) as u8 | more);
        left /= 128;
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

pub fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = text.as_ref();
    [&u16::try_from(bytes.len()).expect("short").to_be_bytes(), bytes].concat()
}

/// The property length where the version has one.
pub fn no_props(level: Level) -> &'static [u8] {
    if level == 5 { b"\0" } else { b"" }
}

/// CONNECT with these flags, keep alive 0, and whatever its payload is.
pub fn connect_with(level: Level, flags: u8, payload: &[u8]) -> Vec<u8> {
    let name = text(if level == 3 { "MQIsdp" } else { "MQTT" });
    packet(0x10, &[&name[..], &[level, flags, 0, 0], no_props(level), payload].concat())
}

pub fn connect(level: Level, id: &str) -> Vec<u8> {
    connect_with(level, 0x02, &text(id))
}

pub fn subscribe(level: Level, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = [&id.to_be_bytes(), no_props(level)].concat();
    for (filter, qos) in filters {
        body.extend(text(filter));
        body.push(*qos);
    }
    packet(0x82, &body)
}

pub fn publish(level: Level, topic: &str, payload: &[u8], qos: u8, id: u16) -> Vec<u8> {
    let id = if qos == 0 { Vec::new() } else { id.to_be_bytes().to_vec() };
    packet(0x30 | qos << 1, &[&text(topic), &id, no_props(level), payload].concat())
}

pub fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

/// The next packet, whole.
pub fn read_packet(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 2];
    stream.read_exact(&mut bytes)?;
    let (mut length, mut shift) = (usize::from(bytes[1] & 0x7f), 7);
    while bytes.last().is_some_and(|last| last & 0x80 != 0) {
        let mut next = [0];
        stream.read_exact(&mut next)?;
        length |= usize::from(next[0] & 0x7f) << shift;
        shift += 7;
        bytes.push(next[0]);
    }
    let head = bytes.len();
    bytes.resize(head + length, 0);
    stream.read_exact(&mut bytes[head..])?;
    Ok(bytes)
}

/// A PUBLISH taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub id: u16,
}

impl Message {
    pub fn of(packet: &[u8], level: Level) -> Self {
        assert_eq!(packet[0] >> 4, 3, "not a PUBLISH: {packet:02x?}");
        let head = 1 + packet[1..].iter().position(|byte| byte & 0x80 == 0).expect("a length") + 1;
        let (size, rest) = packet[head..].split_at(2);
        let (topic, mut rest) = rest.split_at(u16::from_be_bytes([size[0], size[1]]).into());
        let qos = packet[0] >> 1 & 3;
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        if level == 5 {
            rest = &rest[1 + usize::from(rest[0])..];
        }
        Self { topic: String::from_utf8(topic.into()).expect("UTF-8"), payload: rest.into(), qos, id }
    }
}

/// One that has been let in.
pub struct Client {
    pub stream: TcpStream,
    pub level: Level,
}

impl Client {
    pub fn new(address: SocketAddr, level: Level, id: &str) -> Self {
        Self::greet(address, level, &connect(level, id))
    }

    pub fn greet(address: SocketAddr, level: Level, connect: &[u8]) -> Self {
        let mut client = Self { stream: dial(address), level };
        client.send(connect);
        let connack = client.next();
        assert!(connack[0] == 0x20 && connack[3] == 0, "not let in: {connack:02x?}");
        client
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent within the time limit");
    }

    pub fn next(&mut self) -> Vec<u8> {
        read_packet(&mut self.stream).expect("a packet within the time limit")
    }

    pub fn expect(&mut self, bytes: &[u8]) {
        let got = self.next();
        assert!(got == bytes, "{got:02x?} is not {bytes:02x?}");
    }

    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        self.send(&subscribe(self.level, 1, &[(filter, qos)]));
        let suback = self.next();
        assert!(suback[0] == 0x90 && suback.last() == Some(&qos), "not granted: {suback:02x?}");
    }

    pub fn publish(&mut self, topic: &str, payload: &[u8], qos: u8, id: u16) {
        self.send(&publish(self.level, topic, payload, qos, id));
    }

    /// The next message; at QoS 1 it is acknowledged.
    pub fn message(&mut self) -> Message {
        let message = Message::of(&self.next(), self.level);
        if message.qos == 1 {
            self.send(&ack(0x40, message.id));
        }
        message
    }

    /// It still is served.
    pub fn ping(&mut self) {
        self.send(b"\xc0\0");
        self.expect(b"\xd0\0");
    }
}
