//! `hobnail save`: what runs, written as a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::change::asked::{self, InForce};
use super::change::write;
use super::status::AgentArgs;
use crate::atomic_file::write_beside;
use crate::texts::{Text, Texts};

/// Write the topology that runs, changes made at run time included
///
/// Comments and order stay, and so do the file's mode and owner; where it is a link, what it leads to is written. The file
/// is the old one or the new one, whole, whatever happens.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Another file, instead of the one that the agent reads
    file: Option<PathBuf>,
    /// Write over what somebody else has written since; that is kept beside it, as FILE.replaced
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    agent: AgentArgs,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.file {
        None => save(&args.agent, args.force),
        Some(file) => save_as(file, args),
    }
}

/// Where it was read from.
pub fn save(agent: &AgentArgs, force: bool) -> anyhow::Result<ExitCode> {
    let InForce { texts, on_disk, .. } = match asked::in_force(agent) {
        Ok(running) => running,
        Err(gone) => return gone.end(),
    };
    let (changed, others_wrote) = compare(&texts, &on_disk)?;
    if changed.is_empty() {
        eprintln!("nothing to save: what runs is what the file says");
        return Ok(ExitCode::SUCCESS);
    }
    let mut kept = Vec::new();
    for name in others_wrote {
        if !force {
            bail!(
                "{name} is not what the agent read last; nothing was written. `hobnail reload` takes the file as it is, \
                 `hobnail save --force` writes over it and keeps it as {name}.replaced"
            );
        }
        kept.extend(keep(name)?);
    }
    write(changed.iter().copied())?;
    for file in &changed {
        eprintln!("wrote {}", file.name);
    }
    for kept in kept {
        eprintln!("what was there before is in {kept}");
    }
    // The agent sees it by itself, too; asked, it has when this command ends.
    match agent.ask("POST", "/v1/reload") {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(no_answer) => Ok(no_answer.end()),
    }
}

/// What is to be written, and the files that are neither as they are to be nor as the agent read them last.
fn compare<'t>(texts: &'t Texts, on_disk: &'t Texts) -> anyhow::Result<(Vec<&'t Text>, Vec<&'t str>)> {
    let (mut changed, mut others_wrote) = (Vec::new(), Vec::new());
    let no_more = on_disk.files().iter().filter(|file| texts.text_of(&file.name).is_none());
    for file in texts.files().iter().chain(no_more) {
        let now = read(&file.name)?;
        let is = |text: Option<&str>| text.map(str::as_bytes) == now.as_deref();
        let wanted = texts.text_of(&file.name);
        if is(wanted) {
            continue;
        }
        if wanted.is_some() {
            changed.push(file);
        }
        if !is(on_disk.text_of(&file.name)) {
            others_wrote.push(file.name.as_str());
        }
    }
    Ok((changed, others_wrote))
}

/// What is there now.
fn read(name: &str) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::metadata(name) {
        Ok(facts) if !facts.is_file() => bail!("{name} is not a file"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(_) | Err(_) => Ok(Some(fs::read(name).with_context(|| format!("failed to read {name}"))?)),
    }
}

/// What somebody else wrote goes beside it before it is written over.
fn keep(name: &str) -> anyhow::Result<Option<String>> {
    let Some(bytes) = read(name)? else { return Ok(None) };
    let beside = format!("{name}.replaced");
    write_beside(Path::new(&beside), &bytes)?.put_in_place()?;
    Ok(Some(beside))
}

fn save_as(file: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let texts = match asked::in_force(&args.agent) {
        Ok(running) => running.texts,
        Err(gone) => return gone.end(),
    };
    let [text] = texts.files() else {
        bail!("this topology has included files, which stand beside it: save it where it is");
    };
    if fs::symlink_metadata(file).is_ok() && !args.force {
        bail!("{} is there already; give another name, or --force to keep it as {0}.replaced", file.display());
    }
    if args.force {
        keep(&file.to_string_lossy())?;
    }
    write_beside(file, text.text.as_bytes())?.put_in_place()?;
    Ok(ExitCode::SUCCESS)
}
