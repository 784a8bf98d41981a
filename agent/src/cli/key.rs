//! `hobnail key`: the secrets that make machines one network. Only `relay` without `--output` ever prints one.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use argon2::password_hash::rand_core::{OsRng, RngCore};
use hobnail_core::envelope::{Key, NetworkKey, SECRET_LEN, key_file};
use hobnail_core::ids::Name;
use serde::Serialize;
use zeroize::Zeroizing;

use super::exit;
use super::out::{say, say_json};
use crate::atomic_file::write_new_secret;
use crate::keys::{EXTENSION, KeyError, load, path_of};
use crate::topology_files::KEY_DIRECTORY;

/// The name of the key of a topology without `keys`.
const DEFAULT_NAME: &str = "network";

/// Make, look at and share the keys of a network
///
/// A key named `k2` is the file `k2.key` in the key directory; the topology says `keys: { active: k2 }`. The same file
/// goes to every machine of the network.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key and write its file; nothing is overwritten
    New(Named),
    /// Tell a key's id and fingerprint, never the key
    Show(Named),
    /// Tell what is wrong with key files; silent where all is well
    Check {
        /// The keys to look at; by default all in the key directory
        names: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Write the half of a key that a broker needs to relay without reading; to standard output, or to a file
    ///
    /// Put it on that broker under the key's own name.
    Relay {
        /// The key
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
        /// Write it here; nothing is overwritten
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The key; `network` is the one of a topology that names none
    #[arg(default_value = DEFAULT_NAME)]
    name: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The key directory
    #[arg(long, value_name = "FOLDER", env = "HOBNAIL_KEYS", default_value = KEY_DIRECTORY)]
    keys: PathBuf,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
}

/// What may be told of a key.
#[derive(Serialize)]
struct Facts {
    name: String,
    file: String,
    kind: &'static str,
    id: String,
    fingerprint: String,
}

/// One file, looked at.
#[derive(Serialize)]
struct Finding {
    name: String,
    file: String,
    fine: bool,
    id: Option<String>,
    problem: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::New(named) => new(&named.name, &named.place),
        Command::Show(named) => show(&named.name, &named.place),
        Command::Check { names, place } => check(names, place),
        Command::Relay { name, output, place } => relay(name, output.as_deref(), place),
    }
}

fn new(name: &str, place: &Place) -> anyhow::Result<ExitCode> {
    let path = path_in(place, name)?;
    make_directory(&place.keys)?;
    let mut secret = Zeroizing::new([0; SECRET_LEN]);
    OsRng.try_fill_bytes(&mut *secret).context("the system gives no random bytes")?;
    let key = Key::Whole(NetworkKey::new(secret));
    let comments = [
        &format!("hobnail network key `{name}`. The same file goes to every machine of the network, mode 0600."),
        "Who has it can read and send everything. A broker that only relays: `hobnail key relay`.",
    ];
    if let Some(code) = put(&path, &key, &comments)? {
        return Ok(code);
    }
    tell(&Facts::of(name, &path, &key), place)?;
    eprintln!("copy {} to every machine of the network, and keep a copy where no thief looks", path.display());
    Ok(ExitCode::SUCCESS)
}

fn show(name: &str, place: &Place) -> anyhow::Result<ExitCode> {
    let path = path_in(place, name)?;
    let key = match load(&path) {
        Ok(key) => key,
        Err(error) => return refused(&error),
    };
    tell(&Facts::of(name, &path, &key), place)?;
    Ok(ExitCode::SUCCESS)
}

