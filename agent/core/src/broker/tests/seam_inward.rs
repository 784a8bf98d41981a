//! What comes from other machines: who gets it, what is retained, and when it has to wait.

use std::time::Duration;

use super::bench::*;
use super::seam::joined;
use crate::broker::{Action, ConnId, Inward, NoRoom, Retain, Settings};
use crate::mqtt::packet::{Packet, Publish, QoS, SubscribeOptions};
use crate::mqtt::props::{self, Prop, PropsBuf};
use crate::topology::model::WhenFull;

pub fn inward<'a>(topic: &'a str, payload: &'a str) -> Inward<'a> {
    Inward { topic, payload: payload.as_bytes(), props: &[], qos: QoS::AtLeastOnce, retain: Retain::No, expires: None }
}

fn small(when_full: WhenFull) -> Settings {
    let mut settings = joined();
    settings.limits.queue_len_max = 4;
    settings.limits.inflight_max = 2;
    settings.when_full = when_full;
    settings
}

impl Bench {
    fn inward(&mut self, inward: Inward<'_>) -> Result<(), NoRoom> {
        let taken = self.broker.handle_inward(inward, self.now);
        self.drain();
        taken
    }

    fn take(&mut self, inward: Inward<'_>) {
        assert_eq!(self.inward(inward), Ok(()), "there is room");
    }

    /// Whether the shell was told to try again since this was last asked.
    fn may_try_again(&mut self) -> bool {
        let told = self.seam.iter().filter(|action| **action == Action::InwardRoom).count();
        self.seam.retain(|action| *action != Action::InwardRoom);
        assert!(told <= 1, "once is enough");
        told == 1
    }

    fn subscriber(&mut self, filter: &str) -> ConnId {
        let conn = self.client(V5, filter);
        let options = SubscribeOptions { qos: Q2, retain_as_published: true, ..SubscribeOptions::default() };
        self.subscribe_with(conn, filter, options, None);
        let heard = self.hear(conn);
        assert_eq!(heard.first(), Some(&Heard::SubAck(1, vec![2])));
        conn
    }

    /// What somebody finds retained who subscribes now.
    fn found(&mut self, filter: &str) -> Vec<String> {
        let conn = self.client(V5, "late");
        self.subscribe_with(conn, filter, SubscribeOptions::default(), None);
        let mut heard = self.hear(conn);
        assert!(matches!(heard.remove(0), Heard::SubAck(..)));
        let text = |heard| if let Heard::Publish(message) = heard { message.payload } else { panic!("{heard:?}") };
        heard.into_iter().map(|heard| String::from_utf8(text(heard)).unwrap()).collect()
    }
}

#[test]
fn a_message_from_another_machine_reaches_its_subscribers_and_is_not_offered_again() {
    let mut bench = Bench::with(joined());
    let (one, two) = (bench.client(V311, "1"), bench.client(V5, "2"));
    bench.subscribe(one, "a/+", Q0);
    bench.subscribe(two, "#", Q2);
    bench.seam.clear();
    bench.take(Inward { expires: Some(bench.now.after(Duration::from_secs(5))), ..inward("a/b", "x") });
    let first = bench.message(one);
    assert_eq!((first.payload, first.qos, first.retain), (b"x".to_vec(), Q0, false));
    let second = bench.message(two);
    assert_eq!((second.topic.as_str(), second.qos, second.expiry_s), ("a/b", Q1, Some(5)));
    assert_eq!(bench.seam, []);
    assert_eq!(bench.broker.counters().inward_received, 1);
    assert_eq!(bench.broker.counters().publishes_received, 0, "no program said it");
}

#[test]
fn mqtt5_3_8_3_1_no_local_does_not_keep_away_what_another_machine_said() {
    let mut bench = Bench::with(joined());
    let conn = bench.client(V5, "1");
    bench.subscribe_with(conn, "t", SubscribeOptions { no_local: true, ..SubscribeOptions::default() }, None);
    bench.hear(conn);
    bench.take(inward("t", "x"));
    assert_eq!(bench.payloads(conn), ["x"]);
}

