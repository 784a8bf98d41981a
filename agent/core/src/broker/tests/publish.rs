//! PUBLISH at every QoS: acknowledgement, order, redelivery, properties, aliases, expiry, retained messages.

use std::num::NonZeroU16;

use super::bench::*;
use crate::mqtt::packet::{Ack, Connect, Packet, Publish, Reason, RetainHandling, SubscribeOptions};
use crate::mqtt::props::{CONTENT_TYPE, CORRELATION_DATA, PAYLOAD_FORMAT, Prop, PropsBuf, RESPONSE_TOPIC};

fn retained<'a>(topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { retain: true, ..message(topic, payload, Q0, 0) }
}

#[test]
fn mqtt5_4_3_1_qos_0_is_delivered_once_without_an_answer() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V311, "a"), bench.client(V5, "b"));
    bench.subscribe(to, "t", Q2);
    bench.publish(from, message("t", "x", Q0, 0));
    bench.silent(from);
    assert_eq!(bench.message(to), Message { topic: "t".into(), payload: b"x".into(), ..Message::default() });
}

#[test]
fn mqtt5_4_3_2_qos_1_is_acknowledged_with_its_id() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V311, "a"), bench.client(V5, "b"));
    bench.subscribe(to, "t", Q2);
    bench.publish(from, message("t", "x", Q1, 9));
    assert_eq!(bench.next(from), Heard::PubAck(9, Reason::SUCCESS));
    assert_eq!(bench.message(to).qos, Q1);
}

#[test]
fn mqtt5_4_3_3_qos_2_is_played_to_its_end_on_both_sides() {
    for version in [V31, V311, V5] {
        let mut bench = Bench::new();
        let (from, to) = (bench.client(version, "a"), bench.client(version, "b"));
        bench.subscribe(to, "t", Q2);
        bench.publish(from, message("t", "x", Q2, 9));
        assert_eq!(bench.next(from), Heard::PubRec(9, Reason::SUCCESS));
        bench.send(from, &Packet::PubRel(ack(9)));
        assert_eq!(bench.next(from), Heard::PubComp(9, Reason::SUCCESS));
        let got = bench.message(to);
        bench.send(to, &Packet::PubRec(ack(got.id)));
        assert_eq!(bench.next(to), Heard::PubRel(got.id, Reason::SUCCESS));
        bench.send(to, &Packet::PubComp(ack(got.id)));
        bench.silent(to);
        assert_eq!(bench.broker.memory_bytes(), 0, "nothing is held once all is done");
    }
}

#[test]
fn mqtt5_4_3_3_a_qos_2_message_sent_again_is_delivered_once() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V311, "a"), bench.client(V311, "b"));
    bench.subscribe(to, "t", Q0);
    bench.publish(from, message("t", "x", Q2, 9));
    bench.publish(from, Publish { dup: true, ..message("t", "x", Q2, 9) });
    assert_eq!(bench.hear(from), [Heard::PubRec(9, Reason::SUCCESS), Heard::PubRec(9, Reason::SUCCESS)]);
    bench.send(from, &Packet::PubRel(ack(9)));
    bench.publish(from, message("t", "y", Q2, 9));
    assert_eq!(bench.payloads(to), ["x", "y"], "after PUBREL the id is free");
}

#[test]
fn mqtt5_4_3_3_a_received_id_outlives_the_connection() {
    let mut bench = Bench::new();
    let to = bench.client(V311, "b");
    bench.subscribe(to, "t", Q0);
    let from = bench.connect(durable(V311, "a"));
    bench.publish(from, message("t", "x", Q2, 9));
    bench.drop_socket(from);
    let from = bench.connect(durable(V311, "a"));
    bench.publish(from, Publish { dup: true, ..message("t", "x", Q2, 9) });
    assert_eq!(bench.payloads(to), ["x"]);
}

#[test]
fn mqtt5_3_7_2_1_pubrel_for_an_unknown_id_is_completed_and_told() {
    let mut bench = Bench::new();
    let (old, new) = (bench.client(V311, "a"), bench.client(V5, "b"));
    bench.send(old, &Packet::PubRel(ack(5)));
    assert_eq!(bench.next(old), Heard::PubComp(5, Reason::SUCCESS));
    bench.send(new, &Packet::PubRel(ack(5)));
    assert_eq!(bench.next(new), Heard::PubComp(5, Reason::PACKET_ID_NOT_FOUND));
}

