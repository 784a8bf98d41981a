//! What comes in by a link: records and skips that make copies grow, and what the other side says of ours.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::copies::{Copy, Refused};
use super::link::{Attached, Link, LinkId};
use super::{DOUBT_MAX, Node};
use crate::envelope::{Header, SEQ_MAX, SenderId};
use crate::frame::{Carried, EXPIRED, Frame, Got};
use crate::stream::{Need, Record, StreamId};
use crate::time::Now;

/// An origin says that what comes of a stream up to here is safe elsewhere, and we do not believe it yet.
#[derive(Clone, Debug)]
pub struct Doubt {
    upto: u64,
    /// The link by which it says so.
    pub origin: LinkId,
    since: Now,
    /// The last beat that went to each other broker before: who answers a later one has told what it had.
    beats: BTreeMap<LinkId, u32>,
}

/// Whose streams may come in by a link.
enum Road {
    Open,
    /// Not by this link.
    Wrong,
}

impl Node {
    pub(super) fn record_comes(&mut self, id: LinkId, carried: &Carried<'_>, now: Now) {
        let Ok(header) = Header::peek(carried.envelope) else {
            self.counters.malformed += 1;
            return;
        };
        let stream = StreamId::of(&header);
        let seq = header.stamp.seq;
        let Some(allowed) = self.weigh_record(id, stream, carried.topic) else { return };
        if self.is_passed_over(id, stream) || self.is_doubted(id, stream) {
            return;
        }
        let added = if allowed {
            let record = Rc::new(unpack(carried, header, now));
            let is_next = self.copies.get(&stream).map_or(0, |copy| copy.stream.last()) + 1 == seq;
            if is_next && record.stamp.retain && self.settings.is_broker() {
                self.counters.retained_refused += u64::from(!self.note_retained(&record, stream.sender, now));
            }
            self.append(stream, seq, record, Some(id))
        } else {
            self.counters.refused_rights += 1;
            self.skip(stream, seq, seq, Some(id))
        };
        self.answer_growth(id, stream, seq, added);
    }

    /// Whether a record of this stream may come by this link at all, and whether its origin may send to that topic.
    fn weigh_record(&mut self, id: LinkId, stream: StreamId, topic: &str) -> Option<bool> {
        let link = self.links.get(&id)?;
        match road(self, link, stream) {
            Road::Open => {}
            Road::Wrong => {
                self.counters.frames_refused += 1;
                return None;
            }
        }
        if self.settings.is_broker() && link.sender == stream.sender {
            let rights = self.settings.peers.get(&link.peer);
            return Some(rights.is_some_and(|rights| rights.publish.topic(topic)));
        }
        Some(true)
    }

    pub(super) fn skip_comes(&mut self, id: LinkId, stream: StreamId, from: u64, to: u64) {
        let Some(link) = self.links.get(&id) else { return };
        if from == 0 || to < from || to > SEQ_MAX || matches!(road(self, link, stream), Road::Wrong) {
            self.counters.frames_refused += 1;
            return;
        }
        if self.is_passed_over(id, stream) || self.is_doubted(id, stream) {
            return;
        }
        let added = self.skip(stream, from, to, Some(id));
        self.answer_growth(id, stream, to, added);
    }

    /// Whether what this link brings of a stream cannot be taken yet: it, or an earlier life of its machine, is doubted. From
    /// a broker it can: that is what we wait for.
    fn is_doubted(&mut self, id: LinkId, stream: StreamId) -> bool {
        let by_broker = self.links.get(&id).is_some_and(|link| link.is_broker);
        let is_held_back = |node: &Self| node.doubts.range(stream.lives_up_to_it()).next().is_some();
        if by_broker || !is_held_back(self) {
            return false;
        }
        if self.copy(stream).is_none() {
            self.pass_over(id, stream);
            return true;
        }
        // That may have been given up for it.
        let held_back = is_held_back(self);
        if held_back {
            // It is asked for again when the doubt is over. Until then, what its machine says in other lanes does not wait.
            self.turn_away(id, stream);
        }
        held_back
    }

