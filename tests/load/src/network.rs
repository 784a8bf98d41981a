//! Three machines of one network on loopback: a hub, one that publishes to it and one that hears by it.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::{self, Client, Stamp, Template};

const PATH_MAX: Duration = Duration::from_secs(20);

/// The programs to start, and where to publish and where to hear.
pub struct Network {
    pub commands: Vec<Command>,
    pub mouth: SocketAddr,
    pub ears: SocketAddr,
}

/// What is acknowledged here is in memory, as with Mosquitto beside it.
pub fn of_hobnail(binary: &Path, folder: &Path) -> io::Result<Network> {
    let [agents, hub, mouth, ears] = free_ports()?;
    let key = folder.join("network.key");
    if let Err(error) = fs::remove_file(&key)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error);
    }
    run(Command::new(binary).args(["key", "new", "--keys"]).arg(folder))?;
    let door = |port: u16| format!("doors: {{ programs: \"127.0.0.1:{port}\" }}");
    let text = format!(
        "version: 1\nnetwork: load\nbrokers:\n  hub: {{ host: 127.0.0.1, doors: {{ programs: \"127.0.0.1:{hub}\", agents: {agents} }} }}\n\
         clients:\n  mouth: {{ {} }}\n  ears: {{ {} }}\ntopics: [{{ match: \"#\", ack: memory }}]\n",
        door(mouth),
        door(ears)
    );
    let file = folder.join("network.yaml");
    fs::write(&file, text)?;
    let commands = ["hub", "mouth", "ears"].map(|name| {
        let mut command = Command::new(binary);
        command.arg("run").arg(&file).args(["--name", name, "--keys"]).arg(folder);
        command
            .env("HOBNAIL_STATE", folder.join("state"))
            .env("HOBNAIL_CONTROL", folder.join(format!("{name}.control")));
        command
    });
    Ok(Network { commands: commands.into(), mouth: local(mouth), ears: local(ears) })
}

/// A hub with a TLS listener and two brokers with a bridge to it.
pub fn of_mosquitto(binary: &Path, folder: &Path) -> io::Result<Network> {
    let [tls, mouth, ears] = free_ports()?;
    let (cert, key) = (folder.join("hub.crt"), folder.join("hub.key"));
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .args([&key, Path::new("-out"), &cert]))?;
    let (cert, key) = (cert.display(), key.display());
    let common = "allow_anonymous true\nset_tcp_nodelay true\nlog_dest none\n";
    let hub =
        format!("listener {tls} 127.0.0.1\n{common}certfile {cert}\nkeyfile {key}\ntls_version tlsv1.3\nuser root\n");
    let bridge = |port: u16, direction: &str| {
        format!(
            "listener {port} 127.0.0.1\n{common}user root\nconnection {direction}\naddress 127.0.0.1:{tls}\n\
             topic # {direction} 1\nnotifications false\nrestart_timeout 1\nbridge_cafile {cert}\nbridge_tls_version tlsv1.3\n"
        )
    };
    let files = [("hub", hub), ("mouth", bridge(mouth, "out")), ("ears", bridge(ears, "in"))];
    let mut commands = Vec::new();
    for (name, text) in files {
        let file = folder.join(format!("{name}.conf"));
        fs::write(&file, text)?;
        let mut command = Command::new(binary);
        command.arg("-c").arg(file);
        commands.push(command);
    }
    Ok(Network { commands, mouth: local(mouth), ears: local(ears) })
}

/// Until a message gets from the one end to the other; what was subscribed before it does then, too.
pub fn await_path(mouth: SocketAddr, ears: SocketAddr) -> io::Result<()> {
    let mut hears = Client::connect(ears, "path-ears")?;
    hears.subscribe(&["path".to_owned()], 0)?;
    hears.look_up()?;
    let mut says = Client::connect(mouth, "path-mouth")?;
    let begin = Instant::now();
    let mut bytes = Vec::new();
    Template::new("path", 0, client::STAMP_BYTES).put(Stamp { publisher: 0, number: 0, sent_ns: 0 }, 0, &mut bytes);
    while begin.elapsed() < PATH_MAX {
        says.stream.write_all(&bytes)?;
        if hears.fill()? {
            return Ok(());
        }
    }
    Err(io::Error::other("no message gets from one machine to the other"))
}

fn run(command: &mut Command) -> io::Result<()> {
    let done = command.stdin(Stdio::null()).output()?;
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    if done.status.success() { Ok(()) } else { Err(io::Error::other(told)) }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn free_ports<const N: usize>() -> io::Result<[u16; N]> {
    let held = [(); N].map(|()| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)));
    let mut ports = [0; N];
    for (port, held) in ports.iter_mut().zip(held) {
        *port = held?.local_addr()?.port();
    }
    Ok(ports)
}
