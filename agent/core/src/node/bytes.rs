//! A node's writes as a store holds them, and back: `Saved` made of rows and keys is the one made of the writes.
//!
//! ```text
//! row  s stream → number   0 | expires | topic | envelope          a record
//!                          1 | from                                nothing from there up to this number; it may take the
//!                                                                  place of a record that cannot be read any more
//! key  t stream → upto     forgotten: the row begins behind it
//! key  d stream → upto     the programs have it
//! key  r topic  → sender | expires | envelope                      the newest retained
//! key  f kind owner → hlc | body
//! key  l → lives           key  c → clock           key  g →         messages were given up for want of places
//! ```
//!
//! All of them begin with `n`. A stream is `lane u8 | sender u64 | incarnation u32`, numbers are big-endian. `expires` is
//! a `Now`, which goes on from life to life.

use std::rc::Rc;

use super::facts::{Kind, Said};
use super::saved::{Saved, Write};
use super::{Held, STREAMS_MAX};
use crate::envelope::{Header, SenderId};
use crate::hlc::Hlc;
use crate::ids::Name;
use crate::keep::{Keep, Reader, put_bytes};
use crate::stream::{Record, StreamId};
use crate::time::Now;
use crate::topic;
use crate::topology::model::Lane;

/// What every row and key of a node begins with.
pub const MARK: u8 = b'n';
const NEVER: u64 = u64::MAX;

impl Write {
    /// Ask for it. `scratch` is only there to be used again.
    pub fn keep(&self, keep: &mut dyn Keep, scratch: &mut Vec<u8>) {
        scratch.clear();
        match self {
            Self::Append { stream, seq, record } => {
                scratch.push(0);
                put_numbers(scratch, &[record.expires.map_or(NEVER, |at| at.0)]);
                put_bytes(scratch, record.topic.as_bytes());
                scratch.extend_from_slice(&record.envelope);
                keep.put(&of_stream(b's', *stream), *seq, scratch);
            }
            Self::Skip { stream, from, to } => {
                scratch.push(1);
                put_numbers(scratch, &[*from]);
                keep.put(&of_stream(b's', *stream), *to, scratch);
            }
            Self::Trim { stream, upto } => {
                keep.cut(&of_stream(b's', *stream), *upto);
                keep.set(&of_stream(b't', *stream), &upto.to_be_bytes());
            }
            Self::Delivered { stream, upto } => keep.set(&of_stream(b'd', *stream), &upto.to_be_bytes()),
            Self::Forget(stream) => {
                keep.cut(&of_stream(b's', *stream), u64::MAX);
                keep.unset(&of_stream(b't', *stream));
                keep.unset(&of_stream(b'd', *stream));
            }
            Self::GaveUp => keep.set(&[MARK, b'g'], &[]),
            Self::Lives(count) => keep.set(&[MARK, b'l'], &count.to_be_bytes()),
            Self::Retained { sender, record } => {
                put_numbers(scratch, &[sender.0, record.expires.map_or(NEVER, |at| at.0)]);
                scratch.extend_from_slice(&record.envelope);
                keep.set(&of_topic(&record.topic), scratch);
            }
            Self::RetainedGone(topic) => keep.unset(&of_topic(topic)),
            Self::Fact { owner, kind, said } => {
                put_numbers(scratch, &[said.hlc.0]);
                scratch.extend_from_slice(&said.body);
                keep.set(&[&[MARK, b'f', kind.number()], owner.as_str().as_bytes()].concat(), scratch);
            }
            Self::Clock(hlc) => keep.set(&[MARK, b'c'], &hlc.0.to_be_bytes()),
        }
    }
}

/// It was not what a node writes, or does not follow what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotBelieved;

impl Saved {
    /// Take in a key that was read back. All keys come before the first row.
    pub fn read_key(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), NotBelieved> {
        self.key(key, bytes).ok_or(NotBelieved)
    }

    /// Take in the next thing of a row that was read back.
    pub fn read_row(&mut self, row: &[u8], number: u64, bytes: &[u8]) -> Result<(), NotBelieved> {
        self.row(row, number, bytes).ok_or(NotBelieved)
    }

