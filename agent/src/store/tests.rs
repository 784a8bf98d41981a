//! The store as a whole, on real files.

mod damage;
mod disk;
mod faults;
mod full;
mod pace;
mod power_cuts;

use std::fs;
use std::path::Path;

use super::*;

/// Longest wait for anything.
const WAIT: Duration = Duration::from_secs(10);

fn open(directory: &Path) -> (Store, Vec<Kept>, Vec<Damage>) {
    let (store, mut recovered) = Store::open(directory, Options { bytes_max: 1 << 20, ..Options::default() }).unwrap();
    let kept: Vec<Kept> = recovered.by_ref().collect();
    assert_eq!(recovered.unreadable, 0);
    (store, kept, recovered.damage)
}

fn store(store: &Store, ticket: u64, fill: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::default();
    fill(&mut batch);
    store.submit(&mut batch, Ticket(ticket)).unwrap();
    wait_for(store, |standing| standing.stored >= Ticket(ticket));
}

fn wait_for(store: &Store, is: impl Fn(&Standing) -> bool) {
    let (standing, until) = (store.standing(), Instant::now() + WAIT);
    while !is(&standing.borrow()) {
        assert!(Instant::now() < until, "still {:?}", *standing.borrow());
        thread::sleep(Duration::from_millis(1));
    }
}

fn record(row: &[u8], number: u64, bytes: &[u8]) -> Kept {
    Kept::Record { row: row.into(), number, bytes: bytes.into(), order: Order::Whole }
}

fn key(key: &[u8], bytes: &[u8]) -> Kept {
    Kept::Key { key: key.into(), bytes: bytes.into(), order: Order::Whole }
}

#[test]
fn what_was_stored_is_there_after_a_restart_keys_first_then_rows_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (first, nothing, _) = open(folder.path());
    assert_eq!(nothing, []);
    store(&first, 1, |batch| {
        (1..=5).for_each(|number| batch.put(b"b", number, &[number as u8]));
        batch.put(b"a", 9, b"nine");
        batch.set(b"k", b"old");
        batch.set(b"gone", b"x");
    });
    store(&first, 2, |batch| {
        batch.cut(b"b", 2);
        batch.take(b"b", 4);
        batch.set(b"k", b"new");
        batch.unset(b"gone");
    });
    assert_eq!(first.reader().row(b"b", 3, 3, 9).records, [(3, [3].into())]);
    assert_eq!(first.reader().row(b"b", 4, 4, 9), Stretch { upto: 4, records: Vec::new() });
    assert!(first.close(WAIT));
    for _ in 0..3 {
        let (again, kept, damage) = open(folder.path());
        assert_eq!(kept, [key(b"k", b"new"), record(b"a", 9, b"nine"), record(b"b", 3, &[3]), record(b"b", 5, &[5])]);
        assert_eq!(damage, []);
        assert!(again.close(WAIT));
    }
}

#[test]
fn a_row_is_read_stretch_by_stretch_while_the_store_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (all, ..) = open(folder.path());
    let bytes = |number: u64| vec![number as u8; 1_000];
    let last = 4_000;
    let (reader, mut read) = (all.reader(), Vec::new());
    let mut next = 1;
    for number in 1..=last {
        store(&all, number, |batch| batch.put(b"row", number, &bytes(number)));
        // Behind by as much as is cleaned several times over.
        if number % 500 == 0 {
            let Stretch { upto, records } = reader.row(b"row", next, number - 200, 5_000);
            assert!(upto < next + 6 && upto >= next, "{upto}");
            read.extend(records);
            next = upto + 1;
            store(&all, number, |batch| batch.cut(b"row", upto));
        }
    }
    assert!(all.close(WAIT));
    // What was stored can be read though the store is closed.
    read.extend(reader.row(b"row", next, last, usize::MAX).records);
    assert!(read.into_iter().eq((1..=last).map(|number| (number, bytes(number).into()))));
}

#[test]
fn another_record_in_the_place_of_one_is_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (first, ..) = open(folder.path());
    store(&first, 1, |batch| (1..=3).for_each(|number| batch.put(b"row", number, b"one")));
    store(&first, 2, |batch| batch.put(b"row", 2, b"other"));
    assert!(first.close(WAIT));
    let (_, kept, _) = open(folder.path());
    assert_eq!(kept, [record(b"row", 1, b"one"), record(b"row", 2, b"other"), record(b"row", 3, b"one")]);
}

#[test]
fn two_agents_do_not_share_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let (first, ..) = open(folder.path());
    assert!(matches!(Store::open(folder.path(), Options::default()), Err(OpenError::InUse(_))));
    assert!(first.close(WAIT));
    open(folder.path());
}

