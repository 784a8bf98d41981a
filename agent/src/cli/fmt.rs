//! `hobnail fmt`: a topology's layout, and nothing but its layout.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use hobnail_core::topology::lay_out;

use super::load_or_tell;
use super::out::say;
use crate::atomic_file;
use crate::topology_files::Disk;

/// Lay out topology files: two spaces a level, no trailing space; comments and order stay
///
/// Writes only what means exactly the same before and after.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Write nothing; name the files that would change, and fail if there are any
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut changed = 0;
    for file in &args.files {
        let before = match load_or_tell(file, &mut Disk::without_secrets()) {
            Ok(topology) => topology,
            Err(code) => return Ok(code),
        };
        let text = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
        let tidy = lay_out(&text);
        if tidy == text {
            continue;
        }
        changed += 1;
        if args.check {
            say(&format!("{}\n", file.display()))?;
            continue;
        }
        // The new text stands beside the old one until it has proved that it means the same: includes are found there.
        let trial = atomic_file::write_beside(file, tidy.as_bytes())?;
        if load_or_tell(trial.path(), &mut Disk::without_secrets()).ok() != Some(before) {
            bail!("{} would mean something else after it; it stays as it is", file.display());
        }
        trial.put_in_place()?;
    }
    Ok(if args.check && changed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