    /// The other side has forgotten what came before, since it is safe elsewhere. We may be the ones who do not have it
    /// yet: then it is to come from another broker.
    pub(super) fn trimmed_comes(&mut self, id: LinkId, stream: StreamId, upto: u64, now: Now) {
        let Some(link) = self.links.get(&id) else { return };
        if upto > SEQ_MAX || matches!(road(self, link, stream), Road::Wrong) {
            self.counters.frames_refused += 1;
            return;
        }
        let by_broker = link.is_broker;
        if self.is_passed_over(id, stream) || self.is_not_worth_a_place(id, stream) {
            return;
        }
        let Some(copy) = self.copy(stream) else { return self.pass_over(id, stream) };
        let from = copy.stream.last() + 1;
        if upto < from {
            return;
        }
        if !by_broker && self.settings.waits_for_others() {
            let brokers = self.links.iter().filter(|(_, link)| link.is_broker);
            let beats = brokers.map(|(id, link)| (*id, link.beat_sent)).collect();
            // Told again by a new link, it is the same doubt.
            let copy = self.copies.get_mut(&stream);
            let since = copy.map_or(now, |copy| *copy.doubted_since.get_or_insert(now));
            self.doubts.insert(stream, Doubt { upto, origin: id, since, beats });
            self.counters.doubted += 1;
            return self.weigh_doubts(now);
        }
        let added = self.skip(stream, from, upto, Some(id));
        self.answer_growth(id, stream, upto, added);
    }

    /// A stretch is nowhere any more if all other brokers are here and, asked since, none has it; or if one of them has
    /// not come for long.
    pub(super) fn weigh_doubts(&mut self, now: Now) {
        let others = self.settings.brokers.len();
        let brokers: Vec<(&LinkId, &Link)> =
            self.links.iter().filter(|(_, link)| link.is_broker && link.ready).collect();
        let mut over = Vec::new();
        for (stream, doubt) in &self.doubts {
            let last = self.copies.get(stream).map_or(0, |copy| copy.stream.last());
            let lacks_it = |(id, link): &(&LinkId, &Link)| {
                let asked = doubt.beats.get(*id).copied().unwrap_or(0);
                link.beat_answered > asked && link.flows.get(stream).is_none_or(|flow| flow.acked <= last)
            };
            let waited = now.since(doubt.since) >= DOUBT_MAX;
            let nowhere = brokers.len() >= others && brokers.iter().all(lacks_it);
            if last >= doubt.upto || nowhere || waited {
                over.push((*stream, doubt.clone()));
            }
        }
        for (stream, doubt) in over {
            self.doubts.remove(&stream);
            let from = self.copies.get(&stream).map_or(1, |copy| copy.stream.last() + 1);
            if doubt.upto >= from {
                let added = self.skip(stream, from, doubt.upto, Some(doubt.origin));
                self.answer_growth(doubt.origin, stream, doubt.upto, added);
            }
            self.doubt_is_over(stream, doubt.origin);
        }
    }

    /// What was held back is asked for again.
    pub(super) fn doubt_is_over(&mut self, stream: StreamId, origin: LinkId) {
        let held_back = self.copies.range(stream.lives_from_it());
        for (stream, from) in held_back.map(|(id, copy)| (*id, copy.stream.last() + 1)).collect::<Vec<_>>() {
            self.say_frame(origin, &Frame::Need { stream, from });
        }
    }

    fn answer_growth(&mut self, id: LinkId, stream: StreamId, upto: u64, added: Result<(), Refused>) {
        match added {
            Ok(()) => {
                if let Some(link) = self.between_brokers(id) {
                    // Whoever sends it has it, even if it said so when there was no place to note that.
                    link.answered(stream, upto);
                }
                self.owe_got(id, stream);
            }
            Err(Refused::NoPlace) => self.pass_over(id, stream),
            Err(Refused::Need(Need { from })) => {
                let asked = self.copies.get_mut(&stream).map(|copy| std::mem::replace(&mut copy.needed, true));
                // Once is enough: what is on its way now would each ask again.
                if asked == Some(false) {
                    self.counters.gaps += 1;
                    self.say_frame(id, &Frame::Need { stream, from });
                }
            }
        }
    }

