//! The running agent follows its file: however it is edited, nobody is dropped who is not concerned, nothing is lost, and
//! what is wrong changes nothing.
//!
//! `HOBNAIL_SIZE` makes the long ones longer: `tests/deep change`.

mod change {
    pub mod machine;
    pub mod program;
    pub mod talker;
}
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "run/agent.rs"]
mod agent;
#[path = "change/gated.rs"]
mod gated;
#[path = "change/live.rs"]
mod live;
#[path = "support/ports.rs"]
mod ports;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use agent::solo;
use change::machine::{Machine, STYLES, Style, codes};
use change::program::{Programs, connect, is_closed};
use ports::free_ports;

/// What the issue promises of an edit: it is in force this soon after the last byte.
const APPLIED_MAX: Duration = Duration::from_secs(1);

fn size(small: usize) -> usize {
    std::env::var("HOBNAIL_SIZE").ok().and_then(|text| text.parse().ok()).unwrap_or(small)
}

/// Valid, and another one for each number: limits, rights, topics, roles and timers change.
fn numbered(number: usize) -> String {
    let (n, every) = (number + 1, 200 + number % 100);
    solo("").replace("host: localhost", &format!("host: localhost, limits: {{ inflight: {n}, queue: {n}0 }}"))
        + &format!("heartbeat: {{ every: {every}ms }}\nroles:\n  r{n}: {{ publish: [\"a/{n}\"] }}\n")
        + &format!("topics: [{{ match: \"x/{n}/#\", max_age: 1d }}]\n")
}

