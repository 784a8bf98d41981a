//! Between the core and the store: what the core wants kept goes out as one batch for each thing that happened, and how
//! far that has come on the disk comes back.
//!
//! What the store does not take now waits here, in one batch that grows; whoever submits looks at `room` and reads no
//! more from those that fill it. Nothing is ever said to be stored that the store has not said: where the disk cannot be
//! used at all, nothing is, and the agent lives on in memory.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hobnail_core::agent::{Reading, Saved, Write};
use hobnail_core::assign::Assignment;
use hobnail_core::broker::Ticket;
use hobnail_core::keep::Keep;
use hobnail_core::node::{Fetch, Fetched};
use hobnail_core::topology::model;
use rustix::fs::statvfs;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::reading::Reads;
use crate::store::device::commits_per_second;
use crate::store::{self, Batch, Figures, Health, Kept, OpenError, Options, Refused, Standing, Store};
use crate::{memory, state_dir};

/// Without another size in the topology, the store may have this, or less where the disk has little room.
const BYTES_MAX: u64 = 256 << 20;
/// It gets no less than this: below, no segment would fit twice.
const BYTES_MIN: u64 = 4 << 20;
/// Of what was free at the start.
const FREE_PERCENT: u64 = 5;
/// What waits on its way to the disk, in the store and as much again before it; less where memory is little.
const WAITING_BYTES_MAX: u64 = 8 << 20;

impl Keep for Batch {
    fn put(&mut self, row: &[u8], number: u64, bytes: &[u8]) {
        Self::put(self, row, number, bytes);
    }

    fn take(&mut self, row: &[u8], number: u64) {
        Self::take(self, row, number);
    }

    fn cut(&mut self, row: &[u8], upto: u64) {
        Self::cut(self, row, upto);
    }

    fn set(&mut self, key: &[u8], bytes: &[u8]) {
        Self::set(self, key, bytes);
    }

    fn unset(&mut self, key: &[u8]) {
        Self::unset(self, key);
    }
}

/// Who may be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    #[default]
    Enough,
    /// The store is behind: nothing more from other machines. Programs are held back one by one, by what is not answered.
    Behind,
    /// Nobody.
    None,
}

/// Where a store is, and how it stands.
pub struct Keeping {
    /// `None` where there is none, and once it is closed.
    store: RefCell<Option<Store>>,
    standing: watch::Receiver<Standing>,
    /// `None` where there is no store.
    reads: Option<Reads>,
    /// Until somebody takes them in.
    answers: Cell<Option<mpsc::Receiver<Fetched>>>,
    /// Keeps `standing` alive where there is no store.
    _alone: Option<watch::Sender<Standing>>,
    folder: PathBuf,
    bytes_max: u64,
    /// What there is for this process.
    memory_bytes: u64,
    /// What may wait here while the store is behind: beyond it nobody is read.
    backlog_bytes_max: usize,
    commits_per_second: Option<u32>,
    found: Found,
    outgoing: RefCell<Outgoing>,
    /// Times that the store was behind.
    behind: Cell<u64>,
}

/// What is on its way to the store.
#[derive(Default)]
struct Outgoing {
    batch: Batch,
    /// The newest that stands for the batch.
    ticket: Option<Ticket>,
    scratch: Vec<u8>,
}

/// What was wrong with what was read back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    damaged_files: usize,
    /// Things that were there and cannot be what an agent wrote, or not be read.
    refused: u64,
}

/// What can be said of the disk in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    OnDisk,
    Full,
    Degraded,
    MemoryOnly,
}

impl State {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::OnDisk => "on disk",
            Self::Full => "disk full",
            Self::Degraded => "disk degraded",
            Self::MemoryOnly => "memory only",
        }
    }
}

/// The disk as `status` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct View {
    pub state: State,
    /// What the system says, where something is wrong.
    pub why: Option<String>,
    pub folder: PathBuf,
    pub bytes_max: u64,
    pub bytes: u64,
    pub live_bytes: u64,
    /// What a day of this would write; none in the first minute.
    pub bytes_per_day: Option<u64>,
    pub bytes_written: u64,
    pub syncs: u64,
    /// The most there may be; none where there is no limit.
    pub commits_per_second_max: Option<u32>,
    /// Not stored yet.
    pub waiting_bytes: u64,
    /// Times that the disk was too far behind to take more.
    pub behind: u64,
    pub failures: u64,
    /// Files that were found damaged at the start, and are set aside.
    pub set_aside: u64,
    /// Things that were there at the start and could not be used.
    pub refused: u64,
    pub degraded_for_s: Option<u64>,
}

