//! Listening sockets that the service manager opened before us and keeps open over our restarts, so that nobody who
//! connects meanwhile is refused. They are told apart by where they listen, not by their order.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use tracing::warn;

#[derive(Debug, Default)]
pub struct Inherited {
    tcp: Vec<(SocketAddr, TcpListener)>,
    unix: Vec<(PathBuf, UnixListener)>,
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
            self.tcp.push((listener.local_addr()?, listener));
        } else if let Some(listener) = handed.take_unix_listener(index)? {
            listener.set_nonblocking(true)?;
            let path = listener.local_addr()?.as_pathname().map(Path::to_owned);
            self.unix.push((path.ok_or_else(|| io::Error::other("it has no path"))?, listener));
        }
        Ok(())
    }

    pub fn take_tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self.tcp.iter().position(|(listens, _)| *listens == address)?;
        Some(self.tcp.swap_remove(at).1)
    }

    pub fn take_unix(&mut self, path: &Path) -> Option<UnixListener> {
        let at = self.unix.iter().position(|(listens, _)| listens == path)?;
        Some(self.unix.swap_remove(at).1)
    }

    /// The sockets that no door wanted. Whoever connects there waits for nothing, so they are worth a warning.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let tcp = self.tcp.iter().map(|(address, _)| address.to_string());
        tcp.chain(self.unix.iter().map(|(path, _)| path.display().to_string())).collect()
    }
}
