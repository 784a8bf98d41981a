//! What strangers send: no panic, no hang, and no harm to an innocent pair of clients that talk meanwhile.

mod run {
    pub mod agent;
    pub mod dial;
}
mod siege {
    pub mod bent;
    pub mod bystanders;
    mod framing;
    mod known_faults;
    pub mod stage;
    pub mod wire;
}

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use run::agent::solo;
use run::dial::{CONNACK, CONNECT, connect_as, dial, door, expect, frame, tls, websocket, with_a_device};
use siege::bent::{bend, samples};
use siege::stage::Stage;
use siege::wire::{Client, Level, ack, connect, connect_with, no_props, packet, publish, subscribe, text};

/// Send all of this and no more; what comes until the broker closes. A time-out is a hang.
fn play(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = dial(address);
    // Where the broker has closed before all was sent, the system says so; that is an end, too.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => answer,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => answer,
        Err(error) => panic!("{error} after {bytes:02x?}"),
    }
}

#[test]
fn malformed_and_truncated_packets_of_every_type_harm_nobody() {
    let stage = Stage::set(&solo(""));
    let address = stage.agent.programs();
    scope(|scope| {
        for level in [3, 4, 5] {
            scope.spawn(move || {
                let hello = connect(level, &format!("bent-{level}"));
                for sample in samples(level) {
                    play(address, &sample);
                    for bent in bend(&sample) {
                        if sample[0] >> 4 == 1 {
                            play(address, &bent);
                        }
                        assert!(play(address, &[hello.clone(), bent].concat()).starts_with(b"\x20"));
                    }
                }
            });
        }
    });
    stage.end();
}

/// What breaks the protocol once the client is in, and the reason that version 5 is told.
fn faults(level: Level) -> Vec<(&'static str, Vec<u8>, u8)> {
    let none = no_props(level);
    let raw_publish = |topic: &[u8]| packet(0x30, &[&text(topic), none, b"x"].concat());
    let raw_subscribe = |filter: &[u8]| packet(0x82, &[b"\0\x01", none, &text(filter), b"\0"].concat());
    vec![
        ("a topic that is not UTF-8", raw_publish(b"a/\xff"), 0x81),
        ("a topic in an overlong encoding", raw_publish(b"a/\xc0\xaf"), 0x81),
        ("a topic with a surrogate", raw_publish(b"a/\xed\xa0\x80"), 0x81),
        ("a topic with a NUL", raw_publish(b"a/\0"), 0x81),
        ("a filter that is not UTF-8", raw_subscribe(b"\xf5\x80\x80\x80"), 0x81),
        ("a wildcard in a topic", raw_publish(b"a/+"), 0x81),
        ("a wildcard in a topic", raw_publish(b"#"), 0x81),
        ("a filter with a wildcard in the wrong place", raw_subscribe(b"a/#/b"), 0x81),
        ("an empty topic", raw_publish(b""), 0x82),
        ("an empty filter", raw_subscribe(b""), 0x81),
        ("QoS 3", packet(0x36, &[&text("a"), b"\0\x01".as_slice(), none].concat()), 0x81),
        ("a subscription at QoS 3", subscribe(level, 1, &[("a", 3)]), 0x81),
        ("a subscription to nothing", packet(0x82, &[b"\0\x01", none].concat()), 0x82),
        ("packet identifier 0", publish(level, "a", b"x", 1, 0), 0x82),
        ("a second CONNECT", connect(level, "again"), 0x82),
        ("what only a server says", packet(0xd0, b""), 0x82),
        ("a packet type of 0", packet(0x00, b""), 0x81),
        ("a length of five bytes", b"\x30\xff\xff\xff\xff\x01".to_vec(), 0x81),
        ("a claim of 256 MB", b"\x30\xff\xff\xff\x7f\0\x01a".to_vec(), 0x95),
        ("a topic of 30,000 levels", publish(level, &"/".repeat(30_000), b"", 0, 0), 0x90),
    ]
}

#[test]
fn whoever_breaks_the_protocol_is_told_why_and_loses_only_its_own_connection() {
    let stage = Stage::set(&solo(""));
    let address = stage.agent.programs();
    for level in [4, 5] {
        for (what, bytes, reason) in faults(level) {
            // No half-closed socket here: it is the broker that ends it.
            let mut client = Client::new(address, level, "wrong");
            client.send(&bytes);
            let mut answer = Vec::new();
            client.stream.read_to_end(&mut answer).unwrap_or_else(|error| panic!("{what}: {error}"));
            match level {
                5 => assert!(answer.len() > 2 && (answer[0], answer[2]) == (0xe0, reason), "{what}: {answer:02x?}"),
                _ => assert!(answer.is_empty(), "{what}: {answer:02x?}"),
            }
        }
        for (what, flags, payload) in [
            ("an id that is not UTF-8", 0x02, text(b"\xff")),
            ("a will at QoS 3", 0x1e, [text("w"), no_props(level).to_vec(), text("t"), text("")].concat()),
            ("a wildcard in a will", 0x06, [text("w"), no_props(level).to_vec(), text("t/#"), text("")].concat()),
            ("a user that is not UTF-8", 0x82, [text("u"), text(b"\xc3\x28")].concat()),
            ("a payload that is not there", 0xc6, text("p")),
        ] {
            let answer = play(address, &connect_with(level, flags, &payload));
            match level {
                5 => assert!(answer.len() > 3 && answer[3] == 0x81, "{what}: {answer:02x?}"),
                _ => assert!(answer.is_empty(), "{what}: {answer:02x?}"),
            }
        }
    }
    stage.end();
}

