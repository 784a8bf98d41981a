//! The seam to the disk: what a broker wants written, and what it begins with after reading it all back.
//!
//! A `Write` replays in order; the same ones again do no harm. All writes between two `Action::Store` are one batch: after
//! a power cut each batch is there whole or not at all, what is there is a prefix of what was written, and nothing that
//! was reported stored is missing.
//!
//! A `Now` in here is good in the next life too, since time goes on there where it was last written to have come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::filter_tree::GroupMark;
use super::message::Shared;
use super::session::Granted;
use crate::mqtt::packet::{PacketId, QoS, Reason};
use crate::time::Now;

/// How far the store has to come; later ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// One thing to be kept. Messages, sessions, what waits in them and dead letters are numbered by one count, which never
/// gives a number twice, not in a later life either; so within a row of them numbers only go up.
#[derive(Clone, Debug)]
pub enum Write {
    /// No number below this one is given again.
    Numbers(u64),
    /// What a message says, once, however many sessions it waits for.
    Message {
        number: u64,
        message: Shared,
    },
    /// No session waits for it any more.
    MessageGone(u64),
    /// A session as it is from now on; the newest counts.
    Session {
        session: u64,
        standing: Standing,
    },
    /// With all that waits in it; its subscriptions and identifiers, and whatever was noted of what waits, went before.
    SessionGone(u64),
    Subscribed {
        session: u64,
        filter: Box<str>,
        granted: Granted,
    },
    Unsubscribed {
        session: u64,
        filter: Box<str>,
    },
    /// A message waits in a session.
    Queued {
        session: u64,
        number: u64,
        waiting: Waiting,
    },
    /// The client has received this QoS 2 message: it is not sent again, but waits for PUBCOMP.
    Taken {
        session: u64,
        number: u64,
    },
    /// It waits no more: acknowledged to the end, or dropped.
    Done {
        session: u64,
        number: u64,
        /// That it was taken, or has failed, was written.
        noted: bool,
    },
    /// A message has failed its client so many times.
    Failed {
        session: u64,
        number: u64,
        times: u32,
    },
    /// A QoS 2 message of this client was taken in.
    Received {
        session: u64,
        id: PacketId,
    },
    /// The client will not send it again.
    Released {
        session: u64,
        id: PacketId,
    },
    /// The newest of its topic, where no network keeps it.
    Retained(Shared),
    RetainedGone(Box<str>),
    /// A message that its client could not take.
    Dead {
        number: u64,
        dead: Dead,
    },
    DeadGone(u64),
}

/// What outlives its connection, of what a client said when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// As the broker knows it: for a device, its name, U+0000, and what it calls itself.
    pub client_id: Box<str>,
    /// How long it outlives its connection. Of one that does not, only the will is kept.
    pub expiry: Duration,
    /// When its connection ended; `None` while it has one.
    pub left: Option<Now>,
    pub will: Option<Will>,
}

/// What a client wants said when it is gone. Its message counts from the day it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    pub message: Shared,
    pub delay_s: u32,
    pub expiry_s: Option<u32>,
}

/// A message that a client could not take, and that is not sent to it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    pub client_id: Box<str>,
    pub message: Shared,
    pub qos: QoS,
    /// How often it failed.
    pub times: u32,
    /// What the client said of it; `None` where its connection ended each time.
    pub refused: Option<Reason>,
}

/// A message that waits in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The number of the message.
    pub message: u64,
    pub qos: QoS,
    pub retain: bool,
    /// Of the shared subscription that it came by.
    pub group: Option<GroupMark>,
    /// It goes before those that do not.
    pub ahead: bool,
    /// What its packet identifier is worked out from.
    pub turn: u64,
    /// Identifiers of the subscriptions that it matched.
    pub ids: Box<[u32]>,
}

/// All writes of a broker, taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    pub(super) numbers: u64,
    pub(super) messages: BTreeMap<u64, Shared>,
    pub(super) sessions: BTreeMap<u64, SavedSession>,
    pub(super) retained: BTreeMap<Box<str>, Shared>,
    pub(super) dead: BTreeMap<u64, Dead>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedSession {
    /// `None`: what it was said to be was lost, and it is no session.
    pub standing: Option<Standing>,
    pub subscriptions: BTreeMap<Box<str>, Granted>,
    pub queue: BTreeMap<u64, SavedWaiting>,
    pub received: BTreeSet<PacketId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedWaiting {
    pub waiting: Waiting,
    /// The client has received it.
    pub taken: bool,
    pub failed: u32,
}

impl Saved {
    /// Take in the next write, in the order in which they were made. What does not fit what is there is passed over.
    pub fn apply(&mut self, write: Write) {
        match write {
            Write::Numbers(next) => self.numbers = self.numbers.max(next),
            Write::Message { number, message } => {
                self.messages.insert(number, message);
            }
            Write::MessageGone(number) => {
                self.messages.remove(&number);
            }
            Write::Session { session, standing } => self.session(session).standing = Some(standing),
            Write::SessionGone(session) => {
                self.sessions.remove(&session);
            }
            Write::Subscribed { session, filter, granted } => {
                self.session(session).subscriptions.insert(filter, granted);
            }
            Write::Unsubscribed { session, filter } => {
                self.known(session).map(|known| known.subscriptions.remove(&filter));
            }
            Write::Queued { session, number, waiting } => {
                let queued = SavedWaiting { waiting, taken: false, failed: 0 };
                self.session(session).queue.insert(number, queued);
            }
            Write::Taken { session, number } => {
                self.queued(session, number).into_iter().for_each(|queued| queued.taken = true);
            }
            Write::Failed { session, number, times } => {
                self.queued(session, number).into_iter().for_each(|queued| queued.failed = times);
            }
            Write::Done { session, number, noted: _ } => {
                self.known(session).map(|known| known.queue.remove(&number));
            }
            Write::Received { session, id } => {
                self.session(session).received.insert(id);
            }
            Write::Released { session, id } => {
                self.known(session).map(|known| known.received.remove(&id));
            }
            Write::Retained(message) => {
                self.retained.insert(message.topic.clone(), message);
            }
            Write::RetainedGone(topic) => {
                self.retained.remove(&topic);
            }
            Write::Dead { number, dead } => {
                self.dead.insert(number, dead);
            }
            Write::DeadGone(number) => {
                self.dead.remove(&number);
            }
        }
    }

    /// All numbers from here on are new, even where it was lost how many were given.
    pub(super) fn numbers_beyond(&self) -> u64 {
        let queued = self.sessions.values().filter_map(|session| session.queue.keys().next_back());
        let last = [self.sessions.keys().next_back(), self.messages.keys().next_back(), self.dead.keys().next_back()];
        let last = last.into_iter().flatten().chain(queued).max();
        self.numbers.max(last.map_or(0, |last| last.saturating_add(1)))
    }

    fn session(&mut self, session: u64) -> &mut SavedSession {
        self.sessions.entry(session).or_default()
    }

    fn known(&mut self, session: u64) -> Option<&mut SavedSession> {
        self.sessions.get_mut(&session)
    }

    fn queued(&mut self, session: u64, number: u64) -> Option<&mut SavedWaiting> {
        self.known(session)?.queue.get_mut(&number)
    }
}
