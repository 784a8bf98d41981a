//! Cleaning: what lives in the oldest segment is written anew at the end of the log, and the segment goes.
//!
//! Oldest first, so whatever a take, a cut or an unset is about lies in its own segment or in one that is gone: none of
//! them ever has to be copied. A segment's removal is on the disk before the next one goes. Nothing is copied while
//! something is pending, so what is copied cannot have been taken in the meantime.

use super::aside::{Damage, Name, set_aside};
use super::batch::{Batch, Op, Ops};
use super::index::Index;
use super::log::Log;
use super::scan::{Frame, Scan};

/// So many segments may be there however small they are.
const SEGMENTS_SPARE: usize = 16;

/// A segment that is being cleaned.
pub(super) struct Cleaning {
    segment: u32,
    scan: Scan,
}

impl Log {
    /// Copy a slice, if there is too much on the disk. Says whether something is to be committed now.
    pub fn clean(&mut self) -> bool {
        if self.pending() > 0 {
            return false;
        }
        let Some(mut cleaning) = self.cleaning.take().or_else(|| self.begin_cleaning()) else { return false };
        let segment = cleaning.segment;
        let mut copy = Batch::default();
        let done = loop {
            match cleaning.scan.next() {
                Ok(Some(frame)) => copy_living(&self.index(), segment, &frame, &mut copy),
                // What cannot be read is missed once the rest is written anew.
                Ok(None) | Err(_) => break true,
            }
            if copy.len() >= self.sizes.slice {
                break false;
            }
        };
        if done {
            copy.cleaned(segment);
        } else {
            self.cleaning = Some(cleaning);
        }
        self.append(copy.as_bytes());
        true
    }

    /// Say that nothing up to this segment is needed.
    pub(super) fn append_cleaned(&mut self, segment: u32) {
        let mut batch = Batch::default();
        batch.cleaned(segment);
        self.append(batch.as_bytes());
    }

    fn begin_cleaning(&self) -> Option<Cleaning> {
        let index = self.index();
        let oldest = index.segments().iter().next();
        let (number, segment) =
            oldest.filter(|(number, _)| self.is_too_much(&index) && Some(**number) != self.current())?;
        if *number <= index.cleaned() {
            // Done, but it could not be removed yet.
            return None;
        }
        let scan = Scan::of(segment.file.clone(), segment.epoch).ok()?;
        Some(Cleaning { segment: *number, scan })
    }

    fn is_too_much(&self, index: &Index) -> bool {
        let bytes = index.bytes();
        let segments_max = 2 * bytes / self.sizes.segment.max(1) + SEGMENTS_SPARE as u64;
        bytes > self.allowed(index) || index.segments().len() as u64 > segments_max
    }

    fn allowed(&self, index: &Index) -> u64 {
        let live = index.live();
        (2 * live).min(self.sizes.total).max(live + live / 4) + 3 * self.sizes.segment
    }

    /// What it may still grow, with as much living as now: to what it is allowed, by the segment that shows that this is
    /// too much, and by one for the copies.
    pub(super) fn growth(&self) -> u64 {
        let index = self.index();
        (self.allowed(&index) + 2 * self.sizes.segment).saturating_sub(index.bytes())
    }

    /// Remove the segments that are written anew, oldest first, each for good before the next.
    pub fn remove_cleaned(&mut self) {
        loop {
            let index = self.index();
            let oldest = index.segments().iter().next();
            let Some((number, segment)) = oldest.filter(|(number, _)| **number <= index.cleaned()) else { return };
            let (number, name, epoch, missed) = (*number, segment.name.clone(), segment.epoch, segment.live > 0);
            drop(index);
            if missed {
                let given_up = self.index().give_up(number);
                self.counts.given_up += given_up;
                let why = format!("{given_up} things in it could not be read when it was cleaned");
                let damage = Damage { file: name.clone(), why };
                // Where it cannot be set aside it goes: nothing in it counts any more.
                let _ = set_aside(&*self.files, &damage, epoch, Name::Kept);
                self.count_aside();
            }
            if self.files.remove(&name).and_then(|()| self.files.sync()).is_err() {
                // It is tried again after the next commit.
                self.counts.not_removed += 1;
                return;
            }
            self.counts.cleaned += 1;
            self.index().remove_segment(number);
        }
    }
}

/// Of this frame, what the index still wants from here.
fn copy_living(index: &Index, segment: u32, frame: &Frame, copy: &mut Batch) {
    for op in Ops::of(frame.body) {
        let (place, at) = match &op {
            Op::Put { row, number, at } => (index.record(row, *number), at),
            Op::Set { key, at } => (index.key(key), at),
            Op::Take { .. } | Op::Cut { .. } | Op::Unset { .. } | Op::Cleaned { .. } => continue,
        };
        let here = place.is_some_and(|place| {
            place.segment == segment && u64::from(place.offset) == u64::from(frame.body_at) + at.start as u64
        });
        let Some(bytes) = frame.body.get(at.clone()).filter(|_| here) else { continue };
        match op {
            Op::Put { row, number, .. } => copy.put(row, number, bytes),
            Op::Set { key, .. } => copy.set(key, bytes),
            Op::Take { .. } | Op::Cut { .. } | Op::Unset { .. } | Op::Cleaned { .. } => {}
        }
    }
}
