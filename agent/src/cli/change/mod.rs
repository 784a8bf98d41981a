//! What `set`, `add`, `remove` and `rank` have in common: where the change is made, and what is told of it.

pub mod keys;
pub mod unified;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use hobnail_core::topology::{Edit, Path, PathError};

use super::out::say;
use super::{colour, exit, load_with_texts};
use crate::atomic_file::{Beside, write_beside};
use crate::texts::Text;
use crate::topology_files::Disk;

/// How a change is made.
#[derive(Debug, clap::Args)]
pub struct How {
    /// Change this topology file; no agent is asked
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Change nothing; show what would change
    #[arg(long)]
    dry_run: bool,
}

/// A command line that cannot be meant.
pub fn refuse(why: &str) -> ExitCode {
    eprintln!("hobnail: {why}");
    ExitCode::from(exit::USAGE)
}

/// A path as an argument.
#[derive(Clone, Debug)]
pub struct KeyPath(pub Path);

impl FromStr for KeyPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        text.parse().map(Self)
    }
}

pub fn carry_out(how: &How, edits: &[Edit]) -> anyhow::Result<ExitCode> {
    let Some(file) = &how.file else {
        return Ok(refuse("say which topology to change with --file FILE"));
    };
    let texts = match load_with_texts(file, &mut Disk::without_secrets()) {
        Ok((_, texts)) => texts,
        Err(code) => return Ok(code),
    };
    let edited = texts.edited(edits)?;
    let loaded = edited.load(&mut Disk::without_secrets());
    if loaded.topology.is_none() {
        eprint!("{}", loaded.report.render(colour(std::io::stderr().is_terminal())));
        eprintln!("hobnail: the file stays as it is");
        return Ok(ExitCode::from(exit::BAD_TOPOLOGY));
    }
    if how.dry_run {
        say(&unified::diff(&texts, &edited))?;
    } else {
        write(edited.differing(&texts))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Put these texts into their files. All of them are safe on the disk before the first is put in place.
pub fn write<'t>(texts: impl Iterator<Item = &'t Text>) -> anyhow::Result<()> {
    let beside: Vec<Beside> = texts
        .map(|file| write_beside(std::path::Path::new(&file.name), file.text.as_bytes()))
        .collect::<Result<_, _>>()?;
    beside.into_iter().try_for_each(Beside::put_in_place)?;
    Ok(())
}
