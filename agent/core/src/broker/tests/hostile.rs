//! Anything may come in: nobody panics, and an innocent pair goes on undisturbed.

use proptest::prelude::*;

use super::bench::*;
use crate::broker::{ConnId, Trust};
use crate::mqtt::encode;
use crate::mqtt::packet::{Connect, Packet, Version};

struct Innocent {
    from: ConnId,
    to: ConnId,
}

impl Innocent {
    fn join(bench: &mut Bench) -> Self {
        let (from, to) = (bench.client(V5, "innocent/from"), bench.client(V311, "innocent/to"));
        bench.subscribe(to, "innocent", Q1);
        Self { from, to }
    }

    fn works(&self, bench: &mut Bench) {
        bench.publish(self.from, message("innocent", "hello", Q1, 1));
        assert_eq!(bench.take_all(self.to), ["hello"]);
        assert!(matches!(bench.hear(self.from)[..], [Heard::PubAck(1, _)]));
    }
}

fn hostile(bench: &mut Bench, version: Version) -> ConnId {
    bench.greet(Connect { will: Some(will("last", b"words")), ..durable(version, "hostile") })
}

/// Packets as they are, with a few bytes changed.
fn bent() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop_oneof![
        Just(Packet::PingReq),
        (0u16..4).prop_map(|id| Packet::PubAck(ack(id + 1))),
        (0u16..4).prop_map(|id| Packet::PubRec(ack(id + 1))),
        (0u16..4).prop_map(|id| Packet::PubRel(ack(id + 1))),
        (0u16..4).prop_map(|id| Packet::PubComp(ack(id + 1))),
        (0u16..4).prop_map(|id| Packet::Publish(message("a/b", "x", Q2, id + 1))),
        (0u16..4).prop_map(|id| Packet::Publish(message("a/b", "", Q1, id + 1))),
        Just(Packet::Disconnect(crate::mqtt::packet::Disconnect::default())),
    ];
    let subscribe = Just(vec![0x82, 10, 0, 1, 0, 0, 4, b'a', b'/', b'+', b'/', 1]);
    let encoded = whole.prop_map(|packet| {
        let mut bytes = Vec::new();
        encode(&packet, V5, &mut bytes).unwrap();
        bytes
    });
    let bytes = prop_oneof![4 => encoded, 1 => subscribe, 1 => prop::collection::vec(any::<u8>(), 0..40)];
    (bytes, prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()))).prop_map(|(mut bytes, change)| {
        if let Some((at, byte)) = change
            && !bytes.is_empty()
        {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn bytes_before_connect_harm_nobody(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bench = Bench::new();
        let innocent = Innocent::join(&mut bench);
        let conn = bench.open(Trust::Local);
        bench.bytes(conn, &bytes);
        innocent.works(&mut bench);
        bench.seconds(4);
        bench.drop_socket(conn);
        innocent.works(&mut bench);
    }

    #[test]
    fn bent_packets_harm_nobody(
        version in prop_oneof![Just(V31), Just(V311), Just(V5)],
        packets in prop::collection::vec(bent(), 0..30),
        drop_at in prop::option::of(0usize..30),
    ) {
        let mut bench = Bench::new();
        let innocent = Innocent::join(&mut bench);
        let mut conn = hostile(&mut bench, version);
        for (index, bytes) in packets.iter().enumerate() {
            if drop_at == Some(index) {
                bench.drop_socket(conn);
                conn = hostile(&mut bench, version);
            }
            bench.bytes(conn, bytes);
            innocent.works(&mut bench);
        }
        bench.seconds(10);
        bench.drop_socket(conn);
        innocent.works(&mut bench);
    }
}

#[test]
fn ten_thousand_client_ids_leave_nothing_behind() {
    let mut bench = Bench::new();
    for number in 0..10_000 {
        let conn = bench.client(V311, &number.to_string());
        bench.leave(conn);
    }
    assert_eq!(bench.broker.connection_count(), 0);
    assert_eq!(bench.broker.next_deadline(), None);
    Innocent::join(&mut bench).works(&mut bench);
}

#[test]
fn subscribers_that_come_and_go_on_a_flooded_topic_harm_nobody() {
    let mut bench = Bench::new();
    let from = bench.client(V311, "flood");
    let innocent = Innocent::join(&mut bench);
    for number in 0..500u16 {
        let conn = bench.client(V5, "short");
        bench.subscribe(conn, "t/#", Q1);
        for _ in 0..5 {
            bench.publish(from, message("t/1", "x", Q1, 1 + number));
        }
        bench.leave(conn);
    }
    bench.hear(from);
    innocent.works(&mut bench);
    assert_eq!(bench.broker.memory_bytes(), 0);
}
