//! File systems of a test's own: mounted below a folder of its own, and gone with the value.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const IMAGE_BYTES: u64 = 64 << 20;

fn must(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is plain")
}

pub fn may_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        assert!(std::env::var_os("CI").is_none(), "mounting needs root");
        eprintln!("skipped: mounting needs root");
    }
    root
}

/// A folder with a file system on it, until it is dropped.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        // A test that failed may still have files open there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub struct Tmpfs {
    mount: Mount,
    _folder: TempDir,
}

impl Tmpfs {
    pub fn new(options: &str) -> Option<Self> {
        if !may_mount() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().join("disk");
        fs::create_dir(&at).expect("a place");
        must("mount", &["-t", "tmpfs", "-o", options, "tmpfs", text(&at)]);
        Some(Self { mount: Mount(at), _folder: folder })
    }

    pub fn path(&self) -> PathBuf {
        self.mount.0.clone()
    }

    /// Leave no room at all.
    pub fn fill(&self) {
        let filler = File::options().create(true).append(true).open(self.path().join("filler"));
        let mut filler = filler.expect("a file");
        for piece in [1 << 20, 4096, 1] {
            loop {
                match filler.write(&vec![0; piece]) {
                    Ok(written) if written > 0 => {}
                    Err(error) if error.kind() != ErrorKind::StorageFull => panic!("{error}"),
                    Ok(_) | Err(_) => break,
                }
            }
        }
    }
}

/// What a device has been asked for.
#[derive(PartialEq, Eq)]
struct Writes {
    done: String,
    under_way: String,
}

/// An image on a loop device.
pub struct Ext4 {
    mount: Option<Mount>,
    device: String,
    folder: TempDir,
}

impl Ext4 {
    pub fn new(name: &str) -> Option<Self> {
        if !may_mount() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("image");
        File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES)).expect("an image");
        must("mkfs.ext4", &["-q", "-L", name, "-E", "lazy_itable_init=0,lazy_journal_init=0", text(&image)]);
        Some(Self::mount(folder))
    }

    /// The file system of the image in this folder.
    pub fn mount(folder: TempDir) -> Self {
        let device = must("losetup", &["--find", "--show", text(&folder.path().join("image"))]);
        let mut disk = Self { mount: None, device, folder };
        disk.attach();
        disk
    }

    fn attach(&mut self) {
        let at = self.folder.path().join("disk");
        fs::create_dir_all(&at).expect("a place");
        must("mount", &["-o", "errors=remount-ro", &self.device, text(&at)]);
        self.mount = Some(Mount(at));
    }

    /// Where the store is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk/store")
    }

    /// The image as it is at one moment; `None` where something was written in the meantime.
    pub fn copy(&self) -> Option<TempDir> {
        let folder = tempfile::tempdir().expect("a folder");
        let before = self.writes();
        if before.under_way != "0" {
            return None;
        }
        must("cp", &["--sparse=always", text(&self.folder.path().join("image")), text(&folder.path().join("image"))]);
        (self.writes() == before).then_some(folder)
    }

    fn writes(&self) -> Writes {
        let name = self.device.rsplit('/').next().unwrap_or_default();
        let stat = fs::read_to_string(format!("/sys/block/{name}/stat")).expect("the kernel counts");
        let fields: Vec<&str> = stat.split_whitespace().collect();
        Writes { done: fields[4].into(), under_way: fields[8].into() }
    }

    /// `ro`, `rw`, or `abort`: what the kernel does when it finds the file system broken.
    pub fn remount(&self, how: &str) {
        must("mount", &["-o", &format!("remount,{how}"), text(&self.folder.path().join("disk"))]);
    }

    /// Check the file system, which nobody uses, and mount it anew.
    pub fn mend(mut self) -> Self {
        self.mount = None;
        // It says 1 when it has mended something.
        let checked = Command::new("e2fsck").args(["-fy", &self.device]).output().expect("e2fsck");
        assert!(checked.status.code().is_some_and(|code| code <= 1), "{checked:?}");
        self.attach();
        self
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        self.mount = None;
        // The kernel lets go of it once the last file on it is closed.
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}
