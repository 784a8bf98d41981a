//! `hobnail fmt`: a topology's layout, and nothing but its layout.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use hobnail_core::topology::lay_out;

use super::load_with_texts;
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
        let (before, texts) = match load_with_texts(file, &mut Disk::without_secrets()) {
            Ok(loaded) => loaded,
            Err(code) => return Ok(code),
        };
        let text = texts.files().first().map_or("", |file| file.text.as_str());
        let tidy = lay_out(text);
        if tidy == text {
            continue;
        }
        changed += 1;
        if args.check {
            say(&format!("{}\n", file.display()))?;
            continue;
        }
        let after = texts.with_first(tidy.clone()).load(&mut Disk::without_secrets());
        if after.topology != Some(before) {
            bail!("{} would mean something else after it; it stays as it is", file.display());
        }
        atomic_file::write_beside(file, tidy.as_bytes())?.put_in_place()?;
    }
    Ok(if args.check && changed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
