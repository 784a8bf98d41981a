//! When the log is written, synced, cleaned, and tried again. Time comes in; it has no thread and no clock.
//!
//! ```text
//!            a second place takes it             it fails there too
//!   fine ──── commit fails ────────────► fine    ───────────────────► degraded ── every second ──► fine
//! ```

use std::io;
use std::time::Duration;

use tokio::sync::watch;

use super::log::{Log, is_full};
use super::reserve::Reserve;
use super::{Health, Standing, Ticket};

/// Between two attempts to write to a disk that failed.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Engine {
    pub log: Log,
    reserve: Reserve,
    /// Least time from one commit to the next.
    every: Duration,
    standing: watch::Sender<Standing>,
    /// Of what was taken in.
    newest: Ticket,
    next_commit: Duration,
    retry: Option<Duration>,
    pub failures: u64,
}

impl Engine {
    pub fn new(log: Log, reserve: Reserve, every: Duration, standing: watch::Sender<Standing>) -> Self {
        Self { log, reserve, every, standing, newest: Ticket(0), next_commit: Duration::ZERO, retry: None, failures: 0 }
    }

    pub fn is_degraded(&self) -> bool {
        self.retry.is_some()
    }

    pub fn take(&mut self, body: &[u8], ticket: Ticket) {
        if !body.is_empty() {
            self.log.append(body);
        }
        self.newest = self.newest.max(ticket);
    }

    /// Store what was taken in, and no more; whether that could be done.
    pub fn finish(&mut self) -> bool {
        for _ in 0..2 {
            if self.log.commit().is_ok() {
                let newest = self.newest;
                self.stand(|standing| standing.stored = newest);
                return true;
            }
            self.log.abandon();
        }
        false
    }

    /// Do what is due. Says when there is more to do, if nothing else comes.
    pub fn step(&mut self, now: Duration) -> Option<Duration> {
        if let Some(retry) = self.retry.filter(|retry| now < *retry) {
            return Some(retry);
        }
        if self.retry.is_none() && now < self.next_commit && self.log.pending() > 0 {
            // The sync waits; a process that dies loses nothing that is written.
            if let Err(error) = self.log.write_out() {
                self.log.abandon();
                return self.again(&error, now);
            }
            return Some(self.next_commit);
        }
        match self.log.commit() {
            Ok(()) => self.committed(now),
            Err(error) => {
                self.log.abandon();
                self.again(&error, now)
            }
        }
    }

    /// Nothing that a failed sync was about is trusted: the same once more, in a new segment.
    fn again(&mut self, first: &io::Error, now: Duration) -> Option<Duration> {
        if is_full(first) {
            self.reserve.spend(&*self.log.files);
        }
        match self.log.commit() {
            Ok(()) => self.committed(now),
            Err(error) => {
                self.log.abandon();
                if is_full(&error) {
                    self.reserve.spend(&*self.log.files);
                }
                self.stand(|standing| standing.health = Health::Degraded { why: error.to_string() });
                self.failures += 1;
                self.retry = Some(now + RETRY);
                self.retry
            }
        }
    }

    fn committed(&mut self, now: Duration) -> Option<Duration> {
        self.retry = None;
        self.next_commit = now + self.every;
        let again = self.reserve.look_after(&*self.log.files, || self.log.growth(), now);
        let health = if self.reserve.is_spent() { Health::Full } else { Health::Fine };
        let newest = self.newest;
        self.stand(|standing| (standing.stored, standing.health) = (newest, health));
        self.log.remove_cleaned();
        if self.log.clean() { Some(self.next_commit) } else { again }
    }

    /// Whoever waits for a change looks again.
    pub fn stand_again(&self) {
        self.standing.send_modify(|_| {});
    }

    fn stand(&self, change: impl FnOnce(&mut Standing)) {
        self.standing.send_if_modified(|standing| {
            let before = standing.clone();
            change(standing);
            *standing != before
        });
    }
}
