//! `hobnail version`: what this program is, for people and for scripts.

use std::process::ExitCode;

use super::out::{say, say_json};

/// Print the version of the program and of the topology language it reads
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    let language = hobnail_core::topology::VERSION;
    if args.json {
        say_json(&serde_json::json!({ "version": version, "topology": language, "arch": std::env::consts::ARCH }))?;
    } else {
        say(&format!("hobnail {version}, topology language {language}, {}\n", std::env::consts::ARCH))?;
    }
    Ok(ExitCode::SUCCESS)
}
