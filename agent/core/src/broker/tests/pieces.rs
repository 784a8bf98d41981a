//! Packets that go out in pieces are whole on the other side, whatever happens between the pieces.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::bench::*;
use crate::broker::ConnId;
use crate::mqtt::packet::{Connect, Packet, PacketId, Publish, QoS, Reason, SubscribeOptions, Version};
use crate::mqtt::props::{CONTENT_TYPE, Prop, PropsBuf};

const MIB: usize = 1 << 20;

fn patient() -> Bench {
    Bench::limited(|limits| limits.packet_bytes_max = 4 << 20)
}

/// One call, as the shell makes it when it was asked to.
fn piece(bench: &mut Bench, conn: ConnId, room: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    if bench.asked.remove(&conn) {
        bench.broker.poll_transmit(conn, &mut bytes, room, bench.now);
        bench.drain();
    }
    bytes
}

/// All that there is, and the greatest piece of it.
fn pieces(bench: &mut Bench, conn: ConnId, room: usize) -> (Vec<u8>, usize) {
    let (mut all, mut most) = (Vec::new(), 0);
    while bench.asked.contains(&conn) {
        let bytes = piece(bench, conn, room);
        most = most.max(bytes.len());
        all.extend(bytes);
    }
    (all, most)
}

/// A subscriber that was sent messages with all that a PUBLISH can have, and has taken none of them.
fn rich(version: Version, qos: QoS) -> (Bench, ConnId) {
    let mut bench = patient();
    let from = bench.client(V5, "a");
    let to = bench.connect(Connect { topic_alias_max: 1, ..hello(version, "b") });
    bench.subscribe_with(to, "t/#", SubscribeOptions { qos, ..SubscribeOptions::default() }, Some(300));
    bench.next(to);
    let mut props = PropsBuf::default();
    props.push(Prop::Text(CONTENT_TYPE, "text/plain"));
    props.push(Prop::Pair("key", &"v".repeat(5_000)));
    for (number, size) in (1..).zip([0, 1, 2_000, 30_000, 3]) {
        let text: String = ('a'..='z').cycle().take(size).collect();
        let publish = Publish { expiry_s: Some(60), props: props.as_props(), ..message("t/x", &text, qos, number) };
        let id = publish.id.filter(|_| qos != Q0);
        bench.publish(from, Publish { id, ..publish });
    }
    (bench, to)
}

#[test]
fn pieces_of_every_size_are_the_bytes_of_one_large_one() {
    for (version, qos) in [(V311, Q0), (V5, Q0), (V5, Q1), (V311, Q2)] {
        let (mut bench, to) = rich(version, qos);
        let want = piece(&mut bench, to, usize::MAX);
        assert!(want.len() > 32_000 && !bench.asked.contains(&to));
        let counted = *bench.broker.counters();
        for room in [1, 2, 3, 7, 64, 499, 5_000, 5_100, 16_384, 65_536] {
            let (mut bench, to) = rich(version, qos);
            let (all, most) = pieces(&mut bench, to, room);
            assert_eq!(all, want, "{version:?} {qos:?}, {room} at a time");
            assert!(most < room + 40, "{most} bytes for a room of {room}");
            assert_eq!(*bench.broker.counters(), counted);
        }
    }
}

#[test]
fn many_who_do_not_read_a_large_message_hold_one_copy_of_it() {
    let mut bench = patient();
    let from = bench.client(V5, "a");
    let deaf: Vec<ConnId> = (0..128).map(|number| bench.client(V311, &number.to_string())).collect();
    deaf.iter().for_each(|conn| bench.subscribe(*conn, "t", Q0));
    bench.publish(from, message("t", &"x".repeat(MIB), Q0, 0));
    let mut taken: Vec<Vec<u8>> = deaf.iter().map(|conn| piece(&mut bench, *conn, 64 << 10)).collect();
    assert!(taken.iter().all(|bytes| bytes.len() < 65 << 10));
    let memory = usize::try_from(bench.broker.memory_bytes()).unwrap();
    assert!((MIB..MIB + (64 << 10)).contains(&memory), "{memory}");
    for (conn, taken) in deaf.iter().zip(&mut taken) {
        taken.extend(pieces(&mut bench, *conn, 64 << 10).0);
        let heard = bench.read(*conn, taken);
        assert!(matches!(&heard[..], [Heard::Publish(message)] if message.payload == vec![b'x'; MIB]));
    }
    assert_eq!(bench.broker.memory_bytes(), 0);
}

