//! Sealed payloads: what leaves a machine, so that nobody between can read it, change it, or move it.
//!
//! ```text
//!  0 version=1 | 1 suite=1 | 2 flags u16 | 4 key u32   |  8 sender u64
//! 16 boot salt [16], random per process                | 32 lane u8, seq u56
//! 40 incarnation u32 | 44 content type u16 | 46 zero   | 48 hlc u64
//! 56 ciphertext | tag [16]                                    all numbers big-endian
//! ```
//!
//! Flags: 0..2 QoS, 2 retain, 3 clear. Suite 1 is XChaCha20-Poly1305 under the sender's key, with bytes 16..40 as the
//! nonce. The additional data holds the network, the header and the topic, so that an envelope means something in one
//! place only. `tests/envelope/decode.py` says all of it a second time, in a page. `‖` joins, numbers are big-endian:
//!
//! ```text
//! additional data  "hobnail/1/msg" ‖ network ‖ 0 ‖ bytes 0..56 ‖ topic length u16 ‖ topic
//! sender           SHA-256("hobnail/1/sender" ‖ network ‖ 0 ‖ machine)[..8]
//! sender's key     HKDF-SHA256(payload secret, info = "hobnail/1/sender-key" ‖ key ‖ sender)
//! ```
//!
//! This room never draws a random number: the salt comes in, and must be new in every process. It keeps no record of
//! what it has opened: order and repetition are the streams' matter.
//!
//! Invariants: a `Sealer` never uses a (key, nonce) twice; nothing that an `Opener` has not authenticated reaches a
//! caller or its table of subkeys; no secret shows in `Debug`, and ours are wiped when dropped.

mod cipher;
mod header;
pub mod key_file;
mod keys;
mod open;
mod seal;

pub use cipher::TAG_LEN;
pub use header::{BootSalt, ContentType, HEADER_LEN, Header, Malformed, SEQ_MAX, SenderId, Stamp};
pub use keys::{
    Fingerprint, Key, KeyId, Keyring, KeyringError, LinkSecret, NetworkKey, PayloadSecret, SECRET_LEN, Seed, link_seed,
};
pub use open::{OpenError, Opened, Opener, SUBKEYS_MAX};
pub use seal::{SealError, Sealer};

/// How much longer an envelope is than the body in it.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;

#[cfg(test)]
mod tests;
