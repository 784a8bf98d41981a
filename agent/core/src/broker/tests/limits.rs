//! Full queues: who waits, who loses, and who must not.

use super::bench::*;
use crate::broker::Settings;
use crate::mqtt::packet::{Packet, Reason, SubscribeOptions};
use crate::topology::model::WhenFull;

fn small(when_full: WhenFull) -> Settings {
    let mut settings = settings();
    settings.limits.queue_len_max = 4;
    settings.limits.inflight_max = 2;
    settings.when_full = when_full;
    settings
}

#[test]
fn an_online_subscriber_that_acknowledges_misses_nothing_however_small_its_queue() {
    for when_full in [WhenFull::DropOldest, WhenFull::DropNewest, WhenFull::Block] {
        let mut bench = Bench::with(small(when_full));
        let (from, to) = (bench.client(V311, "p"), bench.client(V311, "s"));
        bench.subscribe(to, "t", Q1);
        let mut bytes = Vec::new();
        for number in 0..200 {
            let text = number.to_string();
            let packet = Packet::Publish(message("t", &text, Q1, 1 + number));
            crate::mqtt::encode(&packet, V311, &mut bytes).unwrap();
        }
        bench.bytes(from, &bytes);
        assert!(bench.hear(from).len() < 20, "a publisher that is too fast is held up");
        let got = bench.take_all(to);
        let expected: Vec<String> = (0..200).map(|number| number.to_string()).collect();
        assert_eq!(got, expected, "{when_full:?}");
        assert!(!bench.paused.contains(&from));
        let last = bench.hear(from).pop();
        assert_eq!(last, Some(Heard::PubAck(200, Reason::SUCCESS)), "every one is acknowledged");
    }
}

#[test]
fn a_subscriber_that_stands_still_holds_up_its_publisher_for_a_second_at_most() {
    for when_full in [WhenFull::DropOldest, WhenFull::DropNewest] {
        let mut bench = Bench::with(small(when_full));
        let (from, stuck, well) = (bench.client(V311, "p"), bench.client(V311, "s"), bench.client(V311, "w"));
        bench.subscribe(stuck, "t", Q1);
        bench.subscribe(well, "t", Q1);
        for number in 1..=20 {
            bench.publish(from, message("t", &number.to_string(), Q1, number));
            bench.take_all(well);
        }
        assert!(bench.hear(from).len() < 20, "it is held up");
        bench.seconds(2);
        assert_eq!(bench.hear(from).last(), Some(&Heard::PubAck(20, Reason::SUCCESS)));
        let mut got = bench.take_all(well);
        for number in 21..=40 {
            bench.publish(from, message("t", &number.to_string(), Q1, number));
            got.extend(bench.take_all(well));
            assert_eq!(bench.next(from), Heard::PubAck(number, Reason::SUCCESS), "once is enough");
        }
        assert_eq!(got.last().map(String::as_str), Some("40"));
        assert!(bench.broker.counters().dropped_full > 0);
    }
}

#[test]
fn qos_0_to_a_full_queue_is_dropped_and_counted() {
    let mut bench = Bench::with(small(WhenFull::DropOldest));
    let (from, to) = (bench.client(V311, "p"), bench.client(V311, "s"));
    bench.subscribe(to, "t", Q0);
    for number in 0..10 {
        bench.publish(from, message("t", &number.to_string(), Q0, 0));
    }
    assert!(!bench.paused.contains(&from));
    assert_eq!(bench.payloads(to), ["0", "1", "2", "3"]);
    assert_eq!(bench.broker.counters().dropped_qos0, 6);
}

fn offline(when_full: WhenFull) -> (Bench, crate::broker::ConnId) {
    let mut bench = Bench::with(small(when_full));
    let to = bench.connect(durable(V311, "s"));
    bench.subscribe(to, "t", Q1);
    bench.drop_socket(to);
    let from = bench.client(V5, "p");
    for number in 1..=6 {
        bench.publish(from, message("t", &number.to_string(), Q1, number));
    }
    (bench, from)
}

fn kept(bench: &mut Bench) -> Vec<String> {
    let again = bench.connect_with_backlog(durable(V311, "s"));
    bench.take_all(again)
}

#[test]
fn drop_oldest_keeps_what_came_last_for_who_is_away() {
    let (mut bench, from) = offline(WhenFull::DropOldest);
    assert_eq!(bench.hear(from).len(), 6);
    assert_eq!(kept(&mut bench), ["3", "4", "5", "6"]);
    assert_eq!(bench.broker.counters().dropped_full, 2);
}

