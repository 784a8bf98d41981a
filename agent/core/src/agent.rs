//! One machine's agent, whole: the broker for its programs and the node for the network, and what they say to each
//! other. The shell drives this and nothing below it.
//!
//! It decides nothing itself. A call into either half is followed by everything that it means to the other, so that the
//! shell sees only what concerns sockets, dials and disks.

mod bytes;
mod saved;

use std::collections::VecDeque;

use crate::broker::{self, Broker, Ticket};
use crate::ids::Name;
use crate::node::{self, Fetch, Fetched, Identity, LinkId, Node, Numbers};
use crate::time::Now;

use saved::Log;

pub use bytes::Reading;
pub use saved::{Saved, Write};

/// Deliveries to the programs in one go; then whoever else waits is looked after first.
const DELIVERIES_MAX: usize = 512;

/// What the shell has to do. Drain after every call.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// For a door: one of the broker's own, those for the network aside.
    Door(broker::Action),
    /// Dial this broker's agent door once. Answer with `handle_link_open` or `handle_dial_failed`.
    Dial(Name),
    /// Give up a dial that has not answered.
    Undial(Name),
    /// This link has bytes to send.
    LinkTransmit(LinkId),
    /// Send what is left for a second at the most; close; report it closed.
    LinkClose(LinkId),
    /// Fetch all of `poll_write`, which is one batch, and make it durable; then call `handle_stored` with this.
    Store(Ticket),
    /// Read this back; then call `handle_fetched`.
    Fetch(Fetch),
    /// Call `resume` when everything else has been looked after.
    Resume,
}

#[derive(Debug)]
pub struct Agent {
    broker: Broker,
    /// `None` on a machine that is its network's only one.
    node: Option<Node>,
    /// Of the nodes that were.
    numbers: Numbers,
    log: Log,
    actions: VecDeque<Action>,
}

impl Agent {
    /// Both halves as they begin with what was read back, at the time that was read back or later.
    #[must_use]
    pub fn new(broker: Broker, node: Option<Node>, now: Now) -> Self {
        let mut agent =
            Self { broker, node, numbers: Numbers::default(), log: Log::new(now), actions: VecDeque::new() };
        agent.exchange(now);
        agent
    }

    /// The topology was edited. `network` is `None` where no other machine is in it any more; `birth` gives what a node
    /// begins with, where another machine, another network, or the first one makes a new node.
    pub fn handle_settings(
        &mut self,
        broker: broker::Settings,
        network: Option<node::Settings>,
        birth: impl FnOnce() -> (Identity, node::Saved),
        now: Now,
    ) {
        let goes_on = matches!((&self.node, &network), (Some(node), Some(wanted)) if node.is_of(wanted));
        if !goes_on {
            self.leave_network(&broker, now);
        }
        self.with_broker(now, |known| known.handle_settings(broker, now));
        match (network, goes_on) {
            (Some(settings), true) => drop(self.with_node(now, |node| node.handle_settings(settings, now))),
            (Some(settings), false) => {
                let (identity, saved) = birth();
                self.join_network(Node::after(self.numbers, settings, &identity, saved, now), now);
            }
            (None, _) => {}
        }
    }

    /// What was owed to the network is answered as if there had never been one, by the broker.
    fn leave_network(&mut self, broker: &broker::Settings, now: Now) {
        if self.node.is_none() {
            return;
        }
        let alone = broker::Settings { outward: false, ..broker.clone() };
        self.with_broker(now, |known| known.handle_settings(alone, now));
        self.with_node(now, |node| node.handle_end(now));
        self.numbers = self.node.take().map_or(self.numbers, |node| node.numbers());
    }

    fn join_network(&mut self, mut node: Node, now: Now) {
        self.broker.wanted().for_each(|filter| node.handle_wanted(filter, now));
        self.node = Some(node);
        self.exchange(now);
    }

    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// Call into the broker, and carry what it means to the network.
    pub fn with_broker<R>(&mut self, now: Now, call: impl FnOnce(&mut Broker) -> R) -> R {
        let answer = call(&mut self.broker);
        self.exchange(now);
        answer
    }

    /// Call into the node, and carry what it means to the programs. `None` where there is no network.
    pub fn with_node<R>(&mut self, now: Now, call: impl FnOnce(&mut Node) -> R) -> Option<R> {
        let answer = self.node.as_mut().map(call);
        self.exchange(now);
        answer
    }

    /// The next thing to be kept; fetch all of them at each `Action::Store`. They are in one order for both halves.
    pub fn poll_write(&mut self) -> Option<Write> {
        self.log.poll_write()
    }

    /// Everything up to this ticket is on disk.
    pub fn handle_stored(&mut self, ticket: Ticket, now: Now) {
        let (broker, node) = self.log.handle_stored(ticket);
        if let Some(ticket) = broker {
            self.broker.handle_stored(ticket, now);
        }
        if let (Some(ticket), Some(known)) = (node, &mut self.node) {
            known.handle_stored(ticket, now);
        }
        self.exchange(now);
    }

