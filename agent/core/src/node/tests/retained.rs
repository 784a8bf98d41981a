//! Retained messages that expire, that are cleared, and that are sent once.

use super::{Lab, WORKSHOP};

const ALL: [&str; 4] = ["hub", "spare", "press", "office"];

#[test]
fn one_that_has_expired_ends_what_its_topic_had_before_wherever_it_comes_late() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.want("office", "state");
    lab.seconds(3);
    lab.retain("press", "state", "old");
    lab.seconds(1);
    lab.kill("office");
    lab.cut(&["spare"], &["hub", "press"]);
    lab.retain_for("press", "state", "new", 5);
    lab.seconds(60);
    lab.heal();
    lab.start("office");
    lab.seconds(5);
    assert_eq!(lab.heard("office"), ["state old"], "nobody hears what is over");
    for name in ["spare", "office"] {
        assert_eq!(lab.retained(name, "state"), None, "{name}");
    }
}

#[test]
fn where_there_are_as_many_as_may_be_those_that_are_cleared_or_have_expired_go() {
    let mut lab = Lab::new(&format!("{WORKSHOP}limits: {{ retained: 5 }}\n"), 1);
    lab.seconds(3);
    for round in 0..4 {
        for number in 0..5 {
            let topic = format!("t/{round}/{number}");
            match round {
                0 | 1 => lab.retain("press", &topic, "21"),
                _ => lab.retain_for("press", &topic, "21", 2),
            };
            lab.seconds(1);
            for name in ALL {
                assert_eq!(lab.retained(name, &topic).as_deref(), Some("21"), "{name}: {topic}");
            }
        }
        for number in 0..5 {
            if round < 2 {
                lab.retain("press", &format!("t/{round}/{number}"), "");
            }
        }
        lab.seconds(5);
    }
    for name in ALL {
        assert_eq!(lab.node(name).counters().retained_refused, 0, "{name}");
        assert!(lab.node(name).retained.len() <= 5, "{name}");
    }
}

#[test]
fn what_is_retained_is_not_sent_again_for_messages_that_a_machine_does_not_want() {
    // Beats that do not fall together with what is done every two seconds.
    let with_dock = format!("{WORKSHOP}  dock: {{}}\n").replace("every: 200ms", "every: 310ms");
    let mut lab = Lab::new(&with_dock, 1);
    lab.want("office", "line/#");
    lab.seconds(3);
    lab.retain("press", "state", "on");
    lab.seconds(40);
    let sent = |lab: &Lab| ["hub", "spare"].map(|name| lab.node(name).counters().retained_sent);
    let before = sent(&lab);
    for number in 0..500 {
        lab.publish("press", "line/a", &number.to_string());
        lab.millis(101);
    }
    assert_eq!(lab.heard("office").iter().filter(|heard| heard.starts_with("line/a")).count(), 500);
    assert_eq!(sent(&lab), before);
}
