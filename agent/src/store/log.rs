//! The log itself: batches in, segments out. It decides nothing about time, and has no thread.
//!
//! What is not known to be on the disk is also in memory (`pending`). After a write or a sync failed, nothing of that
//! segment is believed beyond what was synced before: everything pending goes to a new one. A new segment is finished
//! under another name and renamed, so it is there with all that it takes over, or not at all; its header says from which
//! batch on the earlier ones do not count.
//!
//! ```text
//!   … synced ] pending: written to the segment | in memory only ] last
//! ```

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::aside;
use super::batch::Ops;
use super::clean::Cleaning;
use super::files::{Files, LogFile};
use super::frame::{HEAD, HEADER, Head, Header};
use super::index::{Index, Segment};
use super::recover::Recovery;

/// A segment that is not finished.
pub(super) const NEXT: &str = "next";
/// Kept of a buffer once it is empty.
const SPARE_MAX: usize = 256 << 10;

#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// A segment that has grown so long is followed by a new one.
    pub segment: u64,
    /// What the segments together shall not exceed, as far as what lives allows.
    pub total: u64,
    /// Copied at once by cleaning, before others have their turn.
    pub slice: usize,
}

struct Current {
    number: u32,
    epoch: u64,
    file: Arc<dyn LogFile>,
    /// Where what is pending begins.
    at: u64,
    /// Room that it has; it grows beyond for a last commit.
    room: u64,
}

/// Since the log was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub bytes_written: u64,
    pub syncs: u64,
    pub cleaned: u64,
    pub given_up: u64,
    pub not_removed: u64,
    /// Files that are set aside now.
    pub set_aside: u64,
}

pub(super) struct Log {
    pub(super) files: Arc<dyn Files>,
    index: Arc<Mutex<Index>>,
    pub(super) sizes: Sizes,
    pub(super) counts: Counts,
    pub(super) cleaning: Option<Cleaning>,
    current: Option<Current>,
    next_segment: u32,
    /// Frames, one behind the other as they come to stand in the segment.
    pending: Vec<u8>,
    /// Where each of them begins.
    heads: Vec<(usize, Head)>,
    /// So many of them bear the seal of the current segment.
    sealed: usize,
    /// So many bytes of them are written to it.
    written: usize,
    last: u64,
    synced: u64,
}

impl Log {
    /// Go on from what was recovered. Nothing is written yet; what was recovered beyond doubt is not pending.
    pub fn new(files: Arc<dyn Files>, recovery: Recovery, sizes: Sizes) -> Self {
        let Recovery { index, last, synced, tail, next_segment, .. } = recovery;
        let oldest = index.segments().keys().next().map_or(next_segment, |oldest| *oldest);
        let unaccounted = oldest.saturating_sub(1).max(index.cleaned());
        let accounted = index.cleaned();
        let mut log = Self {
            files,
            index: Arc::new(Mutex::new(index)),
            sizes,
            counts: Counts::default(),
            cleaning: None,
            current: None,
            next_segment,
            pending: Vec::new(),
            heads: Vec::new(),
            sealed: 0,
            written: 0,
            last: synced,
            synced,
        };
        tail.iter().for_each(|body| log.append(body));
        debug_assert_eq!(log.last, last, "the tail is what is not known to be on the disk");
        if unaccounted > accounted || log.pending.is_empty() {
            // The first commit shows whether the disk takes writes.
            log.append_cleaned(unaccounted);
        }
        log.count_aside();
        log
    }

    pub(super) fn count_aside(&mut self) {
        if let Ok(names) = aside::list(&*self.files) {
            self.counts.set_aside = names.len() as u64;
        }
    }

