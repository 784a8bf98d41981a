//! `hobnail plan`: what an edit of the topology would do, before it does it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use hobnail_core::assign::{AssignError, Assignment, assign};
use hobnail_core::ids::Name;
use hobnail_core::plan::{Drops, Step, plan};
use hobnail_core::topology::Topology;
use serde::Serialize;

use super::load_or_tell;
use super::out::{say, say_json};
use crate::topology_files::Disk;

/// Show what a machine would do if one topology took another's place
///
/// Tells each step, whose connections it ends, and that all others live on. Without files, what this machine's running
/// agent would do if it looked at its topology now: the same as `hobnail reload --dry-run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topology that runs
    #[arg(requires = "new")]
    old: Option<PathBuf>,
    /// The topology that is wanted
    new: Option<PathBuf>,
    /// The machine; without it, every machine is summed up in a line
    #[arg(long, env = "HOBNAIL_NAME")]
    name: Option<String>,
    /// The control socket of the running agent, where no files are given
    #[arg(long, value_name = "SOCKET", env = "HOBNAIL_CONTROL")]
    control: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct StepJson<'a> {
    text: String,
    drops: Drops,
    step: &'a Step,
}

#[derive(Serialize)]
pub struct MachineJson<'a> {
    machine: &'a Name,
    steps: Vec<StepJson<'a>>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (Some(old), Some(new)) = (&args.old, &args.new) else {
        return super::reload::dry_run(args.name.clone(), args.control.clone(), args.json);
    };
    let (old, new) = match (load(old), load(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(code), _) | (_, Err(code)) => return Ok(code),
    };
    let names: Vec<Name> = match &args.name {
        Some(name) => vec![Name::new(name).with_context(|| format!("`{name}` cannot be a machine's name"))?],
        None => agents(&old, &new),
    };
    let plans = of_each(&old, &new, names)?;
    if args.json {
        let json: Vec<MachineJson<'_>> = plans.iter().map(|(name, steps)| machine_json(name, steps)).collect();
        say_json(&json)?;
    } else if let ([(_, steps)], Some(_)) = (plans.as_slice(), &args.name) {
        say(&told(steps))?;
    } else {
        for (name, steps) in &plans {
            say(&format!("{name:<24} {}\n", summed_up(steps)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Every machine with its plan.
pub fn all(old: &Topology, new: &Topology) -> anyhow::Result<Vec<(Name, Vec<Step>)>> {
    of_each(old, new, agents(old, new))
}

fn of_each(old: &Topology, new: &Topology, names: Vec<Name>) -> anyhow::Result<Vec<(Name, Vec<Step>)>> {
    names.into_iter().map(|name| Ok((name.clone(), steps(old, new, &name)?))).collect()
}

fn load(file: &Path) -> Result<Topology, ExitCode> {
    load_or_tell(file, &mut Disk::without_secrets())
}

/// Every machine of either topology that runs an agent.
fn agents(old: &Topology, new: &Topology) -> Vec<Name> {
    let mut names: Vec<Name> = old.machines.keys().chain(new.machines.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| [old, new].iter().any(|topology| assign(topology, name).is_ok()));
    names
}

fn steps(old: &Topology, new: &Topology, name: &Name) -> anyhow::Result<Vec<Step>> {
    let running: Option<Assignment> = assign(old, name).ok();
    match (running, assign(new, name)) {
        (running, Ok(wanted)) => Ok(plan(running.as_ref(), &wanted)),
        // A machine that is taken out keeps what it has until someone stops it: nothing is done to it by itself.
        (Some(_), Err(AssignError::NotInTopology(_) | AssignError::IsDevice(_))) => Ok(Vec::new()),
        (None, Err(error)) => Err(error.into()),
    }
}

pub fn machine_json<'a>(machine: &'a Name, steps: &'a [Step]) -> MachineJson<'a> {
    let steps = steps.iter().map(|step| StepJson { text: step.to_string(), drops: step.drops(), step }).collect();
    MachineJson { machine, steps }
}

fn told(steps: &[Step]) -> String {
    if steps.is_empty() {
        return "nothing changes\n".to_owned();
    }
    let mut out = String::new();
    for (index, step) in steps.iter().enumerate() {
        out += &format!("{:>3}. {step}\n", index + 1);
        let drops = step.drops();
        if drops != Drops::Nobody {
            out += &format!("     drops: {drops}\n");
        }
    }
    out + &format!("\n{}\n", summed_up(steps))
}

pub fn summed_up(steps: &[Step]) -> String {
    let drops: Vec<String> =
        steps.iter().map(Step::drops).filter(|drops| *drops != Drops::Nobody).map(|drops| drops.to_string()).collect();
    match (steps.len(), drops.as_slice()) {
        (0, _) => "nothing changes".to_owned(),
        (count, []) => format!("{count} step{}, every connection lives on", if count == 1 { "" } else { "s" }),
        (count, drops) => format!(
            "{count} step{}, drops {}; every other connection lives on",
            if count == 1 { "" } else { "s" },
            drops.join(", ")
        ),
    }
}
