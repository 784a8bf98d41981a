//! The running agent: one thread, one broker, the doors of one assignment, from start to a graceful stop.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use hobnail_core::agent::Saved;
use hobnail_core::assign::{Assignment, Door as Place, DoorKind};
use hobnail_core::broker::{Broker, Principal, Settings};
use hobnail_core::node::{Common, Identity};
use hobnail_core::plan::{Step, plan};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tracing::{info, warn};

use crate::auth::{Answer, Prover, accounts};
use crate::control::{self, Desk, Reload};
use crate::doors::inherited::Inherited;
use crate::doors::listen::{self, ListenError};
use crate::doors::tls::Certificate;
use crate::doors::{Door, Manner, serve};
use crate::keeping::{Keeping, State};
use crate::links::{self, Links};
use crate::manager::Manager;
use crate::network::{network, trust};
use crate::realm::{Epoch, Realm};
use crate::state_dir::StateDir;
use crate::topology_files::KEY_DIRECTORY;

/// A stop takes no longer than this, whoever does not listen.
const STOP_MAX: Duration = Duration::from_secs(5);

/// What is still on its way to the disk then gets so long.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// What came of the agent's life.
pub enum Ended {
    Stopped,
    /// A second signal came before all was sent.
    Hurried,
}

/// Reads the topology again and cuts out what this machine must do.
pub type Reread<'a> = &'a dyn Fn() -> anyhow::Result<Assignment>;

type Certificates = Rc<RefCell<Vec<Rc<Certificate>>>>;

/// What the doors are opened with.
struct Opening<'a> {
    realm: &'a Realm,
    /// `None` where no other machine is in the network.
    links: Option<&'a Links<Realm>>,
    key_directory: PathBuf,
    stop: watch::Receiver<bool>,
    certificates: Certificates,
    inherited: Inherited,
    /// Each door with where it really is.
    opened: Vec<String>,
    /// Sockets in the file system, to be taken away at the end.
    sockets: Vec<PathBuf>,
}

/// What a reload can change while it runs.
struct Changeable<'a> {
    certificates: Certificates,
    realm: &'a Realm,
    links: Option<Links<Realm>>,
    key_directory: &'a Path,
    /// What the agent does now.
    running: Assignment,
}

/// What the service manager and the log hear of the agent, besides its events.
struct Told {
    manager: Manager,
    /// What it is and where.
    line: String,
    desk: Rc<Desk>,
}

/// Where things are that no topology names; `None` for the usual place.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    pub keys: Option<&'a Path>,
    pub control: Option<&'a Path>,
    pub state: &'a StateDir,
}

/// Serve `wanted`, of a topology with this common, until a signal ends it.
pub fn run(wanted: &Assignment, common: Common, places: Places, reread: Reread) -> anyhow::Result<Ended> {
    raise_descriptor_limit();
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.context("failed to start the runtime")?;
    let ended = runtime.block_on(live(wanted, common, places, reread));
    // What is still open ends with the process; nothing is waited for.
    runtime.shutdown_background();
    ended
}

async fn live(wanted: &Assignment, common: Common, places: Places<'_>, reread: Reread<'_>) -> anyhow::Result<Ended> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("failed to watch for SIGHUP")?;

    let key_directory = places.keys.unwrap_or(Path::new(KEY_DIRECTORY));
    let (prover, answers) = Prover::start(accounts(&wanted.devices, key_directory))
        .context("failed to start the thread that proves passwords")?;
    let kept = Keeping::open(&places.state.store(), wanted.store.max_bytes)?;
    let (realm, links) = realm(wanted, common, key_directory, kept, prover)?;
    realm.pages().set(wanted.origins.clone());
    let (stop, stopping) = watch::channel(false);
    let mut opening = Opening {
        realm: &realm,
        links: links.as_ref(),
        key_directory: key_directory.to_owned(),
        stop: stopping,
        certificates: Certificates::default(),
        inherited: Inherited::from_env(),
        opened: Vec::new(),
        sockets: Vec::new(),
    };
    for step in plan(None, wanted) {
        opening.take(&step)?;
    }
    let Opening { certificates, opened, mut sockets, inherited, stop: stopping, .. } = opening;
    for socket in inherited.left() {
        warn!(socket, "handed over by the service manager, but no door of the topology is there");
    }
    spawn_local(realm.clone().keep_time());
    spawn_local(realm.clone().keep_going());
    spawn_local(realm.clone().keep_stored());
    spawn_local(pass_on(answers, realm.clone()));
    let desk = Rc::new(Desk::new(realm.clone(), wanted, &opened));
    spawn_local(desk.clone().keep_history());
    if let Some((listener, path)) = control::open(places.control, &wanted.me)? {
        sockets.push(path);
        spawn_local(control::serve(listener, desk.clone(), stopping));
    }
    let line = announce(wanted, &opened);
    let told = Rc::new(Told { manager: Manager::from_env(), line, desk });
    told.manager.ready(&told.status(&realm));
    spawn_local(told.clone().keep_informed(realm.clone()));

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        never = told.reloads(&mut hangup, Changeable { certificates, realm: &realm, links, key_directory, running: wanted.clone() }, reread) => match never {},
    }
    info!("stopping");
    told.manager.stopping();
    // Doors that are gone already need no telling, and the next start replaces a socket that stays behind.
    let _ = stop.send(true);
    for socket in &sockets {
        let _ = std::fs::remove_file(socket);
    }
    let ended = tokio::select! {
        done = tokio::time::timeout(STOP_MAX, realm.stop()) => {
            if done.is_err() {
                warn!("some connections did not take their last bytes in time");
            }
            Ended::Stopped
        }
        _ = terminate.recv() => Ended::Hurried,
        _ = interrupt.recv() => Ended::Hurried,
    };
    realm.flush(FLUSH_MAX);
    Ok(ended)
}

