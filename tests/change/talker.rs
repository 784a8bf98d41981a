//! A client of MQTT 3.1.1 that says and hears single messages.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long nothing has to come before nothing comes.
const SILENCE: Duration = Duration::from_millis(300);

pub struct Talker {
    stream: TcpStream,
    /// Messages that came before what was waited for.
    heard: VecDeque<String>,
}

/// What a CONNACK says.
#[derive(Debug, PartialEq, Eq)]
pub enum Welcome {
    New,
    Back,
    Refused(u8),
}

impl Talker {
    /// As this client; with a password it is the device of that name.
    pub fn connect(door: SocketAddr, id: &str, clean: bool, device: Option<(&str, &str)>) -> (Self, Welcome) {
        let stream = TcpStream::connect(door).expect("the door is open");
        stream.set_nodelay(true).unwrap();
        let flags = if clean { 2 } else { 0 } | if device.is_some() { 0xc0 } else { 0 };
        let mut body = [b"\0\x04MQTT\x04".as_slice(), &[flags, 0, 0], &text(id)].concat();
        for part in device.iter().flat_map(|(name, password)| [name, password]) {
            body.extend(text(part));
        }
        let mut talker = Self { stream, heard: VecDeque::new() };
        talker.send(0x10, &body);
        let (head, answer) = talker.packet(LIMIT).expect("an answer");
        assert_eq!((head, answer.len()), (0x20, 2));
        let welcome = match (answer[0], answer[1]) {
            (0, 0) => Welcome::New,
            (_, 0) => Welcome::Back,
            (_, code) => Welcome::Refused(code),
        };
        (talker, welcome)
    }

    pub fn program(door: SocketAddr, id: &str) -> Self {
        let (talker, welcome) = Self::connect(door, id, true, None);
        assert_eq!(welcome, Welcome::New);
        talker
    }

    /// Whether the filter was granted.
    pub fn subscribe(&mut self, filter: &str) -> bool {
        self.send(0x82, &[[0, 1].as_slice(), &text(filter), &[1]].concat());
        let (head, answer) = self.answer().expect("an answer");
        assert_eq!((head, answer.len()), (0x90, 3), "{answer:?}");
        answer[2] != 0x80
    }

    /// At QoS 1; returns once it is acknowledged.
    pub fn publish(&mut self, topic: &str, payload: &str) {
        self.say(0x32, topic, payload);
    }

    pub fn retain(&mut self, topic: &str, payload: &str) {
        self.say(0x33, topic, payload);
    }

    fn say(&mut self, head: u8, topic: &str, payload: &str) {
        self.send(head, &[text(topic), vec![0, 2], payload.into()].concat());
        assert_eq!(self.answer().map(|(head, _)| head), Some(0x40));
    }

    /// The next message, as `topic payload`.
    pub fn hear(&mut self) -> String {
        self.message(LIMIT).expect("a message")
    }

    /// All that comes until nothing comes.
    pub fn hear_all(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.message(SILENCE)).collect()
    }

    fn message(&mut self, limit: Duration) -> Option<String> {
        if let Some(heard) = self.heard.pop_front() {
            return Some(heard);
        }
        let (head, body) = self.packet(limit)?;
        assert_eq!(head & 0xf0, 0x30, "{body:?}");
        Some(self.take(head, &body))
    }

    fn take(&mut self, head: u8, body: &[u8]) -> String {
        let (len, body) = body.split_at(2);
        let (topic, mut payload) = body.split_at(usize::from(u16::from_be_bytes([len[0], len[1]])));
        if head & 6 != 0 {
            self.send(0x40, &payload[..2]);
            payload = &payload[2..];
        }
        format!("{} {}", String::from_utf8_lossy(topic), String::from_utf8_lossy(payload))
    }

    /// The next packet that is no message; nothing at the end.
    fn answer(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let (head, body) = self.packet(LIMIT)?;
            if head & 0xf0 != 0x30 {
                return Some((head, body));
            }
            let message = self.take(head, &body);
            self.heard.push_back(message);
        }
    }

    /// Whether it is served still.
    pub fn is_served(&mut self) -> bool {
        self.send(0xc0, &[]);
        self.answer().is_some_and(|(head, _)| head == 0xd0)
    }

    fn send(&mut self, head: u8, body: &[u8]) {
        let len = u8::try_from(body.len()).ok().filter(|len| *len < 128).expect("a short packet");
        // An end that is closed shows at the next answer.
        let _ = self.stream.write_all(&[&[head, len], body].concat());
    }

    fn packet(&mut self, limit: Duration) -> Option<(u8, Vec<u8>)> {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).ok()?;
        self.stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut body = vec![0; usize::from(head[1])];
        self.stream.read_exact(&mut body).ok()?;
        Some((head[0], body))
    }
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}
