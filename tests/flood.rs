//! An agent in a control group of 64 MiB, flooded by its own programs, and by those of another machine: it is never killed
//! for its memory, serves an ordinary client meanwhile, and nothing that it acknowledged is lost without being counted.
//!
//! `HOBNAIL_SIZE` is for how many seconds; `tests/deep flood` sets it.

mod store {
    #[expect(dead_code, reason = "other tests use the rest of it")]
    pub mod ears;
    #[expect(dead_code, reason = "other tests use the rest of it")]
    pub mod machine;
    #[expect(dead_code, reason = "other tests use the rest of it")]
    pub mod mouth;
    pub mod wire;
}
#[path = "support/ports.rs"]
mod ports;
mod run {
    #[expect(dead_code, reason = "other tests use the rest of it")]
    pub mod agent;
    #[expect(dead_code, reason = "other tests use the rest of it")]
    pub mod dial;
}
mod siege {
    pub mod flooders;
    pub mod group;
    pub mod ordinary;
    #[expect(dead_code, reason = "other tests use the rest of it")]
    pub mod wire;
}

use std::thread::sleep;
use std::time::{Duration, Instant};

use siege::flooders::{self as by, Flood};
use siege::group::Group;
use siege::ordinary::Ordinary;
use store::ears::Ears;
use store::machine::{Machine, network, until};
use store::mouth::Mouth;

const MEMORY: u64 = 64 << 20;
/// What is kept for a witness comes behind all that was kept for others.
const LATE_MAX: Duration = Duration::from_secs(180);

fn seconds() -> Duration {
    Duration::from_secs(std::env::var("HOBNAIL_SIZE").ok().and_then(|size| size.parse().ok()).unwrap_or(10))
}

fn count(machine: &Machine, path: &str) -> u64 {
    machine.status().pointer(path).and_then(serde_json::Value::as_u64).unwrap_or(0)
}

/// Let it go on for its time; says the most memory of its own that the agent had.
fn watch(group: &Group, machine: &mut Machine, what: &str) -> u64 {
    let (end, mut most) = (Instant::now() + seconds(), 0);
    while Instant::now() < end {
        most = most.max(group.own());
        assert!(machine.is_alive(), "{what}: it died with {most} bytes of its own, {} kills", group.kills());
        sleep(Duration::from_millis(20));
    }
    assert_eq!(group.kills(), 0, "{what}");
    most
}

/// All that the witness published is heard in order, but for what a limit dropped and counted.
fn expect_accounted_for(mouth: &Mouth, ears: &Ears, dropped: impl Fn() -> u64) -> (u64, u64) {
    mouth.pause();
    let begun = Instant::now();
    let acked = mouth.all_acked();
    ears.come_back();
    while ears.newest(mouth.name).is_none_or(|newest| newest + 1 < acked) {
        assert!(begun.elapsed() < LATE_MAX, "{:?} of {acked} heard", ears.newest(mouth.name));
        sleep(Duration::from_millis(10));
    }
    let heard: Vec<u64> = ears.heard().iter().map(|heard| heard.number).collect();
    assert!(heard.is_sorted_by(|one, next| one < next), "in order, none twice");
    let missing = acked - heard.len() as u64;
    assert!(missing <= dropped(), "{missing} of {acked} are missing, {} are counted as dropped", dropped());
    (acked, missing)
}

fn tell(what: &str, group: &Group, most: u64, packets: u64, witness: (u64, u64), ordinary: &str) {
    let (used, full) = (group.most_used() >> 20, group.times_full());
    let (acked, missing) = witness;
    eprintln!(
        "{what}: {} s, {packets} packets; at most {} MiB of its own, {used} MiB in all, full {full} times; \
         of {acked} acknowledged for who was away {missing} dropped and counted; {ordinary}",
        seconds().as_secs(),
        most >> 20,
    );
}

