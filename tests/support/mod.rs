//! A real agent for a test: its own folder, free ports, and gone with the value.
//!
//! With `HOBNAIL_STAND_IN=mosquitto` the tests run against that instead: it shows whether a test is right.

pub mod ports;

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest wait for an agent to open its doors.
const START_MAX: Duration = Duration::from_secs(10);

pub struct Agent {
    child: Child,
    pub port: u16,
    pub websocket_port: u16,
    folder: tempfile::TempDir,
}

impl Agent {
    /// One machine on its own, with these lines more in its topology.
    pub fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let [port, websocket_port] = ports::free_ports();
        let log = fs::File::create(folder.path().join("log")).expect("a log file");
        let mut command = if stand_in() {
            let file = folder.path().join("mosquitto.conf");
            let text = format!(
                "allow_anonymous true\nlistener {port} 127.0.0.1\nlistener {websocket_port} 127.0.0.1\nprotocol websockets\n"
            );
            fs::write(&file, text).expect("its file");
            let mut command = Command::new("/usr/sbin/mosquitto");
            command.arg("-c").arg(file);
            command
        } else {
            let file = folder.path().join("solo.yaml");
            let doors =
                format!("doors: {{ programs: \"127.0.0.1:{port}\", websocket: \"127.0.0.1:{websocket_port}\" }}");
            let text = format!("version: 1\nnetwork: solo\nbrokers:\n  solo: {{ host: localhost }}\n{doors}\n{more}\n");
            fs::write(&file, text).expect("its topology");
            let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
            command.arg("run").arg(file).args(["--name", "solo"]).env("RUST_BACKTRACE", "1");
            command
                .env("HOBNAIL_CONTROL", folder.path().join("control"))
                .env("HOBNAIL_STATE", folder.path().join("state"));
            command
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        let mut agent = Self { child, port, websocket_port, folder };
        agent.wait_for_doors();
        agent
    }

    fn wait_for_doors(&mut self) {
        let until = Instant::now() + START_MAX;
        for port in [self.port, self.websocket_port] {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(self.is_alive() && Instant::now() < until, "no door at {port}:\n{}", self.log());
                sleep(Duration::from_millis(10));
            }
        }
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have died by itself, which the test has said already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn stand_in() -> bool {
    std::env::var("HOBNAIL_STAND_IN").is_ok_and(|name| name == "mosquitto")
}

/// The path of a tool that `tests/setup` installs, or `None` after saying so. In CI a missing tool is a failure.
pub fn tool(candidates: &[&str]) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = candidates.iter().map(|candidate| root.join(candidate)).find(|path| path.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{candidates:?} is missing; run tests/setup");
        eprintln!("skipped: no {}; run tests/setup", candidates[0]);
    }
    found
}
