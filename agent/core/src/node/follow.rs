//! What goes out by a link: for each stream that the other side follows, what it has not had yet, in order.

use std::cmp::Reverse;

use super::fetch::Reader;
use super::link::{Attached, Flow, Link, LinkId};
use super::{Node, copies::Copy};
use crate::envelope::SenderId;
use crate::frame::{Carried, EXPIRED, Frame, Got, encode};
use crate::interest::Interest;
use crate::rights::Rights;
use crate::stream::{Body, Record, StreamId};
use crate::time::Now;

/// Why nothing more of a stream is put out.
enum Stopped {
    /// Nothing is left.
    AtTheEnd,
    /// The other side has to answer first.
    ByWindow,
    /// What comes next is being read back.
    ByDisk,
    ByRoom,
}

impl Node {
    /// Append what this link has to send to `out`, about `room` bytes at the most. What is left waits for the next call.
    pub fn poll_transmit(&mut self, id: LinkId, out: &mut Vec<u8>, room: usize, now: Now) {
        let end = out.len().saturating_add(room);
        let Some(link) = self.links.get_mut(&id) else { return };
        link.transmit_asked = false;
        out.append(&mut link.control);
        if link.control.capacity() > 4096 {
            link.control = Vec::new();
        }
        self.put_gots(id, out, end);
        self.put_facts(id, out, end);
        let streams = self.put_streams(id, out, end, now);
        self.put_retained(id, out, end, now);
        let more = self.links.get(&id).is_some_and(|link| {
            let has = !link.got_dirty.is_empty() || !link.facts_dirty.is_empty() || !link.control.is_empty();
            has || streams || (link.walk.is_some() && link.ready)
        });
        if more {
            self.ask_transmit(id);
        }
        self.settle(now);
    }

    fn put_gots(&mut self, id: LinkId, out: &mut Vec<u8>, end: usize) {
        while out.len() < end
            && let Some(stream) = self.links.get(&id).and_then(|link| link.got_dirty.first().copied())
        {
            self.put_got(id, stream, out);
        }
    }

    /// How far a stream is here, if that is owed.
    pub(super) fn put_got(&mut self, id: LinkId, stream: StreamId, out: &mut Vec<u8>) {
        let stable = self.stable(stream);
        let Some(link) = self.links.get_mut(&id) else { return };
        let owed = link.got_dirty.remove(&stream);
        let Some(copy) = self.copies.get_mut(&stream).filter(|_| owed) else { return };
        if link.sender == stream.sender {
            // Less than before, where a disk was wiped: then it is told once more when it is as much again.
            copy.stable_said = stable;
        }
        let (received, stored) = if self.settings.is_broker() {
            (copy.stream.last(), copy.stream.stored())
        } else {
            (copy.delivered, copy.synced)
        };
        encode(&Frame::Got(Got { stream, received, stored, stable }), out);
    }