#[test]
fn properties_go_out_in_pieces_too() {
    let mut bench = patient();
    let (from, to) = (bench.client(V5, "a"), bench.client(V5, "b"));
    bench.subscribe(to, "t", Q0);
    let (mut props, value) = (PropsBuf::default(), "v".repeat(60_000));
    (0..10).for_each(|_| props.push(Prop::Pair("key", &value)));
    bench.publish(from, Publish { props: props.as_props(), ..message("t", "x", Q0, 0) });
    let (all, most) = pieces(&mut bench, to, 1_000);
    assert!(most < 1_100, "{most}");
    assert!(matches!(&bench.read(to, &all)[..], [Heard::Publish(message)] if message.props.len() == 10));
}

#[test]
fn answers_wait_for_the_end_of_a_packet_and_are_read_no_further_meanwhile() {
    let mut bench = patient();
    let (from, to) = (bench.client(V5, "a"), bench.client(V5, "b"));
    bench.subscribe(to, "t", Q0);
    bench.publish(from, message("t", &"x".repeat(10_000), Q0, 0));
    let mut all = piece(&mut bench, to, 4_000);
    let pings: Vec<u8> = [0xc0, 0].repeat(40_000);
    bench.bytes(to, &pings);
    assert!(bench.paused.contains(&to));
    all.extend(piece(&mut bench, to, 4_000));
    assert!(bench.paused.contains(&to) && all.len() < 8_100);
    all.extend(pieces(&mut bench, to, 4_000).0);
    assert!(!bench.paused.contains(&to));
    let heard = bench.read(to, &all);
    assert!(matches!(&heard[0], Heard::Publish(message) if message.payload.len() == 10_000));
    assert_eq!(heard[1..], vec![Heard::PingResp; 40_000]);
}

#[test]
fn a_session_that_is_taken_over_in_the_middle_of_a_packet_gets_it_whole_twice() {
    let mut bench = patient();
    let from = bench.client(V5, "a");
    let before = bench.connect(durable(V5, "b"));
    bench.subscribe(before, "t", Q1);
    bench.publish(from, message("t", &"x".repeat(10_000), Q1, 1));
    let mut all = piece(&mut bench, before, 4_000);
    let after = bench.connect_with_backlog(durable(V5, "b"));
    let (again, _) = pieces(&mut bench, after, 3_000);
    all.extend(pieces(&mut bench, before, 4_000).0);
    let heard = bench.read(before, &all);
    let Heard::Publish(first) = &heard[0] else { panic!("{heard:?}") };
    assert_eq!(heard[1..], [Heard::Disconnect(Reason::SESSION_TAKEN_OVER)]);
    let second = Message { dup: true, ..first.clone() };
    assert_eq!(bench.read(after, &again), [Heard::Publish(second)]);
}

#[test]
fn who_takes_a_large_message_piece_by_piece_does_not_stand_still() {
    let mut bench = Bench::limited(|limits| limits.queue_len_max = 1);
    let (from, to) = (bench.client(V311, "a"), bench.client(V311, "b"));
    bench.subscribe(to, "t", Q1);
    bench.publish(from, message("t", &"x".repeat(10_000), Q1, 1));
    let mut all = piece(&mut bench, to, 1_000);
    (2..6).for_each(|number| bench.publish(from, message("t", "small", Q1, number)));
    for _ in 0..9 {
        bench.wait(std::time::Duration::from_millis(900));
        all.extend(piece(&mut bench, to, 1_000));
    }
    all.extend(pieces(&mut bench, to, 1_000).0);
    assert_eq!((bench.read(to, &all).len(), bench.broker.counters().dropped_full), (5, 0));
}

#[test]
fn a_packet_whose_connection_ends_is_let_go() {
    let mut bench = patient();
    let (from, to) = (bench.client(V5, "a"), bench.client(V5, "b"));
    bench.subscribe(to, "t", Q0);
    bench.publish(from, message("t", &"x".repeat(10_000), Q0, 0));
    piece(&mut bench, to, 4_000);
    assert!(bench.broker.memory_bytes() > 10_000);
    bench.drop_socket(to);
    assert_eq!(bench.broker.memory_bytes(), 0);
}

