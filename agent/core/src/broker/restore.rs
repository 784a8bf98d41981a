//! The beginning of a life: every session as the disk has it, its connection lost. What does not fit together is passed
//! over, counted, and taken off the disk.
//!
//! What has been sent is not written down, so nobody can know what of it the client has: all that waits goes out under its
//! identifier and says that it may be a repetition. Only a first attempt may say that it is one (MQTT-3.3.1-1). A session
//! whose connection the disk knows of counts as left now.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::filter_tree::target;
use super::ledger::Kept;
use super::message::{Place, Shared};
use super::saved::{Saved, SavedSession, SavedWaiting, Standing, Ticket, Waiting, Write};
use super::session::{Ids, Queued};
use super::table::Key;
use super::{Action, Broker, Principal, outward};
use crate::mqtt::packet::QoS;
use crate::time::Now;
use crate::topic;

impl Broker {
    pub(super) fn restore(&mut self, saved: Saved, now: Now) {
        let mut messages = BTreeMap::new();
        for (number, message) in saved.messages {
            let message = self.meter.share((**message).clone());
            message.kept.number.set(number);
            messages.insert(number, message);
        }
        for (number, session) in saved.sessions {
            self.restore_session(number, session, &messages, now);
        }
        for message in messages.values().filter(|message| message.kept.waits.get() == 0) {
            self.ledger.write(Write::MessageGone(message.kept.number.get()));
        }
        for (number, mut dead) in saved.dead {
            dead.message = self.meter.share((**dead.message).clone());
            self.dead.insert(number, dead);
        }
        for (topic, message) in saved.retained {
            self.restore_retained(topic, &message, now);
        }
    }

    fn restore_retained(&mut self, topic: Box<str>, message: &Shared, now: Now) {
        let message = self.meter.share((***message).clone());
        if message.topic != topic || !outward::is_for_programs(&topic) {
            self.counters.unrestored += 1;
            return self.ledger.write(Write::RetainedGone(topic));
        }
        message.kept.retained.set(true);
        // Limits count for what is added, not for what was let in once.
        if self.retained.set(message, u32::MAX, u64::MAX).is_ok() {
            self.arm_sweep(now);
        }
    }

    fn restore_session(&mut self, number: u64, saved: SavedSession, messages: &BTreeMap<u64, Shared>, now: Now) {
        let SavedSession { standing, subscriptions, queue, received } = saved;
        let standing = standing.filter(|standing| !self.by_client.contains_key(&standing.client_id));
        let owner = standing.as_ref().and_then(|standing| self.owner_of(&standing.client_id));
        let (Some(standing), Some(owner)) = (standing, owner) else {
            self.counters.unrestored += 1;
            let noted = queue.iter().filter(|(_, saved)| saved.taken || saved.failed > 0).map(|(number, _)| *number);
            return self.ledger.session_gone(number, subscriptions.keys(), received, noted);
        };
        let Standing { client_id, expiry, left, will } = standing;
        let key = self.new_session(client_id, &owner, now);
        if let Some(session) = self.sessions.get_mut(key) {
            session.kept = Some(number);
            session.expiry = expiry;
            session.received = received;
        }
        self.await_return(key, will, left.unwrap_or(now));
        for (filter, granted) in subscriptions {
            let Some(to) = target(&filter).filter(|to| topic::check_filter(to.filter).is_ok()) else {
                self.counters.unrestored += 1;
                self.ledger.write(Write::Unsubscribed { session: number, filter });
                continue;
            };
            if self.is_unwanted(to.filter) {
                self.actions.push_back(Action::Wanted(to.filter.into()));
            }
            self.tree.insert(to, key, granted);
            let Some(session) = self.sessions.get_mut(key) else { return };
            session.subscriptions.insert(filter, granted);
        }
        self.restore_queue(key, number, queue, messages);
        if left.is_none() {
            self.note_standing(key);
        }
    }

    /// Who a session belonged to, if there still is such a one.
    fn owner_of(&self, client_id: &str) -> Option<Rc<Principal>> {
        let Some((name, _)) = client_id.split_once('\0') else { return Some(self.local.clone()) };
        let (name, rights) = self.settings.devices.get_key_value(name)?;
        Some(Rc::new(Principal { name: name.clone(), rights: rights.clone() }))
    }

    fn restore_queue(
        &mut self,
        key: Key,
        session_number: u64,
        queue: BTreeMap<u64, SavedWaiting>,
        messages: &BTreeMap<u64, Shared>,
    ) {
        let limits = &self.settings.limits;
        let (flights_max, flight_bytes_max) = (usize::from(limits.inflight_max), limits.queue_bytes_max.max(1));
        let Some(session) = self.sessions.get_mut(key) else { return };
        let mut queue: Vec<(u64, SavedWaiting)> = queue.into_iter().collect();
        queue.sort_by_key(|(number, saved)| (!saved.waiting.ahead, *number));
        let mut turns = BTreeSet::new();
        for (number, saved) in queue {
            let SavedWaiting { waiting, taken, failed } = saved;
            let (turn, kept) = (waiting.turn, Kept { number, by: Ticket::default() });
            let message = messages.get(&waiting.message).filter(|_| !taken);
            // A faulty disk is not to have the turns come to their end, nor two messages have one.
            let in_turn = turn > 0 && turn < u64::MAX / 2 && turns.insert(turn);
            let has_message = message.is_some() && waiting.qos != QoS::AtMostOnce;
            let has_room = session.in_flight.has_room_for(turn);
            if !in_turn || !(taken && has_room || has_message) {
                self.counters.unrestored += 1;
                let noted = taken || failed > 0;
                self.ledger.write(Write::Done { session: session_number, number, noted });
                continue;
            }
            session.turn = session.turn.max(turn);
            let Some(message) = message else {
                session.in_flight.push_received(turn, kept);
                continue;
            };
            message.kept.waits.set(message.kept.waits.get() + 1);
            let queued = queued(waiting, message, kept, failed);
            let in_flight = session.queue.is_empty()
                && session.in_flight.len() < flights_max
                && session.in_flight.bytes() < flight_bytes_max
                && has_room;
            if in_flight {
                session.in_flight.push(queued);
            } else {
                session.push(queued);
            }
        }
    }
}

fn queued(waiting: Waiting, message: &Shared, kept: Kept, failed: u32) -> Queued {
    let Waiting { qos, retain, group, turn, ids, message: _, ahead: _ } = waiting;
    let mut all = Ids::default();
    ids.iter().for_each(|id| all.add(*id));
    let message = Place::new(message.clone());
    Queued { retain, group, ids: all, turn, kept: Some(kept), again: true, failed, ..Queued::new(message, qos) }
}
