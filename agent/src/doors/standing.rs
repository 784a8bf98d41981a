//! The doors that stand open, and how they come to: each is made ready first, so that whatever can fail has failed before
//! anything changes.
//!
//! A door that a new one needs out of its way is shut before the new one is made ready, and stands again if that fails.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use hobnail_core::assign::{Door as Place, DoorKind};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tracing::warn;

use super::inherited::Inherited;
use super::listen::{self, ListenError};
use super::tls::{Certificate, CertificateError};
use super::{Door, DoorId, Manner, serve};
use crate::links::{self, Links};
use crate::realm::Realm;

#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("failed to use an inherited socket: {0}")]
    Inherited(io::Error),
    #[error("failed to learn a door's address: {0}")]
    Address(io::Error),
}

impl DoorError {
    /// For want of permission, as the exit code tells.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Listen(error) => error.is_permission(),
            Self::Certificate(_) | Self::Inherited(_) | Self::Address(_) => false,
        }
    }
}

/// What is to be done where this machine does not have a door's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Open it as soon as the address is there: networks come up late.
    Wait,
    /// It may be a slip of the pen.
    Refuse,
}

/// A door that nobody is let in by yet.
pub struct Ready {
    kind: DoorKind,
    door: Place,
    listening: Listening,
    manner: Option<Manner>,
    /// Where it really is.
    place: String,
    socket: Option<PathBuf>,
}

impl Ready {
    #[must_use]
    pub fn kind(&self) -> DoorKind {
        self.kind
    }
}

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
    /// The address is not there yet.
    Later(SocketAddr),
    Agents(TcpListener),
}

struct Open {
    id: DoorId,
    door: Place,
    place: String,
    certificate: Option<Rc<Certificate>>,
    socket: Option<PathBuf>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// All doors of this machine.
pub struct Standing {
    key_directory: PathBuf,
    inherited: RefCell<Inherited>,
    doors: BTreeMap<DoorKind, Open>,
    opened: u64,
}

impl Standing {
    #[must_use]
    pub fn new(key_directory: &Path) -> Self {
        Self {
            key_directory: key_directory.to_owned(),
            inherited: RefCell::new(Inherited::from_env()),
            doors: BTreeMap::new(),
            opened: 0,
        }
    }

    /// In words, each with where it is.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        self.doors.iter().map(|(kind, open)| format!("{} at {}", word(*kind), open.place)).collect()
    }

    /// Sockets of the service manager that no door wanted.
    #[must_use]
    pub fn left_over(&self) -> Vec<String> {
        self.inherited.borrow().left()
    }

