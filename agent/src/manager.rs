//! The service manager, as systemd's notification protocol has it: it is told when the agent is ready, how it is in one
//! line, and that its loop makes progress. Without one, all of this is silence.
//!
//! Never waits: the socket does not block, and what it does not take is dropped. A lost sign of life is followed by the
//! next one long before the manager misses it.

use std::cell::RefCell;
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tracing::{debug, warn};

/// How often the line of state is brought up to date where no watchdog asks for more.
const STATUS_EVERY: Duration = Duration::from_secs(30);
/// Signs of life in each of the manager's intervals, so that two may be lost.
const BEATS: u32 = 3;

pub struct Manager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    /// The line that was told last.
    status: RefCell<String>,
}

impl Manager {
    /// The one that started this process, where there is one.
    #[must_use]
    pub fn from_env() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()).and_then(|path| {
            connect(&path).inspect_err(|error| warn!(%error, "failed to reach the service manager")).ok()
        });
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let is_for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|every| *every > 0 && is_for_us).map(Duration::from_micros);
        Self { socket, watchdog, status: RefCell::default() }
    }

    /// How often it wants to hear; `None` when there is nobody to tell.
    #[must_use]
    pub fn every(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        Some(self.watchdog.map_or(STATUS_EVERY, |watchdog| watchdog / BEATS))
    }

    /// All doors are open, or a reload is over.
    pub fn ready(&self, status: &str) {
        status.clone_into(&mut self.status.borrow_mut());
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// The loop makes progress, and this is how it is.
    pub fn alive(&self, status: &str) {
        let news = *self.status.borrow() != status;
        match (news, self.watchdog) {
            (true, _) => {
                status.clone_into(&mut self.status.borrow_mut());
                self.tell(&format!("WATCHDOG=1\nSTATUS={status}"));
            }
            (false, Some(_)) => self.tell("WATCHDOG=1"),
            (false, None) => {}
        }
    }

    fn tell(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            debug!(%error, "the service manager did not take a message");
        }
    }
}

/// A path, or a name in the abstract space where it begins with `@`.
fn connect(path: &OsStr) -> io::Result<UnixDatagram> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(Path::new(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(watchdog: Option<Duration>) -> (Manager, UnixDatagram) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let other = UnixDatagram::bind(&path).unwrap();
        other.set_nonblocking(true).unwrap();
        let socket = Some(connect(path.as_os_str()).unwrap());
        (Manager { socket, watchdog, status: RefCell::default() }, other)
    }

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 512];
        let len = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..len]).into_owned())
    }

    #[test]
    fn the_line_of_state_is_told_when_it_changes_and_the_watchdog_is_fed_each_time() {
        let (manager, other) = pair(Some(Duration::from_secs(30)));
        assert_eq!(manager.every(), Some(Duration::from_secs(10)));
        manager.ready("one");
        assert_eq!(heard(&other).as_deref(), Some("READY=1\nSTATUS=one"));
        manager.alive("one");
        assert_eq!(heard(&other).as_deref(), Some("WATCHDOG=1"));
        manager.alive("two");
        assert_eq!(heard(&other).as_deref(), Some("WATCHDOG=1\nSTATUS=two"));
        assert_eq!(heard(&other), None);
    }

    #[test]
    fn a_manager_that_does_not_read_holds_up_nobody() {
        let (manager, other) = pair(Some(Duration::from_secs(30)));
        for _ in 0..10_000 {
            manager.alive("busy");
        }
        assert_eq!(heard(&other).as_deref(), Some("WATCHDOG=1\nSTATUS=busy"));
    }

    #[test]
    fn an_abstract_socket_is_reached_too() {
        let name = format!("hobnail-test-{}", std::process::id());
        let other = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        connect(OsStr::new(&format!("@{name}"))).unwrap().send(b"READY=1").unwrap();
        other.set_nonblocking(true).unwrap();
        assert_eq!(heard(&other).as_deref(), Some("READY=1"));
    }
}
