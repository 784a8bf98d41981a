//! A message that its subscriber refuses: set aside, there after a kill, and sent once more when somebody says so.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::agent::{Agent, hobnail, solo};

/// CONNECT of version 5 with a session that stays for an hour.
const CONNECT: &[u8] = b"\x10\x15\0\x04MQTT\x05\0\0\0\x05\x11\0\0\x0e\x10\0\x03sub";
const SUBSCRIBE: &[u8] = b"\x82\x07\0\x01\0\0\x01t\x01";
const PUBLISH: &[u8] = b"\x32\x07\0\x01t\0\x07\0x";

/// The next packet of this type, others passed over: its body.
fn next(stream: &mut TcpStream, kind: u8) -> Vec<u8> {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).expect("a packet within the time limit");
        let mut body = vec![0; head[1].into()];
        stream.read_exact(&mut body).expect("all of it");
        if head[0] >> 4 == kind {
            return body;
        }
    }
}

fn subscriber(agent: &Agent) -> TcpStream {
    let mut stream = TcpStream::connect(agent.programs()).expect("the door is open");
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(CONNECT).unwrap();
    assert_eq!(next(&mut stream, 2)[1], 0, "it is let in");
    stream
}

fn dead(control: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    command.arg("dead").args(words).arg("--control").arg(control).output().expect("hobnail runs")
}

fn status(control: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    command.args(["status", "--json", "--control"]).arg(control).output().expect("hobnail runs")
}

fn read(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn list_of(control: &Path, count: usize) -> Vec<Value> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let list = read(&dead(control, &["list", "--json"]))["dead"].as_array().expect("a list").clone();
        if list.len() == count {
            return list;
        }
        assert!(Instant::now() < end, "{count} dead letters are not {list:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_refused_message_is_set_aside_over_a_kill_until_it_is_sent_once_more() {
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("control");
    let mut command = hobnail(&solo(""), "solo");
    command.arg("--control").arg(&control);
    let mut agent = Agent::spawn(&mut command);
    let mut stream = subscriber(&agent);
    stream.write_all(&[SUBSCRIBE, PUBLISH].concat()).unwrap();
    let published = next(&mut stream, 3);
    let id = [published[3], published[4]];
    stream.write_all(&[0x40, 3, id[0], id[1], 0x83]).unwrap();
    let letter = list_of(&control, 1).remove(0);
    assert_eq!((&letter["client"], &letter["topic"], &letter["times"]), (&json!("sub"), &json!("t"), &json!(1)));
    assert_eq!(letter["reason"], "refused with reason code 0x83");
    // What comes later is answered once everything before it is on disk.
    stream.write_all(b"\x32\x07\0\x01t\0\x08\0x").unwrap();
    while next(&mut stream, 4)[..2] != [0, 8] {}
    agent.kill();

    let agent = Agent::spawn(&mut command);
    assert_eq!(list_of(&control, 1).first(), Some(&letter));
    let health = || read(&status(&control))["health"].to_string();
    assert!(health().contains("dead-letters"), "{}", health());
    let number = letter["number"].to_string();
    assert_eq!(read(&dead(&control, &["show", &number, "--json"]))["payload"], "x");
    assert!(String::from_utf8(dead(&control, &["list"]).stdout).unwrap().contains("sub  t  1 bytes, failed once"));
    assert!(dead(&control, &["requeue", &number]).status.success());
    list_of(&control, 0);
    assert!(!health().contains("dead-letters"), "{}", health());
    let mut stream = subscriber(&agent);
    for _ in 0..2 {
        let again = next(&mut stream, 3);
        assert_eq!(again.last(), Some(&b'x'));
        stream.write_all(&[0x40, 2, again[3], again[4]]).unwrap();
    }
    assert_eq!(dead(&control, &["drop", &number]).status.code(), Some(1), "it is not there any more");
}
