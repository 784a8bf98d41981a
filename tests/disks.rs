//! The store on real file systems: an ext4 image copied in the middle of writing, as a power cut leaves it, mounted and
//! opened; a disk that fills up, and one that turns read-only, each cured; what `doctor disk` makes of them. As root; each
//! mount goes with its test.
//!
//! `HOBNAIL_SIZE`: so many images (12).

mod disks {
    mod doctor;
    pub mod mounts;
}

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use disks::mounts::{Ext4, Tmpfs};
use hobnail::store::{Batch, Health, Kept, Options, Refused, Standing, Store, Ticket};

/// Longest wait for what has no promise of its own.
const WAIT: Duration = Duration::from_secs(20);
/// A cured disk is in use again by then.
const HEALED_MAX: Duration = Duration::from_secs(5);
/// Records that are kept, the newest.
const WINDOW: u64 = 200;

/// The batches that are written: each says its number, puts a record, and cuts what is old.
fn batch(number: u64) -> Batch {
    let mut batch = Batch::default();
    batch.set(b"count", &number.to_le_bytes());
    batch.put(b"row", number, &content(number));
    batch.cut(b"row", number.saturating_sub(WINDOW));
    batch
}

fn content(number: u64) -> Vec<u8> {
    vec![number as u8; 100 + (number % 13 * 211) as usize]
}

/// The number of the newest batch, all before it being there.
fn check(directory: &Path) -> u64 {
    let (store, mut recovered) = Store::open(directory, Options::default()).unwrap();
    let (mut count, mut records) = (0, BTreeMap::new());
    for kept in recovered.by_ref() {
        match kept {
            Kept::Key { bytes, .. } => count = u64::from_le_bytes(bytes[..].try_into().unwrap()),
            Kept::Record { number, bytes, .. } => drop(records.insert(number, bytes.into_vec())),
        }
    }
    assert_eq!((&recovered.damage[..], recovered.unreadable), (&[][..], 0));
    let wanted = (count.saturating_sub(WINDOW) + 1..=count).map(|number| (number, content(number))).collect();
    assert!(records == wanted, "not what batch {count} left");
    assert!(store.close(WAIT));
    count
}

fn wait_for(store: &Store, within: Duration, is: impl Fn(&Standing) -> bool) {
    let (standing, until) = (store.standing(), Instant::now() + within);
    while !is(&standing.borrow()) {
        assert!(Instant::now() < until, "still {:?}, {:?}", *standing.borrow(), store.figures());
        thread::sleep(Duration::from_millis(5));
    }
}

fn images() -> usize {
    std::env::var("HOBNAIL_SIZE").map_or(12, |size| size.parse().expect("HOBNAIL_SIZE"))
}

