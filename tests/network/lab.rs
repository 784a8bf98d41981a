//! Machines as network namespaces on one bridge, each with an agent of the real binary.
//!
//! Everything carries the names `hn-net-PID-…` and goes with the value; what a killed test run left behind goes when the
//! next one starts. Nothing is set up outside these namespaces.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const PREFIX: &str = "hn-net";
/// How long anything may take before a test gives up on it.
pub const LIMIT: Duration = Duration::from_secs(30);

/// One lab at a time: what is measured in one must not be slowed by another.
static TURN: Mutex<()> = Mutex::new(());

pub struct Lab {
    _turn: MutexGuard<'static, ()>,
    tag: String,
    folder: tempfile::TempDir,
    machines: BTreeMap<String, Machine>,
}

struct Machine {
    namespace: String,
    address: String,
    port: usize,
    keys: PathBuf,
    child: Option<Child>,
}

impl Lab {
    /// A switch, and these machines on it; `more` is added to their topology. No agent runs yet. `None`, after saying
    /// so, where namespaces cannot be made; in CI that is a failure.
    pub fn new(brokers: &[&str], clients: &[&str], more: &str) -> Option<Self> {
        static LABS: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "network namespaces need root");
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        // Whoever panicked in its turn has had it.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        clear_left_overs();
        let lab = LABS.fetch_add(1, Ordering::Relaxed);
        let tag = format!("{PREFIX}-{}-{lab}", std::process::id());
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let mut lab = Self { _turn: turn, tag, folder, machines: BTreeMap::new() };
        lab.make_switch();
        for name in brokers.iter().chain(clients) {
            lab.add(name);
        }
        let text = lab.text(brokers, clients, more);
        brokers.iter().chain(clients).for_each(|name| lab.edit(name, &text));
        hobnail(&["key", "new", "k1", "--keys", &lab.keys().to_string_lossy()]);
        Some(lab)
    }

    /// The same, with an agent on each machine.
    pub fn running(brokers: &[&str], clients: &[&str], more: &str) -> Option<Self> {
        let mut lab = Self::new(brokers, clients, more)?;
        for name in brokers.iter().chain(clients) {
            lab.spawn(name);
        }
        for name in brokers.iter().chain(clients) {
            lab.wait_for_door(name);
        }
        Some(lab)
    }

    fn make_switch(&self) {
        let switch = self.switch();
        ip(&format!("netns add {switch}"));
        ip_all(&switch, &["link add br0 type bridge forward_delay 0", "link set br0 up", "link set lo up"]);
    }

    fn add(&mut self, name: &str) {
        let (switch, port) = (self.switch(), self.machines.len() + 1);
        let namespace = format!("{}-{name}", self.tag);
        let address = format!("10.77.{}.{}", port / 200, port % 200 + 1);
        ip(&format!("netns add {namespace}"));
        let lines = [
            format!("link add p{port} type veth peer name eth0 netns {namespace}"),
            format!("link set p{port} master br0 up"),
        ];
        ip_all(&switch, &lines);
        let lines = [format!("addr add {address}/16 dev eth0"), "link set eth0 up".into(), "link set lo up".into()];
        ip_all(&namespace, &lines);
        let keys = self.keys();
        self.machines.insert(name.into(), Machine { namespace, address, port, keys, child: None });
    }

    /// A topology of these machines, each where it is.
    pub fn text(&self, brokers: &[&str], clients: &[&str], more: &str) -> String {
        let mut text = format!("version: 1\nnetwork: lab\nkeys: {{ active: k1 }}\n{more}\nbrokers:\n");
        for (rank, name) in brokers.iter().enumerate() {
            let backups = brokers.get(rank + 1..).unwrap_or_default().join(", ");
            text += &format!("  {name}: {{ host: {}, backups: [{backups}] }}\n", self.address(name));
        }
        if !clients.is_empty() {
            text += "clients:\n";
        }
        for name in clients {
            text += &format!("  {name}: {{}}\n");
        }
        text
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// The topology as it lies on that machine.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.yaml"))
    }

    /// Edit the file on one machine, as most editors do it.
    pub fn edit(&self, name: &str, text: &str) {
        let beside = self.folder.path().join("edited~");
        fs::write(&beside, text).expect("written");
        fs::rename(&beside, self.file(name)).expect("in place");
    }

    pub fn switch(&self) -> String {
        format!("{}-sw", self.tag)
    }

    fn machine(&self, name: &str) -> &Machine {
        self.machines.get(name).unwrap_or_else(|| panic!("no machine {name}"))
    }

    pub fn namespace(&self, name: &str) -> &str {
        &self.machine(name).namespace
    }

    pub fn address(&self, name: &str) -> &str {
        &self.machine(name).address
    }

    /// Where the machine's cable is plugged into the switch.
    pub fn port(&self, name: &str) -> usize {
        self.machine(name).port
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.machines.keys().map(String::as_str)
    }

    /// This machine gets a key of its own under the network key's name: it belongs to another network.
    pub fn give_foreign_key(&mut self, name: &str) {
        let keys = self.folder.path().join(format!("{name}-keys"));
        hobnail(&["key", "new", "k1", "--keys", &keys.to_string_lossy()]);
        self.machines.get_mut(name).expect("a machine").keys = keys;
    }

    /// This machine has no key at all.
    pub fn give_no_key(&mut self, name: &str) {
        let keys = self.folder.path().join(format!("{name}-keys"));
        fs::create_dir(&keys).expect("a folder");
        self.machines.get_mut(name).expect("a machine").keys = keys;
    }

    /// Where the machine's agent finds its keys.
    pub fn keys_of(&self, name: &str) -> &Path {
        &self.machine(name).keys
    }

    /// This machine gets only the half of the network's key that relays need.
    pub fn give_relay_key(&mut self, name: &str) {
        let keys = self.folder.path().join(format!("{name}-keys"));
        fs::create_dir(&keys).expect("a folder");
        let (from, to) = (self.keys(), keys.join("k1.key"));
        hobnail(&["key", "relay", "k1", "--keys", &from.to_string_lossy(), "--output", &to.to_string_lossy()]);
        self.machines.get_mut(name).expect("a machine").keys = keys;
    }

    /// One more key in the key directory of all machines.
    pub fn make_key(&self, key: &str) {
        hobnail(&["key", "new", key, "--keys", &self.keys().to_string_lossy()]);
    }

    /// Edit the keys on all machines.
    pub fn set_keys(&self, keys: &str) {
        for name in self.machines.keys() {
            let text = fs::read_to_string(self.file(name)).expect("a topology");
            let lines: Vec<String> = text
                .lines()
                .map(|line| if line.starts_with("keys:") { format!("keys: {keys}") } else { line.to_owned() })
                .collect();
            self.edit(name, &(lines.join("\n") + "\n"));
        }
    }

    /// A command on that machine.
    pub fn command(&self, name: &str, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.namespace(name)]).arg(program);
        command.env_remove("HOBNAIL_KEYS").env_remove("HOBNAIL_NAME");
        command.env("HOBNAIL_CONTROL", self.folder.path().join(format!("{name}.control")));
        command.env("HOBNAIL_STATE", self.folder.path().join("state"));
        command
    }

    fn spawn(&mut self, name: &str) {
        let path = self.log_path(name);
        let log = File::options().create(true).append(true).open(path).expect("a log");
        let mut command = self.command(name, Path::new(env!("CARGO_BIN_EXE_hobnail")));
        command.arg("run").arg(self.file(name)).args(["--name", name]).arg("--keys").arg(&self.machine(name).keys);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let child = command.spawn().expect("hobnail starts");
        let before = self.machines.get_mut(name).expect("a machine").child.replace(child);
        assert!(before.is_none(), "{name} runs already");
    }

    /// Start the machine's agent, and wait until programs may come in.
    pub fn start(&mut self, name: &str) {
        self.spawn(name);
        self.wait_for_door(name);
    }

    fn wait_for_door(&mut self, name: &str) {
        let end = Instant::now() + LIMIT;
        while self.try_connect(name).is_err() {
            let child = self.machines.get_mut(name).and_then(|machine| machine.child.as_mut()).expect("it runs");
            let lives = matches!(child.try_wait(), Ok(None));
            assert!(lives && Instant::now() < end, "{name} opens no door:\n{}", self.log(name));
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, name: &str, signal: Signal) {
        let child = self.machine(name).child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("it lives");
    }

    /// `kill -9`.
    pub fn kill(&mut self, name: &str) {
        let mut child = self.machines.get_mut(name).and_then(|machine| machine.child.take()).expect("it runs");
        child.kill().expect("it lives");
        child.wait().expect("a child");
    }

    pub fn freeze(&self, name: &str) {
        self.signal(name, Signal::STOP);
    }

    pub fn thaw(&self, name: &str) {
        self.signal(name, Signal::CONT);
    }

    fn try_connect(&self, name: &str) -> std::io::Result<TcpStream> {
        let door = SocketAddr::from(([127, 0, 0, 1], 1883));
        within(self.namespace(name), move || TcpStream::connect_timeout(&door, Duration::from_secs(5)))
    }

    /// A program's connection to the door of its machine.
    pub fn connect(&self, name: &str) -> TcpStream {
        self.try_connect(name).unwrap_or_else(|error| panic!("{name}: {error}\n{}", self.log(name)))
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// All that the machine's agent has told.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.log_path(name)).unwrap_or_default()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            for name in self.machines.keys() {
                let log = self.log(name);
                let lines: Vec<&str> = log.lines().collect();
                let last = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default();
                eprintln!("--- {name} ---\n{}", last.join("\n"));
            }
        }
        for machine in self.machines.values_mut() {
            if let Some(child) = &mut machine.child {
                // It may have died by itself, which the test has said already.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        remove(&self.tag);
    }
}

