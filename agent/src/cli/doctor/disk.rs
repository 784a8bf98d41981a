//! `hobnail doctor disk`: how fast this machine's disk is, how it wears, and whether it lies.

use std::io::{self, ErrorKind, IsTerminal};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::exit;
use crate::cli::mqtt::stop::Stop;
use crate::cli::out::{say, say_json};
use crate::cli::status::{AgentArgs, bytes, count};
use crate::doctor::commits::{COMMIT_BYTES, Commits, measure};
use crate::doctor::plain;
use crate::doctor::plug::{self, Ended, PlugError, RECORDS_MAX, Verdict};
use crate::doctor::wear::{Device, up};
use crate::doctor::witness::Witness;
use crate::state_dir;
use crate::store::RealFiles;
use crate::store::device::disk;

const TELL_EVERY: Duration = Duration::from_millis(500);
const YEAR_DAYS: u64 = 365;

/// Measure the disk that the state is on: how long commits take, how it wears, whether it lies about them
///
/// By default 200 commits of 4 KiB are timed, 0.8 MiB in all, written and synced as the store does it, and removed again;
/// where an agent runs it is left alone. How long the disk lasts is an estimate, from what it was asked to write since the
/// start of the system.
///
/// Some cards say that something is on them when it is not. To find out, with another machine: there `--witness
/// 0.0.0.0:7411`, here `--plug-pull THERE:7411`, and pull the plug while it writes (64 MiB at the most, in five
/// minutes). Then start this machine again, and `--pulled THERE:7411` compares what is on the disk with what the witness
/// was told. One good end proves little: do it ten times. Exit code 1 where something was lost.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the agent keeps its state; any folder on the disk will do
    #[arg(long, value_name = "FOLDER", env = "HOBNAIL_STATE")]
    state: Option<PathBuf>,
    /// Commits that are timed
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=5_000))]
    commits: u32,
    /// How often the disk can be written over, for the estimate; its maker may say more
    #[arg(long, value_name = "TIMES", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    endurance: u64,
    /// Be the other machine: listen here, and keep the newest number that is told, until interrupted
    #[arg(long, value_name = "ADDRESS:PORT", group = "plug")]
    witness: Option<String>,
    /// Write numbered records and tell each to this witness, until the plug is pulled
    #[arg(long, value_name = "HOST:PORT", group = "plug")]
    plug_pull: Option<String>,
    /// After the plug was pulled: compare what is on the disk with what this witness was told
    #[arg(long, value_name = "HOST:PORT", group = "plug")]
    pulled: Option<String>,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    agent: AgentArgs,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(listen) = &args.witness {
        return witness(listen);
    }
    let folder = state_dir::likely(args.state.as_deref());
    if !folder.is_dir() {
        eprintln!("hobnail: {} is no folder; --state names one on the disk", folder.display());
        return Ok(ExitCode::FAILURE);
    }
    if let Some(witness) = &args.plug_pull {
        return write(&folder, witness);
    }
    match &args.pulled {
        Some(witness) => compare(args, &folder, witness),
        None => time(args, &folder),
    }
}

/// A flag that is raised when somebody asks to stop, so that what was begun can be tidied up.
fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut stop = runtime.block_on(async { Stop::new() })?;
    thread::Builder::new().name("stop".into()).spawn(move || {
        runtime.block_on(stop.asked());
        raised.store(true, Ordering::Relaxed);
    })?;
    Ok(flag)
}

/// One line that is written over, for whoever looks at a terminal.
struct Line {
    told: Option<Instant>,
    wanted: bool,
}

impl Line {
    fn new() -> Self {
        Self { told: None, wanted: io::stderr().is_terminal() }
    }

    fn tell(&mut self, text: impl FnOnce() -> String) {
        if self.wanted && self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            eprint!("\r{} ", text());
        }
    }

    fn end(&mut self) {
        if self.told.take().is_some() {
            eprintln!();
        }
    }
}

/// What the timing came to.
#[derive(Serialize)]
struct Timed {
    folder: PathBuf,
    commits: usize,
    bytes_per_commit: usize,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// `None` where the folder is on no device of its own, as in memory.
    device: Option<Wear>,
}

/// What the device was asked for.
#[derive(Serialize)]
struct Wear {
    name: String,
    bytes: u64,
    /// For each byte of these commits; what others wrote meanwhile is in it.
    bytes_per_byte: f64,
    bytes_since_boot: u64,
    bytes_per_day: Option<u64>,
    /// Of these, what the running agent's store handed to the file system.
    agent_bytes_per_day: Option<u64>,
    endurance: u64,
    estimated_days: Option<u64>,
}

