//! The doors that are not plain TCP, from outside: WebSocket, and TLS with passwords for devices.

mod run {
    pub mod agent;
    pub mod dial;
}

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use run::agent::{Agent, solo};
use run::dial::{
    CONNACK, CONNECT, Certificate, certificate, certify, connect_as, dial, door, expect, frame, knock, tls,
    tls_trusting, websocket, with_a_device,
};

#[test]
fn a_message_goes_from_a_program_to_a_page_over_websocket() {
    let agent = Agent::start(&solo(", websocket: \"127.0.0.1:0\""), "solo");
    let mut page = websocket(door(&agent, "WebSocket"));
    // One packet over two frames, and two packets in one.
    page.write_all(&[frame(&CONNECT[..5]), frame(&[&CONNECT[5..], b"\x82\x06\0\x01\0\x01#\x00"].concat())].concat())
        .expect("sent");
    let mut answer = Vec::new();
    while answer.len() < 4 + 5 {
        let mut head = [0; 2];
        page.read_exact(&mut head).expect("a frame");
        assert_eq!(head[0], 0x82);
        let mut payload = vec![0; head[1].into()];
        page.read_exact(&mut payload).expect("its payload");
        answer.extend(payload);
    }
    assert_eq!(answer, [CONNACK, b"\x90\x03\0\x01\0"].concat());
    let mut program = dial(agent.programs());
    program
        .write_all(&[b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01y".as_slice(), b"\x30\x05\0\x01ahi"].concat())
        .expect("sent");
    expect(&mut page, b"\x82\x07\x30\x05\0\x01ahi");
    page.write_all(&[0x88, 0x80, 0, 0, 0, 0]).expect("sent");
    expect(&mut page, &[0x88, 2, 3, 0xe8]);
    assert_eq!(page.read(&mut [0]).expect("closed, not reset"), 0);
}

#[test]
fn a_stopping_agent_says_goodbye_to_pages() {
    let mut agent = Agent::start(&solo(", websocket: \"127.0.0.1:0\""), "solo");
    let mut page = websocket(door(&agent, "WebSocket"));
    page.write_all(&frame(CONNECT)).expect("sent");
    expect(&mut page, &[&[0x82, 4], CONNACK].concat());
    let reader = std::thread::spawn(move || {
        let mut rest = Vec::new();
        page.read_to_end(&mut rest).map(|_| rest)
    });
    assert_eq!(agent.stop().code(), Some(0));
    assert_eq!(reader.join().expect("no panic").expect("closed, not reset"), [0x88, 2, 3, 0xe8]);
}

#[test]
fn silent_connections_on_the_websocket_door_keep_nobody_out_and_are_let_go() {
    let agent = Agent::start(&solo(", websocket: \"127.0.0.1:0\""), "solo");
    let address = door(&agent, "WebSocket");
    let mut silent: Vec<TcpStream> = (0..64).map(|_| dial(address)).collect();
    let mut page = websocket(address);
    page.write_all(&frame(CONNECT)).expect("sent");
    expect(&mut page, &[&[0x82, 4], CONNACK].concat());
    let first = silent.first_mut().expect("64 of them");
    assert_eq!(first.read(&mut [0]).expect("closed within the time limit"), 0);
}

#[test]
fn a_page_of_another_place_is_turned_away_and_counted_unless_it_is_named() {
    let doors = ", websocket: \"127.0.0.1:0\", origins: [\"https://dash.example:8443\"]";
    let folder = tempfile::tempdir().expect("a folder");
    let control = folder.path().join("control");
    let agent = Agent::start_with(&solo(doors), "solo", &["--control", &control.to_string_lossy()]);
    let address = door(&agent, "WebSocket");
    for (origin, code) in [
        ("http://localhost:3000", "101"),
        ("https://dash.example:8443", "101"),
        ("https://evil.example", "403"),
        ("null", "403"),
        ("http://localhost\r\nOrigin: https://evil.example", "403"),
    ] {
        let (mut page, head) = knock(address, &format!("Origin: {origin}\r\n"));
        assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{origin}: {head}");
        if code == "403" {
            let mut rest = String::new();
            page.read_to_string(&mut rest).expect("closed, not reset");
            assert!(rest.contains("doors.origins"), "{rest}");
        }
    }
    let mut status = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    let status = status.args(["status", "--json"]).env("HOBNAIL_CONTROL", &control).output().expect("it runs").stdout;
    let status: serde_json::Value = serde_json::from_slice(&status).expect("JSON");
    assert_eq!(status["foreign_pages"], 3, "{status}");
    assert!(status["health"].to_string().contains("\"foreign-pages\""), "{status}");
}

/// An agent with a device door and one device, `plc`, whose password is `sesame`.
fn with_devices(keys: &Path) -> Option<Agent> {
    let topology = with_a_device(keys, "")?;
    Some(Agent::start_with(&topology, "solo", &["--keys", &keys.to_string_lossy()]))
}

#[test]
fn a_device_comes_in_over_tls_with_its_password_and_nobody_without() {
    let keys = tempfile::tempdir().expect("a folder");
    let Some(agent) = with_devices(keys.path()) else { return };
    let address = door(&agent, "devices");
    let mut device = tls(address, keys.path());
    device.write_all(&connect_as("plc", "sesame")).expect("sent");
    expect(&mut device, CONNACK);
    device.write_all(b"\x32\x0c\0\x06line/1\0\x09hi").expect("sent");
    expect(&mut device, b"\x40\x02\0\x09");
    for (user, password) in [("plc", "open"), ("plc", ""), ("nobody", "sesame")] {
        let mut stranger = tls(address, keys.path());
        stranger.write_all(&connect_as(user, password)).expect("sent");
        expect(&mut stranger, b"\x20\x02\0\x04");
        assert_eq!(stranger.read(&mut [0]).expect("closed with a goodbye"), 0, "{user} {password}");
    }
}

#[test]
fn a_large_message_goes_over_tls_whole() {
    let keys = tempfile::tempdir().expect("a folder");
    let Some(agent) = with_devices(keys.path()) else { return };
    let mut program = dial(agent.programs());
    program.write_all(&[CONNECT, b"\x82\x0b\0\x01\0\x06line/1\0"].concat()).expect("sent");
    expect(&mut program, &[CONNACK, b"\x90\x03\0\x01\0"].concat());
    let mut device = tls(door(&agent, "devices"), keys.path());
    device.write_all(&connect_as("plc", "sesame")).expect("sent");
    expect(&mut device, CONNACK);
    let payload: Vec<u8> = (0..300_000u32).map(|number| (number % 251) as u8).collect();
    // 300,008 bytes follow, as a variable length.
    let packet = [b"\x30\xe8\xa7\x12\0\x06line/1".as_slice(), &payload].concat();
    device.write_all(&packet).expect("sent");
    expect(&mut program, &packet);
}

#[test]
fn half_a_tls_handshake_and_silence_keep_nobody_out() {
    let keys = tempfile::tempdir().expect("a folder");
    let Some(agent) = with_devices(keys.path()) else { return };
    let address = door(&agent, "devices");
    let mut halves: Vec<TcpStream> = (0..32).map(|_| dial(address)).collect();
    for half in halves.iter_mut().skip(16) {
        half.write_all(b"\x16\x03\x01\x02\x00\x01").expect("sent");
    }
    let mut device = tls(address, keys.path());
    device.write_all(&connect_as("plc", "sesame")).expect("sent");
    expect(&mut device, CONNACK);
    let last = halves.last_mut().expect("32 of them");
    // Perhaps a goodbye of TLS, then the end.
    assert!(last.read_to_end(&mut Vec::new()).expect("closed within the time limit") < 16);
}

#[test]
fn a_new_certificate_is_shown_after_a_hangup_and_a_broken_one_never() {
    let keys = tempfile::tempdir().expect("a folder");
    let Some(agent) = with_devices(keys.path()) else { return };
    let address = door(&agent, "devices");
    let first = certificate(keys.path());
    let mut stays = tls(address, keys.path());
    let mut connect = connect_as("plc", "sesame");
    // A client identifier of its own, or the next one would take it over.
    connect[14] = b'e';
    stays.write_all(&connect).expect("sent");
    expect(&mut stays, CONNACK);
    std::fs::write(keys.path().join("door.crt"), "half a certificate").expect("written");
    agent.signal("HUP");
    assert_eq!(shown(address, &[&first]), first);
    certify(keys.path()).expect("made once already");
    let second = certificate(keys.path());
    assert_ne!(second, first);
    agent.signal("HUP");
    let deadline = Instant::now() + Duration::from_secs(20);
    while shown(address, &[&first, &second]) != second {
        assert!(Instant::now() < deadline, "the new certificate is not shown");
    }
    stays.write_all(b"\xc0\0").expect("sent");
    expect(&mut stays, b"\xd0\0");
}

/// The certificate that the door shows now, which is one of these.
fn shown(address: SocketAddr, known: &[&Certificate]) -> Certificate {
    let mut stream = tls_trusting(address, known);
    stream.write_all(&connect_as("plc", "sesame")).expect("one that is trusted");
    expect(&mut stream, CONNACK);
    stream.conn.peer_certificates().and_then(|chain| chain.first()).expect("it has shown one").clone()
}
