//! How long to wait before dialling again, and the small generator that spreads such waits.
//!
//! Waits are decorrelated: each is drawn from a span that reaches to three times the last one, so that many machines
//! that lost the same broker do not come back in step. The lower end of the span rises with it, so that a link that
//! falls again and again cannot be lucky for ever.

use std::time::Duration;

/// The shortest wait: most often a broker that is gone only restarts.
pub const WAIT_MIN: Duration = Duration::from_millis(100);
/// The longest wait of a machine that is in need: a client without a home, a broker without another one.
pub const WAIT_MAX_IN_NEED: Duration = Duration::from_secs(2);
/// The longest wait of a machine that has a home and wants a second link.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// SplitMix64: small, deterministic, good enough to spread waits. Nothing secret may come from it.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Somewhere between the two, to the microsecond; `least` where there is nothing between.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span_us = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        least.saturating_add(Duration::from_micros(self.next() % span_us.saturating_add(1)))
    }
}

/// The waits for one broker. Zero: nothing has failed since it last stood for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    last: Duration,
}

impl Backoff {
    #[must_use]
    pub fn has_failed(&self) -> bool {
        !self.last.is_zero()
    }

    /// The wait after one more failure, at most `longest`.
    pub fn wait(&mut self, longest: Duration, dice: &mut Dice) -> Duration {
        let most = self.last.max(WAIT_MIN).saturating_mul(3).min(longest);
        // Half as much again at the least: even the unluckiest draws grow.
        let least = (self.last * 3 / 2).clamp(WAIT_MIN, (longest / 3).max(WAIT_MIN));
        self.last = dice.between(least, most);
        self.last
    }

    pub fn reset(&mut self) {
        self.last = Duration::ZERO;
    }
}
