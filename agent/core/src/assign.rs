//! What one machine has to do under a topology: the part of the model that is its own, and nothing else.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use serde::Serialize;

use crate::ids::Name;
use crate::rights::Rights;
use crate::topology::Topology;
use crate::topology::model::{
    Doors, Failover, Heartbeat, Host, Keys, Kind, Limits, Machine, Store, TlsFiles, TopicRule,
};
use crate::topology::origin::Origins;

/// Everything that the agent of one machine needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assignment {
    pub me: Name,
    pub network: Name,
    pub role: Role,
    pub doors: BTreeMap<DoorKind, Door>,
    /// The pages of others that may use the WebSocket door.
    pub origins: Origins,
    /// Every other broker, by name.
    pub links: BTreeMap<Name, Link>,
    /// The names of `links`, the most wanted home first.
    pub homes: Vec<Name>,
    /// What the programs of this machine may do.
    pub rights: Rights,
    /// The machines that may come in by the agent door, with what they may do; empty on clients.
    pub peers: BTreeMap<Name, Rights>,
    /// The devices that may come in by the device door; empty where there is none.
    pub devices: BTreeMap<Name, Device>,
    pub keys: Option<Keys>,
    pub topics: Vec<TopicRule>,
    pub heartbeat: Heartbeat,
    pub failover: Failover,
    pub store: Store,
    pub limits: Limits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Carries messages for others; 0 is the best rank.
    Broker {
        rank: usize,
    },
    Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DoorKind {
    Programs,
    WebSocket,
    Unix,
    Devices,
    Agents,
}

/// Where a door listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    Tcp(SocketAddr),
    Tls {
        listen: SocketAddr,
        files: TlsFiles,
    },
    Unix(Box<str>),
    /// On every address, for agents.
    Agents(u16),
}

impl Door {
    /// Whether the two cannot stand open at once on one machine.
    #[must_use]
    pub fn collides(&self, other: &Self) -> bool {
        match (self.listens(), other.listens()) {
            (Some(one), Some(two)) => {
                let same_host = one.ip() == two.ip() || one.ip().is_unspecified() || two.ip().is_unspecified();
                one.port() == two.port() && one.port() != 0 && same_host
            }
            (None, None) => self == other,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// The address that it takes; a Unix socket takes none.
    fn listens(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listen) | Self::Tls { listen, .. } => Some(*listen),
            Self::Agents(port) => Some((Ipv4Addr::UNSPECIFIED, *port).into()),
            Self::Unix(_) => None,
        }
    }
}

/// Where another broker's agent door is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    pub host: Host,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    pub password_file: Option<Box<str>>,
    pub rights: Rights,
    /// The device door that it wants most when this one is shut, as `host:port`.
    pub elsewhere: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    #[error("no machine is called `{0}` in this network")]
    NotInTopology(Name),
    #[error("`{0}` is a device: it runs no agent")]
    IsDevice(Name),
}

/// What `me` has to do.
pub fn assign(topology: &Topology, me: &Name) -> Result<Assignment, AssignError> {
    let machine = topology.machines.get(me).ok_or_else(|| AssignError::NotInTopology(me.clone()))?;
    let (role, home) = match &machine.kind {
        Kind::Broker { .. } => (Role::Broker { rank: rank(topology, me) }, None),
        Kind::Client { home } => (Role::Client, home.as_ref()),
        Kind::Device { .. } => return Err(AssignError::IsDevice(me.clone())),
    };
    let others = |name: &&Name| *name != me;
    let links: BTreeMap<Name, Link> =
        topology.ranking.iter().filter(others).filter_map(|name| link(topology, name)).collect();
    let homes = homes(topology, home).into_iter().filter(|name| links.contains_key(name)).collect();
    let is_broker = matches!(role, Role::Broker { .. });
    let mut doors = doors(&machine.doors);
    let peers = if is_broker && doors.contains_key(&DoorKind::Agents) { peers(topology, me) } else { BTreeMap::new() };
    if peers.is_empty() {
        doors.remove(&DoorKind::Agents);
    }
    let has_devices = is_broker && doors.contains_key(&DoorKind::Devices);
    Ok(Assignment {
        me: me.clone(),
        network: topology.network.clone(),
        role,
        origins: machine.doors.origins.clone(),
        links,
        homes,
        rights: machine.rights.clone(),
        peers,
        devices: if has_devices { devices(topology, me) } else { BTreeMap::new() },
        doors,
        keys: topology.keys.clone(),
        topics: topology.topics.clone(),
        heartbeat: topology.heartbeat,
        failover: topology.failover,
        store: machine.store.clone(),
        limits: machine.limits.clone(),
    })
}

