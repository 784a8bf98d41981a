//! What a disk was asked to write, and how long it lasts at that: an estimate, for no card says how much it bears, nor
//! how much it writes of its own accord for what it is asked.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// The kernel counts in these, whatever the disk's own are.
const SECTOR_BYTES: u64 = 512;
/// Before that, a day would be made of what happens at a start.
const UP_MIN: Duration = Duration::from_secs(3600);
const DAY_S: u64 = 86_400;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    pub bytes: u64,
    /// Asked of it since the start of the system, by all programs.
    pub written: u64,
}

impl Device {
    /// From its place in /sys.
    #[must_use]
    pub fn at(disk: &Path) -> Option<Self> {
        let field = |name: &str, place: usize| {
            fs::read_to_string(disk.join(name)).ok()?.split_whitespace().nth(place)?.parse::<u64>().ok()
        };
        Some(Self {
            name: disk.file_name()?.to_string_lossy().into_owned(),
            bytes: field("size", 0)?.saturating_mul(SECTOR_BYTES),
            written: field("stat", 6)?.saturating_mul(SECTOR_BYTES),
        })
    }

    /// As the time since the start was, so is every day; `None` in the first hour.
    #[must_use]
    pub fn per_day(&self, up: Duration) -> Option<u64> {
        (up >= UP_MIN).then(|| self.written.saturating_mul(DAY_S) / up.as_secs())
    }

    /// How long it lasts at `per_day`, if it can be written over `times` times.
    #[must_use]
    pub fn days(&self, per_day: u64, times: u64) -> Option<u64> {
        self.bytes.saturating_mul(times).checked_div(per_day)
    }
}

/// How long this system is up.
#[must_use]
pub fn up() -> Option<Duration> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    Duration::try_from_secs_f64(text.split_whitespace().next()?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_lasts_as_long_as_what_it_bears_allows() {
        let sys = tempfile::tempdir().unwrap();
        let disk = sys.path().join("mmcblk0");
        assert_eq!(Device::at(&disk), None);
        fs::create_dir(&disk).unwrap();
        fs::write(disk.join("size"), "62500000\n").unwrap();
        fs::write(disk.join("stat"), "  10 0 80 5   20 1 2000000 9 0 7 14 0 0 0 0 0 0\n").unwrap();
        let card = Device::at(&disk).unwrap();
        assert_eq!(card, Device { name: "mmcblk0".into(), bytes: 32_000_000_000, written: 1_024_000_000 });
        assert_eq!(card.per_day(Duration::from_secs(3_599)), None);
        assert_eq!(card.per_day(Duration::from_secs(2 * 86_400)), Some(512_000_000));
        assert_eq!(card.days(512_000_000, 300), Some(18_750));
        assert_eq!(card.days(0, 300), None);
        assert!(up().is_some_and(|up| !up.is_zero()));
    }
}
