//! Sessions on disk: what is written, what waits for it, and what a new life begins with.

use std::time::Duration;

use super::bench::*;
use crate::broker::bytes::Reading;
use crate::broker::flights::Step;
use crate::broker::message::{self, Shared};
use crate::broker::saved::{Saved, SavedWaiting, Ticket, Waiting, Write};
use crate::broker::session::Queued;
use crate::broker::{Action, Broker, ConnId, Dead, Settings};
use crate::keep::tests::Model;
use crate::mqtt::packet::{Packet, Publish, Reason, SubscribeOptions, Version};
use crate::topic::Filter;
use crate::topology::model;

/// What a broker has written, batch by batch.
#[derive(Default)]
pub struct Disk {
    /// Each batch with its ticket.
    pub batches: Vec<(Ticket, Vec<Write>)>,
    /// Nothing is reported stored by itself.
    pub slow: bool,
    pub saved: Saved,
    looked: u32,
}

impl Disk {
    pub fn take_in(&mut self, broker: &mut Broker, ticket: Ticket) {
        let writes: Vec<Write> = std::iter::from_fn(|| broker.poll_write()).map(copied).collect();
        writes.iter().for_each(|write| self.saved.apply(write.clone()));
        self.batches.push((ticket, writes));
    }

    /// All that was written comes to what the broker holds; with much of it, it is looked at now and then.
    pub fn agrees_with(&mut self, broker: &Broker) {
        self.looked += 1;
        if self.saved.messages.len() < 10 || self.looked.is_multiple_of(31) {
            assert_eq!(view(&self.saved), view(&broker.durable()));
        }
    }
}

/// As bytes on a disk are: they count in no memory.
fn copied(write: Write) -> Write {
    let copy = |message: &Shared| message::Message::uncounted((***message).clone());
    match write {
        Write::Message { number, message } => Write::Message { number, message: copy(&message) },
        Write::Retained(message) => Write::Retained(copy(&message)),
        Write::Dead { number, dead } => Write::Dead { number, dead: Dead { message: copy(&dead.message), ..dead } },
        Write::Session { session, mut standing } => {
            standing.will.iter_mut().for_each(|will| will.message = copy(&will.message));
            Write::Session { session, standing }
        }
        other @ (Write::Numbers(_) | Write::MessageGone(_) | Write::SessionGone(_) | Write::RetainedGone(_)) => other,
        other @ (Write::Subscribed { .. } | Write::Unsubscribed { .. } | Write::Queued { .. }) => other,
        other @ (Write::Taken { .. } | Write::Done { .. } | Write::Failed { .. } | Write::DeadGone(_)) => other,
        other @ (Write::Received { .. } | Write::Released { .. }) => other,
    }
}

impl Broker {
    /// What the disk has to say of this broker.
    fn durable(&self) -> Saved {
        let mut saved = Saved { numbers: self.ledger.unused(), ..Saved::default() };
        for (_, session) in self.sessions.iter() {
            let Some(number) = session.kept else { continue };
            let open = session.conn.and_then(|conn| self.conns.get(conn)).and_then(|connection| connection.open());
            let will =
                open.map_or(session.will.as_ref().map(|(_, will)| will.clone()), |open| open.will.as_deref().cloned());
            let (client_id, expiry, left) = (session.client_id.clone(), session.expiry, session.left);
            let known = saved.sessions.entry(number).or_default();
            known.standing = Some(crate::broker::Standing { client_id, expiry, left, will });
            if session.durable().is_none() {
                continue;
            }
            known.subscriptions = session.subscriptions.clone();
            known.received = session.received.clone();
            for (turn, step) in session.in_flight.steps() {
                match step {
                    Step::Publish(queued) => keep(&mut saved, number, queued),
                    Step::Release(kept) => {
                        let number_in_row = kept.expect("a durable session's flight is on disk").number;
                        let waiting = Waiting { turn, ..nothing() };
                        let taken = SavedWaiting { waiting, taken: true, failed: 0 };
                        saved.sessions.get_mut(&number).unwrap().queue.insert(number_in_row, taken);
                    }
                }
            }
            session.ahead.iter().chain(&session.queue).for_each(|queued| keep(&mut saved, number, queued));
        }
        let retained = self.retained.iter().filter(|message| message.kept.retained.get());
        saved.retained = retained.map(|message| (message.topic.clone(), message.clone())).collect();
        saved.dead = self.dead().map(|(number, dead)| (number, dead.clone())).collect();
        saved
    }
}

