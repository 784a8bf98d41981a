//! Where there are as many streams as a machine keeps track of.

use super::lab::Room;
use super::{Lab, WORKSHOP};
use crate::node::STREAMS_MAX;
use crate::node::copies::Copy;
use crate::stream::StreamId;
use crate::topology::model::Lane;

const FEW: Room = Room { streams_max: 6, ..Room::PLENTY };

/// Where the office, which wants `line/#`, may be cut off: with so few streams.
fn few() -> Lab {
    let mut lab = Lab::with(WORKSHOP, 1, FEW);
    lab.want("office", "line/#");
    lab
}

/// The office is away while press lives ten times, and spare from its fifth life on.
fn ten_lives_of_which_spare_knows_four(lab: &mut Lab) {
    lab.seconds(2);
    lab.kill("office");
    a_life_each(lab, "press", 0..4);
    lab.kill("spare");
    a_life_each(lab, "press", 4..10);
    lab.start("spare");
}

/// Each of these in a life of its own.
fn a_life_each(lab: &mut Lab, name: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        lab.kill(name);
        lab.start(name);
        lab.seconds(2);
        lab.publish(name, "line/a", &number.to_string());
        lab.seconds(2);
    }
}

fn expected(numbers: impl Iterator<Item = u32>) -> Vec<String> {
    numbers.map(|number| format!("line/a {number}")).collect()
}

#[test]
fn where_all_wait_for_one_who_is_away_the_eldest_life_of_the_machine_with_most_gives_up_what_it_said() {
    let mut lab = few();
    lab.seconds(2);
    lab.kill("office");
    lab.publish("spare", "line/a", "100");
    a_life_each(&mut lab, "press", 0..12);
    lab.start("office");
    lab.seconds(20);
    assert_eq!(lab.heard("office"), expected((7..12).chain([100])), "one that has one life keeps it");
    for name in ["hub", "spare"] {
        let counters = lab.node(name).counters();
        let told = (counters.streams_forgotten, counters.streams_refused, counters.dropped_full);
        assert_eq!(told, (7, 0, 7), "{name}");
    }
    lab.publish("press", "line/a", "12");
    lab.seconds(1);
    assert_eq!(lab.heard("office").last().unwrap(), "line/a 12");
}

#[test]
fn what_one_broker_has_given_up_does_not_come_back_to_it_from_the_other() {
    let mut lab = few();
    lab.want("hub", "line/#");
    ten_lives_of_which_spare_knows_four(&mut lab);
    lab.seconds(40);
    assert_eq!(lab.heard("hub"), expected(0..10), "each once");
    assert!(["hub", "spare"].iter().all(|name| lab.node(name).in_step), "nothing is waited for in vain");
    lab.start("office");
    lab.seconds(20);
    let heard = lab.heard("office");
    assert_eq!(heard[heard.len() - 6..], expected(4..10));
    lab.publish("press", "line/a", "10");
    lab.seconds(1);
    assert_eq!(lab.heard("office").last().unwrap(), "line/a 10");
}

#[test]
fn what_is_retained_of_what_was_given_up_comes_even_from_brokers_that_have_restarted() {
    let mut lab = few();
    lab.seconds(2);
    lab.kill("office");
    lab.retain("press", "line/state", "on");
    a_life_each(&mut lab, "press", 0..12);
    for name in ["hub", "spare"] {
        lab.kill(name);
        lab.start(name);
    }
    lab.start("office");
    lab.seconds(40);
    assert_eq!(lab.retained("office", "line/state").as_deref(), Some("on"));
}

#[test]
fn a_client_that_never_reaches_anybody_refuses_before_it_forgets_what_it_took() {
    for (when_full, kept) in [("drop-newest", 0..3), ("drop-oldest", 4..10)] {
        let topology = format!("{WORKSHOP}store: {{ when_full: {when_full} }}\n");
        let mut lab = Lab::with(&topology, 1, FEW);
        lab.want("office", "line/#");
        lab.seconds(2);
        lab.cut(&["press"], &["hub", "spare"]);
        lab.refusals_are_fine = true;
        a_life_each(&mut lab, "press", 0..10);
        let counters = lab.node("press").counters();
        assert_eq!((counters.refused_full, counters.dropped_full), if kept.start == 0 { (1, 0) } else { (0, 1) });
        lab.heal();
        lab.seconds(40);
        assert_eq!(lab.heard("office"), expected(kept), "{when_full}");
        lab.publish("press", "line/a", "again");
        lab.seconds(1);
        assert_eq!(lab.heard("office").last().unwrap(), "line/a again");
    }
}

