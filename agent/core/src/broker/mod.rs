//! The embedded broker of one realm, as a pure state machine: bytes of connections in, bytes and requests out.
//!
//! A realm shares nothing with another but code. The shell owns the sockets; it calls one `handle_…`, then drains
//! `poll_action`, and fetches what a connection has to send with `poll_transmit` when its socket can take it.
//!
//! ```text
//!            CONNECT            password right
//!   New ───────────────▶ Proving ───────────▶ Open ──▶ Closing ──▶ (socket closed)
//!    │      without a password                 ▲          ▲
//!    ├─────────────────────────────────────────┘          │
//!    └── 3 s, a fault, a refusal ─────────────────────────┘
//! ```
//!
//! Invariants: a message is in memory once, and its bytes are counted until the last session lets go of it. A publish
//! that cannot be taken now is left where it came in, and its connection is read no further. Whoever reads and
//! acknowledges misses no QoS 1 or 2 message; whoever does not costs its own queue and nothing else.

mod bytes;
mod connect;
mod connection;
mod counters;
mod dead;
mod deliver;
mod failures;
mod figures;
mod filter_tree;
mod flights;
mod inward;
mod keeping;
mod ledger;
mod message;
mod outward;
mod pieces;
mod publish;
mod reading;
mod restore;
mod retained;
mod saved;
mod session;
mod subscribe;
mod table;
mod told;
mod why;
mod wills;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use std::net::IpAddr;
use std::time::Duration;

use crate::ids::Name;
use crate::mqtt::packet::Reason;
use crate::rights::Rights;
use crate::time::Now;
use crate::topology::model::{Limits, TopicRule, WhenFull};

use connection::{Connection, Phase};
use dead::DeadLetters;
use failures::Failures;
use figures::Figures;
use filter_tree::FilterTree;
use inward::InwardWaits;
use ledger::Ledger;
use outward::Outward;
use retained::Retained;
use session::{Pace, Session};
use table::{Key, Table};

pub use bytes::{MARK, NotBelieved, Reading};
pub use counters::Counters;
pub use dead::RequeueError;
pub use figures::Fill;
pub use inward::{Inward, NoRoom, Retain};
pub use message::{Content, Message, Meter};
pub use outward::OfferId;
pub use saved::{Dead, Saved, Standing, Ticket, Waiting, Will, Write};
pub use session::Granted;

/// How long a connection may take to CONNECT.
const CONNECT_WAIT: Duration = Duration::from_secs(3);
/// Connections that have not sent CONNECT yet; one more, and the oldest of them goes.
const NEWCOMERS_MAX: usize = 64;
/// Largest first packet.
const FIRST_BYTES_MAX: usize = 64 << 10;
/// How long a full queue may stand still before it holds up its publishers no longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Sessions, with and without a connection, for each connection allowed.
const SESSIONS_PER_CONNECTION: usize = 10;
/// How often expired retained messages are swept out.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// A connection of this realm, as `handle_open` named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(Key);

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
    /// Read no more. Send what `poll_transmit` still gives, for `linger` at the most; then close the socket and call
    /// `handle_close`.
    Close {
        conn: ConnId,
        linger: Duration,
    },
    /// For the other machines. With a token its publisher waits for an answer: end it with `handle_settled`.
    Offer {
        token: Option<OfferId>,
        message: Rc<Message>,
    },
    /// What `handle_inward` refused may be tried again.
    InwardRoom,
    /// The first subscription to this filter has come.
    Wanted(Box<str>),
    /// The last subscription to this filter has gone.
    Unwanted(Box<str>),
    /// Make everything so far durable, then call `handle_stored` with this.
    Store(Ticket),
}

/// The answer to `Action::Authenticate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Welcome(Principal),
    Refused,
    /// Nobody had the time to find out.
    Busy,
}

