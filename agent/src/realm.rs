//! One broker and the sockets that talk to it, on one thread.
//!
//! The broker is borrowed for one `handle_…` at a time, never across an await. What it then wants of a connection is
//! left in that connection's `Wishes`, and its task is woken; the task runs after every socket that is ready now has
//! been read, so that output gathers by itself.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hobnail_core::broker::{Action, Broker, ConnId, Counters, Peer, Settings, Verdict};
use hobnail_core::time::Now;
use tokio::sync::{Notify, mpsc};

/// Passwords that wait to be looked at; with more, the door says no.
const PROOFS_MAX: usize = 32;

/// A password to be looked at.
#[derive(Debug)]
pub struct Proof {
    pub conn: ConnId,
    pub user: Box<str>,
    pub password: Box<[u8]>,
}

/// What the broker wants of one connection.
#[derive(Debug, Default)]
pub struct Wishes {
    pub transmit: Cell<bool>,
    pub paused: Cell<bool>,
    /// Send what is left for this long, then close.
    pub close: Cell<Option<Duration>>,
    wake: Notify,
}

impl Wishes {
    /// Until the broker wants something new. Cancel-safe: a wish stays until it is taken.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }
}

#[derive(Debug)]
pub struct Realm {
    broker: RefCell<Broker>,
    wishes: RefCell<HashMap<ConnId, Rc<Wishes>>>,
    started: Instant,
    /// Woken when the next deadline may have come nearer.
    deadline_moved: Notify,
    armed: Cell<Option<Now>>,
    proofs: mpsc::Sender<Proof>,
}

impl Realm {
    /// The realm, and the passwords that someone has to look at.
    #[must_use]
    pub fn new(settings: Settings) -> (Rc<Self>, mpsc::Receiver<Proof>) {
        let (proofs, receiver) = mpsc::channel(PROOFS_MAX);
        let realm = Self {
            broker: RefCell::new(Broker::new(settings)),
            wishes: RefCell::default(),
            started: Instant::now(),
            deadline_moved: Notify::new(),
            armed: Cell::new(None),
            proofs,
        };
        (Rc::new(realm), receiver)
    }

    fn now(&self) -> Now {
        Now::ZERO.after(self.started.elapsed())
    }

    pub fn open(&self, peer: Peer) -> (ConnId, Rc<Wishes>) {
        let wishes = Rc::new(Wishes::default());
        let conn = self.broker.borrow_mut().handle_open(peer, self.now());
        self.wishes.borrow_mut().insert(conn, wishes.clone());
        self.drain();
        (conn, wishes)
    }

    pub fn bytes(&self, conn: ConnId, bytes: &[u8]) {
        self.broker.borrow_mut().handle_bytes(conn, bytes, self.now());
        self.drain();
    }

    pub fn close(&self, conn: ConnId) {
        self.wishes.borrow_mut().remove(&conn);
        self.broker.borrow_mut().handle_close(conn, self.now());
        self.drain();
    }

    /// Append what the connection has to send to `out`.
    pub fn transmit(&self, conn: ConnId, out: &mut Vec<u8>, room: usize) {
        self.broker.borrow_mut().poll_transmit(conn, out, room, self.now());
        self.drain();
    }

    pub fn verdict(&self, conn: ConnId, verdict: Verdict) {
        self.broker.borrow_mut().handle_verdict(conn, verdict, self.now());
        self.drain();
    }

    pub fn stop(&self) {
        self.broker.borrow_mut().handle_stop(self.now());
        self.drain();
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        *self.broker.borrow().counters()
    }

    /// Whether every connection has been closed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wishes.borrow().is_empty()
    }

    fn drain(&self) {
        let wishes = self.wishes.borrow();
        let wish = |conn: ConnId, set: &dyn Fn(&Wishes)| {
            if let Some(wishes) = wishes.get(&conn) {
                set(wishes);
                wishes.wake.notify_one();
            }
        };
        let mut refused = Vec::new();
        let mut broker = self.broker.borrow_mut();
        while let Some(action) = broker.poll_action() {
            match action {
                Action::Transmit(conn) => wish(conn, &|wishes| wishes.transmit.set(true)),
                Action::PauseReading(conn) => wish(conn, &|wishes| wishes.paused.set(true)),
                Action::ResumeReading(conn) => wish(conn, &|wishes| wishes.paused.set(false)),
                Action::Close { conn, linger } => wish(conn, &|wishes| wishes.close.set(Some(linger))),
                Action::Authenticate { conn, user, password } => {
                    if self.proofs.try_send(Proof { conn, user, password }).is_err() {
                        refused.push(conn);
                    }
                }
            }
        }
        let deadline = broker.next_deadline();
        drop((broker, wishes));
        if deadline.is_some_and(|next| self.armed.get().is_none_or(|armed| next < armed)) {
            self.armed.set(deadline);
            self.deadline_moved.notify_one();
        }
        for conn in refused {
            tracing::warn!("too many passwords to look at; one was refused unseen");
            self.verdict(conn, Verdict::Refused);
        }
    }

    /// Wake the broker at its deadlines, for ever.
    pub async fn keep_time(&self) {
        loop {
            let next = self.broker.borrow().next_deadline();
            self.armed.set(next);
            let Some(next) = next else {
                self.deadline_moved.notified().await;
                continue;
            };
            let at = self.started + next.since(Now::ZERO);
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {
                    self.broker.borrow_mut().handle_timeout(self.now());
                    self.drain();
                }
                () = self.deadline_moved.notified() => {}
            }
        }
    }
}
