//! Whether a machine answers, seen from each of the others.

use std::time::Duration;

use super::WORKSHOP;
use super::lab::Lab;
use crate::node::ping::Pong;

/// What came of a question by `from` after a second.
fn ping(lab: &mut Lab, from: &str, to: &str) -> Pong {
    let number = lab.ask(from, to);
    lab.seconds(1);
    lab.answer(from, number)
}

#[test]
fn every_machine_answers_every_other_by_the_shortest_way() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.seconds(3);
    // A wire takes a millisecond.
    for (from, to, ms) in
        [("press", "press", 0), ("press", "hub", 2), ("press", "spare", 2), ("hub", "press", 2), ("press", "office", 4)]
    {
        assert_eq!(ping(&mut lab, from, to), Pong::After(Duration::from_millis(ms)), "{from} asks {to}");
    }
}

#[test]
fn a_machine_at_another_broker_is_found_there() {
    let mut lab = Lab::new(WORKSHOP, 2);
    lab.block("office", "hub");
    lab.seconds(3);
    let told = ping(&mut lab, "press", "office");
    assert_eq!(told, Pong::After(Duration::from_millis(5)), "there by the hub, back from the spare at once");
    lab.block("press", "spare");
    lab.seconds(3);
    assert_eq!(ping(&mut lab, "press", "office"), Pong::After(Duration::from_millis(6)));
}

#[test]
fn who_is_gone_or_was_never_there_does_not_answer_and_nothing_goes_round_for_ever() {
    let mut lab = Lab::new(WORKSHOP, 3);
    lab.seconds(3);
    lab.kill("office");
    assert_eq!(ping(&mut lab, "press", "office"), Pong::NotYet);
    assert_eq!(ping(&mut lab, "press", "nobody"), Pong::NotYet);
    assert_eq!(lab.answer("press", 99), Pong::Forgotten);
}

#[test]
fn questions_nobody_comes_back_for_are_forgotten() {
    let mut lab = Lab::new(WORKSHOP, 4);
    lab.seconds(3);
    let first = lab.ask("press", "nobody");
    let last = (0..64).map(|_| lab.ask("press", "nobody")).last().unwrap();
    assert_eq!(lab.answer("press", first), Pong::Forgotten);
    assert_eq!(lab.answer("press", last), Pong::NotYet);
}
