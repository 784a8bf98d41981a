mod change;
mod keys;
mod lab;
mod limits;
mod lives;
mod pages;
mod peers;
mod ping;
mod presence;
mod retained;
mod sim;
mod slow;
mod spill;

use lab::Lab;

use super::link::Side;

const WORKSHOP: &str = "
version: 1
network: workshop
heartbeat: { every: 200ms, miss: 3 }
failover: { hold_down: 5s }
keys: { active: k1 }
brokers:
  hub: { host: 10.0.0.1, backups: [spare] }
  spare: { host: 10.0.0.2 }
clients:
  press: {}
  office: {}
";

#[test]
fn a_message_goes_from_client_to_client_through_the_hub() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.want("office", "line/#");
    lab.seconds(2);
    let offers: Vec<_> = (0..100).map(|n| lab.publish("press", "line/temp", &format!("{n}"))).collect();
    lab.seconds(1);
    assert_eq!(lab.heard("office"), (0..100).map(|n| format!("line/temp {n}")).collect::<Vec<_>>());
    assert!(offers.iter().all(|offer| lab.is_settled("press", *offer)));
    assert!(lab.heard("press").is_empty() && lab.heard("spare").is_empty());
    assert_eq!(lab.node("press").status(lab.now).bytes, 0, "two brokers have all of it: the origin forgets");
}

#[test]
fn a_disk_that_stops_is_waited_for_within_bounds() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.want("office", "line/#");
    lab.seconds(2);
    lab.stop_disk("press");
    let count = super::UNSTORED_MAX + 100;
    let offers: Vec<_> = (0..count).map(|n| lab.publish("press", "line/temp", &format!("{n}"))).collect();
    lab.seconds(1);
    assert!(lab.heard("office").is_empty() && !offers.iter().any(|offer| lab.is_settled("press", *offer)));
    assert!(lab.node("press").unstored.len() <= super::UNSTORED_MAX);
    lab.mend_disk("press");
    lab.seconds(5);
    assert!(offers.iter().all(|offer| lab.is_settled("press", *offer)));
    assert_eq!(lab.heard("office").len(), count);
}

#[test]
fn a_disk_that_is_far_behind_all_the_while_is_heard_of_all_the_same() {
    let topics = "topics: [{ match: \"line/#\", ack: memory, lane: disk }]\n";
    let mut lab = Lab::new(&format!("{WORKSHOP}{topics}"), 1);
    lab.want("office", "line/#");
    lab.seconds(2);
    lab.stop_disk("press");
    let publish = |lab: &mut Lab, count| (0..count).for_each(|_| _ = lab.publish("press", "line/temp", "21"));
    let behind = super::UNSTORED_MAX / 2 * 3;
    publish(&mut lab, behind);
    // From now on it stores one for each that comes.
    for _ in 0..5 {
        lab.store_some("press", behind / 4);
        publish(&mut lab, behind / 4);
    }
    let node = lab.node("press");
    let stored: u64 = node.copies.values().map(|copy| copy.stream.stored()).sum();
    assert!(node.unstored.len() <= super::UNSTORED_MAX && stored >= behind as u64, "{stored}");
}

#[test]
fn agents_of_neighbouring_versions_live_together_and_no_others() {
    use crate::frame::{Frame, Hello, VERSION, encode};
    for (version, refused) in [(VERSION - 1, 0), (VERSION, 0), (VERSION + 1, 0), (VERSION + 2, 1)] {
        let mut lab = Lab::new(WORKSHOP, 1);
        lab.kill("press");
        let (now, press) = (lab.now, crate::ids::Name::new("press").unwrap());
        let node = lab.node_mut("hub").unwrap();
        let link = node.handle_link_open(&press, Side::Accepted, now);
        let mut said = Vec::new();
        let hello = Hello { version, name: "press", boot: 7, agent: "9.9.9", hlc: crate::hlc::Hlc(1) };
        encode(&Frame::Hello(hello), &mut said);
        node.handle_link_bytes(link, &said, now);
        let is_up = node.by_peer.get(&press) == Some(&link);
        assert_eq!((node.counters().versions_refused, is_up), (refused, refused == 0), "version {version}");
    }
}

