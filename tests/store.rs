//! What an agent acknowledged, after its death: kill -9 at random points, disks that fill up, fail and are cured.
//!
//! `HOBNAIL_SIZE` is how often; `tests/deep store` runs them at full size. A run says its seed, `HOBNAIL_SEED` repeats it.

mod store {
    pub mod machine;
    pub mod mount;
    pub mod programs;
}
#[path = "support/ports.rs"]
mod ports;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use store::machine::{Machine, until};
use store::mount::Mount;
use store::programs::{Ears, Heard, Mouth};

fn size(small: u32) -> u32 {
    std::env::var("HOBNAIL_SIZE").ok().and_then(|size| size.parse().ok()).unwrap_or(small)
}

/// Enough of a random source to choose moments.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let drawn =
            || u64::from(std::process::id()) * 7_919 + std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
        let seed = std::env::var("HOBNAIL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(drawn);
        eprintln!("HOBNAIL_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Everything acknowledged came, in order, and nothing came more often than it was sent or than may be.
fn expect_all(mouth: &Mouth, heard: &[Heard], acked: u64) {
    let mut next = 0;
    let mut fresh: BTreeMap<u64, u32> = BTreeMap::new();
    for heard in heard {
        assert!(heard.number <= next, "{} came before {next}", heard.number);
        next = next.max(heard.number + 1);
        if !heard.again {
            *fresh.entry(heard.number).or_default() += 1;
        }
    }
    assert!(next >= acked, "{acked} were acknowledged, and {next} came");
    for (number, times) in fresh {
        // What was not acknowledged was published again; the broker takes that for another message.
        let sent = mouth.times_sent(number);
        assert!(times <= sent, "{number} was sent {sent} times and came {times} times as new");
    }
}

#[test]
fn an_agent_that_is_killed_again_and_again_loses_nothing_and_repeats_nothing() {
    let mut dice = Dice::new();
    let mut machine = Machine::solo("");
    machine.start();
    let (ears, mouth) = (Ears::start(machine.door), Mouth::start(machine.door));
    for cycle in 0..size(500) {
        thread::sleep(Duration::from_millis(dice.below(25)));
        let settled = (cycle % 10 == 9).then(|| settle(&mouth, &ears));
        let before = ears.heard().len();
        machine.kill();
        machine.start();
        if let Some(settled) = settled {
            mouth.go_on();
            until("news after the restart", || ears.newest().is_some_and(|number| number > settled));
            let repeated: Vec<Heard> =
                ears.heard().split_off(before).into_iter().filter(|h| h.number <= settled).collect();
            assert!(repeated.is_empty(), "acknowledged for good, and came again: {repeated:?}");
        }
    }
    let acked = mouth.pause();
    until("the last message", || ears.heard().iter().any(|heard| heard.number + 1 == acked));
    expect_all(&mouth, &ears.heard(), acked);
    let repeats = ears.heard().iter().filter(|heard| heard.again).count();
    eprintln!(
        "{} kills, {acked} acknowledged, 0 lost, {repeats} sent again that were not acknowledged for good",
        size(500)
    );
}

/// Everything delivered and acknowledged, and that on the disk: what is stored after it says so. The newest such.
fn settle(mouth: &Mouth, ears: &Ears) -> u64 {
    let acked = mouth.pause();
    until("everything delivered", || ears.newest().is_some_and(|number| number + 1 >= acked));
    ears.ping();
    mouth.one_more();
    acked - 1
}

/// What a cure may take until messages are acknowledged again.
const CURE_MAX: Duration = Duration::from_secs(5);

fn disk(machine: &Machine) -> String {
    machine.status()["disk"]["state"].as_str().unwrap_or("unknown").to_owned()
}

/// While the disk takes nothing: nothing is acknowledged, and the agent says so and lives.
fn expect_nothing_acknowledged(machine: &mut Machine, mouth: &Mouth) {
    // What was stored before may still be on its way to the publisher.
    thread::sleep(Duration::from_millis(500));
    let before = mouth.acked();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(mouth.acked(), before, "acknowledged though the disk took nothing");
    assert!(machine.is_alive());
    let codes = machine.status()["health"].to_string();
    assert!(codes.contains("disk-degraded"), "{codes}");
}

fn expect_resumed(mouth: &Mouth) {
    let (begun, before) = (Instant::now(), mouth.acked());
    until("acknowledged again", || mouth.acked() > before);
    assert!(begun.elapsed() < CURE_MAX, "{:?} after the cure", begun.elapsed());
}

#[test]
fn a_full_disk_holds_publishers_back_and_has_what_was_acknowledged_when_there_is_room_again() {
    let Some(mount) = Mount::tmpfs(16) else { return };
    let mut machine = Machine::solo("store: { max: 8MiB }\nlimits: { queue: 1000000 }");
    machine.keep_in(mount.path());
    machine.start();
    let (ears, mouth) = (Ears::start(machine.door), Mouth::start(machine.door));
    // With nobody there nothing can be forgotten, which would make room.
    ears.leave();
    for killed in [false, true] {
        mount.fill();
        until("the disk is full", || ["full", "degraded"].contains(&disk(&machine).as_str()));
        let codes = machine.status()["health"].to_string();
        assert!(codes.contains("disk-degraded") || codes.contains("disk-full"), "{codes}");
        thread::sleep(Duration::from_millis(500));
        assert!(machine.is_alive());
        if killed {
            machine.kill();
            machine.start();
        }
        mount.make_room();
        expect_resumed(&mouth);
        until("all is well", || disk(&machine) == "on-disk");
    }
    ears.come_back();
    let acked = mouth.pause();
    until("the last message", || ears.heard().iter().any(|heard| heard.number + 1 == acked));
    expect_all(&mouth, &ears.heard(), acked);
}

#[test]
fn a_disk_that_is_read_only_at_the_start_is_read_and_used_once_it_is_writable() {
    let Some(mount) = Mount::tmpfs(16) else { return };
    let mut machine = Machine::solo("store: { max: 8MiB }");
    machine.keep_in(mount.path());
    machine.start();
    let (ears, mouth) = (Ears::start(machine.door), Mouth::start(machine.door));
    ears.leave();
    until("some acknowledged", || mouth.acked() > 100);
    machine.kill();
    mount.read_only();
    machine.start();
    expect_nothing_acknowledged(&mut machine, &mouth);
    ears.come_back();
    until("what was there is heard", || ears.heard().len() > 50);
    mount.writable();
    expect_resumed(&mouth);
    let acked = mouth.pause();
    until("the last message", || ears.heard().iter().any(|heard| heard.number + 1 == acked));
    expect_all(&mouth, &ears.heard(), acked);
}
