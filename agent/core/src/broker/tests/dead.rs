//! Messages that a durable subscriber cannot take.

use super::bench::*;
use crate::broker::{ConnId, RequeueError};
use crate::mqtt::packet::{Ack, Packet, Reason};

/// A durable subscriber with three messages that wait for it.
fn with_backlog() -> Bench {
    let mut bench = Bench::new();
    let conn = bench.connect(durable(V5, "s"));
    bench.subscribe(conn, "t", Q2);
    bench.leave(conn);
    let from = bench.client(V5, "p");
    for (number, qos) in [(1, Q1), (2, Q2), (3, Q1)] {
        bench.publish(from, message("t", &number.to_string(), qos, number));
    }
    bench
}

fn come_back(bench: &mut Bench) -> ConnId {
    bench.connect_with_backlog(durable(V5, "s"))
}

fn dead(bench: &Bench) -> Vec<(String, u32, Option<Reason>)> {
    let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
    bench.broker.dead().map(|(_, dead)| (text(&dead.message.payload), dead.times, dead.refused)).collect()
}

#[test]
fn a_message_that_ends_twenty_connections_is_set_aside_and_the_others_go_on() {
    let mut bench = with_backlog();
    for times in 1..=20 {
        let conn = come_back(&mut bench);
        let heard = bench.payloads(conn);
        let alone = ["1"];
        assert_eq!(heard, if times <= 3 { &["1", "2", "3"][..] } else { &alone[..] }, "the {times}th time");
        bench.drop_socket(conn);
    }
    assert_eq!(dead(&bench), [("1".to_owned(), 20, None)]);
    assert_eq!(bench.broker.counters().dead_letters, 1);
    let conn = come_back(&mut bench);
    assert_eq!(bench.take_all(conn), ["2", "3"]);
    let number = bench.broker.dead().next().unwrap().0;
    assert_eq!(bench.broker.handle_requeue(number, bench.now), Ok(()));
    bench.drain();
    assert_eq!(bench.take_all(conn), ["1"]);
    assert_eq!(bench.broker.handle_requeue(number, bench.now), Err(RequeueError::Unknown));
    assert!(!bench.broker.handle_drop_dead(number, bench.now) && dead(&bench).is_empty());
}

#[test]
fn a_client_out_of_reach_or_one_that_takes_leave_condemns_nothing() {
    let mut bench = with_backlog();
    for _ in 0..30 {
        // It goes silent,
        let conn = bench.greet(crate::mqtt::packet::Connect { keep_alive_s: 1, ..durable(V5, "s") });
        bench.hear(conn);
        bench.seconds(2);
        assert!(bench.closed.contains(&conn));
        bench.drop_socket(conn);
        // comes again before its old connection is known to be gone,
        let before = come_back(&mut bench);
        bench.hear(before);
        let conn = come_back(&mut bench);
        bench.drop_socket(before);
        bench.hear(conn);
        // and says good-bye.
        bench.leave(conn);
    }
    assert!(dead(&bench).is_empty());
    let conn = come_back(&mut bench);
    assert_eq!(bench.take_all(conn), ["1", "2", "3"]);
}

#[test]
fn one_acknowledgement_in_twenty_connections_is_enough() {
    let mut bench = with_backlog();
    for number in 1..=3 {
        for _ in 0..19 {
            let conn = come_back(&mut bench);
            bench.hear(conn);
            bench.drop_socket(conn);
        }
        let conn = come_back(&mut bench);
        let first = bench.hear(conn).remove(0);
        let Heard::Publish(first) = first else { panic!("{first:?}") };
        assert_eq!(first.payload, number.to_string().as_bytes());
        let packet = if first.qos == Q1 { Packet::PubAck } else { Packet::PubRec };
        bench.send(conn, &packet(ack(first.id)));
        bench.hear(conn);
        if first.qos == Q2 {
            bench.send(conn, &Packet::PubComp(ack(first.id)));
        }
        bench.leave(conn);
    }
    assert!(dead(&bench).is_empty());
}

#[test]
fn a_message_that_is_refused_is_set_aside_at_once_and_only_of_a_durable_session() {
    for connect in [durable(V5, "s"), hello(V5, "s")] {
        let kept = !connect.clean_start;
        let mut bench = Bench::new();
        let conn = bench.connect(connect);
        bench.subscribe(conn, "t", Q2);
        let from = bench.client(V5, "p");
        for (id, qos) in [(1, Q1), (2, Q2)] {
            bench.publish(from, message("t", "x", qos, id));
        }
        bench.hear(conn);
        let no = |id| Ack { reason: Reason::QUOTA_EXCEEDED, ..ack(id) };
        bench.send(conn, &Packet::PubAck(no(1)));
        bench.send(conn, &Packet::PubRec(no(2)));
        let letter = ("x".to_owned(), 1, Some(Reason::QUOTA_EXCEEDED));
        assert_eq!(dead(&bench), if kept { vec![letter.clone(), letter] } else { vec![] });
        bench.drop_socket(conn);
        if kept {
            let conn = come_back(&mut bench);
            bench.silent(conn);
        }
    }
}

#[test]
fn dead_letters_have_a_limit_and_the_oldest_go() {
    let mut bench = Bench::new();
    let conn = bench.connect(durable(V5, "s"));
    bench.subscribe(conn, "t", Q1);
    let from = bench.client(V5, "p");
    for number in 0..1_003u32 {
        bench.publish(from, message("t", &number.to_string(), Q1, 1));
        bench.hear(from);
        let id = bench.message(conn).id;
        bench.send(conn, &Packet::PubAck(Ack { reason: Reason::UNSPECIFIED, ..ack(id) }));
    }
    assert_eq!((dead(&bench).len(), dead(&bench)[0].0.as_str()), (1_000, "3"));
    assert_eq!(bench.broker.counters().dropped_dead, 3);
}
