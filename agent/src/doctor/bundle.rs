//! An archive for whoever is to help: the findings and what they were made from, without secrets.
//!
//! Nothing that stands in a file of the key directory stands in the archive, wherever else it may have got to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Finding, Machine, ask};

/// Files of the key directory that are looked at, and how much of each.
const SECRET_FILES_MAX: usize = 1_000;
const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// Shorter lines of secret files are words that stand everywhere.
const SECRET_LEN_MIN: usize = 6;
const REMOVED: &str = "[removed]";
/// What settings of secrets are called, in any file and any case.
const SECRET_WORDS: [&str; 4] = ["pass", "secret", "token", "psk"];

const FILES: &[(&str, &str)] = &[
    ("os-release.txt", "/etc/os-release"),
    ("model.txt", "/proc/device-tree/model"),
    ("memory.txt", "/proc/meminfo"),
    ("mounts.txt", "/proc/self/mountinfo"),
    ("uptime.txt", "/proc/uptime"),
    ("hosts.txt", "/etc/hosts"),
    ("resolv.conf.txt", "/etc/resolv.conf"),
    ("default.txt", "/etc/default/hobnail"),
];

const ANSWERS: &[(&str, &str, &[&str])] = &[
    ("journal.txt", "journalctl", &["-u", "hobnail*", "-n", "2000", "-o", "short-iso", "--no-pager"]),
    ("kernel.txt", "journalctl", &["-k", "-p", "warning", "-n", "300", "--no-pager"]),
    ("unit.txt", "systemctl", &["cat", "hobnail.service", "hobnail.socket"]),
    ("service.txt", "systemctl", &["show", "hobnail.service"]),
    ("addresses.txt", "ip", &["-brief", "address"]),
    ("routes.txt", "ip", &["route"]),
    ("sockets.txt", "ss", &["-ltn"]),
    ("disks.txt", "df", &["-h"]),
    ("uname.txt", "uname", &["-a"]),
];

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("failed to write {0}: {1}")]
    Write(PathBuf, io::Error),
}

/// Write the archive, a tar that only its owner can read, to a place where nothing is yet.
pub fn write(machine: &Machine, findings: &[Finding], to: &Path) -> Result<(), BundleError> {
    let failed = |error| BundleError::Write(to.to_owned(), error);
    let scrubber = Scrubber::new(&machine.key_directory);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
    for (name, text) in members(machine, findings) {
        append(&mut file, &name, scrubber.scrub(&text).as_bytes()).map_err(failed)?;
    }
    // Two empty blocks are the end of a tar.
    file.write_all(&[0; 1024]).and_then(|()| file.sync_all()).map_err(failed)
}

fn members(machine: &Machine, findings: &[Finding]) -> Vec<(String, String)> {
    let findings = serde_json::to_string_pretty(findings).unwrap_or_else(|error| error.to_string());
    let mut members = vec![
        ("doctor.json".to_owned(), findings),
        ("version.txt".to_owned(), format!("{} {}\n", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH)),
        ("status.json".to_owned(), machine.agent.as_ref().map_or_else(Clone::clone, |status| format!("{status:#}\n"))),
        ("secrets.txt".to_owned(), listing(&machine.key_directory)),
        ("state.txt".to_owned(), listing(&machine.state_directory)),
    ];
    for (index, source) in machine.loaded.report.files.iter().enumerate() {
        let name = Path::new(&*source.name).file_name().unwrap_or_default().to_string_lossy();
        members.push((format!("topology/{index}-{name}"), source.text.to_string()));
    }
    for (name, path) in FILES {
        let text = fs::read_to_string(path).unwrap_or_else(|error| format!("{path}: {error}\n"));
        members.push(((*name).to_owned(), text));
    }
    for (name, program, args) in ANSWERS {
        let answer = ask(program, args).unwrap_or_else(|| format!("{program} gave no answer\n"));
        members.push(((*name).to_owned(), answer));
    }
    members
}

/// What is in a folder, seen from outside: modes, owners, sizes, names.
fn listing(folder: &Path) -> String {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return format!("{}: {error}\n", folder.display()),
    };
    let line = |entry: fs::DirEntry| {
        let (facts, name) = (entry.metadata().ok()?, entry.file_name());
        let (mode, uid, gid) = (facts.mode() & 0o7777, facts.uid(), facts.gid());
        Some(format!("{mode:04o} {uid}:{gid} {:>10} {}\n", facts.len(), name.to_string_lossy()))
    };
    let mut lines: Vec<String> = entries.flatten().take(SECRET_FILES_MAX).filter_map(line).collect();
    lines.sort();
    format!("{}\n{}", folder.display(), lines.concat())
}

/// Knows what may not be told.
struct Scrubber(Vec<String>);

