//! One claim a test.

use std::time::Duration;

use super::super::{Command, DIAL_MAX, Dice, Pace, REDIALS_MAX, Role, State, WAIT_MAX, WAIT_MAX_IN_NEED, WAIT_MIN};
use super::bench::{Bench, EVERY, HOLD, Mood, WELL, ms, name, rules, secs};
use crate::topology::model::{Failback, Heartbeat};

const ORDER: &[&str] = &["hub", "spare", "york", "far"];
/// Hold-down and the longest jitter.
const RETURNED: Duration = Duration::from_secs(60 + 15 + 1);
/// A link that died without a word is found out by then: three beats, and a quarter of one.
const FOUND_OUT: Duration = Duration::from_millis(650);

#[test]
fn a_client_keeps_two_links_to_the_best_and_lives_at_the_best() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(60));
    assert_eq!((bench.home(), bench.linked()), (Some("hub"), vec!["hub", "spare"]));
    assert_eq!(bench.homes().len(), 1);
}

#[test]
fn a_broker_links_to_all_others_and_has_no_home() {
    let mut bench = Bench::new(rules(Role::Broker, ORDER), 7);
    bench.pass(secs(2));
    assert_eq!((bench.home(), bench.linked()), (None, ORDER.to_vec()));
    bench.set("york", Mood::Silent);
    bench.pass(secs(120));
    bench.set("york", WELL);
    bench.pass(WAIT_MAX_IN_NEED + DIAL_MAX + ms(100));
    assert_eq!((bench.home(), bench.linked()), (None, ORDER.to_vec()));
    assert_eq!(bench.homes(), Vec::new());
}

#[test]
fn a_closed_home_is_left_in_the_same_call() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    let before = bench.log.len();
    bench.set("hub", Mood::Gone);
    let done: Vec<&Command> = bench.log[before..].iter().map(|(_, command)| command).collect();
    assert_eq!(done, [&Command::Attach(name("spare"))]);
    bench.pass(secs(1));
    assert_eq!(bench.linked(), ["spare", "york"], "a second warm link is found again");
}

#[test]
fn a_silent_home_is_suspect_after_two_beats_and_left_after_three() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    bench.set("hub", Mood::Silent);
    bench.pass_until_unheard("hub", EVERY * 2);
    assert_eq!((bench.state("hub"), bench.home()), (State::Up, Some("hub")));
    bench.pass_until_unheard("hub", EVERY * 5 / 2);
    assert_eq!((bench.state("hub"), bench.home()), (State::Suspect, Some("hub")));
    bench.pass_until_unheard("hub", FOUND_OUT + ms(10));
    assert_eq!((bench.linked().contains(&"hub"), bench.home()), (false, Some("spare")));
    assert!(bench.log.iter().any(|(_, command)| *command == Command::Drop(name("hub"))), "the dead link is closed");
}

#[test]
fn one_word_from_a_suspect_home_clears_it() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    bench.set("hub", Mood::Silent);
    bench.pass_until("hub", State::Suspect);
    bench.home.handle_heard(&name("hub"), bench.now);
    assert_eq!((bench.state("hub"), bench.home()), (State::Up, Some("hub")));
}

#[test]
fn a_link_that_has_come_to_a_halt_is_replaced_and_its_broker_stays_home() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    let before = bench.homes().len();
    bench.set("hub", Mood::Halted);
    bench.pass(secs(2));
    let homes: Vec<String> = bench.homes().drain(before..).map(|(_, home)| home).collect();
    assert_eq!((bench.home(), homes), (Some("hub"), vec!["hub".to_owned()]), "attached anew, to the same");
    assert_eq!(bench.home.changes(), 1);
}

#[test]
fn a_home_that_hears_nothing_is_dialled_anew_though_it_is_heard() {
    let mut bench = Bench::client(&["hub"]);
    bench.pass(secs(5));
    bench.set("hub", Mood::Silent);
    let before = bench.dials("hub").len();
    for _ in 0..10 {
        bench.pass(EVERY);
        bench.home.handle_heard(&name("hub"), bench.now);
    }
    assert_eq!((bench.state("hub"), bench.dials("hub").len() - before), (State::Up, REDIALS_MAX as usize));
}

#[test]
fn a_silent_home_is_dialled_anew_once_a_beat_and_no_other_broker_is() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    ["hub", "spare"].iter().for_each(|broker| bench.set(broker, Mood::Silent));
    let before = ["hub", "spare"].map(|broker| bench.dials(broker).len());
    bench.pass_until_unheard("hub", FOUND_OUT - ms(20));
    let dials = ["hub", "spare"].map(|broker| bench.dials(broker).len());
    assert_eq!([dials[0] - before[0], dials[1] - before[1]], [REDIALS_MAX as usize, 0]);
}

