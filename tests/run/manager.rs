//! The agent under a service manager: what it tells it, and the sockets that it takes over from it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::agent::{self, Agent, solo};

/// A stand-in for the service manager, and an agent that it has started.
struct Managed {
    agent: Agent,
    socket: UnixDatagram,
    topology: PathBuf,
}

/// 3.1.1, a clean session, the client id `w`.
const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01w";
const WATCHDOG: Duration = Duration::from_millis(600);

impl Managed {
    fn start() -> Self {
        let mut command = agent::hobnail(&solo(""), "solo");
        let topology = PathBuf::from(command.get_args().nth(1).expect("run FILE"));
        let path = topology.with_file_name("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        Self { agent: Agent::spawn(&mut command), socket, topology }
    }

    /// The next message, or nothing for as long as `limit`.
    fn heard(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let mut bytes = [0; 1024];
        let len = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..len]).into_owned())
    }

    /// The next message that begins with `start`.
    fn wait_for(&self, start: &str) -> String {
        (0..100)
            .find_map(|_| self.heard(Duration::from_secs(10)).filter(|message| message.starts_with(start)))
            .unwrap_or_else(|| panic!("never heard {start}"))
    }
}

#[test]
fn it_tells_that_it_is_ready_and_how_it_is() {
    let managed = Managed::start();
    let ready = managed.heard(Duration::from_secs(10)).expect("a message");
    let place = managed.agent.programs();
    assert_eq!(ready, format!("READY=1\nSTATUS=solo in network test, programs at {place}; 0 connections"));
    let mut client = TcpStream::connect(place).unwrap();
    client.write_all(CONNECT).unwrap();
    assert!(managed.wait_for("WATCHDOG=1\nSTATUS=").ends_with("; 1 connections"));
}

#[test]
fn the_watchdog_is_fed_by_a_loop_that_turns_and_not_by_a_frozen_one() {
    let managed = Managed::start();
    managed.wait_for("READY=1");
    for _ in 0..3 {
        let fed = managed.heard(WATCHDOG / 2).expect("a sign of life in half the time");
        assert_eq!(fed, "WATCHDOG=1");
    }
    managed.agent.signal("STOP");
    while managed.heard(Duration::from_millis(50)).is_some() {}
    assert_eq!(managed.heard(WATCHDOG * 2), None);
    managed.agent.signal("CONT");
    managed.wait_for("WATCHDOG=1");
}

#[test]
fn sighup_looks_at_the_topology_again_and_says_what_came_of_it() {
    let managed = Managed::start();
    managed.wait_for("READY=1");
    let cases = [
        (solo(""), None),
        ("version: 1\nnetwork: test\n".to_owned(), Some("; not reloaded: ")),
        (solo("").replace("host: localhost", "host: localhost, limits: { connections: 7 }"), None),
        (solo("").replace("network: test", "network: other"), Some("restart it")),
        (solo(""), None),
    ];
    for (text, note) in cases {
        fs::write(&managed.topology, &text).unwrap();
        managed.agent.signal("HUP");
        let reloading = managed.wait_for("RELOADING=1");
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("when it began");
        assert!(micros.parse::<u64>().is_ok(), "{reloading}");
        let status = managed.wait_for("READY=1");
        match note {
            Some(note) => assert!(status.contains(note), "{status}"),
            None => assert!(status.ends_with("; 0 connections"), "{status}"),
        }
    }
    TcpStream::connect(managed.agent.programs()).expect("the door stands open all the while");
}

#[test]
fn it_tells_that_it_stops() {
    let mut managed = Managed::start();
    managed.agent.stop();
    managed.wait_for("STOPPING=1");
}

/// `hobnail run` with a listening socket handed over as the only one.
fn with_socket(listener: &TcpListener) -> Command {
    let topology = solo("").replace("127.0.0.1:0", &listener.local_addr().unwrap().to_string());
    let mut command = agent::hobnail(&topology, "solo");
    let socket = OwnedFd::from(listener.try_clone().unwrap());
    // The number of the first socket is a word of the crate that takes them; a manager begins at 3.
    command.stdin(socket).env("LISTEN_FDS", "1").env("LISTEN_FDS_FIRST_FD", "0");
    command
}

#[test]
fn nobody_is_refused_between_two_agents_that_share_an_inherited_door() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut first = Agent::spawn(&mut with_socket(&listener));
    assert_eq!(first.programs(), listener.local_addr().unwrap());
    first.kill();
    let mut waiting = TcpStream::connect(listener.local_addr().unwrap()).expect("taken by the system meanwhile");
    waiting.write_all(CONNECT).unwrap();
    let _second = Agent::spawn(&mut with_socket(&listener));
    waiting.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = [0; 4];
    waiting.read_exact(&mut answer).expect("an answer from the second agent");
    assert_eq!(answer, *b"\x20\x02\0\0");
}

#[test]
fn an_inherited_door_that_was_elsewhere_comes_back_and_serves_those_who_came_meanwhile() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = listener.local_addr().unwrap();
    let mut command = with_socket(&listener);
    let topology = PathBuf::from(command.get_args().nth(1).expect("run FILE"));
    let agent = Agent::spawn(&mut command);
    assert_eq!(agent.programs(), there);
    let reload = |text: &str| {
        fs::write(&topology, text).unwrap();
        let mut reload = Command::new(env!("CARGO_BIN_EXE_hobnail"));
        let reloaded =
            reload.arg("reload").env("HOBNAIL_CONTROL", topology.with_file_name("control")).output().unwrap();
        assert!(reloaded.status.success(), "{}", String::from_utf8_lossy(&reloaded.stderr));
    };
    let home = fs::read_to_string(&topology).unwrap();
    for _ in 0..2 {
        reload(&solo(""));
        // The system takes it in, as the manager's socket listens on.
        let mut waiting = TcpStream::connect(there).unwrap();
        waiting.write_all(CONNECT).unwrap();
        reload(&home);
        waiting.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut answer = [0; 4];
        waiting.read_exact(&mut answer).expect("an answer once the door is back");
        assert_eq!(answer, *b"\x20\x02\0\0");
    }
}