/// Everything that a realm is set up with; may be replaced while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    pub limits: Limits,
    pub when_full: WhenFull,
    /// Who a local program is.
    pub local: Principal,
    /// What devices may do, by name.
    pub devices: BTreeMap<Name, Rights>,
    /// Random, drawn once at start by the shell: ids that the broker assigns begin from it.
    pub id_seed: u64,
    /// Who serves a device when this broker does not: a host, perhaps with a port.
    pub elsewhere: BTreeMap<Name, Box<str>>,
    /// What an acknowledgement promises, by topic; the first that matches.
    pub topics: Vec<TopicRule>,
    /// Whether there is a network: what is published is offered to it, and acknowledged when that is settled.
    pub outward: bool,
}

/// What a deadline is for. Whether it still means anything is looked at when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Connect(Key),
    Silence(Key),
    Stall(Key),
    Will(Key),
    SessionEnd(Key),
    Sweep,
    Figures,
}

/// Whether a packet was dealt with, or has to wait where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Done,
    Wait,
}

#[derive(Debug)]
pub struct Broker {
    settings: Settings,
    started: Now,
    local: Rc<Principal>,
    conns: Table<Connection>,
    sessions: Table<Session>,
    by_client: BTreeMap<Box<str>, Key>,
    tree: FilterTree<Granted>,
    retained: Retained,
    timers: BTreeSet<(Now, Timer)>,
    actions: VecDeque<Action>,
    counters: Counters,
    ledger: Ledger,
    dead: DeadLetters,
    failures: Failures,
    figures: Figures,
    outward: Outward,
    inward_waits: InwardWaits,
    /// Connections before CONNECT, oldest first; some may have moved on.
    newcomers: VecDeque<Key>,
    new_count: usize,
    open_count: usize,
    open_count_max: usize,
    ids_assigned: u64,
    meter: Meter,
    /// Not before this it is looked for those who take nothing, though the memory is full.
    relief_due: Now,
    /// Of all packets that are not yet whole.
    input_bytes: usize,
    sweep_armed: bool,
    stopping: bool,
    /// Sessions in which room may have come.
    eased: BTreeSet<Key>,
    /// Connections that may be read again, with input that waits, by since when it does.
    resumed: BTreeSet<(u64, Key)>,
    /// How often anybody began to wait.
    waits: u64,
    /// Kept between publishes, so that routing allocates nothing.
    found: Vec<(Key, Granted)>,
}

