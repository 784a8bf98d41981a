//! A control group with a limit on memory, gone with the value.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const MOUNT: &str = "/sys/fs/cgroup/memory";
const PREFIX: &str = "hobnail-test-";

/// One at a time: two floods at once would each be half of one.
static TURN: Mutex<()> = Mutex::new(());

pub struct Group {
    path: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Group {
    /// `None`, after saying so, where no such group can be made; in CI that is a failure.
    pub fn with_memory(bytes: u64) -> Option<Self> {
        static GROUPS: AtomicU32 = AtomicU32::new(0);
        // Whoever panicked in its turn has had it.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        clear_left_overs();
        let group = GROUPS.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(MOUNT).join(format!("{PREFIX}{}-{group}", std::process::id()));
        if let Err(error) = fs::create_dir(&path) {
            assert!(std::env::var_os("CI").is_none(), "a control group of memory, version 1, as root: {error}");
            eprintln!("skipped: no control group of memory, version 1: {error}");
            return None;
        }
        let group = Self { path, _turn: turn };
        fs::write(group.path.join("memory.limit_in_bytes"), bytes.to_string()).expect("limited");
        Some(group)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn number(&self, file: &str) -> u64 {
        let text = fs::read_to_string(self.path.join(file)).expect("the group is there");
        text.trim().parse().expect("a number")
    }

    /// Times that something had to be given back before more could be had.
    pub fn times_full(&self) -> u64 {
        self.number("memory.failcnt")
    }

    /// The most that was ever used, files in memory included.
    pub fn most_used(&self) -> u64 {
        self.number("memory.max_usage_in_bytes")
    }

    /// What only the process has, now: no files.
    pub fn own(&self) -> u64 {
        self.field("memory.stat", "rss")
    }

    /// Processes that the kernel killed for want of memory.
    pub fn kills(&self) -> u64 {
        self.field("memory.oom_control", "oom_kill")
    }

    fn field(&self, file: &str, name: &str) -> u64 {
        let text = fs::read_to_string(self.path.join(file)).expect("the group is there");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// With whoever is still in it.
fn remove(group: &Path) {
    for _ in 0..100 {
        let inside = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        for pid in inside.lines().filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw) {
            // It may just have ended.
            let _ = kill_process(pid, Signal::KILL);
        }
        if fs::remove_dir(group).is_ok() || !group.exists() {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    eprintln!("{} is left behind", group.display());
}

/// Groups of test runs that are no more.
fn clear_left_overs() {
    for entry in fs::read_dir(MOUNT).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let run = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if run.is_some_and(|run| !Path::new(&format!("/proc/{run}")).exists()) {
            remove(&entry.path());
        }
    }
}
