//! Recordings: messages in an MCAP file (mcap.dev), without chunks, summary and checksums, which it leaves optional.
//!
//! ```text
//!   magic  Header  { Channel?  Metadata?  Message }*  DataEnd  Footer  magic
//! ```
//!
//! A channel is a topic at one QoS, with or without retain: its metadata `qos` and `retain`. A message's data is its
//! payload, both its times are when it was recorded. What else it had stands in a metadata record `mqtt` right before it.
//! A file that was cut anywhere can be read up to there.

mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::{ReadError, Reader, Recorded, Step};
pub use write::{Added, Counts, Writer};

const MAGIC: [u8; 8] = *b"\x89MCAP0\r\n";

mod kind {
    pub const HEADER: u8 = 0x01;
    pub const FOOTER: u8 = 0x02;
    pub const CHANNEL: u8 = 0x04;
    pub const MESSAGE: u8 = 0x05;
    pub const CHUNK: u8 = 0x06;
    pub const METADATA: u8 = 0x0c;
    pub const DATA_END: u8 = 0x0f;
}

/// Channel, sequence and two times, before a message's data.
const MESSAGE_HEAD: usize = 22;
/// The metadata record that holds what the next message had beside its payload.
const PROPS_NAME: &str = "mqtt";
/// What its keys are called, as for `-D`; user properties are `user:NUMBER:KEY`, since a key may come again.
mod key {
    pub const PAYLOAD_FORMAT: &str = "payload-format-indicator";
    pub const EXPIRY: &str = "message-expiry-interval";
    pub const CONTENT_TYPE: &str = "content-type";
    pub const RESPONSE_TOPIC: &str = "response-topic";
    pub const CORRELATION_DATA: &str = "correlation-data";
    pub const USER: &str = "user:";
    pub const QOS: &str = "qos";
    pub const RETAIN: &str = "retain";
}

/// Bytes of topics that a writer or a reader keeps at most; a file has at most 65,535 channels anyway.
const TOPIC_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest properties of one message, and longest record of a channel.
const FACTS_BYTES_MAX: usize = 1024 * 1024;
/// Longest payload: the longest packet of MQTT.
const PAYLOAD_BYTES_MAX: usize = 268_435_455;
