//! `hobnail passwd`: the password files that a topology names.

mod terminal;

use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{Error as HashError, PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::atomic_file::write_secret;

/// What one guess costs: 19 MiB, gone over twice, in one lane, which OWASP recommends for Argon2id. A small Raspberry
/// Pi has 1 GiB or less, and after a power cut all devices log in at once; more memory a log-in would push the broker
/// out of RAM, less would make guessing on a graphics card cheap.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Longest password. CONNECT could carry more, but nobody means to.
const PASSWORD_BYTES_MAX: usize = 1024;
/// Longest password file that is worth reading.
const FILE_BYTES_MAX: u64 = 4096;

/// Write a password file for a device, or check one
///
/// Asks twice on a terminal. The file holds an Argon2id hash, never the password, and only its owner can read it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The password file, as `password_file` names it
    file: PathBuf,
    /// Read the password from standard input, up to its first line end
    #[arg(long)]
    password_stdin: bool,
    /// Do not write: tell by the exit code whether the password is the one in the file
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.check {
        return check(args);
    }
    let password = if args.password_stdin {
        from_stdin()?
    } else {
        let first = terminal::ask("Password: ")?;
        if terminal::ask("Once more: ")? != first {
            bail!("the two are not the same; nothing was written");
        }
        first
    };
    let line = hash(&password)?;
    write_secret(&args.file, format!("{line}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn check(args: &Args) -> anyhow::Result<ExitCode> {
    let line = read(&args.file)?;
    let hash = PasswordHash::new(line.trim_end())
        .map_err(|error| anyhow::anyhow!("{} holds no password hash: {error}", args.file.display()))?;
    let password = if args.password_stdin { from_stdin()? } else { terminal::ask("Password: ")? };
    match Argon2::default().verify_password(&password, &hash) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(HashError::Password) => {
            eprintln!("hobnail: that is not the password in {}", args.file.display());
            Ok(ExitCode::FAILURE)
        }
        Err(error) => bail!("cannot check against {}: {error}", args.file.display()),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text)
}

fn hash(password: &[u8]) -> anyhow::Result<String> {
    if password.is_empty() {
        bail!("the password is empty; nothing was written");
    }
    let fail = |error: &dyn std::fmt::Display| anyhow::anyhow!("cannot hash the password: {error}");
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| fail(&error))?;
    let salt = SaltString::generate(&mut OsRng);
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(hasher.hash_password(password, &salt).map_err(|error| fail(&error))?.to_string())
}

/// The first line of standard input, without its end.
fn from_stdin() -> anyhow::Result<Vec<u8>> {
    if io::stdin().is_terminal() {
        bail!("--password-stdin reads from a pipe or a file, not from a terminal");
    }
    let limit = u64::try_from(PASSWORD_BYTES_MAX).unwrap_or(u64::MAX) + 2;
    let mut password = Vec::new();
    io::stdin().lock().take(limit).read_to_end(&mut password).context("cannot read the password")?;
    let end = password.iter().position(|byte| *byte == b'\n').unwrap_or(password.len());
    password.truncate(end);
    if password.last() == Some(&b'\r') {
        password.pop();
    }
    if password.len() > PASSWORD_BYTES_MAX {
        bail!("a password has at most {PASSWORD_BYTES_MAX} bytes");
    }
    Ok(password)
}
