//! `hobnail doctor disk` on good, full and read-only disks, and through a plug that is pulled: the file is taken as it is
//! while the test is killed, and what is asked afterwards is asked under another name of the system's start.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::mounts::{Ext4, Tmpfs};

const WAIT: Duration = Duration::from_secs(20);
const FILE: &str = "doctor-plug-pull";

fn doctor(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    command.args(["doctor", "disk"]).args(args).env_remove("HOBNAIL_STATE").env_remove("HOBNAIL_CONTROL");
    command
}

fn on(folder: &Path, args: &[&str]) -> Output {
    doctor(args).arg("--state").arg(folder).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().count() == 0
}

#[test]
fn a_good_disk_is_timed_and_a_full_and_a_read_only_one_are_told_with_a_cure() {
    let Some(disk) = Tmpfs::new("size=8m") else { return };
    let timed = on(&disk.path(), &["--commits", "20", "--json"]);
    let facts: Value = serde_json::from_slice(&timed.stdout).expect("JSON");
    assert_eq!((timed.status.code(), facts["commits"].as_u64()), (Some(0), Some(20)));
    assert!(facts["device"].is_null(), "memory does not wear: {facts}");
    assert!(is_empty(&disk.path()));

    disk.fill();
    let full = on(&disk.path(), &[]);
    assert_eq!(full.status.code(), Some(1));
    assert!(told(&full).contains("no space left on device") && told(&full).contains("cure: make room"), "{full:?}");
    assert!(!disk.path().join("doctor-commits").exists(), "what found no room is removed");

    let Some(card) = Ext4::new("card") else { return };
    let folder = card.path().parent().unwrap().to_owned();
    let facts: Value = serde_json::from_slice(&on(&folder, &["--commits", "20", "--json"]).stdout).expect("JSON");
    assert!(facts["device"]["name"].as_str().is_some_and(|name| name.starts_with("loop")), "{facts}");
    let asked = facts["device"]["bytes_per_byte"].as_f64().unwrap();
    assert!((1.0..50.0).contains(&asked), "{facts}");
    card.remount("ro");
    let refused = on(&folder, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(told(&refused).contains("read-only file system") && told(&refused).contains("cure: a card that fails"));
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn witness() -> (Running, String) {
    let mut witness = Running(doctor(&["--witness", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(witness.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split_once(" at ").and_then(|(_, rest)| rest.split_once(';')).expect("an address").0.to_owned();
    (witness, address)
}

/// The newest number that it was told of.
fn heard(witness: &str) -> Option<u64> {
    let mut stream = TcpStream::connect(witness).unwrap();
    stream.write_all(b"heard\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.trim().rsplit(' ').next().and_then(|number| number.parse().ok())
}

/// The same command on a system that was started once more.
fn after_a_start(folder: &Path, args: &[&str]) -> Output {
    let id = folder.with_extension("boot");
    fs::write(&id, "00000000-1111-2222-3333-444444444444\n").unwrap();
    let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
    let doctor = doctor(args);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(&id).arg(doctor.get_program()).args(doctor.get_args());
    command.arg("--state").arg(folder).env_remove("HOBNAIL_STATE").output().unwrap()
}

#[test]
fn a_disk_that_has_less_after_the_plug_was_pulled_than_it_said_is_found_out() {
    if !super::mounts::may_mount() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("state");
    fs::create_dir(&folder).unwrap();
    for (left, verdict, code) in [(None, "kept", 0), (Some(2 * 4096 + 100), "lost", 1)] {
        let (_witness, address) = witness();
        let mut writing = Running(doctor(&["--plug-pull", &address]).arg("--state").arg(&folder).spawn().unwrap());
        let until = Instant::now() + WAIT;
        while heard(&address).is_none_or(|number| number < 5) {
            assert!(Instant::now() < until, "nothing is told");
            thread::sleep(Duration::from_millis(10));
        }
        writing.0.kill().unwrap();
        writing.0.wait().unwrap();
        let same = on(&folder, &["--pulled", &address, "--json"]);
        let facts: Value = serde_json::from_slice(&same.stdout).expect("JSON");
        assert_eq!((same.status.code(), facts["verdict"].as_str()), (Some(75), Some("not-pulled")));
        let again = on(&folder, &["--plug-pull", &address]);
        assert!(again.status.code() == Some(1) && told(&again).contains("was not compared yet"), "{again:?}");
        if let Some(left) = left {
            fs::File::options().write(true).open(folder.join(FILE)).unwrap().set_len(left).unwrap();
        }
        let judged = after_a_start(&folder, &["--pulled", &address, "--json"]);
        let facts: Value = serde_json::from_slice(&judged.stdout).unwrap_or_else(|_| panic!("{judged:?}"));
        assert_eq!((facts["verdict"].as_str(), judged.status.code()), (Some(verdict), Some(code)), "{facts}");
        let (kept, heard) = (facts["kept"].as_u64().unwrap(), facts["heard"].as_u64().unwrap());
        assert!(heard >= 5 && (kept >= heard) == (verdict == "kept"), "{facts}");
        assert!(is_empty(&folder), "what was compared is removed");
    }
}

#[test]
fn called_off_it_leaves_nothing_and_without_a_witness_it_does_not_begin() {
    let scratch = tempfile::tempdir().unwrap();
    let nobody = on(scratch.path(), &["--plug-pull", "127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(75), "{nobody:?}");
    let (_witness, address) = witness();
    let mut writing = Running(doctor(&["--plug-pull", &address]).arg("--state").arg(scratch.path()).spawn().unwrap());
    let until = Instant::now() + WAIT;
    while heard(&address).is_none_or(|number| number < 1) {
        assert!(Instant::now() < until, "nothing is told");
        thread::sleep(Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_raw(writing.0.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(writing.0.wait().unwrap().code(), Some(1));
    assert!(is_empty(scratch.path()));
    assert_eq!(heard(&address), None);
}
