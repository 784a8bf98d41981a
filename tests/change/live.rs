//! What an edit means to those who are connected: rights, passwords, and the network that a machine comes into or leaves.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::agent::solo;
use crate::change::machine::{Machine, Style, codes};
use crate::change::talker::{Talker, Welcome};
use crate::ports::free_ports;
use crate::{APPLIED_MAX, network_of, with_key};

fn with_rights(rights: &str) -> String {
    solo("").replace("host: localhost", &format!("host: localhost{rights}"))
}

#[test]
fn a_right_that_is_taken_away_ends_at_once_for_sessions_queues_and_retained_and_drops_nobody() {
    let machine = Machine::start(&with_rights(""));
    let door = machine.agent.programs();
    let mut speaker = Talker::program(door, "speaker");
    let mut listener = Talker::program(door, "listener");
    assert!(listener.subscribe("#"));
    let (mut sleeper, _) = Talker::connect(door, "sleeper", false, None);
    assert!(sleeper.subscribe("#"));
    drop(sleeper);
    machine.status_when(|status| status["broker"]["connections"] == 2);
    speaker.retain("secret/1", "kept");
    speaker.retain("open/1", "kept");
    speaker.publish("secret/2", "waits");
    speaker.publish("open/2", "waits");
    assert_eq!(listener.hear_all(), ["secret/1 kept", "open/1 kept", "secret/2 waits", "open/2 waits"]);

    machine.write(&with_rights(", subscribe: [\"open/#\"], publish: [\"#\"]"), Style::Rename);
    assert!(machine.time_to_apply() < APPLIED_MAX);
    speaker.publish("secret/3", "late");
    speaker.publish("open/3", "late");
    assert_eq!(listener.hear_all(), ["open/3 late"], "a session that has the filter already");
    let (mut sleeper, welcome) = Talker::connect(door, "sleeper", false, None);
    assert_eq!(welcome, Welcome::Back);
    assert_eq!(sleeper.hear_all(), ["open/1 kept", "open/2 waits", "open/3 late"], "a queue");
    let mut newcomer = Talker::program(door, "newcomer");
    assert!(!newcomer.subscribe("secret/1") && newcomer.subscribe("open/1"));
    assert_eq!(newcomer.hear_all(), ["open/1 kept"], "what is retained");

    // To publish as well: what is refused is acknowledged to a client of 3.1.1, and goes nowhere.
    machine.write(&with_rights(", subscribe: [\"#\"], publish: [\"open/#\"]"), Style::Rename);
    assert!(machine.time_to_apply() < APPLIED_MAX);
    speaker.publish("secret/4", "refused");
    speaker.retain("secret/1", "replaced");
    speaker.publish("open/4", "passes");
    assert_eq!(listener.hear_all(), ["open/4 passes"]);
    assert_eq!(sleeper.hear_all(), ["open/4 passes"]);
    let mut newcomer = Talker::program(door, "newcomer");
    assert!(newcomer.subscribe("secret/1"));
    assert_eq!(newcomer.hear_all(), ["secret/1 kept"], "the right to hear it is back, that to change it is gone");
    assert!([speaker, listener, sleeper].iter_mut().all(Talker::is_served));
}

/// A folder for keys beside the topology, with a password file.
fn with_password(machine_file: &std::path::Path, file: &str, password: &str) -> std::path::PathBuf {
    let keys = machine_file.with_file_name("keys");
    fs::create_dir_all(&keys).unwrap();
    let mut passwd = std::process::Command::new(env!("CARGO_BIN_EXE_hobnail"))
        .args(["passwd", "--password-stdin"])
        .arg(keys.join(file))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    passwd.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    assert!(passwd.wait().unwrap().success());
    keys
}

#[test]
fn a_devices_password_and_rights_change_under_it_and_whoever_is_in_stays_in() {
    let [port] = free_ports();
    let door = ([127, 0, 0, 1], port).into();
    let topology = |more: &str| {
        solo(&format!(", devices: {{ listen: \"127.0.0.1:{port}\", plain: true }}"))
            + &format!("clients:\n  plc: {{ device: true, {more} }}\n")
    };
    let first = topology("password_file: one.pw");
    let machine = Machine::start_with(&first, "solo", |command| {
        let file = std::path::PathBuf::from(command.get_args().nth(1).unwrap());
        command.arg("--keys").arg(with_password(&file, "one.pw", "sesame"));
    });
    let enter = |id: &str, password: &str| Talker::connect(door, id, true, Some(("plc", password)));
    let (mut plc, welcome) = enter("a", "sesame");
    assert_eq!(welcome, Welcome::New);
    assert_eq!(enter("b", "mustard").1, Welcome::Refused(4));

    // The same file holds another password: it counts from now on, and nothing has to be told.
    with_password(&machine.file, "one.pw", "mustard");
    assert_eq!(enter("b", "sesame").1, Welcome::Refused(4));
    assert_eq!(enter("b", "mustard").1, Welcome::New);

    // Another file, and fewer rights.
    with_password(&machine.file, "two.pw", "pepper");
    machine.write(&topology("password_file: two.pw, publish: [\"line/#\"], subscribe: [\"cmd/#\"]"), Style::Rename);
    assert!(machine.time_to_apply() < APPLIED_MAX);
    assert_eq!(enter("b", "mustard").1, Welcome::Refused(4));
    assert_eq!(enter("b", "pepper").1, Welcome::New);
    assert!(plc.is_served());
    assert!(!plc.subscribe("line/#") && plc.subscribe("cmd/#"), "as the rights say now");
}

