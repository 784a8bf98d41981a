use proptest::prelude::*;

use super::super::load::{SecretFact, SecretFile, Surroundings, load};
use super::super::model::Topology;
use super::*;

const SHIPPED: &[&str] = &[
    include_str!("../../../../../topologies/solo.yaml"),
    include_str!("../../../../../topologies/workshop.yaml"),
    include_str!("../../../../../topologies/factory.yaml"),
];

struct Texts<'a>(&'a [SourceFile]);

impl Surroundings for Texts<'_> {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, String> {
        let found = self.0.iter().find(|file| file.name == path);
        found.map(|file| file.text.clone().into_bytes()).ok_or_else(|| "not there".to_owned())
    }

    fn secret(&mut self, _: SecretFile<'_>) -> SecretFact {
        SecretFact::NotLooked
    }
}

fn one(text: &str) -> Vec<SourceFile> {
    vec![SourceFile { name: "t.yaml".into(), text: text.into() }]
}

fn model(files: &[SourceFile]) -> Option<Topology> {
    load("t.yaml", &mut Texts(files)).topology
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn set_to(at: &str, to: &str) -> Edit {
    Edit::Set { at: path(at), to: Literal::typed(to) }
}

fn add_as(at: &str, to: &str) -> Edit {
    Edit::Add { at: path(at), to: Literal::typed(to) }
}

fn without(at: &str) -> Edit {
    Edit::Remove { at: path(at) }
}

fn rank_to(broker: &str, to: usize) -> Edit {
    Edit::Rank { broker: broker.into(), to }
}

#[track_caller]
fn gives(before: &str, change: &Edit, after: &str) {
    let edited = edit(&one(before), change).unwrap();
    assert_eq!(edited.text, after);
}

#[track_caller]
fn refused(before: &str, change: &Edit, told: &str) {
    assert_eq!(edit(&one(before), change).unwrap_err().to_string(), told);
}

#[test]
fn a_value_changes_where_it_stands_and_keeps_its_quotes() {
    gives("a: 1 # one\nb: \"x:1\"\n", &set_to("a", "2"), "a: 2 # one\nb: \"x:1\"\n");
    gives("a: 1\nb: \"x:1\" # door\n", &set_to("b", "y:2"), "a: 1\nb: \"y:2\" # door\n");
    gives("b: 'it''s' #\n", &set_to("b", "isn't"), "b: 'isn''t' #\n");
    gives("x: { a: 1, b: [ p, q ] } # c\n", &set_to("x.b", "[r]"), "x: { a: 1, b: [r] } # c\n");
    gives("x:\n  - \"p/#\" # one\n  - \"q\"\ny: 1\n", &set_to("x", "[r]"), "x: [\"r\"]\ny: 1\n");
    gives("x: # why\n  - p\n", &set_to("x", "[q]"), "x: # why\n  [q]\n");
    gives("x:\n# c\ny:\n", &set_to("y", "1"), "x:\n# c\ny: 1\n");
    gives("x: ~ # c\n", &set_to("x", "1"), "x: 1 # c\n");
}

#[test]
fn a_new_key_stands_behind_the_last_one_in_the_way_of_its_map() {
    gives("x: { a: 1 } # c\n", &set_to("x.b", "2"), "x: { a: 1, b: 2 } # c\n");
    gives("x: {} # c\n", &set_to("x.b", "2"), "x: { b: 2 } # c\n");
    gives("x: {a: 1,}\n", &set_to("x.b", "2"), "x: {a: 1, b: 2,}\n");
    gives("x: {\n  a: 1,\n  c: 3 # c\n}\n", &set_to("x.b", "2"), "x: {\n  a: 1,\n  c: 3,\n  b: 2 # c\n}\n");
    gives(
        "x: # c\n  a: 1 # one\n\n# next\ny: 1\n",
        &set_to("x.b", "2"),
        "x: # c\n  a: 1 # one\n  b: 2\n\n# next\ny: 1\n",
    );
    gives("x:\ny: 1\n", &set_to("x.b", "2"), "x: { b: 2 }\ny: 1\n");
    gives("y: 1", &set_to("x.b.c", "2"), "y: 1\nx:\n  b: { c: 2 }");
    gives("x:\r\n  a: 1\r\ny: 1\r\n", &set_to("x.b", "2"), "x:\r\n  a: 1\r\n  b: 2\r\ny: 1\r\n");
    gives("{ a: 1 }", &set_to("b.c", "2"), "{ a: 1, b: { c: 2 } }");
    gives(
        "x:\n  - match: p\n    ack: disk\n",
        &set_to("x.p.lane", "disk"),
        "x:\n  - match: p\n    ack: disk\n    lane: disk\n",
    );
}

#[test]
fn machines_and_items_are_added_to_their_own_kind() {
    let text = "brokers:\n  hub: { host: h }\n\n# end\n";
    gives(
        text,
        &add_as("clients.a", "{ role: r }"),
        "brokers:\n  hub: { host: h }\nclients:\n  a: { role: r }\n\n# end\n",
    );
    gives(
        text,
        &add_as("clients.press-[1..3]", "{}"),
        "brokers:\n  hub: { host: h }\nclients:\n  \"press-[1..3]\": {}\n\n# end\n",
    );
    gives("clients:\n", &add_as("clients.a", "{}"), "clients: { a: {} }\n");
    gives(
        "topics:\n  - { match: \"a\" } # one\n",
        &add_as("topics", "{ match: \"b/#\" }"),
        "topics:\n  - { match: \"a\" } # one\n  - { match: \"b/#\" }\n",
    );
    gives("a: 1\n", &add_as("topics", "{ match: b }"), "a: 1\ntopics: [{ match: b }]\n");
    refused(text, &add_as("brokers.hub", "{}"), "a broker called `hub` is there already");
    refused(
        text,
        &add_as("brokers.hub.host", "x"),
        "`brokers.hub.host` can only be added by its name: brokers.NAME, clients.NAME, roles.NAME, or an item of a list",
    );
}

#[test]
fn what_is_taken_out_leaves_no_trace_and_takes_no_comment_of_others() {
    gives("x: { a: 1, b: 2, c: 3 }\n", &without("x.b"), "x: { a: 1, c: 3 }\n");
    gives("x: { a: 1, b: 2 }\n", &without("x.a"), "x: { b: 2 }\n");
    gives("x: {\n  a: 1, # one\n  b: 2, # two\n}\n", &without("x.b"), "x: {\n  a: 1 # one\n  , # two\n}\n");
    gives("x:\n  a: 1 # one\n  b: 2 # two\n  # left\ny: 1\n", &without("x.b"), "x:\n  a: 1 # one\n  # left\ny: 1\n");
    gives("y: 1\nx: 2", &without("x"), "y: 1");
    gives("y: 1\nheartbeat: { every: 1s }\n", &without("heartbeat.every"), "y: 1\n");
    gives("clients:\n  a: { role: r } # c\n", &without("clients.a.role"), "clients:\n  a: {} # c\n");
    gives("clients:\n  a:\n    role: r\n  b: {}\n", &without("clients.a.role"), "clients:\n  a:\n  b: {}\n");
    gives("y: 1\nclients:\n  a:\n    role: r\n", &without("clients.a"), "y: 1\n");
    gives("topics:\n  - match: a\n    ack: disk\n  - match: b\n", &without("topics.a"), "topics:\n  - match: b\n");
    gives("topics:\n  - match: a\n    ack: disk\n", &without("topics.1.match"), "topics:\n  - ack: disk\n");
    refused("a: 1\n", &without("b"), "there is no `b`");
    refused(
        "clients: { camera: {} }\n",
        &without("clients.camrea"),
        "no client is called `camrea`; did you mean `camera`?",
    );
}

#[test]
fn no_rights_are_not_taken_for_all_rights() {
    let text = "clients:\n  a: { publish: [\"x\"] }\n  b:\n    publish:\n      - x\n";
    gives(text, &without("clients.a.publish.1"), &text.replace("[\"x\"]", "[]"));
    gives(text, &without("clients.b.publish.1"), "clients:\n  a: { publish: [\"x\"] }\n  b:\n    publish: []\n");
}

#[test]
fn a_broker_changes_its_place_together_with_its_comments() {
    let text = "brokers: # best first\n  # leeds\n  a: { host: a } # one\n  b:\n    host: b\n\n  # york\n  # far\n  c: { host: c }\n# end\n";
    gives(
        text,
        &rank_to("c", 1),
        "brokers: # best first\n  # york\n  # far\n  c: { host: c }\n  # leeds\n  a: { host: a } # one\n\n  b:\n    host: b\n# end\n",
    );
    gives(
        "brokers: { a: { host: a }, b: { host: b } } # c\n",
        &rank_to("a", 2),
        "brokers: { b: { host: b }, a: { host: a } } # c\n",
    );
    refused(text, &rank_to("c", 4), "a place among the brokers of t.yaml is a number from 1 to 3");
    refused(text, &rank_to("c", 0), "a place among the brokers of t.yaml is a number from 1 to 3");
    for from in ["a", "b", "c"] {
        for to in 1..=3 {
            let place = ["a", "b", "c"].iter().position(|name| *name == from).unwrap() + 1;
            let there = edit(&one(text), &rank_to(from, to)).unwrap().text;
            assert_eq!(edit(&one(&there), &rank_to(from, place)).unwrap().text, text, "{from} to {to}\n{there}");
        }
    }
}

#[test]
fn one_of_a_range_is_refused_with_both_ways_out() {
    let change = set_to("clients.press-07.role", "r");
    let told = edit(&one(SHIPPED[2]), &change).unwrap_err().to_string();
    assert_eq!(
        told,
        "`press-07` is one of `press-[01..20]`, which share one entry: change all of them by that name, or split the range in t.yaml"
    );
    assert!(edit(&one(SHIPPED[2]), &set_to("clients.\"press-[01..20]\".role", "r")).is_ok());
    assert!(matches!(edit(&one(SHIPPED[2]), &set_to("clients.press-7.role", "r")), Err(EditError::Unknown { .. })));
    assert!(matches!(edit(&one(SHIPPED[2]), &set_to("clients.press-21.role", "r")), Err(EditError::Unknown { .. })));
}

#[test]
fn the_file_that_holds_the_entry_is_the_one_that_changes() {
    let file = |name: &str, text: &str| SourceFile { name: name.into(), text: text.into() };
    let files = [
        file("t.yaml", "version: 1\nnetwork: n\ninclude: [more.yaml]\nbrokers: { hub: { host: 10.0.0.1 } }\n"),
        file("more.yaml", "brokers: { york: { host: 10.0.0.2 }, bath: { host: 10.0.0.3 } }\nclients:\n  a: {}\n"),
    ];
    for (change, expected) in [
        (set_to("clients.a.home", "york"), 1),
        (set_to("brokers.hub.host", "10.0.0.9"), 0),
        (set_to("brokers.york.host", "10.0.0.9"), 1),
        (set_to("heartbeat.every", "1s"), 0),
        (add_as("clients.b", "{}"), 1),
        (rank_to("bath", 2), 1),
    ] {
        let edited = edit(&files, &change).unwrap();
        assert_eq!(edited.file, expected, "{change:?}");
        let mut after = files.to_vec();
        after[edited.file].text = edited.text;
        assert!(model(&after).is_some_and(|after| Some(after) != model(&files)), "{change:?}");
    }
    let told = edit(&files, &rank_to("bath", 1)).unwrap_err().to_string();
    assert_eq!(told, "a place among the brokers of more.yaml is a number from 2 to 3");
}

#[test]
fn a_layout_that_no_cut_knows_is_refused_and_not_bent() {
    for text in ["a: |\n  long\nb: 1\n", "? a\n: 1\n", "a: >-\n  x\n"] {
        match edit(&one(text), &set_to("a", "2")) {
            Err(error) => assert_eq!(error, EditError::Layout("t.yaml".into()), "{text}"),
            Ok(edited) => {
                assert_eq!(tree(&one(&edited.text)[0]).map(|tree| Literal::of(&tree).to_string()).unwrap(), "{ a: 2 }")
            }
        }
    }
    assert_eq!(edit(&one("a: [\n"), &set_to("a", "2")), Err(EditError::Unreadable("t.yaml".into())));
}

#[test]
fn paths_are_read_as_they_are_shown() {
    for text in ["heartbeat.every", "clients.\"press-[01..20]\".role", "topics.\"alarm/#\"", "topics.\"a.b\".ack"] {
        let read = path(text);
        assert_eq!(read, path(&read.to_string()), "{text}");
    }
    assert_eq!(path("clients.press-[01..20].role").parts(), ["clients", "press-[01..20]", "role"]);
    assert_eq!(path("topics.\"a.b\"").parts(), ["topics", "a.b"]);
    for (text, error) in [
        ("", PathError::Empty),
        ("a..b", PathError::Empty),
        ("a.", PathError::Empty),
        ("a.\"b", PathError::Open),
        ("a[1.b", PathError::Open),
    ] {
        assert_eq!(text.parse::<Path>(), Err(error), "{text}");
    }
}

#[test]
fn an_edit_travels_as_json() {
    for change in [
        set_to("clients.\"press-[01..20]\".role", "sensor"),
        Edit::Set { at: path("a.b"), to: Literal::text("") },
        add_as("topics", "{ match: \"a/#\", ack: disk }"),
        without("heartbeat.every"),
        rank_to("hub", 2),
    ] {
        let json = serde_json::to_string(&change).unwrap();
        assert_eq!(serde_json::from_str::<Edit>(&json).unwrap(), change, "{json}");
    }
    let json = serde_json::to_string(&set_to("heartbeat.every", "1s")).unwrap();
    assert_eq!(json, r#"{"edit":"set","at":"heartbeat.every","to":"1s"}"#);
    assert!(serde_json::from_str::<Edit>(r#"{"edit":"set","at":"a","to":"[ x"}"#).is_err());
}

#[test]
fn any_text_is_written_so_that_it_is_read_back() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(text in "\\PC{0,12}|[\\x00-\\x7f]{0,6}")| {
        let literal = Literal::Map(vec![("k".into(), Literal::List(vec![Literal::Text(text.clone())]))]);
        prop_assert_eq!(literal.to_string().parse::<Literal>(), Ok(literal), "{:?}", text);
    });
}

/// Every scalar and list of a tree that is no name's own entry, with its path.
fn leaves(node: &Node, at: &[String], out: &mut Vec<(Vec<String>, Literal)>) {
    let mut below = |part: String, node: &Node| leaves(node, &[at, &[part]].concat(), out);
    match &node.value {
        Value::Map(entries) => entries.iter().for_each(|(key, value)| below(key.text.clone(), value)),
        Value::List(items) if items.iter().any(|item| matches!(item.value, Value::Map(_))) => {
            items.iter().enumerate().for_each(|(at, item)| below((at + 1).to_string(), item));
        }
        Value::List(_) | Value::Scalar { .. } => out.push((at.to_vec(), Literal::of(node))),
        Value::Null => {}
    }
}

#[test]
fn an_edit_and_its_undoing_give_every_shipped_topology_back_byte_for_byte() {
    let mut tried = 0;
    for text in SHIPPED {
        let files = one(text);
        let mut found = Vec::new();
        leaves(&tree(&files[0]).unwrap(), &[], &mut found);
        let there_and_back = |change: Edit, undo: Edit| {
            let changed = edit(&files, &change).unwrap();
            assert_ne!(changed.text, *text, "{change:?}");
            let back = edit(&one(&changed.text), &undo).unwrap();
            assert_eq!(back.text, *text, "{change:?}");
        };
        for (at, old) in found {
            let at = Path::new(at.iter().map(String::as_str));
            let other = match &old {
                Literal::Text(_) => Literal::text("other-7"),
                Literal::List(_) | Literal::Map(_) => Literal::texts(["one", "two"]),
            };
            tried += 1;
            there_and_back(Edit::Set { at: at.clone(), to: other }, Edit::Set { at, to: old });
        }
        for (at, to) in [
            ("limits.queue", "7"),
            ("store.max", "1MB"),
            ("rights.publish", "[\"a/#\"]"),
            ("failover.failback", "manual"),
            ("doors.unix", "/run/x"),
            ("brokers.solo.limits.queue", "9"),
            ("brokers.york-hub.publish", "[a]"),
            ("brokers.leeds-hub.doors.unix", "/run/x"),
            ("clients.press-1.role", "r"),
            ("clients.camera.home", "spare"),
            ("topics.\"alarm/#\".max_age", "1d"),
        ] {
            let there = |at: &Path| edit(&files, &Edit::Remove { at: at.clone() }).is_ok();
            let at = path(at);
            if at.named().is_some_and(|_| !there(&at.upto(2)))
                || there(&at)
                || at.parts()[0] == "topics" && !there(&at.upto(2))
            {
                continue;
            }
            tried += 1;
            there_and_back(Edit::Set { at: at.clone(), to: Literal::typed(to) }, Edit::Remove { at });
        }
        for (at, to) in [("clients.new", "{}"), ("clients.\"n-[1..3]\"", "{ role: x }"), ("brokers.new", "{ host: h }")]
        {
            tried += 1;
            there_and_back(add_as(at, to), without(at));
        }
    }
    assert!(tried > 70, "only {tried}");
}

/// A network, written in one of many ways; its own comments are numbered.
fn written() -> impl Strategy<Value = String> {
    let map = (any::<bool>(), any::<bool>(), 1..5_usize, any::<u64>());
    (proptest::collection::vec(map, 3), 1..4_usize, any::<bool>(), any::<bool>()).prop_map(|(maps, step, crlf, end)| {
        let mut text = String::from("# 0\nversion: 1\nnetwork: n # 1\n\n");
        for (section, (flow, commented, count, seed)) in ["brokers", "clients", "roles"].into_iter().zip(maps) {
            let indent = " ".repeat(step);
            text += &format!("# {section}\n{section}:\n");
            for n in 0..count {
                let name = format!("{}-{n}", &section[..1]);
                let (key, value) = match section {
                    "brokers" => ("host", format!("10.0.{}.{n}", seed % 200)),
                    "clients" => ("publish", if seed >> n & 1 == 0 { "[ \"a/b\" ,c ]".into() } else { "[]".into() }),
                    _ => ("subscribe", "[\"x/{name}/#\"]".into()),
                };
                let tail = if commented { format!(" # {section} {n}") } else { String::new() };
                if commented && n % 2 == 1 {
                    text += &format!("{indent}# above {name}\n");
                }
                text += &match (flow, seed >> (n + 8) & 3) {
                    (_, 0) if section == "clients" => format!("{indent}{name}:{tail}\n"),
                    (true, 1) => format!("{indent}'{name}': {{{key}: {value},}}{tail}\n"),
                    (true, _) => format!("{indent}{name}: {{ {key}: {value} }}{tail}\n"),
                    (false, 2) => format!(
                        "{indent}{name}:{tail}\n\n{indent}{indent}{key}:  {value}\n{indent}{indent}# below {n}\n"
                    ),
                    (false, _) => format!("{indent}\"{name}\":{tail}\n{indent}{indent}{key}: {value}{tail}\n"),
                };
            }
            text += "\n";
        }
        if end {
            text += "topics:\n- match: \"a/#\"\n  ack: disk # why\n- {match: b,\n   lane: urgent}\n";
        }
        let text = if end { text.trim_end().to_owned() } else { text + "# end\n" };
        if crlf { text.replace('\n', "\r\n") } else { text }
    })
}

fn change() -> impl Strategy<Value = Edit> {
    let broker = 0..4_usize;
    let at = proptest::sample::select(&[
        "heartbeat.every",
        "limits.queue",
        "brokers.b-0.host",
        "brokers.b-1.limits.queue",
        "brokers.b-2.role",
        "clients.c-0.role",
        "clients.c-1.publish",
        "clients.c-2.home",
        "clients.c-0.publish.1",
        "roles.r-0.subscribe",
        "roles.r-1.publish",
        "topics.\"a/#\".ack",
        "topics.b.lane",
        "topics.b.max_age",
        "network",
        "clients.c-1",
        "roles.r-0",
        "topics.\"a/#\"",
        "brokers.b-1",
        "keys.active",
    ]);
    let to = proptest::sample::select(&["200ms", "7", "[\"p/#\", q]", "{name}/#", "x: y", "r-0", "b-0"]);
    let add = proptest::sample::select(&[
        ("clients.new", "{}"),
        ("roles.new", "{ publish: [p] }"),
        ("brokers.new", "{ host: h }"),
        ("topics", "{ match: \"n/#\" }"),
    ]);
    prop_oneof![
        (at.clone(), to).prop_map(|(at, to)| set_to(at, to)),
        at.prop_map(without),
        add.prop_map(|(at, to)| add_as(at, to)),
        (broker, 1..5_usize).prop_map(|(broker, to)| rank_to(&format!("b-{broker}"), to)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// That the result means what was wanted and nothing else, `edit` checks itself; here, that it finds a way, and
    /// that no comment and no line is lost that the edit does not take out.
    #[test]
    fn every_common_layout_can_be_edited_again_and_again(text in written(), changes in proptest::collection::vec(change(), 1..6)) {
        let mut text = text;
        for change in changes {
            let before = one(&text);
            match edit(&before, &change) {
                Ok(edited) => {
                    let taken = |line: &str| !edited.text.contains(line.trim());
                    let lost = text.lines().filter(|line| line.trim_start().starts_with('#') && taken(line)).count();
                    let own = usize::from(matches!(change, Edit::Remove { .. } | Edit::Set { .. }));
                    prop_assert!(lost <= own, "{:?} lost {} comments\n{}\n---\n{}", change, lost, text, edited.text);
                    text = edited.text;
                }
                Err(error @ EditError::Layout(_)) => prop_assert!(false, "{error} {change:?}\n{text}"),
                Err(_) => {}
            }
        }
    }

    /// Whatever the text is: no panic, and what comes out is YAML that says what was wanted, or an error.
    #[test]
    fn any_text_is_edited_or_refused(
        text in "([ab]|[ab]: |- |[:{}\\[\\],#\"' |>~é\r]|\n|\n  ){0,24}",
        at in proptest::sample::select(&["a", "a.b", "b.a", "a.1", "a.a.b", "brokers.a"]), kind in 0..4_u8,
    ) {
        let change = match kind {
            0 => set_to(at, "b"),
            1 => add_as(at, "{ b: a }"),
            2 => without(at),
            _ => rank_to(at, 1),
        };
        if let Ok(edited) = edit(&one(&text), &change) {
            prop_assert!(tree(&one(&edited.text)[0]).is_ok(), "{change:?} makes {:?} of {text:?}", edited.text);
        }
    }

    #[test]
    fn a_rank_is_undone_by_a_rank(text in written(), from in 0..4_usize, to in 1..5_usize) {
        if let Ok(there) = edit(&one(&text), &rank_to(&format!("b-{from}"), to)) {
            let back = edit(&one(&there.text), &rank_to(&format!("b-{from}"), from + 1)).unwrap();
            prop_assert_eq!(back.text, text);
        }
    }
}
