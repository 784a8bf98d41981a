//! How far a long command is, for whoever looks at a terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Often enough to be seen to move.
pub const TELL_EVERY: Duration = Duration::from_millis(500);

pub struct Progress {
    told: Option<Instant>,
    wanted: bool,
}

impl Progress {
    pub fn new(quiet: bool) -> Self {
        Self { told: None, wanted: !quiet && std::io::stderr().is_terminal() }
    }

    pub fn tell(&mut self, messages: u64, bytes: u64) {
        if self.wanted && self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            eprint!("\r{} ", counted(messages, bytes));
        }
    }

    /// Leave the line to what is said next.
    pub fn end(&mut self) {
        if self.told.take().is_some() {
            eprintln!();
        }
    }
}

pub fn counted(messages: u64, bytes: u64) -> String {
    let word = if messages == 1 { "message" } else { "messages" };
    format!("{messages} {word}, {bytes} bytes")
}
