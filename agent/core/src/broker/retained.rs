//! The newest retained message of every topic, in the order of topics.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::message::Shared;
use crate::time::Now;
use crate::topic;

/// Topics looked at in one portion, matching or not.
const LOOKED_AT_MAX: usize = 512;

#[derive(Debug, Default)]
pub struct Retained {
    by_topic: BTreeMap<Box<str>, Shared>,
    bytes: u64,
}

/// There is no room for a message, and what its topic had before is not the newest any more and gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Retained {
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_topic.len()
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    #[must_use]
    pub fn get(&self, topic: &str) -> Option<&Shared> {
        self.by_topic.get(topic)
    }

    /// Keep `message` as its topic's newest, and give back the one before. At the limit what is there may be replaced
    /// by what fits, but nothing added.
    pub fn set(&mut self, message: Shared, len_max: u32, bytes_max: u64) -> Result<Option<Shared>, Full> {
        let before = self.by_topic.get(&message.topic).map_or(0, |known| known.size());
        let is_new = before == 0;
        if is_new && self.by_topic.len() >= len_max as usize || self.bytes - before + message.size() > bytes_max {
            self.clear(&message.topic);
            return Err(Full);
        }
        self.bytes = self.bytes - before + message.size();
        Ok(self.by_topic.insert(message.topic.clone(), message))
    }

    pub fn clear(&mut self, topic: &str) -> Option<Shared> {
        let gone = self.by_topic.remove(topic)?;
        self.bytes -= gone.size();
        Some(gone)
    }

    /// The next message that matches `filter` behind the topic `after`, and where to go on; a portion of the tree at a
    /// time, so that no wildcard makes one step long. What has expired is passed over.
    pub fn next(&self, filter: &str, after: Option<&str>, now: Now) -> Portion {
        let fixed = fixed_part(filter);
        let from = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(fixed),
        };
        let mut last: Option<&str> = None;
        let mut found = None;
        let mut ended = true;
        for (looked_at, (name, message)) in self.by_topic.range::<str, _>((from, Bound::Unbounded)).enumerate() {
            if !name.starts_with(fixed) {
                break;
            }
            last = Some(name);
            if topic::matches(filter, name) && !message.is_expired(now) {
                found = Some(message.clone());
                ended = false;
                break;
            }
            if looked_at >= LOOKED_AT_MAX {
                ended = false;
                break;
            }
        }
        Portion { found, after: last.map(Into::into), ended }
    }

    /// Take out what has expired; for a sweep now and then.
    pub fn sweep(&mut self, now: Now) -> Vec<Shared> {
        let gone: Vec<Box<str>> = self
            .by_topic
            .iter()
            .filter(|(_, message)| message.is_expired(now))
            .map(|(topic, _)| topic.clone())
            .collect();
        gone.iter().filter_map(|topic| self.clear(topic)).collect()
    }
}

/// One step through the retained messages of a filter.
#[derive(Debug)]
pub struct Portion {
    pub found: Option<Shared>,
    /// Where the next step begins; `None` where nothing was looked at.
    pub after: Option<Box<str>>,
    /// Nothing more matches.
    pub ended: bool,
}

/// What every topic that `filter` matches begins with, as text.
fn fixed_part(filter: &str) -> &str {
    match filter.find(['#', '+']) {
        // `a/#` matches `a` too, so the slash before a `#` is not fixed.
        Some(at) if filter.get(at..) == Some("#") => filter.get(..at.saturating_sub(1)).unwrap_or(""),
        Some(at) => filter.get(..at).unwrap_or(""),
        None => filter,
    }
}
