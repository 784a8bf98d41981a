//! Secrets and what comes of them. A network key has two halves, neither of which tells the other: the link secret
//! proves to other agents that one belongs to the network, the payload secret seals. A broker that only relays gets
//! the first alone.
//!
//! ```text
//! network key ─┬─ link secret ─┬─ fingerprint, whose first bytes are the key id
//!              │               └─ a TLS seed for each machine
//!              └─ payload secret ── a sealing key for each sender
//! ```
//!
//! A key's id comes from the key, not from the name of its file: two machines whose files differ say "unknown key", not
//! "forged", and a file may be renamed.

use std::collections::BTreeMap;
use std::fmt;

use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

use crate::ids::Name;

use super::header::SenderId;

pub const SECRET_LEN: usize = 32;

/// The seed of a machine's Ed25519 key for links, or another secret of that size.
pub type Seed = Zeroizing<[u8; SECRET_LEN]>;

/// All that the machines of a network share.
#[derive(Clone)]
pub struct NetworkKey(Zeroizing<[u8; SECRET_LEN]>);

/// The half that opens doors.
#[derive(Clone)]
pub struct LinkSecret(Zeroizing<[u8; SECRET_LEN]>);

/// The half that seals and opens payloads.
#[derive(Clone)]
pub struct PayloadSecret(Zeroizing<[u8; SECRET_LEN]>);

/// Tells keys apart without telling anything of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(pub u32);

/// As `KeyId`, long enough that nobody finds a second key with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

/// What a key file holds.
#[derive(Clone, Debug)]
pub enum Key {
    Whole(NetworkKey),
    /// Enough to link and to relay; not to seal or to open.
    Relay(LinkSecret),
}

/// The keys that one machine works with in one network.
#[derive(Clone, Debug)]
pub struct Keyring {
    network: Name,
    active: KeyId,
    keys: BTreeMap<KeyId, Halves>,
}

#[derive(Clone, Debug)]
struct Halves {
    link: LinkSecret,
    payload: Option<PayloadSecret>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error("two of the keys have the id {0}: they are the same key, or one of them has to be made anew")]
    SameId(KeyId),
}

impl NetworkKey {
    /// From 32 bytes that nobody can guess.
    #[must_use]
    pub fn new(secret: Seed) -> Self {
        Self(secret)
    }

    #[must_use]
    pub fn link_secret(&self) -> LinkSecret {
        LinkSecret(derive(&*self.0, &[b"hobnail/1/half/link"]))
    }

    #[must_use]
    pub fn payload_secret(&self) -> PayloadSecret {
        PayloadSecret(derive(&*self.0, &[b"hobnail/1/half/payload"]))
    }

    /// For its file, and for nothing else.
    #[must_use]
    pub fn reveal(&self) -> &[u8; SECRET_LEN] {
        &self.0
    }
}

impl LinkSecret {
    /// From the file of a relay.
    #[must_use]
    pub fn new(secret: Seed) -> Self {
        Self(secret)
    }

    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let long = derive(&*self.0, &[b"hobnail/1/fingerprint"]);
        Fingerprint(long.first_chunk().copied().unwrap_or_default())
    }

    #[must_use]
    pub fn id(&self) -> KeyId {
        self.fingerprint().id()
    }

    /// For its file, and for nothing else.
    #[must_use]
    pub fn reveal(&self) -> &[u8; SECRET_LEN] {
        &self.0
    }
}

impl PayloadSecret {
    pub(super) fn sender_key(&self, key: KeyId, sender: SenderId) -> Seed {
        derive(&*self.0, &[b"hobnail/1/sender-key", &key.0.to_be_bytes(), &sender.0.to_be_bytes()])
    }
}

impl Fingerprint {
    #[must_use]
    pub fn id(self) -> KeyId {
        KeyId(self.0.first_chunk().copied().map_or(0, u32::from_be_bytes))
    }
}

impl Key {
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Whole(key) => key.link_secret().fingerprint(),
            Self::Relay(link) => link.fingerprint(),
        }
    }

    #[must_use]
    pub fn id(&self) -> KeyId {
        self.fingerprint().id()
    }
}

impl Keyring {
    /// `active` seals and comes first in links; `accepted` still open, while they are being replaced.
    pub fn new(network: &Name, active: &Key, accepted: &[Key]) -> Result<Self, KeyringError> {
        let mut keys = BTreeMap::new();
        for key in std::iter::once(active).chain(accepted) {
            let halves = Halves::of(key);
            let id = halves.link.id();
            if keys.insert(id, halves).is_some() {
                return Err(KeyringError::SameId(id));
            }
        }
        Ok(Self { network: network.clone(), active: active.id(), keys })
    }

    #[must_use]
    pub fn network(&self) -> &Name {
        &self.network
    }

    #[must_use]
    pub fn active(&self) -> KeyId {
        self.active
    }

    /// All keys, the active one first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        let others = self.keys.keys().copied().filter(|id| *id != self.active);
        std::iter::once(self.active).chain(others)
    }

    /// Whether a link may stand on `key`.
    #[must_use]
    pub fn holds(&self, key: KeyId) -> bool {
        self.keys.contains_key(&key)
    }

    /// Whether payloads can be sealed, and not only relayed.
    #[must_use]
    pub fn can_seal(&self) -> bool {
        self.payload(self.active).is_some()
    }

    /// The seed of `machine`'s key for links under `key`. `None`: we do not hold `key`.
    #[must_use]
    pub fn link_seed(&self, key: KeyId, machine: &Name) -> Option<Seed> {
        Some(link_seed(&self.keys.get(&key)?.link, &self.network, machine))
    }

    /// `None`: we do not hold `key`, or only the half that links.
    pub(super) fn payload(&self, key: KeyId) -> Option<&PayloadSecret> {
        self.keys.get(&key)?.payload.as_ref()
    }
}

impl Halves {
    fn of(key: &Key) -> Self {
        match key {
            Key::Whole(key) => Self { link: key.link_secret(), payload: Some(key.payload_secret()) },
            Key::Relay(link) => Self { link: link.clone(), payload: None },
        }
    }
}

/// The seed of the Ed25519 key that `machine` shows on its links. Every machine that holds the secret can work it out,
/// so a door knows all keys that may come.
#[must_use]
pub fn link_seed(secret: &LinkSecret, network: &Name, machine: &Name) -> Seed {
    let key = secret.id().0.to_be_bytes();
    // A name holds no NUL, so two pairs never run together into the same bytes.
    derive(&*secret.0, &[b"hobnail/1/link", &key, network.as_str().as_bytes(), &[0], machine.as_str().as_bytes()])
}

/// HKDF-SHA256 without a salt: what goes in is as good as random already.
pub(super) fn derive(secret: &[u8], info: &[&[u8]]) -> Seed {
    struct Len;
    impl KeyType for Len {
        fn len(&self) -> usize {
            SECRET_LEN
        }
    }
    let mut out = Zeroizing::new([0; SECRET_LEN]);
    let secret = Salt::new(HKDF_SHA256, &[]).extract(secret);
    let okm = secret.expand(info, Len).expect("HKDF gives up to 8,160 bytes");
    okm.fill(&mut *out).expect("both have the same length");
    out
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetworkKey(…)")
    }
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(…)")
    }
}

impl fmt::Debug for PayloadSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PayloadSecret(…)")
    }
}
