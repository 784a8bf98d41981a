//! `hobnail schema`: the topology's JSON Schema, for editors.

use std::process::ExitCode;

use super::out::say_json;

/// Print the JSON Schema of topology files, with which editors complete and check them
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    say_json(&hobnail_core::topology::schema())?;
    Ok(ExitCode::SUCCESS)
}