    /// Between brokers: behind a beat nothing is left to tell of what had grown before it.
    pub(super) fn tell_growth(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_broker && link.ready) else { return };
        if self.settings.is_broker() {
            link.got_dirty.extend(&self.grown);
            let mut out = Vec::new();
            self.put_gots(id, &mut out, usize::MAX);
            self.say(id, &out);
        }
    }

    /// Whether there is more that only lacks room.
    fn put_streams(&mut self, id: LinkId, out: &mut Vec<u8>, end: usize, now: Now) -> bool {
        let Some(link) = self.links.get(&id).filter(|link| link.ready) else { return false };
        let mut open: Vec<StreamId> = link.pending.iter().copied().collect();
        open.sort_by_key(turn);
        let mut held_up: Option<StreamId> = None;
        for stream in open {
            if held_up.is_some_and(|earlier| stream.is_later_life_of(earlier)) {
                continue;
            }
            let stopped = self.put_stream(id, stream, out, end, now);
            self.note_sent(id, stream);
            match stopped {
                Stopped::AtTheEnd => {
                    if let Some(link) = self.links.get_mut(&id) {
                        link.pending.remove(&stream);
                    }
                }
                // Others go first meanwhile, but not what its machine said in later lives.
                Stopped::ByDisk => held_up = Some(stream),
                Stopped::ByWindow => return false,
                Stopped::ByRoom => return true,
            }
        }
        false
    }

    fn note_sent(&mut self, id: LinkId, stream: StreamId) {
        let Some(link) = self.links.get(&id).filter(|_| stream.sender == self.me) else { return };
        let newest = link.flows.get(&stream).and_then(|flow| flow.unacked.back());
        if let (Some((seq, _)), Some(copy)) = (newest, self.copies.get_mut(&stream)) {
            copy.note_sent(link.sender, *seq);
        }
    }

    fn put_stream(&mut self, id: LinkId, stream: StreamId, out: &mut Vec<u8>, end: usize, now: Now) -> Stopped {
        let me = self.me;
        let (Some(link), Some(copy)) = (self.links.get_mut(&id), self.copies.get(&stream)) else {
            return Stopped::AtTheEnd;
        };
        if !goes_by(&self.settings.role, me, link, stream, copy) {
            return Stopped::AtTheEnd;
        }
        let told = link.flows.get(&stream).map_or(0, |flow| flow.told);
        let walked = copy.cursors.get(&link.sender).copied().unwrap_or(0);
        if told.max(walked) < copy.stream.trimmed() {
            // What is retained may have been among what it has missed.
            link.walk_anew();
        }
        let upto = leaves_upto(me, stream, copy);
        let interest = self.interests.get(&link.peer).map(|wants| &wants.interest);
        let rights = self.settings.peers.get(&link.peer);
        let to_broker = link.is_broker;
        // What a limit took from a client before it was sent anywhere is nowhere.
        let elsewhere = if self.settings.is_broker() { u64::MAX } else { copy.may_be_beside(link.sender) };
        let elsewhere = to_broker.then_some(elsewhere);
        let window = self.settings.window_bytes;
        let wants = |body: &Body| to_broker || is_for(body.topic(), body.is_retain(), rights, interest);
        loop {
            let flow = link.flows.entry(stream).or_default();
            let Some((seq, body)) = copy.stream.after(flow.scanned).filter(|(seq, _)| *seq <= upto) else {
                tell_trimmed(flow, stream, copy, elsewhere, out);
                flow.scanned = flow.scanned.max(upto);
                return Stopped::AtTheEnd;
            };
            if !wants(&body) {
                flow.scanned = seq;
                continue;
            }
            if link.in_flight >= window {
                return Stopped::ByWindow;
            }
            if out.len() >= end {
                return Stopped::ByRoom;
            }
            let record = match body {
                Body::Here(record) => record,
                Body::Away(_) => match link.ahead.find(stream, seq) {
                    Some(record) => record,
                    None => {
                        let (asked, stretch) = ((Reader::Link(id), stream), (seq, copy.stream.last_away()));
                        let spared = self.settings.here_bytes_max / 16;
                        self.fetches.ask(&mut link.ahead, asked, stretch, spared, &mut self.actions);
                        return Stopped::ByDisk;
                    }
                },
            };
            let (is_over, carried) = (record.is_over(now), carried(&record, now));
            if is_over || !carried.fits(self.settings.common.packet_bytes_max) {
                self.counters.expired += u64::from(is_over);
                self.counters.too_long += u64::from(!is_over);
                flow.scanned = seq;
                continue;
            }
            tell_trimmed(flow, stream, copy, elsewhere, out);
            tell_skipped(flow, stream, seq - 1, out);
            encode(&Frame::Record(carried), out);
            let bytes = u32::try_from(record.size()).unwrap_or(u32::MAX);
            flow.unacked.push_back((seq, bytes));
            (flow.scanned, flow.told) = (seq, seq);
            link.in_flight += u64::from(bytes);
            self.counters.records_sent += 1;
        }
    }

    /// A copy has grown: those who follow it may have something to get.
    pub(super) fn announce(&mut self, stream: StreamId, record: Option<&Record>) {
        let Some(copy) = self.copies.get(&stream) else { return };
        let mut awake = Vec::new();
        for (id, link) in self.links.iter_mut().filter(|(_, link)| link.ready) {
            if !goes_by(&self.settings.role, self.me, link, stream, copy) {
                continue;
            }
            let rights = self.settings.peers.get(&link.peer);
            let interest = self.interests.get(&link.peer).map(|wants| &wants.interest);
            if link.is_broker
                || record.is_none_or(|record| is_for(&record.topic, record.stamp.retain, rights, interest))
            {
                link.pending.insert(stream);
                awake.push(*id);
            }
        }
        awake.into_iter().for_each(|id| self.ask_transmit(id));
    }

    /// Tell how far each stream has been looked through, where that is further than was told.
    pub(super) fn tell_passed_over(&mut self) {
        for id in self.links.iter().filter(|(_, link)| link.ready).map(|(id, _)| *id).collect::<Vec<_>>() {
            let Some(link) = self.links.get_mut(&id) else { continue };
            let mut out = Vec::new();
            for (stream, flow) in link.flows.iter_mut().filter(|(_, flow)| flow.told < flow.scanned) {
                if !link.pending.contains(stream) {
                    let upto = flow.scanned;
                    tell_skipped(flow, *stream, upto, &mut out);
                }
            }
            if !out.is_empty() {
                link.control.append(&mut out);
                self.ask_transmit(id);
            }
        }
    }

    /// Streams that the other broker lags behind in go to it by this link too, whoever should have sent them.
    pub(super) fn relay_what_lags(&mut self, id: LinkId) {
        if !self.settings.is_broker() {
            return self.ask_transmit(id);
        }
        let Some(link) = self.links.get_mut(&id).filter(|link| link.ready && link.is_broker) else {
            return self.ask_transmit(id);
        };
        for (stream, copy) in &self.copies {
            let flow = link.flows.entry(*stream).or_default();
            let lags = flow.acked < copy.swept && flow.told <= flow.acked;
            if lags && !flow.relayed {
                flow.relayed = true;
                link.pending.insert(*stream);
            } else if flow.relayed && flow.acked >= copy.stream.last() {
                flow.relayed = false;
            }
        }
        self.ask_transmit(id);
    }
}

