//! XChaCha20-Poly1305 in its two halves: HChaCha20 makes a subkey from the first 16 bytes of the nonce, and
//! ChaCha20-Poly1305 seals under that with the last 8. Our first 16 stay the same for a whole boot, so a subkey is made
//! once and kept.
//!
//! ring does the second half (several times faster than the portable crates) and does not wipe its keys, so none of
//! its keys lives longer than a call; what is kept is ours and is wiped.

use chacha20::cipher::consts::U10;
use chacha20::hchacha;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

use super::header::BootSalt;

pub const TAG_LEN: usize = 16;

/// What one sender seals with in one boot.
pub(super) struct Subkey(Zeroizing<[u8; 32]>);

/// The tag does not fit: forged, damaged, or under another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unauthentic;

/// A plaintext longer than the cipher may take (256 GiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Subkey {
    #[must_use]
    pub fn new(sender_key: &[u8; 32], salt: BootSalt) -> Self {
        let mut made: [u8; 32] = hchacha::<U10>(sender_key.into(), &salt.0.into()).into();
        let subkey = Self(Zeroizing::new(made));
        made.zeroize();
        subkey
    }

    /// Append the ciphertext of `body` and its tag to `out`.
    pub fn seal(&self, order: [u8; 8], aad: &[u8], body: &[u8], out: &mut Vec<u8>) -> Result<(), TooLong> {
        seal(&self.0, inner_nonce(order), aad, body, out)
    }

    /// Put the plaintext of `sealed`, which is ciphertext and tag, into `out` in place of what is there.
    pub fn open(&self, order: [u8; 8], aad: &[u8], sealed: &[u8], out: &mut Vec<u8>) -> Result<(), Unauthentic> {
        open(&self.0, inner_nonce(order), aad, sealed, out)
    }
}

fn inner_nonce(order: [u8; 8]) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = order;
    [0, 0, 0, 0, a, b, c, d, e, f, g, h]
}

/// ChaCha20-Poly1305 of RFC 8439. The caller answers for the nonce.
pub(super) fn seal(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], body: &[u8], out: &mut Vec<u8>) -> Result<(), TooLong> {
    let start = out.len();
    out.reserve(body.len() + TAG_LEN);
    out.extend_from_slice(body);
    let fresh = out.get_mut(start..).unwrap_or_default();
    let sealed = keyed(key).seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), fresh);
    match sealed {
        Ok(tag) => {
            out.extend_from_slice(tag.as_ref());
            Ok(())
        }
        Err(ring::error::Unspecified) => {
            out.truncate(start);
            Err(TooLong)
        }
    }
}

/// The other way round. `out` holds nothing after a refusal.
pub(super) fn open(
    key: &[u8; 32],
    nonce: [u8; 12],
    aad: &[u8],
    sealed: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Unauthentic> {
    out.clear();
    out.extend_from_slice(sealed);
    match keyed(key).open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), out) {
        Ok(plain) => {
            let plain_len = plain.len();
            out.truncate(plain_len);
            Ok(())
        }
        Err(ring::error::Unspecified) => {
            out.clear();
            Err(Unauthentic)
        }
    }
}

fn keyed(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the length of this cipher"))
}
