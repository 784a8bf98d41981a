//! The streams that this machine has a copy of, and who else has how much of each.

use std::collections::BTreeMap;

use super::link::{Link, LinkId};
use super::{Held, Node, Progress, Ticket, UNSTORED_MAX, Write};
use crate::envelope::SenderId;
use crate::stream::{Added, Need, Stream, StreamId};
use crate::time::Now;

#[derive(Debug, Default)]
pub struct Copy {
    pub stream: Stream,
    /// Given to the programs here, or passed over, up to here.
    pub delivered: u64,
    /// `delivered`, as far as it is on disk here.
    pub synced: u64,
    /// What each other broker has on its disk.
    pub holders: BTreeMap<SenderId, u64>,
    /// What each other machine has got of it.
    pub cursors: BTreeMap<SenderId, u64>,
    /// The link that it grows by.
    pub source: Option<LinkId>,
    /// The origin itself is attached here, so that we send it on to the other brokers.
    pub by_origin: bool,
    /// Where it stood at the last sweep.
    pub swept: u64,
    /// The other side was told where to go on, and has not yet.
    pub needed: bool,
    /// Since when its origin has not been believed that what is missing is safe elsewhere.
    pub doubted_since: Option<Now>,
    /// The newest stable number that the origin was told.
    pub stable_said: u64,
    /// Of a stream of ours: how far it went to each broker; under our own name, what any of them has said that it has.
    pub sent: BTreeMap<SenderId, u64>,
    /// There is one of a later life of the same machine.
    pub is_over: bool,
    /// When it began or last grew in this life of ours, by the count of all that did.
    pub grew: u64,
}

/// Why a copy does not grow by what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Need(Need),
    /// There are too many streams, and this is the one to give way.
    NoPlace,
}

impl From<Need> for Refused {
    fn from(need: Need) -> Self {
        Self::Need(need)
    }
}

impl Copy {
    /// How far a stream of ours may be with brokers besides this one; what it has said that it has, too, since it may have
    /// passed that on and lost it.
    pub fn may_be_beside(&self, broker: SenderId) -> u64 {
        self.sent.iter().filter(|(to, _)| **to != broker).map(|(_, upto)| *upto).max().unwrap_or(0)
    }

    pub fn note_sent(&mut self, to: SenderId, upto: u64) {
        let sent = self.sent.entry(to).or_default();
        *sent = upto.max(*sent);
    }

    fn grew_by(&mut self, link: Option<LinkId>, by_origin: bool, count: u64) {
        self.grew = count;
        self.source = link.or(self.source);
        self.by_origin = by_origin;
        self.needed = false;
        self.doubted_since = None;
    }
}

impl Node {
    fn is_origin(&self, link: Option<LinkId>, id: StreamId) -> bool {
        link.and_then(|link| self.links.get(&link)).is_some_and(|link| link.sender == id.sender)
    }

    pub(super) fn count_growth(&mut self) -> u64 {
        self.growths += 1;
        self.growths
    }

    /// Put a record at the end of a copy. What is new is counted, sent on, given to the programs and made durable.
    pub(super) fn append(&mut self, id: StreamId, seq: u64, record: Held, from: Option<LinkId>) -> Result<(), Refused> {
        let by_origin = self.is_origin(from, id);
        let count = self.count_growth();
        let copy = self.copy(id).ok_or(Refused::NoPlace)?;
        let before = copy.stream.weight();
        match copy.stream.append(seq, record.clone())? {
            Added::Known => return Ok(()),
            Added::New => {}
        }
        copy.grew_by(from, by_origin, count);
        let after = copy.stream.weight();
        self.weight.note(before, after);
        if self.keeps(id) {
            self.write(Write::Append { stream: id, seq, record: record.clone() });
        }
        self.appended(id, seq);
        if id.sender != self.me {
            self.put_in_turn(id);
        }
        // What is ours and kept goes out when it is stored.
        if id.sender != self.me || !id.lane.is_kept() {
            self.announce(id, Some(&record));
        }
        self.make_room();
        Ok(())
    }

    pub(super) fn skip(&mut self, id: StreamId, from: u64, to: u64, link: Option<LinkId>) -> Result<(), Refused> {
        let by_origin = self.is_origin(link, id);
        let count = self.count_growth();
        let copy = self.copy(id).ok_or(Refused::NoPlace)?;
        match copy.stream.skip(from, to)? {
            Added::Known => return Ok(()),
            Added::New => {}
        }
        copy.grew_by(link, by_origin, count);
        let forgotten = copy.stream.trimmed() >= to;
        if self.keeps(id) {
            // With nothing before it, a stretch is not worth a place of its own.
            let write =
                if forgotten { Write::Trim { stream: id, upto: to } } else { Write::Skip { stream: id, from, to } };
            self.write(write);
        }
        self.appended(id, to);
        if id.sender != self.me {
            self.put_in_turn(id);
            self.announce(id, None);
        }
        Ok(())
    }

