//! A server of the test's own, Mosquitto or an agent: its own port, its own Unix socket, gone when the test is.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    child: Child,
    pub port: u16,
    pub folder: TempDir,
    kind: Kind,
    config: PathBuf,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Mosquitto,
    Agent,
}

/// `None`, told on stderr, where Mosquitto is not installed; in CI that is an error.
pub fn start(extra: &str) -> Option<Server> {
    let installed = Command::new("mosquitto").arg("-h").output().is_ok();
    if !installed {
        assert!(std::env::var_os("CI").is_none(), "mosquitto is not installed, and CI is to run these tests");
        eprintln!("skipped: mosquitto is not installed");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let [port] = crate::ports::free_ports();
    let config = folder.path().join("mosquitto.conf");
    let socket = folder.path().join("socket");
    let extra = extra.replace("FOLDER", &folder.path().display().to_string());
    let text = format!(
        "listener {port} 127.0.0.1\nlistener 0 {}\nuser root\nmax_queued_messages 0\nmax_inflight_messages 20\n{extra}\n",
        socket.display()
    );
    std::fs::write(&config, text).unwrap();
    Some(Server::of(Kind::Mosquitto, folder, port, config))
}

fn spawn(kind: Kind, config: &Path) -> Child {
    let mut command = match kind {
        Kind::Mosquitto => Command::new("mosquitto"),
        Kind::Agent => Command::new(env!("CARGO_BIN_EXE_hobnail")),
    };
    match kind {
        Kind::Mosquitto => command.arg("-c").arg(config),
        Kind::Agent => {
            let (control, state) = (config.with_file_name("control.sock"), config.with_file_name("state"));
            command.arg("run").arg(config).args(["--name", "solo"]);
            command.env("HOBNAIL_CONTROL", control).env("HOBNAIL_STATE", state)
        }
    };
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl Server {
    pub fn open() -> Option<Self> {
        start("allow_anonymous true")
    }

    /// Mosquitto, where it is installed, and an agent.
    pub fn each() -> impl Iterator<Item = Self> {
        Self::open().into_iter().chain(std::iter::once_with(Self::agent))
    }

    fn agent() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [port] = crate::ports::free_ports();
        let (config, socket) = (folder.path().join("solo.yaml"), folder.path().join("socket"));
        let text = format!(
            "version: 1\nnetwork: solo\nbrokers:\n  solo: {{ host: localhost }}\ndoors: {{ programs: \"127.0.0.1:{port}\", unix: \"{}\" }}\n",
            socket.display()
        );
        std::fs::write(&config, text).unwrap();
        Self::of(Kind::Agent, folder, port, config)
    }

    fn of(kind: Kind, folder: TempDir, port: u16, config: PathBuf) -> Self {
        let server = Self { child: spawn(kind, &config), port, folder, kind, config };
        server.await_listener(server.port);
        server
    }

    pub fn await_listener(&self, port: u16) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < PATIENCE, "{:?} does not listen", self.kind);
            std::thread::yield_now();
        }
    }

    pub fn restart(&mut self) {
        self.stop();
        self.child = spawn(self.kind, &self.config);
        self.await_listener(self.port);
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// `hobnail pub` or `sub` on this server's port.
    pub fn hobnail(&self, command: &str, args: &[&str]) -> Command {
        let mut hobnail = Command::new(env!("CARGO_BIN_EXE_hobnail"));
        hobnail.args([command, "-p", &self.port.to_string()]).args(args);
        hobnail
    }

    pub fn publish(&self, args: &[&str]) {
        let output = self.hobnail("pub", args).output().unwrap();
        assert!(output.status.success(), "pub {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A `hobnail sub` whose subscription is in force.
    pub fn subscribe(&self, args: &[&str]) -> Subscriber {
        let mut child =
            self.hobnail("sub", args).arg("-d").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap());
        let mut lines = String::new();
        while !lines.contains("< SUBACK") {
            assert!(told.read_line(&mut lines).unwrap() > 0, "sub {args:?} ended: {lines}");
        }
        let rest = std::thread::spawn(move || {
            let mut rest = String::new();
            let _ = told.read_to_string(&mut rest);
            rest
        });
        Subscriber { child, told: Some(rest) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

pub struct Subscriber {
    pub child: Child,
    told: Option<std::thread::JoinHandle<String>>,
}

impl Subscriber {
    /// Its exit code and what it printed.
    pub fn finish(mut self) -> (Option<i32>, String) {
        let mut text = Vec::new();
        self.child.stdout.take().unwrap().read_to_end(&mut text).unwrap();
        let code = self.await_exit();
        (code, String::from_utf8(text).unwrap())
    }

    pub fn await_exit(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "sub does not end");
            std::thread::yield_now();
        }
    }

    /// What it told on stderr after the subscription was in force.
    pub fn told(&mut self) -> String {
        self.told.take().unwrap().join().unwrap()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Run with `input` on standard input.
pub fn feed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that ends early closes its input; its exit code says more.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().unwrap()
}
