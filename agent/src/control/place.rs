//! Where the control socket of an agent is, for the agent that opens it and for the commands that look for it.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use hobnail_core::ids::Name;
use rustix::net::sockopt::socket_peercred;

use crate::whoami::whoami;

/// Where services keep their sockets.
const SYSTEM_FOLDER: &str = "/run/hobnail";
const EXTENSION: &str = "sock";

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("failed to make the folder {0}: {1}")]
    Make(PathBuf, io::Error),
    #[error("{0} belongs to another user, or others may write to it")]
    NotOurs(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error("no agent answers on this machine: looked for a socket in {}; is `hobnail run` up?", shown(.0))]
    None(Vec<PathBuf>),
    #[error("no agent called `{name}` answers on this machine: looked in {}", shown(folders))]
    NotThat { name: String, folders: Vec<PathBuf> },
    #[error("no agent answers that is process {pid}: looked in {}", shown(folders))]
    NotProcess { pid: u32, folders: Vec<PathBuf> },
    #[error("several agents run on this machine; say which with --name: {}", .0.join(", "))]
    Several(Vec<String>),
}

fn shown(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Where the agent of `me` opens its socket, and makes the folder for it.
pub fn own(me: &Name) -> Result<PathBuf, FolderError> {
    if let Some(given) = given_folder() {
        return Ok(socket_in(&given, me.as_str()));
    }
    let folder = if rustix::process::geteuid().is_root() { SYSTEM_FOLDER.into() } else { user_folder() };
    make(&folder)?;
    Ok(socket_in(&folder, me.as_str()))
}

/// The socket of the agent called `name`, or of the only one there is, or of the one that has the name of the host.
pub fn find(name: Option<&str>) -> Result<PathBuf, FindError> {
    find_in(folders(), name, whoami(None).ok().as_ref())
}

/// The socket of the agent that is this process.
pub fn find_process(pid: u32) -> Result<PathBuf, FindError> {
    find_process_in(folders(), pid)
}

fn find_process_in(folders: Vec<PathBuf>, pid: u32) -> Result<PathBuf, FindError> {
    // The kernel knows who listens, whatever the socket is called.
    let is_its = |socket: &PathBuf| {
        let who = UnixStream::connect(socket).and_then(|stream| Ok(socket_peercred(stream)?));
        who.is_ok_and(|who| u32::try_from(who.pid.as_raw_nonzero().get()) == Ok(pid))
    };
    let found = folders.iter().flat_map(|folder| sockets_of(folder)).find(is_its);
    found.ok_or(FindError::NotProcess { pid, folders })
}

fn find_in(folders: Vec<PathBuf>, name: Option<&str>, host: Option<&Name>) -> Result<PathBuf, FindError> {
    // One that nobody answers on was left behind by an agent that was killed.
    let answers = |socket: &PathBuf| UnixStream::connect(socket).is_ok();
    if let Some(name) = name {
        let found = folders.iter().map(|folder| socket_in(folder, name)).find(answers);
        return found.ok_or_else(|| FindError::NotThat { name: name.to_owned(), folders });
    }
    let mut sockets: Vec<PathBuf> = folders.iter().flat_map(|folder| sockets_of(folder)).filter(answers).collect();
    if sockets.len() > 1
        && let Some(mine) = sockets.iter().position(|socket| host.is_some_and(|host| called(socket) == host.as_str()))
    {
        return Ok(sockets.swap_remove(mine));
    }
    match sockets.len() {
        0 => Err(FindError::None(folders)),
        1 => Ok(sockets.swap_remove(0)),
        _ => Err(FindError::Several(sockets.iter().map(|socket| called(socket)).collect())),
    }
}

fn socket_in(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.{EXTENSION}"))
}

fn called(socket: &Path) -> String {
    socket.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Sorted, so that what is told does not depend on the file system.
fn sockets_of(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut sockets: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == EXTENSION)).collect();
    sockets.sort();
    sockets
}

fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = given_folder().into_iter().collect();
    folders.extend([PathBuf::from(SYSTEM_FOLDER), user_folder()]);
    folders.dedup();
    folders
}

/// What the service manager made for this service.
fn given_folder() -> Option<PathBuf> {
    let folders = env::var_os("RUNTIME_DIRECTORY")?;
    env::split_paths(&folders).next().filter(|folder| folder.is_absolute())
}

fn user_folder() -> PathBuf {
    match env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute()) {
        Some(folder) => folder.join("hobnail"),
        None => env::temp_dir().join(format!("hobnail-{}", rustix::process::geteuid().as_raw())),
    }
}

/// The folder, for this user alone to write to. In `/tmp` anybody may have made one of that name before us.
fn make(folder: &Path) -> Result<(), FolderError> {
    match DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(FolderError::Make(folder.to_owned(), error));
        }
        Ok(()) | Err(_) => {}
    }
    let facts = fs::symlink_metadata(folder).map_err(|error| FolderError::Make(folder.to_owned(), error))?;
    let ours = facts.is_dir() && facts.uid() == rustix::process::geteuid().as_raw() && facts.mode() & 0o002 == 0;
    if ours { Ok(()) } else { Err(FolderError::NotOurs(folder.to_owned())) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn folder_with(agents: &[&str]) -> (tempfile::TempDir, Vec<UnixListener>) {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &&str| UnixListener::bind(socket_in(folder.path(), name)).unwrap();
        let listeners = agents.iter().map(open).collect();
        (folder, listeners)
    }

    #[test]
    fn the_only_agent_is_found_whatever_it_is_called_and_dead_ones_do_not_count() {
        let (folder, _alive) = folder_with(&["press-1"]);
        drop(UnixListener::bind(socket_in(folder.path(), "dead")).unwrap());
        assert!(socket_in(folder.path(), "dead").exists());
        let found = find_in(vec![folder.path().to_owned()], None, None).unwrap();
        assert_eq!(found, socket_in(folder.path(), "press-1"));
    }

    #[test]
    fn of_several_agents_the_named_one_is_found_then_the_one_with_the_hosts_name() {
        let (folder, _alive) = folder_with(&["a", "b"]);
        let folders = vec![folder.path().to_owned()];
        assert_eq!(find_in(folders.clone(), Some("b"), None).unwrap(), socket_in(folder.path(), "b"));
        let host = Name::new("a").unwrap();
        assert_eq!(find_in(folders.clone(), None, Some(&host)).unwrap(), socket_in(folder.path(), "a"));
        let error = find_in(folders.clone(), None, None).unwrap_err().to_string();
        assert_eq!(error, "several agents run on this machine; say which with --name: a, b");
        assert!(find_in(folders, Some("c"), None).unwrap_err().to_string().contains("`c`"));
    }

    #[test]
    fn an_agent_is_found_by_its_process() {
        let (folder, _alive) = folder_with(&["a"]);
        let folders = vec![folder.path().to_owned()];
        let found = find_process_in(folders.clone(), std::process::id()).unwrap();
        assert_eq!(found, socket_in(folder.path(), "a"));
        let error = find_process_in(folders, 1).unwrap_err().to_string();
        assert!(error.starts_with("no agent answers that is process 1: looked in "), "{error}");
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("hobnail");
        make(&inside).unwrap();
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(make(&inside), Err(FolderError::NotOurs(_))));
        fs::remove_dir(&inside).unwrap();
        std::os::unix::fs::symlink(folder.path(), &inside).unwrap();
        assert!(matches!(make(&inside), Err(FolderError::NotOurs(_))));
    }
}