fn time(args: &Args, folder: &Path) -> anyhow::Result<ExitCode> {
    let (stop, mut line) = (stop_flag()?, Line::new());
    let device = || disk(folder).and_then(|disk| Device::at(&disk));
    let before = device();
    let commits = measure(&RealFiles::new(folder), args.commits as usize, &stop, |done| {
        line.tell(|| format!("{done} of {} commits", args.commits));
    });
    line.end();
    let commits = match commits {
        Ok(commits) if commits.count() == 0 => return Ok(ExitCode::FAILURE),
        Ok(commits) => commits,
        Err(error) => return Ok(refused(folder, &error)),
    };
    let wear = before.zip(device()).map(|(before, after)| wear(args, &commits, &before, after));
    let timed = timed(folder, &commits, wear);
    if args.json {
        say_json(&timed)?
    } else {
        say(&told(&timed))?
    }
    Ok(ExitCode::SUCCESS)
}

fn timed(folder: &Path, commits: &Commits, device: Option<Wear>) -> Timed {
    let ms = |per_mille| (commits.within(per_mille).as_secs_f64() * 1e5).round() / 100.0;
    Timed {
        folder: folder.to_owned(),
        commits: commits.count(),
        bytes_per_commit: COMMIT_BYTES,
        per_second: commits.per_second().round(),
        p50_ms: ms(500),
        p99_ms: ms(990),
        max_ms: ms(1000),
        device,
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures to look at")]
fn wear(args: &Args, commits: &Commits, before: &Device, after: Device) -> Wear {
    let payload = (commits.count() * COMMIT_BYTES) as f64;
    let bytes_per_day = up().and_then(|up| after.per_day(up));
    let status = args.agent.ask("GET", "/v1/status").ok();
    Wear {
        bytes: after.bytes,
        bytes_per_byte: (after.written.saturating_sub(before.written) as f64 / payload * 10.0).round() / 10.0,
        bytes_since_boot: after.written,
        bytes_per_day,
        agent_bytes_per_day: status.and_then(|status| status["disk"]["bytes_per_day"].as_u64()),
        endurance: args.endurance,
        estimated_days: bytes_per_day.and_then(|per_day| after.days(per_day, args.endurance)),
        name: after.name,
    }
}

fn told(timed: &Timed) -> String {
    let mut told = format!(
        "commits  {} of 4 KiB in {}: {} a second; half within {} ms, 99 % within {} ms, longest {} ms\n",
        timed.commits,
        timed.folder.display(),
        timed.per_second,
        timed.p50_ms,
        timed.p99_ms,
        timed.max_ms
    );
    let Some(wear) = &timed.device else {
        told += "device   none: this folder is in memory, or its file system is on several\n";
        return told;
    };
    told += &format!(
        "device   {}, {}; asked to write {} bytes for each byte of these\n",
        wear.name,
        bytes(wear.bytes),
        wear.bytes_per_byte
    );
    let Some(per_day) = wear.bytes_per_day else {
        told += "wear     cannot be told in the first hour after a start\n";
        return told;
    };
    let agent = wear.agent_bytes_per_day.map(|mine| format!(", {} of them the agent's", bytes(mine)));
    told += &format!("written  {} a day since the start of the system{}\n", bytes(per_day), agent.unwrap_or_default());
    let lasts = match wear.estimated_days {
        Some(days) if days < 100 * YEAR_DAYS => format!("it lasts {}", time_in_words(days)),
        Some(_) | None => "it outlives us".to_owned(),
    };
    let times = wear.endurance;
    told + &format!("wear     {lasts}, if it can be written over {times} times (--endurance): an estimate, no more\n")
}

fn time_in_words(days: u64) -> String {
    if days < YEAR_DAYS { format!("{days} days") } else { format!("{} years", days / YEAR_DAYS) }
}

/// What to do about a disk that takes nothing.
const CURES: &[(ErrorKind, &str)] = &[
    (ErrorKind::PermissionDenied, "ask as root, or as the user that the agent runs as"),
    (ErrorKind::StorageFull, "make room: df tells what there is"),
    (ErrorKind::QuotaExceeded, "make room: quota tells what this user may have"),
    (ErrorKind::ReadOnlyFilesystem, "a card that fails is mounted so: journalctl -k -p err; else mount -o remount,rw"),
];

fn refused(folder: &Path, error: &io::Error) -> ExitCode {
    let known = CURES.iter().find(|(kind, _)| *kind == error.kind());
    let cure = known.map_or("journalctl -k -p err", |(_, cure)| cure);
    eprintln!("hobnail: {} takes nothing: {}\n  cure: {cure}", folder.display(), plain(error));
    let permission = error.kind() == ErrorKind::PermissionDenied;
    if permission { ExitCode::from(exit::PERMISSION) } else { ExitCode::FAILURE }
}

fn witness(listen: &str) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(listen).with_context(|| format!("failed to listen at {listen}"))?;
    eprintln!("hobnail: listening at {}; an interrupt ends it", listener.local_addr()?);
    let (stop, witness, mut line) = (stop_flag()?, Witness::start(listener)?, Line::new());
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(50));
        line.tell(|| {
            witness.heard().map_or_else(String::new, |heard| format!("{} are on that disk", count(heard.number)))
        });
    }
    line.end();
    Ok(ExitCode::SUCCESS)
}

