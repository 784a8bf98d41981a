//! Messages out of a recording, whoever wrote it; hostile bytes cost no more memory than the file has.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::rc::Rc;

use hobnail_core::mqtt::packet::{Publish, QoS, Version};
use hobnail_core::mqtt::props::{self, Prop, PropsBuf};
use hobnail_core::mqtt::{decode, encode_publish};

use super::{FACTS_BYTES_MAX, MAGIC, MESSAGE_HEAD, PAYLOAD_BYTES_MAX, PROPS_NAME, TOPIC_BYTES_MAX, key, kind};

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("it is no MCAP file")]
    NotMcap,
    #[error("its messages are in chunks, which hobnail does not read")]
    Chunks,
    #[error("it is damaged near byte {at}: {what}")]
    Bad { what: &'static str, at: u64 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Debug)]
pub enum Step {
    Message(Recorded),
    End,
    /// The file breaks off before its end, as after a power cut.
    Cut,
}

/// A message that can be published as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub topic: Rc<str>,
    pub qos: QoS,
    pub retain: bool,
    pub expiry_s: Option<u32>,
    pub props: PropsBuf,
    pub payload: Vec<u8>,
    pub at_ns: u64,
}

impl Recorded {
    /// The message, under any topic.
    #[must_use]
    pub fn publish<'a>(&'a self, topic: &'a str) -> Publish<'a> {
        Publish {
            dup: false,
            retain: self.retain,
            qos: self.qos,
            id: None,
            topic,
            payload: &self.payload,
            topic_alias: None,
            expiry_s: self.expiry_s,
            props: self.props.as_props(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Channel {
    topic: Rc<str>,
    qos: QoS,
    retain: bool,
}

#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    at: u64,
    left: u64,
    channels: BTreeMap<u16, Channel>,
    topic_bytes: usize,
    /// What the next message has beside its payload.
    own: (Option<u32>, PropsBuf),
}

impl<R: Read> Reader<R> {
    /// `bytes` is how much there is to read.
    pub fn new(mut input: R, bytes: u64) -> Result<Self, ReadError> {
        let mut magic = Vec::new();
        input.by_ref().take(8).read_to_end(&mut magic)?;
        if magic != MAGIC {
            return Err(ReadError::NotMcap);
        }
        let left = bytes.saturating_sub(8);
        Ok(Self { input, at: 8, left, channels: BTreeMap::new(), topic_bytes: 0, own: Default::default() })
    }

    pub fn step(&mut self) -> Result<Step, ReadError> {
        loop {
            let mut head = Vec::new();
            self.input.by_ref().take(9).read_to_end(&mut head)?;
            let Some((kind, length)) = head.split_first().and_then(|(kind, len)| Some((*kind, u64_of(len)?))) else {
                return Ok(Step::Cut);
            };
            self.at += 9;
            self.left = self.left.saturating_sub(9);
            if length > self.left {
                return Ok(Step::Cut);
            }
            match kind {
                0 => return Err(self.bad("a record of no kind")),
                kind::DATA_END | kind::FOOTER => return Ok(Step::End),
                kind::CHUNK => return Err(ReadError::Chunks),
                kind::CHANNEL | kind::METADATA | kind::MESSAGE => {
                    let Some(content) = self.content(kind, length)? else { return Ok(Step::Cut) };
                    if let Some(message) = self.take(kind, content)? {
                        return Ok(Step::Message(message));
                    }
                }
                _ => {
                    let skipped = io::copy(&mut self.input.by_ref().take(length), &mut io::sink())?;
                    self.pass(skipped);
                    if skipped < length {
                        return Ok(Step::Cut);
                    }
                }
            }
        }
    }

    /// A record's content, as long as one of its kind may be; `None` where the file ends before it.
    fn content(&mut self, kind: u8, length: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let bytes_max = if kind == kind::MESSAGE { PAYLOAD_BYTES_MAX + MESSAGE_HEAD } else { FACTS_BYTES_MAX };
        if usize::try_from(length).is_ok_and(|length| length <= bytes_max) {
            let mut content = Vec::new();
            let count = self.input.by_ref().take(length).read_to_end(&mut content)?;
            self.pass(length);
            return Ok(u64::try_from(count).is_ok_and(|count| count == length).then_some(content));
        }
        Err(self.bad("a record that is too long"))
    }

    fn pass(&mut self, count: u64) {
        self.at = self.at.saturating_add(count);
        self.left = self.left.saturating_sub(count);
    }

    fn take(&mut self, kind: u8, content: Vec<u8>) -> Result<Option<Recorded>, ReadError> {
        if kind == kind::MESSAGE {
            return self.message(content).map(Some);
        }
        let taken = if kind == kind::CHANNEL { self.channel(&content) } else { self.metadata(&content) };
        taken.ok_or_else(|| self.bad("a channel or metadata that cannot be")).map(|()| None)
    }

    fn message(&mut self, mut content: Vec<u8>) -> Result<Recorded, ReadError> {
        let head = Fields(&content).message_head();
        let (id, at_ns) = head.ok_or_else(|| self.bad("a message that is too short"))?;
        let channel = self.channels.get(&id).ok_or_else(|| self.bad("a message of no channel"))?.clone();
        content.drain(..MESSAGE_HEAD);
        let (expiry_s, props) = std::mem::take(&mut self.own);
        let Channel { topic, qos, retain } = channel;
        let message = Recorded { topic, qos, retain, expiry_s, props, payload: content, at_ns };
        if !can_be_published(&message) {
            return Err(self.bad("a message that cannot be published"));
        }
        Ok(message)
    }

    fn channel(&mut self, content: &[u8]) -> Option<()> {
        let mut fields = Fields(content);
        let (id, _schema) = (fields.u16()?, fields.u16()?);
        let (topic, _encoding) = (fields.text()?, fields.text()?);
        // Channels of other writers say neither.
        let (mut qos, mut retain) = (QoS::AtLeastOnce, false);
        let mut facts = Fields(fields.bytes()?);
        while let Some((key, value)) = facts.pair()? {
            match (key, value) {
                (key::QOS, "0") => qos = QoS::AtMostOnce,
                (key::QOS, "2") => qos = QoS::ExactlyOnce,
                (key::RETAIN, "true") => retain = true,
                (_, _) => {}
            }
        }
        self.topic_bytes += topic.len();
        let channel = Channel { topic: topic.into(), qos, retain };
        let same = self.channels.get(&id).is_none_or(|known| *known == channel);
        self.channels.insert(id, channel);
        (same && self.topic_bytes <= TOPIC_BYTES_MAX).then_some(())
    }

    fn metadata(&mut self, content: &[u8]) -> Option<()> {
        let mut fields = Fields(content);
        if fields.text()? != PROPS_NAME {
            return Some(());
        }
        let (mut expiry_s, mut found) = (None, PropsBuf::default());
        let mut facts = Fields(fields.bytes()?);
        while let Some((key, value)) = facts.pair()? {
            match key {
                key::EXPIRY => expiry_s = Some(value.parse().ok()?),
                key::PAYLOAD_FORMAT => found.push(Prop::Byte(props::PAYLOAD_FORMAT, value.parse().ok()?)),
                key::CONTENT_TYPE => found.push(Prop::Text(props::CONTENT_TYPE, value)),
                key::RESPONSE_TOPIC => found.push(Prop::Text(props::RESPONSE_TOPIC, value)),
                key::CORRELATION_DATA => found.push(Prop::Binary(props::CORRELATION_DATA, &unhex(value)?)),
                _ => {
                    let (_number, key) = key.strip_prefix(key::USER)?.split_once(':')?;
                    found.push(Prop::Pair(key, value));
                }
            }
        }
        self.own = (expiry_s, found);
        Some(())
    }

    fn bad(&self, what: &'static str) -> ReadError {
        ReadError::Bad { what, at: self.at }
    }
}

/// Whether what would be sent is what would be understood.
fn can_be_published(message: &Recorded) -> bool {
    let bare = Publish { qos: QoS::AtMostOnce, payload: &[], ..message.publish(&message.topic) };
    let mut bytes = Vec::new();
    let Ok(()) = encode_publish(&bare, Version::V5, &mut bytes) else { return false };
    matches!(decode(&bytes, Some(Version::V5), usize::MAX), Ok(Some((_, used))) if used == bytes.len())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

fn u64_of(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// What is left of a record; `None` where it ends too soon.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.take(4)?.try_into().ok().map(u32::from_le_bytes)?;
        self.take(usize::try_from(length).ok()?)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The next of a map's pairs; `Some(None)` behind the last.
    #[expect(clippy::option_option, reason = "too short and at the end are two things")]
    fn pair(&mut self) -> Option<Option<(&'a str, &'a str)>> {
        if self.0.is_empty() { Some(None) } else { Some(Some((self.text()?, self.text()?))) }
    }

    fn message_head(&mut self) -> Option<(u16, u64)> {
        let id = self.u16()?;
        let (_sequence, log_time, _publish_time) = (self.take(4)?, self.take(8)?, self.take(8)?);
        Some((id, u64_of(log_time)?))
    }
}
