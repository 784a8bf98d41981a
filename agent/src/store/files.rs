//! The few things that the store asks of a directory, as a trait: the real one here, and beneath tests disks that lose
//! what was not synced, or fail.

use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{FallocateFlags, fallocate};

/// One directory. Names have no `/` in them.
pub trait Files: Send + Sync {
    /// Keep others out, for as long as this value lives; `false`: somebody is in.
    fn lock(&self) -> io::Result<bool>;
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new, empty file, in place of one of that name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// A second name for the same file.
    fn link(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Wait until the names are on the disk.
    fn sync(&self) -> io::Result<()>;
    /// A number that nobody had before.
    fn draw(&self) -> u64;
}

pub trait LogFile: Send + Sync {
    fn size(&self) -> io::Result<u64>;
    /// Fills `into`, or fails.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()>;
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Wait until what was written is on the disk.
    fn sync(&self) -> io::Result<()>;
    /// Take room on the disk without writing there.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
}

/// A directory of the file system.
pub struct RealFiles {
    directory: PathBuf,
    lock: OnceLock<fs::File>,
}

impl RealFiles {
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), lock: OnceLock::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Somebody may have put a pipe where a file should be.
const NEVER_WAIT: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

impl Files for RealFiles {
    fn lock(&self) -> io::Result<bool> {
        fs::create_dir_all(&self.directory)?;
        // The folder itself: that works where nothing can be written, and needs no file that might be something else.
        let folder = fs::File::open(&self.directory)?;
        match folder.try_lock() {
            Ok(()) => {
                self.lock.get_or_init(|| folder);
                Ok(true)
            }
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.directory)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        match self.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(self.path(name))?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let file = OpenOptions::new().read(true).custom_flags(NEVER_WAIT).open(self.path(name))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        fs::hard_link(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.directory)?.sync_all()
    }

    fn draw(&self) -> u64 {
        RandomState::new().hash_one(std::process::id())
    }
}

impl LogFile for fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(into, at)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        Ok(fallocate(self, FallocateFlags::empty(), 0, bytes)?)
    }
}
