//! Whether a disk has what it said it has: a plug is pulled while numbered records are written, and another machine, the
//! witness, knows the newest that was synced.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::commits::{COMMIT_BYTES, allocate};
use super::witness::{Heard, ToWitness};
use crate::store::{Files, LogFile, RealFiles};

pub const FILE: &str = "doctor-plug-pull";
/// 64 MiB of the user's card, and a bit over five minutes.
pub const RECORDS_MAX: u64 = 16_384;
/// So many a second give whoever pulls the plug time to do it.
const EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum PlugError {
    #[error("failed to write {FILE}: {0}")]
    Disk(io::Error),
    #[error("{FILE} of an earlier test is there, and was not compared yet: `--pulled` does that, or remove it")]
    Unchecked,
    #[error("the witness at {0} does not answer: {1}")]
    Witness(String, io::Error),
}

#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Stopped,
    /// Nobody pulled the plug.
    NotPulled,
}

/// What a comparison came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Kept {
        kept: u64,
        heard: u64,
    },
    Lost {
        kept: u64,
        heard: u64,
    },
    /// The file is not there.
    Gone {
        heard: u64,
    },
    /// The system is still the one that the test was begun on.
    SameBoot,
    /// The witness knows of no number.
    Unheard,
}

/// What the kernel calls this run of the system.
#[must_use]
pub fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if id.trim().is_empty() { "unknown".to_owned() } else { id.trim().to_owned() }
}

/// Write, sync and tell, until the power goes. Only where it stays is anything returned, and then nothing is left behind.
pub fn write(
    folder: &Path,
    witness: &str,
    boot: &str,
    stop: &AtomicBool,
    mut tell: impl FnMut(u64),
) -> Result<Ended, PlugError> {
    let files = RealFiles::new(folder);
    if files.open(FILE).is_ok() {
        return Err(PlugError::Unchecked);
    }
    let unheard = |error| PlugError::Witness(witness.to_owned(), error);
    let mut to = ToWitness::connect(witness).map_err(unheard)?;
    let id = RandomState::new().hash_one(boot);
    let written = room(&files).map_err(PlugError::Disk).and_then(|file| {
        to.begin(id, boot).map_err(unheard)?;
        for number in 1..=RECORDS_MAX {
            if stop.load(Ordering::Relaxed) {
                return Ok(Ended::Stopped);
            }
            let due = Instant::now() + EVERY;
            commit(&*file, id, number).map_err(PlugError::Disk)?;
            to.tell(number).map_err(unheard)?;
            tell(number);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(Ended::NotPulled)
    });
    // Whatever went wrong first is the news.
    let (forgotten, removed) = (to.end(), files.remove(FILE));
    let ended = written?;
    forgotten.map_err(unheard)?;
    removed.map_err(PlugError::Disk)?;
    Ok(ended)
}

fn room(files: &RealFiles) -> io::Result<Arc<dyn LogFile>> {
    let file = files.create(FILE)?;
    allocate(&*file, RECORDS_MAX * COMMIT_BYTES as u64)?;
    file.sync()?;
    files.sync()?;
    Ok(file)
}

fn commit(file: &dyn LogFile, id: u64, number: u64) -> io::Result<()> {
    file.write_at(place(number), &record(id, number))?;
    file.sync()
}

fn place(number: u64) -> u64 {
    (number - 1) * COMMIT_BYTES as u64
}

/// No two records of any two tests are the same, in no sector of theirs.
fn record(id: u64, number: u64) -> Vec<u8> {
    [id.to_le_bytes(), number.to_le_bytes()].concat().repeat(COMMIT_BYTES / 16)
}

/// Compare what is in this folder with what the witness heard, and take the file away once it is compared.
pub fn compare(folder: &Path, witness: &str, boot: &str) -> Result<Verdict, PlugError> {
    let unheard = |error| PlugError::Witness(witness.to_owned(), error);
    let heard = ToWitness::connect(witness).and_then(|mut to| to.heard()).map_err(unheard)?;
    let Some(Heard { id, boot: begun, number: heard }) = heard.filter(|heard| heard.number > 0) else {
        return Ok(Verdict::Unheard);
    };
    if begun == boot {
        return Ok(Verdict::SameBoot);
    }
    let files = RealFiles::new(folder);
    let file = match files.open(FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Verdict::Gone { heard }),
        Err(error) => return Err(PlugError::Disk(error)),
    };
    let kept = kept(&*file, id);
    files.remove(FILE).map_err(PlugError::Disk)?;
    Ok(if kept >= heard { Verdict::Kept { kept, heard } } else { Verdict::Lost { kept, heard } })
}

/// So many records are whole, from the first on.
fn kept(file: &dyn LogFile, id: u64) -> u64 {
    let mut bytes = [0; COMMIT_BYTES];
    let is_whole = |number: &u64| {
        // What cannot be read is not kept.
        file.read_at(place(*number), &mut bytes).is_ok() && record(id, *number) == bytes
    };
    (1..=RECORDS_MAX).take_while(is_whole).count() as u64
}

#[cfg(test)]
mod tests;