    /// Make a door ready.
    pub fn prepare(&self, kind: DoorKind, door: &Place, absent: Absent) -> Result<Ready, DoorError> {
        let ready =
            |listening, manner, place, socket| Ready { kind, door: door.clone(), listening, manner, place, socket };
        match door {
            Place::Unix(path) => {
                let (listener, socket) = self.unix(Path::new(&**path))?;
                Ok(ready(Listening::Unix(listener), None, path.to_string(), socket))
            }
            Place::Agents(port) => {
                let listener = self.everywhere(*port)?;
                let place = place_of(&listener)?;
                Ok(ready(Listening::Agents(listener), None, place, None))
            }
            Place::Tcp(address) | Place::Tls { listen: address, .. } => {
                let manner = self.manner(kind, door)?;
                match self.tcp(*address) {
                    Ok(listener) => {
                        let place = place_of(&listener)?;
                        Ok(ready(Listening::Tcp(listener), Some(manner), place, None))
                    }
                    Err(DoorError::Listen(error @ ListenError::NotHere(_))) if absent == Absent::Wait => {
                        warn!(%error, "the door opens as soon as it does");
                        Ok(ready(Listening::Later(*address), Some(manner), format!("{address} later"), None))
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// The certificate that a door is to show from now on, read and found fit.
    pub fn prepare_certificate(&self, door: &Place) -> Result<Option<Certificate>, CertificateError> {
        let Place::Tls { files, .. } = door else { return Ok(None) };
        let (cert, key) = (self.key_directory.join(&*files.cert), self.key_directory.join(&*files.key));
        Certificate::load(cert, key).map(Some)
    }

    /// Let people in by a door that was made ready.
    pub fn open(&mut self, ready: Ready, realm: &Realm, links: &Links<Realm>) {
        self.opened += 1;
        self.open_as(ready, DoorId(self.opened), realm, links);
    }

    /// The same for one that was shut for a moment: who came in by it before came in by this one.
    pub fn open_as(&mut self, ready: Ready, id: DoorId, realm: &Realm, links: &Links<Realm>) {
        let (stop, stopping) = watch::channel(false);
        let certificate = match &ready.manner {
            Some(Manner::DevicesTls(certificate)) => Some(certificate.clone()),
            Some(Manner::Programs | Manner::WebSocket | Manner::Devices) | None => None,
        };
        let realm = realm.clone();
        let manner = ready.manner.unwrap_or(Manner::Programs);
        let task = match ready.listening {
            Listening::Agents(listener) => spawn_local(links::door::serve(listener, links.clone(), stopping)),
            Listening::Unix(listener) => spawn_local(serve(Door::Unix(listener), id, realm, stopping)),
            Listening::Tcp(listener) => spawn_local(serve(Door::Tcp(listener, manner), id, realm, stopping)),
            Listening::Later(address) => spawn_local(serve_at_last(address, manner, id, realm, stopping)),
        };
        let open = Open { id, door: ready.door, place: ready.place, certificate, socket: ready.socket, stop, task };
        self.doors.insert(ready.kind, open);
    }

    /// Let nobody in by it any more. Whoever came in by it is still in.
    pub fn shut(&mut self, kind: DoorKind) -> Option<Shut> {
        let open = self.doors.remove(&kind)?;
        // A door that is gone already needs no telling.
        let _ = open.stop.send(true);
        if let Some(socket) = &open.socket {
            // The next one to listen there replaces a socket that stays behind.
            let _ = std::fs::remove_file(socket);
        }
        Some(Shut { id: open.id, kind, door: open.door, task: open.task })
    }

    pub fn show(&mut self, kind: DoorKind, door: &Place, certificate: Certificate) {
        if let Some(open) = self.doors.get_mut(&kind) {
            open.door = door.clone();
            if let Some(shown) = &open.certificate {
                shown.replace(certificate);
            }
        }
    }

    /// Read all certificates again.
    pub fn reload_certificates(&self) {
        self.doors.values().filter_map(|open| open.certificate.as_ref()).for_each(|shown| shown.reload());
    }

    /// Let nobody in any more.
    pub fn shut_all(&mut self) {
        let kinds: Vec<DoorKind> = self.doors.keys().copied().collect();
        kinds.into_iter().for_each(|kind| drop(self.shut(kind)));
    }

    fn manner(&self, kind: DoorKind, door: &Place) -> Result<Manner, CertificateError> {
        if let Some(certificate) = self.prepare_certificate(door)? {
            return Ok(Manner::DevicesTls(Rc::new(certificate)));
        }
        Ok(match kind {
            DoorKind::WebSocket => Manner::WebSocket,
            DoorKind::Devices => Manner::Devices,
            DoorKind::Programs | DoorKind::Unix | DoorKind::Agents => Manner::Programs,
        })
    }

    fn tcp(&self, address: SocketAddr) -> Result<TcpListener, DoorError> {
        match self.inherited.borrow_mut().tcp(address) {
            Some(listener) => listener.and_then(TcpListener::from_std).map_err(DoorError::Inherited),
            None => Ok(listen::tcp(address)?),
        }
    }

    fn everywhere(&self, port: u16) -> Result<TcpListener, DoorError> {
        let everywhere = [(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()];
        let inherited = everywhere.into_iter().find_map(|address| self.inherited.borrow_mut().tcp(address));
        match inherited {
            Some(listener) => listener.and_then(TcpListener::from_std).map_err(DoorError::Inherited),
            None => Ok(listen::everywhere(port)?),
        }
    }

    /// With its path, where it is ours to take away.
    fn unix(&self, path: &Path) -> Result<(UnixListener, Option<PathBuf>), DoorError> {
        match self.inherited.borrow_mut().unix(path) {
            Some(listener) => Ok((listener.and_then(UnixListener::from_std).map_err(DoorError::Inherited)?, None)),
            None => Ok((listen::unix(path)?, Some(path.to_owned()))),
        }
    }
}

/// A door that was shut, and what it takes to open it again.
pub struct Shut {
    pub id: DoorId,
    pub kind: DoorKind,
    pub door: Place,
    task: JoinHandle<()>,
}

impl Shut {
    /// Once nobody listens there any more.
    pub async fn gone(&mut self) {
        // What its task ended with concerns nobody: its listener went with it.
        let _ = (&mut self.task).await;
    }
}

fn place_of(listener: &TcpListener) -> Result<String, DoorError> {
    Ok(listener.local_addr().map_err(DoorError::Address)?.to_string())
}

async fn serve_at_last(address: SocketAddr, manner: Manner, id: DoorId, realm: Realm, mut stop: watch::Receiver<bool>) {
    let listener = tokio::select! {
        listener = listen::tcp_at_last(address) => listener,
        // Cancel-safe: an address that was not bound is not held. An error says stop too: whoever could say it is gone.
        _ = stop.wait_for(|stop| *stop) => return,
    };
    serve(Door::Tcp(listener, manner), id, realm, stop).await;
}

fn word(kind: DoorKind) -> &'static str {
    match kind {
        DoorKind::Programs => "programs",
        DoorKind::WebSocket => "WebSocket",
        DoorKind::Unix => "Unix socket",
        DoorKind::Devices => "devices",
        DoorKind::Agents => "agents",
    }
}
