//! A broker's writes as a store holds them, and back: `Saved` made of rows and keys is the one made of the writes.
//!
//! ```text
//! row  m         number → message         row  q session  number → what waits
//! row  d         number → dead letter     key  n                 → numbers
//! key  s session        → standing        key  u session filter  → what was granted
//! key  t session number →                 key  x session number  → how often it failed
//! key  i session id     →                 key  k topic           → retained message
//! ```
//!
//! All of them begin with `b`. Numbers are big-endian, a session is a u64.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use super::filter_tree::GroupMark;
use super::inward::sound_props;
use super::message::{Content, Message, Shared};
use super::saved::{Dead, Saved, Standing, Waiting, Will, Write};
use super::session::Granted;
use crate::keep::{Keep, Reader, put_bytes};
use crate::mqtt::packet::{PacketId, QoS, Reason, RetainHandling, SubscribeOptions};
use crate::time::Now;
use crate::topic;

/// What every row and key of a broker begins with.
pub const MARK: u8 = b'b';

const MESSAGES: [u8; 2] = [MARK, b'm'];
const DEAD: [u8; 2] = [MARK, b'd'];
/// No broker ever comes to number this: whoever went on from here would run out of numbers.
const NUMBERS_END: u64 = 1 << 62;

impl Write {
    /// Ask for it. `scratch` is only there to be used again.
    pub fn keep(&self, keep: &mut dyn Keep, scratch: &mut Vec<u8>) {
        scratch.clear();
        match self {
            Self::Numbers(next) => keep.set(&[MARK, b'n'], &next.to_be_bytes()),
            Self::Message { number, message } => {
                put_message(scratch, message);
                keep.put(&MESSAGES, *number, scratch);
            }
            Self::MessageGone(number) => keep.take(&MESSAGES, *number),
            Self::Session { session, standing } => {
                put_standing(scratch, standing);
                keep.set(&of(b's', *session), scratch);
            }
            Self::SessionGone(session) => {
                keep.unset(&of(b's', *session));
                keep.cut(&of(b'q', *session), u64::MAX);
            }
            Self::Subscribed { session, filter, granted } => {
                put_granted(scratch, granted);
                keep.set(&with(b'u', *session, filter.as_bytes()), scratch);
            }
            Self::Unsubscribed { session, filter } => keep.unset(&with(b'u', *session, filter.as_bytes())),
            Self::Queued { session, number, waiting } => {
                put_waiting(scratch, waiting);
                keep.put(&of(b'q', *session), *number, scratch);
            }
            Self::Done { session, number, noted } => {
                keep.take(&of(b'q', *session), *number);
                if *noted {
                    keep.unset(&with(b't', *session, &number.to_be_bytes()));
                    keep.unset(&with(b'x', *session, &number.to_be_bytes()));
                }
            }
            Self::Taken { session, number } => keep.set(&with(b't', *session, &number.to_be_bytes()), &[]),
            Self::Failed { session, number, times } => {
                keep.set(&with(b'x', *session, &number.to_be_bytes()), &times.to_be_bytes());
            }
            Self::Received { session, id } => keep.set(&with(b'i', *session, &id.0.get().to_be_bytes()), &[]),
            Self::Released { session, id } => keep.unset(&with(b'i', *session, &id.0.get().to_be_bytes())),
            Self::Retained(message) => {
                put_message(scratch, message);
                keep.set(&[&[MARK, b'k'], message.topic.as_bytes()].concat(), scratch);
            }
            Self::RetainedGone(topic) => keep.unset(&[&[MARK, b'k'], topic.as_bytes()].concat()),
            Self::Dead { number, dead } => {
                put_dead(scratch, dead);
                keep.put(&DEAD, *number, scratch);
            }
            Self::DeadGone(number) => keep.take(&DEAD, *number),
        }
    }
}

/// It was not what a broker writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotBelieved;

/// What is read back, until all of it is there: all keys first, then the rows.
#[derive(Debug, Default)]
pub struct Reading {
    saved: Saved,
    /// What was written of messages that wait, before they themselves are read.
    notes: Vec<Write>,
}

impl Reading {
    pub fn key(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), NotBelieved> {
        let write = read_key(key, bytes).ok_or(NotBelieved)?;
        if matches!(write, Write::Taken { .. } | Write::Failed { .. }) {
            self.notes.push(write);
        } else {
            self.saved.apply(write);
        }
        Ok(())
    }

