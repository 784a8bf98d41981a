//! What must be true once the misfortune is over.

use std::collections::{BTreeMap, BTreeSet};

use super::{Published, Sim};
use crate::envelope::SenderId;
use crate::frame::Fresh;
use crate::stream::Weight;
use crate::topic;

impl Sim {
    pub(super) fn everything_came_right(&self) -> Result<(), String> {
        for message in &self.published {
            self.arrived(message)?;
        }
        for name in &self.all {
            self.is_well(name)?;
        }
        self.all_is_answered()?;
        self.brokers.iter().try_for_each(|name| self.has_what_it_has_a_place_for(name))
    }

    pub(super) fn everything_stays_so(&mut self) -> Result<(), String> {
        let changes = |sim: &Self| sim.all.iter().map(|name| sim.lab.node(name).home.changes()).sum::<u64>();
        let before = changes(self);
        self.lab.seconds(20);
        if changes(self) != before {
            return self.found("homes change though nothing happens".into());
        }
        self.check()?;
        self.everything_came_right()
    }

    /// An acknowledged message has reached every machine that wanted it.
    pub(super) fn arrived(&self, message: &Published) -> Result<(), String> {
        let settled = self.lab.machines[&message.origin].settled.contains(&message.offer);
        let promised = match message.topic.split('/').next() {
            // On the origin's disk first, then on those of two brokers, if there are two.
            Some("dsk" | "urg") => {
                let only_broker = self.brokers.len() == 1 && self.amnesic.contains(&self.brokers[0]);
                !self.amnesic.contains(&message.origin) && !only_broker
            }
            Some("rep") => true,
            _ => false,
        };
        if !settled || !promised {
            return Ok(());
        }
        let text = format!("{} {}", message.topic, message.text);
        for (name, wants) in &self.wants {
            let wanted = wants.iter().any(|filter| topic::matches(filter, &message.topic));
            if *name == message.origin || !wanted || self.amnesic.contains(name) || !self.is_up(name) {
                continue;
            }
            if !self.lab.machines[name].heard.iter().any(|heard| heard.text == text) {
                let of = self.lab.node(&message.origin).me;
                let streams = self.tell_streams(of);
                return self
                    .found(format!("{name} never got `{text}` of {}, though acknowledged{streams}", message.origin));
            }
        }
        Ok(())
    }

    /// What every machine has of the streams of one.
    pub(super) fn tell_streams(&self, sender: SenderId) -> String {
        let mut told = String::new();
        for (name, machine) in &self.lab.machines {
            let Some(node) = &machine.node else { continue };
            for (id, copy) in node.copies.iter().filter(|(id, _)| id.sender == sender) {
                let (stream, disks) = (&copy.stream, copy.holders.values().collect::<Vec<_>>());
                let (lane, number) = (id.lane, id.incarnation);
                let (from, to, stored) = (stream.trimmed(), stream.last(), stream.stored());
                told += &format!(
                    "\n  {name} has {lane:?} {number} {from}..{to}, stored {stored}, holders {disks:?}, stable {}",
                    copy.stable_said
                );
                told += &format!(
                    ", by origin {}, doubted {:?}, needed {}",
                    copy.by_origin,
                    node.doubts.get(id),
                    copy.needed
                );
                for link in node.links.values() {
                    if let Some(flow) = link.flows.get(id) {
                        let (ready, pending) = (link.ready, link.pending.contains(id));
                        told += &format!("\n    to {}: ready {ready}, pending {pending}, {flow:?}", link.peer);
                    }
                }
            }
        }
        told
    }

    /// What is on its way by a link for good has no room for anything else in the end.
    pub(super) fn all_is_answered(&self) -> Result<(), String> {
        for name in self.awake() {
            if let Some(link) = self.lab.node(&name).links.values().find(|link| link.in_flight > 0) {
                let unanswered = link.flows.iter().filter(|(_, flow)| !flow.unacked.is_empty());
                let streams: String = unanswered.map(|(id, _)| self.tell_streams(id.sender)).collect();
                return self.found(format!("{} does not answer {name} what it got{streams}", link.peer));
            }
        }
        Ok(())
    }

