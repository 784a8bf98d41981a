//! Doors: listening sockets, and the task that carries bytes between each connection and the realm.

mod socket;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use hobnail_core::broker::Peer;
use tokio::time::Instant;

use crate::realm::{Realm, Wishes};
pub use socket::{Listener, Socket};

/// Read at once, by all connections together: they take turns with one buffer, so that an idle one holds none.
const READ_BYTES: usize = 64 << 10;
/// Taken from the broker before the socket has taken what is there.
const WRITE_BYTES: usize = 128 << 10;
/// A connection that has little to say keeps no larger buffer than this.
const WRITE_BYTES_KEPT: usize = 1 << 10;
/// How long a door that cannot accept waits before it tries again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The buffer that all reading goes through.
pub type Scratch = Rc<RefCell<Box<[u8]>>>;

#[must_use]
pub fn scratch() -> Scratch {
    Rc::new(RefCell::new(vec![0; READ_BYTES].into()))
}

/// Let in everyone who comes, for as long as this is polled. Each connection has a task of its own on the `LocalSet`,
/// so that none waits for another.
pub async fn keep_open(listener: Listener, realm: Rc<Realm>, peer: Peer, scratch: Scratch) {
    loop {
        match listener.accept().await {
            Ok((socket, address)) => {
                let peer = Peer { address, ..peer.clone() };
                tokio::task::spawn_local(serve(realm.clone(), socket, peer, scratch.clone()));
            }
            Err(error) => {
                // No file descriptor is free, or the caller hung up already: neither is mended by trying at once.
                tracing::debug!(%error, "failed to accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What becomes of a connection after one step.
enum Step {
    GoOn,
    Gone,
}

async fn serve(realm: Rc<Realm>, socket: Socket, peer: Peer, scratch: Scratch) {
    let (conn, wishes) = realm.open(peer);
    let mut out = Outgoing::default();
    let mut close_by: Option<Instant> = None;
    loop {
        if wishes.transmit.get() && out.waiting() < WRITE_BYTES {
            wishes.transmit.set(false);
            let room = WRITE_BYTES - out.waiting();
            realm.transmit(conn, &mut out.bytes, room);
        }
        if let Step::Gone = out.send(&socket) {
            break;
        }
        if let Some(linger) = wishes.close.get() {
            let by = *close_by.get_or_insert_with(|| Instant::now() + linger);
            if out.waiting() == 0 && !wishes.transmit.get() || Instant::now() >= by {
                break;
            }
        } else if wishes.transmit.get() && out.waiting() == 0 {
            // There is more, and the socket takes it: let the others have their turn first.
            tokio::task::yield_now().await;
            continue;
        }
        let reads = !wishes.paused.get() && close_by.is_none();
        // Every branch is cancel-safe: readiness and wishes stay until they are taken.
        tokio::select! {
            ready = socket.readable(), if reads => {
                if ready.is_err() {
                    break;
                }
                let mut scratch = scratch.borrow_mut();
                match socket.try_read(&mut scratch) {
                    Ok(0) => break,
                    Ok(count) => {
                        let bytes = scratch.get(..count).unwrap_or(&[]);
                        realm.bytes(conn, bytes);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
            }
            ready = socket.writable(), if out.blocked => {
                out.blocked = false;
                if ready.is_err() {
                    break;
                }
            }
            () = wishes.changed() => {}
            () = linger_until(close_by), if close_by.is_some() => break,
        }
    }
    finish(&realm, conn, &wishes);
}

fn finish(realm: &Realm, conn: hobnail_core::broker::ConnId, wishes: &Wishes) {
    wishes.transmit.set(false);
    realm.close(conn);
}

async fn linger_until(by: Option<Instant>) {
    if let Some(by) = by {
        tokio::time::sleep_until(by).await;
    }
}

/// Bytes on their way to a socket.
#[derive(Debug, Default)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    blocked: bool,
}

impl Outgoing {
    fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// As much as the socket takes now.
    fn send(&mut self, socket: &Socket) -> Step {
        while self.sent < self.bytes.len() && !self.blocked {
            match socket.try_write(self.bytes.get(self.sent..).unwrap_or(&[])) {
                Ok(0) => return Step::Gone,
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(_) => return Step::Gone,
            }
        }
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
            if self.bytes.capacity() > WRITE_BYTES_KEPT {
                self.bytes = Vec::new();
            }
        } else if self.sent >= WRITE_BYTES / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        Step::GoOn
    }
}
