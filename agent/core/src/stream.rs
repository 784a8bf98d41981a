//! One machine's copy of one stream: the messages of one origin in one lane, in order, without a gap.
//!
//! It never decides who gets what; it keeps the rule that makes every copy a prefix of the origin's. What is appended
//! follows what is there. A stretch that no message fills, because a limit dropped it or nobody wanted it, is covered by
//! an explicit skip. Anything else is answered with where the copy goes on.
//!
//! ```text
//!   1 ……… trimmed │ kept messages, with skipped stretches between │ last
//!                 └──────────── stored ≤ last ────────────────────┘
//! ```

use std::collections::VecDeque;
use std::rc::Rc;

use crate::envelope::{Header, SenderId, Stamp};
use crate::time::Now;
use crate::topology::model::Lane;

/// A stream, as the whole network names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// First, so that the greater lane is the later one: it goes out first.
    pub lane: Lane,
    pub sender: SenderId,
    pub incarnation: u32,
}

impl StreamId {
    #[must_use]
    pub fn of(header: &Header) -> Self {
        Self { lane: header.stamp.lane, sender: header.sender, incarnation: header.stamp.incarnation }
    }
}

/// A message in a stream. Whoever relays it cannot open the envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub topic: Box<str>,
    pub envelope: Box<[u8]>,
    pub expires: Option<Now>,
    /// As the envelope says; nobody has proved it yet.
    pub stamp: Stamp,
}

/// Counted with every record for its bookkeeping.
const OVERHEAD: usize = 128;

impl Record {
    #[must_use]
    pub fn size(&self) -> u64 {
        (self.topic.len() + self.envelope.len() + OVERHEAD) as u64
    }

    #[must_use]
    pub fn is_expired(&self, now: Now) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

/// What came of an append or a skip that could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    New,
    /// All of it was there before.
    Known,
}

/// It does not follow what is there: the copy goes on at `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub from: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    trimmed: u64,
    last: u64,
    stored: u64,
    kept: VecDeque<(u64, Rc<Record>)>,
    bytes: u64,
}

impl Stream {
    /// The newest number that is covered, by a message or by a skip; 0 for none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// What is known to be on this machine's disk.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// What is no longer kept.
    #[must_use]
    pub fn trimmed(&self) -> u64 {
        self.trimmed
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    pub fn append(&mut self, seq: u64, record: Rc<Record>) -> Result<Added, Need> {
        if seq <= self.last {
            return Ok(Added::Known);
        }
        if seq != self.last + 1 {
            return Err(Need { from: self.last + 1 });
        }
        self.bytes += record.size();
        self.last = seq;
        self.kept.push_back((seq, record));
        Ok(Added::New)
    }

    /// Nothing comes for `from..=to`.
    pub fn skip(&mut self, from: u64, to: u64) -> Result<Added, Need> {
        let added = self.cover(from, to)?;
        if added == Added::New && self.kept.is_empty() && self.trimmed + 1 >= from {
            self.trimmed = to;
        }
        Ok(added)
    }

    /// What `skip` left, read back: nothing stands in `from..=to`.
    pub fn cover(&mut self, from: u64, to: u64) -> Result<Added, Need> {
        if to <= self.last {
            return Ok(Added::Known);
        }
        if from > self.last + 1 {
            return Err(Need { from: self.last + 1 });
        }
        self.last = to;
        Ok(Added::New)
    }

    /// Everything up to here was there, is on disk, and is no longer kept.
    pub fn forget(&mut self, upto: u64) {
        self.last = self.last.max(upto);
        self.mark_stored(upto);
        self.trim(upto);
    }

    /// The first message behind `cursor`.
    #[must_use]
    pub fn after(&self, cursor: u64) -> Option<(u64, &Rc<Record>)> {
        let at = match (self.kept.front(), self.kept.back()) {
            // Nearly always the newest is asked for, or the oldest.
            (Some((first, _)), _) if cursor < *first => 0,
            (_, Some((last, _))) if cursor >= *last => return None,
            _ => self.kept.partition_point(|(seq, _)| *seq <= cursor),
        };
        self.kept.get(at).map(|(seq, record)| (*seq, record))
    }

    /// Everything up to `seq` is on disk; numbers that are not here yet do not count.
    pub fn mark_stored(&mut self, seq: u64) {
        self.stored = self.stored.max(seq.min(self.last));
    }

    /// Forget everything up to `seq`; says how many messages and bytes went.
    pub fn trim(&mut self, seq: u64) -> (u64, u64) {
        let seq = seq.min(self.last);
        let (mut count, before) = (0, self.bytes);
        while self.kept.front().is_some_and(|(first, _)| *first <= seq) {
            self.pop_oldest();
            count += 1;
        }
        self.trimmed = self.trimmed.max(seq);
        (count, before - self.bytes)
    }

    /// Give up the oldest message for a limit: a stretch that followers are told to skip.
    pub fn pop_oldest(&mut self) -> Option<Rc<Record>> {
        let (seq, record) = self.kept.pop_front()?;
        self.bytes -= record.size();
        self.trimmed = self.trimmed.max(seq);
        if self.kept.capacity() > 64 && self.kept.len() < self.kept.capacity() / 8 {
            self.kept.shrink_to(self.kept.len() * 2);
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests;
