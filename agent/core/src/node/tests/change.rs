//! Topologies that are edited under way, machine by machine, in any order.

use super::WORKSHOP;
use super::lab::Lab;

/// Links that stand, as status shows them.
fn linked(lab: &Lab, name: &str) -> Vec<String> {
    let links = lab.node(name).status(lab.now).links;
    let up = links.into_iter().filter(|link| link.state == "up");
    up.map(|link| link.peer.as_str().to_owned()).collect()
}

fn home(lab: &Lab, name: &str) -> Option<String> {
    lab.node(name).home().map(|home| home.as_str().to_owned())
}

fn expected(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|n| format!("line/temp {n}")).collect()
}

fn lab_of(yaml: &str) -> Lab {
    let mut lab = Lab::new(yaml, 1);
    lab.want("office", "line/#");
    lab.seconds(5);
    lab
}

/// Edit the files one after another while `press` goes on publishing, `gap` between two edits.
fn edit_under_traffic(lab: &mut Lab, edited: &str, order: &[&str], gap_ms: u64, next: &mut u32) {
    for name in order {
        lab.edit(name, edited);
        for _ in 0..gap_ms / 20 {
            lab.publish("press", "line/temp", &next.to_string());
            *next += 1;
            lab.millis(20);
        }
    }
}

/// Every order of these.
fn orders<'a>(names: &[&'a str]) -> Vec<Vec<&'a str>> {
    if names.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, first) in names.iter().enumerate() {
        let mut rest = names.to_vec();
        rest.remove(at);
        all.extend(orders(&rest).into_iter().map(|order| [vec![*first], order].concat()));
    }
    all
}

const ALL: [&str; 4] = ["hub", "spare", "press", "office"];

#[test]
fn what_concerns_no_link_ends_none() {
    let edits: [(&str, &str); 6] = [
        ("every: 200ms", "every: 2s"),
        ("every: 200ms", "every: 50ms"),
        ("hold_down: 5s", "hold_down: 1s"),
        ("press: {}", "press: { publish: [\"line/#\"], subscribe: [\"cmd/#\"] }"),
        ("keys:", "topics: [{ match: \"line/#\", ack: replicated, lane: urgent }]\nstore: { max: 64MB }\nkeys:"),
        ("press: {}", "press: {}\n  camera: {}"),
    ];
    for (from, to) in edits {
        for order in [ALL, ["office", "press", "spare", "hub"]] {
            let mut lab = lab_of(WORKSHOP);
            let opened = |lab: &Lab| ALL.map(|name| lab.node(name).links_opened);
            let (before, mut next) = (opened(&lab), 0);
            edit_under_traffic(&mut lab, &WORKSHOP.replace(from, to), &order, 3_000, &mut next);
            lab.seconds(5);
            assert_eq!(opened(&lab), before, "{to} in the order {order:?}");
            assert_eq!(lab.heard("office"), expected(0..next), "{to}");
            let prints = ALL.map(|name| lab.node(name).status(lab.now).fingerprint);
            assert!(prints.iter().all(|print| *print == prints[0]));
        }
    }
}

const THREE: &str = "
version: 1
network: workshop
heartbeat: { every: 200ms, miss: 3 }
failover: { hold_down: 5s }
keys: { active: k1 }
brokers:
  hub: { host: 10.0.0.1, backups: [spare] }
  spare: { host: 10.0.0.2 }
clients:
  third: {}
  press: {}
  office: {}
";
const FIVE: [&str; 5] = ["hub", "spare", "third", "press", "office"];

/// From one topology to another in so many orders, under traffic; everything arrives, once and in order.
fn arrives(from: &str, to: &str, orders: &[Vec<&str>], gap_ms: u64, at_last: impl Fn(&Lab)) {
    for order in orders {
        let mut lab = lab_of(from);
        let mut next = 0;
        edit_under_traffic(&mut lab, to, order, gap_ms, &mut next);
        lab.seconds(40);
        let heard = lab.heard("office");
        assert_eq!(heard, expected(0..next), "in the order {order:?}");
        at_last(&lab);
    }
}

