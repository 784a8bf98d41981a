//! Messages into a recording.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use hobnail_core::mqtt::packet::{Props, Publish};
use hobnail_core::mqtt::props::{self, Prop};

use super::{FACTS_BYTES_MAX, MAGIC, PROPS_NAME, TOPIC_BYTES_MAX, key, kind};

/// Bytes that are collected before they are written, where nobody asks for them sooner.
const PENDING_BYTES_MAX: usize = 256 * 1024;

/// Longest properties of a message that is recorded; as a record they are at most eight times as long.
const PROPS_BYTES_MAX: usize = FACTS_BYTES_MAX / 8;

/// Writes whole records only, as far as the system lets it; `kept` counts what has been written.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    pending: Vec<u8>,
    channels: BTreeMap<Channel, u16>,
    topic_bytes: usize,
    added: Counts,
    kept: Counts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub messages: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    Recorded,
    /// The file can hold no more topics, or the properties are longer than any that are kept.
    LeftOut,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Channel {
    topic: Box<str>,
    qos: u8,
    retain: bool,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> io::Result<Self> {
        let mut pending = MAGIC.to_vec();
        put_record(&mut pending, kind::HEADER, |content| {
            put_text(content, "");
            put_text(content, concat!("hobnail ", env!("CARGO_PKG_VERSION")));
        });
        let (added, kept) = (Counts { messages: 0, bytes: bytes(&pending) }, Counts::default());
        let mut writer = Self { out, pending, channels: BTreeMap::new(), topic_bytes: 0, added, kept };
        writer.flush()?;
        Ok(writer)
    }

    /// Record a message that came `at_ns` after 1970.
    pub fn add(&mut self, message: &Publish<'_>, at_ns: u64) -> io::Result<Added> {
        if message.props.as_bytes().len() > PROPS_BYTES_MAX {
            return Ok(Added::LeftOut);
        }
        let start = self.pending.len();
        let Some(channel) = self.channel(message) else { return Ok(Added::LeftOut) };
        put_props(&mut self.pending, message.props);
        // The sequence may wrap: it is there to tell neighbours apart.
        let [a, b, c, d, ..] = self.added.messages.to_le_bytes();
        put_record(&mut self.pending, kind::MESSAGE, |content| {
            content.extend_from_slice(&channel.to_le_bytes());
            content.extend_from_slice(&[a, b, c, d]);
            content.extend_from_slice(&at_ns.to_le_bytes());
            content.extend_from_slice(&at_ns.to_le_bytes());
            content.extend_from_slice(message.payload);
        });
        self.added.messages += 1;
        self.added.bytes += bytes(&self.pending) - u64::try_from(start).unwrap_or(u64::MAX);
        if self.pending.len() >= PENDING_BYTES_MAX {
            self.flush()?;
        }
        Ok(Added::Recorded)
    }

    /// Hand what was added to the system; from then on it outlives this process.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            // What the system has taken is never written again, even where the rest fails and is tried once more.
            match self.out.write(&self.pending) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.kept = self.added;
        Ok(())
    }

    /// End the file.
    pub fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.out.write_all(&end())?;
        self.out.flush()
    }

    #[must_use]
    pub fn kept(&self) -> Counts {
        self.kept
    }

    #[must_use]
    pub fn out(&self) -> &W {
        &self.out
    }

    /// The channel's id, from 1 on; `None` where there is no room for another.
    fn channel(&mut self, message: &Publish<'_>) -> Option<u16> {
        let channel = Channel { topic: message.topic.into(), qos: message.qos as u8, retain: message.retain };
        if let Some(id) = self.channels.get(&channel) {
            return Some(*id);
        }
        let id = u16::try_from(self.channels.len() + 1).ok()?;
        if self.topic_bytes + channel.topic.len() > TOPIC_BYTES_MAX {
            return None;
        }
        self.topic_bytes += channel.topic.len();
        put_record(&mut self.pending, kind::CHANNEL, |content| {
            content.extend_from_slice(&id.to_le_bytes());
            // No schema, and no encoding that is known of.
            content.extend_from_slice(&0u16.to_le_bytes());
            put_text(content, &channel.topic);
            put_text(content, "");
            let retain = channel.retain.to_string();
            put_map(content, &[(key::QOS.into(), channel.qos.to_string()), (key::RETAIN.into(), retain)]);
        });
        self.channels.insert(channel, id);
        Some(id)
    }
}

impl Writer<File> {
    /// After a write that failed: cut off what is not whole, and end the file where there is room for an end.
    pub fn rescue(&mut self) -> io::Result<()> {
        self.pending.clear();
        self.out.set_len(self.kept.bytes)?;
        self.out.seek(SeekFrom::Start(self.kept.bytes))?;
        self.out.write_all(&end())
    }
}

fn end() -> Vec<u8> {
    let mut end = Vec::new();
    put_record(&mut end, kind::DATA_END, |content| content.extend_from_slice(&[0; 4]));
    put_record(&mut end, kind::FOOTER, |content| content.extend_from_slice(&[0; 20]));
    end.extend_from_slice(&MAGIC);
    end
}

fn put_props(out: &mut Vec<u8>, props: Props<'_>) {
    let mut facts = Vec::new();
    for prop in props.iter() {
        let fact = match prop {
            Prop::Byte(_, value) => (key::PAYLOAD_FORMAT.to_owned(), value.to_string()),
            Prop::Four(_, value) => (key::EXPIRY.to_owned(), value.to_string()),
            Prop::Text(props::CONTENT_TYPE, text) => (key::CONTENT_TYPE.to_owned(), text.to_owned()),
            Prop::Text(_, text) => (key::RESPONSE_TOPIC.to_owned(), text.to_owned()),
            Prop::Binary(_, bytes) => (key::CORRELATION_DATA.to_owned(), hex(bytes)),
            Prop::Pair(key, value) => (format!("{}{}:{key}", key::USER, facts.len()), value.to_owned()),
            // Topic alias and subscription identifier are between this server and us.
            Prop::Two(..) | Prop::Varint(..) => continue,
        };
        facts.push(fact);
    }
    if facts.is_empty() {
        return;
    }
    put_record(out, kind::METADATA, |content| {
        put_text(content, PROPS_NAME);
        put_map(content, &facts);
    });
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

fn put_record(out: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut content = Vec::new();
    fill(&mut content);
    out.push(kind);
    out.extend_from_slice(&bytes(&content).to_le_bytes());
    out.append(&mut content);
}

fn put_map(out: &mut Vec<u8>, pairs: &[(String, String)]) {
    let mut content = Vec::new();
    for (key, value) in pairs {
        put_text(&mut content, key);
        put_text(&mut content, value);
    }
    put_bytes(out, &content);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // Topics and properties are far below 4 GiB.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn bytes(of: &[u8]) -> u64 {
    u64::try_from(of.len()).unwrap_or(u64::MAX)
}
