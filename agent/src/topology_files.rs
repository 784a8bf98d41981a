//! What a check may ask of this machine: the topology's files, and how the files of its secrets stand.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hobnail_core::ids::Name;
use hobnail_core::topology::{FILE_BYTES_MAX, Loaded, SecretFact, SecretFile, Surroundings, load};

use crate::keys;
use crate::secrets::{is_credential, located};
use crate::whoami::whoami;

/// Where keys and passwords live, unless `--keys` or the environment says otherwise.
pub const KEY_DIRECTORY: &str = "/etc/hobnail/keys";

/// This machine's file system, as a check sees it.
pub struct Disk {
    /// `None`: this is not where the secrets live, so nothing is said about them.
    key_directory: Option<PathBuf>,
    /// `None`: it is looked at for all machines.
    me: Option<Name>,
}

impl Disk {
    /// Look at the secrets in `named`, or in the usual place where that is there: those of the machine called `name`, or as
    /// this one is called, if the topology knows it.
    #[must_use]
    pub fn new(named: Option<&Path>, name: Option<&str>) -> Self {
        let usual = Path::new(KEY_DIRECTORY);
        let key_directory = named.map(Path::to_owned).or_else(|| usual.is_dir().then(|| usual.to_owned()));
        Self { key_directory, me: whoami(name).ok() }
    }

    /// Look at the text alone.
    #[must_use]
    pub fn without_secrets() -> Self {
        Self { key_directory: None, me: None }
    }

    /// Where the secret `file` is.
    #[must_use]
    pub fn path(&self, file: SecretFile<'_>) -> Option<PathBuf> {
        let directory = self.key_directory.as_ref()?;
        Some(match file {
            SecretFile::Key(name) => keys::path_of(directory, name),
            SecretFile::Password(path) | SecretFile::CertificateKey(path) => directory.join(path),
        })
    }
}

impl Surroundings for Disk {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, String> {
        let read = || -> io::Result<Vec<u8>> {
            let kind = fs::metadata(path)?.file_type();
            if !kind.is_file() {
                // A pipe would be waited for.
                return Err(io::Error::other(if kind.is_dir() { "it is a directory" } else { "it is not a file" }));
            }
            let mut bytes = Vec::new();
            let most = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
            File::open(path)?.take(most).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|error| plain(&error))
    }

    fn secret(&mut self, file: SecretFile<'_>) -> SecretFact {
        let Some(path) = self.path(file) else {
            return SecretFact::NotLooked;
        };
        if let SecretFile::Key(_) = file {
            return keys::fact(&path);
        }
        let shown = path.display().to_string();
        let path = located(&path);
        match fs::metadata(&path) {
            Ok(_) if is_credential(&path) => SecretFact::Fine,
            Err(_) => SecretFact::Missing { path: shown },
            Ok(facts) => {
                let mode = facts.permissions().mode() & 0o7777;
                if mode & 0o077 == 0 { SecretFact::Fine } else { SecretFact::Open { path: shown, mode } }
            }
        }
    }

    fn me(&self) -> Option<&str> {
        self.me.as_ref().map(Name::as_str)
    }
}

/// Read and check a topology, with the secrets of all its machines.
#[must_use]
pub fn load_from_disk(path: &Path, key_directory: Option<&Path>) -> Loaded {
    load(&path.to_string_lossy(), &mut Disk { me: None, ..Disk::new(key_directory, None) })
}

/// An error of the system without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.chars().next().map_or_else(String::new, |first| {
        first.to_lowercase().collect::<String>() + text.get(first.len_utf8()..).unwrap_or("")
    })
}
