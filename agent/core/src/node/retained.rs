//! The newest retained message of every topic in the network, clearings included, so that all machines agree which one
//! it is. Brokers keep the sealed message too, for machines that come anew.

use std::collections::BTreeMap;
use std::ops::Bound;

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
    topics: BTreeMap<Box<str>, (Rank, Option<Held>)>,
    bytes: u64,
}

impl Retained {
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn put(&mut self, topic: Box<str>, rank: Rank, kept: Option<Held>) {
        self.bytes += kept.as_ref().map_or(0, |kept| kept.size());
        let before = self.topics.insert(topic, (rank, kept));
        self.bytes -= before.and_then(|(_, kept)| kept).map_or(0, |kept| kept.size());
    }

    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(|topic| &**topic)
    }

    /// Only the ranks stay.
    pub fn forget_records(&mut self) {
        self.topics.values_mut().for_each(|(_, kept)| *kept = None);
        self.bytes = 0;
    }

    /// Of this very message only the rank is known.
    fn lacks(&self, topic: &str, rank: Rank) -> bool {
        self.topics.get(topic).is_some_and(|(known, kept)| *known == rank && kept.is_none())
    }

    pub fn rank(&self, topic: &str) -> Option<Rank> {
        self.topics.get(topic).map(|(rank, _)| *rank)
    }

    /// The ranks of all topics: what two machines that agree have in common.
    #[cfg(test)]
    pub fn ranks(&self) -> impl Iterator<Item = (&str, Rank)> {
        self.topics.iter().map(|(topic, (rank, _))| (&**topic, *rank))
    }
}

impl Node {
    /// If it is newer than what is known of its topic, it is what is known from now on.
    pub(super) fn note_retained(&mut self, record: &Held, sender: SenderId) {
        let rank = Rank { hlc: record.stamp.hlc, sender };
        if self.retained.rank(&record.topic).is_some_and(|known| known >= rank) {
            return;
        }
        let is_new = !self.retained.topics.contains_key(&record.topic);
        let full = is_new && self.retained.len() >= self.settings.retained_len_max;
        if full && (record.stamp.clear || !self.forget_a_clearing()) {
            self.counters.retained_refused += u64::from(!record.stamp.clear);
            return;
        }
        let kept = self.settings.is_broker().then(|| record.clone());
        self.retained.put(record.topic.clone(), rank, kept);
        self.write(Write::Retained { sender, record: record.clone() });
    }

    /// Clearings are only there so that older messages do not come back; the oldest may go.
    fn forget_a_clearing(&mut self) -> bool {
        let clearings =
            self.retained.topics.iter().filter(|(_, (_, kept))| kept.as_ref().is_some_and(|k| k.stamp.clear));
        let Some(oldest) = clearings.min_by_key(|(_, (rank, _))| *rank).map(|(topic, _)| topic.clone()) else {
            return false;
        };
        let gone = self.retained.topics.remove(&oldest);
        self.write(Write::RetainedGone(oldest));
        self.retained.bytes -= gone.and_then(|(_, kept)| kept).map_or(0, |kept| kept.size());
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
            // From the days when this machine was a client: the programs here have had it.
            self.write(Write::Retained { sender: header.sender, record: record.clone() });
            return self.retained.put(record.topic.clone(), rank, Some(record));
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
        let rest = self.retained.topics.range::<str, _>((Bound::Excluded(&*at), Bound::Unbounded));
        for (topic, (_, kept)) in rest {
            if out.len() >= end {
                link.walk = Some(at);
                return;
            }
            let may = link.is_broker || rights.is_some_and(|rights| rights.subscribe.topic(topic));
            if let Some(record) = kept.as_ref().filter(|record| may && !record.is_expired(now)) {
                encode(&Frame::Retained(follow::carried(record, now)), out);
            }
            at = topic.clone();
        }
    }
}
