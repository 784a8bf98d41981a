//! The two laws, over generated topologies, and what each kind of edit drops.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::assign::assign;
use crate::topology::tests::parse;

fn assigned(text: &str, me: &str) -> Assignment {
    assign(&parse(text), &Name::new(me).unwrap()).unwrap()
}

prop_compose! {
    /// A whole, valid topology in which `b0` and `c0` always stand.
    fn topologies()(
        brokers in 1usize..5,
        clients in 1usize..6,
        devices in 0usize..3,
        hosts in 0u8..3,
        port in 8880u16..8884,
        door in 1880u16..1883,
        websocket in prop::option::of(1880u16..1883),
        device_door in (8880u16..8884, 0u8..3),
        unix in any::<bool>(),
        page in any::<bool>(),
        every in 100u64..103,
        miss in 2u32..4,
        hold in 1u64..3,
        key in prop::option::of(1u8..3),
        network in 0u8..2,
        rights in 0u8..3,
        max in 1u32..3,
        inflight in 1u16..3,
        rules in 0u8..3,
        home in any::<bool>(),
        backup in any::<bool>(),
    ) -> String {
        let mut text = format!("version: 1\nnetwork: n{network}\nheartbeat: {{ every: {every}ms, miss: {miss} }}\n");
        text += &format!("failover: {{ hold_down: {hold}s }}\nstore: {{ max: {max}GiB }}\n");
        text += &format!("limits: {{ inflight: {inflight} }}\n");
        let websocket = websocket.filter(|port| *port != door).map_or(String::new(), |port| format!(", websocket: \"127.0.0.1:{port}\""));
        let unix = if unix { ", unix: /run/h.sock" } else { "" };
        let page = if page { ", origins: [\"https://dash.example\"]" } else { "" };
        text += &format!("doors: {{ programs: \"127.0.0.1:{door}\", agents: {port}{websocket}{unix}{page} }}\n");
        if let Some(key) = key {
            text += &format!("keys: {{ active: k{key} }}\n");
        }
        text += "brokers:\n";
        for n in 0..brokers {
            let (at, manner) = device_door;
            let at = if at == port { 9000 } else { at };
            let manner = match manner { 0 => "plain: true".to_owned(), n => format!("cert: {n}.pem, cert_key: {n}.key") };
            let door = format!(", doors: {{ devices: {{ listen: \"0.0.0.0:{at}\", {manner} }} }}");
            let door = if n == 0 { door.as_str() } else { "" };
            let backups = if backup && n + 1 < brokers { format!(", backups: [b{}]", n + 1) } else { String::new() };
            text += &format!("  b{n}: {{ host: 10.0.{hosts}.{n}{backups}{door} }}\n");
        }
        text += "clients:\n";
        for n in 0..clients {
            let home = if home { format!("home: b{}, ", n % brokers) } else { String::new() };
            let list = match rights { 0 => String::new(), n => format!("publish: [\"line/{n}\"]") };
            text += &format!("  c{n}: {{ {home}{list} }}\n");
        }
        for n in 0..devices {
            text += &format!("  d{n}: {{ device: true, password_file: d{n}.pw }}\n");
        }
        text += "topics: [";
        for n in 0..rules {
            text += &format!("{{ match: \"a/{n}\", ack: memory }}, ");
        }
        text + "]\n"
    }
}