#[test]
fn mqtt31_2_1_a_pubrel_or_subscribe_sent_again_may_say_dup() {
    let mut bench = Bench::new();
    let conn = bench.client(V31, "old");
    bench.publish(conn, message("t", "x", Q2, 5));
    assert_eq!(bench.next(conn), Heard::PubRec(5, Reason::SUCCESS));
    bench.bytes(conn, b"\x6a\x02\0\x05");
    assert_eq!(bench.next(conn), Heard::PubComp(5, Reason::SUCCESS));
    bench.bytes(conn, b"\x8a\x06\0\x06\0\x01t\x01");
    assert_eq!(bench.next(conn), Heard::SubAck(6, vec![1]));
    // From 3.1.1 on these bits are fixed.
    let strict = bench.client(V311, "new");
    bench.bytes(strict, b"\x6a\x02\0\x05");
    assert!(bench.closed.contains(&strict));
}

#[test]
fn mqtt5_4_6_acknowledgements_may_come_in_any_order() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V311, "a"), bench.client(V311, "b"));
    bench.subscribe(to, "t", Q1);
    for payload in ["1", "2", "3"] {
        bench.publish(from, message("t", payload, Q1, 1));
    }
    let ids: Vec<u16> = bench.messages(to).iter().map(|message| message.id).collect();
    for id in ids.iter().rev() {
        bench.send(to, &Packet::PubAck(ack(*id)));
    }
    bench.silent(to);
    assert_eq!(bench.broker.memory_bytes(), 0);
    assert!(!bench.closed.contains(&to));
}

#[test]
fn unsolicited_acknowledgements_harm_nobody() {
    for version in [V311, V5] {
        let mut bench = Bench::new();
        let conn = bench.client(version, "a");
        bench.send(conn, &Packet::PubAck(ack(7)));
        bench.send(conn, &Packet::PubComp(ack(7)));
        bench.silent(conn);
        bench.send(conn, &Packet::PubRec(ack(7)));
        let reason = if version == V5 { Reason::PACKET_ID_NOT_FOUND } else { Reason::SUCCESS };
        assert_eq!(bench.next(conn), Heard::PubRel(7, reason));
    }
}

#[test]
fn mqtt5_4_3_3_a_pubrec_that_refuses_is_followed_by_no_pubrel() {
    let mut bench = Bench::new();
    let conn = bench.client(V5, "a");
    bench.bytes(conn, b"\x50\x03\0\x07\x80");
    bench.silent(conn);
}

#[test]
fn mqtt5_4_13_1_an_acknowledgement_of_another_qos_is_a_protocol_error() {
    for version in [V311, V5] {
        for (qos, wrong) in [(Q1, 0x50), (Q1, 0x70), (Q2, 0x40), (Q2, 0x70)] {
            let mut bench = Bench::new();
            let (conn, from) = (bench.client(version, "a"), bench.client(V5, "p"));
            bench.subscribe(conn, "t", qos);
            bench.publish(from, message("t", "x", qos, 1));
            let id = bench.message(conn).id.to_be_bytes();
            bench.bytes(conn, &[wrong, 2, id[0], id[1]]);
            bench.ended(conn, Reason::PROTOCOL_ERROR);
        }
        let mut bench = Bench::new();
        let (conn, from) = (bench.client(version, "a"), bench.client(V5, "p"));
        bench.subscribe(conn, "t", Q2);
        bench.publish(from, message("t", "x", Q2, 1));
        let id = bench.message(conn).id;
        bench.send(conn, &Packet::PubRec(ack(id)));
        assert_eq!(bench.next(conn), Heard::PubRel(id, Reason::SUCCESS));
        bench.send(conn, &Packet::PubAck(ack(id)));
        bench.ended(conn, Reason::PROTOCOL_ERROR);
    }
}