    /// Of a stream that another broker has, one that keeps a place for it has something too.
    fn has_what_it_has_a_place_for(&self, name: &str) -> Result<(), String> {
        let node = self.lab.node(name);
        let brokers = node.links.values().filter(|link| link.is_broker && link.ready);
        let others: Vec<&str> = brokers.map(|link| link.peer.as_str()).collect();
        for (id, _) in node.copies.iter().filter(|(_, copy)| copy.stream.last() == 0) {
            let has_more =
                |other: &&&str| self.lab.node(other).copies.get(id).is_some_and(|copy| copy.stream.last() > 0);
            if let Some(other) = others.iter().find(has_more) {
                let streams = self.tell_streams(id.sender);
                return self.found(format!("{name} has nothing of {id:?}, and {other} has{streams}"));
            }
        }
        Ok(())
    }

    pub(super) fn weights_add_up(&self) -> Result<(), String> {
        for (name, node) in self.all.iter().map(|name| (name, self.lab.node(name))) {
            let mut sum = Weight::default();
            node.copies.values().for_each(|copy| sum.note(Weight::default(), copy.stream.weight()));
            if sum != node.weight {
                return self.found(format!("{name} counts {:?}, and has {sum:?}", node.weight));
            }
        }
        Ok(())
    }

    fn is_well(&self, name: &str) -> Result<(), String> {
        let node = self.lab.node(name);
        let status = node.status(self.lab.now);
        let is_broker = self.brokers.iter().any(|broker| broker == name);
        if !is_broker && status.home.as_ref().map(|home| home.as_str()) != Some("b0") {
            return self.found(format!("{name} has the home {:?}", status.home));
        }
        if node.counters.link_faults > 0 {
            return self
                .found(format!("{name} ended {} links over a fault, and nobody errs", node.counters.link_faults));
        }
        // Where streams are scarce there may be no place for what a machine said in an earlier life, or before it was told
        // of those that its lost disk knew.
        let scarce = self.lab.refusals_are_fine;
        if status.queue > 0 && !(scarce && self.amnesic.contains(name)) {
            return self.found(format!("{name} still owes {} answers{}", status.queue, self.tell_streams(node.me)));
        }
        let must_be_gone = |id| !scarce || node.outbox.is_current(id);
        let kept = node.copies.iter().any(|(id, copy)| must_be_gone(*id) && !copy.stream.is_empty());
        if !is_broker && kept {
            let weight = node.weight;
            return self.found(format!("{name} still keeps {weight:?}: {}", self.tell_streams(node.me)));
        }
        if is_broker && !status.in_step {
            let claims: Vec<String> = node
                .links
                .values()
                .flat_map(|link| link.flows.iter().map(move |(id, flow)| (link, id, flow)))
                .filter(|(_, id, flow)| flow.acked > node.copies.get(id).map_or(0, |copy| copy.stream.last()))
                .map(|(link, id, flow)| format!("{} has {id:?} up to {}", link.peer, flow.acked))
                .collect();
            let senders: BTreeSet<SenderId> =
                node.links.values().flat_map(|l| l.flows.keys().map(|s| s.sender)).collect();
            let streams: String = senders.into_iter().map(|sender| self.tell_streams(sender)).collect();
            return self.found(format!("{name} is not in step: settled {}, {claims:?}{streams}", node.settled));
        }
        if node.fresh != Fresh::No && !is_broker {
            return self.found(format!("{name} was never told where the streams begin"));
        }
        let ranks = |name: &str| -> Vec<(String, _)> {
            self.lab.node(name).retained.ranks().map(|(topic, rank)| (topic.to_owned(), rank)).collect()
        };
        // What a machine sent before its disk was lost may be known to some alone, and what the only broker lost too.
        let lost: Vec<SenderId> = self.amnesic.iter().map(|name| self.lab.node(name).me).collect();
        let known = |name: &str| -> BTreeMap<String, _> { ranks(name).into_iter().collect() };
        let (here, there) = (known(name), known("b0"));
        let differ = here.keys().chain(there.keys()).any(|topic| {
            let (one, other) = (here.get(topic), there.get(topic));
            one != other && !one.max(other).is_some_and(|newest| lost.contains(&newest.sender))
        });
        let nobody_knows = self.brokers.len() == 1 && self.amnesic.contains("b0");
        if !nobody_knows && differ {
            return self.found(format!(
                "{name} and b0 do not agree on what is retained: {:?} {:?}",
                ranks(name),
                ranks("b0")
            ));
        }
        Ok(())
    }
}