#[test]
fn storms_of_edits_in_every_style_drop_nobody_and_the_last_valid_file_is_in_force_within_a_second() {
    let edits = size(40);
    let machine = Machine::start(&solo(""));
    let connections = if size(0) == 0 { 20 } else { 100 };
    let programs = Programs::start(machine.agent.programs(), connections);
    let (mut number, mut slowest) = (0, Duration::ZERO);
    for style in STYLES {
        for at in 0..edits / STYLES.len() {
            number += 1;
            machine.write(&numbered(number), style);
            // A hundred a second, and now and then a pause in which it is to be in force.
            if at % 5 == 4 {
                slowest = slowest.max(machine.time_to_apply());
            } else {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        slowest = slowest.max(machine.time_to_apply());
        machine.write("version: 1\nnetwork: test\n", style);
        let status = machine.status_when(|status| codes(status) == ["reload-refused"]);
        assert!(status["health"][0]["text"].as_str().unwrap().contains("error[no-broker]"), "{style:?}: {status:#}");
    }
    machine.write(&numbered(number), Style::Rename);
    slowest = slowest.max(machine.time_to_apply());
    let messages = programs.stop();
    eprintln!("{number} edits, {messages} messages, none lost; the slowest was in force after {slowest:?}");
    assert!(slowest < APPLIED_MAX, "in force after {slowest:?}");
    assert_eq!(machine.status()["counters"]["connections_opened"], connections, "none came twice");
}

#[test]
fn every_bad_file_changes_nothing_and_status_says_what_is_wrong() {
    let machine = Machine::start(&solo(""));
    let mut program = connect(machine.agent.programs(), "p");
    let before = machine.in_force();
    let mut seen = 0;
    for entry in fs::read_dir("tests/topologies-bad").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        fs::copy(&path, &machine.file).unwrap();
        let check = machine.tool(&["check", machine.file.to_str().unwrap()]);
        if check.status.success() {
            // It is bad only where its secrets are.
            continue;
        }
        seen += 1;
        let (code, outcome) = machine.reload(&[]);
        assert_eq!((code, &outcome["verdict"]), (Some(78), &"bad".into()), "{path:?}: {outcome:#}");
        assert_eq!(outcome["report"].as_str().unwrap(), String::from_utf8_lossy(&check.stdout), "{path:?}");
        let status = machine.status();
        let first = String::from_utf8_lossy(&check.stdout).lines().next().unwrap().to_owned();
        assert_eq!(codes(&status), ["reload-refused"], "{path:?}");
        assert!(status["health"][0]["text"].as_str().unwrap().starts_with(&first), "{path:?}: {status:#}");
        assert_eq!(machine.in_force(), before, "{path:?}");
    }
    assert!(seen > 40, "{seen} files were tried");
    for nothing in [b"".as_slice(), b"\n", b"\xff\xfe", b"# only words\n"] {
        fs::write(&machine.file, nothing).unwrap();
        assert_eq!(machine.reload(&[]).0, Some(78), "{nothing:?}");
    }
    fs::remove_file(&machine.file).unwrap();
    assert_eq!(machine.reload(&[]).0, Some(78), "a file that is gone");
    fs::create_dir(&machine.file).unwrap();
    assert_eq!(machine.reload(&[]).0, Some(78), "a folder");
    assert_eq!(machine.in_force(), before);
    assert!(!is_closed(&mut program));
    fs::remove_dir(&machine.file).unwrap();
    fs::write(&machine.file, solo("")).unwrap();
    assert_eq!(
        machine.status_when(|status| !status.is_null() && codes(status).is_empty())["topology"]["fingerprint"],
        *before
    );
}

#[test]
fn a_door_that_moves_lets_go_of_those_who_came_in_by_it_and_of_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("h.sock");
    let [first, second] = free_ports();
    let doors = |programs: u16, more: &str| solo(more).replace("127.0.0.1:0", &format!("127.0.0.1:{programs}"));
    let with_socket = format!(", unix: \"{}\"", socket.display());
    let machine = Machine::start(&doors(first, &with_socket));
    let mut by_first = connect(([127, 0, 0, 1], first).into(), "a");
    let local = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    machine.write(&doors(second, &with_socket), Style::Rename);
    assert!(machine.time_to_apply() < APPLIED_MAX);
    let mut by_second = connect(([127, 0, 0, 1], second).into(), "b");
    assert!(is_closed(&mut by_first), "its door is elsewhere now");
    assert!(std::net::TcpStream::connect(("127.0.0.1", first)).is_err(), "nobody listens there");
    drop(local);

    // One that cannot be opened changes nothing, and is opened once it can be.
    let taken = std::net::TcpListener::bind(("127.0.0.1", first)).unwrap();
    machine.write(&doors(first, ""), Style::Rename);
    let status = machine.status_when(|status| codes(status) == ["reload-refused"]);
    assert!(status["health"][0]["text"].as_str().unwrap().contains("address in use"), "{status:#}");
    assert_eq!(machine.reload(&[]).0, Some(1));
    assert!(!is_closed(&mut by_second) && socket.exists());
    drop(taken);
    machine.time_to_apply();
    let _again = connect(([127, 0, 0, 1], first).into(), "c");
    assert!(is_closed(&mut by_second) && !socket.exists());
}

#[test]
fn doors_that_swap_places_both_serve_afterwards_and_a_failed_swap_leaves_them_as_they_were() {
    let [one, two] = free_ports();
    let doors = |programs: u16, websocket: u16| {
        solo(&format!(", websocket: \"127.0.0.1:{websocket}\""))
            .replace("127.0.0.1:0", &format!("127.0.0.1:{programs}"))
    };
    let machine = Machine::start(&doors(one, two));
    machine.write(&doors(two, one), Style::InPlace);
    machine.time_to_apply();
    let mut program = connect(([127, 0, 0, 1], two).into(), "a");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let third = taken.local_addr().unwrap().port();
    // The program door is to go where the WebSocket door stands, and that where somebody else is.
    machine.write(&doors(one, third), Style::InPlace);
    assert_eq!(machine.reload(&[]).0, Some(1));
    assert!(!is_closed(&mut program), "it came in by a door that was shut for a moment only");
    let _other = connect(([127, 0, 0, 1], two).into(), "b");
    assert!(std::net::TcpStream::connect(("127.0.0.1", one)).is_ok());
}

