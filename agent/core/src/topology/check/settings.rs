//! The settings of the whole network: beats, failover, keys, stores, limits, topics.

use std::time::Duration;

use crate::topology::load::{SecretFile, Surroundings};
use crate::topology::model::{Ack, Failback, Failover, Heartbeat, Keys, Lane, Limits, Store, TopicRule};
use crate::topology::raw::{RawLimits, RawStore, RawTopology, Text};
use crate::topology::report::{Code, Report, Spanned};

use super::{secret, units};

const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The key of a network that names none, where more than one of its machines runs an agent.
const DEFAULT_KEY: &str = "network";

pub fn heartbeat(raw: &RawTopology, report: &mut Report) -> Heartbeat {
    let mut beat = Heartbeat::default();
    let Some(raw) = &raw.heartbeat else { return beat };
    if let Some(every) = &raw.value.every {
        let range = 50 * MILLISECOND..=Duration::from_secs(60);
        beat.every = units::duration(every, range, report).unwrap_or(beat.every);
    }
    if let Some(miss) = &raw.value.miss {
        let miss = units::number(miss, 2..=100, report).and_then(|miss| u32::try_from(miss).ok());
        beat.miss = miss.unwrap_or(beat.miss);
    }
    beat
}

pub fn failover(raw: &RawTopology, report: &mut Report) -> Failover {
    let mut failover = Failover::default();
    let Some(raw) = &raw.failover else { return failover };
    if let Some(hold) = &raw.value.hold_down {
        failover.hold_down = units::duration(hold, Duration::ZERO..=DAY, report).unwrap_or(failover.hold_down);
    }
    failover.failback = raw.value.failback.unwrap_or(Failback::Auto);
    failover
}

/// An agent on its own has nobody to share a key with; devices come in by their passwords.
pub fn keys(
    raw: &RawTopology,
    agents: usize,
    surroundings: &mut dyn Surroundings,
    report: &mut Report,
) -> Option<Keys> {
    let Some(named) = &raw.keys else {
        let network = raw.network.as_ref().filter(|_| agents > 1)?;
        secret(SecretFile::Key(DEFAULT_KEY), network.span, surroundings, report);
        return Some(Keys { active: crate::ids::Name::new(DEFAULT_KEY).ok()?, accept: Vec::new() });
    };
    let active_text = named.value.active.as_ref()?;
    let active = units::name(active_text, report)?;
    secret(SecretFile::Key(active.as_str()), active_text.span, surroundings, report);
    let mut accept = Vec::new();
    for text in &named.value.accept {
        let Some(name) = units::name(text, report) else { continue };
        if name == active || accept.contains(&name) {
            report.add(Code::KeyRepeated, text.span, format!("the key `{name}` is named twice"));
            continue;
        }
        secret(SecretFile::Key(name.as_str()), text.span, surroundings, report);
        accept.push(name);
    }
    Some(Keys { active, accept })
}

/// A machine's store: its own words over the network's.
pub fn store(layers: [Option<&Spanned<RawStore>>; 2], report: &mut Report) -> Store {
    let mut store = Store { max_bytes: None, when_full: super::super::model::WhenFull::default() };
    for raw in layers.into_iter().flatten() {
        if let Some(max) = &raw.value.max {
            store.max_bytes = units::size(max, 1 << 20..=1 << 40, report).or(store.max_bytes);
        }
        store.when_full = raw.value.when_full.unwrap_or(store.when_full);
    }
    store
}

/// A machine's limits: its own words over the network's.
pub fn limits(layers: [Option<&Spanned<RawLimits>>; 2], report: &mut Report) -> Limits {
    let mut limits = Limits::default();
    for raw in layers.into_iter().flatten() {
        limits_layer(&raw.value, &mut limits, report);
    }
    limits
}

fn limits_layer(raw: &RawLimits, limits: &mut Limits, report: &mut Report) {
    let mut count = |given: &Option<Spanned<u64>>, max: u64, limit: &mut u32| {
        let number = given.as_ref().and_then(|given| units::number(given, 1..=max, report));
        *limit = number.and_then(|number| u32::try_from(number).ok()).unwrap_or(*limit);
    };
    count(&raw.connections, 100_000, &mut limits.connections_max);
    count(&raw.queue, 10_000_000, &mut limits.queue_len_max);
    count(&raw.retained, 10_000_000, &mut limits.retained_len_max);
    count(&raw.subscriptions, 10_000_000, &mut limits.subscriptions_max);
    let mut inflight = u32::from(limits.inflight_max);
    count(&raw.inflight, u64::from(u16::MAX), &mut inflight);
    limits.inflight_max = u16::try_from(inflight).unwrap_or(limits.inflight_max);

    let mut bytes = |given: &Option<Text>, least: u64, most: u64, limit: &mut u64| {
        *limit = given.as_ref().and_then(|given| units::size(given, least..=most, report)).unwrap_or(*limit);
    };
    const TIB: u64 = 1 << 40;
    let mut packet = u64::from(limits.packet_bytes_max);
    // MQTT could say more; the store takes so much, as often as one message may be kept, at a time.
    bytes(&raw.packet, 1 << 10, 16 << 20, &mut packet);
    limits.packet_bytes_max = u32::try_from(packet).unwrap_or(limits.packet_bytes_max);
    bytes(&raw.queue_bytes, 1 << 10, TIB, &mut limits.queue_bytes_max);
    bytes(&raw.memory, 1 << 20, TIB, &mut limits.memory_bytes_max);
    bytes(&raw.retained_bytes, 1 << 10, TIB, &mut limits.retained_bytes_max);

    if let Some(expiry) = &raw.session_expiry {
        let range = Duration::ZERO..=365 * DAY;
        limits.session_expiry_max = units::duration(expiry, range, report).unwrap_or(limits.session_expiry_max);
    }
    if let Some(keep_alive) = &raw.keep_alive {
        let range = Duration::from_secs(1)..=Duration::from_secs(65_535);
        limits.keep_alive = units::duration(keep_alive, range, report).or(limits.keep_alive);
    }
}

pub fn topics(raw: &RawTopology, report: &mut Report) -> Vec<TopicRule> {
    let mut rules: Vec<TopicRule> = Vec::new();
    for line in &raw.topics {
        let Some(text) = &line.value.matches else { continue };
        let Some(filter) = units::filter(text, &text.value, report) else { continue };
        if let Some(first) = rules.iter().find(|rule| rule.filter.covers(filter.as_str())) {
            let message = format!("`{}` above already takes everything that `{filter}` matches", first.filter);
            report.add_with_help(Code::RuleShadowed, text.span, message, "put the narrower match first");
        }
        let range = Duration::from_secs(1)..=10 * 365 * DAY;
        let max_age = line.value.max_age.as_ref().and_then(|age| units::duration(age, range, report));
        let lane = line.value.lane.unwrap_or(match line.value.ack {
            Some(Ack::Memory) => Lane::Memory,
            Some(Ack::Disk | Ack::Replicated) | None => Lane::Disk,
        });
        rules.push(TopicRule { filter, ack: line.value.ack.unwrap_or(Ack::Disk), lane, max_age });
    }
    rules
}
