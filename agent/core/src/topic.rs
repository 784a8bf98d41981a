//! Topic names and filters: what is well formed, what matches, and what covers what.

use std::borrow::Borrow;
use std::fmt;

/// Longest topic name or filter, in bytes: MQTT's own limit.
pub const TOPIC_LEN_MAX: usize = 65_535;
/// Most levels in a topic or filter. Deeper ones are refused, so that no walk over levels can be made long.
pub const TOPIC_LEVELS_MAX: usize = 64;

/// A well-formed topic filter, without any `$share/` prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter(Box<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {TOPIC_LEN_MAX} bytes")]
    TooLong,
    #[error("it has more than {TOPIC_LEVELS_MAX} levels")]
    TooDeep,
    #[error("it holds a NUL character")]
    Nul,
    #[error("`#` stands alone in the last level")]
    HashNotLast,
    #[error("`+` stands alone in its level")]
    PlusNotAlone,
    #[error("`$share/` is followed by the name of a group, a `/`, and a filter")]
    NoGroup,
    #[error("a topic to publish to holds no `#` or `+`")]
    WildcardInName,
}

fn check_common(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_LEN_MAX {
        return Err(TopicError::TooLong);
    }
    let (mut slashes, mut nul) = (0usize, false);
    for byte in text.bytes() {
        slashes += usize::from(byte == b'/');
        nul |= byte == 0;
    }
    if nul {
        return Err(TopicError::Nul);
    }
    if slashes >= TOPIC_LEVELS_MAX {
        return Err(TopicError::TooDeep);
    }
    Ok(())
}

/// Whether `text` can be published to.
pub fn check_name(text: &str) -> Result<(), TopicError> {
    check_common(text)?;
    if text.bytes().any(|b| matches!(b, b'#' | b'+')) {
        return Err(TopicError::WildcardInName);
    }
    Ok(())
}

/// Whether `text` can be subscribed to, leaving `$share/` aside.
pub fn check_filter(text: &str) -> Result<(), TopicError> {
    check_common(text)?;
    let mut levels = text.split('/').peekable();
    while let Some(level) = levels.next() {
        let alone = level.len() == 1;
        if level.contains('#') && (!alone || levels.peek().is_some()) {
            return Err(TopicError::HashNotLast);
        }
        if level.contains('+') && !alone {
            return Err(TopicError::PlusNotAlone);
        }
    }
    Ok(())
}

/// Whether `text` can stand in a SUBSCRIBE: a filter, or `$share/`, the name of a group, and a filter.
pub fn check_subscription(text: &str) -> Result<(), TopicError> {
    let Some(shared) = text.strip_prefix("$share/") else { return check_filter(text) };
    match shared.split_once('/') {
        Some((group, filter)) if !group.is_empty() && !group.contains(['#', '+']) => check_filter(filter),
        Some(_) | None => Err(TopicError::NoGroup),
    }
}

/// Whether a message to `topic` matches `filter`; both must be well formed. A wildcard in the first level never
/// matches a topic that starts with `$`.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['#', '+']) {
        return false;
    }
    let (mut wanted, mut given) = (filter.split('/'), topic.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(want), Some(have)) if want == have => {}
            (None, None) => return true,
            (_, _) => return false,
        }
    }
}

/// Whether `wide` matches every topic that `narrow` can match.
#[must_use]
pub fn covers(wide: &str, narrow: &str) -> bool {
    if wide.starts_with(['#', '+']) && narrow.starts_with('$') {
        return false;
    }
    let (mut outer, mut inner) = (wide.split('/'), narrow.split('/'));
    loop {
        match (outer.next(), inner.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(a), Some(b)) if a == b => {}
            (None, None) => return true,
            (_, _) => return false,
        }
    }
}

/// Whether some topic matches both filters.
#[must_use]
pub fn overlaps(one: &str, other: &str) -> bool {
    let dollar = |a: &str, b: &str| a.starts_with('$') && b.starts_with(['#', '+']);
    if dollar(one, other) || dollar(other, one) {
        return false;
    }
    let (mut left, mut right) = (one.split('/'), other.split('/'));
    loop {
        match (left.next(), right.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(a), Some(b)) if a == b => {}
            (_, _) => return false,
        }
    }
}

impl Filter {
    pub fn new(text: &str) -> Result<Self, TopicError> {
        check_filter(text)?;
        Ok(Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        matches(&self.0, topic)
    }

    #[must_use]
    pub fn covers(&self, narrow: &str) -> bool {
        covers(&self.0, narrow)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for Filter {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for Filter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
