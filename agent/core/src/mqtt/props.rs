//! Version 5 properties: which packet may carry which, read once and checked whole.

use std::num::NonZeroU16;

use super::packet::Props;
use super::wire::{DecodeError, Reader, put_binary, put_u16, put_u32, put_varint};

pub const PAYLOAD_FORMAT: u8 = 0x01;
pub const MESSAGE_EXPIRY: u8 = 0x02;
pub const CONTENT_TYPE: u8 = 0x03;
pub const RESPONSE_TOPIC: u8 = 0x08;
pub const CORRELATION_DATA: u8 = 0x09;
pub const SUBSCRIPTION_ID: u8 = 0x0b;
pub const SESSION_EXPIRY: u8 = 0x11;
pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
pub const SERVER_KEEP_ALIVE: u8 = 0x13;
pub const AUTH_METHOD: u8 = 0x15;
pub const AUTH_DATA: u8 = 0x16;
pub const REQUEST_PROBLEM_INFO: u8 = 0x17;
pub const WILL_DELAY: u8 = 0x18;
pub const REQUEST_RESPONSE_INFO: u8 = 0x19;
pub const RESPONSE_INFO: u8 = 0x1a;
pub const SERVER_REFERENCE: u8 = 0x1c;
pub const REASON_STRING: u8 = 0x1f;
pub const RECEIVE_MAX: u8 = 0x21;
pub const TOPIC_ALIAS_MAX: u8 = 0x22;
pub const TOPIC_ALIAS: u8 = 0x23;
pub const QOS_MAX: u8 = 0x24;
pub const RETAIN_AVAILABLE: u8 = 0x25;
pub const USER_PROPERTY: u8 = 0x26;
pub const PACKET_BYTES_MAX: u8 = 0x27;
pub const WILDCARD_AVAILABLE: u8 = 0x28;
pub const SUBSCRIPTION_IDS_AVAILABLE: u8 = 0x29;
pub const SHARED_AVAILABLE: u8 = 0x2a;

/// One property, by what kind of value it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prop<'a> {
    Byte(u8, u8),
    Two(u8, u16),
    Four(u8, u32),
    Varint(u8, u32),
    Text(u8, &'a str),
    Binary(u8, &'a [u8]),
    Pair(&'a str, &'a str),
}

impl Prop<'_> {
    #[must_use]
    pub fn id(&self) -> u8 {
        match self {
            Self::Byte(id, _) | Self::Two(id, _) | Self::Four(id, _) | Self::Varint(id, _) => *id,
            Self::Text(id, _) | Self::Binary(id, _) => *id,
            Self::Pair(..) => USER_PROPERTY,
        }
    }
}

/// Reads the next property, whatever packet it is in.
fn next<'a>(reader: &mut Reader<'a>) -> Result<Prop<'a>, DecodeError> {
    let id = reader.u8()?;
    Ok(match id {
        PAYLOAD_FORMAT
        | REQUEST_PROBLEM_INFO
        | REQUEST_RESPONSE_INFO
        | QOS_MAX
        | RETAIN_AVAILABLE
        | WILDCARD_AVAILABLE
        | SUBSCRIPTION_IDS_AVAILABLE
        | SHARED_AVAILABLE => {
            let value = reader.u8()?;
            if value > 1 {
                return Err(DecodeError::Protocol("a property that is neither 0 nor 1"));
            }
            Prop::Byte(id, value)
        }
        SERVER_KEEP_ALIVE | RECEIVE_MAX | TOPIC_ALIAS_MAX | TOPIC_ALIAS => Prop::Two(id, reader.u16()?),
        MESSAGE_EXPIRY | SESSION_EXPIRY | WILL_DELAY | PACKET_BYTES_MAX => Prop::Four(id, reader.u32()?),
        SUBSCRIPTION_ID => Prop::Varint(id, reader.varint()?),
        CONTENT_TYPE | RESPONSE_TOPIC | ASSIGNED_CLIENT_ID | AUTH_METHOD | RESPONSE_INFO | SERVER_REFERENCE
        | REASON_STRING => Prop::Text(id, reader.text()?),
        CORRELATION_DATA | AUTH_DATA => Prop::Binary(id, reader.binary()?),
        USER_PROPERTY => Prop::Pair(reader.text()?, reader.text()?),
        _ => return Err(DecodeError::Malformed("an unknown property")),
    })
}

