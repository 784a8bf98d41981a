//! The machines: ranges spread out, roles and overrides laid over the network's defaults, brokers ranked.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::ids::Name;
use crate::rights::{Allow, Rights};
use crate::topology::load::{SecretFact, SecretFile, Surroundings};
use crate::topology::model::{Kind, Machine};
use crate::topology::raw::{RawBroker, RawClient, RawDoors, RawRights, RawTopology, Text};
use crate::topology::report::{Code, Report, Span, Spanned, nearest};

use super::doors::{self, Opener};
use super::names::{self, MACHINES_MAX};
use super::rights::{Lists, RawRightsRef, effective};
use super::{secret, settings, units};

#[derive(Default)]
pub struct Built {
    pub machines: BTreeMap<Name, Machine>,
    pub ranking: Vec<Name>,
    /// Where each machine's publish filters were written, in their order.
    pub publish_spans: BTreeMap<Name, Vec<Span>>,
}

/// What every step here needs.
struct Work<'a> {
    raw: &'a RawTopology,
    built: Built,
    /// Where each name was first given.
    named_at: BTreeMap<Name, Span>,
    /// Alone in its network: nobody has to reach it.
    solo: bool,
    /// The machine that this is, if it is one of these.
    me: Option<String>,
}

/// Where the secrets of another machine are not.
struct Elsewhere;

impl Surroundings for Elsewhere {
    fn read(&mut self, _: &str) -> Result<Vec<u8>, String> {
        Err("it is on another machine".to_owned())
    }

    fn secret(&mut self, _: SecretFile<'_>) -> SecretFact {
        SecretFact::NotLooked
    }
}

pub fn build(raw: &RawTopology, surroundings: &mut dyn Surroundings, report: &mut Report) -> Built {
    let solo = raw.brokers.0.len() == 1 && raw.clients.0.iter().all(|(_, client)| client.device == Some(true));
    let me = surroundings.me().filter(|me| is_named(raw, me)).map(str::to_owned);
    let mut work = Work { raw, built: Built::default(), named_at: BTreeMap::new(), solo, me };
    if raw.brokers.0.is_empty() && report.is_clean() {
        let span = raw.network.as_ref().map(|network| network.span).unwrap_or_default();
        let help = "name the machine that carries the others' messages: brokers: { hub: { host: 10.0.0.10 } }";
        report.add_with_help(Code::NoBroker, span, "this network has no broker", help);
    }
    for (key, broker) in &raw.brokers.0 {
        work.broker(key, broker, surroundings, report);
    }
    for (key, client) in &raw.clients.0 {
        for name in names::spread(key, report) {
            work.client(name, key, client, surroundings, report);
        }
    }
    work.backups(report);
    work.addresses(report);
    work.devices(report);
    work.built
}

fn is_named(raw: &RawTopology, name: &str) -> bool {
    // What is wrong with these names is told elsewhere.
    let mut clients = raw.clients.0.iter().flat_map(|(key, _)| names::spread(key, &mut Report::default()));
    is_broker(raw, name) || clients.any(|client| client.as_str() == name)
}

fn is_broker(raw: &RawTopology, name: &str) -> bool {
    raw.brokers.0.iter().any(|(key, _)| key.value == name)
}

