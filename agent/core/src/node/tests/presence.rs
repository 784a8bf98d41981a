//! What programs read under `$hobnail/`.

use serde_json::Value;

use super::WORKSHOP;
use super::lab::Lab;

fn told(lab: &Lab, at: &str, topic: &str) -> Value {
    let text = lab.retained(at, topic).unwrap_or_else(|| panic!("{at} was told nothing under {topic}"));
    serde_json::from_str(&text).unwrap()
}

fn state(lab: &Lab, at: &str, of: &str) -> String {
    told(lab, at, &format!("$hobnail/nodes/{of}"))["state"].as_str().unwrap().to_owned()
}

#[test]
fn every_program_reads_every_machine() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.seconds(5);
    for at in ["hub", "spare", "press", "office"] {
        for of in ["hub", "spare", "press", "office"] {
            assert_eq!(state(&lab, at, of), "online", "{of}, told at {at}");
        }
        let office = told(&lab, at, "$hobnail/nodes/office");
        assert_eq!((&office["role"], &office["home"]), (&"client".into(), &"hub".into()));
        assert_eq!(office["version"], env!("CARGO_PKG_VERSION"));
        assert!(office["since_ms"].as_u64().is_some_and(|ms| ms > 1_700_000_000_000), "{office}");
        let network = told(&lab, at, "$hobnail/network");
        assert_eq!(network["machines"]["online"], 4);
        assert_eq!(
            (&network["brokers"], &network["drift"]),
            (&serde_json::json!(["hub", "spare"]), &Value::Array(vec![]))
        );
    }
    let spare = told(&lab, "press", "$hobnail/nodes/spare");
    assert!(spare["round_trip_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{spare}");
    assert_eq!((&spare["role"], &spare["home"]), (&"broker".into(), &Value::Null));
}

#[test]
fn a_machine_that_dies_is_offline_and_one_that_was_stopped_has_left() {
    let mut lab = Lab::new(WORKSHOP, 2);
    lab.seconds(5);
    lab.kill("press");
    lab.stop("office");
    lab.seconds(2);
    for at in ["hub", "spare"] {
        assert_eq!((state(&lab, at, "press"), state(&lab, at, "office")), ("offline".into(), "left".into()), "at {at}");
        let network = told(&lab, at, "$hobnail/network");
        assert_eq!(network["machines"], serde_json::json!({"left": 1, "offline": 1, "online": 2}));
    }
    lab.start("office");
    lab.seconds(3);
    assert_eq!((state(&lab, "hub", "office"), state(&lab, "office", "press")), ("online".into(), "offline".into()));
}

#[test]
fn a_broker_that_is_stopped_has_left_for_those_who_called_it_home() {
    let mut lab = Lab::new(WORKSHOP, 3);
    lab.seconds(5);
    lab.stop("hub");
    lab.seconds(2);
    for at in ["spare", "press", "office"] {
        assert_eq!(state(&lab, at, "hub"), "left", "at {at}");
    }
    assert_eq!(told(&lab, "office", "$hobnail/nodes/press")["home"], "spare");
}

#[test]
fn the_moment_of_a_change_stays_while_nothing_changes() {
    let mut lab = Lab::new(WORKSHOP, 4);
    lab.seconds(5);
    let since = |lab: &Lab| told(lab, "office", "$hobnail/nodes/press")["since_ms"].as_u64().unwrap();
    let first = since(&lab);
    let uptime = told(&lab, "office", "$hobnail/nodes/press")["uptime_s"].as_u64().unwrap();
    lab.seconds(130);
    assert_eq!(since(&lab), first);
    let later = told(&lab, "office", "$hobnail/nodes/press")["uptime_s"].as_u64().unwrap();
    assert!(later >= uptime + 60, "{later}: it is told again now and then");
    lab.kill("press");
    lab.seconds(2);
    assert!(since(&lab) > first + 100_000);
    assert_eq!(told(&lab, "office", "$hobnail/nodes/press")["uptime_s"], Value::Null);
}

#[test]
fn for_how_long_a_machine_has_run_its_topology_is_told_and_begins_anew_with_another() {
    let mut lab = Lab::new(WORKSHOP, 6);
    let runs = |lab: &Lab, of: &str| {
        let told = told(lab, "office", &format!("$hobnail/nodes/{of}"));
        (told["topology"].as_str().unwrap().to_owned(), told["topology_s"].as_u64().unwrap())
    };
    lab.seconds(130);
    let (before, long) = runs(&lab, "press");
    assert!(long >= 60, "{long}");
    lab.edit("press", &WORKSHOP.replace("every: 200ms", "every: 300ms"));
    lab.seconds(5);
    let (after, short) = runs(&lab, "press");
    assert!(after != before && short <= 5, "{after} for {short} s");
    assert!(runs(&lab, "hub").1 >= 60);
}

#[test]
fn a_promotion_is_told() {
    let mut lab = Lab::new(WORKSHOP, 5);
    lab.seconds(5);
    assert_eq!(told(&lab, "office", "$hobnail/network")["promoted"], Value::Null);
    lab.promote("press", "spare");
    lab.seconds(1);
    assert_eq!(told(&lab, "office", "$hobnail/network")["promoted"], "spare");
    assert_eq!(told(&lab, "office", "$hobnail/nodes/press")["home"], "spare");
}

#[test]
fn what_has_not_changed_is_told_to_nobody() {
    let mut lab = Lab::new(WORKSHOP, 6);
    lab.seconds(65);
    let before = lab.told("office");
    lab.seconds(60);
    let more = lab.told("office") - before;
    assert!((3..=8).contains(&more), "{more} tellings of four machines in a quiet minute");
}

#[test]
fn who_promoted_a_broker_and_lost_its_memory_follows_all_the_same() {
    let mut lab = Lab::new(WORKSHOP, 7);
    lab.seconds(5);
    lab.promote("press", "spare");
    lab.seconds(1);
    lab.wipe("press");
    lab.start("press");
    lab.seconds(3);
    assert_eq!(lab.node("press").home().unwrap().as_str(), "spare");
    assert_eq!(told(&lab, "press", "$hobnail/network")["promoted"], "spare");
}

#[test]
fn a_machine_without_a_clock_is_believed_after_a_restart() {
    let mut lab = Lab::new(WORKSHOP, 8);
    lab.seconds(5);
    lab.want("press", "old");
    lab.seconds(1);
    lab.wipe("press");
    lab.set_wall("press", 0);
    lab.forget_wants("press");
    lab.start("press");
    lab.want("press", "new");
    lab.seconds(5);
    lab.publish("office", "new", "1");
    lab.seconds(1);
    assert_eq!(lab.heard("press"), ["new 1"], "what it wants in this life counts, though its clock stands in 1970");
    let unwanted = lab.node("office").counters().unwanted;
    lab.publish("office", "old", "2");
    assert_eq!(lab.node("office").counters().unwanted, unwanted + 1, "what it wanted in its last life does not");
}
