//! Each kind of change of a topology, made on a running network: what drops is what `hobnail plan` names, and stands in
//! `topologies/CHANGES.md`. `HOBNAIL_BLESS=1` writes that file anew.

mod changes {
    pub mod kinds;
    pub mod network;
    pub mod standing;
}
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "run/agent.rs"]
mod agent;
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "run/dial.rs"]
mod dial;
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "change/machine.rs"]
mod machine;
#[path = "support/ports.rs"]
mod ports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use changes::kinds::{KINDS, OTHER_NETWORK, Places};
use changes::network::Network;
use changes::standing::Place;

const HEAD: &str = "\
# What drops when the topology is edited

Each line is a change made on a running network, by editing the file on each of its machines, and then taken back. What
dropped was in all of them exactly what `hobnail plan` named. Everything else lived on: a program at each machine,
a page, a program at the Unix socket and a device at `hub`, and the links between the brokers `hub` and `spare` and the
client `press`. Which of two brokers dials the other is chance, and where it matters the plan and this table say so.
`tests/changes.rs` makes the changes and writes this file.

| key | change | drops | taken back, drops |
|---|---|---|---|
";

#[test]
fn every_kind_of_change_drops_what_its_plan_names_and_nobody_else() {
    let keys = tempfile::tempdir().unwrap();
    let places = Places::new(ports::free_ports(), keys.path());
    let Some(mut network) = Network::start(&places, keys) else { return };
    assert_eq!(network.standing().len(), 6 + 3, "{:?}", network.standing());
    let (mut table, mut wrong) = (HEAD.to_owned(), Vec::new());
    for kind in KINDS {
        let there_and_back = [kind.edit, &[]].map(|edit| {
            let text = places.topology(edit);
            let standing = network.standing();
            let either_way = standing.iter().flat_map(|place| [Some(*place), place.other_way()]).flatten().collect();
            let named = network.planned(&text, &either_way);
            let planned = named.intersection(&standing).copied().collect();
            network.edit(&text);
            let dropped = network.dropped(&planned);
            if dropped != planned {
                let way = if edit.is_empty() { ", taken back" } else { "" };
                wrong.push(format!("{}{way}: {dropped:?} dropped, {planned:?} was named", kind.what));
            }
            network.refill(&dropped);
            words(&named)
        });
        let [there, back] = there_and_back;
        table += &format!("| `{}` | {} | {there} | {back} |\n", kind.key, kind.what);
    }
    let outcome = network.verdict(&places.topology(OTHER_NETWORK.edit));
    assert_eq!(outcome["verdict"], "restart", "{outcome:#}");
    assert_eq!(network.dropped(&BTreeSet::new()), BTreeSet::new());
    table += &format!("| `{}` | {} | nothing until a restart | nothing |\n", OTHER_NETWORK.key, OTHER_NETWORK.what);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/CHANGES.md");
    if std::env::var_os("HOBNAIL_BLESS").is_some() {
        fs::write(&file, &table).unwrap();
    }
    assert_eq!(table, fs::read_to_string(file).unwrap());
}

/// The documentation of each key at the top says "live" or whom a change of it reconnects.
#[test]
fn the_keys_documentation_agrees_with_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies");
    let table = fs::read_to_string(root.join("CHANGES.md")).unwrap();
    let mut by_key = BTreeMap::<String, BTreeSet<bool>>::new();
    for line in table.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let key = cells[0].trim_end_matches('`').to_owned();
        let is_live = cells[2] == "nothing" && cells[3].starts_with("nothing");
        by_key.entry(key).or_default().insert(is_live);
    }
    let schema: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(root.join("schema.json")).unwrap()).unwrap();
    let keys = schema["properties"].as_object().unwrap();
    assert_eq!(by_key.keys().collect::<BTreeSet<_>>(), keys.keys().collect::<BTreeSet<_>>(), "every key is tried");
    for (key, about) in keys {
        let about = about["description"].as_str().unwrap();
        let said = about.split("(Change: ").nth(1).unwrap_or_else(|| panic!("{key} says nothing: {about}"));
        let all_live = by_key[key] == BTreeSet::from([true]);
        assert_eq!(said.starts_with("live"), all_live, "{key}: {said} {:?}", by_key[key]);
    }
}

/// In words; of two brokers' link both ways are named where it does not matter who dialled.
fn words(places: &BTreeSet<Place>) -> String {
    let word = |place: &Place| match (place, place.other_way()) {
        (Place::Link(from, _), Some(other)) if !places.contains(&other) => format!("{place} if {from} dialled"),
        _ => place.to_string(),
    };
    let words: BTreeSet<String> = places.iter().map(word).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.into_iter().collect::<Vec<_>>().join(", ") }
}
