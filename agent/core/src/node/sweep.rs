//! What is looked after once a beat: silent links, streams that lag, whether we are in step; and, less often, what may be
//! forgotten.

use std::collections::BTreeSet;
use std::time::Duration;

use super::link::{Attached, LinkId};
use super::{GRACE, Node};
use crate::envelope::SenderId;
use crate::frame::{Frame, encode};
use crate::interest::Interest;
use crate::stream::StreamId;
use crate::time::Now;

pub const TRIM_EVERY: Duration = Duration::from_secs(2);

/// What another machine wants to hear.
#[derive(Clone, Debug)]
pub struct Wants {
    pub sender: SenderId,
    pub interest: Interest,
}

impl Node {
    pub(super) fn sweep(&mut self, now: Now) {
        self.links.values_mut().for_each(|link| link.attachments = 0);
        self.judge_clients(now);
        self.tell_passed_over();
        let links: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| link.is_broker && link.ready).map(|(id, _)| *id).collect();
        if self.settings.is_broker() {
            for id in &links {
                self.relay_what_lags(*id);
            }
            self.weigh_step(now);
        }
        for stream in std::mem::take(&mut self.grown) {
            if let Some(copy) = self.copies.get_mut(&stream) {
                copy.swept = copy.stream.last();
            }
            self.announce(stream, None);
            if self.settings.is_broker() {
                links.iter().for_each(|id| self.owe_got(*id, stream));
            }
        }
        self.take_in();
        self.say_room();
        self.refresh_presence(now);
    }

    /// Whether we have what every broker that can be reached had a beat ago.
    fn weigh_step(&mut self, now: Now) {
        let (mut caught_up, mut linked) = (true, 0);
        for link in self.links.values_mut().filter(|link| link.is_broker && link.ready) {
            linked += 1;
            for (stream, flow) in &mut link.flows {
                let last = self.copies.get(stream).map_or(0, |copy| copy.stream.last());
                caught_up &= flow.claimed <= last || stream.sender == self.me;
                flow.claimed = flow.acked;
            }
        }
        let waited = now.since(self.serving_since) >= GRACE;
        self.settled |= caught_up && (waited || linked >= self.settings.brokers.len());
        self.weigh_doubts(now);
        self.in_step = self.settled && caught_up;
    }

    pub(super) fn trim_copies(&mut self, now: Now) {
        if !self.settings.is_broker() {
            return;
        }
        self.share_cursors();
        if now.since(self.serving_since) < GRACE {
            return;
        }
        let brokers: Vec<SenderId> =
            self.settings.brokers.iter().map(|name| SenderId::of(&self.settings.network, name)).collect();
        let attached = self.links.values().filter(|link| link.attached == Attached::Yes);
        let attached: BTreeSet<SenderId> = attached.map(|link| link.sender).collect();
        for stream in self.copies.keys().copied().collect::<Vec<_>>() {
            let upto = self.needed_after(stream, &brokers, &attached);
            self.trim(stream, upto);
        }
        self.say_room();
    }

    /// Tell the other brokers how far the machines that are attached here have got, so that they need not keep it.
    fn share_cursors(&mut self) {
        let mut out = Vec::new();
        for link in self.links.values_mut().filter(|link| !link.is_broker && link.attached == Attached::Yes) {
            for (stream, flow) in link.flows.iter_mut().filter(|(_, flow)| flow.shared < flow.acked) {
                let kept =
                    self.copies.get(stream).and_then(|copy| copy.cursors.get(&link.sender)).copied().unwrap_or(0);
                if kept > flow.shared {
                    flow.shared = kept;
                    encode(&Frame::Cursor { machine: link.sender, stream: *stream, upto: kept }, &mut out);
                }
            }
        }
        if out.is_empty() {
            return;
        }
        let brokers = self.links.iter().filter(|(_, link)| link.is_broker && link.ready);
        for id in brokers.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.say(id, &out);
        }
    }

    /// Up to where nobody will ask for a stream any more.
    fn needed_after(&mut self, stream: StreamId, brokers: &[SenderId], attached: &BTreeSet<SenderId>) -> u64 {
        let Some(copy) = self.copies.get_mut(&stream) else { return 0 };
        let mut upto = if stream.sender == self.me { copy.stream.last() } else { copy.synced };
        for broker in brokers.iter().filter(|broker| **broker != stream.sender) {
            upto = upto.min(copy.holders.get(broker).copied().unwrap_or(0));
        }
        for wants in self.interests.values() {
            let counts = stream.lane.is_kept() || attached.contains(&wants.sender);
            if !counts || wants.sender == stream.sender || brokers.contains(&wants.sender) {
                continue;
            }
            let cursor = copy.cursors.entry(wants.sender).or_default();
            // Past what it does not want it need not come itself.
            while let Some((seq, body)) = copy.stream.after(*cursor)
                && seq <= upto
                && !body.is_retain()
                && !wants.interest.matches(body.topic())
            {
                *cursor = seq;
            }
            let next = copy.stream.after(*cursor).map_or(upto, |(seq, _)| seq - 1);
            upto = upto.min(next.max(*cursor));
        }
        upto
    }

    /// Whether no machine that wants it is still without it.
    pub(super) fn everybody_has(&self, stream: StreamId, seq: u64, topic: &str) -> bool {
        let Some(copy) = self.copies.get(&stream) else { return true };
        let lacks = |wants: &Wants| {
            let has = copy.cursors.get(&wants.sender).or_else(|| copy.holders.get(&wants.sender)).copied().unwrap_or(0);
            wants.sender != stream.sender && wants.interest.matches(topic) && has < seq
        };
        let here = stream.sender == self.me || copy.delivered >= seq || !self.local.matches(topic);
        here && !self.interests.values().any(lacks)
    }
}
