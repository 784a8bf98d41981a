//! What leaves for other machines: offers, the answers that wait for them, and what is wanted.

use super::bench::*;
use crate::broker::{Action, ConnId, OfferId, Principal, Settings, Trust, Verdict};
use crate::mqtt::packet::{Connect, Packet, Publish, Reason, SubscribeOptions, Version};
use crate::rights::Rights;
use crate::topology::model::WhenFull;

pub fn joined() -> Settings {
    Settings { outward: true, ..settings() }
}

/// A broker in a network, with one publisher.
fn with_publisher(version: Version) -> (Bench, ConnId) {
    let mut bench = Bench::with(joined());
    let conn = bench.client(version, "p");
    (bench, conn)
}

impl Bench {
    /// What was offered since this was last asked: token and payload.
    fn offers(&mut self) -> Vec<(Option<OfferId>, String)> {
        let (offers, rest) =
            std::mem::take(&mut self.seam).into_iter().partition(|action| matches!(action, Action::Offer { .. }));
        self.seam = rest;
        let of = |action| match action {
            Action::Offer { token, message } => Some((token, String::from_utf8(message.payload.to_vec()).unwrap())),
            Action::Transmit(_) | Action::PauseReading(_) | Action::ResumeReading(_) | Action::Authenticate { .. } => {
                None
            }
            Action::Close { .. } | Action::InwardRoom | Action::Wanted(_) | Action::Unwanted(_) => None,
            Action::Store(_) => None,
        };
        Vec::into_iter(offers).filter_map(of).collect()
    }

    fn tokens(&mut self) -> Vec<OfferId> {
        self.offers().into_iter().map(|(token, _)| token.expect("somebody waits for an answer")).collect()
    }

    fn settled(&mut self, offer: OfferId, reason: Reason) {
        self.broker.handle_settled(offer, reason, self.now);
        self.drain();
    }

    /// What was said of filters since this was last asked: `+` wanted, `-` unwanted.
    fn said(&mut self) -> Vec<String> {
        let of = |action: Action| match &action {
            Action::Wanted(filter) => format!("+{filter}"),
            Action::Unwanted(filter) => format!("-{filter}"),
            Action::Transmit(_) | Action::PauseReading(_) | Action::ResumeReading(_) | Action::Authenticate { .. } => {
                panic!("{action:?}")
            }
            Action::Close { .. } | Action::InwardRoom | Action::Offer { .. } | Action::Store(_) => panic!("{action:?}"),
        };
        std::mem::take(&mut self.seam).into_iter().map(of).collect()
    }

    fn wanted(&self) -> Vec<&str> {
        self.broker.wanted().collect()
    }
}

#[test]
fn without_a_network_nothing_is_offered_and_nobody_waits() {
    let mut bench = Bench::new();
    let conn = bench.client(V5, "p");
    bench.subscribe(conn, "t", Q0);
    bench.publish(conn, message("u", "1", Q1, 1));
    bench.publish(conn, message("u", "2", Q2, 2));
    bench.broker.handle_outward_room(false, bench.now);
    bench.publish(conn, message("u", "3", Q1, 3));
    let answers = [Heard::PubAck(1, Reason::SUCCESS), Heard::PubRec(2, Reason::SUCCESS)];
    assert_eq!(bench.hear(conn), [&answers[..], &[Heard::PubAck(3, Reason::SUCCESS)]].concat());
    assert_eq!(bench.seam, []);
}

#[test]
fn a_publish_is_offered_whole_once_it_has_been_routed_here() {
    let (mut bench, from) = with_publisher(V5);
    let to = bench.client(V5, "s");
    bench.subscribe(to, "t", Q1);
    bench.seam.clear();
    bench.publish(from, Publish { retain: true, expiry_s: Some(9), ..message("t", "x", Q1, 1) });
    assert_eq!(bench.payloads(to), ["x"], "who is here need not wait for the network");
    let [Action::Offer { token: Some(_), message }] = &bench.seam[..] else { panic!("{:?}", bench.seam) };
    assert_eq!((&*message.topic, &*message.payload), ("t", &b"x"[..]));
    assert_eq!((message.qos, message.retain), (Q1, true));
    assert_eq!(message.expires, Some(bench.now.after(std::time::Duration::from_secs(9))));
}