fn check(names: &[String], place: &Place) -> anyhow::Result<ExitCode> {
    let names = if names.is_empty() { names_in(&place.keys)? } else { names.to_vec() };
    let mut findings: Vec<Finding> = Vec::new();
    for name in names {
        let path = path_in(place, &name)?;
        let (id, mut problem) = match load(&path) {
            Ok(key) => (Some(key.id().to_string()), None),
            Err(error) => (None, Some(error.to_string())),
        };
        if let Some(twin) = findings.iter().find(|other| id.is_some() && other.id == id) {
            problem = Some(format!("{} holds the same key as {}", path.display(), twin.file));
        }
        findings.push(Finding { name, file: path.display().to_string(), fine: problem.is_none(), id, problem });
    }
    if place.json {
        say_json(&findings)?;
    }
    for problem in findings.iter().filter_map(|finding| finding.problem.as_ref()) {
        eprintln!("hobnail: {problem}");
    }
    Ok(if findings.iter().all(|finding| finding.fine) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn relay(name: &str, output: Option<&Path>, place: &Place) -> anyhow::Result<ExitCode> {
    let path = path_in(place, name)?;
    let whole = match load(&path) {
        Ok(Key::Whole(whole)) => whole,
        Ok(Key::Relay(_)) => bail!("{} is a relay's half already; copy it as it is", path.display()),
        Err(error) => return refused(&error),
    };
    let half = Key::Relay(whole.link_secret());
    let comments = [
        &format!("The relay's half of the hobnail network key `{name}`: links and relays, reads no payload."),
        "It goes to a broker's key directory under the key's own name, mode 0600.",
    ];
    let Some(output) = output else {
        if place.json {
            bail!("--json tells of the file that --output writes; give both");
        }
        say(&key_file::render(&half, &comments))?;
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(code) = put(output, &half, &comments)? {
        return Ok(code);
    }
    tell(&Facts::of(name, output, &half), place)?;
    Ok(ExitCode::SUCCESS)
}

impl Facts {
    fn of(name: &str, path: &Path, key: &Key) -> Self {
        let kind = match key {
            Key::Whole(_) => "network",
            Key::Relay(_) => "relay",
        };
        let fingerprint = key.fingerprint();
        Self {
            name: name.to_owned(),
            file: path.display().to_string(),
            kind,
            id: fingerprint.id().to_string(),
            fingerprint: fingerprint.to_string(),
        }
    }
}

fn tell(facts: &Facts, place: &Place) -> anyhow::Result<()> {
    if place.json {
        return say_json(facts);
    }
    let Facts { name, file, kind, id, fingerprint } = facts;
    let lines = format!(
        "key          {name}\nkind         {kind}\nid           {id}\nfingerprint  {fingerprint}\nfile         {file}\n"
    );
    Ok(say(&lines)?)
}

/// The file of a key, which is named as the topology names it.
fn path_in(place: &Place, name: &str) -> anyhow::Result<PathBuf> {
    let name = Name::new(name).map_err(|error| anyhow::anyhow!("`{name}` is no name for a key: {error}"))?;
    Ok(path_of(&place.keys, name.as_str()))
}

/// Write a key file where none is, or say why not.
fn put(path: &Path, key: &Key, comments: &[&str]) -> anyhow::Result<Option<ExitCode>> {
    let text = key_file::render(key, comments);
    match write_new_secret(path, text.as_bytes()) {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} is there already, and no key is ever overwritten", path.display())
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            eprintln!("hobnail: {error}");
            Ok(Some(ExitCode::from(exit::PERMISSION)))
        }
        Err(error) => Err(error.into()),
    }
}

fn refused(error: &KeyError) -> anyhow::Result<ExitCode> {
    eprintln!("hobnail: {error}");
    let permission = match error {
        KeyError::Open { .. } => true,
        KeyError::Unreadable { error, .. } => error.kind() == ErrorKind::PermissionDenied,
        KeyError::Missing(_) | KeyError::Bad { .. } | KeyError::Keyring(_) => false,
    };
    Ok(if permission { ExitCode::from(exit::PERMISSION) } else { ExitCode::FAILURE })
}

/// Make the key directory, for its owner alone, where it is missing.
fn make_directory(directory: &Path) -> anyhow::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let named = || format!("cannot make {}", directory.display());
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent).with_context(named)?;
    }
    DirBuilder::new().mode(0o700).create(directory).with_context(named)
}

/// The names of all keys in a directory, in order.
fn names_in(directory: &Path) -> anyhow::Result<Vec<String>> {
    let read = || format!("cannot read {}", directory.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(read)? {
        let path = entry.with_context(read)?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            // What is no name, no topology can mean.
            names.extend(stem.filter(|stem| Name::new(stem).is_ok()).map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}
