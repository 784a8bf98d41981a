//! What may be wrong around an agent: a list of checks, each a function from what is known of this machine to findings.
//!
//! Changes nothing and needs no running agent. Whatever is not fine comes with a cure. A new check is a function and a
//! line in `CHECKS`. What is measured only when it is asked for stands beside them: how long a disk takes (`commits`),
//! how it wears (`wear`), and whether it lies (`plug`, `witness`).

mod agent;
pub mod bundle;
mod clock;
pub mod commits;
mod disk;
mod names;
pub mod plug;
mod ports;
mod power;
mod secrets;
mod service;
mod topology;
mod versions;
pub mod wear;
pub mod witness;

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hobnail_core::assign::Assignment;
use hobnail_core::topology::Loaded;
use serde::Serialize;
use serde_json::Value;

/// A program that is asked something gets this long.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// What is kept of its answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What is known of this machine before the first check.
pub struct Machine {
    pub file: PathBuf,
    pub key_directory: PathBuf,
    pub state_directory: PathBuf,
    pub loaded: Loaded,
    /// What this machine is to do, or why that cannot be told.
    pub assignment: Result<Assignment, String>,
    /// What the running agent says of itself, or why it says nothing.
    pub agent: Result<Value, String>,
    /// The user and group that the service runs as, where there is one.
    pub service_user: Option<(u32, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    Fine,
    /// Worth knowing; messages flow all the same.
    Note,
    Sick,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub health: Health,
    pub text: String,
    /// What to do about it.
    pub cure: Option<String>,
}

type Check = fn(&Machine) -> Vec<Symptom>;

const CHECKS: &[(&str, Check)] = &[
    ("topology", topology::check),
    ("secrets", secrets::check),
    ("clock", clock::check),
    ("disk", disk::check),
    ("power", power::check),
    ("service", service::check),
    ("versions", versions::check),
    ("agent", agent::check),
    ("ports", ports::check),
    ("names", names::check),
];

/// What a check says; the list knows its name.
struct Symptom {
    health: Health,
    text: String,
    cure: Option<String>,
}

fn fine(text: impl Into<String>) -> Symptom {
    Symptom { health: Health::Fine, text: text.into(), cure: None }
}

fn note(text: impl Into<String>, cure: impl Into<String>) -> Symptom {
    Symptom { health: Health::Note, text: text.into(), cure: Some(cure.into()) }
}

fn sick(text: impl Into<String>, cure: impl Into<String>) -> Symptom {
    Symptom { health: Health::Sick, text: text.into(), cure: Some(cure.into()) }
}

/// Every check, in order.
#[must_use]
pub fn examine(machine: &Machine) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, check) in CHECKS {
        let named = |Symptom { health, text, cure }| Finding { check: name, health, text, cure };
        findings.extend(check(machine).into_iter().map(named));
    }
    findings
}

/// The user that the service runs as: the owner of its state, or the one that the package makes.
#[must_use]
pub fn service_user(state_directory: &Path) -> Option<(u32, u32)> {
    if let Ok(facts) = fs::metadata(state_directory) {
        return Some((facts.uid(), facts.gid()));
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = users.lines().find(|line| line.starts_with("hobnail:"))?.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// What a program of the system answers; nothing where it is not there, fails or takes too long.
fn ask(program: &str, args: &[&str]) -> Option<String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).map(|_| bytes);
        // Nobody listens any more after the time limit.
        let _ = sender.send(read);
    });
    let answer = receiver.recv_timeout(ANSWER_MAX).ok();
    // It has ended already, unless it took too long or had more to say.
    let _ = child.kill();
    let _ = child.wait();
    Some(String::from_utf8_lossy(&answer?.ok()?).into_owned())
}

/// An error of the system without its number.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
