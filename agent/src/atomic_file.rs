//! Files that are either the old one or the new one, whole, whatever happens in between.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// A finished file beside the one that it is to replace. Dropped without `put_in_place`, it goes away.
#[derive(Debug)]
pub struct Beside {
    trial: PathBuf,
    target: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[error("failed to write {path}: {error}")]
pub struct WriteError {
    path: String,
    error: io::Error,
}

/// Write `bytes`, safe on the disk, beside `target`, with the permissions and the owner that `target` has if it is there.
/// Where `target` is a link, what it leads to is meant.
pub fn write_beside(target: &Path, bytes: &[u8]) -> Result<Beside, WriteError> {
    let target = &led_to(target).map_err(|error| WriteError { path: target.display().to_string(), error })?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let trial = target.with_file_name(format!(".{name}.{}", std::process::id()));
    let failed = |error| WriteError { path: trial.display().to_string(), error };
    let mut file = File::create(&trial).map_err(failed)?;
    let beside = Beside { trial: trial.clone(), target: target.to_owned() };
    if let Ok(facts) = fs::metadata(target) {
        let own = file.metadata().map_err(failed)?;
        if (own.uid(), own.gid()) != (facts.uid(), facts.gid()) {
            fchown(&file, Some(facts.uid()), Some(facts.gid())).map_err(failed)?;
        }
        file.set_permissions(facts.permissions()).map_err(failed)?;
    }
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(beside)
}

/// The file at the end of all links; an error where a link leads nowhere.
fn led_to(target: &Path) -> io::Result<PathBuf> {
    match fs::symlink_metadata(target) {
        Ok(facts) if facts.is_symlink() => fs::canonicalize(target),
        Ok(_) | Err(_) => Ok(target.to_owned()),
    }
}

/// Put `bytes` in the place of `target`, for its owner alone to read from the first byte on.
pub fn write_secret(target: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let trial = target.with_file_name(format!(".{name}.{}", std::process::id()));
    let failed = |error| WriteError { path: trial.display().to_string(), error };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&trial).map_err(failed)?;
    let beside = Beside { trial: trial.clone(), target: target.to_owned() };
    give_to_owner_of_folder(&file, target).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    beside.put_in_place()
}

/// Write `bytes`, safe on the disk and for its owner alone, where no file is yet.
pub fn write_new_secret(target: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let failed = |error| WriteError { path: target.display().to_string(), error };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target).map_err(failed)?;
    let owned = give_to_owner_of_folder(&file, target);
    let written =
        owned.and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all()).and_then(|()| sync_folder(target));
    written.map_err(|error| {
        // Half a secret helps nobody; where it cannot be removed either, the first error says more.
        let _ = fs::remove_file(target);
        failed(error)
    })
}

impl WriteError {
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.error.kind()
    }
}

/// The key directory belongs to the user that the agent runs as, which must be able to read what root puts there.
fn give_to_owner_of_folder(file: &File, target: &Path) -> io::Result<()> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (ours, theirs) = (file.metadata()?, fs::metadata(folder)?);
    // Only root may give a file away, and only an owner of a private folder is meant.
    let is_private = theirs.mode() & 0o077 == 0;
    if ours.uid() == 0 && theirs.uid() != 0 && is_private {
        fchown(file, Some(theirs.uid()), Some(theirs.gid()))?;
    }
    Ok(())
}

impl Beside {
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.trial
    }

    pub fn put_in_place(self) -> Result<(), WriteError> {
        let failed = |error| WriteError { path: self.target.display().to_string(), error };
        fs::rename(&self.trial, &self.target).map_err(failed)?;
        sync_folder(&self.target).map_err(failed)
    }
}

/// Make the name of `target` as lasting as its bytes.
fn sync_folder(target: &Path) -> io::Result<()> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all())
}

impl Drop for Beside {
    fn drop(&mut self) {
        // After `put_in_place` there is nothing left to remove, and that is as it should be.
        let _ = fs::remove_file(&self.trial);
    }
}
