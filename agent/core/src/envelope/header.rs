//! The 56 bytes before the ciphertext. Everyone may read them; only who has the key can tell whether they are true.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::ids::Name;
use crate::mqtt::packet::QoS;
use crate::topology::model::Lane;

use super::cipher::TAG_LEN;
use super::keys::KeyId;

pub const HEADER_LEN: usize = 56;
/// The highest `seq`: it has 56 bits.
pub const SEQ_MAX: u64 = (1 << 56) - 1;

const VERSION: u8 = 1;
const SUITE_XCHACHA20_POLY1305: u8 = 1;

const FLAGS_QOS: u16 = 0b011;
const FLAG_RETAIN: u16 = 0b100;
const FLAG_CLEAR: u16 = 0b1000;

/// What an envelope says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The network key that the sender's key comes from.
    pub key: KeyId,
    pub sender: SenderId,
    pub salt: BootSalt,
    pub stamp: Stamp,
}

/// What the sender says of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub qos: QoS,
    pub retain: bool,
    /// It clears what is retained under its topic.
    pub clear: bool,
    pub lane: Lane,
    /// Its place in the stream, at most `SEQ_MAX`.
    pub seq: u64,
    pub incarnation: u32,
    pub content_type: ContentType,
    /// The sender's hybrid clock.
    pub hlc: u64,
}

/// The machine that sealed, the same in every boot and under every key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SenderId(pub u64);

/// Random, and new in every process. It makes a cloned or restored disk harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootSalt(pub [u8; 16]);

/// How the body is to be read; the envelope does not care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContentType(pub u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("an envelope has at least {least} bytes, not {0}", least = HEADER_LEN + TAG_LEN)]
    TooShort(usize),
    #[error("unknown envelope version {0}")]
    Version(u8),
    #[error("unknown cipher suite {0}")]
    Suite(u8),
    #[error("unknown flags {0:#06x}")]
    Flags(u16),
    #[error("unknown lane {0}")]
    Lane(u8),
    #[error("the reserved bytes hold {0:#06x}, not zero")]
    Reserved(u16),
}

impl SenderId {
    #[must_use]
    pub fn of(network: &Name, machine: &Name) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"hobnail/1/sender");
        hash.update(network.as_str());
        // A name holds no NUL, so two pairs never run together into the same bytes.
        hash.update([0]);
        hash.update(machine.as_str());
        let hash: [u8; 32] = hash.finalize().into();
        Self(hash.first_chunk().copied().map_or(0, u64::from_be_bytes))
    }
}

impl fmt::Display for SenderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Header {
    /// Read the header of an envelope without opening it. Nothing in it is proved.
    pub fn peek(envelope: &[u8]) -> Result<Self, Malformed> {
        let Some((header, rest)) = envelope.split_first_chunk::<HEADER_LEN>() else {
            return Err(Malformed::TooShort(envelope.len()));
        };
        if rest.len() < TAG_LEN {
            return Err(Malformed::TooShort(envelope.len()));
        }
        Self::decode(header)
    }

    #[must_use]
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let salt = u128::from_be_bytes(self.salt.0);
        let stamp = &self.stamp;
        let start =
            u64::from(VERSION) << 56 | u64::from(SUITE_XCHACHA20_POLY1305) << 48 | u64::from(stamp.flags()) << 32;
        let words = [
            start | u64::from(self.key.0),
            self.sender.0,
            high_u64(salt),
            low_u64(salt),
            u64::from_be_bytes(self.order()),
            u64::from(stamp.incarnation) << 32 | u64::from(stamp.content_type.0) << 16,
            stamp.hlc,
        ];
        let mut bytes = [0; HEADER_LEN];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, Malformed> {
        let mut words = [0; HEADER_LEN / 8];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_be_bytes(*bytes);
        }
        let [start, sender, high, low, order, mixed, hlc] = words;
        let [version, suite, ..] = start.to_be_bytes();
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        if suite != SUITE_XCHACHA20_POLY1305 {
            return Err(Malformed::Suite(suite));
        }
        let (qos, retain, clear) = from_flags(low_u16(start >> 32))?;
        let [lane, ..] = order.to_be_bytes();
        if low_u16(mixed) != 0 {
            return Err(Malformed::Reserved(low_u16(mixed)));
        }
        Ok(Self {
            key: KeyId(low_u32(start)),
            sender: SenderId(sender),
            salt: BootSalt((u128::from(high) << 64 | u128::from(low)).to_be_bytes()),
            stamp: Stamp {
                qos,
                retain,
                clear,
                lane: Lane::from_number(lane).ok_or(Malformed::Lane(lane))?,
                seq: order & SEQ_MAX,
                incarnation: low_u32(mixed >> 32),
                content_type: ContentType(low_u16(mixed >> 16)),
                hlc,
            },
        })
    }

    /// Bytes 32..40, which the suite's inner nonce ends with.
    #[must_use]
    pub(super) fn order(&self) -> [u8; 8] {
        (u64::from(self.stamp.lane.number()) << 56 | self.stamp.seq & SEQ_MAX).to_be_bytes()
    }
}

impl Stamp {
    fn flags(&self) -> u16 {
        let qos = match self.qos {
            QoS::AtMostOnce => 0,
            QoS::AtLeastOnce => 1,
            QoS::ExactlyOnce => 2,
        };
        let retain = if self.retain { FLAG_RETAIN } else { 0 };
        let clear = if self.clear { FLAG_CLEAR } else { 0 };
        qos | retain | clear
    }
}

fn from_flags(flags: u16) -> Result<(QoS, bool, bool), Malformed> {
    if flags & !(FLAGS_QOS | FLAG_RETAIN | FLAG_CLEAR) != 0 {
        return Err(Malformed::Flags(flags));
    }
    let qos = match flags & FLAGS_QOS {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        2 => QoS::ExactlyOnce,
        _ => return Err(Malformed::Flags(flags)),
    };
    Ok((qos, flags & FLAG_RETAIN != 0, flags & FLAG_CLEAR != 0))
}

fn high_u64(word: u128) -> u64 {
    low_u64(word >> 64)
}

fn low_u64(word: u128) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = word.to_be_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn low_u16(word: u64) -> u16 {
    let [.., a, b] = word.to_be_bytes();
    u16::from_be_bytes([a, b])
}

fn low_u32(word: u64) -> u32 {
    let [.., a, b, c, d] = word.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}