#[test]
fn returning_hub_does_not_steal_home_before_hold_down() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    bench.set("hub", Mood::Gone);
    bench.pass(secs(3));
    bench.set("hub", WELL);
    bench.pass_until("hub", State::Up);
    bench.pass(HOLD);
    assert_eq!(bench.home(), Some("spare"));
    bench.pass(RETURNED - HOLD);
    assert_eq!(bench.home(), Some("hub"));
    assert_eq!(bench.homes().len(), 3);
}

#[test]
fn a_hub_that_is_behind_is_not_returned_to() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    bench.set("hub", Mood::Gone);
    bench.pass(secs(1));
    bench.set("hub", Mood::Well(Pace::Behind));
    bench.pass(secs(600));
    assert_eq!((bench.state("hub"), bench.home()), (State::Up, Some("spare")));
    bench.set("hub", WELL);
    bench.pass(HOLD - ms(100));
    assert_eq!(bench.home(), Some("spare"), "hold-down counts from the moment it is in step");
    bench.pass(RETURNED - HOLD);
    assert_eq!(bench.home(), Some("hub"));
}

#[test]
fn a_better_broker_that_falls_behind_again_starts_its_hold_down_over() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    bench.set("hub", Mood::Gone);
    bench.pass(secs(1));
    bench.set("hub", WELL);
    for _ in 0..5 {
        bench.pass(secs(50));
        bench.set("hub", Mood::Well(Pace::Behind));
        bench.pass(EVERY);
        bench.set("hub", WELL);
    }
    assert_eq!(bench.home(), Some("spare"));
}

#[test]
fn a_better_broker_that_falters_starts_its_hold_down_over() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    bench.set("hub", Mood::Gone);
    bench.pass(secs(1));
    bench.set("hub", WELL);
    for _ in 0..5 {
        bench.pass(secs(50));
        bench.set("hub", Mood::Silent);
        bench.pass_until("hub", State::Suspect);
        bench.set("hub", WELL);
    }
    assert_eq!(bench.home(), Some("spare"));
}

#[test]
fn hold_down_never_delays_taking_a_home_where_there_is_none() {
    let mut bench = Bench::client(&["hub"]);
    bench.pass(secs(5));
    bench.set("hub", Mood::Gone);
    assert_eq!((bench.home(), bench.log.last().map(|(_, command)| command)), (None, Some(&Command::Detached)));
    bench.pass(secs(20));
    bench.set("hub", Mood::Well(Pace::Behind));
    bench.pass(WAIT_MAX_IN_NEED + ms(20));
    assert_eq!(bench.home(), Some("hub"));
}

#[test]
fn hold_down_never_delays_leaving_a_dead_home() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    bench.set("hub", Mood::Gone);
    bench.pass(secs(3));
    bench.set("hub", WELL);
    bench.pass_until("hub", State::Up);
    bench.pass(EVERY);
    bench.set("spare", Mood::Gone);
    assert_eq!(bench.home(), Some("hub"), "though its hold-down is not over");
}

#[test]
fn a_home_that_is_in_step_goes_before_a_better_one_that_is_behind() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    bench.set("hub", Mood::Gone);
    bench.pass(secs(3));
    bench.set("hub", Mood::Well(Pace::Behind));
    bench.pass_until("hub", State::Up);
    bench.set("spare", Mood::Gone);
    assert_eq!(bench.home(), Some("york"));
}

#[test]
fn with_manual_failback_only_a_promotion_brings_the_hub_back() {
    let mut manual = rules(Role::Client, ORDER);
    manual.failover.failback = Failback::Manual;
    let mut bench = Bench::new(manual, 7);
    bench.pass(secs(5));
    bench.set("hub", Mood::Gone);
    bench.pass(secs(3));
    bench.set("hub", WELL);
    bench.pass(secs(3_600));
    assert_eq!(bench.home(), Some("spare"));
    bench.home.handle_promoted(Some(name("hub")), bench.now);
    assert_eq!(bench.home(), Some("hub"));
}

#[test]
fn a_promoted_broker_is_dialled_proves_itself_and_is_home_without_hold_down() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(30));
    bench.set("far", Mood::Well(Pace::Behind));
    bench.home.handle_promoted(Some(name("far")), bench.now);
    bench.drain();
    bench.pass(secs(5));
    assert_eq!((bench.state("far"), bench.home()), (State::Up, Some("hub")), "it is still behind");
    bench.set("far", WELL);
    bench.pass(EVERY + ms(10));
    assert_eq!(bench.home(), Some("far"));
    assert_eq!(bench.state("hub"), State::Up, "the old home stays warm");
}