/// What a machine does that has no network any more, or none yet: it serves the programs that it serves now.
#[must_use]
pub fn alone(running: &Assignment) -> Assignment {
    let local = |kind: &DoorKind| !matches!(kind, DoorKind::Agents | DoorKind::Devices);
    Assignment {
        role: Role::Client,
        doors: running.doors.iter().filter(|(kind, _)| local(kind)).map(|(kind, door)| (*kind, door.clone())).collect(),
        links: BTreeMap::new(),
        homes: Vec::new(),
        peers: BTreeMap::new(),
        devices: BTreeMap::new(),
        keys: None,
        ..running.clone()
    }
}

/// The order in which brokers are wanted as home: the preferred one, those that stand in for it, then all by rank.
#[must_use]
pub fn homes(topology: &Topology, preferred: Option<&Name>) -> Vec<Name> {
    let mut order: Vec<Name> = Vec::new();
    // Backups rank strictly lower, so this ends; a broker that comes again is skipped all the same.
    let mut open: Vec<&Name> = preferred.or(topology.ranking.first()).into_iter().collect();
    while let Some(name) = open.pop() {
        if order.contains(name) {
            continue;
        }
        order.push(name.clone());
        if let Some(Machine { kind: Kind::Broker { backups, .. }, .. }) = topology.machines.get(name) {
            open.extend(backups.iter().rev());
        }
    }
    let rest = topology.ranking.iter().filter(|name| !order.contains(name)).cloned();
    let rest: Vec<Name> = rest.collect();
    order.extend(rest);
    order
}

fn rank(topology: &Topology, name: &Name) -> usize {
    topology.ranking.iter().position(|broker| broker == name).unwrap_or(topology.ranking.len())
}

fn link(topology: &Topology, name: &Name) -> Option<(Name, Link)> {
    let machine = topology.machines.get(name)?;
    match &machine.kind {
        Kind::Broker { host, .. } => Some((name.clone(), Link { host: host.clone(), port: machine.doors.agents? })),
        Kind::Client { .. } | Kind::Device { .. } => None,
    }
}

fn doors(doors: &Doors) -> BTreeMap<DoorKind, Door> {
    let device_door = doors.devices.as_ref().map(|door| match &door.tls {
        Some(files) => Door::Tls { listen: door.listen, files: files.clone() },
        None => Door::Tcp(door.listen),
    });
    let all = [
        (DoorKind::Programs, doors.programs.map(Door::Tcp)),
        (DoorKind::WebSocket, doors.websocket.map(Door::Tcp)),
        (DoorKind::Unix, doors.unix.clone().map(Door::Unix)),
        (DoorKind::Devices, device_door),
        (DoorKind::Agents, doors.agents.map(Door::Agents)),
    ];
    all.into_iter().filter_map(|(kind, door)| Some((kind, door?))).collect()
}

fn peers(topology: &Topology, me: &Name) -> BTreeMap<Name, Rights> {
    let machines = topology.machines.iter().filter(|(name, _)| *name != me);
    machines
        .filter(|(_, machine)| !matches!(machine.kind, Kind::Device { .. }))
        .map(|(name, machine)| (name.clone(), machine.rights.clone()))
        .collect()
}

/// Where a broker's device door is, as a device would write it.
fn device_door(topology: &Topology, name: &Name) -> Option<Box<str>> {
    let machine = topology.machines.get(name)?;
    let port = machine.doors.devices.as_ref()?.listen.port();
    match &machine.kind {
        Kind::Broker { host: Host(host), .. } if host.contains(':') => Some(format!("[{host}]:{port}").into()),
        Kind::Broker { host: Host(host), .. } => Some(format!("{host}:{port}").into()),
        Kind::Client { .. } | Kind::Device { .. } => None,
    }
}

fn devices(topology: &Topology, me: &Name) -> BTreeMap<Name, Device> {
    let device = |machine: &Machine| match &machine.kind {
        Kind::Device { password_file, home } => Some(Device {
            password_file: password_file.clone(),
            rights: machine.rights.clone(),
            elsewhere: homes(topology, home.as_ref())
                .iter()
                .filter(|name| *name != me)
                .find_map(|name| device_door(topology, name)),
        }),
        Kind::Broker { .. } | Kind::Client { .. } => None,
    };
    topology.machines.iter().filter_map(|(name, machine)| Some((name.clone(), device(machine)?))).collect()
}
