//! Disks that bring back something else than was written, and directories that somebody was in.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use super::disk::{Disk, Mounted, Rng};

type Thing = (Vec<u8>, Option<u64>);

/// Rows and keys that were written, with everything that was ever stored under them.
#[derive(Default)]
struct Written {
    ever: BTreeMap<Thing, BTreeSet<Vec<u8>>>,
    living: BTreeSet<Thing>,
}

/// So that there are several segments, and none is cleaned.
const SIZES: Sizes = Sizes { segment: 10_000, total: 1 << 20, slice: 1_000 };

fn written(rng: &mut Rng) -> (Arc<Disk>, Written) {
    let (disk, mut written) = (Disk::empty(), Written::default());
    let mut engine = begin(Arc::new(Mounted(disk.clone())), Ok(()), SIZES, Duration::ZERO).engine.unwrap();
    let mut batch = Batch::default();
    for number in 1..=100 {
        let bytes = vec![rng.next() as u8; 200 + rng.below(300) as usize];
        let (row, key) = (vec![b'r', rng.below(3) as u8], vec![b'k', rng.below(9) as u8]);
        batch.put(&row, number, &bytes);
        batch.set(&key, &bytes[..9]);
        for (thing, bytes) in [((row, Some(number)), &bytes[..]), ((key, None), &bytes[..9])] {
            written.living.insert(thing.clone());
            written.ever.entry(thing).or_default().insert(bytes.into());
        }
        engine.take(batch.as_bytes(), Ticket(number));
        batch.clear();
        engine.step(Duration::ZERO);
    }
    drop(engine);
    (disk, written)
}

/// What is there, by name. Everything has to be something that was put there.
fn open(disk: &Arc<Disk>, written: &Written) -> (BTreeMap<Thing, Order>, Vec<Damage>) {
    let mut open = begin(Arc::new(Mounted(disk.clone())), Ok(()), SIZES, Duration::ZERO);
    assert_eq!(open.standing.borrow().health, Health::Fine);
    let mut found = BTreeMap::new();
    for kept in open.recovered.by_ref() {
        let (thing, bytes, order) = match kept {
            Kept::Key { key, bytes, order } => ((key.into_vec(), None), bytes, order),
            Kept::Record { row, number, bytes, order } => ((row.into_vec(), Some(number)), bytes, order),
        };
        assert!(written.ever.get(&thing).is_some_and(|ever| ever.contains(&*bytes)), "{thing:?} never was {bytes:?}");
        found.insert(thing, order);
    }
    (found, open.recovered.damage)
}

fn segments(disk: &Disk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".log")).collect()
}

#[test]
fn nothing_that_was_not_written_is_ever_brought_back() {
    let mut rng = Rng(3);
    for round in 0..60 {
        let (disk, written) = written(&mut rng);
        for _ in 0..1 + rng.below(3) {
            let segments = segments(&disk);
            let name = &segments[rng.below(segments.len() as u64) as usize];
            disk.damage(name, |bytes| {
                let at = rng.below(bytes.len() as u64) as usize;
                let end = bytes.len().min(at + 1 + rng.below(1_000) as usize);
                match round % 4 {
                    0 => bytes[at] ^= 1 << rng.below(8),
                    1 => bytes[at..end].fill(0),
                    2 => bytes.truncate(at),
                    _ => drop(bytes.splice(at..at, vec![0xA5; end - at])),
                }
            });
        }
        let (first, _) = open(&disk, &written);
        let (second, _) = open(&disk, &written);
        assert!(second.keys().eq(first.keys()), "round {round}: what was found stays");
    }
}

#[test]
fn what_is_lost_in_the_middle_is_said_set_aside_and_the_rest_marked() {
    let (disk, written) = written(&mut Rng(5));
    let names = segments(&disk);
    assert!(names.len() > 4);
    disk.damage(&names[1], |bytes| bytes[5_000] ^= 1);
    let (found, damage) = open(&disk, &written);
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert_eq!(damage[0].file, names[1]);
    assert!(damage[0].why.starts_with("1 batches from "), "{damage:?}");
    let lost: Vec<&Thing> = written.living.iter().filter(|thing| !found.contains_key(*thing)).collect();
    assert!(matches!(lost[..], [(_, Some(_))] | [(_, Some(_)), (_, None)] | [(_, None), (_, Some(_))]), "{lost:?}");
    let (_, Some(number)) = lost.iter().find(|(_, number)| number.is_some()).unwrap() else { unreachable!() };
    for ((_, other), order) in &found {
        let Some(other) = other else { continue };
        assert_eq!(*order, if other < number { Order::Whole } else { Order::BehindGap }, "{other} beside {number}");
    }
    let aside: Vec<String> = disk.names().into_iter().filter(|name| name.contains("set-aside")).collect();
    assert_eq!(aside.len(), 2, "{aside:?}");
    assert_eq!(disk.file(&aside[0]), disk.file(&names[1]));
    assert_eq!(disk.file(&aside[1]), Some(format!("{}\n", damage[0].why).into_bytes()));
}