    pub(super) fn need_comes(&mut self, id: LinkId, stream: StreamId, from: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        // Only a stream that is on its way there can be short of something.
        if link.flows.contains_key(&stream) {
            link.restart(stream, from.saturating_sub(1));
            let is_broker = link.is_broker;
            self.ask_transmit(id);
            if is_broker && self.settings.is_broker() {
                // What it was told before was of no use to it: it is not to take us for one who does not have it.
                self.owe_got(id, stream);
            }
        }
    }

    pub(super) fn got_comes(&mut self, id: LinkId, got: Got, _now: Now) {
        let last = self.copies.get(&got.stream).map_or(0, |copy| copy.stream.last());
        let Some(link) = self.links.get(&id) else { return };
        let (sender, is_broker) = (link.sender, link.is_broker);
        // A broker may have more of a stream than we do, by another road. Who else has more than there is, errs.
        let received = if is_broker { got.received } else { got.received.min(last) };
        // What another broker holds counts also for a stream that comes here only later.
        let begins = is_broker && !link.is_homeless(got.stream) && self.has_place(got.stream);
        let Some(link) = self.links.get_mut(&id) else { return };
        if begins || link.flows.contains_key(&got.stream) {
            link.answered(got.stream, received);
        }
        let more = !link.pending.is_empty();
        let copy = if begins { self.copy(got.stream) } else { self.copies.get_mut(&got.stream) };
        if let Some(copy) = copy {
            note_progress(copy, sender, is_broker, got);
        }
        if is_broker {
            self.weigh_stability(got.stream);
            if got.stream.sender == self.me {
                self.note_claim(got.stream, got.received.max(got.stable));
                // What is stable is on another's disk, whether or not on that of whoever tells.
                self.own_is_elsewhere(got.stream, got.stored.max(got.stable));
                self.own_is_stable(got.stream, got.stable);
            }
        }
        if more {
            self.ask_transmit(id);
        }
    }

    /// A broker has this much of a stream of ours.
    pub(super) fn note_claim(&mut self, stream: StreamId, upto: u64) {
        let me = self.me;
        if let Some(copy) = self.copies.get_mut(&stream).filter(|_| stream.sender == me) {
            copy.note_sent(me, upto);
        }
    }

    /// A broker tells how far a machine that is attached to it has got.
    pub(super) fn cursor_comes(&mut self, id: LinkId, machine: SenderId, stream: StreamId, upto: u64) {
        let by_broker = self.links.get(&id).is_some_and(|link| link.is_broker);
        if !self.settings.is_broker() || !by_broker || !self.settings.common.senders.contains(&machine) {
            self.counters.frames_refused += 1;
            return;
        }
        if let Some(copy) = self.copies.get_mut(&stream) {
            let cursor = copy.cursors.entry(machine).or_default();
            *cursor = (*cursor).max(upto);
        }
    }
}

fn note_progress(copy: &mut Copy, sender: SenderId, is_broker: bool, got: Got) {
    let last = copy.stream.last();
    if is_broker {
        let holder = copy.holders.entry(sender).or_default();
        *holder = (*holder).max(got.stored);
    } else {
        let cursor = copy.cursors.entry(sender).or_default();
        *cursor = (*cursor).max(got.stored.min(last));
    }
}

/// A client sends its own streams, and to the broker that it is attached to. A broker sends what it has.
fn road(node: &Node, link: &Link, stream: StreamId) -> Road {
    let fits = if link.is_broker && node.settings.is_broker() {
        // What earlier lives of ours sent may be there and not here, if this disk was wiped.
        !node.outbox.is_current(stream)
    } else if link.is_broker {
        stream.sender != node.me && link.attached == Attached::Yes
    } else {
        stream.sender == link.sender && link.attached == Attached::Yes
    };
    if fits { Road::Open } else { Road::Wrong }
}

pub fn unpack(carried: &Carried<'_>, header: Header, now: Now) -> Record {
    let expires = match carried.expiry_s {
        0 => None,
        EXPIRED => Some(now),
        seconds => Some(now.after(Duration::from_secs(u64::from(seconds)))),
    };
    Record { topic: carried.topic.into(), envelope: carried.envelope.into(), expires, stamp: header.stamp }
}
