//! `record` and `play` between real agents, and MCAP's own reader over what was recorded.

#[expect(dead_code, reason = "shared with tests/talk.rs, which uses all of it")]
#[path = "talk/door.rs"]
mod door;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use door::{Door, Running};

const PROPS: [&str; 17] = [
    "-D",
    "publish",
    "content-type",
    "text/plain",
    "-D",
    "publish",
    "response-topic",
    "r/1",
    "-D",
    "publish",
    "correlation-data",
    "c7",
    "-D",
    "publish",
    "user-property",
    "colour",
    "red",
];
/// What a listener prints of a message: everything that a recording keeps.
const ALL: &str = "%t %p %q %r %C %R %D %P";

fn record(door: &Door, file: &Path, args: &[&str]) -> Running {
    let mut recorder = door.start("record", &[&["-o", file.to_str().unwrap()], args].concat());
    recorder.expect("recording to");
    recorder
}

fn publish(door: &Door, topic: &str, payload: &str, more: &[&str]) {
    door.run("pub", &[&["-t", topic, "-m", payload], more].concat()).ok();
}

fn listen(door: &Door, count: &str) -> Running {
    let mut listener =
        door.start("sub", &["-t", "#", "-q", "2", "--retain-as-published", "-F", ALL, "-C", count, "-d"]);
    listener.expect("< SUBACK");
    listener
}

/// Four messages of all kinds.
fn traffic(door: &Door) {
    publish(door, "a/1", "one", &["-q", "1"]);
    publish(door, "b", "two", &[&["-q", "2", "-r"], &PROPS[..]].concat());
    publish(door, "a/1", "three", &[]);
    publish(door, "a/ü", "four", &["-q", "1"]);
}

/// A finished recording of that traffic, and what a listener saw of it.
fn recorded(file: &Path) -> String {
    let door = Door::open("");
    let listener = listen(&door, "4");
    let recorder = record(&door, file, &["#", "-C", "4"]);
    traffic(&door);
    recorder.finish().ok();
    listener.finish().ok()
}

#[test]
fn what_was_recorded_is_played_to_another_agent_with_all_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("traffic.mcap");
    let wanted = recorded(&file);
    assert!(wanted.contains("b two 2 1 text/plain r/1 c7 colour:red"), "{wanted}");
    let other = Door::open("");
    let listener = listen(&other, "4");
    let played = other.run("play", &[file.to_str().unwrap(), "--speed", "max"]);
    assert!(played.err.contains("4 messages"), "{}", played.err);
    assert_eq!((played.code, listener.finish().ok()), (Some(0), wanted));
}

#[test]
fn a_part_is_played_under_a_prefix_at_the_pace_of_the_recording_or_faster() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("traffic.mcap");
    let (door, path) = (Door::open(""), file.to_str().unwrap());
    let recorder = record(&door, &file, &["a/#", "-C", "2"]);
    publish(&door, "a/1", "one", &[]);
    std::thread::sleep(Duration::from_secs(2));
    publish(&door, "a/2", "two", &[]);
    recorder.finish().ok();
    for (speed, at_least, below) in [("1", 2.0, 60.0), ("4", 0.5, 60.0), ("max", 0.0, 2.0)] {
        let listener = listen(&door, "2");
        let start = Instant::now();
        door.run("play", &[path, "--speed", speed, "--prefix", "again/"]).ok();
        let took = start.elapsed().as_secs_f64();
        assert!((at_least..below).contains(&took), "{speed}: {took} s");
        assert_eq!(listener.finish().ok(), "again/a/1 one 0 0    \nagain/a/2 two 0 0    \n");
    }
    let played = door.run("play", &[path, "--topic", "+/2"]);
    assert!(played.err.contains("1 message,"), "{}", played.err);
}

#[test]
fn a_recording_ends_properly_on_ctrl_c_and_after_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let door = Door::open("");
    let end = b"\x89MCAP0\r\n";
    let by_hand = folder.path().join("by-hand.mcap");
    let recorder = record(&door, &by_hand, &["#"]);
    recorder.signal("INT");
    assert_eq!(recorder.finish().code, Some(0));
    let by_time = folder.path().join("by-time.mcap");
    record(&door, &by_time, &["#", "--for", "0.5s"]).finish().ok();
    for file in [by_hand, by_time] {
        assert!(fs::read(&file).unwrap().ends_with(end));
        let played = door.run("play", &[file.to_str().unwrap()]);
        assert!(played.code == Some(0) && !played.err.contains("breaks off"), "{}", played.err);
    }
}

