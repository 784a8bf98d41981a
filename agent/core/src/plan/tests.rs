//! The two laws, over generated topologies, and what each kind of edit drops.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::assign::assign;
use crate::topology::{Loaded, SecretFact, SecretFile, Surroundings, load};

struct Text(String);

impl Surroundings for Text {
    fn read(&mut self, _path: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.clone().into_bytes())
    }

    fn secret(&mut self, _file: SecretFile<'_>) -> SecretFact {
        SecretFact::NotLooked
    }
}

fn assigned(text: &str, me: &str) -> Assignment {
    let Loaded { topology, report } = load("t.yaml", &mut Text(text.to_owned()));
    let topology =
        topology.unwrap_or_else(|| panic!("{text}\n{}", report.render(crate::topology::report::Colour::Plain)));
    assign(&topology, &Name::new(me).unwrap()).unwrap()
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
        websocket in prop::option::of(8080u16..8083),
        unix in any::<bool>(),
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
        let websocket = websocket.map_or(String::new(), |port| format!(", websocket: \"127.0.0.1:{port}\""));
        let unix = if unix { ", unix: /run/h.sock" } else { "" };
        text += &format!("doors: {{ programs: \"127.0.0.1:{door}\", agents: {port}{websocket}{unix} }}\n");
        if let Some(key) = key {
            text += &format!("keys: {{ active: k{key} }}\n");
        }
        text += "brokers:\n";
        for n in 0..brokers {
            let door = if n == 0 { ", doors: { devices: { listen: \"0.0.0.0:9000\", plain: true } }" } else { "" };
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
        let steps = plan(Some(&assigned(&from, "c0")), &assigned(&to, "c0"));
        let opens = |step: &Step| matches!(step, Step::OpenDoor { .. } | Step::MoveDoor { .. } | Step::OpenLink { .. });
        let closes = |step: &Step| matches!(step, Step::CloseDoor(_) | Step::CloseLink(_));
        let last_open = steps.iter().rposition(opens);
        let first_close = steps.iter().position(closes);
        if let (Some(open), Some(close)) = (last_open, first_close) {
            prop_assert!(open < close, "{steps:?}");
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
    let edited = BASE.replace(edit.0, edit.1);
    assert_ne!(edited, BASE, "the edit {edit:?} changes nothing");
    let steps = plan(Some(&assigned(BASE, me)), &assigned(&edited, me));
    steps.iter().map(Step::drops).filter(|drops| *drops != Drops::Nobody).collect()
}

#[test]
fn an_edit_drops_only_whom_it_concerns() {
    let name = |text: &str| Name::new(text).unwrap();
    let new_client = ("  office: {}", "  office: {}\n  camera: {}");
    let cases = [
        ("press", new_client, vec![]),
        ("hub", new_client, vec![]),
        ("hub", ("  office: {}\n", ""), vec![Drops::Peer(name("office"))]),
        ("press", ("  office: {}\n", ""), vec![]),
        ("press", ("500ms", "200ms"), vec![]),
        ("press", ("line/#", "lane/#"), vec![]),
        ("hub", ("line/#", "lane/#"), vec![]),
        ("press", ("active: k1", "active: k2, accept: [k1]"), vec![]),
        ("press", ("10.0.0.11", "10.0.0.12"), vec![Drops::Link(name("spare"))]),
        ("hub", ("network: n", "network: m"), vec![Drops::AllMachines]),
        (
            "press",
            ("network: n", "network: n\ndoors: { programs: \"127.0.0.1:1884\" }"),
            vec![Drops::Door(DoorKind::Programs)],
        ),
        ("press", ("network: n", "network: n\ndoors: { unix: /run/h.sock }"), vec![]),
        ("press", (", backups: [spare]", ""), vec![]),
    ];
    for (me, edit, expected) in cases {
        assert_eq!(drops(me, edit), expected, "{me}, {edit:?}");
    }
}

#[test]
fn timers_travel_whole() {
    let edited = BASE.replace("500ms", "250ms");
    let steps = plan(Some(&assigned(BASE, "press")), &assigned(&edited, "press"));
    let beat = Heartbeat { every: Duration::from_millis(250), miss: 3 };
    assert_eq!(steps, vec![Step::SetHeartbeat(beat)]);
}