#[test]
fn a_stop_in_the_middle_of_a_packet_lets_it_end_and_gives_what_waits_behind_it() {
    for large_first in [true, false] {
        let mut bench = patient();
        let (from, to) = (bench.client(V5, "a"), bench.client(V5, "b"));
        bench.subscribe(to, "t", Q0);
        let sizes = if large_first { [MIB, 10, 20, MIB, 30] } else { [10, MIB, 20, 30, 40] };
        sizes.iter().for_each(|size| bench.publish(from, message("t", &"x".repeat(*size), Q0, 0)));
        let mut all = if large_first { piece(&mut bench, to, 4_000) } else { Vec::new() };
        bench.broker.handle_stop(bench.now);
        bench.drain();
        let control = bench.broker.conns.get(to.0).unwrap().control.len();
        assert!(control < 257 << 10, "{control} bytes are copied");
        all.extend(pieces(&mut bench, to, 5_000).0);
        let heard = bench.read(to, &all);
        let (last, messages) = heard.split_last().unwrap();
        assert_eq!(*last, Heard::Disconnect(Reason::SERVER_SHUTTING_DOWN));
        let size = |heard: &Heard| if let Heard::Publish(message) = heard { message.payload.len() } else { 0 };
        let got: Vec<usize> = messages.iter().map(size).collect();
        // What is behind the last word's own limit nobody waits for.
        assert_eq!(got, if large_first { &sizes[..4] } else { &sizes[..2] });
    }
}

/// What may happen between two pieces.
#[derive(Clone, Debug)]
enum Op {
    Take { room: usize },
    Publish { size: usize, qos: QoS },
    Ping,
    Answer,
    Subscribe,
    Return { clean: bool },
    ShutOut,
    Stop,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let qos = prop_oneof![Just(Q0), Just(Q1), Just(Q2)];
    let op = prop_oneof![
        8 => (1usize..400).prop_map(|room| Op::Take { room }),
        4 => (0usize..2_000, qos).prop_map(|(size, qos)| Op::Publish { size, qos }),
        2 => Just(Op::Ping),
        3 => Just(Op::Answer),
        1 => Just(Op::Subscribe),
        1 => any::<bool>().prop_map(|clean| Op::Return { clean }),
    ];
    let last = prop_oneof![Just(Op::ShutOut), Just(Op::Stop), Just(Op::Ping)];
    (prop::collection::vec(op, 1..60), last).prop_map(|(mut ops, last)| {
        ops.push(last);
        ops
    })
}

/// The text of a message says which it is, in every place.
fn text(number: usize, size: usize) -> String {
    format!("{number:04}").chars().cycle().take(4 + size).collect()
}

/// A client with what came to it by each of its connections.
struct Play {
    bench: Bench,
    from: ConnId,
    to: ConnId,
    came: BTreeMap<ConnId, Vec<u8>>,
    pings: BTreeMap<ConnId, usize>,
    sizes: Vec<usize>,
    /// How many of the packets of this connection were answered.
    answered: usize,
}

impl Play {
    fn new() -> Self {
        let mut bench = patient();
        let from = bench.client(V5, "a");
        let to = bench.connect(durable(V5, "b"));
        bench.subscribe(to, "t/#", Q2);
        let retained = |topic| Publish { retain: true, ..message(topic, "0000", Q1, 1) };
        ["r/1", "r/2"].into_iter().for_each(|topic| bench.publish(from, retained(topic)));
        bench.hear(from);
        let came = BTreeMap::from([(to, Vec::new())]);
        Self { bench, from, to, came, pings: BTreeMap::new(), sizes: vec![0], answered: 0 }
    }

    fn take(&mut self, conn: ConnId, room: usize) {
        let bytes = piece(&mut self.bench, conn, room);
        self.came.entry(conn).or_default().extend(bytes);
    }

    fn take_all(&mut self, room: usize) {
        for conn in self.came.keys().copied().collect::<Vec<_>>() {
            while self.bench.asked.contains(&conn) {
                self.take(conn, room);
            }
        }
    }

    /// The packets that have come whole by the connection of now.
    fn heard(&mut self) -> Vec<Heard> {
        let bytes = &self.came[&self.to];
        let mut whole = 0;
        while let Some(length) = bytes.get(whole..).and_then(crate::mqtt::length_of)
            && whole + length <= bytes.len()
        {
            whole += length;
        }
        let bytes = bytes[..whole].to_vec();
        self.bench.read(self.to, &bytes)
    }

