//! What becomes of an edit: a transaction. The files are read and checked, the plan is made, everything that can fail is
//! tried; only then does the agent do as the new topology says, and once it is well, that one is kept as the last good.
//!
//! ```text
//!  edited, SIGHUP, asked ─▶ read, check ─▶ plan ─▶ caution ─▶ prepare ─▶ switch ─▶ health gate ─▶ last good
//!                              └─────────────────────┴───────────┴── no: the old one goes on, and says why
//! ```
//!
//! One at a time, in the order in which they are asked for. That a file is missing, empty or unreadable is a reason to
//! stay as it is, and never means defaults.

pub mod boot;
pub mod gate;
pub mod keeper;
pub mod outcome;
pub mod watch;
pub mod wish;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use hobnail_core::assign::{Assignment, alone, assign};
use hobnail_core::caution::caution;
use hobnail_core::ids::Name;
use hobnail_core::node::Common;
use hobnail_core::plan::Step;
use hobnail_core::topology::Topology;
use hobnail_core::topology::report::Colour;
use tokio::signal::unix::Signal;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use self::gate::{Gate, HeldBack, decided};
use self::keeper::Keeper;
use self::outcome::{Outcome, Verdict};
use self::watch::Watch;
use self::wish::{Ask, Asked, Manner, What};
use crate::control::{Desk, Origin};
use crate::history::History;
use crate::manager::Manager;
use crate::running::{Running, Wanted};
use crate::texts::Texts;
use crate::topology_files::Disk;
use crate::whoami::whoami_in;

/// Changes that are told as not saved; of more, the newest.
const UNSAVED_MAX: usize = 50;
/// What could not be made ready, such as a door whose port is taken, is tried again this often.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// Where the topology of this agent comes from.
#[derive(Clone, Debug)]
pub struct Files {
    pub topology: PathBuf,
    pub keys: Option<PathBuf>,
    /// Which machine this is, where it was said.
    pub name: Option<String>,
}

/// A topology that was read, and what it makes of this machine.
pub struct Read {
    pub texts: Texts,
    /// What the files say, where they were looked at.
    pub on_disk: Option<Texts>,
    pub topology: Topology,
    pub me: Name,
    /// `None`: it has no place for this machine.
    pub assignment: Option<Assignment>,
}

/// Files that are no topology, and why.
pub struct Unread {
    pub texts: Texts,
    pub outcome: Outcome,
}

impl Files {
    /// What the files say, checked; or what is wrong with them. Reads in the thread that calls.
    pub fn read(&self) -> Result<Read, Unread> {
        let mut disk = Disk::new(self.keys.as_deref(), self.name.as_deref());
        let loaded = hobnail_core::topology::load(&self.topology.to_string_lossy(), &mut disk);
        let file = self.topology.display();
        let texts = Texts::of(&loaded.report);
        let Some(topology) = loaded.topology else {
            let report = loaded.report.render(Colour::Plain);
            let first = report.lines().next().unwrap_or("it is no topology");
            let error = format!("{first}; `hobnail check {file}` tells all that is wrong");
            return Err(Unread { texts, outcome: Outcome::bad(error, report) });
        };
        match whoami_in(&topology, self.name.as_deref()) {
            Ok(me) => {
                let on_disk = Some(texts.clone());
                Ok(Read { assignment: assign(&topology, &me).ok(), texts, on_disk, topology, me })
            }
            Err(error) => Err(Unread { texts, outcome: Outcome::failed(error.to_string()) }),
        }
    }
}

/// What runs as texts, and what of that is in the files.
#[derive(Clone, Debug, Default)]
pub struct Held {
    pub texts: Texts,
    /// What the files held when they were last in force; nothing where they never were.
    pub on_disk: Texts,
    /// Changes made at run time that are not in the files, the oldest first.
    pub unsaved: Vec<String>,
}

impl Held {
    fn take(&mut self, texts: Texts, what: &What, on_disk: Option<Texts>) {
        self.on_disk = on_disk.unwrap_or_else(|| std::mem::take(&mut self.on_disk));
        self.texts = texts;
        match what {
            _ if self.texts == self.on_disk => self.unsaved.clear(),
            What::Files => {}
            What::Edits(_) | What::Earlier(_) => {
                self.unsaved.push(what.words());
                if self.unsaved.len() > UNSAVED_MAX {
                    self.unsaved.remove(0);
                }
            }
        }
    }
}

/// The running agent with its files.
pub struct Changes {
    pub running: Running,
    files: Files,
    history: History,
    keeper: Keeper,
    desk: Rc<Desk>,
    held: Held,
    /// `None` in safe mode.
    topology: Option<Topology>,
    /// Something was not as it has to be: it is looked at again.
    pub retry: bool,
    /// There is a topology, in safe mode.
    found: bool,
    /// What is in force has to prove itself.
    gate: Option<Gate>,
    held_back: Option<HeldBack>,
}

impl Changes {
    #[must_use]
    pub fn new(
        running: Running,
        files: Files,
        history: History,
        keeper: Keeper,
        desk: Rc<Desk>,
        held: Held,
        topology: Option<Topology>,
    ) -> Self {
        let (gate, held_back) = (None, None);
        Self { running, files, history, keeper, desk, held, topology, retry: false, found: false, gate, held_back }
    }

