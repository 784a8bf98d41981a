//! What one client was sent at QoS 1 and 2 and has not acknowledged to the end, in the order in which it was sent.
//!
//! A packet identifier is worked out from the turn of its message, which is given when the message begins to wait. So it
//! is the same after a restart, and goes round once in 65,535 turns. Invariant: no two on their way have the same.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use super::ledger::Kept;
use super::session::Queued;
use crate::mqtt::packet::{PacketId, QoS};
use crate::time::Now;

/// Packet identifiers that there are.
const IDS: u64 = 65_535;

/// How far a message on its way has come.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sent, or to be sent; not yet acknowledged (QoS 1) or received (QoS 2).
    Publish(Queued),
    /// The client has it; PUBREL is sent or to be sent, PUBCOMP awaited.
    Release(Option<Kept>),
}

#[derive(Clone, Debug)]
struct Flight {
    id: PacketId,
    turn: u64,
    step: Step,
    /// To be sent on this connection, because the one before ended too early.
    resend: bool,
}

#[derive(Debug, Default)]
pub struct Flights {
    all: VecDeque<Flight>,
    /// Of what is not yet released.
    bytes: u64,
    /// How many are to be sent again.
    resends: usize,
    /// No turn on its way is below the one or above the other; worked out anew once in a round.
    turns: (u64, u64),
}

/// The identifier of the message whose turn it is.
#[must_use]
pub fn packet_id(turn: u64) -> PacketId {
    let id = u16::try_from(turn.saturating_sub(1) % IDS).unwrap_or(0);
    PacketId(NonZeroU16::MIN.saturating_add(id))
}

impl Flights {
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the identifier of this turn is not on its way already. Nothing is searched for it but once in a round,
    /// or while one message has been on its way for a whole one.
    #[must_use]
    pub fn has_room_for(&self, turn: u64) -> bool {
        let (lowest, highest) = self.turns;
        let near = turn.saturating_sub(lowest) < IDS && highest.saturating_sub(turn) < IDS;
        near || self.is_empty() || self.step(packet_id(turn)).is_none()
    }

    /// There has to be room for it.
    pub fn push(&mut self, queued: Queued) {
        self.push_step(queued.turn, Step::Publish(queued));
    }

    /// What the client had received before a restart.
    pub fn push_received(&mut self, turn: u64, kept: Kept) {
        self.push_step(turn, Step::Release(Some(kept)));
    }

    fn push_step(&mut self, turn: u64, step: Step) {
        let (lowest, highest) = self.turns;
        if self.is_empty() || highest.max(turn) - lowest >= IDS {
            let turns = || self.all.iter().map(|flight| flight.turn).chain([turn]);
            self.turns = (turns().min().unwrap_or(turn), turns().max().unwrap_or(turn));
        } else {
            self.turns = (lowest.min(turn), highest.max(turn));
        }
        if let Step::Publish(queued) = &step {
            self.bytes += queued.message.size();
        }
        self.all.push_back(Flight { id: packet_id(turn), turn, step, resend: false });
    }

    #[must_use]
    pub fn step(&self, id: PacketId) -> Option<&Step> {
        self.all.iter().find(|flight| flight.id == id).map(|flight| &flight.step)
    }

    #[cfg(test)]
    pub fn steps(&self) -> impl Iterator<Item = (u64, &Step)> {
        self.all.iter().map(|flight| (flight.turn, &flight.step))
    }

    /// Those of which more is on disk than that they wait.
    pub fn noted(&self) -> impl Iterator<Item = Kept> {
        self.all.iter().filter_map(|flight| match &flight.step {
            Step::Publish(queued) => queued.kept.filter(|_| queued.failed > 0),
            Step::Release(kept) => *kept,
        })
    }

    /// Messages that the client has not received.
    pub fn queued_mut(&mut self) -> impl Iterator<Item = &mut Queued> {
        self.all.iter_mut().filter_map(|flight| match &mut flight.step {
            Step::Publish(queued) => Some(queued),
            Step::Release(_) => None,
        })
    }

    #[must_use]
    pub fn oldest(&self) -> Option<&Step> {
        self.all.front().map(|flight| &flight.step)
    }

    /// The oldest, if it was sent on this connection and the client has not received it.
    pub fn oldest_sent(&mut self) -> Option<&mut Queued> {
        match self.all.front_mut() {
            Some(Flight { step: Step::Publish(queued), resend: false, .. }) => Some(queued),
            Some(_) | None => None,
        }
    }

    /// Gives back what it was.
    pub fn remove(&mut self, id: PacketId) -> Option<Step> {
        let at = self.all.iter().position(|flight| flight.id == id)?;
        let gone = self.all.remove(at)?;
        self.resends -= usize::from(gone.resend);
        if let Step::Publish(queued) = &gone.step {
            self.bytes -= queued.message.size();
        }
        Some(gone.step)
    }

    /// The client has received this QoS 2 message, which is given back; `None` if it has said so before.
    pub fn release(&mut self, id: PacketId) -> Option<Queued> {
        let flight = self.all.iter_mut().find(|flight| flight.id == id)?;
        self.resends -= usize::from(std::mem::take(&mut flight.resend));
        let Step::Publish(queued) = &flight.step else { return None };
        let queued = queued.clone();
        flight.step = Step::Release(None);
        self.bytes -= queued.message.size();
        Some(queued)
    }

