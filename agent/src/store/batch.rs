//! What is written together, encoded where it arises, and read back with the same words.
//!
//! An operation is a kind, a name, and what its kind needs; lengths and numbers are LEB128. Stored bytes are preceded by
//! their own CRC32C, so that one record can be read back alone.

use std::ops::Range;

const PUT: u8 = 1;
const TAKE: u8 = 2;
const CUT: u8 = 3;
const SET: u8 = 4;
const UNSET: u8 = 5;
const CLEANED: u8 = 6;

/// Before stored bytes.
pub(super) const CRC: usize = 4;

/// Changes that are on the disk together or not at all. Kept for the next ones it costs no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
}

impl Batch {
    /// Put `bytes` into a row. The numbers of a row only go up.
    pub fn put(&mut self, row: &[u8], number: u64, bytes: &[u8]) {
        self.begin(PUT, row);
        self.varint(number);
        self.content(bytes);
    }

    /// Take one out of the middle of a row.
    pub fn take(&mut self, row: &[u8], number: u64) {
        self.begin(TAKE, row);
        self.varint(number);
    }

    /// Forget everything of a row up to a number, that one included.
    pub fn cut(&mut self, row: &[u8], upto: u64) {
        self.begin(CUT, row);
        self.varint(upto);
    }

    /// A key holds one thing: the newest.
    pub fn set(&mut self, key: &[u8], bytes: &[u8]) {
        self.begin(SET, key);
        self.content(bytes);
    }

    pub fn unset(&mut self, key: &[u8]) {
        self.begin(UNSET, key);
    }

    /// What lives in this segment and in all before it has been written anew.
    pub(super) fn cleaned(&mut self, segment: u32) {
        self.begin(CLEANED, b"");
        self.varint(u64::from(segment));
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes that it takes in the log.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn begin(&mut self, kind: u8, name: &[u8]) {
        self.bytes.push(kind);
        self.varint(name.len() as u64);
        self.bytes.extend_from_slice(name);
    }

    fn content(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7F {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

/// One operation; a range says where in the batch its stored bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op<'a> {
    Put { row: &'a [u8], number: u64, at: Range<usize> },
    Take { row: &'a [u8], number: u64 },
    Cut { row: &'a [u8], upto: u64 },
    Set { key: &'a [u8], at: Range<usize> },
    Unset { key: &'a [u8] },
    Cleaned { segment: u32 },
}

/// The operations of a batch, in order. It ends early at what is not one.
pub(super) struct Ops<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Ops<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether `bytes` are operations and nothing else.
    pub(super) fn are_whole(bytes: &[u8]) -> bool {
        let mut ops = Ops::of(bytes);
        ops.by_ref().for_each(drop);
        ops.at == bytes.len()
    }

    fn parse(&mut self) -> Option<Op<'a>> {
        let kind = *self.bytes.get(self.at)?;
        self.at += 1;
        let len = self.len()?;
        let name = self.slice(len)?;
        Some(match kind {
            PUT => Op::Put { row: name, number: self.varint()?, at: self.content()? },
            TAKE => Op::Take { row: name, number: self.varint()? },
            CUT => Op::Cut { row: name, upto: self.varint()? },
            SET => Op::Set { key: name, at: self.content()? },
            UNSET => Op::Unset { key: name },
            CLEANED => Op::Cleaned { segment: u32::try_from(self.varint()?).ok()? },
            _ => return None,
        })
    }

    fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let slice = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(slice)
    }

    fn content(&mut self) -> Option<Range<usize>> {
        let len = self.len()?;
        self.slice(CRC)?;
        let start = self.at;
        self.slice(len)?;
        Some(start..self.at)
    }

    fn len(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Op<'a>;

    fn next(&mut self) -> Option<Op<'a>> {
        let before = self.at;
        let op = self.parse();
        if op.is_none() {
            self.at = before;
        }
        op
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_read_back() {
        let mut batch = Batch::default();
        batch.put(b"row", u64::MAX, b"bytes");
        batch.take(b"", 0);
        batch.cut(b"row", 300);
        batch.set(b"key", b"");
        batch.unset(b"key");
        batch.cleaned(7);
        assert!(Ops::are_whole(batch.as_bytes()));
        let ops: Vec<Op> = Ops::of(batch.as_bytes()).collect();
        let [Op::Put { row: b"row", number: u64::MAX, at }, Op::Take { row: b"", number: 0 }, rest @ ..] = &ops[..]
        else {
            panic!("{ops:?}")
        };
        assert_eq!(&batch.as_bytes()[at.clone()], b"bytes");
        let [Op::Cut { row: b"row", upto: 300 }, Op::Set { key: b"key", at }, rest @ ..] = rest else {
            panic!("{ops:?}")
        };
        assert!(at.is_empty());
        assert_eq!(rest, [Op::Unset { key: b"key" }, Op::Cleaned { segment: 7 }]);
    }

    #[test]
    fn no_part_of_a_batch_is_taken_for_whole() {
        let mut batch = Batch::default();
        batch.put(b"row", 1 << 40, b"bytes");
        for end in 1..batch.len() {
            assert!(!Ops::are_whole(&batch.as_bytes()[..end]), "{end} bytes of it");
        }
        assert!(
            !Ops::are_whole(&[9, 0]) && !Ops::are_whole(&[TAKE, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2])
        );
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_are_parsed_without_a_panic(bytes: Vec<u8>) {
            Ops::are_whole(&bytes);
        }
    }
}
