//! `hobnail doctor`: what is wrong around the agent of this machine, each with a cure.

mod disk;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hobnail_core::assign::assign;
use hobnail_core::topology::load;
use serde_json::Value;

use super::out::{say, say_json};
use crate::control::ask::ask;
use crate::control::place::find;
use crate::doctor::{Finding, Health, Machine, bundle, examine, service_user};
use crate::state_dir;
use crate::topology_files::{Disk, KEY_DIRECTORY};
use crate::whoami::whoami_in;

const TOPOLOGY: &str = "/etc/hobnail/topology.yaml";
/// Where the service has its environment from.
const SERVICE_DEFAULTS: &str = "/etc/default/hobnail";

/// Look for what is wrong around this machine's agent: clock, disk, keys, rights, ports, names, other machines
///
/// Changes nothing, and needs no running agent; as root it sees more. Exit code 1 where something is sick.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    closer: Option<Closer>,
    /// The topology file
    #[arg(default_value = TOPOLOGY)]
    file: PathBuf,
    /// Which machine of the topology this is; by default as the service has it
    #[arg(long)]
    name: Option<String>,
    /// The key directory
    #[arg(long, value_name = "FOLDER", env = "HOBNAIL_KEYS", default_value = KEY_DIRECTORY)]
    keys: PathBuf,
    /// Where the agent keeps its state
    #[arg(long, value_name = "FOLDER", env = "HOBNAIL_STATE")]
    state: Option<PathBuf>,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
    /// Write an archive for whoever is to help: findings, topology, log; without secrets
    #[arg(long, value_name = "FILE.tar")]
    bundle: Option<PathBuf>,
}

/// What takes its time, and is only done when asked for.
#[derive(Debug, clap::Subcommand)]
enum Closer {
    Disk(disk::Args),
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(Closer::Disk(args)) = &args.closer {
        return disk::run(args);
    }
    let machine = machine(args);
    let findings = examine(&machine);
    if args.json {
        say_json(&findings)?;
    } else {
        say(&told(&findings))?;
    }
    if let Some(path) = &args.bundle {
        bundle::write(&machine, &findings, path)?;
        eprintln!("wrote {}; it holds names, addresses and logs, but no secrets", path.display());
    }
    let sick = findings.iter().any(|finding| finding.health == Health::Sick);
    Ok(if sick { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn machine(args: &Args) -> Machine {
    // Secrets have a check of their own, and a missing one must not hide the rest.
    let loaded = load(&args.file.to_string_lossy(), &mut Disk::without_secrets());
    let named = args.name.clone().or_else(|| std::env::var("HOBNAIL_NAME").ok()).or_else(service_name);
    let assignment = match &loaded.topology {
        None => Err("the topology cannot be used".to_owned()),
        Some(topology) => whoami_in(topology, named.as_deref())
            .map_err(|error| error.to_string())
            .and_then(|me| assign(topology, &me).map_err(|error| error.to_string())),
    };
    let me = assignment.as_ref().ok().map(|assignment| assignment.me.as_str());
    let state_directory = state_dir::likely(args.state.as_deref());
    Machine {
        agent: asked(me),
        file: args.file.clone(),
        key_directory: args.keys.clone(),
        service_user: service_user(&state_directory),
        state_directory,
        loaded,
        assignment,
    }
}

/// The agent's own word on how it is.
fn asked(me: Option<&str>) -> Result<Value, String> {
    let socket = find(me).map_err(|error| error.to_string())?;
    ask(&socket, "GET", "/v1/status").map_err(|error| error.to_string())
}

/// What the service is told about its name.
fn service_name() -> Option<String> {
    let text = fs::read_to_string(Path::new(SERVICE_DEFAULTS)).ok()?;
    let value = text.lines().find_map(|line| line.trim().strip_prefix("HOBNAIL_NAME="))?;
    Some(value.trim_matches('"').to_owned())
}

fn told(findings: &[Finding]) -> String {
    let mut told = String::new();
    for finding in findings {
        let health = match finding.health {
            Health::Fine => "fine",
            Health::Note => "note",
            Health::Sick => "SICK",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(told, "{health}  {:<9} {}", finding.check, finding.text);
        if let Some(cure) = &finding.cure {
            let _ = writeln!(told, "                cure: {cure}");
        }
    }
    told
}