fn nothing() -> Waiting {
    Waiting { message: 0, qos: Q0, retain: false, group: None, ahead: false, turn: 0, ids: Box::default() }
}

fn keep(saved: &mut Saved, session: u64, queued: &Queued) {
    if queued.qos == Q0 {
        return;
    }
    let kept = queued.kept.expect("what waits in a durable session is on disk");
    let waiting = Waiting {
        message: queued.message.kept.number.get(),
        qos: queued.qos,
        retain: queued.retain,
        group: queued.group,
        turn: queued.turn,
        ids: queued.ids.as_slice().into(),
        ahead: false,
    };
    saved.messages.insert(waiting.message, (*queued.message).clone());
    let failed = queued.failed;
    let known = saved.sessions.get_mut(&session).unwrap();
    known.queue.insert(kept.number, SavedWaiting { waiting, taken: false, failed });
}

/// As it counts: of a message that the client has, only that it has it.
fn view(saved: &Saved) -> Saved {
    let mut view = saved.clone();
    for queued in view.sessions.values_mut().flat_map(|session| session.queue.values_mut()) {
        queued.waiting.ahead = false;
        if queued.taken {
            queued.waiting = Waiting { turn: queued.waiting.turn, ..nothing() };
            queued.failed = 0;
        }
    }
    view
}

impl Bench {
    /// A disk that reports nothing until `synced` is called.
    fn slow() -> Self {
        let mut bench = Self::new();
        bench.disk.slow = true;
        bench
    }

    pub fn synced(&mut self) {
        if let Some((ticket, _)) = self.disk.batches.last() {
            self.broker.handle_stored(*ticket, self.now);
            self.drain();
        }
    }

    /// The machine falls and starts again with so many of the batches that it wrote; all connections are gone.
    pub fn restart_with(&mut self, settings: Settings, batches: usize) {
        self.disk.batches.truncate(batches);
        let (mut replayed, mut store) = (Saved::default(), Model::default());
        for write in self.disk.batches.iter().flat_map(|(_, writes)| writes) {
            replayed.apply(write.clone());
            write.keep(&mut store, &mut Vec::new());
        }
        let mut reading = Reading::default();
        store.keys.iter().for_each(|(key, bytes)| reading.key(key, bytes).unwrap());
        for (row, things) in &store.rows {
            things.iter().for_each(|(number, bytes)| reading.row(row, *number, bytes).unwrap());
        }
        let saved = reading.finish();
        assert_eq!(saved, replayed, "as rows and keys it is the same");
        self.begin_with(settings, saved);
    }

    fn begin_with(&mut self, settings: Settings, saved: Saved) {
        self.disk.saved = saved.clone();
        self.forget_connections();
        self.broker = Broker::new(settings, saved, self.now);
        self.drain();
    }

    fn restart(&mut self) {
        let batches = self.disk.batches.len();
        self.restart_with(settings(), batches);
    }
}

fn come_back(bench: &mut Bench, version: Version, client_id: &str) -> ConnId {
    bench.connect_with_backlog(durable(version, client_id))
}