    pub fn row(&mut self, row: &[u8], number: u64, bytes: &[u8]) -> Result<(), NotBelieved> {
        self.saved.apply(read_row(row, number, bytes).ok_or(NotBelieved)?);
        Ok(())
    }

    #[must_use]
    pub fn finish(mut self) -> Saved {
        self.notes.into_iter().for_each(|note| self.saved.apply(note));
        self.saved
    }
}

fn read_key(key: &[u8], bytes: &[u8]) -> Option<Write> {
    let (mut key, mut value) = (Reader::new(key), Reader::new(bytes));
    let (MARK, kind) = (key.u8()?, key.u8()?) else { return None };
    let write = match kind {
        b'n' => Write::Numbers(number(&mut value)?),
        b's' => Write::Session { session: number(&mut key)?, standing: standing(&mut value)? },
        b'u' => {
            let (session, filter) = (number(&mut key)?, filter(key.rest())?);
            let granted = granted(&filter, &mut value)?;
            Write::Subscribed { session, filter, granted }
        }
        b't' => Write::Taken { session: number(&mut key)?, number: number(&mut key)? },
        b'x' => Write::Failed { session: number(&mut key)?, number: number(&mut key)?, times: value.u32()? },
        b'i' => Write::Received { session: number(&mut key)?, id: packet_id(&mut key)? },
        b'k' => {
            let message = message(&mut value)?;
            (message.topic.as_bytes() == key.rest()).then_some(Write::Retained(message))?
        }
        _ => return None,
    };
    key.end()?;
    value.end()?;
    Some(write)
}

fn read_row(row: &[u8], at: u64, bytes: &[u8]) -> Option<Write> {
    let (mut row, mut value) = (Reader::new(row), Reader::new(bytes));
    let place = (at < NUMBERS_END).then_some(at)?;
    let (MARK, kind) = (row.u8()?, row.u8()?) else { return None };
    let write = match kind {
        b'm' => Write::Message { number: place, message: message(&mut value)? },
        b'q' => Write::Queued { session: number(&mut row)?, number: place, waiting: waiting(&mut value)? },
        b'd' => Write::Dead { number: place, dead: dead(&mut value)? },
        _ => return None,
    };
    row.end()?;
    value.end()?;
    Some(write)
}

fn number(from: &mut Reader<'_>) -> Option<u64> {
    from.u64().filter(|number| *number < NUMBERS_END)
}

fn of(kind: u8, session: u64) -> [u8; 10] {
    let [a, b, c, d, e, f, g, h] = session.to_be_bytes();
    [MARK, kind, a, b, c, d, e, f, g, h]
}

fn with(kind: u8, session: u64, rest: &[u8]) -> Vec<u8> {
    [&of(kind, session), rest].concat()
}

fn put_message(out: &mut Vec<u8>, message: &Content) {
    out.push(flags(&[message.retain]) << 2 | message.qos as u8);
    put_option(out, message.expires.map(|at| at.0.to_be_bytes()));
    put_bytes(out, message.topic.as_bytes());
    put_bytes(out, &message.props);
    put_bytes(out, &message.payload);
}

fn message(from: &mut Reader<'_>) -> Option<Shared> {
    let (qos, [retain]) = qos_and_flags(from.u8()?)?;
    let expires = option(from)?.map(|at| Now(u64::from_be_bytes(at)));
    let topic = from.text()?;
    topic::check_name(topic).ok()?;
    let props = sound_props(from.bytes()?);
    Some(Message::uncounted(Content {
        topic: topic.into(),
        payload: from.bytes()?.into(),
        props,
        qos,
        retain,
        expires,
    }))
}

fn put_standing(out: &mut Vec<u8>, standing: &Standing) {
    put_bytes(out, standing.client_id.as_bytes());
    let expiry_us = u64::try_from(standing.expiry.as_micros()).unwrap_or(u64::MAX);
    out.extend_from_slice(&expiry_us.to_be_bytes());
    put_option(out, standing.left.map(|at| at.0.to_be_bytes()));
    out.push(u8::from(standing.will.is_some()));
    if let Some(will) = &standing.will {
        out.extend_from_slice(&will.delay_s.to_be_bytes());
        put_option(out, will.expiry_s.map(u32::to_be_bytes));
        put_message(out, &will.message);
    }
}