#[test]
fn an_answer_waits_until_its_offer_is_settled() {
    for version in [V31, V311, V5] {
        let (mut bench, from) = with_publisher(version);
        bench.publish(from, message("t", "1", Q1, 1));
        bench.publish(from, message("t", "2", Q2, 2));
        bench.publish(from, message("t", "3", Q0, 0));
        bench.silent(from);
        let offers = bench.offers();
        let [(Some(first), _), (Some(second), _), (None, last)] = &offers[..] else { panic!("{offers:?}") };
        assert_eq!(last, "3");
        bench.settled(*first, Reason::SUCCESS);
        assert_eq!(bench.next(from), Heard::PubAck(1, Reason::SUCCESS));
        bench.settled(*second, Reason::SUCCESS);
        assert_eq!(bench.next(from), Heard::PubRec(2, Reason::SUCCESS));
        bench.send(from, &Packet::PubRel(ack(2)));
        assert_eq!(bench.next(from), Heard::PubComp(2, Reason::SUCCESS));
        assert_eq!(bench.broker.counters().settled_unheard, 0);
    }
}

#[test]
fn mqtt_4_6_0_2_and_3_answers_go_out_in_the_order_of_the_publishes_whatever_order_they_settle_in() {
    for version in [V311, V5] {
        let (mut bench, from) = with_publisher(version);
        for (id, qos) in [(1, Q1), (2, Q2), (3, Q1), (4, Q2), (5, Q1)] {
            bench.publish(from, message("t", "x", qos, id));
        }
        let mut tokens = bench.tokens();
        let first = tokens.remove(0);
        for token in tokens.into_iter().rev() {
            bench.settled(token, Reason::SUCCESS);
        }
        bench.silent(from);
        bench.settled(first, Reason::SUCCESS);
        let success = Reason::SUCCESS;
        let (one, two, three) = (Heard::PubAck(1, success), Heard::PubRec(2, success), Heard::PubAck(3, success));
        let (four, five) = (Heard::PubRec(4, success), Heard::PubAck(5, success));
        assert_eq!(bench.hear(from), [one, two, three, four, five]);
    }
}

#[test]
fn mqtt_4_6_0_2_a_refusal_waits_behind_what_was_published_before_it() {
    let mut settings = joined();
    settings.local.rights.publish = only(&["t"]);
    let mut bench = Bench::with(settings);
    let from = bench.client(V5, "p");
    bench.publish(from, message("t", "x", Q1, 1));
    bench.publish(from, message("elsewhere", "x", Q1, 2));
    bench.silent(from);
    let [token] = bench.tokens()[..] else { panic!("what is refused is not offered") };
    bench.settled(token, Reason::SUCCESS);
    let refused = Heard::PubAck(2, Reason::NOT_AUTHORIZED);
    assert_eq!(bench.hear(from), [Heard::PubAck(1, Reason::SUCCESS), refused]);
}

#[test]
fn mqtt_4_3_3_2_a_dup_of_an_unsettled_qos_2_publish_is_not_offered_twice() {
    let (mut bench, from) = with_publisher(V311);
    let to = bench.client(V311, "s");
    bench.subscribe(to, "t", Q0);
    bench.seam.clear();
    bench.publish(from, message("t", "x", Q2, 1));
    bench.publish(from, Publish { dup: true, ..message("t", "x", Q2, 1) });
    bench.silent(from);
    let [token] = bench.tokens()[..] else { panic!("it is offered once") };
    bench.settled(token, Reason::SUCCESS);
    assert_eq!(bench.next(from), Heard::PubRec(1, Reason::SUCCESS), "and answered once");
    bench.publish(from, Publish { dup: true, ..message("t", "x", Q2, 1) });
    assert_eq!(bench.next(from), Heard::PubRec(1, Reason::SUCCESS), "the answer may have been lost");
    assert_eq!(bench.offers(), []);
    assert_eq!(bench.payloads(to), ["x"]);
}

#[test]
fn mqtt_4_4_0_1_a_qos_2_publish_that_comes_again_by_a_new_connection_gets_the_answer_of_its_first_offer() {
    for settles_before_the_dup in [false, true] {
        let mut bench = Bench::with(joined());
        let before = bench.connect(durable(V5, "p"));
        bench.publish(before, message("t", "x", Q2, 1));
        let [token] = bench.tokens()[..] else { panic!("it is offered once") };
        bench.drop_socket(before);
        if settles_before_the_dup {
            bench.settled(token, Reason::SUCCESS);
            assert_eq!(bench.broker.counters().settled_unheard, 1);
        }
        let again = bench.connect(durable(V5, "p"));
        bench.publish(again, Publish { dup: true, ..message("t", "x", Q2, 1) });
        if !settles_before_the_dup {
            bench.silent(again);
            bench.settled(token, Reason::SUCCESS);
            assert_eq!(bench.broker.counters().settled_unheard, 0);
        }
        assert_eq!(bench.next(again), Heard::PubRec(1, Reason::SUCCESS));
        assert_eq!(bench.offers(), []);
    }
}

