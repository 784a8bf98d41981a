//! Key files: read where nobody else can read them, written once.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hobnail_core::envelope::key_file::{self, KEY_FILE_BYTES_MAX, KeyFileError};
use hobnail_core::envelope::{Key, Keyring, KeyringError};
use hobnail_core::ids::Name;
use hobnail_core::topology::SecretFact;
use hobnail_core::topology::model::Keys;
use zeroize::Zeroizing;

use crate::secrets::{is_credential, located};

/// How a key file is called after its name.
pub const EXTENSION: &str = "key";

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(
        "{0} is not there; copy it from another machine of the network, or make the network's first key with \
         `hobnail key new`"
    )]
    Missing(String),
    #[error("failed to read {path}: {error}")]
    Unreadable { path: String, error: io::Error },
    #[error("others can read {path} (mode {mode:04o}): chmod 600 {path}")]
    Open { path: String, mode: u32 },
    #[error("{path} holds no key: {problem}")]
    Bad { path: String, problem: KeyFileError },
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

/// How the key file at `path` stands.
#[must_use]
pub fn fact(path: &Path) -> SecretFact {
    match load(path) {
        Ok(_) => SecretFact::Fine,
        Err(KeyError::Missing(path)) => SecretFact::Missing { path },
        Err(KeyError::Open { path, mode }) => SecretFact::Open { path, mode },
        Err(KeyError::Bad { path, problem }) => SecretFact::Bad { path, problem: problem.to_string() },
        // Whoever checks is not who runs the agent.
        Err(KeyError::Unreadable { error, .. }) if error.kind() == io::ErrorKind::PermissionDenied => {
            SecretFact::NotLooked
        }
        Err(KeyError::Unreadable { path, error }) => SecretFact::Bad { path, problem: error.to_string() },
        Err(error @ KeyError::Keyring(_)) => {
            SecretFact::Bad { path: path.display().to_string(), problem: error.to_string() }
        }
    }
}

/// Where the key `name` is.
#[must_use]
pub fn path_of(key_directory: &Path, name: &str) -> PathBuf {
    key_directory.join(format!("{name}.{EXTENSION}"))
}

/// The keys that a machine of `network` works with.
pub fn load_keyring(network: &Name, keys: &Keys, key_directory: &Path) -> Result<Keyring, KeyError> {
    let load = |name: &Name| load(&path_of(key_directory, name.as_str()));
    let active = load(&keys.active)?;
    let accepted = keys.accept.iter().map(load).collect::<Result<Vec<Key>, KeyError>>()?;
    Ok(Keyring::new(network, &active, &accepted)?)
}

/// The key in the file at `path`, or in the credential that stands for it.
pub fn load(path: &Path) -> Result<Key, KeyError> {
    let path = &located(path);
    let shown = || path.display().to_string();
    let unreadable = |error: io::Error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        if missing { KeyError::Missing(shown()) } else { KeyError::Unreadable { path: shown(), error } }
    };
    // Looked at before it is opened: opening a pipe would wait.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::other("it is not a file")));
    }
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 && !is_credential(path) {
        return Err(KeyError::Open { path: shown(), mode });
    }
    let most = KEY_FILE_BYTES_MAX + 1;
    // With room for all of it, so that growing leaves no copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    file.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(&mut bytes).map_err(unreadable)?;
    key_file::parse(&bytes).map_err(|problem| KeyError::Bad { path: shown(), problem })
}
