//! Reasons in words, references to other servers, and the end of the broker.

use super::bench::*;
use crate::broker::{ConnId, Settings, Trust, Verdict};
use crate::mqtt::decode;
use crate::mqtt::packet::{Connect, Packet, Reason, SubscribeOptions};
use crate::rights::Rights;

fn narrow() -> Settings {
    let mut settings = settings();
    settings.local.rights = Rights { publish: only(&["own/#"]), subscribe: only(&["own/#"]) };
    settings
}

/// Everything that waits for a client, each packet as text of our own types.
fn raw(bench: &mut Bench, conn: ConnId) -> Vec<String> {
    let mut bytes = Vec::new();
    while bench.asked.remove(&conn) {
        bench.broker.poll_transmit(conn, &mut bytes, 1 << 16, bench.now);
        bench.drain();
    }
    let (mut rest, mut packets) = (&*bytes, Vec::new());
    while let Ok(Some((packet, length))) = decode(rest, Some(V5), usize::MAX) {
        packets.push(format!("{packet:?}"));
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
    packets
}

fn has_words(packet: &str) -> bool {
    assert!(packet.contains("reason_string"), "{packet}");
    !packet.contains("reason_string: None")
}

fn every_refusal(connect: Connect<'_>) -> Vec<String> {
    let mut bench = Bench::with(narrow());
    let conn = bench.connect(connect);
    bench.publish(conn, message("else", "x", Q1, 1));
    bench.publish(conn, message("else", "x", Q2, 2));
    bench.subscribe_with(conn, "else", SubscribeOptions::default(), None);
    let refused = raw(&mut bench, conn);
    assert_eq!(refused.len(), 3, "{refused:?}");
    refused
}

#[test]
fn mqtt5_3_4_2_2_a_refusal_is_told_in_words() {
    for packet in every_refusal(hello(V5, "a")) {
        assert!(has_words(&packet), "{packet}");
        assert!(packet.contains("rights"), "{packet}");
    }
}

#[test]
fn mqtt5_3_1_2_11_7_who_wants_no_words_gets_them_only_with_connack_and_disconnect() {
    let connect = || Connect { request_problem_info: false, ..hello(V5, "a") };
    for packet in every_refusal(connect()) {
        assert!(!has_words(&packet), "{packet}");
    }
    let mut bench = Bench::new();
    let conn = bench.connect(connect());
    bench.send(conn, &Packet::Connect(Box::new(hello(V5, "a"))));
    assert!(has_words(&raw(&mut bench, conn)[0]));
}

#[test]
fn mqtt5_3_1_2_11_4_words_give_way_to_the_clients_packet_size() {
    for packet in every_refusal(Connect { packet_bytes_max: Some(40), ..hello(V5, "a") }) {
        assert!(!has_words(&packet), "{packet}");
    }
    let mut bench = Bench::new();
    let conn = bench.connect(Connect { packet_bytes_max: Some(40), ..hello(V5, "a") });
    bench.send(conn, &Packet::Connect(Box::new(hello(V5, "a"))));
    let last = raw(&mut bench, conn);
    assert!(last[0].contains("Disconnect") && !has_words(&last[0]), "{last:?}");
}

#[test]
fn mqtt5_3_2_2_3_9_a_refused_connect_is_told_why() {
    let mut bench = Bench::limited(|limits| limits.connections_max = 0);
    let conn = bench.greet(hello(V5, "a"));
    let packet = &raw(&mut bench, conn)[0];
    assert!(packet.contains(&format!("{:?}", Reason::SERVER_BUSY)) && has_words(packet), "{packet}");
}

#[test]
fn mqtt5_3_2_2_3_15_response_information_is_a_place_of_ones_own_that_the_rights_allow() {
    let asking = |id| Connect { request_response_info: true, ..hello(V5, id) };
    let mut bench = Bench::new();
    bench.connack(asking("a"), |connack| assert_eq!(connack.response_info, Some("reply/a/")));
    bench.connack(asking("a+#"), |connack| assert_eq!(connack.response_info, None));
    let mut bench = Bench::with(narrow());
    bench.connack(asking("a"), |connack| assert_eq!(connack.response_info, None));
}

fn device(bench: &mut Bench) -> ConnId {
    let conn = bench.open(Trust::Password);
    bench.speaks(conn, V5);
    let connect = Connect { user: Some("plc"), password: Some(b"x"), ..hello(V5, "d") };
    bench.send(conn, &Packet::Connect(Box::new(connect)));
    let principal = crate::broker::Principal { name: name("plc"), rights: Rights::default() };
    bench.verdict(conn, Verdict::Welcome(principal));
    bench.hear(conn);
    conn
}

#[test]
fn mqtt5_4_11_a_stopping_broker_tells_devices_who_serves_on() {
    let mut bench = Bench::with(Settings { elsewhere: [(name("plc"), "10.0.0.11:8883".into())].into(), ..settings() });
    let (device, program) = (device(&mut bench), bench.client(V5, "p"));
    bench.broker.handle_stop(bench.now);
    bench.drain();
    let told = &raw(&mut bench, device)[0];
    assert!(told.contains("server_reference: Some(\"10.0.0.11:8883\")"), "{told}");
    assert!(told.contains(&format!("{:?}", Reason::USE_ANOTHER_SERVER)), "{told}");
    bench.ended(program, Reason::SERVER_SHUTTING_DOWN);
}

#[test]
fn what_waits_for_a_client_goes_before_the_last_word_of_a_stopping_broker() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V311, "p"), bench.client(V5, "s"));
    bench.subscribe(to, "t", Q1);
    for number in 0..20 {
        bench.publish(from, message("t", "x", Q0, 0));
        bench.publish(from, message("t", "y", Q1, 1 + number));
    }
    bench.broker.handle_stop(bench.now);
    bench.drain();
    let heard = bench.hear(to);
    let count = heard.iter().filter(|heard| matches!(heard, Heard::Publish(_))).count();
    assert_eq!(count, 40);
    assert_eq!(heard.last(), Some(&Heard::Disconnect(Reason::SERVER_SHUTTING_DOWN)));
}

