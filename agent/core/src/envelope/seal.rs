//! Sealing: one per process, because the salt is.

use std::collections::BTreeMap;
use std::fmt;

use crate::ids::Name;
use crate::topic::TOPIC_LEN_MAX;
use crate::topology::model::Lane;

use super::cipher::Subkey;
use super::header::{BootSalt, Header, SEQ_MAX, SenderId, Stamp};
use super::keys::{KeyId, Keyring};

/// Seals what this machine sends.
pub struct Sealer {
    key: KeyId,
    sender: SenderId,
    salt: BootSalt,
    subkey: Subkey,
    place: Place,
    /// The lowest `seq` that a lane may still use. A nonce is lane and seq, so none comes twice.
    next: BTreeMap<Lane, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the key {0} is that of a relay: it can link, but not seal")]
    RelayKey(KeyId),
    #[error("seq {seq} is not above what was sealed before")]
    SeqUsed { seq: u64 },
    #[error("seq {seq} has more than 56 bits")]
    SeqTooHigh { seq: u64 },
    #[error("the topic is longer than {TOPIC_LEN_MAX} bytes")]
    TopicTooLong,
    #[error("the payload is longer than the cipher takes")]
    BodyTooLong,
}

impl Sealer {
    /// `salt` must be random, and new for every `Sealer` that is made; `rekey` keeps it.
    pub fn new(keyring: &Keyring, me: &Name, salt: BootSalt) -> Result<Self, SealError> {
        let sender = SenderId::of(keyring.network(), me);
        let subkey = active_subkey(keyring, sender, salt)?;
        let place = Place::new(keyring.network());
        Ok(Self { key: keyring.active(), sender, salt, subkey, place, next: BTreeMap::new() })
    }

    /// Go on under the active key of `keyring`.
    pub fn rekey(&mut self, keyring: &Keyring) -> Result<(), SealError> {
        self.subkey = active_subkey(keyring, self.sender, self.salt)?;
        self.key = keyring.active();
        Ok(())
    }

    #[must_use]
    pub fn sender(&self) -> SenderId {
        self.sender
    }

    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// Append the envelope to `out`. In each lane `seq` only goes up: an envelope that is wanted again has to be kept,
    /// and a new incarnation needs a new `Sealer`. A refusal leaves `out` as it was.
    pub fn seal(&mut self, stamp: Stamp, topic: &str, body: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let seq = stamp.seq;
        if seq > SEQ_MAX {
            return Err(SealError::SeqTooHigh { seq });
        }
        let next = self.next.entry(stamp.lane).or_default();
        if seq < *next {
            return Err(SealError::SeqUsed { seq });
        }
        let header = Header { key: self.key, sender: self.sender, salt: self.salt, stamp };
        let bytes = header.encode();
        let aad = self.place.aad(&bytes, topic).ok_or(SealError::TopicTooLong)?;
        *next = seq + 1;
        let start = out.len();
        out.reserve(super::OVERHEAD + body.len());
        out.extend_from_slice(&bytes);
        self.subkey.seal(header.order(), aad, body, out).map_err(|_| {
            out.truncate(start);
            SealError::BodyTooLong
        })
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("key", &self.key).field("sender", &self.sender).finish_non_exhaustive()
    }
}

fn active_subkey(keyring: &Keyring, sender: SenderId, salt: BootSalt) -> Result<Subkey, SealError> {
    let key = keyring.active();
    let secret = keyring.payload(key).ok_or(SealError::RelayKey(key))?;
    Ok(Subkey::new(&secret.sender_key(key, sender), salt))
}

/// The additional data: what an envelope is bound to beside its body. Reused, so that none is allocated per message.
pub(super) struct Place {
    bytes: Vec<u8>,
    prefix_len: usize,
}

impl Place {
    pub fn new(network: &Name) -> Self {
        let mut bytes = b"hobnail/1/msg".to_vec();
        bytes.extend_from_slice(network.as_str().as_bytes());
        // Ends the name, which holds no NUL.
        bytes.push(0);
        Self { prefix_len: bytes.len(), bytes }
    }

    /// `None`: the topic is longer than any topic.
    pub fn aad(&mut self, header: &[u8], topic: &str) -> Option<&[u8]> {
        let topic_len = u16::try_from(topic.len()).ok()?;
        self.bytes.truncate(self.prefix_len);
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(&topic_len.to_be_bytes());
        self.bytes.extend_from_slice(topic.as_bytes());
        Some(&self.bytes)
    }
}
