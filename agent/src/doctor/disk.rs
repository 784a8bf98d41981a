//! Room and health of the file system that holds the state.

use std::path::Path;

use rustix::fs::{StatVfs, StatVfsMountFlags, statvfs};

use super::{Machine, Symptom, fine, note, sick};

/// Below this, writes are about to fail.
const FREE_BYTES_MIN: u64 = 32 << 20;
const FREE_FILES_MIN: u64 = 100;

pub fn check(machine: &Machine) -> Vec<Symptom> {
    // Before the first start the folder is not there yet; what is above it will hold it.
    let folder = machine.state_directory.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let wanted = machine.assignment.as_ref().ok().and_then(|assignment| assignment.store.max_bytes);
    match statvfs(folder) {
        Ok(facts) => vec![judge(&facts, folder, wanted)],
        Err(error) => vec![sick(format!("failed to ask about {}: {error}", folder.display()), "journalctl -k -p err")],
    }
}

fn judge(facts: &StatVfs, folder: &Path, wanted: Option<u64>) -> Symptom {
    let (folder, free) = (folder.display(), facts.f_bavail.saturating_mul(facts.f_frsize));
    let mib = free >> 20;
    if facts.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return sick(
            format!("{folder} is read-only"),
            "a card that fails is mounted so: journalctl -k -p err; else mount -o remount,rw",
        );
    }
    if free < FREE_BYTES_MIN {
        return sick(
            format!("{mib} MiB are free at {folder}"),
            "journalctl --vacuum-size=50M; apt clean; a larger card",
        );
    }
    if facts.f_files > 0 && facts.f_favail < FREE_FILES_MIN {
        return sick(format!("{folder} can hold {} more files", facts.f_favail), "remove files: df -i tells where");
    }
    match wanted {
        Some(wanted) if wanted > free => note(
            format!("the store may grow to {} MiB, and {mib} MiB are free at {folder}", wanted >> 20),
            "make `store: { max: … }` smaller, or room",
        ),
        Some(_) | None => fine(format!("{mib} MiB are free at {folder}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Health;

    fn facts() -> StatVfs {
        let mut facts = statvfs("/").unwrap();
        (facts.f_frsize, facts.f_bavail, facts.f_favail, facts.f_files) = (4096, 1 << 20, 1 << 20, 1 << 20);
        facts.f_flag = StatVfsMountFlags::empty();
        facts
    }

    #[test]
    fn a_full_and_a_read_only_card_are_sick_and_a_store_that_cannot_fit_is_told() {
        let health = |facts: &StatVfs, wanted| judge(facts, Path::new("/"), wanted).health;
        assert_eq!(health(&facts(), None), Health::Fine);
        assert_eq!(health(&facts(), Some(1 << 40)), Health::Note);
        assert_eq!(health(&StatVfs { f_bavail: 100, ..facts() }, None), Health::Sick);
        assert_eq!(health(&StatVfs { f_favail: 5, ..facts() }, None), Health::Sick);
        assert_eq!(health(&StatVfs { f_flag: StatVfsMountFlags::RDONLY, ..facts() }, None), Health::Sick);
    }
}
