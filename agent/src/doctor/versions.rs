//! Whether what runs is what is installed, and has seen what is configured.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Machine, Symptom, fine, note};

/// An agent that runs on this machine.
struct Running {
    pid: u32,
    program: PathBuf,
    arguments: Vec<String>,
    started: Option<SystemTime>,
}

pub fn check(machine: &Machine) -> Vec<Symptom> {
    let mut symptoms = vec![fine(format!("hobnail {} on {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH))];
    let file = machine.file.display().to_string();
    for running in running().iter().filter(|running| running.arguments.contains(&file)) {
        symptoms.extend(replaced(running));
        if fingerprint(machine).is_none() {
            symptoms.extend(older_than_file(running, &machine.file));
        }
    }
    symptoms.extend(drift(machine));
    symptoms
}

/// That of the topology which this machine's agent runs; an agent without a network tells none.
fn fingerprint(machine: &Machine) -> Option<&str> {
    let (status, wanted) = (machine.agent.as_ref().ok()?, machine.assignment.as_ref().ok()?);
    let ours = status["name"] == wanted.me.as_str() && status["network"] == wanted.network.as_str();
    status["node"]["fingerprint"].as_str().filter(|_| ours)
}

/// What the agent says needs no clock, and a comment in the file changes nothing.
fn drift(machine: &Machine) -> Option<Symptom> {
    let (runs, topology) = (fingerprint(machine)?, machine.loaded.topology.as_ref()?);
    let file = machine.file.display();
    let text = format!("the agent runs {runs}, and {file} is {}", topology.fingerprint());
    let cure = "systemctl reload hobnail, and read its status; hobnail plan shows what an edit does";
    (runs != &*topology.fingerprint()).then(|| note(text, cure))
}

fn replaced(running: &Running) -> Option<Symptom> {
    let program = running.program.to_string_lossy();
    let text = format!("process {} runs a program that has been replaced since", running.pid);
    program.ends_with(" (deleted)").then(|| note(text, "systemctl restart hobnail"))
}

fn older_than_file(running: &Running, file: &Path) -> Option<Symptom> {
    let edited = fs::metadata(file).and_then(|facts| facts.modified()).ok()?;
    let text = format!("{} was edited after process {} began", file.display(), running.pid);
    (edited > running.started?).then(|| note(text, "if not done since: systemctl reload hobnail, and read its status"))
}

/// Every `hobnail run`. Of other users' processes only root sees the program.
fn running() -> Vec<Running> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let command = fs::read(process.join("cmdline")).ok()?;
        let arguments: Vec<String> =
            command.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let is_agent = arguments.first()?.ends_with("hobnail") && arguments.get(1).is_some_and(|word| word == "run");
        let program = fs::read_link(process.join("exe")).unwrap_or_default();
        let started = fs::metadata(&process).ok().map(|facts| time(facts.ctime()));
        is_agent.then_some(Running { pid, program, arguments, started })
    })
    .collect()
}

fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