#[test]
fn at_the_limit_lives_that_are_over_give_way_before_those_that_go_on() {
    let topics = "topics: [{ match: \"raw/#\", ack: memory, lane: memory }]\n";
    let mut lab = Lab::new(&format!("{WORKSHOP}{topics}"), 1);
    lab.want("hub", "#");
    lab.seconds(2);
    lab.publish("press", "raw/a", "1");
    lab.seconds(60);
    let press = lab.id("press");
    let node = lab.node_mut("hub").unwrap();
    let (goes_on, copy) = node.copies.iter().find(|(id, _)| id.sender == press).expect("it was heard");
    let goes_on = *goes_on;
    assert!(copy.stream.is_empty() && copy.stream.last() == 1, "it is empty, and the first in order");
    let (me, room) = (node.me, STREAMS_MAX - node.copies.len());
    for (number, sender) in (0..).zip([me, press].into_iter().cycle()).take(room) {
        node.copies.insert(StreamId { lane: Lane::Urgent, sender, incarnation: number }, Copy::default());
    }
    lab.publish("office", "line/a", "2");
    lab.seconds(1);
    lab.publish("press", "raw/a", "3");
    lab.seconds(1);
    assert_eq!(lab.heard("hub"), ["raw/a 1", "line/a 2", "raw/a 3"]);
    let node = lab.node("hub");
    assert_eq!((node.copies.len(), node.copies[&goes_on].stream.last()), (STREAMS_MAX, 2));
    assert_eq!((node.counters().streams_forgotten, node.counters().streams_refused), (1, 0));
}

#[test]
fn at_the_limit_what_has_not_grown_for_longest_gives_way_whoever_said_it() {
    let mut lab = Lab::new(WORKSHOP, 1);
    let [press, office] = ["press", "office"].map(|name| lab.id(name));
    let node = lab.node_mut("hub").unwrap();
    let life = |sender, incarnation| StreamId { lane: Lane::Disk, sender, incarnation };
    let mut lives = vec![(life(press, 1), 0), (life(press, 2), 7), (life(press, 3), 9), (life(press, 4), 3)];
    lives.extend([(life(office, 1), 0), (life(office, 2), 0), (life(office, 3), 8)]);
    node.copies = lives.iter().map(|(id, grew)| (*id, Copy { grew: *grew, ..Copy::default() })).collect();
    // Of those from before the start, the one with most lives after it; of each machine, the last life last.
    let order = [(press, 1), (office, 1), (office, 2), (press, 2), (press, 3), (press, 4), (office, 3)];
    for (sender, incarnation) in order {
        assert_eq!(node.spare_stream(), Some(life(sender, incarnation)));
        node.copies.remove(&life(sender, incarnation));
    }
    assert_eq!(node.spare_stream(), None);
}

#[test]
fn what_was_refused_is_taken_in_life_by_life_when_there_is_a_place() {
    let mut lab = few();
    ten_lives_of_which_spare_knows_four(&mut lab);
    lab.node_mut("spare").unwrap().settings.streams_max = 100;
    lab.seconds(40);
    let link = |lab: &Lab| lab.node("hub").links.values().find(|link| link.is_broker).map(|link| link.refused.len());
    assert_eq!(link(&lab), Some(4));
    lab.start("office");
    lab.seconds(60);
    let mut heard = lab.heard("office");
    heard.sort();
    assert_eq!((heard, link(&lab)), (expected(0..10), Some(0)));
}

#[test]
fn a_place_that_is_refused_costs_no_numbers() {
    let topology = format!("{WORKSHOP}store: {{ when_full: drop-newest }}\n");
    let mut lab = Lab::with(&topology, 1, Room { streams_max: 2, ..Room::PLENTY });
    lab.want("office", "line/#");
    lab.seconds(2);
    lab.cut(&["press"], &["hub", "spare"]);
    lab.refusals_are_fine = true;
    a_life_each(&mut lab, "press", 0..3);
    assert_eq!((lab.node("press").counters().refused_full, lab.node("press").counters().unsealed), (1, 0));
    lab.heal();
    lab.seconds(60);
    lab.publish("press", "line/a", "3");
    lab.seconds(1);
    assert_eq!(lab.heard("office"), expected([0, 3].into_iter()));
}
