//! The hybrid clock: wall time where there is one, never going back, and never behind what has been heard of.
//!
//! These machines boot in 1970. So the clock only orders: what a machine says after hearing something is later than it.

use crate::time::Now;

/// 48 bits of milliseconds since 1970, 16 bits to tell apart what falls into one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hlc(pub u64);

/// Nothing heard moves the clock past the year 2500: a faulty peer could otherwise use it up.
const HEARD_MAX: Hlc = Hlc(16_725_225_600_000 << 16);

#[derive(Clone, Debug, Default)]
pub struct Clock {
    last: Hlc,
    /// Microseconds from `Now` to the wall clock.
    offset_us: i64,
}

impl Clock {
    /// The wall clock was looked at, or set.
    pub fn set_wall(&mut self, offset_us: i64) {
        self.offset_us = offset_us;
    }

    /// A stamp later than every one given or heard before.
    pub fn stamp(&mut self, now: Now) -> Hlc {
        let wall_ms = self.wall_ms(now);
        self.last = Hlc((wall_ms.min(HEARD_MAX.0 >> 16) << 16).max(self.last.0.saturating_add(1)));
        self.last
    }

    /// What the wall clock shows, which need not be true.
    #[must_use]
    pub fn wall_ms(&self, now: Now) -> u64 {
        now.0.saturating_add_signed(self.offset_us) / 1_000
    }

    pub fn hear(&mut self, stamp: Hlc) {
        self.last = self.last.max(stamp.min(HEARD_MAX));
    }

    #[must_use]
    pub fn last(&self) -> Hlc {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back_though_the_wall_clock_does() {
        let mut clock = Clock::default();
        clock.set_wall(1_800_000_000_000_000);
        let first = clock.stamp(Now(0));
        clock.set_wall(0);
        let second = clock.stamp(Now(1_000_000));
        assert!(second > first);
        assert_eq!(clock.stamp(Now(1_000_000)).0, second.0 + 1);
    }

    #[test]
    fn what_is_said_after_hearing_is_later_and_nonsense_does_not_use_the_clock_up() {
        let mut clock = Clock::default();
        clock.hear(Hlc(5 << 40));
        assert!(clock.stamp(Now(0)) > Hlc(5 << 40));
        clock.hear(Hlc(u64::MAX));
        let at_most = clock.stamp(Now(0));
        assert!(clock.stamp(Now(0)) > at_most && at_most.0 < u64::MAX / 2);
    }
}