    /// The client has it, or is to be done with it: where that is on disk.
    pub fn note_released(&mut self, id: PacketId, kept: Option<Kept>) {
        let Some(flight) = self.all.iter_mut().find(|flight| flight.id == id) else { return };
        if let Step::Publish(queued) = std::mem::replace(&mut flight.step, Step::Release(kept)) {
            self.bytes -= queued.message.size();
        }
    }

    /// A new connection: everything is to be sent again.
    pub fn resend_all(&mut self) {
        self.all.iter_mut().for_each(|flight| flight.resend = true);
        self.resends = self.all.len();
    }

    #[must_use]
    pub fn wants_resend(&self) -> bool {
        self.resends > 0
    }

    /// The next that is to be sent again.
    #[must_use]
    pub fn next_resend(&self) -> Option<&Step> {
        self.all.iter().find(|flight| flight.resend).map(|flight| &flight.step)
    }

    /// How many were sent on this connection.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.all.len() - self.resends
    }

    /// It is sent again, and not a second time.
    pub fn take_resend(&mut self) -> Option<PacketId> {
        let flight = self.all.iter_mut().find(|flight| flight.resend)?;
        flight.resend = false;
        if let Step::Publish(queued) = &mut flight.step {
            queued.again = false;
        }
        self.resends -= 1;
        Some(flight.id)
    }

    /// Those that nobody needs any more, and that were not sent in this life.
    #[must_use]
    pub fn expired_before_sent(&self, now: Now) -> Vec<PacketId> {
        let expired = self.all.iter().filter(|flight| match &flight.step {
            Step::Publish(queued) => queued.again && queued.message.is_expired(now),
            Step::Release(_) => false,
        });
        expired.map(|flight| flight.id).collect()
    }

    /// What may go to somebody else, now that this client is gone: a QoS 2 message may not, once it was sent.
    pub fn into_unacknowledged(self) -> impl Iterator<Item = Queued> {
        self.all.into_iter().filter_map(|flight| match flight.step {
            Step::Publish(queued) if queued.qos != QoS::ExactlyOnce => Some(queued),
            Step::Publish(_) | Step::Release(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::{Content, Meter, Place};
    use super::*;

    fn queued(meter: &Meter, turn: u64) -> Queued {
        let content = Content {
            topic: "t".into(),
            payload: Box::default(),
            props: Box::default(),
            qos: QoS::ExactlyOnce,
            retain: false,
            expires: None,
        };
        let message = Place::new(meter.share(content));
        Queued { turn, ..Queued::new(message, QoS::ExactlyOnce) }
    }

    proptest! {
        #[test]
        fn no_identifier_is_given_twice_at_a_time(
            start in prop_oneof![Just(1u64), 65_530u64..=65_540],
            steps in prop::collection::vec((0u8..4, any::<prop::sample::Index>(), 65_530u64..65_540), 0..200),
        ) {
            let meter = Meter::default();
            let mut flights = Flights::default();
            let mut known: Vec<u64> = Vec::new();
            let mut turn = start;
            for (what, which, far) in steps {
                if what < 2 || known.is_empty() {
                    turn += 1;
                } else if what == 2 {
                    let gone = known.remove(which.index(known.len()));
                    prop_assert!(flights.remove(packet_id(gone)).is_some());
                    prop_assert!(flights.remove(packet_id(gone)).is_none());
                    continue;
                } else {
                    // Near to coming round: the turns in between have all been given and have ended.
                    turn += far;
                }
                let is_free = !known.iter().any(|known| packet_id(*known) == packet_id(turn));
                prop_assert_eq!(flights.has_room_for(turn), is_free, "{} of {:?}", turn, &known);
                if is_free {
                    flights.push(queued(&meter, turn));
                    known.push(turn);
                }
            }
            prop_assert_eq!(flights.len(), known.len());
            for turn in known {
                prop_assert!(flights.remove(packet_id(turn)).is_some());
            }
            prop_assert_eq!(flights.bytes(), 0);
        }
    }

    #[test]
    fn identifiers_go_round_and_are_never_0() {
        let id = |turn| packet_id(turn).0.get();
        assert_eq!((id(1), id(65_535), id(65_536), id(131_070)), (1, 65_535, 1, 65_535));
    }

    #[test]
    fn everything_is_sent_again_once_and_what_is_acknowledged_meanwhile_is_not() {
        let (meter, mut flights) = (Meter::default(), Flights::default());
        (1..6).for_each(|turn| flights.push(queued(&meter, turn)));
        flights.resend_all();
        assert_eq!(flights.take_resend(), Some(packet_id(1)));
        assert!(flights.remove(packet_id(2)).is_some());
        assert!(flights.release(packet_id(3)).is_some());
        assert!(flights.release(packet_id(3)).is_none() && flights.release(packet_id(9)).is_none());
        assert_eq!((flights.take_resend(), flights.take_resend()), (Some(packet_id(4)), Some(packet_id(5))));
        assert!(!flights.wants_resend() && flights.take_resend().is_none());
        assert_eq!((flights.len(), flights.sent()), (4, 4));
    }
}