#[test]
fn a_durable_session_is_kept_what_comes_while_it_is_away() {
    let mut bench = Bench::with(joined());
    let conn = bench.connect(durable(V311, "s"));
    bench.subscribe(conn, "t", Q1);
    bench.drop_socket(conn);
    bench.take(inward("t", "1"));
    bench.take(Inward { qos: Q0, ..inward("t", "2") });
    let again = bench.connect_with_backlog(durable(V311, "s"));
    assert_eq!(bench.take_all(again), ["1"]);
}

#[test]
fn mqtt5_4_8_2_one_member_of_a_group_gets_it_in_turn() {
    let mut bench = Bench::with(joined());
    let (one, two) = (bench.client(V5, "1"), bench.client(V5, "2"));
    bench.subscribe(one, "$share/g/t", Q1);
    bench.subscribe(two, "$share/g/t", Q1);
    for text in ["1", "2", "3", "4"] {
        bench.take(inward("t", text));
    }
    assert_eq!(
        (bench.payloads(one), bench.payloads(two)),
        (vec!["1".into(), "3".into()], vec!["2".into(), "4".into()])
    );
}

#[test]
fn rights_of_now_keep_it_from_whoever_may_not_hear_it() {
    let mut bench = Bench::with(joined());
    let conn = bench.client(V311, "1");
    bench.subscribe(conn, "t", Q1);
    let mut settings = joined();
    settings.local.rights.subscribe = only(&["u"]);
    bench.broker.handle_settings(settings, bench.now);
    bench.take(inward("t", "x"));
    bench.silent(conn);
    assert_eq!(bench.broker.counters().dropped_rights, 1);
}

#[test]
fn a_subscriber_that_keeps_up_misses_nothing_however_small_its_queue() {
    for when_full in [WhenFull::DropOldest, WhenFull::DropNewest, WhenFull::Block] {
        let mut bench = Bench::with(small(when_full));
        let to = bench.client(V311, "s");
        bench.subscribe(to, "t", Q1);
        let (mut got, mut refusals) = (Vec::new(), 0);
        for number in 0..100 {
            let text = number.to_string();
            while bench.inward(inward("t", &text)) == Err(NoRoom) {
                refusals += 1;
                assert_eq!(bench.inward(inward("t", &text)), Err(NoRoom));
                assert!(!bench.may_try_again());
                got.extend(bench.take_all(to));
                assert!(bench.may_try_again(), "{when_full:?}");
            }
        }
        got.extend(bench.take_all(to));
        assert_eq!(got, (0..100).map(|number| number.to_string()).collect::<Vec<_>>(), "{when_full:?}");
        assert!(refusals > 10, "{refusals} refusals");
        assert_eq!(bench.broker.counters().dropped_full, 0);
    }
}

#[test]
fn what_is_refused_reaches_nobody_and_is_not_retained() {
    let mut bench = Bench::with(small(WhenFull::DropOldest));
    let (slow, well) = (bench.client(V311, "s"), bench.client(V311, "w"));
    bench.subscribe(slow, "t", Q1);
    bench.subscribe(well, "t", Q1);
    while bench.inward(Inward { retain: Retain::Live, ..inward("t", "x") }).is_ok() {
        bench.take_all(well);
    }
    bench.silent(well);
    assert_eq!(bench.inward(Inward { retain: Retain::Live, ..inward("t", "y") }), Err(NoRoom));
    bench.silent(well);
    assert_eq!(bench.found("t"), ["x"]);
    assert_eq!(bench.inward(Inward { retain: Retain::Store, ..inward("t", "z") }), Ok(()), "that needs no queue");
    assert_eq!(bench.inward(Inward { qos: Q0, ..inward("t", "q") }), Ok(()), "nor has QoS 0 a right to one");
}

#[test]
fn a_subscriber_that_stands_still_holds_it_up_for_a_second_at_most() {
    for when_full in [WhenFull::DropOldest, WhenFull::DropNewest] {
        let mut bench = Bench::with(small(when_full));
        let stuck = bench.client(V311, "s");
        bench.subscribe(stuck, "t", Q1);
        while bench.inward(inward("t", "x")).is_ok() {}
        bench.seconds(2);
        assert!(bench.may_try_again());
        for _ in 0..10 {
            bench.take(inward("t", "x"));
        }
        assert!(bench.broker.counters().dropped_full > 0);
    }
}