#[test]
fn who_comes_after_the_stop_is_turned_away() {
    let mut bench = Bench::new();
    bench.broker.handle_stop(bench.now);
    let conn = bench.greet(hello(V5, "late"));
    bench.silent(conn);
    assert!(bench.closed.contains(&conn));
}

#[test]
fn a_device_whose_password_nobody_had_time_for_may_try_again() {
    let mut bench = Bench::new();
    for _ in 0..20 {
        let conn = bench.open(Trust::Password);
        let connect = Connect { user: Some("plc"), password: Some(b"x"), ..hello(V311, "d") };
        bench.send(conn, &Packet::Connect(Box::new(connect)));
        assert_eq!(bench.proofs.len(), 1, "asked again each time, however often");
        bench.proofs.clear();
        bench.verdict(conn, Verdict::Busy);
        let unavailable = Heard::ConnAck { present: false, reason: Reason::SERVER_UNAVAILABLE };
        assert_eq!(bench.next(conn), unavailable, "which is all that 3.1.1 can say");
    }
    assert_eq!(bench.broker.counters().wrong_passwords, 0);
}

#[test]
fn connections_that_only_come_to_be_refused_are_not_waited_for_without_end() {
    let mut bench = Bench::limited(|limits| limits.connections_max = 0);
    let mut at_once = 0;
    for number in 0..400 {
        let conn = bench.greet(hello(V311, &number.to_string()));
        bench.hear(conn);
        at_once += usize::from(bench.lingers[&conn].is_zero());
    }
    assert_eq!(at_once, 400 - 256);
    let silent = bench.open(Trust::Local);
    bench.seconds(4);
    assert!(bench.lingers[&silent].is_zero(), "there is nothing to send to it");
}
