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
