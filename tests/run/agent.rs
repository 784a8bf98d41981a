//! An agent of the real binary for a test: it has a folder of its own, and does not outlive the test.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long anything may take before a test gives up on it.
const LIMIT: Duration = Duration::from_secs(20);

/// A topology of one machine, `solo`, with its program door on a port that the system picks, and more doors.
pub fn solo(more_doors: &str) -> String {
    format!(
        "version: 1\nnetwork: test\ndoors: {{ programs: \"127.0.0.1:0\"{more_doors} }}\n\
         brokers:\n  solo: {{ host: localhost }}\n"
    )
}

pub struct Agent {
    child: Child,
    line: String,
}

/// `hobnail run` of this topology as that machine, ready to be started.
pub fn hobnail(topology: &str, name: &str) -> Command {
    // The folder lives as long as the test process: agents may read their topology again.
    let file = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder").keep().join("topology.yaml");
    std::fs::write(&file, topology).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    command.arg("run").arg(&file).args(["--name", name]).env_remove("HOBNAIL_KEYS");
    command.env("HOBNAIL_CONTROL", file.with_file_name("control")).env("HOBNAIL_STATE", file.with_file_name("state"));
    command
}

impl Agent {
    /// Start it, and wait for its one line.
    pub fn start(topology: &str, name: &str) -> Self {
        Self::start_with(topology, name, &[])
    }

    /// The same, with more arguments.
    pub fn start_with(topology: &str, name: &str, more: &[&str]) -> Self {
        Self::spawn(hobnail(topology, name).args(more))
    }

    /// Start what `command` says, and wait for its one line.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("hobnail starts");
        let stdout = child.stdout.take().expect("piped");
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            // A failed read gives an empty line, and the assertion below says so.
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = receiver.recv_timeout(LIMIT).unwrap_or_default();
        let agent = Self { child, line: line.trim_end().to_owned() };
        assert!(!agent.line.is_empty(), "the agent ended, or said nothing for {LIMIT:?}");
        agent
    }

    pub fn line(&self) -> &str {
        &self.line
    }

    /// Where its program door is.
    pub fn programs(&self) -> SocketAddr {
        let place = self.line.split("programs at ").nth(1).expect("the line names the program door");
        place.split([',', ' ']).next().and_then(|place| place.parse().ok()).expect("an address")
    }

    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Send it `signal`, by name.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.pid().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// SIGTERM, and how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        let deadline = std::time::Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(std::time::Instant::now() < deadline, "it does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where a tool is; where it is missing the test is skipped, but not in CI, which has installed it.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing; run tests/setup");
        eprintln!("skipped: {name} is missing; run tests/setup");
    }
    found
}
