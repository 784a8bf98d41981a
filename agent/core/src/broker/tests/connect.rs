//! CONNECT, CONNACK, sessions, keep alive and wills.

use std::num::NonZeroU16;

use super::bench::*;
use crate::broker::{Principal, Trust, Verdict};
use crate::mqtt::packet::{Connect, Disconnect, Packet, Props, Reason, Subscribe, SubscribeFilter, SubscribeOptions};
use crate::mqtt::props::{CONTENT_TYPE, Prop, PropsBuf};
use crate::rights::Rights;

#[test]
fn all_three_versions_are_let_in_on_one_door() {
    for version in [V31, V311, V5] {
        let mut bench = Bench::new();
        let conn = bench.greet(hello(version, "a"));
        assert_eq!(bench.next(conn), Heard::ConnAck { present: false, reason: Reason::SUCCESS }, "{version:?}");
    }
}

#[test]
fn mqtt3_1_2_2_a_wrong_protocol_level_is_answered_with_return_code_1() {
    let mut bench = Bench::new();
    let conn = bench.open(Trust::Local);
    bench.bytes(conn, &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 9, 2, 0, 0, 0, 0]);
    assert_eq!(bench.next(conn), Heard::ConnAck { present: false, reason: Reason::UNSUPPORTED_PROTOCOL_VERSION });
    assert!(bench.closed.contains(&conn));
}

#[test]
fn mqtt5_3_1_0_1_the_first_packet_must_be_connect() {
    let mut bench = Bench::new();
    let conn = bench.open(Trust::Local);
    bench.bytes(conn, &[0xc0, 0]);
    bench.silent(conn);
    assert!(bench.closed.contains(&conn));
}

#[test]
fn mqtt5_3_1_0_2_a_second_connect_is_a_protocol_error() {
    let mut bench = Bench::new();
    let conn = bench.client(V5, "a");
    bench.send(conn, &Packet::Connect(Box::new(hello(V5, "a"))));
    bench.ended(conn, Reason::PROTOCOL_ERROR);
}

#[test]
fn mqtt3_1_3_8_an_empty_id_without_clean_session_is_refused() {
    let mut bench = Bench::new();
    let conn = bench.greet(Connect { clean_start: false, ..hello(V311, "") });
    assert_eq!(bench.next(conn), Heard::ConnAck { present: false, reason: Reason::CLIENT_ID_NOT_VALID });
    assert!(bench.closed.contains(&conn));
}

#[test]
fn mqtt31_3_1_an_id_has_at_least_one_character() {
    let mut bench = Bench::new();
    let conn = bench.greet(hello(V31, ""));
    assert_eq!(bench.next(conn), Heard::ConnAck { present: false, reason: Reason::CLIENT_ID_NOT_VALID });
}

#[test]
fn mqtt31_3_1_bits_that_are_not_used_are_not_looked_at() {
    let mut bench = Bench::new();
    for (first, flags) in [(0x10, 0x02), (0x14, 0x02), (0x10, 0x03)] {
        let conn = bench.open(Trust::Local);
        bench.bytes(conn, &[&[first, 15][..], b"\0\x06MQIsdp\x03", &[flags], b"\0\x0a\0\x01p"].concat());
        assert_eq!(bench.next(conn), Heard::ConnAck { present: false, reason: Reason::SUCCESS });
        let strict = bench.open(Trust::Local);
        bench.bytes(strict, &[&[first, 13][..], b"\0\x04MQTT\x04", &[flags], b"\0\x0a\0\x01q"].concat());
        assert_eq!(bench.closed.contains(&strict), first != 0x10 || flags != 0x02);
    }
}