impl Work<'_> {
    /// Whether this name is still free; a name may stand for one machine only.
    fn claim(&mut self, name: &Name, span: Span, report: &mut Report) -> bool {
        if self.named_at.len() >= MACHINES_MAX {
            report.add(Code::OutOfRange, span, format!("a network has at most {MACHINES_MAX} machines"));
            return false;
        }
        if let Some(first) = self.named_at.get(name) {
            let there = report.text(*first).to_owned();
            let message = match there == name.as_str() {
                true => format!("two machines are called `{name}`"),
                false => format!("`{name}` is already one of `{there}`"),
            };
            report.add(Code::DuplicateName, span, message);
            return false;
        }
        self.named_at.insert(name.clone(), span);
        true
    }

    fn broker(&mut self, key: &Text, raw: &RawBroker, surroundings: &mut dyn Surroundings, report: &mut Report) {
        let host = raw.host.as_ref().and_then(|host| units::host(host, report));
        let Some(name) = units::name(key, report).filter(|name| self.claim(name, key.span, report)) else { return };
        let own = RawRightsRef { publish: raw.publish.as_ref(), subscribe: raw.subscribe.as_ref() };
        let rights = self.rights(&name, raw.role.as_ref(), own, report);
        let opener = if self.solo { Opener::Solo } else { Opener::Broker };
        let is_here = self.me.as_ref().is_none_or(|me| *me == name.as_str());
        let surroundings = if is_here { surroundings } else { &mut Elsewhere };
        let doors = doors::doors([self.raw.doors.as_ref(), raw.doors.as_ref()], opener, surroundings, report);
        let store = settings::store([self.raw.store.as_ref(), raw.store.as_ref()], report);
        let limits = settings::limits([self.raw.limits.as_ref(), raw.limits.as_ref()], report);
        let Some(host) = host else { return };
        let kind = Kind::Broker { host, backups: Vec::new() };
        self.built.ranking.push(name.clone());
        self.built.machines.insert(name.clone(), Machine { name, kind, rights, doors, store, limits });
    }

    fn client(
        &mut self,
        name: Name,
        key: &Text,
        raw: &RawClient,
        surroundings: &mut dyn Surroundings,
        report: &mut Report,
    ) {
        if !self.claim(&name, key.span, report) {
            return;
        }
        let own = RawRightsRef { publish: raw.publish.as_ref(), subscribe: raw.subscribe.as_ref() };
        let rights = self.rights(&name, raw.role.as_ref(), own, report);
        let mute = matches!(&rights, Rights { publish: Allow::Only(p), subscribe: Allow::Only(s) } if p.is_empty() && s.is_empty());
        // A list that another problem has emptied says nothing.
        if mute && report.is_clean() {
            let message = format!("`{name}` may neither publish nor subscribe: nothing can reach it or come from it");
            report.add(Code::Unreachable, key.span, message);
        }
        let home = raw.home.as_ref().and_then(|home| self.known_broker(home, report));
        let kind = self.client_kind(&name, key, raw, home, surroundings, report);
        let doors = doors::doors([self.raw.doors.as_ref(), raw.doors.as_ref()], Opener::Client, surroundings, report);
        let store = settings::store([self.raw.store.as_ref(), raw.store.as_ref()], report);
        let limits = settings::limits([self.raw.limits.as_ref(), raw.limits.as_ref()], report);
        self.built.machines.insert(name.clone(), Machine { name, kind, rights, doors, store, limits });
    }

    fn client_kind(
        &self,
        name: &Name,
        key: &Text,
        raw: &RawClient,
        home: Option<Name>,
        surroundings: &mut dyn Surroundings,
        report: &mut Report,
    ) -> Kind {
        if raw.device != Some(true) {
            if let Some(file) = &raw.password_file {
                let help = "write `device: true` beside it, or take it away: agents use the network's key";
                let message = format!("`{name}` runs an agent and has no password");
                report.add_with_help(Code::DeviceKey, file.span, message, help);
            }
            return Kind::Client { home };
        }
        let agents_only = [
            ("doors", raw.doors.as_ref().map(|doors| doors.span)),
            ("store", raw.store.as_ref().map(|store| store.span)),
            ("limits", raw.limits.as_ref().map(|limits| limits.span)),
        ];
        for (word, span) in agents_only {
            if let Some(span) = span {
                let message = format!("`{name}` is a device: without an agent it has no `{word}`");
                report.add(Code::DeviceKey, span, message);
            }
        }
        let Some(file) = &raw.password_file else {
            let help =
                format!("write the password with `hobnail passwd {name}.pw` and `password_file: {name}.pw` here");
            report.add_with_help(
                Code::DeviceWithoutPassword,
                key.span,
                format!("the device `{name}` has no `password_file`"),
                help,
            );
            return Kind::Device { password_file: None, home };
        };
        // Brokers let devices in.
        if self.me.as_ref().is_none_or(|me| is_broker(self.raw, me)) {
            secret(SecretFile::Password(&file.value), file.span, surroundings, report);
        }
        Kind::Device { password_file: Some(file.value.as_str().into()), home }
    }

    fn rights(&mut self, name: &Name, role: Option<&Text>, own: RawRightsRef<'_>, report: &mut Report) -> Rights {
        let role = role.and_then(|role| self.role(role, report));
        let network = self.raw.rights.as_ref().map(|rights| &rights.value);
        let found = effective(name, &Lists { own, role, network }, report);
        self.built.publish_spans.insert(name.clone(), found.publish_spans);
        found.rights
    }

    fn role(&self, role: &Text, report: &mut Report) -> Option<&RawRights> {
        let roles = &self.raw.roles.0;
        if let Some((_, found)) = roles.iter().find(|(name, _)| name.value == role.value) {
            return Some(found);
        }
        let message = format!("no role is called `{}`", role.value);
        unknown(Code::UnknownRole, role, message, roles.iter().map(|(name, _)| name.value.as_str()), report);
        None
    }

    fn known_broker(&self, text: &Text, report: &mut Report) -> Option<Name> {
        let brokers = self.raw.brokers.0.iter().map(|(name, _)| name.value.as_str());
        if brokers.clone().any(|name| name == text.value) {
            return Name::new(&text.value).ok();
        }
        let client = self.raw.clients.0.iter().any(|(name, _)| name.value == text.value);
        let message = match client {
            true => format!("`{}` is a client, not a broker", text.value),
            false => format!("no broker is called `{}`", text.value),
        };
        unknown(Code::UnknownBroker, text, message, brokers, report);
        None
    }

    /// Backups rank below the broker that they stand in for, and no chain of them comes back to where it began.
    fn backups(&mut self, report: &mut Report) {
        let edges: Vec<(&str, &Text)> = self
            .raw
            .brokers
            .0
            .iter()
            .flat_map(|(name, broker)| broker.backups.iter().map(|backup| (name.value.as_str(), backup)))
            .collect();
        let rank = |name: &str| self.raw.brokers.0.iter().position(|(key, _)| key.value == name);
        let mut found: BTreeMap<Name, Vec<Name>> = BTreeMap::new();
        for (broker, backup) in &edges {
            let Some(name) = self.known_broker(backup, report) else { continue };
            if reaches(&edges, &backup.value, broker) {
                let message = match backup.value == *broker {
                    true => format!("`{broker}` cannot stand in for itself"),
                    false => format!("`{broker}` and `{}` stand in for each other in a circle", backup.value),
                };
                let help = "backups go one way only: from a better broker to a lesser one";
                report.add_with_help(Code::BackupCycle, backup.span, message, help);
            } else if rank(&backup.value) < rank(broker) {
                let message = format!("`{}` ranks above `{broker}`, for which it should stand in", backup.value);
                let help = format!("brokers rank in the order of the file: write `{broker}` first");
                report.add_with_help(Code::BackupOutranks, backup.span, message, help);
            } else if let Ok(broker) = Name::new(broker) {
                found.entry(broker).or_default().push(name);
            }
        }
        for (broker, names) in found {
            if let Some(Machine { kind: Kind::Broker { backups, .. }, .. }) = self.built.machines.get_mut(&broker) {
                *backups = names;
            }
        }
    }

    /// No two brokers at one address, and none at an address that only itself can reach.
    fn addresses(&self, report: &mut Report) {
        let mut taken: BTreeMap<(&str, Option<u16>), &Name> = BTreeMap::new();
        for (key, raw) in &self.raw.brokers.0 {
            let (Some(text), Some(machine)) = (&raw.host, self.built.machines.get(key.value.as_str())) else {
                continue;
            };
            let place = (text.value.as_str(), machine.doors.agents);
            if let Some(other) = taken.insert(place, &machine.name) {
                let message = format!("`{other}` is already at {}", text.value);
                report.add(Code::DuplicateAddress, text.span, message);
            }
            let loopback = text.value == "localhost"
                || text.value.parse::<IpAddr>().is_ok_and(|address| address.is_loopback() || address.is_unspecified());
            let several = self.raw.brokers.0.len() + self.raw.clients.0.len() > 1;
            let all_here = self.raw.brokers.0.iter().all(|(_, other)| {
                other.host.as_ref().is_some_and(|host| host.value == text.value || host.value.starts_with("127."))
            });
            if loopback && several && !self.solo && !all_here {
                let message = format!("no other machine can reach `{}` at {}", machine.name, text.value);
                let help = "write the address that the other machines see";
                report.add_with_help(Code::Unreachable, text.span, message, help);
            }
        }
    }

    /// Every device has a door to come in by.
    fn devices(&self, report: &mut Report) {
        let has_door = |doors: &Option<Spanned<RawDoors>>| doors.as_ref().is_some_and(|d| d.value.devices.is_some());
        if has_door(&self.raw.doors) || self.raw.brokers.0.iter().any(|(_, broker)| has_door(&broker.doors)) {
            return;
        }
        for (key, _) in self.raw.clients.0.iter().filter(|(_, client)| client.device == Some(true)) {
            let help = "give a broker one: doors: { devices: { listen: \"0.0.0.0:8884\", cert: …, cert_key: … } }";
            let message = format!("no broker has a door for the device `{}`", key.value);
            report.add_with_help(Code::DeviceDoorMissing, key.span, message, help);
        }
    }
}

/// Whether following backups from `from` ever comes to `to`.
fn reaches(edges: &[(&str, &Text)], from: &str, to: &str) -> bool {
    let (mut seen, mut open) = (vec![from], vec![from]);
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        for (_, backup) in edges.iter().filter(|(broker, _)| *broker == at) {
            if !seen.contains(&backup.value.as_str()) {
                seen.push(&backup.value);
                open.push(&backup.value);
            }
        }
    }
    false
}

fn unknown<'k>(code: Code, text: &Text, message: String, known: impl Iterator<Item = &'k str>, report: &mut Report) {
    match nearest(&text.value, known) {
        Some(word) => report.add_with_help(code, text.span, message, format!("did you mean `{word}`?")),
        None => report.add(code, text.span, message),
    }
}
