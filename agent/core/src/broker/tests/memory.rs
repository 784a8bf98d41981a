//! What the broker remembers has an end, and who uses it up pays for it.

use super::bench::*;
use crate::broker::ConnId;
use crate::broker::saved::Write;
use crate::mqtt::encode;
use crate::mqtt::packet::{Connect, Packet, Publish, Reason};
use crate::rights::Rights;
use crate::topology::model::WhenFull;

fn with_memory(bytes: u64) -> Bench {
    Bench::limited(|limits| limits.memory_bytes_max = bytes)
}

fn away(bench: &mut Bench, id: &str, filter: &str) {
    let conn = bench.connect(durable(V5, id));
    bench.subscribe(conn, filter, Q1);
    bench.drop_socket(conn);
}

fn back(bench: &mut Bench, id: &str) -> Vec<String> {
    let conn = bench.connect_with_backlog(durable(V5, id));
    bench.take_all(conn)
}

fn flood(bench: &mut Bench, from: ConnId, topic: &str, count: u16, size: usize) {
    let text = "x".repeat(size);
    for number in 1..=count {
        bench.publish(from, message(topic, &text, Q1, number));
        bench.hear(from);
    }
}

#[test]
fn who_takes_and_never_acknowledges_holds_no_more_than_who_does_not_take() {
    let mut bench = Bench::limited(|limits| limits.queue_bytes_max = 10_000);
    let (from, to) = (bench.client(V5, "p"), bench.client(V5, "s"));
    bench.subscribe(to, "t", Q1);
    let text = "x".repeat(1_000);
    for number in 1..=200 {
        bench.publish(from, message("t", &text, Q1, number));
        bench.hear(from);
        bench.hear(to);
        bench.seconds(1);
    }
    let memory = bench.broker.memory_bytes();
    assert!((10_000..25_000).contains(&memory), "{memory}");
}

#[test]
fn places_where_a_message_waits_count_too() {
    let mut bench = with_memory(100_000);
    for number in 0..100 {
        away(&mut bench, &number.to_string(), "t");
    }
    let from = bench.client(V5, "p");
    flood(&mut bench, from, "t", 1_000, 1);
    assert!(bench.broker.memory_bytes() <= 100_000, "{}", bench.broker.memory_bytes());
    assert!(bench.broker.counters().dropped_full > 0);
}

#[test]
fn what_waits_for_those_who_are_away_takes_nothing_from_those_who_read() {
    let mut bench = with_memory(100_000);
    for number in 0..20 {
        away(&mut bench, &number.to_string(), &format!("t/{number}"));
    }
    let (from, reader) = (bench.client(V5, "p"), bench.client(V5, "r"));
    bench.subscribe(reader, "#", Q0);
    for number in 0..20 {
        flood(&mut bench, from, &format!("t/{number}"), 50, 500);
        assert_eq!(bench.messages(reader).len(), 50);
    }
    assert_eq!(bench.broker.counters().dropped_qos0, 0);
    assert!(bench.broker.memory_bytes() < 100_000);
}

#[test]
fn the_session_that_holds_most_pays_for_all() {
    let mut bench = with_memory(100_000);
    away(&mut bench, "modest", "modest");
    away(&mut bench, "greedy", "greedy");
    let from = bench.client(V5, "p");
    flood(&mut bench, from, "modest", 5, 100);
    flood(&mut bench, from, "greedy", 500, 1_000);
    flood(&mut bench, from, "modest", 5, 100);
    assert_eq!(back(&mut bench, "modest").len(), 10);
    assert!(back(&mut bench, "greedy").len() > 20, "and keeps much of it");
}

