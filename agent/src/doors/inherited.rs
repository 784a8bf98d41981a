//! Listening sockets that the service manager opened before us and keeps open over our restarts, so that nobody who
//! connects meanwhile is refused. They are told apart by where they listen, not by their order.
//!
//! A door gets a copy, and the socket stays here: it listens as long as the manager holds it, whatever we do, so a door
//! that was elsewhere for a while could not be bound there again.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use tracing::warn;

#[derive(Debug, Default)]
pub struct Inherited {
    tcp: Vec<Socket<SocketAddr, TcpListener>>,
    unix: Vec<Socket<PathBuf, UnixListener>>,
}

#[derive(Debug)]
struct Socket<P, L> {
    place: P,
    listener: L,
    /// A door has been there.
    wanted: bool,
}

impl Inherited {
    /// What was handed to this process. What is no listening stream socket is left alone.
    #[must_use]
    pub fn from_env() -> Self {
        let mut handed = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..handed.len() {
            if let Err(error) = inherited.take(&mut handed, index) {
                warn!(%error, index, "a socket that the service manager handed over is of no use");
            }
        }
        inherited
    }

    fn take(&mut self, handed: &mut ListenFd, index: usize) -> io::Result<()> {
        // Of the wrong family it is an error, and the socket stays where it was.
        if let Ok(Some(listener)) = handed.take_tcp_listener(index) {
            listener.set_nonblocking(true)?;
            self.tcp.push(Socket { place: listener.local_addr()?, listener, wanted: false });
        } else if let Some(listener) = handed.take_unix_listener(index)? {
            listener.set_nonblocking(true)?;
            let path = listener.local_addr()?.as_pathname().map(Path::to_owned);
            let place = path.ok_or_else(|| io::Error::other("it has no path"))?;
            self.unix.push(Socket { place, listener, wanted: false });
        }
        Ok(())
    }

    pub fn tcp(&mut self, address: SocketAddr) -> Option<io::Result<TcpListener>> {
        let socket = self.tcp.iter_mut().find(|socket| socket.place == address)?;
        socket.wanted = true;
        Some(socket.listener.try_clone())
    }

    pub fn unix(&mut self, path: &Path) -> Option<io::Result<UnixListener>> {
        let socket = self.unix.iter_mut().find(|socket| socket.place == path)?;
        socket.wanted = true;
        Some(socket.listener.try_clone())
    }

    /// The sockets that no door wanted. Whoever connects there waits for nothing, so they are worth a warning.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let tcp = self.tcp.iter().filter(|socket| !socket.wanted).map(|socket| socket.place.to_string());
        let unix = self.unix.iter().filter(|socket| !socket.wanted);
        tcp.chain(unix.map(|socket| socket.place.display().to_string())).collect()
    }
}