#[test]
fn what_waited_before_a_restart_waits_after_it_in_order() {
    for version in [V311, V5] {
        let mut bench = Bench::new();
        let conn = bench.connect(durable(version, "s"));
        bench.subscribe(conn, "t/#", Q2);
        bench.leave(conn);
        let from = bench.client(V5, "p");
        for (number, qos) in [(1, Q1), (2, Q2), (3, Q1)] {
            bench.publish(from, message("t/x", &number.to_string(), qos, number));
        }
        bench.restart();
        let from = bench.client(V5, "p");
        bench.publish(from, message("t/x", "4", Q1, 4));
        let conn = come_back(&mut bench, version, "s");
        let dup: Vec<bool> = bench.hear(conn).iter().map(|heard| matches!(heard, Heard::Publish(m) if m.dup)).collect();
        assert_eq!(dup, [true, true, true, false], "nobody knows what had been sent before");
        bench.drop_socket(conn);
        let conn = come_back(&mut bench, version, "s");
        assert_eq!(bench.take_all(conn), ["1", "2", "3", "4"]);
        bench.restart();
        assert_eq!(bench.broker.fill().messages, 0, "what was acknowledged is gone from the disk");
    }
}

#[test]
fn what_was_on_its_way_goes_out_again_under_its_identifier_as_a_repetition() {
    let mut bench = Bench::new();
    let conn = bench.connect(durable(V5, "s"));
    bench.subscribe(conn, "t", Q2);
    let from = bench.client(V5, "p");
    for number in 1..=4 {
        bench.publish(from, message("t", &number.to_string(), if number == 3 { Q2 } else { Q1 }, number));
    }
    let ids =
        |messages: Vec<Message>| messages.into_iter().map(|message| (message.id, message.dup)).collect::<Vec<_>>();
    assert_eq!(ids(bench.messages(conn)), [(1, false), (2, false), (3, false), (4, false)]);
    bench.send(conn, &Packet::PubAck(ack(1)));
    bench.send(conn, &Packet::PubRec(ack(3)));
    assert_eq!(bench.next(conn), Heard::PubRel(3, Reason::SUCCESS));
    bench.restart();
    let conn = come_back(&mut bench, V5, "s");
    let heard = bench.hear(conn);
    let [Heard::Publish(second), Heard::PubRel(3, _), Heard::Publish(fourth)] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!((second.id, second.dup, fourth.id, fourth.dup), (2, true, 4, true));
    bench.send(conn, &Packet::PubComp(ack(3)));
    bench.publish(conn, message("t", "5", Q1, 9));
    assert_eq!(bench.hear(conn).iter().filter(|heard| matches!(heard, Heard::Publish(m) if m.id == 5)).count(), 1);
}

#[test]
fn what_expired_before_its_client_came_back_is_not_sent_in_a_later_life() {
    let mut bench = Bench::new();
    let conn = bench.connect(durable(V5, "s"));
    bench.subscribe(conn, "t", Q2);
    bench.leave(conn);
    let from = bench.client(V5, "p");
    for (number, qos) in [(1, Q1), (2, Q2), (3, Q1)] {
        let expiry_s = Some(60).filter(|_| number < 3);
        bench.publish(from, Publish { expiry_s, ..message("t", &number.to_string(), qos, number) });
    }
    bench.restart();
    bench.seconds(61);
    let conn = come_back(&mut bench, V5, "s");
    let heard = bench.hear(conn);
    // It may have the QoS 2 message, and must not take the next of that identifier for it.
    let [Heard::PubRel(2, _), Heard::Publish(third)] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!((third.id, third.payload.as_slice()), (3, &b"3"[..]));
    assert_eq!(bench.broker.counters().dropped_expired, 2);
    bench.send(conn, &Packet::PubComp(ack(2)));
    bench.send(conn, &Packet::PubAck(ack(3)));
    bench.restart();
    assert_eq!(bench.broker.fill().messages, 0);
}

#[test]
fn a_publish_is_acknowledged_once_it_is_stored_for_a_durable_session() {
    for version in [V311, V5] {
        for qos in [Q1, Q2] {
            let mut bench = Bench::slow();
            let conn = bench.connect(durable(V5, "s"));
            bench.subscribe_with(conn, "t", SubscribeOptions { qos: Q1, ..Default::default() }, None);
            bench.synced();
            bench.drop_socket(conn);
            let from = bench.client(version, "p");
            bench.publish(from, message("t", "1", qos, 1));
            bench.silent(from);
            bench.publish(from, message("elsewhere", "2", qos, 2));
            bench.silent(from);
            bench.synced();
            assert_eq!(bench.hear(from).len(), 2, "in the order of the publishes");
            bench.publish(from, message("elsewhere", "3", qos, 3));
            assert_eq!(bench.hear(from).len(), 1, "what nobody keeps waits for nothing");
        }
    }
}

