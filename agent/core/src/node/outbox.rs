//! What the programs here send to other machines: sealed, put into this machine's own streams, and acknowledged when
//! what its topic promises has come true.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::{Action, Node, Settings, Ticket, Write};
use crate::broker::{Content, OfferId};
use crate::envelope::{ContentType, SenderId, Stamp};
use crate::mqtt::packet::Reason;
use crate::mqtt::props::RESPONSE_TOPIC;
use crate::promise::{Promise, promise};
use crate::stream::{Record, StreamId, Weight};
use crate::time::Now;
use crate::topology::model::{Ack, Lane, WhenFull};

/// No life beyond this is believed: half of all are left to whoever goes on from there.
const LIFE_MAX: u32 = 1 << 15;

#[derive(Debug)]
pub struct Outbox {
    lanes: BTreeMap<Lane, Own>,
    /// The programs were told that there is no room.
    full_said: bool,
}

/// This machine's own stream of one lane.
#[derive(Debug)]
struct Own {
    id: StreamId,
    /// Offers that wait for something, in the order of their numbers.
    waiting: VecDeque<Waiting>,
    /// On at least one broker's disk.
    elsewhere: u64,
    /// The newest life of ours that others have named.
    heard: u32,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    seq: u64,
    offer: OfferId,
    ack: Ack,
}

impl Outbox {
    /// Streams are of one life of a machine: a disk that was restored or cloned can use no number twice.
    pub fn new(me: SenderId, incarnation: u32) -> Self {
        let own = |lane: Lane| (lane, Own::new(StreamId { lane, sender: me, incarnation }));
        Self { lanes: [Lane::Memory, Lane::Disk, Lane::Urgent].map(own).into(), full_said: false }
    }

    /// Whether this life of ours writes to it.
    pub fn is_current(&self, id: StreamId) -> bool {
        self.lanes.get(&id.lane).is_some_and(|own| own.id == id)
    }

    /// Offers that are not settled.
    pub fn unsettled(&self) -> usize {
        self.lanes.values().map(|own| own.waiting.len()).sum()
    }
}

impl Own {
    fn new(id: StreamId) -> Self {
        Self { id, waiting: VecDeque::new(), elsewhere: 0, heard: 0 }
    }
}

impl Node {
    /// The network has heard a life of ours that this disk, wiped or restored, may know nothing of.
    pub(super) fn note_heard(&mut self, heard: StreamId) {
        if let Some(own) = self.outbox.lanes.get_mut(&heard.lane).filter(|own| heard.is_later_life_of(own.id)) {
            own.heard = own.heard.max(heard.incarnation);
            self.outlive(heard.lane);
        }
    }

    /// Once nobody waits for anything of this life, what is said from then on is of one after all that was heard.
    fn outlive(&mut self, lane: Lane) {
        let Some(own) = self.outbox.lanes.get_mut(&lane) else { return };
        let life = own.heard >> 16;
        if own.heard > own.id.incarnation && life < LIFE_MAX && own.waiting.is_empty() {
            self.life = self.life.max(life + 1);
            own.id.incarnation = self.life << 16 | own.id.incarnation & u32::from(u16::MAX);
            own.elsewhere = 0;
            self.draw_sealer();
            self.write(Write::Lives(self.life));
            self.ticket = Ticket(self.ticket.0 + 1);
        }
    }

    /// A program's publish that was let in here. Without an `offer`, nobody waits for an answer.
    pub fn handle_offer(&mut self, offer: Option<OfferId>, message: &Content, now: Now) {
        let reason = self.take_offer(offer, message, now);
        if let (Some(reason), Some(offer)) = (reason, offer) {
            self.actions.push_back(Action::Settle { offer, reason });
        }
        self.settle(now);
    }

