//! What a directory holds, whatever it holds.
//!
//! Segments are read in order, and batches count up by one. Where one is missing, what comes behind decides: if any
//! frame or header there was written when the missing one was known to be on the disk, the disk has lost it, and the rest
//! is used, marked as behind a gap. Otherwise the end of the log is torn, as a power cut leaves it, and is cut off.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::aside::{Damage, Name, set_aside};
use super::batch::Ops;
use super::files::{Files, LogFile};
use super::frame::{HEADER, Head, Header};
use super::index::{Index, Segment};
use super::log::{NEXT, segment_name, segment_number};
use super::reserve::RESERVE;
use super::row::Place;
use super::scan::{Frame, Scan};

/// No agent has more than this on its way to the disk, so what lies further back was synced.
const TAIL_BYTES_MAX: usize = 160 << 20;

#[derive(Default)]
pub(super) struct Recovery {
    pub index: Index,
    pub last: u64,
    /// Known to be on the disk.
    pub synced: u64,
    /// What comes behind that.
    pub tail: VecDeque<Vec<u8>>,
    pub next_segment: u32,
    pub damage: Vec<Damage>,
    /// Where the first gap ends.
    pub gap: Option<Place>,
}

struct Known {
    file: Arc<dyn LogFile>,
    header: Header,
    /// Batches from here on are in a later segment.
    until: u64,
}

pub(super) fn recover(files: &dyn Files) -> io::Result<Recovery> {
    let names = files.list()?;
    let mut recovery = Recovery { next_segment: 1, ..Recovery::default() };
    for name in [NEXT, RESERVE].into_iter().filter(|wanted| names.iter().any(|name| name == wanted)) {
        // Of a file of that name whatever is in it can go.
        if files.open(name).or_else(|_| files.open(name)).is_err() {
            let damage = Damage { file: name.to_owned(), why: "it is no file, and in the way of one".to_owned() };
            recovery.set_aside(files, damage, files.draw(), Name::Lost);
        }
    }
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let mut known = Vec::new();
    for number in numbers {
        recovery.next_segment = number + 1;
        match look(files, number) {
            Ok((file, header)) => known.push(Known { file, header, until: u64::MAX }),
            Err(why) => recovery.set_aside(files, Damage { file: segment_name(number), why }, files.draw(), Name::Lost),
        }
    }
    let mut until = u64::MAX;
    for segment in known.iter_mut().rev() {
        segment.until = until;
        until = until.min(segment.header.first);
    }
    Replay { files, known: &known, expected: 0, tail_bytes: 0, recovery: &mut recovery, evidence: None }.run();
    Ok(recovery)
}

/// Open a segment and read its header.
fn look(files: &dyn Files, number: u32) -> Result<(Arc<dyn LogFile>, Header), String> {
    let again = |attempt: &dyn Fn() -> io::Result<(Arc<dyn LogFile>, Vec<u8>)>| attempt().or_else(|_| attempt());
    let read = || {
        let file = files.open(&segment_name(number))?;
        let mut block = vec![0; usize::try_from(file.size()?).unwrap_or(HEADER).min(HEADER)];
        file.read_at(0, &mut block)?;
        Ok((file, block))
    };
    let (file, block) = again(&read).map_err(|error| format!("it cannot be read: {error}"))?;
    let header = Header::decode(&block).map_err(|why| why.to_string())?;
    if header.number != number {
        return Err(format!("its header says that it is {}", segment_name(header.number)));
    }
    Ok((file, header))
}

impl Recovery {
    fn set_aside(&mut self, files: &dyn Files, damage: Damage, epoch: u64, name: Name) {
        // It is reported in any case.
        let _ = set_aside(files, &damage, epoch, name);
        self.damage.push(damage);
    }
}

struct Replay<'a> {
    files: &'a dyn Files,
    known: &'a [Known],
    recovery: &'a mut Recovery,
    /// The number of the next batch.
    expected: u64,
    tail_bytes: usize,
    /// The newest batch that anything behind the first gap knows to be on the disk.
    evidence: Option<u64>,
}

