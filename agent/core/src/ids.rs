//! Names that the whole network agrees on.

use std::borrow::Borrow;
use std::fmt;

/// Longest name of a machine, a network, a role or a key.
pub const NAME_LEN_MAX: usize = 63;

/// A name that is safe in a topic, a file name and a host name: letters, digits, `-`, `_` and `.`, not first `.` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name may not be empty")]
    Empty,
    #[error("a name has at most {NAME_LEN_MAX} characters")]
    TooLong,
    #[error("a name starts with a letter, a digit or `_`")]
    BadStart,
    #[error("a name holds only ASCII letters, digits, `-`, `_` and `.`, not {0:?}")]
    BadChar(char),
}

impl Name {
    pub fn new(text: &str) -> Result<Self, NameError> {
        let Some(first) = text.chars().next() else {
            return Err(NameError::Empty);
        };
        if let Some(bad) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.')) {
            return Err(NameError::BadChar(bad));
        }
        if matches!(first, '-' | '.') {
            return Err(NameError::BadStart);
        }
        if text.len() > NAME_LEN_MAX {
            return Err(NameError::TooLong);
        }
        Ok(Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
