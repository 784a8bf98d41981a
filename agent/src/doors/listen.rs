//! Opening listening sockets: at once, or again and again while the address is not there yet.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tracing::{info, warn};

/// Connections that the kernel keeps for us until we accept them.
const BACKLOG: u32 = 1024;
/// The first wait for an address that is not there; it doubles up to `WAIT_MAX`.
const WAIT: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "failed to bind {address}: address in use; is mosquitto or another hobnail running? \
         `ss -ltnp 'sport = :{port}'` tells",
        port = address.port()
    )]
    InUse { address: SocketAddr },
    #[error("failed to bind {path}: another process answers there; is another hobnail running?")]
    SocketInUse { path: PathBuf },
    #[error("failed to bind {path}: {what} is in the way")]
    InTheWay { path: PathBuf, what: &'static str },
    /// This machine does not have the address, for now.
    #[error("failed to bind {0}: this machine does not have that address")]
    NotHere(SocketAddr),
    #[error("failed to bind {0}: {1}")]
    Tcp(SocketAddr, io::Error),
    #[error("failed to bind {path}: {error}")]
    Unix { path: PathBuf, error: io::Error },
}

impl ListenError {
    /// For want of permission, as the exit code tells.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Tcp(_, error) | Self::Unix { error, .. } => error.kind() == ErrorKind::PermissionDenied,
            Self::InUse { .. } | Self::SocketInUse { .. } | Self::InTheWay { .. } | Self::NotHere(_) => false,
        }
    }
}

/// Listen at `address` now.
pub fn tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let open = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restart must not wait for the kernel to forget the old connections.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|error| {
        if error.kind() == ErrorKind::AddrInUse {
            ListenError::InUse { address }
        } else if error.kind() == ErrorKind::AddrNotAvailable {
            ListenError::NotHere(address)
        } else {
            ListenError::Tcp(address, error)
        }
    })
}

/// Listen at `port` on every address, of IPv6 and IPv4 both where this machine has both.
pub fn everywhere(port: u16) -> Result<TcpListener, ListenError> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let open = || -> io::Result<TcpListener> {
        let socket = TcpSocket::new_v6()?;
        SockRef::from(&socket).set_only_v6(false)?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    match open() {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(ListenError::InUse { address }),
        // A kernel without IPv6, or with it switched off.
        Err(_) => tcp((Ipv4Addr::UNSPECIFIED, port).into()),
    }
}

/// Listen at `address` as soon as that is possible. Networks come up late, and cables come loose.
pub async fn tcp_at_last(address: SocketAddr) -> TcpListener {
    let mut wait = WAIT;
    loop {
        tokio::time::sleep(wait).await;
        match tcp(address) {
            Ok(listener) => {
                info!(%address, "listening at last");
                return listener;
            }
            Err(ListenError::NotHere(_)) => {}
            Err(error) => warn!(%error, "still trying"),
        }
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// Listen on the Unix socket `path`, for this user and group. A socket that nobody answers on is an old one, and goes.
pub fn unix(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |error| ListenError::Unix { path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Ok(facts) if !facts.file_type().is_socket() => {
            let what = if facts.is_dir() { "a directory" } else { "a file" };
            return Err(ListenError::InTheWay { path: path.to_owned(), what });
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed)?,
            Ok(_) | Err(_) => return Err(ListenError::SocketInUse { path: path.to_owned() }),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}
