use proptest::prelude::*;

use super::*;
use crate::envelope::{ContentType, Stamp};
use crate::mqtt::packet::QoS;
use crate::topology::model::Lane;

fn record(topic: u8, hlc: u64, clear: bool, expires: Option<u64>) -> Held {
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
    Held::new(crate::stream::Record { topic, envelope: Box::from(*b"sealed"), expires: expires.map(Now), stamp })
}

#[derive(Clone, Debug)]
enum Op {
    Put { rank: Rank, record: Held, here: bool },
    PutRank { rank: Rank, record: Held },
    ForgetRecords,
    ForgetAClearing,
    ForgetAnExpired(u64),
}

fn op() -> impl Strategy<Value = Op> {
    // Few ranks and ends, so that some are the same.
    let record =
        (0u8..8, 0u64..6, any::<bool>(), prop::option::of(0u64..6)).prop_map(|(topic, hlc, clear, expires)| {
            (Rank { hlc, sender: SenderId(0) }, record(topic, hlc, clear, expires))
        });
    prop_oneof![
        12 => (record.clone(), prop::bool::weighted(0.8))
            .prop_map(|((rank, record), here)| Op::Put { rank, record, here }),
        2 => record.prop_map(|(rank, record)| Op::PutRank { rank, record }),
        1 => Just(Op::ForgetRecords),
        4 => Just(Op::ForgetAClearing),
        4 => (0u64..6).prop_map(Op::ForgetAnExpired),
    ]
}

proptest! {
    #[test]
    fn what_may_go_is_known_in_its_order(ops in prop::collection::vec(op(), 1..80)) {
        let mut retained = Retained::default();
        for op in ops {
            match op {
                Op::Put { rank, record, here } => retained.put(rank, &record, here),
                Op::PutRank { rank, record } => retained.put_rank(rank, &record),
                Op::ForgetRecords => retained.forget_records(),
                Op::ForgetAClearing => {
                    let all = retained.topics.iter().filter(|(_, known)| known.clears);
                    let oldest = all.min_by_key(|(topic, known)| (known.rank, *topic)).map(|(topic, _)| topic.clone());
                    prop_assert_eq!(retained.remove_oldest_clearing(), oldest);
                }
                Op::ForgetAnExpired(now) => {
                    let all = retained.topics.iter().filter(|(_, known)| known.expires.is_some_and(|at| at <= Now(now)));
                    let first = all.min_by_key(|(topic, known)| (known.expires, *topic)).map(|(topic, _)| topic.clone());
                    prop_assert_eq!(retained.remove_expired(Now(now)), first);
                }
            }
            let clearings = retained.topics.iter().filter(|(_, known)| known.clears);
            let clearings = clearings.map(|(topic, known)| (known.rank, topic.clone())).collect();
            prop_assert_eq!(&retained.clearings, &clearings);
            let ends = retained.topics.iter().filter_map(|(topic, known)| Some((known.expires?, topic.clone()))).collect();
            prop_assert_eq!(&retained.ends, &ends);
            prop_assert_eq!(retained.bytes, retained.topics.values().map(Known::bytes).sum::<u64>());
            prop_assert_eq!(retained.kept_bytes, retained.topics.values().map(|known| known.kept_bytes).sum::<u64>());
        }
    }
}
