//! A small MQTT client: one connection at a time, over TCP, a Unix socket or TLS.
//!
//! `dial` opens the socket, `connection` moves bytes between it and the core's state machine. It never connects again
//! by itself: that is its owner's decision, and `backoff` says how long to wait. Every buffer is bounded: input by the
//! longest packet, output by what the owner puts in before it waits.

mod backoff;
mod connection;
mod dial;
mod reasons;
mod tls;

pub use backoff::Backoff;
pub use connection::{Connection, Greeting, Hello, HelloWill, LinkError, Packets, Secret, ended};
pub use dial::{Address, DialError, Route};
pub use reasons::in_words;
pub use tls::{NameCheck, Tls, TlsError};
