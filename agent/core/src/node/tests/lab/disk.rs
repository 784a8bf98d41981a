//! The disk of a machine of the lab.

use std::collections::BTreeSet;

use super::Event;
use crate::keep::tests::Model;
use crate::node::{Fetch, Fetched, Saved, Write};

/// What a machine has written; what is not synced may be lost from the end, what was written together as a whole.
#[derive(Clone, Default)]
pub struct Disk {
    pub writes: Vec<Write>,
    pub synced: usize,
    /// Where what was written together ends.
    pub(super) batches: Vec<usize>,
    /// It takes nothing; what it is to report waits here.
    pub(super) stopped: Option<Vec<Event>>,
    /// What of the writes is synced, as a store gives it back, and how many writes that are.
    stored: (usize, Model),
    /// Records with these numbers cannot be read.
    pub unreadable: BTreeSet<u64>,
    /// How often something was read back.
    pub fetches: usize,
}

impl Disk {
    /// What a start finds, read from rows and keys as a store gives them.
    pub fn read(&self) -> Saved {
        let (mut store, mut scratch) = (Model::default(), Vec::new());
        self.writes.iter().for_each(|write| write.keep(&mut store, &mut scratch));
        let mut saved = Saved::default();
        for (key, bytes) in &store.keys {
            assert_eq!(saved.read_key(key, bytes), Ok(()), "{key:?} {bytes:?}");
        }
        for (row, things) in &store.rows {
            for (number, bytes) in things {
                assert_eq!(saved.read_row(row, *number, bytes), Ok(()), "{row:?} {number} {bytes:?}");
            }
        }
        let mut replayed = Saved::default();
        self.writes.iter().for_each(|write| replayed.apply(write.clone()));
        assert_eq!(saved, replayed, "what was read back is not what was written");
        saved
    }

    /// What a running machine reads back.
    pub(super) fn fetch(&mut self, fetch: Fetch) -> Fetched {
        self.fetches += 1;
        let (done, model) = &mut self.stored;
        let new = self.writes.iter().take(self.synced).skip(*done);
        new.for_each(|write| write.keep(model, &mut Vec::new()));
        *done = self.synced;
        let Fetch { number, row, from, upto, bytes_max } = fetch;
        let mut fetched = Fetched { number, upto, things: Vec::new() };
        let mut bytes = 0;
        for (seq, thing) in model.rows.get(&*row).into_iter().flat_map(|row| row.range(from..=upto)) {
            bytes += thing.len();
            if !self.unreadable.contains(seq) {
                fetched.things.push((*seq, thing.clone().into()));
            }
            if bytes >= bytes_max {
                fetched.upto = *seq;
                break;
            }
        }
        fetched
    }

    /// Of what was not synced, `luck` per cent is there afterwards.
    pub(super) fn tear(&mut self, luck: usize) {
        let end = self.synced + (self.writes.len() - self.synced) * luck / 100;
        let whole = self.batches.iter().rev().find(|batch| **batch <= end);
        self.writes.truncate(self.synced.max(whole.copied().unwrap_or(0)));
        self.batches.retain(|batch| *batch <= self.writes.len());
    }
}
