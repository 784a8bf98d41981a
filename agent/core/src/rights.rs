//! What somebody may publish and subscribe to.

use crate::topic::Filter;

/// The rights of one machine's programs or of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Rights {
    pub publish: Allow,
    pub subscribe: Allow,
}

/// What one verb is allowed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allow {
    /// Nothing was listed anywhere: every topic.
    #[default]
    Everything,
    /// Only what is listed; an empty list allows nothing.
    Only(Vec<Filter>),
}

impl Allow {
    /// Whether a message to `topic` is allowed.
    #[must_use]
    pub fn topic(&self, topic: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(filters) => filters.iter().any(|filter| filter.matches(topic)),
        }
    }

    /// Whether every topic that `filter` can match is allowed.
    #[must_use]
    pub fn filter(&self, filter: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(filters) => filters.iter().any(|wide| wide.covers(filter)),
        }
    }
}
