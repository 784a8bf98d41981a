//! A disk that remembers every call, so that it can be rebuilt as a power cut at any point may leave it; and that fails
//! where it is told to.
//!
//! What may be on it after a power cut: what was synced; of every write since, any of its sectors; of every file that
//! grew, its new length or not; of every name that was made, changed or removed since the directory was synced, that or
//! the opposite. After a sync that failed, no later one makes up for it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::{Files, LogFile};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

#[derive(Clone, Debug)]
enum Event {
    Name { name: String, file: usize },
    Rename { from: String, to: String, file: usize },
    Remove { name: String },
    SyncNames,
    Write { file: usize, at: usize, bytes: Vec<u8> },
    Grow { file: usize, len: usize },
    Sync { file: usize },
    SyncFailed { file: usize },
}

/// Fails calls of one kind, or all, from one on, so many of them.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub from: usize,
    pub count: usize,
    pub error: rustix::io::Errno,
    /// Reads work on a disk that is full or read-only.
    pub reads_too: bool,
}

#[derive(Default)]
struct State {
    names: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
    events: Vec<Event>,
    drawn: u64,
    calls: usize,
    fault: Option<Fault>,
    /// All files together have no more; `None`: there is no end.
    room: Option<usize>,
}

pub struct Disk(Mutex<State>);

pub struct Handle {
    disk: Arc<Disk>,
    file: usize,
}

/// What the operating system makes of the writes that nobody synced.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Nothing,
    All,
    /// Any of it.
    Any(u64),
}

impl Disk {
    pub fn empty() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// How many events there were.
    pub fn len(&self) -> usize {
        self.state().events.len()
    }

    pub fn calls(&self) -> usize {
        self.state().calls
    }

    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// What all files have together from now on, what is there already aside.
    pub fn set_room(&self, room: Option<usize>) {
        self.state().room = room;
    }

    /// What they have.
    pub fn used(&self) -> usize {
        self.state().used()
    }

    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(name).map(|file| state.files[*file].clone())
    }

    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// Change a file behind everybody's back.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.names[name];
        change(&mut state.files[file]);
    }

    /// The disk as it may be after a power cut behind the first `point` events, which then is all there is.
    pub fn cut(&self, point: usize, fate: Fate) -> Arc<Self> {
        let state = self.state();
        let mut ruin = Ruin::default();
        state.events.iter().take(point).for_each(|event| ruin.take(event));
        Arc::new(Self(Mutex::new(ruin.settle(fate, state.drawn))))
    }
}

/// A disk with what may not be on it yet.
#[derive(Default)]
struct Ruin<'a> {
    names: BTreeMap<String, usize>,
    loose_names: Vec<&'a Event>,
    files: Vec<Vec<u8>>,
    /// Per file; whether a later sync still counts for it.
    loose: Vec<(usize, usize, &'a [u8], bool)>,
}

impl<'a> Ruin<'a> {
    fn take(&mut self, event: &'a Event) {
        match event {
            Event::Name { file, .. } => {
                self.files.resize_with(self.files.len().max(file + 1), Vec::new);
                self.loose_names.push(event);
            }
            Event::Rename { .. } | Event::Remove { .. } => self.loose_names.push(event),
            Event::SyncNames => {
                for event in std::mem::take(&mut self.loose_names) {
                    self.name(event);
                }
            }
            Event::Write { file, at, bytes } => self.loose.push((*file, *at, bytes, true)),
            // Whether it has grown makes no difference that a write of nothing at its end does not make.
            Event::Grow { file, len } => self.loose.push((*file, *len, &[], true)),
            Event::Sync { file } => {
                let Self { files, loose, .. } = self;
                loose.retain(|(of, at, bytes, counts)| {
                    let synced = of == file && *counts;
                    if synced {
                        write(&mut files[*file], *at, bytes);
                    }
                    !synced
                });
            }
            Event::SyncFailed { file } => {
                self.loose.iter_mut().filter(|(of, ..)| of == file).for_each(|(.., counts)| *counts = false);
            }
        }
    }

    fn name(&mut self, event: &Event) {
        match event {
            Event::Name { name, file } => drop(self.names.insert(name.clone(), *file)),
            Event::Rename { from, to, file } => {
                if self.names.get(from) == Some(file) {
                    self.names.remove(from);
                }
                self.names.insert(to.clone(), *file);
            }
            Event::Remove { name } => drop(self.names.remove(name)),
            Event::SyncNames
            | Event::Write { .. }
            | Event::Grow { .. }
            | Event::Sync { .. }
            | Event::SyncFailed { .. } => {}
        }
    }

