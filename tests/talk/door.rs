//! An agent with its door, and the commands that talk through it. All of them are gone when the test is.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Door {
    agent: Child,
    name: &'static str,
    pub port: String,
    pub folder: Arc<tempfile::TempDir>,
}

impl Door {
    /// One machine, `solo`, with these lines more in its topology.
    pub fn open(more: &str) -> Self {
        let doors = "doors: { programs: \"127.0.0.1:0\" }";
        let text = format!("version: 1\nnetwork: test\n{doors}\nbrokers:\n  solo: {{ host: localhost }}\n{more}");
        Self::of("solo", &text, Arc::new(tempfile::tempdir().unwrap()))
    }

    /// The agent of one machine of a topology, with its keys in `folder`.
    pub fn of(name: &'static str, topology: &str, folder: Arc<tempfile::TempDir>) -> Self {
        let place = |what: &str| folder.path().join(format!("{name}.{what}"));
        std::fs::write(place("yaml"), topology).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
        command.arg("run").arg(place("yaml")).args(["--name", name]).env("HOBNAIL_KEYS", folder.path());
        command.env("HOBNAIL_CONTROL", place("control")).env("HOBNAIL_STATE", place("state"));
        let mut agent = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(agent.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let place = line.split("programs at ").nth(1).expect("the agent says where its door is");
        let port = place.split([',', ' ', '\n']).next().unwrap().rsplit(':').next().unwrap().to_owned();
        Self { agent, name, port, folder }
    }

    pub fn hobnail(&self, command: &str, args: &[&str]) -> Command {
        let mut hobnail = Command::new(env!("CARGO_BIN_EXE_hobnail"));
        hobnail.args([command, "-p", &self.port]).args(args).env("HOBNAIL_NAME", self.name);
        hobnail
    }

    /// Run a command to its end.
    pub fn run(&self, command: &str, args: &[&str]) -> Done {
        Done::of(&self.hobnail(command, args).stdin(Stdio::null()).output().unwrap())
    }

    pub fn feed(&self, command: &str, args: &[&str], input: &[u8]) -> Done {
        let mut child = self.start(command, args);
        // A command that ends early closes its input; its exit code says more.
        let _ = child.child.stdin.take().unwrap().write_all(input);
        child.finish()
    }

    pub fn start(&self, command: &str, args: &[&str]) -> Running {
        Running::start(self.hobnail(command, args))
    }

    /// A server that is ready.
    pub fn serve(&self, args: &[&str]) -> Running {
        let mut server = self.start("serve", args);
        server.expect("serving");
        server
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

/// How a command ended and what it said.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Done {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// What it printed, where it ended well.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.out
    }
}

/// A command at work; its standard error is read as it comes.
pub struct Running {
    pub child: Child,
    lines: mpsc::Receiver<String>,
    told: String,
    out: Option<JoinHandle<String>>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let err = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in err.lines().map_while(Result::ok) {
                // The test may have heard enough.
                let _ = sender.send(line);
            }
        });
        let mut stdout = child.stdout.take().unwrap();
        let out = std::thread::spawn(move || {
            let mut text = String::new();
            // What is no text fails its test by being absent.
            let _ = stdout.read_to_string(&mut text);
            text
        });
        Self { child, lines, told: String::new(), out: Some(out) }
    }

    /// Wait until it says a line with `what` in it.
    pub fn expect(&mut self, what: &str) {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {what:?} in {:?}", self.told));
            self.told += &line;
            self.told += "\n";
            if line.contains(what) {
                return;
            }
        }
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    pub fn finish(mut self) -> Done {
        drop(self.child.stdin.take());
        let start = Instant::now();
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            assert!(start.elapsed() < PATIENCE, "it does not end: {:?}", self.told);
            std::thread::sleep(Duration::from_millis(2));
        };
        let out = self.out.take().unwrap().join().unwrap();
        self.told.extend(self.lines.iter().map(|line| line + "\n"));
        Done { code, out, err: std::mem::take(&mut self.told) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Wait until `holds`.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