/// Do this on a thread that is inside the namespace; sockets made there stay there.
pub fn within<T: Send + 'static>(namespace: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = File::open(format!("/run/netns/{namespace}")).expect("the namespace is there");
    let thread = thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("entered");
        work()
    });
    thread.join().expect("the work is done")
}

fn hobnail(args: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_hobnail")).args(args).output().expect("hobnail runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn ip(args: &str) {
    let output = Command::new("ip").args(args.split(' ')).output().expect("ip runs");
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Many commands of `ip` inside a namespace.
pub fn ip_all(namespace: &str, lines: &[impl AsRef<str>]) {
    let text: String = lines.iter().map(|line| format!("{}\n", line.as_ref())).collect();
    feed(Command::new("ip").args(["-n", namespace, "-batch", "-"]), &text);
}

/// What a machine's cable carries at a time.
pub fn tc(namespace: &str, line: &str) {
    feed(Command::new("tc").args(["-n", namespace, "-batch", "-"]), &format!("{line}\n"));
}

/// Rules for a machine's packet filter.
pub fn nft(namespace: &str, rules: &str) {
    feed(Command::new("ip").args(["netns", "exec", namespace, "nft", "-f", "-"]), rules);
}

fn feed(command: &mut Command, text: &str) {
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{command:?}: {text}: {}", String::from_utf8_lossy(&output.stderr));
}

fn namespaces() -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The namespaces of one lab; what they hold goes with them.
fn remove(tag: &str) {
    for namespace in namespaces().iter().filter(|name| name.starts_with(&format!("{tag}-"))) {
        // A clean-up goes on past what it cannot remove.
        let _ = Command::new("ip").args(["netns", "delete", namespace]).status();
    }
}

/// Labs of test runs that are no more, with the agents that still run in them.
fn clear_left_overs() {
    for namespace in namespaces() {
        let mut parts = namespace.strip_prefix(PREFIX).unwrap_or_default().trim_start_matches('-').split('-');
        let Some(run) = parts.next().and_then(|part| part.parse::<u32>().ok()) else { continue };
        if Path::new(&format!("/proc/{run}")).exists() {
            continue;
        }
        let inside = Command::new("ip").args(["netns", "pids", &namespace]).output();
        let inside = inside.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        for pid in inside.split_whitespace().filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw) {
            // It may just have ended.
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = Command::new("ip").args(["netns", "delete", &namespace]).stderr(Stdio::null()).status();
    }
}
