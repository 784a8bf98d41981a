//! What the running agent says of itself, and what it finds wrong.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hobnail_core::broker::{Counters, Fill};
use hobnail_core::health::{Code, Finding};
use hobnail_core::ids::Name;
use hobnail_core::node;
use serde::Serialize;

use super::Origin;
use crate::change::outcome::Outcome;
use crate::keeping::{self, State};
use crate::links;

/// How often the counters are noted, and how many notes are kept: what grew in about ten minutes counts as lately.
pub const NOTE_EVERY: Duration = Duration::from_secs(60);
const NOTES_MAX: usize = 10;
/// From this share of a limit on it is nearly reached.
const NEARLY_PERCENT: u64 = 80;
const FULL_PERCENT: u64 = 98;
/// Fewer in ten minutes are everyday life.
const WRONG_PASSWORDS_MIN: u64 = 10;

/// The answer to `GET /v1/status`. Fields are added, never changed in meaning.
#[derive(Debug, Serialize)]
pub struct Status {
    pub name: Name,
    pub network: Name,
    pub role: &'static str,
    pub version: &'static str,
    pub pid: u32,
    pub uptime_s: u64,
    /// What is listened on, in words.
    pub doors: Vec<String>,
    pub topology: InForce,
    /// What the process takes of the machine's memory.
    pub resident_bytes: Option<u64>,
    pub broker: Fill,
    pub counters: Counters,
    /// This machine's part in its network; none where it is the only one.
    pub node: Option<node::Status>,
    /// What outlives this agent.
    pub disk: keeping::View,
    /// Who came to the agent door and was not let in.
    pub agent_door: links::Counters,
    /// Web pages that may not use the WebSocket door, and tried.
    pub foreign_pages: u64,
    /// The worst first; empty is well.
    pub health: Vec<Finding>,
}

/// The topology that is in force, and what keeps the file's from being it.
#[derive(Debug, Serialize)]
pub struct InForce {
    pub fingerprint: Box<str>,
    pub files: Vec<PathBuf>,
    /// Changes made at run time that are not in the files.
    pub unsaved: Vec<String>,
    pub origin: Origin,
    pub in_force_s: u64,
    /// What the last look at the file came to, where that is not in force.
    pub pending: Option<Outcome>,
}

/// The counters as they were, minute by minute.
#[derive(Debug, Default)]
pub struct History(VecDeque<(Counters, node::Counters, links::Counters, u64)>);

impl History {
    pub fn note(&mut self, counters: Counters, node: node::Counters, door: links::Counters, foreign_pages: u64) {
        if self.0.len() == NOTES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((counters, node, door, foreign_pages));
    }

    /// What the network half had counted at the oldest note.
    #[must_use]
    pub fn node_before(&self) -> node::Counters {
        self.0.front().map(|(_, node, ..)| node.clone()).unwrap_or_default()
    }

    /// Strangers at the agent door since the oldest note.
    #[must_use]
    pub fn strangers(&self, door: links::Counters) -> Option<Finding> {
        let before = self.0.front().map_or(0, |(_, _, before, _)| before.strangers);
        let lately = door.strangers.saturating_sub(before);
        let text = format!("{lately} times somebody without a key came to the agent door in the last ten minutes");
        (lately > 0).then(|| Finding::new(Code::Strangers, text))
    }

    /// Foreign pages at the WebSocket door since the oldest note.
    #[must_use]
    pub fn foreign_pages(&self, refused: u64) -> Option<Finding> {
        let lately = refused.saturating_sub(self.0.front().map_or(0, |(.., before)| *before));
        let text = format!("{lately} times a web page that may not came to the WebSocket door in the last ten minutes");
        (lately > 0).then(|| Finding::new(Code::ForeignPages, text))
    }

    /// How much of `count` is new since the oldest note.
    fn lately(&self, counters: &Counters, count: fn(&Counters) -> u64) -> u64 {
        let before = self.0.front().map_or(0, |(counters, ..)| count(counters));
        count(counters).saturating_sub(before)
    }
}

