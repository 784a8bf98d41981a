//! The ordered steps from the running assignment to a wanted one. Boot is the plan from nothing, a reload is the next.
//!
//! Laws, held by tests over generated topologies: `plan(a, a)` is empty, and applying `plan(a, b)` to `a` gives exactly
//! `b`. What moves is opened before it is closed, so that nobody stands before two shut doors; only a door that stands
//! where another is to open goes first.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::assign::{Assignment, Device, Door, DoorKind, Link, Role};
use crate::ids::Name;
use crate::rights::Rights;
use crate::topology::model::{Failover, Heartbeat, Keys, Limits, Store, TopicRule};
use crate::topology::origin::Origins;

/// One thing to do. Every step carries all that it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Become another machine, or one of another network: everything else follows.
    Become {
        me: Name,
        network: Name,
    },
    SetKeys {
        keys: Option<Keys>,
        /// Those that open no more.
        gone: Vec<Name>,
    },
    SetLimits(Limits),
    SetStore(Store),
    SetTopics(Vec<TopicRule>),
    SetHeartbeat(Heartbeat),
    SetFailover(Failover),
    /// Client to broker or back: each speaks its own half of the protocol between machines.
    TakeRole(Role),
    TakeRank(usize),
    SetRights(Rights),
    SetOrigins(Origins),
    AdmitPeer {
        name: Name,
        rights: Rights,
    },
    AdmitDevice {
        name: Name,
        device: Device,
    },
    OpenDoor {
        kind: DoorKind,
        door: Door,
    },
    /// The new place opens first; then those who came in by the old one are let go.
    MoveDoor {
        kind: DoorKind,
        from: Door,
        to: Door,
    },
    /// The same address with other certificate files; those who are in stay in.
    ChangeCertificate {
        kind: DoorKind,
        door: Door,
    },
    OpenLink {
        name: Name,
        link: Link,
    },
    /// A client that came in here is a broker now.
    RaisePeer {
        name: Name,
        link: Link,
    },
    MoveLink {
        name: Name,
        link: Link,
        dialled: Dialled,
    },
    SetHomes(Vec<Name>),
    CloseLink(Name),
    CloseDoor(DoorKind),
    ExpelDevice(Name),
    ExpelPeer(Name),
}

/// Who may have dialled a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialled {
    /// This machine: nobody dials a client.
    Here,
    /// Either of two brokers, whoever came first.
    Either,
}

/// Whose connections a step ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drops {
    Nobody,
    /// Everyone who came in by this door.
    Door(DoorKind),
    /// The link with that broker.
    Link(Name),
    /// The same, unless that broker dialled it.
    LinkDialledHere(Name),
    /// The links whose other end proved itself with one of these keys.
    LinksProvedBy(Vec<Name>),
    Peer(Name),
    Device(Name),
    /// Every link and every peer: they prove membership of a network.
    AllMachines,
}

/// The steps that make `wanted` of `running`.
#[must_use]
pub fn plan(running: Option<&Assignment>, wanted: &Assignment) -> Vec<Step> {
    let nothing = nothing(wanted);
    let now = running.unwrap_or(&nothing);
    let mut steps = Vec::new();
    if running.is_none() || now.me != wanted.me || now.network != wanted.network {
        steps.push(Step::Become { me: wanted.me.clone(), network: wanted.network.clone() });
    }
    settings(now, wanted, &mut steps);
    arrivals(now, wanted, &mut steps);
    departures(now, wanted, &mut steps);
    steps
}

