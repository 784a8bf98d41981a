//! What a key file says: a few lines that can be read out over a telephone. The id comes from the secret, so it shows
//! both a mistyped secret and which key this is. No error repeats what stands in the file.
//!
//! ```text
//! # Comments and empty lines, wherever one likes.
//! kind    network
//! secret  00010203 04050607 08090a0b 0c0d0e0f 10111213 14151617 18191a1b 1c1d1e1f
//! id      3fa291c0
//! ```

use std::fmt::Write;

use zeroize::Zeroizing;

use super::keys::{Key, KeyId, LinkSecret, NetworkKey, SECRET_LEN, Seed};

/// A longer key file is none.
pub const KEY_FILE_BYTES_MAX: usize = 4096;

const GROUP_DIGITS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    #[error("it has more than {KEY_FILE_BYTES_MAX} bytes, so it is no key file")]
    TooLong,
    #[error("it is not text, so it is no key file")]
    NotText,
    #[error("line {0} does not start with `kind`, `secret`, `id` or `#`")]
    UnknownLine(usize),
    #[error("line {line} gives `{word}` a second time")]
    Repeated { line: usize, word: &'static str },
    #[error("it has no line `{0}`")]
    Missing(&'static str),
    #[error("line {0}: the kind is `network` or `relay`")]
    BadKind(usize),
    #[error("line {line}: a secret has 64 hexadecimal digits, not {digits}")]
    SecretLength { line: usize, digits: usize },
    #[error("line {line}: character {at} of the secret is no hexadecimal digit")]
    SecretDigit { line: usize, at: usize },
    #[error("line {0}: an id has 8 hexadecimal digits")]
    BadId(usize),
    #[error("its id is {written}, but its secret makes {made}: one of the two is mistyped")]
    WrongId { written: KeyId, made: KeyId },
}

#[derive(Clone, Copy)]
enum Kind {
    Network,
    Relay,
}

/// Read a key file. Anything may stand in it.
pub fn parse(bytes: &[u8]) -> Result<Key, KeyFileError> {
    if bytes.len() > KEY_FILE_BYTES_MAX {
        return Err(KeyFileError::TooLong);
    }
    let text = str::from_utf8(bytes).map_err(|_| KeyFileError::NotText)?;
    let (mut kind, mut secret, mut id) = (None, None, None);
    for (index, content) in text.lines().enumerate() {
        let line = index + 1;
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let (word, value) = content.split_once(char::is_whitespace).unwrap_or((content, ""));
        match word {
            "kind" => once(&mut kind, kind_of(value.trim(), line)?, line, "kind")?,
            "secret" => once(&mut secret, secret_of(value, line)?, line, "secret")?,
            "id" => once(&mut id, id_of(value.trim(), line)?, line, "id")?,
            _ => return Err(KeyFileError::UnknownLine(line)),
        }
    }
    let kind = kind.ok_or(KeyFileError::Missing("kind"))?;
    let secret = secret.ok_or(KeyFileError::Missing("secret"))?;
    let written = id.ok_or(KeyFileError::Missing("id"))?;
    let key = match kind {
        Kind::Network => Key::Whole(NetworkKey::new(secret)),
        Kind::Relay => Key::Relay(LinkSecret::new(secret)),
    };
    let made = key.id();
    if made == written { Ok(key) } else { Err(KeyFileError::WrongId { written, made }) }
}

/// The file of `key`, with `comments` on top, each a line of its own.
#[must_use]
pub fn render(key: &Key, comments: &[&str]) -> Zeroizing<String> {
    let (kind, secret) = match key {
        Key::Whole(key) => ("network", key.reveal()),
        Key::Relay(link) => ("relay", link.reveal()),
    };
    // Room for all of it from the start: a string that grows leaves copies behind.
    let comments_len: usize = comments.iter().map(|comment| comment.len() + "# \n".len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(comments_len + 128));
    for comment in comments {
        text.push_str("# ");
        text.push_str(comment);
        text.push('\n');
    }
    let written = write!(*text, "kind    {kind}\nsecret ").and_then(|()| {
        for group in secret.chunks(GROUP_DIGITS / 2) {
            text.push(' ');
            group.iter().try_for_each(|byte| write!(*text, "{byte:02x}"))?;
        }
        writeln!(*text, "\nid      {}", key.id())
    });
    written.expect("writing to a string cannot fail");
    text
}

fn once<T>(place: &mut Option<T>, value: T, line: usize, word: &'static str) -> Result<(), KeyFileError> {
    if place.is_some() {
        return Err(KeyFileError::Repeated { line, word });
    }
    *place = Some(value);
    Ok(())
}

fn kind_of(text: &str, line: usize) -> Result<Kind, KeyFileError> {
    match text {
        "network" => Ok(Kind::Network),
        "relay" => Ok(Kind::Relay),
        _ => Err(KeyFileError::BadKind(line)),
    }
}

/// 64 digits, in groups of any size.
fn secret_of(text: &str, line: usize) -> Result<Seed, KeyFileError> {
    let mut secret: Seed = Zeroizing::new([0; SECRET_LEN]);
    let mut digits = 0;
    for (at, character) in text.chars().filter(|character| !character.is_whitespace()).enumerate() {
        let digit = character.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let digit = digit.ok_or(KeyFileError::SecretDigit { line, at: at + 1 })?;
        if let Some(byte) = secret.get_mut(at / 2) {
            *byte = *byte << 4 | digit;
        }
        digits = at + 1;
    }
    if digits == 2 * SECRET_LEN { Ok(secret) } else { Err(KeyFileError::SecretLength { line, digits }) }
}

fn id_of(text: &str, line: usize) -> Result<KeyId, KeyFileError> {
    let plain = text.len() == GROUP_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = plain.then(|| u32::from_str_radix(text, 16).ok()).flatten();
    id.map(KeyId).ok_or(KeyFileError::BadId(line))
}
