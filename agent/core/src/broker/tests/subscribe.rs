//! SUBSCRIBE and UNSUBSCRIBE: filters, options, identifiers, shared subscriptions, rights.

use super::bench::*;
use crate::broker::Settings;
use crate::mqtt::packet::{Packet, Props, QoS, Reason, Subscribe, SubscribeFilter, SubscribeOptions};
use crate::rights::Rights;

fn options(qos: QoS) -> SubscribeOptions {
    SubscribeOptions { qos, ..SubscribeOptions::default() }
}

#[test]
fn mqtt5_3_9_3_every_filter_is_answered_in_order() {
    let mut bench = Bench::new();
    let conn = bench.client(V5, "a");
    let too_deep = "c/".repeat(100);
    let filters = ["a", "b/#", &too_deep, "+"]
        .into_iter()
        .zip([Q0, Q1, Q2, Q2])
        .map(|(filter, qos)| SubscribeFilter { filter, options: options(qos) })
        .collect();
    let packet = Subscribe { id: pid(3), subscription_id: None, user_props: Props::default(), filters };
    bench.send(conn, &Packet::Subscribe(packet));
    assert_eq!(bench.next(conn), Heard::SubAck(3, vec![0, 1, Reason::TOPIC_FILTER_INVALID.0, 2]));
}

#[test]
fn mqtt3_3_9_3_a_filter_that_is_refused_is_0x80() {
    let mut bench = Bench::new();
    let conn = bench.client(V311, "a");
    bench.subscribe_with(conn, &"a/".repeat(100), options(Q0), None);
    assert_eq!(bench.next(conn), Heard::SubAck(1, vec![0x80]));
}

#[test]
fn mqtt5_4_13_1_a_filter_that_is_not_well_formed_ends_the_connection() {
    for version in [V31, V311, V5] {
        for filter in ["a#", "#/a", "a/b+", "$share/g", "$share//a"] {
            let mut bench = Bench::new();
            let conn = bench.client(version, "a");
            bench.subscribe_with(conn, filter, options(Q0), None);
            bench.ended(conn, Reason::MALFORMED_PACKET);
        }
    }
}

#[test]
fn mqtt5_3_11_3_unsubscribe_says_whether_there_was_one() {
    let mut bench = Bench::new();
    let (conn, from) = (bench.client(V5, "a"), bench.client(V5, "b"));
    bench.subscribe(conn, "a", Q0);
    bench.unsubscribe(conn, "a");
    assert_eq!(bench.next(conn), Heard::UnsubAck(2, vec![0]));
    bench.unsubscribe(conn, "a");
    assert_eq!(bench.next(conn), Heard::UnsubAck(2, vec![Reason::NO_SUBSCRIPTION_EXISTED.0]));
    bench.publish(from, message("a", "x", Q0, 0));
    bench.silent(conn);
}

#[test]
fn mqtt5_3_8_4_the_lower_qos_of_both_sides_counts() {
    for (sent, granted) in [(Q0, Q2), (Q1, Q0), (Q2, Q1), (Q2, Q2), (Q1, Q1)] {
        let mut bench = Bench::new();
        let (conn, from) = (bench.client(V311, "a"), bench.client(V311, "b"));
        bench.subscribe(conn, "a", granted);
        bench.publish(from, message("a", "x", sent, if sent == Q0 { 0 } else { 1 }));
        assert_eq!(bench.message(conn).qos, sent.min(granted));
    }
}

#[test]
fn mqtt5_3_3_4_overlapping_subscriptions_make_one_copy_with_the_best_qos_and_all_ids() {
    let mut bench = Bench::new();
    let (conn, from) = (bench.client(V5, "a"), bench.client(V5, "b"));
    for (filter, qos, id) in [("a/#", Q1, 1), ("a/+", Q2, 2), ("a/b", Q0, 3)] {
        bench.subscribe_with(conn, filter, options(qos), Some(id));
        bench.next(conn);
    }
    bench.publish(from, message("a/b", "x", Q2, 1));
    let got = bench.message(conn);
    let mut ids = got.ids.clone();
    ids.sort_unstable();
    assert_eq!((got.qos, ids), (Q2, vec![1, 2, 3]));
}

#[test]
fn mqtt5_3_8_4_a_new_subscription_to_the_same_filter_takes_the_place_of_the_old() {
    let mut bench = Bench::new();
    let (conn, from) = (bench.client(V5, "a"), bench.client(V5, "b"));
    bench.subscribe(conn, "a", Q2);
    bench.subscribe(conn, "a", Q0);
    bench.publish(from, message("a", "x", Q2, 1));
    assert_eq!(bench.message(conn).qos, Q0);
}

