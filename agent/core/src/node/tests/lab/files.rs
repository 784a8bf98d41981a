//! The files on the lab's machines: topologies and keys, and what becomes of a machine when they change.

use super::{Lab, Room};
use crate::assign::assign;
use crate::envelope::{Key, Keyring, NetworkKey, Seed};
use crate::ids::Name;
use crate::node::{Common, Settings};
use crate::topology::tests::parse;

impl Lab {
    /// What the file on `name` says of it.
    pub(super) fn settings(&self, name: &str) -> Settings {
        let topology = &self.machines[name].topology;
        let assignment = assign(topology, &Name::new(name).unwrap()).unwrap();
        let settings = Settings::of(&assignment, self.keyring(&[Self::key(7)]), Common::of(topology));
        let Room { here_bytes_max, streams_max, window_bytes } = self.room;
        Settings { here_bytes_max, streams_max, window_bytes, ..settings }
    }

    /// The file on one machine is edited.
    pub fn edit(&mut self, name: &str, yaml: &str) {
        self.machines.get_mut(name).unwrap().topology = parse(yaml);
        let (settings, now) = (self.settings(name), self.now);
        self.node_mut(name).unwrap().handle_settings(settings, now);
        self.drain(name);
    }

    /// Whether the file on `at` lets `other` in, or out to.
    pub(super) fn knows(&self, at: &str, other: &str) -> bool {
        let assignment = assign(&self.machines[at].topology, &Name::new(at).unwrap()).unwrap();
        let other = Name::new(other).unwrap();
        assignment.links.contains_key(&other) || assignment.peers.contains_key(&other)
    }

    pub fn key(byte: u8) -> Key {
        Key::Whole(NetworkKey::new(Seed::new([byte; 32])))
    }

    /// The first is active.
    pub(super) fn keyring(&self, keys: &[Key]) -> Keyring {
        Keyring::new(&self.topology.network, &keys[0], &keys[1..]).unwrap()
    }

    pub fn rekey(&mut self, name: &str, keys: &[Key]) {
        let (keyring, now) = (self.keyring(keys), self.now);
        self.node_mut(name).unwrap().handle_keyring(keyring, now);
        self.drain(name);
    }
}
