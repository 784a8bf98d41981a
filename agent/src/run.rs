//! The running agent: one thread, one broker, the doors of one assignment, from start to a graceful stop.

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use hobnail_core::assign::{Assignment, Door as Place, DoorKind};
use hobnail_core::broker::{Principal, Settings};
use hobnail_core::plan::{Step, plan};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tracing::{info, warn};

use crate::auth::{Answer, Prover, accounts};
use crate::doors::listen::{self, ListenError};
use crate::doors::tls::Certificate;
use crate::doors::{Door, Manner, serve};
use crate::realm::Realm;
use crate::topology_files::KEY_DIRECTORY;

/// A stop takes no longer than this, whoever does not listen.
const STOP_MAX: Duration = Duration::from_secs(5);

/// What came of the agent's life.
pub enum Ended {
    Stopped,
    /// A second signal came before all was sent.
    Hurried,
}

type Certificates = Rc<RefCell<Vec<Rc<Certificate>>>>;

/// What the doors are opened with.
struct Opening<'a> {
    realm: &'a Realm,
    key_directory: PathBuf,
    stop: watch::Receiver<bool>,
    certificates: Certificates,
    /// Each door with where it really is.
    opened: Vec<String>,
    /// Sockets in the file system, to be taken away at the end.
    sockets: Vec<PathBuf>,
}

/// Serve `wanted` until a signal ends it.
pub fn run(wanted: &Assignment, key_directory: Option<&Path>) -> anyhow::Result<Ended> {
    raise_descriptor_limit();
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.context("failed to start the runtime")?;
    let ended = runtime.block_on(live(wanted, key_directory.unwrap_or(Path::new(KEY_DIRECTORY))));
    // What is still open ends with the process; nothing is waited for.
    runtime.shutdown_background();
    ended
}

async fn live(wanted: &Assignment, key_directory: &Path) -> anyhow::Result<Ended> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("failed to watch for SIGHUP")?;

    let (prover, answers) = Prover::start(accounts(&wanted.devices, key_directory))
        .context("failed to start the thread that proves passwords")?;
    let realm = Realm::new(settings(wanted)?, prover);
    let (stop, stopping) = watch::channel(false);
    let mut opening = Opening {
        realm: &realm,
        key_directory: key_directory.to_owned(),
        stop: stopping,
        certificates: Certificates::default(),
        opened: Vec::new(),
        sockets: Vec::new(),
    };
    for step in plan(None, wanted) {
        opening.take(&step)?;
    }
    let Opening { certificates, opened, sockets, .. } = opening;
    spawn_local(realm.clone().keep_time());
    spawn_local(pass_on(answers, realm.clone()));
    announce(wanted, &opened);

    wait(&mut terminate, &mut interrupt, &mut hangup, &certificates).await;
    info!("stopping");
    // Doors that are gone already need no telling, and the next start replaces a socket that stays behind.
    let _ = stop.send(true);
    for socket in &sockets {
        let _ = std::fs::remove_file(socket);
    }
    tokio::select! {
        done = tokio::time::timeout(STOP_MAX, realm.stop()) => {
            if done.is_err() {
                warn!("some connections did not take their last bytes in time");
            }
            Ok(Ended::Stopped)
        }
        _ = terminate.recv() => Ok(Ended::Hurried),
        _ = interrupt.recv() => Ok(Ended::Hurried),
    }
}

/// Until someone asks for the end. Cancel-safe: signals that nobody took are kept.
async fn wait(terminate: &mut Signal, interrupt: &mut Signal, hangup: &mut Signal, certificates: &Certificates) {
    loop {
        tokio::select! {
            _ = terminate.recv() => return,
            _ = interrupt.recv() => return,
            _ = hangup.recv() => {
                info!("reading certificates again; passwords are read anew each time");
                certificates.borrow().iter().for_each(|certificate| certificate.reload());
            }
        }
    }
}

async fn pass_on(mut answers: mpsc::Receiver<Answer>, realm: Realm) {
    while let Some(Answer { conn, verdict }) = answers.recv().await {
        realm.verdict(conn, verdict);
    }
}