#[test]
fn mqtt5_4_13_1_a_broken_connect_of_version_5_is_told_why() {
    for (connect, reason) in [
        (b"\x10\x0e\0\x04MQTT\x05\x03\0\x0a\0\0\x01p".as_slice(), 0x81),
        (b"\x10\x11\0\x04MQTT\x05\x02\0\x0a\x03\x21\0\0\0\x01p", 0x82),
        (b"\x10\xff\xff\x7f\0\x04MQTT\x05\x02\0\x0a", 0x95),
    ] {
        let mut bench = Bench::new();
        let conn = bench.open(Trust::Local);
        bench.bytes(conn, connect);
        assert!(bench.asked.contains(&conn) && bench.closed.contains(&conn), "{reason:x}");
        let mut bytes = Vec::new();
        bench.broker.poll_transmit(conn, &mut bytes, 1 << 16, bench.now);
        assert_eq!((bytes[0], bytes[2], bytes[3]), (0x20, 0, reason));
    }
    // Older clients read no reason from it.
    let mut bench = Bench::new();
    let conn = bench.open(Trust::Local);
    bench.bytes(conn, b"\x10\x0d\0\x04MQTT\x04\x03\0\x0a\0\x01p");
    assert!(bench.closed.contains(&conn));
    bench.silent(conn);
}

#[test]
fn mqtt5_3_1_2_11_4_a_client_that_cannot_take_even_a_connack_is_let_go() {
    let mut bench = Bench::new();
    let conn = bench.greet(Connect { packet_bytes_max: Some(2), ..hello(V5, "a") });
    bench.silent(conn);
    assert!(bench.closed.contains(&conn));
    bench.drop_socket(conn);
    assert_eq!(bench.broker.connection_count(), 0);
}

#[test]
fn mqtt5_3_1_3_6_an_empty_id_is_assigned_one_and_told() {
    let mut bench = Bench::new();
    let mut first = String::new();
    bench.connack(hello(V5, ""), |connack| first = connack.assigned_client_id.unwrap().to_owned());
    bench.connack(hello(V5, ""), |connack| assert_ne!(connack.assigned_client_id.unwrap(), first));
}

#[test]
fn mqtt5_3_1_3_4_an_id_may_hold_any_utf_8() {
    let mut bench = Bench::new();
    let conn = bench.client(V5, "été/#+ 漢字");
    bench.subscribe(conn, "a", Q0);
}

#[test]
fn mqtt5_3_1_4_3_the_same_id_takes_over_and_the_first_is_told() {
    let mut bench = Bench::new();
    let first = bench.client(V5, "a");
    let second = bench.client(V5, "a");
    bench.ended(first, Reason::SESSION_TAKEN_OVER);
    bench.drop_socket(first);
    bench.subscribe(second, "t", Q0);
}

#[test]
fn a_session_that_was_taken_over_keeps_its_subscriptions() {
    let mut bench = Bench::new();
    let first = bench.connect(durable(V311, "a"));
    bench.subscribe(first, "t", Q1);
    let (second, present) = bench.connect_present(durable(V311, "a"));
    assert!(present);
    bench.drop_socket(first);
    let other = bench.client(V311, "b");
    bench.publish(other, message("t", "1", Q0, 0));
    assert_eq!(bench.payloads(second), ["1"]);
}

#[test]
fn mqtt5_3_1_2_4_clean_start_ends_the_session_before() {
    let mut bench = Bench::new();
    let first = bench.connect(durable(V5, "a"));
    bench.subscribe(first, "t", Q1);
    bench.leave(first);
    let (_, present) = bench.connect_present(Connect { clean_start: true, ..durable(V5, "a") });
    assert!(!present);
}

#[test]
fn mqtt5_3_1_2_5_a_session_is_found_again() {
    for version in [V31, V311, V5] {
        let mut bench = Bench::new();
        let first = bench.connect(durable(version, "a"));
        bench.subscribe(first, "t", Q1);
        bench.leave(first);
        let other = bench.client(V5, "b");
        bench.publish(other, message("t", "kept", Q1, 1));
        let again = bench.greet(durable(version, "a"));
        let heard = bench.hear(again);
        // MQTT 3.1 has no flag for it.
        assert_eq!(heard[0], Heard::ConnAck { present: version != V31, reason: Reason::SUCCESS });
        assert!(matches!(&heard[1], Heard::Publish(message) if message.payload == b"kept" && !message.dup));
    }
}

