//! A broker under load: a process of its own, started fresh for each measurement, and what the system says it has used.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;

/// Ticks a second in /proc/PID/stat, on every Linux that matters.
const TICKS: f64 = 100.0;
const START_MAX: Duration = Duration::from_secs(20);

/// Which broker, and how it is started.
#[derive(Clone, Debug)]
pub enum Kind {
    Hobnail(PathBuf),
    Mosquitto(PathBuf),
}

impl Kind {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hobnail(_) => "hobnail",
            Self::Mosquitto(_) => "Mosquitto",
        }
    }

    fn command(&self, port: u16, folder: &Path) -> io::Result<Command> {
        match self {
            Self::Hobnail(binary) => {
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
            Self::Mosquitto(binary) => {
                let file = folder.join("mosquitto.conf");
                fs::write(
                    &file,
                    format!("listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nlog_dest none\n"),
                )?;
                let mut command = Command::new(binary);
                command.arg("-c").arg(&file);
                Ok(command)
            }
        }
    }
}

pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// From the start of the process to its first CONNACK.
    pub started_in: Duration,
}

impl Server {
    pub fn start(kind: &Kind, folder: &Path) -> io::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut command = kind.command(port, folder)?;
        let begin = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut server = Self { child, address, started_in: Duration::ZERO };
        while Client::connect(address, "first").is_err() {
            if begin.elapsed() > START_MAX || server.child.try_wait()?.is_some() {
                return Err(io::Error::other(format!("{} does not start", kind.name())));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        server.started_in = begin.elapsed();
        Ok(server)
    }

    /// Processor time so far, in seconds: user and system together.
    pub fn cpu_s(&self) -> io::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in brackets may hold anything, so fields are counted from behind it.
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let mut fields = rest.split(' ').skip(11);
        let mut ticks = || fields.next().and_then(|field| field.parse::<f64>().ok());
        match (ticks(), ticks()) {
            (Some(user), Some(system)) => Ok((user + system) / TICKS),
            _ => Err(io::Error::other("no times in /proc/PID/stat")),
        }
    }

    /// Memory that is really there, in KiB.
    pub fn rss_kib(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        kib.ok_or_else(|| io::Error::other("no VmRSS in /proc/PID/status"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already; there is nothing else to be done about it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