#[test]
fn a_promoted_broker_that_dies_gives_way_and_comes_back_only_after_hold_down() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    bench.home.handle_promoted(Some(name("spare")), bench.now);
    assert_eq!(bench.home(), Some("spare"));
    bench.set("spare", Mood::Gone);
    assert_eq!(bench.home(), Some("hub"));
    bench.pass(secs(3));
    bench.set("spare", WELL);
    bench.pass(HOLD);
    assert_eq!(bench.home(), Some("hub"));
    bench.pass(RETURNED - HOLD + WAIT_MAX);
    assert_eq!(bench.home(), Some("spare"));
}

#[test]
fn promoting_what_is_home_already_does_not_save_up_a_move() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    bench.home.handle_promoted(Some(name("hub")), bench.now);
    bench.set("hub", Mood::Gone);
    bench.pass(secs(3));
    bench.set("hub", WELL);
    bench.pass(secs(10));
    assert_eq!(bench.home(), Some("spare"));
}

#[test]
fn a_withdrawn_promotion_leads_back_to_the_order_of_the_file() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    bench.home.handle_promoted(Some(name("spare")), bench.now);
    bench.pass(secs(5));
    bench.home.handle_promoted(None, bench.now);
    bench.pass(RETURNED);
    assert_eq!(bench.home(), Some("hub"));
}

#[test]
fn a_machine_that_slept_blames_nobody_for_two_beats() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    bench.sleep(secs(30));
    bench.home.handle_timeout(bench.now);
    bench.drain();
    assert_eq!((bench.state("hub"), bench.state("spare")), (State::Up, State::Up));
    bench.pass(secs(5));
    assert_eq!((bench.homes().len(), bench.linked()), (1, vec!["hub", "spare"]));
}

#[test]
fn a_machine_that_slept_still_finds_a_dead_home_after_two_beats() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    bench.set("hub", Mood::Silent);
    bench.sleep(secs(30));
    bench.home.handle_timeout(bench.now);
    bench.pass(EVERY * 2 - ms(20));
    assert_eq!(bench.home(), Some("hub"));
    bench.pass(ms(30));
    assert_eq!(bench.home(), Some("spare"));
}

#[test]
fn a_close_counts_even_while_this_machine_is_patient() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(5));
    bench.sleep(secs(30));
    bench.set("hub", Mood::Gone);
    assert_eq!(bench.home(), Some("spare"));
}

#[test]
fn which_link_came_first_at_boot_does_not_decide_for_a_minute() {
    let mut bench = Bench::client(ORDER);
    bench.set("hub", Mood::Gone);
    bench.pass(ms(300));
    assert_eq!(bench.home(), Some("spare"));
    bench.set("hub", WELL);
    bench.pass(ms(1_000));
    assert_eq!(bench.home(), Some("hub"));
}

#[test]
fn a_broker_that_does_not_answer_at_boot_keeps_nobody_from_the_next() {
    let mut bench = Bench::client(ORDER);
    bench.set("hub", Mood::Silent);
    bench.set("spare", Mood::Silent);
    bench.pass(ms(1_100));
    assert_eq!(bench.home(), Some("york"));
}

#[test]
fn a_third_link_goes_only_once_two_better_ones_have_stood_for_a_while() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(20));
    bench.set("spare", Mood::Gone);
    bench.pass(secs(2));
    assert_eq!(bench.linked(), ["hub", "york"]);
    bench.set("spare", WELL);
    bench.pass(secs(5));
    assert_eq!(bench.linked(), ["hub", "spare", "york"]);
    bench.pass(secs(20));
    assert_eq!(bench.linked(), ["hub", "spare"]);
}

#[test]
fn the_home_is_kept_though_two_better_ones_are_back() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(20));
    bench.set("hub", Mood::Gone);
    bench.set("spare", Mood::Gone);
    bench.pass(secs(5));
    assert_eq!(bench.home(), Some("york"));
    bench.set("hub", WELL);
    bench.set("spare", WELL);
    bench.pass(WAIT_MAX + secs(25));
    assert_eq!((bench.home(), bench.linked().contains(&"york")), (Some("york"), true));
}

#[test]
fn an_edit_that_removes_the_home_moves_on_first_and_drops_the_link_after() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(20));
    let before = bench.log.len();
    bench.home.handle_rules(rules(Role::Client, &["spare", "york"]), bench.now);
    bench.drain();
    let done: Vec<&Command> = bench.log[before..].iter().map(|(_, command)| command).collect();
    assert_eq!(done, [&Command::Attach(name("spare")), &Command::Drop(name("hub"))]);
}

