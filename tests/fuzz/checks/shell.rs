//! A stand-in for the agent's shell: it does what the broker asks of it, holds the broker to what a shell relies on,
//! and hands every packet to the client that it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hobnail_core::broker::{Action, Broker, ConnId, Peer, Principal, Saved, Settings, Trust, Verdict};
use hobnail_core::ids::Name;
use hobnail_core::rights::{Allow, Rights};
use hobnail_core::time::Now;
use hobnail_core::topic::Filter;
use hobnail_core::topology::model::{Limits, WhenFull};

use super::client::Client;

/// Bytes a client may have waiting in its socket, to come in when it is read again.
const UNREAD_MAX: usize = 1 << 20;

/// Deadlines that may come one after the other without time going on.
const DUE_AT_ONCE_MAX: usize = 4;

pub struct Socket {
    pub client: Client,
    unread: Vec<u8>,
    pub paused: bool,
    asked: bool,
    pub closing: bool,
    proving: bool,
}

pub struct Shell {
    pub broker: Broker,
    pub now: Now,
    pub sockets: BTreeMap<ConnId, Socket>,
    gone: BTreeSet<ConnId>,
    when_full: WhenFull,
}

pub fn limits() -> Limits {
    Limits {
        connections_max: 5,
        packet_bytes_max: 2_048,
        inflight_max: 3,
        queue_len_max: 4,
        queue_bytes_max: 4_096,
        memory_bytes_max: 8_192,
        retained_len_max: 3,
        retained_bytes_max: 2_048,
        filters_bytes_max: 1 << 20,
        subscriptions_max: 12,
        session_expiry_max: Duration::from_secs(86_400),
        keep_alive: None,
    }
}

/// The rights of those whom the script plays. Topics that begin with a dollar are not among them, so that `#` finds
/// everything that they retain; what the innocent say to each other nobody else may say.
fn rights(subscribe: &[&str]) -> Rights {
    let only = |filters: &[&str]| {
        Allow::Only(filters.iter().map(|filter| Filter::new(filter).expect("it is well formed")).collect())
    };
    Rights { publish: only(&["a/#", "b", "noise/#", "/#", "innocent/q/#"]), subscribe: only(subscribe) }
}

pub fn name(text: &str) -> Name {
    Name::new(text).expect("it is well formed")
}

/// A few ways to be set up. In all of them a queue is soon full.
pub fn settings(which: u8) -> Settings {
    let when_full = [WhenFull::DropOldest, WhenFull::DropNewest, WhenFull::Block][usize::from(which % 3)];
    // Where a full queue blocks, it blocks those who feed it: nobody else may listen to the innocent there.
    let subscribe: &[&str] = if when_full == WhenFull::Block { &["a/#", "b", "noise/#", "+"] } else { &["#"] };
    let rights = rights(subscribe);
    let mut limits = limits();
    if which & 0x80 != 0 {
        limits.memory_bytes_max = 1 << 20;
        limits.queue_len_max = 1;
    }
    Settings {
        limits,
        when_full,
        local: Principal { name: name("here"), rights: rights.clone() },
        devices: [(name("device"), rights), (name("innocent"), Rights::default())].into(),
        id_seed: 7,
        elsewhere: std::collections::BTreeMap::new(),
        topics: Vec::new(),
        outward: false,
    }
}

impl Shell {
    pub fn new(settings: Settings) -> Self {
        Self {
            when_full: settings.when_full,
            broker: Broker::new(settings, Saved::default(), Now::ZERO),
            now: Now(1_000_000),
            sockets: BTreeMap::new(),
            gone: BTreeSet::new(),
        }
    }

    pub fn when_full(&self) -> WhenFull {
        self.when_full
    }

    pub fn configure(&mut self, settings: Settings) {
        self.when_full = settings.when_full;
        self.broker.handle_settings(settings, self.now);
        self.drain();
    }

    pub fn open(&mut self, trust: Trust) -> ConnId {
        let conn = self.broker.handle_open(Peer { address: Some([10, 0, 0, 1].into()), trust }, self.now);
        let client = Client::new();
        let socket = Socket { client, unread: Vec::new(), paused: false, asked: false, closing: false, proving: false };
        assert!(self.sockets.insert(conn, socket).is_none(), "a new connection has the name of another");
        assert!(!self.gone.contains(&conn), "a new connection has the name of an old one");
        self.drain();
        conn
    }

    /// The client sends; what is not read yet waits in its socket.
    pub fn bytes(&mut self, conn: ConnId, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(piece.max(1)) {
            let Some(socket) = self.sockets.get_mut(&conn).filter(|socket| !socket.closing) else { return };
            if socket.paused || !socket.unread.is_empty() {
                if socket.unread.len() < UNREAD_MAX {
                    socket.unread.extend_from_slice(piece);
                }
                continue;
            }
            socket.client.says(piece);
            self.broker.handle_bytes(conn, piece, self.now);
            self.drain();
        }
    }

