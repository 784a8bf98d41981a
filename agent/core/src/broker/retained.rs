//! The newest retained message of every topic, in the order of topics, and which of them the disk keeps.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::message::Shared;
use super::saved::Write;
use super::{Broker, outward};
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

    pub fn iter(&self) -> impl Iterator<Item = &Shared> {
        self.by_topic.values()
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

impl Broker {
    pub(super) fn retain(&mut self, message: &Shared, now: Now) {
        let was_kept = self.retained.get(&message.topic).is_some_and(|before| before.kept.retained.get());
        let is_kept = self.set_retained(message, now) && self.keeps_retained(&message.topic);
        message.kept.retained.set(is_kept);
        if is_kept {
            self.ledger.write(Write::Retained(message.clone()));
        } else if was_kept {
            self.ledger.write(Write::RetainedGone(message.topic.clone()));
        }
    }

    pub(super) fn clear_retained(&mut self, topic: &str) {
        if let Some(gone) = self.retained.clear(topic) {
            self.note_unretained(&gone);
        }
    }

    /// It is retained no more, and nothing is in its stead.
    pub(super) fn note_unretained(&mut self, gone: &Shared) {
        if gone.kept.retained.replace(false) {
            self.ledger.write(Write::RetainedGone(gone.topic.clone()));
        }
    }

    /// Whether it is retained now.
    fn set_retained(&mut self, message: &Shared, now: Now) -> bool {
        if message.payload.is_empty() {
            self.retained.clear(&message.topic);
            return false;
        }
        if message.expires.is_some() {
            self.arm_sweep(now);
        }
        let limits = &self.settings.limits;
        let set = self.retained.set(message.clone(), limits.retained_len_max, limits.retained_bytes_max);
        self.counters.refused_retained += u64::from(set.is_err());
        set.is_ok()
    }

    /// Whether what is retained on this topic is kept here: nobody else does, and it is not told anew at each start.
    pub(super) fn keeps_retained(&self, topic: &str) -> bool {
        outward::is_for_programs(topic) && (!self.settings.outward || topic.starts_with('$'))
    }

    /// The network is left behind, which kept what is retained.
    pub(super) fn keep_all_retained(&mut self) {
        let Self { retained, ledger, .. } = self;
        for message in retained.iter().filter(|message| outward::is_for_programs(&message.topic)) {
            if !message.kept.retained.replace(true) {
                ledger.write(Write::Retained(message.clone()));
            }
        }
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