fn write(folder: &Path, witness: &str) -> anyhow::Result<ExitCode> {
    let (stop, mut line, mut is_begun) = (stop_flag()?, Line::new(), false);
    let ended = plug::write(folder, witness, &plug::boot(), &stop, |number| {
        // The witness has answered, so that a pulled plug shows something.
        if !std::mem::replace(&mut is_begun, true) {
            eprintln!(
                "hobnail: pull the plug within five minutes; when it is in again: hobnail doctor disk --pulled {witness}"
            );
        }
        line.tell(|| format!("{} of {} records are on the disk", count(number), count(RECORDS_MAX)));
    });
    line.end();
    Ok(match ended {
        Ok(Ended::Stopped) => ExitCode::FAILURE,
        Ok(Ended::NotPulled) => {
            eprintln!("hobnail: nobody pulled the plug; nothing is left behind");
            ExitCode::from(exit::TIMED_OUT)
        }
        Err(error) => plug_failed(folder, &error),
    })
}

fn plug_failed(folder: &Path, error: &PlugError) -> ExitCode {
    if let PlugError::Disk(error) = error {
        return refused(folder, error);
    }
    eprintln!("hobnail: {error}");
    match error {
        PlugError::Witness(..) => ExitCode::from(exit::TRY_LATER),
        PlugError::Unchecked | PlugError::Disk(_) => ExitCode::FAILURE,
    }
}

fn compare(args: &Args, folder: &Path, witness: &str) -> anyhow::Result<ExitCode> {
    let verdict = match plug::compare(folder, witness, &plug::boot()) {
        Ok(verdict) => verdict,
        Err(error) => return Ok(plug_failed(folder, &error)),
    };
    let (text, facts, code) = judged(&verdict, folder);
    if args.json {
        say_json(&facts)?;
    } else {
        say(&format!("{text}\n"))?;
    }
    Ok(code)
}

/// What to say of it, for people and for programs.
fn judged(verdict: &Verdict, folder: &Path) -> (String, Value, ExitCode) {
    let folder = folder.display();
    let (text, facts, code) = match verdict {
        Verdict::Kept { kept, heard } => (
            format!("kept: the witness was told of {heard} records, and {kept} are there; do it ten times to be sure"),
            json!({ "verdict": "kept", "kept": kept, "heard": heard }),
            ExitCode::SUCCESS,
        ),
        Verdict::Lost { kept, heard } => (
            format!(
                "LOST: {kept} records are there, and the disk had said that {heard} are; nothing that is acknowledged is \
                 safe on it\n  cure: another card, or a disk with power of its own"
            ),
            json!({ "verdict": "lost", "kept": kept, "heard": heard }),
            ExitCode::FAILURE,
        ),
        Verdict::Gone { heard } => (
            format!(
                "LOST: nothing is in {folder}, and the disk had said that {heard} records are\n  cure: another card; or \
                 --state, if the test was made in another folder"
            ),
            json!({ "verdict": "lost", "kept": 0, "heard": heard }),
            ExitCode::FAILURE,
        ),
        Verdict::SameBoot => (
            format!(
                "no answer: this machine was not off since the test began; pull its plug, or remove {folder}/{}",
                plug::FILE
            ),
            json!({ "verdict": "not-pulled" }),
            ExitCode::from(exit::TRY_LATER),
        ),
        Verdict::Unheard => (
            format!(
                "no answer: the witness was told of nothing, or was started anew; remove {folder}/{} and do it again",
                plug::FILE
            ),
            json!({ "verdict": "unheard" }),
            ExitCode::from(exit::TRY_LATER),
        ),
    };
    (text, facts, code)
}
