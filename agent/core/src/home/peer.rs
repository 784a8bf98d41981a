//! One broker as `home` knows it: its link, how sound that is, and when to dial it next.

use std::time::Duration;

use super::REDIALS_MAX;
use super::backoff::{Backoff, Dice, WAIT_MAX_IN_NEED, WAIT_MIN};
use super::pulse::Pulse;
use crate::ids::Name;
use crate::time::Now;
use crate::topology::model::Failover;

/// A first dial that is not answered by then keeps nobody from dialling the next broker as well.
pub const DIAL_SLOW: Duration = Duration::from_secs(1);
/// A link that stood this long is sound: its waits start over, and a worse one may go for it.
pub const STEADY: Duration = Duration::from_secs(10);
/// When others need a third broker too, each dials it at some moment of this span.
const SPREAD: Duration = Duration::from_millis(500);
/// Longest addition to `hold_down`, so that not everybody goes back at once.
const JITTER_MAX: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Down,
    Dialing,
    Up,
    Suspect,
}

impl State {
    #[must_use]
    pub fn is_linked(self) -> bool {
        match self {
            Self::Up | Self::Suspect => true,
            Self::Down | Self::Dialing => false,
        }
    }
}

/// What a broker says of itself in its beats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It has what the other brokers have.
    InStep,
    /// It is still catching up.
    Behind,
}

#[derive(Clone, Debug)]
pub struct Peer {
    pub name: Name,
    pub state: State,
    pub since: Now,
    pub linked_since: Now,
    pub pulse: Pulse,
    /// When it showed last that it hears us, and how often it was dialled anew since.
    pub answered: Now,
    pub redials: u32,
    pub pace: Pace,
    /// Up and in step without a break since then, and the jitter drawn for this stretch.
    pub good: Option<(Now, Duration)>,
    pub backoff: Backoff,
    /// No dial before this, after a failure.
    pub not_before: Now,
    /// While down and wanted: when to dial.
    pub dial_at: Option<Now>,
}

impl Peer {
    pub fn new(name: Name, now: Now) -> Self {
        Self {
            name,
            state: State::Down,
            since: now,
            linked_since: now,
            pulse: Pulse::new(now),
            answered: now,
            redials: 0,
            pace: Pace::Behind,
            good: None,
            backoff: Backoff::default(),
            not_before: now,
            dial_at: None,
        }
    }

    pub fn enter(&mut self, state: State, now: Now) {
        self.state = state;
        self.since = now;
    }

    pub fn link(&mut self, now: Now) {
        self.enter(State::Up, now);
        self.linked_since = now;
        self.pulse = Pulse::new(now);
        self.answered(now);
        self.pace = Pace::Behind;
        self.good = None;
        self.dial_at = None;
    }

    pub fn answered(&mut self, now: Now) {
        self.answered = now;
        self.redials = 0;
    }

    /// When to dial it anew though its link stands: a quarter of a beat after the next answer was to come.
    pub fn dial_again_at(&self, every: Duration) -> Option<Now> {
        let again = self.state.is_linked() && self.redials < REDIALS_MAX;
        again.then(|| self.answered.after(every.saturating_mul(self.redials + 1).saturating_add(every / 4)))
    }

    /// Whether this makes a difference.
    pub fn hear(&mut self, now: Now) -> bool {
        match self.state {
            State::Down | State::Dialing => false,
            State::Up => {
                self.pulse.handle_heard(now);
                false
            }
            State::Suspect => {
                self.pulse.handle_heard(now);
                self.enter(State::Up, now);
                true
            }
        }
    }

    pub fn suspect(&mut self, now: Now) {
        if self.state == State::Up {
            self.enter(State::Suspect, now);
            self.good = None;
        }
    }

    /// Whether it is up and in step has changed.
    pub fn weigh(&mut self, dice: &mut Dice, failover: Failover, now: Now) {
        let good = self.state == State::Up && self.pace == Pace::InStep;
        let stretch = || (now, dice.between(Duration::ZERO, (failover.hold_down / 4).min(JITTER_MAX)));
        self.good = good.then(|| self.good.unwrap_or_else(stretch));
    }

    /// The dial failed, or the link is gone: wait before the next dial.
    pub fn fail(&mut self, longest: Duration, dice: &mut Dice, now: Now) {
        if self.state != State::Down {
            self.leave(now);
            self.not_before = now.after(self.backoff.wait(longest, dice));
        }
    }

    /// The link or the dial is given up.
    pub fn leave(&mut self, now: Now) {
        if self.state.is_linked() && now.since(self.linked_since) >= STEADY {
            self.backoff.reset();
        }
        self.enter(State::Down, now);
        self.good = None;
        self.dial_at = None;
    }

    pub fn is_sound(&self, now: Now) -> bool {
        self.state == State::Up && now.since(self.linked_since) >= STEADY
    }

    /// When to dial: what failed waits its time, but not longer than need allows; a first dial is made at once in need.
    pub fn appoint(&mut self, in_need: bool, dice: &mut Dice, now: Now) -> Now {
        let failed = self.backoff.has_failed();
        let mut at = match self.dial_at {
            Some(at) => at,
            None if failed || in_need => self.not_before.max(now),
            None => now.after(dice.between(Duration::ZERO, SPREAD)),
        };
        if in_need && !failed {
            at = now;
        } else if in_need && at > now.after(WAIT_MAX_IN_NEED) {
            at = now.after(dice.between(WAIT_MIN, WAIT_MAX_IN_NEED));
        }
        self.dial_at = Some(at);
        at
    }

    /// Whether it may be counted on as one of the warm links: it is one, or nothing has yet shown that it will not be.
    pub fn holds_room(&self, now: Now) -> bool {
        match self.state {
            State::Up | State::Suspect => true,
            State::Dialing => !self.backoff.has_failed() && now < self.since.after(DIAL_SLOW),
            State::Down => !self.backoff.has_failed(),
        }
    }
}
