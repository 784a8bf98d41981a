//! What came of looking at the topology again, for whoever asked and for the status.

use hobnail_core::caution::Caution;
use hobnail_core::plan::{Drops, Step};
use serde::{Deserialize, Serialize};

use super::wish::What;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is in force.
    Applied,
    /// It was in force before.
    Unchanged,
    /// It would be applied.
    WouldApply,
    /// The file does not check. The old topology is in force.
    Bad,
    /// It could not be carried out here: a door, a key, a certificate. The old topology is in force.
    Failed,
    /// It takes away so much that somebody has to say that it is meant. The old topology is in force.
    Doubted,
    /// No broker could be reached under it. The topology before it is in force again.
    RolledBack,
    /// This agent would be another machine: that takes a restart. The old topology is in force.
    Restart,
}

/// One step, as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub step: String,
    /// Whose connections it ends, in words; none for nobody's.
    pub drops: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub verdict: Verdict,
    /// The fingerprint of the topology that was looked at; empty where it was none.
    pub topology: Box<str>,
    pub steps: Vec<Told>,
    pub error: Option<String>,
    /// All problems of the file, as `hobnail check` tells them.
    pub report: Option<String>,
}

impl Told {
    #[must_use]
    pub fn of(steps: &[Step]) -> Vec<Self> {
        let told = |step: &Step| {
            let drops = step.drops();
            Self { step: step.to_string(), drops: (drops != Drops::Nobody).then(|| drops.to_string()) }
        };
        steps.iter().map(told).collect()
    }
}

impl Outcome {
    fn of(verdict: Verdict, steps: &[Step], topology: Box<str>, error: Option<String>) -> Self {
        Self { verdict, topology, steps: Told::of(steps), error, report: None }
    }

    #[must_use]
    pub fn applied(steps: &[Step], topology: Box<str>) -> Self {
        Self::of(Verdict::Applied, steps, topology, None)
    }

    #[must_use]
    pub fn unchanged(topology: Box<str>) -> Self {
        Self::of(Verdict::Unchanged, &[], topology, None)
    }

    #[must_use]
    pub fn dry(steps: &[Step], topology: Box<str>) -> Self {
        Self::of(Verdict::WouldApply, steps, topology, None)
    }

    #[must_use]
    pub fn bad(error: String, report: String) -> Self {
        Self { report: Some(report), ..Self::of(Verdict::Bad, &[], "".into(), Some(error)) }
    }

    #[must_use]
    pub fn failed(error: String) -> Self {
        Self::of(Verdict::Failed, &[], "".into(), Some(error))
    }

    #[must_use]
    pub fn doubted(doubt: &Caution, what: &What, steps: &[Step], topology: Box<str>) -> Self {
        let error = match what {
            What::Files => format!("the edit waits: {doubt}; `hobnail reload --confirm` if that is meant"),
            What::Edits(_) | What::Earlier(_) => format!("not done: {doubt}; add --confirm if that is meant"),
        };
        Self::of(Verdict::Doubted, steps, topology, Some(error))
    }

    #[must_use]
    pub fn rolled_back(what: &What, topology: Box<str>) -> Self {
        let error = match what {
            What::Files => {
                "the edit was taken back: under it no broker could be reached; mend it, or `hobnail reload --confirm`"
            }
            What::Edits(_) | What::Earlier(_) => "taken back: under it no broker could be reached",
        };
        Self::of(Verdict::RolledBack, &[], topology, Some(error.to_owned()))
    }

    #[must_use]
    pub fn restart(steps: &[Step], topology: Box<str>) -> Self {
        let error = "this agent would be another machine or in another network: restart it".to_owned();
        Self::of(Verdict::Restart, steps, topology, Some(error))
    }
}
