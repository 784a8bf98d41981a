//! Where in a topology: `heartbeat.every`, `clients."press-[01..20]".role`, `topics."alarm/#".ack`, `tests.2`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The sections that hold entries by name, and what one of them is called.
const NAMED: &[(&str, &str)] = &[("brokers", "broker"), ("clients", "client"), ("roles", "role")];
/// The lists at the root.
const LISTS: &[&str] = &["include", "topics", "tests"];
/// The lists that rights and keys consist of.
const INNER_LISTS: &[&str] = &["publish", "subscribe", "backups", "accept", "delivered_to"];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Path(Vec<String>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("a key is missing in the path")]
    Empty,
    #[error("a quote or a bracket in the path is still open")]
    Open,
}

impl Path {
    #[must_use]
    pub fn new<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(parts.into_iter().map(str::to_owned).collect())
    }

    #[must_use]
    pub fn parts(&self) -> &[String] {
        &self.0
    }

    #[must_use]
    pub fn upto(&self, len: usize) -> Self {
        Self(self.0.iter().take(len).cloned().collect())
    }

    /// The machine or role that this path leads to or through: what it is, and its name.
    #[must_use]
    pub fn named(&self) -> Option<(&'static str, &str)> {
        let [section, name, ..] = self.0.as_slice() else { return None };
        let (_, kind) = NAMED.iter().find(|(known, _)| known == section)?;
        Some((kind, name))
    }

    /// Whether a list belongs there.
    pub(super) fn is_list(&self) -> bool {
        match self.0.as_slice() {
            [only] => LISTS.contains(&only.as_str()),
            [.., last] => INNER_LISTS.contains(&last.as_str()),
            [] => false,
        }
    }

    /// Whether what is here says nothing once it is empty.
    pub(super) fn goes_when_empty(&self) -> bool {
        let is_entry = self.named().is_some() && self.0.len() == 2;
        let is_inner_list = self.0.len() > 1 && self.is_list();
        !is_entry && !is_inner_list
    }
}

impl FromStr for Path {
    type Err = PathError;

    /// Dots set the parts apart, those in quotes or brackets aside.
    fn from_str(text: &str) -> Result<Self, PathError> {
        let (mut parts, mut part) = (Vec::new(), String::new());
        let (mut quoted, mut bracket, mut was_quoted) = (false, false, false);
        for letter in text.chars() {
            match letter {
                '"' => (quoted, was_quoted) = (!quoted, true),
                '.' if !quoted && !bracket => {
                    if part.is_empty() && !was_quoted {
                        return Err(PathError::Empty);
                    }
                    parts.push(std::mem::take(&mut part));
                    was_quoted = false;
                }
                other => {
                    bracket = !quoted && (other == '[' || bracket && other != ']');
                    part.push(other);
                }
            }
        }
        if quoted || bracket {
            return Err(PathError::Open);
        }
        if part.is_empty() && !was_quoted {
            return Err(PathError::Empty);
        }
        parts.push(part);
        Ok(Self(parts))
    }
}

impl TryFrom<String> for Path {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.to_string()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            let plain = !part.is_empty() && !part.contains(['.', '"', '[', ']']);
            if plain { write!(f, "{dot}{part}")? } else { write!(f, "{dot}\"{part}\"")? }
        }
        Ok(())
    }
}
