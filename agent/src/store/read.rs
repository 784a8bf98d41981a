//! Records read back while the store is open, by any thread, a stretch of a row at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::index::Index;
use super::recovered::Ahead;
use super::row::Place;

/// Tries that a record is worth which is there and cannot be read, and the time between them.
const TRIES: u32 = 3;
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// The reading end of a store. It goes on while the store writes, and when it is closed.
#[derive(Clone)]
pub struct Reader(pub(super) Arc<Mutex<Index>>);

/// What there is of a row up to a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub upto: u64,
    pub records: Vec<(u64, Box<[u8]>)>,
}

impl Reader {
    /// From a number on, up to another or to about so many bytes, one record at least. What is stored and missing here
    /// cannot be read.
    #[must_use]
    pub fn row(&self, row: &[u8], from: u64, upto: u64, bytes_max: usize) -> Stretch {
        let (mut ahead, mut records, mut bytes) = (Ahead::default(), Vec::new(), 0);
        let mut at = from;
        while let Some(number) = self.next(row, at).filter(|number| *number <= upto) {
            let record = self.read(row, number, &mut ahead);
            bytes += record.as_ref().map_or(0, |record| record.len());
            records.extend(record.map(|record| (number, record)));
            if bytes >= bytes_max || number == upto {
                return Stretch { upto: number, records };
            }
            at = number + 1;
        }
        Stretch { upto, records }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, row: &[u8], from: u64) -> Option<u64> {
        self.index().record_from(row, from)
    }

    /// Cleaning may move it at any time, and its old place stays good for whoever has it open.
    fn read(&self, row: &[u8], number: u64, ahead: &mut Ahead) -> Option<Box<[u8]>> {
        for again in 0..TRIES {
            if again > 0 {
                thread::sleep(TRY_AGAIN);
            }
            let index = self.index();
            let place: Place = index.record(row, number)?;
            let file = index.segments().get(&place.segment)?.file.clone();
            drop(index);
            let read = ahead.read(&*file, place);
            if read.is_some() {
                return read;
            }
            *ahead = Ahead::default();
        }
        None
    }
}
