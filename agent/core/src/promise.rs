//! What a topic's rule makes of a publish: the lane it goes by, and what has to have happened before it is acknowledged.

use std::time::Duration;

use crate::mqtt::packet::QoS;
use crate::time::Now;
use crate::topology::model::{Ack, Lane, TopicRule};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    pub ack: Ack,
    pub lane: Lane,
}

/// The first rule that matches counts. Without one, what asks for an acknowledgement is kept on disk. What is to be on a
/// disk before it is acknowledged goes by a lane that is kept, and so does what is retained.
#[must_use]
pub fn promise(rules: &[TopicRule], topic: &str, qos: QoS, retain: bool) -> Promise {
    let rule = rules.iter().find(|rule| rule.filter.matches(topic));
    let (ack, lane) = match (rule, qos) {
        (Some(rule), _) => (rule.ack, rule.lane),
        (None, QoS::AtMostOnce) => (Ack::Memory, Lane::Memory),
        (None, QoS::AtLeastOnce | QoS::ExactlyOnce) => (Ack::Disk, Lane::Disk),
    };
    let ack = if qos == QoS::AtMostOnce { Ack::Memory } else { ack };
    let least = if ack > Ack::Memory || retain { Lane::Disk } else { Lane::Memory };
    Promise { ack, lane: lane.max(least) }
}

/// When a message is nobody's any more: at the end that its publisher gave it, or its topic, whichever comes first.
#[must_use]
pub fn end(rules: &[TopicRule], topic: &str, given: Option<Duration>, now: Now) -> Option<Now> {
    let rule = rules.iter().find(|rule| rule.filter.matches(topic));
    let by_rule = rule.and_then(|rule| rule.max_age);
    given.into_iter().chain(by_rule).min().map(|age| now.after(age))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Filter;

    #[test]
    fn a_table_of_promises() {
        let rule = |filter, ack, lane| TopicRule { filter: Filter::new(filter).unwrap(), ack, lane, max_age: None };
        let rules = [
            rule("alarm/#", Ack::Replicated, Lane::Urgent),
            rule("raw/#", Ack::Memory, Lane::Memory),
            rule("odd", Ack::Disk, Lane::Memory),
        ];
        let table = [
            ("alarm/a", QoS::AtLeastOnce, false, Ack::Replicated, Lane::Urgent),
            ("alarm/a", QoS::AtMostOnce, false, Ack::Memory, Lane::Urgent),
            ("raw/a", QoS::AtLeastOnce, false, Ack::Memory, Lane::Memory),
            ("raw/a", QoS::AtLeastOnce, true, Ack::Memory, Lane::Disk),
            ("odd", QoS::ExactlyOnce, false, Ack::Disk, Lane::Disk),
            ("other", QoS::AtLeastOnce, false, Ack::Disk, Lane::Disk),
            ("other", QoS::AtMostOnce, false, Ack::Memory, Lane::Memory),
            ("other", QoS::AtMostOnce, true, Ack::Memory, Lane::Disk),
        ];
        for (topic, qos, retain, ack, lane) in table {
            assert_eq!(promise(&rules, topic, qos, retain), Promise { ack, lane }, "{topic} {qos:?} {retain}");
        }
    }

    #[test]
    fn the_nearer_end_counts() {
        let seconds = Duration::from_secs;
        let aged = |filter, age| {
            let filter = Filter::new(filter).unwrap();
            TopicRule { filter, ack: Ack::Disk, lane: Lane::Disk, max_age: Some(seconds(age)) }
        };
        let rules = [aged("old/#", 9), aged("#", 5)];
        let table = [
            ("old/a", None, Some(9)),
            ("old/a", Some(7), Some(7)),
            ("old/a", Some(10), Some(9)),
            ("new", None, Some(5)),
        ];
        for (topic, given, wanted) in table {
            let wanted = wanted.map(|at| Now(100).after(seconds(at)));
            assert_eq!(end(&rules, topic, given.map(seconds), Now(100)), wanted, "{topic} {given:?}");
        }
        assert_eq!(end(&[], "new", None, Now(100)), None);
    }
}