/// Settings that change in place.
fn settings(now: &Assignment, wanted: &Assignment, steps: &mut Vec<Step>) {
    if now.keys != wanted.keys {
        let (before, keys) = (now.keys.as_ref(), wanted.keys.clone());
        let opens = |key: &&Name| keys.iter().flat_map(names).any(|name| name == *key);
        let gone = before.into_iter().flat_map(names).filter(|key| !opens(key)).cloned().collect();
        steps.push(Step::SetKeys { keys, gone });
    }
    let mut set = |changed: bool, step: fn(&Assignment) -> Step| {
        if changed {
            steps.push(step(wanted));
        }
    };
    set(now.limits != wanted.limits, |to| Step::SetLimits(to.limits.clone()));
    set(now.store != wanted.store, |to| Step::SetStore(to.store.clone()));
    set(now.topics != wanted.topics, |to| Step::SetTopics(to.topics.clone()));
    set(now.heartbeat != wanted.heartbeat, |to| Step::SetHeartbeat(to.heartbeat));
    set(now.failover != wanted.failover, |to| Step::SetFailover(to.failover));
    set(now.rights != wanted.rights, |to| Step::SetRights(to.rights.clone()));
    set(now.origins != wanted.origins, |to| Step::SetOrigins(to.origins.clone()));
    match (now.role, wanted.role) {
        (Role::Broker { rank: before }, Role::Broker { rank }) if before != rank => steps.push(Step::TakeRank(rank)),
        (Role::Broker { .. }, Role::Broker { .. }) | (Role::Client, Role::Client) => {}
        (Role::Broker { .. }, Role::Client) | (Role::Client, Role::Broker { .. }) => {
            steps.push(Step::TakeRole(wanted.role));
        }
    }
}

fn names(keys: &Keys) -> impl Iterator<Item = &Name> {
    [&keys.active].into_iter().chain(&keys.accept)
}

/// What is new or elsewhere, before anything goes.
fn arrivals(now: &Assignment, wanted: &Assignment, steps: &mut Vec<Step>) {
    for (name, rights) in changed(&now.peers, &wanted.peers) {
        steps.push(Step::AdmitPeer { name: name.clone(), rights: rights.clone() });
    }
    for (name, device) in changed(&now.devices, &wanted.devices) {
        steps.push(Step::AdmitDevice { name: name.clone(), device: device.clone() });
    }
    let in_the_way: Vec<DoorKind> = in_the_way(now, wanted).collect();
    steps.extend(in_the_way.iter().copied().map(Step::CloseDoor));
    for (kind, door) in changed(&now.doors, &wanted.doors) {
        let (kind, to) = (*kind, door.clone());
        steps.push(match now.doors.get(&kind).filter(|_| !in_the_way.contains(&kind)) {
            Some(from) if only_files_differ(from, &to) => Step::ChangeCertificate { kind, door: to },
            Some(from) => Step::MoveDoor { kind, from: from.clone(), to },
            None => Step::OpenDoor { kind, door: to },
        });
    }
    for (name, link) in changed(&now.links, &wanted.links) {
        let (name, link) = (name.clone(), link.clone());
        steps.push(match (now.links.contains_key(&name), now.peers.contains_key(&name)) {
            (true, false) => Step::MoveLink { name, link, dialled: Dialled::Here },
            (true, true) => Step::MoveLink { name, link, dialled: Dialled::Either },
            (false, true) => Step::RaisePeer { name, link },
            (false, false) => Step::OpenLink { name, link },
        });
    }
    if now.homes != wanted.homes {
        steps.push(Step::SetHomes(wanted.homes.clone()));
    }
}

/// The doors that cannot stay open until their successor is: a new one wants their place.
fn in_the_way<'a>(now: &'a Assignment, wanted: &'a Assignment) -> impl Iterator<Item = DoorKind> + 'a {
    let stays = |kind: &DoorKind, door: &Door| {
        wanted.doors.get(kind).is_some_and(|to| to == door || only_files_differ(door, to))
    };
    let leaving = now.doors.iter().filter(move |(kind, door)| !stays(kind, door));
    leaving
        .filter(|(_, door)| changed(&now.doors, &wanted.doors).any(|(_, to)| to.collides(door)))
        .map(|(kind, _)| *kind)
}

fn only_files_differ(from: &Door, to: &Door) -> bool {
    matches!((from, to), (Door::Tls { listen: one, .. }, Door::Tls { listen: two, .. }) if one == two)
}

fn departures(now: &Assignment, wanted: &Assignment, steps: &mut Vec<Step>) {
    steps.extend(gone(&now.links, &wanted.links).cloned().map(Step::CloseLink));
    let closed: Vec<DoorKind> = in_the_way(now, wanted).collect();
    let gone_doors = gone(&now.doors, &wanted.doors).copied().filter(|kind| !closed.contains(kind));
    steps.extend(gone_doors.map(Step::CloseDoor));
    steps.extend(gone(&now.devices, &wanted.devices).cloned().map(Step::ExpelDevice));
    steps.extend(gone(&now.peers, &wanted.peers).cloned().map(Step::ExpelPeer));
}

