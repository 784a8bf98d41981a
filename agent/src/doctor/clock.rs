//! The time of day. Nothing in a network depends on it but the times in logs and certificates of devices.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Machine, Symptom, fine, note};

/// The beginning of 2026: no clock that is right says less.
const PLAUSIBLE: Duration = Duration::from_secs(1_767_225_600);
const CURE: &str = "timedatectl set-ntp true, and a network; hobnail itself does not mind";

pub fn check(_: &Machine) -> Vec<Symptom> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    vec![judge(now, Path::new("/run/systemd/timesync"))]
}

fn judge(now: Duration, timesync: &Path) -> Symptom {
    if now < PLAUSIBLE {
        return note(
            "the clock is wrong by years: times in logs mean nothing, and certificates seem not valid yet",
            CURE,
        );
    }
    let unsynchronised = fs::metadata(timesync).is_ok() && fs::metadata(timesync.join("synchronized")).is_err();
    if unsynchronised {
        note("the clock has not been set from the network since boot", CURE)
    } else {
        fine("plausible")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Health;

    #[test]
    fn a_clock_that_says_1970_is_worth_a_note_and_so_is_one_that_nobody_has_set() {
        let folder = tempfile::tempdir().unwrap();
        let later = PLAUSIBLE + Duration::from_secs(1);
        assert_eq!(judge(Duration::from_secs(60), folder.path()).health, Health::Note);
        assert_eq!(judge(later, folder.path()).health, Health::Note);
        fs::write(folder.path().join("synchronized"), "").unwrap();
        assert_eq!(judge(later, folder.path()).health, Health::Fine);
        assert_eq!(judge(later, &folder.path().join("none")).health, Health::Fine, "another program sets it");
    }
}