#[test]
fn mqtt5_3_8_3_1_no_local_keeps_ones_own_away() {
    let mut bench = Bench::new();
    let (conn, other) = (bench.client(V5, "a"), bench.client(V5, "b"));
    bench.subscribe_with(conn, "a", SubscribeOptions { no_local: true, ..options(Q0) }, None);
    bench.next(conn);
    bench.publish(conn, message("a", "mine", Q0, 0));
    bench.publish(other, message("a", "theirs", Q0, 0));
    assert_eq!(bench.payloads(conn), ["theirs"]);
}

#[test]
fn no_local_on_one_of_two_overlapping_subscriptions_leaves_the_other() {
    for (silent, heard) in [("a/#", "a/b"), ("a/b", "a/#")] {
        let mut bench = Bench::new();
        let conn = bench.client(V5, "a");
        bench.subscribe_with(conn, silent, SubscribeOptions { no_local: true, ..options(Q0) }, None);
        bench.next(conn);
        bench.subscribe(conn, heard, Q1);
        bench.publish(conn, message("a/b", "mine", Q1, 1));
        let heard: Vec<_> = bench.hear(conn).into_iter().filter(|h| matches!(h, Heard::Publish(_))).collect();
        assert!(matches!(&heard[..], [Heard::Publish(m)] if m.qos == Q1), "{heard:?}");
        let other = bench.client(V5, "b");
        bench.publish(other, message("a/b", "theirs", Q1, 1));
        assert_eq!(bench.payloads(conn), ["theirs"], "one copy of what others say");
    }
}

#[test]
fn mqtt5_4_7_2_wildcards_do_not_match_topics_that_start_with_a_dollar() {
    let mut bench = Bench::new();
    let (conn, from) = (bench.client(V5, "a"), bench.client(V5, "b"));
    bench.subscribe(conn, "#", Q0);
    bench.subscribe(conn, "+/x", Q0);
    bench.publish(from, message("$own/x", "x", Q0, 0));
    bench.silent(conn);
    bench.subscribe(conn, "$own/#", Q0);
    bench.publish(from, message("$own/x", "y", Q0, 0));
    assert_eq!(bench.payloads(conn), ["y"]);
}

#[test]
fn mqtt5_4_8_2_the_members_of_a_group_take_turns() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "p");
    let members = [bench.client(V5, "a"), bench.client(V311, "b"), bench.client(V5, "c")];
    for member in members {
        bench.subscribe(member, "$share/g/t", Q1);
    }
    for number in 0..9 {
        bench.publish(from, message("t", &number.to_string(), Q1, 1));
    }
    let mut all = Vec::new();
    for member in members {
        let got = bench.payloads(member);
        assert_eq!(got.len(), 3);
        all.extend(got);
    }
    all.sort();
    assert_eq!(all, ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
}

#[test]
fn mqtt5_4_8_2_a_group_and_a_plain_subscription_are_two() {
    let mut bench = Bench::new();
    let (from, conn) = (bench.client(V5, "p"), bench.client(V5, "a"));
    bench.subscribe(conn, "$share/g/t", Q0);
    bench.subscribe(conn, "t", Q0);
    bench.publish(from, message("t", "x", Q0, 0));
    assert_eq!(bench.payloads(conn), ["x", "x"]);
}

#[test]
fn mqtt5_4_8_2_different_groups_each_get_a_copy() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "p");
    let (one, two) = (bench.client(V5, "a"), bench.client(V5, "b"));
    bench.subscribe(one, "$share/g/t", Q0);
    bench.subscribe(two, "$share/h/#", Q0);
    bench.publish(from, message("t", "x", Q0, 0));
    assert_eq!((bench.payloads(one), bench.payloads(two)), (vec!["x".into()], vec!["x".into()]));
}

#[test]
fn mqtt5_4_8_2_a_shared_subscription_gets_no_retained_messages() {
    let mut bench = Bench::new();
    let (from, conn) = (bench.client(V5, "p"), bench.client(V5, "a"));
    bench.publish(from, crate::mqtt::packet::Publish { retain: true, ..message("t", "x", Q0, 0) });
    bench.subscribe(conn, "$share/g/t", Q0);
    bench.silent(conn);
}

