//! The doors: listening sockets, and what turns their bytes into the broker's.
//!
//! Accepting never waits for a connection, and no connection for another: each has its own task from the first byte,
//! and the broker's clock for CONNECT runs from accept on, through TLS and WebSocket handshakes.

pub mod connection;
pub mod framing;
pub mod inherited;
pub mod listen;
pub mod standing;
pub mod tls;
pub mod websocket;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hobnail_core::broker::{Peer, Trust};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tracing::{debug, warn};

use self::connection::{Connection, Socket};
use self::framing::Framing;
use self::tls::Certificate;
use self::websocket::WebSocket;
use crate::pages::Pages;
use crate::realm::Realm;

/// The first wait after a failed accept; it doubles up to `ACCEPT_WAIT_MAX`. Out of descriptors, only time helps.
const ACCEPT_WAIT: Duration = Duration::from_millis(50);
const ACCEPT_WAIT_MAX: Duration = Duration::from_secs(2);

/// What a door speaks under its MQTT, and whom it trusts.
#[derive(Clone)]
pub enum Manner {
    /// Plain MQTT of local programs.
    Programs,
    WebSocket,
    /// Devices with passwords, plainly.
    Devices,
    /// Devices with passwords, over TLS.
    DevicesTls(Rc<Certificate>),
}

impl Manner {
    fn trust(&self) -> Trust {
        match self {
            Self::Programs | Self::WebSocket => Trust::Local,
            Self::Devices | Self::DevicesTls(_) => Trust::Password,
        }
    }

    fn framing(&self, pages: &Pages) -> Result<Framing, rustls::Error> {
        Ok(match self {
            Self::Programs | Self::Devices => Framing::Plain,
            Self::WebSocket => Framing::WebSocket(Box::new(WebSocket::new(pages.clone()))),
            Self::DevicesTls(certificate) => Framing::tls(certificate.config())?,
        })
    }
}

/// A door as it was opened once: the same door opened again is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DoorId(pub u64);

/// An open door.
pub enum Door {
    Tcp(TcpListener, Manner),
    Unix(UnixListener),
}

/// Let in whoever comes until `stop` turns true.
pub async fn serve(door: Door, id: DoorId, realm: Realm, stop: watch::Receiver<bool>) {
    let enter = |(socket, address)| enter(&door, id, socket, address, &realm);
    accept_all(async || accept(&door).await, enter, stop).await;
}

/// Hand all that `accept` gives to `enter` until `stop` turns true. Cancel-safe if `accept` is: an accept either has
/// given a socket or has not.
pub async fn accept_all<S>(
    accept: impl AsyncFn() -> io::Result<S>,
    mut enter: impl FnMut(S),
    mut stop: watch::Receiver<bool>,
) {
    let mut wait = ACCEPT_WAIT;
    loop {
        let accepted = tokio::select! {
            accepted = accept() => accepted,
            // An error means that whoever could say stop is gone, which says it too.
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok(socket) => {
                wait = ACCEPT_WAIT;
                enter(socket);
            }
            Err(error) => {
                warn!(%error, wait_ms = wait.as_millis(), "failed to accept a connection");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(ACCEPT_WAIT_MAX);
            }
        }
    }
}

async fn accept(door: &Door) -> io::Result<(Socket, Option<SocketAddr>)> {
    match door {
        Door::Tcp(listener, _) => {
            let (stream, address) = listener.accept().await?;
            // Without it small answers wait for the peer's acknowledgement; a socket that died already needs nothing.
            let _ = stream.set_nodelay(true);
            Ok((Socket::Tcp(stream), Some(address)))
        }
        Door::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            Ok((Socket::Unix(stream), None))
        }
    }
}

fn enter(door: &Door, id: DoorId, socket: Socket, address: Option<SocketAddr>, realm: &Realm) {
    let manner = match door {
        Door::Tcp(_, manner) => manner,
        Door::Unix(_) => &Manner::Programs,
    };
    match manner.framing(realm.pages()) {
        Ok(framing) => {
            let peer = Peer { address: address.map(|address| address.ip()), trust: manner.trust() };
            let (program, wire) = realm.open(peer, id);
            tokio::task::spawn_local(Connection::new(socket, framing, program, wire));
        }
        Err(error) => debug!(%error, "failed to begin TLS"),
    }
}
