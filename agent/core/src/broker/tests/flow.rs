//! Bytes in any portions, and the order of what is asked of the shell.

use super::bench::*;
use crate::mqtt::encode;
use crate::mqtt::packet::{Packet, Reason};

#[test]
fn packets_may_come_byte_by_byte() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V5, "a"), bench.client(V5, "b"));
    bench.subscribe(to, "t", Q1);
    let mut bytes = Vec::new();
    for number in 1..=3 {
        encode(&Packet::Publish(message("t", &number.to_string(), Q1, number)), V5, &mut bytes).unwrap();
    }
    for byte in bytes {
        bench.bytes(from, &[byte]);
    }
    assert_eq!(bench.payloads(to), ["1", "2", "3"]);
    assert_eq!(bench.hear(from).len(), 3);
}

#[test]
fn packets_behind_connect_in_the_same_bytes_are_dealt_with() {
    let mut bench = Bench::new();
    let conn = bench.open(crate::broker::Trust::Local);
    let mut bytes = Vec::new();
    encode(&Packet::Connect(Box::new(hello(V311, "a"))), V311, &mut bytes).unwrap();
    encode(&Packet::PingReq, V311, &mut bytes).unwrap();
    bench.bytes(conn, &bytes);
    assert_eq!(bench.hear(conn), [Heard::ConnAck { present: false, reason: Reason::SUCCESS }, Heard::PingResp]);
}

#[test]
fn a_socket_that_takes_little_gets_everything_in_order() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V311, "a"), bench.client(V311, "b"));
    bench.subscribe(to, "t", Q0);
    for number in 0..50 {
        bench.publish(from, message("t", &number.to_string(), Q0, 0));
    }
    let (mut bytes, mut calls) = (Vec::new(), 0);
    while bench.asked.remove(&to) {
        bench.broker.poll_transmit(to, &mut bytes, 10, bench.now);
        bench.drain();
        calls += 1;
    }
    assert!(calls > 20, "{calls} calls");
    let mut want = Vec::new();
    for number in 0..50 {
        encode(&Packet::Publish(message("t", &number.to_string(), Q0, 0)), V311, &mut want).unwrap();
    }
    assert_eq!(bytes, want);
}

#[test]
fn packets_in_portions_of_any_size_are_the_same_packets() {
    let mut bytes = Vec::new();
    let mut want = Vec::new();
    for number in 0..40u16 {
        let text = "x".repeat(usize::from(number) * 37 % 500);
        encode(&Packet::Publish(message("t", &text, Q1, 1 + number)), V5, &mut bytes).unwrap();
        encode(&Packet::PingReq, V5, &mut bytes).unwrap();
        want.push(text);
    }
    for size in [1, 2, 3, 7, 64, 499, 1_000, 4_096, bytes.len()] {
        let mut bench = Bench::new();
        let (from, to) = (bench.client(V5, "a"), bench.client(V5, "b"));
        bench.subscribe(to, "t", Q0);
        for portion in bytes.chunks(size) {
            bench.bytes(from, portion);
        }
        assert_eq!(bench.payloads(to), want, "portions of {size}");
        assert_eq!(bench.hear(from).len(), 80);
    }
}

#[test]
fn portions_that_come_while_a_publish_waits_are_dealt_with_in_order() {
    let mut settings = settings();
    settings.limits.queue_len_max = 2;
    settings.limits.inflight_max = 1;
    let mut bytes = Vec::new();
    for number in 0..30u16 {
        encode(&Packet::Publish(message("t", &number.to_string(), Q1, 1 + number)), V5, &mut bytes).unwrap();
    }
    for size in [1, 5, 13, 40, bytes.len()] {
        let mut bench = Bench::with(settings.clone());
        let (from, to) = (bench.client(V5, "a"), bench.client(V5, "b"));
        bench.subscribe(to, "t", Q1);
        let mut got = Vec::new();
        for (index, portion) in bytes.chunks(size).enumerate() {
            bench.bytes(from, portion);
            if index % 3 == 0 {
                got.extend(bench.take_all(to));
            }
        }
        got.extend(bench.take_all(to));
        let want: Vec<String> = (0..30).map(|number: u16| number.to_string()).collect();
        assert_eq!(got, want, "portions of {size}");
    }
}

#[test]
fn who_waits_longest_for_room_goes_first() {
    everyone_has_a_share(Bench::limited(|limits| limits.queue_len_max = 10));
}

#[test]
fn who_waits_longest_for_room_goes_first_where_one_unanswered_publish_is_enough() {
    everyone_has_a_share(Bench::limited(|limits| (limits.queue_len_max, limits.inflight_max) = (10, 1)));
}

fn everyone_has_a_share(mut bench: Bench) {
    let to = bench.client(V5, "to");
    bench.subscribe(to, "t", Q1);
    for name in ["a", "b", "c", "d"] {
        let from = bench.client(V5, name);
        let mut bytes = Vec::new();
        for number in 1..=200 {
            encode(&Packet::Publish(message("t", name, Q1, number)), V5, &mut bytes).unwrap();
        }
        bench.bytes(from, &bytes);
    }
    let heard = bench.take_all(to);
    let by = |name| heard[..100].iter().filter(|heard| *heard == name).count();
    assert!(["a", "b", "c", "d"].map(by).iter().all(|count| *count >= 20), "{heard:?}");
    assert_eq!(heard.len(), 800);
}
