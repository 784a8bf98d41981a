//! What the control socket answers about topologies: the one in force, those before it, and those of other machines.

use std::time::{Duration, Instant};

use hobnail_core::ids::Name;
use hobnail_core::node::{Came, PAGE_BYTES_MAX, TEXT_BYTES_MAX};
use hobnail_core::topology::Edit;
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::Desk;
use super::http::Answer;
use crate::change::wish::{Manner, What};
use crate::history::{Cause, Damaged, Entry, Listing};
use crate::texts::Texts;

/// Longest wait for one page, and how often it is asked for before that machine counts as silent.
const PAGE_WAIT: Duration = Duration::from_secs(1);
const PAGE_TRIES: usize = 3;
const LOOK_EVERY: Duration = Duration::from_millis(2);
const PAGES_MAX: u16 = (TEXT_BYTES_MAX / PAGE_BYTES_MAX) as u16;

/// What a path asks to change, and how.
pub enum Wish<'p> {
    Reload,
    Change,
    Rollback(&'p str),
}

pub fn wish(path: &str) -> Option<(Wish<'_>, Manner)> {
    let path = path.strip_prefix("/v1/")?;
    let (what, manner) = match path.rsplit_once('/') {
        Some((what, "confirm")) => (what, Manner::Confirmed),
        Some((what, "dry-run")) => (what, Manner::DryRun),
        Some(_) | None => (path, Manner::Cautious),
    };
    let wish = match what.split_once('/') {
        None if what == "reload" => Wish::Reload,
        None if what == "change" => Wish::Change,
        Some(("rollback", number)) => Wish::Rollback(number),
        Some(_) | None => return None,
    };
    Some((wish, manner))
}

impl Wish<'_> {
    pub fn read(self, body: &[u8]) -> Result<What, Answer> {
        match self {
            Self::Reload => Ok(What::Files),
            Self::Change => match serde_json::from_slice::<Vec<Edit>>(body) {
                Ok(edits) if !edits.is_empty() => Ok(What::Edits(edits)),
                Ok(_) => Err(Answer::error(422, "nothing to change")),
                Err(error) => Err(Answer::error(422, &format!("a list of edits is wanted: {error}"))),
            },
            Self::Rollback(number) => {
                let no_number = || Answer::error(404, &format!("{number:?} is no number of the history"));
                number.parse().map(What::Earlier).map_err(|_| no_number())
            }
        }
    }
}

#[derive(Serialize)]
struct InForce<'a> {
    name: &'a Name,
    texts: Texts,
    on_disk: Texts,
}

#[derive(Serialize)]
struct OfOther<'a> {
    name: &'a Name,
    texts: Texts,
}

#[derive(Serialize)]
struct Listed<'a> {
    entries: Vec<EntryLine<'a>>,
    damaged: &'a [Damaged],
}

/// An entry without its texts.
#[derive(Serialize)]
struct EntryLine<'a> {
    number: u64,
    at_ms: Option<u64>,
    cause: Cause,
    what: &'a str,
    fingerprint: &'a str,
}

impl<'a> EntryLine<'a> {
    fn of(entry: &'a Entry) -> Self {
        Self {
            number: entry.number,
            at_ms: entry.at_ms,
            cause: entry.cause,
            what: &entry.what,
            fingerprint: &entry.fingerprint,
        }
    }
}

impl Desk {
    /// What runs, and what the files held when they were last read.
    pub(super) fn in_force(&self) -> Answer {
        let facts = self.facts.borrow();
        let (texts, on_disk) = (facts.held.texts.absolute(), facts.held.on_disk.absolute());
        Answer::json(200, &InForce { name: &facts.name, texts, on_disk })
    }

    /// Cancel-safe, as the others here: only looks.
    pub(super) async fn of_other(&self, machine: &str) -> Answer {
        let Ok(name) = Name::new(machine) else {
            return Answer::error(404, &format!("{machine:?} cannot be a machine's name"));
        };
        match self.read_other(&name).await {
            Ok(texts) => Answer::json(200, &OfOther { name: &name, texts }),
            Err(answer) => answer,
        }
    }

    /// Page by page, so that nobody ever holds more than one for somebody else.
    async fn read_other(&self, machine: &Name) -> Result<Texts, Answer> {
        let (mut text, mut part) = (Vec::new(), 0);
        loop {
            let Came { parts, body } = self.page(machine, part).await?;
            if parts == 0 || parts > PAGES_MAX {
                let why = format!("{machine} does not show what it runs by: it is more than {TEXT_BYTES_MAX} bytes");
                return Err(Answer::error(409, &why));
            }
            text.extend_from_slice(&body);
            part += 1;
            if part >= parts {
                let changed = || Answer::error(409, &format!("{machine} changed while it was read: try again"));
                return serde_json::from_slice(&text).map_err(|_| changed());
            }
        }
    }

    async fn page(&self, machine: &Name, part: u16) -> Result<Came, Answer> {
        for _ in 0..PAGE_TRIES {
            let Some(number) = self.realm.want_page(machine, part) else {
                return Err(Answer::error(409, "this machine is the only one of its network"));
            };
            let end = Instant::now() + PAGE_WAIT;
            while Instant::now() < end {
                if let Some(came) = self.realm.take_page(number) {
                    return Ok(came);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Err(Answer::error(504, &format!("no answer from {machine}")))
    }

    pub(super) async fn list_history(&self) -> Answer {
        let store = self.kept.clone();
        match spawn_blocking(move || store.list()).await {
            Ok(Ok(Listing { entries, damaged })) => {
                Answer::json(200, &Listed { entries: entries.iter().map(EntryLine::of).collect(), damaged: &damaged })
            }
            Ok(Err(error)) => Answer::error(500, &error.to_string()),
            Err(error) => Answer::error(500, &error.to_string()),
        }
    }

    pub(super) async fn history_entry(&self, number: &str) -> Answer {
        let Ok(number) = number.parse::<u64>() else {
            return Answer::error(404, &format!("{number:?} is no number of the history"));
        };
        let store = self.kept.clone();
        match spawn_blocking(move || store.get(number)).await {
            Ok(Ok(entry)) => Answer::json(200, &entry),
            Ok(Err(why)) => Answer::error(404, &format!("topology {number} cannot be had: {why}")),
            Err(error) => Answer::error(500, &error.to_string()),
        }
    }
}
