//! A disk that fails: at every call in turn, once or for a while.

use rustix::io::Errno;

use super::super::*;
use super::disk::{Disk, Fate, Fault, Mounted, Rng};
use super::power_cuts::{Work, sizes};

const STEP: Duration = Duration::from_millis(100);
/// A cured disk is in use again by then.
const HEALED_MAX: Duration = Duration::from_secs(5);
/// Batches of one life.
const BATCHES: usize = 60;

/// Work on a disk that fails so. Says how many calls it had in this time, where it could be used at all.
fn work_through(fault: Fault) -> Option<usize> {
    let context = format!("{fault:?}");
    let (mut work, mut rng) = (Work::new(7), Rng(7));
    let (disk, sizes) = (Disk::empty(), sizes(&mut rng));
    disk.set_fault(Some(fault));
    let mut open = begin(Arc::new(Mounted(disk.clone())), Ok(()), sizes, Duration::ZERO);
    work.check(&mut open.recovered, 0).unwrap();
    let Some(mut engine) = open.engine else {
        // Nothing is known of what lies there, so nothing is written over it.
        assert!(matches!(open.standing.borrow().health, Health::Unusable { .. }), "{context}");
        assert_eq!(fault.from, 0, "{context}");
        return None;
    };
    let mut now = Duration::ZERO;
    for _ in 0..BATCHES {
        let (batch, ticket) = work.batch();
        engine.take(batch.as_bytes(), ticket);
        batch.clear();
        now += STEP;
        engine.step(now);
        let stored = open.standing.borrow().stored.0;
        if !rng.one_in(8) {
            continue;
        }
        let seed = rng.next();
        for fate in [Fate::Nothing, Fate::All, Fate::Any(seed)] {
            let mut open = begin(Arc::new(Mounted(disk.cut(disk.len(), fate))), Ok(()), sizes, Duration::ZERO);
            work.check(&mut open.recovered, stored).unwrap_or_else(|why| panic!("{context}, {fate:?}: {why}"));
        }
    }
    let calls = disk.calls();
    disk.set_fault(None);
    let cured = now;
    while *open.standing.borrow() != (Standing { stored: Ticket(work.newest()), health: Health::Fine }) {
        now += STEP;
        engine.step(now);
        assert!(now - cured < HEALED_MAX, "{context}: still {:?}", *open.standing.borrow());
    }
    drop(engine);
    let mut again = begin(Arc::new(Mounted(disk)), Ok(()), sizes, Duration::ZERO);
    assert_eq!(work.check(&mut again.recovered, work.newest()), Ok(work.newest()), "{context}");
    Some(calls)
}

/// At every call in turn, so often.
fn everywhere(count: usize, error: Errno, reads_too: bool) {
    let mut from = 0;
    while work_through(Fault { from, count, error, reads_too }).is_none_or(|calls| from < calls) {
        from += 1;
    }
    assert!(from > 100, "only {from} calls failed");
}

#[test]
fn one_error_anywhere_costs_nothing() {
    everywhere(1, Errno::IO, true);
}

#[test]
fn two_errors_running_anywhere_are_survived() {
    everywhere(2, Errno::IO, false);
}

#[test]
fn a_disk_that_fails_from_any_call_on_is_told_and_used_again_once_it_is_cured() {
    for error in [Errno::IO, Errno::NOSPC, Errno::ROFS] {
        everywhere(usize::MAX, error, false);
    }
}