fn changed<'a, K: Ord, V: PartialEq>(
    now: &'a BTreeMap<K, V>,
    wanted: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    wanted.iter().filter(|(key, value)| now.get(key) != Some(value))
}

fn gone<'a, K: Ord, V>(now: &'a BTreeMap<K, V>, wanted: &'a BTreeMap<K, V>) -> impl Iterator<Item = &'a K> {
    now.keys().filter(|key| !wanted.contains_key(key))
}

/// An agent that does nothing yet. Its settings are the wanted ones: there is nothing to change them from.
fn nothing(wanted: &Assignment) -> Assignment {
    Assignment {
        doors: BTreeMap::new(),
        links: BTreeMap::new(),
        homes: Vec::new(),
        peers: BTreeMap::new(),
        devices: BTreeMap::new(),
        ..wanted.clone()
    }
}

/// What `running` is after `steps`.
#[must_use]
pub fn apply(mut running: Assignment, steps: &[Step]) -> Assignment {
    for step in steps {
        apply_one(&mut running, step.clone());
    }
    running
}

fn apply_one(to: &mut Assignment, step: Step) {
    match step {
        Step::Become { me, network } => (to.me, to.network) = (me, network),
        Step::SetKeys { keys, .. } => to.keys = keys,
        Step::SetLimits(limits) => to.limits = limits,
        Step::SetStore(store) => to.store = store,
        Step::SetTopics(topics) => to.topics = topics,
        Step::SetHeartbeat(heartbeat) => to.heartbeat = heartbeat,
        Step::SetFailover(failover) => to.failover = failover,
        Step::TakeRole(role) => to.role = role,
        Step::TakeRank(rank) => to.role = Role::Broker { rank },
        Step::SetRights(rights) => to.rights = rights,
        Step::SetOrigins(origins) => to.origins = origins,
        Step::SetHomes(homes) => to.homes = homes,
        Step::AdmitPeer { name, rights } => drop(to.peers.insert(name, rights)),
        Step::AdmitDevice { name, device } => drop(to.devices.insert(name, device)),
        Step::OpenDoor { kind, door }
        | Step::MoveDoor { kind, to: door, .. }
        | Step::ChangeCertificate { kind, door } => drop(to.doors.insert(kind, door)),
        Step::OpenLink { name, link } | Step::RaisePeer { name, link } | Step::MoveLink { name, link, .. } => {
            drop(to.links.insert(name, link));
        }
        Step::CloseLink(name) => drop(to.links.remove(&name)),
        Step::CloseDoor(kind) => drop(to.doors.remove(&kind)),
        Step::ExpelDevice(name) => drop(to.devices.remove(&name)),
        Step::ExpelPeer(name) => drop(to.peers.remove(&name)),
    }
}