/// Reads a property block, length first, and hands each property that `allowed` lists to `take`. What is not listed, or
/// comes twice, is a protocol error; user properties and `repeats` may come again.
pub fn read<'a>(
    reader: &mut Reader<'a>,
    allowed: &[u8],
    repeats: u8,
    mut take: impl FnMut(Prop<'a>, &'a [u8]) -> Result<(), DecodeError>,
) -> Result<&'a [u8], DecodeError> {
    let length = reader.varint()?;
    // A length that does not fit a usize is longer than any packet.
    let block = reader.bytes(usize::try_from(length).unwrap_or(usize::MAX))?;
    let mut seen = 0u64;
    let mut inner = Reader::new(block);
    while !inner.is_empty() {
        let before = inner.rest();
        let prop = next(&mut inner)?;
        let raw = before.split_at_checked(before.len() - inner.rest().len()).map_or(before, |(raw, _)| raw);
        let id = prop.id();
        if !allowed.contains(&id) {
            return Err(DecodeError::Protocol("a property that does not belong into this packet"));
        }
        let bit = 1u64 << (id & 0x3f);
        if seen & bit != 0 && id != USER_PROPERTY && id != repeats {
            return Err(DecodeError::Protocol("a property that stands twice"));
        }
        seen |= bit;
        take(prop, raw)?;
    }
    Ok(block)
}

/// Which property may come again, besides user properties, where none may.
pub const NO_REPEATS: u8 = 0;

pub fn nonzero(value: u16) -> Result<NonZeroU16, DecodeError> {
    NonZeroU16::new(value).ok_or(DecodeError::Protocol("a property of 0"))
}

impl<'a> Props<'a> {
    /// Every property, in order. The block was checked when it was read, so this ends where it ends.
    pub fn iter(self) -> impl Iterator<Item = Prop<'a>> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || if reader.is_empty() { None } else { next(&mut reader).ok() })
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    pub fn user(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter().filter_map(|prop| if let Prop::Pair(key, value) = prop { Some((key, value)) } else { None })
    }

    #[must_use]
    pub fn text(self, wanted: u8) -> Option<&'a str> {
        self.iter().find_map(|prop| match prop {
            Prop::Text(id, text) if id == wanted => Some(text),
            Prop::Byte(..) | Prop::Two(..) | Prop::Four(..) | Prop::Varint(..) => None,
            Prop::Text(..) | Prop::Binary(..) | Prop::Pair(..) => None,
        })
    }

    #[must_use]
    pub fn binary(self, wanted: u8) -> Option<&'a [u8]> {
        self.iter().find_map(|prop| match prop {
            Prop::Binary(id, bytes) if id == wanted => Some(bytes),
            Prop::Byte(..) | Prop::Two(..) | Prop::Four(..) | Prop::Varint(..) => None,
            Prop::Text(..) | Prop::Binary(..) | Prop::Pair(..) => None,
        })
    }
}

/// Properties being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropsBuf(Vec<u8>);

impl PropsBuf {
    pub fn push(&mut self, prop: Prop<'_>) {
        put(&mut self.0, prop);
    }

    #[must_use]
    pub fn as_props(&self) -> Props<'_> {
        Props(&self.0)
    }
}

pub fn put(out: &mut Vec<u8>, prop: Prop<'_>) {
    out.push(prop.id());
    match prop {
        Prop::Byte(_, value) => out.push(value),
        Prop::Two(_, value) => put_u16(out, value),
        Prop::Four(_, value) => put_u32(out, value),
        Prop::Varint(_, value) => put_varint(out, usize::try_from(value).unwrap_or(usize::MAX)),
        Prop::Text(_, text) => put_binary(out, text.as_bytes()),
        Prop::Binary(_, bytes) => put_binary(out, bytes),
        Prop::Pair(key, value) => {
            put_binary(out, key.as_bytes());
            put_binary(out, value.as_bytes());
        }
    }
}
