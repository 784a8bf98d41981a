//! The text of key files.

use super::*;
use crate::envelope::key_file::{KEY_FILE_BYTES_MAX, KeyFileError, parse, render};

fn text(key: &Key) -> String {
    render(key, &["made for a test"]).to_string()
}

fn problem(text: &str) -> KeyFileError {
    parse(text.as_bytes()).expect_err("a problem")
}

#[test]
fn a_key_file_holds_what_was_written() {
    for (key, kind) in [(key(0x5a), "network"), (relay(0x5a), "relay")] {
        let text = text(&key);
        assert!(text.starts_with(&format!("# made for a test\nkind    {kind}\nsecret  ")), "{text}");
        let read = parse(text.as_bytes()).unwrap();
        assert_eq!(read.fingerprint(), key.fingerprint());
        assert_eq!(render(&read, &["made for a test"]).as_str(), text);
    }
}

#[test]
fn spaces_case_comments_and_order_do_not_matter() {
    let plain = text(&key(0xbc));
    let secret = "BC".repeat(32);
    let id = key(0xbc).id();
    let wild = format!("\n  id\t{id}\r\n# x\n   # y\r\n secret {} {}  \nkind network", &secret[..7], &secret[7..]);
    assert_eq!(parse(wild.as_bytes()).map(|key| key.id()), parse(plain.as_bytes()).map(|key| key.id()));
}

#[test]
fn every_mistyped_digit_and_a_changed_kind_are_found() {
    let good = text(&key(0x5a));
    let secret_at = good.find("secret  ").unwrap() + 8;
    let mut tried = 0;
    for (at, digit) in good.char_indices().filter(|(at, digit)| *at >= secret_at && digit.is_ascii_hexdigit()) {
        if good[at..].starts_with("d ") {
            continue; // The `d` of the word `id`.
        }
        let other = if digit == '0' { '1' } else { '0' };
        let typo = format!("{}{other}{}", &good[..at], &good[at + 1..]);
        assert!(matches!(problem(&typo), KeyFileError::WrongId { .. }), "{at}");
        tried += 1;
    }
    assert_eq!(tried, 64 + 8);
    let swapped = good.replace("5a5a5a5a 5a5a5a5a", "5a5a5aa5 5a5a5a5a");
    assert!(matches!(problem(&swapped), KeyFileError::WrongId { .. }));
    assert!(matches!(problem(&good.replace("network", "relay")), KeyFileError::WrongId { .. }));
}

#[test]
fn each_mistake_is_named_by_its_line_and_no_secret_is_repeated() {
    let good = text(&key(0x5a));
    let secret = "5a5a5a5a ".repeat(8);
    let id = key(0x5a).id().to_string();
    let cases = [
        (good.replace("kind    network\n", ""), KeyFileError::Missing("kind")),
        (good.replace("secret", "#"), KeyFileError::Missing("secret")),
        (good.replace("id  ", "#"), KeyFileError::Missing("id")),
        (String::new(), KeyFileError::Missing("kind")),
        (good.replace("kind    network", "kind"), KeyFileError::BadKind(2)),
        (good.replace("network", "net work"), KeyFileError::BadKind(2)),
        (good.replace("secret  ", ""), KeyFileError::UnknownLine(3)),
        (good.replace(secret.trim(), "5a5a"), KeyFileError::SecretLength { line: 3, digits: 4 }),
        (good.replace("5a\n", "5a5\n"), KeyFileError::SecretLength { line: 3, digits: 65 }),
        (good.replace("5a\n", "5o\n"), KeyFileError::SecretDigit { line: 3, at: 64 }),
        (good.replace(&id, "+1234567"), KeyFileError::BadId(4)),
        (good.replace(&id, &id[1..]), KeyFileError::BadId(4)),
        (format!("{good}kind relay\n"), KeyFileError::Repeated { line: 5, word: "kind" }),
        (good.replace('#', &"#".repeat(KEY_FILE_BYTES_MAX)), KeyFileError::TooLong),
    ];
    for (text, expected) in cases {
        let problem = problem(&text);
        assert_eq!(problem, expected, "{text:.200}");
        assert!(!problem.to_string().contains("5a5a"), "{problem}");
    }
    assert_eq!(parse(b"kind network\n\xff").err(), Some(KeyFileError::NotText));
}
