//! How much memory there is for this process: the machine's, or less where a control group says so.

use std::fs;
use std::path::Path;

/// Bytes. What cannot be found out limits nothing.
#[must_use]
pub fn there_is() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text)).unwrap_or(u64::MAX);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    machine.min(allowed(&groups, Path::new("/sys/fs/cgroup")))
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The least that any of these groups, or one that it is in, allows.
fn allowed(groups: &str, mounts: &Path) -> u64 {
    let of = |line: &str| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        if controllers.is_empty() {
            let hybrid = least(&mounts.join("unified"), path, "memory.max");
            return least(mounts, path, "memory.max").into_iter().chain(hybrid).min();
        }
        let is_memory = controllers.split(',').any(|controller| controller == "memory");
        is_memory.then(|| least(&mounts.join("memory"), path, "memory.limit_in_bytes")).flatten()
    };
    groups.lines().filter_map(of).min().unwrap_or(u64::MAX)
}

/// In a container the path may be one that only the host has; its end at the mount still says what holds.
fn least(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let group = mount.join(path.trim_start_matches('/'));
    let within = group.ancestors().take_while(|group| group.starts_with(mount));
    within.filter_map(|group| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_all_groups_on_the_way_up_counts() {
        let mounts = tempfile::tempdir().unwrap();
        let set = |file: &str, bytes: &str| {
            let file = mounts.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        };
        set("memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
        set("memory/a/memory.limit_in_bytes", "70000\n");
        set("memory/memory.limit_in_bytes", "90000\n");
        set("c/memory.max", "max\n");
        set("memory.max", "80000\n");
        for (groups, expected) in [
            ("9:cpu,memory:/a/b\n1:name=systemd:/x\n", 70_000),
            ("9:memory:/elsewhere\n", 90_000),
            ("0::/c\n", 80_000),
            ("0::/c\n9:memory:/a\n", 70_000),
            ("8:cpu:/a\nnonsense\n", u64::MAX),
            ("", u64::MAX),
        ] {
            assert_eq!(allowed(groups, mounts.path()), expected, "{groups}");
        }
    }

    #[test]
    fn what_the_machine_has_is_read() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:      512 kB\n"), Some(512 << 10));
        assert_eq!(total("MemTotal: much\n"), None);
        assert!((1 << 20..u64::MAX).contains(&there_is()));
    }
}