impl Broker {
    /// A broker that has just started, with what its store read back.
    #[must_use]
    pub fn new(settings: Settings, saved: Saved, now: Now) -> Self {
        let mut broker = Self {
            started: now,
            local: Rc::new(settings.local.clone()),
            settings,
            conns: Table::default(),
            sessions: Table::default(),
            by_client: BTreeMap::new(),
            tree: FilterTree::default(),
            retained: Retained::default(),
            timers: BTreeSet::new(),
            actions: VecDeque::new(),
            counters: Counters::default(),
            ledger: Ledger::behind(saved.numbers, saved.numbers_beyond()),
            dead: DeadLetters::default(),
            failures: Failures::default(),
            figures: Figures::default(),
            outward: Outward::default(),
            inward_waits: InwardWaits::default(),
            newcomers: VecDeque::new(),
            new_count: 0,
            open_count: 0,
            open_count_max: 0,
            ids_assigned: 0,
            meter: Meter::default(),
            relief_due: now,
            input_bytes: 0,
            sweep_armed: false,
            stopping: false,
            eased: BTreeSet::new(),
            resumed: BTreeSet::new(),
            waits: 0,
            found: Vec::new(),
        };
        broker.restore(saved, now);
        broker.settle(now);
        broker
    }

    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Bytes of all messages that anyone waits for or that are retained.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.meter.bytes()
    }

    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.open_count
    }

    /// New limits and rights at once, on everything that is open, queued or retained. A device that the settings no
    /// longer name loses its connection and its session.
    pub fn handle_settings(&mut self, settings: Settings, now: Now) {
        let had_outward = std::mem::replace(&mut self.settings, settings).outward;
        if had_outward && !self.settings.outward {
            self.leave_outward();
            self.keep_all_retained();
        }
        self.local = Rc::new(self.settings.local.clone());
        for key in self.sessions.keys() {
            let Some(session) = self.sessions.get_mut(key) else { continue };
            // Whether they still have to wait is found out again.
            let waiting = std::mem::take(&mut session.waiting);
            self.go_on(waiting);
            let Some(session) = self.sessions.get_mut(key) else { continue };
            if !session.client_id.contains('\0') {
                session.principal = self.local.clone();
                continue;
            }
            let name = session.principal.name.clone();
            if let Some(rights) = self.settings.devices.get(&name) {
                session.principal = Rc::new(Principal { name, rights: rights.clone() });
                continue;
            }
            if let Some(conn) = session.conn {
                self.close(conn, Reason::ADMINISTRATIVE_ACTION, now);
            }
            self.end_session(key, now);
        }
        self.settle(now);
    }

    /// The door that these came in by is closed, or is elsewhere now.
    pub fn handle_shut_out(&mut self, conns: impl IntoIterator<Item = ConnId>, now: Now) {
        for conn in conns {
            self.close(conn.0, Reason::ADMINISTRATIVE_ACTION, now);
        }
        self.settle(now);
    }

    pub fn handle_open(&mut self, peer: Peer, now: Now) -> ConnId {
        let conn = self.conns.insert(Connection::new(peer, now));
        self.counters.connections_opened += 1;
        self.new_count += 1;
        if self.stopping {
            self.expect_connect(conn, now);
            return ConnId(conn);
        }
        self.newcomers.push_back(conn);
        self.arm(conn, Some((now.after(CONNECT_WAIT), Timer::Connect(conn))));
        while self.new_count > NEWCOMERS_MAX {
            let Some(oldest) = self.newcomers.pop_front() else { break };
            self.expect_connect(oldest, now);
        }
        while self.newcomers.front().is_some_and(|first| !self.is_new(*first)) {
            self.newcomers.pop_front();
        }
        self.settle(now);
        ConnId(conn)
    }

    fn is_new(&self, conn: Key) -> bool {
        self.conns.get(conn).is_some_and(|connection| matches!(connection.phase, Phase::New))
    }

    /// A connection that has not said who it is in time.
    fn expect_connect(&mut self, conn: Key, now: Now) {
        if self.is_new(conn) {
            self.counters.connections_refused += 1;
            self.close_silently(conn, now);
        }
    }

    /// Bytes that came in, in any portions; the broker keeps what is not yet whole.
    pub fn handle_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Now) {
        self.counters.bytes_received += bytes.len() as u64;
        self.process_input(conn.0, bytes, now);
        self.settle(now);
    }

    /// The socket is gone: closed by the other side, reset, or closed by us after `Action::Close`.
    pub fn handle_close(&mut self, conn: ConnId, now: Now) {
        self.note_failure(conn.0);
        self.leave(conn.0, now);
        if let Some(gone) = self.conns.remove(conn.0) {
            self.input_bytes -= gone.input_counted;
        }
        self.settle(now);
    }

    /// Call at or after `next_deadline`.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Connect(conn) => self.expect_connect(conn, now),
                Timer::Silence(conn) => self.silence(conn, now),
                Timer::Stall(session) => self.stall(session, now),
                Timer::Will(session) => self.will_due(session, now),
                Timer::SessionEnd(session) => self.session_end(session, now),
                Timer::Sweep => self.sweep(now),
                Timer::Figures => self.figures_due(now),
            }
        }
        self.settle(now);
    }

    /// Begin a graceful stop: give every client what waits for it, tell version 5 clients, then ask for every connection
    /// to be closed. Who comes now is turned away.
    pub fn handle_stop(&mut self, now: Now) {
        self.stopping = true;
        for conn in self.conns.keys() {
            self.say_the_rest(conn, now);
            self.close_for_good(conn, now);
        }
        self.settle(now);
    }

    /// Devices are told who serves on, where somebody does; a program's broker is the one on its machine.
    fn close_for_good(&mut self, conn: Key, now: Now) {
        let Some(connection) = self.conns.get(conn) else { return };
        let session = connection.open().and_then(|open| self.sessions.get(open.session));
        let device = session.filter(|_| connection.peer.trust == Trust::Password);
        let elsewhere = device.and_then(|device| self.settings.elsewhere.get(&device.principal.name));
        match elsewhere.cloned() {
            Some(elsewhere) => self.close_with(conn, Reason::USE_ANOTHER_SERVER, Some(&elsewhere), now),
            None => self.close(conn, Reason::SERVER_SHUTTING_DOWN, now),
        }
    }

    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    #[must_use]
    pub fn next_deadline(&self) -> Option<Now> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Keep alive: nothing has come for one and a half times as long as was promised.
    fn silence(&mut self, conn: Key, now: Now) {
        let Some(connection) = self.conns.get(conn) else { return };
        let Some(open) = connection.open() else { return };
        let due = connection.last_seen.after(Duration::from_micros(open.silence_max_us));
        // What is not read for our own reasons is not silence.
        if due > now || connection.paused {
            let again = if due > now { due } else { now.after(Duration::from_micros(open.silence_max_us)) };
            return self.arm(conn, Some((again, Timer::Silence(conn))));
        }
        self.counters.keep_alive_timeouts += 1;
        self.close(conn, Reason::KEEP_ALIVE_TIMEOUT, now);
    }

    /// What has stood still for too long holds up nobody any more. Where it may lose nothing, those who wait are refused if
    /// they can be told so, and wait on if not.
    fn stall(&mut self, key: Key, now: Now) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.stall_at = None;
        if session.waiting.is_empty() {
            return;
        }
        let due = session.progress.after(PATIENCE);
        if due > now {
            return self.look_for_stall(key, due);
        }
        session.pace = Pace::Stalled;
        let limits = &self.settings.limits;
        let is_full = session.is_full(limits);
        let loses_nothing = is_full && self.settings.when_full == WhenFull::Block;
        let waiting = std::mem::take(&mut session.waiting);
        let (stay, go) = waiting.into_iter().partition(|who| loses_nothing && *who == session::Waiter::Inward);
        session.waiting = stay;
        if !session.waiting.is_empty() {
            self.look_for_stall(key, now.after(PATIENCE));
        }
        self.go_on(go);
    }

    /// Look at a queue that somebody waits for, whether it stands still.
    fn look_for_stall(&mut self, key: Key, at: Now) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.stall_at = Some(at);
        self.timers.insert((at, Timer::Stall(key)));
    }

    fn session_end(&mut self, key: Key, now: Now) {
        let Some(session) = self.sessions.get(key) else { return };
        if session.conn.is_none() && session.ends().is_some_and(|ends| ends <= now) {
            self.counters.sessions_expired += 1;
            self.end_session(key, now);
        }
    }

    fn sweep(&mut self, now: Now) {
        for gone in self.retained.sweep(now) {
            self.counters.dropped_expired += 1;
            self.note_unretained(&gone);
        }
        self.sweep_armed = false;
        if self.retained.len() > 0 {
            self.arm_sweep(now);
        }
    }

    fn arm_sweep(&mut self, now: Now) {
        if !self.sweep_armed {
            self.sweep_armed = true;
            self.timers.insert((now.after(SWEEP_EVERY), Timer::Sweep));
        }
    }

    /// A connection has one deadline at a time, so that coming and going leaves none behind.
    fn arm(&mut self, conn: Key, timer: Option<(Now, Timer)>) {
        let Some(connection) = self.conns.get_mut(conn) else { return };
        if let Some(before) = std::mem::replace(&mut connection.timer, timer) {
            self.timers.remove(&before);
        }
        self.timers.extend(timer);
    }
}

#[cfg(test)]
mod tests;