#[test]
fn a_settlement_whose_connection_is_gone_is_passed_over_and_counted() {
    let mut bench = Bench::with(joined());
    let from = bench.connect(durable(V311, "p"));
    bench.publish(from, message("t", "x", Q1, 1));
    let [token] = bench.tokens()[..] else { panic!("it is offered once") };
    bench.drop_socket(from);
    let again = bench.connect(durable(V311, "p"));
    bench.settled(token, Reason::SUCCESS);
    bench.silent(again);
    assert_eq!(bench.broker.counters().settled_unheard, 1);
    bench.settled(token, Reason::SUCCESS);
    assert_eq!(bench.broker.counters().settled_unheard, 2, "twice is no harm");
    bench.leave(again);
    bench.connect(hello(V311, "p"));
    bench.settled(token, Reason::SUCCESS);
    assert_eq!(bench.broker.counters().settled_unheard, 3, "nor when the session is gone too");
}

#[test]
fn a_connection_that_is_taken_over_takes_its_answers_with_it() {
    let mut bench = Bench::with(joined());
    let before = bench.connect(durable(V5, "p"));
    bench.publish(before, message("t", "old", Q1, 1));
    let after = bench.connect(durable(V5, "p"));
    bench.publish(after, message("t", "new", Q1, 1));
    let tokens = bench.tokens();
    bench.settled(tokens[0], Reason::SUCCESS);
    bench.silent(after);
    bench.settled(tokens[1], Reason::SUCCESS);
    assert_eq!(bench.next(after), Heard::PubAck(1, Reason::SUCCESS));
}

#[test]
fn a_publisher_with_too_many_unsettled_offers_is_read_no_further_and_loses_nothing() {
    for version in [V311, V5] {
        let mut settings = joined();
        settings.limits.inflight_max = 3;
        let mut bench = Bench::with(settings);
        let (from, other) = (bench.client(version, "p"), bench.client(version, "q"));
        for id in 1..=10 {
            bench.publish(from, message("t", &id.to_string(), Q1, id));
        }
        bench.publish(other, message("t", "other", Q1, 1));
        let (mut offered, mut answered) = (Vec::new(), 0);
        while let offers = bench.offers()
            && !offers.is_empty()
        {
            assert!(offers.len() <= 4, "three of one connection and one of the other: {offers:?}");
            for (token, text) in offers {
                offered.push(text);
                bench.settled(token.unwrap(), Reason::SUCCESS);
            }
            answered += bench.hear(from).len();
        }
        assert_eq!(offered, ["1", "2", "3", "other", "4", "5", "6", "7", "8", "9", "10"]);
        assert_eq!(answered, 10);
    }
}

#[test]
fn qos_0_does_not_wait_behind_unsettled_offers() {
    let mut settings = joined();
    settings.limits.inflight_max = 1;
    let mut bench = Bench::with(settings);
    let from = bench.client(V311, "p");
    bench.publish(from, message("t", "1", Q1, 1));
    bench.publish(from, message("t", "2", Q0, 0));
    assert_eq!(bench.offers().len(), 2);
}

#[test]
fn a_full_network_holds_up_older_clients_and_refuses_version_5() {
    let (mut bench, old) = with_publisher(V311);
    let new = bench.client(V5, "new");
    let to = bench.client(V5, "s");
    bench.subscribe(to, "t", Q1);
    bench.seam.clear();
    bench.broker.handle_outward_room(false, bench.now);
    bench.publish(old, message("t", "1", Q1, 1));
    bench.publish(new, message("t", "2", Q1, 1));
    assert_eq!(bench.next(new), Heard::PubAck(1, Reason::QUOTA_EXCEEDED));
    bench.silent(old);
    bench.silent(to);
    bench.publish(new, message("t", "3", Q0, 0));
    assert_eq!(bench.payloads(to), ["3"], "QoS 0 is not kept, so it needs no room");
    assert_eq!(bench.offers().len(), 1);
    bench.broker.handle_outward_room(true, bench.now);
    bench.drain();
    assert_eq!(bench.payloads(to), ["1"]);
    let [token] = bench.tokens()[..] else { panic!("it is offered now") };
    bench.settled(token, Reason::SUCCESS);
    assert_eq!(bench.next(old), Heard::PubAck(1, Reason::SUCCESS));
}

