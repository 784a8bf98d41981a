//! The agent as it runs: its core, its links, its doors, its accounts, all of one assignment; and how another assignment
//! takes that one's place.
//!
//! ```text
//!  wanted ─▶ prepare: keys, certificates, doors bound ─▶ switch: links, core, accounts, doors ─▶ retire: old doors
//!               └── anything fails: nothing has changed
//! ```
//!
//! Invariants: what may fail is tried before anything changes. Nobody is let go of whom no step of the plan names.

use std::path::{Path, PathBuf};

use anyhow::Context;
use hobnail_core::assign::{Assignment, DoorKind};
use hobnail_core::broker::{self, Principal};
use hobnail_core::node::{self, Common, Identity};
use hobnail_core::plan::{Step, plan};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tracing::{info, warn};

use crate::auth::{Answer, Prover, accounts};
use crate::doors::standing::{Absent, DoorError, Ready, Shut, Standing};
use crate::doors::tls::{Certificate, CertificateError};
use crate::links::Links;
use crate::links::tls::Pins;
use crate::network::{self, NetworkError, trust};
use crate::realm::Realm;

/// What a machine is to do, by a topology that was checked.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub assignment: Assignment,
    pub common: Common,
    /// Whether publishes wait for a topology that is still to come.
    pub provisional: bool,
}

/// Why a change was not made. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Door(#[from] DoorError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("failed to start the thread that proves passwords: {0}")]
    Prover(std::io::Error),
    #[error(transparent)]
    Random(anyhow::Error),
    #[error("a network of several machines needs a key")]
    NoKey,
}

pub struct Running {
    realm: Realm,
    links: Links<Realm>,
    doors: Standing,
    key_directory: PathBuf,
    id_seed: u64,
    /// What was read back of a network that this machine was not in when it started.
    spare: Option<node::Saved>,
    wanted: Wanted,
}

/// Everything that a change needs, at hand.
struct Prepared {
    trust: Option<(node::Settings, Pins)>,
    prover: Option<(Prover, mpsc::Receiver<Answer>)>,
    doors: Vec<Ready>,
    certificates: Vec<(DoorKind, Certificate)>,
    identity: Identity,
    /// Doors that stood in the way of new ones.
    shut: Vec<Shut>,
}

impl Running {
    /// The first assignment: its doors open.
    pub fn begin(
        realm: Realm,
        links: Links<Realm>,
        key_directory: &Path,
        id_seed: u64,
        spare: Option<node::Saved>,
        wanted: Wanted,
    ) -> Result<Self, DoorError> {
        let mut doors = Standing::new(key_directory);
        for step in plan(None, &wanted.assignment) {
            if let Step::OpenDoor { kind, door } = step {
                let ready = doors.prepare(kind, &door, Absent::Wait)?;
                doors.open(ready, &realm, &links);
            }
        }
        for socket in doors.left_over() {
            warn!(socket, "handed over by the service manager, but no door of the topology is there");
        }
        Ok(Self { realm, links, doors, key_directory: key_directory.to_owned(), id_seed, spare, wanted })
    }

    #[must_use]
    pub fn realm(&self) -> &Realm {
        &self.realm
    }

    #[must_use]
    pub fn has_home(&self) -> bool {
        self.realm.has_home()
    }

