//! Messages that a durable subscriber cannot take, and what becomes of them.
//!
//! A message has failed when it was the oldest on its way, was sent on this connection, and the client's side let the
//! connection go without a word before it had acknowledged it. A connection that this broker ends, because of silence or
//! because the client has come again, says nothing about a message; so a device out of reach condemns none, and neither
//! does a network that lets one acknowledgement through in twenty connections. From the third failure on a message is
//! sent alone, so that no other is blamed for it. A PUBACK or PUBREC with an error ends the matter at once, since
//! MQTT-4.4.0-2 forbids to send it again.

use std::collections::BTreeMap;

use super::Broker;
use super::flights::{Step, packet_id};
use super::message::Place;
use super::saved::{Dead, Write};
use super::session::{Queued, Session};
use super::table::Key;
use crate::mqtt::packet::{Ack, QoS, Reason};
use crate::time::Now;

/// So often a message may fail.
const FAILURES_MAX: u32 = 20;
/// After so many failures it is sent alone.
const ALONE_AFTER: u32 = 3;
/// Dead letters that are kept; the oldest go for new ones.
const LEN_MAX: usize = 1_000;
const BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, Default)]
pub struct DeadLetters {
    all: BTreeMap<u64, Dead>,
    bytes: u64,
}

/// Why a dead letter cannot go back to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequeueError {
    #[error("there is no such dead letter")]
    Unknown,
    #[error("its client has no session that outlives a connection")]
    NoSession,
    #[error("its client's queue is full")]
    Full,
}

impl DeadLetters {
    pub fn insert(&mut self, number: u64, dead: Dead) {
        self.bytes += dead.message.size();
        self.all.insert(number, dead);
    }

    fn remove(&mut self, number: u64) -> Option<Dead> {
        let gone = self.all.remove(&number)?;
        self.bytes -= gone.message.size();
        Some(gone)
    }

    fn oldest_too_many(&self) -> Option<u64> {
        let too_many = self.all.len() > LEN_MAX || self.bytes > BYTES_MAX;
        self.all.keys().next().filter(|_| too_many).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &Dead)> {
        self.all.iter().map(|(number, dead)| (*number, dead))
    }
}

impl Session {
    /// How many messages may be on their way to a client that takes `receive_max`.
    #[must_use]
    pub fn most_at_once(&self, receive_max: u16) -> usize {
        let suspect = matches!(self.in_flight.oldest(), Some(Step::Publish(queued)) if queued.failed >= ALONE_AFTER);
        if suspect { 1 } else { receive_max.into() }
    }
}

impl Broker {
    /// Every dead letter with its number, the oldest first.
    pub fn dead(&self) -> impl Iterator<Item = (u64, &Dead)> {
        self.dead.iter()
    }

    /// Let it wait for its client again, as if it had never failed.
    pub fn handle_requeue(&mut self, number: u64, now: Now) -> Result<(), RequeueError> {
        let dead = self.dead.all.get(&number).ok_or(RequeueError::Unknown)?;
        let key = self.by_client.get(&dead.client_id).copied().ok_or(RequeueError::NoSession)?;
        let session = self.sessions.get(key).filter(|session| session.durable().is_some());
        let limits = &self.settings.limits;
        if session.ok_or(RequeueError::NoSession)?.is_full(limits) {
            return Err(RequeueError::Full);
        }
        let queued = Queued::new(Place::new(dead.message.clone()), dead.qos);
        self.enqueue(key, queued, now);
        self.drop_dead(number);
        self.settle(now);
        Ok(())
    }

    /// False where there is no such dead letter.
    pub fn handle_drop_dead(&mut self, number: u64, now: Now) -> bool {
        let dropped = self.drop_dead(number);
        self.settle(now);
        dropped
    }

    fn drop_dead(&mut self, number: u64) -> bool {
        let gone = self.dead.remove(number).is_some();
        if gone {
            self.ledger.write(Write::DeadGone(number));
        }
        gone
    }

    /// The client's side has let `conn` go.
    pub(super) fn note_failure(&mut self, conn: Key) {
        let Some(open) = self.conns.get(conn).and_then(|connection| connection.open()) else { return };
        let key = open.session;
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(number) = session.durable() else { return };
        let Some(oldest) = session.in_flight.oldest_sent() else { return };
        oldest.failed += 1;
        let (times, turn, kept) = (oldest.failed, oldest.turn, oldest.kept);
        if times >= FAILURES_MAX {
            if let Some(Step::Publish(queued)) = session.in_flight.remove(packet_id(turn)) {
                self.bury(key, &queued, None);
            }
        } else if let Some(kept) = kept {
            self.ledger.write(Write::Failed { session: number, number: kept.number, times });
        }
    }

    /// A PUBACK or PUBREC that says that the client does not want it.
    pub(super) fn refused_by_client(&mut self, key: Key, ack: &Ack<'_>, now: Now) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(step) = session.in_flight.remove(ack.id) else { return };
        session.note_progress(now);
        match step {
            Step::Publish(mut queued) if session.durable().is_some() => {
                queued.failed += 1;
                self.bury(key, &queued, Some(ack.reason));
            }
            Step::Publish(_) | Step::Release(_) => self.ledger.ended(session.durable(), &step),
        }
    }

    fn bury(&mut self, key: Key, queued: &Queued, refused: Option<Reason>) {
        let Some(session) = self.sessions.get(key) else { return };
        debug_assert!(queued.qos != QoS::AtMostOnce, "nobody acknowledges it");
        let dead = Dead {
            client_id: session.client_id.clone(),
            message: (*queued.message).clone(),
            qos: queued.qos,
            times: queued.failed,
            refused,
        };
        let durable = session.durable();
        let number = self.ledger.number();
        self.ledger.write(Write::Dead { number, dead: dead.clone() });
        self.dead.insert(number, dead);
        self.ledger.done(durable, queued);
        self.counters.dead_letters += 1;
        while let Some(oldest) = self.dead.oldest_too_many() {
            self.counters.dropped_dead += u64::from(self.drop_dead(oldest));
        }
    }
}
