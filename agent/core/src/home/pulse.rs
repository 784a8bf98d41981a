//! Whether the other end of a link still speaks, and whether this machine is fit to say so.

use std::time::Duration;

use crate::time::Now;
use crate::topology::model::Heartbeat;

/// This many missed beats make a link suspect.
const SUSPECT_MISSED: u32 = 2;
/// For this many beats after a late tick of our own, nobody is judged: what they said may still wait to be read.
const PATIENCE_BEATS: u32 = 2;

/// How a link is to be judged by its silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    Well,
    Suspect,
    Dead,
}

/// When a link was last heard. Whatever comes in counts, not only beats: a long message may hold a beat up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    heard: Now,
}

impl Pulse {
    /// A link that has just come up.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { heard: now }
    }

    pub fn handle_heard(&mut self, now: Now) {
        self.heard = self.heard.max(now);
    }

    #[must_use]
    pub fn heard(&self) -> Now {
        self.heard
    }

    #[must_use]
    pub fn life(&self, beat: Heartbeat, now: Now) -> Life {
        if now >= self.dead_at(beat) {
            Life::Dead
        } else if now >= self.suspect_at(beat) {
            Life::Suspect
        } else {
            Life::Well
        }
    }

    #[must_use]
    pub fn suspect_at(&self, beat: Heartbeat) -> Now {
        self.missed_at(beat, SUSPECT_MISSED.min(beat.miss))
    }

    #[must_use]
    pub fn dead_at(&self, beat: Heartbeat) -> Now {
        self.missed_at(beat, beat.miss)
    }

    /// When the last of so many beats is overdue: a quarter of a beat after it was to come.
    fn missed_at(&self, beat: Heartbeat, missed: u32) -> Now {
        self.heard.after(beat.every.saturating_mul(missed).saturating_add(beat.every / 4))
    }
}

/// Notices that this machine itself slept: then the silence of others says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    until: Now,
}

impl Patience {
    /// Something happens at `now`, and something was to happen at `due`.
    pub fn handle_now(&mut self, due: Option<Now>, beat: Heartbeat, now: Now) {
        let late = due.map_or(Duration::ZERO, |due| now.since(due));
        if late > beat.every {
            self.until = now.after(beat.every.saturating_mul(PATIENCE_BEATS));
        }
    }

    /// Nobody is judged before this.
    #[must_use]
    pub fn until(&self) -> Now {
        self.until
    }

    #[must_use]
    pub fn holds(&self, now: Now) -> bool {
        now < self.until
    }
}
