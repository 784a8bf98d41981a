//! A checked topology. Every value here is valid; what a file leaves out has its default; ranges and roles are
//! already spread over the machines they name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::Name;
use crate::rights::Rights;
use crate::topic::Filter;
use crate::topology::origin::Origins;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Topology {
    pub network: Name,
    pub heartbeat: Heartbeat,
    pub failover: Failover,
    /// `None`: payloads and links use no key; only a network of one agent may do that.
    pub keys: Option<Keys>,
    pub machines: BTreeMap<Name, Machine>,
    /// Every broker, best rank first: the order of the file.
    pub ranking: Vec<Name>,
    /// First match wins.
    pub topics: Vec<TopicRule>,
    pub tests: Vec<RightsTest>,
}

impl Topology {
    /// The same on all machines that run under the same topology, however its files are written; short enough to read
    /// out.
    #[must_use]
    pub fn fingerprint(&self) -> Box<str> {
        let text = serde_json::to_vec(self).expect("maps of a topology have names as keys");
        let hash = Sha256::digest(text);
        hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// One machine, with the network's defaults and its own overrides already laid over each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    pub name: Name,
    pub kind: Kind,
    pub rights: Rights,
    pub doors: Doors,
    pub store: Store,
    pub limits: Limits,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Broker {
        host: Host,
        backups: Vec<Name>,
    },
    /// `home` is the broker it prefers; without one, the best ranked.
    Client {
        home: Option<Name>,
    },
    /// Plain MQTT without an agent, joining a broker's device door.
    Device {
        password_file: Option<Box<str>>,
        home: Option<Name>,
    },
}

/// A name or an address, as written; it is looked up when it is used, again and again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Host(pub Box<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Heartbeat {
    pub every: Duration,
    pub miss: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Failover {
    pub hold_down: Duration,
    pub failback: Failback,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Failback {
    /// By themselves, once it has been back for `hold_down`.
    Auto,
    /// Only when `hobnail promote` says so.
    Manual,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Keys {
    pub active: Name,
    pub accept: Vec<Name>,
}

/// Where this machine listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Doors {
    /// Plain MQTT for local programs.
    pub programs: Option<SocketAddr>,
    /// MQTT over WebSocket, for pages and dashboards.
    pub websocket: Option<SocketAddr>,
    /// Pages of others that may use it.
    pub origins: Origins,
    /// MQTT on a Unix socket.
    pub unix: Option<Box<str>>,
    /// MQTT over TLS for devices on the network; brokers only.
    pub devices: Option<DeviceDoor>,
    /// TLS for other agents; brokers only, on every address.
    pub agents: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceDoor {
    pub listen: SocketAddr,
    /// `None`: plain TCP, which the file has to ask for in so many words.
    pub tls: Option<TlsFiles>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsFiles {
    pub cert: Box<str>,
    pub key: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Store {
    /// `None`: the smaller of 256 MiB and 5 % of the free space.
    pub max_bytes: Option<u64>,
    pub when_full: WhenFull,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// The oldest waiting message goes.
    #[default]
    DropOldest,
    /// The new message goes.
    DropNewest,
    /// The publisher waits or is told that the quota is full.
    Block,
}

/// What one machine's doors take before they say no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    pub connections_max: u32,
    pub packet_bytes_max: u32,
    /// Messages on their way to one subscriber and not yet acknowledged.
    pub inflight_max: u16,
    /// Messages waiting for one session.
    pub queue_len_max: u32,
    pub queue_bytes_max: u64,
    /// All queued and retained messages together.
    pub memory_bytes_max: u64,
    pub retained_len_max: u32,
    pub retained_bytes_max: u64,
    pub subscriptions_max: u32,
    /// What all of them may take in memory.
    pub filters_bytes_max: u64,
    /// Longest life of a session without a connection.
    pub session_expiry_max: Duration,
    /// Longest one of v5 clients; who asks for more, or for none, is told this. `None` leaves them theirs.
    pub keep_alive: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicRule {
    pub filter: Filter,
    pub ack: Ack,
    pub lane: Lane,
    pub max_age: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ack {
    /// Accepted in memory.
    Memory,
    /// On this machine's disk.
    Disk,
    /// On this machine's disk and on another's.
    Replicated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// Kept in memory only.
    Memory,
    /// Kept on disk until it is safe elsewhere.
    Disk,
    /// As `disk`, and sent before all others.
    Urgent,
}

impl Lane {
    /// As it is written in envelopes and frames.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Memory => 0,
            Self::Disk => 1,
            Self::Urgent => 2,
        }
    }

    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Memory, Self::Disk, Self::Urgent].into_iter().find(|lane| lane.number() == number)
    }

    /// Whether it outlives the process.
    #[must_use]
    pub fn is_kept(self) -> bool {
        self != Self::Memory
    }
}

/// A line under `tests:`: what the rights of this file are meant to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RightsTest {
    pub client: Name,
    pub publish: Box<str>,
    pub expect: Expect,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    Denied,
    DeliveredTo(Vec<Name>),
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { every: Duration::from_millis(500), miss: 3 }
    }
}

impl Default for Failover {
    fn default() -> Self {
        Self { hold_down: Duration::from_secs(60), failback: Failback::Auto }
    }
}

/// What a connection may take: what came in and waits, and what is to go out.
const CONNECTION_BYTES: u64 = 512 << 10;

impl Limits {
    /// No more than fits a machine that has so much memory, whatever its topology allows.
    #[must_use]
    pub fn within(self, memory_bytes: u64) -> Self {
        let connections = u32::try_from(memory_bytes / CONNECTION_BYTES).unwrap_or(u32::MAX);
        Self {
            connections_max: self.connections_max.min(connections),
            memory_bytes_max: self.memory_bytes_max.min(memory_bytes / 4),
            retained_bytes_max: self.retained_bytes_max.min(memory_bytes / 16),
            filters_bytes_max: self.filters_bytes_max.min(memory_bytes / 16),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            connections_max: 1_000,
            packet_bytes_max: 1 << 20,
            inflight_max: 100,
            queue_len_max: 10_000,
            queue_bytes_max: 16 * MIB,
            memory_bytes_max: 128 * MIB,
            retained_len_max: 10_000,
            retained_bytes_max: 16 * MIB,
            subscriptions_max: 100_000,
            filters_bytes_max: 96 * MIB,
            session_expiry_max: Duration::from_secs(7 * 24 * 3600),
            keep_alive: None,
        }
    }
}
