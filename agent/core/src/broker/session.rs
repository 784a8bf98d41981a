//! What the broker remembers of one client, with or without a connection: subscriptions, what waits for it, and what is
//! on its way and not yet acknowledged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::filter_tree::GroupMark;
use super::flights::Flights;
use super::ledger::Kept;
use super::message::Place;
use super::table::Key;
use super::{Principal, Ticket, Will};
use crate::mqtt::packet::{PacketId, QoS, SubscribeOptions};
use crate::time::Now;
use crate::topology::model::Limits;

/// What one subscription was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    pub options: SubscribeOptions,
    pub id: Option<u32>,
    /// Where it is shared.
    pub group: Option<GroupMark>,
}

/// A message that waits for its turn.
#[derive(Clone, Debug)]
pub struct Queued {
    pub message: Place,
    pub qos: QoS,
    pub retain: bool,
    /// Of the shared subscription that it came by.
    pub group: Option<GroupMark>,
    /// Identifiers of the subscriptions that it matched.
    pub ids: Ids,
    /// Which it is of those that its session was ever to be sent at QoS 1 and 2; 0 at QoS 0.
    pub turn: u64,
    /// Where it is on disk.
    pub kept: Option<Kept>,
    /// It may have been sent in an earlier life, and was not in this one.
    pub again: bool,
    /// How often the client could not take it.
    pub failed: u32,
}

impl Queued {
    #[must_use]
    pub fn new(message: Place, qos: QoS) -> Self {
        Self {
            message,
            qos,
            retain: false,
            group: None,
            ids: Ids::default(),
            turn: 0,
            kept: None,
            again: false,
            failed: 0,
        }
    }
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

/// A QoS 2 publish that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsettled {
    pub id: PacketId,
    /// The network has not settled its offer.
    pub offered: bool,
    /// What it led to is on disk once this is stored.
    pub by: Ticket,
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
    /// It took nothing for too long while its queue or the memory was full; `when_full` applies until it has caught up.
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
    /// When its connection ended, while there is none.
    pub left: Option<Now>,
    /// Its number on disk.
    pub kept: Option<u64>,
    /// By filter as written, `$share/` and all.
    pub subscriptions: BTreeMap<Box<str>, Granted>,
    pub queue: VecDeque<Queued>,
    pub queue_bytes: u64,
    /// A retained message that goes before the queue, once it is on disk.
    pub ahead: Option<Queued>,
    /// The newest turn that was given.
    pub turn: u64,
    pub in_flight: Flights,
    /// QoS 2 messages that were received and not yet released by the client.
    pub received: BTreeSet<PacketId>,
    /// Those of them that were not answered when they came, by a number of their own.
    pub unsettled: BTreeMap<u64, Unsettled>,
    /// That its client has released what it has is on disk once this is stored.
    pub released_by: Ticket,
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
    pub will: Option<(Now, Will)>,
}

impl Session {
    #[must_use]
    pub fn new(client_id: Box<str>, principal: Rc<Principal>, now: Now) -> Self {
        Self {
            client_id,
            principal,
            conn: None,
            expiry: Duration::ZERO,
            left: None,
            kept: None,
            subscriptions: BTreeMap::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            ahead: None,
            turn: 0,
            in_flight: Flights::default(),
            received: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            released_by: Ticket::default(),
            walks: BTreeMap::new(),
            pace: Pace::Moving,
            progress: now,
            took: true,
            stall_at: None,
            waiting: Vec::new(),
            will: None,
        }
    }

    /// Its number on disk, where what waits in it is kept there too.
    #[must_use]
    pub fn durable(&self) -> Option<u64> {
        self.kept.filter(|_| !self.expiry.is_zero())
    }

    /// When it ends, while there is no connection.
    #[must_use]
    pub fn ends(&self) -> Option<Now> {
        self.left.map(|left| left.after(self.expiry))
    }

    #[must_use]
    pub fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    /// The client has taken or acknowledged something; answers to what it says itself are no such thing.
    pub fn note_progress(&mut self, now: Now) {
        self.progress = now;
        self.took = true;
    }

    /// What waits in it and has more on disk than that, by its number there.
    pub fn noted(&self) -> impl Iterator<Item = u64> {
        let waiting = self.ahead.iter().chain(&self.queue);
        let waiting = waiting.filter(|queued| queued.failed > 0).filter_map(|queued| queued.kept);
        self.in_flight.noted().chain(waiting).map(|kept| kept.number)
    }

    /// Every message that waits in it.
    pub fn all_waiting(&mut self) -> impl Iterator<Item = &mut Queued> {
        self.in_flight.queued_mut().chain(&mut self.ahead).chain(&mut self.queue)
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

    /// Let go of what is promised to nobody; says how much that was.
    pub fn drop_qos0(&mut self) -> u64 {
        let before = self.queue.len();
        self.queue.retain(|queued| queued.qos != QoS::AtMostOnce);
        self.queue_bytes = self.queue.iter().map(|queued| queued.message.size()).sum();
        (before - self.queue.len()) as u64
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
    pub fn is_full(&self, limits: &Limits) -> bool {
        self.queue.len() >= limits.queue_len_max as usize || self.queue_bytes >= limits.queue_bytes_max
    }

    /// Nobody new is let in: it is full, or the room that is left is for those who wait.
    #[must_use]
    pub fn is_closed(&self, limits: &Limits) -> bool {
        self.is_full(limits) || !self.waiting.is_empty() && !self.has_room(limits)
    }

    /// Room enough that those who wait may go on.
    #[must_use]
    pub fn has_room(&self, limits: &Limits) -> bool {
        self.queue.len() <= limits.queue_len_max as usize / 2 && self.queue_bytes <= limits.queue_bytes_max / 2
    }

    /// Who of those who wait may go on. Programs here would take all the room there is before anybody afar hears of it: so
    /// it is the turn of either by themselves, as long as more room will come.
    #[must_use]
    pub fn whose_turn(&mut self) -> Vec<Waiter> {
        let comes_from_afar = |who: &Waiter| *who == Waiter::Inward;
        let count = match self.waiting.iter().position(comes_from_afar) {
            Some(0) if self.holds_something() => 1,
            Some(before) if self.holds_something() => before,
            Some(_) | None => self.waiting.len(),
        };
        self.waiting.drain(..count).collect()
    }

    #[must_use]
    pub fn has_something_to_send(&self) -> bool {
        !self.queue.is_empty() || self.ahead.is_some() || !self.walks.is_empty() || self.in_flight.wants_resend()
    }
}
