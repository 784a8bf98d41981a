//! A machine that comes into a network, leaves it, and comes into another, with its programs connected all the while.

use std::collections::BTreeMap;

use super::*;
use crate::assign::assign;
use crate::broker::{ConnId, Peer, Principal, Trust};
use crate::envelope::{Key, Keyring, NetworkKey, Seed};
use crate::node::Saved as NodeSaved;
use crate::node::{Common, Side};
use crate::rights::Rights;
use crate::topology::model::{Limits, WhenFull};
use crate::topology::tests::parse;

const NOW: Now = Now(1_000_000);

struct Bench {
    agent: Agent,
    program: ConnId,
    actions: Vec<Action>,
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Its program's broker, with or without a network to offer to.
fn broker(outward: bool) -> broker::Settings {
    broker::Settings {
        limits: Limits::default(),
        when_full: WhenFull::default(),
        local: Principal { name: name("press"), rights: Rights::default() },
        devices: BTreeMap::new(),
        id_seed: 1,
        elsewhere: BTreeMap::new(),
        topics: Vec::new(),
        outward,
    }
}

/// `press` in this network of two.
fn member(network: &str) -> node::Settings {
    let text = format!(
        "version: 1\nnetwork: {network}\nkeys: {{ active: k1 }}\nbrokers:\n  hub: {{ host: 10.0.0.1 }}\n\
         clients:\n  press: {{}}\n"
    );
    let topology = parse(&text);
    let key = Key::Whole(NetworkKey::new(Seed::new([7; 32])));
    let keyring = Keyring::new(&topology.network, &key, &[]).unwrap();
    node::Settings::of(&assign(&topology, &name("press")).unwrap(), keyring, Common::of(&topology))
}

impl Bench {
    fn new(outward: bool) -> Self {
        let mut agent = Agent::new(Broker::new(broker(outward), broker::Saved::default(), NOW), None, NOW);
        let peer = Peer { address: None, trust: Trust::Local };
        let program = agent.with_broker(NOW, |broker| broker.handle_open(peer, NOW));
        let mut bench = Self { agent, program, actions: Vec::new() };
        bench.send(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01p");
        assert_eq!(bench.hear(), b"\x20\x02\0\0");
        bench
    }

    fn send(&mut self, bytes: &[u8]) {
        self.agent.with_broker(NOW, |broker| broker.handle_bytes(self.program, bytes, NOW));
    }

    /// A QoS 1 publish of this number.
    fn publish(&mut self, number: u8) {
        self.send(&[0x32, 6, 0, 1, b't', 0, number, b'x']);
    }

    fn hear(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.agent.with_broker(NOW, |broker| broker.poll_transmit(self.program, &mut out, 1 << 16, NOW));
        out
    }

    fn edit(&mut self, outward: bool, network: Option<node::Settings>, random: u8) {
        let birth = || (Identity { random: [random; 32] }, NodeSaved::default());
        self.agent.handle_settings(broker(outward), network, birth, NOW);
        self.drain();
    }

    /// What the disk is asked for happens at once.
    fn drain(&mut self) {
        while let Some(action) = self.agent.poll_action() {
            if let Action::Store(ticket) = action {
                while self.agent.poll_write().is_some() {}
                self.agent.handle_stored(ticket, NOW);
            }
            self.actions.push(action);
        }
    }

    fn link(&mut self) -> LinkId {
        self.agent.with_node(NOW, |node| node.handle_link_open(&name("hub"), Side::Dialed, NOW)).unwrap()
    }
}

#[test]
fn what_is_published_before_there_is_a_topology_is_answered_by_none_or_when_there_is_one_machine() {
    let mut bench = Bench::new(true);
    bench.publish(1);
    bench.publish(2);
    bench.drain();
    assert!(bench.hear().is_empty(), "nothing says yet what is promised");
    bench.edit(false, None, 1);
    assert_eq!(bench.hear(), [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
}

#[test]
fn the_first_network_gets_its_links_and_the_last_one_loses_them_and_no_program_notices() {
    let mut bench = Bench::new(false);
    bench.edit(true, Some(member("one")), 1);
    assert!(bench.actions.contains(&Action::Dial(name("hub"))));
    let link = bench.link();
    bench.edit(false, None, 2);
    assert!(bench.actions.contains(&Action::LinkClose(link)));
    assert!(bench.agent.node().is_none());
    bench.publish(1);
    assert_eq!(bench.hear(), [0x40, 2, 0, 1]);
}

#[test]
fn another_network_is_another_node_and_what_is_said_of_the_old_one_means_none_of_it() {
    let mut bench = Bench::new(true);
    bench.edit(true, Some(member("one")), 1);
    let old = bench.link();
    let tickets = |bench: &Bench| {
        let stores = bench.actions.iter().filter_map(|action| match action {
            Action::Store(ticket) => Some(*ticket),
            Action::Door(_)
            | Action::Dial(_)
            | Action::Undial(_)
            | Action::LinkTransmit(_)
            | Action::LinkClose(_)
            | Action::Fetch(_)
            | Action::Resume => None,
        });
        stores.collect::<Vec<_>>()
    };
    let before = tickets(&bench);
    bench.actions.clear();
    bench.edit(true, Some(member("two")), 2);
    assert!(bench.actions.contains(&Action::LinkClose(old)));
    assert_eq!(bench.agent.node().unwrap().status(NOW).network, name("two"));
    assert_ne!(bench.link(), old);
    assert!(tickets(&bench).iter().all(|new| before.iter().all(|old| old < new)), "{before:?}");
    bench.edit(true, Some(member("two")), 3);
    assert_eq!(bench.agent.node().unwrap().status(NOW).links.len(), 1, "the same machine of the same network goes on");
}
