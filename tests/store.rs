//! What an agent acknowledged, after its death: kill -9 at random points, disks that fill up, fail and are cured.
//!
//! `HOBNAIL_SIZE` is how often; `tests/deep store` runs them at full size. A run says its seed, `HOBNAIL_SEED` repeats it.

mod store {
    pub mod ears;
    #[expect(dead_code, reason = "other tests use the rest of it")]
    pub mod machine;
    pub mod mount;
    pub mod mouth;
    pub mod rounds;
    pub mod wire;
}
#[path = "support/ports.rs"]
mod ports;

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use store::ears::Ears;
use store::machine::{Machine, network, until};
use store::mount::Mount;
use store::mouth::Mouth;
use store::rounds::{Rounds, expect_all};

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

#[test]
fn an_agent_that_is_killed_again_and_again_loses_nothing_and_repeats_nothing() {
    let mut dice = Dice::new();
    let mut machine = Machine::solo("");
    machine.start();
    let mut rounds = Rounds::begin(vec![Mouth::start(machine.door)], vec![Ears::start(machine.door)]);
    rounds.go_on();
    let kills = size(300);
    for cycle in 0..kills {
        thread::sleep(Duration::from_millis(dice.below(25)));
        if cycle % 10 == 9 {
            rounds.settle();
        }
        machine.kill();
        machine.start();
        rounds.go_on();
    }
    rounds.settle();
    let (acked, repeats) = (rounds.acked(), rounds.repeats);
    eprintln!("{kills} kills, {acked} acknowledged, 0 lost, {repeats} sent again that were not acknowledged for good");
}

/// Which machines fall at once. Mostly one; each of the others may follow before it is back.
fn who_falls(dice: &mut Dice, machines: usize) -> Vec<usize> {
    let first = dice.below(machines as u64) as usize;
    (0..machines).filter(|at| *at == first || dice.below(8) == 0).collect()
}

/// Kills of one network. A broker that never runs for long forgets nothing, and each life has streams of its own: where they
/// come to be thousands, an earlier life gives up what it said, as it should.
const KILLS_OF_ONE_MAX: u32 = 2_000;

#[test]
fn agents_of_a_network_that_are_killed_again_and_again_lose_nothing_and_repeat_nothing() {
    let mut dice = Dice::new();
    let (mut kills, mut acked, mut repeats) = (0, 0, 0);
    while kills < size(200) {
        let wanted = KILLS_OF_ONE_MAX.min(size(200) - kills);
        let (rounds, those) = kill_a_network(&mut dice, wanted);
        (kills, acked, repeats) = (kills + those, acked + rounds.acked(), repeats + rounds.repeats);
    }
    eprintln!("{kills} kills, {acked} acknowledged, 0 lost, {repeats} sent again that were not acknowledged for good");
}

fn kill_a_network(dice: &mut Dice, wanted: u32) -> (Rounds, u32) {
    let mut machines = network();
    machines.iter_mut().for_each(Machine::start);
    let [hub, spare, press] = [0, 1, 2].map(|at| machines[at].door);
    let mouths = [("hub-2", 2, hub), ("spare-1", 1, spare), ("press-1", 1, press), ("press-2", 2, press)];
    let ears = [("hub-ears", 2, hub), ("spare-ears", 1, spare), ("press-ears", 2, press)];
    let mut rounds = Rounds::begin(
        mouths.map(|(name, qos, door)| Mouth::named(name, qos, door)).into(),
        ears.map(|(name, qos, door)| Ears::named(name, qos, door)).into(),
    );
    rounds.go_on();
    let (mut kills, mut cycle) = (0, 0);
    while kills < wanted {
        thread::sleep(Duration::from_millis(dice.below(200)));
        if cycle % 20 == 19 {
            rounds.settle();
        }
        let fall = who_falls(dice, machines.len());
        fall.iter().for_each(|at| machines[*at].kill());
        fall.iter().for_each(|at| machines[*at].start());
        rounds.go_on();
        kills += fall.len() as u32;
        cycle += 1;
    }
    rounds.settle();
    (rounds, kills)
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
    mouth.pause();
    let acked = mouth.all_acked();
    until("the last message", || ears.heard().iter().any(|heard| heard.number + 1 == acked));
    expect_all(&mouth, &ears, 0..acked);
}

#[test]
fn a_full_disk_is_told_once_while_messages_come_and_go_and_so_is_its_cure() {
    let Some(mount) = Mount::tmpfs(16) else { return };
    let mut machine = Machine::solo("store: { max: 8MiB }");
    machine.keep_in(mount.path());
    machine.start();
    let (_ears, mouth) = (Ears::start(machine.door), Mouth::start(machine.door));
    until("some acknowledged", || mouth.acked() > 1_000);
    mount.fill();
    until("the disk is full", || disk(&machine) == "full");
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        assert_eq!(disk(&machine), "full");
    }
    mount.make_room();
    expect_resumed(&mouth);
    until("all is well", || disk(&machine) == "on-disk");
    thread::sleep(Duration::from_secs(2));
    let log = machine.log();
    let times = |words: &str| log.matches(words).count();
    assert_eq!((times("the disk is full"), times("the disk takes everything again")), (1, 1), "{log}");
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
    mouth.pause();
    let acked = mouth.all_acked();
    until("the last message", || ears.heard().iter().any(|heard| heard.number + 1 == acked));
    expect_all(&mouth, &ears, 0..acked);
}

