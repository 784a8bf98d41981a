//! `hobnail run`: be one machine of a topology.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use hobnail_core::assign::{AssignError, assign};
use tracing_subscriber::EnvFilter;

use super::out::say;
use super::{TopologyArgs, exit};
use crate::run::run as serve;
use crate::whoami::whoami;

/// Run this machine's agent
///
/// Programs on this machine then talk MQTT to the program door, by default 127.0.0.1:1883. Stops on SIGTERM or SIGINT.
/// HOBNAIL_LOG sets how much it tells on standard error: error, warn, info (the default), debug or trace.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    topology: TopologyArgs,
    /// Which machine of the topology this is; by default HOBNAIL_NAME, then the host name
    #[arg(long)]
    name: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_from_env("HOBNAIL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    let topology = match args.topology.load() {
        Ok(topology) => topology,
        Err(code) => return Ok(code),
    };
    let me = whoami(args.name.as_deref())?;
    let wanted = match assign(&topology, &me) {
        Ok(wanted) => wanted,
        Err(error @ (AssignError::NotInTopology(_) | AssignError::IsDevice(_))) => {
            let known: Vec<&str> = topology.machines.keys().map(|name| name.as_str()).collect();
            eprintln!("hobnail: {error}; say which machine this is with --name: {}", known.join(", "));
            return Ok(ExitCode::from(exit::BAD_TOPOLOGY));
        }
    };
    let mut told = Ok(());
    serve(&wanted, |line| told = say(&format!("{line}\n")))
        .with_context(|| format!("{me} cannot run {}", args.topology.file.display()))?;
    told?;
    Ok(ExitCode::SUCCESS)
}
