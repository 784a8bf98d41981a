//! Random work on a simulated disk, power cuts at every point of it, and at each the disks that may be left. Each has to
//! open with the batches up to one of them, no fewer than were reported stored, and without a word of damage. Then work
//! goes on upon one of them; or the process dies and the next one finds everything, whether or not it was synced.
//!
//! `HOBNAIL_POWER_CUTS` disks from seed `HOBNAIL_POWER_CUTS_FROM` on; a failure prints its seed.

use std::collections::BTreeMap;

use super::super::*;
use super::disk::{Disk, Fate, Mounted, Rng};

/// Disks that are looked at when nobody says how many.
const DISKS: usize = 20_000;
/// Lives of one store.
const LIVES: u64 = 4;
/// Every batch writes its number under this key, so that a state tells which it is.
const COUNT: &[u8] = b"#";

/// What has to be in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
    records: BTreeMap<(Vec<u8>, u64), Vec<u8>>,
}

/// Work with a store: the state after each batch, and what is known of each of them.
pub struct Work {
    rng: Rng,
    /// By the number of the batch that it is the state after.
    states: BTreeMap<u64, Model>,
    newest: u64,
    next_record: u64,
    /// How far behind the newest record a cut may reach: what lives is little or much.
    depth: u64,
    batch: Batch,
}

impl Work {
    pub fn new(seed: u64) -> Self {
        let states = BTreeMap::from([(0, Model::default())]);
        let mut rng = Rng(seed);
        let depth = if rng.one_in(2) { 25 } else { 150 };
        Self { rng, states, newest: 0, next_record: 1, depth, batch: Batch::default() }
    }

    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// One batch of anything.
    pub fn batch(&mut self) -> (&mut Batch, Ticket) {
        let mut model = self.states[&self.newest].clone();
        self.newest += 1;
        for _ in 0..self.rng.below(4) {
            self.one(&mut model);
        }
        let count = self.newest.to_le_bytes();
        self.batch.set(COUNT, &count);
        model.keys.insert(COUNT.into(), count.into());
        self.states.insert(self.newest, model);
        (&mut self.batch, Ticket(self.newest))
    }

    fn one(&mut self, model: &mut Model) {
        let row = vec![b'r', self.rng.below(3) as u8];
        let key = vec![b'k', self.rng.below(4) as u8];
        let len = if self.rng.one_in(12) { 2_500 } else { self.rng.below(200) };
        let bytes = vec![self.rng.next() as u8; len as usize];
        match self.rng.below(10) {
            0..5 => {
                self.batch.put(&row, self.next_record, &bytes);
                model.records.insert((row, self.next_record), bytes);
                self.next_record += 1 + self.rng.below(3);
            }
            5 | 6 => {
                let nth = self.rng.below(model.records.len() as u64) as usize;
                let Some((row, number)) = model.records.keys().nth(nth).cloned() else { return };
                self.batch.take(&row, number);
                model.records.remove(&(row, number));
            }
            7 => {
                let upto = self.next_record.saturating_sub(self.rng.below(self.depth));
                self.batch.cut(&row, upto);
                model.records.retain(|(of, number), _| *of != row || *number > upto);
            }
            8 => {
                self.batch.set(&key, &bytes);
                model.keys.insert(key, bytes);
            }
            _ => {
                self.batch.unset(&key);
                model.keys.remove(&key);
            }
        }
    }

    /// What is open has to be one of the states from `least` on; says which.
    pub fn check(&self, recovered: &mut Recovered, least: u64) -> Result<u64, String> {
        let mut found = Model::default();
        for kept in recovered.by_ref() {
            match kept.clone() {
                Kept::Key { key, bytes, order: Order::Whole } => drop(found.keys.insert(key.into(), bytes.into())),
                Kept::Record { row, number, bytes, order: Order::Whole } => {
                    found.records.insert((row.into(), number), bytes.into());
                }
                Kept::Key { order: Order::BehindGap, .. } | Kept::Record { order: Order::BehindGap, .. } => {
                    return Err(format!("marked as behind a gap: {kept:?}"));
                }
            }
        }
        if !recovered.damage.is_empty() || recovered.unreadable > 0 {
            return Err(format!("damage where there is none: {:?}", recovered.damage));
        }
        let count = found.keys.get(COUNT).map_or(0, |count| u64::from_le_bytes(count[..].try_into().unwrap()));
        match self.states.get(&count) {
            _ if count < least => Err(format!("only {count} of the {least} batches that were stored")),
            Some(state) if *state == found => Ok(count),
            Some(state) => Err(format!("not the state after batch {count}:\n{found:?}\nbut\n{state:?}")),
            None => Err(format!("the state after batch {count}, which was cut off before")),
        }
    }