#[test]
fn at_the_limit_of_memory_a_publisher_waits_for_those_who_read_and_they_miss_nothing() {
    for when_full in [WhenFull::DropOldest, WhenFull::DropNewest, WhenFull::Block] {
        let mut bench = with_memory(20_000);
        let settings = crate::broker::Settings { when_full, ..settings_with_memory(20_000) };
        bench.broker.handle_settings(settings, bench.now);
        let (from, to) = (bench.client(V5, "p"), bench.client(V5, "s"));
        bench.subscribe(to, "t", Q1);
        let mut bytes = Vec::new();
        let text = "x".repeat(1_000);
        for number in 1..=200 {
            encode(&Packet::Publish(message("t", &text, Q1, number)), V5, &mut bytes).unwrap();
        }
        bench.bytes(from, &bytes);
        assert!(bench.broker.memory_bytes() < 22_000, "{}", bench.broker.memory_bytes());
        assert_eq!(bench.take_all(to).len(), 200, "{when_full:?}");
        let refused = bench.hear(from).iter().any(|heard| !matches!(heard, Heard::PubAck(_, Reason::SUCCESS)));
        assert!(!refused);
    }
}

#[test]
fn whoever_reads_gets_what_is_acknowledged_however_full_the_memory_is() {
    for (when_full, version) in [(WhenFull::DropNewest, V311), (WhenFull::DropNewest, V5), (WhenFull::Block, V311)] {
        let mut bench = with_memory(10_000);
        bench.broker.handle_settings(crate::broker::Settings { when_full, ..settings_with_memory(10_000) }, bench.now);
        let (from, to) = (bench.client(version, "p"), bench.client(V311, "s"));
        bench.subscribe(to, "t", Q1);
        let text = "x".repeat(1_000);
        for number in 1..=12 {
            let topic = number.to_string();
            bench.publish(from, Publish { retain: true, ..message(&topic, &text, Q0, 0) });
        }
        assert!(bench.broker.memory_bytes() > 10_000, "the memory is full");
        for number in 1..=20 {
            bench.publish(from, message("t", &text, Q1, number));
            assert_eq!(bench.take_all(to).len(), 1, "{when_full:?}, {version:?}");
            assert_eq!(bench.next(from), Heard::PubAck(number, Reason::SUCCESS));
        }
    }
}

fn settings_with_memory(bytes: u64) -> crate::broker::Settings {
    let mut settings = settings();
    settings.limits.memory_bytes_max = bytes;
    settings
}

#[test]
fn halves_of_packets_are_not_collected_without_end() {
    let mut bench = Bench::limited(|limits| {
        limits.memory_bytes_max = 400_000;
        limits.packet_bytes_max = 61_000;
    });
    let conns: Vec<ConnId> = (0..20).map(|number| bench.client(V5, &number.to_string())).collect();
    let mut bytes = Vec::new();
    encode(&Packet::Publish(message("t", &"x".repeat(60_000), Q0, 0)), V5, &mut bytes).unwrap();
    for conn in &conns {
        bench.bytes(*conn, &bytes[..50_000]);
    }
    // There is room for four packets.
    assert_eq!(conns.iter().filter(|conn| !bench.closed.contains(conn)).count(), 4);
    let last = conns.iter().find(|conn| bench.closed.contains(conn)).unwrap();
    bench.ended(*last, Reason::QUOTA_EXCEEDED);
    for conn in &conns {
        bench.drop_socket(*conn);
    }
    let (from, to) = (bench.client(V5, "p"), bench.client(V5, "s"));
    bench.subscribe(to, "t", Q0);
    for part in bytes.chunks(1_000) {
        bench.bytes(from, part);
    }
    assert_eq!(bench.messages(to).len(), 1);
}

#[test]
fn mqtt5_3_3_2_3_4_aliases_for_endless_topics_end_the_connection() {
    let mut bench = Bench::new();
    let conn = bench.client(V5, "p");
    for alias in 1..=32 {
        let topic = "t".repeat(60_000);
        let topic_alias = std::num::NonZeroU16::new(alias);
        bench.publish(conn, Publish { topic_alias, ..message(&topic, "x", Q0, 0) });
    }
    bench.ended(conn, Reason::QUOTA_EXCEEDED);
}