#[test]
fn what_is_on_the_disk_stays_near_twice_what_lives() {
    let folder = tempfile::tempdir().unwrap();
    let (all, ..) = open(folder.path());
    let (bytes, segment) = ([7; 10_000], sizes(1 << 20).segment);
    store(&all, 1, |batch| batch.set(b"stays", b"from the beginning"));
    for number in 1..=2_000 {
        store(&all, number + 1, |batch| {
            batch.put(b"row", number, &bytes);
            batch.cut(b"row", number.saturating_sub(20));
        });
        let figures = all.figures();
        assert!(figures.disk_bytes < 2 * figures.live_bytes + 5 * segment, "{figures:?}");
    }
    assert!(all.figures().segments_cleaned > 10, "{:?}", all.figures());
    assert!(all.close(WAIT));
    let (_, kept, damage) = open(folder.path());
    assert_eq!((kept.len(), damage.len()), (21, 0));
    assert_eq!(kept[0], key(b"stays", b"from the beginning"));
    assert_eq!(kept[20], record(b"row", 2_000, &bytes));
}

#[test]
fn too_much_at_once_is_refused_and_taken_later() {
    let folder = tempfile::tempdir().unwrap();
    let (all, ..) = open(folder.path());
    let mut batch = Batch::default();
    batch.put(b"row", 1, &vec![0; 65 << 20]);
    assert!(matches!(all.submit(&mut batch, Ticket(1)), Err(Refused::TooLong(_))));
    batch.clear();
    let (mut refused, mut ticket) = (0, 0);
    while refused == 0 {
        batch.put(b"row", ticket + 1, &vec![0; 4 << 20]);
        match all.submit(&mut batch, Ticket(ticket + 1)) {
            Ok(()) => assert!(batch.is_empty()),
            Err(Refused::Behind) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        ticket += 1;
        assert!(ticket < 1_000, "never behind");
    }
    assert!(!batch.is_empty());
    wait_for(&all, |standing| standing.stored == Ticket(ticket - 1));
    all.submit(&mut batch, Ticket(ticket)).unwrap();
    assert!(all.close(WAIT));
    assert_eq!(open(folder.path()).1.len() as u64, ticket);
}

#[test]
fn a_directory_that_cannot_be_used_is_said_and_nothing_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "in the way").unwrap();
    let (store, kept, _) = open(&path);
    assert_eq!(kept, []);
    assert!(matches!(store.standing().borrow().health, Health::Unusable { .. }));
    let mut batch = Batch::default();
    batch.set(b"k", b"v");
    assert_eq!(store.submit(&mut batch, Ticket(1)), Err(Refused::Closed));
    assert!(!store.close(WAIT));
}

#[test]
fn it_opens_whatever_lies_in_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let (first, ..) = open(folder.path());
    store(&first, 1, |batch| batch.set(b"k", b"v"));
    assert!(first.close(WAIT));
    let at = |name: &str| folder.path().join(name);
    fs::write(at("0000000007.log"), [0xA5; 9_000]).unwrap();
    fs::write(at("0000000008.log"), []).unwrap();
    fs::create_dir(at("0000000009.log")).unwrap();
    let mut later = frame::Header { number: 10, first: 1, epoch: 1 }.encode();
    [7, 2048 + 7].into_iter().for_each(|at| later[at] = 99);
    fs::write(at("0000000010.log"), later).unwrap();
    fs::copy(at("0000000001.log"), at("0000000011.log")).unwrap();
    fs::write(at("4294967295.log"), "not ours").unwrap();
    for name in ["next", "reserve", "lock"] {
        let _ = fs::remove_file(at(name));
        fs::create_dir_all(at(name).join("full")).unwrap();
    }
    rustix::fs::mkfifoat(rustix::fs::CWD, at("0000000012.log"), rustix::fs::Mode::RWXU).unwrap();
    let (again, kept, damage) = open(folder.path());
    assert_eq!(kept, [key(b"k", b"v")]);
    assert_eq!(damage.len(), 8, "{damage:#?}");
    wait_for(&again, |_| again.figures().set_aside == 8);
    assert!(damage.iter().any(|it| it.why.contains("version 99")), "{damage:#?}");
    store(&again, 1, |batch| batch.set(b"k", b"v"));
    assert_eq!(again.standing().borrow().health, Health::Fine);
    assert!(again.close(WAIT));
    let (_, kept, damage) = open(folder.path());
    assert_eq!((kept, damage), (vec![key(b"k", b"v")], vec![]), "what was set aside is not met again");
}