impl Replay<'_> {
    fn run(mut self) {
        let Some(first) = self.known.first() else { return };
        self.expected = first.header.first;
        self.recovery.synced = self.expected.saturating_sub(1);
        self.recovery.last = self.recovery.synced;
        for (at, segment) in self.known.iter().enumerate() {
            self.add(segment);
            if segment.header.first > self.expected {
                self.gap(segment, segment.header.first, HEADER as u64);
            }
            self.synced(segment.header.first.saturating_sub(1));
            self.replay(at, segment);
        }
        let oldest = first.header.number;
        if oldest - 1 > self.recovery.index.cleaned() {
            let why = format!("segments are missing: {} is the first", segment_name(oldest));
            self.recovery.damage.push(Damage { file: segment_name(oldest - 1), why });
        }
    }

    fn add(&mut self, segment: &Known) {
        let Header { number, epoch, .. } = segment.header;
        let size = segment.file.size().unwrap_or(0);
        let segment = Segment { file: segment.file.clone(), name: segment_name(number), epoch, size, live: 0 };
        self.recovery.index.add_segment(number, segment);
    }

    fn replay(&mut self, at: usize, segment: &Known) {
        let Ok(mut scan) = Scan::of(segment.file.clone(), segment.header.epoch) else { return };
        loop {
            let before = scan.at();
            let Ok(Some(frame)) = scan.next() else { return };
            let number = frame.head.number;
            if number >= segment.until || number < self.expected {
                continue;
            }
            if number > self.expected {
                if self.evidence(at) < self.expected {
                    return;
                }
                self.gap(segment, number, before);
            }
            self.take(segment.header.number, &frame);
        }
    }

    /// The newest batch that anything from here on knows to be on the disk.
    fn evidence(&mut self, at: usize) -> u64 {
        if let Some(evidence) = self.evidence {
            return evidence;
        }
        let mut evidence = 0;
        for segment in self.known.iter().skip(at) {
            evidence = evidence.max(segment.header.first.saturating_sub(1));
            let Ok(mut scan) = Scan::of(segment.file.clone(), segment.header.epoch) else { continue };
            while let Ok(Some(frame)) = scan.next() {
                if frame.head.number < segment.until {
                    evidence = evidence.max(frame.head.synced);
                }
            }
        }
        *self.evidence.insert(evidence)
    }

    /// The disk has lost what comes before batch `number`.
    fn gap(&mut self, segment: &Known, number: u64, at: u64) {
        let missing = number - self.expected;
        let why = format!("{missing} batches from {} on are missing at byte {at}", self.expected);
        let Header { number: file, epoch, .. } = segment.header;
        self.recovery.set_aside(self.files, Damage { file: segment_name(file), why }, epoch, Name::Kept);
        let offset = u32::try_from(at).unwrap_or(u32::MAX);
        self.recovery.gap.get_or_insert(Place { segment: file, offset, len: 0 });
        self.synced(number - 1);
        self.recovery.last = number - 1;
        self.expected = number;
    }

    fn take(&mut self, segment: u32, frame: &Frame) {
        let Head { number, synced, .. } = frame.head;
        Ops::of(frame.body).for_each(|op| self.recovery.index.apply(&op, segment, frame.body_at));
        self.tail_bytes += frame.body.len();
        self.recovery.tail.push_back(frame.body.to_vec());
        self.recovery.last = number;
        self.expected = number.saturating_add(1);
        self.synced(synced.min(number));
        while self.tail_bytes > TAIL_BYTES_MAX {
            self.synced(self.recovery.synced + 1);
        }
    }

    fn synced(&mut self, upto: u64) {
        while self.recovery.synced < upto {
            let gone = self.recovery.tail.pop_front();
            self.tail_bytes -= gone.as_ref().map_or(0, Vec::len);
            self.recovery.synced = if gone.is_some() { self.recovery.synced + 1 } else { upto };
        }
    }
}