#[test]
fn what_may_be_half_a_file_waits_until_it_is_confirmed() {
    let machine = Machine::start_with(&network_of(6), "hub", with_key);
    let cut: String =
        network_of(6).lines().take_while(|line| !line.contains("m4")).map(|line| format!("{line}\n")).collect();
    let before = machine.in_force();
    machine.write(&cut, Style::InPlace);
    let status = machine.status_when(|status| codes(status).contains(&"confirm-needed"));
    let text = status["topology"]["pending"]["error"].as_str().unwrap();
    assert!(text.contains("takes away 3 of 8 machines") && text.contains("hobnail reload --confirm"), "{text}");
    assert_eq!(machine.reload(&[]).0, Some(1));
    assert_eq!(machine.reload(&["--dry-run"]).1["verdict"], "doubted");
    assert_eq!(machine.in_force(), before);
    let (code, outcome) = machine.reload(&["--confirm"]);
    assert_eq!((code, &outcome["verdict"]), (Some(0), &"applied".into()), "{outcome:#}");
    assert_eq!(machine.in_force(), machine.fingerprint());

    machine.write(&cut.replace("  hub:", "  bub:"), Style::InPlace);
    let status = machine.status_when(|status| codes(status).contains(&"confirm-needed"));
    assert!(
        status["topology"]["pending"]["error"].as_str().unwrap().contains("no place for this machine"),
        "{status:#}"
    );
    assert_eq!(machine.reload(&["--confirm"]).0, Some(0));
    let alone = machine.status();
    assert!(alone["node"].is_null(), "it belongs to no network: {alone:#}");
    let _program = connect(machine.agent.programs(), "p");
    machine.write(&cut, Style::InPlace);
    machine.status_when(|status| status["node"]["broker"] == true);
}

#[test]
fn a_bad_file_at_the_start_is_the_last_good_topology_loudly_and_mended_it_is_in_force() {
    let mut machine = Machine::start(&numbered(1));
    machine.write(&numbered(2), Style::Rename);
    machine.time_to_apply();
    let good = machine.in_force();
    wait_until_kept(&machine, &good);
    machine.agent.kill();
    for bad in ["", "version: 1\n", "version: 2\nnetwork: test\nbrokers: {}\n"] {
        fs::write(&machine.file, bad).unwrap();
        let mut again = restart(&machine);
        assert_eq!(again.in_force(), good);
        let status = again.status();
        assert_eq!(codes(&status)[..2], ["last-good-topology", "reload-refused"], "{status:#}");
        if bad.starts_with("version: 2") {
            assert!(status["health"][1]["text"].as_str().unwrap().contains("error[unknown-version]"), "{status:#}");
        }
        again.write(&numbered(2), Style::InPlace);
        again.status_when(|status| status["topology"]["origin"] == "file" && codes(status).is_empty());
        again.agent.kill();
    }
}

#[test]
fn killed_at_any_point_of_a_reload_it_starts_again_with_the_old_or_the_new_one_whole() {
    let mut machine = Machine::start(&numbered(0));
    let mut known = vec![machine.in_force()];
    wait_until_kept(&machine, &known[0]);
    let mut by_last_good = 0;
    for number in 1..=size(12) {
        let text = numbered(number);
        machine.write(&text, STYLES[number % STYLES.len()]);
        known.push(machine.fingerprint());
        // From before the edit is noticed until after it is kept.
        std::thread::sleep(Duration::from_millis(number as u64 * 37 % 230));
        machine.agent.kill();
        let cut = number % 3 == 0;
        if cut {
            fs::write(&machine.file, &text[..text.len() / 2]).unwrap();
        }
        machine = restart(&machine);
        let status = machine.status();
        let now = status["topology"]["fingerprint"].as_str().unwrap().to_owned();
        let _program = connect(machine.agent.programs(), "p");
        if cut {
            assert_eq!(status["topology"]["origin"], "last-good", "{status:#}");
            assert!(known.contains(&now), "kill {number}: {now} is none of those that were written");
            by_last_good += 1;
            machine.write(&text, Style::Rename);
            machine.time_to_apply();
        } else {
            assert_eq!(&now, known.last().unwrap(), "kill {number}");
        }
    }
    assert!(by_last_good > 0);
}

