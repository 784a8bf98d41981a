//! What is away is read back when somebody comes to it: a stretch at a time, for the reader that asked, and no further
//! ahead than one stretch. What the disk cannot give any more is counted and skipped, as what a limit drops is.

use std::collections::{BTreeMap, VecDeque};

use super::link::LinkId;
use super::{Action, Held, Node, Ticket, Write, bytes};
use crate::stream::StreamId;
use crate::time::Now;

/// Read at once, unless one record alone is longer. There is one such stretch for each link, and one for the programs.
const STRETCH_BYTES: u64 = 64 << 10;
/// Stretches that are asked for at once, those included that nobody waits for any more.
const OPEN_MAX: usize = 64;

/// Read this of a row and answer with `Fetched`: from the first number on, up to the last one or about so many bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub number: u64,
    pub row: Box<[u8]>,
    pub from: u64,
    pub upto: u64,
    pub bytes_max: usize,
}

/// All that could be read of what was asked for, up to here. What is missing below it is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub number: u64,
    pub upto: u64,
    pub things: Vec<(u64, Box<[u8]>)>,
}

/// Who wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    Link(LinkId),
    Programs,
}

/// What was asked for and has not come.
#[derive(Debug, Default)]
pub struct Fetches {
    open: BTreeMap<u64, Asked>,
    newest: u64,
    /// Some reader has to ask again.
    put_off: bool,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    reader: Reader,
    stream: StreamId,
    from: u64,
}

/// What one reader was read back and has not come to, and what it waits for.
#[derive(Debug, Default)]
pub struct Ahead {
    asked: Option<u64>,
    stream: Option<StreamId>,
    records: VecDeque<(u64, Held)>,
}

impl Ahead {
    /// A record of a stream that was read back; those before it are done with.
    pub fn find(&mut self, stream: StreamId, seq: u64) -> Option<Held> {
        if self.stream != Some(stream) {
            return None;
        }
        while self.records.front().is_some_and(|(before, _)| *before < seq) {
            self.records.pop_front();
        }
        self.records.front().filter(|(at, _)| *at == seq).map(|(_, record)| record.clone())
    }

    /// Whatever it waited for is for nobody now.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Fetches {
    /// In a process that had another node, which had asked for this many.
    pub fn after(newest: u64) -> Self {
        Self { newest, ..Self::default() }
    }

    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Have `from` read back, and what follows it. One that waits already is given that first.
    pub fn ask(
        &mut self,
        ahead: &mut Ahead,
        asked: (Reader, StreamId),
        (from, upto): (u64, u64),
        spared: u64,
        actions: &mut VecDeque<Action>,
    ) {
        if ahead.asked.is_some() {
            return;
        }
        if self.open.len() >= OPEN_MAX {
            self.put_off = true;
            return;
        }
        self.newest += 1;
        let (number, (reader, stream)) = (self.newest, asked);
        self.open.insert(number, Asked { reader, stream, from });
        ahead.forget();
        ahead.asked = Some(number);
        let bytes_max = usize::try_from(STRETCH_BYTES.min(spared)).unwrap_or(0);
        let row = bytes::row(stream);
        actions.push_back(Action::Fetch(Fetch { number, row, from, upto, bytes_max }));
    }
}

impl Node {
    /// What was asked for by `Action::Fetch`.
    pub fn handle_fetched(&mut self, fetched: Fetched, now: Now) {
        let Some(Asked { reader, stream, from }) = self.fetches.open.remove(&fetched.number) else { return };
        let ahead = match reader {
            Reader::Link(link) => self.links.get_mut(&link).map(|link| &mut link.ahead),
            Reader::Programs => Some(&mut self.ahead),
        };
        if let Some(ahead) = ahead.filter(|ahead| ahead.asked == Some(fetched.number)) {
            ahead.asked = None;
            ahead.stream = Some(stream);
            let read = |(seq, bytes): &(u64, Box<[u8]>)| Some((*seq, bytes::read_record(stream, *seq, bytes)?));
            ahead.records = fetched.things.iter().filter_map(read).collect();
            let there: Vec<u64> = ahead.records.iter().map(|(seq, _)| *seq).collect();
            self.lose_others(stream, from, fetched.upto, &there);
        }
        self.wake(reader);
        if std::mem::take(&mut self.fetches.put_off) {
            let all: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.ready).map(|(id, _)| *id).collect();
            all.into_iter().for_each(|link| self.ask_transmit(link));
            self.wake(Reader::Programs);
        }
        self.settle(now);
    }

    /// What was asked for of a stream that is not here any more is for nobody.
    pub(super) fn forget_fetches(&mut self, id: StreamId) {
        let asked = self.fetches.open.extract_if(.., |_, asked| asked.stream == id);
        for (number, asked) in asked.collect::<Vec<_>>() {
            let ahead = match asked.reader {
                Reader::Link(link) => self.links.get_mut(&link).map(|link| &mut link.ahead),
                Reader::Programs => Some(&mut self.ahead),
            };
            if let Some(ahead) = ahead.filter(|ahead| ahead.asked == Some(number)) {
                ahead.forget();
                self.wake(asked.reader);
            }
        }
    }

    fn wake(&mut self, reader: Reader) {
        match reader {
            Reader::Link(link) => self.ask_transmit(link),
            Reader::Programs => self.deliverable.append(&mut self.undelivered),
        }
    }

    /// What is away in that stretch and not `there` is nowhere any more.
    fn lose_others(&mut self, id: StreamId, from: u64, upto: u64, there: &[u64]) {
        let Some(copy) = self.copies.get_mut(&id) else { return };
        let lost: Vec<u64> = copy.stream.away_in(from, upto).filter(|seq| there.binary_search(seq).is_err()).collect();
        let before = copy.stream.weight();
        for seq in &lost {
            copy.stream.lose(*seq);
        }
        self.weight.note(before, copy.stream.weight());
        for seq in &lost {
            self.counters.unreadable += 1;
            // What stands behind it is believed at the next start too.
            self.write(Write::Skip { stream: id, from: *seq, to: *seq });
        }
        if !lost.is_empty() {
            self.ticket = Ticket(self.ticket.0 + 1);
            self.refuse_lost(id, &lost);
        }
    }

    /// Over what may be in memory, the streams that have most there leave their oldest to the disk.
    pub(super) fn spill(&mut self) {
        let max = self.settings.here_bytes_max;
        while self.weight.here > max {
            let able = self.copies.iter().filter(|(id, copy)| copy.stream.can_spill() && self.keeps(**id));
            let Some(id) = able.max_by_key(|(_, copy)| copy.stream.weight().here).map(|(id, _)| *id) else { return };
            let Some(copy) = self.copies.get_mut(&id) else { return };
            let before = copy.stream.weight();
            // A little more than it must, so that the next ones have room.
            let enough = before.here.saturating_sub(self.weight.here - max / 8 * 7);
            while copy.stream.weight().here > enough && copy.stream.spill_oldest() {}
            self.weight.note(before, copy.stream.weight());
        }
    }
}
