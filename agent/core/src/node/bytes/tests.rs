//! That what is read back is what was written is also looked at at each start of each machine of the simulator.

use proptest::prelude::*;

use super::*;
use crate::envelope::{BootSalt, ContentType, Key, Keyring, NetworkKey, Sealer, Seed, Stamp};
use crate::keep::tests::Model;
use crate::mqtt::packet::QoS;

const STREAM: StreamId = StreamId { lane: Lane::Disk, sender: SenderId(7), incarnation: 3 };

fn sealed(topic: &str, seq: u64, retain: bool) -> Held {
    let (network, me) = (Name::new("net").unwrap(), Name::new("me").unwrap());
    let keyring = Keyring::new(&network, &Key::Whole(NetworkKey::new(Seed::new([1; 32]))), &[]).unwrap();
    let mut sealer = Sealer::new(&keyring, &me, BootSalt([2; 16])).unwrap();
    let stamp = Stamp {
        qos: QoS::AtLeastOnce,
        retain,
        clear: false,
        lane: STREAM.lane,
        seq,
        incarnation: STREAM.incarnation,
        content_type: ContentType::default(),
        hlc: seq,
    };
    let mut envelope = Vec::new();
    sealer.seal(stamp, topic, b"hello", &mut envelope).unwrap();
    Rc::new(Record { topic: topic.into(), envelope: envelope.into(), expires: retain.then_some(Now(9)), stamp })
}

fn append(seq: u64) -> Write {
    Write::Append { stream: STREAM, seq, record: sealed("a/b", seq, false) }
}

/// One of each kind.
fn all() -> Vec<Write> {
    let said = Said { hlc: Hlc(4), body: b"body".as_slice().into(), heard: Now(5) };
    vec![
        Write::Lives(3),
        Write::GaveUp,
        append(1),
        Write::Skip { stream: STREAM, from: 2, to: 4 },
        append(5),
        Write::Trim { stream: STREAM, upto: 1 },
        Write::Delivered { stream: STREAM, upto: 4 },
        Write::Retained { sender: SenderId(7), record: sealed("gone", 5, true) },
        Write::RetainedGone("gone".into()),
        Write::Retained { sender: SenderId(7), record: sealed("é", 5, true) },
        Write::Fact { owner: Name::new("hub").unwrap(), kind: Kind::Interest, said },
        Write::Clock(Hlc(6)),
        Write::Delivered { stream: StreamId { incarnation: 4, ..STREAM }, upto: 1 },
        Write::Forget(StreamId { incarnation: 4, ..STREAM }),
    ]
}

fn kept(writes: &[Write]) -> Model {
    let mut store = Model::default();
    writes.iter().for_each(|write| write.keep(&mut store, &mut Vec::new()));
    store
}

/// What is believed of a store, and how often it was not.
fn read(store: &Model) -> (Saved, usize) {
    let (mut saved, mut refused) = (Saved::default(), 0);
    for (key, bytes) in &store.keys {
        refused += usize::from(saved.read_key(key, bytes).is_err());
    }
    for (row, things) in &store.rows {
        refused += things.iter().filter(|(number, bytes)| saved.read_row(row, **number, bytes).is_err()).count();
    }
    (saved, refused)
}

#[test]
fn every_kind_of_write_is_read_back_as_it_was() {
    let mut replayed = Saved::default();
    all().into_iter().for_each(|write| replayed.apply(write));
    assert_eq!(read(&kept(&all())), (replayed, 0));
}

#[test]
fn what_follows_a_gap_is_not_believed() {
    let mut store = kept(&[append(1), append(2), append(3)]);
    store.take(&of_stream(b's', STREAM), 2);
    let (saved, refused) = read(&store);
    assert_eq!((saved.last(STREAM), refused), (1, 1));
}

#[test]
fn a_record_under_another_number_or_in_another_stream_is_not_believed() {
    for (stream, number) in [(STREAM, 1), (StreamId { lane: Lane::Urgent, ..STREAM }, 2)] {
        let mut store = Model::default();
        Write::Append { stream, seq: number, record: sealed("a/b", 2, false) }.keep(&mut store, &mut Vec::new());
        assert_eq!(read(&store).1, 1);
    }
}

#[test]
fn as_many_streams_as_a_node_keeps_are_believed() {
    let of = |incarnation| Write::Delivered { stream: StreamId { incarnation, ..STREAM }, upto: 1 };
    let writes: Vec<Write> = (0..=STREAMS_MAX as u32).map(of).collect();
    let (saved, refused) = read(&kept(&writes));
    assert_eq!((saved.copies.len(), refused), (STREAMS_MAX, 1));
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
            value.truncate(cut.index(200));
        }
        for (key, value) in noise {
            store.rows.entry([&[MARK, b's'], &*key].concat()).or_default().insert(u64::from(byte), value.clone());
            store.keys.insert([&[MARK, byte], &*key].concat(), value);
        }
        read(&store);
    }
}