#[test]
fn what_a_killed_recorder_has_acknowledged_is_played_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("killed.mcap");
    let door = Door::open("");
    let mut recorder = record(&door, &file, &["#", "-d"]);
    publish(&door, "a", "one", &["-q", "1"]);
    recorder.expect("< PUBLISH");
    door::until("it is in the file", || fs::read(&file).unwrap().ends_with(b"one"));
    recorder.child.kill().unwrap();
    recorder.child.wait().unwrap();
    let played = door.run("play", &[file.to_str().unwrap()]);
    assert_eq!(played.code, Some(0));
    assert!(played.err.contains("1 message,") && played.err.contains("breaks off"), "{}", played.err);
}

#[test]
fn a_full_disk_ends_the_recording_with_an_error() {
    let door = Door::open("");
    let done = door.run("record", &["#", "-o", "/dev/full", "--force"]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("cannot write /dev/full: No space left on device"), "{}", done.err);
}

#[test]
fn a_file_that_is_there_is_left_alone_without_force() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine");
    fs::write(&file, "mine").unwrap();
    let (door, path) = (Door::open(""), file.to_str().unwrap());
    assert_eq!(door.run("record", &["#", "-o", path]).code, Some(2));
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    let done = door.run("play", &[path]);
    assert_eq!((done.code, done.err.contains("no MCAP file")), (Some(1), true), "{}", done.err);
    record(&door, &file, &["#", "--force", "--for", "0.1s"]).finish().ok();
    assert!(fs::read(&file).unwrap().starts_with(b"\x89MCAP"));
}

#[test]
fn a_subscription_that_is_refused_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("refused.mcap");
    let door = Door::open("rights: { publish: [\"a/#\"], subscribe: [\"a/#\"] }\n");
    let done = door.run("record", &["b", "-o", file.to_str().unwrap()]);
    assert_eq!((done.code, file.exists()), (Some(1), false), "{}", done.err);
}

#[test]
fn a_command_line_that_cannot_be_meant_ends_with_2() {
    let door = Door::open("");
    for (command, args) in [
        ("record", &["#"][..]),
        ("record", &["-o", "/tmp/never"]),
        ("record", &["a/#/b", "-o", "/tmp/never"]),
        ("record", &["$share/g/a", "-o", "/tmp/never"]),
        ("record", &["#", "-o", "/tmp/never", "--for", "10"]),
        ("record", &["#", "-o", "/tmp/never", "-V", "311"]),
        ("play", &["/tmp/never", "--speed", "0"]),
        ("play", &["/tmp/never", "--prefix", "+/"]),
    ] {
        assert_eq!(door.run(command, args).code, Some(2), "{command} {args:?}");
    }
}

#[test]
fn the_reader_of_the_mcap_project_reads_it_whole_and_cut() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    let knows =
        |python: &Path| Command::new(python).args(["-c", "import mcap"]).status().is_ok_and(|done| done.success());
    if !knows(&python) {
        assert!(std::env::var_os("CI").is_none(), "mcap is missing; run tests/setup");
        eprintln!("skipped: mcap is missing; run tests/setup");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("traffic.mcap");
    recorded(&file);
    let read = |more: &[&str]| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recording/read.py");
        let output = Command::new(&python).arg(script).arg(&file).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let messages = [
        r#"["a/1", {"qos": "1", "retain": "false"}, "one", {}]"#,
        r#"["b", {"qos": "2", "retain": "true"}, "two", {"content-type": "text/plain", "response-topic": "r/1", "correlation-data": "6337", "user:3:colour": "red"}]"#,
        r#"["a/1", {"qos": "0", "retain": "false"}, "three", {}]"#,
        r#"["a/ü", {"qos": "1", "retain": "false"}, "four", {}]"#,
    ];
    assert_eq!(read(&["seeking"]), messages.join("\n") + "\nseeking: 4\nall well\n");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 80]).unwrap();
    assert_eq!(read(&[]), messages[..3].join("\n") + "\ncut\nall well\n");
}
