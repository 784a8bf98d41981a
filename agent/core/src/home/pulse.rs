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

/// A machine that says it beats less often than this is judged as if it had said this.
const TEMPO_MAX: Duration = Duration::from_secs(60);

/// When a link was last heard. Whatever comes in counts, not only beats: a long message may hold a beat up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    heard: Now,
    /// How often the other side says that it beats: its topology may be another than ours.
    tempo: Duration,
}

impl Pulse {
    /// A link that has just come up.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { heard: now, tempo: Duration::ZERO }
    }

    pub fn handle_heard(&mut self, now: Now) {
        self.heard = self.heard.max(now);
    }

    pub fn handle_tempo(&mut self, every: Duration) {
        self.tempo = every.min(TEMPO_MAX);
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

    /// From here on it is worth asking whether more has come than can be read.
    #[must_use]
    pub fn quiet_at(&self, beat: Heartbeat) -> Now {
        let every = beat.every.max(self.tempo);
        self.heard.after(every.saturating_add(every / 8))
    }

    #[must_use]
    pub fn suspect_at(&self, beat: Heartbeat) -> Now {
        self.missed_at(beat, SUSPECT_MISSED.min(beat.miss))
    }

    #[must_use]
    pub fn dead_at(&self, beat: Heartbeat) -> Now {
        self.missed_at(beat, beat.miss)
    }

    #[must_use]
    pub fn gone_at(&self, beat: Heartbeat) -> Now {
        self.missed_at(beat, beat.miss.saturating_mul(2))
    }

    /// When the last of so many beats is overdue: a quarter of a beat after it was to come.
    fn missed_at(&self, beat: Heartbeat, missed: u32) -> Now {
        let every = beat.every.max(self.tempo);
        self.heard.after(every.saturating_mul(missed).saturating_add(every / 4))
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
            self.until = self.until.max(now.after(beat.every.saturating_mul(PATIENCE_BEATS)));
        }
    }

    /// This machine reads nothing from now on, or reads again.
    pub fn handle_deaf(&mut self, deaf: bool, beat: Heartbeat, now: Now) {
        self.until = if deaf { Now(u64::MAX) } else { now.after(beat.every.saturating_mul(PATIENCE_BEATS)) };
    }

    /// This machine beats otherwise from now on; `every` is the slower of the two. Most of what is heard are answers.
    pub fn handle_tempo(&mut self, every: Duration, now: Now) {
        self.until = self.until.max(now.after(every.saturating_mul(PATIENCE_BEATS)));
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
