//! The seam to the disk: what a node wants written, and what it begins with after reading it all back.
//!
//! A `Write` stands alone and replays in order; the same ones again do no harm. The store keeps them as it likes (`bytes`
//! says how), so long as what was written before a ticket that it reports stored is there after a power cut, everything
//! that is there is a prefix of what was written, and what one call wrote is there together or not at all.

use std::collections::BTreeMap;

use super::facts::{Kind, Said};
use super::retained::Rank;
use super::{Held, Node};
use crate::envelope::SenderId;
use crate::frame::Fresh;
use crate::hlc::Hlc;
use crate::ids::Name;
use crate::stream::{Stream, StreamId};
use crate::time::Now;

/// The clock is saved this far ahead, so that it is written seldom and never goes back over a restart.
const CLOCK_AHEAD: u64 = 60_000 << 16;

/// One thing to be kept.
#[derive(Clone, Debug)]
pub enum Write {
    Append {
        stream: StreamId,
        seq: u64,
        record: Held,
    },
    Skip {
        stream: StreamId,
        from: u64,
        to: u64,
    },
    /// Everything up to here may be forgotten.
    Trim {
        stream: StreamId,
        upto: u64,
    },
    /// The programs here have it up to there.
    Delivered {
        stream: StreamId,
        upto: u64,
    },
    /// How many lives there were, with this one.
    Lives(u32),
    /// Nothing is left of it: it was dropped to make room for another, or begins anew.
    Forget(StreamId),
    /// Messages were given up for want of places.
    GaveUp,
    /// The newest of its topic.
    Retained {
        sender: SenderId,
        record: Held,
    },
    RetainedGone(Box<str>),
    Fact {
        owner: Name,
        kind: Kind,
        said: Said,
    },
    /// No stamp is later than this.
    Clock(Hlc),
}

/// All writes of a machine, taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    pub(super) copies: BTreeMap<StreamId, SavedCopy>,
    pub(super) lives: u32,
    pub(super) retained: BTreeMap<Box<str>, (Rank, Held)>,
    pub(super) facts: BTreeMap<(Name, Kind), Said>,
    pub(super) clock: Hlc,
    pub(super) gave_up: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedCopy {
    pub stream: Stream,
    pub delivered: u64,
}

impl Saved {
    /// Take in the next write, in the order in which they were made. What does not follow what is there is passed over:
    /// a store that lost something in the middle gives what comes before it.
    pub fn apply(&mut self, write: Write) {
        match write {
            Write::Append { stream, seq, record } => {
                let stream = &mut self.copies.entry(stream).or_default().stream;
                // A gap ends what can be believed of a stream; the rest is fetched again.
                if stream.append(seq, record).is_ok() {
                    stream.mark_stored(seq);
                    // However much there is: whoever comes to it has it read back.
                    stream.spill_oldest();
                }
            }
            Write::Skip { stream, from, to } => {
                let stream = &mut self.copies.entry(stream).or_default().stream;
                if from == to && stream.lose(from) {
                    return;
                }
                if stream.cover(from, to).is_ok() {
                    stream.mark_stored(to);
                }
            }
            Write::Trim { stream, upto } => {
                self.copies.entry(stream).or_default().stream.forget(upto);
            }
            Write::Delivered { stream, upto } => {
                let copy = self.copies.entry(stream).or_default();
                copy.delivered = copy.delivered.max(upto);
            }
            Write::Lives(count) => self.lives = self.lives.max(count),
            Write::Forget(stream) => {
                self.copies.remove(&stream);
            }
            Write::GaveUp => self.gave_up = true,
            Write::Retained { sender, record } => {
                let rank = Rank { hlc: record.stamp.hlc, sender };
                self.retained.insert(record.topic.clone(), (rank, record));
            }
            Write::RetainedGone(topic) => {
                self.retained.remove(&topic);
            }
            Write::Fact { owner, kind, said } => {
                // When it was heard means nothing in another life.
                self.facts.insert((owner, kind), Said { heard: Now::ZERO, ..said });
            }
            Write::Clock(hlc) => self.clock = self.clock.max(hlc),
        }
    }

    /// How far the programs had got with a stream.
    #[must_use]
    pub fn delivered(&self, stream: StreamId) -> u64 {
        self.copies.get(&stream).map_or(0, |copy| copy.delivered)
    }

    /// Whether it is a machine's first life.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lives == 0
    }
}

impl Node {
    /// The next thing to be kept. Fetch all of them before a ticket is reported stored.
    pub fn poll_write(&mut self) -> Option<Write> {
        self.writes.pop_front()
    }

    pub(super) fn write(&mut self, write: Write) {
        self.writes.push_back(write);
    }

    /// Whether this machine keeps the records of a stream, and not only how far it has got.
    pub(super) fn keeps(&self, id: StreamId) -> bool {
        id.lane.is_kept() && (id.sender == self.me || self.settings.is_broker())
    }

    /// Every stamp is written before anything that bears it.
    pub(super) fn stamp(&mut self, now: Now) -> Hlc {
        let stamp = self.clock.stamp(now);
        if stamp > self.clock_saved {
            self.clock_saved = Hlc(stamp.0.saturating_add(CLOCK_AHEAD));
            self.write(Write::Clock(self.clock_saved));
        }
        stamp
    }

    /// Go on from what was read back.
    pub(super) fn restore(&mut self, saved: Saved) {
        self.fresh = if saved.is_empty() { Fresh::New } else { Fresh::Restarted };
        self.clock.hear(saved.clock);
        self.clock_saved = saved.clock;
        for (id, SavedCopy { stream, delivered }) in saved.copies {
            let Some(copy) = self.copy(id) else { continue };
            let before = copy.stream.weight();
            copy.grew = 0;
            // A client keeps only how far it has got.
            copy.delivered = delivered;
            copy.synced = delivered;
            copy.stream = stream;
            copy.swept = copy.stream.last();
            let (after, last) = (copy.stream.weight(), copy.stream.last());
            self.weight.note(before, after);
            // Nobody knows what earlier lives sent.
            self.note_claim(id, last);
            if !self.keeps(id) {
                self.restore_as_client(id, delivered);
            }
            if id.sender != self.me {
                self.put_in_turn(id);
            }
        }
        for (rank, record) in saved.retained.into_values() {
            if self.retained.has_room(&record, self.settings.retained_bytes_max) {
                self.retained.put(rank, &record, self.settings.is_broker());
            } else {
                self.retained.put_rank(rank, &record);
            }
            self.loose.restored.push_back((rank.sender, record));
        }
        for ((owner, kind), said) in saved.facts {
            self.recall(&owner, kind, said);
        }
        if let Some((_, name)) = self.facts.promoted() {
            self.home.handle_promoted(name, self.started);
        }
    }

    /// A copy of which only how far the programs have got is left.
    pub(super) fn begin_anew(&mut self, stream: StreamId, delivered: u64) {
        self.write(Write::Forget(stream));
        if delivered > 0 {
            self.write(Write::Delivered { stream, upto: delivered });
        }
    }

    /// What it kept as a broker, in another life, it keeps for nobody any more.
    fn restore_as_client(&mut self, id: StreamId, delivered: u64) {
        let Some(copy) = self.copies.get_mut(&id) else { return };
        let before = std::mem::take(&mut copy.stream);
        let covered = copy.stream.skip(1, delivered);
        debug_assert!(covered.is_ok(), "an empty stream takes any skip from 1");
        self.weight.note(before.weight(), copy.stream.weight());
        if before.last() > 0 {
            self.begin_anew(id, delivered);
        }
    }
}