fn standing(from: &mut Reader<'_>) -> Option<Standing> {
    let (client_id, expiry) = (from.text()?.into(), Duration::from_micros(from.u64()?));
    let left = option(from)?.map(|at| Now(u64::from_be_bytes(at)));
    let will = match from.u8()? {
        0 => None,
        1 => {
            let (delay_s, expiry_s) = (from.u32()?, option(from)?.map(u32::from_be_bytes));
            Some(Will { message: message(from)?, delay_s, expiry_s })
        }
        2.. => return None,
    };
    Some(Standing { client_id, expiry, left, will })
}

fn put_granted(out: &mut Vec<u8>, granted: &Granted) {
    let options = granted.options;
    out.push(flags(&[options.no_local, options.retain_as_published, granted.group.is_some()]) << 2 | options.qos as u8);
    out.push(options.retain_handling as u8);
    put_option(out, granted.id.map(u32::to_be_bytes));
}

fn granted(filter: &str, from: &mut Reader<'_>) -> Option<Granted> {
    let (qos, [no_local, retain_as_published, _]) = qos_and_flags(from.u8()?)?;
    let all = [RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never];
    let number = from.u8()?;
    let retain_handling = all.into_iter().find(|one| *one as u8 == number)?;
    let options = SubscribeOptions { qos, no_local, retain_as_published, retain_handling };
    Some(Granted { options, id: option(from)?.map(u32::from_be_bytes), group: GroupMark::of(filter) })
}

fn put_waiting(out: &mut Vec<u8>, waiting: &Waiting) {
    out.extend_from_slice(&waiting.message.to_be_bytes());
    out.push(flags(&[waiting.retain, false, waiting.ahead, waiting.group.is_some()]) << 2 | waiting.qos as u8);
    out.extend_from_slice(&waiting.turn.to_be_bytes());
    out.extend(waiting.group.iter().flat_map(|group| group.0.get().to_be_bytes()));
    waiting.ids.iter().for_each(|id| out.extend_from_slice(&id.to_be_bytes()));
}

fn waiting(from: &mut Reader<'_>) -> Option<Waiting> {
    let message = from.u64()?;
    // That there is a group was once all that was written of it.
    let (qos, [retain, _, ahead, names_group]) = qos_and_flags(from.u8()?)?;
    let turn = from.u64()?;
    let group = if names_group { Some(GroupMark(NonZeroU32::new(from.u32()?)?)) } else { None };
    let (ids, rest) = from.rest().as_chunks::<4>();
    let ids = ids.iter().map(|id| u32::from_be_bytes(*id)).collect();
    rest.is_empty().then_some(Waiting { message, qos, retain, group, ahead, turn, ids })
}

fn put_dead(out: &mut Vec<u8>, dead: &Dead) {
    put_bytes(out, dead.client_id.as_bytes());
    out.push(dead.qos as u8);
    out.extend_from_slice(&dead.times.to_be_bytes());
    put_option(out, dead.refused.map(|reason| [reason.0]));
    put_message(out, &dead.message);
}

fn dead(from: &mut Reader<'_>) -> Option<Dead> {
    let client_id = from.text()?.into();
    let (qos, []) = qos_and_flags(from.u8()?)?;
    let (times, refused) = (from.u32()?, option(from)?.map(|[code]| Reason(code)));
    Some(Dead { client_id, message: message(from)?, qos, times, refused })
}

fn filter(bytes: &[u8]) -> Option<Box<str>> {
    let filter = std::str::from_utf8(bytes).ok()?;
    topic::check_subscription(filter).ok().map(|()| filter.into())
}

fn packet_id(from: &mut Reader<'_>) -> Option<PacketId> {
    NonZeroU16::new(u16::from_be_bytes(from.array()?)).map(PacketId)
}

/// The first is the lowest bit.
fn flags(all: &[bool]) -> u8 {
    all.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag))
}

/// A QoS in two bits, and as many flags above it.
fn qos_and_flags<const N: usize>(byte: u8) -> Option<(QoS, [bool; N])> {
    let all = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    let qos = all.into_iter().find(|qos| *qos as u8 == byte & 3)?;
    let flags = std::array::from_fn(|at| byte >> 2 & 1 << at != 0);
    (byte >> 2 >> N == 0).then_some((qos, flags))
}

fn put_option<const N: usize>(out: &mut Vec<u8>, value: Option<[u8; N]>) {
    out.push(u8::from(value.is_some()));
    out.extend_from_slice(value.as_ref().map_or(&[], |value| value));
}

fn option<const N: usize>(from: &mut Reader<'_>) -> Option<Option<[u8; N]>> {
    match from.u8()? {
        0 => Some(None),
        1 => from.array().map(Some),
        2.. => None,
    }
}

#[cfg(test)]
mod tests;
