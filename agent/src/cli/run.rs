//! `hobnail run`: be one machine of a topology.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use hobnail_core::topology::report::Colour;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::{TopologyArgs, colour, exit};
use crate::change::Files;
use crate::change::boot::{Boot, Starter};
use crate::change::outcome::Outcome;
use crate::doors::listen::ListenError;
use crate::doors::standing::DoorError;
use crate::journal::Journal;
use crate::run::{Ended, Places, run as run_agent};
use crate::state_dir::StateDir;

/// Run this machine's agent
///
/// Programs on this machine then talk MQTT to the program door, by default 127.0.0.1:1883. Stops on SIGTERM or SIGINT.
/// An edit of the topology is in force within a second, without dropping a connection that it does not concern; one with
/// a fault changes nothing. SIGHUP and `hobnail reload` look at once.
/// HOBNAIL_LOG sets how much it tells on standard error: error, warn, info (the default), debug or
/// trace; it is read at the start.
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
    /// Do not watch the topology: an edit is taken at SIGHUP and `hobnail reload` only
    #[arg(long)]
    no_watch: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    log();
    let topology = args.topology.file.clone();
    let files = Files { topology, keys: args.topology.keys.clone(), name: args.name.clone() };
    loop {
        let boot = match Boot::find(&files, args.state.as_deref(), starter()) {
            Ok(boot) => boot,
            Err(outcome) => return Ok(refuse(args, &outcome)),
        };
        let assignment = &boot.wanted.assignment;
        let state = StateDir::of(args.state.as_deref(), &assignment.network, &assignment.me);
        let places = Places { files: files.clone(), control: args.control.clone(), state, watch: !args.no_watch };
        match run_agent(boot, &places) {
            Ok(Ended::Found) => {}
            Ok(Ended::Stopped) => return Ok(ExitCode::SUCCESS),
            Ok(Ended::Hurried) => return Ok(ExitCode::FAILURE),
            Err(error) if is_permission(&error) => {
                eprintln!("hobnail: {error:#}");
                return Ok(ExitCode::from(exit::PERMISSION));
            }
            Err(error) => return Err(error),
        }
    }
}

fn is_permission(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(DoorError::is_permission)
        || error.downcast_ref().is_some_and(ListenError::is_permission)
}

/// A service manager says where it wants to hear of its services.
fn starter() -> Starter {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(socket) if !socket.is_empty() => Starter::Manager,
        Some(_) | None => Starter::Person,
    }
}

/// Tell what is wrong, all of it.
fn refuse(args: &Args, outcome: &Outcome) -> ExitCode {
    match args.topology.load_as(args.name.as_deref()) {
        Err(code) => code,
        // It checks, so it is this machine that has no place in it.
        Ok(_) => {
            eprintln!("hobnail: {}", outcome.error.as_deref().unwrap_or("the topology cannot be used"));
            ExitCode::from(exit::BAD_TOPOLOGY)
        }
    }
}

/// A level, or levels of parts, as `warn,hobnail::links=debug`. A word that is no level would name a part, and silence all
/// others.
fn filter(wish: &str) -> Option<Targets> {
    let is_known = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    match wish {
        "" => Some(Targets::new().with_default(LevelFilter::INFO)),
        wish => wish.split(',').all(is_known).then(|| wish.parse().ok()).flatten(),
    }
}

/// To the journal where standard error leads there, else to standard error itself.
fn log() {
    let wish = std::env::var("HOBNAIL_LOG").unwrap_or_default();
    let filter = filter(&wish).unwrap_or_else(|| {
        eprintln!("hobnail: HOBNAIL_LOG={wish} is not understood; telling as with info");
        Targets::new().with_default(LevelFilter::INFO)
    });
    if let Some(journal) = Journal::where_stderr_leads() {
        tracing_subscriber::registry().with(filter).with(journal).init();
        return;
    }
    let coloured = colour(std::io::stderr().is_terminal()) == Colour::Ansi;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(coloured);
    tracing_subscriber::registry().with(filter).with(lines).init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_level_is_not_taken_for_a_part_that_is_to_be_told() {
        assert_eq!(filter("bogus"), None);
        assert_eq!(filter("warn,bogus"), None);
        for (wish, level) in
            [("", LevelFilter::INFO), ("WARN", LevelFilter::WARN), ("hobnail=debug,error", LevelFilter::ERROR)]
        {
            assert_eq!(filter(wish).and_then(|filter| filter.default_level()), Some(level), "{wish}");
        }
    }
}