#[test]
fn mqtt5_3_1_2_11_2_a_session_expires_when_its_time_is_over() {
    let mut bench = Bench::new();
    let first = bench.connect(Connect { session_expiry_s: Some(10), ..durable(V5, "a") });
    bench.leave(first);
    bench.seconds(9);
    let (second, present) = bench.connect_present(Connect { session_expiry_s: Some(10), ..durable(V5, "a") });
    assert!(present);
    bench.leave(second);
    bench.seconds(11);
    assert!(!bench.connect_present(durable(V5, "a")).1);
}

#[test]
fn mqtt5_3_1_2_11_2_an_expiry_of_0_ends_with_the_connection() {
    let mut bench = Bench::new();
    let first = bench.connect(Connect { session_expiry_s: None, ..durable(V5, "a") });
    bench.drop_socket(first);
    assert!(!bench.connect_present(durable(V5, "a")).1);
}

#[test]
fn mqtt5_3_2_2_3_2_a_shortened_expiry_is_told() {
    let mut bench = Bench::limited(|limits| limits.session_expiry_max = std::time::Duration::from_secs(60));
    bench.connack(Connect { session_expiry_s: Some(u32::MAX), ..durable(V5, "a") }, |connack| {
        assert_eq!(connack.session_expiry_s, Some(60));
    });
}

#[test]
fn mqtt5_3_14_2_2_2_disconnect_may_shorten_the_session() {
    let mut bench = Bench::new();
    let first = bench.connect(durable(V5, "a"));
    bench.send(first, &Packet::Disconnect(Disconnect { session_expiry_s: Some(0), ..Disconnect::default() }));
    bench.drop_socket(first);
    assert!(!bench.connect_present(durable(V5, "a")).1);
}

#[test]
fn mqtt5_3_14_2_2_2_disconnect_may_not_give_a_session_that_connect_did_not() {
    let mut bench = Bench::new();
    let first = bench.client(V5, "a");
    bench.send(first, &Packet::Disconnect(Disconnect { session_expiry_s: Some(5), ..Disconnect::default() }));
    bench.ended(first, Reason::PROTOCOL_ERROR);
}

#[test]
fn mqtt5_3_1_2_10_silence_of_one_and_a_half_keep_alives_ends_it() {
    for version in [V31, V311, V5] {
        let mut bench = Bench::new();
        let conn = bench.connect(Connect { keep_alive_s: 10, ..hello(version, "a") });
        bench.seconds(14);
        assert!(!bench.closed.contains(&conn));
        bench.send(conn, &Packet::PingReq);
        assert_eq!(bench.next(conn), Heard::PingResp);
        bench.seconds(14);
        assert!(!bench.closed.contains(&conn), "a ping counts");
        bench.seconds(2);
        bench.ended(conn, Reason::KEEP_ALIVE_TIMEOUT);
    }
}

#[test]
fn mqtt5_3_1_2_10_a_keep_alive_of_0_is_never_enforced() {
    let mut bench = Bench::new();
    let conn = bench.client(V311, "a");
    bench.seconds(1_000_000);
    assert!(!bench.closed.contains(&conn));
    assert_eq!(bench.broker.next_deadline(), None, "an idle broker does not wake");
}

#[test]
fn mqtt5_3_1_2_21_a_shorter_keep_alive_than_the_servers_stays_the_clients_own() {
    let mut bench = Bench::limited(|limits| limits.keep_alive = Some(std::time::Duration::from_secs(60)));
    for (asked, told) in [(5, None), (60, None), (61, Some(60)), (0, Some(60))] {
        bench.connack(Connect { keep_alive_s: asked, ..hello(V5, "a") }, |connack| {
            assert_eq!(connack.server_keep_alive_s, told, "asked for {asked}");
        });
    }
}

