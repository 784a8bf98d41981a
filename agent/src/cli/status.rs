//! `hobnail status`: how the agent of this machine is, problems first.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use super::out::{say, say_json};
use super::{colour, exit};
use crate::control::ask::{AskError, ask_with};
use crate::control::place::{FindError, find};
use hobnail_core::topology::report::Colour;

mod table;

pub use table::{bytes, count};

/// How often `--watch` asks.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Cursor to the corner, and nothing below it.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Show how this machine's agent is, problems first
///
/// Ends with 1 if there is a problem, with 75 if no agent answers.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    agent: AgentArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Ask again every second, until interrupted
    #[arg(long)]
    watch: bool,
}

/// Which running agent is meant.
#[derive(Debug, clap::Args)]
pub struct AgentArgs {
    /// The agent's name, where several run on this machine
    #[arg(long)]
    pub name: Option<String>,
    /// The agent's control socket; by default it is looked for where agents put them
    #[arg(long, value_name = "SOCKET", env = "HOBNAIL_CONTROL")]
    pub control: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error(transparent)]
    Find(#[from] FindError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the agent at {} is called {called}, not {wanted}", socket.display())]
    Other { socket: PathBuf, called: String, wanted: String },
}

impl NoAnswer {
    /// Tell it, and how the command ends.
    pub fn end(&self) -> ExitCode {
        eprintln!("hobnail: {self}");
        match self {
            Self::Ask(AskError::Refused { .. } | AskError::Nonsense(_)) => ExitCode::FAILURE,
            Self::Ask(error) if error.is_permission() => ExitCode::from(exit::PERMISSION),
            Self::Ask(AskError::Reach(..)) | Self::Find(_) | Self::Other { .. } => ExitCode::from(exit::TRY_LATER),
        }
    }
}

impl AgentArgs {
    /// One question to that agent.
    pub fn ask(&self, method: &str, target: &str) -> Result<Value, NoAnswer> {
        self.ask_with(method, target, "")
    }

    /// The same with a body, in JSON.
    pub fn ask_with(&self, method: &str, target: &str, body: &str) -> Result<Value, NoAnswer> {
        let found;
        let socket: &Path = match &self.control {
            Some(given) => {
                self.expect_name(given)?;
                given
            }
            None => {
                found = find(self.name.as_deref())?;
                &found
            }
        };
        Ok(ask_with(socket, method, target, body)?)
    }

    /// A socket that was named may be another agent's than the one that was named.
    fn expect_name(&self, socket: &Path) -> Result<(), NoAnswer> {
        let Some(wanted) = &self.name else { return Ok(()) };
        let status = ask_with(socket, "GET", "/v1/status", "")?;
        let called = status.get("name").and_then(Value::as_str).unwrap_or_default();
        if called == wanted {
            return Ok(());
        }
        Err(NoAnswer::Other { socket: socket.to_owned(), called: called.to_owned(), wanted: wanted.clone() })
    }
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.watch {
        return watch(args);
    }
    match args.agent.ask("GET", "/v1/status") {
        Ok(status) => show(args, &status),
        Err(no_answer) => Ok(no_answer.end()),
    }
}

fn show(args: &Args, status: &Value) -> anyhow::Result<ExitCode> {
    let seen = Seen::deserialize(status).context("the agent's status is not what this version expects")?;
    if args.json {
        say_json(status)?;
    } else {
        say(&table::draw(&seen, now_ms(), painted()))?;
    }
    let sick = seen.health.iter().any(|finding| finding.grade == "problem");
    Ok(if sick { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Until the process is ended. An agent that is away for a while, as during its restart, ends nothing.
fn watch(args: &Args) -> anyhow::Result<ExitCode> {
    loop {
        let clear = if std::io::stdout().is_terminal() && !args.json { CLEAR } else { "" };
        match args.agent.ask("GET", "/v1/status") {
            Ok(status) if args.json => say(&format!("{status}\n"))?,
            Ok(status) => {
                let seen = Seen::deserialize(&status).context("the agent's status is not what this version expects")?;
                say(&format!("{clear}{}\n", table::draw(&seen, now_ms(), painted())))?;
            }
            Err(no_answer) => {
                say(clear)?;
                eprintln!("hobnail: {no_answer}");
            }
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

/// `None` while the wall clock says less than it can be.
fn now_ms() -> Option<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok().filter(|ms| *ms > 1_577_836_800_000)
}

fn painted() -> Colour {
    colour(std::io::stdout().is_terminal())
}

/// What the table shows of a status. What an older or newer agent leaves out is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Seen {
    name: String,
    network: String,
    role: String,
    version: String,
    uptime_s: u64,
    doors: Vec<String>,
    resident_bytes: Option<u64>,
    broker: Fill,
    counters: Counters,
    node: Option<Node>,
    disk: Option<Disk>,
    health: Vec<Finding>,
}

/// What outlives the agent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Disk {
    state: String,
    bytes: u64,
    bytes_max: u64,
    bytes_per_day: Option<u64>,
    syncs: u64,
    waiting_bytes: u64,
    set_aside: u64,
    degraded_for_s: Option<u64>,
}

/// The machine's part in its network.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    broker: bool,
    home: Option<String>,
    home_since_s: u64,
    promoted: Option<String>,
    queue: u64,
    bytes: u64,
    counters: NodeCounters,
    links: Vec<Link>,
    machines: Vec<Machine>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeCounters {
    offered: u64,
    records_sent: u64,
    delivered: u64,
    dropped_full: u64,
    expired: u64,
    unreadable: u64,
    refused_full: u64,
    refused_rights: u64,
    unknown_key: u64,
    forged: u64,
    malformed: u64,
}

impl NodeCounters {
    fn lost(&self) -> u64 {
        let parts = [
            self.dropped_full,
            self.unreadable,
            self.expired,
            self.refused_full,
            self.refused_rights,
            self.unknown_key,
            self.forged,
        ];
        parts.iter().fold(self.malformed, |sum, part| sum.saturating_add(*part))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Link {
    peer: String,
    broker: bool,
    state: String,
    rtt_us: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Machine {
    name: String,
    state: String,
    role: String,
    home: Option<String>,
    since_ms: Option<u64>,
    uptime_s: Option<u64>,
    version: Option<String>,
    round_trip_ms: Option<f64>,
    queue: Option<u64>,
    topology: Option<String>,
    topology_s: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fill {
    connections: u64,
    connections_max: u64,
    sessions: u64,
    subscriptions: u64,
    retained: u64,
    messages: u64,
    messages_bytes: u64,
    messages_bytes_max: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counters {
    publishes_received: u64,
    publishes_sent: u64,
    dropped_qos0: u64,
    dropped_full: u64,
    dropped_expired: u64,
    dropped_too_large: u64,
    dropped_rights: u64,
}

impl Counters {
    fn dropped(&self) -> u64 {
        let parts =
            [self.dropped_qos0, self.dropped_full, self.dropped_expired, self.dropped_too_large, self.dropped_rights];
        parts.iter().fold(0, |sum, part| sum.saturating_add(*part))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Finding {
    grade: String,
    code: String,
    text: String,
    cure: String,
}
