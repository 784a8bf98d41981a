//! Where batches wait for the thread, in one buffer, so that handing one over allocates nothing.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Batch, Ticket};

/// One batch may be this long.
const BATCH_BYTES_MAX: usize = 64 << 20;
/// Batches that wait at once; empty ones cost no bytes.
const BATCHES_MAX: usize = 1 << 16;
/// Kept of a buffer once it is empty.
const SPARE_MAX: usize = 256 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the disk is behind")]
    Behind,
    #[error("{0} bytes are more than one batch may have")]
    TooLong(usize),
    /// It is stopped, or its directory cannot be used.
    #[error("nothing is stored")]
    Closed,
}

pub(super) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    batches: Vec<(usize, Ticket)>,
    /// Taken out and not yet on the disk.
    pending: usize,
    refused: u64,
    /// Somebody was refused since what is pending was set.
    is_asked: bool,
    life: Life,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Life {
    #[default]
    Open,
    Stopping,
    Stopped {
        all: bool,
    },
}

impl Inbox {
    pub fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), bytes_max }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn put(&self, batch: &mut Batch, ticket: Ticket) -> Result<(), Refused> {
        let mut state = self.state();
        if state.life != Life::Open {
            return Err(Refused::Closed);
        }
        if batch.len() > BATCH_BYTES_MAX {
            return Err(Refused::TooLong(batch.len()));
        }
        let waiting = state.bytes.len() + state.pending;
        // One that is longer than all of it goes alone.
        if (waiting > 0 && waiting + batch.len() > self.bytes_max) || state.batches.len() >= BATCHES_MAX {
            state.refused += 1;
            state.is_asked = true;
            return Err(Refused::Behind);
        }
        state.bytes.extend_from_slice(batch.as_bytes());
        state.batches.push((batch.len(), ticket));
        batch.clear();
        self.changed.notify_all();
        Ok(())
    }

    /// Wait for something, no longer than `wait`, and take it. Says whether this is the end.
    pub fn take(&self, wait: Option<Duration>, mut each: impl FnMut(&[u8], Ticket)) -> bool {
        let until = wait.map(|wait| Instant::now() + wait);
        let mut state = self.state();
        while state.batches.is_empty() && state.life == Life::Open {
            let Some(until) = until else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        let State { bytes, batches, .. } = &mut *state;
        let mut rest = &bytes[..];
        for (len, ticket) in batches.drain(..) {
            let (body, behind) = rest.split_at_checked(len).unwrap_or_default();
            each(body, ticket);
            rest = behind;
        }
        state.pending += state.bytes.len();
        state.bytes.clear();
        state.bytes.shrink_to(SPARE_MAX);
        state.life != Life::Open
    }

    /// What of all that was taken is not on the disk yet. Says whether somebody was refused meanwhile, and is to hear that
    /// there may be room.
    pub fn set_pending(&self, pending: usize) -> bool {
        let mut state = self.state();
        state.pending = pending;
        std::mem::take(&mut state.is_asked)
    }

    /// Bytes that wait, and batches that were refused.
    pub fn figures(&self) -> (u64, u64) {
        let state = self.state();
        ((state.bytes.len() + state.pending) as u64, state.refused)
    }

    pub fn stop(&self) {
        let mut state = self.state();
        if state.life == Life::Open {
            state.life = Life::Stopping;
            self.changed.notify_all();
        }
    }

    /// Nobody will take anything.
    pub fn close_up(&self) {
        self.stopped(false);
    }

    pub fn stopped(&self, all: bool) {
        self.state().life = Life::Stopped { all };
        self.changed.notify_all();
    }

    /// Whether all that waited was stored.
    pub fn wait_until_stopped(&self, within: Duration) -> bool {
        let going = |state: &mut State| !matches!(state.life, Life::Stopped { .. });
        let (state, _) =
            self.changed.wait_timeout_while(self.state(), within, going).unwrap_or_else(PoisonError::into_inner);
        state.life == Life::Stopped { all: true }
    }
}
