//! Envelopes that were written once and must be read for ever, opened by hobnail and by a decoder that shares no line
//! with it. `HOBNAIL_BLESS=1` writes them anew, which is a new version of the format.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use hobnail_core::envelope::{BootSalt, ContentType, Key, Keyring, Opener, SEQ_MAX, Sealer, Stamp, key_file};
use hobnail_core::ids::Name;
use hobnail_core::mqtt::packet::QoS;
use hobnail_core::topology::model::Lane;
use serde_json::{Value as Json, json};

const NETWORK: &str = "workshop";

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/envelope").join(name)
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn key() -> Key {
    key_file::parse(&fs::read(file("golden.key")).expect("the key is there")).expect("it is a key")
}

fn keyring() -> Keyring {
    Keyring::new(&name(NETWORK), &key(), &[]).expect("one key")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("digits")).collect()
}

struct Message {
    machine: &'static str,
    salt: [u8; 16],
    stamp: Stamp,
    topic: &'static str,
    body: Vec<u8>,
}

/// Each thing that an envelope can say, at least once.
fn messages() -> [Message; 4] {
    let plain = Stamp {
        qos: QoS::AtMostOnce,
        retain: false,
        clear: false,
        lane: Lane::Memory,
        seq: 0,
        incarnation: 0,
        content_type: ContentType::default(),
        hlc: 0,
    };
    let temperature = Stamp { qos: QoS::AtLeastOnce, lane: Lane::Disk, seq: 1, ..plain };
    let largest = Stamp {
        qos: QoS::ExactlyOnce,
        retain: true,
        lane: Lane::Urgent,
        seq: SEQ_MAX,
        incarnation: u32::MAX,
        content_type: ContentType(0x1234),
        hlc: u64::MAX,
        ..plain
    };
    let clears = Stamp { retain: true, clear: true, seq: 0x0001_0203_0405_0607 & SEQ_MAX, ..temperature };
    let long = (0..1000u32).map(|number| (number * 7 % 251) as u8).collect();
    [
        Message { machine: "press-1", salt: [0; 16], stamp: plain, topic: "a", body: Vec::new() },
        Message {
            machine: "press-1",
            salt: [0xff; 16],
            stamp: temperature,
            topic: "line/press-1/temp",
            body: b"21.5".to_vec(),
        },
        Message { machine: "hub", salt: *b"a salt of 16 b.!", stamp: largest, topic: "été/№ 5", body: long },
        Message { machine: "hub", salt: [7; 16], stamp: clears, topic: "retained", body: vec![0; 64] },
    ]
}

fn golden() -> Vec<Json> {
    let keys = keyring();
    let seal = |Message { machine, salt, stamp, topic, body }| {
        let mut sealer = Sealer::new(&keys, &name(machine), BootSalt(salt)).expect("a whole key");
        let mut envelope = Vec::new();
        sealer.seal(stamp, topic, &body, &mut envelope).expect("a first seq");
        json!({ "machine": machine, "topic": topic, "body": hex(&body), "envelope": hex(&envelope) })
    };
    messages().into_iter().map(seal).collect()
}

#[test]
fn envelopes_are_what_they_always_were() {
    let path = file("golden.json");
    let text = serde_json::to_string_pretty(&golden()).unwrap() + "\n";
    if std::env::var_os("HOBNAIL_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn envelopes_of_the_golden_file_open() {
    let written: Vec<Json> = serde_json::from_slice(&fs::read(file("golden.json")).unwrap()).unwrap();
    let mut opener = Opener::new(&keyring());
    let mut scratch = Vec::new();
    for (one, Message { salt, stamp, topic, body, .. }) in written.iter().zip(messages()) {
        let envelope = unhex(one["envelope"].as_str().unwrap());
        let opened = opener.open(&envelope, topic, &mut scratch).unwrap();
        assert_eq!((opened.header.stamp, opened.header.salt, opened.body), (stamp, BootSalt(salt), &body[..]));
    }
    assert_eq!(written.len(), messages().len());
}

/// What the other decoder says of these lines. `None` without Python, which in CI is a failure.
fn decoded(lines: &[[String; 3]]) -> Option<Vec<Json>> {
    let mut command = Command::new("python3");
    command.arg(file("decode.py")).arg(file("golden.key")).arg(NETWORK);
    let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
        assert!(std::env::var_os("CI").is_none(), "python3 is missing; run tests/setup");
        eprintln!("skipped: no python3; run tests/setup");
        return None;
    };
    let text: String = lines.iter().map(|line| json!(line).to_string() + "\n").collect();
    child.stdin.take().expect("it is open").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).expect("text");
    Some(said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

fn line(golden: &Json) -> [String; 3] {
    ["machine", "topic", "envelope"].map(|part| golden[part].as_str().unwrap().to_owned())
}

#[test]
fn another_decoder_reads_the_same() {
    let Some(said) = decoded(&golden().iter().map(line).collect::<Vec<_>>()) else { return };
    let keys = keyring();
    let seed = keys.link_seed(keys.active(), &name("hub")).unwrap();
    let of_key = json!({ "fingerprint": key().fingerprint().to_string(), "link_seed_of_hub": hex(&*seed) });
    assert_eq!(said[0], of_key);
    let lane = |lane: Lane| ["memory", "disk", "urgent"][lane as usize];
    for (said, Message { machine, salt, stamp, body, .. }) in said[1..].iter().zip(messages()) {
        let sender = Sealer::new(&keys, &name(machine), BootSalt(salt)).unwrap().sender();
        let expected = json!({
            "key": keys.active().to_string(), "sender": sender.to_string(), "salt": hex(&salt),
            "qos": stamp.qos as u8, "retain": stamp.retain, "clear": stamp.clear, "lane": lane(stamp.lane),
            "seq": stamp.seq, "incarnation": stamp.incarnation, "content_type": stamp.content_type.0,
            "hlc": stamp.hlc, "body": hex(&body),
        });
        assert_eq!(*said, expected);
    }
    assert_eq!(said.len(), 1 + messages().len());
}

#[test]
fn another_decoder_refuses_the_same() {
    let good = line(&golden()[1]);
    let flipped = |at: usize| {
        let mut envelope = unhex(&good[2]);
        envelope[at] ^= 1;
        [good[0].clone(), good[1].clone(), hex(&envelope)]
    };
    let moved = [good[0].clone(), "line/press-2/temp".to_owned(), good[2].clone()];
    let posed = ["press-2".to_owned(), good[1].clone(), good[2].clone()];
    let last = good[2].len() / 2 - 1;
    let lines = [good.clone(), moved, posed, flipped(56), flipped(last), flipped(39), flipped(0)];
    let Some(said) = decoded(&lines) else { return };
    let refusals: Vec<&str> = said[2..].iter().filter_map(|said| said["refused"].as_str()).collect();
    assert_eq!(refusals, ["forged", "another sender", "forged", "forged", "forged", "malformed"]);
}
