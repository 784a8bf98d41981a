use proptest::prelude::*;

use super::*;
use crate::keep::tests::Model;
use crate::mqtt::props::{Prop, PropsBuf, RESPONSE_TOPIC};

fn message(topic: &str) -> Shared {
    let mut props = PropsBuf::default();
    props.push(Prop::Text(RESPONSE_TOPIC, "answers"));
    props.push(Prop::Pair("key", "value"));
    Message::uncounted(Content {
        topic: topic.into(),
        payload: b"payload".as_slice().into(),
        props: props.as_props().as_bytes().into(),
        qos: QoS::ExactlyOnce,
        retain: true,
        expires: Some(Now(77)),
    })
}

fn standing(will: Option<Will>) -> Standing {
    Standing { client_id: "dev\0ice".into(), expiry: Duration::from_secs(60), left: Some(Now(5)), will }
}

fn waiting(message: u64) -> Waiting {
    Waiting {
        message,
        qos: QoS::AtLeastOnce,
        retain: false,
        group: GroupMark::of("$share/g/a/#"),
        ahead: true,
        turn: 9,
        ids: [1, 268_435_455].into(),
    }
}

/// One of each kind.
fn all() -> Vec<Write> {
    let options = SubscribeOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: false,
        retain_handling: RetainHandling::Never,
    };
    let id = |id| PacketId(NonZeroU16::new(id).unwrap());
    let will = Will { message: message("will"), delay_s: 3, expiry_s: Some(4) };
    let dead = Dead { client_id: "c".into(), message: message("d"), qos: QoS::AtLeastOnce, times: 20, refused: None };
    let refused = Dead { refused: Some(Reason(0x97)), ..dead.clone() };
    vec![
        Write::Numbers(100),
        Write::Session { session: 1, standing: standing(Some(will)) },
        Write::Session { session: 2, standing: standing(None) },
        Write::Subscribed {
            session: 1,
            filter: "$share/g/a/#".into(),
            granted: Granted { options, id: None, group: GroupMark::of("$share/g/a/#") },
        },
        Write::Subscribed { session: 1, filter: "b".into(), granted: Granted { options, id: Some(7), group: None } },
        Write::Unsubscribed { session: 1, filter: "b".into() },
        Write::Message { number: 3, message: message("a/b") },
        Write::Message { number: 4, message: message("é") },
        Write::Queued { session: 1, number: 5, waiting: waiting(3) },
        Write::Queued { session: 1, number: 6, waiting: waiting(4) },
        Write::Taken { session: 1, number: 5 },
        Write::Failed { session: 1, number: 5, times: 3 },
        Write::Failed { session: 1, number: 6, times: 1 },
        Write::Done { session: 1, number: 6, noted: true },
        Write::MessageGone(4),
        Write::Received { session: 1, id: id(1) },
        Write::Received { session: 1, id: id(65_535) },
        Write::Released { session: 1, id: id(1) },
        Write::Queued { session: 2, number: 7, waiting: waiting(3) },
        Write::SessionGone(2),
        Write::Retained(message("r")),
        Write::Retained(message("gone")),
        Write::RetainedGone("gone".into()),
        Write::Dead { number: 8, dead },
        Write::Dead { number: 9, dead: refused.clone() },
        Write::Dead { number: 10, dead: refused },
        Write::DeadGone(9),
    ]
}

fn kept(writes: &[Write]) -> Model {
    let mut store = Model::default();
    writes.iter().for_each(|write| write.keep(&mut store, &mut Vec::new()));
    store
}

/// What is believed of a store, and how often it was not.
fn read(store: &Model) -> (Saved, usize) {
    let (mut reading, mut refused) = (Reading::default(), 0);
    for (key, bytes) in &store.keys {
        refused += usize::from(reading.key(key, bytes).is_err());
    }
    for (row, things) in &store.rows {
        refused += things.iter().filter(|(number, bytes)| reading.row(row, **number, bytes).is_err()).count();
    }
    (reading.finish(), refused)
}

#[test]
fn every_kind_of_write_is_read_back_as_it_was() {
    for end in 0..=all().len() {
        let writes = &all()[..end];
        let mut replayed = Saved::default();
        writes.iter().cloned().for_each(|write| replayed.apply(write));
        assert_eq!(read(&kept(writes)), (replayed, 0), "after {:?}", writes.last());
    }
}

#[test]
fn of_what_waits_since_before_groups_were_named_only_the_group_is_not_known() {
    let mut store = kept(&[Write::Queued { session: 1, number: 5, waiting: waiting(3) }]);
    let row = store.rows.get_mut(&of(b'q', 1)[..]).unwrap();
    let named = row.remove(&5).unwrap();
    let flags_of_then = [named[8] & !(8 << 2) | 2 << 2];
    row.insert(5, [&named[..8], &flags_of_then, &named[9..17], &named[21..]].concat());
    let (saved, refused) = read(&store);
    let queued = &saved.sessions[&1].queue[&5].waiting;
    assert_eq!((queued, refused), (&Waiting { group: None, ..waiting(3) }, 0));
}

#[test]
fn a_message_that_waits_for_nobody_any_more_leaves_nothing() {
    let (whole, done) = (kept(&all()), Write::Done { session: 1, number: 5, noted: true });
    let mut store = whole.clone();
    done.keep(&mut store, &mut Vec::new());
    let of_it = |store: &Model| store.keys.keys().filter(|key| matches!(key.get(1), Some(b't' | b'x'))).count();
    assert_eq!((of_it(&whole), of_it(&store)), (2, 0));
}

#[test]
fn numbers_without_an_end_are_not_believed_and_what_was_given_is_not_given_again() {
    let mut store = kept(&all());
    let known = read(&store).0.numbers_beyond();
    store.keys.insert(vec![MARK, b'n'], u64::MAX.to_be_bytes().into());
    let (saved, refused) = read(&store);
    assert_eq!((saved.numbers, refused), (0, 1));
    let last = store.rows.values().filter_map(|row| row.keys().next_back()).max().unwrap();
    assert!((last + 1..=known).contains(&saved.numbers_beyond()));
}

proptest! {
    #[test]
    fn a_disk_that_holds_anything_is_read_without_a_panic(
        at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>(), noise: Vec<(Vec<u8>, Vec<u8>)>,
    ) {
        let mut store = kept(&all());
        for value in store.keys.values_mut().chain(store.rows.values_mut().flat_map(|row| row.values_mut())) {
            if let Some(here) = value.get_mut(at.index(32)) {
                *here = byte;
            }
            value.truncate(cut.index(120));
        }
        for (key, value) in noise {
            store.rows.entry([&[MARK, byte], &*key].concat()).or_default().insert(u64::from(byte), value.clone());
            store.keys.insert([&[MARK, byte], &*key].concat(), value);
        }
        read(&store);
    }
}
