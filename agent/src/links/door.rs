//! The agent door: where other machines of the network come in, and strangers do not.
//!
//! Every handshake has its own task and a limit in time; so many may go on at once. One more, and the address that has
//! most of them loses its oldest: whoever floods the door crowds out itself first.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hobnail_core::node::Side;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::tls::Pins;
use super::{Links, Network, Proved, prepare};
use crate::doors::accept_all;

/// Longest handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(3);
/// Handshakes at once: a network's machines may all come together after their hub was away.
pub(super) const HANDSHAKES_MAX: usize = 128;
/// Strangers are told of at most this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Why somebody was not let in.
#[derive(Debug, thiserror::Error)]
enum DoorError {
    #[error("{0}")]
    Stranger(rustls::Error),
    #[error("{0}")]
    Gone(io::Error),
    #[error("the handshake took too long")]
    TimedOut,
}

/// Handshakes that go on, by where they come from, oldest first.
#[derive(Default)]
pub(super) struct Crowd {
    by_origin: RefCell<BTreeMap<IpAddr, VecDeque<(u64, AbortHandle)>>>,
    entered: Cell<u64>,
}

/// What a door keeps between those who come.
struct Porch {
    crowd: Crowd,
    told: Cell<Option<Instant>>,
    untold: Cell<u64>,
}

/// Let in machines of this network until `stop` turns true.
pub async fn serve<N: Network>(listener: TcpListener, links: Links<N>, stop: watch::Receiver<bool>) {
    let porch = Rc::new(Porch { crowd: Crowd::default(), told: Cell::default(), untold: Cell::default() });
    let enter = |(stream, address)| enter(stream, address, &links, &porch);
    accept_all(async || listener.accept().await, enter, stop).await;
}

fn enter<N: Network>(stream: TcpStream, address: SocketAddr, links: &Links<N>, porch: &Rc<Porch>) {
    let Some(pins) = links.pins() else { return };
    let id = porch.crowd.next_id();
    let origin = origin(address.ip());
    let (mine, at) = (links.clone(), porch.clone());
    let task = spawn_local(async move {
        let shaken = timeout(HANDSHAKE_MAX, shake(stream, pins)).await.unwrap_or(Err(DoorError::TimedOut));
        at.crowd.leave(origin, id);
        match shaken {
            Ok(proved) => mine.start(proved, Side::Accepted),
            Err(error) => at.refuse(&mine, address, &error),
        }
    });
    if porch.crowd.join(origin, id, task.abort_handle()) {
        links.count(|counters| &mut counters.crowded_out);
    }
}

async fn shake(stream: TcpStream, pins: Rc<Pins>) -> Result<Proved, DoorError> {
    prepare(&stream).map_err(DoorError::Gone)?;
    let accepted = TlsAcceptor::from(pins.for_door()).accept(stream).await;
    let (stream, session) = accepted.map_err(DoorError::of)?.into_inner();
    let Some((peer, key)) = pins.name_of(session.peer_certificates()) else {
        return Err(DoorError::Stranger(rustls::Error::NoCertificatesPresented));
    };
    Ok(Proved { peer: peer.clone(), key: key.clone(), stream, session: session.into() })
}

impl DoorError {
    fn of(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => Self::Stranger(tls.clone()),
            None => Self::Gone(error),
        }
    }
}

impl Porch {
    fn refuse<N: Network>(&self, links: &Links<N>, address: SocketAddr, error: &DoorError) {
        debug!(%address, %error, "not let in at the agent door");
        match error {
            DoorError::Stranger(_) => links.count(|counters| &mut counters.strangers),
            DoorError::Gone(_) | DoorError::TimedOut => return links.count(|counters| &mut counters.unfinished),
        }
        self.untold.set(self.untold.get().saturating_add(1));
        if self.told.get().is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told.set(Some(Instant::now()));
            let (times, address) = (self.untold.take(), address.ip().to_canonical());
            warn!(%address, %error, times, "someone without a key of this network came to the agent door");
        }
    }
}

impl Crowd {
    pub(super) fn next_id(&self) -> u64 {
        self.entered.set(self.entered.get() + 1);
        self.entered.get()
    }

    /// One more shakes hands. True if somebody had to give way.
    pub(super) fn join(&self, origin: IpAddr, id: u64, task: AbortHandle) -> bool {
        let mut all = self.by_origin.borrow_mut();
        all.entry(origin).or_default().push_back((id, task));
        if all.values().map(VecDeque::len).sum::<usize>() <= HANDSHAKES_MAX {
            return false;
        }
        let Some((&most, crowd)) =
            all.iter_mut().max_by_key(|(_, crowd)| (crowd.len(), Reverse(crowd.front().map(|(id, _)| *id))))
        else {
            return false;
        };
        let oldest = crowd.pop_front();
        if crowd.is_empty() {
            all.remove(&most);
        }
        // Its task holds the socket and nothing else.
        oldest.is_some_and(|(_, task)| {
            task.abort();
            true
        })
    }

    fn leave(&self, origin: IpAddr, id: u64) {
        let mut all = self.by_origin.borrow_mut();
        let Some(crowd) = all.get_mut(&origin) else { return };
        crowd.retain(|(one, _)| *one != id);
        if crowd.is_empty() {
            all.remove(&origin);
        }
    }
}

/// Who counts as one: an IPv4 address, or the /64 that a single host has in IPv6.
pub(super) fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}