#[test]
fn block_waits_for_a_session_that_is_away_and_full() {
    let mut bench = Bench::with(small(WhenFull::Block));
    let to = bench.connect(durable(V311, "s"));
    bench.subscribe(to, "t", Q1);
    bench.drop_socket(to);
    for _ in 0..4 {
        bench.take(inward("t", "x"));
    }
    assert_eq!(bench.inward(inward("t", "y")), Err(NoRoom));
    bench.seconds(60);
    assert!(!bench.may_try_again());
    let again = bench.connect_with_backlog(durable(V311, "s"));
    assert_eq!(bench.take_all(again).len(), 4);
    assert!(bench.may_try_again());
    bench.take(inward("t", "y"));
}

#[test]
fn drop_policies_apply_to_who_is_away() {
    for (when_full, kept) in
        [(WhenFull::DropOldest, ["3", "4", "5", "6"]), (WhenFull::DropNewest, ["1", "2", "3", "4"])]
    {
        let mut bench = Bench::with(small(when_full));
        let to = bench.connect(durable(V311, "s"));
        bench.subscribe(to, "t", Q1);
        bench.drop_socket(to);
        for text in ["1", "2", "3", "4", "5", "6"] {
            bench.take(inward("t", text));
        }
        let again = bench.connect_with_backlog(durable(V311, "s"));
        assert_eq!(bench.take_all(again), kept);
        assert_eq!(bench.broker.counters().dropped_full, 2);
    }
}

#[test]
fn the_session_that_is_waited_for_may_end() {
    let mut bench = Bench::with(small(WhenFull::DropOldest));
    let to = bench.client(V311, "s");
    bench.subscribe(to, "t", Q1);
    while bench.inward(inward("t", "x")).is_ok() {}
    bench.drop_socket(to);
    assert!(bench.may_try_again());
    bench.take(inward("t", "x"));
}

#[test]
fn several_full_queues_are_told_of_once_at_a_time() {
    let mut bench = Bench::with(small(WhenFull::DropOldest));
    let (one, two) = (bench.client(V311, "1"), bench.client(V311, "2"));
    bench.subscribe(one, "a", Q1);
    bench.subscribe(two, "b", Q1);
    while bench.inward(inward("a", "x")).is_ok() {}
    while bench.inward(inward("b", "x")).is_ok() {}
    bench.take_all(one);
    assert!(bench.may_try_again());
    assert_eq!(bench.inward(inward("b", "x")), Err(NoRoom), "not this one yet");
    bench.take_all(two);
    assert!(bench.may_try_again());
    bench.take_all(one);
    assert!(!bench.may_try_again());
}

#[test]
fn full_memory_waits_or_drops_as_the_store_says() {
    for (when_full, waits) in [(WhenFull::Block, true), (WhenFull::DropNewest, false)] {
        let mut settings = joined();
        settings.limits.memory_bytes_max = 10_000;
        settings.when_full = when_full;
        let mut bench = Bench::with(settings);
        let to = bench.connect(durable(V311, "s"));
        bench.subscribe(to, "t", Q1);
        bench.drop_socket(to);
        let text = "x".repeat(1_000);
        let mut refused = false;
        for _ in 0..30 {
            refused |= bench.inward(inward("t", &text)).is_err();
        }
        assert_eq!(refused, waits);
        assert!(bench.broker.memory_bytes() < 12_000);
        assert!(!bench.may_try_again());
        if waits {
            let again = bench.connect_with_backlog(durable(V311, "s"));
            bench.take_all(again);
            assert!(bench.may_try_again());
            bench.take(inward("t", &text));
            bench.drop_socket(again);
            bench.take(inward("t", &"x".repeat(20_000)));
            assert_eq!(bench.broker.counters().dropped_full, 1, "no waiting makes room for that");
        } else {
            assert!(bench.broker.counters().dropped_full > 10);
        }
    }
}

#[test]
fn a_live_retained_message_is_kept_and_delivered_with_its_flag() {
    let mut bench = Bench::with(joined());
    let (as_published, plain) = (bench.subscriber("t"), bench.client(V311, "1"));
    bench.subscribe(plain, "t", Q0);
    bench.take(Inward { retain: Retain::Live, ..inward("t", "x") });
    assert!(bench.message(as_published).retain);
    assert!(!bench.message(plain).retain);
    assert_eq!(bench.found("#"), ["x"]);
    bench.take(inward("t", "y"));
    assert!(!bench.message(as_published).retain);
    assert_eq!(bench.found("#"), ["x"], "what is not retained replaces nothing");
}