impl Step {
    /// Whose connections this step ends. Changed rights, ranks, timers, limits and topics end none. Nor does the agent door:
    /// links live on until the other machine's own plan ends them, or moves them to where the door is then.
    #[must_use]
    pub fn drops(&self) -> Drops {
        match self {
            Self::Become { .. } | Self::TakeRole(_) => Drops::AllMachines,
            Self::MoveDoor { kind: DoorKind::Agents, .. } | Self::CloseDoor(DoorKind::Agents) => Drops::Nobody,
            Self::MoveDoor { kind, .. } | Self::CloseDoor(kind) => Drops::Door(*kind),
            Self::MoveLink { name, dialled: Dialled::Either, .. } => Drops::LinkDialledHere(name.clone()),
            Self::MoveLink { name, dialled: Dialled::Here, .. } | Self::CloseLink(name) => Drops::Link(name.clone()),
            Self::ExpelDevice(name) => Drops::Device(name.clone()),
            Self::ExpelPeer(name) | Self::RaisePeer { name, .. } => Drops::Peer(name.clone()),
            Self::SetKeys { gone, .. } if !gone.is_empty() => Drops::LinksProvedBy(gone.clone()),
            Self::SetKeys { .. }
            | Self::SetLimits(_)
            | Self::SetStore(_)
            | Self::SetTopics(_)
            | Self::SetHeartbeat(_)
            | Self::SetFailover(_)
            | Self::TakeRank(_)
            | Self::SetRights(_)
            | Self::SetOrigins(_)
            | Self::AdmitPeer { .. }
            | Self::AdmitDevice { .. }
            | Self::OpenDoor { .. }
            | Self::ChangeCertificate { .. }
            | Self::OpenLink { .. }
            | Self::SetHomes(_) => Drops::Nobody,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Become { me, network } => write!(f, "become {me} in network {network}"),
            Self::SetKeys { keys: Some(keys), .. } => {
                write!(f, "seal with key {}, still open {} more", keys.active, keys.accept.len())
            }
            Self::SetKeys { keys: None, .. } => write!(f, "use no key"),
            Self::SetLimits(_) => write!(f, "change the limits"),
            Self::SetStore(_) => write!(f, "change the store's limits"),
            Self::SetTopics(rules) => write!(f, "change the topic rules ({} of them)", rules.len()),
            Self::SetHeartbeat(beat) => write!(f, "beat every {:?}, down after {} missed", beat.every, beat.miss),
            Self::SetFailover(failover) => write!(f, "return to a better broker after {:?}", failover.hold_down),
            Self::TakeRole(Role::Broker { rank }) => write!(f, "become a broker, number {}", rank + 1),
            Self::TakeRole(Role::Client) => write!(f, "become a client"),
            Self::TakeRank(rank) => write!(f, "serve as broker number {}", rank + 1),
            Self::SetRights(_) => write!(f, "change what programs here may publish and subscribe to"),
            Self::SetOrigins(_) => write!(f, "change which web pages may use the WebSocket door"),
            Self::AdmitPeer { name, .. } => write!(f, "admit {name}, with its rights as they are now"),
            Self::AdmitDevice { name, .. } => write!(f, "admit the device {name}, with its rights as they are now"),
            Self::OpenDoor { kind, door } => write!(f, "open the {kind} door at {door}"),
            Self::MoveDoor { kind, from, to } => write!(f, "move the {kind} door from {from} to {to}"),
            Self::ChangeCertificate { kind, .. } => write!(f, "show another certificate at the {kind} door"),
            Self::OpenLink { name, link } => write!(f, "link to {name} at {link}"),
            Self::RaisePeer { name, link } => write!(f, "link to {name}, which is a broker now, at {link}"),
            Self::MoveLink { name, link, .. } => write!(f, "link to {name} at its new place {link}"),
            Self::SetHomes(homes) => {
                let names: Vec<&str> = homes.iter().map(Name::as_str).collect();
                write!(f, "prefer as home: {}", if names.is_empty() { "nobody".to_owned() } else { names.join(", ") })
            }
            Self::CloseLink(name) => write!(f, "let go of the link to {name}"),
            Self::CloseDoor(kind) => write!(f, "close the {kind} door"),
            Self::ExpelDevice(name) => write!(f, "no longer admit the device {name}"),
            Self::ExpelPeer(name) => write!(f, "no longer admit {name}"),
        }
    }
}

impl fmt::Display for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody"),
            Self::Door(kind) => write!(f, "everyone who came in by the {kind} door"),
            Self::Link(name) => write!(f, "the link to {name}"),
            Self::LinkDialledHere(name) => write!(f, "the link to {name} if it was dialled from here"),
            Self::LinksProvedBy(keys) => {
                let names: Vec<&str> = keys.iter().map(Name::as_str).collect();
                write!(f, "links whose other end proved itself with {}", names.join(" or "))
            }
            Self::Peer(name) => write!(f, "the machine {name}"),
            Self::Device(name) => write!(f, "the device {name}"),
            Self::AllMachines => f.write_str("every link to and from other machines"),
        }
    }
}

impl fmt::Display for DoorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Programs => "program",
            Self::WebSocket => "WebSocket",
            Self::Unix => "Unix socket",
            Self::Devices => "device",
            Self::Agents => "agent",
        })
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Tls { listen, .. } => write!(f, "{listen} (TLS)"),
            Self::Unix(path) => f.write_str(path),
            Self::Agents(port) => write!(f, "port {port}"),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host.0, self.port)
    }
}

#[cfg(test)]
mod tests;