impl Keeping {
    /// Open the store in this folder, and read back what it holds. Where it cannot be used, all is kept in memory.
    pub fn open(folder: &Path, max: Option<u64>) -> Result<(Self, Saved), OpenError> {
        // A folder that is there already on a disk that is read-only is found; what else is wrong the store says.
        let made = state_dir::make(folder);
        let bytes_max = max.unwrap_or_else(|| usual_max(folder)).max(BYTES_MIN);
        let commits_per_second = commits_per_second(folder);
        let memory_bytes = memory::there_is();
        let waiting_bytes_max = usize::try_from(WAITING_BYTES_MAX.min(memory_bytes / 32)).unwrap_or(usize::MAX);
        let options = Options { bytes_max, commits_per_second, waiting_bytes_max };
        let (store, saved, found, alone, standing) = match made {
            Err(error) => {
                let (tell, standing) = watch::channel(unusable(&error));
                (None, Saved::default(), Found::default(), Some(tell), standing)
            }
            Ok(()) => {
                let (store, recovered) = Store::open(folder, options)?;
                let standing = store.standing();
                let (saved, found) = read_back(recovered);
                (Some(store), saved, found, None, standing)
            }
        };
        let reads = store.as_ref().map(|store| Reads::start(store.reader())).transpose().map_err(OpenError::Thread)?;
        let (reads, answers) = reads.unzip();
        let keeping = Self {
            store: RefCell::new(store),
            standing,
            reads,
            answers: Cell::new(answers),
            _alone: alone,
            folder: folder.to_owned(),
            bytes_max,
            memory_bytes,
            backlog_bytes_max: waiting_bytes_max,
            commits_per_second,
            found,
            outgoing: RefCell::default(),
            behind: Cell::new(0),
        };
        Ok((keeping, saved))
    }

    /// What the topology says, with the size that the store really has, and with limits that fit the machine's memory.
    #[must_use]
    pub fn sized(&self, wanted: &Assignment) -> Assignment {
        let store = model::Store { max_bytes: Some(self.bytes_max), ..wanted.store.clone() };
        Assignment { store, limits: wanted.limits.clone().within(self.memory_bytes), ..wanted.clone() }
    }

    /// One batch. Says whether more can be taken.
    pub fn keep(&self, ticket: Ticket, writes: impl Iterator<Item = Write>) -> Room {
        let mut outgoing = self.outgoing.borrow_mut();
        let Outgoing { batch, scratch, .. } = &mut *outgoing;
        writes.for_each(|write| write.keep(batch, scratch));
        let was_behind = outgoing.ticket.replace(ticket).is_some();
        let room = self.submit(&mut outgoing);
        if room != Room::Enough && !was_behind {
            self.behind.set(self.behind.get() + 1);
        }
        room
    }

    /// Read this back; what comes of it comes by `answers`.
    pub fn fetch(&self, fetch: Fetch) {
        if let Some(reads) = &self.reads {
            reads.ask(fetch);
        }
    }

    /// What was read back, for the one who asks first.
    pub fn answers(&self) -> Option<mpsc::Receiver<Fetched>> {
        self.answers.take()
    }

    /// What waits is tried again.
    pub fn go_on(&self) -> Room {
        self.submit(&mut self.outgoing.borrow_mut())
    }

    fn submit(&self, outgoing: &mut Outgoing) -> Room {
        let Some(ticket) = outgoing.ticket else { return Room::Enough };
        let mut store = self.store.borrow_mut();
        let refused = match store.as_ref().map(|store| store.submit(&mut outgoing.batch, store::Ticket(ticket.0))) {
            Some(Ok(())) => {
                outgoing.ticket = None;
                return Room::Enough;
            }
            Some(Err(refused)) => refused,
            None => Refused::Closed,
        };
        match refused {
            Refused::Behind if outgoing.batch.len() < self.backlog_bytes_max => Room::Behind,
            Refused::Behind => Room::None,
            // Nothing will be stored any more, so nobody is told that it is: what came later must not stand for this.
            Refused::Closed | Refused::TooLong(_) => {
                if let Refused::TooLong(bytes) = refused {
                    warn!(bytes, "more at once than the store takes: nothing is kept from here on");
                    *store = None;
                }
                outgoing.batch.clear();
                outgoing.ticket = None;
                Room::Enough
            }
        }
    }

