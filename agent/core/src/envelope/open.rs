//! Opening what other machines sealed.

use std::collections::BTreeMap;
use std::fmt;

use super::cipher::{Subkey, Unauthentic};
use super::header::{BootSalt, HEADER_LEN, Header, Malformed, SenderId};
use super::keys::{KeyId, Keyring, PayloadSecret};
use super::seal::Place;

/// Most subkeys that are kept: one a machine, boot and key, so ten boots of a hundred machines.
pub const SUBKEYS_MAX: usize = 1024;

/// Opens what was sealed under any key of a keyring.
pub struct Opener {
    keyring: Keyring,
    place: Place,
    /// Those that have opened something, so that forgeries cannot push them out.
    subkeys: BTreeMap<(KeyId, SenderId, BootSalt), Kept>,
    /// Counts attempts; the oldest use goes first when the table is full.
    tick: u64,
}

struct Kept {
    subkey: Subkey,
    used: u64,
}

/// An envelope that was what it claims to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'b> {
    pub header: Header,
    pub body: &'b [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("it is sealed under the key {0}, which is not here")]
    UnknownKey(KeyId),
    #[error("it is sealed under the key {0}, of which only the relay's half is here")]
    RelayKey(KeyId),
    #[error("it was not sealed like this: changed, moved to another place, or forged")]
    Forged,
}

impl Opener {
    #[must_use]
    pub fn new(keyring: &Keyring) -> Self {
        let place = Place::new(keyring.network());
        Self { keyring: keyring.clone(), place, subkeys: BTreeMap::new(), tick: 0 }
    }

    /// Go on with the keys of `keyring`, which is of the same network.
    pub fn rekey(&mut self, keyring: &Keyring) {
        self.subkeys.retain(|(key, ..), _| keyring.payload(*key).is_some());
        self.place = Place::new(keyring.network());
        self.keyring = keyring.clone();
    }

    /// Open `envelope`, which came under `topic`. The body is in `scratch`, which holds nothing after a refusal.
    pub fn open<'b>(
        &mut self,
        envelope: &[u8],
        topic: &str,
        scratch: &'b mut Vec<u8>,
    ) -> Result<Opened<'b>, OpenError> {
        scratch.clear();
        let header = Header::peek(envelope)?;
        let secret = payload_secret(&self.keyring, header.key)?;
        let Some((head, sealed)) = envelope.split_at_checked(HEADER_LEN) else {
            return Err(Malformed::TooShort(envelope.len()).into());
        };
        // A longer topic than there is cannot have been sealed.
        let aad = self.place.aad(head, topic).ok_or(OpenError::Forged)?;
        let forged = |Unauthentic| OpenError::Forged;
        self.tick += 1;
        let id = (header.key, header.sender, header.salt);
        if let Some(kept) = self.subkeys.get_mut(&id) {
            kept.subkey.open(header.order(), aad, sealed, scratch).map_err(forged)?;
            kept.used = self.tick;
        } else {
            let subkey = Subkey::new(&secret.sender_key(header.key, header.sender), header.salt);
            subkey.open(header.order(), aad, sealed, scratch).map_err(forged)?;
            self.keep(id, subkey);
        }
        Ok(Opened { header, body: scratch })
    }

    /// For tests: how many subkeys there are.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.subkeys.len()
    }

    /// For tests: whether there is one of this boot.
    #[cfg(test)]
    pub(super) fn keeps(&self, salt: BootSalt) -> bool {
        self.subkeys.keys().any(|(.., kept)| *kept == salt)
    }

    fn keep(&mut self, id: (KeyId, SenderId, BootSalt), subkey: Subkey) {
        if self.subkeys.len() >= SUBKEYS_MAX {
            let oldest = self.subkeys.iter().min_by_key(|(_, kept)| kept.used).map(|(id, _)| *id);
            oldest.and_then(|oldest| self.subkeys.remove(&oldest));
        }
        self.subkeys.insert(id, Kept { subkey, used: self.tick });
    }
}

fn payload_secret(keyring: &Keyring, key: KeyId) -> Result<&PayloadSecret, OpenError> {
    match keyring.payload(key) {
        Some(secret) => Ok(secret),
        None if keyring.holds(key) => Err(OpenError::RelayKey(key)),
        None => Err(OpenError::UnknownKey(key)),
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("keyring", &self.keyring).finish_non_exhaustive()
    }
}
