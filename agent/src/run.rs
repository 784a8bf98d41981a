//! The running agent: boot is the plan from nothing, carried out; then it serves until it is told to stop.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use hobnail_core::assign::{Assignment, Door, DoorKind};
use hobnail_core::broker::{Peer, Principal, Settings, Trust};
use hobnail_core::plan::{Step, plan};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::doors::{self, Listener, Scratch};
use crate::realm::Realm;

/// How long a graceful stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How often a stopping agent looks whether everyone has left.
const STOP_LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("failed to bind {place}: {error}{hint}")]
    Bind { place: String, error: io::Error, hint: &'static str },
    #[error("the {0} door is not built yet; take it out of the topology")]
    NotBuilt(DoorKind),
    #[error("failed to start: {0}")]
    Start(#[from] io::Error),
}

/// Serve `wanted` until a signal says stop. `ready` is told in one line what runs where, once it does.
pub fn run(wanted: &Assignment, ready: impl FnOnce(&str)) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, serve(wanted, ready))
}

async fn serve(wanted: &Assignment, ready: impl FnOnce(&str)) -> Result<(), RunError> {
    // Signals are caught from here on, so that none arrives between "ready" and the wait for it.
    let mut stop = [SignalKind::terminate(), SignalKind::interrupt()].map(signal).into_iter();
    let (Some(Ok(mut terminate)), Some(Ok(mut interrupt))) = (stop.next(), stop.next()) else {
        return Err(io::Error::other("signals cannot be caught").into());
    };
    let (realm, _proofs) = Realm::new(settings(wanted));
    let scratch = doors::scratch();
    let steps = plan(None, wanted);
    let mut places = Vec::new();
    for step in &steps {
        if let Step::OpenDoor { kind, door } = step {
            places.extend(open(*kind, door, &realm, &scratch)?);
        }
    }
    tokio::task::spawn_local({
        let realm = realm.clone();
        async move { realm.keep_time().await }
    });
    tell(wanted, &places, ready);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    tracing::debug!(counters = ?realm.counters(), "what was done");
    realm.stop();
    // A second signal ends it at once.
    tokio::select! {
        () = everyone_left(&realm) => {}
        () = tokio::time::sleep(STOP_WITHIN) => tracing::warn!("some connections did not take their last bytes in time"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn everyone_left(realm: &Realm) {
    while !realm.is_empty() {
        tokio::time::sleep(STOP_LOOK).await;
    }
}

fn settings(wanted: &Assignment) -> Settings {
    Settings {
        limits: wanted.limits.clone(),
        when_full: wanted.store.when_full,
        local: Principal { name: wanted.me.clone(), rights: wanted.rights.clone() },
        devices: wanted.devices.iter().map(|(name, device)| (name.clone(), device.rights.clone())).collect(),
        // The standard library's hasher is keyed by the system's random numbers.
        id_seed: RandomState::new().hash_one(()),
    }
}

/// Open a door; the answer is what to call it, or nothing for one that only other machines use.
fn open(kind: DoorKind, door: &Door, realm: &Rc<Realm>, scratch: &Scratch) -> Result<Option<String>, RunError> {
    let listener = match (kind, door) {
        (DoorKind::Agents, _) => return Ok(None),
        (DoorKind::WebSocket | DoorKind::Devices, _) => return Err(RunError::NotBuilt(kind)),
        (DoorKind::Programs | DoorKind::Unix, Door::Tcp(address)) => Listener::tcp(*address),
        (DoorKind::Programs | DoorKind::Unix, Door::Unix(path)) => Listener::unix(Path::new(&**path)),
        (DoorKind::Programs | DoorKind::Unix, Door::Tls { .. } | Door::Agents(_)) => {
            return Err(RunError::NotBuilt(kind));
        }
    };
    let listener = listener.map_err(|error| {
        let hint = if error.kind() == io::ErrorKind::AddrInUse {
            "; something listens there already: another hobnail, or mosquitto?"
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            "; that port or folder needs more rights"
        } else {
            ""
        };
        RunError::Bind { place: door.to_string(), error, hint }
    })?;
    let place = format!("{kind}s at {}", listener.place());
    let peer = Peer { address: None, trust: Trust::Local };
    tokio::task::spawn_local(doors::keep_open(listener, realm.clone(), peer, scratch.clone()));
    Ok(Some(place))
}

fn tell(wanted: &Assignment, places: &[String], ready: impl FnOnce(&str)) {
    let others = wanted.links.len() + wanted.peers.len();
    if others > 0 {
        tracing::warn!("links between machines are not built yet: messages stay on this machine");
    }
    let version = env!("CARGO_PKG_VERSION");
    ready(&format!("hobnail {version}: {} in network {}, {}", wanted.me, wanted.network, places.join(", ")));
}
