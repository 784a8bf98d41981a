//! The embedded broker of one realm, as a pure state machine: bytes of connections in, bytes and requests out.
//!
//! A realm shares nothing with another but code. The shell owns the sockets; it calls one `handle_…`, then drains
//! `poll_action`, and fetches what a connection has to send with `poll_transmit` when its socket can take it.

use std::net::IpAddr;
use std::time::Duration;

use crate::ids::Name;
use crate::rights::Rights;
use crate::time::Now;
use crate::topology::model::{Limits, WhenFull};

/// A connection of this realm. The shell picks the numbers and never uses one again while the broker knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What the shell knows of a connection when it opens.
#[derive(Clone, Debug)]
pub struct Peer {
    /// `None` on a Unix socket.
    pub address: Option<IpAddr>,
    pub trust: Trust,
}

/// What a door asks of those who come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A local program: no password, the machine's own rights.
    Local,
    /// A device: it names itself by user and proves it by password; its rights come from the topology.
    Password,
}

/// Who somebody turned out to be, and what that gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub name: Name,
    pub rights: Rights,
}

/// What the shell has to do. Drain these after every `handle_…`.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// This connection has bytes to send: call `poll_transmit`.
    Transmit(ConnId),
    /// Read no more from this connection until `ResumeReading`: it floods, or someone it feeds is behind.
    PauseReading(ConnId),
    ResumeReading(ConnId),
    /// Find out whether the password is right (slow, elsewhere) and answer with `handle_verdict`.
    Authenticate {
        conn: ConnId,
        user: Box<str>,
        password: Box<[u8]>,
    },
    /// Send what is still waiting within `linger`, then close. The broker has already forgotten the connection's id
    /// once `poll_transmit` has given its last bytes.
    Close {
        conn: ConnId,
        linger: Duration,
    },
}

/// The answer to `Action::Authenticate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Welcome(Principal),
    Refused,
}

/// Everything that a realm is set up with; may be replaced while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    pub limits: Limits,
    pub when_full: WhenFull,
    /// Who a local program is.
    pub local: Principal,
    /// Random, drawn once at start by the shell: ids that the broker assigns begin from it.
    pub id_seed: u64,
}

#[derive(Debug)]
pub struct Broker {
    settings: Settings,
}

impl Broker {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// New limits and rights at once, on everything that is open, queued or retained.
    pub fn handle_settings(&mut self, settings: Settings, _now: Now) {
        self.settings = settings;
    }

    pub fn handle_open(&mut self, _conn: ConnId, _peer: Peer, _now: Now) {
        todo!()
    }

    /// Bytes that came in, in any portions; the broker keeps what is not yet whole.
    pub fn handle_bytes(&mut self, _conn: ConnId, _bytes: &[u8], _now: Now) {
        todo!()
    }

    /// The socket is gone: closed by the other side, reset, or closed by us after `Action::Close`.
    pub fn handle_close(&mut self, _conn: ConnId, _now: Now) {
        todo!()
    }

    pub fn handle_verdict(&mut self, _conn: ConnId, _verdict: Verdict, _now: Now) {
        todo!()
    }

    /// Call at or after `next_deadline`.
    pub fn handle_timeout(&mut self, _now: Now) {
        todo!()
    }

    /// Begin a graceful stop: tell version 5 clients, then ask for every connection to be closed.
    pub fn handle_stop(&mut self, _now: Now) {
        todo!()
    }

    /// Append what this connection has to send, at most about `room` bytes more.
    pub fn poll_transmit(&mut self, _conn: ConnId, _out: &mut Vec<u8>, _room: usize, _now: Now) {
        todo!()
    }

    pub fn poll_action(&mut self) -> Option<Action> {
        todo!()
    }

    #[must_use]
    pub fn next_deadline(&self) -> Option<Now> {
        todo!()
    }
}