#[test]
fn a_stored_retained_message_is_kept_and_disturbs_nobody() {
    let mut bench = Bench::with(joined());
    let conn = bench.subscriber("t");
    bench.take(Inward { retain: Retain::Store, ..inward("t", "x") });
    bench.silent(conn);
    assert_eq!(bench.found("#"), ["x"]);
    bench.take(Inward { retain: Retain::Store, ..inward("t", "") });
    bench.silent(conn);
    assert_eq!(bench.found("#"), Vec::<String>::new());
}

#[test]
fn mqtt_3_3_1_10_an_empty_live_message_clears_its_topic_and_is_delivered() {
    let mut bench = Bench::with(joined());
    let conn = bench.subscriber("t");
    bench.take(Inward { retain: Retain::Live, ..inward("t", "x") });
    bench.take(Inward { retain: Retain::Live, ..inward("t", "") });
    assert_eq!(bench.take_all(conn), ["x", ""]);
    assert_eq!(bench.found("#"), Vec::<String>::new());
    assert_eq!(bench.broker.memory_bytes(), 0);
}

#[test]
fn what_a_program_retains_and_what_comes_in_replace_each_other() {
    let mut bench = Bench::with(joined());
    let from = bench.client(V5, "p");
    bench.publish(from, Publish { retain: true, ..message("t", "mine", Q0, 0) });
    bench.take(Inward { retain: Retain::Store, ..inward("t", "theirs") });
    assert_eq!(bench.found("t"), ["theirs"]);
    bench.publish(from, Publish { retain: true, ..message("t", "mine again", Q0, 0) });
    assert_eq!(bench.found("t"), ["mine again"]);
}

#[test]
fn retained_messages_obey_their_limits_wherever_they_come_from() {
    let mut settings = joined();
    settings.limits.retained_len_max = 2;
    let mut bench = Bench::with(settings);
    for topic in ["a", "b", "c", "a"] {
        bench.take(Inward { retain: Retain::Store, ..inward(topic, "x") });
    }
    assert_eq!(bench.found("#").len(), 2);
    assert_eq!(bench.broker.counters().refused_retained, 1);
}

#[test]
fn what_expired_on_its_way_is_dropped_and_ends_what_it_would_have_replaced() {
    let mut bench = Bench::with(joined());
    let conn = bench.subscriber("t");
    bench.take(Inward { retain: Retain::Store, ..inward("t", "old") });
    bench.take(Inward { expires: Some(bench.now), ..inward("t", "late") });
    assert_eq!(bench.found("t"), ["old"]);
    bench.take(Inward { expires: Some(bench.now), retain: Retain::Live, ..inward("t", "newer, but late") });
    assert_eq!(bench.found("t"), Vec::<String>::new());
    bench.silent(conn);
    assert_eq!(bench.broker.counters().dropped_expired, 2);
}

#[test]
fn a_retained_message_expires_here_as_it_would_where_it_was_said() {
    let mut bench = Bench::with(joined());
    let expires = Some(bench.now.after(Duration::from_secs(5)));
    bench.take(Inward { retain: Retain::Store, expires, ..inward("t", "x") });
    assert_eq!(bench.found("t"), ["x"]);
    bench.seconds(120);
    assert_eq!(bench.found("t"), Vec::<String>::new());
    assert_eq!(bench.broker.memory_bytes(), 0, "the sweep has taken it");
}

#[test]
fn topics_that_no_other_machine_may_speak_on_are_passed_over_and_counted() {
    let mut bench = Bench::with(joined());
    let conn = bench.subscriber("#");
    let levels = "a/".repeat(200);
    for topic in ["", "a/#", "+", "a\0b", "$SYS/broker/uptime", levels.as_str()] {
        bench.take(Inward { retain: Retain::Live, ..inward(topic, "x") });
    }
    bench.silent(conn);
    assert_eq!(bench.broker.counters().refused_inward, 6);
    assert_eq!(bench.broker.memory_bytes(), 0);
}