impl Opening<'_> {
    /// One step of the boot.
    fn take(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::OpenDoor { kind: DoorKind::Agents, .. } => Ok(()),
            Step::OpenDoor { kind, door } => self.open(*kind, door),
            // The realm was made with these.
            Step::SetLimits(_) | Step::SetStore(_) | Step::SetRights(_) | Step::AdmitDevice { .. } => Ok(()),
            // Nothing to be done for them before there are links and a store on disk; `announce` says so.
            Step::Become { .. }
            | Step::SetKeys(_)
            | Step::SetTopics(_)
            | Step::SetHeartbeat(_)
            | Step::SetFailover(_)
            | Step::TakeRole(_)
            | Step::AdmitPeer { .. }
            | Step::OpenLink { .. }
            | Step::SetHomes(_) => Ok(()),
            // Not in a plan from nothing.
            Step::MoveDoor { .. }
            | Step::ChangeCertificate { .. }
            | Step::MoveLink { .. }
            | Step::CloseLink(_)
            | Step::CloseDoor(_)
            | Step::ExpelDevice(_)
            | Step::ExpelPeer(_) => Ok(()),
        }
    }

    fn open(&mut self, kind: DoorKind, door: &Place) -> anyhow::Result<()> {
        let word = match kind {
            DoorKind::Programs => "programs",
            DoorKind::WebSocket => "WebSocket",
            DoorKind::Unix => "Unix socket",
            DoorKind::Devices => "devices",
            DoorKind::Agents => "agents",
        };
        let (address, manner) = match (kind, door) {
            (_, Place::Unix(path)) => {
                let listener = listen::unix(Path::new(&**path))?;
                self.opened.push(format!("{word} at {path}"));
                self.sockets.push(PathBuf::from(&**path));
                self.start(Door::Unix(listener));
                return Ok(());
            }
            (_, Place::Tls { listen, files }) => {
                let (cert, key) = (self.key_directory.join(&*files.cert), self.key_directory.join(&*files.key));
                let certificate = Rc::new(Certificate::load(cert, key)?);
                self.certificates.borrow_mut().push(certificate.clone());
                (*listen, Manner::DevicesTls(certificate))
            }
            (DoorKind::WebSocket, Place::Tcp(address)) => (*address, Manner::WebSocket),
            (DoorKind::Devices, Place::Tcp(address)) => (*address, Manner::Devices),
            (DoorKind::Programs | DoorKind::Unix | DoorKind::Agents, Place::Tcp(address)) => {
                (*address, Manner::Programs)
            }
            (_, Place::Agents(_)) => return Ok(()),
        };
        match listen::tcp(address) {
            Ok(listener) => {
                let place = listener.local_addr().context("failed to learn a door's address")?;
                self.opened.push(format!("{word} at {place}"));
                self.start(Door::Tcp(listener, manner));
            }
            Err(error @ ListenError::NotHere(_)) => {
                warn!(%error, "the door opens as soon as it does");
                self.opened.push(format!("{word} at {address} later"));
                let (realm, stop) = (self.realm.clone(), self.stop.clone());
                spawn_local(async move {
                    let listener = listen::tcp_at_last(address).await;
                    serve(Door::Tcp(listener, manner), realm, stop).await;
                });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn start(&self, door: Door) {
        spawn_local(serve(door, self.realm.clone(), self.stop.clone()));
    }
}

/// One line on stdout that says what this is and where. Whoever closed stdout does not want to know.
fn announce(wanted: &Assignment, opened: &[String]) {
    let doors = if opened.is_empty() { "no doors".to_owned() } else { opened.join(", ") };
    let version = env!("CARGO_PKG_VERSION");
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "hobnail {version}: {} in network {}, {doors}", wanted.me, wanted.network)
        .and_then(|()| stdout.flush());
    if !wanted.links.is_empty() || !wanted.peers.is_empty() {
        warn!("links are not built yet: messages stay on this machine");
    }
}

fn settings(wanted: &Assignment) -> anyhow::Result<Settings> {
    Ok(Settings {
        limits: wanted.limits.clone(),
        when_full: wanted.store.when_full,
        local: Principal { name: wanted.me.clone(), rights: wanted.rights.clone() },
        devices: wanted.devices.iter().map(|(name, device)| (name.clone(), device.rights.clone())).collect(),
        id_seed: draw_seed().context("failed to read /dev/urandom")?,
    })
}

fn draw_seed() -> io::Result<u64> {
    let mut bytes = [0; 8];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Each connection is a descriptor; the soft limit of 1,024 is for programs that use `select`.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "failed to raise the limit of open files");
    }
}
