//! A file that only takes up room. When the disk is full it goes, so that what makes room can still be written: takes,
//! cuts, cursors, and what lives in a segment that is cleaned.

use std::io;
use std::time::Duration;

use super::files::Files;
use super::log::is_full;

pub(super) const RESERVE: &str = "reserve";
/// Between two attempts to have it back.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Reserve {
    bytes: u64,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    /// Nothing is known of it yet.
    Unknown,
    There,
    /// The disk was full; made again at the time that is given.
    Spent(Duration),
    /// It could not be made for another reason; made again then.
    Failed(Duration),
    /// This file system cannot promise room.
    None,
}

impl Reserve {
    pub fn new(bytes: u64) -> Self {
        Self { bytes, state: State::Unknown }
    }

    /// Whether the disk is so full that there is none.
    pub fn is_spent(&self) -> bool {
        matches!(self.state, State::Spent(_))
    }

    pub fn spend(&mut self, files: &dyn Files) {
        if self.state != State::None {
            // Where it cannot go there is no more room, and the next write says so.
            let _ = files.remove(RESERVE);
            self.state = State::Spent(Duration::ZERO);
        }
    }

    /// Make it where it is missing and there is room for so much beside it: else what is written next would take the
    /// disk back to where it was. Says when to come back for that.
    pub fn look_after(&mut self, files: &dyn Files, beside: impl FnOnce() -> u64, now: Duration) -> Option<Duration> {
        match self.state {
            State::There | State::None => return None,
            State::Spent(again) | State::Failed(again) if now < again => return Some(again),
            State::Unknown | State::Spent(_) | State::Failed(_) => {}
        }
        let made = self.make(files, beside());
        let again = now + AGAIN;
        self.state = match made {
            Ok(()) => State::There,
            Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported) => State::None,
            Err(error) if is_full(&error) => State::Spent(again),
            Err(_) => State::Failed(again),
        };
        if let State::Spent(_) | State::Failed(_) = self.state {
            // Half of it helps nobody.
            let _ = files.remove(RESERVE);
            return Some(again);
        }
        None
    }

    fn make(&self, files: &dyn Files, beside: u64) -> io::Result<()> {
        if let Ok(there) = files.open(RESERVE)
            && there.size()? == self.bytes
        {
            return Ok(());
        }
        files.create(RESERVE)?.allocate(self.bytes + beside)?;
        files.create(RESERVE)?.allocate(self.bytes)
    }
}
