//! A machine keeps track of so many streams and no more: which of them gives way to another, and what is said to whoever
//! brings one for which there is no place.
//!
//! An empty one gives way first. Where all of those that are over still wait for somebody, the machine that has begun most
//! lives gives up one of its own, counted. The other side goes on without it, and is asked for it when there is a place.

use std::cmp::Reverse;

use super::copies::Copy;
use super::link::LinkId;
use super::{Node, Write};
use crate::frame::Frame;
use crate::stream::{StreamId, Weight};
use crate::topology::model::WhenFull;

impl Node {
    /// The copy of a stream, a new one where there is none. `None`: there is no place for it.
    pub(super) fn copy(&mut self, id: StreamId) -> Option<&mut Copy> {
        if !self.has_room_for(id) {
            self.forget_stream(self.gives_way(id)?);
        }
        if !self.copies.contains_key(&id) {
            self.begin_life(id);
        }
        self.copies.get_mut(&id)
    }

    /// Whether there is a copy, or may be one beside all the others.
    fn has_room_for(&self, id: StreamId) -> bool {
        self.copies.len() < self.settings.streams_max || self.copies.contains_key(&id)
    }

    /// Whether there is a copy, or may be one at nobody's expense.
    pub(super) fn has_place(&self, id: StreamId) -> bool {
        // One that was asked for and has not come yet makes no room for the next.
        let has_come = |spare: StreamId| self.copies.get(&spare).is_some_and(|copy| copy.stream.last() > 0);
        let spare = || self.spare_stream().is_some_and(|spare| self.may_be_missed(spare) && has_come(spare));
        self.has_room_for(id) || spare()
    }

    /// Nobody goes on with an empty stream of a life that is over, or of ours.
    fn may_be_missed(&self, id: StreamId) -> bool {
        id.sender == self.me || self.copies.get(&id).is_some_and(|copy| copy.is_over)
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
        self.ask_for(id);
        for link in self.links.values_mut().filter(|link| link.is_broker && link.ready) {
            link.pending.extend(&earlier);
        }
    }