#[test]
fn a_backup_is_added_and_removed_in_any_order_with_nothing_lost() {
    let with = THREE.replace("  third: {}\n", "").replace(
        "  spare: { host: 10.0.0.2 }",
        "  spare: { host: 10.0.0.2, backups: [third] }\n  third: { host: 10.0.0.3 }",
    );
    let orders = orders(&FIVE);
    let some: Vec<Vec<&str>> = orders.into_iter().step_by(13).collect();
    arrives(THREE, &with, &some, 400, |lab| {
        assert_eq!(linked(lab, "third")[..2], ["hub", "spare"]);
        assert_eq!(home(lab, "third"), None, "a broker is its own home");
        assert!(lab.node("third").status(lab.now).in_step);
    });
    arrives(&with, THREE, &some, 400, |lab| {
        assert_eq!(home(lab, "third").as_deref(), Some("hub"));
        assert_eq!(lab.node("third").status(lab.now).bytes, 0, "it keeps nothing for others");
    });
}

#[test]
fn the_hub_is_replaced_by_another_machine_in_any_order_with_nothing_lost() {
    let replaced = THREE
        .replace("hub: { host: 10.0.0.1, backups: [spare] }", "third: { host: 10.0.0.3, backups: [spare] }")
        .replace("third: {}", "hub: {}");
    let orders = orders(&FIVE);
    let some: Vec<Vec<&str>> = orders.into_iter().skip(3).step_by(13).collect();
    arrives(THREE, &replaced, &some, 400, |lab| {
        for name in ["press", "office", "hub"] {
            assert_eq!(home(lab, name).as_deref(), Some("third"), "{name}");
        }
    });
}

#[test]
fn what_the_hub_itself_sends_arrives_whatever_its_role() {
    let replaced = THREE
        .replace("hub: { host: 10.0.0.1, backups: [spare] }", "third: { host: 10.0.0.3, backups: [spare] }")
        .replace("third: {}", "hub: {}");
    for order in orders(&FIVE).into_iter().step_by(11) {
        let mut lab = lab_of(THREE);
        let mut next = 0;
        for text in [replaced.as_str(), THREE] {
            for name in &order {
                lab.edit(name, text);
                for _ in 0..20 {
                    lab.publish("hub", "line/temp", &next.to_string());
                    next += 1;
                    lab.millis(20);
                }
            }
            lab.seconds(40);
            assert_eq!(lab.heard("office"), expected(0..next), "in the order {order:?}");
        }
    }
}

#[test]
fn what_one_machine_takes_at_a_time_ends_nobodys_links() {
    let small =
        |name: &str| WORKSHOP.replace(&format!("{name}: {{}}"), &format!("{name}: {{ limits: {{ packet: 1KiB }} }}"));
    let mut lab = Lab::new(&small("office"), 1);
    lab.want("office", "line/#");
    lab.seconds(2);
    let long = "x".repeat(500_000);
    lab.publish("press", "line/a", &long);
    lab.seconds(2);
    assert_eq!(lab.heard("office"), [format!("line/a {long}")], "its programs are told as far as they can take it");
    lab.kill("office");
    lab.publish("press", "line/b", &long);
    lab.retain("press", "line/c", &long);
    lab.seconds(1);
    for name in ["hub", "spare", "press"] {
        lab.edit(name, &small("office").replace("keys:", "limits: { packet: 1KiB }\nkeys:"));
    }
    lab.start("office");
    lab.edit("office", &small("office").replace("keys:", "limits: { packet: 1KiB }\nkeys:"));
    lab.publish("press", "line/d", "short");
    lab.seconds(5);
    assert_eq!(lab.heard("office")[1..], ["line/d short"], "what is too long by now is passed over, and counted");
    assert_eq!(lab.node("hub").counters().too_long, 2);
    let faults = ["hub", "spare", "press", "office"].map(|name| lab.node(name).counters().link_faults);
    assert_eq!(faults, [0; 4]);
}
