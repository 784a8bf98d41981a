//! `hobnail diff`: how two topologies differ, in their texts and in what machines would do.

use std::process::ExitCode;

use anyhow::bail;
use hobnail_core::topology::report::Colour;
use hobnail_core::topology::{Topology, load};
use serde::Serialize;

use super::change::asked::{self, Gone};
use super::change::unified;
use super::out::{say, say_json};
use super::plan;
use super::status::AgentArgs;
use crate::texts::Texts;
use crate::topology_files::Disk;

/// Show how topologies differ: their texts, and what each machine would do
///
/// Without numbers: the file as the agent last read it, against what runs, which is what `hobnail save` would write. With
/// one: that topology of `hobnail history` against what runs. With two: the one against the other. Ends with 1 where they
/// differ.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A number of `hobnail history`
    old: Option<u64>,
    /// Another one, instead of what runs
    new: Option<u64>,
    /// What runs here against what runs on that machine
    #[arg(long, value_name = "NAME", conflicts_with = "old")]
    with: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    agent: AgentArgs,
}

#[derive(Serialize)]
struct DiffJson<'a> {
    differ: bool,
    diff: &'a str,
    machines: Vec<plan::MachineJson<'a>>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (old, new) = match sides(args) {
        Ok(sides) => sides,
        Err(gone) => return gone.end(),
    };
    let diff = unified::diff(&old, &new);
    let of_file = args.old.is_none() && args.with.is_none();
    let old = match topology(&old) {
        Ok(old) => Some(old),
        // What runs was checked; the file may be in the middle of an edit.
        Err(_) if of_file => None,
        Err(error) => return Err(error),
    };
    let plans = match &old {
        Some(old) => plan::all(old, &topology(&new)?)?,
        None => {
            eprintln!("hobnail: the file is no topology: `hobnail check` tells what is wrong with it");
            Vec::new()
        }
    };
    if args.json {
        let machines = plans.iter().map(|(name, steps)| plan::machine_json(name, steps)).collect();
        say_json(&DiffJson { differ: !diff.is_empty(), diff: &diff, machines })?;
    } else if !diff.is_empty() {
        say(&format!("{diff}\n"))?;
        for (name, steps) in &plans {
            say(&format!("{name:<24} {}\n", plan::summed_up(steps)))?;
        }
    }
    Ok(if diff.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn sides(args: &Args) -> Result<(Texts, Texts), Gone> {
    let entry = |number| asked::entry(&args.agent, number).map(|entry| entry.texts);
    let running = || asked::in_force(&args.agent);
    Ok(match (args.old, args.new, &args.with) {
        (_, _, Some(machine)) => (running()?.texts, asked::of_other(&args.agent, machine)?),
        (Some(old), Some(new), None) => (entry(old)?, entry(new)?),
        (Some(old), None, None) => (entry(old)?, running()?.texts),
        (None, _, None) => {
            let running = running()?.texts;
            (Texts::of(&load(running.name(), &mut Disk::without_secrets()).report), running)
        }
    })
}

/// What was in force somewhere has checked there, so that it does not here is worth telling.
fn topology(texts: &Texts) -> anyhow::Result<Topology> {
    let loaded = texts.load(&mut Disk::without_secrets());
    match loaded.topology {
        Some(topology) => Ok(topology),
        None => bail!("a topology that this version does not accept:\n{}", loaded.report.render(Colour::Plain)),
    }
}