/// Say this on 64 connections at once and then nothing more.
fn silent<S: Read + Write + 'static>(mut open: impl FnMut() -> S, says: &[&[u8]]) -> Vec<Box<dyn Read>> {
    let mut all: Vec<S> = (0..64).map(|_| open()).collect();
    for (stream, word) in all.iter_mut().zip(says.iter().cycle()) {
        // Pushed out by a newer one, perhaps.
        let _ = stream.write_all(word);
    }
    all.into_iter().map(|stream| Box::new(stream) as Box<dyn Read>).collect()
}

fn unix(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).expect("the door is open");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
    stream
}

#[test]
fn silent_connections_on_every_door_at_once_keep_nobody_out_and_are_let_go() {
    let keys = tempfile::tempdir().expect("a folder");
    let socket = keys.path().join("door");
    let more = format!(", websocket: \"127.0.0.1:0\", unix: \"{}\"", socket.display());
    let Some(topology) = with_a_device(keys.path(), &more) else { return };
    let stage = Stage::with_keys(&topology, keys.path());
    let (programs, page, devices) =
        (stage.agent.programs(), door(&stage.agent, "WebSocket"), door(&stage.agent, "devices"));
    let halves: [&[u8]; 4] = [b"", b"\x10", &CONNECT[..5], b"\x10\xff\x7f\0\x04MQTT"];
    for _ in 0..2 {
        let mut all = silent(|| unix(&socket), &halves);
        all.extend(silent(|| dial(page), &[b"", b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgr"]));
        all.extend(silent(|| dial(devices), &[b"", b"\x16\x03\x01\x02\0\x01"]));
        all.extend(silent(|| dial(programs), &halves));

        let mut program = dial(programs);
        program.write_all(CONNECT).expect("sent");
        expect(&mut program, CONNACK);
        let mut browser = websocket(page);
        browser.write_all(&frame(CONNECT)).expect("sent");
        expect(&mut browser, &[&[0x82, 4], CONNACK].concat());
        let mut device = tls(devices, keys.path());
        device.write_all(&connect_as("plc", "sesame")).expect("sent");
        expect(&mut device, CONNACK);
        let mut local = unix(&socket);
        local.write_all(CONNECT).expect("sent");
        expect(&mut local, CONNACK);

        for (number, mut stream) in all.into_iter().enumerate() {
            let ended = stream.read_to_end(&mut Vec::new());
            let is_over = |error: io::Error| error.kind() == io::ErrorKind::ConnectionReset;
            assert!(ended.map_or_else(is_over, |_| true), "number {number} is still there after 10 s");
        }
    }
    stage.end();
}

#[test]
fn claims_of_packets_that_never_come_cost_no_memory() {
    let stage = Stage::set(&solo(""));
    let address = stage.agent.programs();
    let before = stage.resident_kib_at_rest();
    let mut claiming = Vec::new();
    for number in 0..200u16 {
        let mut client = Client::new(address, 5, &format!("claims-{number}"));
        // The largest that is allowed, of which little comes.
        client.send(&[&[0x30 | (number as u8 & 1) << 1][..], b"\xf0\xff\x3f\0\x01a"].concat());
        client.send(&[0; 1_000]);
        claiming.push(client);
        let _ = TcpStream::connect(address).map(|mut stream| stream.write_all(b"\x10\xff\xff\x03\0\x04MQTT\x05"));
    }
    stage_wait();
    let grown = stage.resident_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB more");
    drop(claiming);
    stage.end();
}

/// Time for the agent to take in what was sent.
fn stage_wait() {
    sleep(Duration::from_millis(200));
}

#[test]
fn unsolicited_acknowledgements_harm_nobody() {
    let stage = Stage::set(&solo(""));
    let address = stage.agent.programs();
    scope(|scope| {
        for (level, first) in [(4, 0x40), (4, 0x50), (4, 0x62), (5, 0x70), (5, 0x50), (5, 0x62)] {
            scope.spawn(move || {
                let mut client = Client::new(address, level, &format!("acks-{level}-{first}"));
                let all: Vec<u8> = (1..=20_000).flat_map(|id| ack(first, id)).collect();
                // Its answers are not read: it may be read no more itself, and then nothing more can be sent.
                client.stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a limit");
                let _ = client.stream.write_all(&all);
            });
        }
    });
    stage.end();
}

#[test]
fn subscribers_that_come_and_go_on_a_flooded_topic_harm_nobody() {
    let stage = Stage::set(&solo(""));
    let address = stage.agent.programs();
    let over = AtomicBool::new(false);
    let message = vec![b'x'; 100];
    scope(|scope| {
        for qos in [0, 1] {
            let (over, message) = (&over, &message);
            scope.spawn(move || {
                let mut flood = Client::new(address, 5, &format!("flood-{qos}"));
                flood.stream.set_write_timeout(Some(Duration::from_millis(100))).expect("a limit");
                let burst: Vec<u8> = (1..=100).flat_map(|id| publish(5, "flood/a", message, qos, id)).collect();
                // At QoS 1 its acknowledgements are not read, and in the end it is not either.
                while !over.load(Ordering::Relaxed) && flood.stream.write_all(&burst).is_ok() {}
            });
        }
        let comers: Vec<_> = (0..3u8)
            .map(|who| {
                scope.spawn(move || {
                    for round in 0..40u8 {
                        let mut client = Client::new(address, 4 + (round & 1), &format!("short-{who}"));
                        let wanted = subscribe(client.level, 1, &[("flood/#", round % 3), ("$share/g/flood/+", 1)]);
                        match who {
                            0 => client.send(&[wanted, b"\xe0\0".to_vec()].concat()),
                            1 => client.send(&wanted),
                            _ => {
                                client.send(&wanted);
                                client.next();
                            }
                        }
                    }
                })
            })
            .collect();
        for comer in comers {
            comer.join().expect("each was let in");
        }
        over.store(true, Ordering::Relaxed);
    });
    stage.end();
}

#[test]
fn ten_thousand_client_ids_leave_no_more_behind_than_the_limit() {
    let stage = Stage::set(&solo(""));
    let address = stage.agent.programs();
    let before = stage.resident_kib_at_rest();
    scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                for number in 0..5_000 {
                    // One in two leaves a session behind.
                    let flags = if number & 1 == 0 { 0x02 } else { 0x00 };
                    let hello = connect_with(4, flags, &text(format!("id-{half}-{number}")));
                    assert_eq!(play(address, &[&hello, &b"\xe0\0"[..]].concat()), CONNACK);
                }
            });
        }
    });
    let grown = stage.resident_kib().saturating_sub(before);
    assert!(grown < 24 << 10, "{grown} KiB more for 5,000 sessions");
    stage.end();
}