#[test]
fn endless_filters_are_refused_and_their_room_comes_back() {
    let mut bench = Bench::new();
    let conn = bench.client(V5, "s");
    let filter = |number: usize| format!("{number}/{}", "f".repeat(60_000));
    let mut refused = 0;
    for number in 0..700 {
        bench.subscribe_with(conn, &filter(number), Default::default(), None);
        refused += usize::from(bench.next(conn) == Heard::SubAck(1, vec![Reason::QUOTA_EXCEEDED.0]));
    }
    assert!((100..300).contains(&refused), "{refused}");
    bench.leave(conn);
    let conn = bench.client(V5, "s");
    bench.subscribe(conn, &filter(0), Q0);
}

#[test]
fn filters_take_no_more_memory_than_they_may_and_leave_some_for_who_has_few() {
    let mut bench = Bench::limited(|limits| limits.filters_bytes_max = 1 << 20);
    let greedy = bench.client(V5, "greedy");
    let mut granted = 0;
    for number in 0..200 {
        let levels: Vec<String> = (0..60).map(|level| format!("{number}-{level}")).collect();
        bench.subscribe_with(greedy, &levels.join("/"), Default::default(), None);
        granted += u32::from(bench.next(greedy) == Heard::SubAck(1, vec![0]));
    }
    // Places in the tree count, and each of these has sixty of its own.
    assert!((16..30).contains(&granted), "{granted}");
    for number in 0..5 {
        let modest = bench.client(V5, &number.to_string());
        bench.subscribe(modest, "line/+/temp", Q0);
    }
}

#[test]
fn a_message_that_finds_no_memory_in_session_after_session_is_written_once() {
    let mut bench = with_memory(100_000);
    (0..20).for_each(|number| away(&mut bench, &number.to_string(), "t"));
    let from = bench.client(V5, "p");
    flood(&mut bench, from, "t", 3, 20_000);
    let before = bench.disk.batches.len();
    flood(&mut bench, from, "t", 20, 20_000);
    let writes = bench.disk.batches[before..].iter().flat_map(|(_, writes)| writes);
    let messages = writes.filter(|write| matches!(write, Write::Message { .. })).count();
    assert_eq!(messages, 20);
    assert!(bench.broker.counters().dropped_full > 0);
}

#[test]
fn large_packets_that_wait_for_a_full_queue_count_too() {
    let mut bench = Bench::limited(|limits| {
        limits.memory_bytes_max = 4 << 20;
        limits.queue_len_max = 1;
    });
    let to = bench.client(V5, "s");
    bench.subscribe(to, "t", Q1);
    let text = "x".repeat(900_000);
    let publishers: Vec<ConnId> = (0..20).map(|number| bench.client(V5, &number.to_string())).collect();
    for from in &publishers {
        let mut bytes = Vec::new();
        encode(&Packet::Publish(message("t", "small", Q1, 1)), V5, &mut bytes).unwrap();
        encode(&Packet::Publish(message("t", "small", Q1, 2)), V5, &mut bytes).unwrap();
        encode(&Packet::Publish(message("t", &text, Q1, 3)), V5, &mut bytes).unwrap();
        bench.bytes(*from, &bytes);
    }
    let held = publishers.iter().filter(|from| !bench.closed.contains(from)).count();
    assert!((2..=6).contains(&held), "{held} of 20 large packets are held");
}

#[test]
fn wills_count_and_their_room_comes_back() {
    let mut bench = with_memory(10_000);
    let before = bench.broker.memory_bytes();
    let text = [b'x'; 3_000];
    for round in 0..10 {
        let conns: Vec<ConnId> = (0..3)
            .map(|number| bench.connect(Connect { will: Some(will("w", &text)), ..hello(V5, &number.to_string()) }))
            .collect();
        assert!(bench.broker.memory_bytes() > before + 9_000);
        for (number, conn) in conns.into_iter().enumerate() {
            if number == round % 3 { bench.drop_socket(conn) } else { bench.leave(conn) }
        }
        assert_eq!(bench.broker.memory_bytes(), before);
    }
    for number in 0..4 {
        bench.connect(Connect { will: Some(will("w", &text)), ..hello(V5, &number.to_string()) });
    }
    let conn = bench.greet(Connect { will: Some(will("w", &text)), ..hello(V5, "one more") });
    assert_eq!(bench.next(conn), Heard::ConnAck { present: false, reason: Reason::QUOTA_EXCEEDED });
}

