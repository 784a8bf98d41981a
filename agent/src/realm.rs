//! The broker of one realm as the tasks of this thread share it: each borrows it for one call, never across an await.
//!
//! A call into the broker is followed at once by draining its actions. What concerns a connection is left in its `Wire`,
//! which wakes that connection's task; nothing is read or written here.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use hobnail_core::broker::{Action, Broker, ConnId, Peer, Settings, Verdict};
use hobnail_core::time::Now;
use tokio::sync::Notify;

use crate::auth::Prover;

/// A deadline that was missed by this much shows that something is stuck.
const LATE_MAX: Duration = Duration::from_secs(5);

/// What the broker wants of one connection, and how its task is woken.
#[derive(Debug, Default)]
pub struct Wire {
    transmit: Cell<bool>,
    paused: Cell<bool>,
    close: Cell<Option<Duration>>,
    /// The task looks at this by itself before it sleeps again, so it needs no waking.
    running: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Wire {
    /// The task runs from here on until `sleep`.
    pub fn run(&self, waker: &Waker) {
        self.running.set(true);
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    pub fn sleep(&self) {
        self.running.set(false);
    }

    pub fn take_transmit(&self) -> bool {
        self.transmit.replace(false)
    }

    /// The broker may have more than fitted.
    pub fn ask_again(&self) {
        self.transmit.set(true);
    }

    pub fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// How long what waits may still be sent, once the broker has asked to close.
    pub fn take_close(&self) -> Option<Duration> {
        self.close.take()
    }

    fn wake(&self) {
        if !self.running.get()
            && let Some(waker) = self.waker.borrow().as_ref()
        {
            waker.wake_by_ref();
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
    pub fn open(&self, peer: Peer) -> (ConnId, Rc<Wire>) {
        let now = self.now();
        let conn = self.0.broker.borrow_mut().handle_open(peer, now);
        let wire = Rc::new(Wire::default());
        self.0.wires.borrow_mut().insert(conn, wire.clone());
        self.drain();
        (conn, wire)
    }

    pub fn bytes(&self, conn: ConnId, bytes: &[u8]) {
        let now = self.now();
        self.0.broker.borrow_mut().handle_bytes(conn, bytes, now);
        self.drain();
    }

    pub fn transmit(&self, conn: ConnId, out: &mut Vec<u8>, room: usize) {
        let now = self.now();
        self.0.broker.borrow_mut().poll_transmit(conn, out, room, now);
        self.drain();
    }

    pub fn closed(&self, conn: ConnId) {
        let now = self.now();
        self.0.broker.borrow_mut().handle_close(conn, now);
        self.0.wires.borrow_mut().remove(&conn);
        self.drain();
        if self.0.wires.borrow().is_empty() {
            self.0.emptied.notify_one();
        }
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
                Action::Transmit(conn) => self.tell(conn, |wire| wire.transmit.set(true)),
                Action::PauseReading(conn) => self.tell(conn, |wire| wire.paused.set(true)),
                Action::ResumeReading(conn) => self.tell(conn, |wire| wire.paused.set(false)),
                Action::Close { conn, linger } => self.tell(conn, |wire| wire.close.set(Some(linger))),
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
            wire.wake();
        }
    }
}
