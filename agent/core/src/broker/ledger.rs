//! What is to be written, and how far the disk has come with it. It numbers what is written and knows for how many
//! sessions a message waits on disk; what that means it does not know.

use std::collections::{BTreeSet, VecDeque};
use std::rc::{Rc, Weak};

use super::flights::Step;
use super::message::{Message, Shared};
use super::saved::{Ticket, Waiting, Write};
use super::session::Queued;
use super::table::Key;
use crate::mqtt::packet::PacketId;

/// Numbers are taken from what was written down as used up beforehand, so many at a time.
const NUMBERS_AHEAD: u64 = 1 << 16;

/// Where something that waits is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub number: u64,
    /// It is on disk once this is stored.
    pub by: Ticket,
}

#[derive(Debug, Default)]
pub struct Ledger {
    writes: VecDeque<Write>,
    /// The last number given.
    last: u64,
    /// No number from here on was given in any life.
    unused: u64,
    /// The ticket of what is written next.
    next: Ticket,
    asked: Ticket,
    /// How much was ever written.
    written: u64,
    stored: Ticket,
    /// Connections that have something to say, or to do, when a ticket is stored.
    waiting: BTreeSet<(Ticket, Key)>,
    /// Messages for which nobody waited at some time since the last ticket. One that moves from session to session for
    /// want of memory is written once.
    going: Vec<(u64, Weak<Message>)>,
}

impl Ledger {
    /// Goes on behind all numbers that were ever given, whatever is `known` of them.
    #[must_use]
    pub fn behind(known: u64, numbers: u64) -> Self {
        let mut ledger = Self { last: numbers.saturating_sub(1), unused: numbers, ..Self::default() };
        if numbers > known {
            ledger.write(Write::Numbers(numbers));
        }
        ledger
    }

    pub fn write(&mut self, write: Write) {
        self.next = Ticket(self.asked.0 + 1);
        self.written += 1;
        self.writes.push_back(write);
    }

    /// Once this is stored, everything written so far is on disk.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.next
    }

    #[must_use]
    pub fn mark(&self) -> u64 {
        self.written
    }

    /// The same of what was written since `mark`, if anything was.
    #[must_use]
    pub fn ticket_since(&self, mark: u64) -> Option<Ticket> {
        (self.written > mark).then_some(self.next)
    }

    /// Of what was written since the last one, if there is anything.
    pub fn poll_ticket(&mut self) -> Option<Ticket> {
        for (number, message) in std::mem::take(&mut self.going) {
            let waits = message.upgrade().is_some_and(|message| {
                message.kept.going.set(false);
                message.kept.waits.get() > 0
            });
            if !waits {
                self.write(Write::MessageGone(number));
            }
        }
        if self.next == self.asked {
            return None;
        }
        self.asked = self.next;
        Some(self.asked)
    }

    pub fn poll_write(&mut self) -> Option<Write> {
        self.writes.pop_front()
    }

    #[must_use]
    pub fn is_stored(&self, ticket: Ticket) -> bool {
        ticket <= self.stored
    }

    /// Have `conn` looked at when this is stored.
    pub fn wait_for(&mut self, ticket: Ticket, conn: Key) {
        if !self.is_stored(ticket) {
            self.waiting.insert((ticket, conn));
        }
    }

    /// Whom to look at now.
    pub fn handle_stored(&mut self, ticket: Ticket) -> BTreeSet<Key> {
        self.stored = self.stored.max(ticket.min(self.asked));
        let mut due = BTreeSet::new();
        while let Some((_, conn)) = self.waiting.first().filter(|(by, _)| *by <= self.stored).copied() {
            self.waiting.pop_first();
            due.insert(conn);
        }
        due
    }

    pub fn number(&mut self) -> u64 {
        self.last += 1;
        if self.last >= self.unused {
            self.unused = self.last.saturating_add(NUMBERS_AHEAD);
            self.write(Write::Numbers(self.unused));
        }
        self.last
    }

    /// A message waits in a session from now on, on disk too.
    pub fn queue(&mut self, session: u64, queued: &mut Queued, ahead: bool) {
        let message: Shared = (*queued.message).clone();
        if message.kept.waits.get() == 0 && !message.kept.going.get() {
            message.kept.number.set(self.number());
            self.write(Write::Message { number: message.kept.number.get(), message: message.clone() });
        }
        message.kept.waits.set(message.kept.waits.get() + 1);
        let waiting = Waiting {
            message: message.kept.number.get(),
            qos: queued.qos,
            retain: queued.retain,
            group: queued.group,
            ahead,
            turn: queued.turn,
            ids: queued.ids.as_slice().into(),
        };
        let number = self.number();
        self.write(Write::Queued { session, number, waiting });
        queued.kept = Some(Kept { number, by: self.next });
    }

    /// It waits there no more.
    pub fn done(&mut self, session: Option<u64>, queued: &Queued) {
        if let (Some(session), Some(kept)) = (session, queued.kept) {
            self.write(Write::Done { session, number: kept.number, noted: queued.failed > 0 });
            self.let_go(&queued.message);
        }
    }

    /// A message on its way has come to its end.
    pub fn ended(&mut self, session: Option<u64>, step: &Step) {
        match (step, session) {
            (Step::Publish(queued), _) => self.done(session, queued),
            (Step::Release(Some(kept)), Some(session)) => {
                self.write(Write::Done { session, number: kept.number, noted: true });
            }
            (Step::Release(_), _) => {}
        }
    }

    /// The client has received it; what it says is needed no more.
    pub fn taken(&mut self, session: Option<u64>, queued: &Queued) -> Option<Kept> {
        let (session, number) = (session?, queued.kept?.number);
        self.write(Write::Taken { session, number });
        self.let_go(&queued.message);
        Some(Kept { number, by: self.next })
    }

    /// A session waits for `message` no more.
    pub fn let_go(&mut self, message: &Shared) {
        let waits = message.kept.waits.get().saturating_sub(1);
        message.kept.waits.set(waits);
        if waits == 0 && !message.kept.going.replace(true) {
            self.next = Ticket(self.asked.0 + 1);
            self.going.push((message.kept.number.get(), Rc::downgrade(message)));
        }
    }

    /// With what was written of it, and of the `noted` of what waits in it, under keys of their own.
    pub fn session_gone<'a>(
        &mut self,
        session: u64,
        filters: impl IntoIterator<Item = &'a Box<str>>,
        received: impl IntoIterator<Item = PacketId>,
        noted: impl IntoIterator<Item = u64>,
    ) {
        let filters = filters.into_iter().map(|filter| Write::Unsubscribed { session, filter: filter.clone() });
        filters.for_each(|write| self.write(write));
        received.into_iter().for_each(|id| self.write(Write::Released { session, id }));
        noted.into_iter().for_each(|number| self.write(Write::Done { session, number, noted: true }));
        self.write(Write::SessionGone(session));
    }

    pub fn received(&mut self, session: Option<u64>, id: PacketId) {
        if let Some(session) = session {
            self.write(Write::Received { session, id });
        }
    }

    pub fn released(&mut self, session: Option<u64>, id: PacketId) {
        if let Some(session) = session {
            self.write(Write::Released { session, id });
        }
    }

    #[cfg(test)]
    pub fn unused(&self) -> u64 {
        self.unused
    }
}