#[test]
fn who_leaves_while_the_network_is_full_waits_no_more() {
    let (mut bench, from) = with_publisher(V311);
    bench.broker.handle_outward_room(false, bench.now);
    bench.publish(from, message("t", "1", Q1, 1));
    bench.drop_socket(from);
    bench.broker.handle_outward_room(true, bench.now);
    bench.drain();
    assert_eq!(bench.offers(), []);
}

#[test]
fn mqtt5_3_4_2_1_what_the_network_refuses_the_publisher_is_told() {
    let (mut bench, from) = with_publisher(V5);
    bench.publish(from, message("t", "1", Q1, 1));
    bench.publish(from, message("t", "2", Q2, 2));
    for token in bench.tokens() {
        bench.settled(token, Reason::QUOTA_EXCEEDED);
    }
    let refused = Reason::QUOTA_EXCEEDED;
    assert_eq!(bench.hear(from), [Heard::PubAck(1, refused), Heard::PubRec(2, refused)]);
    assert_eq!(bench.broker.counters().refused_publishes, 2);
    bench.publish(from, message("t", "another", Q2, 2));
    assert_eq!(bench.offers().len(), 1, "a refused exchange is over, and its identifier is free");
}

#[test]
fn what_the_network_refuses_an_older_publisher_is_acknowledged_and_counted() {
    let (mut bench, from) = with_publisher(V311);
    bench.publish(from, message("t", "1", Q1, 1));
    bench.publish(from, message("t", "2", Q2, 2));
    for token in bench.tokens() {
        bench.settled(token, Reason::QUOTA_EXCEEDED);
    }
    assert_eq!(bench.hear(from), [Heard::PubAck(1, Reason::SUCCESS), Heard::PubRec(2, Reason::SUCCESS)]);
    bench.send(from, &Packet::PubRel(ack(2)));
    assert_eq!(bench.next(from), Heard::PubComp(2, Reason::SUCCESS));
    assert_eq!(bench.broker.counters().refused_publishes, 2);
}

#[test]
fn a_release_before_its_settlement_frees_the_identifier() {
    let (mut bench, from) = with_publisher(V311);
    bench.publish(from, message("t", "1", Q2, 1));
    bench.send(from, &Packet::PubRel(ack(1)));
    assert_eq!(bench.next(from), Heard::PubComp(1, Reason::SUCCESS));
    bench.publish(from, message("t", "2", Q2, 1));
    assert_eq!(bench.offers().len(), 2);
}

#[test]
fn a_will_is_offered_and_nobody_waits_for_it() {
    let mut bench = Bench::with(joined());
    let conn = bench.connect(Connect { will: Some(will("t", b"gone")), ..hello(V311, "p") });
    bench.drop_socket(conn);
    assert_eq!(bench.offers(), [(None, "gone".to_owned())]);
}

#[test]
fn a_publish_of_a_device_is_offered_as_a_programs_is() {
    let mut bench = Bench::with(joined());
    let conn = bench.open(Trust::Password);
    let connect = Connect { user: Some("plc"), password: Some(b"x"), ..hello(V311, "") };
    bench.send(conn, &Packet::Connect(Box::new(connect)));
    bench.verdict(conn, Verdict::Welcome(Principal { name: name("plc"), rights: Rights::default() }));
    bench.hear(conn);
    bench.publish(conn, message("t", "x", Q1, 1));
    let [token] = bench.tokens()[..] else { panic!("it is offered") };
    bench.settled(token, Reason::SUCCESS);
    assert_eq!(bench.next(conn), Heard::PubAck(1, Reason::SUCCESS));
}

#[test]
fn a_publish_that_waits_for_a_subscriber_here_is_offered_when_it_is_let_in() {
    let mut settings = joined();
    settings.limits.queue_len_max = 2;
    settings.limits.inflight_max = 2;
    let mut bench = Bench::with(settings);
    let (from, to) = (bench.client(V311, "p"), bench.client(V311, "s"));
    bench.subscribe(to, "t", Q1);
    bench.seam.clear();
    let mut offered = Vec::new();
    for id in 1..=20 {
        bench.publish(from, message("t", &id.to_string(), Q1, id));
        for (token, text) in bench.offers() {
            offered.push(text);
            bench.settled(token.unwrap(), Reason::SUCCESS);
        }
    }
    assert!(offered.len() < 20, "it waits");
    let mut got = Vec::new();
    for _ in 0..20 {
        got.extend(bench.take_all(to));
        for (token, text) in bench.offers() {
            offered.push(text);
            bench.settled(token.unwrap(), Reason::SUCCESS);
        }
    }
    let expected: Vec<String> = (1..=20).map(|id: u16| id.to_string()).collect();
    assert_eq!(offered, expected);
    assert_eq!(got, expected);
}

