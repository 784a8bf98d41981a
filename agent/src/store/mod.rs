//! What an agent keeps, on a disk: a log of batches in segments, an index in memory of what lives, one thread that writes.
//!
//! What holds: after a crash, a power cut included, what is there is the batches as they were submitted up to one of
//! them, each whole; and at least up to the newest ticket that was reported as stored. A batch is written at once. As
//! soon as no sync is in flight, everything that waits is synced together. Whatever the disk holds, the store opens; what
//! it says about the disk never comes from a sync that failed.
//!
//! It never decides what may be forgotten: that is for whoever submits.

mod aside;
mod batch;
mod clean;
pub mod device;
mod engine;
mod files;
mod frame;
mod inbox;
mod index;
mod log;
mod read;
mod recover;
mod recovered;
mod reserve;
mod row;
mod scan;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub use aside::Damage;
pub use batch::Batch;
pub use files::{Files, LogFile, RealFiles};
pub use inbox::Refused;
pub use read::{Reader, Stretch};
pub use recovered::{Kept, Order, Recovered};

use engine::Engine;
use inbox::Inbox;
use index::Index;
use log::{Log, Sizes};
use recover::{Recovery, recover};
use recovered::Ahead;
use reserve::Reserve;

/// Names a batch; the newest counts for all before it. Tickets only go up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What the log may take on the disk, as far as what lives in it allows: cleaning begins earlier, the nearer it is.
    pub bytes_max: u64,
    /// `None`: a sync whenever something waits.
    pub commits_per_second: Option<u32>,
    /// What may be submitted and not yet be stored.
    pub waiting_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { bytes_max: 256 << 20, commits_per_second: None, waiting_bytes_max: 8 << 20 }
    }
}

/// How the store stands: state, not events, so that nobody can be too slow to hear of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Everything up to this ticket is on the disk.
    pub stored: Ticket,
    pub health: Health,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    #[default]
    Fine,
    /// The disk is full. What is submitted is still stored, from a reserve: only what makes room should be.
    Full,
    /// Nothing is stored. It is tried again every second, and what was submitted is kept until then.
    Degraded { why: String },
    /// What is on the disk cannot be told, so nothing is stored until the agent starts anew.
    Unusable { why: String },
}

/// Counted since the store was opened, and how it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Handed to the file system; what that makes of it is not counted.
    pub bytes_written: u64,
    pub syncs: u64,
    /// How long the store has been open.
    pub open_for: Duration,
    /// Needed for what lives.
    pub live_bytes: u64,
    pub disk_bytes: u64,
    pub segments: u64,
    /// Written and waiting to be, but not stored.
    pub waiting_bytes: u64,
    pub segments_cleaned: u64,
    /// Times that a segment that nobody needs could not be removed.
    pub not_removed: u64,
    /// Things that could no longer be read when their segment was cleaned.
    pub given_up: u64,
    /// Batches that were refused because too much waited.
    pub refused: u64,
    /// Times that a commit failed in both places.
    pub failures: u64,
    /// Damaged files that are set aside.
    pub set_aside: u64,
    pub degraded_for: Option<Duration>,
}

