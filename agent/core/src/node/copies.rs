//! The streams that this machine has a copy of, and who else has how much of each.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::link::LinkId;
use super::{Held, Node, Progress, Ticket, UNSTORED_MAX, Write};
use crate::envelope::SenderId;
use crate::stream::{Added, Need, Stream, StreamId};

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
    /// The newest stable number that the origin was told.
    pub stable_said: u64,
    /// Of a stream of ours: how far it went to each broker; under our own name, what any of them has said that it has.
    pub sent: BTreeMap<SenderId, u64>,
    /// There is one of a later life of the same machine.
    pub is_over: bool,
    /// When it began or last grew in this life of ours, by the count of all that did.
    pub grew: u64,
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
    }
}

impl Node {
    fn is_origin(&self, link: Option<LinkId>, id: StreamId) -> bool {
        link.and_then(|link| self.links.get(&link)).is_some_and(|link| link.sender == id.sender)
    }

    /// The copy of a stream, a new one where there is none. `None`: there are too many.
    pub(super) fn copy(&mut self, id: StreamId) -> Option<&mut Copy> {
        if !self.copies.contains_key(&id) {
            if self.copies.len() >= self.settings.streams_max {
                self.forget_a_stream()?;
            }
            self.begin_life(id);
        }
        self.copies.get_mut(&id)
    }

    /// Other brokers get all of the earlier lives before anything of this one.
    fn begin_life(&mut self, id: StreamId) {
        let mut earlier = Vec::new();
        for (life, copy) in self.copies.range_mut(id.lives_up_to_it()) {
            copy.is_over = true;
            earlier.push(*life);
        }
        let is_over = self.copies.range(id.lives_from_it()).next().is_some();
        let grew = self.count_growth();
        self.copies.insert(id, Copy { is_over, grew, ..Copy::default() });
        for link in self.links.values_mut().filter(|link| link.is_broker && link.ready) {
            link.pending.extend(&earlier);
        }
    }

    fn count_growth(&mut self) -> u64 {
        self.growths += 1;
        self.growths
    }

    fn forget_a_stream(&mut self) -> Option<()> {
        let Some(spare) = self.spare_stream() else {
            self.counters.streams_refused += 1;
            return None;
        };
        self.counters.streams_forgotten += 1;
        self.copies.remove(&spare);
        self.doubts.remove(&spare);
        self.write(Write::Forget(spare));
        Some(())
    }

    /// An empty one that is waited for by nobody: of a life that is over, ours too, and only where there is none one that
    /// may yet go on; that which has not grown for longest, and of those from before our start the one longest over.
    pub(super) fn spare_stream(&self) -> Option<StreamId> {
        let (mut machine, mut later_lives) = (None, 0);
        let aged = self.copies.iter().rev().map(|(id, copy)| {
            let before = machine.replace((id.lane, id.sender));
            later_lives = if before == machine { later_lives + 1 } else { 0 };
            (*id, copy, later_lives)
        });
        let spare = aged.filter(|(id, copy, _)| {
            copy.stream.is_empty() && !self.outbox.is_current(*id) && !self.doubts.contains_key(id)
        });
        let by_age = |(id, copy, later): &(StreamId, &Copy, usize)| {
            (*later == 0 && id.sender != self.me, copy.grew, Reverse(*later))
        };
        spare.min_by_key(by_age).map(|(id, ..)| id)
    }

    /// Put a record at the end of a copy. What is new is counted, sent on, given to the programs and made durable.
    pub(super) fn append(&mut self, id: StreamId, seq: u64, record: Held, from: Option<LinkId>) -> Result<(), Need> {
        let by_origin = self.is_origin(from, id);
        let count = self.count_growth();
        let Some(copy) = self.copy(id) else { return Ok(()) };
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

    pub(super) fn skip(&mut self, id: StreamId, from: u64, to: u64, link: Option<LinkId>) -> Result<(), Need> {
        let by_origin = self.is_origin(link, id);
        let count = self.count_growth();
        let Some(copy) = self.copy(id) else { return Ok(()) };
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
            let mut newest = BTreeSet::new();
            let all = std::mem::take(&mut self.unstored).into_iter().rev();
            let of_each = all.filter(|(_, id, progress)| newest.insert((*id, matches!(progress, Progress::Copy(_)))));
            self.unstored = of_each.collect::<Vec<_>>().into_iter().rev().collect();
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