impl Told {
    /// The agent in one line.
    fn status(&self, realm: &Realm) -> String {
        let mut status = format!("{}; {} connections", self.line, realm.connection_count());
        let disk = realm.disk();
        if disk.state != State::OnDisk {
            status = format!("{status}; {}", disk.state.word());
        }
        if let Some(reload) = self.desk.reload() {
            status = format!("{status}; {reload}");
        }
        status
    }

    /// Signs of life to the manager, for as long as the realm meets its deadlines.
    async fn keep_informed(self: Rc<Self>, realm: Realm) {
        let Some(every) = self.manager.every() else { return };
        loop {
            tokio::time::sleep(every).await;
            if realm.is_in_step() {
                self.manager.alive(&self.status(&realm));
            } else {
                warn!("deadlines are missed: the service manager's watchdog is not fed");
            }
        }
    }

    /// At each SIGHUP. Cancel-safe: a signal that nobody took is kept, and what follows it does not wait.
    async fn reloads(&self, hangup: &mut Signal, mut live: Changeable<'_>, reread: Reread<'_>) -> Infallible {
        loop {
            hangup.recv().await;
            self.manager.reloading();
            info!("reading certificates again; passwords are read anew each time");
            live.certificates.borrow().iter().for_each(|certificate| certificate.reload());
            self.desk.set_reload(live.look_again(reread));
            self.manager.ready(&self.status(live.realm));
        }
    }
}

