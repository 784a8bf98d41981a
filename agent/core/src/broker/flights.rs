//! What one client was sent at QoS 1 and 2 and has not acknowledged to the end, in the order in which it was sent.
//!
//! Invariant: packet identifiers go round, and entries stand in the order in which theirs were given. So the next one to
//! come round to is that of the oldest, and nothing has to be searched for it.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use super::session::Queued;
use crate::mqtt::packet::{PacketId, QoS};

/// How far a message on its way has come.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sent, or to be sent; not yet acknowledged (QoS 1) or received (QoS 2).
    Publish(Queued),
    /// The client has it; PUBREL is sent or to be sent, PUBCOMP awaited.
    Release,
}

#[derive(Clone, Debug)]
struct Flight {
    id: PacketId,
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
    last_id: u16,
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

    /// The identifier that `push` will give. There is one: fewer are on their way than there are numbers.
    #[must_use]
    pub fn next_id(&self) -> PacketId {
        let mut oldest = self.all.iter();
        let mut last = self.last_id;
        loop {
            last = last.wrapping_add(1);
            let Some(id) = NonZeroU16::new(last).map(PacketId) else { continue };
            if oldest.next().is_none_or(|flight| flight.id != id) {
                return id;
            }
        }
    }

    pub fn push(&mut self, queued: Queued) {
        let id = self.next_id();
        self.last_id = id.0.get();
        self.bytes += queued.message.size();
        self.all.push_back(Flight { id, step: Step::Publish(queued), resend: false });
    }

    #[must_use]
    pub fn step(&self, id: PacketId) -> Option<&Step> {
        self.all.iter().find(|flight| flight.id == id).map(|flight| &flight.step)
    }

    /// False where there is none.
    pub fn remove(&mut self, id: PacketId) -> bool {
        let Some(at) = self.all.iter().position(|flight| flight.id == id) else { return false };
        let Some(gone) = self.all.remove(at) else { return false };
        self.resends -= usize::from(gone.resend);
        if let Step::Publish(queued) = gone.step {
            self.bytes -= queued.message.size();
        }
        true
    }

    /// The client has received this QoS 2 message; `Some(true)` the first time that it says so, `None` for none.
    pub fn release(&mut self, id: PacketId) -> Option<bool> {
        let flight = self.all.iter_mut().find(|flight| flight.id == id)?;
        self.resends -= usize::from(std::mem::take(&mut flight.resend));
        match std::mem::replace(&mut flight.step, Step::Release) {
            Step::Publish(queued) => {
                self.bytes -= queued.message.size();
                Some(true)
            }
            Step::Release => Some(false),
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

    /// The next that is to be sent again. It is not told a second time. None while the client has as many before it as
    /// it takes at once, which may be fewer than on the connection before.
    pub fn take_resend(&mut self, receive_max: usize) -> Option<PacketId> {
        if self.resends == 0 {
            return None;
        }
        let sent = self.all.len() - self.resends;
        let fits = |step: &Step| matches!(step, Step::Release) || sent < receive_max;
        let flight = self.all.iter_mut().find(|flight| flight.resend).filter(|flight| fits(&flight.step))?;
        flight.resend = false;
        self.resends -= 1;
        Some(flight.id)
    }

    /// What may go to somebody else, now that this client is gone: a QoS 2 message may not, once it was sent.
    pub fn into_unacknowledged(self) -> impl Iterator<Item = Queued> {
        self.all.into_iter().filter_map(|flight| match flight.step {
            Step::Publish(queued) if queued.qos != QoS::ExactlyOnce => Some(queued),
            Step::Publish(_) | Step::Release => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::{Content, Meter, Place};
    use super::super::session::Ids;
    use super::*;

    fn queued(meter: &Meter) -> Queued {
        let content = Content {
            topic: "t".into(),
            payload: Box::default(),
            props: Box::default(),
            qos: QoS::ExactlyOnce,
            retain: false,
            expires: None,
        };
        let message = Place::new(meter.share(content));
        Queued { message, qos: QoS::ExactlyOnce, retain: false, shared: false, ids: Ids::default() }
    }

    proptest! {
        #[test]
        fn no_identifier_is_given_twice_at_a_time(
            start in prop_oneof![Just(0u16), 65_530u16..=65_535],
            steps in prop::collection::vec((0u8..4, any::<prop::sample::Index>()), 0..200),
        ) {
            let meter = Meter::default();
            let mut flights = Flights { last_id: start, ..Flights::default() };
            let mut known: Vec<PacketId> = Vec::new();
            for (what, which) in steps {
                if what < 2 || known.is_empty() {
                    let id = flights.next_id();
                    prop_assert!(!known.contains(&id));
                    flights.push(queued(&meter));
                    known.push(id);
                } else if what == 2 {
                    let id = known.remove(which.index(known.len()));
                    prop_assert!(flights.remove(id));
                    prop_assert!(!flights.remove(id));
                } else {
                    // Near to coming round: the numbers in between have all been given and taken back.
                    flights.last_id = known.first().map_or(start, |first| first.0.get().wrapping_sub(1));
                    let id = flights.next_id();
                    prop_assert!(!known.contains(&id), "{id:?} of {known:?}");
                    flights.last_id = known.last().map_or(start, |last| last.0.get());
                }
            }
            prop_assert_eq!(flights.len(), known.len());
            for id in known {
                prop_assert!(flights.remove(id));
            }
            prop_assert_eq!(flights.bytes(), 0);
        }
    }

    #[test]
    fn everything_is_sent_again_once_and_what_is_acknowledged_meanwhile_is_not() {
        let (meter, mut flights) = (Meter::default(), Flights::default());
        (0..5).for_each(|_| flights.push(queued(&meter)));
        flights.resend_all();
        let id = |number| PacketId(NonZeroU16::new(number).unwrap());
        assert_eq!(flights.take_resend(9), Some(id(1)));
        assert!(flights.remove(id(2)));
        assert_eq!(
            (flights.release(id(3)), flights.release(id(3)), flights.release(id(9))),
            (Some(true), Some(false), None)
        );
        assert_eq!((flights.take_resend(9), flights.take_resend(9)), (Some(id(4)), Some(id(5))));
        assert!(!flights.wants_resend() && flights.take_resend(9).is_none());
    }
}