    pub fn index(&self) -> MutexGuard<'_, Index> {
        // Nothing panics while it is changed.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn share_index(&self) -> Arc<Mutex<Index>> {
        self.index.clone()
    }

    /// Bytes that are not known to be on the disk.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    pub fn current(&self) -> Option<u32> {
        self.current.as_ref().map(|current| current.number)
    }

    /// Take in the body of a batch.
    pub fn append(&mut self, body: &[u8]) {
        self.last += 1;
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let head = Head { body_crc: crc32c::crc32c(body), len, number: self.last, synced: self.synced };
        self.heads.push((self.pending.len(), head));
        self.pending.extend_from_slice(&[0; HEAD]);
        self.pending.extend_from_slice(body);
    }

    /// Hand what is pending to the operating system, if a segment is begun.
    pub fn write_out(&mut self) -> io::Result<()> {
        let Some((file, epoch, at)) = self.current.as_ref().map(|it| (it.file.clone(), it.epoch, it.at)) else {
            return Ok(());
        };
        self.seal(epoch, at);
        let Some(bytes) = self.pending.get(self.written..).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        file.write_at(at + self.written as u64, bytes)?;
        self.counts.bytes_written += bytes.len() as u64;
        self.written = self.pending.len();
        Ok(())
    }

    /// Make everything durable that was appended.
    pub fn commit(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.current.is_some() {
            self.write_out()?;
            self.sync_current()?;
        } else {
            self.begin()?;
        }
        self.settle();
        Ok(())
    }

    /// Believe nothing of the current segment beyond what was synced. The next commit begins a new one.
    pub fn abandon(&mut self) {
        let written = self.written as u64;
        if let Some(Current { number, at, room, .. }) = self.current.take() {
            self.index().resize(number, room.max(at + written));
        }
        (self.sealed, self.written) = (0, 0);
        // What was being copied may be among what is pending: it is written anew as it is.
    }

    fn sync_current(&mut self) -> io::Result<()> {
        let Some(current) = &self.current else { return Ok(()) };
        self.counts.syncs += 1;
        current.file.sync()
    }

    /// Begin a segment with everything that is pending.
    fn begin(&mut self) -> io::Result<()> {
        let header = Header { number: self.next_segment, first: self.synced + 1, epoch: self.files.draw() };
        let file = self.files.create(NEXT)?;
        let room = self.make_room(&*file);
        self.sealed = 0;
        self.seal(header.epoch, HEADER as u64);
        file.write_at(0, &header.encode())?;
        file.write_at(HEADER as u64, &self.pending)?;
        self.counts.bytes_written += (HEADER + self.pending.len()) as u64;
        self.counts.syncs += 1;
        file.sync()?;
        let name = segment_name(header.number);
        self.files.rename(NEXT, &name)?;
        // Whether the name is on the disk or not, the next attempt takes its place.
        self.files.sync()?;
        self.next_segment += 1;
        self.written = self.pending.len();
        let segment = Segment { file: file.clone(), name, epoch: header.epoch, size: room, live: 0 };
        self.index().add_segment(header.number, segment);
        self.current = Some(Current { number: header.number, epoch: header.epoch, file, at: HEADER as u64, room });
        Ok(())
    }

    /// While a file keeps its size, a sync need not write its size too: a quarter of the bytes, for small commits.
    fn make_room(&self, file: &dyn LogFile) -> u64 {
        match file.allocate(self.sizes.segment) {
            Ok(()) => self.sizes.segment,
            // Not every file system can; and on a full disk what makes room may need less than that.
            Err(_) => 0,
        }
    }

    /// Give each frame the head that is right at its place.
    fn seal(&mut self, epoch: u64, at: u64) {
        for (start, head) in self.heads.iter().skip(self.sealed) {
            // No segment grows near 4 GiB.
            let offset = u32::try_from(at + *start as u64).unwrap_or(u32::MAX);
            if let Some(space) = self.pending.get_mut(*start..*start + HEAD) {
                space.copy_from_slice(&head.encode(epoch, offset));
            }
        }
        self.sealed = self.heads.len();
    }

    /// All that is pending is on the disk.
    fn settle(&mut self) {
        let Some(current) = &mut self.current else { return };
        let base = current.at;
        current.at += self.pending.len() as u64;
        let (number, end, room) = (current.number, current.at, current.room);
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        for (start, head) in self.heads.drain(..) {
            let from = start + HEAD;
            let body = self.pending.get(from..from + head.len as usize).unwrap_or_default();
            let body_at = u32::try_from(base + from as u64).unwrap_or(u32::MAX);
            Ops::of(body).for_each(|op| index.apply(&op, number, body_at));
        }
        index.resize(number, room.max(end));
        drop(index);
        self.pending.clear();
        self.pending.shrink_to(SPARE_MAX);
        (self.sealed, self.written, self.synced) = (0, 0, self.last);
        if end >= self.sizes.segment {
            self.current = None;
        }
    }
}

/// Whether there is no room on the disk, or none for this user.
pub(super) fn is_full(error: &io::Error) -> bool {
    let full = [Errno::NOSPC, Errno::DQUOT].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| full.contains(&code))
}

pub(super) fn segment_name(number: u32) -> String {
    format!("{number:010}.log")
}

/// The number of the segment that is called so.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".log")?;
    let number = digits.parse().ok()?;
    // The last numbers are never reached, and leave room behind whatever lies there.
    ((1..u32::MAX / 2).contains(&number) && segment_name(number) == name).then_some(number)
}