#[test]
fn an_agent_with_64_mib_outlives_a_flood_of_its_programs() {
    let Some(group) = Group::with_memory(MEMORY) else { return };
    let mut machine = Machine::solo("");
    machine.live_in(group.path());
    machine.start();
    let ears = Ears::start(machine.door);
    ears.leave();
    let (mouth, ordinary) = (Mouth::start(machine.door), Ordinary::start(machine.door));
    let flood = Flood::begin(
        machine.door,
        &[
            ("away", 20, by::away),
            ("small", 2, by::small),
            ("large", 2, by::large),
            ("unheard", 2, by::unheard),
            ("answered", 2, by::answered),
            ("never-released", 2, by::never_released),
            ("retained", 1, by::retained),
            ("retained-large", 1, by::retained_large),
            ("deaf", 9, by::deaf),
            ("slow", 3, by::slow),
            ("half-open", 1, by::half_open),
            ("half-said", 1, by::half_said),
            ("curious", 2, by::curious),
            ("wills", 1, by::wills),
        ],
    );
    let most = watch(&group, &mut machine, "programs");
    let packets = flood.end();
    let served = ordinary.end();
    let witness = expect_accounted_for(&mouth, &ears, || count(&machine, "/counters/dropped_full"));
    for path in ["/counters/dropped_qos0", "/counters/dropped_full", "/counters/refused_retained"] {
        assert!(count(&machine, path) > 0, "{path} says nothing of it");
    }
    assert!(machine.is_alive());
    assert_eq!(group.kills(), 0);
    tell("programs", &group, most, packets, witness, &served);
}

#[test]
fn an_agent_with_64_mib_outlives_many_who_do_not_read_what_is_large() {
    let Some(group) = Group::with_memory(MEMORY) else { return };
    let mut machine = Machine::solo("");
    machine.live_in(group.path());
    machine.start();
    let ordinary = Ordinary::start(machine.door);
    // As many as there may be connections there, but for a few.
    let flood = Flood::begin(machine.door, &[("deaf", 120, by::deaf), ("huge", 2, by::huge)]);
    let most = watch(&group, &mut machine, "large packets");
    let packets = flood.end();
    let served = ordinary.end();
    assert!(count(&machine, "/counters/publishes_sent") > 120, "they are sent something");
    tell("large packets", &group, most, packets, (0, 0), &served);
}

#[test]
fn a_broker_with_64_mib_outlives_a_flood_of_another_machine() {
    let Some(group) = Group::with_memory(MEMORY) else { return };
    // The spare never runs: what is for it stays.
    let [mut hub, _spare, mut press] = network();
    hub.live_in(group.path());
    [&mut hub, &mut press].into_iter().for_each(Machine::start);
    until("the press is at home", || press.status()["node"]["home"] == "hub");
    let ears = Ears::start(hub.door);
    ears.leave();
    let (mouth, ordinary) = (Mouth::start(press.door), Ordinary::start(hub.door));
    let here = Flood::begin(hub.door, &[("away", 10, by::away), ("deaf", 6, by::deaf), ("slow", 3, by::slow)]);
    let there = Flood::begin(
        press.door,
        &[
            ("small", 2, by::small),
            ("large", 1, by::large),
            ("unheard", 1, by::unheard),
            ("answered", 2, by::answered),
            ("never-released", 1, by::never_released),
            ("retained", 1, by::retained),
            ("retained-large", 1, by::retained_large),
            ("wills", 1, by::wills),
        ],
    );
    let most = watch(&group, &mut hub, "another machine");
    let packets = there.end() + here.end();
    let served = ordinary.end();
    let dropped = || {
        let of = |machine: &Machine| {
            count(machine, "/counters/dropped_full") + count(machine, "/node/counters/dropped_full")
        };
        of(&hub) + of(&press)
    };
    let witness = expect_accounted_for(&mouth, &ears, dropped);
    assert!(count(&hub, "/node/counters/retained_refused") > 0, "retained messages end at a limit");
    assert!(hub.is_alive() && press.is_alive());
    assert_eq!(group.kills(), 0);
    tell("another machine", &group, most, packets, witness, &served);
}
