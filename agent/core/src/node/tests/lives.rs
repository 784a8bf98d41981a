//! What a machine said in an earlier life is heard before what it says in a later one, by whatever road it comes.

use super::lab::Room;
use super::{Lab, WORKSHOP};
use crate::node::Write;

const THREE_BROKERS: &str = "\
version: 1
network: workshop
keys: { active: k1 }
brokers:
  hub:   { host: 10.0.0.1, backups: [spare, attic] }
  spare: { host: 10.0.0.2 }
  attic: { host: 10.0.0.3 }
clients:
  press: {}
";

#[test]
fn what_a_hub_has_of_an_earlier_life_goes_to_the_other_broker_first() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.want("spare", "line/#");
    lab.seconds(2);
    lab.cut(&["spare"], &["hub", "press"]);
    lab.publish("press", "line/a", "1");
    lab.millis(500);
    // The hub has it on its disk, and nobody brings it there once more.
    lab.kill("hub");
    lab.kill("press");
    lab.heal();
    lab.start("hub");
    lab.start("press");
    lab.publish("press", "line/a", "2");
    lab.seconds(20);
    assert_eq!(lab.heard("spare"), ["line/a 1", "line/a 2"]);
}

#[test]
fn what_has_to_be_read_back_of_an_earlier_life_goes_out_first() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.want("spare", "line/#");
    lab.seconds(2);
    lab.cut(&["press"], &["hub", "spare"]);
    lab.publish("press", "line/a", "1");
    lab.millis(500);
    lab.kill("press");
    lab.start("press");
    lab.publish("press", "line/a", "2");
    lab.millis(500);
    lab.heal();
    lab.seconds(20);
    assert_eq!(lab.heard("spare"), ["line/a 1", "line/a 2"]);
}

#[test]
fn while_an_earlier_life_is_with_other_brokers_the_present_one_waits() {
    let mut lab = Lab::new(THREE_BROKERS, 1);
    lab.want("attic", "line/#");
    lab.want("spare", "side/#");
    lab.seconds(2);
    lab.cut(&["attic"], &["hub", "spare"]);
    lab.publish("press", "line/a", "1");
    lab.seconds(2);
    // With this, that the press has forgotten the first comes on its disk.
    lab.publish("press", "side/a", "");
    lab.millis(500);
    lab.kill("press");
    lab.cut(&["press"], &["hub", "spare"]);
    lab.start("press");
    lab.publish("press", "line/a", "2");
    lab.seconds(20);
    assert!(lab.heard("attic").is_empty(), "{:?}", lab.heard("attic"));
    lab.heal();
    lab.seconds(20);
    assert_eq!(lab.heard("attic"), ["line/a 1", "line/a 2"]);
}

#[test]
fn programs_that_are_read_an_earlier_life_hear_nothing_of_the_next_one_meanwhile() {
    let mut lab = Lab::with(WORKSHOP, 1, Room { here_bytes_max: 2_000, ..Room::PLENTY });
    lab.want("hub", "line/#");
    lab.seconds(2);
    lab.set_full("hub", true);
    for number in 0..200 {
        lab.publish("press", "line/a", &number.to_string());
        lab.millis(10);
    }
    lab.kill("press");
    lab.start("press");
    lab.seconds(2);
    lab.set_full("hub", false);
    for number in 200..220 {
        lab.publish("press", "line/a", &number.to_string());
        lab.millis(10);
    }
    lab.seconds(20);
    assert_eq!(lab.heard("hub"), (0..220).map(|number| format!("line/a {number}")).collect::<Vec<_>>());
}

#[test]
fn a_machine_that_has_begun_thousands_of_lives_is_heard_in_order() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.want("spare", "line/#");
    lab.seconds(2);
    lab.kill("press");
    lab.machines.get_mut("press").unwrap().disk.writes.push(Write::Lives(4_094));
    lab.start("press");
    lab.seconds(2);
    for text in ["1", "2", "3"] {
        lab.cut(&["press"], &["hub", "spare"]);
        lab.publish("press", "line/a", text);
        lab.millis(500);
        lab.kill("press");
        lab.start("press");
    }
    lab.heal();
    lab.seconds(20);
    assert_eq!(lab.heard("spare"), ["line/a 1", "line/a 2", "line/a 3"]);
}

#[test]
fn a_machine_whose_card_was_wiped_goes_on_where_the_network_has_heard_it_last() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.want("spare", "line/#");
    lab.seconds(2);
    (0..3).for_each(|_| {
        lab.kill("press");
        lab.start("press");
    });
    lab.seconds(10);
    lab.kill("spare");
    lab.publish("press", "line/a", "1");
    lab.seconds(1);
    lab.wipe("press");
    lab.cut(&["press"], &["hub"]);
    lab.start("press");
    // Nobody has told it yet that it was here before.
    lab.publish("press", "line/a", "2");
    lab.seconds(1);
    lab.heal();
    lab.seconds(40);
    lab.publish("press", "line/a", "3");
    lab.seconds(1);
    lab.kill("press");
    lab.start("press");
    lab.seconds(10);
    lab.publish("press", "line/a", "4");
    lab.seconds(1);
    lab.start("spare");
    lab.seconds(20);
    assert_eq!(lab.heard("spare"), ["line/a 2", "line/a 1", "line/a 3", "line/a 4"]);
}

/// Press has said something that hub and spare have, and comes home to attic, which does not believe that it is safe there.
fn doubted_at_attic() -> Lab {
    let mut lab = Lab::with(&format!("{THREE_BROKERS}topics: [{{ match: \"now/#\", lane: urgent }}]\n"), 1, FEW_BYTES);
    lab.want("attic", "#");
    lab.seconds(2);
    lab.cut(&["attic"], &["hub", "spare", "press"]);
    (0..10).for_each(|number| _ = lab.publish("press", "line/a", &number.to_string()));
    lab.seconds(2);
    lab.kill("hub");
    lab.kill("spare");
    lab.heal();
    lab.seconds(5);
    lab
}

const FEW_BYTES: Room = Room { window_bytes: 500, ..Room::PLENTY };

#[test]
fn while_one_stream_is_doubted_the_others_go_on() {
    let mut lab = doubted_at_attic();
    (10..30).for_each(|number| _ = lab.publish("press", "line/a", &number.to_string()));
    lab.seconds(1);
    (0..10).for_each(|number| _ = lab.publish("press", "now/a", &number.to_string()));
    lab.seconds(2);
    assert_eq!(lab.node("attic").doubts.len(), 1);
    assert_eq!(lab.heard("attic"), (0..10).map(|number| format!("now/a {number}")).collect::<Vec<_>>());
    lab.start("hub");
    lab.seconds(10);
    let expected =
        (0..10).map(|number| format!("now/a {number}")).chain((0..30).map(|number| format!("line/a {number}")));
    assert_eq!(lab.heard("attic"), expected.collect::<Vec<_>>(), "it was worth the wait");
}

#[test]
fn a_doubt_ends_in_time_though_the_link_is_made_anew_meanwhile() {
    let mut lab = doubted_at_attic();
    lab.publish("press", "line/a", "10");
    for _ in 0..3 {
        lab.seconds(150);
        assert!(lab.heard("attic").is_empty());
        lab.reset("press", "attic");
    }
    lab.seconds(160);
    assert_eq!(lab.heard("attic"), ["line/a 10"]);
}