#[test]
fn mqtt5_3_8_3_1_no_local_on_a_shared_subscription_is_a_protocol_error() {
    let mut bench = Bench::new();
    let conn = bench.client(V5, "a");
    bench.subscribe_with(conn, "$share/g/t", SubscribeOptions { no_local: true, ..options(Q0) }, None);
    bench.ended(conn, Reason::PROTOCOL_ERROR);
}

#[test]
fn an_offline_member_is_passed_over_while_another_is_there() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "p");
    let (gone, here) = (bench.connect(durable(V5, "a")), bench.client(V5, "b"));
    bench.subscribe(gone, "$share/g/t", Q1);
    bench.subscribe(here, "$share/g/t", Q1);
    bench.drop_socket(gone);
    for number in 0..4 {
        bench.publish(from, message("t", &number.to_string(), Q1, 1));
    }
    assert_eq!(bench.payloads(here), ["0", "1", "2", "3"]);
}

#[test]
fn what_the_only_member_of_a_group_misses_offline_it_gets_later() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "p");
    let member = bench.connect(durable(V5, "a"));
    bench.subscribe(member, "$share/g/t", Q1);
    bench.drop_socket(member);
    bench.publish(from, message("t", "x", Q1, 1));
    let again = bench.greet(durable(V5, "a"));
    assert!(matches!(&bench.hear(again)[1..], [Heard::Publish(m)] if m.payload == b"x"));
}

#[test]
fn mqtt5_4_8_2_unacknowledged_messages_of_a_lost_member_go_to_another() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "p");
    let (gone, here) = (bench.client(V5, "a"), bench.client(V5, "b"));
    bench.subscribe(gone, "$share/g/t", Q1);
    bench.subscribe(here, "$share/g/t", Q1);
    for number in 0..4 {
        bench.publish(from, message("t", &number.to_string(), Q1, 1));
    }
    let mut got = bench.take_all(here);
    assert_eq!(bench.messages(gone).len(), 2);
    bench.drop_socket(gone);
    got.extend(bench.take_all(here));
    got.sort();
    assert_eq!(got, ["0", "1", "2", "3"]);
}

#[test]
fn mqtt5_4_8_2_what_a_lost_member_had_of_one_group_goes_to_no_other() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "p");
    let (gone, same, other) = (bench.client(V5, "a"), bench.client(V5, "b"), bench.client(V5, "c"));
    bench.subscribe(gone, "$share/g/t/#", Q1);
    bench.publish(from, message("t", "x", Q1, 1));
    assert_eq!(bench.message(gone).payload, b"x");
    bench.subscribe(same, "$share/g/t/#", Q1);
    // These match the message too, and came after it.
    [gone, other].iter().for_each(|conn| bench.subscribe(*conn, "$share/g/#", Q1));
    bench.drop_socket(gone);
    assert_eq!((bench.take_all(same), bench.take_all(other)), (vec!["x".to_owned()], vec![]));
}

#[test]
fn mqtt5_4_8_2_of_two_groups_only_the_one_that_was_promised_something_gets_it_again() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "p");
    let (gone, once, twice) = (bench.client(V5, "a"), bench.client(V5, "b"), bench.client(V5, "c"));
    bench.subscribe(gone, "$share/a/t", Q0);
    bench.subscribe(gone, "$share/b/t", Q1);
    bench.publish(from, message("t", "x", Q1, 1));
    bench.subscribe(once, "$share/a/t", Q1);
    bench.subscribe(twice, "$share/b/t", Q1);
    bench.drop_socket(gone);
    assert_eq!((bench.take_all(once), bench.take_all(twice)), (vec![], vec!["x".to_owned()]));
}

fn narrow() -> Settings {
    let mut settings = settings();
    settings.local.rights = Rights { publish: only(&["out/#"]), subscribe: only(&["in/#", "out/+"]) };
    settings
}

#[test]
fn mqtt5_3_4_2_1_a_publish_without_the_right_is_refused_with_0x87() {
    let mut bench = Bench::with(narrow());
    let conn = bench.client(V5, "a");
    bench.publish(conn, message("in/x", "x", Q1, 1));
    assert_eq!(bench.next(conn), Heard::PubAck(1, Reason::NOT_AUTHORIZED));
    bench.publish(conn, message("in/x", "x", Q2, 2));
    assert_eq!(bench.next(conn), Heard::PubRec(2, Reason::NOT_AUTHORIZED));
    bench.publish(conn, message("in/x", "x", Q0, 0));
    bench.silent(conn);
    assert_eq!(bench.broker.counters().refused_publishes, 3);
}