    /// Whether its deadlines are met, and every link has ended that the last change ends.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.realm.is_in_step() && !self.links.has_ending()
    }

    #[must_use]
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// What is listened on, in words.
    #[must_use]
    pub fn doors(&self) -> Vec<String> {
        self.doors.words()
    }

    #[must_use]
    pub fn plan(&self, wanted: &Assignment) -> Vec<Step> {
        plan(Some(&self.wanted.assignment), wanted)
    }

    /// Do as `wanted` says from now on, or change nothing. Keys and certificates are read anew in any case.
    pub async fn change(&mut self, wanted: Wanted) -> Result<Vec<Step>, PrepareError> {
        let steps = self.plan(&wanted.assignment);
        let prepared = self.prepare(&wanted, &steps).await?;
        for step in &steps {
            info!(%step, drops = %step.drops(), "the topology was edited");
        }
        self.switch(wanted, &steps, prepared);
        Ok(steps)
    }

    async fn prepare(&mut self, wanted: &Wanted, steps: &[Step]) -> Result<Prepared, PrepareError> {
        let trust = trust(&wanted.assignment, &self.key_directory)?;
        if trust.is_none() && network::has_others(&wanted.assignment) {
            return Err(PrepareError::NoKey);
        }
        let sized = self.realm.sized(&wanted.assignment);
        let common = wanted.common.clone();
        let trust = trust.map(|(keyring, pins)| (node::Settings::of(&sized, keyring, common), pins));
        let identity = identity().map_err(PrepareError::Random)?;
        let mut prepared =
            Prepared { trust, prover: None, doors: Vec::new(), certificates: Vec::new(), identity, shut: Vec::new() };
        let of_devices = |step: &Step| matches!(step, Step::AdmitDevice { .. } | Step::ExpelDevice(_));
        if steps.iter().any(of_devices) {
            let accounts = accounts(&wanted.assignment.devices, &self.key_directory);
            prepared.prover = Some(Prover::start(accounts).map_err(PrepareError::Prover)?);
        }
        if let Err(error) = self.prepare_doors(steps, &mut prepared).await {
            // What is ready stands where the old ones are to stand again.
            prepared.doors.clear();
            self.open_again(prepared.shut);
            return Err(error);
        }
        Ok(prepared)
    }

    /// The steps come in the order in which doors can stand.
    async fn prepare_doors(&mut self, steps: &[Step], prepared: &mut Prepared) -> Result<(), PrepareError> {
        let last = steps.iter().rposition(|step| matches!(step, Step::OpenDoor { .. } | Step::MoveDoor { .. }));
        for step in steps {
            if let Step::ChangeCertificate { kind, door } = step
                && let Some(certificate) = self.doors.prepare_certificate(door)?
            {
                prepared.certificates.push((*kind, certificate));
            }
        }
        for step in steps.iter().take(last.map_or(0, |last| last + 1)) {
            match step {
                Step::OpenDoor { kind, door } | Step::MoveDoor { kind, to: door, .. } => {
                    prepared.doors.push(self.doors.prepare(*kind, door, Absent::Refuse)?);
                }
                // Before a door that opens, only one that is in its way is closed.
                Step::CloseDoor(kind) => {
                    if let Some(mut shut) = self.doors.shut(*kind) {
                        shut.gone().await;
                        prepared.shut.push(shut);
                    }
                }
                Step::Become { .. }
                | Step::SetKeys { .. }
                | Step::SetLimits(_)
                | Step::SetStore(_)
                | Step::SetTopics(_)
                | Step::SetHeartbeat(_)
                | Step::SetFailover(_)
                | Step::TakeRole(_)
                | Step::TakeRank(_)
                | Step::SetRights(_)
                | Step::SetOrigins(_)
                | Step::AdmitPeer { .. }
                | Step::AdmitDevice { .. }
                | Step::ChangeCertificate { .. }
                | Step::OpenLink { .. }
                | Step::RaisePeer { .. }
                | Step::MoveLink { .. }
                | Step::SetHomes(_)
                | Step::CloseLink(_)
                | Step::ExpelDevice(_)
                | Step::ExpelPeer(_) => {}
            }
        }
        Ok(())
    }

    /// As it was before a change that could not be made.
    fn open_again(&mut self, shut: Vec<Shut>) {
        for door in shut {
            match self.doors.prepare(door.kind, &door.door, Absent::Wait) {
                Ok(ready) => self.doors.open_as(ready, door.id, &self.realm, &self.links),
                Err(error) => warn!(%error, "a door that was shut for a moment stays shut"),
            }
        }
    }

    fn switch(&mut self, wanted: Wanted, steps: &[Step], prepared: Prepared) {
        let (settings, pins) = prepared.trust.unzip();
        self.links.set(pins, &wanted.assignment.links);
        let sized = self.realm.sized(&wanted.assignment);
        let broker = broker_settings(&sized, wanted.provisional, settings.is_some(), self.id_seed);
        let saved = if settings.is_some() { self.spare.take() } else { None };
        self.realm.change(broker, settings, (prepared.identity, saved.unwrap_or_default()));
        self.realm.pages().set(wanted.assignment.origins.clone());
        if let Some((prover, answers)) = prepared.prover {
            self.realm.set_prover(prover);
            spawn_local(pass_on(answers, self.realm.clone()));
        }
        for (kind, certificate) in prepared.certificates {
            if let Some(door) = wanted.assignment.doors.get(&kind) {
                self.doors.show(kind, door, certificate);
            }
        }
        self.doors.reload_certificates();
        let mut gone = prepared.shut;
        for ready in prepared.doors {
            gone.extend(self.doors.shut(ready.kind()));
            self.doors.open(ready, &self.realm, &self.links);
        }
        for step in steps {
            if let Step::CloseDoor(kind) = step
                && !wanted.assignment.doors.contains_key(kind)
            {
                gone.extend(self.doors.shut(*kind));
            }
        }
        self.realm.shut_out(&gone.iter().map(|door| door.id).collect::<Vec<_>>());
        self.wanted = wanted;
    }

    /// Let nobody in any more.
    pub fn shut_doors(&mut self) {
        self.doors.shut_all();
    }
}

/// What the programs' broker is set up with.
#[must_use]
pub fn broker_settings(
    assignment: &Assignment,
    provisional: bool,
    has_network: bool,
    id_seed: u64,
) -> broker::Settings {
    let elsewhere =
        assignment.devices.iter().filter_map(|(name, device)| Some((name.clone(), device.elsewhere.clone()?)));
    broker::Settings {
        limits: assignment.limits.clone(),
        when_full: assignment.store.when_full,
        topics: assignment.topics.clone(),
        local: Principal { name: assignment.me.clone(), rights: assignment.rights.clone() },
        devices: assignment.devices.iter().map(|(name, device)| (name.clone(), device.rights.clone())).collect(),
        id_seed,
        elsewhere: elsewhere.collect(),
        outward: has_network || provisional,
    }
}

/// Verdicts on devices, as long as there are any.
pub async fn pass_on(mut answers: mpsc::Receiver<Answer>, realm: Realm) {
    while let Some(Answer { conn, verdict }) = answers.recv().await {
        realm.verdict(conn, verdict);
    }
}

/// What tells this life of this machine from all others.
pub fn identity() -> anyhow::Result<Identity> {
    Ok(Identity { random: draw()? })
}

pub fn draw<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let read =
        std::fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.context("failed to read /dev/urandom")?;
    Ok(bytes)
}
