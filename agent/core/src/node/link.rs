//! One link as the node sees it: who is on the other side, what it has, and what is on its way to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::STREAMS_MAX;
use super::facts::Kind;
use super::fetch::Ahead;
use crate::envelope::SenderId;
use crate::frame::Fresh;
use crate::home::Pulse;
use crate::ids::Name;
use crate::stream::StreamId;
use crate::time::Now;

/// A link, as `handle_link_open` named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Who called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Dialed,
    Accepted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// HELLO has not come yet.
    Greeting,
    Open,
    Closing,
}

/// Whether the machine on the other side calls this broker its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    No,
    /// It names what it has.
    Naming {
        fresh: Fresh,
    },
    Yes,
}

#[derive(Debug)]
pub struct Link {
    pub peer: Name,
    pub sender: SenderId,
    pub side: Side,
    pub phase: Phase,
    pub is_broker: bool,
    /// Its HELLO has come.
    pub greeted: bool,
    /// Of the other side, from its HELLO.
    pub boot: u64,
    pub agent: Box<str>,
    pub since: Now,
    pub input: Vec<u8>,
    pub control: Vec<u8>,
    pub attached: Attached,
    /// How often it was, since the last sweep.
    pub attachments: u8,
    /// It has named its copies: records may go to it.
    pub ready: bool,
    pub flows: BTreeMap<StreamId, Flow>,
    /// Streams with something that may be for it.
    pub pending: BTreeSet<StreamId>,
    /// Streams that came and found no place. As soon as there is one, they are asked for.
    pub refused: BTreeSet<StreamId>,
    /// Streams that gave way to others. If they come again, they are asked for.
    pub let_go: BTreeSet<StreamId>,
    pub in_flight: u64,
    /// What was read back for it.
    pub ahead: Ahead,
    /// Streams whose state it is to be told.
    pub got_dirty: BTreeSet<StreamId>,
    pub facts_dirty: BTreeSet<(Name, Kind)>,
    /// Where its walk through the retained messages stands.
    pub walk: Option<Box<str>>,
    pub pulse: Pulse,
    pub beat_sent: u32,
    pub beat_sent_at: Now,
    /// The newest of ours that the other side says it has heard.
    pub beat_answered: u32,
    pub beat_heard: u32,
    pub beat_heard_at: Now,
    /// What came in, and what the other side says of that which it has heard.
    pub bytes_heard: u32,
    pub bytes_answered: u32,
    pub rtt_us: Option<u64>,
    pub transmit_asked: bool,
}

/// One stream on its way to the other side.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// Looked at up to here.
    pub scanned: u64,
    /// Told up to here, by record or skip.
    pub told: u64,
    /// The other side has it up to here.
    pub acked: u64,
    /// What it had at the last sweep.
    pub claimed: u64,
    /// What the other brokers were told that it has.
    pub shared: u64,
    /// Sent for it though another should have: it lags.
    pub relayed: bool,
    pub unacked: VecDeque<(u64, u32)>,
}

impl Flow {
    fn in_flight(&self) -> u64 {
        self.unacked.iter().map(|(_, bytes)| u64::from(*bytes)).sum()
    }
}

impl Link {
    pub fn new(peer: Name, sender: SenderId, side: Side, is_broker: bool, now: Now) -> Self {
        Self {
            peer,
            sender,
            side,
            phase: Phase::Greeting,
            is_broker,
            greeted: false,
            boot: 0,
            agent: "".into(),
            since: now,
            input: Vec::new(),
            control: Vec::new(),
            attached: Attached::No,
            attachments: 0,
            ready: false,
            flows: BTreeMap::new(),
            pending: BTreeSet::new(),
            refused: BTreeSet::new(),
            let_go: BTreeSet::new(),
            in_flight: 0,
            ahead: Ahead::default(),
            got_dirty: BTreeSet::new(),
            facts_dirty: BTreeSet::new(),
            walk: None,
            pulse: Pulse::new(now),
            beat_sent: 0,
            beat_sent_at: now,
            beat_answered: 0,
            beat_heard: 0,
            beat_heard_at: now,
            bytes_heard: 0,
            bytes_answered: 0,
            rtt_us: None,
            transmit_asked: false,
        }
    }

    /// Begin anew with a stream of which the other side has all up to `upto`.
    pub fn restart(&mut self, stream: StreamId, upto: u64) {
        let flow = self.flows.entry(stream).or_default();
        self.in_flight -= flow.in_flight();
        *flow = Flow { scanned: upto, told: upto, acked: upto, ..Flow::default() };
        self.pending.insert(stream);
    }

    /// The other side has this stream up to `upto`.
    pub fn answered(&mut self, stream: StreamId, upto: u64) {
        let flow = self.flows.entry(stream).or_default();
        flow.acked = flow.acked.max(upto);
        // It may have it from somebody else.
        flow.told = flow.told.max(upto);
        flow.scanned = flow.scanned.max(upto);
        while let Some((seq, bytes)) = flow.unacked.front().copied()
            && seq <= upto
        {
            flow.unacked.pop_front();
            self.in_flight -= u64::from(bytes);
        }
    }

    /// The other side is told that there is no place for it.
    pub fn note_refused(&mut self, stream: StreamId) {
        if self.refused.len() < STREAMS_MAX {
            self.refused.insert(stream);
        }
    }

    /// The same of one that was here. Of too many, some are asked for only when the link is made anew.
    pub fn note_let_go(&mut self, stream: StreamId) {
        if self.let_go.len() >= STREAMS_MAX {
            self.let_go.pop_first();
        }
        self.let_go.insert(stream);
    }

    /// Whether the other side was told that there is no place for it. What it said before it heard so counts no more.
    pub fn is_homeless(&self, stream: StreamId) -> bool {
        self.let_go.contains(&stream) || self.refused.contains(&stream)
    }

    /// The same, and from now on it was not.
    pub fn take_homeless(&mut self, stream: StreamId) -> bool {
        let was_refused = self.refused.remove(&stream);
        self.let_go.remove(&stream) || was_refused
    }

    /// Everything that is retained has to be looked at for the other side, from the beginning.
    pub fn walk_anew(&mut self) {
        self.walk = Some("".into());
    }

    /// A stream that is not here any more.
    pub fn forget_flow(&mut self, stream: StreamId) {
        let flow = self.flows.remove(&stream).unwrap_or_default();
        self.in_flight -= flow.in_flight();
        self.pending.remove(&stream);
        self.got_dirty.remove(&stream);
    }

    /// Nothing that was said on this link before counts any more.
    pub fn forget_flows(&mut self) {
        self.flows.clear();
        self.pending.clear();
        self.refused.clear();
        self.let_go.clear();
        self.ahead.forget();
        self.in_flight = 0;
    }
}
