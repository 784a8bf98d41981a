//! What the broker tells of itself.

use std::collections::BTreeMap;

use super::bench::*;
use crate::broker::ConnId;
use crate::mqtt::packet::{Publish, Reason};

/// What Mosquitto 2.0 tells, but for its heap.
const MOSQUITTO: &[&str] = &[
    "version",
    "uptime",
    "clients/total",
    "clients/inactive",
    "clients/disconnected",
    "clients/active",
    "clients/connected",
    "clients/expired",
    "clients/maximum",
    "messages/stored",
    "messages/received",
    "messages/sent",
    "store/messages/count",
    "store/messages/bytes",
    "subscriptions/count",
    "shared_subscriptions/count",
    "retained messages/count",
    "publish/messages/dropped",
    "publish/messages/received",
    "publish/messages/sent",
    "publish/bytes/received",
    "publish/bytes/sent",
    "bytes/received",
    "bytes/sent",
];

const LOADS: &[&str] = &[
    "messages/received",
    "messages/sent",
    "publish/dropped",
    "publish/received",
    "publish/sent",
    "bytes/received",
    "bytes/sent",
    "sockets",
    "connections",
];

fn heard(bench: &mut Bench, conn: ConnId) -> BTreeMap<String, String> {
    let figure = |message: Message| {
        let name = message.topic.strip_prefix("$SYS/broker/").expect("a figure").to_owned();
        (name, String::from_utf8(message.payload).unwrap())
    };
    bench.messages(conn).into_iter().map(figure).collect()
}

fn watch(bench: &mut Bench, id: &str) -> (ConnId, BTreeMap<String, String>) {
    let conn = bench.client(V311, id);
    bench.send(conn, &subscribe("$SYS/#"));
    let mut all = bench.hear(conn);
    assert_eq!(all.remove(0), Heard::SubAck(1, vec![0]));
    let figure = |heard: Heard| {
        let Heard::Publish(message) = heard else { panic!("{heard:?}") };
        assert!(message.retain, "{}: what was there before is marked so", message.topic);
        let name = message.topic.strip_prefix("$SYS/broker/").expect("a figure").to_owned();
        (name, String::from_utf8(message.payload).unwrap())
    };
    (conn, all.into_iter().map(figure).collect())
}

fn subscribe(filter: &str) -> crate::mqtt::packet::Packet<'_> {
    use crate::mqtt::packet::{Packet, Props, Subscribe, SubscribeFilter, SubscribeOptions};
    let filters = vec![SubscribeFilter { filter, options: SubscribeOptions::default() }];
    Packet::Subscribe(Subscribe { id: pid(1), subscription_id: None, user_props: Props::default(), filters })
}

#[test]
fn figures_have_mosquittos_names_and_come_at_once() {
    let mut bench = Bench::new();
    bench.seconds(30);
    let (_, figures) = watch(&mut bench, "w");
    for name in MOSQUITTO {
        assert!(figures.contains_key(*name), "{name}");
    }
    for name in LOADS {
        for span in ["1min", "5min", "15min"] {
            assert!(figures.contains_key(&format!("load/{name}/{span}")), "{name} {span}");
        }
    }
    assert_eq!(figures["uptime"], "31 seconds");
    assert!(figures["version"].starts_with("hobnail version "));
}