#[test]
fn without_any_topology_a_service_lives_on_in_safe_mode_and_begins_when_there_is_one() {
    let [port] = free_ports();
    let good = solo("").replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let folder = tempfile::tempdir().unwrap();
    let notify = folder.path().join("notify");
    let _manager = std::os::unix::net::UnixDatagram::bind(&notify).unwrap();
    // The usual program door may be somebody else's here: then it ends, and says so.
    if std::net::TcpListener::bind("127.0.0.1:1883").is_err() {
        eprintln!("skipped: something listens at 127.0.0.1:1883");
        return;
    }
    let machine = Machine::start_with("version: 1\n", "solo", |command| {
        command.env("NOTIFY_SOCKET", &notify);
    });
    assert_eq!(codes(&machine.status())[..2], ["safe-mode", "reload-refused"]);
    let mut program = connect(([127, 0, 0, 1], 1883).into(), "p");
    std::io::Write::write_all(&mut program, b"\x32\x07\0\x01a\0\x09hi").unwrap();
    assert!(!is_closed(&mut program), "nothing is acknowledged that nobody can promise");
    machine.write(&good, Style::Rename);
    machine.status_when(|status| status["network"] == "test" && codes(status).is_empty());
    let _program = connect(([127, 0, 0, 1], port).into(), "p");
}

/// An agent by the same file, with the same state.
fn restart(machine: &Machine) -> Machine {
    restart_as(machine, "solo")
}

/// The same, with the keys of `with_key` where there are any.
fn restart_as(machine: &Machine, name: &str) -> Machine {
    let (mut command, folder) = (agent::hobnail("", name), machine.file.parent().unwrap());
    let mut same = std::process::Command::new(command.get_program());
    same.arg("run").arg(&machine.file).args(["--name", name]).env_remove("HOBNAIL_KEYS");
    same.env("HOBNAIL_CONTROL", folder.join("control")).env("HOBNAIL_STATE", folder.join("state"));
    if folder.join("keys").exists() {
        same.arg("--keys").arg(folder.join("keys"));
    }
    command = same;
    Machine { agent: agent::Agent::spawn(&mut command), file: machine.file.clone() }
}

/// Until the topology with this fingerprint is kept as a good one.
fn wait_until_kept(machine: &Machine, fingerprint: &str) {
    let folder = machine.file.with_file_name("state").join("test/solo/topologies");
    let end = Instant::now() + Duration::from_secs(10);
    let kept = || {
        let files = fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok).map(|file| file.path());
        let mut entries = files.filter(|path| path.extension().is_some_and(|end| end == "topology"));
        entries.any(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(fingerprint)))
    };
    while !kept() {
        assert!(Instant::now() < end, "{fingerprint} is not kept in {}", folder.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `hub`, `spare`, and clients `m1` to `m6`.
fn network_of(clients: usize) -> String {
    let mut text = "version: 1\nnetwork: test\nkeys: { active: k1 }\ndoors: { programs: \"127.0.0.1:0\" }\nbrokers:\n\
                    \x20 hub: { host: 127.0.0.1, backups: [spare], doors: { agents: 0 } }\n  spare: { host: 127.0.0.2 }\n\
                    clients:\n"
        .to_owned();
    text = text.replace("agents: 0", &format!("agents: {}", free_ports::<1>()[0]));
    for client in 1..=clients {
        text += &format!("  m{client}: {{}}\n");
    }
    text
}

/// A folder with the key `k1`.
fn with_key(command: &mut std::process::Command) {
    let folder = Path::new(command.get_args().nth(1).unwrap()).with_file_name("keys");
    fs::create_dir(&folder).unwrap();
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_hobnail"))
        .args(["key", "new", "k1", "--keys"])
        .arg(&folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    command.arg("--keys").arg(folder);
}