#[test]
fn an_edit_that_concerns_no_broker_touches_no_link() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(20));
    let before = bench.log.len();
    let mut edited = rules(Role::Client, ORDER);
    edited.heartbeat = Heartbeat { every: EVERY * 2, miss: 5 };
    bench.home.handle_rules(edited, bench.now);
    bench.pass(secs(20));
    assert_eq!(bench.log[before..], []);
}

#[test]
fn a_client_that_becomes_a_broker_has_no_home_and_links_to_all() {
    let mut bench = Bench::client(ORDER);
    bench.pass(secs(20));
    bench.home.handle_rules(rules(Role::Broker, ORDER), bench.now);
    bench.pass(secs(1));
    assert_eq!((bench.home(), bench.linked()), (None, ORDER.to_vec()));
}

#[test]
fn waits_grow_to_their_longest_and_never_shrink_below_a_third_of_it() {
    for seed in 0..200 {
        let (mut backoff, mut dice) = (super::super::Backoff::default(), Dice::new(seed));
        let waits: Vec<Duration> = (0..60).map(|_| backoff.wait(WAIT_MAX, &mut dice)).collect();
        assert!(waits.iter().all(|wait| (WAIT_MIN..=WAIT_MAX).contains(wait)), "seed {seed}: {waits:?}");
        assert!(waits[0] <= WAIT_MIN * 3, "seed {seed}: {waits:?}");
        // Whatever is drawn: 100 ms times 1.5 to the 12th is more than a third of the longest.
        assert!(waits[13..].iter().all(|wait| *wait >= WAIT_MAX / 3), "seed {seed}: {waits:?}");
        assert!(waits.windows(2).all(|pair| pair[1] >= (pair[0] * 3 / 2).min(WAIT_MAX / 3)), "seed {seed}: {waits:?}");
    }
}

#[test]
fn a_link_that_falls_at_once_does_not_start_the_waits_over() {
    let mut bench = Bench::client(&["hub"]);
    for _ in 0..200 {
        bench.pass(ms(100));
        bench.set("hub", Mood::Gone);
        bench.set("hub", WELL);
    }
    let dials = bench.dials("hub").len();
    assert!((8..=45).contains(&dials), "{dials} dials in 20 s of flapping");
}

#[test]
fn a_link_that_stood_for_a_while_is_dialled_again_soon() {
    let mut bench = Bench::client(&["hub"]);
    bench.set("hub", Mood::Gone);
    bench.pass(secs(60));
    bench.set("hub", WELL);
    bench.pass(secs(15));
    bench.set("hub", Mood::Gone);
    bench.set("hub", WELL);
    bench.pass(WAIT_MIN * 3 + ms(20));
    assert_eq!(bench.home(), Some("hub"));
}

#[test]
fn a_hundred_clients_are_home_within_five_seconds_of_a_hub_restart_and_do_not_stampede() {
    let mut benches: Vec<Bench> = (0..100).map(|seed| Bench::new(rules(Role::Client, &["hub"]), seed)).collect();
    for bench in &mut benches {
        bench.pass(secs(20));
        bench.set("hub", Mood::Gone);
        bench.pass(secs(45));
        bench.set("hub", WELL);
        bench.pass(secs(5));
        assert_eq!(bench.home(), Some("hub"));
    }
    let start = benches[0].now;
    let mut dials: Vec<_> = benches.iter().flat_map(|bench| bench.dials("hub")).collect();
    dials.sort_unstable();
    // Of the long wait, when those that fell together have had time to spread out.
    dials.retain(|at| start.since(*at) < secs(30) && start.since(*at) > secs(5));
    let most =
        dials.iter().map(|from| dials.iter().filter(|at| *at >= from && at.since(*from) < ms(100)).count()).max();
    assert!(dials.len() > 500 && most < Some(30), "{} dials, at most {most:?} in 100 ms", dials.len());
}

#[test]
fn clients_return_to_a_hub_one_by_one() {
    let mut returned = Vec::new();
    for seed in 0..100 {
        let mut bench = Bench::new(rules(Role::Client, &["hub", "spare"]), seed);
        bench.pass(secs(15));
        bench.set("hub", Mood::Gone);
        bench.pass(ms(500));
        bench.set("hub", WELL);
        bench.pass(secs(90));
        assert_eq!(bench.home(), Some("hub"), "seed {seed}");
        returned.push(bench.home.home_since());
    }
    returned.sort_unstable();
    let most =
        returned.iter().map(|from| returned.iter().filter(|at| *at >= from && at.since(*from) < secs(1)).count());
    assert!(most.max() < Some(20), "{returned:?}");
}
