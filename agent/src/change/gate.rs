//! Whether the agent is well under a topology that it has just changed to: then that one is the last good one. A client
//! that had a home and finds none goes back to what it ran by before, once for each text.
//!
//! ```text
//!  switched ─▶ watched ─┬─ a home within GATE_MAX ─▶ kept as the last good one
//!                       └─ none ─▶ a client: rolled back, held back ─┬─ edited, or confirmed ─▶ in force
//!                                                                    └─ no home either ──────▶ in force, not judged
//! ```
//!
//! A broker is never rolled back: others look for it where their topologies say, and two of them that go back from each
//! other's edits would not meet. Nor is what was confirmed.

use std::time::Duration;

use hobnail_core::assign::Role;
use hobnail_core::topology::Topology;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::keeper::Good;
use super::outcome::Outcome;
use super::wish::{Ask, Manner, What};
use super::{Changes, Held};
use crate::control::Origin;
use crate::running::{Running, Wanted};
use crate::texts::Texts;

/// After a change an agent that had a home has to have one again within this.
const GATE_MAX: Duration = Duration::from_secs(10);
/// Somebody may wait for what comes of it.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Under what the agent was well, or had to be.
#[derive(Clone)]
pub struct Before {
    wanted: Wanted,
    topology: Topology,
    held: Held,
    origin: Origin,
    had_home: bool,
}

/// A topology that has to prove itself.
pub struct Gate {
    before: Before,
    good: Good,
    what: What,
    judged: bool,
    end: Instant,
    /// Who waits to hear what comes of it, and what they hear if it is well.
    waiting: Vec<(oneshot::Sender<Outcome>, Outcome)>,
}

/// A text that was rolled back.
pub struct HeldBack {
    texts: Texts,
    outcome: Outcome,
    /// It is that of the files, and not in force.
    waits: bool,
}

/// What a gate or a text that is held back came to.
pub enum Decided {
    Well,
    Sick,
    /// Nothing is lost by what was held back any more.
    NoHomeEither,
}

impl Gate {
    /// Let them wait for the end of it.
    pub fn wait(&mut self, answer: oneshot::Sender<Outcome>, outcome: Outcome) {
        self.waiting.push((answer, outcome));
    }

    #[must_use]
    pub fn is_judged(&self) -> bool {
        self.judged
    }

    fn is_passed(&self, running: &Running) -> bool {
        running.is_settled() && (!self.before.had_home || running.has_home())
    }

    fn answer(self) {
        for (answer, outcome) in self.waiting {
            // Who asked may be gone.
            let _ = answer.send(outcome);
        }
    }
}

/// Until there is something to decide; never where nothing is watched. Cancel-safe: it only looks, and a machine that
/// is without a home is so for a while longer.
pub async fn decided(gate: Option<&Gate>, held_back: Option<&HeldBack>, running: &Running) -> Decided {
    let mut home_seen = Instant::now();
    loop {
        if let Some(gate) = gate {
            match (gate.is_passed(running), Instant::now() >= gate.end) {
                (true, _) => return Decided::Well,
                (false, true) => return Decided::Sick,
                (false, false) => {}
            }
        } else if held_back.is_some_and(|held_back| held_back.waits) {
            match (running.has_home(), home_seen.elapsed() >= GATE_MAX) {
                (true, _) => home_seen = Instant::now(),
                (false, true) => return Decided::NoHomeEither,
                (false, false) => {}
            }
        } else {
            return std::future::pending().await;
        }
        sleep(LOOK_EVERY).await;
    }
}

impl Changes {
    /// What runs now, to come back to.
    pub(super) fn before(&self) -> Option<Before> {
        if let Some(gate) = &self.gate {
            return Some(gate.before.clone());
        }
        Some(Before {
            wanted: self.running.wanted().clone(),
            topology: self.topology.clone()?,
            held: self.held.clone(),
            origin: self.desk.origin(),
            had_home: self.running.has_home(),
        })
    }

    /// Whether this was rolled back, and nobody has said that it is meant.
    pub(super) fn held_back(&self, texts: &Texts, manner: Manner) -> Option<Outcome> {
        let held_back = self.held_back.as_ref().filter(|held_back| held_back.texts == *texts)?;
        (held_back.waits && manner == Manner::Cautious).then(|| held_back.outcome.clone())
    }

    /// The texts that are held now are in force: watch whether the agent is well under them.
    pub(super) fn watch_over(&mut self, before: Before, ask: &Ask) {
        if let Some(gate) = self.gate.take() {
            gate.answer();
        }
        if let Some(held_back) = &mut self.held_back {
            held_back.waits = false;
        }
        let texts = self.held.texts.clone();
        if texts == before.held.texts {
            return;
        }
        let assignment = &self.running.wanted().assignment;
        let was_rolled_back = self.held_back.as_ref().is_some_and(|held_back| held_back.texts == texts);
        let follows = assignment.role == Role::Client && !assignment.links.is_empty();
        let judged = before.had_home && follows && !was_rolled_back && ask.manner != Manner::Confirmed;
        let (cause, words, fingerprint) = (ask.what.cause(), ask.what.words(), self.desk.topology());
        let good = Good { cause, what: words, texts, fingerprint };
        let (what, end) = (ask.what.clone(), Instant::now() + GATE_MAX);
        self.gate = Some(Gate { before, good, what, judged, end, waiting: Vec::new() });
    }

    pub(super) async fn decide(&mut self, decided: Decided) {
        match (decided, self.gate.take()) {
            (Decided::NoHomeEither, gate) => {
                self.gate = gate;
                info!("no broker can be reached: what was rolled back is tried again");
                if let Some(held_back) = &mut self.held_back {
                    held_back.waits = false;
                }
                self.look(&Ask::files(Manner::Cautious)).await;
            }
            (Decided::Well, Some(gate)) => {
                let (keeper, good) = (self.keeper.clone(), gate.good.clone());
                // Whoever keeps topologies may wait for the disk.
                spawn_local(async move { keeper.keep(good).await });
                gate.answer();
            }
            (Decided::Sick, Some(gate)) if gate.judged => self.roll_back(gate).await,
            (Decided::Sick, Some(gate)) => {
                warn!("no broker can be reached since the topology was edited: it is not kept as the last good one");
                gate.answer();
            }
            (Decided::Well | Decided::Sick, None) => {}
        }
    }

    async fn roll_back(&mut self, mut gate: Gate) {
        let outcome = match self.running.change(gate.before.wanted.clone()).await {
            Ok(_) => {
                let outcome = Outcome::rolled_back(&gate.what, gate.good.fingerprint.clone());
                let before = gate.before.clone();
                let waits = gate.what == What::Files;
                self.held_back = Some(HeldBack { texts: gate.good.texts.clone(), outcome: outcome.clone(), waits });
                (self.topology, self.held) = (Some(before.topology), before.held);
                self.desk.set_running(&self.running, &self.held, Some(before.origin));
                if waits {
                    self.desk.set_outcome(&outcome);
                }
                outcome
            }
            Err(why) => Outcome::failed(format!(
                "no broker can be reached since the topology was edited, and the earlier one cannot come back: {why}"
            )),
        };
        error!(why = outcome.error, "rolled back");
        gate.waiting.iter_mut().for_each(|(_, told)| *told = outcome.clone());
        gate.answer();
    }
}
