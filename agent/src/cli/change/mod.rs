//! What `set`, `add`, `remove` and `rank` have in common: where the change is made, and what is told of it.

pub mod asked;
pub mod keys;
pub mod unified;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use hobnail_core::topology::{Edit, Path, PathError};

use super::out::say;
use super::reload;
use super::save::save;
use super::status::AgentArgs;
use super::{colour, exit, load_with_texts};
use crate::atomic_file::{Beside, write_beside};
use crate::texts::Text;
use crate::topology_files::Disk;

/// How a change is made.
#[derive(Debug, clap::Args)]
pub struct How {
    /// Change this topology file; no agent is asked
    #[arg(long, value_name = "FILE", conflicts_with_all = ["save", "confirm"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    at: AtAgent,
}

/// How the running agent is made to change.
#[derive(Debug, clap::Args)]
pub struct AtAgent {
    /// Write it to the topology file too; without this it is lost when the agent is restarted
    #[arg(long)]
    save: bool,
    /// Change nothing; show what would change
    #[arg(long, conflicts_with = "save")]
    dry_run: bool,
    /// It is meant, though it takes away much
    #[arg(long, conflicts_with = "dry_run")]
    confirm: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    agent: AgentArgs,
}

/// A command line that cannot be meant.
pub fn refuse(why: &str) -> ExitCode {
    eprintln!("hobnail: {why}");
    ExitCode::from(exit::USAGE)
}

/// A path as an argument.
#[derive(Clone, Debug)]
pub struct KeyPath(pub Path);

impl FromStr for KeyPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        text.parse().map(Self)
    }
}

pub fn carry_out(how: &How, edits: &[Edit]) -> anyhow::Result<ExitCode> {
    match &how.file {
        Some(file) => change_file(file, edits, how.at.dry_run),
        None => change_agent(&how.at, "/v1/change", &serde_json::to_string(edits)?),
    }
}

fn change_file(file: &std::path::Path, edits: &[Edit], dry_run: bool) -> anyhow::Result<ExitCode> {
    let texts = match load_with_texts(file, &mut Disk::without_secrets()) {
        Ok((_, texts)) => texts,
        Err(code) => return Ok(code),
    };
    let edited = texts.edited(edits)?;
    let loaded = edited.load(&mut Disk::without_secrets());
    if loaded.topology.is_none() {
        eprint!("{}", loaded.report.render(colour(std::io::stderr().is_terminal())));
        eprintln!("hobnail: the file stays as it is");
        return Ok(ExitCode::from(exit::BAD_TOPOLOGY));
    }
    if dry_run {
        say(&unified::diff(&texts, &edited))?;
    } else {
        write(edited.differing(&texts))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What came of a change of the running agent; saved, where that was asked for and there is something to save.
pub fn change_agent(how: &AtAgent, target: &str, body: &str) -> anyhow::Result<ExitCode> {
    let manner = match (how.dry_run, how.confirm) {
        (true, _) => "/dry-run",
        (false, true) => "/confirm",
        (false, false) => "",
    };
    let answer = match how.agent.ask_with("POST", &format!("{target}{manner}"), body) {
        Ok(answer) => answer,
        Err(no_answer) => return Ok(no_answer.end()),
    };
    let code = reload::tell(&answer, how.json)?;
    if how.save && code == ExitCode::SUCCESS {
        return save(&how.agent, false);
    }
    Ok(code)
}

/// Put these texts into their files. All of them are safe on the disk before the first is put in place.
pub fn write<'t>(texts: impl Iterator<Item = &'t Text>) -> anyhow::Result<()> {
    let beside: Vec<Beside> = texts
        .map(|file| write_beside(std::path::Path::new(&file.name), file.text.as_bytes()))
        .collect::<Result<_, _>>()?;
    beside.into_iter().try_for_each(Beside::put_in_place)?;
    Ok(())
}
