//! An edit under which a client finds no broker does not stay in force.

use std::time::{Duration, Instant};

use crate::change::machine::{Machine, Style, codes};
use crate::change::talker::Talker;
use crate::ports::free_ports;
use crate::{APPLIED_MAX, network_of, restart_as, with_key};

/// A client without a home for so long goes back: the gate's time, and some to spare.
const BACK_MAX: Duration = Duration::from_secs(14);

/// A hub and the client `m1` at home there, and the same topology with the hub's agent door elsewhere.
fn at_home() -> (Machine, Machine, [String; 2]) {
    let [here, there] = free_ports();
    let at = |port: u16| {
        let text = network_of(6).replace(", backups: [spare]", "").replace("  spare: { host: 127.0.0.2 }\n", "");
        let (head, tail) = text.split_once("agents: ").unwrap();
        format!("{head}agents: {port} {}", tail.trim_start_matches(|digit: char| digit.is_ascii_digit()))
    };
    let hub = Machine::start_with(&at(here), "hub", with_key);
    let m1 = Machine::start_with(&at(here), "m1", |command| {
        command.arg("--keys").arg(hub.file.with_file_name("keys"));
    });
    m1.status_when(|status| status["node"]["home"] == "hub");
    (hub, m1, [at(here), at(there)])
}

#[test]
fn a_client_that_an_edit_cuts_off_goes_back_once_says_so_and_follows_when_the_hub_has_moved_too() {
    let (mut hub, m1, [here, there]) = at_home();
    let mut program = Talker::program(m1.agent.programs(), "p");
    let good = m1.in_force();
    m1.write(&there, Style::Rename);
    m1.time_to_apply();
    let begun = Instant::now();
    let (code, outcome) = m1.reload(&[]);
    assert_eq!((code, &outcome["verdict"]), (Some(1), &"rolled-back".into()), "it waits for the end: {outcome:#}");
    assert!(begun.elapsed() < BACK_MAX, "{:?}", begun.elapsed());
    assert_eq!(m1.in_force(), good);
    let status = m1.status_when(|status| status["node"]["home"] == "hub");
    let finding = &status["health"][0];
    assert_eq!((&finding["code"], &finding["grade"]), (&"rolled-back".into(), &"problem".into()), "{status:#}");
    assert!(finding["text"].as_str().unwrap().contains("hobnail reload --confirm"), "{finding:#}");

    // The same text is not tried again while there is a home.
    let begun = Instant::now();
    assert_eq!(m1.reload(&[]).1["verdict"], "rolled-back");
    assert!(begun.elapsed() < Duration::from_secs(5), "at once: {:?}", begun.elapsed());
    m1.agent.signal("HUP");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!((m1.in_force(), &m1.status()["node"]["home"]), (good, &"hub".into()));

    // The hub is edited, which ends no link. Once that one breaks, there is a home by the new text alone.
    hub.write(&there, Style::Rename);
    hub.time_to_apply();
    assert_eq!(m1.status()["node"]["home"], "hub");
    hub.agent.kill();
    let _hub = restart_as(&hub, "hub");
    let status = m1.status_when(|status| status["node"]["home"] == "hub" && codes(status).is_empty());
    assert_eq!(status["topology"]["fingerprint"], *m1.fingerprint());

    // And back: a text that was never rolled back has its own trial, one that was has had it.
    m1.write(&here, Style::Rename);
    assert_eq!(m1.reload(&[]).1["verdict"], "rolled-back");
    m1.write(&there, Style::Rename);
    m1.status_when(|status| codes(status).is_empty());
    assert!(program.is_served(), "through all of it");
}

#[test]
fn an_edit_that_is_confirmed_or_mended_is_in_force_whether_or_not_there_is_a_home() {
    let (_hub, m1, [here, there]) = at_home();
    m1.write(&there, Style::Rename);
    m1.time_to_apply();
    // Mended before anybody has judged it.
    m1.write(&here, Style::Rename);
    assert!(m1.time_to_apply() < APPLIED_MAX);
    m1.status_when(|status| status["node"]["home"] == "hub" && codes(status).is_empty());

    m1.write(&there, Style::Rename);
    assert_eq!(m1.reload(&[]).1["verdict"], "rolled-back");
    assert_eq!(m1.reload(&["--confirm"]).0, Some(0));
    std::thread::sleep(BACK_MAX);
    assert_eq!(m1.in_force(), m1.fingerprint(), "it is meant");
    assert!(codes(&m1.status()).contains(&"no-home"));
}
