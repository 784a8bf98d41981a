//! When the engine syncs: what waits together is synced together, and a cap is kept.

use super::super::*;
use super::disk::{Disk, Fate, Mounted};

const SIZES: Sizes = Sizes { segment: 128 << 10, total: 64 << 20, slice: 256 << 10 };

fn open(disk: &Arc<Disk>, every: Duration) -> Begun {
    begin(Arc::new(Mounted(disk.clone())), Ok(()), SIZES, every)
}

fn batch(number: u64) -> Batch {
    let mut batch = Batch::default();
    batch.put(b"row", number, b"bytes");
    batch
}

#[test]
fn all_that_waits_is_one_sync() {
    let disk = Disk::empty();
    let mut engine = open(&disk, Duration::ZERO).engine.unwrap();
    let before = engine.log.counts.syncs;
    (1..=100).for_each(|number| engine.take(batch(number).as_bytes(), Ticket(number)));
    engine.step(Duration::ZERO);
    assert_eq!(engine.log.counts.syncs - before, 1);
}

#[test]
fn a_cap_on_commits_is_kept_and_what_waits_for_one_survives_the_process() {
    let (disk, every) = (Disk::empty(), Duration::from_millis(50));
    let Begun { engine, standing, .. } = open(&disk, every);
    let mut engine = engine.unwrap();
    let before = engine.log.counts.syncs;
    for number in 1..=1_000 {
        engine.take(batch(number).as_bytes(), Ticket(number));
        let now = Duration::from_millis(number);
        let next = engine.step(now);
        let stored = standing.borrow().stored.0;
        assert!(number - stored <= 50, "{stored} stored after {number} ms");
        assert!(stored == number || next.is_some_and(|next| next > now && next <= now + every), "{next:?} at {now:?}");
        if number.is_multiple_of(97) {
            let kept = open(&disk.cut(disk.len(), Fate::All), every).recovered;
            assert_eq!(kept.count() as u64, number, "all is written");
        }
    }
    let syncs = engine.log.counts.syncs - before;
    assert!((19..=21).contains(&syncs), "{syncs} syncs in a second");
}

#[test]
fn a_stop_does_not_wait_for_the_cap() {
    let disk = Disk::empty();
    let Begun { engine, standing, .. } = open(&disk, Duration::from_secs(1_000));
    let mut engine = engine.unwrap();
    engine.take(batch(1).as_bytes(), Ticket(1));
    engine.step(Duration::from_millis(1));
    assert_eq!(standing.borrow().stored, Ticket(0));
    assert!(engine.finish());
    assert_eq!(standing.borrow().stored, Ticket(1));
    assert_eq!(open(&disk.cut(disk.len(), Fate::Nothing), Duration::ZERO).recovered.count(), 1);
}

/// Whoever is refused tries again when the store is heard of, at whatever moment that is.
#[test]
fn who_was_refused_hears_of_it_when_there_is_room() {
    let files = Arc::new(Mounted(Disk::empty()));
    let options = Options { waiting_bytes_max: 100, ..Options::default() };
    let (store, _) = Store::open_on(files, options, "disk").unwrap();
    let mut standing = store.standing();
    let (mut refused, mut number) = (0, 0);
    while refused < 500 {
        number += 1;
        let mut batch = Batch::default();
        batch.put(b"row", number, &[0; 40]);
        while store.submit(&mut batch, Ticket(number)).is_err() {
            refused += 1;
            let end = Instant::now() + Duration::from_secs(10);
            while !standing.has_changed().unwrap() {
                assert!(Instant::now() < end, "batch {number}: not a word");
                thread::yield_now();
            }
            standing.mark_unchanged();
        }
    }
}

#[test]
fn what_cleaning_moves_while_it_is_read_back_is_read_back() {
    let disk = Disk::empty();
    let sizes = Sizes { segment: 16 << 10, total: 64 << 10, slice: 256 << 10 };
    let open = || begin(Arc::new(Mounted(disk.clone())), Ok(()), sizes, Duration::ZERO);
    let mut engine = open().engine.unwrap();
    for (number, key) in (1..).zip(["b", "c"].into_iter().chain(["a"; 40])) {
        let mut batch = Batch::default();
        batch.set(key.as_bytes(), key.as_bytes());
        batch.set(b"filler", &[7; 20_000]);
        engine.take(batch.as_bytes(), Ticket(number));
        // Without a step nothing is cleaned.
        engine.log.commit().unwrap();
    }
    let Begun { engine, mut recovered, .. } = open();
    let mut engine = engine.unwrap();
    let mut next = || match recovered.next() {
        Some(Kept::Key { key, .. }) => String::from_utf8(key.into()).unwrap(),
        other => panic!("{other:?}"),
    };
    engine.step(Duration::from_millis(1));
    assert_eq!([next(), next()], ["a", "b"], "b was moved, and the room behind it is read ahead");
    engine.step(Duration::from_millis(2));
    assert_eq!(next(), "c", "that was moved to there");
    assert_eq!(recovered.unreadable, 0);
}
