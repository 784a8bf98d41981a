//! An agent under attack, with an innocent pair of clients on its program door.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::bystanders::Pair;
use super::wire::Client;
use crate::run::agent::{Agent, hobnail};

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

    /// Memory that the agent really uses.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.agent.pid())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux says so");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// The pair was not harmed, a newcomer is let in, nothing panicked, and the agent stops when it is told to.
    pub fn end(mut self) -> Duration {
        Client::new(self.agent.programs(), 5, "newcomer").ping();
        let slowest = self.pair.end();
        assert!(self.agent.stop().success());
        let mut log = String::new();
        self.log.read_to_string(&mut log).expect("a log");
        assert!(!log.contains("panicked"), "{log}");
        eprintln!("the innocent waited {slowest:?} at the most");
        slowest
    }
}