/// The greatest lane goes first; in each lane, what is left of a machine's earlier lives.
pub fn turn(stream: &StreamId) -> impl Ord + use<> {
    (Reverse(stream.lane), stream.sender, stream.incarnation)
}

/// Whether this stream goes out by this link.
fn goes_by(role: &crate::assign::Role, me: SenderId, link: &Link, stream: StreamId, copy: &Copy) -> bool {
    if !link.ready {
        return false;
    }
    let is_broker = matches!(role, crate::assign::Role::Broker { .. });
    match (is_broker, link.is_broker) {
        // A client sends its own to its home.
        (false, _) => stream.sender == me && link.attached == Attached::Yes,
        (true, false) => link.attached == Attached::Yes && stream.sender != link.sender,
        // Another broker gets from us what comes from here, and the rest only where it lags, or where the machine has begun
        // another life, which may come from here.
        (true, true) => {
            let relayed = || link.flows.get(&stream).is_some_and(|flow| flow.relayed);
            stream.sender == me || (copy.by_origin && stream.sender != link.sender) || copy.is_over || relayed()
        }
    }
}

/// How far a copy may leave this machine: what is ours and kept, only when it is on disk.
pub fn leaves_upto(me: SenderId, stream: StreamId, copy: &Copy) -> u64 {
    if stream.sender == me && stream.lane.is_kept() { copy.stream.stored() } else { copy.stream.last() }
}

/// Whether a client's programs want it and may have it.
fn is_for(topic: &str, retain: bool, rights: Option<&Rights>, interest: Option<&Interest>) -> bool {
    let wanted = retain || interest.is_some_and(|interest| interest.matches(topic));
    wanted && rights.is_some_and(|rights| rights.subscribe.topic(topic))
}

/// What is no longer here, to a broker: it may know better than that nobody has it, as far as it may be `elsewhere`.
fn tell_trimmed(flow: &mut Flow, stream: StreamId, copy: &Copy, elsewhere: Option<u64>, out: &mut Vec<u8>) {
    let trimmed = copy.stream.trimmed();
    let Some(elsewhere) = elsewhere.map(|upto| upto.min(trimmed)) else { return };
    if flow.told < elsewhere {
        encode(&Frame::Trimmed { stream, upto: elsewhere }, out);
        flow.told = elsewhere;
    }
    tell_skipped(flow, stream, trimmed, out);
    flow.scanned = flow.scanned.max(trimmed);
}

fn tell_skipped(flow: &mut Flow, stream: StreamId, upto: u64, out: &mut Vec<u8>) {
    if flow.told < upto {
        encode(&Frame::Skip { stream, from: flow.told + 1, to: upto }, out);
        flow.told = upto;
    }
}

pub fn carried(record: &Record, now: Now) -> Carried<'_> {
    let expiry_s = match record.expires {
        None => 0,
        Some(at) if at <= now => EXPIRED,
        Some(at) => u32::try_from(at.since(now).as_secs()).unwrap_or(EXPIRED).saturating_add(1).min(EXPIRED - 1),
    };
    Carried { expiry_s, topic: &record.topic, envelope: &record.envelope }
}
