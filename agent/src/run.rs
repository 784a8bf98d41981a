//! The running agent: one thread, one broker, the doors of one assignment, from start to a graceful stop.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use hobnail_core::broker::Broker;
use hobnail_core::node::Identity;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tracing::{info, warn};

use crate::auth::{Prover, accounts};
use crate::change::boot::Boot;
use crate::change::keeper::{Good, Keeper};
use crate::change::watch::Watch;
use crate::change::wish::Asker;
use crate::change::{Changes, Files};
use crate::control::{self, Desk, Origin};
use crate::history::{Cause, History};
use crate::keeping::Keeping;
use crate::links::Links;
use crate::manager::Manager;
use crate::network::{has_others, network};
use crate::realm::{Epoch, Realm};
use crate::running::{Running, Wanted, broker_settings, draw, pass_on};
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
    /// There is a topology now, where there was none: begin again, with that.
    Found,
}

/// Where things are that no topology names; `None` for the usual place.
#[derive(Clone, Debug)]
pub struct Places {
    pub files: Files,
    pub control: Option<PathBuf>,
    pub state: StateDir,
    /// Whether edits of the files are noticed.
    pub watch: bool,
}

/// Serve as `boot` says, and as the files say later, until a signal ends it.
pub fn run(boot: Boot, places: &Places) -> anyhow::Result<Ended> {
    raise_descriptor_limit();
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.context("failed to start the runtime")?;
    let ended = runtime.block_on(live(boot, places));
    // What is still open ends with the process; nothing is waited for.
    runtime.shutdown_background();
    ended
}

async fn live(boot: Boot, places: &Places) -> anyhow::Result<Ended> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch for SIGINT")?;
    let hangup = signal(SignalKind::hangup()).context("failed to watch for SIGHUP")?;

    let Boot { wanted, topology, texts, held, origin, pending } = boot;
    let history = History::at(places.state.topologies());
    let running = begin(wanted, places)?;
    let realm = running.realm().clone();
    spawn_local(realm.clone().keep_time());
    spawn_local(realm.clone().keep_going());
    spawn_local(realm.clone().keep_stored());
    spawn_local(realm.clone().keep_reading());

    let (asker, asked) = Asker::new();
    let desk = Rc::new(Desk::new(&running, &held, origin, asker, history.clone()));
    if let Some(pending) = &pending {
        desk.set_outcome(pending);
    }
    spawn_local(desk.clone().keep_history());
    let (stop, stopping) = watch::channel(false);
    let mut socket = None;
    if let Some((listener, path)) = control::open(places.control.as_deref(), &running.wanted().assignment.me)? {
        socket = Some(path);
        spawn_local(control::serve(listener, desk.clone(), stopping));
    }
    announce(&desk);
    let manager = Rc::new(Manager::from_env());
    manager.ready(&desk.state());
    spawn_local(keep_informed(manager.clone(), desk.clone(), realm.clone()));
    let keeper = Keeper::start(history.clone());
    if origin == Origin::File {
        let (what, texts, fingerprint) = (String::new(), texts.clone(), desk.topology());
        keeper.keep(Good { cause: Cause::Boot, what, texts, fingerprint }).await;
    }
    let watch = places.watch.then(|| Watch::new(&texts));
    let mut changes = Changes::new(running, places.files.clone(), history, keeper, desk.clone(), held, topology);
    changes.retry = pending.is_some();
    let found = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = changes.serve(asked, hangup, &manager, watch) => true,
    };
    info!("stopping");
    if !found {
        manager.stopping();
    }
    // Doors that are gone already need no telling, and the next start replaces a socket that stays behind.
    let _ = stop.send(true);
    changes.running.shut_doors();
    if let Some(socket) = socket {
        let _ = std::fs::remove_file(socket);
    }
    let hurry = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let ended = tokio::select! {
        () = take_leave(&realm) => if found { Ended::Found } else { Ended::Stopped },
        () = hurry => Ended::Hurried,
    };
    realm.flush(FLUSH_MAX);
    Ok(ended)
}

/// Until everybody has their last bytes, or has had the time for it.
async fn take_leave(realm: &Realm) {
    if tokio::time::timeout(STOP_MAX, realm.stop()).await.is_err() {
        warn!("some connections did not take their last bytes in time");
    }
}

/// Signs of life to the manager, for as long as the realm meets its deadlines.
async fn keep_informed(manager: Rc<Manager>, desk: Rc<Desk>, realm: Realm) {
    let Some(every) = manager.every() else { return };
    loop {
        tokio::time::sleep(every).await;
        if realm.is_in_step() {
            manager.alive(&desk.state());
        } else {
            warn!("deadlines are missed: the service manager's watchdog is not fed");
        }
    }
}

/// One line on stdout that says what this is and where. Whoever closed stdout does not want to know.
fn announce(desk: &Desk) {
    let version = env!("CARGO_PKG_VERSION");
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "hobnail {version}: {}", desk.line()).and_then(|()| stdout.flush());
}

/// The core, its links and its doors.
fn begin(wanted: Wanted, places: &Places) -> anyhow::Result<Running> {
    let key_directory = places.files.keys.as_deref().unwrap_or(Path::new(KEY_DIRECTORY));
    let (prover, answers) = Prover::start(accounts(&wanted.assignment.devices, key_directory))
        .context("failed to start the thread that proves passwords")?;
    let (keeping, mut saved) = Keeping::open(&places.state.store(), wanted.assignment.store.max_bytes)?;
    let epoch = Epoch::begin(saved.now);
    let identity = Identity { random: draw()? };
    let sized = keeping.sized(&wanted.assignment);
    // What was read back of a network that this machine is not in now waits until it is.
    let spare = (!has_others(&wanted.assignment)).then(|| std::mem::take(&mut saved.node));
    let network = network(&sized, wanted.common.clone(), key_directory, &identity, saved.node, epoch.now())?;
    let id_seed = u64::from_ne_bytes(draw()?);
    let broker =
        Broker::new(broker_settings(&sized, wanted.provisional, network.is_some(), id_seed), saved.broker, epoch.now());
    let (node, pins) = network.unzip();
    let realm = Realm::new(broker, node, prover, keeping, epoch);
    realm.pages().set(wanted.assignment.origins.clone());
    let links = Links::new(realm.clone());
    links.set(pins, &wanted.assignment.links);
    realm.join(links.clone());
    spawn_local(pass_on(answers, realm.clone()));
    Ok(Running::begin(realm, links, key_directory, id_seed, spare, wanted)?)
}

/// Each connection is a descriptor; the soft limit of 1,024 is for programs that use `select`.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "failed to raise the limit of open files");
    }
}