    /// What was asked for by `Action::Fetch`.
    pub fn handle_fetched(&mut self, fetched: Fetched, now: Now) {
        self.with_node(now, |node| node.handle_fetched(fetched, now));
    }

    /// Call at or after `next_deadline`.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.broker.next_deadline().is_some_and(|due| due <= now) {
            self.with_broker(now, |broker| broker.handle_timeout(now));
        }
        if self.node.as_ref().is_some_and(|node| node.next_deadline().is_some_and(|due| due <= now)) {
            self.with_node(now, |node| node.handle_timeout(now));
        }
        if self.log.next_deadline() <= now {
            self.log.note_time(now);
            self.exchange(now);
        }
    }

    /// Go on after `Action::Resume`.
    pub fn resume(&mut self, now: Now) {
        deliver(&mut self.broker, &mut self.node, &mut self.actions, now);
        self.exchange(now);
    }

    #[must_use]
    pub fn next_deadline(&self) -> Option<Now> {
        let network = self.node.as_ref().and_then(Node::next_deadline);
        let log = Some(self.log.next_deadline());
        self.broker.next_deadline().into_iter().chain(network).chain(log).min()
    }

    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Until neither half has anything to say to the other. What it led to is one batch for the disk, so that no power
    /// cut comes between what the one half wrote and the other.
    fn exchange(&mut self, now: Now) {
        let Self { broker, node, log, actions, .. } = self;
        loop {
            let mut quiet = true;
            while let Some(action) = broker.poll_action() {
                quiet = false;
                from_broker(action, node.as_mut(), log, actions, now);
            }
            while let Some(action) = node.as_mut().and_then(Node::poll_action) {
                quiet = false;
                from_node(action, broker, node, log, actions, now);
            }
            if quiet {
                break;
            }
        }
        log.take_in(broker, node.as_mut(), now);
        actions.extend(log.poll_ticket().map(Action::Store));
    }
}

fn from_broker(
    action: broker::Action,
    node: Option<&mut Node>,
    log: &mut Log,
    actions: &mut VecDeque<Action>,
    now: Now,
) {
    match (action, node) {
        (broker::Action::Store(ticket), _) => log.handle_broker(ticket),
        (broker::Action::Offer { token, message }, Some(node)) => node.handle_offer(token, &message, now),
        (broker::Action::Wanted(filter), Some(node)) => node.handle_wanted(&filter, now),
        (broker::Action::Unwanted(filter), Some(node)) => node.handle_unwanted(&filter, now),
        (broker::Action::InwardRoom, Some(node)) => node.handle_inward_room(now),
        // Without a network the broker offers nothing, unless it has yet to be told of one: then nobody is answered. Who
        // wants what can be asked later.
        (
            broker::Action::Offer { .. }
            | broker::Action::Wanted(_)
            | broker::Action::Unwanted(_)
            | broker::Action::InwardRoom,
            None,
        ) => {}
        (
            action @ (broker::Action::Transmit(_)
            | broker::Action::PauseReading(_)
            | broker::Action::ResumeReading(_)
            | broker::Action::Authenticate { .. }
            | broker::Action::Close { .. }),
            _,
        ) => actions.push_back(Action::Door(action)),
    }
}

fn from_node(
    action: node::Action,
    broker: &mut Broker,
    node: &mut Option<Node>,
    log: &mut Log,
    actions: &mut VecDeque<Action>,
    now: Now,
) {
    match action {
        node::Action::Settle { offer, reason } => broker.handle_settled(offer, reason, now),
        node::Action::OutwardRoom(room) => broker.handle_outward_room(room, now),
        node::Action::Tell { topic, payload } => broker.handle_told(&topic, &payload, now),
        node::Action::Inward => deliver(broker, node, actions, now),
        node::Action::Dial(name) => actions.push_back(Action::Dial(name)),
        node::Action::Undial(name) => actions.push_back(Action::Undial(name)),
        node::Action::Transmit(link) => actions.push_back(Action::LinkTransmit(link)),
        node::Action::Close(link) => actions.push_back(Action::LinkClose(link)),
        node::Action::Store(ticket) => log.handle_node(ticket),
        node::Action::Fetch(fetch) => actions.push_back(Action::Fetch(fetch)),
    }
}

fn deliver(broker: &mut Broker, node: &mut Option<Node>, actions: &mut VecDeque<Action>, now: Now) {
    let Some(node) = node else { return };
    for _ in 0..DELIVERIES_MAX {
        let Some(delivery) = node.next_inward(now) else { return };
        match broker.handle_inward(delivery.inward(), now) {
            Ok(()) => node.inward_taken(delivery, now),
            Err(broker::NoRoom) => return node.inward_refused(delivery),
        }
    }
    actions.push_back(Action::Resume);
}

#[cfg(test)]
mod tests;
