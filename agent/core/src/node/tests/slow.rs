//! Wires that carry little.

use std::time::Duration;

use super::{Lab, WORKSHOP};

/// How often each of these linked, and changed its home.
fn changes(lab: &Lab) -> Vec<(u64, u64)> {
    let of = |name| (lab.node(name).links_opened, lab.node(name).status(lab.now).home_changes);
    ["hub", "spare", "press", "office"].map(of).to_vec()
}

#[test]
fn a_message_that_takes_longer_than_many_beats_is_waited_for() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.want("office", "line/#");
    lab.seconds(20);
    let before = changes(&lab);
    lab.bytes_per_second = Some(250_000);
    let long = "x".repeat(1_000_000);
    let offers: Vec<_> = (0..3).map(|number| lab.publish("press", &format!("line/{number}"), &long)).collect();
    lab.seconds(30);
    assert_eq!(lab.heard("office").len(), 3);
    assert!(offers.iter().all(|offer| lab.is_settled("press", *offer)));
    assert_eq!(changes(&lab), before, "nobody takes slowness for silence");
}

#[test]
fn a_machine_that_is_not_heard_does_not_wait_for_more_than_the_message_that_is_on_its_way_to_it() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.want("office", "line/#");
    lab.seconds(20);
    lab.bytes_per_second = Some(250_000);
    lab.publish("press", "line/a", &"x".repeat(1_000_000));
    lab.seconds(6);
    lab.block_one_way("office", "hub");
    lab.seconds(3);
    assert_eq!(lab.node("office").status(lab.now).home.unwrap().as_str(), "spare");
}

/// A long message on its slow way from the hub to the office, for two seconds more, when a packet of it is lost.
fn with_a_packet_lost(time: Duration) -> Lab {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.want("office", "line/#");
    lab.seconds(20);
    lab.bytes_per_second = Some(250_000);
    lab.publish("press", "line/a", &"x".repeat(1_000_000));
    lab.seconds(6);
    lab.stall("hub", "office", time);
    lab
}

#[test]
fn whoever_sends_on_behind_a_lost_packet_is_not_silent() {
    let mut lab = with_a_packet_lost(Duration::from_secs(3));
    let before = changes(&lab);
    lab.millis(2_900);
    assert!(lab.heard("office").is_empty());
    assert_eq!(changes(&lab), before, "nobody is left or dialled anew");
    lab.seconds(10);
    assert_eq!(lab.heard("office").len(), 1);
    assert_eq!(changes(&lab), before);
}

#[test]
fn whoever_stops_behind_a_lost_packet_is_left_in_time() {
    let mut lab = with_a_packet_lost(Duration::from_secs(60));
    let home = |lab: &Lab| lab.node("office").status(lab.now).home.unwrap();
    lab.block_one_way("hub", "office");
    lab.seconds(2);
    assert_eq!(home(&lab).as_str(), "hub");
    lab.seconds(2);
    assert_eq!(home(&lab).as_str(), "spare");
}

#[test]
fn who_reads_nothing_since_its_disk_is_behind_calls_nobody_dead() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.seconds(20);
    let before = changes(&lab);
    let deaf = |lab: &mut Lab, deaf| {
        let now = lab.now;
        lab.node_mut("office").unwrap().handle_deaf(deaf, now);
        lab.drain("office");
    };
    deaf(&mut lab, true);
    for broker in ["hub", "spare"] {
        lab.block_one_way(broker, "office");
    }
    lab.seconds(60);
    lab.heal();
    deaf(&mut lab, false);
    lab.seconds(5);
    assert_eq!(changes(&lab), before);
}
