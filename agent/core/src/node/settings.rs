//! What a node is set up with: its part of the topology, its keys, and what it drew at random.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::{STREAMS_MAX, WINDOW};
use crate::assign::{Assignment, Role};
use crate::envelope::{BootSalt, Keyring, SenderId};
use crate::home::{self, Rules};
use crate::ids::Name;
use crate::rights::Rights;
use crate::topology::Topology;
use crate::topology::model::{Failover, Heartbeat, TopicRule, WhenFull};

#[derive(Clone, Debug)]
pub struct Settings {
    pub me: Name,
    pub network: Name,
    pub role: Role,
    /// Every other broker, the most wanted home first.
    pub brokers: Vec<Name>,
    /// What each other machine may do; known to brokers only.
    pub peers: BTreeMap<Name, Rights>,
    pub topics: Vec<TopicRule>,
    pub heartbeat: Heartbeat,
    pub failover: Failover,
    pub when_full: WhenFull,
    /// All records together, on the disk or in memory.
    pub bytes_max: u64,
    /// What of them may be in memory, bookkeeping included.
    pub memory_bytes_max: u64,
    /// Beyond this, records that are on the disk are not in memory as well.
    pub here_bytes_max: u64,
    /// Streams that it keeps track of.
    pub streams_max: usize,
    /// Bytes of records that may be on their way by a link and not yet answered.
    pub window_bytes: u64,
    pub retained_len_max: usize,
    pub retained_bytes_max: u64,
    pub keyring: Keyring,
    pub common: Common,
}

/// What all machines of a topology have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// Tells this topology apart from others.
    pub fingerprint: Box<str>,
    /// Everybody who belongs to the network.
    pub machines: BTreeSet<Name>,
    /// Their names in envelopes.
    pub senders: BTreeSet<SenderId>,
    /// The longest packet that any of them takes: no link carries anything longer.
    pub packet_bytes_max: usize,
}

impl Common {
    #[must_use]
    pub fn of(topology: &Topology) -> Self {
        let machines: BTreeSet<Name> = topology.machines.keys().cloned().collect();
        let senders = machines.iter().map(|name| SenderId::of(&topology.network, name)).collect();
        let packet_bytes_max = topology.machines.values().map(|machine| machine.limits.packet_bytes_max as usize).max();
        let packet_bytes_max = packet_bytes_max.unwrap_or_default();
        Self { fingerprint: topology.fingerprint(), machines, senders, packet_bytes_max }
    }
}

impl Settings {
    #[must_use]
    pub fn of(assignment: &Assignment, keyring: Keyring, common: Common) -> Self {
        let memory = assignment.limits.memory_bytes_max;
        Self {
            me: assignment.me.clone(),
            network: assignment.network.clone(),
            role: assignment.role,
            brokers: assignment.homes.clone(),
            peers: assignment.peers.clone(),
            topics: assignment.topics.clone(),
            heartbeat: assignment.heartbeat,
            failover: assignment.failover,
            when_full: assignment.store.when_full,
            bytes_max: assignment.store.max_bytes.unwrap_or(memory / 2),
            memory_bytes_max: memory / 2,
            here_bytes_max: memory / 8,
            streams_max: STREAMS_MAX,
            window_bytes: WINDOW,
            retained_len_max: assignment.limits.retained_len_max as usize,
            retained_bytes_max: assignment.limits.retained_bytes_max,
            keyring,
            common,
        }
    }

    #[must_use]
    pub fn is_broker(&self) -> bool {
        match self.role {
            Role::Broker { .. } => true,
            Role::Client => false,
        }
    }

    /// Whether there are other brokers that may have what this one has lost.
    pub(super) fn waits_for_others(&self) -> bool {
        self.is_broker() && !self.brokers.is_empty()
    }

    pub(super) fn is_a_broker(&self, name: &Name) -> bool {
        self.brokers.contains(name)
    }

    /// Disks of brokers that a message has to be on before its origin forgets it.
    pub(super) fn copies_wanted(&self) -> usize {
        (self.brokers.len() + usize::from(self.is_broker())).min(2)
    }

    pub(super) fn home_rules(&self) -> Rules {
        Rules {
            role: if self.is_broker() { home::Role::Broker } else { home::Role::Client },
            order: self.brokers.clone(),
            heartbeat: self.heartbeat,
            failover: self.failover,
        }
    }
}

/// What tells this life of this machine from all others.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// 32 bytes from the system's random source, drawn at start.
    pub random: [u8; 32],
}

impl Identity {
    #[must_use]
    pub fn salt(&self) -> BootSalt {
        BootSalt(self.part(b"salt"))
    }

    #[must_use]
    pub fn boot(&self) -> u64 {
        u64::from_be_bytes(self.part(b"boot"))
    }

    pub(super) fn seed(&self) -> u64 {
        u64::from_be_bytes(self.part(b"seed"))
    }

    /// Names the streams of this life: those of later lives sort behind, of 65,536 at least, and hardly two are the same,
    /// even where two machines go on from copies of one disk.
    pub(super) fn incarnation(&self, life: u32) -> u32 {
        life << 16 | u32::from(u16::from_be_bytes(self.part(b"incarnation")))
    }

    fn part<const N: usize>(&self, what: &[u8]) -> [u8; N] {
        first(&Sha256::new().chain_update(self.random).chain_update(what).finalize().into())
    }
}

/// Another salt of the same process: the first is random, so what is made of it is too.
pub(super) fn redraw(salt: BootSalt, count: u32) -> BootSalt {
    BootSalt(first(&Sha256::new().chain_update(salt.0).chain_update(count.to_be_bytes()).finalize().into()))
}

fn first<const N: usize>(hash: &[u8; 32]) -> [u8; N] {
    hash.first_chunk().copied().unwrap_or([0; N])
}
