//! A broker under load, or three: processes of their own, started fresh for each measurement, and what the system says
//! they have used.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::network::{self, Network};

/// Ticks a second in /proc/PID/stat, on every Linux that matters.
const TICKS: f64 = 100.0;
const START_MAX: Duration = Duration::from_secs(20);

/// Which broker, and how it is started.
#[derive(Clone, Debug)]
pub enum Kind {
    Hobnail(PathBuf),
    Mosquitto(PathBuf),
    /// One that keeps what it has on a disk.
    MosquittoStore(PathBuf, Autosave),
    /// Three agents; built from a source that seals nothing, where so called.
    HobnailNetwork(PathBuf, &'static str),
    /// Three brokers with bridges.
    MosquittoNetwork(PathBuf),
}

/// When Mosquitto writes what it has.
#[derive(Clone, Copy, Debug)]
pub enum Autosave {
    /// Every half an hour.
    Default,
    EverySecond,
    EveryChange,
}

impl Kind {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hobnail(_) => "hobnail",
            Self::Mosquitto(_) => "Mosquitto",
            Self::MosquittoStore(_, Autosave::Default) => "Mosquitto",
            Self::MosquittoStore(_, Autosave::EverySecond) => "Mosquitto, saved each second",
            Self::MosquittoStore(_, Autosave::EveryChange) => "Mosquitto, saved at each change",
            Self::HobnailNetwork(_, name) => name,
            Self::MosquittoNetwork(_) => "Mosquitto with TLS bridges",
        }
    }

    /// What to start, in this folder.
    fn network(&self, folder: &Path) -> io::Result<Network> {
        match self {
            Self::Hobnail(binary) => alone(|port| hobnail(binary, port, folder)),
            Self::Mosquitto(binary) => alone(|port| mosquitto(binary, port, folder, "")),
            Self::MosquittoStore(binary, autosave) => {
                let keeps = format!(
                    "user root\npersistence true\npersistence_location {}/\nmax_queued_messages 0\n{}",
                    folder.display(),
                    autosave.settings()
                );
                alone(|port| mosquitto(binary, port, folder, &keeps))
            }
            Self::HobnailNetwork(binary, _) => network::of_hobnail(binary, folder),
            Self::MosquittoNetwork(binary) => network::of_mosquitto(binary, folder),
        }
    }
}

/// One broker, where everybody publishes and hears.
fn alone(command: impl FnOnce(u16) -> io::Result<Command>) -> io::Result<Network> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(Network { commands: vec![command(port)?], mouth: address, ears: address })
}

fn hobnail(binary: &Path, port: u16, folder: &Path) -> io::Result<Command> {
    let file = folder.join("topology.yaml");
    // Its own limits, but for connections: as many as the descriptors allow, as Mosquitto takes them.
    let text = format!(
        "version: 1\nnetwork: load\ndoors: {{ programs: \"127.0.0.1:{port}\" }}\n\
         limits: {{ connections: 15000 }}\nbrokers:\n  solo: {{ host: localhost }}\n"
    );
    fs::write(&file, text)?;
    let mut command = Command::new(binary);
    command.arg("run").arg(&file).args(["--name", "solo"]).env("HOBNAIL_STATE", folder.join("state"));
    Ok(command)
}

impl Autosave {
    fn settings(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::EverySecond => "autosave_interval 1\n",
            Self::EveryChange => "autosave_interval 1\nautosave_on_changes true\n",
        }
    }
}

fn mosquitto(binary: &Path, port: u16, folder: &Path, more: &str) -> io::Result<Command> {
    let file = folder.join("mosquitto.conf");
    fs::write(
        &file,
        format!("listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nlog_dest none\n{more}"),
    )?;
    let mut command = Command::new(binary);
    command.arg("-c").arg(&file);
    Ok(command)
}

/// All processes of what is loaded, as one.
pub struct Server {
    children: Vec<Child>,
    /// Where to publish, and where to hear.
    pub mouth: SocketAddr,
    pub ears: SocketAddr,
    /// From the start of the processes to the first CONNACK.
    pub started_in: Duration,
}

impl Server {
    pub fn start(kind: &Kind, folder: &Path) -> io::Result<Self> {
        let Network { commands, mouth, ears } = kind.network(folder)?;
        let begin = Instant::now();
        let mut server = Self { children: Vec::new(), mouth, ears, started_in: Duration::ZERO };
        for mut command in commands {
            let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            server.children.push(command.spawn()?);
        }
        for address in [mouth, ears] {
            while Client::connect(address, "first").is_err() {
                let mut ended = server.children.iter_mut().map(Child::try_wait);
                if begin.elapsed() > START_MAX || ended.any(|ended| !matches!(ended, Ok(None))) {
                    return Err(io::Error::other(format!("{} does not start", kind.name())));
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            if server.started_in.is_zero() {
                server.started_in = begin.elapsed();
            }
        }
        Ok(server)
    }

    /// What has been subscribed before is known where it is published, once this returns.
    pub fn await_path(&self) -> io::Result<()> {
        if self.mouth == self.ears { Ok(()) } else { network::await_path(self.mouth, self.ears) }
    }

    /// Processor time of all of them so far, in seconds: user and system together.
    pub fn cpu_s(&self) -> io::Result<f64> {
        self.children.iter().map(cpu_s).sum()
    }

    /// Memory that is really there, in KiB.
    pub fn rss_kib(&self) -> io::Result<u64> {
        self.children.iter().map(rss_kib).sum()
    }
}

fn cpu_s(child: &Child) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    // The name in brackets may hold anything, so fields are counted from behind it.
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let mut fields = rest.split(' ').skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<f64>().ok());
    match (ticks(), ticks()) {
        (Some(user), Some(system)) => Ok((user + system) / TICKS),
        _ => Err(io::Error::other("no times in /proc/PID/stat")),
    }
}

fn rss_kib(child: &Child) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.ok_or_else(|| io::Error::other("no VmRSS in /proc/PID/status"))
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may be gone already; there is nothing else to be done about it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