    /// The client's socket takes about `room` bytes, if there are any.
    pub fn read(&mut self, conn: ConnId, room: usize) -> bool {
        let Some(socket) = self.sockets.get_mut(&conn).filter(|socket| socket.asked) else { return false };
        socket.asked = false;
        let mut bytes = Vec::new();
        self.broker.poll_transmit(conn, &mut bytes, room, self.now);
        if let Some(socket) = self.sockets.get_mut(&conn) {
            socket.client.hears(&bytes);
        }
        self.drain();
        true
    }

    pub fn close(&mut self, conn: ConnId) {
        self.sockets.remove(&conn);
        self.gone.insert(conn);
        self.broker.handle_close(conn, self.now);
        self.drain();
    }

    pub fn verdict(&mut self, conn: ConnId, who: Option<&str>) {
        let Some(socket) = self.sockets.get_mut(&conn).filter(|socket| socket.proving) else { return };
        socket.proving = false;
        let verdict = match who {
            Some(who) => {
                let rights = if who == "innocent" { Rights::default() } else { rights(&["a/#", "b", "noise/#", "+"]) };
                Verdict::Welcome(Principal { name: name(who), rights })
            }
            None => Verdict::Refused,
        };
        self.broker.handle_verdict(conn, verdict, self.now);
        self.drain();
    }

    /// The next deadline within `end` has come.
    pub fn tick(&mut self, end: Now) -> bool {
        let Some(due) = self.broker.next_deadline().filter(|due| *due <= end) else {
            self.now = self.now.max(end);
            return false;
        };
        self.now = self.now.max(due);
        // What one deadline sets free may set another that is due at once; a shell must not spin on them.
        for _ in 0..DUE_AT_ONCE_MAX {
            self.broker.handle_timeout(self.now);
            self.drain();
            if self.broker.next_deadline().is_none_or(|next| next > self.now) {
                return true;
            }
        }
        panic!("a deadline stays due");
    }

    fn drain(&mut self) {
        let mut resumed = Vec::new();
        while let Some(action) = self.broker.poll_action() {
            let conn = match &action {
                Action::Transmit(conn) | Action::PauseReading(conn) | Action::ResumeReading(conn) => conn,
                Action::Authenticate { conn, .. } | Action::Close { conn, .. } => conn,
                Action::Wanted(_) | Action::Unwanted(_) => continue,
                Action::Store(ticket) => {
                    let ticket = *ticket;
                    while self.broker.poll_write().is_some() {}
                    self.broker.handle_stored(ticket, self.now);
                    continue;
                }
                Action::Offer { .. } | Action::InwardRoom => panic!("{action:?}, and there is no network"),
            };
            let Some(socket) = self.sockets.get_mut(conn) else {
                assert!(self.gone.contains(conn), "{action:?} for a connection that never was");
                continue;
            };
            match action {
                Action::Transmit(_) => assert!(!std::mem::replace(&mut socket.asked, true), "asked twice"),
                Action::PauseReading(_) => assert!(!std::mem::replace(&mut socket.paused, true), "paused twice"),
                Action::ResumeReading(conn) => {
                    assert!(std::mem::replace(&mut socket.paused, false), "resumed without a pause");
                    resumed.push(conn);
                }
                Action::Authenticate { .. } => {
                    assert!(!std::mem::replace(&mut socket.proving, true), "asked for two proofs at once");
                }
                Action::Wanted(_) | Action::Unwanted(_) | Action::Offer { .. } | Action::InwardRoom => {}
                Action::Store(_) => {}
                Action::Close { .. } => assert!(!std::mem::replace(&mut socket.closing, true), "closed twice"),
            }
        }
        for conn in resumed {
            let unread = self.sockets.get_mut(&conn).map(|socket| std::mem::take(&mut socket.unread));
            self.bytes(conn, &unread.unwrap_or_default(), 512);
        }
        self.bounds();
    }

    /// What never grows beyond its limits, whatever comes in.
    fn bounds(&self) {
        let limits = limits();
        assert!(self.broker.connection_count() <= limits.connections_max as usize);
        // Whoever reads may have a queue, and what it has not acknowledged, beyond what all together may have.
        let packet = u64::from(limits.packet_bytes_max) + 256;
        let each = limits.queue_bytes_max + packet * (u64::from(limits.inflight_max) + 1);
        let most = (1 << 20) + limits.retained_bytes_max + each * u64::from(limits.connections_max);
        assert!(self.broker.memory_bytes() <= most, "{} bytes", self.broker.memory_bytes());
    }
}
