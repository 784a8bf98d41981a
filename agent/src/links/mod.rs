//! Links between agents, as sockets: dialling a broker's agent door, being one, and the TLS that proves who is who.
//!
//! Nothing is decided here. The core says when to dial whom; what comes of it goes back to the core, which is told of a
//! link only once TLS has proved which machine is at its other end. A link's bytes then pass between core and socket in
//! the same loop as a program's.
//!
//! ```text
//!   core: dial ──▶ dial.rs ──▶ handshake ──▶ link_opened ──▶ doors::connection ◀──▶ core
//!   socket ──────▶ door.rs ──▶ handshake ──▶    ″
//! ```
//!
//! Invariants: one dial at a time for each broker; a dial ends, one way or the other, within its limit, and the core
//! hears of it; strangers cost a bounded number of handshakes, whatever they send.

pub mod dial;
pub mod door;
pub mod packets;
pub mod tls;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use hobnail_core::assign::Link;
use hobnail_core::ids::Name;
use hobnail_core::node::Side;
use serde::Serialize;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, spawn_local};
use tracing::{debug, info};

use self::dial::Place;
use self::packets::Packets;
use self::tls::{Pins, PublicKey};
use crate::doors::connection::{Connection, Socket};
use crate::doors::framing::Framing;
use crate::wire::{Inside, Wire};

/// Unacknowledged bytes for this long, and the kernel gives the connection up. The core's beats notice far earlier;
/// this is for what they have given up and the kernel still tries to send.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);
/// Bytes that the kernel may hold unsent. What waits beyond waits in the core, where the urgent can still go first.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// What the last words of a link that a new assignment ends may take.
const LINGER: Duration = Duration::from_secs(1);

/// The core, as far as links need it.
pub trait Network: Clone + 'static {
    type Line: Inside + Unpin + 'static;
    /// A link to `peer` stands: TLS has proved it. `None`: it is not wanted. Whoever was dialled must say something at
    /// once: the dialling side waits for it.
    fn link_opened(&self, peer: &Name, side: Side, packets: Packets) -> Option<(Self::Line, Rc<Wire>)>;
    /// The dial that was asked for has come to nothing.
    fn dial_failed(&self, to: &Name);
}

/// A connection past its handshake.
pub struct Proved {
    peer: Name,
    key: PublicKey,
    stream: TcpStream,
    session: rustls::Connection,
}

/// What has come to the door, and to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Had no key of this network, or did not speak our TLS.
    pub strangers: u64,
    /// Did not finish the handshake in time, or went away.
    pub unfinished: u64,
    /// Gave way to others while too many shook hands at once.
    pub crowded_out: u64,
}

/// A handle on all links of this agent; cloning it gives another handle on the same.
pub struct Links<N: Network>(Rc<Shared<N>>);

struct Shared<N: Network> {
    network: N,
    /// `None`: there is no key, so nobody is spoken with.
    pins: RefCell<Option<Rc<Pins>>>,
    places: RefCell<BTreeMap<Name, Rc<Place>>>,
    dials: RefCell<BTreeMap<Name, AbortHandle>>,
    open: RefCell<Vec<Open>>,
    /// The connections that the last change ends.
    ending: RefCell<Vec<Weak<Wire>>>,
    counters: Cell<Counters>,
}

struct Open {
    peer: Name,
    key: PublicKey,
    side: Side,
    /// Gone once the connection's task is.
    wire: Weak<Wire>,
}

impl<N: Network> Clone for Links<N> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<N: Network> Links<N> {
    /// Speaks with nobody until `set` says with whom.
    #[must_use]
    pub fn new(network: N) -> Self {
        Self(Rc::new(Shared {
            network,
            pins: RefCell::default(),
            places: RefCell::default(),
            dials: RefCell::default(),
            open: RefCell::default(),
            ending: RefCell::default(),
            counters: Cell::default(),
        }))
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.counters.get()
    }

    fn count(&self, what: impl FnOnce(&mut Counters) -> &mut u64) {
        let mut counters = self.0.counters.get();
        let counter = what(&mut counters);
        *counter = counter.saturating_add(1);
        self.0.counters.set(counters);
    }