#[test]
fn mqtt5_3_3_1_1_dup_is_set_on_redelivery_and_order_is_kept() {
    let mut bench = Bench::new();
    let from = bench.client(V311, "a");
    let to = bench.connect(durable(V311, "b"));
    bench.subscribe(to, "t", Q1);
    for payload in ["1", "2", "3"] {
        bench.publish(from, message("t", payload, Q1, 1));
    }
    let first = bench.messages(to);
    bench.send(to, &Packet::PubAck(ack(first[1].id)));
    bench.drop_socket(to);
    bench.publish(from, message("t", "4", Q1, 1));
    let again = bench.greet(durable(V311, "b"));
    let heard = bench.hear(again);
    let seen: Vec<(Vec<u8>, bool)> = heard
        .into_iter()
        .filter_map(|heard| if let Heard::Publish(m) = heard { Some((m.payload, m.dup)) } else { None })
        .collect();
    assert_eq!(seen, [(b"1".to_vec(), true), (b"3".to_vec(), true), (b"4".to_vec(), false)]);
}

#[test]
fn mqtt5_4_4_pubrel_is_sent_again_after_a_reconnect_and_not_the_message() {
    let mut bench = Bench::new();
    let from = bench.client(V311, "a");
    let to = bench.connect(durable(V311, "b"));
    bench.subscribe(to, "t", Q2);
    bench.publish(from, message("t", "1", Q2, 1));
    let id = bench.message(to).id;
    bench.send(to, &Packet::PubRec(ack(id)));
    bench.drop_socket(to);
    let again = bench.greet(durable(V311, "b"));
    assert_eq!(bench.hear(again)[1..], [Heard::PubRel(id, Reason::SUCCESS)]);
}

#[test]
fn mqtt5_3_5_2_1_a_pubrec_that_refuses_ends_the_exchange() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V5, "a"), bench.client(V5, "b"));
    bench.subscribe(to, "t", Q2);
    bench.publish(from, message("t", "1", Q2, 1));
    let id = bench.message(to).id;
    bench.send(to, &Packet::PubRec(Ack { reason: Reason::QUOTA_EXCEEDED, ..ack(id) }));
    bench.silent(to);
    assert_eq!(bench.broker.memory_bytes(), 0);
}

/// On this machine as on others, for those who are away and what is retained.
#[test]
fn what_its_topic_lets_grow_old_is_nobodys_any_more() {
    let rule = crate::topology::model::TopicRule {
        filter: crate::topic::Filter::new("t/#").unwrap(),
        ack: crate::topology::model::Ack::Disk,
        lane: crate::topology::model::Lane::Disk,
        max_age: Some(std::time::Duration::from_secs(60)),
    };
    let mut bench = Bench::with(crate::broker::Settings { topics: vec![rule], ..settings() });
    let away = bench.connect(durable(V5, "b"));
    bench.subscribe(away, "#", Q1);
    bench.drop_socket(away);
    let from = bench.client(V5, "a");
    bench.publish(from, Publish { retain: true, ..message("t/old", "old", Q1, 1) });
    bench.seconds(40);
    bench.publish(from, Publish { retain: true, ..message("t/young", "young", Q1, 2) });
    bench.publish(from, message("other", "other", Q1, 3));
    bench.seconds(30);
    let back = bench.connect_with_backlog(durable(V5, "b"));
    assert_eq!(bench.payloads(back), ["young", "other"]);
    let late = bench.client(V5, "c");
    bench.subscribe_with(late, "#", SubscribeOptions { qos: Q1, ..SubscribeOptions::default() }, None);
    let heard = bench.hear(late);
    assert!(matches!(&heard[1..], [Heard::Publish(only)] if only.payload == b"young"), "{heard:?}");
}

#[test]
fn mqtt5_3_3_4_7_no_more_than_receive_maximum_are_on_their_way() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "a");
    let to = bench.connect(Connect { receive_max: NonZeroU16::new(2), ..hello(V5, "b") });
    bench.subscribe(to, "t", Q1);
    for payload in ["1", "2", "3"] {
        bench.publish(from, message("t", payload, Q1, 1));
    }
    let got = bench.messages(to);
    assert_eq!(got.len(), 2);
    bench.send(to, &Packet::PubAck(ack(got[0].id)));
    assert_eq!(bench.payloads(to), ["3"]);
}

