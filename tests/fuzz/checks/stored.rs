//! Arbitrary things on a disk whose checksums are right: an agent starts with them, serves, writes, and the next one
//! starts with what that left and refuses no more of it than the first.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use hobnail_core::agent::{Action, Agent, Reading};
use hobnail_core::assign::assign;
use hobnail_core::broker::{self, Broker, Peer, Trust};
use hobnail_core::envelope::{Key, Keyring, NetworkKey};
use hobnail_core::keep::{Keep, Reader};
use hobnail_core::mqtt::encode;
use hobnail_core::mqtt::packet::{
    Connect, Packet, PacketId, Props, Publish, QoS, Subscribe, SubscribeFilter, SubscribeOptions, Version,
};
use hobnail_core::node::{Common, Identity, Node, Settings};
use hobnail_core::time::Now;
use hobnail_core::topology::{SecretFact, SecretFile, Surroundings, load};

use super::connection::hello;
use super::shell;

const TOPOLOGY: &str = "version: 1\nnetwork: fuzz\nkeys: { active: k1 }\nbrokers:\n  here: { host: 10.0.0.1 }\n  \
                        spare: { host: 10.0.0.2 }\n";
/// Calls that an agent may ask for in a row before it is asked to wait.
const ACTIONS_MAX: usize = 100_000;

pub fn check(input: &[u8]) {
    let mut disk = Disk::of(input);
    let refused = disk.live();
    let again = disk.live();
    assert!(again <= refused, "{refused} things were refused at the first start, {again} at the second");
}

#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut disk = Disk::default();
    let mut seeds = vec![disk.bytes()];
    for _ in 0..3 {
        assert_eq!(disk.live(), 0, "an agent believes what an agent wrote");
        seeds.push(disk.bytes());
    }
    seeds
}

/// What a store holds.
#[derive(Default)]
struct Disk {
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
    rows: BTreeMap<Vec<u8>, BTreeMap<u64, Vec<u8>>>,
}

impl Keep for Disk {
    fn put(&mut self, row: &[u8], number: u64, bytes: &[u8]) {
        self.rows.entry(row.into()).or_default().insert(number, bytes.into());
    }

    fn take(&mut self, row: &[u8], number: u64) {
        self.rows.get_mut(row).map(|row| row.remove(&number));
    }

    fn cut(&mut self, row: &[u8], upto: u64) {
        if let Some(row) = self.rows.get_mut(row) {
            row.retain(|number, _| *number > upto);
        }
    }

    fn set(&mut self, key: &[u8], bytes: &[u8]) {
        self.keys.insert(key.into(), bytes.into());
    }

    fn unset(&mut self, key: &[u8]) {
        self.keys.remove(key);
    }
}

impl Disk {
    /// Each thing: whether it is of a row, the length of its name, a number, its bytes with their length.
    fn of(input: &[u8]) -> Self {
        let (mut disk, mut input) = (Self::default(), Reader::new(input));
        while let Some((kind, name, number, bytes)) = thing(&mut input) {
            if kind % 2 == 0 { disk.set(name, bytes) } else { disk.put(name, number, bytes) }
        }
        disk
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut say = |kind: u8, name: &[u8], number: u64, bytes: &[u8]| {
            out.push(kind);
            out.extend(u32::try_from(name.len()).expect("short").to_be_bytes());
            out.extend(name);
            out.extend(number.to_be_bytes());
            out.extend(u32::try_from(bytes.len()).expect("short").to_be_bytes());
            out.extend(bytes);
        };
        self.keys.iter().for_each(|(key, bytes)| say(0, key, 0, bytes));
        self.rows.iter().for_each(|(row, all)| all.iter().for_each(|(number, bytes)| say(1, row, *number, bytes)));
        out
    }