#[test]
fn drop_newest_keeps_what_came_first_for_who_is_away() {
    let (mut bench, from) = offline(WhenFull::DropNewest);
    assert_eq!(bench.hear(from).len(), 6);
    assert_eq!(kept(&mut bench), ["1", "2", "3", "4"]);
    assert_eq!(bench.broker.counters().dropped_full, 2);
}

#[test]
fn block_tells_version_5_that_the_quota_is_full() {
    let (mut bench, from) = offline(WhenFull::Block);
    assert_eq!(
        bench.hear(from)[4..],
        [Heard::PubAck(5, Reason::QUOTA_EXCEEDED), Heard::PubAck(6, Reason::QUOTA_EXCEEDED)]
    );
    assert_eq!(kept(&mut bench), ["1", "2", "3", "4"]);
}

#[test]
fn block_withholds_the_acknowledgement_from_3_1_1_until_there_is_room() {
    let (mut bench, _) = offline(WhenFull::Block);
    let (from, other) = (bench.client(V311, "old"), bench.client(V311, "other"));
    bench.publish(from, message("t", "7", Q1, 1));
    bench.silent(from);
    bench.publish(other, message("elsewhere", "x", Q1, 1));
    assert_eq!(bench.next(other), Heard::PubAck(1, Reason::SUCCESS), "it alone waits");
    assert_eq!(kept(&mut bench), ["1", "2", "3", "4", "7"]);
    assert_eq!(bench.next(from), Heard::PubAck(1, Reason::SUCCESS));
}

#[test]
fn a_subscriber_that_talks_but_acknowledges_nothing_holds_up_its_publisher_for_a_second_at_most() {
    for comes_back in [false, true] {
        let mut bench = Bench::with(small(WhenFull::DropOldest));
        let (from, mut to) = (bench.client(V311, "p"), bench.connect(durable(V311, "s")));
        bench.subscribe(to, "t", Q1);
        for number in 1..=20 {
            bench.publish(from, message("t", &number.to_string(), Q1, number));
        }
        bench.hear(to);
        for _ in 0..4 {
            bench.wait(std::time::Duration::from_millis(500));
            if comes_back {
                to = bench.greet(durable(V311, "s"));
            } else {
                bench.send(to, &Packet::PingReq);
                bench.send(to, &Packet::PubAck(ack(77)));
                bench.send(to, &Packet::PubRec(ack(77)));
                bench.subscribe_with(to, "else", SubscribeOptions::default(), None);
            }
            bench.hear(to);
        }
        assert_eq!(bench.hear(from).last(), Some(&Heard::PubAck(20, Reason::SUCCESS)), "comes back: {comes_back}");
    }
}

#[test]
fn new_settings_set_free_whom_they_no_longer_hold_up() {
    let (mut bench, _) = offline(WhenFull::Block);
    let from = bench.client(V311, "old");
    bench.publish(from, message("t", "7", Q1, 1));
    bench.silent(from);
    bench.broker.handle_settings(small(WhenFull::DropNewest), bench.now);
    bench.drain();
    assert_eq!(bench.next(from), Heard::PubAck(1, Reason::SUCCESS));
}

#[test]
fn who_has_lost_the_right_to_a_topic_holds_up_nobody_who_publishes_there() {
    let mut bench = Bench::with(small(WhenFull::Block));
    let (from, to) = (bench.client(V311, "p"), bench.connect(durable(V5, "s")));
    bench.subscribe(to, "#", Q1);
    let mut narrow = small(WhenFull::Block);
    narrow.local.rights.subscribe = only(&["in/#"]);
    bench.broker.handle_settings(narrow, bench.now);
    bench.drain();
    for number in 1..=20 {
        bench.publish(from, message("secret", "x", Q1, number));
        assert_eq!(bench.next(from), Heard::PubAck(number, Reason::SUCCESS));
    }
    bench.silent(to);
    assert_eq!(bench.broker.counters().dropped_rights, 20);
}

#[test]
fn two_clients_that_feed_each_other_do_not_lock_each_other_up() {
    let mut bench = Bench::with(small(WhenFull::DropOldest));
    let (one, two) = (bench.client(V311, "1"), bench.client(V311, "2"));
    bench.subscribe(one, "to/1", Q1);
    bench.subscribe(two, "to/2", Q1);
    for number in 1..=40 {
        bench.publish(one, message("to/2", &number.to_string(), Q1, number));
        bench.publish(two, message("to/1", &number.to_string(), Q1, number));
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        first.extend(bench.take_all(one));
        second.extend(bench.take_all(two));
    }
    let expected: Vec<String> = (1..=40).map(|number| number.to_string()).collect();
    assert_eq!(first, expected);
    assert_eq!(second, expected);
    assert_eq!(bench.broker.counters().dropped_full, 0);
}

