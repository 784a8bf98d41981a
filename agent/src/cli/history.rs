//! `hobnail history`: the topologies that this machine has run by.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::change::asked::get;
use super::out::{say, say_json};
use super::status::AgentArgs;
use crate::history::{Cause, Damaged};

/// List the topologies that this machine has run by, the newest last
///
/// The last 50 are kept. `hobnail diff N` shows one against what runs, `hobnail rollback N` goes back to it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    agent: AgentArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    entries: Vec<Entry>,
    /// What was to be an entry and cannot be read.
    damaged: Vec<Damaged>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    number: u64,
    at_ms: Option<u64>,
    cause: Cause,
    what: String,
    fingerprint: String,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let listed: Listed = match get(&args.agent, "/v1/history") {
        Ok(listed) => listed,
        Err(gone) => return gone.end(),
    };
    if args.json {
        say_json(&listed)?;
    } else {
        for entry in &listed.entries {
            say(&line(entry))?;
        }
        for damaged in &listed.damaged {
            eprintln!("hobnail: {} is passed over: {}", damaged.file.display(), damaged.why);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(entry: &Entry) -> String {
    let Entry { number, at_ms, cause, what, fingerprint } = entry;
    let at = at_ms.and_then(|ms| jiff::Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok());
    let at = at.map_or_else(
        || "without a clock    ".to_owned(),
        |at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    );
    format!("{number:>6}  {at}  {fingerprint}  {:<8}  {what}", cause.word()).trim_end().to_owned() + "\n"
}