#[test]
fn mqtt5_3_1_2_21_the_servers_keep_alive_is_told_and_holds() {
    let mut bench = Bench::limited(|limits| limits.keep_alive = Some(std::time::Duration::from_secs(60)));
    let conn = bench.connack(Connect { keep_alive_s: 120, ..hello(V5, "a") }, |connack| {
        assert_eq!(connack.server_keep_alive_s, Some(60));
    });
    bench.seconds(91);
    bench.ended(conn, Reason::KEEP_ALIVE_TIMEOUT);
}

#[test]
fn without_connect_a_connection_is_closed_after_3_s() {
    let mut bench = Bench::new();
    let conn = bench.open(Trust::Local);
    bench.seconds(2);
    assert!(!bench.closed.contains(&conn));
    bench.seconds(2);
    assert!(bench.closed.contains(&conn));
}

#[test]
fn the_65th_silent_connection_costs_the_oldest_its_place() {
    let mut bench = Bench::new();
    let first = bench.open(Trust::Local);
    for _ in 0..64 {
        bench.open(Trust::Local);
    }
    assert_eq!(bench.closed.iter().collect::<Vec<_>>(), [&first]);
    bench.client(V311, "still welcome");
}

#[test]
fn a_connection_over_the_limit_is_refused_and_told() {
    let mut bench = Bench::limited(|limits| limits.connections_max = 1);
    let first = bench.client(V5, "a");
    let second = bench.greet(hello(V5, "b"));
    assert_eq!(bench.next(second), Heard::ConnAck { present: false, reason: Reason::SERVER_BUSY });
    bench.leave(first);
    bench.drop_socket(second);
    bench.client(V5, "b");
}

#[test]
fn at_the_limit_of_connections_a_client_can_still_take_over_its_own() {
    let mut bench = Bench::limited(|limits| limits.connections_max = 1);
    bench.client(V5, "a");
    bench.client(V5, "a");
}

#[test]
fn mqtt5_4_12_an_unknown_authentication_method_is_refused() {
    let mut bench = Bench::new();
    let conn = bench.greet(Connect { auth_method: Some("SCRAM"), ..hello(V5, "a") });
    assert_eq!(bench.next(conn), Heard::ConnAck { present: false, reason: Reason::BAD_AUTHENTICATION_METHOD });
}

#[test]
fn mqtt5_3_1_2_11_6_response_information_is_given_on_request() {
    let mut bench = Bench::new();
    bench.connack(Connect { request_response_info: true, ..hello(V5, "a") }, |connack| {
        assert!(connack.response_info.is_some());
    });
    bench.connack(hello(V5, "b"), |connack| assert_eq!(connack.response_info, None));
}

fn device() -> Principal {
    Principal { name: name("plc"), rights: Rights::default() }
}

#[test]
fn a_device_is_let_in_when_its_password_is_right() {
    let mut bench = Bench::new();
    let conn = bench.open(Trust::Password);
    bench
        .send(conn, &Packet::Connect(Box::new(Connect { user: Some("plc"), password: Some(b"x"), ..hello(V311, "") })));
    assert_eq!(bench.proofs, [(conn, "plc".to_owned())]);
    bench.silent(conn);
    bench.verdict(conn, Verdict::Welcome(device()));
    assert_eq!(bench.next(conn), Heard::ConnAck { present: false, reason: Reason::SUCCESS });
    assert!(!bench.paused.contains(&conn));
}

#[test]
fn mqtt3_3_2_2_3_a_wrong_password_is_return_code_4() {
    let mut bench = Bench::new();
    let conn = bench.open(Trust::Password);
    bench
        .send(conn, &Packet::Connect(Box::new(Connect { user: Some("plc"), password: Some(b"x"), ..hello(V311, "") })));
    bench.verdict(conn, Verdict::Refused);
    assert_eq!(bench.next(conn), Heard::ConnAck { present: false, reason: Reason::BAD_USER_OR_PASSWORD });
    assert!(bench.closed.contains(&conn));
}

#[test]
fn without_a_password_a_device_is_not_authorized() {
    let mut bench = Bench::new();
    let conn = bench.open(Trust::Password);
    bench.send(conn, &Packet::Connect(Box::new(hello(V311, "a"))));
    assert_eq!(bench.next(conn), Heard::ConnAck { present: false, reason: Reason::NOT_AUTHORIZED });
}

