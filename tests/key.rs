//! `hobnail key`, as a user calls it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;

fn key(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    command.arg("key").args(args).arg("--keys").arg(folder).stdin(Stdio::null());
    command.env_remove("HOBNAIL_KEYS").env_remove("CREDENTIALS_DIRECTORY").output().expect("hobnail starts")
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn complained(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn json(output: &Output) -> Json {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn secret_of(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a key file");
    text.lines().find_map(|line| line.strip_prefix("secret")).expect("a secret").to_owned()
}

#[test]
fn a_new_key_is_private_told_by_its_fingerprint_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("deep/keys");
    let made = key(&keys, &["new", "k2"]);
    assert_eq!(made.status.code(), Some(0), "{}", complained(&made));
    let file = keys.join("k2.key");
    let before = fs::read_to_string(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o700);
    for word in secret_of(&file).split_whitespace() {
        assert!(!said(&made).contains(word) && !complained(&made).contains(word), "the secret is told");
    }

    let shown = key(&keys, &["show", "k2"]);
    assert_eq!(said(&shown), said(&made));
    let facts = json(&key(&keys, &["show", "k2", "--json"]));
    let (id, fingerprint) = (facts["id"].as_str().unwrap(), facts["fingerprint"].as_str().unwrap());
    assert_eq!((id.len(), fingerprint.len(), facts["kind"].as_str()), (8, 32, Some("network")));
    assert!(fingerprint.starts_with(id) && before.ends_with(&format!("id      {id}\n")));

    let again = key(&keys, &["new", "k2"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(complained(&again).contains("k2.key is there already"), "{}", complained(&again));
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    assert_eq!(key(&keys, &["check"]).status.code(), Some(0));
}

#[test]
fn two_new_keys_differ() {
    let folder = tempfile::tempdir().unwrap();
    let ids = ["k1", "k2"].map(|name| json(&key(folder.path(), &["new", name, "--json"]))["id"].to_string());
    assert_ne!(ids[0], ids[1]);
    assert_ne!(secret_of(&folder.path().join("k1.key")), secret_of(&folder.path().join("k2.key")));
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(key(folder.path(), &["new"]).status.code(), Some(0));
    let file = folder.path().join("network.key");
    for mode in [0o640, 0o604, 0o610] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let shown = key(folder.path(), &["show"]);
        assert_eq!((shown.status.code(), said(&shown)), (Some(77), String::new()), "{mode:o}");
        let cure = format!("others can read {file} (mode {mode:04o}): chmod 600 {file}", file = file.display());
        assert!(complained(&shown).contains(&cure), "{}", complained(&shown));
        assert_eq!(key(folder.path(), &["check"]).status.code(), Some(1));
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(key(folder.path(), &["check"]).status.code(), Some(0));
}

#[test]
fn a_typing_error_in_a_key_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(key(folder.path(), &["new", "k1"]).status.code(), Some(0));
    let file = folder.path().join("k1.key");
    let good = fs::read_to_string(&file).unwrap();
    let digit = good.find("secret  ").unwrap() + "secret  ".len() + 20;
    let (before, rest) = good.split_at(digit);
    let other = if rest.starts_with('0') { '1' } else { '0' };
    fs::write(&file, format!("{before}{other}{}", &rest[1..])).unwrap();
    let shown = key(folder.path(), &["show", "k1"]);
    assert_eq!(shown.status.code(), Some(1));
    assert!(complained(&shown).contains("one of the two is mistyped"), "{}", complained(&shown));

    let findings = json(&key(folder.path(), &["check", "--json"]));
    assert_eq!((findings[0]["fine"].as_bool(), findings[0]["name"].as_str()), (Some(false), Some("k1")));
}

#[test]
fn a_relays_half_has_the_id_of_its_key_and_not_its_secret() {
    let folder = tempfile::tempdir().unwrap();
    let whole = json(&key(folder.path(), &["new", "k2", "--json"]));
    let half_file = folder.path().join("half.key");
    let written = key(folder.path(), &["relay", "k2", "--json", "--output", half_file.to_str().unwrap()]);
    let half = json(&written);
    assert_eq!((half["kind"].as_str(), &half["fingerprint"]), (Some("relay"), &whole["fingerprint"]));
    assert_eq!(fs::metadata(&half_file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_ne!(secret_of(&half_file), secret_of(&folder.path().join("k2.key")));
    let printed = key(folder.path(), &["relay", "k2"]);
    assert_eq!(said(&printed), fs::read_to_string(&half_file).unwrap());

    let again = key(folder.path(), &["relay", "k2", "--output", half_file.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1), "nothing is overwritten");
    let half_of_half = key(folder.path(), &["relay", "half"]);
    assert_eq!((half_of_half.status.code(), said(&half_of_half)), (Some(1), String::new()));
    let twins = key(folder.path(), &["check"]);
    assert_eq!(twins.status.code(), Some(1), "one key under two names");
    assert!(complained(&twins).contains("holds the same key as"), "{}", complained(&twins));
}

#[test]
fn a_missing_key_and_a_name_that_is_a_path_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = key(folder.path(), &["show", "k9"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(complained(&missing).contains("k9.key is not there"), "{}", complained(&missing));
    assert_eq!(key(folder.path(), &["new", "../k1"]).status.code(), Some(1));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn key_files_and_credentials_are_not_confused() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, credentials) = (folder.path().join("keys"), folder.path().join("credentials"));
    assert_eq!(key(&keys, &["new", "k1"]).status.code(), Some(0));
    fs::create_dir(&credentials).unwrap();
    // As systemd hands a folder over: one file each, readable by the group that only the service is in.
    let credential = credentials.join("keys_k1.key");
    fs::rename(keys.join("k1.key"), &credential).unwrap();
    fs::set_permissions(&credential, fs::Permissions::from_mode(0o440)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    command.args(["key", "show", "k1", "--keys"]).arg(&keys).env("CREDENTIALS_DIRECTORY", &credentials);
    assert_eq!(command.output().unwrap().status.code(), Some(0));
    assert_eq!(key(&keys, &["show", "k1"]).status.code(), Some(1), "without the service manager it is not there");
}