    fn forget_stream(&mut self, id: StreamId) {
        self.say_the_last(id);
        let Some(copy) = self.copies.remove(&id) else { return };
        self.weight.note(copy.stream.weight(), Weight::default());
        self.counters.streams_forgotten += 1;
        self.counters.dropped_full += copy.stream.len() as u64;
        if !copy.stream.is_empty() && !self.gave_up {
            // Something retained may have been among it, and whoever waits for it may come after our next start.
            self.gave_up = true;
            self.write(Write::GaveUp);
        }
        let was_asked_for = copy.stream.last() == 0;
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            let Some(known) = self.links.get_mut(&link) else { continue };
            if !known.is_broker && known.flows.contains_key(&id) && !copy.stream.is_empty() {
                known.walk_anew();
            }
            known.forget_flow(id);
            // Who was told that it is here waits for it no longer.
            if known.is_broker && known.greeted && self.settings.is_broker() {
                if was_asked_for {
                    known.note_refused(id);
                } else {
                    known.note_let_go(id);
                }
                self.say_frame(link, &Frame::Gone { stream: id });
            }
            self.ask_transmit(link);
        }
        self.forget_fetches(id);
        // If it comes anew, nothing of it is on disk.
        self.unstored.retain(|(_, stream, _)| *stream != id);
        self.write(Write::Forget(id));
        if let Some(doubt) = self.doubts.remove(&id) {
            self.doubt_is_over(id, doubt.origin);
        }
    }

    /// What others are owed of it they are told while it is known.
    fn say_the_last(&mut self, id: StreamId) {
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            let mut out = Vec::new();
            self.put_got(link, id, &mut out);
            if !out.is_empty() {
                self.say(link, &out);
            }
        }
    }

    /// An empty one that is waited for by nobody: of a life that is over, ours too, and only where there is none one that
    /// may yet go on, or that has yet to come; that which has not grown for longest, and of those from before our start the
    /// one longest over.
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
            let goes_on = *later == 0 && id.sender != self.me;
            (goes_on, copy.stream.last() == 0, copy.grew, Reverse(*later))
        };
        spare.min_by_key(by_age).map(|(id, ..)| id)
    }

    /// Where no life that is over is empty, whoever has begun most of them gives up one, so that a machine that starts again
    /// and again is at nobody's expense. `None`: that would be the newcomer's, which has been given up before.
    fn gives_way(&self, newcomer: StreamId) -> Option<StreamId> {
        let spare = self.spare_stream();
        if spare.is_some_and(|spare| self.may_be_missed(spare)) {
            return spare;
        }
        let mut all: Vec<StreamId> = self.copies.keys().copied().collect();
        all.insert(all.partition_point(|id| *id < newcomer), newcomer);
        let lives = all.chunk_by(|one, next| next.is_later_life_of(*one)).filter(|lives| lives.len() > 1);
        let lives = lives.filter(|lives| lives.first().is_some_and(|id| self.may_give_up(*id)));
        let Some(lives) = lives.min_by_key(|lives| Reverse(lives.len())) else { return spare };
        if lives.first() == Some(&newcomer) {
            return None;
        }
        let (_, over) = lives.split_last()?;
        let over = over.iter().filter(|id| !self.outbox.is_current(**id));
        over.filter_map(|id| Some((self.copies.get(id)?.grew, *id))).min().map(|(_, id)| id)
    }

    /// What only we may have is refused before anything of it is given up, unless the topology wants it otherwise.
    fn may_give_up(&self, id: StreamId) -> bool {
        id.sender != self.me || self.settings.is_broker() || self.settings.when_full == WhenFull::DropOldest
    }

    /// Whether this life of ours may begin a stream. A client that reached nobody in many lives leaves room for the others.
    pub(super) fn may_begin(&self, id: StreamId) -> bool {
        let full = |copies: usize| copies >= self.settings.streams_max / 2;
        let waiting =
            || self.copies.iter().filter(|(id, copy)| id.sender == self.me && !copy.stream.is_empty()).count();
        !id.lane.is_kept() || self.may_give_up(id) || self.copies.contains_key(&id) || !full(waiting())
    }

    /// Whether there was no place for it when it came by this link. Whoever has it keeps it and goes on: what stands behind
    /// it would stand still otherwise.
    pub(super) fn is_passed_over(&mut self, id: LinkId, stream: StreamId) -> bool {
        let refused = self.links.get(&id).is_some_and(|link| link.refused.contains(&stream));
        let passed_over = refused && !self.copies.contains_key(&stream);
        if passed_over {
            self.pass_over(id, stream);
        }
        passed_over
    }

    pub(super) fn pass_over(&mut self, id: LinkId, stream: StreamId) {
        self.counters.streams_refused += 1;
        let Some(link) = self.links.get_mut(&id) else { return };
        link.note_refused(stream);
        self.turn_away(id, stream);
    }

    pub(super) fn turn_away(&mut self, id: LinkId, stream: StreamId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.forget_flow(stream);
        self.say_frame(id, &Frame::Gone { stream });
    }

    /// Whether what comes of a stream is forgotten where it comes from, and another would have to go for it. Brokers that
    /// made way for each such would tell each other for ever what they have just let go.
    pub(super) fn is_not_worth_a_place(&mut self, id: LinkId, stream: StreamId) -> bool {
        if self.has_room_for(stream) {
            return false;
        }
        let Some(link) = self.between_brokers(id) else { return false };
        // A message in it is worth one.
        link.note_let_go(stream);
        self.turn_away(id, stream);
        true
    }

    /// Whoever was told that there is no place for it may bring it now.
    fn ask_for(&mut self, stream: StreamId) {
        let asked = self.links.iter_mut().filter_map(|(id, link)| link.take_homeless(stream).then_some(*id));
        for id in asked.collect::<Vec<_>>() {
            self.say_frame(id, &Frame::Need { stream, from: 1 });
        }
    }

    /// What was refused is taken in as soon as an empty one can give way.
    pub(super) fn take_in(&mut self) {
        let refused: Vec<StreamId> = self.links.values().flat_map(|link| &link.refused).copied().collect();
        for stream in refused {
            if !self.has_place(stream) {
                return;
            }
            self.copy(stream);
        }
    }

    /// Until the link is made anew, or more is said in it, it is as if the other side had all of it; where only that there is
    /// nothing was told so far, as if it had that.
    pub(super) fn gone_comes(&mut self, id: LinkId, stream: StreamId) {
        let last = self.copies.get(&stream).map(|copy| copy.stream.last());
        let Some(link) = self.links.get_mut(&id) else { return };
        match (link.flows.get(&stream), last) {
            (Some(flow), Some(last)) => {
                let upto = if flow.unacked.is_empty() { flow.told.min(last) } else { last };
                if flow.acked < last {
                    // What is retained may be among what it goes without.
                    link.walk_anew();
                }
                link.restart(stream, upto);
            }
            (_, None) => {
                link.forget_flow(stream);
                link.take_homeless(stream);
            }
            (None, Some(_)) => {}
        }
        self.ask_transmit(id);
    }
}