#[test]
fn a_password_that_nobody_looks_at_ends_after_the_time_for_connect() {
    let mut bench = Bench::new();
    let conn = bench.open(Trust::Password);
    bench
        .send(conn, &Packet::Connect(Box::new(Connect { user: Some("plc"), password: Some(b"x"), ..hello(V311, "") })));
    bench.drop_socket(conn);
    bench.verdict(conn, Verdict::Welcome(device()));
    assert_eq!(bench.broker.connection_count(), 0, "a verdict for a gone connection changes nothing");
}

#[test]
fn mqtt5_3_1_2_5_a_will_is_sent_when_the_connection_breaks() {
    for version in [V31, V311, V5] {
        let mut bench = Bench::new();
        let watcher = bench.client(V5, "w");
        bench.subscribe(watcher, "gone", Q1);
        let conn = bench.connect(Connect { will: Some(will("gone", b"a")), ..hello(version, "a") });
        bench.drop_socket(conn);
        assert_eq!(bench.payloads(watcher), ["a"], "{version:?}");
    }
}

#[test]
fn mqtt5_3_14_4_3_a_good_bye_takes_the_will_with_it() {
    let mut bench = Bench::new();
    let watcher = bench.client(V5, "w");
    bench.subscribe(watcher, "gone", Q0);
    let conn = bench.connect(Connect { will: Some(will("gone", b"a")), ..hello(V5, "a") });
    bench.leave(conn);
    bench.silent(watcher);
}

#[test]
fn mqtt5_3_14_2_1_reason_4_asks_for_the_will() {
    let mut bench = Bench::new();
    let watcher = bench.client(V5, "w");
    bench.subscribe(watcher, "gone", Q0);
    let conn = bench.connect(Connect { will: Some(will("gone", b"a")), ..hello(V5, "a") });
    let reason = Reason::DISCONNECT_WITH_WILL;
    bench.send(conn, &Packet::Disconnect(Disconnect { reason, ..Disconnect::default() }));
    assert_eq!(bench.payloads(watcher), ["a"]);
}

#[test]
fn mqtt5_3_1_3_9_a_delayed_will_waits() {
    let mut bench = Bench::new();
    let watcher = bench.client(V5, "w");
    bench.subscribe(watcher, "gone", Q0);
    let will = crate::mqtt::packet::Will { delay_s: 5, ..will("gone", b"a") };
    let conn = bench.connect(Connect { will: Some(will), ..durable(V5, "a") });
    bench.drop_socket(conn);
    bench.seconds(4);
    bench.silent(watcher);
    bench.seconds(2);
    assert_eq!(bench.payloads(watcher), ["a"]);
}

#[test]
fn mqtt5_3_1_3_9_who_is_back_in_time_is_not_mourned() {
    let mut bench = Bench::new();
    let watcher = bench.client(V5, "w");
    bench.subscribe(watcher, "gone", Q0);
    let will = crate::mqtt::packet::Will { delay_s: 5, ..will("gone", b"a") };
    let conn = bench.connect(Connect { will: Some(will), ..durable(V5, "a") });
    bench.drop_socket(conn);
    bench.seconds(4);
    bench.connect(durable(V5, "a"));
    bench.seconds(60);
    bench.silent(watcher);
}

#[test]
fn mqtt5_3_1_3_9_the_end_of_the_session_ends_the_delay() {
    let mut bench = Bench::new();
    let watcher = bench.client(V5, "w");
    bench.subscribe(watcher, "gone", Q0);
    let will = crate::mqtt::packet::Will { delay_s: 500, ..will("gone", b"a") };
    let conn = bench.connect(Connect { will: Some(will), session_expiry_s: Some(5), ..durable(V5, "a") });
    bench.drop_socket(conn);
    bench.seconds(6);
    assert_eq!(bench.payloads(watcher), ["a"]);
}

