use proptest::prelude::*;

use super::*;
use crate::envelope::ContentType;
use crate::mqtt::packet::QoS;

fn record(text: &str) -> Rc<Record> {
    Rc::new(Record {
        topic: "t".into(),
        envelope: text.as_bytes().into(),
        expires: None,
        stamp: Stamp {
            qos: QoS::AtLeastOnce,
            retain: false,
            clear: false,
            lane: Lane::Disk,
            seq: 1,
            incarnation: 0,
            content_type: ContentType(0),
            hlc: 0,
        },
    })
}

#[test]
fn a_gap_is_refused_and_the_answer_says_where_the_copy_goes_on() {
    let mut copy = Stream::default();
    assert_eq!(copy.append(2, record("b")), Err(Need { from: 1 }));
    assert_eq!(copy.append(1, record("a")), Ok(Added::New));
    assert_eq!(copy.append(1, record("x")), Ok(Added::Known));
    assert_eq!(copy.skip(3, 9), Err(Need { from: 2 }));
    assert_eq!(copy.skip(2, 9), Ok(Added::New));
    assert_eq!(copy.append(10, record("c")), Ok(Added::New));
    assert_eq!(copy.after(0).map(|(seq, _)| seq), Some(1));
    assert_eq!(copy.after(1).map(|(seq, _)| seq), Some(10));
    assert!(copy.after(10).is_none());
}

#[test]
fn a_skip_that_begins_in_what_is_known_covers_the_rest() {
    let mut copy = Stream::default();
    copy.append(1, record("a")).unwrap();
    copy.append(2, record("b")).unwrap();
    assert_eq!(copy.skip(1, 5), Ok(Added::New));
    assert_eq!((copy.last(), copy.len()), (5, 2), "what was there stays");
    assert_eq!(copy.skip(1, 5), Ok(Added::Known));
}

#[test]
fn what_is_not_here_cannot_be_stored_or_trimmed() {
    let mut copy = Stream::default();
    copy.append(1, record("a")).unwrap();
    copy.mark_stored(7);
    assert_eq!(copy.stored(), 1);
    copy.trim(7);
    assert_eq!((copy.trimmed(), copy.last(), copy.bytes()), (1, 1, 0));
    assert_eq!(copy.append(2, record("b")), Ok(Added::New));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Send the copy the next `.0` numbers from where it says it is, or from one of the wrong places.
    Send(u8, i8),
    Trim(u8),
    Drop,
    /// So many reach the disk, of which so many are left to it.
    Spill(u8, u8),
    /// It cannot be read any more.
    Lose(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1..6u8, -2..3i8).prop_map(|(count, off)| Step::Send(count, off)),
        (0..40u8).prop_map(Step::Trim),
        Just(Step::Drop),
        (0..40u8, 0..5u8).prop_map(|(stored, count)| Step::Spill(stored, count)),
        (0..40u8).prop_map(Step::Lose),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// Whatever is sent to it in whatever order: every third number of the origin is a skip, and each message that the
    /// copy holds is the origin's own.
    #[test]
    fn every_copy_is_a_prefix_of_the_origin(steps in steps()) {
        let (mut copy, mut lost) = (Stream::default(), Vec::new());
        for step in steps {
            match step {
                Step::Send(count, off) => {
                    let from = copy.last().saturating_add(1).saturating_add_signed(i64::from(off)).max(1);
                    for seq in from..from + u64::from(count) {
                        let answer = if seq % 3 == 0 { copy.skip(seq, seq) } else { copy.append(seq, record(&seq.to_string())) };
                        if let Err(need) = answer {
                            prop_assert_eq!(need.from, copy.last() + 1);
                        }
                    }
                }
                Step::Trim(upto) => { copy.trim(u64::from(upto)); }
                Step::Drop => { copy.pop_oldest(); }
                Step::Spill(stored, mut count) => {
                    copy.mark_stored(u64::from(stored));
                    while count > 0 && copy.spill_oldest() {
                        count -= 1;
                    }
                }
                Step::Lose(seq) => {
                    if copy.lose(u64::from(seq)) {
                        lost.push(u64::from(seq));
                    }
                }
            }
            let (mut cursor, mut bytes, mut here, mut away) = (copy.trimmed(), 0, 0, Vec::new());
            while let Some((seq, found)) = copy.after(cursor) {
                prop_assert!(seq > cursor && seq <= copy.last() && seq % 3 != 0);
                let whole = record(&seq.to_string());
                match found {
                    Body::Here(found) => {
                        prop_assert_eq!(&found, &whole);
                        here += whole.size();
                    }
                    Body::Away(gist) => {
                        prop_assert_eq!((&*gist.topic, gist.retain), ("t", false));
                        prop_assert!(here == 0 && seq <= copy.stored(), "what is away is stored, and the oldest");
                        away.push(seq);
                    }
                }
                for missing in cursor + 1..seq {
                    prop_assert!(missing % 3 == 0 || lost.contains(&missing), "only a skip leaves a hole");
                }
                bytes += whole.size();
                cursor = seq;
            }
            let gists = if away.is_empty() { 0 } else { GIST_BYTES };
            let memory = here + away.len() as u64 * AWAY_BYTES + gists;
            prop_assert_eq!(copy.weight(), Weight { bytes, here, memory });
            prop_assert_eq!(copy.last_away(), away.last().copied().unwrap_or(0));
            prop_assert!(copy.away_in(2, 9).eq(away.into_iter().filter(|seq| (2..=9).contains(seq))));
        }
    }
}
