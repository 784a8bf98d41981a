//! A disk that is full: it is told once, and once that it is not any more.

use super::super::*;
use super::disk::{Disk, Mounted};

const SEGMENT: usize = 16 << 10;
const SIZES: Sizes = Sizes { segment: SEGMENT as u64, total: 64 * SEGMENT as u64, slice: SEGMENT };
const STEP: Duration = Duration::from_millis(100);
/// Steps in which all of the log is written several times.
const LONG: usize = 150;
/// A cured disk is in use again by then.
const HEALED_STEPS: usize = 50;
/// Of one record, beside its own name and place.
const BYTES: usize = 2_000;

/// A queue on a disk. While that is full nothing comes in.
struct Queue {
    disk: Arc<Disk>,
    engine: Engine,
    standing: watch::Receiver<Standing>,
    now: Duration,
    first: u64,
    next: u64,
    ticket: u64,
    /// Each way that it stood, in turn.
    stood: Vec<Health>,
}

impl Queue {
    fn new() -> Self {
        let disk = Disk::empty();
        let Begun { engine, standing, .. } = begin(Arc::new(Mounted(disk.clone())), Ok(()), SIZES, Duration::ZERO);
        let stood = vec![standing.borrow().health.clone()];
        Self { disk, engine: engine.unwrap(), standing, now: Duration::ZERO, first: 1, next: 1, ticket: 0, stood }
    }

    fn health(&self) -> Health {
        self.standing.borrow().health.clone()
    }

    fn len(&self) -> u64 {
        self.next - self.first
    }

    /// Let in so many if there is room, and take out all but so many.
    fn step(&mut self, many: u64, left: u64) {
        let mut batch = Batch::default();
        if self.health() == Health::Fine {
            (0..many).for_each(|more| batch.put(b"row", self.next + more, &[7; BYTES]));
            self.next += many;
        }
        while self.len() > left {
            batch.take(b"row", self.first);
            self.first += 1;
        }
        self.ticket += 1;
        self.engine.take(batch.as_bytes(), Ticket(self.ticket));
        self.now += STEP;
        self.engine.step(self.now);
        let health = self.health();
        if self.stood.last() != Some(&health) {
            self.stood.push(health);
        }
    }
}

#[test]
fn whatever_room_is_left_it_is_told_once_that_the_disk_is_full_and_once_that_it_is_not() {
    let mut full = 0;
    for left in [0, 5, 50, 200] {
        for quarters in 0..48 {
            let context = format!("{left} in the queue, room for {quarters} quarters of a segment");
            let mut queue = Queue::new();
            (0..LONG).for_each(|_| queue.step(6, left));
            assert_eq!(queue.stood, [Health::Fine], "{context}");
            queue.disk.set_room(Some(queue.disk.used() + quarters * SEGMENT / 4));
            (0..LONG).for_each(|_| queue.step(6, left));
            assert!(matches!(&queue.stood[..], [_] | [_, Health::Full]), "{context}: {:?}", queue.stood);
            full += queue.stood.len() - 1;
            queue.disk.set_room(None);
            (0..HEALED_STEPS).for_each(|_| queue.step(6, left));
            assert_eq!(queue.health(), Health::Fine, "{context}");
            (0..LONG).for_each(|_| queue.step(6, left));
            assert!([1, 3].contains(&queue.stood.len()), "{context}: {:?}", queue.stood);
        }
    }
    assert!(full > 20, "only {full} were full");
}

#[test]
fn what_is_let_go_on_a_full_disk_makes_room_whatever_its_size() {
    for quarters in 40..120 {
        let context = format!("room for {quarters} quarters of a segment");
        let mut queue = Queue::new();
        queue.disk.set_room(Some(quarters * SEGMENT / 4));
        while queue.health() == Health::Fine {
            queue.step(6, u64::MAX);
            assert!(queue.now < STEP * 1_000, "{context}");
        }
        for left in (0..queue.len()).rev() {
            queue.step(0, left);
        }
        (0..HEALED_STEPS).for_each(|_| queue.step(0, 0));
        assert_eq!(queue.stood, [Health::Fine, Health::Full, Health::Fine], "{context}");
    }
}
