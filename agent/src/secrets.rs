//! Where the file of a secret is: in the key directory, or among the credentials that the service manager handed over.
//!
//! With `LoadCredential=keys:/etc/hobnail/keys`, systemd copies each file of that folder to where only this service can
//! read it, so the files themselves may belong to root. The copies are as old as the process. A file that the agent can
//! read by itself is read there, and a changed one counts at once.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The name that the unit gives to the key directory among the credentials.
const CREDENTIAL: &str = "keys";

/// `path`, or the credential that stands for it where only that can be read.
#[must_use]
pub fn located(path: &Path) -> PathBuf {
    let credentials = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    credential_instead(path, credentials.as_deref()).unwrap_or_else(|| path.to_owned())
}

/// Whether systemd keeps this file, whose mode then says nothing about who can read it.
#[must_use]
pub fn is_credential(path: &Path) -> bool {
    env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|credentials| path.starts_with(credentials))
}

fn credential_instead(path: &Path, credentials: Option<&Path>) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let credential = credentials?.join(format!("{CREDENTIAL}_{name}"));
    let only_there = File::open(path).is_err() && credential.is_file();
    only_there.then_some(credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_can_be_read_comes_before_the_credential_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, credentials) = (folder.path().join("keys"), folder.path().join("credentials"));
        for folder in [&keys, &credentials] {
            std::fs::create_dir(folder).unwrap();
        }
        let (file, credential) = (keys.join("k1.key"), credentials.join("keys_k1.key"));
        assert_eq!(credential_instead(&file, Some(&credentials)), None, "neither is there");
        std::fs::write(&credential, "copy").unwrap();
        assert_eq!(credential_instead(&file, Some(&credentials)), Some(credential));
        assert_eq!(credential_instead(&file, None), None);
        std::fs::write(&file, "own").unwrap();
        assert_eq!(credential_instead(&file, Some(&credentials)), None, "the file itself is newer");
    }
}