#[test]
fn mqtt5_4_9_a_smaller_receive_maximum_holds_for_what_is_sent_again_too() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "p");
    let to = bench.connect(durable(V5, "s"));
    bench.subscribe(to, "t", Q1);
    for number in 1..=4 {
        bench.publish(from, message("t", &number.to_string(), Q1, number));
    }
    assert_eq!(bench.messages(to).len(), 4);
    bench.drop_socket(to);
    let again = bench.greet(Connect { receive_max: NonZeroU16::new(2), ..durable(V5, "s") });
    let heard = bench.hear(again);
    let id = |heard: &Heard| if let Heard::Publish(message) = heard { Some(message.id) } else { None };
    let ids: Vec<u16> = heard.iter().filter_map(id).collect();
    assert_eq!(ids.len(), 2, "{heard:?}");
    for id in ids {
        bench.send(again, &Packet::PubAck(ack(id)));
    }
    assert_eq!(bench.take_all(again), ["3", "4"]);
}

#[test]
fn mqtt5_3_3_4_9_more_than_our_receive_maximum_is_told() {
    let mut bench = Bench::limited(|limits| limits.inflight_max = 2);
    let from = bench.client(V5, "a");
    for id in 1..=3 {
        bench.publish(from, message("t", "x", Q2, id));
    }
    bench.ended(from, Reason::RECEIVE_MAXIMUM_EXCEEDED);
}

#[test]
fn mqtt5_3_1_2_11_4_what_is_too_large_for_a_client_is_not_sent_and_counted() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "a");
    let to = bench.connect(Connect { packet_bytes_max: Some(30), ..hello(V5, "b") });
    bench.subscribe(to, "t", Q1);
    bench.publish(from, message("t", &"x".repeat(40), Q1, 1));
    bench.publish(from, message("t", "y", Q1, 2));
    assert_eq!(bench.payloads(to), ["y"]);
    assert_eq!(bench.broker.counters().dropped_too_large, 1);
}

#[test]
fn mqtt5_3_2_2_3_6_a_packet_over_our_maximum_ends_the_connection() {
    let mut bench = Bench::limited(|limits| limits.packet_bytes_max = 100);
    let from = bench.client(V5, "a");
    bench.publish(from, message("t", &"x".repeat(200), Q1, 1));
    bench.ended(from, Reason::PACKET_TOO_LARGE);
}

#[test]
fn mqtt5_3_3_2_3_the_properties_of_a_message_travel_with_it() {
    let mut bench = Bench::new();
    let (from, to, old) = (bench.client(V5, "a"), bench.client(V5, "b"), bench.client(V311, "c"));
    bench.subscribe(to, "t", Q0);
    bench.subscribe(old, "t", Q0);
    let mut props = PropsBuf::default();
    for prop in [
        Prop::Byte(PAYLOAD_FORMAT, 1),
        Prop::Text(CONTENT_TYPE, "text/plain"),
        Prop::Text(RESPONSE_TOPIC, "r"),
        Prop::Binary(CORRELATION_DATA, b"c"),
        Prop::Pair("k", "1"),
        Prop::Pair("k", "2"),
    ] {
        props.push(prop);
    }
    let sent = Publish { props: props.as_props(), ..message("t", "x", Q0, 0) };
    let expected: Vec<String> = sent.props.iter().map(|prop| format!("{prop:?}")).collect();
    bench.publish(from, sent);
    assert_eq!(bench.message(to).props, expected);
    assert_eq!(bench.payloads(old), ["x"]);
}

#[test]
fn mqtt5_3_3_2_3_3_expiry_counts_down_while_a_message_waits() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "a");
    let to = bench.connect(durable(V5, "b"));
    bench.subscribe(to, "t", Q1);
    bench.drop_socket(to);
    bench.publish(from, Publish { expiry_s: Some(5), ..message("t", "short", Q1, 1) });
    bench.publish(from, Publish { expiry_s: Some(60), ..message("t", "long", Q1, 2) });
    bench.seconds(10);
    let again = bench.greet(durable(V5, "b"));
    let heard = bench.hear(again);
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(matches!(&heard[1], Heard::Publish(m) if m.payload == b"long" && m.expiry_s == Some(50)), "{heard:?}");
    assert_eq!(bench.broker.counters().dropped_expired, 1);
}

