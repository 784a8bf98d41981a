//! What a store is asked to hold, in its own words: rows of numbered things, and keys that hold one thing each.
//!
//! Each half of an agent turns its writes into these and reads them back. All of them that were made in one call go to
//! the disk together or not at all. Reading never panics and believes nothing that does not fit: the disk may hold
//! anything.

/// Where writes go. Numbers of a row only go up.
pub trait Keep {
    /// The next thing of a row, or another in the place of one that is there.
    fn put(&mut self, row: &[u8], number: u64, bytes: &[u8]);
    /// One thing out of a row.
    fn take(&mut self, row: &[u8], number: u64);
    /// Everything of a row up to here.
    fn cut(&mut self, row: &[u8], upto: u64);
    /// The newest counts.
    fn set(&mut self, key: &[u8], bytes: &[u8]);
    fn unset(&mut self, key: &[u8]);
}

/// Fields, one after the other. `None` where the bytes end too soon or say nothing that makes sense.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Nothing is left over.
    #[must_use]
    pub fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Bytes with their length before them, as `Reader::bytes` reads them.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("what is kept is shorter than a packet, and that than 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A store in memory that does as it is asked.
#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use super::Keep;

    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Model {
        pub keys: BTreeMap<Vec<u8>, Vec<u8>>,
        pub rows: BTreeMap<Vec<u8>, BTreeMap<u64, Vec<u8>>>,
    }

    impl Keep for Model {
        fn put(&mut self, row: &[u8], number: u64, bytes: &[u8]) {
            let row = self.rows.entry(row.into()).or_default();
            let replaces = row.contains_key(&number);
            assert!(replaces || row.last_key_value().is_none_or(|(last, _)| *last < number), "numbers only go up");
            row.insert(number, bytes.into());
        }

        fn take(&mut self, row: &[u8], number: u64) {
            self.rows.entry(row.into()).or_default().remove(&number);
        }

        fn cut(&mut self, row: &[u8], upto: u64) {
            let row = self.rows.entry(row.into()).or_default();
            *row = row.split_off(&(upto.saturating_add(1)));
        }

        fn set(&mut self, key: &[u8], bytes: &[u8]) {
            self.keys.insert(key.into(), bytes.into());
        }

        fn unset(&mut self, key: &[u8]) {
            self.keys.remove(key);
        }
    }
}
