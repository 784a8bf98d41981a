//! Where an agent keeps what outlives it: one folder for each machine of each network.
//!
//! ```text
//! DIR/NETWORK/NAME/store/        what it acknowledged
//!                  topologies/   what it was told to be
//! ```
//!
//! `DIR` is what was given, or what systemd made for the service, or the usual place of this user.

use std::env;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use hobnail_core::ids::Name;

/// Where services keep their state.
const SYSTEM_FOLDER: &str = "/var/lib/hobnail";
/// Nobody else reads what is kept: retained messages are there as they are.
const MODE: u32 = 0o700;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// Of machine `me` of this network, below the folder that was given or else the usual one. Makes nothing.
    #[must_use]
    pub fn of(given: Option<&Path>, network: &Name, me: &Name) -> Self {
        Self(root(given).join(network.as_str()).join(me.as_str()))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    #[must_use]
    pub fn topologies(&self) -> PathBuf {
        self.0.join("topologies")
    }
}

/// Make a folder of the state, and those above it that are missing, for this user alone.
pub fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(MODE).create(folder)
}

/// The folder of all networks and machines.
#[must_use]
pub fn root(given: Option<&Path>) -> PathBuf {
    if let Some(given) = given {
        return given.to_owned();
    }
    // One of several, where the unit names several.
    let of_service = env::var_os("STATE_DIRECTORY").and_then(|folders| env::split_paths(&folders).next());
    of_service.filter(|folder| folder.is_absolute()).unwrap_or_else(usual)
}

/// Where the agent of this computer most likely keeps its state, for one who asks without being that agent.
#[must_use]
pub fn likely(given: Option<&Path>) -> PathBuf {
    let system = PathBuf::from(SYSTEM_FOLDER);
    if given.is_none() && system.exists() { system } else { root(given) }
}

fn usual() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return SYSTEM_FOLDER.into();
    }
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let below_home = || absolute("HOME").map(|home| home.join(".local/state"));
    absolute("XDG_STATE_HOME").or_else(below_home).map_or_else(|| SYSTEM_FOLDER.into(), |folder| folder.join("hobnail"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn every_machine_of_every_network_has_a_folder_that_only_its_user_reads() {
        let given = tempfile::tempdir().unwrap();
        let name = |text| Name::new(text).unwrap();
        let state = StateDir::of(Some(given.path()), &name("acme"), &name("hub"));
        assert_ne!(state, StateDir::of(Some(given.path()), &name("acme"), &name("spare")));
        make(&state.store()).unwrap();
        make(&state.store()).expect("that it is there already is no fault");
        for folder in [state.path(), &state.store(), &given.path().join("acme")] {
            let mode = fs::metadata(folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, MODE, "{}", folder.display());
        }
        assert!(!state.topologies().exists());
    }
}
