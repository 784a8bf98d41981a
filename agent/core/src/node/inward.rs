//! What goes to the programs here: records that they want, opened, stream by stream, at the pace they take it.

use std::collections::VecDeque;

use super::fetch::Reader;
use super::parked::Parked;
use super::retained::Rank;
use super::{Held, Node, Progress, Write, follow};
use crate::broker::{Inward, Retain};
use crate::envelope::{OpenError, SenderId};
use crate::hlc::Hlc;
use crate::stream::{Body, StreamId};
use crate::time::Now;

/// Messages that come outside their stream wait up to this many, and as many bytes as may be retained.
const LOOSE_MAX: usize = 10_000;

/// Messages outside their streams.
#[derive(Debug, Default)]
pub struct Loose {
    /// Retained when this life began; as many as may be retained.
    pub restored: VecDeque<(SenderId, Held)>,
    /// To be given to the programs.
    pub ready: Ready,
    /// Sealed under a key that may still come.
    pub parked: Parked,
    /// Were parked until their key came.
    pub unparked: VecDeque<(StreamId, Held)>,
}

/// What brokers gave us beside the streams, in the order in which it came.
#[derive(Debug, Default)]
pub struct Ready {
    waiting: VecDeque<(StreamId, Held)>,
    bytes: u64,
}

impl Ready {
    fn pop(&mut self) -> Option<(StreamId, Held)> {
        let next = self.waiting.pop_front()?;
        self.bytes -= next.1.size();
        Some(next)
    }

    fn put_back(&mut self, stream: StreamId, record: Held) {
        self.bytes += record.size();
        self.waiting.push_front((stream, record));
    }

    /// Whether there was room.
    fn put(&mut self, stream: StreamId, record: Held, bytes_max: u64) -> bool {
        let fits = self.waiting.len() < LOOSE_MAX && self.bytes + record.size() <= bytes_max;
        if fits {
            self.bytes += record.size();
            self.waiting.push_back((stream, record));
        }
        fits
    }
}

impl Loose {
    #[must_use]
    pub fn has_some(&self) -> bool {
        !self.restored.is_empty() || !self.ready.waiting.is_empty() || !self.unparked.is_empty()
    }
}

/// One message for the programs, until they have taken or refused it.
#[derive(Debug)]
pub struct Delivery {
    record: Held,
    from: From,
    body: Vec<u8>,
    retain: Retain,
}

#[derive(Clone, Copy, Debug)]
enum From {
    Stream(StreamId, u64),
    Loose(StreamId),
    Parked(StreamId),
    /// They had it in another life.
    Restored(StreamId),
}

impl From {
    fn stream(self) -> StreamId {
        match self {
            Self::Stream(stream, _) | Self::Loose(stream) | Self::Parked(stream) | Self::Restored(stream) => stream,
        }
    }
}

impl Delivery {
    #[must_use]
    pub fn inward(&self) -> Inward<'_> {
        let (props, payload) = split_body(&self.body);
        Inward {
            topic: &self.record.topic,
            payload,
            props,
            qos: self.record.stamp.qos,
            retain: self.retain,
            expires: self.record.expires,
        }
    }

    #[must_use]
    pub fn sender(&self) -> SenderId {
        self.from.stream().sender
    }

    /// Its place in its stream, where it came by one.
    #[must_use]
    pub fn place(&self) -> Option<(StreamId, u64)> {
        match self.from {
            From::Stream(stream, seq) => Some((stream, seq)),
            From::Loose(_) | From::Parked(_) | From::Restored(_) => None,
        }
    }
}

impl Node {
    /// The next message for the programs here. Give it back by `inward_taken` or `inward_refused`.
    pub fn next_inward(&mut self, now: Now) -> Option<Delivery> {
        let next = self.find_inward(now);
        // Said again only after all of it was fetched or refused.
        self.inward_said = next.is_some();
        next
    }

    fn find_inward(&mut self, now: Now) -> Option<Delivery> {
        if self.inward_blocked {
            return None;
        }
        self.weigh_interest();
        while let Some((sender, record)) = self.loose.restored.pop_front() {
            let stream = StreamId { lane: record.stamp.lane, sender, incarnation: record.stamp.incarnation };
            if !record.is_expired(now)
                && !record.stamp.clear
                && let Some(delivery) = self.open(record, From::Restored(stream), now)
            {
                return Some(delivery);
            }
        }
        while let Some((stream, record)) = self.loose.unparked.pop_front() {
            if record.is_over(now) {
                self.counters.expired += 1;
            } else if let Some(delivery) = self.open(record, From::Parked(stream), now) {
                return Some(delivery);
            }
        }
        while let Some((stream, record)) = self.loose.ready.pop() {
            if let Some(delivery) = self.open(record, From::Loose(stream), now) {
                return Some(delivery);
            }
        }
        while let Some(stream) = self.deliverable.iter().min_by_key(|stream| follow::turn(stream)).copied() {
            let next = self.copies.get(&stream).and_then(|copy| copy.stream.after(copy.delivered));
            let Some((seq, body)) = next else {
                self.deliverable.remove(&stream);
                let last = self.copies.get(&stream).map_or(0, |copy| copy.stream.last());
                self.delivered(stream, last);
                continue;
            };
            if !body.is_retain() && !self.local.matches(body.topic()) {
                self.delivered(stream, seq);
                continue;
            }
            let Some(record) = self.have(stream, seq, body) else {
                self.undelivered.extend(self.deliverable.extract_if(stream.lives_from_it(), |_| true));
                continue;
            };
            if record.is_over(now) {
                self.counters.expired += 1;
            } else if let Some(delivery) = self.open(record, From::Stream(stream, seq), now) {
                return Some(delivery);
            }
            self.delivered(stream, seq);
        }
        None
    }

