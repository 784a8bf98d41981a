//! What comes from other machines: routed to those who subscribed here, and never offered again.
//!
//! A message is taken whole or refused whole. One that is refused, because a subscriber that keeps up has no room, may
//! be tried again after `Action::InwardRoom`.

use super::message::{Content, Shared};
use super::publish::{RoomHere, cost};
use super::session::{Granted, Waiter};
use super::table::Key;
use super::{Action, Broker, message, outward};
use crate::mqtt::packet::{Props, QoS};
use crate::mqtt::props::{self, Prop};
use crate::time::Now;
use crate::topic;
use crate::topology::model::WhenFull;

/// Properties that belong to a message, whatever road it takes.
const OF_A_MESSAGE: &[u8] =
    &[props::PAYLOAD_FORMAT, props::CONTENT_TYPE, props::RESPONSE_TOPIC, props::CORRELATION_DATA, props::USER_PROPERTY];

/// A message of another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inward<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    /// Encoded as `Message::props` are.
    pub props: &'a [u8],
    pub qos: QoS,
    pub retain: Retain,
    pub expires: Option<Now>,
}

/// Whether a message becomes its topic's retained one. An empty payload clears the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    No,
    /// Keep it, and deliver it as what has just been published.
    Live,
    /// Keep it for those who subscribe from now on; it is old news to the others.
    Store,
}

/// A subscriber has to catch up first; `Action::InwardRoom` says when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a subscriber has no room")]
pub struct NoRoom;

/// What messages from other machines wait for, since one of them was refused.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InwardWaits {
    /// One or more queues, which know it.
    for_queues: bool,
    /// So many bytes of the memory of all messages.
    for_memory_bytes: u64,
}

impl Broker {
    /// Take a message of another machine. What is no message is passed over and counted.
    pub fn handle_inward(&mut self, inward: Inward<'_>, now: Now) -> Result<(), NoRoom> {
        let mut found = std::mem::take(&mut self.found);
        let taken = self.take_inward(inward, &mut found, now);
        found.clear();
        self.found = found;
        self.settle(now);
        taken
    }

    fn take_inward(&mut self, inward: Inward<'_>, found: &mut Vec<(Key, Granted)>, now: Now) -> Result<(), NoRoom> {
        if topic::check_name(inward.topic).is_err() || !outward::is_for_programs(inward.topic) {
            self.counters.refused_inward += 1;
            return Ok(());
        }
        if inward.expires.is_some_and(|at| at <= now) {
            self.counters.dropped_expired += 1;
            if inward.retain != Retain::No {
                // It was the newest of its topic all the same, so what was there before is over.
                self.clear_retained(inward.topic);
            }
            return Ok(());
        }
        if inward.retain == Retain::Store {
            let message = self.inward_message(inward);
            self.retain(&message, now);
        } else {
            self.matches(inward.topic, found);
            let size = message::size(inward.topic, inward.payload, inward.props);
            match self.room_here(found, inward.qos, size) {
                RoomHere::Enough => {
                    let message = self.inward_message(inward);
                    self.accept(message, found, None, now);
                }
                RoomHere::NoMemoryFor(_) => {
                    let cost = cost(size, found.len());
                    // One that no waiting makes room for is dropped whatever the store says.
                    if self.settings.when_full == WhenFull::DropNewest || !self.could_be_stored(cost) {
                        self.counters.dropped_full += 1;
                        return Ok(());
                    }
                    self.inward_waits.for_memory_bytes = cost;
                    return Err(NoRoom);
                }
                RoomHere::Behind(full) | RoomHere::Blocked(full) => {
                    self.inward_waits.for_queues = true;
                    self.wait_for(Waiter::Inward, full, now);
                    return Err(NoRoom);
                }
            }
        }
        self.counters.inward_received += 1;
        Ok(())
    }

    fn inward_message(&self, inward: Inward<'_>) -> Shared {
        self.meter.share(Content {
            topic: inward.topic.into(),
            payload: inward.payload.into(),
            props: sound_props(inward.props),
            qos: inward.qos,
            retain: inward.retain != Retain::No,
            expires: inward.expires,
        })
    }

    /// A queue that a message from another machine waited for has room. Several of them are told of once.
    pub(super) fn inward_may_go_on(&mut self) -> bool {
        let waits = std::mem::take(&mut self.inward_waits.for_queues);
        if waits {
            self.actions.push_back(Action::InwardRoom);
        }
        waits
    }

    /// The same of the memory of all messages; looked at whenever something has been dealt with.
    pub(super) fn look_at_memory(&mut self) {
        let cost = self.inward_waits.for_memory_bytes;
        if cost > 0 && self.can_be_stored(cost) {
            self.inward_waits.for_memory_bytes = 0;
            self.actions.push_back(Action::InwardRoom);
        }
    }
}

/// What of these properties a subscriber can be sent: whatever another machine says, packets here stay well formed.
pub(super) fn sound_props(bytes: &[u8]) -> Box<[u8]> {
    let mut block = Vec::new();
    let mut seen = 0u64;
    for prop in Props(bytes).iter().filter(|prop| OF_A_MESSAGE.contains(&prop.id())) {
        let bit = 1u64 << (prop.id() & 0x3f);
        let again = seen & bit != 0 && prop.id() != props::USER_PROPERTY;
        let unsound = matches!(prop, Prop::Text(props::RESPONSE_TOPIC, to) if topic::check_name(to).is_err());
        if !again && !unsound {
            seen |= bit;
            props::put(&mut block, prop);
        }
    }
    block.into()
}