#[test]
fn what_nobody_wants_stays_where_it_is() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.want("office", "line/#");
    lab.seconds(2);
    let offer = lab.publish("press", "other", "x");
    assert!(lab.is_settled("press", offer));
    assert_eq!(lab.node("press").counters().unwanted, 1);
}

#[test]
fn an_answer_finds_whoever_subscribed_to_it_just_before_asking() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.want("press", "rpc/#");
    lab.seconds(2);
    for number in 1..=20 {
        let to = format!("reply/{number}");
        lab.want("office", &to);
        lab.publish_asking("office", "rpc/press/add", &to);
        while lab.heard("press").len() < number {
            lab.millis(1);
        }
        lab.publish("press", &to, "3");
        lab.seconds(1);
        assert_eq!(lab.heard("office").len(), number, "the answer is there");
    }
}

#[test]
fn a_dead_hub_is_a_non_event() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.want("office", "line/#");
    lab.seconds(2);
    for n in 0..50 {
        lab.publish("press", "line/temp", &format!("{n}"));
        lab.millis(10);
        if n == 20 {
            lab.kill("hub");
        }
        if n == 40 {
            lab.start("hub");
        }
    }
    lab.seconds(20);
    assert_eq!(lab.heard("office"), (0..50).map(|n| format!("line/temp {n}")).collect::<Vec<_>>());
    assert_eq!(lab.node("office").status(lab.now).home.unwrap().as_str(), "hub");
}

#[test]
fn both_sides_of_a_partition_work_and_then_everybody_has_everything_once() {
    let mut lab = Lab::new(WORKSHOP, 3);
    for name in ["office", "press"] {
        lab.want(name, "#");
    }
    lab.seconds(3);
    lab.cut(&["hub", "press"], &["spare", "office"]);
    lab.seconds(3);
    for n in 0..20 {
        lab.publish("press", "a", &format!("{n}"));
        lab.publish("office", "b", &format!("{n}"));
        lab.publish("hub", "c", &format!("{n}"));
        lab.millis(50);
    }
    assert_eq!(lab.heard("press").len(), 20, "its own side goes on");
    lab.heal();
    lab.seconds(10);
    let sorted = |name: &str| {
        let mut heard = lab.heard(name);
        heard.sort();
        heard
    };
    let all = |topics: [&str; 2]| {
        let mut all: Vec<String> = topics.iter().flat_map(|t| (0..20).map(move |n| format!("{t} {n}"))).collect();
        all.sort();
        all
    };
    assert_eq!(sorted("press"), all(["b", "c"]));
    assert_eq!(sorted("office"), all(["a", "c"]));
}

#[test]
fn retained_messages_are_everywhere_and_the_newest_wins() {
    let mut lab = Lab::new(WORKSHOP, 4);
    lab.seconds(3);
    lab.retain("press", "state", "old");
    lab.cut(&["hub", "press"], &["spare", "office"]);
    lab.seconds(2);
    lab.retain("press", "state", "press");
    lab.millis(100);
    lab.retain("office", "state", "office");
    lab.retain("press", "gone", "x");
    lab.heal();
    lab.seconds(5);
    lab.retain("office", "gone", "");
    lab.seconds(5);
    for name in ["hub", "spare", "press", "office"] {
        assert_eq!(lab.retained(name, "state").as_deref(), Some("office"), "{name}");
        assert_eq!(lab.retained(name, "gone"), None, "{name}");
        let ranks = |name: &str| lab.node(name).retained.ranks().map(|(t, r)| (t.to_owned(), r)).collect::<Vec<_>>();
        assert_eq!(ranks(name), ranks("hub"), "{name}");
    }
    lab.kill("hub");
    lab.start("hub");
    lab.seconds(5);
    assert_eq!(lab.retained("hub", "state").as_deref(), Some("office"), "a broker that comes anew is told");
}