/// What is wrong, as far as this machine's broker knows.
#[must_use]
pub fn examine(fill: &Fill, counters: &Counters, history: &History) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut find = |code: Code, text: String| found.push(Finding::new(code, text));
    let lately = |count: fn(&Counters) -> u64| history.lately(counters, count);

    let counted = [
        (Code::MessagesDropped, 1, lately(|c| c.dropped_full), "messages dropped at a full queue"),
        (Code::Qos0Dropped, 1, lately(|c| c.dropped_qos0), "QoS 0 messages dropped at a full queue"),
        (Code::RetainedRefused, 1, lately(|c| c.refused_retained), "retained messages refused"),
        (
            Code::WrongPasswords,
            WRONG_PASSWORDS_MIN,
            lately(|c| c.wrong_passwords + c.logins_limited),
            "logins with a wrong password, or too many of them",
        ),
        (
            Code::RightsRefused,
            1,
            lately(|c| c.refused_publishes + c.refused_subscriptions),
            "publishes and subscriptions refused",
        ),
        (Code::ProtocolErrors, 1, lately(|c| c.protocol_errors), "connections ended over a fault in MQTT"),
    ];
    for (code, least, count, what) in counted {
        if count >= least {
            find(code, format!("{count} {what} in the last ten minutes"));
        }
    }
    if counters.unrestored > 0 {
        let count = counters.unrestored;
        find(
            Code::NotRestored,
            format!("{count} things of sessions did not fit together at the start, and were dropped"),
        );
    }
    if fill.dead_letters > 0 {
        find(Code::DeadLetters, format!("{} messages that a client could not take wait for you", fill.dead_letters));
    }
    let memory = percent(fill.messages_bytes, fill.messages_bytes_max);
    if memory >= NEARLY_PERCENT {
        let code = if memory >= FULL_PERCENT { Code::MemoryFull } else { Code::MemoryNearlyFull };
        find(code, format!("messages take {memory} % of the memory that limits.memory allows"));
    }
    let connections = percent(fill.connections, fill.connections_max);
    if connections >= NEARLY_PERCENT {
        let code = if connections >= 100 { Code::ConnectionsFull } else { Code::ConnectionsNearlyFull };
        find(code, format!("{} of {} connections are taken", fill.connections, fill.connections_max));
    }
    found.sort();
    found
}

/// What is wrong with the disk.
#[must_use]
pub fn examine_disk(disk: &keeping::View) -> Vec<Finding> {
    let why = disk.why.as_deref().unwrap_or("it says nothing");
    let folder = disk.folder.display();
    let standing = match disk.state {
        State::MemoryOnly => Some((Code::MemoryOnly, format!("{folder} cannot be used: {why}"))),
        State::Degraded => {
            let time = disk.degraded_for_s.unwrap_or(0);
            let text =
                format!("{folder} takes nothing for {time} s: {why}; what a disk is to keep is not acknowledged");
            Some((Code::DiskDegraded, text))
        }
        State::Full => Some((Code::DiskFull, format!("no room is left at {folder}; a reserve is being used"))),
        State::OnDisk => None,
    };
    let damaged = (disk.set_aside > 0 || disk.refused > 0).then(|| {
        let (files, things) = (disk.set_aside, disk.refused);
        (
            Code::DiskDamaged,
            format!("found at the start in {folder}: {files} damaged files, {things} things unreadable"),
        )
    });
    standing.into_iter().chain(damaged).map(|(code, text)| Finding::new(code, text)).collect()
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(0)
}

/// What the system counts as this process's memory.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(fill: &Fill, counters: &Counters, history: &History) -> Vec<&'static str> {
        examine(fill, counters, history).iter().map(|finding| finding.code.word()).collect()
    }

    #[test]
    fn what_happened_lately_is_found_and_what_is_long_over_is_not() {
        let fill = Fill { connections_max: 10, messages_bytes_max: 100, ..Fill::default() };
        let mut history = History::default();
        let dropped = Counters { dropped_full: 7, ..Counters::default() };
        assert_eq!(codes(&fill, &Counters::default(), &history), Vec::<&str>::new());
        assert_eq!(codes(&fill, &dropped, &history), ["messages-dropped"]);
        for minute in 0..NOTES_MAX as u64 {
            history.note(
                if minute == 0 { Counters::default() } else { dropped },
                node::Counters::default(),
                links::Counters::default(),
                0,
            );
            assert_eq!(codes(&fill, &dropped, &history), ["messages-dropped"], "{minute}");
        }
        history.note(dropped, node::Counters::default(), links::Counters::default(), 0);
        assert_eq!(codes(&fill, &dropped, &history), Vec::<&str>::new());
        assert_eq!(history.0.len(), NOTES_MAX);
    }

    #[test]
    fn what_somebody_has_to_look_at_is_told_as_long_as_it_is_there() {
        let fill = Fill { dead_letters: 1, ..Fill::default() };
        let counters = Counters { unrestored: 2, ..Counters::default() };
        assert_eq!(codes(&fill, &counters, &History::default()), ["not-restored", "dead-letters"]);
    }

    #[test]
    fn limits_are_told_before_they_are_reached_and_when_they_are() {
        let history = History::default();
        for (connections, bytes, expected) in [
            (7, 79, &[][..]),
            (8, 80, &["memory-nearly-full", "connections-nearly-full"]),
            (10, 98, &["memory-full", "connections-full"]),
        ] {
            let fill = Fill {
                connections,
                connections_max: 10,
                messages_bytes: bytes,
                messages_bytes_max: 100,
                ..Fill::default()
            };
            assert_eq!(codes(&fill, &Counters::default(), &history), expected);
        }
    }

    #[test]
    fn this_process_takes_some_memory() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
    }
}
