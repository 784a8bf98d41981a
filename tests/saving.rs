//! A topology that is changed from the command line and written back: what the file is afterwards, whatever it was
//! and whatever happens meanwhile.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Instant;

use hobnail::atomic_file::write_beside;

/// Kills of a writer; `HOBNAIL_KILLS=300` for as many as the promise names.
const KILLS: u32 = 12;

fn hobnail(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    command.current_dir(folder).args(args).stdin(Stdio::null());
    command.env_remove("HOBNAIL_KEYS").env_remove("HOBNAIL_NAME").output().expect("hobnail starts")
}

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies").join(name)).expect("it is shipped")
}

fn folder_with(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.yaml");
    fs::write(&file, text).unwrap();
    (folder, file)
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

#[test]
fn what_is_set_and_set_back_leaves_every_shipped_file_byte_for_byte() {
    for (name, there, back) in [
        ("solo.yaml", "set brokers.solo.host 127.0.0.1", "set brokers.solo.host localhost"),
        ("solo.yaml", "set heartbeat.every 200ms", "remove heartbeat.every"),
        ("workshop.yaml", "set broker hub --host 10.0.0.99", "set broker hub --host 10.0.0.10"),
        ("workshop.yaml", "add client press-3 --publish a/b", "remove client press-3"),
        ("workshop.yaml", "set client press-1 --home spare", "remove clients.press-1.home"),
        ("workshop.yaml", "set client camera --publish vision/1", "set client camera --publish vision/#"),
        ("factory.yaml", "rank york-hub 2", "rank york-hub 3"),
        ("factory.yaml", "set heartbeat.miss 5", "set heartbeat.miss 3"),
        ("factory.yaml", "set topic alarm/# --ack disk", "set topic alarm/# --ack replicated"),
        ("factory.yaml", "add topic x/# --max-age 1d", "remove topic x/#"),
        ("factory.yaml", "add broker bath --host 10.3.0.1", "remove broker bath"),
        ("factory.yaml", "set client press-[01..20] --home york-hub", "remove clients.press-[01..20].home"),
    ] {
        let text = shipped(name);
        let (folder, file) = folder_with(&text);
        for (line, changed) in [(there, true), (back, false)] {
            let output = hobnail(folder.path(), &[words(line), vec!["--file", "t.yaml"]].concat());
            assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(fs::read_to_string(&file).unwrap() != text, changed, "{name}: {line}");
            assert_eq!(hobnail(folder.path(), &["check", "t.yaml"]).status.code(), Some(0), "{name}: {line}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the file");
    }
}

#[test]
fn what_would_be_a_bad_topology_is_told_and_not_written() {
    let text = shipped("factory.yaml");
    let (folder, file) = folder_with(&text);
    for (line, code, told) in [
        ("set heartbet.every 1s", 78, "error[unknown-key]"),
        ("set client office --home york", 78, "error[unknown-broker]"),
        ("remove role sensor", 78, "error[unknown-role]"),
        ("add broker x", 78, "error[missing-key]"),
        ("rank york-hub 1", 78, "error[backup-outranks]"),
        ("rank york-hub 4", 1, "a number from 1 to 3"),
        ("set client offise --home york-hub", 1, "did you mean `office`?"),
        ("set client press-07 --home york-hub", 1, "is one of `press-[01..20]`"),
        ("add client office", 1, "a client called `office` is there already"),
        ("remove failover.hold", 1, "there is no `failover.hold`"),
        ("set client office", 2, "nothing to set"),
        ("set a..b c", 2, "a key is missing in the path"),
    ] {
        let output = hobnail(folder.path(), &[words(line), vec!["--file", "t.yaml"]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        assert!(said.contains(told), "{line}: {said}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "{line}");
    }
}

#[test]
fn a_dry_run_shows_the_change_and_makes_none() {
    let text = shipped("workshop.yaml");
    let (folder, file) = folder_with(&text);
    let output = hobnail(folder.path(), &words("set broker spare --host 10.0.0.12 --dry-run --file t.yaml"));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.starts_with("--- t.yaml\n+++ t.yaml\n@@ "), "{shown}");
    assert!(shown.contains("\n-  spare: { host: 10.0.0.11 }\n+  spare: { host: 10.0.0.12 }\n"), "{shown}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn the_included_file_that_holds_the_entry_is_the_one_that_is_written() {
    let (folder, file) =
        folder_with("version: 1\nnetwork: n\ninclude: [more.yaml]\nbrokers: { hub: { host: 10.0.0.1 } }\n");
    let text = fs::read(&file).unwrap();
    fs::write(folder.path().join("more.yaml"), "clients:\n  a: {} # mine\n").unwrap();
    let output = hobnail(folder.path(), &words("set client a --home hub --file t.yaml"));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(&file).unwrap(), text);
    let more = fs::read_to_string(folder.path().join("more.yaml")).unwrap();
    assert_eq!(more, "clients:\n  a: { home: hub } # mine\n");
}

#[test]
fn mode_owner_and_links_stay_as_they_are() {
    let (folder, file) = folder_with(&shipped("workshop.yaml"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    // Only root can give a file away; for others the owner is their own before and after.
    let is_root = chown(&file, Some(12), Some(34)).is_ok();
    let link = folder.path().join("link.yaml");
    symlink("t.yaml", &link).unwrap();
    let output = hobnail(folder.path(), &words("set broker hub --host 10.0.0.77 --file link.yaml"));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&file).unwrap().contains("10.0.0.77"));
    let facts = fs::metadata(&file).unwrap();
    assert_eq!(facts.mode() & 0o7777, 0o640);
    assert!(!is_root || (facts.uid(), facts.gid()) == (12, 34), "{}:{}", facts.uid(), facts.gid());

    fs::remove_file(&link).unwrap();
    symlink("nowhere.yaml", &link).unwrap();
    assert!(write_beside(&link, b"x").is_err(), "a link that leads nowhere is not replaced");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

/// The one who writes is killed at any moment: the file is the old one or the new one.
#[test]
fn whoever_writes_may_be_killed_at_any_moment() {
    let kills: u32 = std::env::var("HOBNAIL_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let filler = format!("# {}\n", "x".repeat(100)).repeat(2_000);
    let old = shipped("workshop.yaml") + &filler;
    let new = old.replace("10.0.0.10", "10.0.0.20");
    let (folder, file) = folder_with(&old);
    let args = words("set broker hub --host 10.0.0.20 --file t.yaml");
    let started = Instant::now();
    assert!(hobnail(folder.path(), &args).status.success());
    let whole = started.elapsed();
    let mut seen = [0_u32; 2];
    for round in 0..kills {
        fs::write(&file, &old).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
        let mut child = command.current_dir(folder.path()).args(&args).spawn().unwrap();
        // Spread over the time that one takes, and half as long again.
        sleep(whole * (3 * round) / (2 * kills));
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text == old || text == new, "round {round}: neither the old one nor the new one");
        seen[usize::from(text == new)] += 1;
    }
    eprintln!("{kills} kills: {} times the old file, {} times the new one", seen[0], seen[1]);
    assert!(seen[0] > 0, "no kill came before the end");
}
