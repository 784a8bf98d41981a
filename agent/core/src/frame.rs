//! What agents say to each other on a link: frames of `length u32 | kind u8 | fields`, big-endian.
//!
//! A frame borrows from its bytes. Decoding never panics, never recurses and takes no more than the frame claims; a
//! kind that is not known is passed over, so that a newer agent can say more. What a frame means stands in `node`.

use crate::envelope::SenderId;
use crate::hlc::Hlc;
use crate::stream::StreamId;
use crate::topic;
use crate::topology::model::Lane;

/// The version of this language that HELLO names. Neighbours live together: what the older one does not know it passes
/// over, and the newer one does without.
pub const VERSION: u8 = 1;
/// Room for everything in a RECORD but the payload: topic, header, properties.
pub const RECORD_OVERHEAD: usize = 3 * 65_536;
/// Longest body of a fact.
pub const FACT_BYTES_MAX: usize = 60_000;
/// Of a record that has expired.
pub const EXPIRED: u32 = u32::MAX;
const HEAD: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Who speaks; the first frame each way.
    Hello(Hello<'a>),
    /// Be my home: what follows until READY says where my copies end.
    Attach {
        fresh: Fresh,
    },
    /// Be my home no longer.
    Detach,
    /// My copy of this stream ends at `upto`.
    Have {
        stream: StreamId,
        upto: u64,
    },
    /// All copies are named: go on from there.
    Ready,
    Record(Carried<'a>),
    /// There is nothing for you from one number to the other.
    Skip {
        stream: StreamId,
        from: u64,
        to: u64,
    },
    /// What I had up to here is gone, because it is safe elsewhere.
    Trimmed {
        stream: StreamId,
        upto: u64,
    },
    /// I have nothing of this stream, and wait for nothing: there is no place for it.
    Gone {
        stream: StreamId,
    },
    /// What came of the records that you sent.
    Got(Got),
    /// Your last one did not follow: go on from here.
    Need {
        stream: StreamId,
        from: u64,
    },
    /// A retained message, outside its stream.
    Retained(Carried<'a>),
    Fact(Fact<'a>),
    Beat(Beat),
    /// A machine that is attached to me has this stream up to here.
    Cursor {
        machine: SenderId,
        stream: StreamId,
        upto: u64,
    },
    Bye {
        reason: u8,
    },
    Ping(Ping<'a>),
    Page(Page<'a>),
}

/// A question whether a machine is there, on its way from agent to agent, or the answer on its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping<'a> {
    pub to: &'a str,
    pub from: &'a str,
    /// By which the one who asked knows its question again.
    pub number: u64,
    pub way: Way,
    /// Brokers that have passed it on.
    pub hops: u8,
}

/// A page of what a machine runs by: wanted on the way there, and had on the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    pub route: Ping<'a>,
    /// Which, from 0.
    pub part: u16,
    /// How many there are.
    pub parts: u16,
    pub body: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    There,
    Back,
}

/// With what the streams begin that an attaching machine does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// They are new since it was last here: with their first message.
    No,
    /// It has restarted, and remembers only what is kept: those in memory begin with what comes now.
    Restarted,
    /// It knows nothing yet: all begin with what comes now.
    New,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    pub version: u8,
    pub name: &'a str,
    /// Random, drawn at start.
    pub boot: u64,
    pub agent: &'a str,
    pub hlc: Hlc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried<'a> {
    /// Seconds that are left; 0 for no end, `EXPIRED` for none left: it still ends what its topic had before.
    pub expiry_s: u32,
    pub topic: &'a str,
    pub envelope: &'a [u8],
}

impl Carried<'_> {
    /// Whether it may be said to one who takes payloads of `payload_max` bytes.
    #[must_use]
    pub fn fits(&self, payload_max: usize) -> bool {
        let before_topic = size_of::<u8>() + size_of::<u32>() + size_of::<u16>();
        before_topic + self.topic.len() + self.envelope.len() <= payload_max.saturating_add(RECORD_OVERHEAD)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Got {
    pub stream: StreamId,
    pub received: u64,
    pub stored: u64,
    /// On as many disks as the network wants.
    pub stable: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact<'a> {
    pub owner: &'a str,
    pub kind: u8,
    pub hlc: Hlc,
    pub body: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    pub number: u32,
    /// The newest beat heard from the other side, and how long ago: so that it can tell the round trip.
    pub heard: u32,
    pub heard_ago_us: u32,
    pub in_step: bool,
    pub hlc: Hlc,
    /// How long it is to the next one; 0 where that is not said.
    pub every_ms: u32,
    /// The bytes heard from the other side, beginning anew after the last number: where its beats are held up, it sees by
    /// this that it is heard.
    pub bytes_heard: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame claims {0} bytes")]
    TooLong(usize),
    #[error("a frame of kind {0} ends before its fields do")]
    CutOff(u8),
    #[error("a frame of kind {0} has a field that is not valid")]
    Invalid(u8),
}

/// The first frame of `bytes` and how long it is; `None` while it is not whole. The frame itself is `None` where its
/// kind is not known.
pub fn decode(bytes: &[u8], payload_max: usize) -> Result<Option<(Option<Frame<'_>>, usize)>, FrameError> {
    let Some((head, _)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head) as usize;
    if length > payload_max.saturating_add(RECORD_OVERHEAD) {
        return Err(FrameError::TooLong(length));
    }
    let Some(whole) = bytes.get(4..4 + length) else { return Ok(None) };
    let Some((kind, body)) = whole.split_first() else { return Err(FrameError::CutOff(0)) };
    let frame = fields(*kind, &mut Reader { kind: *kind, rest: body })?;
    Ok(Some((frame, 4 + length)))
}

fn fields<'a>(kind: u8, from: &mut Reader<'a>) -> Result<Option<Frame<'a>>, FrameError> {
    let frame = match kind {
        1 => Frame::Hello(Hello {
            version: from.u8()?,
            name: from.text()?,
            boot: from.u64()?,
            agent: from.text()?,
            hlc: from.hlc()?,
        }),
        2 => Frame::Attach { fresh: from.fresh()? },
        3 => Frame::Detach,
        4 => Frame::Have { stream: from.stream()?, upto: from.u64()? },
        5 => Frame::Ready,
        6 => Frame::Record(from.carried()?),
        7 => Frame::Skip { stream: from.stream()?, from: from.u64()?, to: from.u64()? },
        8 => {
            Frame::Got(Got { stream: from.stream()?, received: from.u64()?, stored: from.u64()?, stable: from.u64()? })
        }
        9 => Frame::Need { stream: from.stream()?, from: from.u64()? },
        10 => Frame::Retained(from.carried()?),
        11 => Frame::Fact(Fact { owner: from.text()?, kind: from.u8()?, hlc: from.hlc()?, body: from.rest() }),
        12 => Frame::Beat(Beat {
            number: from.u32()?,
            heard: from.u32()?,
            heard_ago_us: from.u32()?,
            in_step: from.flag()?,
            hlc: from.hlc()?,
            // These came to this frame later than the rest: an older agent does not say them.
            every_ms: from.u32().unwrap_or(0),
            bytes_heard: from.u32().unwrap_or(0),
        }),
        13 => Frame::Cursor { machine: SenderId(from.u64()?), stream: from.stream()?, upto: from.u64()? },
        14 => Frame::Bye { reason: from.u8()? },
        15 => Frame::Trimmed { stream: from.stream()?, upto: from.u64()? },
        16 => Frame::Ping(from.route()?),
        17 => Frame::Page(Page { route: from.route()?, part: from.u16()?, parts: from.u16()?, body: from.rest() }),
        18 => Frame::Gone { stream: from.stream()? },
        _ => return Ok(None),
    };
    Ok(Some(frame))
}

pub fn encode(frame: &Frame<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    let kind = put_fields(frame, out);
    let length = u32::try_from(out.len() - start - 4).expect("a record is smaller than 4 GiB: its parts are limited");
    if let Some((head, _)) = out.get_mut(start..).and_then(|frame| frame.split_first_chunk_mut::<HEAD>()) {
        let [a, b, c, d] = length.to_be_bytes();
        *head = [a, b, c, d, kind];
    }
}

/// All but the head; says which kind it is.
fn put_fields(frame: &Frame<'_>, out: &mut Vec<u8>) -> u8 {
    match frame {
        Frame::Hello(hello) => {
            out.push(hello.version);
            put_text(out, hello.name);
            put_numbers(out, &[hello.boot]);
            put_text(out, hello.agent);
            put_numbers(out, &[hello.hlc.0]);
            1
        }
        Frame::Attach { fresh } => {
            out.push(match fresh {
                Fresh::No => 0,
                Fresh::Restarted => 1,
                Fresh::New => 2,
            });
            2
        }
        Frame::Detach => 3,
        Frame::Have { stream, upto } => {
            put_stream(out, *stream);
            put_numbers(out, &[*upto]);
            4
        }
        Frame::Ready => 5,
        Frame::Record(carried) => {
            put_carried(out, carried);
            6
        }
        Frame::Skip { stream, from, to } => {
            put_stream(out, *stream);
            put_numbers(out, &[*from, *to]);
            7
        }
        Frame::Got(got) => {
            put_stream(out, got.stream);
            put_numbers(out, &[got.received, got.stored, got.stable]);
            8
        }
        Frame::Need { stream, from } => {
            put_stream(out, *stream);
            put_numbers(out, &[*from]);
            9
        }
        Frame::Retained(carried) => {
            put_carried(out, carried);
            10
        }
        Frame::Fact(fact) => {
            put_text(out, fact.owner);
            out.push(fact.kind);
            put_numbers(out, &[fact.hlc.0]);
            out.extend_from_slice(fact.body);
            11
        }
        Frame::Beat(beat) => {
            for number in [beat.number, beat.heard, beat.heard_ago_us] {
                out.extend_from_slice(&number.to_be_bytes());
            }
            out.push(u8::from(beat.in_step));
            put_numbers(out, &[beat.hlc.0]);
            out.extend_from_slice(&beat.every_ms.to_be_bytes());
            out.extend_from_slice(&beat.bytes_heard.to_be_bytes());
            12
        }
        Frame::Cursor { machine, stream, upto } => {
            put_numbers(out, &[machine.0]);
            put_stream(out, *stream);
            put_numbers(out, &[*upto]);
            13
        }
        Frame::Bye { reason } => {
            out.push(*reason);
            14
        }
        Frame::Trimmed { stream, upto } => {
            put_stream(out, *stream);
            put_numbers(out, &[*upto]);
            15
        }
        Frame::Ping(ping) => {
            put_route(out, ping);
            16
        }
        Frame::Page(page) => {
            put_route(out, &page.route);
            out.extend_from_slice(&page.part.to_be_bytes());
            out.extend_from_slice(&page.parts.to_be_bytes());
            out.extend_from_slice(page.body);
            17
        }
        Frame::Gone { stream } => {
            put_stream(out, *stream);
            18
        }
    }
}

fn put_route(out: &mut Vec<u8>, route: &Ping<'_>) {
    put_text(out, route.to);
    put_text(out, route.from);
    put_numbers(out, &[route.number]);
    out.extend_from_slice(&[u8::from(route.way == Way::Back), route.hops]);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("names and topics are shorter than 64 KiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
}

fn put_stream(out: &mut Vec<u8>, stream: StreamId) {
    out.extend_from_slice(&stream.sender.0.to_be_bytes());
    out.extend_from_slice(&stream.incarnation.to_be_bytes());
    out.push(stream.lane.number());
}

fn put_carried(out: &mut Vec<u8>, carried: &Carried<'_>) {
    out.extend_from_slice(&carried.expiry_s.to_be_bytes());
    put_text(out, carried.topic);
    out.extend_from_slice(carried.envelope);
}

struct Reader<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(FrameError::CutOff(self.kind))?;
        self.rest = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, FrameError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, FrameError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, FrameError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, FrameError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn hlc(&mut self) -> Result<Hlc, FrameError> {
        self.u64().map(Hlc)
    }

    fn flag(&mut self) -> Result<bool, FrameError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            2.. => Err(FrameError::Invalid(self.kind)),
        }
    }

    fn fresh(&mut self) -> Result<Fresh, FrameError> {
        match self.u8()? {
            0 => Ok(Fresh::No),
            1 => Ok(Fresh::Restarted),
            2 => Ok(Fresh::New),
            3.. => Err(FrameError::Invalid(self.kind)),
        }
    }

    fn route(&mut self) -> Result<Ping<'a>, FrameError> {
        Ok(Ping {
            to: self.text()?,
            from: self.text()?,
            number: self.u64()?,
            way: if self.flag()? { Way::Back } else { Way::There },
            hops: self.u8()?,
        })
    }

    fn text(&mut self) -> Result<&'a str, FrameError> {
        let length = usize::from(self.u16()?);
        let (text, rest) = self.rest.split_at_checked(length).ok_or(FrameError::CutOff(self.kind))?;
        self.rest = rest;
        std::str::from_utf8(text).map_err(|_| FrameError::Invalid(self.kind))
    }

    fn stream(&mut self) -> Result<StreamId, FrameError> {
        let (sender, incarnation) = (SenderId(self.u64()?), self.u32()?);
        let lane = Lane::from_number(self.u8()?).ok_or(FrameError::Invalid(self.kind))?;
        Ok(StreamId { sender, incarnation, lane })
    }

    fn carried(&mut self) -> Result<Carried<'a>, FrameError> {
        let carried = Carried { expiry_s: self.u32()?, topic: self.text()?, envelope: self.rest() };
        topic::check_name(carried.topic).map_err(|_| FrameError::Invalid(self.kind))?;
        Ok(carried)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

#[cfg(test)]
mod tests;