#[test]
fn whatever_properties_come_in_only_sound_ones_go_out() {
    let mut bench = Bench::with(joined());
    let conn = bench.subscriber("t");
    let mut all = PropsBuf::default();
    all.push(Prop::Text(props::CONTENT_TYPE, "text/plain"));
    all.push(Prop::Text(props::CONTENT_TYPE, "twice"));
    all.push(Prop::Text(props::RESPONSE_TOPIC, "not/#"));
    all.push(Prop::Two(props::TOPIC_ALIAS, 1));
    all.push(Prop::Four(props::MESSAGE_EXPIRY, 1));
    all.push(Prop::Varint(props::SUBSCRIPTION_ID, 5));
    all.push(Prop::Binary(props::CORRELATION_DATA, b"c"));
    all.push(Prop::Pair("k", "v"));
    all.push(Prop::Pair("k", "v"));
    let mut bytes = all.as_props().as_bytes().to_vec();
    bytes.extend_from_slice(&[0xff, 0x00, 0x26]);
    bench.take(Inward { props: &bytes, ..inward("t", "x") });
    let content = r#"Text(3, "text/plain")"#;
    assert_eq!(bench.message(conn).props, [content, "Binary(9, [99])", r#"Pair("k", "v")"#, r#"Pair("k", "v")"#]);
}

#[test]
fn what_comes_from_other_machines_gets_its_share_of_a_queue_that_a_program_here_keeps_full() {
    gets_its_share(Bench::limited(|limits| (limits.queue_len_max, limits.inflight_max) = (16, 4)));
}

#[test]
fn what_comes_from_other_machines_gets_its_share_of_the_memory_that_a_program_here_keeps_full() {
    gets_its_share(Bench::limited(|limits| (limits.memory_bytes_max, limits.inflight_max) = (8_000, 4)));
}

#[test]
fn what_is_promised_to_nobody_does_not_take_the_room_that_others_wait_for() {
    let mut bench = Bench::limited(|limits| (limits.queue_len_max, limits.inflight_max) = (16, 4));
    let (from, promised, to) = (bench.client(V5, "from"), bench.client(V5, "promised"), bench.client(V5, "to"));
    bench.subscribe(to, "t", Q1);
    let mut heard = Vec::new();
    for number in 1..200 {
        (0..2).for_each(|_| bench.publish(from, message("t", "0", Q0, 0)));
        if number % 10 == 1 {
            bench.publish(promised, message("t", "1", Q1, number));
        }
        if number % 20 == 0 || bench.may_try_again() {
            _ = bench.inward(inward("t", "afar"));
        }
        // One at a time: as fast as somebody slow takes them.
        let mut bytes = Vec::new();
        while bench.asked.remove(&to) {
            bench.broker.poll_transmit(to, &mut bytes, 1, bench.now);
            bench.drain();
            if bench.broker.conns.get(to.0).unwrap().begun.is_empty() {
                break;
            }
        }
        for packet in bench.read(to, &bytes) {
            let Heard::Publish(message) = packet else { continue };
            heard.push(String::from_utf8(message.payload).unwrap());
            if message.qos == Q1 {
                bench.send(to, &Packet::PubAck(ack(message.id)));
            }
        }
    }
    let count = |of: &str| heard.iter().filter(|heard| *heard == of).count();
    assert!(count("1") >= 15 && count("afar") >= 5 && count("0") >= 100, "{heard:?}");
}

fn gets_its_share(mut bench: Bench) {
    let (from, to) = (bench.client(V311, "from"), bench.client(V5, "to"));
    bench.subscribe(to, "t", Q1);
    let mut bytes = Vec::new();
    for number in 1..=400 {
        crate::mqtt::encode(&Packet::Publish(message("t", "here", Q1, number)), V311, &mut bytes).unwrap();
    }
    bench.bytes(from, &bytes);
    while bench.inward(inward("t", "afar")).is_ok() {}
    let try_again = |bench: &mut Bench| {
        if bench.may_try_again() {
            while bench.inward(inward("t", "afar")).is_ok() {}
        }
    };
    let mut heard = Vec::new();
    while heard.len() < 300 {
        let messages = bench.messages(to);
        try_again(&mut bench);
        let mut acks = Vec::new();
        for message in messages {
            crate::mqtt::encode(&Packet::PubAck(ack(message.id)), V5, &mut acks).unwrap();
            heard.push(String::from_utf8(message.payload).unwrap());
        }
        bench.bytes(to, &acks);
        try_again(&mut bench);
    }
    let afar = heard.iter().filter(|heard| *heard == "afar").count();
    assert!((60..240).contains(&afar), "{afar} of {}", heard.len());
}