#[test]
fn who_is_here_without_a_durable_session_costs_the_disk_nothing() {
    let mut bench = Bench::slow();
    let to = bench.client(V5, "s");
    bench.subscribe(to, "t", Q2);
    let from = bench.client(V311, "p");
    for number in 1..=3 {
        bench.publish(from, message("t", "x", Q1, number));
        assert_eq!(bench.next(from), Heard::PubAck(number, Reason::SUCCESS));
    }
    assert_eq!(bench.messages(to).len(), 3);
    assert!(bench.disk.batches.is_empty());
}

#[test]
fn what_is_promised_in_memory_alone_is_acknowledged_at_once() {
    let rule = model::TopicRule {
        filter: Filter::new("raw/#").unwrap(),
        ack: model::Ack::Memory,
        lane: model::Lane::Memory,
        max_age: None,
    };
    let mut bench = Bench::with(Settings { topics: vec![rule], ..settings() });
    let conn = bench.connect(durable(V5, "s"));
    bench.subscribe(conn, "#", Q1);
    bench.drop_socket(conn);
    bench.disk.slow = true;
    let from = bench.client(V5, "p");
    bench.publish(from, message("raw/1", "x", Q1, 1));
    assert_eq!(bench.next(from), Heard::PubAck(1, Reason::SUCCESS));
    bench.publish(from, message("kept/1", "x", Q1, 2));
    bench.silent(from);
}

#[test]
fn a_qos_2_message_and_its_release_go_out_only_when_they_are_on_disk() {
    let mut bench = Bench::new();
    let conn = bench.connect(durable(V5, "s"));
    bench.subscribe(conn, "t", Q2);
    bench.disk.slow = true;
    let from = bench.client(V5, "p");
    bench.publish(from, message("t", "x", Q2, 1));
    bench.silent(conn);
    bench.synced();
    assert_eq!(bench.message(conn).id, 1);
    bench.send(conn, &Packet::PubRec(ack(1)));
    bench.silent(conn);
    // Neither does a new connection hurry it.
    bench.drop_socket(conn);
    let conn = come_back(&mut bench, V5, "s");
    bench.silent(conn);
    bench.synced();
    assert_eq!(bench.next(conn), Heard::PubRel(1, Reason::SUCCESS));
}

#[test]
fn an_identifier_is_free_again_only_when_that_is_on_disk() {
    let mut bench = Bench::new();
    let conn = bench.connect(durable(V5, "p"));
    bench.publish(conn, message("t", "x", Q2, 7));
    assert_eq!(bench.next(conn), Heard::PubRec(7, Reason::SUCCESS));
    bench.restart();
    let (conn, present) = bench.connect_present(durable(V5, "p"));
    assert!(present);
    bench.publish(conn, Publish { dup: true, ..message("t", "x", Q2, 7) });
    assert_eq!(bench.next(conn), Heard::PubRec(7, Reason::SUCCESS));
    assert_eq!(bench.broker.counters().publishes_received, 0, "it is the one from before");
    bench.disk.slow = true;
    bench.send(conn, &Packet::PubRel(ack(7)));
    bench.send(conn, &Packet::PubRel(ack(7)));
    bench.silent(conn);
    bench.synced();
    let answers = [Heard::PubComp(7, Reason::SUCCESS), Heard::PubComp(7, Reason::PACKET_ID_NOT_FOUND)];
    assert_eq!(bench.hear(conn), answers);
}