#[test]
fn ten_thousand_subscriptions_slow_nobody_down_and_one_more_than_the_limit_is_refused() {
    // One is the innocent pair's.
    let stage = Stage::set(&(solo("") + "limits: { subscriptions: 10001 }\n"));
    let mut client = Client::new(stage.agent.programs(), 5, "many");
    for portion in 0..10 {
        let filters: Vec<String> = (0..1_000).map(|number| format!("many/{portion}/+/{number}/#")).collect();
        let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 1)).collect();
        client.send(&subscribe(5, 1, &filters));
        let suback = client.next();
        assert!(suback.ends_with(&[1; 1_000]), "all are granted");
    }
    client.send(&subscribe(5, 1, &[("one/more", 0)]));
    assert_eq!(client.next().last(), Some(&0x97));
    let mut from = Client::new(stage.agent.programs(), 4, "from");
    for number in (0..1_000).step_by(50) {
        from.publish(&format!("many/7/any/{number}/x"), b"here", 1, 1);
        from.expect(&ack(0x40, 1));
        assert_eq!(client.message().topic, format!("many/7/any/{number}/x"));
    }
    stage.end();
}

#[test]
fn a_connection_over_the_limit_is_refused_as_often_as_it_comes_and_let_in_when_there_is_room() {
    let stage = Stage::set(&(solo("") + "limits: { connections: 12 }\n"));
    let address = stage.agent.programs();
    let mut inside: Vec<Client> = (0..10).map(|number| Client::new(address, 4, &format!("in/{number}"))).collect();
    for _ in 0..50 {
        assert_eq!(play(address, &connect(4, "one/more")), b"\x20\x02\0\x03");
        assert_eq!(play(address, &connect(5, "one/more"))[3], 0x89);
    }
    for client in &mut inside {
        client.ping();
    }
    inside.pop();
    let until = Instant::now() + Duration::from_secs(5);
    while play(address, &connect(4, "one/more")) != CONNACK {
        assert!(Instant::now() < until, "there is room");
        sleep(Duration::from_millis(10));
    }
    inside.pop();
    stage.end();
}
