//! One machine: a file that is edited, and the agent that runs by it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use hobnail::topology_files::load_from_disk;
use serde_json::Value;

use crate::agent::{Agent, hobnail};

/// How long anything may take before a test gives up on it.
const LIMIT: Duration = Duration::from_secs(20);

pub struct Machine {
    pub agent: Agent,
    pub file: PathBuf,
}

/// How an editor, or what deploys a file, writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    InPlace,
    /// Emptied, then written in pieces with time between them.
    SlowPieces,
    /// Another file is renamed over it.
    Rename,
    /// The file is a link into a folder, that folder is a link, and the link is swapped.
    LinkSwap,
}

pub const STYLES: [Style; 4] = [Style::InPlace, Style::SlowPieces, Style::Rename, Style::LinkSwap];

impl Machine {
    pub fn start(topology: &str) -> Self {
        Self::start_with(topology, "solo", |_| {})
    }

    pub fn start_with(topology: &str, name: &str, more: impl FnOnce(&mut Command)) -> Self {
        let mut command = hobnail(topology, name);
        let file = PathBuf::from(command.get_args().nth(1).expect("run FILE"));
        more(&mut command);
        Self { agent: Agent::spawn(&mut command), file }
    }

    pub fn tool(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
        let control = self.file.with_file_name("control");
        command.args(arguments).env("HOBNAIL_CONTROL", control).env_remove("HOBNAIL_NAME").output().unwrap()
    }

    /// Nothing, where no agent answers.
    pub fn status(&self) -> Value {
        serde_json::from_slice(&self.tool(&["status", "--json"]).stdout).unwrap_or_default()
    }

    /// The status, once `is` says yes to it.
    pub fn status_when(&self, is: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LIMIT;
        loop {
            let status = self.status();
            if is(&status) {
                return status;
            }
            assert!(Instant::now() < end, "it never came to it: {status:#}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `hobnail reload`, its exit code and its answer.
    pub fn reload(&self, more: &[&str]) -> (Option<i32>, Value) {
        let output = self.tool(&[&["reload", "--json"], more].concat());
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    pub fn write(&self, text: &str, style: Style) {
        let folder = self.file.parent().unwrap();
        match style {
            Style::InPlace => fs::write(&self.file, text).unwrap(),
            Style::SlowPieces => {
                let mut file = fs::File::create(&self.file).unwrap();
                for piece in text.as_bytes().chunks(text.len() / 3 + 1) {
                    std::thread::sleep(Duration::from_millis(15));
                    std::io::Write::write_all(&mut file, piece).unwrap();
                }
            }
            Style::Rename => {
                let beside = folder.join("topology.yaml~");
                fs::write(&beside, text).unwrap();
                fs::rename(&beside, &self.file).unwrap();
            }
            Style::LinkSwap => swap(folder, &self.file, text),
        }
    }

    /// The fingerprint of what is in force.
    pub fn in_force(&self) -> String {
        self.status()["topology"]["fingerprint"].as_str().unwrap_or_default().to_owned()
    }

    /// How long it takes until what the file says is in force.
    pub fn time_to_apply(&self) -> Duration {
        let begun = Instant::now();
        let wanted = self.fingerprint();
        self.status_when(|status| status["topology"]["fingerprint"] == *wanted);
        begun.elapsed()
    }

    /// Of what the file says.
    pub fn fingerprint(&self) -> String {
        let loaded = load_from_disk(&self.file, None);
        loaded.topology.expect("the file is good").fingerprint().into()
    }
}

/// As Kubernetes does it: `topology.yaml` → `..data/topology.yaml`, `..data` → the newest folder.
fn swap(folder: &Path, file: &Path, text: &str) {
    let new = tempfile::tempdir_in(folder).unwrap().keep();
    fs::write(new.join("topology.yaml"), text).unwrap();
    let (data, beside) = (folder.join("..data"), folder.join("..data_tmp"));
    let before = fs::read_link(&data);
    symlink(&new, &beside).unwrap();
    fs::rename(&beside, &data).unwrap();
    if fs::read_link(file).is_err() {
        let link = folder.join("link");
        symlink("..data/topology.yaml", &link).unwrap();
        fs::rename(&link, file).unwrap();
    }
    if let Ok(before) = before {
        fs::remove_dir_all(before).unwrap();
    }
}

/// The words of the codes that the status finds.
pub fn codes(status: &Value) -> Vec<&str> {
    let health = status["health"].as_array().map_or(&[][..], Vec::as_slice);
    health.iter().filter_map(|finding| finding["code"].as_str()).collect()
}