#[test]
fn mqtt3_3_3_5_a_publish_without_the_right_is_acknowledged_and_dropped() {
    let mut bench = Bench::with(narrow());
    let (conn, to) = (bench.client(V311, "a"), bench.client(V311, "b"));
    bench.subscribe(to, "in/x", Q2);
    bench.publish(conn, message("in/x", "x", Q1, 1));
    assert_eq!(bench.next(conn), Heard::PubAck(1, Reason::SUCCESS));
    bench.publish(conn, message("in/x", "x", Q2, 2));
    assert_eq!(bench.next(conn), Heard::PubRec(2, Reason::SUCCESS));
    bench.send(conn, &Packet::PubRel(ack(2)));
    assert_eq!(bench.next(conn), Heard::PubComp(2, Reason::SUCCESS));
    bench.silent(to);
}

#[test]
fn a_filter_is_granted_only_where_every_topic_it_can_match_is() {
    let mut bench = Bench::with(narrow());
    let (old, new) = (bench.client(V311, "a"), bench.client(V5, "b"));
    for (filter, granted) in [("in/#", true), ("in/a/+", true), ("out/x", true), ("out/#", false), ("#", false)] {
        bench.subscribe_with(old, filter, options(Q0), None);
        assert_eq!(bench.next(old), Heard::SubAck(1, vec![if granted { 0 } else { 0x80 }]), "{filter}");
        bench.subscribe_with(new, filter, options(Q0), None);
        assert_eq!(bench.next(new), Heard::SubAck(1, vec![if granted { 0 } else { 0x87 }]), "{filter}");
    }
    bench.subscribe_with(new, "$share/g/#", options(Q0), None);
    assert_eq!(bench.next(new), Heard::SubAck(1, vec![0x87]), "a group gives no rights");
}

#[test]
fn queued_and_retained_messages_obey_the_rights_of_now() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "p");
    let to = bench.connect(durable(V5, "a"));
    bench.subscribe(to, "#", Q1);
    bench.drop_socket(to);
    bench.publish(from, message("secret/1", "x", Q1, 1));
    bench.publish(from, message("in/1", "y", Q1, 2));
    bench.publish(from, crate::mqtt::packet::Publish { retain: true, ..message("secret/2", "z", Q1, 3) });
    bench.broker.handle_settings(narrow(), bench.now);
    bench.drain();
    let again = bench.greet(durable(V5, "a"));
    let heard = bench.hear(again);
    assert!(matches!(&heard[1..], [Heard::Publish(m)] if m.payload == b"y"), "{heard:?}");
    assert!(bench.broker.counters().dropped_rights >= 2);
}

#[test]
fn subscriptions_over_the_limit_are_refused_with_quota_exceeded() {
    let mut bench = Bench::limited(|limits| limits.subscriptions_max = 2);
    let conn = bench.client(V5, "a");
    bench.subscribe(conn, "a", Q0);
    bench.subscribe(conn, "b", Q0);
    bench.subscribe(conn, "b", Q1);
    bench.subscribe_with(conn, "c", options(Q0), None);
    assert_eq!(bench.next(conn), Heard::SubAck(1, vec![Reason::QUOTA_EXCEEDED.0]));
    bench.unsubscribe(conn, "a");
    bench.next(conn);
    bench.subscribe(conn, "c", Q0);
}

#[test]
fn a_filter_deeper_than_the_limit_is_refused() {
    let mut bench = Bench::new();
    let conn = bench.client(V5, "a");
    bench.subscribe_with(conn, &"a/".repeat(100), options(Q0), None);
    assert_eq!(bench.next(conn), Heard::SubAck(1, vec![Reason::TOPIC_FILTER_INVALID.0]));
}

#[test]
fn mqtt5_4_8_2_5_a_qos_2_message_that_was_sent_goes_to_no_other_member() {
    let mut bench = Bench::new();
    let from = bench.client(V5, "p");
    let (gone, here) = (bench.client(V5, "a"), bench.client(V5, "b"));
    bench.subscribe(gone, "$share/g/t", Q2);
    bench.publish(from, message("t", "sent", Q2, 1));
    assert_eq!(bench.message(gone).payload, b"sent");
    bench.publish(from, message("t", "waiting", Q2, 2));
    bench.subscribe(here, "$share/g/t", Q2);
    bench.drop_socket(gone);
    assert_eq!(bench.take_all(here), ["waiting"]);
    assert_eq!(bench.broker.memory_bytes(), 0);
}