    /// The answer, or `None` if it comes later.
    fn take_offer(&mut self, offer: Option<OfferId>, message: &Content, now: Now) -> Option<Reason> {
        if self.interest_due.is_some() && message.props().text(RESPONSE_TOPIC).is_some() {
            // Whoever is asked must know where the answer is wanted, and on a link facts go before records.
            self.interest_due = None;
            self.tell_interest(now);
        }
        // Topics that begin with `$` belong to one machine.
        if message.topic.starts_with('$') {
            return Some(Reason::SUCCESS);
        }
        let promise = promise(&self.settings.topics, &message.topic, message.qos, message.retain);
        if !self.is_wanted(message, promise) {
            self.counters.unwanted += 1;
            return Some(Reason::SUCCESS);
        }
        if self.sealer.is_none() {
            self.counters.unsealed += 1;
            return Some(Reason::NOT_AUTHORIZED);
        }
        if !self.takes_more(promise.lane) {
            self.counters.refused_full += 1;
            self.say_full();
            return Some(Reason::QUOTA_EXCEEDED);
        }
        let Some((id, seq)) = self.seal_and_append(message, promise.lane, now) else {
            self.counters.unsealed += 1;
            return Some(Reason::UNSPECIFIED);
        };
        let offer = offer?;
        if promise.ack == Ack::Memory {
            return Some(Reason::SUCCESS);
        }
        if let Some(own) = self.outbox.lanes.get_mut(&promise.lane) {
            own.waiting.push_back(Waiting { seq, offer, ack: promise.ack });
        }
        self.settle_offers(id);
        None
    }

    /// Whether there is room for what is said in this lane, and a stream, or place for one.
    fn takes_more(&mut self, lane: Lane) -> bool {
        if lane.is_kept() && self.settings.when_full != WhenFull::DropOldest && self.is_full() {
            return false;
        }
        self.outlive(lane);
        let id = self.outbox.lanes.get(&lane).map(|own| own.id);
        id.is_some_and(|id| self.may_begin(id) && self.copy(id).is_some())
    }

    /// Whether anybody on another machine is to get it. Before the network was ever heard of, everything is.
    fn is_wanted(&self, message: &Content, promise: Promise) -> bool {
        let known = self.facts.were_heard();
        let somebody = |topic: &str| self.interests.values().any(|wants| wants.interest.matches(topic));
        message.retain || promise.ack == Ack::Replicated || !known || somebody(&message.topic)
    }

    fn seal_and_append(&mut self, message: &Content, lane: Lane, now: Now) -> Option<(StreamId, u64)> {
        let id = self.outbox.lanes.get(&lane)?.id;
        let seq = self.copies.get(&id).map_or(0, |copy| copy.stream.last()) + 1;
        let stamp = Stamp {
            qos: message.qos,
            retain: message.retain,
            clear: message.retain && message.payload.is_empty(),
            lane,
            seq,
            incarnation: id.incarnation,
            content_type: ContentType::default(),
            hlc: self.stamp(now).0,
        };
        let mut body = std::mem::take(&mut self.scratch);
        put_body(&mut body, message);
        let mut envelope = Vec::new();
        let sealed = self.sealer.as_mut().map(|sealer| sealer.seal(stamp, &message.topic, &body, &mut envelope));
        self.scratch = body;
        if !matches!(sealed, Some(Ok(()))) {
            return None;
        }
        let (topic, expires) = (message.topic.clone(), message.expires);
        let record = Rc::new(Record { topic, envelope: envelope.into(), expires, stamp });
        if stamp.retain {
            self.counters.retained_refused += u64::from(!self.note_retained(&record, self.me, now));
        }
        self.counters.offered += 1;
        self.append(id, seq, record, None).ok()?;
        Some((id, seq))
    }

    /// What is promised to those who wait, as far as it has come true.
    pub(super) fn settle_offers(&mut self, id: StreamId) {
        let stored = self.copies.get(&id).map_or(0, |copy| copy.stream.stored());
        let Some(own) = self.outbox.lanes.get_mut(&id.lane).filter(|own| own.id == id) else { return };
        let elsewhere = own.elsewhere;
        let is_true = |waiting: &Waiting| match waiting.ack {
            Ack::Memory => true,
            Ack::Disk => waiting.seq <= stored,
            Ack::Replicated => waiting.seq <= stored && waiting.seq <= elsewhere,
        };
        // Each for itself: one that waits for another machine holds up none that waits for the disk here.
        let actions = &mut self.actions;
        own.waiting.retain(|waiting| {
            let done = is_true(waiting);
            if done {
                actions.push_back(Action::Settle { offer: waiting.offer, reason: Reason::SUCCESS });
            }
            !done
        });
    }

    /// A broker has this much of one of our streams on its disk.
    pub(super) fn own_is_elsewhere(&mut self, id: StreamId, stored: u64) {
        let last = self.copies.get(&id).map_or(0, |copy| copy.stream.last());
        if let Some(own) = self.outbox.lanes.get_mut(&id.lane).filter(|own| own.id == id) {
            own.elsewhere = own.elsewhere.max(stored.min(last));
        }
        self.settle_offers(id);
    }