    fn act(&mut self, op: &Op) {
        match *op {
            Op::Take { room } => {
                self.came.keys().copied().collect::<Vec<_>>().into_iter().for_each(|conn| self.take(conn, room))
            }
            Op::Publish { size, qos } => {
                let (number, id) = (self.sizes.len(), u16::try_from(self.sizes.len()).unwrap());
                self.sizes.push(size);
                let text = text(number, size);
                let id = PacketId(std::num::NonZeroU16::new(id).unwrap());
                let publish = Publish { id: Some(id).filter(|_| qos != Q0), ..message("t/x", &text, qos, 0) };
                self.bench.publish(self.from, publish);
                for heard in self.bench.hear(self.from) {
                    if let Heard::PubRec(id, _) = heard {
                        self.bench.send(self.from, &Packet::PubRel(ack(id)));
                    }
                }
            }
            Op::Ping => {
                self.bench.send(self.to, &Packet::PingReq);
                *self.pings.entry(self.to).or_default() += 1;
            }
            Op::Answer => {
                let heard = self.heard();
                for packet in &heard[self.answered.min(heard.len())..] {
                    let answer = match packet {
                        Heard::Publish(message) if message.qos == Q1 => Packet::PubAck(ack(message.id)),
                        Heard::Publish(message) if message.qos == Q2 => Packet::PubRec(ack(message.id)),
                        Heard::PubRel(id, _) => Packet::PubComp(ack(*id)),
                        Heard::ConnAck { .. } | Heard::SubAck(..) | Heard::UnsubAck(..) | Heard::PingResp => continue,
                        Heard::PubAck(..) | Heard::PubRec(..) | Heard::PubComp(..) | Heard::Publish(_) => continue,
                        Heard::Disconnect(_) | Heard::Other(_) => continue,
                    };
                    self.bench.send(self.to, &answer);
                }
                self.answered = heard.len();
            }
            Op::Subscribe => {
                let options = SubscribeOptions { qos: Q1, ..SubscribeOptions::default() };
                self.bench.subscribe_with(self.to, "r/#", options, Some(7));
            }
            Op::Return { clean } => {
                self.to = self.bench.greet(Connect { clean_start: clean, ..durable(V5, "b") });
                self.came.insert(self.to, Vec::new());
                self.answered = 0;
                if clean {
                    self.bench.subscribe_with(self.to, "t/#", SubscribeOptions { qos: Q2, ..Default::default() }, None);
                }
            }
            Op::ShutOut => {
                self.bench.broker.handle_shut_out([self.to], self.bench.now);
                self.bench.drain();
            }
            Op::Stop => {
                self.bench.broker.handle_stop(self.bench.now);
                self.bench.drain();
            }
        }
    }

    /// Every connection gets whole packets, each text as it was published, each answer, and nothing after a last word.
    fn check(&mut self) -> Result<(), TestCaseError> {
        for (conn, bytes) in self.came.clone() {
            let heard = self.bench.read(conn, &bytes);
            let mut seen = BTreeSet::new();
            for message in heard.iter().filter_map(|heard| if let Heard::Publish(it) = heard { Some(it) } else { None })
            {
                let number: usize = String::from_utf8_lossy(&message.payload[..4]).parse().unwrap_or(usize::MAX);
                let size = self.sizes.get(number).copied();
                let size = size.ok_or_else(|| TestCaseError::fail(format!("no such message: {message:?}")))?;
                prop_assert!(message.payload == text(number, size).into_bytes(), "{} was torn", number);
                prop_assert!(number == 0 || seen.insert(number), "{} came twice", number);
            }
            let pings = heard.iter().filter(|heard| **heard == Heard::PingResp).count();
            prop_assert_eq!(pings, self.pings.get(&conn).copied().unwrap_or(0));
            let last_word = heard.iter().position(|heard| matches!(heard, Heard::Disconnect(_)));
            let ended = self.bench.closed.contains(&conn);
            prop_assert_eq!(last_word, if ended { Some(heard.len() - 1) } else { None });
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_happens_between_the_pieces_every_packet_is_whole(ops in ops(), room in 1usize..300) {
        let mut play = Play::new();
        ops.iter().for_each(|op| play.act(op));
        play.take_all(room);
        play.check()?;
    }
}
