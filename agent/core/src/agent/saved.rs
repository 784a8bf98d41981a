//! What both halves want written, in one order, and what they begin with after reading it all back.
//!
//! Time is written too. A life begins at the `Now` that the one before it last wrote, so a moment that was written down
//! means the same in every life, without a wall clock. What nobody could count is lost: the time that the machine was
//! off, and up to `TIME_EVERY` before it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::broker::{self, Broker, Ticket};
use crate::node::{self, Node};
use crate::time::Now;

/// With what is written anyway, time is written at most this often.
const TIME_WITH_OTHERS: Duration = Duration::from_secs(10);
/// Where nothing is written, it is written for itself: few enough to spare the disk.
const TIME_EVERY: Duration = Duration::from_secs(600);

/// Tickets that stand open. With more, the newest stands for the one before it: a disk that has stopped may make them any
/// number.
const OPEN_MAX: usize = 4_096;

/// One thing to be kept. All that are fetched at one `Action::Store` are one batch: whole after a power cut, or not
/// there.
#[derive(Clone, Debug)]
pub enum Write {
    Broker(broker::Write),
    Node(node::Write),
    /// It was so late.
    Time(Now),
}

/// All writes of a machine, taken together.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    pub broker: broker::Saved,
    pub node: node::Saved,
    /// When the life that follows begins.
    pub now: Now,
}

impl Saved {
    /// Take in the next write, in the order in which they were made.
    pub fn apply(&mut self, write: Write) {
        match write {
            Write::Broker(write) => self.broker.apply(write),
            Write::Node(write) => self.node.apply(write),
            Write::Time(now) => self.now = self.now.max(now),
        }
    }
}

/// What is to be written and was not fetched, and which of both halves' tickets each of ours stands for.
#[derive(Debug)]
pub(super) struct Log {
    writes: VecDeque<Write>,
    /// When time was last written.
    told: Now,
    ticket: Ticket,
    asked: Asked,
    /// Not reported stored.
    open: VecDeque<(Ticket, Asked)>,
}

/// What the halves wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Asked {
    broker: Option<Ticket>,
    node: Option<Ticket>,
}

impl Log {
    pub fn new(now: Now) -> Self {
        Self {
            writes: VecDeque::new(),
            told: now,
            ticket: Ticket::default(),
            asked: Asked::default(),
            open: VecDeque::new(),
        }
    }

    pub fn handle_broker(&mut self, ticket: Ticket) {
        self.asked.broker = Some(ticket);
    }

    pub fn handle_node(&mut self, ticket: Ticket) {
        self.asked.node = Some(ticket);
    }

    /// What the broker wrote stands before what the node did: that a message was delivered comes behind where it waits.
    pub fn take_in(&mut self, broker: &mut Broker, node: Option<&mut Node>, now: Now) {
        self.writes.extend(std::iter::from_fn(|| broker.poll_write()).map(Write::Broker));
        if let Some(node) = node {
            self.writes.extend(std::iter::from_fn(|| node.poll_write()).map(Write::Node));
        }
        if !self.writes.is_empty() && now.since(self.told) >= TIME_WITH_OTHERS {
            self.note_time(now);
        }
    }

    pub fn note_time(&mut self, now: Now) {
        self.told = now;
        self.writes.push_back(Write::Time(now));
    }

    pub fn next_deadline(&self) -> Now {
        self.told.after(TIME_EVERY)
    }

    /// A ticket for what is new since the last one.
    pub fn poll_ticket(&mut self) -> Option<Ticket> {
        let asked = std::mem::take(&mut self.asked);
        if self.writes.is_empty() && asked == Asked::default() {
            return None;
        }
        self.ticket = Ticket(self.ticket.0 + 1);
        let before = if self.open.len() < OPEN_MAX { None } else { self.open.pop_back() };
        let before = before.map(|(_, asked)| asked).unwrap_or_default();
        let both = Asked { broker: asked.broker.or(before.broker), node: asked.node.or(before.node) };
        self.open.push_back((self.ticket, both));
        Some(self.ticket)
    }

    pub fn poll_write(&mut self) -> Option<Write> {
        self.writes.pop_front()
    }

    /// How far each half has come with this.
    pub fn handle_stored(&mut self, ticket: Ticket) -> (Option<Ticket>, Option<Ticket>) {
        let (mut broker, mut node) = (None, None);
        while let Some((at, asked)) = self.open.front().copied()
            && at <= ticket
        {
            self.open.pop_front();
            broker = asked.broker.or(broker);
            node = asked.node.or(node);
        }
        (broker, node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_stands_for_the_newest_of_each_half_up_to_it() {
        let mut log = Log::new(Now(5));
        assert_eq!(log.poll_ticket(), None, "nothing is asked for and nothing written");
        log.handle_node(Ticket(7));
        let first = log.poll_ticket().unwrap();
        log.handle_broker(Ticket(3));
        let second = log.poll_ticket().unwrap();
        log.handle_node(Ticket(9));
        let third = log.poll_ticket().unwrap();
        assert!(first < second && second < third);
        assert_eq!(log.handle_stored(second), (Some(Ticket(3)), Some(Ticket(7))));
        assert_eq!(log.handle_stored(second), (None, None), "once");
        assert_eq!(log.handle_stored(third), (None, Some(Ticket(9))));
    }

    #[test]
    fn a_disk_that_has_stopped_fills_nothing_and_is_believed_once_it_goes_on() {
        let mut log = Log::new(Now(5));
        let mut newest = Ticket::default();
        for count in 1..=2 * OPEN_MAX as u64 {
            log.handle_node(Ticket(count));
            if count == 1 {
                log.handle_broker(Ticket(1));
            }
            newest = log.poll_ticket().unwrap();
        }
        assert_eq!(log.open.len(), OPEN_MAX);
        assert_eq!(log.handle_stored(newest), (Some(Ticket(1)), Some(Ticket(2 * OPEN_MAX as u64))));
    }

    #[test]
    fn a_life_begins_where_the_one_before_it_was_last_written_to_be() {
        let mut log = Log::new(Now(5));
        log.note_time(log.next_deadline());
        assert!(log.poll_ticket().is_some());
        let mut saved = Saved::default();
        std::iter::from_fn(|| log.poll_write()).for_each(|write| saved.apply(write));
        assert_eq!(saved.now, Now(5).after(TIME_EVERY));
        assert_eq!(log.next_deadline(), saved.now.after(TIME_EVERY));
    }
}