#[test]
fn mqtt5_3_3_2_3_4_an_incoming_alias_stands_for_its_topic() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V5, "a"), bench.client(V5, "b"));
    bench.subscribe(to, "t/#", Q0);
    let topic_alias = NonZeroU16::new(1);
    bench.publish(from, Publish { topic_alias, ..message("t/1", "a", Q0, 0) });
    bench.publish(from, Publish { topic_alias, ..message("", "b", Q0, 0) });
    bench.publish(from, Publish { topic_alias, ..message("t/2", "c", Q0, 0) });
    bench.publish(from, Publish { topic_alias, ..message("", "d", Q0, 0) });
    let topics: Vec<String> = bench.messages(to).into_iter().map(|message| message.topic).collect();
    assert_eq!(topics, ["t/1", "t/1", "t/2", "t/2"]);
}

#[test]
fn mqtt5_3_3_2_3_4_an_alias_over_the_maximum_is_invalid() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "a");
    bench.publish(from, Publish { topic_alias: NonZeroU16::new(u16::MAX), ..message("t", "a", Q0, 0) });
    bench.ended(from, Reason::TOPIC_ALIAS_INVALID);
}

#[test]
fn mqtt5_3_3_2_3_4_an_alias_that_was_never_set_is_a_protocol_error() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "a");
    bench.publish(from, Publish { topic_alias: NonZeroU16::new(1), ..message("", "a", Q0, 0) });
    bench.ended(from, Reason::PROTOCOL_ERROR);
}

#[test]
fn mqtt5_3_1_2_11_5_outgoing_aliases_stay_within_what_the_client_allows() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "a");
    let to = bench.connect(Connect { topic_alias_max: 1, ..hello(V5, "b") });
    bench.subscribe(to, "#", Q0);
    for topic in ["one", "one", "two", "two"] {
        bench.publish(from, message(topic, "x", Q0, 0));
    }
    let seen: Vec<(String, Option<u16>)> =
        bench.messages(to).into_iter().map(|message| (message.topic, message.alias)).collect();
    let expected = [("one", Some(1)), ("", Some(1)), ("two", None), ("two", None)];
    assert_eq!(seen, expected.map(|(topic, alias)| (topic.to_owned(), alias)));
}

#[test]
fn mqtt5_3_3_1_3_a_retained_message_waits_for_new_subscriptions() {
    let mut bench = Bench::new();
    let from = bench.client(V311, "a");
    bench.publish(from, retained("t/1", "old"));
    bench.publish(from, retained("t/1", "new"));
    let to = bench.client(V311, "b");
    bench.subscribe_with(to, "t/#", SubscribeOptions::default(), None);
    let heard = bench.hear(to);
    assert!(matches!(&heard[1..], [Heard::Publish(m)] if m.retain && m.payload == b"new"), "{heard:?}");
}

#[test]
fn mqtt5_3_3_1_3_an_empty_payload_clears_and_only_an_empty_one() {
    let mut bench = Bench::new();
    let (from, watcher) = (bench.client(V311, "a"), bench.client(V311, "w"));
    bench.subscribe(watcher, "t", Q0);
    bench.publish(from, retained("t", "x"));
    bench.publish(from, message("t", "", Q0, 0));
    let to = bench.client(V311, "b");
    bench.subscribe_with(to, "t", SubscribeOptions::default(), None);
    assert_eq!(bench.hear(to).len(), 2, "an empty message that is not retained clears nothing");
    bench.publish(from, retained("t", ""));
    assert_eq!(bench.payloads(watcher), ["x", "", ""], "whoever is there sees it as any other");
    bench.unsubscribe(to, "t");
    bench.hear(to);
    bench.subscribe(to, "t", Q0);
    assert_eq!(bench.broker.memory_bytes(), 0);
}

#[test]
fn all_retained_messages_arrive_however_many_and_however_small_the_portions() {
    let mut bench = Bench::limited(|limits| limits.inflight_max = 3);
    let from = bench.client(V311, "a");
    for number in 0..2_000 {
        bench.publish(from, Publish { retain: true, ..message(&format!("t/{number}"), "x", Q1, 1) });
        bench.hear(from);
    }
    let to = bench.client(V311, "b");
    bench.subscribe_with(to, "t/#", SubscribeOptions { qos: Q1, ..SubscribeOptions::default() }, None);
    let mut bytes = Vec::new();
    bench.asked.remove(&to);
    bench.broker.poll_transmit(to, &mut bytes, 5, bench.now);
    bench.drain();
    assert_eq!(bytes, [0x90, 3, 0, 1, 1]);
    assert_eq!(bench.take_all(to).len(), 2_000);
}

