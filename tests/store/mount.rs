//! A small file system of a test's own, gone with the value.

use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Mount {
    folder: tempfile::TempDir,
}

impl Mount {
    /// In memory, of so many MiB. `None`, after saying so, where nothing can be mounted; in CI that is a failure.
    pub fn tmpfs(mib: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "mounting needs root");
            eprintln!("skipped: mounting needs root");
            return None;
        }
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        mount(&["-t", "tmpfs", "-o", &format!("size={mib}m"), "hobnail-test"], folder.path());
        Some(Self { folder })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn read_only(&self) {
        mount(&["-o", "remount,ro"], self.path());
    }

    pub fn writable(&self) {
        mount(&["-o", "remount,rw"], self.path());
    }

    /// Leave no room for anything else.
    pub fn fill(&self) {
        let mut filler = std::fs::File::create(self.filler()).expect("created");
        let error = std::io::copy(&mut std::io::repeat(0), &mut filler).expect_err("it has an end");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.filler()).expect("removed");
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Whoever still has something open there keeps it alive, and nothing else.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn mount(args: &[&str], at: &Path) {
    let output = Command::new("mount").args(args).arg(at).output().expect("mount runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
