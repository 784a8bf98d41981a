//! One machine's copy of one stream: the messages of one origin in one lane, in order, without a gap.
//!
//! It never decides who gets what; it keeps the rule that makes every copy a prefix of the origin's. What is appended
//! follows what is there. A stretch that no message fills, because a limit dropped it or nobody wanted it, is covered by
//! an explicit skip. Anything else is answered with where the copy goes on.
//!
//! ```text
//!   1 ……… trimmed │ kept messages, with skipped stretches between │ last
//!                 └──── away ────┘└─────────── here ──────────────┘
//!                 └──────────── stored ≤ last ────────────────────┘
//! ```
//!
//! The oldest may be away: of them only the gist is in memory, and the rest is on the disk. Whoever follows at the end
//! finds it here; whoever was long absent has it read back.

use std::collections::{BTreeSet, VecDeque};
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

    /// Of the same machine and lane, and later: nothing of it is heard before all of the other.
    #[must_use]
    pub fn is_later_life_of(self, other: Self) -> bool {
        (self.lane, self.sender) == (other.lane, other.sender) && self.incarnation > other.incarnation
    }

    /// From the first life of its machine, in this lane, to this one.
    pub fn lives_up_to_it(self) -> std::ops::RangeInclusive<Self> {
        Self { incarnation: 0, ..self }..=self
    }

    /// From this life of its machine on, in this lane.
    pub fn lives_from_it(self) -> std::ops::RangeInclusive<Self> {
        self..=Self { incarnation: u32::MAX, ..self }
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
/// What a message that is away takes in memory, here and in the store's index.
const AWAY_BYTES: u64 = 64;
/// The same of each gist.
const GIST_BYTES: u64 = 160;

impl Record {
    #[must_use]
    pub fn size(&self) -> u64 {
        (self.topic.len() + self.envelope.len() + OVERHEAD) as u64
    }

    #[must_use]
    pub fn is_expired(&self, now: Now) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// Whether it is nothing to anybody any more. What is retained ends what its topic had before, even when it has expired.
    #[must_use]
    pub fn is_over(&self, now: Now) -> bool {
        self.is_expired(now) && !self.stamp.retain
    }
}

/// As much of a message as tells who wants it; one for all of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gist {
    pub topic: Box<str>,
    pub retain: bool,
}

/// A message that is kept.
#[derive(Clone, Debug)]
pub enum Body {
    Here(Rc<Record>),
    /// On the disk only.
    Away(Rc<Gist>),
}

impl Body {
    #[must_use]
    pub fn topic(&self) -> &str {
        match self {
            Self::Here(record) => &record.topic,
            Self::Away(gist) => &gist.topic,
        }
    }

