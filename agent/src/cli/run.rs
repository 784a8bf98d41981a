//! `hobnail run`: be one machine of a topology.

use std::io::IsTerminal;
use std::process::ExitCode;

use hobnail_core::assign::assign;
use tracing_subscriber::EnvFilter;

use super::{TopologyArgs, colour, exit};
use crate::doors::listen::ListenError;
use crate::run::{Ended, run as run_agent};
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
    log_to_stderr();
    let topology = match args.topology.load() {
        Ok(topology) => topology,
        Err(code) => return Ok(code),
    };
    // With one machine there is nothing to choose, whatever the host is called.
    let only = (topology.machines.len() == 1).then(|| topology.machines.keys().next()).flatten();
    let me = match (&args.name, only) {
        (None, Some(only)) if std::env::var_os("HOBNAIL_NAME").is_none() => only.clone(),
        (named, _) => whoami(named.as_deref())?,
    };
    let wanted = match assign(&topology, &me) {
        Ok(wanted) => wanted,
        Err(error) => {
            let known: Vec<&str> = topology.machines.keys().map(|name| name.as_str()).collect();
            eprintln!("hobnail: {error}; say which machine this is with --name: {}", known.join(", "));
            return Ok(ExitCode::from(exit::BAD_TOPOLOGY));
        }
    };
    match run_agent(&wanted, args.topology.keys.as_deref()) {
        Ok(Ended::Stopped) => Ok(ExitCode::SUCCESS),
        Ok(Ended::Hurried) => Ok(ExitCode::FAILURE),
        Err(error) if error.downcast_ref().is_some_and(ListenError::is_permission) => {
            eprintln!("hobnail: {error:#}");
            Ok(ExitCode::from(exit::PERMISSION))
        }
        Err(error) => Err(error),
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("HOBNAIL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let coloured = colour(std::io::stderr().is_terminal()) == hobnail_core::topology::report::Colour::Ansi;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(coloured).init();
}
