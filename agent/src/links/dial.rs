//! Reaching a broker: its host is looked up anew each time, all its addresses are tried, and the first that proves to
//! be that broker wins.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hobnail_core::assign::Link;
use hobnail_core::ids::Name;
use rustls::{CertificateError, ClientConfig};
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::warn;

use super::tls::{Pins, any_name};
use super::{Links, Network, Proved, prepare};

/// Longest dial, from the name to the end of the handshake.
const DIAL_MAX: Duration = Duration::from_secs(3);
/// How long a name server may take before the addresses that were last right are tried instead.
const LOOKUP_MAX: Duration = Duration::from_secs(1);
/// Head start of each address before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("it is not in this topology")]
    Unknown,
    #[error("this machine has no key for links")]
    NoKey,
    #[error("failed to begin TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("failed to look up {host}: {source}")]
    Lookup { host: Box<str>, source: io::Error },
    #[error("{0} has no address")]
    NoAddress(Box<str>),
    #[error("failed to connect to {0}: {1}")]
    Connect(SocketAddr, io::Error),
    #[error("failed to shake hands with {0}: {1}")]
    Handshake(SocketAddr, io::Error),
    #[error(
        "what answers at {0} is another machine, or has another network's key: `hobnail key show` tells keys apart"
    )]
    Another(SocketAddr),
    #[error("{0} refuses this machine: it is of another network there, or not in the topology ({1})")]
    Refused(SocketAddr, io::Error),
    #[error("no answer within {} s", DIAL_MAX.as_secs())]
    TimedOut,
}

/// Where a broker is, and what is known of it.
pub struct Place {
    link: Link,
    /// Addresses that its name had the last time.
    known: RefCell<Vec<SocketAddr>>,
    /// A lookup that has not ended, though nobody waits for it any more: the next dial takes it up, so that a silent
    /// name server ties up one thread for each broker and no more.
    lookup: Cell<Option<JoinHandle<io::Result<Vec<SocketAddr>>>>>,
    /// What went wrong last, to tell it once and not at each dial.
    told: RefCell<String>,
}

impl Place {
    pub(super) fn new(link: Link) -> Self {
        Self { link, known: RefCell::default(), lookup: Cell::default(), told: RefCell::default() }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// The addresses of this place, those that a name server gave just now if it is quick.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, DialError> {
        let host = self.link.host.0.clone();
        if let Ok(address) = host.parse() {
            return Ok(vec![SocketAddr::new(address, self.link.port)]);
        }
        let whole = (String::from(&*host), self.link.port);
        let mut lookup =
            self.lookup.take().unwrap_or_else(|| spawn_blocking(move || Ok(whole.to_socket_addrs()?.collect())));
        let patience = if self.known.borrow().is_empty() { DIAL_MAX } else { LOOKUP_MAX };
        let found = match timeout(patience, &mut lookup).await {
            Ok(found) => found.map_err(io::Error::other).flatten(),
            Err(_elapsed) => {
                self.lookup.set(Some(lookup));
                Err(io::ErrorKind::TimedOut.into())
            }
        };
        match found {
            Ok(mut addresses) => {
                addresses.dedup();
                addresses.truncate(ADDRESSES_MAX);
                self.known.borrow_mut().clone_from(&addresses);
                if addresses.is_empty() { Err(DialError::NoAddress(host)) } else { Ok(addresses) }
            }
            Err(source) => {
                let known = self.known.borrow().clone();
                if known.is_empty() { Err(DialError::Lookup { host, source }) } else { Ok(known) }
            }
        }
    }

    /// Tell what keeps this machine from its broker, once each time that it changes.
    fn tell(&self, peer: &Name, error: Option<&DialError>) {
        let text = error.map(ToString::to_string).unwrap_or_default();
        if *self.told.borrow() != text {
            if error.is_some() {
                warn!(%peer, error = text, "cannot be reached; trying again and again");
            }
            *self.told.borrow_mut() = text;
        }
    }
}

impl<N: Network> Links<N> {
    pub(super) async fn reach(&self, to: &Name) -> Result<Proved, DialError> {
        let place = self.0.places.borrow().get(to).cloned().ok_or(DialError::Unknown)?;
        let pins = self.pins().ok_or(DialError::NoKey)?;
        let dialled = timeout(DIAL_MAX, dial(&place, to, &pins)).await.unwrap_or(Err(DialError::TimedOut));
        place.tell(to, dialled.as_ref().err());
        dialled
    }
}

async fn dial(place: &Place, to: &Name, pins: &Rc<Pins>) -> Result<Proved, DialError> {
    let config = pins.for_dial(to)?;
    let addresses = place.addresses().await?;
    first_of(addresses, |address| attempt(address, to.clone(), config.clone(), pins.clone())).await
}

/// Each address gets a head start; the first that succeeds ends the others.
pub(super) async fn first_of<T: 'static, F: Future<Output = Result<T, DialError>> + 'static>(
    addresses: Vec<SocketAddr>,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, DialError> {
    let mut waiting = addresses.into_iter();
    let mut running = JoinSet::new();
    let mut failed = None;
    loop {
        if let Some(address) = waiting.next() {
            running.spawn_local(attempt(address));
        }
        // Cancel-safe: a task that nobody joined stays in the set.
        let ended = if waiting.len() == 0 {
            running.join_next().await
        } else {
            match timeout(STAGGER, running.join_next()).await {
                Ok(ended) => ended,
                Err(_elapsed) => continue,
            }
        };
        match ended {
            Some(Ok(Ok(proved))) => return Ok(proved),
            Some(Ok(Err(error))) => failed = Some(more_telling(failed, error)),
            Some(Err(_)) => {}
            None => return Err(failed.unwrap_or(DialError::TimedOut)),
        }
    }
}

/// That somebody answered and was another says more than that nobody did.
fn more_telling(before: Option<DialError>, error: DialError) -> DialError {
    match before {
        Some(before @ (DialError::Another(_) | DialError::Handshake(..) | DialError::Refused(..))) => before,
        Some(_) | None => error,
    }
}

async fn attempt(
    address: SocketAddr,
    to: Name,
    config: Arc<ClientConfig>,
    pins: Rc<Pins>,
) -> Result<Proved, DialError> {
    let stream = TcpStream::connect(address).await.map_err(|error| DialError::Connect(address, error))?;
    prepare(&stream).map_err(|error| DialError::Connect(address, error))?;
    let connected = TlsConnector::from(config).connect(any_name(), stream).await;
    let mut stream = connected.map_err(|error| explain(address, error))?;
    // In TLS 1.3 the dialling side is through before the door has looked at its key. The other machine speaks first as
    // soon as it has let us in; its words stay where they are.
    match stream.fill_buf().await {
        Ok(words) if !words.is_empty() => {}
        Ok(_) => return Err(DialError::Refused(address, io::ErrorKind::UnexpectedEof.into())),
        Err(error) => return Err(DialError::Refused(address, error)),
    }
    let (stream, session) = stream.into_inner();
    match pins.name_of(session.peer_certificates()) {
        Some((peer, key)) if *peer == to => Ok(Proved { peer: to, key: key.clone(), stream, session: session.into() }),
        Some(_) | None => Err(DialError::Another(address)),
    }
}

fn explain(address: SocketAddr, error: io::Error) -> DialError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls.is_some_and(|tls| *tls == CertificateError::ApplicationVerificationFailure.into()) {
        true => DialError::Another(address),
        false => DialError::Handshake(address, error),
    }
}
