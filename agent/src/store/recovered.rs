//! What was found when the store was opened, one thing after another, so that it is never in memory twice.

use std::sync::{Arc, Mutex, PoisonError};

use super::aside::Damage;
use super::batch::CRC;
use super::files::LogFile;
use super::frame::u32_at;
use super::index::{Found, Index};
use super::row::Place;

/// Read at once where records are short.
const AHEAD: usize = 16 << 10;

/// Something that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    Key { key: Box<[u8]>, bytes: Box<[u8]>, order: Order },
    Record { row: Box<[u8]>, number: u64, bytes: Box<[u8]>, order: Order },
}

/// Whether everything that was submitted before is there too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Whole,
    /// The disk has lost something before it: what took it away again may be among that.
    BehindGap,
}

/// All keys, then all rows with their records by number. What is submitted in the meantime shows in it.
pub struct Recovered {
    /// What was wrong on the disk.
    pub damage: Vec<Damage>,
    pub(super) index: Arc<Mutex<Index>>,
    pub(super) gap: Option<Place>,
    pub(super) at: Option<Found>,
    pub(super) ahead: Ahead,
    /// Could not be read now, though it could before.
    pub unreadable: u64,
}

/// The newest bytes that were read.
#[derive(Default)]
pub(super) struct Ahead {
    segment: u32,
    start: u64,
    bytes: Vec<u8>,
}

impl Iterator for Recovered {
    type Item = Kept;

    fn next(&mut self) -> Option<Kept> {
        let mut tried = false;
        loop {
            let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
            let found = index.after(self.at.as_ref())?;
            let place = match &found {
                Found::Key { place, .. } | Found::Record { place, .. } => *place,
            };
            let file = index.segments().get(&place.segment).map(|segment| segment.file.clone());
            drop(index);
            let bytes = file.and_then(|file| self.ahead.read(&*file, place));
            if bytes.is_none() && !tried {
                // Cleaning goes on meanwhile, and may have moved it to where nothing was yet when that was read ahead.
                (self.ahead, tried) = (Ahead::default(), true);
                continue;
            }
            tried = false;
            let order = if self.gap.is_some_and(|gap| place > gap) { Order::BehindGap } else { Order::Whole };
            let kept = bytes.map(|bytes| match &found {
                Found::Key { key, .. } => Kept::Key { key: key.clone(), bytes, order },
                Found::Record { row, number, .. } => Kept::Record { row: row.clone(), number: *number, bytes, order },
            });
            self.at = Some(found);
            match kept {
                Some(kept) => return Some(kept),
                None => self.unreadable += 1,
            }
        }
    }
}

impl Ahead {
    /// The bytes at a place, if they are the ones that were put there.
    pub fn read(&mut self, file: &dyn LogFile, place: Place) -> Option<Box<[u8]>> {
        let len = CRC + place.len as usize;
        let start = u64::from(place.offset).checked_sub(CRC as u64)?;
        let end = start + len as u64;
        if self.segment != place.segment || start < self.start || end > self.start + self.bytes.len() as u64 {
            let there = file.size().ok()?.checked_sub(start)?;
            let wanted = (len.max(AHEAD) as u64).min(there);
            self.bytes.resize(usize::try_from(wanted).ok()?, 0);
            (self.segment, self.start) = (place.segment, start);
            if file.read_at(start, &mut self.bytes).or_else(|_| file.read_at(start, &mut self.bytes)).is_err() {
                self.bytes.clear();
                return None;
            }
        }
        let from = usize::try_from(start - self.start).ok()?;
        let stored = self.bytes.get(from..from + len)?;
        let bytes = stored.get(CRC..)?;
        (u32_at(stored, 0) == crc32c::crc32c(bytes)).then(|| bytes.into())
    }
}