proptest! {
    #[test]
    fn planning_what_already_runs_gives_no_steps(text in topologies()) {
        for me in ["b0", "c0"] {
            let a = assigned(&text, me);
            prop_assert_eq!(plan(Some(&a), &a), vec![]);
        }
    }

    #[test]
    fn applying_a_plan_gives_exactly_what_was_wanted(from in topologies(), to in topologies()) {
        for (one, other) in [("b0", "b0"), ("c0", "c0"), ("b0", "c0")] {
            let (a, b) = (assigned(&from, one), assigned(&to, other));
            let steps = plan(Some(&a), &b);
            prop_assert_eq!(apply(a, &steps), b);
        }
    }

    #[test]
    fn booting_is_the_plan_from_nothing(to in topologies()) {
        let wanted = assigned(&to, "b0");
        let steps = plan(None, &wanted);
        let first_is_become = matches!(steps.first(), Some(Step::Become { .. }));
        prop_assert!(first_is_become);
        prop_assert_eq!(apply(nothing(&wanted), &steps), wanted);
    }

    #[test]
    fn nothing_is_closed_before_what_takes_its_place_is_open(from in topologies(), to in topologies()) {
        for me in ["b0", "c0"] {
            let (a, b) = (assigned(&from, me), assigned(&to, me));
            let steps = plan(Some(&a), &b);
            let opens = |step: &Step| matches!(step, Step::OpenDoor { .. } | Step::MoveDoor { .. } | Step::OpenLink { .. });
            let last_open = steps.iter().rposition(opens).unwrap_or(0);
            for step in steps.iter().take(last_open) {
                prop_assert!(!matches!(step, Step::CloseLink(_)), "{steps:?}");
                let Step::CloseDoor(kind) = step else { continue };
                prop_assert!(b.doors.values().any(|door| door.collides(&a.doors[kind])), "{kind} goes early for nobody");
            }
        }
    }

    #[test]
    fn no_door_opens_where_another_still_stands(from in topologies(), to in topologies()) {
        for me in ["b0", "c0"] {
            let (a, b) = (assigned(&from, me), assigned(&to, me));
            let mut standing = a.clone();
            for step in plan(Some(&a), &b) {
                if let Step::OpenDoor { door, .. } | Step::MoveDoor { to: door, .. } = &step {
                    prop_assert!(!standing.doors.values().any(|other| other.collides(door)), "{step}");
                }
                standing = apply(standing, &[step]);
            }
        }
    }
}

const BASE: &str = "\
version: 1
network: n
heartbeat: { every: 500ms }
keys: { active: k1 }
brokers:
  hub: { host: 10.0.0.10, backups: [spare] }
  spare: { host: 10.0.0.11 }
