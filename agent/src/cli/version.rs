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

/// The commit that this was built from, where the build said so.
const COMMIT: Option<&str> = option_env!("HOBNAIL_COMMIT");

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    let language = hobnail_core::topology::VERSION;
    if args.json {
        let arch = std::env::consts::ARCH;
        say_json(&serde_json::json!({ "version": version, "commit": COMMIT, "topology": language, "arch": arch }))?;
    } else {
        let commit = COMMIT.map(|commit| format!(" ({commit})")).unwrap_or_default();
        say(&format!("hobnail {version}{commit}, topology language {language}, {}\n", std::env::consts::ARCH))?;
    }
    Ok(ExitCode::SUCCESS)
}
