//! The broker of one realm as the tasks of this thread share it: each borrows it for one call, never across an await.
//!
//! A call into the broker is followed at once by draining its actions. What concerns a connection is left in its `Wire`,
//! which wakes that connection's task; nothing is read or written here.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hobnail_core::broker::{Action, Broker, ConnId, Counters, Fill, Peer, Settings, Verdict};
use hobnail_core::time::Now;
use tokio::sync::Notify;

use crate::auth::Prover;
use crate::wire::{Inside, Wire};

/// A deadline that was missed by this much shows that something is stuck.
const LATE_MAX: Duration = Duration::from_secs(5);

/// A connection of a program or a device, as its task speaks with the broker about it.
pub struct Program {
    realm: Realm,
    conn: ConnId,
}

impl Inside for Program {
    fn bytes(&self, bytes: &[u8]) {
        let now = self.realm.now();
        self.realm.0.broker.borrow_mut().handle_bytes(self.conn, bytes, now);
        self.realm.drain();
    }

    fn transmit(&self, out: &mut Vec<u8>, room: usize) {
        let now = self.realm.now();
        self.realm.0.broker.borrow_mut().poll_transmit(self.conn, out, room, now);
        self.realm.drain();
    }

    fn closed(&self) {
        let now = self.realm.now();
        let shared = &self.realm.0;
        shared.broker.borrow_mut().handle_close(self.conn, now);
        shared.wires.borrow_mut().remove(&self.conn);
        self.realm.drain();
        if shared.wires.borrow().is_empty() {
            shared.emptied.notify_one();
        }
    }
}

/// A handle on the realm; cloning it gives another handle on the same one.
#[derive(Clone)]
pub struct Realm(Rc<Shared>);

struct Shared {
    broker: RefCell<Broker>,
    wires: RefCell<HashMap<ConnId, Rc<Wire>>>,
    prover: Prover,
    epoch: Instant,
    /// When the timer will look at the broker next; `None` when it sleeps without an end.
    armed: Cell<Option<Now>>,
    earlier: Notify,
    emptied: Notify,
}

impl Realm {
    #[must_use]
    pub fn new(settings: Settings, prover: Prover) -> Self {
        // Time starts a little after zero, so that "long ago" can be said.
        let epoch = Instant::now();
        Self(Rc::new(Shared {
            broker: RefCell::new(Broker::new(settings)),
            wires: RefCell::default(),
            prover,
            epoch,
            armed: Cell::new(None),
            earlier: Notify::new(),
            emptied: Notify::new(),
        }))
    }

    #[must_use]
    pub fn now(&self) -> Now {
        Now::ZERO.after(self.0.epoch.elapsed())
    }

    /// A connection has come in.
    pub fn open(&self, peer: Peer) -> (Program, Rc<Wire>) {
        let now = self.now();
        let conn = self.0.broker.borrow_mut().handle_open(peer, now);
        let wire = Rc::new(Wire::default());
        self.0.wires.borrow_mut().insert(conn, wire.clone());
        self.drain();
        (Program { realm: self.clone(), conn }, wire)
    }

    pub fn verdict(&self, conn: ConnId, verdict: Verdict) {
        let now = self.now();
        self.0.broker.borrow_mut().handle_verdict(conn, verdict, now);
        self.drain();
    }

    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.0.broker.borrow().connection_count()
    }

    /// How full the broker is, and what it has counted.
    #[must_use]
    pub fn figures(&self) -> (Fill, Counters) {
        let broker = self.0.broker.borrow();
        (broker.fill(), *broker.counters())
    }

    /// Whether deadlines are met: the thread gets its turns, and the task that keeps time is alive.
    #[must_use]
    pub fn is_in_step(&self) -> bool {
        let due = self.0.broker.borrow().next_deadline();
        due.is_none_or(|due| self.now().since(due) < LATE_MAX)
    }

    /// Ask every connection to close, and return once all of them have.
    pub async fn stop(&self) {
        let now = self.now();
        self.0.broker.borrow_mut().handle_stop(now);
        self.drain();
        while !self.0.wires.borrow().is_empty() {
            self.0.emptied.notified().await;
        }
    }

    /// Tell the broker when a deadline has passed. Sleeps exactly until the next one.
    pub async fn keep_time(self) {
        loop {
            let next = self.0.broker.borrow().next_deadline();
            self.0.armed.set(next);
            match next {
                None => self.0.earlier.notified().await,
                Some(at) => {
                    let wait = at.since(self.now());
                    // Both are cancel-safe: a sleep holds nothing, and a permit of `Notify` stays until it is taken.
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.0.earlier.notified() => continue,
                    }
                    let now = self.now();
                    if now >= at {
                        self.0.broker.borrow_mut().handle_timeout(now);
                        self.drain();
                    }
                }
            }
        }
    }

    fn drain(&self) {
        let mut broker = self.0.broker.borrow_mut();
        while let Some(action) = broker.poll_action() {
            match action {
                Action::Transmit(conn) => self.tell(conn, Wire::ask_to_send),
                Action::PauseReading(conn) => self.tell(conn, Wire::pause),
                Action::ResumeReading(conn) => self.tell(conn, Wire::resume),
                Action::Close { conn, linger } => self.tell(conn, |wire| wire.ask_to_close(linger)),
                // Of the network, which a realm alone is not in.
                Action::Offer { .. } | Action::InwardRoom | Action::Wanted(_) | Action::Unwanted(_) => {}
                Action::Authenticate { conn, user, password } => {
                    if let Err(verdict) = self.0.prover.ask(conn, user, password) {
                        broker.handle_verdict(conn, verdict, self.now());
                    }
                }
            }
        }
        if let Some(next) = broker.next_deadline()
            && self.0.armed.get().is_none_or(|armed| next < armed)
        {
            self.0.armed.set(Some(next));
            self.0.earlier.notify_one();
        }
    }

    /// An action for a connection that is already gone concerns nobody.
    fn tell(&self, conn: ConnId, leave: impl FnOnce(&Wire)) {
        if let Some(wire) = self.0.wires.borrow().get(&conn) {
            leave(wire);
        }
    }
}