#[test]
fn a_client_that_feeds_itself_misses_nothing() {
    let mut bench = Bench::with(small(WhenFull::DropOldest));
    let conn = bench.client(V311, "1");
    bench.subscribe(conn, "t", Q1);
    for number in 1..=40 {
        bench.publish(conn, message("t", &number.to_string(), Q1, number));
    }
    let expected: Vec<String> = (1..=40).map(|number| number.to_string()).collect();
    assert_eq!(bench.take_all(conn), expected);
    assert_eq!(bench.broker.counters().dropped_full, 0);
}

#[test]
fn the_memory_of_all_messages_is_bounded() {
    let mut settings = settings();
    settings.limits.memory_bytes_max = 10_000;
    let mut bench = Bench::with(settings);
    let from = bench.client(V5, "p");
    for client in 0..10 {
        let conn = bench.connect(durable(V5, &format!("s{client}")));
        bench.subscribe(conn, &format!("t/{client}"), Q1);
        bench.drop_socket(conn);
    }
    for number in 0..500u16 {
        bench.publish(from, message(&format!("t/{}", number % 10), &"x".repeat(100), Q1, 1));
        bench.hear(from);
        assert!(bench.broker.memory_bytes() < 11_000, "{}", bench.broker.memory_bytes());
    }
}

#[test]
fn block_acknowledges_nothing_that_memory_has_no_room_for() {
    let mut settings = settings();
    settings.limits.memory_bytes_max = 10_000;
    settings.when_full = WhenFull::Block;
    let mut bench = Bench::with(settings);
    let to = bench.connect(durable(V311, "s"));
    bench.subscribe(to, "t", Q1);
    bench.drop_socket(to);
    let from = bench.client(V5, "p");
    let mut acknowledged = 0;
    for _ in 0..30 {
        bench.publish(from, message("t", &"x".repeat(1_000), Q1, 1));
        acknowledged += usize::from(bench.next(from) == Heard::PubAck(1, Reason::SUCCESS));
    }
    let again = bench.connect_with_backlog(durable(V311, "s"));
    assert_eq!(bench.take_all(again).len(), acknowledged);
    assert_eq!(bench.broker.counters().dropped_full, 0);
}

#[test]
fn retained_messages_over_the_limit_are_not_kept_and_counted() {
    let mut bench = Bench::limited(|limits| limits.retained_len_max = 2);
    let from = bench.client(V5, "p");
    for topic in ["a", "b", "c", "a"] {
        bench.publish(from, crate::mqtt::packet::Publish { retain: true, ..message(topic, "x", Q0, 0) });
    }
    assert_eq!(bench.broker.counters().refused_retained, 1);
}

#[test]
fn sessions_are_bounded_too() {
    let mut bench = Bench::limited(|limits| limits.connections_max = 2);
    for number in 0..20 {
        let conn = bench.connect(durable(V5, &number.to_string()));
        bench.leave(conn);
    }
    let conn = bench.greet(durable(V5, "one more"));
    assert_eq!(bench.next(conn), Heard::ConnAck { present: false, reason: Reason::QUOTA_EXCEEDED });
    bench.connect(durable(V5, "7"));
}

#[test]
fn a_client_that_reads_no_answers_is_not_read_for_ever() {
    let mut bench = Bench::new();
    let conn = bench.client(V311, "a");
    for _ in 0..1_000_000 {
        if bench.paused.contains(&conn) {
            break;
        }
        bench.send(conn, &Packet::PingReq);
    }
    assert!(bench.paused.contains(&conn));
    bench.hear(conn);
    assert!(!bench.paused.contains(&conn));
    bench.send(conn, &Packet::PingReq);
    assert_eq!(bench.next(conn), Heard::PingResp);
}

#[test]
fn a_connection_id_of_the_past_is_passed_over() {
    let mut bench = Bench::new();
    let conn = bench.client(V311, "a");
    bench.drop_socket(conn);
    bench.bytes(conn, &[0xc0, 0]);
    bench.drop_socket(conn);
    bench.silent(conn);
}

#[test]
fn a_publisher_that_floods_a_full_queue_is_read_no_more() {
    let mut bench = Bench::with(small(WhenFull::DropOldest));
    let (from, to) = (bench.client(V311, "p"), bench.client(V311, "s"));
    bench.subscribe(to, "t", Q1);
    let text = "x".repeat(1_000);
    for number in 1..=100 {
        bench.publish(from, message("t", &text, Q1, number));
    }
    assert!(bench.paused.contains(&from));
    assert_eq!(bench.take_all(to).len(), 100);
    assert!(!bench.paused.contains(&from));
}
