//! What waits long is on the disk alone, and comes all the same.

use super::lab::{Lab, Room};

const WORKSHOP: &str = "\
version: 1
network: workshop
keys: { active: k1 }
brokers:
  hub:   { host: 10.0.0.1, backups: [spare] }
  spare: { host: 10.0.0.2 }
clients:
  press:  {}
  office: {}
";
/// A few messages.
const HERE_BYTES: u64 = 2_000;

fn lab() -> Lab {
    let mut lab = Lab::with(WORKSHOP, 1, Room { here_bytes_max: HERE_BYTES, ..Room::PLENTY });
    lab.want("office", "line/#");
    lab.seconds(2);
    lab
}

fn publish(lab: &mut Lab, numbers: std::ops::Range<u32>) {
    for n in numbers {
        lab.publish("press", "line/temp", &format!("{n}"));
        lab.millis(10);
    }
}

fn expected(numbers: impl Iterator<Item = u32>) -> Vec<String> {
    numbers.map(|n| format!("line/temp {n}")).collect()
}

#[track_caller]
fn is_spilled(lab: &Lab, name: &str) {
    let weight = lab.node(name).weight;
    assert!(weight.here <= HERE_BYTES && weight.bytes > 20 * HERE_BYTES, "{name}: {weight:?}");
}

#[test]
fn an_outage_of_the_network_waits_on_the_disk_of_the_origin_and_comes_in_order() {
    let mut lab = lab();
    lab.cut(&["press"], &["hub", "spare"]);
    publish(&mut lab, 0..500);
    is_spilled(&lab, "press");
    lab.heal();
    lab.seconds(30);
    assert_eq!(lab.heard("office"), expected(0..500));
    assert_eq!(lab.node("press").weight, Default::default(), "and is forgotten then");
}

#[test]
fn what_a_broker_keeps_for_one_who_is_away_waits_on_its_disk() {
    let mut lab = lab();
    lab.kill("office");
    publish(&mut lab, 0..500);
    ["hub", "spare"].iter().for_each(|broker| is_spilled(&lab, broker));
    lab.start("office");
    lab.seconds(30);
    assert_eq!(lab.heard("office"), expected(0..500));
    lab.seconds(60);
    ["hub", "spare"].iter().for_each(|broker| assert_eq!(lab.node(broker).weight.bytes, 0, "{broker}"));
}

#[test]
fn a_restart_reads_nothing_into_memory_and_goes_on() {
    let mut lab = lab();
    lab.cut(&["press"], &["hub", "spare"]);
    publish(&mut lab, 0..500);
    lab.power_cut("press", 100);
    lab.start("press");
    let weight = lab.node("press").weight;
    assert!(weight.here == 0 && weight.bytes > 20 * HERE_BYTES, "{weight:?}");
    publish(&mut lab, 500..600);
    lab.heal();
    lab.seconds(30);
    assert_eq!(lab.heard("office"), expected(0..600));
}

#[test]
fn what_cannot_be_read_any_more_is_counted_and_all_else_comes() {
    let mut lab = lab();
    lab.cut(&["press"], &["hub", "spare"]);
    publish(&mut lab, 0..500);
    let gone = [1, 7, 8, 300, 450];
    lab.machines.get_mut("press").unwrap().disk.unreadable = gone.into();
    lab.heal();
    while lab.heard("office").len() < 100 {
        lab.millis(5);
    }
    // What was found lost stays so at the next start, and what stands behind it is there.
    let lost = lab.node("press").counters().unreadable;
    assert!((1..5).contains(&lost), "{lost}");
    lab.power_cut("press", 100);
    lab.start("press");
    lab.seconds(30);
    let found = lab.node("press").counters().unreadable;
    assert!(found >= 5 - lost && found < 5, "{found} after {lost}");
    let here = |n: &u32| !gone.contains(&u64::from(n + 1));
    assert_eq!(lab.heard("office"), expected((0..500).filter(here)));
}

#[test]
fn beyond_the_limit_exactly_the_newest_are_left_and_the_rest_is_counted() {
    let mut lab = lab();
    lab.cut(&["press"], &["hub", "spare"]);
    let size = {
        publish(&mut lab, 0..1);
        lab.node("press").weight.bytes
    };
    lab.node_mut("press").unwrap().settings.bytes_max = 300 * (size + 2) + 10;
    publish(&mut lab, 1..500);
    is_spilled(&lab, "press");
    let dropped = lab.node("press").counters().dropped_full;
    lab.heal();
    lab.seconds(30);
    let heard = lab.heard("office");
    assert_eq!(heard.len() as u64 + dropped, 500);
    assert_eq!(heard, expected(500 - heard.len() as u32..500));
    assert!((290..=310).contains(&heard.len()), "{}", heard.len());
}

#[test]
fn what_a_limit_took_holds_up_nobody_while_a_broker_is_away() {
    let mut lab = lab();
    lab.kill("spare");
    publish(&mut lab, 0..10);
    lab.seconds(1);
    lab.cut(&["press"], &["hub"]);
    let bytes = lab.node("press").weight.bytes;
    lab.node_mut("press").unwrap().settings.bytes_max = 3 * bytes;
    publish(&mut lab, 10..500);
    lab.heal();
    lab.seconds(10);
    let (heard, dropped) = (lab.heard("office"), lab.node("press").counters().dropped_full);
    assert_eq!(heard.last().unwrap(), "line/temp 499");
    assert_eq!((heard.len() as u64 + dropped, lab.node("hub").counters().doubted), (500, 0));
}

#[test]
fn what_no_disk_takes_stays_within_memory() {
    let mut lab = lab();
    lab.stop_disk("press");
    let settings = &mut lab.node_mut("press").unwrap().settings;
    settings.memory_bytes_max = 20_000;
    for n in 0..50 {
        lab.publish("press", "line/temp", &format!("{n}"));
    }
    let weight = lab.node("press").weight;
    assert!(weight.memory <= 20_000 && weight.here == weight.bytes, "{weight:?}");
}

#[test]
fn programs_that_had_no_room_are_given_what_waited_on_the_disk() {
    let mut lab = lab();
    lab.want("hub", "line/#");
    lab.seconds(1);
    lab.set_full("hub", true);
    lab.kill("office");
    publish(&mut lab, 0..500);
    is_spilled(&lab, "hub");
    lab.set_full("hub", false);
    lab.seconds(30);
    assert_eq!(lab.heard("hub"), expected(0..500));
}