#[test]
fn mqtt5_3_3_1_3_every_filter_of_many_gets_its_retained_message() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V311, "p"), bench.client(V311, "s"));
    for number in 0..3_000 {
        let topic = format!("t/{number}");
        bench.publish(from, Publish { retain: true, ..message(&topic, &topic, Q0, 0) });
    }
    for number in 0..3_000 {
        bench.subscribe_with(to, &format!("t/{number}"), Default::default(), None);
    }
    let came = bench.hear(to).into_iter().filter(|heard| matches!(heard, Heard::Publish(_))).count();
    assert_eq!(came, 3_000);
}

#[test]
fn a_retained_message_that_has_no_room_leaves_no_older_one_in_its_place() {
    let mut bench = Bench::limited(|limits| limits.retained_bytes_max = 1_000);
    let from = bench.client(V311, "p");
    let retain = |text| Publish { retain: true, ..message("t", text, Q0, 0) };
    bench.publish(from, retain("old"));
    bench.publish(from, retain(&"x".repeat(2_000)));
    assert_eq!(bench.broker.counters().refused_retained, 1);
    let to = bench.client(V311, "s");
    bench.subscribe(to, "t", Q0);
    bench.silent(to);
    assert_eq!(bench.broker.memory_bytes(), 0);
}

#[test]
fn what_was_sent_and_not_acknowledged_obeys_the_rights_of_now_too() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V311, "p"), bench.connect(durable(V311, "s")));
    bench.subscribe(to, "t", Q1);
    bench.publish(from, message("t", "x", Q1, 1));
    assert_eq!(bench.messages(to).len(), 1);
    bench.drop_socket(to);
    let mut narrow = settings();
    narrow.local.rights = Rights { subscribe: only(&["else"]), ..Rights::default() };
    bench.broker.handle_settings(narrow, bench.now);
    bench.connect_present(durable(V311, "s"));
    assert_eq!(bench.broker.counters().dropped_rights, 1);
    assert_eq!(bench.broker.memory_bytes(), 0);
}

#[test]
fn clients_that_take_nothing_leave_the_memory_to_those_who_do() {
    let mut bench = Bench::limited(|limits| (limits.memory_bytes_max, limits.queue_bytes_max) = (100_000, 40_000));
    away(&mut bench, "away", "kept");
    let from = bench.client(V5, "p");
    let reader = bench.client(V311, "r");
    bench.subscribe(reader, "#", Q0);
    // A message each, so that nothing is shared.
    let deaf: Vec<ConnId> = (0..5).map(|number| bench.client(V311, &format!("deaf{number}"))).collect();
    deaf.iter().enumerate().for_each(|(number, conn)| bench.subscribe(*conn, &format!("t/{number}"), Q0));
    let text = "x".repeat(1_000);
    let mut heard = 0;
    for round in 0..600 {
        bench.publish(from, message(&format!("t/{}", round % 5), &text, Q0, 0));
        heard += bench.messages(reader).len();
        bench.wait(std::time::Duration::from_millis(20));
    }
    // For a second at the most after the memory was full.
    assert!(heard > 600 - 60, "{heard}");
    flood(&mut bench, from, "kept", 20, 1_000);
    assert_eq!(back(&mut bench, "away").len(), 20);
    assert!(bench.broker.memory_bytes() < 100_000, "{}", bench.broker.memory_bytes());
    // Who begins to take something again is served again.
    bench.take_all(deaf[0]);
    bench.publish(from, message("t/0", "again", Q0, 0));
    assert_eq!(bench.messages(deaf[0]).len(), 1);
}

