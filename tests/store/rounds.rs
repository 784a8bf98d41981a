//! What was published and what was heard, from one rest to the next: judged each time, and forgotten.

use std::collections::BTreeMap;
use std::ops::Range;

use super::ears::{Ears, Heard};
use super::machine::until;
use super::mouth::Mouth;

/// Everything acknowledged came, in order, and nothing came more often than it was sent or than may be.
pub fn expect_all(mouth: &Mouth, ears: &Ears, numbers: Range<u64>) {
    let who = format!("{} at {}", mouth.name, ears.name);
    let mut next = numbers.start;
    let mut fresh: BTreeMap<(u64, Option<u64>), u32> = BTreeMap::new();
    for heard in ears.heard().iter().filter(|heard| *heard.from == *mouth.name) {
        let Heard { number, qos, connection, again, .. } = *heard;
        assert!(number >= numbers.start, "{who}: {number} was acknowledged for good, and came again");
        assert!(number <= next, "{who}: {number} came before {next}");
        next = next.max(number + 1);
        // What another machine has sent may be delivered at QoS 1 before it is on this one's disk. If this one falls
        // then, it comes once more, and nobody knows that it does.
        let by = Some(connection).filter(|_| qos == 1 && mouth.door != ears.door);
        if !again {
            *fresh.entry((number, by)).or_default() += 1;
        }
    }
    assert!(next >= numbers.end, "{who}: {} were acknowledged, and {next} came", numbers.end);
    for ((number, _), times) in fresh {
        // What was not acknowledged was published again at QoS 1; the broker takes that for another message.
        let sent = mouth.times_sent(number);
        assert!(times <= sent, "{who}: {number} was sent {sent} times and came {times} times as new");
    }
}

pub struct Rounds {
    pub mouths: Vec<Mouth>,
    pub ears: Vec<Ears>,
    /// What is below was judged, by publisher.
    settled: BTreeMap<&'static str, u64>,
    pub repeats: usize,
}

impl Rounds {
    /// Each of `ears` hears each of `mouths`, of which there is one on each machine with ears.
    pub fn begin(mouths: Vec<Mouth>, ears: Vec<Ears>) -> Self {
        let all_hear_beyond = |numbers: &[Option<u64>]| {
            let mut pairs = ears.iter().flat_map(|ears| mouths.iter().zip(numbers).map(move |it| (ears, it)));
            pairs.all(|(ears, (mouth, number))| ears.newest(mouth.name) > *number)
        };
        until("everybody is heard", || all_hear_beyond(&vec![None; mouths.len()]));
        // A machine that has heard nothing of others sends everything, and then what they are known to want: that may be
        // less for a moment. From then on it is known.
        let until_now: Vec<Option<u64>> = mouths.iter().map(|mouth| Some(mouth.acked() + 1)).collect();
        until("everybody is heard on", || all_hear_beyond(&until_now));
        let mut rounds = Self { mouths, ears, settled: BTreeMap::new(), repeats: 0 };
        let limits = rounds.rest();
        // Before, nobody had to hear anything.
        rounds.forget(limits);
        rounds
    }

    pub fn acked(&self) -> u64 {
        self.mouths.iter().map(Mouth::acked).sum()
    }

    pub fn go_on(&self) {
        self.mouths.iter().for_each(Mouth::go_on);
    }

    /// See everything delivered, and judge it. None of it may ever come again.
    pub fn settle(&mut self) {
        let limits = self.rest();
        for ears in &self.ears {
            self.repeats += ears.heard().iter().filter(|heard| heard.again).count();
            for mouth in &self.mouths {
                expect_all(mouth, ears, self.settled[mouth.name]..limits[mouth.name]);
            }
        }
        self.forget(limits);
    }

    /// Everything delivered and acknowledged, and that on the disks: what is stored after it says so. How far each is.
    fn rest(&self) -> BTreeMap<&'static str, u64> {
        self.mouths.iter().for_each(Mouth::pause);
        let limits: BTreeMap<_, _> = self.mouths.iter().map(|mouth| (mouth.name, mouth.all_acked())).collect();
        let has_all = |ears: &Ears| {
            limits.iter().all(|(name, limit)| {
                let settled = self.settled.get(name).copied().unwrap_or(0);
                ears.newest(name).map_or(settled, |number| number + 1) >= *limit
            })
        };
        until("everything delivered", || self.ears.iter().all(has_all));
        self.ears.iter().for_each(Ears::ping);
        self.mouths.iter().for_each(Mouth::one_more);
        limits
    }

    fn forget(&mut self, limits: BTreeMap<&'static str, u64>) {
        self.mouths.iter().for_each(|mouth| mouth.forget_below(limits[mouth.name]));
        for ears in &self.ears {
            ears.heard().retain(|heard| heard.number >= limits[&*heard.from]);
        }
        self.settled = limits;
    }
}