#[test]
fn a_segment_that_is_gone_is_missed() {
    for gone in [0, 2] {
        let (disk, written) = written(&mut Rng(9));
        let name = segments(&disk)[gone].clone();
        Mounted(disk.clone()).remove(&name).unwrap();
        let (found, damage) = open(&disk, &written);
        assert_eq!(damage.len(), 1, "{damage:?}");
        assert!(!found.is_empty() && found.len() < written.living.len());
        assert_eq!(open(&disk, &written).1.len(), usize::from(gone > 0), "the beginning is missed once");
    }
}

#[test]
fn files_set_aside_do_not_pile_up() {
    let disk = Disk::empty();
    for round in 1..=30 {
        let mounted = Mounted(disk.clone());
        mounted.create(&log::segment_name(round * 3)).unwrap().write_at(0, b"garbage").unwrap();
        begin(Arc::new(mounted), Ok(()), SIZES, Duration::ZERO);
    }
    let aside = disk.names().into_iter().filter(|name| name.contains("set-aside"));
    assert_eq!(aside.count(), 16, "eight files, each with its reason");
}

/// Whoever can write to the disk can also make frames whose checks hold. He may destroy what is there, but stops nobody:
/// only a number that is just within its limit would leave none for what is new, and none is here.
#[test]
fn forged_frames_do_no_more_than_their_words_say() {
    let mut rng = Rng(11);
    for _ in 0..300 {
        let disk = Disk::empty();
        let mounted = Mounted(disk.clone());
        for number in 1..=1 + rng.below(3) as u32 {
            let first = odd_number(&mut rng);
            let header = frame::Header { number, first, epoch: 1 };
            let mut bytes = header.encode();
            let mut next = first;
            for _ in 0..rng.below(6) {
                let body = forged(&mut rng);
                let len = if rng.one_in(9) { rng.next() as u32 } else { body.len() as u32 };
                let head =
                    frame::Head { body_crc: crc32c::crc32c(&body), len, number: next, synced: odd_number(&mut rng) };
                bytes.extend(head.encode(1, bytes.len() as u32));
                bytes.extend(body);
                next = if rng.one_in(4) { odd_number(&mut rng) } else { next.wrapping_add(1) };
            }
            mounted.create(&log::segment_name(number)).unwrap().write_at(0, &bytes).unwrap();
        }
        let mut open = begin(Arc::new(mounted), Ok(()), SIZES, Duration::ZERO);
        open.recovered.by_ref().for_each(drop);
        let mut engine = open.engine.unwrap();
        let mut batch = Batch::default();
        batch.set(b"new", b"word");
        engine.take(batch.as_bytes(), Ticket(1));
        engine.step(Duration::ZERO);
        assert_eq!(*open.standing.borrow(), Standing { stored: Ticket(1), health: Health::Fine });
        drop(engine);
        let again = begin(Arc::new(Mounted(disk)), Ok(()), SIZES, Duration::ZERO);
        let found = again.recovered.filter(|kept| matches!(kept, Kept::Key { key, .. } if **key == *b"new"));
        assert_eq!(found.count(), 1);
    }
}

fn odd_number(rng: &mut Rng) -> u64 {
    [0, 1, 2, 3, 10, 1 << 40, 1 << 61, (1 << 62) + 1, u64::MAX][rng.below(9) as usize]
}

fn forged(rng: &mut Rng) -> Vec<u8> {
    let mut batch = Batch::default();
    for _ in 0..rng.below(4) {
        match rng.below(5) {
            0 => batch.put(b"row", odd_number(rng), b"x"),
            1 => batch.cut(b"row", odd_number(rng)),
            2 => batch.take(b"row", odd_number(rng)),
            3 => batch.set(b"key", b""),
            _ => batch.cleaned(odd_number(rng) as u32),
        }
    }
    let mut bytes = batch.as_bytes().to_vec();
    if rng.one_in(3) {
        bytes.push(rng.next() as u8);
    }
    bytes
}
