//! What lives, and where: every key and every record with its place in a segment, and how much of each segment lives.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::batch::Op;
use super::files::LogFile;
use super::row::{Place, Row};

/// Counted with each living thing for what stands before its bytes in the log.
const OVERHEAD: u64 = 16;

/// A file of the log.
pub(super) struct Segment {
    pub file: Arc<dyn LogFile>,
    pub name: String,
    pub epoch: u64,
    /// All of it, frames that no longer count included.
    pub size: u64,
    pub live: u64,
}

#[derive(Default)]
pub(super) struct Index {
    keys: BTreeMap<Box<[u8]>, Place>,
    rows: BTreeMap<Box<[u8]>, Row>,
    segments: BTreeMap<u32, Segment>,
    live: u64,
    /// The newest segment that is wholly written anew.
    cleaned: u32,
}

/// A living thing as it is found in the index.
pub(super) enum Found {
    Key { key: Box<[u8]>, place: Place },
    Record { row: Box<[u8]>, number: u64, place: Place },
}

fn weight(name: &[u8], place: Place) -> u64 {
    name.len() as u64 + u64::from(place.len) + OVERHEAD
}

impl Index {
    pub fn live(&self) -> u64 {
        self.live
    }

    pub fn cleaned(&self) -> u32 {
        self.cleaned
    }

    pub fn segments(&self) -> &BTreeMap<u32, Segment> {
        &self.segments
    }

    pub fn add_segment(&mut self, number: u32, segment: Segment) {
        self.segments.insert(number, segment);
    }

    pub fn remove_segment(&mut self, number: u32) {
        self.segments.remove(&number);
    }

    pub fn resize(&mut self, number: u32, size: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.size = size;
        }
    }

    /// The size of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.size).sum()
    }

    pub fn key(&self, key: &[u8]) -> Option<Place> {
        self.keys.get(key).copied()
    }

    pub fn record(&self, row: &[u8], number: u64) -> Option<Place> {
        self.rows.get(row)?.get(number)
    }

    /// The number of the first record of a row from `number` on.
    pub fn record_from(&self, row: &[u8], number: u64) -> Option<u64> {
        self.rows.get(row)?.from(number).map(|(number, _)| number)
    }

    /// Take in one operation of a batch whose body begins at `body` of `segment`.
    pub fn apply(&mut self, op: &Op, segment: u32, body: u32) {
        let place = |at: &std::ops::Range<usize>| {
            let (start, len) = (u32::try_from(at.start), u32::try_from(at.len()));
            Place { segment, offset: body.saturating_add(start.unwrap_or(u32::MAX)), len: len.unwrap_or(u32::MAX) }
        };
        match op {
            Op::Put { row, number, at } => {
                let place = place(at);
                let known = match self.rows.get_mut(*row) {
                    Some(known) => known,
                    None => self.rows.entry((*row).into()).or_default(),
                };
                let before = known.put(*number, place);
                self.moved(row, before, Some(place));
            }
            Op::Take { row, number } => {
                let Some(known) = self.rows.get_mut(*row) else { return };
                let before = known.take(*number);
                self.shed(row, before);
            }
            Op::Cut { row, upto } => {
                let Some(known) = self.rows.get_mut(*row) else { return };
                let mut freed = Vec::new();
                known.cut(*upto, |place| freed.push(place));
                freed.into_iter().for_each(|place| self.moved(row, Some(place), None));
                self.shed(row, None);
            }
            Op::Set { key, at } => {
                let place = place(at);
                let before = match self.keys.get_mut(*key) {
                    Some(known) => Some(std::mem::replace(known, place)),
                    None => self.keys.insert((*key).into(), place),
                };
                self.moved(key, before, Some(place));
            }
            Op::Unset { key } => {
                let before = self.keys.remove(*key);
                self.moved(key, before, None);
            }
            // No segment says so of itself or of a later one.
            Op::Cleaned { segment: upto } if *upto < segment => self.cleaned = self.cleaned.max(*upto),
            Op::Cleaned { .. } => {}
        }
    }

    /// A row may be empty now.
    fn shed(&mut self, row: &[u8], before: Option<Place>) {
        self.moved(row, before, None);
        if self.rows.get(row).is_some_and(Row::is_empty) {
            self.rows.remove(row);
        }
    }

    fn moved(&mut self, name: &[u8], from: Option<Place>, to: Option<Place>) {
        if let Some(place) = from {
            let weight = weight(name, place);
            self.live = self.live.saturating_sub(weight);
            if let Some(segment) = self.segments.get_mut(&place.segment) {
                segment.live = segment.live.saturating_sub(weight);
            }
        }
        if let Some(place) = to {
            let weight = weight(name, place);
            self.live += weight;
            if let Some(segment) = self.segments.get_mut(&place.segment) {
                segment.live += weight;
            }
        }
    }

    /// The first living thing, keys before rows; or what comes behind one.
    pub fn after(&self, found: Option<&Found>) -> Option<Found> {
        let start = match found {
            None => Bound::Unbounded,
            Some(Found::Key { key, .. }) => Bound::Excluded(&**key),
            Some(Found::Record { row, number, .. }) => return self.record_after(row, *number),
        };
        let key = self.keys.range::<[u8], _>((start, Bound::Unbounded)).next();
        if let Some((key, place)) = key {
            return Some(Found::Key { key: key.clone(), place: *place });
        }
        self.first_of(Bound::Unbounded)
    }

    fn record_after(&self, row: &[u8], number: u64) -> Option<Found> {
        let next = number.checked_add(1).and_then(|number| self.rows.get(row)?.from(number));
        match next {
            Some((number, place)) => Some(Found::Record { row: row.into(), number, place }),
            None => self.first_of(Bound::Excluded(row)),
        }
    }

    fn first_of(&self, start: Bound<&[u8]>) -> Option<Found> {
        let (row, records) = self.rows.range::<[u8], _>((start, Bound::Unbounded)).next()?;
        let (number, place) = records.from(0)?;
        Some(Found::Record { row: row.clone(), number, place })
    }

    /// Give up what should be in a segment and cannot be read; how many things that were.
    pub fn give_up(&mut self, segment: u32) -> u64 {
        let keys = self.keys.iter().filter(|(_, place)| place.segment == segment);
        let keys: Vec<Box<[u8]>> = keys.map(|(key, _)| key.clone()).collect();
        let mut records = Vec::new();
        for (row, all) in &self.rows {
            let here = all.places().filter(|(_, place)| place.segment == segment);
            records.extend(here.map(|(number, _)| (row.clone(), number)));
        }
        keys.iter().for_each(|key| self.apply(&Op::Unset { key }, 0, 0));
        records.iter().for_each(|(row, number)| self.apply(&Op::Take { row, number: *number }, 0, 0));
        (keys.len() + records.len()) as u64
    }
}