    fn key(&mut self, key: &[u8], bytes: &[u8]) -> Option<()> {
        let (mut key, mut value) = (Reader::new(key), Reader::new(bytes));
        let (MARK, kind) = (key.u8()?, key.u8()?) else { return None };
        let write = match kind {
            b't' => Write::Trim { stream: stream(&mut key)?, upto: value.u64()? },
            b'd' => Write::Delivered { stream: stream(&mut key)?, upto: value.u64()? },
            b'g' => Write::GaveUp,
            b'l' => Write::Lives(value.u32()?),
            b'c' => Write::Clock(Hlc(value.u64()?)),
            b'r' => retained(key.rest(), &mut value)?,
            b'f' => Write::Fact {
                kind: Kind::from_number(key.u8()?)?,
                owner: Name::new(std::str::from_utf8(key.rest()).ok()?).ok()?,
                said: Said { hlc: Hlc(value.u64()?), body: value.rest().into(), heard: Now::ZERO },
            },
            _ => return None,
        };
        key.end()?;
        value.end()?;
        self.has_room(&write).then(|| self.apply(write))
    }

    fn row(&mut self, row: &[u8], number: u64, bytes: &[u8]) -> Option<()> {
        let (mut row, mut value) = (Reader::new(row), Reader::new(bytes));
        let (MARK, b's') = (row.u8()?, row.u8()?) else { return None };
        let stream = stream(&mut row)?;
        row.end()?;
        let write = match value.u8()? {
            0 => Write::Append { stream, seq: number, record: placed(stream, number, &mut value)? },
            1 => Write::Skip { stream, from: value.u64()?, to: number },
            2.. => return None,
        };
        value.end()?;
        let before = self.last(stream);
        if !self.has_room(&write) {
            return None;
        }
        self.apply(write);
        (self.last(stream) > before).then_some(())
    }

    /// As many streams as a node would have written.
    fn has_room(&self, write: &Write) -> bool {
        match write {
            Write::Append { stream, .. }
            | Write::Skip { stream, .. }
            | Write::Trim { stream, .. }
            | Write::Delivered { stream, .. } => self.copies.len() < STREAMS_MAX || self.copies.contains_key(stream),
            Write::Forget(_)
            | Write::GaveUp
            | Write::Lives(_)
            | Write::Retained { .. }
            | Write::RetainedGone(_)
            | Write::Fact { .. }
            | Write::Clock(_) => true,
        }
    }

    fn last(&self, stream: StreamId) -> u64 {
        self.copies.get(&stream).map_or(0, |copy| copy.stream.last())
    }
}

/// The row of a stream's records.
pub(super) fn row(stream: StreamId) -> Box<[u8]> {
    of_stream(b's', stream).into()
}

/// A record as its row has it, if it is one and the right one.
pub(super) fn read_record(stream: StreamId, seq: u64, bytes: &[u8]) -> Option<Held> {
    let mut value = Reader::new(bytes);
    (value.u8()? == 0).then_some(())?;
    placed(stream, seq, &mut value)
}

fn placed(stream: StreamId, seq: u64, value: &mut Reader<'_>) -> Option<Held> {
    let (expires, topic) = (expiry(value)?, value.text()?);
    let record = record(topic, expires, value.rest())?;
    let same = record.stamp.lane == stream.lane && record.stamp.incarnation == stream.incarnation;
    (same && record.stamp.seq == seq).then_some(record)
}

fn of_stream(kind: u8, stream: StreamId) -> [u8; 15] {
    let [a, b, c, d, e, f, g, h] = stream.sender.0.to_be_bytes();
    let [i, j, k, l] = stream.incarnation.to_be_bytes();
    [MARK, kind, stream.lane.number(), a, b, c, d, e, f, g, h, i, j, k, l]
}

fn stream(from: &mut Reader<'_>) -> Option<StreamId> {
    let lane = Lane::from_number(from.u8()?)?;
    Some(StreamId { lane, sender: SenderId(from.u64()?), incarnation: from.u32()? })
}

fn of_topic(topic: &str) -> Vec<u8> {
    [&[MARK, b'r'], topic.as_bytes()].concat()
}

fn retained(topic: &[u8], value: &mut Reader<'_>) -> Option<Write> {
    let topic = std::str::from_utf8(topic).ok()?;
    let (sender, expires) = (SenderId(value.u64()?), expiry(value)?);
    let record = record(topic, expires, value.rest())?;
    record.stamp.retain.then_some(Write::Retained { sender, record })
}

fn record(topic: &str, expires: Option<Now>, envelope: &[u8]) -> Option<Held> {
    topic::check_name(topic).ok()?;
    let stamp = Header::peek(envelope).ok()?.stamp;
    Some(Rc::new(Record { topic: topic.into(), envelope: envelope.into(), expires, stamp }))
}

fn expiry(from: &mut Reader<'_>) -> Option<Option<Now>> {
    from.u64().map(|at| (at != NEVER).then_some(Now(at)))
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
}

#[cfg(test)]
mod tests;
