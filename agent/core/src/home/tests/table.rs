//! Every state of a link with every input, as data.

use super::super::{Command, DIAL_MAX, Home, Pace, Role, State};
use super::bench::{EVERY, ms, name, rules, secs};
use crate::time::Now;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    LinkUp,
    Heard,
    Beat,
    LinkDown,
    DialFailed,
    /// The deadline of this state passes in silence.
    Silence,
    Removed,
}

/// A link of a client to its only broker, in that state.
fn in_state(state: State) -> (Home, Now) {
    let hub = name("hub");
    let start = Now::ZERO.after(secs(50));
    let mut home = Home::new(rules(Role::Client, &["hub"]), 1, start);
    let mut now = start;
    match state {
        State::Dialing => {}
        State::Down => home.handle_dial_failed(&hub, now),
        State::Up => home.handle_link_up(&hub, now),
        State::Suspect => {
            home.handle_link_up(&hub, now);
            for quarter in 0..=9 {
                now = start.after(EVERY * quarter / 4);
                home.handle_timeout(now);
            }
        }
    }
    while home.poll().is_some() {}
    assert_eq!(home.state(&hub).unwrap().state, state);
    (home, now)
}

fn after(state: State, input: Input) -> (Option<State>, Vec<Command>) {
    let hub = name("hub");
    let (mut home, now) = in_state(state);
    match input {
        Input::LinkUp => home.handle_link_up(&hub, now),
        Input::Heard => home.handle_heard(&hub, now),
        Input::Beat => home.handle_beat(&hub, Pace::InStep, now),
        Input::LinkDown => home.handle_link_down(&hub, now),
        Input::DialFailed => home.handle_dial_failed(&hub, now),
        Input::Removed => home.handle_rules(rules(Role::Client, &[]), now),
        Input::Silence => {
            let wait = match state {
                State::Down => ms(300),
                State::Dialing => DIAL_MAX,
                State::Up => EVERY * 9 / 4,
                State::Suspect => EVERY,
            };
            let mut at = now;
            while at < now.after(wait) {
                at = at.after(ms(1));
                home.handle_timeout(at);
            }
        }
    }
    let commands = std::iter::from_fn(|| home.poll()).filter(|command| !matches!(command, Command::SendBeat(_)));
    let commands = commands.collect();
    (home.state(&hub).map(|view| view.state), commands)
}

#[test]
fn every_state_takes_every_input_as_the_table_says() {
    use Input::{Beat, DialFailed, Heard, LinkDown, LinkUp, Removed, Silence};
    use State::{Dialing, Down, Suspect, Up};
    let hub = || name("hub");
    let (attach, detached) = (|| Command::Attach(hub()), Command::Detached);
    let (dial, drop) = (|| Command::Dial(hub()), || Command::Drop(hub()));
    let table = [
        (Down, LinkUp, Some(Up), vec![attach()]),
        (Down, Heard, Some(Down), vec![]),
        (Down, Beat, Some(Down), vec![]),
        (Down, LinkDown, Some(Down), vec![]),
        (Down, DialFailed, Some(Down), vec![]),
        (Down, Silence, Some(Dialing), vec![dial()]),
        (Down, Removed, None, vec![]),
        (Dialing, LinkUp, Some(Up), vec![attach()]),
        (Dialing, Heard, Some(Dialing), vec![]),
        (Dialing, Beat, Some(Dialing), vec![]),
        (Dialing, LinkDown, Some(Down), vec![]),
        (Dialing, DialFailed, Some(Down), vec![]),
        (Dialing, Silence, Some(Down), vec![drop()]),
        (Dialing, Removed, None, vec![drop()]),
        (Up, LinkUp, Some(Up), vec![attach()]),
        (Up, Heard, Some(Up), vec![]),
        (Up, Beat, Some(Up), vec![]),
        (Up, LinkDown, Some(Down), vec![detached.clone()]),
        (Up, DialFailed, Some(Up), vec![]),
        (Up, Silence, Some(Suspect), vec![dial(), dial()]),
        (Up, Removed, None, vec![detached.clone(), drop()]),
        (Suspect, LinkUp, Some(Up), vec![attach()]),
        (Suspect, Heard, Some(Up), vec![]),
        (Suspect, Beat, Some(Up), vec![]),
        (Suspect, LinkDown, Some(Down), vec![detached.clone()]),
        (Suspect, DialFailed, Some(Suspect), vec![]),
        (Suspect, Silence, Some(Down), vec![drop(), detached.clone()]),
        (Suspect, Removed, None, vec![detached, drop()]),
    ];
    assert_eq!(table.len(), 4 * 7);
    for (from, input, to, commands) in table {
        assert_eq!(after(from, input), (to, commands), "{from:?} takes {input:?}");
    }
}
