//! Networks of real agents, each machine in a network namespace of its own: what passes between them, and what happens
//! when brokers die, freeze, lose their cable, or half of the packets get lost.
//!
//! Small here; `tests/deep network NAME COUNT` runs one of them at full size with the limits that are promised.

mod network {
    pub mod capture;
    pub mod faults;
    pub mod lab;
    pub mod programs;
    pub mod tally;
}

use std::path::Path;
use std::process::{Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use network::capture::{Capture, holding};
use network::lab::{Lab, ip_all};
use network::programs::{MARK, Publisher, Subscriber, publish_once, until, until_within};
use network::tally::{await_seq, expect_all, longest_gap, percentile, report};

/// Beats as the promises are given for, and a quick return to a better broker, so that rounds are short.
const QUICK: &str = "heartbeat: { every: 200ms, miss: 3 }\nfailover: { hold_down: 2s }";

/// How often, or how long: the full size when it runs by name, `small` otherwise.
fn size(small: u32) -> u32 {
    std::env::var("HOBNAIL_SIZE").ok().and_then(|size| size.parse().ok()).unwrap_or(small)
}

/// Only full runs, on a machine that does nothing else, are held to the figures.
fn is_full() -> bool {
    std::env::var_os("HOBNAIL_SIZE").is_some()
}

/// The homes that a machine has had since its start, `-` for none.
fn homes(lab: &Lab, name: &str) -> Vec<String> {
    let log = lab.log(name);
    let told = log.lines().filter_map(|line| {
        let home = line.split_once("at home home=").map(|(_, home)| home.trim().to_owned());
        home.or_else(|| line.contains("no broker can be reached").then(|| "-".to_owned()))
    });
    told.collect()
}

/// Wait until each of these is at home there. A broker that dies again and again is dialled ever less often, each half
/// minute in the end.
fn await_home(lab: &Lab, names: &[&str], home: &str) {
    for name in names {
        let is_there = || homes(lab, name).last().is_some_and(|last| last == home);
        until_within(Duration::from_secs(60), &format!("{name} is at home with {home}"), is_there);
    }
}

/// Wait until a message from one machine gets to the other, whatever gets lost before.
fn await_path(lab: &Lab, from: &str, to: &str) {
    let topic = format!("path/{from}/{to}");
    let ears = Subscriber::start(lab, to, &topic);
    let mouth = Publisher::start(lab, from, &topic, 50);
    until(&format!("a message from {from} gets to {to}"), || ears.count() > 0);
    mouth.finish();
}

fn run(lab: &Lab, machine: &str, program: &Path, args: &[&str]) -> Output {
    lab.command(machine, program).args(args).stdin(Stdio::null()).output().expect("it runs")
}

/// Publisher on `a`, subscriber on `b`, homes with `hub`; what each round does to the network, and how long at most.
fn rounds(small: u32, per_second: u32, what: &str, mut round: impl FnMut(&mut Lab)) -> Option<Vec<Duration>> {
    let mut lab = Lab::running(&["hub", "spare"], &["a", "b"], QUICK)?;
    await_home(&lab, &["a", "b"], "hub");
    let ears = Subscriber::start(&lab, "b", "line/#");
    await_path(&lab, "a", "b");
    let mouth = Publisher::start(&lab, "a", "line/a", per_second);
    let name = mouth.name().to_owned();
    let mut gaps = Vec::new();
    for _ in 0..size(small) {
        await_seq(&ears, &name, mouth.sent());
        let begun = Instant::now();
        round(&mut lab);
        await_seq(&ears, &name, mouth.sent());
        gaps.push(longest_gap(&ears, &name, begun));
        eprintln!("{what}: longest gap {:.0?}", gaps.last().expect("just pushed"));
    }
    let (_, sent) = mouth.finish();
    expect_all(&ears, "b", &name, sent);
    report(what, &gaps);
    Some(gaps)
}

fn expect_gaps(gaps: &[Duration], p50: Duration, p99: Duration) {
    if is_full() {
        assert!(
            percentile(gaps, 50) < p50 && percentile(gaps, 99) < p99,
            "p50 < {p50:?} and p99 < {p99:?} are promised"
        );
    } else {
        assert!(percentile(gaps, 99) < Duration::from_secs(10));
    }
}

#[test]
fn the_lab_itself_passes_and_loses_what_it_is_told_to() {
    let Some(lab) = Lab::new(&["hub"], &["a"], "") else { return };
    let hub = lab.address("hub").to_owned();
    let listen = |port: u16| {
        let address = format!("{}:{port}", lab.address("hub"));
        let listener = network::lab::within(lab.namespace("hub"), move || std::net::UdpSocket::bind(address));
        let socket = listener.expect("bound");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("set");
        socket
    };
    let ear = listen(7777);
    let mouth = network::lab::within(lab.namespace("a"), || std::net::UdpSocket::bind("0.0.0.0:0")).expect("bound");
    let heard = |count: usize| {
        for _ in 0..count {
            // A cable that is out says so or not; what counts is what arrives.
            let _ = mouth.send_to(MARK.as_bytes(), (hub.as_str(), 7777));
        }
        let mut buffer = [0; 100];
        std::iter::from_fn(|| ear.recv(&mut buffer).ok()).count()
    };
    let capture = Capture::start(&lab);
    assert_eq!(heard(10), 10);
    assert!(holding(&capture.stop(), MARK.as_bytes()) >= 10, "the capture sees what passes");
    lab.block("a", "hub");
    assert_eq!(heard(10), 0);
    lab.heal();
    lab.lose(50);
    let half = heard(200);
    assert!((50..150).contains(&half), "{half} of 200");
    lab.heal();
    lab.pull_cable("hub");
    assert_eq!(heard(10), 0);
    lab.plug_cable("hub");
    until("the cable is in again", || heard(1) > 0);
}

#[test]
fn programs_of_one_machine_are_served_though_no_other_machine_is_there() {
    let Some(mut lab) = Lab::new(&["hub"], &["a"], "") else { return };
    lab.start("a");
    let ears = Subscriber::start(&lab, "a", "line/#");
    let mouth = Publisher::start(&lab, "a", "line/a", 200);
    await_seq(&ears, "pub-a", 50);
    let (name, sent) = mouth.finish();
    expect_all(&ears, "a", &name, sent);
}

#[test]
fn three_machines_talk_through_the_hub_and_no_payload_crosses_in_clear() {
    let Some(lab) = Lab::running(&["hub"], &["a", "b"], QUICK) else { return };
    let capture = Capture::start(&lab);
    await_path(&lab, "a", "b");
    let ears = Subscriber::start(&lab, "b", "line/#");
    await_path(&lab, "a", "b");
    let mouth = Publisher::start(&lab, "a", "line/a", 100);
    sleep(Duration::from_secs(1));
    let (name, sent) = mouth.finish();
    expect_all(&ears, "b", &name, sent);
    if let (Some(publ), Some(sub)) = (tool("mosquitto_pub"), tool("mosquitto_sub")) {
        let topic = "été/mosquitto";
        let sent = run(&lab, "a", &publ, &["-q", "1", "-r", "-t", topic, "-m", MARK]);
        assert!(sent.status.success());
        let got = run(&lab, "b", &sub, &["-q", "1", "-t", topic, "-C", "1", "-W", "10"]);
        assert_eq!(String::from_utf8_lossy(&got.stdout).trim_end(), MARK);
    }
    let packets = capture.stop();
    assert!(packets.len() > 100, "{} packets were captured", packets.len());
    assert_eq!(holding(&packets, MARK.as_bytes()), 0, "a payload crossed in clear");
}

/// Each takes longer than the beats behind it are waited for.
#[test]
fn long_messages_pass_by_slow_links() {
    let Some(lab) = Lab::running(&["hub", "spare"], &["a", "b"], "") else { return };
    await_home(&lab, &["a", "b"], "hub");
    let ears = Subscriber::start(&lab, "b", "line/#");
    await_path(&lab, "a", "b");
    let all_homes = || ["a", "b"].map(|name| homes(&lab, name));
    let before = all_homes();
    lab.slow(3_000);
    let long = vec![b'x'; 1_000_000];
    for number in 0..2 {
        publish_once(&lab, "a", &format!("line/{number}"), &long, false);
    }
    until_within(Duration::from_secs(60), "both are there", || ears.count() == 2);
    assert_eq!(all_homes(), before, "slowness was taken for silence");
}

#[test]
fn an_agent_with_another_networks_key_gets_nowhere_and_is_counted() {
    let Some(mut lab) = Lab::new(&["hub"], &["a", "b", "foreign"], QUICK) else { return };
    lab.give_foreign_key("foreign");
    for name in ["hub", "a", "b", "foreign"] {
        lab.start(name);
    }
    let ears = Subscriber::start(&lab, "b", "line/#");
    await_path(&lab, "a", "b");
    publish_once(&lab, "foreign", "line/foreign", b"let me in", false);
    until("the hub has told of it", || lab.log("hub").contains("someone without a key of this network"));
    let status = run(&lab, "hub", Path::new(env!("CARGO_BIN_EXE_hobnail")), &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert!(status["agent_door"]["strangers"].as_u64() > Some(0), "{status}");
    assert!(status["health"].to_string().contains("\"strangers\""), "{status}");
    until("it knows why", || lab.log("foreign").contains("another network's key"));
    assert!(homes(&lab, "foreign").is_empty(), "it believes to be at home");
    publish_once(&lab, "a", "line/a", b"hello", false);
    until("the others talk", || ears.last("line/a").is_some());
    assert!(ears.last("line/foreign").is_none(), "a stranger's message was delivered");
}

#[test]
fn two_machines_under_one_name_are_told_by_their_hub() {
    let Some(mut lab) = Lab::new(&["hub"], &["a", "copy"], QUICK) else { return };
    ["hub", "a"].iter().for_each(|name| lab.start(name));
    await_path(&lab, "a", "hub");
    let health = || {
        let status = run(&lab, "hub", Path::new(env!("CARGO_BIN_EXE_hobnail")), &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
        status["health"].to_string()
    };
    assert!(!health().contains("\"twins\""), "{}", health());
    let mut twin = lab.command("copy", Path::new(env!("CARGO_BIN_EXE_hobnail")));
    twin.env("HOBNAIL_STATE", lab.file("copy").with_extension("state")).stdin(Stdio::null()).stdout(Stdio::null());
    twin.arg("run").arg(lab.file("copy")).args(["--name", "a", "--keys"]).arg(lab.keys_of("copy"));
    let _twin = Ended(twin.spawn().expect("it starts"));
    until("the hub has told of it", || health().contains("two machines call themselves a"));
}

/// A process that ends with this.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Its agent does not even start; whoever dials without a key, as `openssl` does, is shown the door.
#[test]
fn a_machine_without_a_key_gets_nowhere_and_is_counted() {
    let Some(mut lab) = Lab::new(&["hub"], &["bare"], QUICK) else { return };
    lab.give_no_key("bare");
    lab.start("hub");
    let (file, keys) = (lab.file("bare"), lab.keys_of("bare").to_owned());
    let args = ["run", &file.to_string_lossy(), "--name", "bare", "--keys", &keys.to_string_lossy()];
    let refused = run(&lab, "bare", Path::new(env!("CARGO_BIN_EXE_hobnail")), &args);
    assert_eq!(refused.status.code(), Some(78));
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(why.contains("key-file-missing") && why.contains("copy it from another machine"), "{why}");
    let Some(openssl) = tool("openssl") else { return };
    let door = format!("{}:8883", lab.address("hub"));
    let turned_away = |more: &[&str]| {
        let args = [&["s_client", "-quiet", "-no_ign_eof", "-connect", &door], more].concat();
        run(&lab, "bare", &openssl, &args);
    };
    let strangers = || {
        let status = run(&lab, "hub", Path::new(env!("CARGO_BIN_EXE_hobnail")), &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
        status["agent_door"]["strangers"].as_u64().unwrap_or_default()
    };
    assert_eq!(strangers(), 0);
    turned_away(&[]);
    until("the first is counted", || strangers() == 1);
    let (certificate, key) = (keys.join("own.crt"), keys.join("own.key"));
    let (certificate, key) = (certificate.to_string_lossy(), key.to_string_lossy());
    let made =
        ["req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=hub", "-out", &certificate, "-keyout", &key];
    assert!(run(&lab, "bare", &openssl, &made).status.success());
    turned_away(&["-cert", &certificate, "-key", &key]);
    until("one with a key of its own is counted", || strangers() == 2);
}

#[test]
fn a_hub_with_a_relays_key_carries_what_it_cannot_read() {
    let Some(mut lab) = Lab::new(&["hub"], &["a", "b"], QUICK) else { return };
    lab.give_relay_key("hub");
    for name in ["hub", "a", "b"] {
        lab.start(name);
    }
    let at_hub = Subscriber::start(&lab, "hub", "line/#");
    let ears = Subscriber::start(&lab, "b", "line/#");
    await_path(&lab, "a", "b");
    let mouth = Publisher::start(&lab, "a", "line/a", 100);
    let own = Publisher::start(&lab, "b", "line/b", 100);
    await_seq(&ears, "pub-a", 50);
    for mouth in [mouth, own] {
        let (name, sent) = mouth.finish();
        expect_all(&ears, "b", &name, sent);
    }
    assert_eq!(at_hub.count(), 0, "a program on the relay was given a payload");
}

/// At the end a machine that has never heard of the old key joins those that have replaced it.
#[test]
fn a_key_is_replaced_under_way_and_costs_nobody_a_message() {
    let Some(mut lab) = Lab::running(&["hub"], &["a", "b"], QUICK) else { return };
    await_home(&lab, &["a", "b"], "hub");
    let ears = Subscriber::start(&lab, "b", "line/#");
    await_path(&lab, "a", "b");
    let mouth = Publisher::start(&lab, "a", "line/a", 200);
    lab.make_key("k2");
    for (round, keys) in
        ["{ active: k1, accept: [k2] }", "{ active: k2, accept: [k1] }", "{ active: k2 }"].into_iter().enumerate()
    {
        lab.set_keys(keys);
        for name in ["hub", "a", "b"] {
            until(&format!("{name} has read its keys"), || {
                lab.log(name).matches("the edit is in force").count() > round
            });
        }
        await_seq(&ears, mouth.name(), mouth.sent());
    }
    await_home(&lab, &["a", "b"], "hub");
    await_seq(&ears, mouth.name(), mouth.sent() + 100);
    let (name, sent) = mouth.finish();
    expect_all(&ears, "b", &name, sent);

    lab.kill("b");
    lab.start("b");
    await_path(&lab, "a", "b");
}

/// One file after the other, each while the others still say something else.
fn edit_all(lab: &Lab, text: &str, order: &[&str]) {
    for name in order {
        let before = lab.log(name).matches("the edit is in force").count();
        lab.edit(name, text);
        until(&format!("the edit is in force on {name}"), || {
            lab.log(name).matches("the edit is in force").count() > before
        });
    }
}

#[test]
fn brokers_come_go_move_and_are_replaced_by_editing_each_file_in_any_order_and_nothing_is_lost() {
    let Some(lab) = Lab::running(&["hub", "spare"], &["third", "a", "b"], QUICK) else { return };
    await_home(&lab, &["third", "a", "b"], "hub");
    let ears = Subscriber::start(&lab, "b", "line/#");
    await_path(&lab, "a", "b");
    let mouth = Publisher::start(&lab, "a", "line/a", 200);
    let other = Publisher::start(&lab, "hub", "line/hub", 50);
    let settled = |home: &str| {
        await_home(&lab, &["a", "b"], home);
        for mouth in [&mouth, &other] {
            await_seq(&ears, mouth.name(), mouth.sent() + 20);
        }
    };
    settled("hub");

    edit_all(&lab, &lab.text(&["hub", "spare", "third"], &["a", "b"], QUICK), &["third", "a", "hub", "b", "spare"]);
    settled("hub");
    edit_all(&lab, &lab.text(&["hub", "spare"], &["third", "a", "b"], QUICK), &["b", "spare", "third", "hub", "a"]);
    settled("hub");
    let replaced = lab.text(&["third", "spare"], &["hub", "a", "b"], QUICK);
    edit_all(&lab, &replaced, &["hub", "b", "third", "a", "spare"]);
    settled("third");
    let back = lab.text(&["hub", "spare"], &["third", "a", "b"], QUICK);
    edit_all(&lab, &back, &["spare", "a", "third", "b", "hub"]);
    settled("hub");

    // The hub gets a second address, everybody is told, and the first one goes.
    let (old, new) = (lab.address("hub").to_owned(), "10.77.9.9");
    // Of another size, so that it does not go with the first.
    ip_all(lab.namespace("hub"), &[format!("addr add {new}/17 dev eth0")]);
    edit_all(
        &lab,
        &back.replace(&format!("host: {old},"), &format!("host: {new},")),
        &["a", "hub", "spare", "b", "third"],
    );
    settled("hub");
    ip_all(lab.namespace("hub"), &[format!("addr del {old}/16 dev eth0")]);
    settled("hub");

    for mouth in [mouth, other] {
        let (name, sent) = mouth.finish();
        expect_all(&ears, "b", &name, sent);
    }
}

#[test]
fn a_hub_that_is_killed_costs_nobody_a_message() {
    let gaps = rounds(2, 500, "hub killed", |lab| {
        lab.kill("hub");
        await_home(lab, &["a", "b"], "spare");
        lab.start("hub");
        await_home(lab, &["a", "b"], "hub");
    });
    let Some(gaps) = gaps else { return };
    expect_gaps(&gaps, Duration::from_millis(150), Duration::from_secs(1));
}

#[test]
fn all_machines_killed_at_once_lose_nothing_that_was_acknowledged() {
    let Some(mut lab) = Lab::running(&["hub", "spare"], &["a", "b"], QUICK) else { return };
    let hobnail = Path::new(env!("CARGO_BIN_EXE_hobnail"));
    let ears = ["sub", "-c", "-i", "ears", "-q", "1", "-t", "line/#", "-W", "20"];
    for round in 0..size(2) {
        await_home(&lab, &["a", "b"], "hub");
        // The session is there from here on, and is known of where publishes come from.
        let known = run(&lab, "b", hobnail, &[&ears[..], &["-E"]].concat());
        assert!(known.status.success(), "{}", String::from_utf8_lossy(&known.stderr));
        await_path(&lab, "a", "b");
        let mouth = Publisher::start(&lab, "a", "line/a", 2_000);
        sleep(Duration::from_millis(100 + 37 * u64::from(round)));
        let (_, sent) = mouth.finish();
        let names = ["a", "hub", "b", "spare"];
        names.iter().for_each(|name| lab.kill(name));
        names.iter().for_each(|name| lab.start(name));
        let count = sent.to_string();
        let heard = run(&lab, "b", hobnail, &[&ears[..], &["-C", &count, "-F", "%p"]].concat());
        let heard = String::from_utf8_lossy(&heard.stdout).into_owned();
        let seqs: Vec<u64> = heard.lines().filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect();
        assert_eq!(seqs, (0..sent).collect::<Vec<_>>(), "{sent} were acknowledged before all of them died");
    }
}

#[test]
fn a_hub_that_freezes_costs_nobody_a_message() {
    let gaps = rounds(1, 500, "hub frozen", |lab| {
        lab.freeze("hub");
        await_home(lab, &["a", "b"], "spare");
        lab.thaw("hub");
        await_home(lab, &["a", "b"], "hub");
    });
    let Some(gaps) = gaps else { return };
    expect_gaps(&gaps, Duration::from_millis(1500), Duration::from_millis(1500));
}

#[test]
fn a_hub_whose_cable_is_pulled_costs_nobody_a_message() {
    let gaps = rounds(1, 500, "cable pulled", |lab| {
        lab.pull_cable("hub");
        await_home(lab, &["a", "b"], "spare");
        lab.plug_cable("hub");
        await_home(lab, &["a", "b"], "hub");
    });
    let Some(gaps) = gaps else { return };
    expect_gaps(&gaps, Duration::from_millis(1500), Duration::from_millis(1500));
}

#[test]
fn silence_in_one_direction_costs_nobody_a_message() {
    let gaps = rounds(1, 500, "hub unheard", |lab| {
        lab.block("hub", "a");
        await_home(lab, &["a"], "spare");
        lab.heal();
        await_home(lab, &["a"], "hub");
        lab.block("b", "hub");
        await_home(lab, &["b"], "spare");
        lab.heal();
        await_home(lab, &["b"], "hub");
    });
    let Some(gaps) = gaps else { return };
    expect_gaps(&gaps, Duration::from_millis(1500), Duration::from_millis(1500));
}

#[test]
fn promote_moves_everybody_and_nothing_is_lost() {
    let (mut to_spare, mut was_promoted) = (false, false);
    let gaps = rounds(2, 1_000, "promoted", |lab| {
        to_spare = !to_spare;
        let name = if to_spare { "spare" } else { "hub" };
        let binary = Path::new(env!("CARGO_BIN_EXE_hobnail"));
        let mut told = String::new();
        // A machine that has just started has not heard of all others yet, or not who has a link to them, and says so.
        let just_started = ["nothing has been heard", "is offline"];
        until(&format!("{name} is promoted"), || {
            let output = run(lab, "b", binary, &["promote", name]);
            told = String::from_utf8_lossy(&output.stderr).into_owned();
            let may_wait = !was_promoted && just_started.iter().any(|words| told.contains(words));
            assert!(output.status.success() || may_wait, "{told}");
            output.status.success()
        });
        was_promoted = true;
        await_home(lab, &["a", "b"], name);
    });
    let Some(gaps) = gaps else { return };
    expect_gaps(&gaps, Duration::from_millis(300), Duration::from_millis(300));
}

#[test]
fn both_halves_of_a_parted_network_work_and_agree_again_afterwards() {
    let Some(lab) = Lab::running(&["hub", "spare"], &["a", "b", "c", "d"], QUICK) else { return };
    let (one, other) = (["hub", "a", "b"], ["spare", "c", "d"]);
    let clients = ["a", "b", "c", "d"];
    let ears: Vec<(&str, Subscriber)> =
        clients.iter().map(|name| (*name, Subscriber::start(&lab, name, "line/#"))).collect();
    await_home(&lab, &clients, "hub");
    for (from, to) in [("a", "d"), ("c", "b")] {
        await_path(&lab, from, to);
    }
    let mouths = [Publisher::start(&lab, "a", "line/a", 100), Publisher::start(&lab, "c", "line/c", 100)];
    for (name, ears) in &ears {
        until(&format!("{name} hears both"), || ears.last("line/a").is_some() && ears.last("line/c").is_some());
    }

    lab.part(&one, &other);
    let parted = Instant::now();
    // Each half delivers what is published in it, as soon as it has noticed.
    for (publisher, subscriber) in [("pub-a", 1), ("pub-c", 3)] {
        let mouth = mouths.iter().find(|mouth| mouth.name() == publisher).expect("it is one of them");
        await_seq(&ears[subscriber].1, publisher, mouth.sent() + 100);
    }
    publish_once(&lab, "a", "line/kept/a", b"of a", true);
    publish_once(&lab, "c", "line/kept/c", b"of c", true);
    publish_once(&lab, "c", "line/kept/both", b"of c", true);
    sleep(Duration::from_millis(200));
    publish_once(&lab, "a", "line/kept/both", b"of a", true);
    sleep(Duration::from_secs(size(5).into()).saturating_sub(parted.elapsed()));

    lab.heal();
    let healed = Instant::now();
    for (topic, payload) in [("a", "of a"), ("c", "of c"), ("both", "of a")] {
        for name in clients {
            let topic = format!("line/kept/{topic}");
            until_within(Duration::from_secs(if is_full() { 5 } else { 20 }), &format!("{name} keeps {topic}"), || {
                let late = Subscriber::start(&lab, name, &topic);
                sleep(Duration::from_millis(50));
                late.last(&topic).is_some_and(|heard| heard.payload == payload.as_bytes())
            });
        }
    }
    eprintln!("retained state equal after {:.1?}", healed.elapsed());
    for mouth in mouths {
        let (publisher, sent) = mouth.finish();
        for (name, ears) in &ears {
            expect_all(ears, name, &publisher, sent);
        }
    }
}

#[test]
fn lost_packets_move_nobody_to_another_home() {
    let Some(lab) = Lab::running(&["hub", "spare"], &["a", "b"], "heartbeat: { every: 500ms, miss: 3 }") else {
        return;
    };
    await_home(&lab, &["a", "b"], "hub");
    let ears = Subscriber::start(&lab, "b", "line/#");
    await_path(&lab, "a", "b");
    let before = ["a", "b", "spare"].map(|name| homes(&lab, name));
    lab.lose(10);
    let mouth = Publisher::start(&lab, "a", "line/a", 100);
    sleep(Duration::from_secs(size(5).into()));
    let (name, sent) = mouth.finish();
    expect_all(&ears, "b", &name, sent);
    assert_eq!(["a", "b", "spare"].map(|name| homes(&lab, name)), before, "somebody has moved");
}

#[test]
fn all_machines_are_back_soon_after_their_hub_restarts() {
    let count = size(6);
    let names: Vec<String> = (1..=count).map(|n| format!("m{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Some(mut lab) = Lab::running(&["hub"], &names, QUICK) else { return };
    let mouths: Vec<Publisher> =
        names.iter().map(|name| Publisher::start(&lab, name, &format!("line/{name}"), 10)).collect();
    lab.kill("hub");
    sleep(Duration::from_secs(3));
    lab.start("hub");
    let begun = Instant::now();
    let ears = Subscriber::start(&lab, "hub", "line/#");
    let limit = Duration::from_secs(if is_full() { 5 } else { 20 });
    until_within(limit, "everyone is heard at the hub", || {
        names.iter().all(|name| ears.last(&format!("line/{name}")).is_some())
    });
    eprintln!("{count} machines heard {:.2?} after their hub restarted", begun.elapsed());
    for mouth in mouths {
        mouth.finish();
    }
}

/// Where a tool is; where it is missing, this part is skipped, but not in CI, which has installed it.
fn tool(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "{name} is missing; run tests/setup");
    found
}
