//! What strangers send below MQTT: WebSocket frames, upgrade requests and TLS records that are not as they may be.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use super::stage::Stage;
use super::wire::connect;
use crate::run::agent::solo;
use crate::run::dial::{dial, door, frame, websocket, with_a_device};

/// A frame with this first byte and a mask of zeros, however long it claims to be.
fn odd_frame(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    [&[first][..], length, &[0; 4], payload].concat()
}

/// Read until the other side ends it, in whatever way; a time-out is a hang.
fn ends(what: &str, stream: &mut impl Read) -> Vec<u8> {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => answer,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => answer,
        Err(error) => panic!("{what}: {error}"),
    }
}

#[test]
fn frames_that_may_not_be_end_with_a_reason() {
    let stage = Stage::set(&solo(", websocket: \"127.0.0.1:0\""));
    let address = door(&stage.agent, "WebSocket");
    let hello = connect(4, "page");
    for (what, bytes, code) in [
        ("a text frame", odd_frame(0x81, &[0x85], b"hello"), 1003),
        ("no mask", [&[0x82, hello.len() as u8][..], &hello].concat(), 1002),
        ("a reserved bit", odd_frame(0xc2, &[0x80 | hello.len() as u8], &hello), 1002),
        ("an unknown opcode", odd_frame(0x83, &[0x80], b""), 1002),
        ("a continuation of nothing", odd_frame(0x80, &[0x81], b"x"), 1002),
        ("a message within a message", [odd_frame(0x02, &[0x81], b"\x10"), frame(b"\x0d")].concat(), 1002),
        ("a ping in fragments", odd_frame(0x09, &[0x80], b""), 1002),
        ("a ping of 126 bytes", odd_frame(0x89, &[0xfe, 0, 126], &[0; 126]), 1002),
        ("a length of 2^63", odd_frame(0x82, &[0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], b""), 1002),
    ] {
        let mut page = websocket(address);
        page.write_all(&bytes).expect("sent");
        let answer = ends(what, &mut page);
        let close = [&[0x88, 2][..], &u16::to_be_bytes(code)].concat();
        assert!(answer.ends_with(&close), "{what}: {answer:02x?}");
    }
    // Well framed, but not MQTT.
    let mut page = websocket(address);
    page.write_all(&frame(b"GET / HTTP/1.1\r\n\r\n")).expect("sent");
    ends("HTTP in a frame", &mut page);
    stage.end();
}

#[test]
fn whoever_pings_and_reads_no_pongs_harms_nobody() {
    let stage = Stage::set(&solo(", websocket: \"127.0.0.1:0\""));
    let mut page = websocket(door(&stage.agent, "WebSocket"));
    page.set_write_timeout(Some(Duration::from_millis(500))).expect("a limit");
    let pings = odd_frame(0x89, &[0x80 | 100], &[7; 100]).repeat(1_000);
    let before = stage.resident_kib_at_rest();
    for _ in 0..100 {
        if page.write_all(&pings).is_err() {
            break;
        }
    }
    let grown = stage.resident_kib().saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB more");
    stage.end();
}

#[test]
fn requests_that_are_no_upgrade_and_records_that_are_no_tls_are_turned_away() {
    let keys = tempfile::tempdir().expect("a folder");
    let Some(topology) = with_a_device(keys.path(), ", websocket: \"127.0.0.1:0\"") else { return };
    let stage = Stage::with_keys(&topology, keys.path());
    let (page, devices) = (door(&stage.agent, "WebSocket"), door(&stage.agent, "devices"));
    let long = format!("GET /mqtt HTTP/1.1\r\nX: {}", "x".repeat(10_000));
    for head in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /mqtt HTTP/1.1\r\n\r\n", "\u{1}\0\0", long.as_str()] {
        let mut stream = dial(page);
        stream.write_all(head.as_bytes()).expect("sent");
        assert!(ends(head, &mut stream).starts_with(b"HTTP/1.1 400 "), "{head}");
    }
    let plain = connect(4, "plain");
    let records: [&[u8]; 5] = [
        &plain,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\xff\xff",
        b"\x17\x03\x03\0\x10AAAAAAAAAAAAAAAA",
        b"\x16\x03\x01\0\x05\x01\xff\xff\xff\xff",
    ];
    for record in records {
        let mut stream = dial(devices);
        stream.write_all(record).expect("sent");
        // An alert at the most.
        assert!(ends("a record", &mut stream).len() <= 7, "{record:02x?}");
    }
    stage.end();
}