    /// As much of it is on as many disks as the network wants.
    pub(super) fn own_is_stable(&mut self, id: StreamId, stable: u64) {
        // A broker keeps it for those who are still to get it, as it does with all streams.
        if !self.settings.is_broker() {
            self.trim(id, stable);
            self.say_room();
        }
    }

    /// What waits for another machine to have one of these waits in vain.
    pub(super) fn refuse_lost(&mut self, id: StreamId, lost: &[u64]) {
        let Some(own) = self.outbox.lanes.get_mut(&id.lane).filter(|own| own.id == id) else { return };
        let actions = &mut self.actions;
        own.waiting.retain(|waiting| {
            let is_lost = lost.binary_search(&waiting.seq).is_ok();
            if is_lost {
                actions.push_back(Action::Settle { offer: waiting.offer, reason: Reason::UNSPECIFIED });
            }
            !is_lost
        });
    }

    pub(super) fn is_full(&self) -> bool {
        let unspilled = self.weight.here >= self.settings.memory_bytes_max;
        self.weight.bytes >= self.settings.bytes_max || unspilled
    }

    fn say_full(&mut self) {
        if self.settings.when_full == WhenFull::Block && !self.outbox.full_said {
            self.outbox.full_said = true;
            self.actions.push_back(Action::OutwardRoom(false));
        }
    }

    /// Nobody waits for room any more.
    pub(super) fn say_unblocked(&mut self) {
        if std::mem::take(&mut self.outbox.full_said) {
            self.actions.push_back(Action::OutwardRoom(true));
        }
    }

    pub(super) fn say_room(&mut self) {
        let may_begin = || self.outbox.lanes.values().all(|own| self.may_begin(own.id));
        if self.outbox.full_said && has_room(self.weight, &self.settings) && may_begin() {
            self.outbox.full_said = false;
            self.actions.push_back(Action::OutwardRoom(true));
        }
    }

    /// Over a limit, the stream that takes most gives up its oldest message.
    pub(super) fn make_room(&mut self) {
        self.spill();
        loop {
            let heaviest: fn(Weight) -> u64 = match () {
                () if self.weight.bytes > self.settings.bytes_max => |weight| weight.bytes,
                () if self.weight.memory > self.settings.memory_bytes_max => |weight| weight.memory,
                () => return,
            };
            let largest =
                self.copies.iter().max_by_key(|(id, copy)| (heaviest(copy.stream.weight()), Reverse(id.lane)));
            let Some(id) = largest.map(|(id, _)| *id) else { return };
            if !self.give_up_oldest(id) {
                return;
            }
        }
    }

    fn give_up_oldest(&mut self, id: StreamId) -> bool {
        self.weigh_interest();
        let Some(copy) = self.copies.get_mut(&id) else { return false };
        let before = copy.stream.weight();
        let Some(body) = copy.stream.pop_oldest() else { return false };
        self.weight.note(before, copy.stream.weight());
        let seq = copy.stream.trimmed();
        if self.keeps(id) {
            self.write(Write::Trim { stream: id, upto: seq });
        }
        let elsewhere = self.outbox.lanes.get(&id.lane).filter(|own| own.id == id).map_or(0, |own| own.elsewhere);
        let safe = id.sender == self.me && seq <= elsewhere && !self.settings.is_broker();
        if !safe && !self.everybody_has(id, seq, body.topic()) {
            self.counters.dropped_full += 1;
        }
        // Where its acknowledgement still waits, it will not come true.
        if let Some(own) = self.outbox.lanes.get_mut(&id.lane).filter(|own| own.id == id) {
            while let Some(waiting) = own.waiting.front().copied()
                && waiting.seq <= seq
            {
                own.waiting.pop_front();
                let reason = if safe { Reason::SUCCESS } else { Reason::QUOTA_EXCEEDED };
                self.actions.push_back(Action::Settle { offer: waiting.offer, reason });
            }
        }
        true
    }
}

/// Enough that those who wait may go on.
fn has_room(weight: Weight, settings: &Settings) -> bool {
    weight.bytes < settings.bytes_max / 10 * 9 && weight.here < settings.memory_bytes_max / 10 * 9
}

/// The properties, their length before them, then the payload.
fn put_body(body: &mut Vec<u8>, message: &Content) {
    body.clear();
    let length = u32::try_from(message.props.len()).unwrap_or(0);
    body.extend_from_slice(&length.to_be_bytes());
    if length > 0 {
        body.extend_from_slice(&message.props);
    }
    body.extend_from_slice(&message.payload);
}
