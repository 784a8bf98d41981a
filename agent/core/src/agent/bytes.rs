//! Both halves' writes as one store holds them, and back. What is neither's begins with `a`: `at`, how late it was.

use super::saved::{Saved, Write};
use crate::keep::{Keep, Reader};
use crate::time::Now;
use crate::{broker, node};

const TIME: &[u8] = b"at";

impl Write {
    /// Ask for it. `scratch` is only there to be used again.
    pub fn keep(&self, keep: &mut dyn Keep, scratch: &mut Vec<u8>) {
        match self {
            Self::Broker(write) => write.keep(keep, scratch),
            Self::Node(write) => write.keep(keep, scratch),
            Self::Time(now) => keep.set(TIME, &now.0.to_be_bytes()),
        }
    }
}

/// What a store holds, as it is read back: all keys first, then the rows, each in the order of its numbers. What nobody
/// wrote so is not believed, and is counted.
#[derive(Debug, Default)]
pub struct Reading {
    broker: broker::Reading,
    node: node::Saved,
    now: Now,
    /// Things that were not believed.
    pub refused: u64,
}

impl Reading {
    pub fn key(&mut self, key: &[u8], bytes: &[u8]) {
        let believed = match key.first() {
            Some(&broker::MARK) => self.broker.key(key, bytes).is_ok(),
            Some(&node::MARK) => self.node.read_key(key, bytes).is_ok(),
            _ if key == TIME => self.time(bytes).is_some(),
            Some(_) | None => false,
        };
        self.refused += u64::from(!believed);
    }

    pub fn row(&mut self, row: &[u8], number: u64, bytes: &[u8]) {
        let believed = match row.first() {
            Some(&broker::MARK) => self.broker.row(row, number, bytes).is_ok(),
            Some(&node::MARK) => self.node.read_row(row, number, bytes).is_ok(),
            Some(_) | None => false,
        };
        self.refused += u64::from(!believed);
    }

    fn time(&mut self, bytes: &[u8]) -> Option<()> {
        let mut value = Reader::new(bytes);
        self.now = Now(value.u64()?);
        value.end()
    }

    #[must_use]
    pub fn finish(self) -> Saved {
        Saved { broker: self.broker.finish(), node: self.node, now: self.now }
    }
}
