//! How long a disk takes for a commit: room taken at once, then written and synced piece by piece, as the store does it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::store::{Files, LogFile};

/// The unit of most file systems, and more than most messages.
pub const COMMIT_BYTES: usize = 4096;
/// A card that is out of breath is measured no longer than this.
const TIME_MAX: Duration = Duration::from_secs(30);
const FILE: &str = "doctor-commits";

/// In order of length.
#[derive(Debug)]
pub struct Commits(Vec<Duration>);

impl Commits {
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// So long took the share `per_mille` of all at the most.
    #[must_use]
    pub fn within(&self, per_mille: usize) -> Duration {
        let place = (self.0.len() * per_mille).div_ceil(1000).max(1) - 1;
        self.0.get(place).copied().unwrap_or_default()
    }

    #[must_use]
    pub fn per_second(&self) -> f64 {
        let took: Duration = self.0.iter().sum();
        if took.is_zero() { 0.0 } else { self.0.len() as f64 / took.as_secs_f64() }
    }
}

/// So many commits, fewer where the time is over or somebody asks to `stop`; `tell` hears how many there are. Nothing
/// is left behind.
pub fn measure(
    files: &dyn Files,
    commits: usize,
    stop: &AtomicBool,
    mut tell: impl FnMut(usize),
) -> io::Result<Commits> {
    let measured = commit(files, commits, stop, &mut tell);
    let removed = files.remove(FILE).and_then(|()| files.sync());
    let measured = measured?;
    removed?;
    Ok(measured)
}

fn commit(files: &dyn Files, commits: usize, stop: &AtomicBool, tell: &mut dyn FnMut(usize)) -> io::Result<Commits> {
    let file = files.create(FILE)?;
    let mut took = Vec::with_capacity(commits);
    let began = Instant::now();
    allocate(&*file, (commits * COMMIT_BYTES) as u64)?;
    file.sync()?;
    files.sync()?;
    while took.len() < commits && began.elapsed() < TIME_MAX && !stop.load(Ordering::Relaxed) {
        // Different bytes each time: some cards write none that they have.
        let bytes = [took.len() as u8 ^ 0xa5; COMMIT_BYTES];
        let before = Instant::now();
        file.write_at((took.len() * COMMIT_BYTES) as u64, &bytes)?;
        file.sync()?;
        took.push(before.elapsed());
        tell(took.len());
    }
    took.sort_unstable();
    Ok(Commits(took))
}

/// Not every file system can, and then a commit grows the file, as the store's does there.
pub fn allocate(file: &dyn LogFile, bytes: u64) -> io::Result<()> {
    match file.allocate(bytes) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::RealFiles;

    #[test]
    fn so_many_commits_are_timed_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let mut told = Vec::new();
        let go_on = AtomicBool::new(false);
        let commits = measure(&RealFiles::new(folder.path()), 5, &go_on, |count| told.push(count)).unwrap();
        assert_eq!((commits.count(), told), (5, vec![1, 2, 3, 4, 5]));
        assert!(commits.within(500) <= commits.within(1000) && commits.per_second() > 0.0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_share_is_that_of_the_slowest_in_it() {
        let commits = Commits((1..=200).map(Duration::from_millis).collect());
        let ms = |per_mille| commits.within(per_mille).as_millis();
        assert_eq!([ms(500), ms(990), ms(1000)], [100, 198, 200]);
        assert_eq!(Commits(Vec::new()).within(500), Duration::ZERO);
    }
}
