//! `hobnail rollback`: an earlier topology again.

use std::process::ExitCode;

use super::change::{AtAgent, change_agent};

/// Let this machine run by an earlier topology again
///
/// It is checked as a file is, and nobody is let go of whom `hobnail diff N` does not name. The file stays as it is until
/// `hobnail save`, or `--save`, writes it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A number of `hobnail history`
    number: u64,
    #[command(flatten)]
    at: AtAgent,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    change_agent(&args.at, &format!("/v1/rollback/{}", args.number), "")
}