    /// How it stands, and each change of that.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    #[must_use]
    pub fn view(&self) -> View {
        let figures = self.store.borrow().as_ref().map(Store::figures).unwrap_or_default();
        let Figures { bytes_written, syncs, live_bytes, disk_bytes, failures, set_aside, .. } = figures;
        let (state, why) = match state(&self.standing.borrow().health) {
            (State::OnDisk, _) if self.store.borrow().is_none() => (State::MemoryOnly, Some("it is closed".to_owned())),
            stands => stands,
        };
        View {
            state,
            why,
            folder: self.folder.clone(),
            bytes_max: self.bytes_max,
            bytes: disk_bytes,
            live_bytes,
            bytes_per_day: figures.bytes_per_day(),
            bytes_written,
            syncs,
            commits_per_second_max: self.commits_per_second,
            waiting_bytes: figures.waiting_bytes + self.outgoing.borrow().batch.len() as u64,
            behind: self.behind.get(),
            failures,
            set_aside: set_aside.max(self.found.damaged_files as u64),
            refused: self.found.refused + figures.given_up,
            degraded_for_s: figures.degraded_for.map(|time| time.as_secs()),
        }
    }

    /// Store what was submitted, for so long at the most; nothing is kept after it.
    pub fn close(&self, within: Duration) {
        // What it could not take before is its last batch.
        self.go_on();
        if let Some(store) = self.store.borrow_mut().take()
            && !store.close(within)
        {
            warn!("the disk did not take everything in time; what it did not take was not acknowledged");
        }
    }
}

/// How it is, and what the system says of that.
fn state(health: &Health) -> (State, Option<String>) {
    match health {
        Health::Fine => (State::OnDisk, None),
        Health::Full => (State::Full, None),
        Health::Degraded { why } => (State::Degraded, Some(why.clone())),
        Health::Unusable { why } => (State::MemoryOnly, Some(why.clone())),
    }
}

/// Tell the log of a change.
pub fn tell(folder: &Path, health: &Health) {
    let folder = folder.display();
    match health {
        Health::Fine => info!(%folder, "the disk takes everything again"),
        Health::Full => warn!(%folder, "the disk is full: what is left is for what makes room"),
        Health::Degraded { why } => {
            warn!(%folder, why, "the disk takes nothing: what it is to keep is not acknowledged until it does");
        }
        Health::Unusable { why } => {
            warn!(%folder, why, "kept in memory only: nothing that a disk is to keep is acknowledged");
        }
    }
}

fn unusable(error: &io::Error) -> Standing {
    Standing { health: Health::Unusable { why: error.to_string() }, ..Standing::default() }
}

fn read_back(mut recovered: store::Recovered) -> (Saved, Found) {
    let mut reading = Reading::default();
    for damage in &recovered.damage {
        warn!(file = damage.file, why = damage.why, "damaged; it is set aside, and the rest is used");
    }
    for kept in &mut recovered {
        match kept {
            Kept::Key { key, bytes, .. } => reading.key(&key, &bytes),
            Kept::Record { row, number, bytes, .. } => reading.row(&row, number, &bytes),
        }
    }
    let found = Found { damaged_files: recovered.damage.len(), refused: reading.refused + recovered.unreadable };
    if found.refused > 0 {
        warn!(count = found.refused, "things on the disk could not be read, or were not written by an agent");
    }
    (reading.finish(), found)
}

/// The smaller of a fixed size and a share of what is free.
fn usual_max(folder: &Path) -> u64 {
    let free = statvfs(folder).map_or(u64::MAX, |facts| facts.f_bavail.saturating_mul(facts.f_frsize));
    BYTES_MAX.min(free / 100 * FREE_PERCENT)
}
