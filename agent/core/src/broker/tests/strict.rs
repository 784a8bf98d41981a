//! Rules of the standards that concern a whole connection: what ends it, what is ignored, what must go on.

use super::bench::*;
use crate::mqtt::packet::{Connect, Disconnect, Packet, Reason, SubscribeOptions};

/// Packets that no client may send, once it is let in, and what a version 5 client is told.
const FAULTS: &[(&str, &[u8], Reason)] = &[
    ("2.1.2 type 0", &[0x00, 0], Reason::MALFORMED_PACKET),
    ("2.1.3 first byte of SUBSCRIBE", &[0x80, 6, 0, 1, 0, 1, b'a', 0], Reason::MALFORMED_PACKET),
    ("2.1.3 first byte of UNSUBSCRIBE", &[0xa0, 5, 0, 1, 0, 1, b'a'], Reason::MALFORMED_PACKET),
    ("2.1.3 first byte of PUBREL", &[0x60, 2, 0, 1], Reason::MALFORMED_PACKET),
    ("2.1.3 first byte of DISCONNECT", &[0xe1, 0], Reason::MALFORMED_PACKET),
    ("1.5.5 length of five bytes", &[0x30, 0xff, 0xff, 0xff, 0xff, 1], Reason::MALFORMED_PACKET),
    ("3.3.1.2 QoS 3", &[0x36, 6, 0, 1, b'a', 0, 1, 0], Reason::MALFORMED_PACKET),
    ("3.3.2.1 wildcard in a topic name", &[0x30, 4, 0, 1, b'+', 0], Reason::MALFORMED_PACKET),
    ("2.2.1 packet identifier 0", &[0x32, 6, 0, 1, b'a', 0, 0, 0], Reason::PROTOCOL_ERROR),
    ("4.7.3 a filter of no character", &[0x82, 6, 0, 1, 0, 0, 0, 0], Reason::MALFORMED_PACKET),
    ("3.2 CONNACK from a client", &[0x20, 3, 0, 0, 0], Reason::PROTOCOL_ERROR),
    ("3.9 SUBACK from a client", &[0x90, 4, 0, 1, 0, 0], Reason::PROTOCOL_ERROR),
    ("3.11 UNSUBACK from a client", &[0xb0, 4, 0, 1, 0, 0], Reason::PROTOCOL_ERROR),
    ("3.13 PINGRESP from a client", &[0xd0, 0], Reason::PROTOCOL_ERROR),
    ("4.12 AUTH without a method in CONNECT", &[0xf0, 0], Reason::PROTOCOL_ERROR),
];

#[test]
fn mqtt5_4_13_whatever_breaks_the_protocol_ends_the_connection_with_its_reason() {
    for (rule, bytes, reason) in FAULTS {
        let mut bench = Bench::new();
        let conn = bench.client(V5, "a");
        bench.bytes(conn, bytes);
        assert_eq!(bench.hear(conn), [Heard::Disconnect(*reason)], "{rule}");
        assert!(bench.closed.contains(&conn), "{rule}");
    }
}

#[test]
fn mqtt3_4_8_whatever_breaks_the_protocol_ends_the_connection_without_a_word() {
    let old: &[(&str, &[u8])] = &[
        ("3.8.1 first byte of SUBSCRIBE", &[0x80, 6, 0, 1, 0, 1, b'a', 0]),
        ("3.8.3 no filter", &[0x82, 2, 0, 1]),
        ("3.8.3 QoS 3", &[0x82, 6, 0, 1, 0, 1, b'a', 3]),
        ("3.8.3 an option of version 5", &[0x82, 6, 0, 1, 0, 1, b'a', 4]),
        ("3.10.3 no filter", &[0xa2, 2, 0, 1]),
        ("3.3.2.1 wildcard in a topic name", &[0x30, 3, 0, 1, b'#']),
        ("3.3.2.1 no topic", &[0x30, 2, 0, 0]),
        ("3.2 CONNACK from a client", &[0x20, 2, 0, 0]),
        ("2.2.1 a packet type of version 5", &[0xf0, 0]),
        ("2.3.1 packet identifier 0", &[0x82, 6, 0, 0, 0, 1, b'a', 0]),
    ];
    for (rule, bytes) in old {
        let mut bench = Bench::new();
        let conn = bench.client(V311, "a");
        bench.bytes(conn, bytes);
        bench.silent(conn);
        assert!(bench.closed.contains(&conn), "{rule}");
    }
}

#[test]
fn mqtt3_3_1_0_2_a_second_connect_ends_the_connection() {
    let mut bench = Bench::new();
    let conn = bench.client(V311, "a");
    bench.send(conn, &Packet::Connect(Box::new(hello(V311, "b"))));
    bench.silent(conn);
    assert!(bench.closed.contains(&conn));
}

#[test]
fn mqtt5_3_1_2_5_a_broken_protocol_is_no_good_bye_and_leaves_the_will() {
    let mut bench = Bench::new();
    let to = bench.client(V5, "to");
    bench.subscribe(to, "last", Q0);
    let conn = bench.connect(Connect { will: Some(will("last", b"words")), ..hello(V311, "a") });
    bench.bytes(conn, &[0x36, 6, 0, 1, b'a', 0, 1, 0]);
    assert_eq!(bench.payloads(to), ["words"]);
}

#[test]
fn mqtt5_3_14_4_nothing_behind_a_disconnect_is_looked_at() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V311, "a"), bench.client(V311, "b"));
    bench.subscribe(to, "t", Q1);
    let mut bytes = Vec::new();
    for packet in [
        Packet::Publish(message("t", "before", Q1, 1)),
        Packet::Disconnect(Disconnect::default()),
        Packet::Publish(message("t", "behind", Q1, 2)),
    ] {
        crate::mqtt::encode(&packet, V311, &mut bytes).unwrap();
    }
    bench.bytes(from, &bytes);
    assert_eq!(bench.payloads(to), ["before"]);
}

