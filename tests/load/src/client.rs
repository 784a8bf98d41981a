//! As much MQTT 3.1.1 as it takes to load a broker: written once, for both of them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a broker may take for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long a reader waits before it looks whether the run is over.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const READ_BYTES: usize = 64 << 10;
/// Filters in one SUBSCRIBE.
const FILTERS: usize = 500;

pub const PUBLISH: u8 = 0x30;
pub const PUBACK: u8 = 0x40;
pub const PUBREC: u8 = 0x50;
pub const PUBREL: u8 = 0x62;
pub const PUBCOMP: u8 = 0x70;

/// CONNECT's flags.
const CLEAN: u8 = 0x02;
const KEPT: u8 = 0x00;

/// A connection that has been let in.
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    /// Of `buffer`, what is not dealt with.
    from: usize,
    to: usize,
}

/// One packet, as it came: its first byte, and what follows the length.
pub struct Packet<'a> {
    pub first: u8,
    pub body: &'a [u8],
}

impl Client {
    pub fn connect(address: SocketAddr, id: &str) -> io::Result<Self> {
        let (client, _) = Self::open(address, id, CLEAN)?;
        Ok(client)
    }

    /// With a session that is kept; whether it was there.
    pub fn resume(address: SocketAddr, id: &str) -> io::Result<(Self, bool)> {
        Self::open(address, id, KEPT)
    }

    fn open(address: SocketAddr, id: &str, flags: u8) -> io::Result<(Self, bool)> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let mut body = b"\0\x04MQTT\x04".to_vec();
        body.extend([flags, 0, 0]);
        put_text(&mut body, id);
        stream.write_all(&framed(0x10, &body))?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        match answer {
            [0x20, 2, present @ (0 | 1), 0] => Ok((Self { stream, buffer: Vec::new(), from: 0, to: 0 }, present == 1)),
            _ => Err(io::Error::other(format!("not let in: {answer:02x?}"))),
        }
    }

    pub fn subscribe(&mut self, filters: &[String], qos: u8) -> io::Result<()> {
        for filters in filters.chunks(FILTERS) {
            let mut body = vec![0, 1];
            for filter in filters {
                put_text(&mut body, filter);
                body.push(qos);
            }
            self.stream.write_all(&framed(0x82, &body))?;
            let mut granted = None;
            while granted.is_none() {
                if !self.fill()? {
                    return Err(io::Error::other("no SUBACK"));
                }
                self.packets(|packet| {
                    if packet.first == 0x90 {
                        granted = Some(packet.body.iter().skip(2).all(|code| *code == qos));
                    }
                });
            }
            if granted != Some(true) {
                return Err(io::Error::other("a subscription was refused"));
            }
        }
        Ok(())
    }

    /// From here on `fill` gives up now and then, so that its caller can look whether the run is over.
    pub fn look_up(&self) -> io::Result<()> {
        self.stream.set_read_timeout(Some(LOOK_EVERY))
    }

    /// Read what there is; false where nothing came in time.
    pub fn fill(&mut self) -> io::Result<bool> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
        if self.buffer.len() - self.to < READ_BYTES {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
            let needed = self.to + READ_BYTES;
            self.buffer.resize(needed.max(self.buffer.len()), 0);
        }
        let room = self.buffer.get_mut(self.to..).unwrap_or_default();
        match self.stream.read(room) {
            // Who was stopped and goes on has not waited.
            Err(error) if error.kind() == ErrorKind::Interrupted => self.fill(),
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.to += count;
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Every whole packet that is there.
    pub fn packets(&mut self, mut take: impl FnMut(Packet<'_>)) {
        while let Some(bytes) = self.buffer.get(self.from..self.to)
            && let Some((packet, length)) = packet(bytes)
        {
            take(packet);
            self.from += length;
        }
    }
}

fn packet(bytes: &[u8]) -> Option<(Packet<'_>, usize)> {
    let first = *bytes.first()?;
    let mut length = 0;
    for index in 0..4 {
        let byte = *bytes.get(1 + index)?;
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let start = 2 + index;
            let body = bytes.get(start..start + length)?;
            return Some((Packet { first, body }, start + length));
        }
    }
    None
}

pub fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut rest = body.len();
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        bytes.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

/// PUBLISH packets of one topic, with a stamp in the payload that is filled in for each.
pub struct Template {
    bytes: Vec<u8>,
    id_at: Option<usize>,
    stamp_at: usize,
}

/// What every payload begins with: who sent it, which of his it is, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub publisher: u32,
    pub number: u64,
    pub sent_ns: u64,
}

pub const STAMP_BYTES: usize = 20;

impl Template {
    pub fn new(topic: &str, qos: u8, size: usize) -> Self {
        let mut body = Vec::new();
        put_text(&mut body, topic);
        let id = (qos > 0).then_some(body.len());
        if qos > 0 {
            body.extend([0, 0]);
        }
        let stamp = body.len();
        body.resize(stamp + size.max(STAMP_BYTES), b'x');
        let bytes = framed(PUBLISH | qos << 1, &body);
        let head = bytes.len() - body.len();
        Self { bytes, id_at: id.map(|at| head + at), stamp_at: head + stamp }
    }

    pub fn put(&self, stamp: Stamp, id: u16, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        if let Some(at) = self.id_at {
            out[start + at..start + at + 2].copy_from_slice(&id.to_be_bytes());
        }
        let at = start + self.stamp_at;
        out[at..at + 4].copy_from_slice(&stamp.publisher.to_be_bytes());
        out[at + 4..at + 12].copy_from_slice(&stamp.number.to_be_bytes());
        out[at + 12..at + 20].copy_from_slice(&stamp.sent_ns.to_be_bytes());
    }
}

/// The packet identifier and the stamp of a PUBLISH.
pub fn received(packet: &Packet<'_>) -> Option<(Option<[u8; 2]>, Stamp)> {
    let topic_len = usize::from(u16::from_be_bytes(packet.body.get(..2)?.try_into().ok()?));
    let mut rest = packet.body.get(2 + topic_len..)?;
    let mut id = None;
    if packet.first & 0x06 != 0 {
        id = Some(rest.get(..2)?.try_into().ok()?);
        rest = rest.get(2..)?;
    }
    let publisher = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?);
    let number = u64::from_be_bytes(rest.get(4..12)?.try_into().ok()?);
    let sent_ns = u64::from_be_bytes(rest.get(12..20)?.try_into().ok()?);
    Some((id, Stamp { publisher, number, sent_ns }))
}

/// The four bytes of an acknowledgement.
pub fn ack(first: u8, id: [u8; 2]) -> [u8; 4] {
    [first, 2, id[0], id[1]]
}