#[test]
fn a_subscription_outlives_a_restart_and_is_wanted_from_the_first_moment() {
    let joined = Settings { outward: true, ..settings() };
    let mut bench = Bench::with(joined.clone());
    let conn = bench.connect(durable(V5, "s"));
    bench.subscribe_with(conn, "t", SubscribeOptions { qos: Q1, ..Default::default() }, Some(9));
    let batches = bench.disk.batches.len();
    bench.restart_with(joined, batches);
    assert_eq!(bench.seam, [Action::Wanted("t".into()), Action::Wanted("t".into())], "by each life");
    let from = bench.client(V5, "p");
    bench.publish(from, message("t", "x", Q1, 1));
    let conn = come_back(&mut bench, V5, "s");
    assert_eq!(bench.message(conn).ids, [9]);
    bench.unsubscribe(conn, "t");
    bench.restart();
    assert_eq!(bench.broker.wanted().count(), 0);
}

#[test]
fn what_is_retained_outlives_a_restart_where_no_network_keeps_it() {
    for outward in [false, true] {
        let settings = Settings { outward, ..settings() };
        let mut bench = Bench::with(settings.clone());
        let from = bench.client(V5, "p");
        for (topic, payload) in [("a", "1"), ("b", "2"), ("b", ""), ("a", "3"), ("$mine", "4")] {
            bench.publish(from, Publish { retain: true, ..message(topic, payload, Q0, 0) });
        }
        bench.publish(from, Publish { retain: true, expiry_s: Some(60), ..message("c", "5", Q0, 0) });
        bench.broker.handle_told("$hobnail/x", b"6", bench.now);
        bench.drain();
        let batches = bench.disk.batches.len();
        bench.seconds(50);
        bench.restart_with(settings, batches);
        let to = bench.client(V5, "s");
        bench.subscribe_with(to, "+", SubscribeOptions::default(), None);
        bench.subscribe_with(to, "$mine", SubscribeOptions::default(), None);
        bench.subscribe_with(to, "$hobnail/#", SubscribeOptions::default(), None);
        let heard = bench.hear(to).into_iter().filter_map(|heard| {
            let Heard::Publish(message) = heard else { return None };
            Some((message.topic, message.expiry_s))
        });
        let (mut heard, mine): (Vec<_>, _) = (heard.collect(), ("$mine".to_owned(), None));
        heard.sort();
        let of_this_machine = [mine, ("a".to_owned(), None), ("c".to_owned(), Some(10))];
        assert_eq!(heard, if outward { &of_this_machine[..1] } else { &of_this_machine[..] });
    }
}

#[test]
fn when_the_network_is_left_behind_what_is_retained_is_kept_here() {
    let joined = Settings { outward: true, ..settings() };
    let mut bench = Bench::with(joined);
    let from = bench.client(V5, "p");
    bench.publish(from, Publish { retain: true, ..message("a", "1", Q0, 0) });
    assert!(bench.disk.saved.retained.is_empty());
    bench.broker.handle_settings(settings(), bench.now);
    bench.drain();
    bench.restart();
    assert_eq!(bench.broker.fill().retained, 1);
}

#[test]
fn the_will_of_a_client_is_said_after_the_agent_died() {
    for (delay_s, expiry_s) in [(0, None), (0, Some(600)), (30, Some(600)), (30, None)] {
        let mut bench = Bench::new();
        let to = bench.connect(durable(V5, "heir"));
        bench.subscribe(to, "will", Q1);
        let will = crate::mqtt::packet::Will { delay_s, qos: Q1, ..will("will", b"gone") };
        let connect =
            crate::mqtt::packet::Connect { will: Some(will), session_expiry_s: expiry_s, ..hello(V5, "mortal") };
        let mortal = bench.connect(connect.clone());
        bench.restart();
        let to = bench.greet(durable(V5, "heir"));
        bench.hear(to);
        let wait_s = if expiry_s.is_some() { delay_s } else { 0 };
        if wait_s > 0 {
            bench.seconds(u64::from(wait_s) - 1);
            bench.silent(to);
        }
        bench.seconds(2);
        assert_eq!(bench.take_all(to), ["gone"], "{delay_s} {expiry_s:?}");
        bench.restart();
        bench.seconds(2);
        let to = come_back(&mut bench, V5, "heir");
        assert_eq!(bench.take_all(to), [""; 0], "once");
        let _ = mortal;
    }
}