#[test]
fn mqtt5_4_4_0_1_nothing_is_sent_again_while_the_connection_stands() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V5, "a"), bench.connect(durable(V5, "b")));
    bench.subscribe(to, "t", Q2);
    bench.publish(from, message("t", "once", Q1, 1));
    bench.publish(from, message("t", "twice", Q2, 2));
    assert_eq!(bench.messages(to).len(), 2);
    bench.seconds(3_600);
    bench.send(to, &Packet::PingReq);
    assert_eq!(bench.next(to), Heard::PingResp);
}

#[test]
fn mqtt5_4_3_3_pubrel_that_comes_again_is_completed_again_and_the_message_is_not() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V5, "a"), bench.client(V5, "b"));
    bench.subscribe(to, "t", Q2);
    bench.publish(from, message("t", "x", Q2, 5));
    assert_eq!(bench.next(from), Heard::PubRec(5, Reason::SUCCESS));
    bench.send(from, &Packet::PubRel(ack(5)));
    assert_eq!(bench.next(from), Heard::PubComp(5, Reason::SUCCESS));
    bench.send(from, &Packet::PubRel(ack(5)));
    assert_eq!(bench.next(from), Heard::PubComp(5, Reason::PACKET_ID_NOT_FOUND));
    assert_eq!(bench.take_all(to), ["x"]);
}

#[test]
fn mqtt5_3_10_4_3_what_is_on_its_way_is_completed_after_unsubscribe() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V5, "a"), bench.client(V5, "b"));
    bench.subscribe(to, "t", Q2);
    bench.publish(from, message("t", "x", Q2, 1));
    let sent = bench.message(to);
    bench.unsubscribe(to, "t");
    assert_eq!(bench.next(to), Heard::UnsubAck(2, vec![0]));
    bench.publish(from, message("t", "y", Q1, 2));
    bench.send(to, &Packet::PubRec(ack(sent.id)));
    assert_eq!(bench.next(to), Heard::PubRel(sent.id, Reason::SUCCESS));
    bench.send(to, &Packet::PubComp(ack(sent.id)));
    bench.silent(to);
}

#[test]
fn mqtt5_4_7_1_a_filter_that_is_not_well_formed_ends_the_connection() {
    let bad = ["a#", "#/a", "a/#/b", "a/b+", "+a", "##", "$share/g", "$share//a", "$share/g/", "$share/g+/a"];
    for filter in bad {
        let mut bench = Bench::new();
        let (new, old) = (bench.client(V5, "new"), bench.client(V311, "old"));
        bench.subscribe_with(new, filter, SubscribeOptions::default(), None);
        bench.ended(new, Reason::MALFORMED_PACKET);
        bench.subscribe_with(old, filter, SubscribeOptions::default(), None);
        bench.ended(old, Reason::MALFORMED_PACKET);
    }
}

#[test]
fn mqtt5_4_7_topics_match_as_the_standards_examples_say() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        (
            "sport/tennis/player1/#",
            &["sport/tennis/player1", "sport/tennis/player1/score/wimbledon"],
            &["sport/tennis"],
        ),
        ("sport/#", &["sport", "sport/"], &["Sport", "sports"]),
        ("sport/+", &["sport/", "sport/x"], &["sport", "sport/x/y"]),
        ("+/+", &["/finance", "a/b"], &["finance"]),
        ("/+", &["/finance"], &["finance", "a/finance"]),
        ("+/tennis/#", &["sport/tennis", "/tennis/a"], &["tennis"]),
        ("#", &["/", "a"], &["$x/a"]),
        ("$x/#", &["$x/a", "$x"], &["x/a"]),
        ("\u{feff}a", &["\u{feff}a"], &["a"]),
        ("a b", &["a b"], &["a  b", "ab"]),
    ];
    for (filter, matching, others) in cases {
        let mut bench = Bench::new();
        let (from, to) = (bench.client(V311, "a"), bench.client(V311, "b"));
        bench.subscribe(to, filter, Q0);
        for topic in matching.iter().chain(*others) {
            bench.publish(from, message(topic, topic, Q0, 0));
        }
        assert_eq!(bench.payloads(to), *matching, "{filter}");
    }
}

#[test]
fn mqtt3_3_1_2_10_silence_of_one_and_a_half_keep_alives_ends_an_older_connection_too() {
    for version in [V31, V311] {
        let mut bench = Bench::new();
        let conn = bench.connect(Connect { keep_alive_s: 10, ..hello(version, "a") });
        bench.seconds(14);
        assert!(!bench.closed.contains(&conn));
        bench.send(conn, &Packet::PingReq);
        assert_eq!(bench.next(conn), Heard::PingResp);
        bench.seconds(14);
        assert!(!bench.closed.contains(&conn));
        bench.seconds(2);
        bench.ended(conn, Reason::KEEP_ALIVE_TIMEOUT);
    }
}

#[test]
fn mqtt5_3_1_3_2_a_will_to_a_wildcard_is_never_accepted() {
    for version in [V311, V5] {
        let mut bench = Bench::new();
        let conn = bench.greet(Connect { will: Some(will("a/+", b"x")), ..hello(version, "a") });
        let heard = bench.hear(conn);
        assert!(!heard.contains(&Heard::ConnAck { present: false, reason: Reason::SUCCESS }), "{heard:?}");
        assert!(bench.closed.contains(&conn));
    }
}