#[test]
fn mqtt5_3_1_2_7_a_retained_will_is_retained_with_its_properties() {
    let mut bench = Bench::new();
    let mut props = PropsBuf::default();
    props.push(Prop::Text(CONTENT_TYPE, "text/plain"));
    let will = crate::mqtt::packet::Will { retain: true, props: props.as_props(), ..will("gone", b"a") };
    let conn = bench.connect(Connect { will: Some(will), ..hello(V5, "a") });
    bench.drop_socket(conn);
    let watcher = bench.client(V5, "w");
    bench.subscribe_with(watcher, "gone", crate::mqtt::packet::SubscribeOptions::default(), None);
    let heard = bench.hear(watcher);
    assert!(matches!(&heard[1], Heard::Publish(message) if message.retain && message.props.len() == 1), "{heard:?}");
}

#[test]
fn a_stop_tells_version_5_clients_and_closes_everyone() {
    let mut bench = Bench::new();
    let (old, new) = (bench.client(V311, "a"), bench.client(V5, "b"));
    bench.broker.handle_stop(bench.now);
    bench.drain();
    bench.ended(old, Reason::SERVER_SHUTTING_DOWN);
    bench.ended(new, Reason::SERVER_SHUTTING_DOWN);
}

#[test]
fn mqtt5_3_2_2_3_the_limits_are_told() {
    let mut bench = Bench::new();
    bench.connack(hello(V5, "a"), |connack| {
        assert_eq!(connack.receive_max, NonZeroU16::new(limits().inflight_max));
        assert_eq!(connack.packet_bytes_max, Some(limits().packet_bytes_max));
        assert!(connack.topic_alias_max > 0);
    });
}

#[test]
fn after_ten_wrong_passwords_an_address_is_refused_unseen_for_a_minute() {
    let mut bench = Bench::new();
    let attempt = |bench: &mut Bench| {
        let conn = bench.open(Trust::Password);
        let connect = Connect { user: Some("plc"), password: Some(b"x"), ..hello(V311, "") };
        bench.send(conn, &Packet::Connect(Box::new(connect)));
        bench.verdict(conn, Verdict::Refused);
        let heard = bench.next(conn);
        bench.drop_socket(conn);
        heard
    };
    let refused = |reason| Heard::ConnAck { present: false, reason };
    for _ in 0..10 {
        assert_eq!(attempt(&mut bench), refused(Reason::BAD_USER_OR_PASSWORD));
    }
    assert_eq!(attempt(&mut bench), refused(Reason::SERVER_UNAVAILABLE));
    assert_eq!((bench.proofs.len(), bench.broker.counters().logins_limited), (10, 1));
    bench.seconds(60);
    assert_eq!(attempt(&mut bench), refused(Reason::BAD_USER_OR_PASSWORD));
}

#[test]
fn mqtt5_3_1_2_11_4_a_client_that_takes_too_little_for_its_connack_is_told_or_dropped() {
    let mut bench = Bench::new();
    let conn = bench.greet(Connect { packet_bytes_max: Some(10), ..hello(V5, "a") });
    assert_eq!(bench.next(conn), Heard::ConnAck { present: false, reason: Reason::PACKET_TOO_LARGE });
    assert!(bench.closed.contains(&conn));
    for auth_method in [None, Some("scram")] {
        let conn = bench.greet(Connect { packet_bytes_max: Some(4), auth_method, ..hello(V5, "a") });
        bench.silent(conn);
        assert!(bench.closed.contains(&conn));
    }
}

#[test]
fn mqtt5_3_1_2_11_4_an_answer_longer_than_the_client_takes_ends_the_connection() {
    let mut bench = Bench::new();
    let conn = bench.connect(Connect { packet_bytes_max: Some(24), ..hello(V5, "a") });
    let wanted = SubscribeFilter { filter: "a", options: SubscribeOptions::default() };
    let packet =
        Subscribe { id: pid(1), subscription_id: None, user_props: Props::default(), filters: vec![wanted; 30] };
    bench.send(conn, &Packet::Subscribe(packet));
    bench.ended(conn, Reason::PACKET_TOO_LARGE);
}
