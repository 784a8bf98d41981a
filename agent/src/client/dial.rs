//! From an address to an open byte stream.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use super::tls::{self, Tls, TlsError};

/// Longest wait for a socket and a TLS handshake, all addresses of a name together.
const DIAL_MAX: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// Where to connect, and how.
#[derive(Clone, Debug)]
pub struct Route {
    pub address: Address,
    pub tls: Option<Tls>,
    /// Leave from this address of ours.
    pub bind: Option<IpAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("connection refused: nothing listens on {0}; is the agent running? (hobnail run FILE)")]
    Refused(Address),
    #[error("no socket at {0}; is the agent running? (hobnail run FILE)")]
    NoSocket(Address),
    #[error("cannot find the address of {host}")]
    Unknown { host: String, source: io::Error },
    #[error("no answer from {0} within {seconds} s", seconds = DIAL_MAX.as_secs())]
    TimedOut(Address),
    #[error("cannot connect to {address}")]
    Io { address: Address, source: io::Error },
    #[error("TLS with {0} needs a host name, not a Unix socket")]
    TlsOverUnix(Address),
    #[error("no TLS with {address}")]
    Tls { address: Address, source: TlsError },
}

/// Any stream of bytes.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Connect, shake hands where TLS is wanted, within a limit.
pub async fn dial(route: &Route) -> Result<Box<dyn Duplex>, DialError> {
    timeout(DIAL_MAX, open(route)).await.unwrap_or_else(|_elapsed| Err(DialError::TimedOut(route.address.clone())))
}

async fn open(route: &Route) -> Result<Box<dyn Duplex>, DialError> {
    let fail = |error| explain(&route.address, error);
    match (&route.address, &route.tls) {
        (Address::Unix(path), None) => Ok(Box::new(UnixStream::connect(path).await.map_err(fail)?)),
        (Address::Unix(_), Some(_)) => Err(DialError::TlsOverUnix(route.address.clone())),
        (Address::Tcp { host, port }, None) => Ok(Box::new(open_tcp(route, host, *port).await?)),
        (Address::Tcp { host, port }, Some(tls)) => {
            let stream = open_tcp(route, host, *port).await?;
            let fail = |source| DialError::Tls { address: route.address.clone(), source };
            Ok(Box::new(tls::shake_hands(tls, host, stream).await.map_err(fail)?))
        }
    }
}

/// Every address of the name in turn, until one answers.
async fn open_tcp(route: &Route, host: &str, port: u16) -> Result<TcpStream, DialError> {
    let unknown = |source| DialError::Unknown { host: host.to_owned(), source };
    let mut last = None;
    for address in lookup_host((host, port)).await.map_err(unknown)? {
        if route.bind.is_some_and(|bind| bind.is_ipv4() != address.is_ipv4()) {
            continue;
        }
        let connecting = async {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            if let Some(bind) = route.bind {
                socket.bind((bind, 0).into())?;
            }
            let stream = socket.connect(address).await?;
            // Whole windows are written at once; waiting for more to send only costs time.
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        match connecting.await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => explain(&route.address, error),
        None => unknown(io::Error::new(io::ErrorKind::NotFound, "no address of a fitting kind")),
    })
}

fn explain(address: &Address, source: io::Error) -> DialError {
    let address = address.clone();
    if source.kind() == io::ErrorKind::ConnectionRefused {
        DialError::Refused(address)
    } else if source.kind() == io::ErrorKind::NotFound {
        DialError::NoSocket(address)
    } else {
        DialError::Io { address, source }
    }
}