#[test]
fn an_ext4_image_copied_while_it_is_written_has_everything_stored() {
    let Some(live) = Ext4::new("live") else { return };
    // So seldom a sync that most copies are taken with something written and not synced.
    let options = Options { bytes_max: 8 << 20, commits_per_second: Some(25), ..Options::default() };
    let (store, _) = Store::open(&live.path(), options).unwrap();
    let standing = store.standing();
    let (stop, newest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = {
        let (stop, newest) = (stop.clone(), newest.clone());
        thread::spawn(move || {
            while !stop.load(Ordering::Acquire) {
                let number = newest.fetch_add(1, Ordering::AcqRel) + 1;
                let mut batch = batch(number);
                while store.submit(&mut batch, Ticket(number)) == Err(Refused::Behind) {
                    thread::sleep(Duration::from_millis(1));
                }
                thread::sleep(Duration::from_micros(number % 7 * 300));
            }
            assert!(store.close(WAIT));
        })
    };
    let (mut seen, mut behind, until) = (0, 0, Instant::now() + WAIT * images() as u32);
    while seen < images() {
        assert!(Instant::now() < until, "only {seen} copies that nothing was written to meanwhile");
        let stored = standing.borrow().stored.0;
        let Some(copy) = live.copy() else { continue };
        let newest = newest.load(Ordering::Acquire);
        let copy = Ext4::mount(copy);
        let count = check(&copy.path());
        assert!((stored..=newest).contains(&count), "batch {count}, of {stored} stored and {newest} made");
        seen += 1;
        behind += usize::from(count < newest);
    }
    stop.store(true, Ordering::Release);
    writer.join().unwrap();
    assert!(behind > 0, "no copy was taken in the middle");
    assert_eq!(check(&live.path()), newest.load(Ordering::Acquire));
}

#[test]
fn a_full_disk_lets_go_what_makes_room_and_is_used_again() {
    let Some(disk) = Tmpfs::new("size=16m") else { return };
    let (store, _) = Store::open(&disk.path(), Options { bytes_max: 64 << 20, ..Options::default() }).unwrap();
    let mut number = 0;
    // Everything is wanted, so nothing can be cleaned.
    while store.standing().borrow().health != Health::Full {
        number += 1;
        let mut batch = Batch::default();
        batch.put(b"row", number, &[7; 100_000]);
        store.submit(&mut batch, Ticket(number)).unwrap();
        wait_for(&store, WAIT, |standing| standing.stored.0 == number || standing.health != Health::Fine);
    }
    wait_for(&store, WAIT, |standing| standing.stored.0 == number);
    for taken in 1..=number - 5 {
        let mut batch = Batch::default();
        batch.take(b"row", taken);
        store.submit(&mut batch, Ticket(number + taken)).unwrap();
        wait_for(&store, WAIT, |standing| standing.stored.0 == number + taken);
    }
    wait_for(&store, HEALED_MAX, |standing| standing.health == Health::Fine);
    assert!(store.close(WAIT));
    let (_, recovered) = Store::open(&disk.path(), Options::default()).unwrap();
    assert_eq!(recovered.count(), 5);
}

#[test]
fn a_disk_that_others_fill_is_told_and_nothing_is_stored_until_there_is_room() {
    let Some(disk) = Tmpfs::new("size=16m") else { return };
    let (store, _) = Store::open(&disk.path(), Options { bytes_max: 64 << 20, ..Options::default() }).unwrap();
    let (mut number, mut filled) = (0, false);
    while !matches!(store.standing().borrow().health, Health::Degraded { .. }) {
        number += 1;
        let mut batch = batch(number);
        store.submit(&mut batch, Ticket(number)).unwrap();
        wait_for(&store, WAIT, |standing| standing.stored.0 == number || standing.health != Health::Fine);
        if !filled || store.standing().borrow().health == Health::Full {
            disk.fill();
            filled = true;
        }
    }
    let stored = store.standing().borrow().stored.0;
    assert!(stored < number, "{stored} of {number} stored on a full disk");
    fs::remove_file(disk.path().join("filler")).unwrap();
    wait_for(&store, HEALED_MAX, |standing| *standing == Standing { stored: Ticket(number), health: Health::Fine });
    assert!(store.close(WAIT));
    assert_eq!(check(&disk.path()), number);
}

#[test]
fn a_file_system_that_is_read_only_at_first_is_read_and_used_once_it_is_writable() {
    let Some(disk) = Ext4::new("read-only") else { return };
    let options = Options { bytes_max: 8 << 20, ..Options::default() };
    let (store, _) = Store::open(&disk.path(), options).unwrap();
    store.submit(&mut batch(1), Ticket(1)).unwrap();
    assert!(store.close(WAIT));
    disk.remount("ro");
    let (store, recovered) = Store::open(&disk.path(), options).unwrap();
    assert_eq!(recovered.count(), 2);
    store.submit(&mut batch(2), Ticket(2)).unwrap();
    wait_for(&store, WAIT, |standing| matches!(standing.health, Health::Degraded { .. }));
    assert_eq!(store.standing().borrow().stored, Ticket(0));
    disk.remount("rw");
    wait_for(&store, HEALED_MAX, |standing| *standing == Standing { stored: Ticket(2), health: Health::Fine });
    assert!(store.close(WAIT));
    assert_eq!(check(&disk.path()), 2);
}

#[test]
fn a_file_system_that_the_kernel_gives_up_costs_nothing_that_was_stored() {
    let Some(disk) = Ext4::new("given-up") else { return };
    let (store, _) = Store::open(&disk.path(), Options { bytes_max: 8 << 20, ..Options::default() }).unwrap();
    store.submit(&mut batch(1), Ticket(1)).unwrap();
    wait_for(&store, WAIT, |standing| standing.stored.0 == 1);
    disk.remount("abort");
    store.submit(&mut batch(2), Ticket(2)).unwrap();
    wait_for(&store, WAIT, |standing| matches!(standing.health, Health::Degraded { .. }));
    assert_eq!(store.standing().borrow().stored, Ticket(1));
    assert!(!store.close(WAIT), "not all was stored");
    assert_eq!(check(&disk.mend().path()), 1);
}
