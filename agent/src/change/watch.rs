//! Notices that a file was edited, however editors and their like do it: in place, in pieces, by renaming another file
//! over it, by swapping a symbolic link.
//!
//! Folders are watched, not files: a file that was renamed away is watched for ever in vain. What the kernel does not
//! tell, as on a network file system, a look every `LOOK_EVERY` finds. Nothing is said before the bytes have been the
//! same for `QUIET`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hobnail_core::topology::FILE_BYTES_MAX;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::texts::Texts;

/// The bytes have to be the same for so long.
const QUIET: Duration = Duration::from_millis(100);
/// How often the files are looked at though nothing was heard.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Symbolic links that are followed from one file.
const HOPS_MAX: usize = 16;

/// What the files hold, as far as it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print([u8; 32]);

pub struct Watch {
    files: Vec<PathBuf>,
    folders: BTreeSet<PathBuf>,
    /// `None` where the kernel cannot tell: then only looks find an edit.
    watcher: Option<RecommendedWatcher>,
    heard: Arc<Notify>,
    /// What was last said.
    said: Print,
}

impl Watch {
    /// Watch these files, and say so once they hold something else.
    #[must_use]
    pub fn new(texts: &Texts) -> Self {
        let heard = Arc::new(Notify::new());
        let tell = heard.clone();
        let watcher = notify::recommended_watcher(move |told| {
            if may_be_an_edit(&told) {
                tell.notify_one();
            }
        });
        let watcher = watcher.inspect_err(|error| warn!(%error, "edits are found by looking, every 5 s")).ok();
        let mut watch = Self { files: Vec::new(), folders: BTreeSet::new(), watcher, heard, said: Print::of(texts) };
        watch.follow(texts);
        watch
    }

    /// These were read.
    pub fn follow(&mut self, texts: &Texts) {
        if !texts.files().is_empty() {
            self.said = Print::of(texts);
            self.watch(texts.files().iter().map(|file| PathBuf::from(&file.name)).collect());
        }
    }

    fn watch(&mut self, files: Vec<PathBuf>) {
        self.files = files;
        let wanted: BTreeSet<PathBuf> = self.files.iter().flat_map(|file| folders_of(file)).collect();
        if let Some(watcher) = &mut self.watcher {
            for gone in self.folders.difference(&wanted) {
                // A folder that is gone itself is watched no more anyway.
                let _ = watcher.unwatch(gone);
            }
            for new in wanted.difference(&self.folders) {
                if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                    warn!(%error, folder = %new.display(), "cannot be watched: edits are found by looking, every 5 s");
                }
            }
        }
        self.folders = wanted;
    }

    /// Until the files hold something else than was said last, and have for a while. Cancel-safe: what was not said is
    /// found again.
    pub async fn edited(&mut self) {
        loop {
            tokio::select! {
                () = self.heard.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let mut before = print(self.files.clone()).await;
            if before == self.said {
                continue;
            }
            loop {
                tokio::time::sleep(QUIET).await;
                let now = print(self.files.clone()).await;
                if now == before {
                    break;
                }
                before = now;
            }
            // Links may lead elsewhere now.
            self.watch(self.files.clone());
            if before != self.said {
                self.said = before;
                return;
            }
        }
    }
}

/// Reading is told as well, and to look is to read: whoever looked at that would look for ever.
fn may_be_an_edit(told: &notify::Result<Event>) -> bool {
    let written = AccessKind::Close(AccessMode::Write);
    // An error means that something was missed.
    told.as_ref().map_or(true, |event| !matches!(event.kind, EventKind::Access(kind) if kind != written))
}

/// The folders of a file, of whatever its links lead to, and of those.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut at = file.to_owned();
    for _ in 0..HOPS_MAX {
        folders.push(folder_of(&at));
        let Ok(target) = fs::read_link(&at) else { break };
        at = folder_of(&at).join(target);
    }
    folders.extend(fs::canonicalize(file).ok().map(|file| folder_of(&file)));
    folders
}

fn folder_of(file: &Path) -> PathBuf {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

impl Print {
    fn of(texts: &Texts) -> Self {
        let mut hash = Sha256::new();
        texts.files().iter().for_each(|file| take_in(&mut hash, Some(file.text.as_bytes())));
        Self(hash.finalize().into())
    }
}

/// What is on the disk. A file may be on a network that hangs, so this is done outside the thread that serves.
async fn print(files: Vec<PathBuf>) -> Print {
    let read = spawn_blocking(move || {
        let mut hash = Sha256::new();
        for file in &files {
            let most = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
            let mut bytes = Vec::new();
            // A pipe would be waited for.
            let is_file = fs::metadata(file).is_ok_and(|facts| facts.is_file());
            let mut read = || fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes));
            let is_read = is_file && read().is_ok();
            take_in(&mut hash, is_read.then_some(bytes.as_slice()));
        }
        Print(hash.finalize().into())
    });
    // A thread that died read nothing; the next look has another.
    read.await.unwrap_or(Print([0; 32]))
}

fn take_in(hash: &mut Sha256, file: Option<&[u8]>) {
    hash.update([u8::from(file.is_some())]);
    let bytes = file.unwrap_or_default();
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}
