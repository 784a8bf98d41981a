//! What the broker remembers of one client, with or without a connection: subscriptions, what waits for it, and what is
//! on its way and not yet acknowledged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::flights::Flights;
use super::message::Place;
use super::table::Key;
use super::{Principal, Will};
use crate::mqtt::packet::{PacketId, QoS, SubscribeOptions};
use crate::time::Now;

/// What one subscription was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    pub options: SubscribeOptions,
    pub id: Option<u32>,
    pub shared: bool,
}

/// A message that waits for its turn.
#[derive(Clone, Debug)]
pub struct Queued {
    pub message: Place,
    pub qos: QoS,
    pub retain: bool,
    /// It came by a shared subscription.
    pub shared: bool,
    /// Identifiers of the subscriptions that it matched.
    pub ids: Ids,
}

/// Subscription identifiers; nearly always none or one.
#[derive(Clone, Debug, Default)]
pub struct Ids(Option<Box<[u32]>>);

impl Ids {
    pub fn add(&mut self, id: u32) {
        let mut all = self.0.take().map(Vec::from).unwrap_or_default();
        all.push(id);
        self.0 = Some(all.into());
    }

    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        self.0.as_deref().unwrap_or(&[])
    }
}

/// Retained messages that a new subscription has still to get.
#[derive(Clone, Debug)]
pub struct RetainedWalk {
    pub after: Option<Box<str>>,
    pub granted: Granted,
}

/// Who has something for a queue that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// A connection that is read no further.
    Publisher(Key),
    /// Whoever brings what comes from other machines.
    Inward,
}

/// Whether the client takes what is sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    Moving,
    /// It took nothing for too long with a full queue; `when_full` applies until it has caught up.
    Stalled,
}

#[derive(Debug)]
pub struct Session {
    /// As the table of sessions knows it: with whom it belongs to before it.
    pub client_id: Box<str>,
    pub principal: Rc<Principal>,
    pub conn: Option<Key>,
    /// How long it outlives its connection.
    pub expiry: Duration,
    /// When it ends, while there is no connection.
    pub ends: Option<Now>,
    /// By filter as written, `$share/` and all.
    pub subscriptions: BTreeMap<Box<str>, Granted>,
    pub queue: VecDeque<Queued>,
    pub queue_bytes: u64,
    pub in_flight: Flights,
    /// QoS 2 messages that were received and not yet released by the client.
    pub received: BTreeSet<PacketId>,
    /// Those of them whose offer to the network is not settled, by its number.
    pub unsettled: BTreeMap<u64, PacketId>,
    /// By filter; not more than there are subscriptions.
    pub walks: BTreeMap<Box<str>, RetainedWalk>,
    pub pace: Pace,
    /// When the client last took a message from its queue or acknowledged one.
    pub progress: Now,
    /// It did so since its connection came. Who comes back again and again without is not waited for each time.
    took: bool,
    /// When a standing queue is looked at, while someone waits for it.
    pub stall_at: Option<Now>,
    /// Who waits until this queue has room.
    pub waiting: Vec<Waiter>,
    /// The will that waits for its delay.
    pub will: Option<(Now, Box<Will>)>,
}

impl Session {
    #[must_use]
    pub fn new(client_id: Box<str>, principal: Rc<Principal>, now: Now) -> Self {
        Self {
            client_id,
            principal,
            conn: None,
            expiry: Duration::ZERO,
            ends: None,
            subscriptions: BTreeMap::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            in_flight: Flights::default(),
            received: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            walks: BTreeMap::new(),
            pace: Pace::Moving,
            progress: now,
            took: true,
            stall_at: None,
            waiting: Vec::new(),
            will: None,
        }
    }

    /// The client has taken or acknowledged something; answers to what it says itself are no such thing.
    pub fn note_progress(&mut self, now: Now) {
        self.progress = now;
        self.took = true;
    }

    /// A connection has come: it is waited for, unless the one before it was in vain.
    pub fn begin_to_move(&mut self, now: Now) {
        if std::mem::take(&mut self.took) {
            self.pace = Pace::Moving;
            self.progress = now;
        }
    }

    pub fn push(&mut self, queued: Queued) {
        self.queue_bytes += queued.message.size();
        self.queue.push_back(queued);
    }

    pub fn pop(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.queue_bytes -= queued.message.size();
        Some(queued)
    }

    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.conn.is_some() && self.pace == Pace::Moving
    }

    #[must_use]
    pub fn holds_something(&self) -> bool {
        !self.queue.is_empty() || !self.in_flight.is_empty()
    }

    #[must_use]
    pub fn is_full(&self, len_max: u32, bytes_max: u64) -> bool {
        self.queue.len() >= len_max as usize || self.queue_bytes >= bytes_max
    }

    /// Room enough that those who wait may go on.
    #[must_use]
    pub fn has_room(&self, len_max: u32, bytes_max: u64) -> bool {
        self.queue.len() <= len_max as usize / 2 && self.queue_bytes <= bytes_max / 2
    }

    #[must_use]
    pub fn has_something_to_send(&self) -> bool {
        !self.queue.is_empty() || !self.walks.is_empty() || self.in_flight.wants_resend()
    }
}
