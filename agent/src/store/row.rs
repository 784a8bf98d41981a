//! Where the records of one row are, by number: 24 bytes a record, in chunks, so that taking one out of the middle of a
//! long row or putting one back there moves little.

use std::collections::BTreeMap;

/// Where stored bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub segment: u32,
    pub offset: u32,
    pub len: u32,
}

/// Records in one chunk; moving half of them takes some 200 ns.
const CHUNK: usize = 512;

/// Chunks by a number that is not above their first and not below any before.
#[derive(Debug, Default)]
pub(super) struct Row {
    chunks: BTreeMap<u64, Vec<(u64, Place)>>,
}

impl Row {
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub fn get(&self, number: u64) -> Option<Place> {
        let (_, chunk) = self.chunks.range(..=number).next_back()?;
        let at = chunk.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        chunk.get(at).map(|(_, place)| *place)
    }

    /// The first record from `number` on.
    pub fn from(&self, number: u64) -> Option<(u64, Place)> {
        let in_this = self.chunks.range(..=number).next_back().and_then(|(_, chunk)| {
            let at = chunk.partition_point(|(other, _)| *other < number);
            chunk.get(at)
        });
        let after = || self.chunks.range(number..).next().and_then(|(_, chunk)| chunk.first());
        in_this.or_else(after).copied()
    }

    /// The place that it had before.
    pub fn put(&mut self, number: u64, place: Place) -> Option<Place> {
        let Some((_, chunk)) = self.chunks.range_mut(..=number).next_back() else {
            return self.put_first(number, place);
        };
        match chunk.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) => chunk.get_mut(at).map(|(_, old)| std::mem::replace(old, place)),
            Err(at) if chunk.len() < CHUNK => {
                chunk.insert(at, (number, place));
                None
            }
            Err(at) if at == chunk.len() => {
                self.chunks.insert(number, vec![(number, place)]);
                None
            }
            Err(at) => {
                let mut behind = chunk.split_off(CHUNK / 2);
                match at.checked_sub(CHUNK / 2) {
                    Some(at) if at > 0 => behind.insert(at, (number, place)),
                    _ => chunk.insert(at.min(chunk.len()), (number, place)),
                }
                if let Some((first, _)) = behind.first() {
                    self.chunks.insert(*first, behind);
                }
                None
            }
        }
    }

    /// Before all others.
    fn put_first(&mut self, number: u64, place: Place) -> Option<Place> {
        match self.chunks.first_entry() {
            Some(chunk) if chunk.get().len() < CHUNK => {
                let mut records = chunk.remove();
                records.insert(0, (number, place));
                self.chunks.insert(number, records);
            }
            _ => drop(self.chunks.insert(number, vec![(number, place)])),
        }
        None
    }

    pub fn take(&mut self, number: u64) -> Option<Place> {
        let (first, chunk) = self.chunks.range_mut(..=number).next_back()?;
        let first = *first;
        let at = chunk.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        let (_, place) = chunk.remove(at);
        if chunk.is_empty() {
            self.chunks.remove(&first);
        } else if chunk.capacity() > 8 && chunk.len() < chunk.capacity() / 4 {
            chunk.shrink_to(chunk.len() * 2);
        }
        Some(place)
    }

    /// Forget everything up to `upto`, and tell each place that is free.
    pub fn cut(&mut self, upto: u64, mut freed: impl FnMut(Place)) {
        while let Some(mut chunk) = self.chunks.first_entry() {
            let gone = chunk.get().partition_point(|(number, _)| *number <= upto);
            chunk.get_mut().drain(..gone).for_each(|(_, place)| freed(place));
            if !chunk.get().is_empty() {
                return;
            }
            chunk.remove();
        }
    }

    pub fn places(&self) -> impl Iterator<Item = (u64, Place)> {
        self.chunks.values().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Do {
        Put(u64),
        Take(u64),
        Cut(u64),
    }

    fn something() -> impl Strategy<Value = Do> {
        prop_oneof![
            8 => (0..3_000u64).prop_map(Do::Put),
            4 => (0..3_000u64).prop_map(Do::Take),
            1 => (0..300u64).prop_map(Do::Cut),
        ]
    }

    fn place(number: u32) -> Place {
        Place { segment: 1, offset: number, len: 1 }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_row_is_an_ordered_map(all in prop::collection::vec(something(), 0..3_000), run in 0..2_000u64) {
            let (mut row, mut model) = (Row::default(), BTreeMap::new());
            let appended = (1_000..1_000 + run).map(Do::Put);
            for (stamp, one) in (0..).zip(appended.chain(all)) {
                match one {
                    Do::Put(number) => {
                        prop_assert_eq!(row.put(number, place(stamp)), model.insert(number, place(stamp)));
                    }
                    Do::Take(number) => prop_assert_eq!(row.take(number), model.remove(&number)),
                    Do::Cut(upto) => {
                        let (mut freed, kept) = (Vec::new(), model.split_off(&(upto + 1)));
                        row.cut(upto, |place| freed.push(place));
                        let gone: Vec<Place> = std::mem::replace(&mut model, kept).into_values().collect();
                        prop_assert_eq!(freed, gone);
                    }
                }
                let number = u64::from(stamp) % 3_000;
                prop_assert_eq!(row.get(number), model.get(&number).copied());
                let next = model.range(number..).next().map(|(number, place)| (*number, *place));
                prop_assert_eq!(row.from(number), next);
                prop_assert_eq!(row.is_empty(), model.is_empty());
            }
            prop_assert!(row.places().eq(model));
            prop_assert!(row.chunks.values().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK));
        }
    }
}
