//! What the disk has to do with connections and sessions: what is said only once something is stored, and which sessions
//! are kept at all.
//!
//! That a publish is kept, and that an identifier is free, a client is told only then. A QoS 2 message goes out only when
//! it is on disk under the identifier that it goes out with, and PUBREL only when it is there that the client has it; else
//! a restart could use them for another. A subscription is granted at once: it is on disk before anything is
//! acknowledged that it applies to, and where there is no disk, those who may lose things are still served.

use super::Broker;
use super::connection::{Connection, Phase};
use super::ledger::Ledger;
use super::saved::{Standing, Ticket, Write};
use super::session::Session;
use super::table::Key;
use crate::time::Now;

impl Broker {
    /// The next thing to be kept. Fetch all of them before a ticket is reported stored.
    pub fn poll_write(&mut self) -> Option<Write> {
        self.ledger.poll_write()
    }

    /// Everything up to this ticket is on disk.
    pub fn handle_stored(&mut self, ticket: Ticket, now: Now) {
        for conn in self.ledger.handle_stored(ticket) {
            self.say_what_is_stored(conn);
            self.answer_those_settled(conn);
            let session = self.conns.get(conn).and_then(Connection::open).map(|open| open.session);
            if session.and_then(|key| self.sessions.get(key)).is_some_and(Session::has_something_to_send) {
                self.ask_transmit(conn);
            }
        }
        self.settle(now);
    }

    /// Let `say` answer `conn`, but keep what it says until `by` is stored; behind what waits for that already.
    pub(super) fn once_stored(&mut self, conn: Key, by: Ticket, say: impl FnOnce(&mut Self)) {
        let said = |broker: &Self| broker.conns.get(conn).map_or(0, |connection| connection.control.len());
        let before = said(self);
        say(self);
        let Some(connection) = self.conns.get_mut(conn) else { return };
        if self.ledger.is_stored(by) && connection.held.is_empty() || connection.control.len() <= before {
            return;
        }
        let bytes = connection.control.split_off(before);
        connection.held_bytes += bytes.len();
        connection.held.push_back((by, bytes));
        self.ledger.wait_for(by, conn);
    }

    fn say_what_is_stored(&mut self, conn: Key) {
        let Some(connection) = self.conns.get_mut(conn) else { return };
        if matches!(connection.phase, Phase::Closing) {
            return;
        }
        while let Some((by, _)) = connection.held.front()
            && self.ledger.is_stored(*by)
            && let Some((_, bytes)) = connection.held.pop_front()
        {
            connection.held_bytes -= bytes.len();
            connection.control.extend_from_slice(&bytes);
        }
        if !connection.control.is_empty() {
            self.ask_transmit(conn);
        }
    }

    /// A session has come, or has changed in what is kept of it: of one that ends with its connection only the will.
    pub(super) fn note_standing(&mut self, key: Key) {
        let Some(session) = self.sessions.get(key) else { return };
        let open = session.conn.and_then(|conn| self.conns.get(conn)).and_then(Connection::open);
        let will = match open {
            Some(open) => open.will.as_deref().cloned(),
            None => session.will.as_ref().map(|(_, will)| will.clone()),
        };
        let (client_id, expiry, left) = (session.client_id.clone(), session.expiry, session.left);
        if expiry.is_zero() && will.is_none() {
            return self.forget_session(key);
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        let number = *session.kept.get_or_insert_with(|| self.ledger.number());
        self.ledger.write(Write::Session { session: number, standing: Standing { client_id, expiry, left, will } });
    }

    /// Nothing of a session is kept any more, whether or not it goes on in memory.
    pub(super) fn forget_session(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        note_session_gone(&mut self.ledger, session);
        session.kept = None;
        for queued in session.all_waiting() {
            if queued.kept.take().is_some() {
                self.ledger.let_go(&queued.message);
            }
        }
    }
}

/// All that is on disk of a session is taken off it, but for the messages.
pub(super) fn note_session_gone(ledger: &mut Ledger, session: &Session) {
    let Some(number) = session.kept else { return };
    let durable = session.durable().is_some();
    let filters = session.subscriptions.keys().filter(|_| durable);
    let received = session.received.iter().copied().filter(|_| durable);
    ledger.session_gone(number, filters, received, session.noted().filter(|_| durable));
}