#[test]
fn mqtt5_3_8_3_1_retain_handling_says_when_retained_messages_come() {
    for (handling, first, second) in
        [(RetainHandling::Always, 1, 1), (RetainHandling::IfNew, 1, 0), (RetainHandling::Never, 0, 0)]
    {
        let mut bench = Bench::new();
        let from = bench.client(V5, "a");
        bench.publish(from, retained("t", "x"));
        let to = bench.client(V5, "b");
        let options = SubscribeOptions { retain_handling: handling, ..SubscribeOptions::default() };
        for expected in [first, second] {
            bench.subscribe_with(to, "t", options, None);
            assert_eq!(bench.hear(to).len(), 1 + expected, "{handling:?}");
        }
    }
}

#[test]
fn mqtt5_3_8_3_1_retain_as_published_keeps_the_flag() {
    let mut bench = Bench::new();
    let (from, plain, kept) = (bench.client(V5, "a"), bench.client(V5, "b"), bench.client(V5, "c"));
    bench.subscribe(plain, "t", Q0);
    let options = SubscribeOptions { retain_as_published: true, ..SubscribeOptions::default() };
    bench.subscribe_with(kept, "t", options, None);
    bench.next(kept);
    bench.publish(from, retained("t", "x"));
    assert!(!bench.message(plain).retain);
    assert!(bench.message(kept).retain);
}

#[test]
fn mqtt5_3_3_2_3_3_an_expired_retained_message_is_not_sent() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "a");
    bench.publish(from, Publish { expiry_s: Some(5), ..retained("t", "x") });
    bench.seconds(6);
    let to = bench.client(V5, "b");
    bench.subscribe(to, "t", Q0);
    bench.seconds(120);
    assert_eq!(bench.broker.memory_bytes(), 0, "and it is swept out");
    assert_eq!(bench.broker.next_deadline(), None, "and nothing wakes after that");
}

#[test]
fn mqtt5_3_4_2_1_without_a_subscriber_version_5_may_be_told_and_3_1_1_is_not() {
    for version in [V311, V5] {
        let mut bench = Bench::new();
        let from = bench.client(version, "a");
        bench.publish(from, message("t", "x", Q1, 1));
        let Heard::PubAck(1, reason) = bench.next(from) else { panic!("no PUBACK") };
        assert!(!reason.is_error());
    }
}

#[test]
fn mqtt5_3_3_4_6_a_client_may_not_send_subscription_identifiers() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "a");
    let mut props = PropsBuf::default();
    props.push(Prop::Varint(crate::mqtt::props::SUBSCRIPTION_ID, 1));
    bench.publish(from, Publish { props: props.as_props(), ..message("t", "x", Q0, 0) });
    bench.ended(from, Reason::PROTOCOL_ERROR);
}

#[test]
fn a_topic_and_a_payload_of_any_utf_8_and_bytes_travel_unharmed() {
    let mut bench = Bench::new();
    let (from, to) = (bench.client(V311, "a"), bench.client(V5, "b"));
    bench.subscribe(to, "été/#", Q0);
    bench.publish(from, message("été/temp", "21 °C", Q0, 0));
    assert_eq!(bench.message(to).topic, "été/temp");
}

#[test]
fn sys_topics_are_not_for_clients_to_publish() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "a");
    bench.publish(from, message("$SYS/broker/version", "x", Q1, 1));
    assert_eq!(bench.next(from), Heard::PubAck(1, Reason::NOT_AUTHORIZED));
}

#[test]
fn what_has_become_too_large_for_its_client_is_let_go_at_redelivery() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "a");
    let to = bench.connect(durable(V5, "b"));
    bench.subscribe(to, "t", Q1);
    bench.publish(from, message("t", &"x".repeat(100), Q1, 1));
    bench.message(to);
    bench.drop_socket(to);
    let to = bench.greet(Connect { packet_bytes_max: Some(50), ..durable(V5, "b") });
    assert_eq!(bench.next(to), Heard::ConnAck { present: true, reason: Reason::SUCCESS });
    assert_eq!((bench.broker.memory_bytes(), bench.broker.counters().dropped_too_large), (0, 1));
}
