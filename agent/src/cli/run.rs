//! `hobnail run`: be one machine of a topology.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use hobnail_core::assign::{Assignment, assign};
use hobnail_core::ids::Name;
use hobnail_core::node::Common;
use hobnail_core::topology::report::Colour;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::{TopologyArgs, colour, exit};
use crate::doors::listen::ListenError;
use crate::journal::Journal;
use crate::run::{Ended, Places, run as run_agent};
use crate::state_dir::StateDir;
use crate::topology_files::load_from_disk;
use crate::whoami::whoami_in;

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
    /// The control socket, for `hobnail status`; by default NAME.sock in RUNTIME_DIRECTORY, /run/hobnail, or this user's folder
    #[arg(long, value_name = "SOCKET", env = "HOBNAIL_CONTROL")]
    control: Option<PathBuf>,
    /// Where it keeps what outlives it, in NETWORK/NAME; by default STATE_DIRECTORY, /var/lib/hobnail as root, or this user's folder
    #[arg(long, value_name = "FOLDER", env = "HOBNAIL_STATE")]
    state: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    log();
    let topology = match args.topology.load() {
        Ok(topology) => topology,
        Err(code) => return Ok(code),
    };
    let me = whoami_in(&topology, args.name.as_deref())?;
    let wanted = match assign(&topology, &me) {
        Ok(wanted) => wanted,
        Err(error) => {
            let known: Vec<&str> = topology.machines.keys().map(|name| name.as_str()).collect();
            eprintln!("hobnail: {error}; say which machine this is with --name: {}", known.join(", "));
            return Ok(ExitCode::from(exit::BAD_TOPOLOGY));
        }
    };
    let reread = || again(&args.topology, &me);
    let state = StateDir::of(args.state.as_deref(), &wanted.network, &wanted.me);
    let places = Places { keys: args.topology.keys.as_deref(), control: args.control.as_deref(), state: &state };
    match run_agent(&wanted, Common::of(&topology), places, &reread) {
        Ok(Ended::Stopped) => Ok(ExitCode::SUCCESS),
        Ok(Ended::Hurried) => Ok(ExitCode::FAILURE),
        Err(error) if error.downcast_ref().is_some_and(ListenError::is_permission) => {
            eprintln!("hobnail: {error:#}");
            Ok(ExitCode::from(exit::PERMISSION))
        }
        Err(error) => Err(error),
    }
}

/// What this machine must do by the file as it is now; all its problems go to the log.
fn again(topology: &TopologyArgs, me: &Name) -> anyhow::Result<Assignment> {
    let loaded = load_from_disk(&topology.file, topology.keys.as_deref());
    let file = topology.file.display();
    let Some(topology) = loaded.topology else {
        let told = loaded.report.render(Colour::Plain);
        told.lines().for_each(|line| eprintln!("{line}"));
        bail!("{file} has problems; `hobnail check {file}` tells them");
    };
    assign(&topology, me).with_context(|| format!("{file} has no place for this machine"))
}

/// To the journal where standard error leads there, else to standard error itself.
fn log() {
    let filter = EnvFilter::try_from_env("HOBNAIL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    if let Some(journal) = Journal::where_stderr_leads() {
        tracing_subscriber::registry().with(filter).with(journal).init();
        return;
    }
    let coloured = colour(std::io::stderr().is_terminal()) == Colour::Ansi;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(coloured).init();
}
