//! The newest retained message of every topic in the network, clearings included, so that all machines agree which one
//! it is. Brokers keep the sealed message too, for machines that come anew.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use super::link::LinkId;
use super::{Held, Node, Write, follow, intake};
use crate::envelope::{Header, SenderId};
use crate::frame::{Carried, Frame, encode};
use crate::stream::StreamId;
use crate::time::Now;

/// The order of retained messages: by the clocks of those who sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    pub hlc: u64,
    pub sender: SenderId,
}

#[derive(Debug, Default)]
pub struct Retained {
    topics: BTreeMap<Rc<str>, Known>,
    /// Those of them that are clearings, the oldest first.
    clearings: BTreeSet<(Rank, Rc<str>)>,
    /// Those of them that expire, and when.
    ends: BTreeSet<(Now, Rc<str>)>,
    /// Of those that are in memory.
    bytes: u64,
    /// Of those that are kept, be it on the disk only.
    kept_bytes: u64,
}

/// The newest of a topic.
#[derive(Debug)]
struct Known {
    rank: Rank,
    /// Of the message; of its topic alone, where there is no room for more.
    kept_bytes: u64,
    clears: bool,
    expires: Option<Now>,
    /// On brokers.
    record: Option<Held>,
}

impl Known {
    fn of(rank: Rank, record: &Held) -> Self {
        Self { rank, kept_bytes: record.size(), clears: record.stamp.clear, expires: record.expires, record: None }
    }

    fn bytes(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.size())
    }
}

impl Retained {
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The newest of its topic, which is kept: on the disk, and `here`, on brokers, in memory too.
    pub fn put(&mut self, rank: Rank, record: &Held, here: bool) {
        self.insert(&record.topic, Known { record: here.then(|| record.clone()), ..Known::of(rank, record) });
    }

    /// The newest of its topic, for which there is no room.
    pub fn put_rank(&mut self, rank: Rank, record: &Held) {
        let kept_bytes = record.topic.len() as u64;
        self.insert(&record.topic, Known { kept_bytes, ..Known::of(rank, record) });
    }

    fn insert(&mut self, topic: &str, known: Known) {
        let topic = self.remove(topic).unwrap_or_else(|| topic.into());
        self.bytes += known.bytes();
        self.kept_bytes += known.kept_bytes;
        if known.clears {
            self.clearings.insert((known.rank, topic.clone()));
        }
        self.ends.extend(known.expires.map(|at| (at, topic.clone())));
        self.topics.insert(topic, known);
    }

    /// Gives back the topic, if it was there.
    fn remove(&mut self, topic: &str) -> Option<Rc<str>> {
        let (topic, gone) = self.topics.remove_entry(topic)?;
        self.bytes -= gone.bytes();
        self.kept_bytes -= gone.kept_bytes;
        if gone.clears {
            self.clearings.remove(&(gone.rank, topic.clone()));
        }
        if let Some(at) = gone.expires {
            self.ends.remove(&(at, topic.clone()));
        }
        Some(topic)
    }

    /// Gives back its topic, if there is one.
    fn remove_oldest_clearing(&mut self) -> Option<Rc<str>> {
        let (_, topic) = self.clearings.first().cloned()?;
        self.remove(&topic)
    }

    /// The same of one that has expired.
    fn remove_expired(&mut self, now: Now) -> Option<Rc<str>> {
        let (_, topic) = self.ends.first().filter(|(at, _)| *at <= now).cloned()?;
        self.remove(&topic)
    }

    /// Whether it may be kept in the stead of what its topic has.
    pub fn has_room(&self, record: &Held, bytes_max: u64) -> bool {
        let before = self.topics.get(&*record.topic).map_or(0, |known| known.kept_bytes);
        self.kept_bytes - before + record.size() <= bytes_max
    }

    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(|topic| &**topic)
    }

    /// Only the ranks stay.
    pub fn forget_records(&mut self) {
        self.topics.values_mut().for_each(|known| known.record = None);
        self.bytes = 0;
    }

    /// Of this very message only the rank is known.
    fn lacks(&self, topic: &str, rank: Rank) -> bool {
        self.topics.get(topic).is_some_and(|known| known.rank == rank && known.record.is_none())
    }

    pub fn rank(&self, topic: &str) -> Option<Rank> {
        self.topics.get(topic).map(|known| known.rank)
    }

    /// The ranks of all topics: what two machines that agree have in common.
    #[cfg(test)]
    pub fn ranks(&self) -> impl Iterator<Item = (&str, Rank)> {
        self.topics.iter().map(|(topic, known)| (&**topic, known.rank))
    }
}

