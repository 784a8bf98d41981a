//! Keys that are replaced while messages pass.

use super::WORKSHOP;
use super::lab::Lab;
use crate::envelope::Key;

const OLD: u8 = 7;
const NEW: u8 = 8;

fn lab() -> Lab {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.want("office", "line/#");
    lab.seconds(2);
    lab
}

fn publish(lab: &mut Lab, numbers: std::ops::Range<u32>) {
    for n in numbers {
        lab.publish("press", "line/temp", &format!("{n}"));
    }
    lab.seconds(1);
}

fn expected(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|n| format!("line/temp {n}")).collect()
}

fn relay(byte: u8) -> Key {
    match Lab::key(byte) {
        Key::Whole(key) => Key::Relay(key.link_secret()),
        Key::Relay(_) => unreachable!("the lab's keys are whole"),
    }
}

#[test]
fn a_key_is_replaced_under_way_and_nothing_is_lost_or_out_of_order() {
    let mut lab = lab();
    publish(&mut lab, 0..5);
    for name in ["hub", "press", "spare", "office"] {
        lab.rekey(name, &[Lab::key(OLD), Lab::key(NEW)]);
    }
    publish(&mut lab, 5..10);
    for name in ["press", "office", "hub", "spare"] {
        lab.rekey(name, &[Lab::key(NEW), Lab::key(OLD)]);
    }
    publish(&mut lab, 10..15);
    for name in ["press", "office", "hub", "spare"] {
        lab.rekey(name, &[Lab::key(NEW)]);
    }
    publish(&mut lab, 15..20);
    assert_eq!(lab.heard("office"), expected(0..20));
    assert_eq!(lab.node("office").counters().unknown_key, 0);
}

#[test]
fn what_is_sealed_under_a_key_that_comes_late_is_parked_and_comes_first() {
    let mut lab = lab();
    lab.rekey("press", &[Lab::key(NEW), Lab::key(OLD)]);
    publish(&mut lab, 0..20);
    assert!(lab.heard("office").is_empty());
    assert_eq!(lab.node("office").counters().unknown_key, 20);
    lab.rekey("office", &[Lab::key(OLD), Lab::key(9)]);
    assert!(lab.heard("office").is_empty(), "another key opens nothing");
    lab.rekey("office", &[Lab::key(OLD), Lab::key(NEW)]);
    publish(&mut lab, 20..25);
    assert_eq!(lab.heard("office"), expected(0..25));
    lab.rekey("office", &[Lab::key(NEW)]);
    publish(&mut lab, 25..26);
    assert_eq!(lab.heard("office"), expected(0..26), "each of them once");
}

#[test]
fn what_is_parked_is_bounded_and_what_had_to_go_is_counted() {
    let mut lab = lab();
    lab.rekey("press", &[Lab::key(NEW), Lab::key(OLD)]);
    publish(&mut lab, 0..1_100);
    let counters = lab.node("office").counters();
    assert_eq!((counters.unknown_key, counters.parked_dropped), (1_100, 100));
    lab.rekey("office", &[Lab::key(NEW)]);
    lab.seconds(1);
    assert_eq!(lab.heard("office"), expected(100..1_100));

    lab.rekey("office", &[Lab::key(OLD)]);
    for _ in 0..20 {
        lab.publish("press", "line/large", &"x".repeat(1 << 20));
        lab.seconds(1);
    }
    assert_eq!(lab.node("office").counters().parked_dropped - 100, 5, "fifteen and their headers fit into 16 MiB");
}

#[test]
fn a_machine_with_the_relays_half_carries_and_hears_nothing() {
    let mut lab = lab();
    lab.want("hub", "line/#");
    lab.rekey("hub", &[relay(OLD)]);
    lab.rekey("spare", &[relay(OLD)]);
    publish(&mut lab, 0..10);
    assert_eq!(lab.heard("office"), expected(0..10));
    assert!(lab.heard("hub").is_empty());
    assert_eq!(lab.node("hub").counters().unopened, 10);

    lab.rekey("hub", &[Lab::key(OLD)]);
    lab.publish("hub", "line/hub", "sealed");
    lab.seconds(1);
    assert_eq!(lab.heard("office").last().unwrap(), "line/hub sealed");
}