#[test]
fn retained_messages_of_others_end_at_a_limit_in_bytes_and_nothing_older_comes_back_for_it() {
    const ALL: [&str; 4] = ["hub", "spare", "press", "office"];
    let mut lab = Lab::new(&format!("{WORKSHOP}limits: {{ retained_bytes: 64KiB }}\n"), 7);
    lab.seconds(3);
    let retain = |lab: &mut Lab, topic: &str, bytes: usize| {
        lab.retain("press", topic, &"x".repeat(bytes));
        lab.seconds(1);
    };
    (0..10).for_each(|number| retain(&mut lab, &format!("t/{number}"), 20_000));
    let kept = |lab: &Lab, name: &str| {
        let node = lab.node(name);
        let refused = node.counters().retained_refused;
        (node.retained.topics().map(ToOwned::to_owned).collect::<Vec<_>>(), refused)
    };
    let three = ["t/0", "t/1", "t/2"].map(str::to_owned).to_vec();
    ALL.iter().for_each(|name| assert_eq!(kept(&lab, name), (three.clone(), 7), "{name}"));
    retain(&mut lab, "t/1", 70_000);
    retain(&mut lab, "t/4", 20_000);
    retain(&mut lab, "t/2", 0);
    retain(&mut lab, "t/5", 20_000);
    let four = ["t/0", "t/1", "t/2", "t/4"].map(str::to_owned).to_vec();
    ALL.iter().for_each(|name| assert_eq!(kept(&lab, name), ([&four[..], &["t/5".into()]].concat(), 8), "{name}"));
    for name in ["hub", "press"] {
        assert!((40_000..64 << 10).contains(&lab.node("hub").retained.bytes()));
        lab.kill(name);
        lab.start(name);
        lab.seconds(5);
        let (topics, refused) = kept(&lab, name);
        assert_eq!((topics.iter().filter(|topic| *topic != "t/1").count(), refused), (4, 0), "{name}: {topics:?}");
        assert_eq!(lab.retained(name, "t/0").map(|payload| payload.len()), Some(20_000), "{name}");
        assert_eq!(lab.retained(name, "t/1"), None, "{name}: neither the one before nor one that there is no room for");
    }
}

#[test]
fn a_client_that_reaches_only_the_spare_reaches_everybody() {
    let mut lab = Lab::new(WORKSHOP, 5);
    lab.want("office", "#");
    lab.want("press", "#");
    lab.block("press", "hub");
    lab.seconds(3);
    lab.publish("press", "a", "1");
    lab.publish("office", "b", "2");
    lab.seconds(1);
    assert_eq!(lab.heard("office"), ["a 1"]);
    assert_eq!(lab.heard("press"), ["b 2"]);
}

#[test]
fn presence_is_seen_from_everywhere() {
    use super::Standing;
    let mut lab = Lab::new(WORKSHOP, 6);
    lab.seconds(3);
    let standing = |lab: &Lab, at: &str, of: &str| lab.node(at).standing(&crate::ids::Name::new(of).unwrap(), lab.now);
    for (at, of) in [("press", "office"), ("office", "spare"), ("hub", "press"), ("spare", "press")] {
        assert_eq!(standing(&lab, at, of), Standing::Online, "{of} seen from {at}");
    }
    lab.kill("press");
    lab.seconds(2);
    for at in ["office", "hub", "spare"] {
        assert_eq!(standing(&lab, at, "press"), Standing::Offline, "seen from {at}");
    }
}

#[test]
fn promoting_a_broker_moves_everybody_and_loses_nothing() {
    let mut lab = Lab::new(WORKSHOP, 7);
    lab.want("office", "#");
    lab.seconds(3);
    for n in 0..100 {
        lab.publish("press", "a", &format!("{n}"));
        lab.millis(5);
        if n == 50 {
            lab.promote("press", "spare");
        }
    }
    lab.seconds(2);
    assert_eq!(lab.heard("office"), (0..100).map(|n| format!("a {n}")).collect::<Vec<_>>());
    for name in ["press", "office"] {
        assert_eq!(lab.node(name).status(lab.now).home.unwrap().as_str(), "spare");
    }
}

#[test]
fn who_has_a_message_is_not_sent_it_again_by_another_broker() {
    let mut lab = Lab::new(WORKSHOP, 1);
    ["office", "press"].iter().for_each(|name| lab.want(name, "line/#"));
    lab.seconds(2);
    lab.kill("press");
    for number in 0..100 {
        lab.publish("spare", "line/a", &number.to_string());
    }
    lab.seconds(2);
    // Both brokers keep them all for press.
    let before = lab.node("spare").counters().records_sent;
    lab.kill("hub");
    lab.seconds(5);
    lab.publish("spare", "line/a", "100");
    lab.seconds(2);
    assert_eq!((lab.heard("office").len(), lab.node("spare").counters().records_sent - before), (101, 1));
}