    /// A copy has grown to `seq`.
    fn appended(&mut self, id: StreamId, seq: u64) {
        self.grown.insert(id);
        if self.keeps(id) {
            self.await_disk(id, Progress::Copy(seq));
        } else if let Some(copy) = self.copies.get_mut(&id) {
            // Nothing more will be done for it.
            copy.stream.mark_stored(seq);
            self.after_stored(id);
        }
    }

    pub(super) fn await_disk(&mut self, id: StreamId, progress: Progress) {
        self.ticket = Ticket(self.ticket.0 + 1);
        self.unstored.push_back((self.ticket, id, progress));
        if self.unstored.len() > UNSTORED_MAX {
            // The newest of each stream, and every second one before it: a disk that is far behind is heard of all the same.
            let mut stays = BTreeMap::new();
            let all = std::mem::take(&mut self.unstored).into_iter().rev();
            let thinned = all.filter(|(_, id, progress)| {
                let stays = stays.entry((*id, progress.is_of_copy())).or_insert(false);
                *stays = !*stays;
                *stays
            });
            self.unstored = thinned.collect::<Vec<_>>().into_iter().rev().collect();
        }
    }

    /// A copy is on disk up to `seq`.
    pub(super) fn stored(&mut self, id: StreamId, seq: u64) {
        let Some(copy) = self.copies.get_mut(&id) else { return };
        copy.stream.mark_stored(seq);
        // The other brokers count this disk too, whoever sent it here.
        self.grown.insert(id);
        if id.sender == self.me {
            self.announce(id, None);
        }
        self.after_stored(id);
        self.spill();
    }

    fn after_stored(&mut self, id: StreamId) {
        if id.sender == self.me {
            self.settle_offers(id);
        } else if let Some(source) = self.copies.get(&id).and_then(|copy| copy.source) {
            self.owe_got(source, id);
        }
        self.weigh_stability(id);
    }

    /// The newest number that is on as many broker disks as the network wants.
    pub(super) fn stable(&self, id: StreamId) -> u64 {
        let Some(copy) = self.copies.get(&id) else { return 0 };
        let own = self.settings.is_broker().then(|| copy.stream.stored());
        let mut disks: Vec<u64> = copy.holders.values().copied().chain(own).collect();
        disks.sort_unstable_by(|a, b| b.cmp(a));
        let wanted = self.settings.copies_wanted();
        // Others may have more of it than has come here.
        disks.get(wanted.saturating_sub(1)).map_or(0, |on_enough| (*on_enough).min(copy.stream.last()))
    }

    /// What is on more disks than before: tell the origin, or take note of it here.
    pub(super) fn weigh_stability(&mut self, id: StreamId) {
        let stable = self.stable(id);
        let Some(copy) = self.copies.get_mut(&id) else { return };
        if stable <= copy.stable_said {
            return;
        }
        copy.stable_said = stable;
        if id.sender == self.me {
            return self.own_is_stable(id, stable);
        }
        let origin = self.links.iter().find(|(_, link)| link.sender == id.sender && link.ready);
        if let Some(origin) = origin.map(|(origin, _)| *origin) {
            self.owe_got(origin, id);
        }
    }

    /// The link, if this and the other side are brokers.
    pub(super) fn between_brokers(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id).filter(|link| link.is_broker && self.settings.is_broker())
    }

    pub(super) fn owe_got(&mut self, link: LinkId, id: StreamId) {
        if let Some(known) = self.links.get_mut(&link)
            && known.got_dirty.insert(id)
        {
            self.ask_transmit(link);
        }
    }

    /// Let a copy forget everything up to `upto`.
    pub(super) fn trim(&mut self, id: StreamId, upto: u64) {
        let Some(copy) = self.copies.get_mut(&id) else { return };
        let (before, weight) = (copy.stream.trimmed(), copy.stream.weight());
        copy.stream.trim(upto);
        let after = copy.stream.trimmed();
        self.weight.note(weight, copy.stream.weight());
        if after > before && self.keeps(id) {
            self.write(Write::Trim { stream: id, upto: after });
        }
    }
}
