use std::os::unix::fs::PermissionsExt;

use super::*;

fn texts(text: &str) -> Texts {
    serde_json::from_value(serde_json::json!([{ "name": "/t.yaml", "text": text }])).unwrap()
}

fn record(history: &History, text: &str) -> u64 {
    let texts = texts(text);
    let run = Run { at_ms: Some(7), cause: Cause::Command, what: "set a 1", fingerprint: text, texts: &texts };
    history.record(&run).unwrap()
}

fn history() -> (tempfile::TempDir, History) {
    let folder = tempfile::tempdir().unwrap();
    let history = History::at(folder.path().join("topologies"));
    (folder, history)
}

#[test]
fn what_ran_is_found_again_the_newest_last_and_once() {
    let (_folder, history) = history();
    assert!(history.list().unwrap().entries.is_empty());
    assert_eq!((record(&history, "a"), record(&history, "b"), record(&history, "b")), (1, 2, 2));
    assert_eq!(record(&history, "a"), 3, "an earlier one that runs again is news");
    let listing = history.list().unwrap();
    assert_eq!(listing.entries.iter().map(|entry| entry.fingerprint.as_str()).collect::<Vec<_>>(), ["a", "b", "a"]);
    assert_eq!(listing.damaged, []);
    assert_eq!(history.newest().unwrap(), history.get(3).unwrap());
    assert_eq!(history.get(2).unwrap().texts, texts("b"));
    assert!(history.get(4).is_err());
    let mode = fs::metadata(&history.folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn there_are_fifty_at_most_and_numbers_go_on() {
    let (_folder, history) = history();
    for number in 1..=60 {
        assert_eq!(record(&history, &format!("{number}")), number);
    }
    let numbers: Vec<u64> = history.list().unwrap().entries.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, (11..=60).collect::<Vec<_>>());
}

#[test]
fn large_ones_push_out_the_oldest_but_never_the_newest() {
    let (_folder, history) = history();
    let large = |letter: &str| letter.repeat(usize::try_from(BYTES_MAX).unwrap() / 3);
    for letter in ["a", "b", "c", "d"] {
        record(&history, &large(letter)[1..]);
    }
    let numbers = |history: &History| history.list().unwrap().entries.iter().map(|e| e.number).collect::<Vec<_>>();
    assert_eq!(numbers(&history), [4], "text and fingerprint are both that large here");
    record(&history, "small");
    assert_eq!(numbers(&history), [4, 5]);
    record(&history, &"x".repeat(usize::try_from(BYTES_MAX).unwrap()));
    assert_eq!(numbers(&history), [6]);
}

#[test]
fn every_damaged_entry_is_passed_over_and_told() {
    let (_folder, history) = history();
    for text in ["a", "b", "c"] {
        record(&history, text);
    }
    let file = history.path(3);
    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        for damaged in [&bent, &whole[..at].to_vec()] {
            fs::write(&file, damaged).unwrap();
            assert_eq!(history.newest().map(|entry| entry.number), Some(2), "{at}");
        }
    }
    fs::write(&file, [0xff, 0xfe]).unwrap();
    let listing = history.list().unwrap();
    assert_eq!(listing.entries.len(), 2);
    assert_eq!(listing.damaged.iter().map(|damaged| &damaged.file).collect::<Vec<_>>(), [&file]);
    assert_eq!(record(&history, "d"), 4, "its number is not used again");
    fs::copy(history.path(2), history.path(9)).unwrap();
    assert_eq!(history.newest().map(|entry| entry.number), Some(4), "a copy by another name is not believed");
}

#[test]
fn what_a_killed_agent_left_half_written_goes_at_the_next_record() {
    let (_folder, history) = history();
    record(&history, "a");
    let left = history.folder.join(".000002.topology.4711");
    fs::write(&left, "half").unwrap();
    fs::write(history.folder.join("README"), "mine").unwrap();
    assert_eq!(record(&history, "b"), 2);
    assert!(!left.exists());
    assert!(history.folder.join("README").exists(), "what is none of ours stays");
}