impl Scrubber {
    fn new(key_directory: &Path) -> Self {
        let entries =
            fs::read_dir(key_directory).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
        let mut secrets = Vec::new();
        for entry in entries.iter().take(SECRET_FILES_MAX) {
            let mut bytes = Vec::new();
            let file = File::open(entry.path()).ok().filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file()));
            let read = file.map(|file| io::Read::read_to_end(&mut io::Read::take(file, SECRET_BYTES_MAX), &mut bytes));
            if read.is_none_or(|read| read.is_err()) {
                continue;
            }
            let text = String::from_utf8_lossy(&bytes);
            let told = text.lines().map(str::trim).filter(|line| !line.starts_with('#') && !line.starts_with("-----"));
            let words = told.clone().flat_map(str::split_whitespace);
            let long = told.chain(words).filter(|secret| secret.len() >= SECRET_LEN_MIN);
            secrets.extend(long.map(str::to_owned));
        }
        // The longest first, so that none is cut by a part of it.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self(secrets)
    }

    fn scrub(&self, text: &str) -> String {
        let (mut out, mut in_block) = (String::with_capacity(text.len()), false);
        for line in text.lines() {
            in_block |= line.contains("-----BEGIN") && line.contains("PRIVATE");
            let ends = line.contains("-----END");
            out += &if in_block { REMOVED.to_owned() } else { self.line(line) };
            out.push('\n');
            in_block &= !ends;
        }
        for secret in &self.0 {
            if out.contains(secret.as_str()) {
                out = out.replace(secret.as_str(), REMOVED);
            }
        }
        out
    }

    /// A line without what follows the name of a secret; the name of a file is none.
    fn line(&self, line: &str) -> String {
        let lower = line.to_ascii_lowercase();
        for (at, _) in lower.match_indices([':', '=']) {
            let name = lower[..at].trim_end_matches(['"', '\'', ' ']);
            let name = name.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').next().unwrap_or("");
            if SECRET_WORDS.iter().any(|word| name.contains(word))
                && !name.ends_with("_file")
                && !lower[at + 1..].trim().is_empty()
            {
                return format!("{} {REMOVED}", &line[..=at]);
            }
        }
        line.to_owned()
    }
}

/// One file of a tar in the format of POSIX, with blocks of 512 bytes.
fn append(to: &mut File, name: &str, bytes: &[u8]) -> io::Result<()> {
    const BLOCK: usize = 512;
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        let end = (at + text.len()).min(BLOCK);
        header[at..end].copy_from_slice(&text.as_bytes()[..end - at]);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // A longer name does not fit; its end tells more than its beginning.
    let start = name.char_indices().map(|(at, _)| at).find(|at| name.len() - at < 80).unwrap_or(0);
    put(0, &format!("hobnail-doctor/{}", &name[start..]));
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", bytes.len()));
    put(136, &format!("{now:011o}\0"));
    // The sum is made as if it were blanks itself.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    to.write_all(&header)?;
    to.write_all(bytes)?;
    to.write_all(&[0; BLOCK][..(BLOCK - bytes.len() % BLOCK) % BLOCK])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_secret_file_is_removed_wherever_it_turns_up() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("k1.key"), "# a comment stays\nhobnail-key 3b6a27bcceb6a42d\n").unwrap();
        let scrubber = Scrubber::new(folder.path());
        let scrubbed = scrubber.scrub("a comment stays, oops 3b6a27bcceb6a42d in a log\n");
        assert_eq!(scrubbed, "a comment stays, oops [removed] in a log\n");
    }

    #[test]
    fn what_is_called_a_secret_is_removed_and_names_of_files_stay() {
        let scrubber = Scrubber(Vec::new());
        for (line, scrubbed) in [
            ("plc: { password: hunter2, role: x }", "plc: { password: [removed]"),
            ("HOBNAIL_TOKEN=abc", "HOBNAIL_TOKEN= [removed]"),
            ("\"Api-Secret\" : \"abc\"", "\"Api-Secret\" : [removed]"),
            ("plc: { password_file: plc.pw }", "plc: { password_file: plc.pw }"),
            ("été: 1", "été: 1"),
            (
                "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nafter",
                "[removed]\n[removed]\n[removed]\nafter",
            ),
        ] {
            assert_eq!(scrubber.scrub(line), format!("{scrubbed}\n"));
        }
    }

    #[test]
    fn any_tar_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.tar");
        let mut file = File::create(&path).unwrap();
        append(&mut file, "one.txt", b"1").unwrap();
        append(&mut file, &"é".repeat(300), &[b'x'; 512]).unwrap();
        file.write_all(&[0; 1024]).unwrap();
        let listed = std::process::Command::new("tar").arg("-tvf").arg(&path).output().unwrap();
        assert!(listed.status.success() && listed.stderr.is_empty(), "{}", String::from_utf8_lossy(&listed.stderr));
        assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), 2);
    }
}
