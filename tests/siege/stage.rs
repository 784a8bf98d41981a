//! An agent under attack, with an innocent pair of clients on its program door.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::bystanders::Pair;
use super::wire::Client;
use crate::run::agent::{Agent, hobnail};

/// Memory that has not changed for so long is at rest; whoever waits for it waits no longer than the other.
const REST: Duration = Duration::from_millis(300);
const REST_MAX: Duration = Duration::from_secs(5);

pub struct Stage {
    pub agent: Agent,
    pair: Pair,
    log: fs::File,
}

impl Stage {
    pub fn set(topology: &str) -> Self {
        Self::with_keys(topology, Path::new("."))
    }

    pub fn with_keys(topology: &str, keys: &Path) -> Self {
        let log = tempfile::NamedTempFile::new().expect("a log file");
        let mut command = hobnail(topology, "solo");
        command.arg("--keys").arg(keys).stderr(log.reopen().expect("the same file"));
        let agent = Agent::spawn(&mut command);
        let pair = Pair::start(agent.programs());
        Self { agent, pair, log: log.into_file() }
    }

    /// Memory of its own that the agent really uses: neither reserved only, nor mapped from its file.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.agent.pid())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux says so");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// The same, once what the start needed is given back.
    pub fn resident_kib_at_rest(&self) -> u64 {
        let until = Instant::now() + REST_MAX;
        let mut before = self.resident_kib();
        loop {
            sleep(REST);
            let now = self.resident_kib();
            if now == before || Instant::now() > until {
                return now;
            }
            before = now;
        }
    }

    /// The pair was not harmed, a newcomer is let in, nothing panicked, and the agent stops when it is told to.
    pub fn end(mut self) {
        Client::new(self.agent.programs(), 5, "newcomer").ping();
        let said = self.pair.end();
        assert!(self.agent.stop().success());
        let mut log = String::new();
        self.log.read_to_string(&mut log).expect("a log");
        assert!(!log.contains("panicked"), "{log}");
        eprintln!("the innocent pair: {said}");
    }
}