/// What a durable subscriber has after it was away while this many messages were acknowledged: their count, what came,
/// and what is said to be dropped.
fn after_being_away(count: u32, more: &str, left: impl Fn(u64) -> u64) -> (u64, Vec<u64>, u64) {
    let mut machine = Machine::solo(more);
    machine.start();
    let ears = Ears::start(machine.door);
    ears.leave();
    until("it is gone", || machine.status()["broker"]["connections"] == 0);
    let mouth = Mouth::start(machine.door);
    until("all is published", || mouth.acked() >= u64::from(count));
    mouth.pause();
    let acked = mouth.all_acked();
    ears.come_back();
    until("all that is left has come", || ears.heard().len() as u64 >= left(acked));
    // More would come before the answer.
    ears.ping();
    let dropped = machine.status()["counters"]["dropped_full"].as_u64().expect("a count");
    let heard = ears.heard().iter().map(|heard| heard.number).collect();
    (acked, heard, dropped)
}

#[test]
fn who_was_away_for_long_gets_all_of_it_in_order_within_the_limit() {
    let (acked, heard, dropped) = after_being_away(size(500) * 10, "limits: { queue: 10000000 }", |acked| acked);
    assert!(heard.into_iter().eq(0..acked));
    assert_eq!(dropped, 0);
}

/// What a start may take with as much on the disk as it may hold, which `size` 240 is.
const START_MAX: Duration = Duration::from_secs(1);

#[test]
fn what_waits_for_another_machine_is_read_back_within_a_second_and_comes_in_order() {
    let count = size(32) * 128;
    let [mut hub, _, mut press] = network();
    [&mut hub, &mut press].into_iter().for_each(Machine::start);
    let program = |name: &str, door: SocketAddr, args: &[&str]| {
        let mut command = Command::new(name);
        command.args(["-p", &door.port().to_string(), "-q", "1", "-t", "line/bulk"]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("tests/setup installs it")
    };
    // The first may have been on its way before anybody knew who wants what.
    for _ in 0..2 {
        let mut ears = program("mosquitto_sub", hub.door, &["-c", "-i", "ears", "-C", "1"]);
        until("the press knows that the hub wants it", || {
            program("mosquitto_pub", press.door, &["-m", "0"]).wait().expect("a child");
            matches!(ears.try_wait(), Ok(Some(_)))
        });
    }
    hub.kill();

    let mut mouth = program("mosquitto_pub", press.door, &["-l"]);
    let mut lines = BufWriter::new(mouth.stdin.take().expect("piped"));
    (1..=count).for_each(|number| writeln!(lines, "{number:08192}").expect("written"));
    drop(lines);
    assert!(mouth.wait().expect("a child").success());
    press.kill();
    let began = Instant::now();
    press.start();
    let took = began.elapsed();
    eprintln!("{count} messages of 8 KiB were read back in {took:?}");
    assert!(took < START_MAX, "{took:?}");

    hub.start();
    let mut ears = program("mosquitto_sub", hub.door, &["-c", "-i", "ears", "-W", "60"]);
    let mut heard: Vec<u32> = Vec::new();
    for line in BufReader::new(ears.stdout.take().expect("piped")).lines() {
        heard.push(line.expect("a line").parse().expect("a number"));
        if heard.last() == Some(&count) {
            break;
        }
    }
    heard.retain(|number| *number > 0);
    // Until they were back themselves, the hub kept as much for them as its limits allow.
    let dropped = hub.status()["counters"]["dropped_full"].as_u64().expect("a count");
    assert!(heard.is_sorted_by(|a, b| a < b), "out of order, or twice");
    assert_eq!(heard.last(), Some(&count), "{} heard, {dropped} dropped", heard.len());
    assert_eq!(heard.len() as u64 + dropped, u64::from(count));
    ears.kill().expect("it lives");
    ears.wait().expect("a child");
}

#[test]
fn beyond_the_limit_who_was_away_gets_exactly_what_that_left_and_the_rest_is_counted() {
    for (when_full, oldest) in [("drop-oldest", false), ("drop-newest", true)] {
        let more = format!("limits: {{ queue: 1000 }}\nstore: {{ when_full: {when_full} }}");
        let (acked, heard, dropped) = after_being_away(size(500) * 5, &more, |_| 1_000);
        let left = if oldest { 0..1_000 } else { acked - 1_000..acked };
        assert!(heard.iter().copied().eq(left), "{when_full}: {:?} to {:?} of {acked}", heard.first(), heard.last());
        assert_eq!(dropped, acked - 1_000, "{when_full}");
    }
}
