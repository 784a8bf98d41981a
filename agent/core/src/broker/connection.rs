//! What the broker knows of one connection.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;

use super::outward::Withheld;
use super::pieces::Begun;
use super::table::Key;
use super::{Peer, Ticket, Timer, Will};
use crate::mqtt::packet::Version;
use crate::time::Now;

/// Most outgoing topics that get an alias on one connection.
pub const ALIASES_OUT_MAX: u16 = 32;
/// Most aliases that a client may set; said in CONNACK.
pub const ALIASES_IN_MAX: u16 = 32;

#[derive(Debug)]
pub struct Connection {
    pub peer: Peer,
    pub phase: Phase,
    /// Bytes that came in and are not yet a whole packet, or wait because reading is paused.
    pub input: Vec<u8>,
    /// Encoded answers that wait to be sent.
    pub control: Vec<u8>,
    /// What goes before them, if anything: packets of which a part has gone out.
    pub begun: VecDeque<Begun>,
    /// Answers that may be sent once their ticket is stored, in this order.
    pub held: VecDeque<(Ticket, Vec<u8>)>,
    pub held_bytes: usize,
    /// Bytes of `input` as the broker's sum has them.
    pub input_counted: usize,
    /// `Action::Transmit` is out and has not been followed up.
    pub transmit_asked: bool,
    pub paused: bool,
    /// Of all who wait with a publish, who has the smaller number waits longer; 0 where this one does not.
    pub waits_since: u64,
    /// How much of the input was searched for acknowledgements, while a publish waits.
    pub looked_at: usize,
    /// The shell was asked to read no more.
    pub pause_told: bool,
    /// Longest answer that the client takes, as its CONNECT said, let in or not.
    pub answer_bytes_max: usize,
    /// An answer was longer than the client takes, and was not sent.
    pub unanswerable: bool,
    pub last_seen: Now,
    /// Its one deadline, as the broker's timers have it.
    pub timer: Option<(Now, Timer)>,
}

/// Where in its life a connection is.
#[derive(Debug)]
pub enum Phase {
    /// Before CONNECT.
    New,
    /// CONNECT is here; its password is being looked at elsewhere. The packet is kept as it came.
    Proving(Box<[u8]>),
    Open(Box<Open>),
    /// Nothing more is read; what waits is sent, then the socket closes.
    Closing,
}

/// What is known of a connection that has been let in.
#[derive(Debug)]
pub struct Open {
    pub session: Key,
    pub version: Version,
    /// One and a half of what the client promised; zero for never.
    pub silence_max_us: u64,
    /// Most QoS 1 and 2 messages that the client takes before it has acknowledged.
    pub receive_max: u16,
    pub packet_bytes_max: usize,
    /// It takes reasons in words on every packet.
    pub wants_words: bool,
    pub will: Option<Box<Will>>,
    pub alias_bytes: usize,
    pub aliases_in: BTreeMap<NonZeroU16, Box<str>>,
    pub aliases_out: BTreeMap<Box<str>, NonZeroU16>,
    pub aliases_out_max: u16,
    /// Answers to publishes that wait until they are kept, in the order of the publishes.
    pub withheld: VecDeque<Withheld>,
}

impl Connection {
    #[must_use]
    pub fn new(peer: Peer, now: Now) -> Self {
        Self {
            peer,
            phase: Phase::New,
            input: Vec::new(),
            control: Vec::new(),
            begun: VecDeque::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            input_counted: 0,
            transmit_asked: false,
            paused: false,
            waits_since: 0,
            looked_at: 0,
            pause_told: false,
            answer_bytes_max: usize::MAX,
            unanswerable: false,
            last_seen: now,
            timer: None,
        }
    }

    #[must_use]
    pub fn open(&self) -> Option<&Open> {
        match &self.phase {
            Phase::Open(open) => Some(open),
            Phase::New | Phase::Proving(_) | Phase::Closing => None,
        }
    }

    pub fn open_mut(&mut self) -> Option<&mut Open> {
        match &mut self.phase {
            Phase::Open(open) => Some(open),
            Phase::New | Phase::Proving(_) | Phase::Closing => None,
        }
    }
}
