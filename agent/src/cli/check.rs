//! `hobnail check`: everything that is wrong with a topology, at once.

use std::io::IsTerminal;
use std::process::ExitCode;

use super::out::{say, say_json};
use super::{TopologyArgs, colour, exit};

/// Check a topology file and tell everything that is wrong with it
///
/// Silent where all is well. Never touches the network.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    topology: TopologyArgs,
    /// Tell the problems as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let loaded = args.topology.look();
    if args.json {
        say_json(&loaded.report.json())?;
    } else {
        say(&loaded.report.render(colour(std::io::stdout().is_terminal())))?;
    }
    let code = if loaded.topology.is_some() { 0 } else { exit::BAD_TOPOLOGY };
    Ok(ExitCode::from(code))
}