    /// What came after batch `count` never was.
    fn forget_after(&mut self, count: u64) {
        self.states.retain(|number, _| *number <= count);
        self.newest = count;
    }
}

pub fn sizes(rng: &mut Rng) -> Sizes {
    let segment = 4_600 + rng.below(8_000);
    Sizes { segment, total: 4 * segment, slice: 100 + rng.below(1_500) as usize }
}

/// What was promised, by when in the life of a disk.
type Promises = Vec<(usize, u64)>;

/// Work for a while. Says from which event on which batches were reported stored.
fn live(work: &mut Work, disk: &Arc<Disk>, open: Begun, every: Duration, mut promises: Promises) -> Promises {
    let mut engine = open.engine.unwrap();
    assert_eq!(open.standing.borrow().health, Health::Fine);
    promises.push((disk.len(), work.newest()));
    let mut now = Duration::ZERO;
    for _ in 0..10 + work.rng.below(50) {
        for _ in 0..work.rng.below(4) {
            let (batch, ticket) = work.batch();
            engine.take(batch.as_bytes(), ticket);
            batch.clear();
        }
        now += every.mul_f64(work.rng.below(3) as f64 / 2.0);
        engine.step(now);
        promises.push((disk.len(), open.standing.borrow().stored.0.max(promises.last().unwrap().1)));
    }
    promises
}

/// All lives of one store. Says how many disks were looked at.
fn simulate(seed: u64) -> Result<usize, String> {
    let mut work = Work::new(seed);
    let sizes = sizes(&mut work.rng);
    let every = Duration::from_millis(if work.rng.one_in(2) { 50 } else { 0 });
    let mut disk = Disk::empty();
    let (mut floor, mut seen) = (0, 0);
    for life in 0..LIVES {
        let first = disk.len();
        let mut open = begin(Arc::new(Mounted(disk.clone())), Ok(()), sizes, every);
        let count = work.check(&mut open.recovered, floor).map_err(|why| format!("life {life}: {why}"))?;
        work.forget_after(count);
        let promises = live(&mut work, &disk, open, every, vec![(0, floor)]);
        let mut next = None;
        for point in first..=disk.len() {
            let least = promises.iter().rev().find(|(from, _)| *from <= point).map_or(floor, |(_, least)| *least);
            let fates = [Fate::Nothing, Fate::All, Fate::Any(work.rng.next()), Fate::Any(work.rng.next())];
            let chosen = work.rng.one_in((disk.len() - first) as u64);
            for fate in fates {
                let ruin = disk.cut(point, fate);
                let kept = chosen.then(|| ruin.cut(usize::MAX, Fate::All));
                let mut open = begin(Arc::new(Mounted(ruin)), Ok(()), sizes, every);
                let checked = work.check(&mut open.recovered, least);
                seen += 1;
                checked.map_err(|why| format!("life {life}, cut at {point} of {}, {fate:?}: {why}", disk.len()))?;
                next = kept.map(|kept| (kept, least)).or(next);
            }
        }
        let stored = promises.last().unwrap().1;
        (disk, floor) = next.filter(|_| work.rng.one_in(2)).unwrap_or((disk, stored));
    }
    Ok(seen)
}

fn from_env(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |number| number.parse().expect(name))
}

#[test]
fn after_a_power_cut_everything_stored_is_there_and_nothing_else_broke() {
    let (wanted, from) = (from_env("HOBNAIL_POWER_CUTS", DISKS), from_env("HOBNAIL_POWER_CUTS_FROM", 0));
    let (mut seen, mut seed) = (0, from as u64);
    while seen < wanted {
        seen += simulate(seed).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        seed += 1;
    }
    eprintln!("{seen} disks of {} stores", seed - from as u64);
}

/// So that a run of the simulation means something.
#[test]
fn the_work_makes_segments_and_cleans_them() {
    let (mut work, mut rng) = (Work::new(1), Rng(1));
    let disk = Disk::empty();
    let open = begin(Arc::new(Mounted(disk.clone())), Ok(()), sizes(&mut rng), Duration::ZERO);
    let mut engine = open.engine.unwrap();
    for _ in 0..400 {
        let (batch, ticket) = work.batch();
        engine.take(batch.as_bytes(), ticket);
        batch.clear();
        engine.step(Duration::ZERO);
    }
    assert!(engine.log.counts.cleaned > 5, "{:?}", engine.log.counts);
    assert!(engine.log.index().segments().len() > 1);
    assert_eq!(open.standing.borrow().stored.0, work.newest());
}
