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
