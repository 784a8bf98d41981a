//! What an earlier hobnail left on its disk is there for this one. `tests/disks-earlier/1` has the store of three machines as
//! version 1 of the format has it: whoever changes what is written so that this fails gives the format a new version, and
//! reads both. `HOBNAIL_BLESS=1` writes them anew, which is right only as long as nobody has disks of that version.

mod store {
    #[expect(dead_code, reason = "other tests use the rest of it")]
    pub mod machine;
    #[expect(dead_code, reason = "other tests use the rest of it")]
    pub mod wire;
}
#[path = "support/ports.rs"]
mod ports;

use std::fs;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use store::machine::{Machine, network, until};
use store::wire::{packet, read_packet, text};

/// Who listens does so for this long.
const LISTEN_S: &str = "1";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disks-earlier").join(name)
}

fn is_blessed() -> bool {
    let is_blessed = std::env::var_os("HOBNAIL_BLESS").is_some();
    if is_blessed {
        fs::create_dir_all(file("1")).expect("a folder");
    }
    is_blessed
}

fn store_of(machine: &Machine, name: &str) -> PathBuf {
    machine.path("state/test").join(name).join("store")
}

/// Its segments, without the room that was made beforehand.
fn write_down(machine: &Machine, name: &str) {
    let to = file("1").join(name);
    fs::create_dir_all(&to).expect("a folder");
    for segment in segments(&store_of(machine, name)) {
        let log = fs::read(&segment).expect("readable");
        let end = log.iter().rposition(|byte| *byte != 0).expect("something") + 1;
        fs::write(to.join(segment.file_name().expect("a name")), &log[..end]).expect("written");
    }
}

fn give(machine: &Machine, name: &str) {
    let to = store_of(machine, name);
    fs::create_dir_all(&to).expect("a folder");
    for segment in segments(&file("1").join(name)) {
        fs::copy(&segment, to.join(segment.file_name().expect("a name"))).expect("written");
    }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path());
    all.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect()
}

fn mosquitto(program: &str, door: SocketAddr, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(["-p", &door.port().to_string(), "-q", "2"]).args(args).stdin(Stdio::null());
    let output = command.output().expect("tests/setup installs it");
    String::from_utf8(output.stdout).expect("text")
}

fn publish(door: SocketAddr, args: &[&str]) {
    mosquitto("mosquitto_pub", door, args);
}

/// A durable subscriber comes once and goes.
fn subscribe(door: SocketAddr, filter: &str) {
    mosquitto("mosquitto_sub", door, &["-c", "-i", "ears", "-t", filter, "-E"]);
}

/// What waits for it, a line each with QoS and topic.
fn heard(door: SocketAddr, filter: &str) -> Vec<String> {
    lines(door, &["-c", "-i", "ears", "-t", filter])
}

fn retained(door: SocketAddr) -> Vec<String> {
    lines(door, &["-t", "state/#"])
}

fn lines(door: SocketAddr, args: &[&str]) -> Vec<String> {
    let args = [args, &["-W", LISTEN_S, "-F", "%q %t %p"]].concat();
    mosquitto("mosquitto_sub", door, &args).lines().map(str::to_owned).collect()
}

/// A subscriber of MQTT 5 refuses one message.
fn refuse(door: SocketAddr, topic: &str) {
    let mut stream = TcpStream::connect(door).expect("a door");
    let mut input = BufReader::new(stream.try_clone().expect("a handle"));
    let connect = [&b"\0\x04MQTT\x05\0\0\0\x05\x11\xFF\xFF\xFF\xFF"[..], &text("picky")].concat();
    stream.write_all(&packet(0x10, &connect)).expect("sent");
    stream.write_all(&packet(0x82, &[&b"\0\x01\0"[..], &text(topic), b"\x01"].concat())).expect("sent");
    publish(door, &["-t", topic, "-m", "refused"]);
    let (_, body) = loop {
        let (first, body) = read_packet(&mut input).expect("an agent");
        if first >> 4 == 3 {
            break (first, body);
        }
    };
    let id = &body[2 + topic.len()..][..2];
    stream.write_all(&packet(0x40, &[id, b"\x83"].concat())).expect("sent");
}