    /// A stream has something for the programs here; if an earlier life's is being read back, it comes after that.
    pub(super) fn put_in_turn(&mut self, stream: StreamId) {
        let waits = self.undelivered.range(stream.lives_up_to_it()).next().is_some();
        let turn = if waits { &mut self.undelivered } else { &mut self.deliverable };
        turn.insert(stream);
    }

    /// The record itself; `None`: it is being read back.
    fn have(&mut self, stream: StreamId, seq: u64, body: Body) -> Option<Held> {
        match body {
            Body::Here(record) => Some(record),
            Body::Away(_) => self.ahead.find(stream, seq).or_else(|| {
                let (asked, spared) = ((Reader::Programs, stream), self.settings.here_bytes_max / 16);
                let last = self.copies.get(&stream).map_or(seq, |copy| copy.stream.last_away());
                self.fetches.ask(&mut self.ahead, asked, (seq, last), spared, &mut self.actions);
                None
            }),
        }
    }

    /// Nobody else wants what a client has delivered.
    fn delivered(&mut self, stream: StreamId, seq: u64) {
        let Some(copy) = self.copies.get_mut(&stream) else { return };
        if seq <= copy.delivered {
            return;
        }
        copy.delivered = seq;
        let source = copy.source;
        if stream.lane.is_kept() {
            self.write(Write::Delivered { stream, upto: seq });
            self.await_disk(stream, Progress::Delivered(seq));
        } else {
            copy.synced = seq;
        }
        if self.settings.is_broker() {
            return;
        }
        self.trim(stream, seq);
        if let Some(source) = source {
            self.owe_got(source, stream);
        }
    }

    /// That the programs have it up to `seq` outlives a power cut.
    pub(super) fn delivery_stored(&mut self, stream: StreamId, seq: u64) {
        let Some(copy) = self.copies.get_mut(&stream) else { return };
        copy.synced = copy.synced.max(seq);
        if let Some(source) = copy.source.filter(|_| !self.settings.is_broker()) {
            self.owe_got(source, stream);
        }
    }

    pub fn inward_taken(&mut self, delivery: Delivery, now: Now) {
        self.counters.delivered += 1;
        if let From::Stream(stream, seq) = delivery.from {
            self.delivered(stream, seq);
        }
        self.scratch = delivery.body;
        self.settle(now);
    }

    /// The programs have no room: nothing more comes until `handle_inward_room`.
    pub fn inward_refused(&mut self, delivery: Delivery) {
        self.inward_blocked = true;
        self.inward_said = false;
        match delivery.from {
            From::Loose(stream) => self.loose.ready.put_back(stream, delivery.record),
            From::Parked(stream) => self.loose.unparked.push_front((stream, delivery.record)),
            From::Restored(stream) => self.loose.restored.push_front((stream.sender, delivery.record)),
            From::Stream(..) => {}
        }
        self.scratch = delivery.body;
    }

    pub fn handle_inward_room(&mut self, now: Now) {
        self.inward_blocked = false;
        self.settle(now);
    }

    /// `None`: there is nothing to deliver.
    fn open(&mut self, record: Held, from: From, now: Now) -> Option<Delivery> {
        let mut body = std::mem::take(&mut self.scratch);
        let sender = from.stream().sender;
        match self.opener.open(&record.envelope, &record.topic, &mut body) {
            Ok(_) => {}
            Err(error) => {
                self.scratch = body;
                self.refuse_envelope(&error, record, from);
                return None;
            }
        }
        let stamp = record.stamp;
        self.clock.hear(Hlc(stamp.hlc));
        let retain = if stamp.retain {
            // A broker has noted and counted what came by a stream when it came.
            let counted = self.settings.is_broker() && matches!(from, From::Stream(..));
            let refused = !self.note_retained(&record, sender, now);
            self.counters.retained_refused += u64::from(refused && !counted);
            let newest = self.retained.rank(&record.topic) == Some(Rank { hlc: stamp.hlc, sender });
            match from {
                _ if !newest => Retain::No,
                From::Restored(_) => Retain::Store,
                From::Stream(..) | From::Loose(_) | From::Parked(_) => Retain::Live,
            }
        } else {
            Retain::No
        };
        if retain == Retain::No
            && (matches!(from, From::Loose(_) | From::Restored(_)) || !self.local.matches(&record.topic))
        {
            self.scratch = body;
            return None;
        }
        Some(Delivery { record, from, body, retain })
    }

    fn refuse_envelope(&mut self, error: &OpenError, record: Held, from: From) {
        match error {
            OpenError::UnknownKey(_) => {
                self.counters.unknown_key += 1;
                self.counters.parked_dropped +=
                    self.loose.parked.put(from.stream(), record, self.settings.memory_bytes_max / 4);
            }
            OpenError::RelayKey(_) => self.counters.unopened += 1,
            OpenError::Malformed(_) => self.counters.malformed += 1,
            OpenError::Forged => self.counters.forged += 1,
        }
    }

    /// A retained message that came outside its stream.
    pub(super) fn loose_retained(&mut self, stream: StreamId, record: Held) {
        if !self.loose.ready.put(stream, record, self.settings.retained_bytes_max) {
            self.counters.retained_refused += 1;
        }
    }
}

/// The properties, their length before them, then the payload.
fn split_body(body: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = body.split_first_chunk::<4>() else { return (&[], &[]) };
    rest.split_at_checked(u32::from_be_bytes(*length) as usize).unwrap_or((&[], rest))
}
