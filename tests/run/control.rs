//! The control socket of a running agent, from outside: with curl, with `hobnail status`, and with those who mean ill.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::agent::{Agent, hobnail, solo, tool};

/// An agent, and where it is asked.
struct Asked {
    agent: Agent,
    folder: tempfile::TempDir,
}

impl Asked {
    fn start(topology: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = Agent::spawn(hobnail(topology, "solo").arg("--control").arg(folder.path().join("control")));
        Self { agent, folder }
    }

    fn control(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    fn programs(&self) -> TcpStream {
        TcpStream::connect(self.agent.programs()).expect("the door is open")
    }
}

/// The agent's answer to these bytes, until it closes.
fn raw(agent: &Asked, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(agent.control()).expect("the control socket is there");
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, then the end");
    answer
}

fn status_of(agent: &Asked, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    command.arg("status").arg("--control").arg(agent.control()).args(more).output().expect("hobnail runs")
}

fn status(agent: &Asked) -> Value {
    let output = status_of(agent, &["--json"]);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn curl_reads_the_status_as_json() {
    let Some(curl) = tool("curl") else { return };
    let agent = Asked::start(&solo(""));
    let output = Command::new(curl)
        .args(["-sS", "--fail", "--unix-socket"])
        .arg(agent.control())
        .arg("http://hobnail/v1/status")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&status["name"], &status["network"], &status["role"]),
        (&"solo".into(), &"test".into(), &"broker".into())
    );
    assert_eq!(status["health"], Value::Array(Vec::new()));
    assert!(status["resident_bytes"].as_u64().is_some_and(|bytes| bytes > 100_000), "{status}");
    assert!(status["doors"][0].as_str().is_some_and(|door| door.starts_with("programs at 127.0.0.1:")), "{status}");
}

#[test]
fn the_socket_is_for_user_and_group_alone_and_goes_with_the_agent() {
    let mut agent = Asked::start(&solo(""));
    let mode = std::fs::metadata(agent.control()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
    assert!(agent.agent.stop().success());
    assert!(!agent.control().exists());
}

#[test]
fn status_counts_what_programs_do() {
    let agent = Asked::start(&solo(""));
    let mut program = agent.programs();
    program.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a\x32\x05\0\x01t\0\x01").unwrap();
    let mut answers = [0; 8];
    program.read_exact(&mut answers).unwrap();
    let status = status(&agent);
    assert_eq!(status["broker"]["connections"], 1);
    assert_eq!(status["counters"]["publishes_received"], 1);
}

#[test]
fn status_is_a_page_that_begins_with_how_it_is() {
    let agent = Asked::start(&solo(""));
    let output = status_of(&agent, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("solo in network test: broker, up "), "{text}");
    assert!(text.contains("\n\nall is well\n\ndoors      programs at 127.0.0.1:"), "{text}");
    assert!(!text.contains('\x1b'), "no colours where nobody looks");
}

#[test]
fn a_problem_stands_first_with_its_cure_and_ends_with_one() {
    let agent = Asked::start(&solo("}\nlimits: { queue: 1"));
    let mut slow = agent.programs();
    // A durable session that subscribes and goes away; then three messages that wait for it, where one may.
    slow.write_all(b"\x10\x0d\0\x04MQTT\x04\0\0\0\0\x01s\x82\x06\0\x01\0\x01t\x01\xe0\0").unwrap();
    slow.read_to_end(&mut Vec::new()).unwrap();
    let mut program = agent.programs();
    program.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01p").unwrap();
    program.write_all(&b"\x32\x05\0\x01t\0\x01".repeat(3)).unwrap();
    program.read_exact(&mut [0; 16]).unwrap();
    let output = status_of(&agent, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\n\nproblem[messages-dropped]: 2 messages dropped at a full queue"), "{text}");
    assert!(text.contains("\n  cure: "), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn where_no_agent_answers_it_says_where_it_looked_and_to_try_later() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    command.args(["status", "--name", "nobody-of-that-name"]).env_remove("HOBNAIL_CONTROL");
    let output = command.env("RUNTIME_DIRECTORY", folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(75));
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(talk.contains("nobody-of-that-name") && talk.contains(folder.path().to_str().unwrap()), "{talk}");
}

#[test]
fn an_agent_under_a_service_manager_is_found_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = hobnail(&solo(""), "solo");
    let command = command.env_remove("HOBNAIL_CONTROL").env("RUNTIME_DIRECTORY", folder.path());
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !folder.path().join("solo.sock").exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut status = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    let status = status.args(["status", "--name", "solo"]).env_remove("HOBNAIL_CONTROL");
    let output = status.env("RUNTIME_DIRECTORY", folder.path()).output().unwrap();
    // It is of no more use, whatever came of it.
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_makes_no_sense_is_answered_and_hurts_nobody() {
    let agent = Asked::start(&solo(""));
    let long = [b"GET /".to_vec(), vec![b'a'; 20_000]].concat();
    for (bytes, code) in [
        (&b"GET /nothing HTTP/1.1\r\n\r\n"[..], "404 Not Found"),
        (b"POST /v1/status HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (b"BREW /v1/status HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (b"POST /v1/status HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", "413 Content Too Large"),
        (b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a", "400 Bad Request"),
    ] {
        let answer = raw(&agent, bytes);
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}\r\n")), "{answer}");
        assert!(answer.contains("{\"error\":\""), "{answer}");
    }
    let mut stream = UnixStream::connect(agent.control()).unwrap();
    // It may be answered, or cut off in the middle of writing; either way the agent lives.
    let _ = stream.write_all(&long);
    assert_eq!(status(&agent)["name"], "solo");
}

#[test]
fn those_who_ask_nothing_keep_the_others_waiting_for_seconds_only() {
    let agent = Asked::start(&solo(""));
    let _silent: Vec<UnixStream> = (0..20).map(|_| UnixStream::connect(agent.control()).unwrap()).collect();
    let started = Instant::now();
    assert_eq!(status(&agent)["name"], "solo");
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
}