#[test]
fn a_group_goes_on_without_the_one_who_takes_nothing() {
    let mut bench = with_memory(100_000);
    let (from, deaf) = (bench.client(V5, "p"), bench.client(V5, "deaf"));
    let reader = bench.client(V5, "reader");
    [deaf, reader].iter().for_each(|conn| bench.subscribe(*conn, "$share/group/job", Q0));
    bench.subscribe(deaf, "all", Q0);
    let text = "x".repeat(1_000);
    for _ in 0..200 {
        bench.publish(from, message("all", &text, Q0, 0));
        bench.wait(std::time::Duration::from_millis(20));
    }
    for _ in 0..20 {
        bench.publish(from, message("job", "x", Q0, 0));
    }
    assert_eq!(bench.messages(reader).len(), 20);
}

#[test]
fn who_acknowledges_slowly_while_others_fill_the_memory_misses_nothing_that_was_promised() {
    let mut bench = with_memory(100_000);
    bench.broker.handle_settings(
        crate::broker::Settings { when_full: WhenFull::DropNewest, ..settings_with_memory(100_000) },
        bench.now,
    );
    away(&mut bench, "away", "kept");
    let (from, deaf) = (bench.client(V5, "p"), bench.client(V5, "deaf"));
    let slow = bench.connect(Connect { receive_max: std::num::NonZeroU16::new(1), ..hello(V5, "slow") });
    bench.subscribe(deaf, "all", Q0);
    bench.subscribe(slow, "slow", Q1);
    flood(&mut bench, from, "kept", 200, 1_000);
    let lost = bench.broker.counters().dropped_full;
    let text = "x".repeat(1_000);
    let mut heard = 0;
    for number in 1..=300 {
        bench.publish(from, message("all", &text, Q0, 0));
        if number % 50 == 10 {
            bench.publish(from, message("slow", "x", Q1, number));
        }
        if number % 150 == 0 {
            heard += bench.take_all(slow).len();
        }
        bench.wait(std::time::Duration::from_millis(20));
    }
    assert_eq!((heard, bench.broker.counters().dropped_full), (6, lost));
}

#[test]
fn who_waits_for_memory_behind_somebody_who_stands_still_and_may_lose_nothing_tries_again_and_loses_nothing() {
    let mut bench = Bench::with(crate::broker::Settings { when_full: WhenFull::Block, ..settings_with_memory(10_000) });
    let from = bench.client(V311, "p");
    let slow = bench.connect(Connect { receive_max: std::num::NonZeroU16::new(1), ..hello(V5, "slow") });
    bench.subscribe(slow, "t", Q1);
    flood(&mut bench, from, "t", 20, 1_000);
    bench.wait(std::time::Duration::from_secs(20));
    assert!(bench.broker.memory_bytes() < 12_000, "not all have room");
    let heard = bench.take_all(slow).len();
    assert_eq!((heard, bench.broker.counters().dropped_full), (20, 0));
}

#[test]
fn who_waits_for_memory_goes_on_when_somebody_else_made_room_and_the_queue_is_not_full() {
    let mut settings = settings_with_memory(10_000);
    (settings.limits.queue_len_max, settings.when_full) = (10, WhenFull::Block);
    let mut bench = Bench::with(settings);
    away(&mut bench, "few", "few");
    away(&mut bench, "large", "large");
    let from = bench.client(V311, "p");
    flood(&mut bench, from, "large", 5, 1_000);
    flood(&mut bench, from, "few", 6, 1);
    bench.publish(from, message("few", &"x".repeat(2_000), Q1, 7));
    bench.seconds(3);
    assert_eq!(bench.hear(from), [], "there is no memory");
    assert_eq!(back(&mut bench, "large").len(), 5);
    bench.seconds(3);
    let heard = bench.hear(from);
    assert!(matches!(heard[..], [Heard::PubAck(7, _)]), "{heard:?} {}", bench.broker.memory_bytes());
    assert_eq!(back(&mut bench, "few").len(), 7);
}
