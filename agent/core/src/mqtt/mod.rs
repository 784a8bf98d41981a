//! MQTT 3.1, 3.1.1 and 5 on the wire: packets that borrow from the bytes they came in.
//!
//! `decode` is as strict as the standards and can be given anything; it never panics and never looks behind a packet's
//! end. `encode` writes what `decode` reads.

pub mod client;
mod decode;
mod encode;
pub mod packet;
pub mod props;
mod reasons;
mod wire;

pub use decode::{FILTERS_MAX, decode, length_of, version_of_connect};
pub use encode::{LENGTH_MAX, TooLong, encode, encode_plain_ack, encode_publish, encode_publish_head, put_others};
pub use wire::{DecodeError, varint_len};

use packet::Reason;

impl DecodeError {
    /// What a version 5 peer is told.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) => Reason::MALFORMED_PACKET,
            Self::Protocol(_) => Reason::PROTOCOL_ERROR,
            Self::TooLarge(_) => Reason::PACKET_TOO_LARGE,
            Self::UnsupportedVersion => Reason::UNSUPPORTED_PROTOCOL_VERSION,
            Self::TopicAliasInvalid => Reason::TOPIC_ALIAS_INVALID,
            Self::TopicNameInvalid => Reason::TOPIC_NAME_INVALID,
        }
    }
}

#[cfg(test)]
mod tests;