impl Figures {
    /// What a day of this would write; `None` in the first minute.
    #[must_use]
    pub fn bytes_per_day(&self) -> Option<u64> {
        let seconds = self.open_for.as_secs();
        (seconds >= 60).then(|| self.bytes_written.saturating_mul(86_400) / seconds)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another agent keeps its things in {0}: two may not share a directory")]
    InUse(String),
    #[error("failed to start the thread that writes: {0}")]
    Thread(#[from] io::Error),
}

/// The submitting end.
pub struct Store {
    inbox: Arc<Inbox>,
    index: Arc<Mutex<Index>>,
    figures: Arc<Mutex<Figures>>,
    standing: watch::Receiver<Standing>,
}

impl Store {
    /// Open the store in `directory`, with all that lives in it, which is on the disk beyond doubt then unless the disk
    /// takes no writes.
    pub fn open(directory: &Path, options: Options) -> Result<(Self, Recovered), OpenError> {
        Self::open_on(Arc::new(RealFiles::new(directory)), options, &directory.display().to_string())
    }

    /// The same, on files of any kind; `called` is the directory's name in errors.
    pub fn open_on(files: Arc<dyn Files>, options: Options, called: &str) -> Result<(Self, Recovered), OpenError> {
        let locked = match files.lock() {
            Ok(true) => Ok(()),
            Ok(false) => return Err(OpenError::InUse(called.to_owned())),
            Err(error) => Err(error),
        };
        let inbox = Arc::new(Inbox::new(options.waiting_bytes_max));
        let figures = Arc::new(Mutex::new(Figures::default()));
        let every = options.commits_per_second.map_or(Duration::ZERO, |many| Duration::from_secs(1) / many.max(1));
        let Begun { engine, index, recovered, standing } = begin(files, locked, sizes(options.bytes_max), every);
        let store = Self { inbox: inbox.clone(), index, figures: figures.clone(), standing };
        match engine {
            Some(engine) => {
                let worker = Worker { engine, inbox, figures, began: Instant::now(), degraded_since: None };
                thread::Builder::new().name("store".into()).spawn(move || worker.run())?;
            }
            None => inbox.close_up(),
        }
        Ok((store, recovered))
    }

    /// Hand over a batch, which is empty then. Refused, it is left as it is: too much waits, and it is to be submitted
    /// again, with what has come to it, once `standing` is told again.
    pub fn submit(&self, batch: &mut Batch, ticket: Ticket) -> Result<(), Refused> {
        self.inbox.put(batch, ticket)
    }

    /// How it stands, and each change of that.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// What is stored, for whoever wants it back.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader(self.index.clone())
    }

    #[must_use]
    pub fn figures(&self) -> Figures {
        let figures = *self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let (waiting_bytes, refused) = self.inbox.figures();
        Figures { waiting_bytes, refused, ..figures }
    }

    /// Store what was submitted, and stop; whether all was stored in this time. A disk that hangs is not waited for.
    pub fn close(self, within: Duration) -> bool {
        self.inbox.stop();
        self.inbox.wait_until_stopped(within)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.inbox.stop();
    }
}

/// A store that is open and has no thread yet.
struct Begun {
    /// `None`: the directory cannot be used.
    engine: Option<Engine>,
    index: Arc<Mutex<Index>>,
    recovered: Recovered,
    standing: watch::Receiver<Standing>,
}

/// Find out what is there, and make it durable anew where that is in doubt.
fn begin(files: Arc<dyn Files>, locked: io::Result<()>, sizes: Sizes, every: Duration) -> Begun {
    let (mut recovery, unusable) = match locked.and_then(|()| recover(&*files)) {
        Ok(recovery) => (recovery, None),
        Err(error) => (Recovery::default(), Some(error)),
    };
    let (damage, gap) = (std::mem::take(&mut recovery.damage), recovery.gap);
    let log = Log::new(files, recovery, sizes);
    let index = log.share_index();
    let recovered = Recovered { damage, index: index.clone(), gap, at: None, ahead: Ahead::default(), unreadable: 0 };
    let (tell, standing) = watch::channel(Standing::default());
    if let Some(why) = unusable {
        tell.send_replace(Standing { stored: Ticket(0), health: Health::Unusable { why: why.to_string() } });
        return Begun { engine: None, index, recovered, standing };
    }
    let mut engine = Engine::new(log, Reserve::new(2 * sizes.segment), every, tell);
    engine.step(Duration::ZERO);
    Begun { engine: Some(engine), index, recovered, standing }
}

/// A segment's length follows from the whole: 64 of them, none too short to be worth a file, none too long to be cleaned
/// in a breath.
fn sizes(bytes_max: u64) -> Sizes {
    Sizes { segment: (bytes_max / 64).clamp(256 << 10, 16 << 20), total: bytes_max, slice: 256 << 10 }
}

/// The thread.
struct Worker {
    engine: Engine,
    inbox: Arc<Inbox>,
    figures: Arc<Mutex<Figures>>,
    began: Instant,
    degraded_since: Option<Duration>,
}

impl Worker {
    fn run(mut self) {
        let mut next = Some(Duration::ZERO);
        loop {
            let wait = next.map(|next| next.saturating_sub(self.began.elapsed()));
            let engine = &mut self.engine;
            let stop = self.inbox.take(wait, |body, ticket| engine.take(body, ticket));
            if stop {
                let all = self.engine.finish();
                // The directory is free before anybody hears that it is.
                let inbox = self.inbox.clone();
                drop(self);
                return inbox.stopped(all);
            }
            next = self.engine.step(self.began.elapsed());
            // Who was refused may have heard of a commit before there was room.
            if self.inbox.set_pending(self.engine.log.pending()) {
                self.engine.stand_again();
            }
            self.note_figures();
        }
    }

    fn note_figures(&mut self) {
        let now = self.began.elapsed();
        let log = &self.engine.log;
        let index = log.index();
        let degraded = self.engine.is_degraded();
        self.degraded_since = self.degraded_since.filter(|_| degraded).or(degraded.then_some(now));
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        *figures = Figures {
            bytes_written: log.counts.bytes_written,
            syncs: log.counts.syncs,
            open_for: now,
            live_bytes: index.live(),
            disk_bytes: index.bytes(),
            segments: index.segments().len() as u64,
            segments_cleaned: log.counts.cleaned,
            not_removed: log.counts.not_removed,
            given_up: log.counts.given_up,
            set_aside: log.counts.set_aside,
            failures: self.engine.failures,
            degraded_for: self.degraded_since.map(|since| now.saturating_sub(since)),
            ..Figures::default()
        };
    }
}

#[cfg(test)]
mod tests;
