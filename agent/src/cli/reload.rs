//! `hobnail reload`: look at the topology again, and say what came of it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use super::exit;
use super::out::{say, say_json};
use super::status::{AgentArgs, NoAnswer};
use crate::change::outcome::{Outcome, Told, Verdict};
use crate::control::place::find_process;

/// Have this machine's agent look at its topology, keys and certificates again, at once
///
/// It does so by itself within a second of an edit. An edit with a fault changes nothing, and so does one that cannot be
/// carried out. One that takes away this machine, the only broker or several, or more than 30 % of the machines waits for
/// --confirm: it may be half a file. A client that finds no broker under an edit goes back after ten seconds; this waits for
/// that. Ends with 78 where the file does not check, with 1 where the edit waits, fails or was taken back.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Say what would be done, and do nothing
    #[arg(long, conflicts_with = "confirm")]
    dry_run: bool,
    /// The edit is meant, however much it takes away
    #[arg(long)]
    confirm: bool,
    /// The agent's process, as a service manager knows it
    #[arg(long, value_name = "PID", conflicts_with = "name")]
    pid: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    agent: AgentArgs,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let target = match (args.dry_run, args.confirm) {
        (true, _) => "/v1/reload/dry-run",
        (false, true) => "/v1/reload/confirm",
        (false, false) => "/v1/reload",
    };
    let answer = match ask(args, target) {
        Ok(answer) => answer,
        Err(no_answer) => return Ok(no_answer.end()),
    };
    tell(&answer, args.json)
}

fn ask(args: &Args, target: &str) -> Result<Value, NoAnswer> {
    match args.pid.filter(|_| args.agent.control.is_none()) {
        Some(pid) => AgentArgs { name: None, control: Some(find_process(pid)?) }.ask("POST", target),
        None => args.agent.ask("POST", target),
    }
}

/// Say what came of looking or changing, and how the command ends.
pub fn tell(answer: &Value, json: bool) -> anyhow::Result<ExitCode> {
    let outcome = Outcome::deserialize(answer).context("the agent's answer is not what this version expects")?;
    if json {
        say_json(&outcome)?;
    } else {
        say(&told(&outcome))?;
    }
    if let Some(report) = outcome.report.as_deref().filter(|_| !json) {
        eprint!("{report}");
    }
    if let Some(error) = outcome.error.as_deref().filter(|_| !json) {
        eprintln!("hobnail: {error}");
    }
    Ok(code(outcome.verdict))
}

/// What that agent would do, and nothing done.
pub fn dry_run(name: Option<String>, control: Option<PathBuf>, json: bool) -> anyhow::Result<ExitCode> {
    run(&Args { dry_run: true, confirm: false, pid: None, json, agent: AgentArgs { name, control } })
}

fn code(verdict: Verdict) -> ExitCode {
    match verdict {
        Verdict::Applied | Verdict::Unchanged | Verdict::WouldApply => ExitCode::SUCCESS,
        Verdict::Bad => ExitCode::from(exit::BAD_TOPOLOGY),
        Verdict::Failed | Verdict::Doubted | Verdict::Restart | Verdict::RolledBack => ExitCode::FAILURE,
    }
}

/// The steps, and what became of them.
fn told(outcome: &Outcome) -> String {
    let mut out = String::new();
    for (index, Told { step, drops }) in outcome.steps.iter().enumerate() {
        out += &format!("{:>3}. {step}\n", index + 1);
        if let Some(drops) = drops {
            out += &format!("     drops: {drops}\n");
        }
    }
    let steps = outcome.steps.len();
    out + match outcome.verdict {
        Verdict::Applied if steps == 0 => "in force; nothing changes on this machine\n",
        Verdict::Applied => "in force\n",
        Verdict::Unchanged => "in force already; keys and certificates were read anew\n",
        Verdict::WouldApply if steps == 0 => "nothing would change on this machine\n",
        Verdict::WouldApply => "not done: this was a dry run\n",
        Verdict::Doubted => "not done: it has to be confirmed\n",
        Verdict::Bad | Verdict::Failed | Verdict::Restart | Verdict::RolledBack => "",
    }
}
