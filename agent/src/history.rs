//! The topologies that this machine has run by, the newest of them its last good one: one file each, whole or not there.
//!
//! A file is a line with the SHA-256 of what follows, and then that: JSON with the texts. What does not fit its sum is
//! passed over and told. The oldest goes when there are more than `ENTRIES_MAX` or `BYTES_MAX`; the newest never does.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::atomic_file::{WriteError, write_beside};
use crate::state_dir;
use crate::texts::Texts;

pub const ENTRIES_MAX: usize = 50;
/// All entries together.
pub const BYTES_MAX: u64 = 16 << 20;
/// A larger file is none of ours: no topology has more than 64 files of a mebibyte, and JSON makes two bytes of one at most.
const ENTRY_BYTES_MAX: u64 = 130 << 20;
const EXTENSION: &str = "topology";

/// What made a topology the running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The agent began with it.
    Boot,
    /// Its file was edited.
    Edit,
    /// A command changed it while it ran: `set`, `add`, `remove`, `rank`.
    Command,
    Rollback,
}

impl Cause {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Edit => "edit",
            Self::Command => "command",
            Self::Rollback => "rollback",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub number: u64,
    /// Milliseconds since 1970; none where no clock was set.
    pub at_ms: Option<u64>,
    pub cause: Cause,
    /// What was asked for, in the words of a command line.
    pub what: String,
    pub fingerprint: String,
    pub texts: Texts,
}

/// A file that was to be an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    pub file: PathBuf,
    pub why: String,
}

/// The oldest first.
#[derive(Debug, Default)]
pub struct Listing {
    pub entries: Vec<Entry>,
    pub damaged: Vec<Damaged>,
}

/// What is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    pub at_ms: Option<u64>,
    pub cause: Cause,
    pub what: &'a str,
    pub fingerprint: &'a str,
    pub texts: &'a Texts,
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("failed to make {0}: {1}")]
    Folder(PathBuf, io::Error),
    #[error("failed to list {0}: {1}")]
    List(PathBuf, io::Error),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("failed to write the topology as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

#[derive(Clone, Debug)]
pub struct History {
    folder: PathBuf,
}

impl History {
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Keep it as the newest, and let go of the oldest where there are too many. What is the newest already is not kept
    /// a second time: restarts would push everything else out.
    pub fn record(&self, run: &Run<'_>) -> Result<u64, RecordError> {
        state_dir::make(&self.folder).map_err(|error| RecordError::Folder(self.folder.clone(), error))?;
        self.sweep()?;
        let numbers = self.numbers()?;
        let last = numbers.last().copied().unwrap_or(0);
        if let Ok(newest) = read_entry(&self.path(last), last)
            && newest.texts == *run.texts
            && newest.fingerprint == run.fingerprint
        {
            return Ok(last);
        }
        let number = last.saturating_add(1);
        let entry = Entry {
            number,
            at_ms: run.at_ms,
            cause: run.cause,
            what: run.what.to_owned(),
            fingerprint: run.fingerprint.to_owned(),
            texts: run.texts.clone(),
        };
        let body = serde_json::to_string(&entry)?;
        let text = format!("{}\n{body}\n", sum(body.as_bytes()));
        write_beside(&self.path(number), text.as_bytes())?.put_in_place()?;
        self.prune(numbers, text.len() as u64);
        Ok(number)
    }

    /// All that can be read, and what cannot.
    pub fn list(&self) -> Result<Listing, RecordError> {
        let mut listing = Listing::default();
        for number in self.numbers()? {
            let file = self.path(number);
            match read_entry(&file, number) {
                Ok(entry) => listing.entries.push(entry),
                Err(why) => listing.damaged.push(Damaged { file, why }),
            }
        }
        Ok(listing)
    }

    /// One of them; an error says what is wrong with it.
    pub fn get(&self, number: u64) -> Result<Entry, String> {
        read_entry(&self.path(number), number)
    }

    /// The newest that can be read: the last topology that this machine ran by.
    #[must_use]
    pub fn newest(&self) -> Option<Entry> {
        let numbers = self.numbers().unwrap_or_default();
        numbers.into_iter().rev().find_map(|number| read_entry(&self.path(number), number).ok())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:06}.{EXTENSION}"))
    }

    /// Of all entries, damaged ones included, the oldest first. That there is no folder yet is no fault.
    fn numbers(&self) -> Result<Vec<u64>, RecordError> {
        let mut numbers: Vec<u64> = self.files()?.iter().filter_map(|file| number_of(file)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn files(&self) -> Result<Vec<PathBuf>, RecordError> {
        let failed = |error| RecordError::List(self.folder.clone(), error);
        match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(error)),
            Ok(files) => files.map(|file| file.map(|file| file.path())).collect::<Result<_, _>>().map_err(failed),
        }
    }

    /// What an agent that was killed was about to write.
    fn sweep(&self) -> Result<(), RecordError> {
        let is_trial = |file: &&PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with('.') && name.contains(&format!(".{EXTENSION}."))
        };
        // One that cannot be taken away costs its few bytes, and is tried again the next time.
        self.files()?.iter().filter(is_trial).for_each(|file| drop(fs::remove_file(file)));
        Ok(())
    }

    /// `numbers` are those beside the one that was just written.
    fn prune(&self, mut numbers: Vec<u64>, newest_bytes: u64) {
        let (mut bytes, mut kept) = (newest_bytes, 1);
        while let Some(number) = numbers.pop() {
            bytes = bytes.saturating_add(fs::metadata(self.path(number)).map_or(0, |facts| facts.len()));
            kept += 1;
            if kept > ENTRIES_MAX || bytes > BYTES_MAX {
                numbers.push(number);
                break;
            }
        }
        // As above.
        numbers.into_iter().for_each(|number| drop(fs::remove_file(self.path(number))));
    }
}

fn number_of(file: &Path) -> Option<u64> {
    let (stem, end) = file.file_name()?.to_str()?.split_once('.')?;
    (end == EXTENSION && stem.chars().all(|c| c.is_ascii_digit())).then(|| stem.parse().ok())?
}

fn read_entry(file: &Path, number: u64) -> Result<Entry, String> {
    let mut text = String::new();
    let read = fs::File::open(file).and_then(|file| file.take(ENTRY_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| error.to_string())?;
    let (stated, body) = text.split_once('\n').ok_or("it is cut short")?;
    let body = body.strip_suffix('\n').ok_or("it is cut short")?;
    if stated != sum(body.as_bytes()) {
        return Err("its sum does not fit: it was damaged or changed by hand".to_owned());
    }
    let entry: Entry = serde_json::from_str(body).map_err(|error| format!("it holds something else: {error}"))?;
    if entry.number == number { Ok(entry) } else { Err(format!("it is number {}, by another name", entry.number)) }
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
