//! One machine with an agent of the real binary that is killed and started again on the same state.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it.
pub const LIMIT: Duration = Duration::from_secs(30);

pub struct Machine {
    folder: tempfile::TempDir,
    name: String,
    state: PathBuf,
    group: Option<PathBuf>,
    pub door: SocketAddr,
    child: Option<Child>,
}

impl Machine {
    /// One machine of a network of its own, with these lines more in its topology. It does not run yet.
    pub fn solo(more: &str) -> Self {
        let door = free_address();
        let topology = format!(
            "version: 1\nnetwork: test\ndoors: {{ programs: \"{door}\" }}\nbrokers:\n  solo: {{ host: localhost }}\n{more}\n"
        );
        Self::of(&topology, "solo", door)
    }

    pub fn of(topology: &str, name: &str, door: SocketAddr) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        std::fs::write(folder.path().join("topology.yaml"), topology).expect("written");
        let state = folder.path().join("state");
        Self { folder, name: name.into(), state, group: None, door, child: None }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Keep the state there instead of in its own folder.
    pub fn keep_in(&mut self, state: &Path) {
        self.state = state.to_owned();
    }

    /// Run the agent in this control group.
    pub fn live_in(&mut self, group: &Path) {
        self.group = Some(group.to_owned());
    }

    /// `hobnail` with this machine's places.
    pub fn hobnail(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
        command.args(args).env("HOBNAIL_KEYS", self.path("keys")).env_remove("HOBNAIL_NAME");
        command.env("HOBNAIL_CONTROL", self.path("control")).env("HOBNAIL_STATE", &self.state);
        command
    }

    /// Start the agent, and wait until it says that it serves.
    pub fn start(&mut self) {
        let topology = self.path("topology.yaml");
        let mut command = self.hobnail(&["run", &topology.to_string_lossy(), "--name", &self.name]);
        if let Some(group) = &self.group {
            command = within(group, &command);
        }
        let log = File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().expect("it starts");
        let mut line = String::new();
        // Where it ends before, the line is empty.
        let _ = BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line);
        self.child = Some(child);
        assert!(line.starts_with("hobnail "), "it does not serve:\n{}", self.log());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it lives");
        child.wait().expect("a child");
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn status(&self) -> serde_json::Value {
        let output = self.hobnail(&["status", "--json"]).output().expect("it runs");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {} ---\n{}", self.name, lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        if let Some(child) = &mut self.child {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The same command as a process of that control group from its first moment on.
fn within(group: &Path, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]).arg(group.join("cgroup.procs"));
    shell.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    shell
}

/// A hub, its spare and a client, all on this machine's loopback. They do not run yet.
pub fn network() -> [Machine; 3] {
    let [hub, spare, press, hub_agents, spare_agents] = crate::ports::free_ports();
    let topology = format!(
        "version: 1
network: test
keys: {{ active: k1 }}
limits: {{ queue: 1000000 }}
brokers:
  hub:
    host: 127.0.0.1
    backups: [spare]
    doors: {{ programs: \"127.0.0.1:{hub}\", agents: {hub_agents} }}
  spare:
    host: 127.0.0.2
    doors: {{ programs: \"127.0.0.1:{spare}\", agents: {spare_agents} }}
clients:
  press: {{ doors: {{ programs: \"127.0.0.1:{press}\" }} }}
"
    );
    let machine = |name: &str, port| Machine::of(&topology, name, (Ipv4Addr::LOCALHOST, port).into());
    let machines = [machine("hub", hub), machine("spare", spare), machine("press", press)];
    let made = machines[0].hobnail(&["key", "new", "k1"]).output().expect("it runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for other in &machines[1..] {
        std::fs::create_dir(other.path("keys")).expect("created");
        std::fs::copy(machines[0].path("keys/k1.key"), other.path("keys/k1.key")).expect("copied");
    }
    machines
}

pub fn free_address() -> SocketAddr {
    let [port] = crate::ports::free_ports();
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Wait for it, with a limit.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