    /// One life of an agent: programs come back to their sessions and do a little of everything. Says how much of what
    /// was there was refused.
    fn live(&mut self) -> u64 {
        let mut reading = Reading::default();
        self.keys.iter().for_each(|(key, bytes)| reading.key(key, bytes));
        for (row, all) in &self.rows {
            all.iter().for_each(|(number, bytes)| reading.row(row, *number, bytes));
        }
        let refused = reading.refused;
        let saved = reading.finish();
        let now = saved.now;
        let broker = Broker::new(broker::Settings { outward: true, ..shell::settings(0) }, saved.broker, now);
        let identity = Identity { random: [7; 32] };
        let mut agent = Agent::new(broker, Some(Node::new(network(), &identity, saved.node, now)), now);
        self.drain(&mut agent, now);
        for said in programs() {
            let peer = Peer { address: None, trust: Trust::Local };
            let conn = agent.with_broker(now, |broker| broker.handle_open(peer, now));
            self.drain(&mut agent, now);
            for packet in said {
                agent.with_broker(now, |broker| broker.handle_bytes(conn, &packet, now));
                self.drain(&mut agent, now);
            }
            let mut out = Vec::new();
            agent.with_broker(now, |broker| broker.poll_transmit(conn, &mut out, 1 << 16, now));
            agent.with_broker(now, |broker| broker.handle_close(conn, now));
            self.drain(&mut agent, now);
        }
        let mut now = now;
        for _ in 0..20 {
            let Some(due) = agent.next_deadline() else { break };
            now = now.max(due);
            agent.handle_timeout(now);
            self.drain(&mut agent, now);
        }
        refused
    }

    fn drain(&mut self, agent: &mut Agent, now: Now) {
        let mut scratch = Vec::new();
        for _ in 0..ACTIONS_MAX {
            let Some(action) = agent.poll_action() else { return };
            match action {
                Action::Store(ticket) => {
                    while let Some(write) = agent.poll_write() {
                        write.keep(self, &mut scratch);
                    }
                    agent.handle_stored(ticket, now);
                }
                Action::Dial(name) => drop(agent.with_node(now, |node| node.handle_dial_failed(&name, now))),
                Action::Resume => agent.resume(now),
                Action::Door(_)
                | Action::Undial(_)
                | Action::LinkTransmit(_)
                | Action::LinkClose(_)
                // A disk that never answers.
                | Action::Fetch(_) => {}
            }
        }
        panic!("it never comes to rest");
    }
}

fn thing<'a>(input: &mut Reader<'a>) -> Option<(u8, &'a [u8], u64, &'a [u8])> {
    Some((input.u8()?, input.bytes()?, input.u64()?, input.bytes()?))
}

/// What each of two programs with durable sessions says in a life.
fn programs() -> [Vec<Vec<u8>>; 2] {
    let said = |id: &str, filter: &str, qos: QoS| {
        let connect = Connect { clean_start: false, ..hello(id) };
        let options = SubscribeOptions { qos, ..SubscribeOptions::default() };
        let filters = vec![SubscribeFilter { filter, options }];
        let id = |id| PacketId(NonZeroU16::new(id).expect("not zero"));
        let publish = |topic, qos, number, retain| Publish {
            dup: false,
            retain,
            qos,
            id: Some(id(number)),
            topic,
            payload: b"21.5",
            topic_alias: None,
            expiry_s: None,
            props: Props::default(),
        };
        let packets = [
            Packet::Connect(Box::new(connect)),
            Packet::Subscribe(Subscribe { id: id(1), subscription_id: None, user_props: Props::default(), filters }),
            Packet::Publish(publish("a/b", QoS::AtLeastOnce, 2, false)),
            Packet::Publish(publish("a/c", QoS::AtLeastOnce, 3, true)),
            Packet::Publish(publish("b", QoS::ExactlyOnce, 4, false)),
        ];
        let encoded = packets.iter().map(|packet| {
            let mut bytes = Vec::new();
            encode(packet, Version::V311, &mut bytes).expect("it is well formed");
            bytes
        });
        encoded.collect()
    };
    [said("one", "a/#", QoS::AtLeastOnce), said("two", "#", QoS::ExactlyOnce)]
}

struct Alone;

impl Surroundings for Alone {
    fn read(&mut self, _: &str) -> Result<Vec<u8>, String> {
        Ok(TOPOLOGY.into())
    }

    fn secret(&mut self, _: SecretFile<'_>) -> SecretFact {
        SecretFact::Fine
    }
}

fn network() -> Settings {
    let topology = load("t.yaml", &mut Alone).topology.expect("it is well formed");
    let key = Key::Whole(NetworkKey::new([0x42; 32].into()));
    let keyring = Keyring::new(&shell::name("fuzz"), &key, &[]).expect("one key");
    let assignment = assign(&topology, &shell::name("here")).expect("it is there");
    let small = shell::limits();
    let settings = Settings::of(&assignment, keyring, Common::of(&topology));
    Settings { retained_len_max: 10, retained_bytes_max: small.memory_bytes_max, ..settings }
}
