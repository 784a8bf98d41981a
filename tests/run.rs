//! The running agent, from outside: it starts, says where it is, serves real clients, and stops when it is told to.

mod run {
    pub mod agent;
    mod control;
    mod dead;
    mod doctor;
    mod manager;
    mod saving;
    mod together;
}
#[path = "support/ports.rs"]
mod ports;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use run::agent::{self, Agent, solo};

/// CONNECT of 3.1.1 with a clean session and the client id `id`.
fn connect(id: &str) -> Vec<u8> {
    let mut packet = b"\x10\0\0\x04MQTT\x04\x02\0\0\0".to_vec();
    packet.push(id.len() as u8);
    packet.extend(id.as_bytes());
    packet[1] = (packet.len() - 2) as u8;
    packet
}

fn expect(stream: &mut impl Read, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).expect("an answer within the time limit");
    assert_eq!(got, bytes);
}

fn program(agent: &Agent, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(agent.programs()).expect("the door is open");
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&connect(id)).unwrap();
    expect(&mut stream, b"\x20\x02\0\0");
    stream
}

#[test]
fn it_says_what_it_is_and_where_in_one_line() {
    let agent = Agent::start(&solo(""), "solo");
    assert!(
        agent.line().starts_with("hobnail 0.1.0: solo in network test, programs at 127.0.0.1:"),
        "{}",
        agent.line()
    );
}

#[test]
fn a_message_reaches_a_subscriber_and_its_publisher_is_answered() {
    let agent = Agent::start(&solo(""), "solo");
    let (mut subscriber, mut publisher) = (program(&agent, "s"), program(&agent, "p"));
    subscriber.write_all(b"\x82\x06\0\x01\0\x01#\x01").unwrap();
    expect(&mut subscriber, b"\x90\x03\0\x01\x01");
    publisher.write_all(b"\x32\x07\0\x01a\0\x09hi").unwrap();
    expect(&mut publisher, b"\x40\x02\0\x09");
    expect(&mut subscriber, b"\x32\x07\0\x01a\0\x01hi");
}

#[test]
fn the_unix_socket_is_a_door_too_and_one_left_from_a_crash_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("h.sock");
    let topology = solo(&format!(", unix: \"{}\"", path.display()));
    let mut first = Agent::start(&topology, "solo");
    first.kill();
    assert!(path.exists(), "a killed agent leaves its socket behind");
    let _second = Agent::start(&topology, "solo");
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&connect("u")).unwrap();
    expect(&mut stream, b"\x20\x02\0\0");
}

#[test]
fn sigterm_stops_it_at_once_and_cleanly() {
    let mut agent = Agent::start(&solo(""), "solo");
    let mut client = program(&agent, "c");
    let status = agent.stop();
    assert_eq!(status.code(), Some(0));
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("closed, not reset");
}

#[test]
fn a_door_that_is_taken_is_named_with_a_guess_who_has_it() {
    let agent = Agent::start(&solo(""), "solo");
    let topology = solo("").replace("127.0.0.1:0", &agent.programs().to_string());
    let output = agent::hobnail(&topology, "solo").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(&format!("failed to bind {}", agent.programs())), "{told}");
    assert!(told.contains("address in use; is mosquitto or another hobnail running?"), "{told}");
}

#[test]
fn a_bad_topology_and_a_name_that_is_not_in_it_exit_78() {
    for (topology, name) in [("version: 1\n".to_owned(), "solo"), (solo(""), "nobody")] {
        let output = agent::hobnail(&topology, name).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn sixty_four_silent_connections_keep_nobody_out() {
    let agent = Agent::start(&solo(""), "solo");
    let silent: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(agent.programs()).unwrap()).collect();
    let _innocent = program(&agent, "innocent");
    drop(silent);
}

#[test]
fn mosquittos_own_programs_are_served_at_every_qos_in_every_version() {
    let Some(sub) = agent::tool("mosquitto_sub") else { return };
    let Some(publ) = agent::tool("mosquitto_pub") else { return };
    let agent = Agent::start(&solo(""), "solo");
    let port = agent.programs().port().to_string();
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let topic = format!("été/{version}/{qos}");
            let sent = Command::new(&publ)
                .args(["-p", &port, "-V", version, "-q", qos, "-t", &topic, "-m", "kept", "-r"])
                .status()
                .unwrap();
            assert!(sent.success());
            let args = ["-p", &port, "-V", version, "-q", qos, "-t", &topic, "-C", "1", "-W", "10", "-v"];
            let got = Command::new(&sub).args(args).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&got.stdout), format!("{topic} kept\n"));
        }
    }
}

/// How often any thread of the process has slept of its own will.
fn switches(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let texts = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    let counted = texts.filter_map(|text| {
        let count = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        count.trim().parse::<u64>().ok()
    });
    counted.sum()
}

#[test]
fn an_agent_with_nothing_to_do_wakes_up_less_than_five_times_a_second() {
    let agent = Agent::start(&solo(""), "solo");
    // Its first look at its file is over, and the first after that is within.
    std::thread::sleep(Duration::from_secs(1));
    let before = switches(agent.pid());
    std::thread::sleep(Duration::from_secs(4));
    let woken = switches(agent.pid()).saturating_sub(before);
    assert!(woken < 20, "{woken} times in 4 s");
}
