//! What holds whatever happens.

use std::time::Duration;

use proptest::prelude::*;

use super::super::{Command, Home, Pace, Role, State};
use super::bench::{Bench, HOLD, Mood, WELL, ms, rules, secs};
use crate::time::Now;

const ORDER: &[&str] = &["hub", "spare", "york"];

#[derive(Clone, Debug)]
enum Fault {
    Set(usize, Mood),
    Sleep(Duration),
    Promote(Option<usize>),
    Pass(Duration),
}

fn fault() -> impl Strategy<Value = Fault> {
    let mood = prop_oneof![
        3 => Just(WELL),
        1 => Just(Mood::Well(Pace::Behind)),
        2 => Just(Mood::Gone),
        1 => Just(Mood::Silent),
    ];
    prop_oneof![
        6 => (0..ORDER.len(), mood).prop_map(|(at, mood)| Fault::Set(at, mood)),
        1 => (100u64..5_000).prop_map(|wait| Fault::Sleep(ms(wait))),
        1 => proptest::option::of(0..ORDER.len()).prop_map(Fault::Promote),
        6 => (10u64..20_000).prop_map(|wait| Fault::Pass(ms(wait))),
    ]
}

/// What must hold at every moment after the actions are drained.
fn check(home: &Home) {
    let linked = |state: State| state.is_linked();
    if let Some(name) = home.home() {
        assert!(home.state(name).is_some_and(|view| linked(view.state)), "the home {name} is not linked");
    } else {
        assert!(home.views().all(|view| view.state != State::Up), "no home, though a link is up");
    }
}

fn run(faults: &[Fault], seed: u64) -> Bench {
    let mut bench = Bench::new(rules(Role::Client, ORDER), seed);
    for fault in faults {
        match fault {
            Fault::Set(at, mood) => bench.set(ORDER[*at], *mood),
            Fault::Sleep(wait) => bench.sleep(*wait),
            Fault::Promote(at) => {
                bench.home.handle_promoted(at.map(|at| super::bench::name(ORDER[at])), bench.now);
                bench.drain();
            }
            Fault::Pass(wait) => {
                let end = bench.now.after(*wait);
                while bench.now < end {
                    bench.pass(ms(50));
                    check(&bench.home);
                }
            }
        }
        check(&bench.home);
    }
    bench
}

/// Homes taken although the last one was still linked: returns and promotions.
fn moved_by_choice(bench: &Bench) -> Vec<Now> {
    let mut home: Option<&str> = None;
    let mut moves = Vec::new();
    for (at, command) in &bench.log {
        match command {
            Command::Attach(name) => {
                if home.is_some_and(|home| home != name.as_str()) {
                    moves.push(*at);
                }
                home = Some(name.as_str());
            }
            Command::Detached => home = None,
            Command::Drop(name) if home == Some(name.as_str()) => home = None,
            Command::Drop(_) | Command::Dial(_) | Command::SendBeat(_) => {}
        }
    }
    moves
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn there_is_a_home_whenever_a_link_is_up_and_it_is_always_linked(
        faults in proptest::collection::vec(fault(), 1..60),
        seed: u64,
    ) {
        run(&faults, seed);
    }

    #[test]
    fn when_faults_end_everybody_is_at_the_best_broker(
        faults in proptest::collection::vec(fault(), 1..40),
        seed: u64,
    ) {
        let mut bench = run(&faults, seed);
        ORDER.iter().for_each(|broker| bench.set(broker, WELL));
        bench.home.handle_promoted(None, bench.now);
        bench.pass(secs(4 + 30 + 60 + 15 + 30));
        prop_assert_eq!((bench.home(), bench.linked()), (Some("hub"), vec!["hub", "spare"]));
    }

    #[test]
    fn no_broker_is_dialled_in_a_storm(
        faults in proptest::collection::vec(fault(), 1..60),
        seed: u64,
    ) {
        let bench = run(&faults, seed);
        for broker in ORDER {
            let dials = bench.dials(broker);
            for from in &dials {
                let many = dials.iter().filter(|at| *at >= from && at.since(*from) < secs(10)).count();
                // 100, 150, 225, 337, 506 ms, then a third of the longest each.
                prop_assert!(many <= 20, "{broker}: {many} in 10 s");
            }
        }
    }

    #[test]
    fn a_flapping_hub_moves_its_clients_at_most_twice_in_a_hold_window(
        spells in proptest::collection::vec((1u64..90_000, 1u64..3_000), 1..30),
        seed: u64,
    ) {
        let mut bench = Bench::new(rules(Role::Client, ORDER), seed);
        bench.pass(secs(15));
        for (up, down) in spells {
            bench.set("hub", Mood::Gone);
            bench.pass(ms(down));
            bench.set("hub", WELL);
            bench.pass(ms(up));
        }
        let homes = bench.homes();
        for (from, _) in &homes {
            let many = homes.iter().filter(|(at, _)| at >= from && at.since(*from) < HOLD).count();
            prop_assert!(many <= 2, "{many} changes within hold-down: {homes:?}");
        }
        prop_assert!(moved_by_choice(&bench).len() <= homes.len());
    }

    #[test]
    fn the_same_seed_and_inputs_give_the_same_commands(
        faults in proptest::collection::vec(fault(), 1..30),
        seed: u64,
    ) {
        prop_assert_eq!(run(&faults, seed).log, run(&faults, seed).log);
    }
}
