//! Publishes that the server did not want.

use hobnail_core::mqtt::packet::Ack;

use super::Outcome;
use crate::client::in_words;

/// Refused publishes that are told one by one; the rest is counted.
const REFUSALS_TOLD_MAX: u64 = 10;

pub struct Refusals {
    count: u64,
    quiet: bool,
}

impl Refusals {
    pub fn new(quiet: bool) -> Self {
        Self { count: 0, quiet }
    }

    pub fn note(&mut self, ack: &Ack<'_>) {
        if !ack.reason.is_error() {
            return;
        }
        self.count += 1;
        if !self.quiet && self.count <= REFUSALS_TOLD_MAX {
            let text = ack.reason_string.map(|text| format!(" ({text})")).unwrap_or_default();
            eprintln!("hobnail: the server refused the message: {}{text}", in_words(ack.reason));
        }
    }

    pub fn outcome(&self) -> Outcome {
        if self.count == 0 {
            return Outcome::Done;
        }
        if !self.quiet && self.count > REFUSALS_TOLD_MAX {
            eprintln!("hobnail: the server refused {} messages", self.count);
        }
        Outcome::Failed
    }
}