#[test]
fn figures_are_those_of_now_and_new_ones_come_every_10_s() {
    let mut bench = Bench::new();
    let (conn, before) = watch(&mut bench, "w");
    assert_eq!((&*before["clients/connected"], &*before["publish/messages/received"]), ("1", "0"));
    let (from, away) = (bench.client(V5, "p"), bench.connect(durable(V311, "away")));
    bench.subscribe(away, "t", Q1);
    bench.subscribe_with(from, "$share/g/x", Default::default(), None);
    bench.hear(from);
    bench.drop_socket(away);
    bench.publish(from, message("t", "12345", Q1, 1));
    bench.publish(from, Publish { retain: true, ..message("kept", "k", Q0, 0) });
    bench.seconds(9);
    bench.silent(conn);
    bench.seconds(1);
    let figures = heard(&mut bench, conn);
    let expected = [
        ("clients/connected", "2"),
        ("clients/disconnected", "1"),
        ("clients/total", "3"),
        ("clients/maximum", "3"),
        ("publish/messages/received", "2"),
        ("publish/bytes/received", "6"),
        ("subscriptions/count", "2"),
        ("shared_subscriptions/count", "1"),
        ("retained messages/count", "1"),
    ];
    for (name, figure) in expected {
        assert_eq!(figures.get(name).map(String::as_str), Some(figure), "{name}");
    }
    assert!(!figures.contains_key("version"), "what has not changed is not sent again");
    let load: f64 = figures["load/publish/received/1min"].parse().unwrap();
    // Two in ten seconds are twelve a minute, of which a mean over a minute has taken up 1 - exp(-1/6).
    assert!((load - 12.0 * 0.1535).abs() < 0.01, "{load}");
}

#[test]
fn a_load_fades_while_nothing_happens() {
    let mut bench = Bench::new();
    let (conn, _) = watch(&mut bench, "w");
    let from = bench.client(V311, "p");
    for _ in 0..100 {
        bench.publish(from, message("t", "x", Q0, 0));
    }
    bench.seconds(10);
    let load = |figures: &BTreeMap<String, String>| figures["load/publish/received/1min"].parse::<f64>().unwrap();
    let first = load(&heard(&mut bench, conn));
    bench.seconds(60);
    let mut later = f64::MAX;
    for message in bench.messages(conn) {
        if message.topic.ends_with("publish/received/1min") {
            later = String::from_utf8(message.payload).unwrap().parse().unwrap();
        }
    }
    assert!((later / first - (-1.0f64).exp()).abs() < 0.02, "{first} {later}");
}

#[test]
fn nobody_subscribed_nothing_wakes() {
    let mut bench = Bench::new();
    assert_eq!(bench.broker.next_deadline(), None);
    let (conn, _) = watch(&mut bench, "w");
    assert!(bench.broker.next_deadline().is_some());
    bench.unsubscribe(conn, "$SYS/#");
    bench.seconds(11);
    assert_eq!(bench.broker.next_deadline(), None);
    bench.hear(conn);
    let memory = bench.broker.memory_bytes();
    let (_, figures) = watch(&mut bench, "again");
    assert_eq!(figures["uptime"], "12 seconds", "the figures of now, not those of then");
    let more = bench.broker.memory_bytes() - memory;
    assert!(more < 100, "a figure takes the place of the one before: {more} bytes more");
}

#[test]
fn what_the_limits_cost_is_told_where_mosquitto_has_no_word_for_it() {
    let mut bench = Bench::limited(|limits| limits.queue_len_max = 2);
    let from = bench.client(V5, "p");
    let slow = bench.client(V311, "slow");
    bench.subscribe(slow, "t", Q0);
    for _ in 0..5 {
        bench.publish(from, message("t", "x", Q0, 0));
    }
    bench.publish(from, message("$SYS/broker/uptime", "x", Q1, 1));
    assert_eq!(bench.next(from), Heard::PubAck(1, Reason::NOT_AUTHORIZED));
    let conn = bench.client(V311, "w");
    bench.send(conn, &subscribe("$SYS/broker/dropped/qos0"));
    let all = bench.hear(conn);
    let told = |all: &[Heard]| match all.get(1) {
        Some(Heard::Publish(message)) => String::from_utf8(message.payload.clone()).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(told(&all), "3");
    bench.send(conn, &subscribe("$SYS/broker/refused/publishes"));
    assert_eq!(told(&bench.hear(conn)), "1");
}

#[test]
fn figures_take_no_room_from_retained_messages() {
    let mut bench = Bench::limited(|limits| limits.retained_len_max = 1);
    watch(&mut bench, "w");
    let from = bench.client(V5, "p");
    bench.publish(from, Publish { retain: true, ..message("kept", "k", Q0, 0) });
    assert_eq!(bench.broker.counters().refused_retained, 0);
}