#[test]
fn hobnails_own_topics_are_read_by_everyone_and_written_by_no_program() {
    let mut settings = joined();
    settings.local.rights = Rights { publish: only(&["t", "$hobnail/#"]), subscribe: only(&["t"]) };
    let mut bench = Bench::with(settings);
    let conn = bench.client(V5, "p");
    bench.subscribe(conn, "$hobnail/#", Q1);
    bench.publish(conn, message("$hobnail/nodes/x", "lie", Q1, 1));
    assert_eq!(bench.next(conn), Heard::PubAck(1, Reason::NOT_AUTHORIZED));
    assert_eq!(bench.offers(), []);
    let inward = super::seam_inward::inward("$hobnail/nodes/x", "another machine's lie");
    assert_eq!(bench.broker.handle_inward(inward, bench.now), Ok(()));
    assert_eq!(bench.broker.counters().refused_inward, 1);
    bench.broker.handle_told("$hobnail/nodes/x", b"true", bench.now);
    bench.drain();
    assert_eq!(bench.payloads(conn), ["true"]);
    let refused = bench.greet(Connect { will: Some(will("$hobnail/nodes/x", b"lie")), ..hello(V311, "q") });
    assert_eq!(bench.next(refused), Heard::ConnAck { present: false, reason: Reason::NOT_AUTHORIZED });
}

#[test]
fn a_broker_that_leaves_its_network_owes_nobody_an_answer() {
    let (mut bench, from) = with_publisher(V311);
    let waiting = bench.client(V311, "q");
    bench.publish(from, message("t", "1", Q1, 1));
    bench.publish(from, message("t", "2", Q2, 2));
    bench.broker.handle_outward_room(false, bench.now);
    bench.publish(waiting, message("t", "3", Q1, 1));
    let tokens = bench.tokens();
    bench.broker.handle_settings(settings(), bench.now);
    bench.drain();
    assert_eq!(bench.hear(from), [Heard::PubAck(1, Reason::SUCCESS), Heard::PubRec(2, Reason::SUCCESS)]);
    assert_eq!(bench.next(waiting), Heard::PubAck(1, Reason::SUCCESS));
    bench.settled(tokens[0], Reason::SUCCESS);
    bench.silent(from);
    assert_eq!(bench.offers(), []);
}

#[test]
fn the_memory_of_an_offer_counts_until_the_network_lets_go_of_it() {
    let (mut bench, from) = with_publisher(V311);
    bench.publish(from, message("t", &"x".repeat(1_000), Q1, 1));
    assert!(bench.broker.memory_bytes() > 1_000);
    bench.seam.clear();
    assert_eq!(bench.broker.memory_bytes(), 0);
}

#[test]
fn the_first_subscription_to_a_filter_is_told_and_the_end_of_the_last() {
    let mut bench = Bench::with(joined());
    let (one, two) = (bench.client(V5, "1"), bench.client(V5, "2"));
    bench.subscribe(one, "a/#", Q0);
    bench.subscribe(two, "a/#", Q1);
    bench.subscribe(two, "a/+", Q1);
    bench.subscribe(one, "a/#", Q2);
    assert_eq!(bench.said(), ["+a/#", "+a/+"]);
    assert_eq!(bench.wanted(), ["a/#", "a/+"]);
    bench.unsubscribe(one, "a/#");
    bench.unsubscribe(one, "never");
    assert_eq!(bench.said(), Vec::<String>::new());
    bench.unsubscribe(two, "a/#");
    assert_eq!(bench.said(), ["-a/#"]);
    assert_eq!(bench.wanted(), ["a/+"]);
}