/// The agent `m1`, and a program there that hears what `program` at the hub says, and the other way round.
fn join(hub: &Machine, network: &str, program: &mut Talker) -> (Machine, Talker) {
    let m1 = Machine::start_with(network, "m1", |command| {
        command.arg("--keys").arg(hub.file.with_file_name("keys"));
    });
    let mut other = Talker::program(m1.agent.programs(), "o");
    assert!(program.subscribe("#") && other.subscribe("#"));
    m1.status_when(|status| status["node"]["home"] == "hub");
    // Each hears of the other's filter a moment after it was granted.
    let until_heard = |from: &mut Talker, to: &mut Talker, topic: &str| {
        let tries = std::iter::repeat_with(|| {
            from.publish(topic, "hello");
            to.hear_all()
        });
        assert!(tries.take(20).any(|heard| heard.contains(&format!("{topic} hello"))), "{topic}");
    };
    until_heard(program, &mut other, "open/there");
    until_heard(&mut other, program, "open/back");
    drop((program.hear_all(), other.hear_all()));
    (m1, other)
}

#[test]
fn a_machine_on_its_own_comes_into_a_network_and_leaves_it_and_its_programs_stay() {
    let network = network_of(6).replace(", backups: [spare]", "").replace("  spare: { host: 127.0.0.2 }\n", "");
    let (alone, _) = network.split_once("clients:").unwrap();
    let hub = Machine::start_with(alone, "hub", with_key);
    let mut program = Talker::program(hub.agent.programs(), "p");
    assert!(hub.status()["node"].is_null());

    hub.write(&network, Style::Rename);
    assert!(hub.time_to_apply() < APPLIED_MAX);
    let (m1, mut other) = join(&hub, &network, &mut program);

    hub.write(alone, Style::Rename);
    assert_eq!(hub.reload(&["--confirm"]).0, Some(0));
    let status = hub.status();
    assert!(status["node"].is_null(), "{status:#}");
    m1.status_when(|status| status["node"]["home"].is_null());
    program.publish("open/alone", "hello");
    assert_eq!(program.hear_all(), ["open/alone hello"], "the same connection and the same session");
    other.publish("open/apart", "waits");

    hub.write(&network, Style::Rename);
    assert!(hub.time_to_apply() < APPLIED_MAX);
    m1.status_when(|status| status["node"]["home"] == "hub");
    assert_eq!(program.hear(), "open/apart waits");
}

#[test]
fn a_right_of_another_machine_is_taken_away_by_editing_the_file_of_the_hub_alone() {
    let network = network_of(6);
    let hub = Machine::start_with(&network, "hub", with_key);
    let mut program = Talker::program(hub.agent.programs(), "p");
    let (m1, mut other) = join(&hub, &network, &mut program);
    hub.write(&network.replace("m1: {}", "m1: { publish: [\"open/#\"], subscribe: [\"open/#\"] }"), Style::Rename);
    assert!(hub.time_to_apply() < APPLIED_MAX);
    program.publish("secret/1", "of the hub");
    program.publish("open/1", "of the hub");
    other.publish("secret/2", "of m1");
    other.publish("open/2", "of m1");
    let sorted = |mut heard: Vec<String>| {
        heard.sort();
        heard
    };
    // Its own file is the old one, so among the programs there nothing has changed.
    assert_eq!(sorted(other.hear_all()), ["open/1 of the hub", "open/2 of m1", "secret/2 of m1"]);
    assert_eq!(sorted(program.hear_all()), ["open/1 of the hub", "open/2 of m1", "secret/1 of the hub"]);
    assert_eq!(hub.status()["node"]["counters"]["refused_rights"], 1);
    assert_eq!(m1.status()["node"]["home_changes"], 1, "its link stands");
}

#[test]
fn an_included_file_that_is_edited_is_in_force_and_drops_nobody() {
    let text = "include: [more.yaml]\n".to_owned() + &solo("");
    let more = |topic: &str| format!("topics: [{{ match: \"{topic}/#\", max_age: 1d }}]\n");
    let machine = Machine::start_with(&text, "solo", |command| {
        let file = std::path::PathBuf::from(command.get_args().nth(1).unwrap());
        fs::write(file.with_file_name("more.yaml"), more("one")).unwrap();
    });
    let mut program = Talker::program(machine.agent.programs(), "p");
    let before = machine.in_force();
    fs::write(machine.file.with_file_name("more.yaml"), more("two")).unwrap();
    assert!(machine.time_to_apply() < APPLIED_MAX);
    assert_ne!(machine.in_force(), before);
    fs::write(machine.file.with_file_name("more.yaml"), "topics: [").unwrap();
    let status = machine.status_when(|status| codes(status) == ["reload-refused"]);
    assert!(status["health"][0]["text"].as_str().unwrap().contains("more.yaml:1:"), "{status:#}");
    assert!(program.is_served());
}