    #[must_use]
    pub fn is_retain(&self) -> bool {
        match self {
            Self::Here(record) => record.stamp.retain,
            Self::Away(gist) => gist.retain,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Away {
    seq: u64,
    size: u32,
    gist: Rc<Gist>,
}

/// What a copy takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// All that is kept, wherever it is.
    pub bytes: u64,
    /// What of it is here.
    pub here: u64,
    /// In memory, that of which only the gist is here included.
    pub memory: u64,
}

impl Weight {
    /// One of those that this is the sum of has changed.
    pub fn note(&mut self, before: Self, after: Self) {
        let one = |sum: &mut u64, before: u64, after: u64| *sum = *sum + after - before;
        one(&mut self.bytes, before.bytes, after.bytes);
        one(&mut self.here, before.here, after.here);
        one(&mut self.memory, before.memory, after.memory);
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
    /// All of them before what is here, and stored.
    away: VecDeque<Away>,
    gists: BTreeSet<Rc<Gist>>,
    kept: VecDeque<(u64, Rc<Record>)>,
    bytes: u64,
    here: u64,
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
    pub fn weight(&self) -> Weight {
        let away = self.away.len() as u64 * AWAY_BYTES + self.gists.len() as u64 * GIST_BYTES;
        Weight { bytes: self.bytes, here: self.here, memory: self.here + away }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.away.len() + self.kept.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.away.is_empty() && self.kept.is_empty()
    }

    pub fn append(&mut self, seq: u64, record: Rc<Record>) -> Result<Added, Need> {
        if seq <= self.last {
            return Ok(Added::Known);
        }
        if seq != self.last + 1 {
            return Err(Need { from: self.last + 1 });
        }
        self.bytes += record.size();
        self.here += record.size();
        self.last = seq;
        self.kept.push_back((seq, record));
        Ok(Added::New)
    }

    /// Nothing comes for `from..=to`.
    pub fn skip(&mut self, from: u64, to: u64) -> Result<Added, Need> {
        let added = self.cover(from, to)?;
        if added == Added::New && self.is_empty() && self.trimmed + 1 >= from {
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
    pub fn after(&self, cursor: u64) -> Option<(u64, Body)> {
        if self.away.back().is_some_and(|last| cursor < last.seq) {
            let away = self.away.get(self.away.partition_point(|away| away.seq <= cursor))?;
            return Some((away.seq, Body::Away(away.gist.clone())));
        }
        let at = match (self.kept.front(), self.kept.back()) {
            // Nearly always the newest is asked for, or the oldest.
            (Some((first, _)), _) if cursor < *first => 0,
            (_, Some((last, _))) if cursor >= *last => return None,
            _ => self.kept.partition_point(|(seq, _)| *seq <= cursor),
        };
        self.kept.get(at).map(|(seq, record)| (*seq, Body::Here(record.clone())))
    }

    /// The newest that is away; 0 for none.
    #[must_use]
    pub fn last_away(&self) -> u64 {
        self.away.back().map_or(0, |away| away.seq)
    }

    /// What is away in that stretch.
    pub fn away_in(&self, from: u64, upto: u64) -> impl Iterator<Item = u64> {
        let start = self.away.partition_point(|away| away.seq < from);
        self.away.range(start..).map(|away| away.seq).take_while(move |seq| *seq <= upto)
    }

    /// Whether the oldest that is here is on disk too.
    #[must_use]
    pub fn can_spill(&self) -> bool {
        self.kept.front().is_some_and(|(seq, _)| *seq <= self.stored)
    }

    /// Leave the oldest that is here to the disk, if it is there.
    pub fn spill_oldest(&mut self) -> bool {
        if !self.can_spill() {
            return false;
        }
        let Some((seq, record)) = self.kept.pop_front() else { return false };
        self.here -= record.size();
        let gist = Gist { topic: record.topic.clone(), retain: record.stamp.retain };
        let gist = match self.gists.get(&gist) {
            Some(known) => known.clone(),
            None => {
                let gist = Rc::new(gist);
                self.gists.insert(gist.clone());
                gist
            }
        };
        // No packet is as long as 4 GiB.
        self.away.push_back(Away { seq, size: u32::try_from(record.size()).unwrap_or(u32::MAX), gist });
        shrink(&mut self.kept);
        true
    }

    /// What was away is nowhere any more: a stretch that followers are told to skip.
    pub fn lose(&mut self, seq: u64) -> bool {
        let Ok(at) = self.away.binary_search_by_key(&seq, |away| away.seq) else { return false };
        let Some(away) = self.away.remove(at) else { return false };
        self.bytes -= u64::from(away.size);
        self.let_go(&away.gist);
        true
    }

    fn let_go(&mut self, gist: &Rc<Gist>) {
        // This one, and the one among the gists.
        if Rc::strong_count(gist) <= 2 {
            self.gists.remove(gist);
        }
    }

    /// Everything up to `seq` is on disk; numbers that are not here yet do not count.
    pub fn mark_stored(&mut self, seq: u64) {
        self.stored = self.stored.max(seq.min(self.last));
    }

    /// Forget everything up to `seq`; says how many messages and bytes went.
    pub fn trim(&mut self, seq: u64) -> (u64, u64) {
        let seq = seq.min(self.last);
        let (mut count, before) = (0, self.bytes);
        while self.oldest().is_some_and(|oldest| oldest <= seq) {
            self.pop_oldest();
            count += 1;
        }
        self.trimmed = self.trimmed.max(seq);
        (count, before - self.bytes)
    }

    fn oldest(&self) -> Option<u64> {
        self.away.front().map(|away| away.seq).or_else(|| self.kept.front().map(|(seq, _)| *seq))
    }

    /// Give up the oldest message for a limit: a stretch that followers are told to skip.
    pub fn pop_oldest(&mut self) -> Option<Body> {
        if let Some(Away { seq, size, gist }) = self.away.pop_front() {
            self.bytes -= u64::from(size);
            self.trimmed = self.trimmed.max(seq);
            self.let_go(&gist);
            shrink(&mut self.away);
            return Some(Body::Away(gist));
        }
        let (seq, record) = self.kept.pop_front()?;
        self.bytes -= record.size();
        self.here -= record.size();
        self.trimmed = self.trimmed.max(seq);
        shrink(&mut self.kept);
        Some(Body::Here(record))
    }
}

/// What was long and is not any more takes no room for it.
fn shrink<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > 64 && queue.len() < queue.capacity() / 8 {
        queue.shrink_to(queue.len() * 2);
    }
}

#[cfg(test)]
mod tests;
