//! What kind of device a directory is on: each sync wears an SD card.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// On cards, unless told otherwise.
const CARD_COMMITS_PER_SECOND: u32 = 20;

/// How many commits a second are right here; `None`: as many as come.
#[must_use]
pub fn commits_per_second(directory: &Path) -> Option<u32> {
    is_card(&disk(directory)?).then_some(CARD_COMMITS_PER_SECOND)
}

/// The place in /sys of the disk that a directory is on, whichever of its partitions; `None` where it is on none.
#[must_use]
pub fn disk(directory: &Path) -> Option<PathBuf> {
    let device = fs::metadata(directory).ok()?.dev();
    let node = format!("/sys/dev/block/{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    Some(whole(fs::canonicalize(node).ok()?))
}

/// With a partition its disk is the folder above.
fn whole(node: PathBuf) -> PathBuf {
    let above = node.join("partition").exists().then(|| node.parent().map(Path::to_owned)).flatten();
    above.unwrap_or(node)
}

/// An SD or MMC card, or a stick.
fn is_card(disk: &Path) -> bool {
    let name = disk.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("mmcblk") || fs::read_to_string(disk.join("removable")).is_ok_and(|flag| flag.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_and_sticks_are_told_from_disks() {
        let sys = tempfile::tempdir().unwrap();
        for (disk, partition, removable, card) in [
            ("mmcblk0", "mmcblk0p2", "0", true),
            ("sda", "sda1", "1", true),
            ("sdb", "sdb1", "0", false),
            ("nvme0n1", "nvme0n1p1", "0", false),
        ] {
            let disk = sys.path().join(disk);
            let partition = disk.join(partition);
            fs::create_dir_all(&partition).unwrap();
            fs::write(disk.join("removable"), format!("{removable}\n")).unwrap();
            fs::write(partition.join("partition"), "1\n").unwrap();
            for place in [disk, partition] {
                assert_eq!(is_card(&whole(place.clone())), card, "{}", place.display());
            }
        }
    }

    #[test]
    fn a_directory_that_is_on_no_device_has_no_cap() {
        assert_eq!(commits_per_second(Path::new("/proc/self")), None);
    }
}
