//! How long to wait before connecting again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The first wait: short, since most often the local agent only restarts.
const WAIT_MIN: Duration = Duration::from_millis(250);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// A connection that stood this long starts the waits over; one that falls at once does not.
const STABLE: Duration = Duration::from_secs(10);

/// Waits that spread out: each is drawn between the shortest and three times the last one, so that many clients of one
/// server do not come back in step.
#[derive(Debug)]
pub struct Backoff {
    last: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { last: WAIT_MIN }
    }
}

impl Backoff {
    /// The wait after a connection that stood for `stood`; `draw` is any number.
    pub fn wait_after(&mut self, stood: Duration, draw: u64) -> Duration {
        if stood >= STABLE {
            self.last = WAIT_MIN;
        }
        let span_ms = self.last.saturating_mul(3).min(WAIT_MAX).saturating_sub(WAIT_MIN).as_millis();
        let span_ms = u64::try_from(span_ms).unwrap_or(u64::MAX);
        self.last = WAIT_MIN + Duration::from_millis(draw % span_ms.saturating_add(1));
        self.last
    }

    /// A number that differs from process to process and call to call.
    #[must_use]
    pub fn draw() -> u64 {
        RandomState::new().hash_one(std::process::id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_within_their_bounds_and_grow_to_the_longest() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..12).map(|_| backoff.wait_after(Duration::ZERO, 29_749)).collect();
        assert!(waits.iter().all(|wait| (WAIT_MIN..=WAIT_MAX).contains(wait)), "{waits:?}");
        let longest = (0..12).map(|_| backoff.wait_after(Duration::ZERO, u64::MAX / 29_751 * 29_751 - 1)).max();
        assert!(longest > Some(WAIT_MIN * 10), "{longest:?}");
    }

    #[test]
    fn a_connection_that_stood_long_starts_the_waits_over() {
        let mut backoff = Backoff { last: WAIT_MAX };
        assert!(backoff.wait_after(STABLE, 500) <= WAIT_MIN * 3);
    }
}
