//! `hobnail passwd`: what it writes, and what it says of it.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

fn passwd(file: &Path, password: &str, more: &[&str]) -> Option<i32> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hobnail"))
        .arg("passwd")
        .arg(file)
        .arg("--password-stdin")
        .args(more)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("it runs").write_all(password.as_bytes()).expect("it runs");
    child.wait().expect("it runs").code()
}

#[test]
fn a_password_file_is_private_and_knows_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plc-7.pw");
    std::fs::write(&file, "an old one, open to all\n").unwrap();
    assert_eq!(passwd(&file, "correct horse\n", &[]), Some(0));
    let line = std::fs::read_to_string(&file).unwrap();
    assert!(line.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && line.ends_with('\n'), "{line}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
    for (password, code) in [("correct horse", 0), ("correct horse\r\n", 0), ("correct hors", 1), ("", 1)] {
        assert_eq!(passwd(&file, password, &["--check"]), Some(code), "{password:?}");
    }
}

#[test]
fn two_files_of_one_password_differ() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["a", "b"].map(|name| folder.path().join(name));
    let lines = files.map(|file| {
        assert_eq!(passwd(&file, "same", &[]), Some(0));
        std::fs::read_to_string(file).unwrap()
    });
    assert_ne!(lines[0], lines[1]);
}

#[test]
fn an_empty_password_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.pw");
    assert_eq!(passwd(&file, "\n", &[]), Some(1));
    assert!(!file.exists());
}
