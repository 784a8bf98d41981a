//! Reading a segment from front to back: frame after frame, and past what is damaged.

use std::io;
use std::sync::Arc;

use super::batch::Ops;
use super::files::LogFile;
use super::frame::{HEAD, HEADER, Head};

/// Read at once; a longer frame is read whole.
const WINDOW: usize = 256 << 10;
/// No segment is longer; what is behind in a file does not count.
pub(super) const SEGMENT_BYTES_MAX: u64 = 256 << 20;

/// Part of a file, in memory.
struct Window {
    file: Arc<dyn LogFile>,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// `None` where the file ends before.
    fn get(&mut self, at: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let Some(end) = at.checked_add(len as u64).filter(|end| *end <= self.size) else { return Ok(None) };
        if at < self.start || end > self.start + self.bytes.len() as u64 {
            let wanted = (len.max(WINDOW) as u64).min(self.size - at);
            self.bytes.resize(usize::try_from(wanted).unwrap_or(len), 0);
            self.start = at;
            if let Err(error) = self.file.read_at(at, &mut self.bytes) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..).and_then(|rest| rest.get(..len)))
    }
}

impl Window {
    /// How many zeros there are from `at` on, as far as is known without reading.
    fn zeros(&self, at: u64) -> usize {
        let from = at.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let known = from.and_then(|from| self.bytes.get(from..)).unwrap_or_default();
        known.iter().position(|byte| *byte != 0).unwrap_or(known.len())
    }
}

pub(super) struct Frame<'a> {
    pub head: Head,
    /// Where its body begins.
    pub body_at: u32,
    pub body: &'a [u8],
}

/// The valid frames of a segment.
pub(super) struct Scan {
    window: Window,
    epoch: u64,
    /// Where the next frame is looked for.
    at: u64,
}

impl Scan {
    pub fn of(file: Arc<dyn LogFile>, epoch: u64) -> io::Result<Self> {
        let size = file.size()?.min(SEGMENT_BYTES_MAX);
        let window = Window { file, size, start: 0, bytes: Vec::new() };
        Ok(Self { window, epoch, at: HEADER as u64 })
    }

    /// Where the next frame is looked for.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next whole frame. What the disk fails to read is asked for twice.
    pub fn next(&mut self) -> io::Result<Option<Frame<'_>>> {
        let Some((head, at)) = self.find().or_else(|_| self.find())? else { return Ok(None) };
        let len = HEAD + head.len as usize;
        self.at = at + len as u64;
        let bytes = self.window.get(at, len)?.unwrap_or_default();
        let body = bytes.get(HEAD..).unwrap_or_default();
        Ok(Some(Frame { head, body_at: position(at) + HEAD as u32, body }))
    }

    fn find(&mut self) -> io::Result<Option<(Head, u64)>> {
        loop {
            let at = self.at;
            let Some(bytes) = self.window.get(at, HEAD)? else { return Ok(None) };
            let Some(head) = Head::decode(bytes, self.epoch, position(at)) else {
                // A head may begin with zeros, but has others.
                self.at += self.window.zeros(at).saturating_sub(HEAD - 1).max(1) as u64;
                continue;
            };
            let len = HEAD + head.len as usize;
            let body = self.window.get(at, len)?.and_then(|bytes| bytes.get(HEAD..));
            if body.is_some_and(|body| crc32c::crc32c(body) == head.body_crc && Ops::are_whole(body)) {
                return Ok(Some((head, at)));
            }
            // The head is right, so the next frame begins behind this one.
            self.at += if body.is_some() { len as u64 } else { 1 };
        }
    }
}

/// No file is read so far that this would not fit.
fn position(at: u64) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX - HEAD as u32)
}