    fn settle(mut self, fate: Fate, drawn: u64) -> State {
        let mut rng = Rng(if let Fate::Any(seed) = fate { seed } else { 0 });
        // Most of it or little of it, to tear near both ends.
        let odds = 1 + rng.below(7);
        let stays = |rng: &mut Rng| match fate {
            Fate::Nothing => false,
            Fate::All => true,
            Fate::Any(_) => rng.below(8) < odds,
        };
        for event in std::mem::take(&mut self.loose_names) {
            if stays(&mut rng) {
                self.name(event);
            }
        }
        for (file, at, bytes, _) in std::mem::take(&mut self.loose) {
            let content = &mut self.files[file];
            if stays(&mut rng) && rng.one_in(4) && content.len() < at + bytes.len() {
                content.resize(at + bytes.len(), 0);
            }
            let mut from = 0;
            while from < bytes.len() {
                let to = ((at + from) / SECTOR + 1) * SECTOR - at;
                let to = to.min(bytes.len());
                if stays(&mut rng) {
                    write(content, at + from, &bytes[from..to]);
                }
                from = to;
            }
        }
        let mut state = State { drawn: drawn + 1_000, ..State::default() };
        for (name, file) in self.names {
            let now = state.files.len();
            state.files.push(self.files[file].clone());
            state.events.push(Event::Name { name: name.clone(), file: now });
            state.events.push(Event::Write { file: now, at: 0, bytes: self.files[file].clone() });
            state.events.push(Event::Sync { file: now });
            state.names.insert(name, now);
        }
        state.events.push(Event::SyncNames);
        state
    }
}

fn write(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    content.resize(content.len().max(at + bytes.len()), 0);
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

impl State {
    /// Count a call; it may be one that fails.
    fn call(&mut self, reads: bool) -> io::Result<()> {
        let call = self.calls;
        self.calls += 1;
        match self.fault {
            Some(fault) if call >= fault.from && call - fault.from < fault.count && (fault.reads_too || !reads) => {
                Err(fault.error.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn used(&self) -> usize {
        self.names.values().map(|file| self.files[*file].len()).sum()
    }

    /// Whether a file can grow to this.
    fn grow(&self, file: usize, len: usize) -> io::Result<()> {
        let more = len.saturating_sub(self.files[file].len());
        let fits = more == 0 || self.room.is_none_or(|room| self.used() + more <= room);
        if fits { Ok(()) } else { Err(rustix::io::Errno::NOSPC.into()) }
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// The disk as the store sees it.
pub struct Mounted(pub Arc<Disk>);

impl Files for Mounted {
    fn lock(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.0.state();
        state.call(true)?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let mut state = self.0.state();
        state.call(false)?;
        let file = state.files.len();
        if state.names.remove(name).is_some() {
            state.events.push(Event::Remove { name: name.into() });
        }
        state.files.push(Vec::new());
        state.names.insert(name.into(), file);
        state.events.push(Event::Name { name: name.into(), file });
        Ok(Arc::new(Handle { disk: self.0.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let mut state = self.0.state();
        state.call(true)?;
        let file = state.find(name)?;
        Ok(Arc::new(Handle { disk: self.0.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.state();
        state.call(false)?;
        let file = state.find(from)?;
        state.names.remove(from);
        state.names.insert(to.into(), file);
        state.events.push(Event::Rename { from: from.into(), to: to.into(), file });
        Ok(())
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.state();
        state.call(false)?;
        let file = state.find(from)?;
        if state.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.names.insert(to.into(), file);
        state.events.push(Event::Name { name: to.into(), file });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.state();
        state.call(false)?;
        state.find(name)?;
        state.names.remove(name);
        state.events.push(Event::Remove { name: name.into() });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.state();
        state.call(false)?;
        state.events.push(Event::SyncNames);
        Ok(())
    }

    fn draw(&self) -> u64 {
        let mut state = self.0.state();
        state.drawn += 1;
        Rng(state.drawn).next()
    }
}

impl LogFile for Handle {
    fn size(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.call(true)?;
        Ok(state.files[self.file].len() as u64)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.call(true)?;
        let from = usize::try_from(at).unwrap();
        let bytes = state.files[self.file].get(from..from + into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let at = usize::try_from(at).unwrap();
        let failed = state.call(false).and_then(|()| state.grow(self.file, at + bytes.len()));
        // A write that fails has written some of it.
        let bytes = if failed.is_err() { &bytes[..bytes.len() / 2] } else { bytes };
        write(&mut state.files[self.file], at, bytes);
        state.events.push(Event::Write { file: self.file, at, bytes: bytes.into() });
        failed
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let failed = state.call(false);
        let file = self.file;
        state.events.push(if failed.is_err() { Event::SyncFailed { file } } else { Event::Sync { file } });
        failed
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.call(false)?;
        let (file, len) = (self.file, usize::try_from(bytes).unwrap());
        state.grow(file, len)?;
        write(&mut state.files[file], len, &[]);
        state.events.push(Event::Grow { file, len });
        Ok(())
    }
}