#[test]
fn a_will_that_was_taken_back_is_not_said_after_a_restart() {
    let mut bench = Bench::new();
    let connect = crate::mqtt::packet::Connect { will: Some(will("will", b"gone")), ..durable(V5, "mortal") };
    let mortal = bench.connect(connect);
    bench.leave(mortal);
    bench.restart();
    bench.seconds(2);
    assert_eq!(bench.disk.saved.sessions.values().filter(|s| s.standing.as_ref().unwrap().will.is_some()).count(), 0);
    assert_eq!(bench.broker.counters().publishes_received, 0);
}

#[test]
fn a_session_ends_when_it_would_have_and_the_time_before_the_restart_counts() {
    let mut bench = Bench::new();
    let conn = bench.connect(durable(V5, "s"));
    bench.subscribe(conn, "t", Q1);
    bench.drop_socket(conn);
    bench.seconds(3_000);
    bench.restart();
    bench.seconds(500);
    assert_eq!(bench.broker.fill().sessions, 1);
    bench.seconds(200);
    assert_eq!((bench.broker.fill().sessions, bench.broker.counters().sessions_expired), (0, 1));
    assert!(bench.disk.saved.sessions.is_empty());
}

#[test]
fn what_does_not_fit_together_is_passed_over_and_taken_off_the_disk() {
    let standing = |client_id: &str| crate::broker::Standing {
        client_id: client_id.into(),
        expiry: Duration::from_secs(600),
        left: None,
        will: None,
    };
    let waiting = |message, turn, qos| Waiting { message, turn, qos, ..nothing() };
    let writes = [
        Write::Session { session: 1, standing: standing("a") },
        Write::Session { session: 2, standing: standing("a") },
        Write::Session { session: 3, standing: standing("plc\0b") },
        Write::Subscribed { session: 4, filter: "t".into(), granted: granted() },
        Write::Subscribed { session: 1, filter: "a/#/b".into(), granted: granted() },
        Write::Subscribed { session: 1, filter: "t".into(), granted: granted() },
        Write::Queued { session: 1, number: 9, waiting: waiting(77, 1, Q1) },
        Write::Queued { session: 1, number: 10, waiting: waiting(5, 0, Q1) },
        Write::Queued { session: 1, number: 11, waiting: waiting(5, u64::MAX, Q1) },
        Write::Queued { session: 1, number: 12, waiting: waiting(5, 1, Q0) },
        Write::Queued { session: 1, number: 13, waiting: waiting(5, 4, Q2) },
        Write::Queued { session: 1, number: 14, waiting: waiting(5, 4, Q2) },
        Write::Taken { session: 1, number: 14 },
        Write::Done { session: 8, number: 1, noted: true },
        Write::Failed { session: 8, number: 1, times: 3 },
    ];
    let mut bench = Bench::new();
    let content = |topic: &str| {
        message::Message::uncounted(crate::broker::Content {
            topic: topic.into(),
            payload: (*b"x").into(),
            props: Box::default(),
            qos: Q2,
            retain: false,
            expires: None,
        })
    };
    let more = [
        Write::Message { number: 5, message: content("t") },
        Write::Message { number: 6, message: content("t") },
        Write::Retained(content("$SYS/broker/uptime")),
    ];
    let mut saved = Saved::default();
    writes.into_iter().chain(more).for_each(|write| saved.apply(write));
    bench.begin_with(settings(), saved);
    assert_eq!(bench.broker.counters().unrestored, 10);
    assert_eq!((bench.broker.fill().sessions, bench.broker.fill().messages), (1, 1));
    let conn = come_back(&mut bench, V5, "a");
    assert_eq!(bench.take_all(conn), ["x"]);
}

fn granted() -> crate::broker::Granted {
    crate::broker::Granted { options: SubscribeOptions::default(), id: None, group: None }
}
