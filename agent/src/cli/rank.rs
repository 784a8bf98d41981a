//! `hobnail rank`: another order of the brokers.

use std::process::ExitCode;

use hobnail_core::topology::Edit;

use super::change::{How, carry_out};

/// Give a broker another place among the brokers, 1 being the best
///
/// It moves in the file, together with the comments right above it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The broker
    broker: String,
    /// Its place, from 1
    place: usize,
    #[command(flatten)]
    how: How,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    carry_out(&args.how, &[Edit::Rank { broker: args.broker.clone(), to: args.place }])
}
