//! What may be asked of a running agent: to look at its files, to change what runs, to go back to an earlier topology.

use hobnail_core::assign::assign;
use hobnail_core::topology::Edit;
use hobnail_core::topology::report::Colour;
use tokio::sync::{mpsc, oneshot};

use super::outcome::Outcome;
use super::{Files, Held, Read, Unread};
use crate::history::{Cause, History};
use crate::texts::Texts;
use crate::topology_files::Disk;
use crate::whoami::whoami_in;

/// Questions that wait for their turn; one more is told to come again.
const ASKS_MAX: usize = 16;
/// Longest account of what was asked for.
const WORDS_MAX: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub what: What,
    pub manner: Manner,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Do as the files say. While they say what they said, changes made at run time stay.
    Files,
    Edits(Vec<Edit>),
    /// This one of the history.
    Earlier(u64),
}

/// How much is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// What takes away much waits.
    Cautious,
    /// Somebody has said that it is meant.
    Confirmed,
    /// Only what would be done.
    DryRun,
}

impl Ask {
    #[must_use]
    pub fn files(manner: Manner) -> Self {
        Self { what: What::Files, manner }
    }
}

impl What {
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Files => Cause::Edit,
            Self::Edits(_) => Cause::Command,
            Self::Earlier(_) => Cause::Rollback,
        }
    }

    /// As the history tells it.
    #[must_use]
    pub fn words(&self) -> String {
        let words = match self {
            Self::Files => String::new(),
            Self::Edits(edits) => edits.iter().map(Edit::to_string).collect::<Vec<_>>().join("; "),
            Self::Earlier(number) => format!("rollback {number}"),
        };
        words.chars().take(WORDS_MAX).collect()
    }

    /// The topology that is asked for, checked; or why there is none. Reads in the thread that calls.
    pub fn read(&self, files: &Files, history: &History, held: &Held) -> Result<Read, Unread> {
        let refused = |why: String| Unread { texts: Texts::default(), outcome: Outcome::failed(why) };
        if *self != Self::Files && held.texts == Texts::default() {
            return Err(refused("no topology is in force: mend the file first".to_owned()));
        }
        match self {
            Self::Files => {
                let read = files.read()?;
                if read.texts != held.on_disk || held.texts == held.on_disk {
                    return Ok(read);
                }
                Ok(Read { on_disk: read.on_disk, ..check(files, &held.texts)? })
            }
            Self::Edits(edits) => {
                let texts = held.texts.edited(edits).map_err(|error| refused(error.to_string()))?;
                check(files, &texts)
            }
            Self::Earlier(number) => {
                let entry = history.get(*number);
                let entry = entry.map_err(|why| refused(format!("topology {number} cannot be had: {why}")))?;
                check(files, &entry.texts)
            }
        }
    }
}

/// As `Files::read`, of texts that are not on the disk.
fn check(files: &Files, texts: &Texts) -> Result<Read, Unread> {
    let loaded = texts.load(&mut Disk::new(files.keys.as_deref(), files.name.as_deref()));
    let texts = Texts::of(&loaded.report);
    let Some(topology) = loaded.topology else {
        let outcome = Outcome::bad("this would be no topology".to_owned(), loaded.report.render(Colour::Plain));
        return Err(Unread { texts, outcome });
    };
    match whoami_in(&topology, files.name.as_deref()) {
        Ok(me) => Ok(Read { assignment: assign(&topology, &me).ok(), texts, on_disk: None, topology, me }),
        Err(error) => Err(Unread { texts, outcome: Outcome::failed(error.to_string()) }),
    }
}

/// The asking end.
#[derive(Clone)]
pub struct Asker(mpsc::Sender<(Ask, oneshot::Sender<Outcome>)>);
pub type Asked = mpsc::Receiver<(Ask, oneshot::Sender<Outcome>)>;

impl Asker {
    #[must_use]
    pub fn new() -> (Self, Asked) {
        let (ask, asked) = mpsc::channel(ASKS_MAX);
        (Self(ask), asked)
    }

    /// `None` where too many ask, or the agent stops.
    pub async fn ask(&self, ask: Ask) -> Option<Outcome> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send((ask, answer)).ok()?;
        answered.await.ok()
    }
}