impl Node {
    /// If it is newer than what is known of its topic, it is what is known from now on. False: there is no room for it.
    pub(super) fn note_retained(&mut self, record: &Held, sender: SenderId, now: Now) -> bool {
        let rank = Rank { hlc: record.stamp.hlc, sender };
        if self.retained.rank(&record.topic).is_some_and(|known| known >= rank) {
            return true;
        }
        let is_new = !self.retained.topics.contains_key(&*record.topic);
        let full = is_new && self.retained.len() >= self.settings.retained_len_max;
        if full && (record.stamp.clear || !(self.forget_an_expired(now) || self.forget_a_clearing())) {
            return record.stamp.clear;
        }
        let bytes_max = self.settings.retained_bytes_max;
        while !self.retained.has_room(record, bytes_max) && self.forget_an_expired(now) {}
        if self.retained.has_room(record, bytes_max) {
            self.retained.put(rank, record, self.settings.is_broker());
            self.write(Write::Retained { sender, record: record.clone() });
            return true;
        }
        if !is_new {
            // What the topic had is not the newest any more.
            self.retained.put_rank(rank, record);
            self.write(Write::RetainedGone(record.topic.clone()));
        }
        record.stamp.clear
    }

    fn forget_an_expired(&mut self, now: Now) -> bool {
        let Some(expired) = self.retained.remove_expired(now) else { return false };
        self.write(Write::RetainedGone((*expired).into()));
        true
    }

    /// Clearings are only there so that older messages do not come back; the oldest may go.
    fn forget_a_clearing(&mut self) -> bool {
        let Some(oldest) = self.retained.remove_oldest_clearing() else { return false };
        self.write(Write::RetainedGone((*oldest).into()));
        true
    }

    /// A retained message outside its stream, from a broker that gives us all of them.
    pub(super) fn retained_comes(&mut self, id: LinkId, carried: &Carried<'_>, now: Now) {
        let (by_broker, Ok(header)) =
            (self.links.get(&id).is_some_and(|link| link.is_broker), Header::peek(carried.envelope))
        else {
            self.counters.malformed += 1;
            return;
        };
        if !by_broker || !header.stamp.retain {
            self.counters.frames_refused += 1;
            return;
        }
        let record = Held::new(intake::unpack(carried, header, now));
        let rank = Rank { hlc: header.stamp.hlc, sender: header.sender };
        if self.settings.is_broker() && self.retained.lacks(&record.topic, rank) {
            if self.retained.has_room(&record, self.settings.retained_bytes_max) {
                // From the days when this machine was a client: the programs here have had it.
                self.write(Write::Retained { sender: header.sender, record: record.clone() });
                self.retained.put(rank, &record, true);
            }
            return;
        }
        if self.retained.rank(&record.topic).is_none_or(|known| known < rank) {
            self.loose_retained(StreamId::of(&header), record);
        }
    }

    /// Put what is left of this link's walk through the retained messages into `out`.
    pub(super) fn put_retained(&mut self, id: LinkId, out: &mut Vec<u8>, end: usize, now: Now) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.ready) else { return };
        let Some(mut at) = link.walk.take() else { return };
        let rights = self.settings.peers.get(&link.peer);
        let packet_bytes_max = self.settings.common.packet_bytes_max;
        let rest = self.retained.topics.range::<str, _>((Bound::Excluded(&*at), Bound::Unbounded));
        for (topic, known) in rest {
            if out.len() >= end {
                link.walk = Some(at);
                return;
            }
            let may = link.is_broker || rights.is_some_and(|rights| rights.subscribe.topic(topic));
            let carried = known.record.as_ref().map(|record| follow::carried(record, now));
            if let Some(carried) = carried.filter(|carried| may && carried.fits(packet_bytes_max)) {
                encode(&Frame::Retained(carried), out);
                self.counters.retained_sent += 1;
            }
            at = (**topic).into();
        }
    }
}

#[cfg(test)]
mod tests;