impl Changeable<'_> {
    /// What a second look at the topology says, where that is worth a word in the line of state.
    fn look_again(&mut self, reread: Reread) -> Option<Reload> {
        let wanted = match reread() {
            Ok(wanted) => wanted,
            Err(error) => {
                warn!(error = format!("{error:#}"), "the topology stays as it was");
                return Some(Reload::Refused(format!("{error:#}")));
            }
        };
        self.take_keys(&wanted);
        let steps = plan(Some(&self.running), &wanted);
        for step in &steps {
            warn!(%step, "takes effect at the next start");
        }
        if steps.is_empty() {
            info!("nothing in the topology waits for the next start of this machine");
        }
        (!steps.is_empty()).then_some(Reload::Waits(steps.len()))
    }

    /// Keys are live: links that stand on one that is still accepted stay, and nothing on its way is lost. The files
    /// count too, so this is done whether or not the topology names others.
    fn take_keys(&mut self, wanted: &Assignment) {
        let Some(links) = &self.links else { return };
        let rekeyed = Assignment { keys: wanted.keys.clone(), ..self.running.clone() };
        match trust(&rekeyed, self.key_directory) {
            Ok(Some((keyring, pins))) => {
                info!(active = %keyring.active(), accepted = keyring.ids().count() - 1, "keys are read anew");
                self.realm.rekey(keyring);
                links.set(Some(pins), &rekeyed.links);
                self.running = rekeyed;
            }
            Ok(None) => warn!("a network of several machines needs a key: the old ones stay"),
            Err(error) => warn!(%error, "the keys stay as they were"),
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
            Step::OpenDoor { kind: DoorKind::Agents, door: Place::Agents(port) } => self.open_to_agents(*port),
            Step::OpenDoor { kind, door } => self.open(*kind, door),
            // The realm and its links were made with these.
            Step::SetLimits(_)
            | Step::SetStore(_)
            | Step::SetRights(_)
            | Step::SetOrigins(_)
            | Step::AdmitDevice { .. }
            | Step::Become { .. }
            | Step::SetKeys(_)
            | Step::SetTopics(_)
            | Step::SetHeartbeat(_)
            | Step::SetFailover(_)
            | Step::TakeRole(_)
            | Step::TakeRank(_)
            | Step::RaisePeer { .. }
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
                let listener = match self.inherited.take_unix(Path::new(&**path)) {
                    Some(listener) => UnixListener::from_std(listener).context("failed to use an inherited socket")?,
                    None => {
                        self.sockets.push(PathBuf::from(&**path));
                        listen::unix(Path::new(&**path))?
                    }
                };
                self.opened.push(format!("{word} at {path}"));
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
        if let Some(listener) = self.inherited.take_tcp(address) {
            let listener = TcpListener::from_std(listener).context("failed to use an inherited socket")?;
            self.opened.push(format!("{word} at {address}"));
            self.start(Door::Tcp(listener, manner));
            return Ok(());
        }
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

    fn open_to_agents(&mut self, port: u16) -> anyhow::Result<()> {
        let Some(links) = self.links else { return Ok(()) };
        let everywhere = [(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()];
        let listener = match everywhere.into_iter().find_map(|address| self.inherited.take_tcp(address)) {
            Some(listener) => TcpListener::from_std(listener).context("failed to use an inherited socket")?,
            None => listen::everywhere(port)?,
        };
        let place = listener.local_addr().context("failed to learn a door's address")?;
        self.opened.push(format!("agents at {place}"));
        spawn_local(links::door::serve(listener, links.clone(), self.stop.clone()));
        Ok(())
    }

    fn start(&self, door: Door) {
        spawn_local(serve(door, self.realm.clone(), self.stop.clone()));
    }
}

/// One line on stdout that says what this is and where, and that line. Whoever closed stdout does not want to know.
fn announce(wanted: &Assignment, opened: &[String]) -> String {
    let doors = if opened.is_empty() { "no doors".to_owned() } else { opened.join(", ") };
    let version = env!("CARGO_PKG_VERSION");
    let line = format!("{} in network {}, {doors}", wanted.me, wanted.network);
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "hobnail {version}: {line}").and_then(|()| stdout.flush());
    line
}

/// The core, and the links of a machine that is not alone.
fn realm(
    wanted: &Assignment,
    common: Common,
    key_directory: &Path,
    (keeping, saved): (Keeping, Saved),
    prover: Prover,
) -> anyhow::Result<(Realm, Option<Links<Realm>>)> {
    let epoch = Epoch::begin(saved.now);
    let identity = Identity { random: draw()? };
    let sized = Assignment { store: keeping.sized(&wanted.store), ..wanted.clone() };
    let network = network(&sized, common, key_directory, &identity, saved.node, epoch.now())?;
    let broker = Broker::new(settings(wanted, network.is_some())?, saved.broker, epoch.now());
    let Some((node, pins)) = network else {
        return Ok((Realm::new(broker, None, prover, keeping, epoch), None));
    };
    let realm = Realm::new(broker, Some(node), prover, keeping, epoch);
    let links = Links::new(realm.clone());
    links.set(Some(pins), &wanted.links);
    realm.join(links.clone());
    Ok((realm, Some(links)))
}

fn settings(wanted: &Assignment, outward: bool) -> anyhow::Result<Settings> {
    Ok(Settings {
        limits: wanted.limits.clone(),
        when_full: wanted.store.when_full,
        local: Principal { name: wanted.me.clone(), rights: wanted.rights.clone() },
        devices: wanted.devices.iter().map(|(name, device)| (name.clone(), device.rights.clone())).collect(),
        id_seed: u64::from_ne_bytes(draw()?),
        elsewhere: wanted
            .devices
            .iter()
            .filter_map(|(name, device)| Some((name.clone(), device.elsewhere.clone()?)))
            .collect(),
        topics: wanted.topics.clone(),
        outward,
    })
}

fn draw<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes));
    read.context("failed to read /dev/urandom")?;
    Ok(bytes)
}

/// Each connection is a descriptor; the soft limit of 1,024 is for programs that use `select`.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "failed to raise the limit of open files");
    }
}