    /// Answer for as long as this agent stays what it is: until a good topology ends its safe mode. The end of the agent
    /// may come in the middle of it.
    pub async fn serve(&mut self, mut asked: Asked, mut hangup: Signal, manager: &Manager, mut watch: Option<Watch>) {
        while self.topology.is_some() || !self.found {
            let next = tokio::select! {
                // Each is cancel-safe: a question stays in its queue, a signal too, an edit is found again.
                next = asked.recv() => next,
                _ = hangup.recv() => {
                    manager.reloading();
                    None
                }
                () = edited(&mut watch) => None,
                () = tokio::time::sleep(RETRY_EVERY), if self.retry => None,
                decided = decided(self.gate.as_ref(), self.held_back.as_ref(), &self.running) => {
                    self.decide(decided).await;
                    manager.ready(&self.desk.state());
                    continue;
                }
            };
            let ask = next.as_ref().map_or(Ask::files(Manner::Cautious), |(ask, _)| ask.clone());
            let (outcome, texts) = self.look(&ask).await;
            if let (Some(watch), What::Files) = (&mut watch, &ask.what) {
                watch.follow(&texts);
            }
            manager.ready(&self.desk.state());
            if let Some((_, answer)) = next {
                self.answer(answer, outcome);
            }
        }
    }

    /// At once, or when it has turned out whether what is in force stays so.
    fn answer(&mut self, answer: oneshot::Sender<Outcome>, outcome: Outcome) {
        let in_force = matches!(outcome.verdict, Verdict::Applied | Verdict::Unchanged);
        match self.gate.as_mut().filter(|gate| in_force && gate.is_judged()) {
            Some(gate) => gate.wait(answer, outcome),
            // Who asked may be gone.
            None => drop(answer.send(outcome)),
        }
    }

    /// Read what is asked for, and do as it says. The texts are those that were read.
    async fn look(&mut self, ask: &Ask) -> (Outcome, Texts) {
        let (files, history, held, what) =
            (self.files.clone(), self.history.clone(), self.held.clone(), ask.what.clone());
        // A network file system may hang: not in the thread that serves.
        let read = spawn_blocking(move || what.read(&files, &history, &held)).await.unwrap_or_else(|error| {
            let outcome = Outcome::failed(format!("failed to read the topology: {error}"));
            Err(Unread { texts: Texts::default(), outcome })
        });
        let (outcome, texts) = match read {
            Ok(read) => {
                let on_disk = read.on_disk.clone();
                (self.take(read, ask).await, on_disk.unwrap_or_default())
            }
            Err(Unread { texts, outcome }) => (outcome, texts),
        };
        if ask.manner != Manner::DryRun {
            self.tell(ask, &outcome);
        }
        (outcome, texts)
    }

    async fn take(&mut self, read: Read, ask: &Ask) -> Outcome {
        let Read { texts, on_disk, topology, me, assignment } = read;
        let now = self.running.wanted();
        let common = Common::of(&topology);
        let doubt = self.topology.as_ref().and_then(|running| caution(running, &topology, &me));
        let wanted = match (assignment, &doubt) {
            (Some(assignment), _) => assignment,
            (None, Some(_)) => alone(&now.assignment),
            (None, None) => return Outcome::failed(format!("the topology has no place for this machine, {me}")),
        };
        let steps = self.running.plan(&wanted);
        let fingerprint = common.fingerprint.clone();
        if let Some(outcome) = self.held_back(&texts, ask.manner) {
            return outcome;
        }
        if let (Some(doubt), false) = (doubt, ask.manner == Manner::Confirmed) {
            return Outcome::doubted(&doubt, &ask.what, &steps, fingerprint);
        }
        if self.topology.is_some() && steps.iter().any(|step| matches!(step, Step::Become { .. })) {
            return Outcome::restart(&steps, fingerprint);
        }
        if ask.manner == Manner::DryRun {
            return Outcome::dry(&steps, fingerprint);
        }
        if self.topology.is_none() {
            self.found = true;
            return Outcome::applied(&steps, fingerprint);
        }
        let (same, news) = (self.topology.as_ref() == Some(&topology), texts != self.held.texts);
        let before = self.before();
        let wanted = Wanted { assignment: wanted, common, provisional: false };
        match self.running.change(wanted).await {
            Err(error) => Outcome::failed(error.to_string()),
            Ok(steps) => {
                self.topology = Some(topology);
                self.held.take(texts, &ask.what, on_disk);
                let origin = (ask.what == What::Files).then_some(Origin::File);
                self.desk.set_running(&self.running, &self.held, origin);
                if let Some(before) = before.filter(|_| news) {
                    self.watch_over(before, ask);
                }
                if same { Outcome::unchanged(fingerprint) } else { Outcome::applied(&steps, fingerprint) }
            }
        }
    }

    fn tell(&mut self, ask: &Ask, outcome: &Outcome) {
        if ask.what != What::Files {
            info!(what = ask.what.words(), verdict = ?outcome.verdict, why = outcome.error, "asked to change");
            return;
        }
        self.retry = matches!(outcome.verdict, Verdict::Bad | Verdict::Failed);
        let news = self.desk.pending().as_ref() != Some(outcome);
        match outcome.verdict {
            Verdict::Applied => {
                info!(topology = %outcome.topology, steps = outcome.steps.len(), "the edit is in force")
            }
            Verdict::Unchanged => info!("the topology is the one in force; keys and certificates are read anew"),
            Verdict::WouldApply => {}
            Verdict::Bad | Verdict::Failed | Verdict::Doubted | Verdict::Restart | Verdict::RolledBack if news => {
                outcome.report.iter().flat_map(|report| report.lines()).for_each(|line| eprintln!("{line}"));
                warn!(why = outcome.error, "the topology stays as it was");
            }
            Verdict::Bad | Verdict::Failed | Verdict::Doubted | Verdict::Restart | Verdict::RolledBack => {}
        }
        self.desk.set_outcome(outcome);
    }
}

/// An edit, where there is somebody to notice it.
async fn edited(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.edited().await,
        None => std::future::pending().await,
    }
}
