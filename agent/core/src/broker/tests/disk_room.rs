//! A disk that takes nothing more, and what is known of the one from before a restart.

use super::bench::*;
use crate::broker::Settings;
use crate::mqtt::packet::{Packet, Publish, Reason, Version};
use crate::topic::Filter;
use crate::topology::model::{self, Limits};

fn in_memory(filter: &str) -> model::TopicRule {
    model::TopicRule {
        filter: Filter::new(filter).unwrap(),
        ack: model::Ack::Memory,
        lane: model::Lane::Memory,
        max_age: None,
    }
}

#[test]
fn without_room_on_the_disk_what_needs_it_is_refused_or_waits_and_nothing_else_does() {
    let mut bench = Bench::with(Settings { topics: vec![in_memory("raw/#")], ..settings() });
    let away = bench.connect(durable(V5, "away"));
    bench.subscribe(away, "+/kept", Q1);
    bench.drop_socket(away);
    let (old, new) = (bench.client(V311, "old"), bench.client(V5, "new"));
    bench.broker.handle_disk_room(false, bench.now);
    bench.publish(new, message("a/kept", "1", Q1, 1));
    assert_eq!(bench.next(new), Heard::PubAck(1, Reason::QUOTA_EXCEEDED));
    bench.publish(new, Publish { retain: true, ..message("a/else", "2", Q1, 2) });
    assert_eq!(bench.next(new), Heard::PubAck(2, Reason::QUOTA_EXCEEDED));
    for (id, (topic, qos)) in [("a/else", Q1), ("raw/kept", Q1)].into_iter().enumerate() {
        bench.publish(new, message(topic, "3", qos, 3 + id as u16));
        assert_eq!(bench.next(new), Heard::PubAck(3 + id as u16, Reason::SUCCESS), "{topic}");
    }
    bench.publish(old, message("a/kept", "4", Q1, 1));
    bench.silent(old);
    bench.broker.handle_disk_room(true, bench.now);
    bench.drain();
    assert_eq!(bench.next(old), Heard::PubAck(1, Reason::SUCCESS));
    let away = bench.connect_with_backlog(durable(V5, "away"));
    assert_eq!(bench.take_all(away), ["3", "4"]);
}

#[test]
fn whatever_waited_before_a_restart_may_have_been_sent_and_says_so() {
    let limits = Limits { inflight_max: 2, ..limits() };
    let mut bench = Bench::with(Settings { limits: limits.clone(), ..settings() });
    let to = bench.connect(durable(V5, "s"));
    bench.subscribe(to, "t", Q1);
    let from = bench.client(V5, "p");
    for number in 1..=4 {
        bench.publish(from, message("t", &number.to_string(), Q1, number));
    }
    let before = bench.disk.batches.len();
    assert_eq!(bench.take_all(to).len(), 4, "two of them only because others were acknowledged");
    // The acknowledgements did not come to the disk.
    bench.restart_with(Settings { limits, ..settings() }, before);
    let to = bench.connect_with_backlog(durable(V5, "s"));
    let mut again = Vec::new();
    while let heard = bench.messages(to)
        && !heard.is_empty()
    {
        heard.iter().for_each(|heard| bench.send(to, &Packet::PubAck(ack(heard.id))));
        again.extend(heard.into_iter().map(|heard| (heard.payload, heard.dup)));
    }
    assert_eq!(again, ["1", "2", "3", "4"].map(|payload| (payload.as_bytes().to_vec(), true)));
    let from = bench.client(Version::V5, "p");
    bench.publish(from, message("t", "5", Q1, 5));
    assert!(!bench.message(to).dup);
}