clients:
  press: { publish: [\"line/#\"], subscribe: [\"cmd/#\"] }
  office: {}
";

/// What an edit of `BASE` drops on the machine `me`.
fn drops(me: &str, edit: (&str, &str)) -> Vec<Drops> {
    let mut edited = BASE.replace(edit.0, edit.1);
    assert_ne!(edited, BASE, "the edit {edit:?} changes nothing");
    if edited.contains("  office: { host") {
        edited = edited.replace("  office: {}\n", "");
    }
    let steps = plan(Some(&assigned(BASE, me)), &assigned(&edited, me));
    steps.iter().map(Step::drops).filter(|drops| *drops != Drops::Nobody).collect()
}

#[test]
fn an_edit_drops_only_whom_it_concerns() {
    let name = |text: &str| Name::new(text).unwrap();
    let new_client = ("  office: {}", "  office: {}\n  camera: {}");
    let raised = ("  spare: { host: 10.0.0.11 }\n", "  spare: { host: 10.0.0.11 }\n  office: { host: 10.0.0.12 }\n");
    let lowered = (", backups: [spare] }\n  spare: { host: 10.0.0.11 }\nclients:\n", " }\nclients:\n  spare: {}\n");
    let ranked = (
        "  hub: { host: 10.0.0.10, backups: [spare] }\n  spare: { host: 10.0.0.11 }\n",
        "  spare: { host: 10.0.0.11, backups: [hub] }\n  hub: { host: 10.0.0.10 }\n",
    );
    let all_peers = ["hub", "office", "press"].map(|peer| Drops::Peer(name(peer))).to_vec();
    let cases = [
        ("press", new_client, vec![]),
        ("hub", new_client, vec![]),
        ("hub", ("  office: {}\n", ""), vec![Drops::Peer(name("office"))]),
        ("press", ("  office: {}\n", ""), vec![]),
        ("press", ("500ms", "200ms"), vec![]),
        ("press", ("line/#", "lane/#"), vec![]),
        ("hub", ("line/#", "lane/#"), vec![]),
        ("press", ("active: k1", "active: k2, accept: [k1]"), vec![]),
        ("press", ("active: k1", "active: k2"), vec![Drops::LinksProvedBy(vec![name("k1")])]),
        ("hub", ("10.0.0.11", "10.0.0.12"), vec![Drops::LinkDialledHere(name("spare"))]),
        ("spare", ("network: n", "network: n\ndoors: { agents: 8884 }"), vec![Drops::LinkDialledHere(name("hub"))]),
        (
            "press",
            ("network: n", "network: n\ndoors: { agents: 8884 }"),
            ["hub", "spare"].map(|to| Drops::Link(name(to))).to_vec(),
        ),
        ("press", ("10.0.0.11", "10.0.0.12"), vec![Drops::Link(name("spare"))]),
        ("hub", ("network: n", "network: m"), vec![Drops::AllMachines]),
        (
            "press",
            ("network: n", "network: n\ndoors: { programs: \"127.0.0.1:1884\" }"),
            vec![Drops::Door(DoorKind::Programs)],
        ),
        ("press", ("network: n", "network: n\ndoors: { unix: /run/h.sock }"), vec![]),
        ("press", (", backups: [spare]", ""), vec![]),
        ("hub", raised, vec![Drops::Peer(name("office"))]),
        ("press", raised, vec![]),
        ("office", raised, vec![Drops::AllMachines]),
        ("hub", lowered, vec![Drops::Link(name("spare"))]),
        ("spare", lowered, [vec![Drops::AllMachines], all_peers].concat()),
        ("spare", ranked, vec![]),
        ("hub", ranked, vec![]),
        ("press", ranked, vec![]),
    ];
    for (me, edit, expected) in cases {
        assert_eq!(drops(me, edit), expected, "{me}, {edit:?}");
    }
}

#[test]
fn doors_that_swap_places_close_first_and_a_new_certificate_drops_nobody() {
    let doors = |text: &str| BASE.replace("network: n", &format!("network: n\ndoors: {{ {text} }}"));
    let steps = |from: &str, to: &str| {
        let steps = plan(Some(&assigned(&doors(from), "hub")), &assigned(&doors(to), "hub"));
        steps.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (one, two) = (
        "programs: \"127.0.0.1:1883\", websocket: \"127.0.0.1:1884\"",
        "programs: \"127.0.0.1:1884\", websocket: \"127.0.0.1:1883\"",
    );
    let swapped = [
        "close the program door",
        "close the WebSocket door",
        "open the program door at 127.0.0.1:1884",
        "open the WebSocket door at 127.0.0.1:1883",
    ];
    assert_eq!(steps(one, two), swapped);
    let devices = |ip: &str, cert: &str| format!("devices: {{ listen: \"{ip}:8884\", cert: {cert}, cert_key: k }}");
    assert_eq!(
        steps(&devices("10.0.0.10", "a"), &devices("0.0.0.0", "a")),
        ["close the device door", "open the device door at 0.0.0.0:8884 (TLS)"]
    );
    assert_eq!(
        steps(&devices("0.0.0.0", "a"), &devices("0.0.0.0", "b")),
        ["show another certificate at the device door"]
    );
}

#[test]
fn timers_travel_whole() {
    let edited = BASE.replace("500ms", "250ms");
    let steps = plan(Some(&assigned(BASE, "press")), &assigned(&edited, "press"));
    let beat = Heartbeat { every: Duration::from_millis(250), miss: 3 };
    assert_eq!(steps, vec![Step::SetHeartbeat(beat)]);
}

#[test]
fn a_device_is_sent_to_the_next_door_in_its_own_order_and_a_change_of_it_drops_nobody() {
    let text = |port: u16| {
        let door = |port: u16| format!("doors: {{ devices: {{ listen: \"0.0.0.0:{port}\", plain: true }} }}");
        format!(
            "version: 1\nnetwork: n\nkeys: {{ active: k1 }}\nbrokers:\n  \
             one: {{ host: 10.0.0.1, backups: [two], {} }}\n  two: {{ host: 10.0.0.2 }}\n  \
             three: {{ host: \"fd00::3\", {} }}\nclients:\n  \
             near: {{ device: true, password_file: a.pw }}\n  far: {{ device: true, password_file: b.pw, home: three }}\n",
            door(1884),
            door(port),
        )
    };
    let elsewhere = |me: &str, device: &str| {
        let devices = assigned(&text(1885), me).devices;
        devices[&Name::new(device).unwrap()].elsewhere.clone()
    };
    assert_eq!(elsewhere("one", "near").as_deref(), Some("[fd00::3]:1885"), "`two` has no door for devices");
    assert_eq!(elsewhere("three", "near").as_deref(), Some("10.0.0.1:1884"));
    assert_eq!(elsewhere("three", "far").as_deref(), Some("10.0.0.1:1884"));
    let steps = plan(Some(&assigned(&text(1885), "one")), &assigned(&text(1886), "one"));
    assert_eq!(steps.len(), 2, "{steps:?}");
    assert!(steps.iter().all(|step| step.drops() == Drops::Nobody), "{steps:?}");
}
