use proptest::prelude::*;

use super::*;
use crate::envelope::{ContentType, Stamp};
use crate::mqtt::packet::QoS;
use crate::topology::model::Lane;

fn record(topic: u8, hlc: u64, clear: bool) -> Held {
    let stamp = Stamp {
        qos: QoS::AtLeastOnce,
        retain: true,
        clear,
        lane: Lane::Disk,
        seq: 1,
        incarnation: 0,
        content_type: ContentType(0),
        hlc,
    };
    let topic = format!("t/{topic}").into();
    Held::new(crate::stream::Record { topic, envelope: Box::from(*b"sealed"), expires: None, stamp })
}

#[derive(Clone, Debug)]
enum Op {
    Put { topic: u8, hlc: u64, clear: bool, here: bool },
    PutRank { topic: u8, hlc: u64 },
    ForgetRecords,
    ForgetAClearing,
}

fn op() -> impl Strategy<Value = Op> {
    // Few ranks, so that some are the same.
    let (topic, hlc) = (0u8..8, 0u64..6);
    prop_oneof![
        12 => (topic.clone(), hlc.clone(), any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(topic, hlc, clear, here)| Op::Put { topic, hlc, clear, here }),
        2 => (topic, hlc).prop_map(|(topic, hlc)| Op::PutRank { topic, hlc }),
        1 => Just(Op::ForgetRecords),
        4 => Just(Op::ForgetAClearing),
    ]
}

proptest! {
    #[test]
    fn the_clearings_are_those_of_the_topics_and_the_oldest_goes_first(ops in prop::collection::vec(op(), 1..80)) {
        let mut retained = Retained::default();
        for op in ops {
            match op {
                Op::Put { topic, hlc, clear, here } => {
                    retained.put(Rank { hlc, sender: SenderId(0) }, &record(topic, hlc, clear), here);
                }
                Op::PutRank { topic, hlc } => retained.put_rank(&format!("t/{topic}"), Rank { hlc, sender: SenderId(0) }),
                Op::ForgetRecords => retained.forget_records(),
                Op::ForgetAClearing => {
                    let all = retained.topics.iter().filter(|(_, known)| known.is_clearing());
                    let oldest = all.min_by_key(|(_, known)| known.rank).map(|(topic, _)| topic.clone());
                    prop_assert_eq!(retained.remove_oldest_clearing(), oldest);
                }
            }
            let clearings = retained.topics.iter().filter(|(_, known)| known.is_clearing());
            let clearings = clearings.map(|(topic, known)| (known.rank, topic.clone())).collect();
            prop_assert_eq!(&retained.clearings, &clearings);
            prop_assert_eq!(retained.bytes, retained.topics.values().map(Known::bytes).sum::<u64>());
            prop_assert_eq!(retained.kept_bytes, retained.topics.values().map(|known| known.kept_bytes).sum::<u64>());
        }
    }
}
