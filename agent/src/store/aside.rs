//! What was found damaged is set aside under a name of its own, with its reason beside it, for whoever wants to look.

use std::io;

use super::files::Files;

const ENDING: &str = ".set-aside";
const REASON: &str = ".why";
/// Files set aside; with one more the oldest goes.
const ASIDE_MAX: usize = 8;

/// A fault that was found in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file's name, before it was set aside.
    pub file: String,
    pub why: String,
}

/// What becomes of the name that it had.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// Nothing in it can be used.
    Lost,
    /// The rest of it still counts.
    Kept,
}

/// Does what can be done; a disk that takes no writes keeps everything where it is.
pub(super) fn set_aside(files: &dyn Files, damage: &Damage, epoch: u64, name: Name) -> io::Result<()> {
    let aside = format!("{}-{epoch:016x}{ENDING}", damage.file);
    match name {
        Name::Lost => files.rename(&damage.file, &aside)?,
        Name::Kept => match files.link(&damage.file, &aside) {
            // At an earlier start.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            other => other?,
        },
    }
    let reason = files.create(&format!("{aside}{REASON}"))?;
    reason.write_at(0, format!("{}\n", damage.why).as_bytes())?;
    make_room(files)
}

/// What is set aside, by name.
pub(super) fn list(files: &dyn Files) -> io::Result<Vec<String>> {
    let mut aside = files.list()?;
    aside.retain(|name| name.ends_with(ENDING));
    aside.sort_unstable();
    Ok(aside)
}

fn make_room(files: &dyn Files) -> io::Result<()> {
    let aside = list(files)?;
    for name in aside.iter().rev().skip(ASIDE_MAX) {
        // What is no file stays.
        let _ = files.remove(name).and_then(|()| files.remove(&format!("{name}{REASON}")));
    }
    Ok(())
}