    /// Speak with those that `pins` holds, and find brokers where `links` says. What stands and is concerned by the
    /// change ends; everything else stays.
    pub fn set(&self, pins: Option<Pins>, links: &BTreeMap<Name, Link>) {
        *self.0.pins.borrow_mut() = pins.map(Rc::new);
        let mut moved = Vec::new();
        self.0.places.borrow_mut().retain(|name, place| {
            let stays = links.get(name) == Some(place.link());
            if !stays {
                moved.push(name.clone());
            }
            stays
        });
        for (name, link) in links {
            let mut places = self.0.places.borrow_mut();
            places.entry(name.clone()).or_insert_with(|| Rc::new(Place::new(link.clone())));
        }
        for name in &moved {
            let dial = self.0.dials.borrow_mut().remove(name);
            if let Some(dial) = dial {
                dial.abort();
                self.0.network.dial_failed(name);
            }
        }
        let pins = self.0.pins.borrow();
        let mut ending = self.0.ending.borrow_mut();
        ending.retain(|wire| wire.strong_count() > 0);
        for open in &*self.0.open.borrow() {
            let is_pinned = pins.as_ref().is_some_and(|pins| pins.holds(&open.peer, &open.key));
            let has_moved = open.side == Side::Dialed && moved.contains(&open.peer);
            if let Some(wire) = open.wire.upgrade()
                && (!is_pinned || has_moved)
            {
                wire.ask_to_close(LINGER);
                ending.push(open.wire.clone());
            }
        }
    }

    /// Whether a link still has its last words to say.
    #[must_use]
    pub fn has_ending(&self) -> bool {
        self.0.ending.borrow().iter().any(|wire| wire.strong_count() > 0)
    }

    /// Dial `to` once, in a task of its own. May be called while the core is borrowed.
    pub fn dial(&self, to: &Name) {
        let (links, name) = (self.clone(), to.clone());
        let task = spawn_local(async move {
            let outcome = links.reach(&name).await;
            links.0.dials.borrow_mut().remove(&name);
            match outcome {
                Ok(proved) => links.start(proved, Side::Dialed),
                Err(error) => {
                    debug!(peer = %name, %error, "a dial came to nothing");
                    links.0.network.dial_failed(&name);
                }
            }
        });
        let before = self.0.dials.borrow_mut().insert(to.clone(), task.abort_handle());
        if let Some(before) = before {
            // Asked for twice at once: the one answer is that of the second.
            before.abort();
        }
    }

    /// Give up the dial to `to`; the core is not told.
    pub fn undial(&self, to: &Name) {
        if let Some(dial) = self.0.dials.borrow_mut().remove(to) {
            dial.abort();
        }
    }

    /// From here on the core and the socket speak with each other.
    fn start(&self, proved: Proved, side: Side) {
        let Proved { peer, key, stream, session } = proved;
        // Hands were shaken under pins that may have been replaced since.
        if !self.pins().is_some_and(|pins| pins.holds(&peer, &key)) {
            if side == Side::Dialed {
                self.0.network.dial_failed(&peer);
            }
            return;
        }
        info!(%peer, ?side, "linked");
        let Some((line, wire)) = self.0.network.link_opened(&peer, side, Packets::of(&stream)) else { return };
        self.remember(Open { peer: peer.clone(), key, side, wire: Rc::downgrade(&wire) });
        let framing = Framing::after_handshake(session);
        let connection = Connection::after_handshake(Socket::Tcp(stream), framing, line, wire);
        spawn_local(async move {
            connection.await;
            info!(%peer, ?side, "a link has ended");
        });
    }

    fn remember(&self, link: Open) {
        let mut open = self.0.open.borrow_mut();
        open.retain(|open| open.wire.strong_count() > 0);
        open.push(link);
    }

    fn pins(&self) -> Option<Rc<Pins>> {
        self.0.pins.borrow().clone()
    }
}

/// What every link's socket is set to before its first byte.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Beats and acknowledgements are small and must not wait for more.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    // Where packets get lost, waiting twice as long after each loss makes a live machine look dead.
    socket.set_tcp_thin_linear_timeouts(true)
}

#[cfg(test)]
mod tests;
