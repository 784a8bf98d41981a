//! The wires between the lab's machines: what passes, what does not, and how fast.

use std::time::Duration;

use super::{End, Event, LATENCY, Lab};
use crate::node::link::LinkId;
use crate::time::Now;

impl Lab {
    /// Every connection of two machines breaks; what was on its way is lost.
    pub fn reset(&mut self, a: &str, b: &str) {
        let ends: Vec<_> =
            self.wires.iter().filter(|((at, _), (to, _))| at == a && to == b).map(|(e, _)| e.clone()).collect();
        for end in ends {
            self.later(LATENCY, Event::Closed { to: end.clone() });
            self.unplug(&end);
        }
    }

    pub fn cut(&mut self, one: &[&str], other: &[&str]) {
        for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
            self.block(a, b);
        }
    }

    /// Nothing passes from one to the other.
    pub fn block_one_way(&mut self, a: &str, b: &str) {
        self.cut.insert((a.into(), b.into()));
    }

    /// Nothing passes between them, and nobody is told.
    pub fn block(&mut self, a: &str, b: &str) {
        self.cut.insert((a.into(), b.into()));
        self.cut.insert((b.into(), a.into()));
    }

    /// A packet from one to the other is lost: what comes after it comes, and cannot be read so long.
    pub fn stall(&mut self, from: &str, to: &str, time: Duration) {
        self.holes.insert((from.into(), to.into()), self.now.after(time));
    }

    /// Until when nothing that comes here can be read.
    pub(super) fn hole(&self, to: &End) -> Option<Now> {
        let from = &self.wires.get(to)?.0;
        self.holes.get(&(from.clone(), to.0.clone())).copied().filter(|until| self.now < *until)
    }

    /// Whether anything has come since then that cannot be read yet.
    pub(super) fn stirs(&self, end: &End, since: Now) -> bool {
        self.behind.iter().any(|(to, at)| to == end && *at > since && *at <= self.now)
    }

    pub(super) fn passes(&self, from: &str, to: &str) -> bool {
        !self.cut.contains(&(from.to_owned(), to.to_owned()))
    }

    pub fn heal(&mut self) {
        self.cut.clear();
        for event in std::mem::take(&mut self.held) {
            self.later(LATENCY, event);
        }
    }

    pub(super) fn transmit(&mut self, name: &str, link: LinkId) {
        let now = self.now;
        let mut bytes = Vec::new();
        if let Some(node) = self.node_mut(name) {
            node.poll_transmit(link, &mut bytes, 16 << 10, now);
        }
        if let Some(to) = self.wires.get(&(name.to_owned(), link)).cloned()
            && !bytes.is_empty()
        {
            if self.passes(name, &to.0) {
                self.send(to, bytes);
            } else {
                self.held.push(Event::Bytes { to, bytes });
            }
        }
    }

    pub(super) fn send(&mut self, to: End, bytes: Vec<u8>) {
        let Some(per_second) = self.bytes_per_second else {
            return self.later(LATENCY, Event::Bytes { to, bytes });
        };
        for piece in bytes.chunks(8 << 10) {
            let free_at = self.busy.get(&to).copied().unwrap_or_default().max(self.now);
            let free_at = free_at.after(Duration::from_secs(1) * piece.len() as u32 / per_second);
            self.busy.insert(to.clone(), free_at);
            self.later(free_at.since(self.now) + LATENCY, Event::Bytes { to: to.clone(), bytes: piece.to_vec() });
        }
    }
}
