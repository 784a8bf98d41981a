//! Networks where streams are scarce: something is given up, something else is refused, and everything goes on.

use super::Sim;
use crate::node::Counters;

/// Streams that a machine keeps track of, for each machine that there is: the present one of each lane, and one more, so
/// that lives which are over have to give up what they said.
const STREAMS_EACH: usize = 4;

/// How much was given up, and refused.
pub fn run(seed: u64) -> Result<(usize, usize), String> {
    let mut sim = Sim::new(seed, STREAMS_EACH);
    sim.lab.refusals_are_fine = true;
    let away = sim.all.last().cloned().unwrap_or_default();
    sim.lab.want(&away, "#");
    sim.wants.insert(away.clone(), vec!["#".into()]);
    let steps = sim.steps();
    if sim.dice.one_in(2) {
        sim.kill(&away);
    }
    (0..steps).for_each(|_| sim.step());
    sim.recover_all_but(&away);
    sim.start_again_and_again();
    // What was said meanwhile may be told twice, or be missing.
    sim.fault = None;
    sim.recover_all_but(&away);
    sim.goes_on()?;
    sim.all_is_answered()?;
    sim.recover();
    sim.goes_on()?;
    sim.everything_came_right()?;
    sim.weights_add_up()?;
    let forgotten = sim.sum(|counters| counters.streams_forgotten);
    sim.lab.seconds(10);
    if sim.sum(|counters| counters.streams_forgotten) != forgotten {
        return sim.found("streams give way though nothing happens".into());
    }
    Ok((sim.sum(|counters| counters.dropped_full), sim.sum(|counters| counters.streams_refused)))
}

impl Sim {
    /// One machine is switched off and on, and a broker does not see all of it.
    fn start_again_and_again(&mut self) {
        let (restless, broker) = (self.dice.of(&self.all).clone(), self.dice.of(&self.brokers).clone());
        let lives = 3 + self.dice.below(10);
        let (leaves, comes) = (self.dice.below(lives), self.dice.below(lives));
        for life in 0..lives {
            if life == leaves && self.is_up(&broker) {
                self.kill(&broker);
            }
            if life == comes && !self.is_up(&broker) {
                self.lab.start(&broker);
            }
            if self.is_up(&restless) {
                self.kill(&restless);
                self.lab.start(&restless);
            }
            self.lab.seconds(2);
            (0..4).for_each(|_| self.publish());
            self.lab.seconds(2);
        }
    }

    fn sum(&self, of: fn(&Counters) -> u64) -> usize {
        let nodes = self.lab.machines.values().filter_map(|machine| machine.node.as_ref());
        nodes.map(|node| of(node.counters()) as usize).sum()
    }

    /// What is said now reaches whoever is here and wants it, whatever became of the rest.
    fn goes_on(&mut self) -> Result<(), String> {
        self.lab.seconds(35);
        self.published.clear();
        for origin in self.awake() {
            for topic in ["dsk/0", "urg/0"] {
                self.say(&origin, topic, format!("at {} of {origin}", self.millis()));
            }
        }
        self.lab.seconds(10);
        let amnesic = std::mem::take(&mut self.amnesic);
        let arrived = self.published.iter().try_for_each(|message| self.arrived(message));
        self.amnesic = amnesic;
        arrived
    }
}