#[test]
fn mqtt5_4_8_2_a_group_wants_the_filter_that_it_shares() {
    let mut bench = Bench::with(joined());
    let (one, two) = (bench.client(V5, "1"), bench.client(V5, "2"));
    bench.subscribe(one, "$share/g/a", Q0);
    bench.subscribe(two, "$share/h/a", Q0);
    bench.subscribe(two, "a", Q0);
    assert_eq!(bench.said(), ["+a"]);
    assert_eq!(bench.wanted(), ["a"]);
    bench.unsubscribe(one, "$share/g/a");
    bench.unsubscribe(two, "a");
    assert_eq!(bench.said(), Vec::<String>::new());
    bench.unsubscribe(two, "$share/h/a");
    assert_eq!(bench.said(), ["-a"]);
}

#[test]
fn a_refused_subscription_wants_nothing() {
    let mut settings = joined();
    settings.local.rights.subscribe = only(&["a"]);
    let mut bench = Bench::with(settings);
    let conn = bench.client(V311, "1");
    bench.subscribe_with(conn, "b", SubscribeOptions::default(), None);
    assert_eq!(bench.said(), Vec::<String>::new());
}

#[test]
fn the_figures_of_this_broker_are_wanted_from_nobody_else() {
    let mut bench = Bench::with(joined());
    let conn = bench.client(V311, "1");
    bench.subscribe(conn, "a", Q0);
    bench.subscribe_with(conn, "$SYS/#", SubscribeOptions::default(), None);
    bench.hear(conn);
    assert_eq!(bench.said(), ["+a"]);
    assert_eq!(bench.wanted(), ["a"]);
    bench.unsubscribe(conn, "$SYS/#");
    assert_eq!(bench.said(), Vec::<String>::new());
}

#[test]
fn a_session_that_stays_goes_on_wanting_until_it_ends() {
    let mut bench = Bench::with(joined());
    let conn = bench.connect(durable(V5, "s"));
    bench.subscribe(conn, "a", Q1);
    bench.drop_socket(conn);
    assert_eq!(bench.said(), ["+a"]);
    assert_eq!(bench.wanted(), ["a"], "nobody is connected");
    let again = bench.connect(durable(V5, "s"));
    assert_eq!(bench.said(), Vec::<String>::new());
    bench.drop_socket(again);
    bench.seconds(3_601);
    assert_eq!(bench.said(), ["-a"], "its time is over");
    assert_eq!(bench.wanted(), Vec::<&str>::new());
}

#[test]
fn a_take_over_that_starts_clean_wants_what_it_subscribes_to_and_no_more() {
    let mut bench = Bench::with(joined());
    let before = bench.connect(durable(V5, "s"));
    bench.subscribe(before, "a", Q1);
    bench.subscribe(before, "b", Q1);
    let after = bench.client(V5, "s");
    bench.subscribe(after, "b", Q1);
    assert_eq!(bench.said(), ["+a", "+b", "-a", "-b", "+b"]);
    assert_eq!(bench.wanted(), ["b"]);
}

#[test]
fn a_device_that_the_settings_no_longer_name_wants_nothing() {
    let mut settings = joined();
    settings.devices.insert(name("plc"), Rights::default());
    let mut bench = Bench::with(settings);
    let conn = bench.open(Trust::Password);
    let connect = Connect { user: Some("plc"), password: Some(b"x"), ..hello(V311, "") };
    bench.send(conn, &Packet::Connect(Box::new(connect)));
    bench.verdict(conn, Verdict::Welcome(Principal { name: name("plc"), rights: Rights::default() }));
    bench.hear(conn);
    bench.subscribe(conn, "a", Q0);
    bench.broker.handle_settings(joined(), bench.now);
    bench.drain();
    assert_eq!(bench.said(), ["+a", "-a"]);
}

#[test]
fn a_blocked_network_takes_no_more_than_each_publishers_one_publish() {
    let mut settings = joined();
    settings.when_full = WhenFull::Block;
    let mut bench = Bench::with(settings);
    let from = bench.client(V311, "p");
    bench.broker.handle_outward_room(false, bench.now);
    for id in 1..=100 {
        bench.publish(from, message("t", &"x".repeat(1_000), Q1, id));
    }
    assert!(bench.paused.contains(&from), "its socket is read no more");
    assert_eq!(bench.broker.memory_bytes(), 0);
    bench.broker.handle_outward_room(true, bench.now);
    bench.drain();
    let mut offered = 0;
    while let tokens = bench.tokens()
        && !tokens.is_empty()
    {
        offered += tokens.len();
        tokens.into_iter().for_each(|token| bench.settled(token, Reason::SUCCESS));
    }
    assert_eq!(offered, 100);
    assert!(!bench.paused.contains(&from));
}
