//! Messages sealed under a key that is not here, kept for a while: the machines of a network learn of a new key one
//! after another. Kept in memory, within limits; the oldest go first.

use std::collections::VecDeque;

use super::{Held, Node};
use crate::envelope::{Header, Keyring, Sealer};
use crate::stream::StreamId;
use crate::time::Now;

use super::settings::redraw;

const PARKED_MAX: usize = 1_000;
const PARKED_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Default)]
pub struct Parked {
    waiting: VecDeque<(StreamId, Held)>,
    bytes: u64,
}

impl Parked {
    /// How many messages had to go for this one.
    pub fn put(&mut self, stream: StreamId, record: Held, bytes_max: u64) -> u64 {
        self.bytes += record.size();
        self.waiting.push_back((stream, record));
        let mut gone = 0;
        while self.waiting.len() > PARKED_MAX || self.bytes > bytes_max.min(PARKED_BYTES_MAX) {
            let Some((_, oldest)) = self.waiting.pop_front() else { break };
            self.bytes -= oldest.size();
            gone += 1;
        }
        gone
    }

    /// Those whose key `keyring` holds, in the order in which they came.
    pub fn take(&mut self, keyring: &Keyring) -> VecDeque<(StreamId, Held)> {
        let all = std::mem::take(&mut self.waiting);
        let known = |record: &Held| Header::peek(&record.envelope).is_ok_and(|header| keyring.holds(header.key));
        let (ready, waiting) = all.into_iter().partition(|(_, record)| known(record));
        self.waiting = waiting;
        self.bytes = self.waiting.iter().map(|(_, record)| record.size()).sum();
        ready
    }
}

impl Node {
    /// Seal under the active key of `keyring` from now on, and open what any of its keys opens. What was parked for want
    /// of one of them goes to the programs before anything newer.
    pub fn handle_keyring(&mut self, keyring: Keyring, now: Now) {
        self.opener.rekey(&keyring);
        let goes_on = self.sealer.as_mut().is_some_and(|sealer| sealer.rekey(&keyring).is_ok());
        let ready = self.loose.parked.take(&keyring);
        self.loose.unparked.extend(ready);
        self.settings.keyring = keyring;
        if !goes_on {
            self.draw_sealer();
        }
        self.settle(now);
    }

    /// Numbers that another sealer may have used before it, a new one may use again.
    pub(super) fn draw_sealer(&mut self) {
        self.drawn += 1;
        let salt = redraw(self.salt, self.drawn);
        self.sealer = Sealer::new(&self.settings.keyring, &self.settings.me, salt).ok();
    }
}