fn dead(machine: &Machine) -> String {
    let output = machine.hobnail(&["dead", "list"]).output().expect("it runs");
    String::from_utf8(output.stdout).expect("text")
}

/// Nothing on the disk was in the way.
fn expect_believed(machine: &Machine) {
    let disk = &machine.status()["disk"];
    assert_eq!((&disk["refused"], &disk["set_aside"]), (&0.into(), &0.into()), "{disk:#}\n{}", machine.log());
}

/// What every machine of the network has for a key.
fn share_key(machines: &[Machine]) {
    for machine in machines {
        let key = machine.path("keys/k1.key");
        fs::copy(file("1/k1.key"), &key).expect("written");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("its own");
    }
}

#[test]
fn sessions_retained_messages_and_dead_letters() {
    let mut solo = Machine::solo("");
    if is_blessed() {
        solo.start();
        refuse(solo.door, "no/thanks");
        until("it is dead", || dead(&solo).contains("picky"));
        subscribe(solo.door, "line/#");
        publish(solo.door, &["-t", "line/1", "-q", "1", "-m", "one"]);
        publish(solo.door, &["-t", "line/2", "-m", "two", "-V", "5", "-D", "publish", "user-property", "a", "b"]);
        publish(solo.door, &["-t", "state/1", "-r", "-m", "kept"]);
        publish(solo.door, &["-t", "state/2", "-r", "-m", "cleared"]);
        publish(solo.door, &["-t", "state/2", "-r", "-n"]);
        solo.kill();
        write_down(&solo, "solo");
        solo = Machine::solo("");
    }
    give(&solo, "solo");
    solo.start();
    expect_believed(&solo);
    assert_eq!(heard(solo.door, "line/#"), ["1 line/1 one", "2 line/2 two"]);
    assert_eq!(retained(solo.door), ["2 state/1 kept"]);
    let dead = dead(&solo);
    assert!(dead.contains("picky") && dead.contains("no/thanks"), "{dead}");
}

#[test]
fn what_machines_have_for_each_other() {
    let machines = network();
    if is_blessed() {
        fs::copy(machines[0].path("keys/k1.key"), file("1/k1.key")).expect("written");
        leave_something(machines);
    }
    let machines = network();
    share_key(&machines);
    let [mut hub, _, mut press] = machines;
    for (machine, name) in [(&mut hub, "hub"), (&mut press, "press")] {
        give(machine, name);
        machine.start();
        expect_believed(machine);
    }
    let mut lines = Vec::new();
    until("all is there", || {
        lines.extend(heard(hub.door, "line/#"));
        lines.len() >= 3
    });
    assert_eq!(lines, ["1 line/1 before", "1 line/1 away", "2 line/2 away"]);
    assert_eq!(heard(press.door, "cmd/#"), ["2 cmd/1 go"]);
    for machine in [&hub, &press] {
        assert_eq!(retained(machine.door), ["2 state/1 kept"]);
    }
}

/// The hub has for the press, the press for the hub, and neither has more than one disk for it, since the spare never runs.
fn leave_something([mut hub, _, mut press]: [Machine; 3]) {
    hub.start();
    press.start();
    subscribe(hub.door, "line/#");
    subscribe(press.door, "cmd/#");
    // Who wants what is known when this has come through.
    until("linked", || {
        publish(hub.door, &["-t", "state/1", "-r", "-m", "kept"]);
        retained(press.door) == ["2 state/1 kept"]
    });
    publish(press.door, &["-t", "line/1", "-q", "1", "-m", "before"]);
    until("the hub has it", || hub.status()["counters"]["inward_received"].as_u64() > Some(0));
    press.kill();
    publish(hub.door, &["-t", "cmd/1", "-m", "go"]);
    hub.kill();
    press.start();
    publish(press.door, &["-t", "line/1", "-q", "1", "-m", "away"]);
    publish(press.door, &["-t", "line/2", "-m", "away"]);
    press.kill();
    write_down(&hub, "hub");
    write_down(&press, "press");
}
