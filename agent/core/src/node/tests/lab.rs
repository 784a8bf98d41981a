//! A whole network in one thread and in virtual time: real nodes, wires that can be cut, programs that only count.

mod disk;
mod files;
mod wires;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::broker::{Content, OfferId, Retain, Ticket};
use crate::envelope::SenderId;
use crate::ids::Name;
use crate::mqtt::packet::QoS;
use crate::mqtt::props::{Prop, PropsBuf, RESPONSE_TOPIC};
use crate::node::{Action, Fetch, Identity, LinkId, Node, Numbers, Pong, STREAMS_MAX, Side, WINDOW};
use crate::stream::StreamId;
use crate::time::Now;
use crate::topology::Topology;
use crate::topology::tests::parse;
pub use disk::Disk;

const LATENCY: Duration = Duration::from_millis(1);
const FSYNC: Duration = Duration::from_millis(4);
const FETCH: Duration = Duration::from_millis(2);

/// What each machine has room for, as in its settings.
#[derive(Clone, Copy)]
pub struct Room {
    pub here_bytes_max: u64,
    pub streams_max: usize,
    pub window_bytes: u64,
}

impl Room {
    pub const PLENTY: Self = Self { here_bytes_max: 64 << 10, streams_max: STREAMS_MAX, window_bytes: WINDOW };
}

pub struct Lab {
    pub now: Now,
    pub topology: Topology,
    pub machines: BTreeMap<String, Machine>,
    wires: BTreeMap<End, End>,
    /// What each wire carries, where that is not any number of bytes, and until when it is busy.
    pub bytes_per_second: Option<u32>,
    busy: BTreeMap<End, Now>,
    /// From whom to whom a lost packet is awaited, and until when; what has come behind one, and when.
    holes: BTreeMap<(String, String), Now>,
    behind: Vec<(End, Now)>,
    events: BTreeMap<(Now, u64), Event>,
    count: u64,
    cut: BTreeSet<(String, String)>,
    /// What a cut holds up: it comes when the cut is healed, if the connection is still there.
    held: Vec<Event>,
    boots: u64,
    room: Room,
    /// Publishers may be told that there is no room.
    pub refusals_are_fine: bool,
}

pub struct Machine {
    pub node: Option<Node>,
    /// The file that lies on it.
    topology: Topology,
    wants: BTreeSet<String>,
    pub heard: Vec<Heard>,
    retained: BTreeMap<String, String>,
    told: u64,
    pub settled: BTreeSet<OfferId>,
    pub disk: Disk,
    /// Its programs take nothing more.
    pub full: bool,
    /// It is stopped; what happens to it meanwhile waits here.
    frozen: Option<VecDeque<Event>>,
    /// Milliseconds that its wall clock is off.
    wall_ms: u64,
}

/// Something that a program was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub text: String,
    pub place: Option<(StreamId, u64)>,
}

/// Of a wire, at a machine.
type End = (String, LinkId);

#[derive(Clone)]
pub enum Event {
    Bytes { to: End, bytes: Vec<u8> },
    Closed { to: End },
    DialFailed { at: String, to: Name },
    Stored { at: String, ticket: Ticket, written: usize, life: u64 },
    Fetch { at: String, fetch: Fetch, life: u64 },
}

impl Lab {
    pub fn new(yaml: &str, seed: u64) -> Self {
        Self::with(yaml, seed, Room::PLENTY)
    }

    pub fn with(yaml: &str, seed: u64, room: Room) -> Self {
        let topology = parse(yaml);
        let names: Vec<String> = topology.machines.keys().map(|name| name.as_str().to_owned()).collect();
        let mut lab = Self {
            now: Now(1_000_000),
            topology,
            machines: BTreeMap::new(),
            wires: BTreeMap::new(),
            bytes_per_second: None,
            busy: BTreeMap::new(),
            holes: BTreeMap::new(),
            behind: Vec::new(),
            events: BTreeMap::new(),
            count: 0,
            cut: BTreeSet::new(),
            held: Vec::new(),
            boots: seed << 32,
            room,
            refusals_are_fine: false,
        };
        for name in &names {
            let machine = Machine {
                node: None,
                topology: lab.topology.clone(),
                wants: BTreeSet::new(),
                heard: Vec::new(),
                retained: BTreeMap::new(),
                settled: BTreeSet::new(),
                told: 0,
                disk: Disk::default(),
                full: false,
                frozen: None,
                wall_ms: 1_800_000_000_000,
            };
            lab.machines.insert(name.clone(), machine);
        }
        names.iter().for_each(|name| lab.start(name));
        lab
    }

    pub fn start(&mut self, name: &str) {
        self.boots += 1;
        let settings = self.settings(name);
        let mut random = [0; 32];
        random[..8].copy_from_slice(&self.boots.to_be_bytes());
        let machine = self.machines.get_mut(name).unwrap();
        let identity = Identity { random };
        let saved = machine.disk.read();
        machine.retained.clear();
        // What was read back is on disk.
        machine.disk.synced = machine.disk.writes.len();
        // A link's number is that of no earlier life: what was on its way by a link of one is not for another.
        let numbers = Numbers { links: (self.boots & 0xFFFF) << 32, ..Numbers::default() };
        let mut node = Node::after(numbers, settings, &identity, saved, self.now);
        node.handle_wall(machine.wall_ms as i64 * 1000);
        machine.wants.iter().for_each(|filter| node.handle_wanted(filter, self.now));
        machine.node = Some(node);
        self.drain(name);
    }

    /// As a service manager stops it: it says good-bye.
    pub fn stop(&mut self, name: &str) {
        let now = self.now;
        self.node_mut(name).unwrap().handle_stop(now);
        self.drain(name);
        self.kill(name);
    }

    /// The process is gone; what it wrote is not.
    pub fn kill(&mut self, name: &str) {
        let machine = self.machines.get_mut(name).unwrap();
        machine.node = None;
        machine.frozen = None;
        let ends: Vec<_> = self.wires.keys().filter(|(at, _)| at == name).cloned().collect();
        for end in ends {
            self.unplug(&end);
        }
    }

    /// The power is gone: of what was not synced, `luck` per cent is there afterwards.
    pub fn power_cut(&mut self, name: &str, luck: usize) {
        self.kill(name);
        self.machines.get_mut(name).unwrap().disk.tear(luck);
    }

    /// A new card: nothing is there.
    pub fn wipe(&mut self, name: &str) {
        self.kill(name);
        self.machines.get_mut(name).unwrap().disk = Disk::default();
    }

    /// An old copy of the card is put in.
    pub fn put_disk(&mut self, name: &str, disk: Disk) {
        self.kill(name);
        self.machines.get_mut(name).unwrap().disk = disk;
    }

    pub fn freeze(&mut self, name: &str) {
        let machine = self.machines.get_mut(name).unwrap();
        if machine.node.is_some() && machine.frozen.is_none() {
            machine.frozen = Some(VecDeque::new());
        }
    }

    /// Its programs have no room, or have room again.
    pub fn set_full(&mut self, name: &str, full: bool) {
        let now = self.now;
        self.machines.get_mut(name).unwrap().full = full;
        if !full && let Some(node) = self.node_mut(name) {
            node.handle_inward_room(now);
            self.drain(name);
        }
    }

    pub fn thaw(&mut self, name: &str) {
        let missed = self.machines.get_mut(name).unwrap().frozen.take().unwrap_or_default();
        missed.into_iter().for_each(|event| self.happen(event));
    }

    /// Its programs are gone.
    pub fn forget_wants(&mut self, name: &str) {
        self.machines.get_mut(name).unwrap().wants.clear();
    }

    pub fn set_wall(&mut self, name: &str, wall_ms: u64) {
        let machine = self.machines.get_mut(name).unwrap();
        machine.wall_ms = wall_ms;
        if let Some(node) = &mut machine.node {
            node.handle_wall(wall_ms as i64 * 1000);
        }
    }

    /// This end is gone; the other hears of it.
    fn unplug(&mut self, end: &(String, LinkId)) {
        let Some(other) = self.wires.remove(end) else { return };
        self.wires.remove(&other);
        let event = Event::Closed { to: other.clone() };
        if self.passes(&end.0, &other.0) {
            self.later(LATENCY, event);
        } else {
            self.held.push(event);
        }
    }

    /// Its disk takes nothing until it is mended.
    pub fn stop_disk(&mut self, name: &str) {
        self.machines.get_mut(name).unwrap().disk.stopped = Some(Vec::new());
    }

    pub fn mend_disk(&mut self, name: &str) {
        let waits = self.machines.get_mut(name).unwrap().disk.stopped.take().unwrap();
        waits.into_iter().for_each(|stored| self.later(FSYNC, stored));
    }

    /// It has come to so many more of the commits that were asked for.
    pub fn store_some(&mut self, name: &str, count: usize) {
        let waits = self.machines.get_mut(name).unwrap().disk.stopped.as_mut().unwrap();
        let some: Vec<Event> = waits.drain(..count).collect();
        some.into_iter().for_each(|stored| self.happen(stored));
    }

    pub fn want(&mut self, name: &str, filter: &str) {
        let now = self.now;
        let machine = self.machines.get_mut(name).unwrap();
        machine.wants.insert(filter.into());
        machine.node.as_mut().unwrap().handle_wanted(filter, now);
        self.drain(name);
    }

    pub fn publish(&mut self, name: &str, topic: &str, payload: &str) -> OfferId {
        self.offer(name, topic, payload, PropsBuf::default(), false)
    }

    /// A publish that asks for an answer.
    pub fn publish_asking(&mut self, name: &str, topic: &str, answer_to: &str) -> OfferId {
        let mut props = PropsBuf::default();
        props.push(Prop::Text(RESPONSE_TOPIC, answer_to));
        self.offer(name, topic, "?", props, false)
    }

    pub fn retain(&mut self, name: &str, topic: &str, payload: &str) -> OfferId {
        let machine = self.machines.get_mut(name).unwrap();
        machine.keep(topic, payload);
        self.offer(name, topic, payload, PropsBuf::default(), true)
    }

    /// The same, which expires.
    pub fn retain_for(&mut self, name: &str, topic: &str, payload: &str, seconds: u64) -> OfferId {
        self.machines.get_mut(name).unwrap().keep(topic, payload);
        let expires = Some(self.now.after(Duration::from_secs(seconds)));
        let content = Content { expires, ..Self::content(topic, payload, PropsBuf::default(), true) };
        self.offer_content(name, &content)
    }

    fn offer(&mut self, name: &str, topic: &str, payload: &str, props: PropsBuf, retain: bool) -> OfferId {
        self.offer_content(name, &Self::content(topic, payload, props, retain))
    }

    fn content(topic: &str, payload: &str, props: PropsBuf, retain: bool) -> Content {
        Content {
            topic: topic.into(),
            payload: payload.as_bytes().into(),
            props: props.as_props().as_bytes().into(),
            qos: QoS::AtLeastOnce,
            retain,
            expires: None,
        }
    }

    fn offer_content(&mut self, name: &str, content: &Content) -> OfferId {
        self.count += 1;
        let offer = OfferId::numbered(self.count);
        let now = self.now;
        self.machines.get_mut(name).unwrap().node.as_mut().unwrap().handle_offer(Some(offer), content, now);
        self.drain(name);
        offer
    }

    pub fn promote(&mut self, at: &str, broker: &str) {
        let now = self.now;
        let node = self.machines.get_mut(at).unwrap().node.as_mut().unwrap();
        node.handle_promote(Some(&Name::new(broker).unwrap()), now);
        self.drain(at);
    }

    /// How often its programs were told something of the network.
    pub fn told(&self, name: &str) -> u64 {
        self.machines[name].told
    }

    pub fn ask(&mut self, at: &str, of: &str) -> u64 {
        let now = self.now;
        let number = self.node_mut(at).unwrap().handle_ping(&Name::new(of).unwrap(), now);
        self.drain(at);
        number
    }

    pub fn answer(&mut self, at: &str, number: u64) -> Pong {
        self.node_mut(at).unwrap().take_pong(number)
    }

    pub fn heard(&self, name: &str) -> Vec<String> {
        self.machines[name].heard.iter().map(|heard| heard.text.clone()).collect()
    }

    pub fn retained(&self, name: &str, topic: &str) -> Option<String> {
        self.machines[name].retained.get(topic).cloned()
    }

    pub fn is_settled(&self, name: &str, offer: OfferId) -> bool {
        self.machines[name].settled.contains(&offer)
    }

    pub fn node(&self, name: &str) -> &Node {
        self.machines[name].node.as_ref().unwrap()
    }

    pub fn id(&self, name: &str) -> SenderId {
        SenderId::of(&self.topology.network, &Name::new(name).unwrap())
    }

    pub fn is_awake(&self, name: &str) -> bool {
        self.machines[name].node.is_some() && self.machines[name].frozen.is_none()
    }

    pub fn seconds(&mut self, count: u64) {
        self.run(Duration::from_secs(count));
    }

    pub fn millis(&mut self, count: u64) {
        self.run(Duration::from_millis(count));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now.after(time);
        for _ in 0..2_000_000 {
            let event = self.events.keys().next().map(|(at, _)| *at);
            let awake = self.machines.iter().filter(|(_, machine)| machine.frozen.is_none());
            let timer = awake.filter_map(|(name, machine)| Some((machine.node.as_ref()?.next_deadline()?, name))).min();
            let timer = timer.map(|(at, name)| (at, name.clone()));
            let next = event.into_iter().chain(timer.as_ref().map(|(at, _)| *at)).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if event == Some(next) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happen(event);
            } else if let Some((_, name)) = timer {
                self.tick(&name);
            }
        }
        panic!("two million events and no end: somebody talks without pause");
    }

    fn tick(&mut self, name: &str) {
        let now = self.now;
        let quiet: Vec<_> = self.node(name).quiet_links(now).collect();
        let stirring: Vec<LinkId> = quiet
            .into_iter()
            .filter(|(link, since)| self.stirs(&(name.to_owned(), *link), *since))
            .map(|(link, _)| link)
            .collect();
        let node = self.node_mut(name).unwrap();
        stirring.into_iter().for_each(|link| node.handle_stirring(link, now));
        node.handle_timeout(now);
        self.drain(name);
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        let at = match &event {
            Event::Bytes { to: (at, _), .. } | Event::Closed { to: (at, _) } => at,
            Event::DialFailed { at, .. } | Event::Stored { at, .. } | Event::Fetch { at, .. } => at,
        };
        if let Some(frozen) = self.machines.get_mut(at).and_then(|machine| machine.frozen.as_mut()) {
            return frozen.push_back(event);
        }
        match event {
            Event::Bytes { to, bytes } => {
                if !self.wires.contains_key(&to) {
                    return;
                }
                if let Some(until) = self.hole(&to) {
                    self.behind.push((to.clone(), now));
                    return self.later(until.since(now), Event::Bytes { to, bytes });
                }
                if let Some(node) = self.node_mut(&to.0) {
                    node.handle_link_bytes(to.1, &bytes, now);
                    self.drain(&to.0);
                }
            }
            Event::Closed { to } => {
                self.wires.remove(&to);
                if let Some(node) = self.node_mut(&to.0) {
                    node.handle_link_closed(to.1, now);
                    self.drain(&to.0);
                }
            }
            Event::DialFailed { at, to } => {
                if let Some(node) = self.node_mut(&at) {
                    node.handle_dial_failed(&to, now);
                    self.drain(&at);
                }
            }
            Event::Stored { at, ticket, written, life } => {
                let Some(machine) = self.machines.get_mut(&at) else { return };
                if let Some(node) = machine.node.as_mut().filter(|node| node.boot == life) {
                    machine.disk.synced = machine.disk.synced.max(written);
                    node.handle_stored(ticket, now);
                    self.drain(&at);
                }
            }
            Event::Fetch { at, fetch, life } => {
                let Some(machine) = self.machines.get_mut(&at) else { return };
                if let Some(node) = machine.node.as_mut().filter(|node| node.boot == life) {
                    node.handle_fetched(machine.disk.fetch(fetch), now);
                    self.drain(&at);
                }
            }
        }
    }

    pub fn node_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.machines.get_mut(name).and_then(|machine| machine.node.as_mut())
    }

    fn later(&mut self, wait: Duration, event: Event) {
        self.count += 1;
        self.events.insert((self.now.after(wait), self.count), event);
    }

    pub fn drain(&mut self, name: &str) {
        let mut open: VecDeque<String> = [name.to_owned()].into();
        while let Some(name) = open.pop_front() {
            while let Some(action) = self.node_mut(&name).and_then(Node::poll_action) {
                self.act(&name, action, &mut open);
            }
        }
    }

    fn act(&mut self, name: &str, action: Action, open: &mut VecDeque<String>) {
        let now = self.now;
        match action {
            Action::Dial(to) => {
                let there = to.as_str().to_owned();
                let reachable = self.knows(&there, name)
                    && self.passes(name, &there)
                    && self.passes(&there, name)
                    && self.machines[&there].node.is_some()
                    && self.machines[&there].frozen.is_none();
                if !reachable {
                    return self.later(LATENCY, Event::DialFailed { at: name.into(), to });
                }
                let here = self.node_mut(name).unwrap().handle_link_open(&to, Side::Dialed, now);
                let me = Name::new(name).unwrap();
                let link = self.node_mut(&there).unwrap().handle_link_open(&me, Side::Accepted, now);
                self.wires.insert((name.into(), here), (there.clone(), link));
                self.wires.insert((there.clone(), link), (name.into(), here));
                open.push_back(there);
            }
            Action::Undial(_) | Action::OutwardRoom(_) => {}
            Action::Transmit(link) => self.transmit(name, link),
            Action::Close(link) => {
                self.transmit(name, link);
                let end = (name.to_owned(), link);
                // What was sent before arrives before the end does.
                if let Some(to) = self.wires.remove(&end) {
                    self.later(LATENCY, Event::Closed { to });
                }
                self.later(Duration::ZERO, Event::Closed { to: end });
            }
            Action::Store(ticket) => {
                let machine = self.machines.get_mut(name).unwrap();
                let node = machine.node.as_mut().unwrap();
                let life = node.boot;
                machine.disk.writes.extend(std::iter::from_fn(|| node.poll_write()));
                let written = machine.disk.writes.len();
                machine.disk.batches.push(written);
                let stored = Event::Stored { at: name.into(), ticket, written, life };
                match &mut machine.disk.stopped {
                    Some(waits) => waits.push(stored),
                    None => self.later(FSYNC, stored),
                }
            }
            Action::Fetch(fetch) => {
                let life = self.node(name).boot;
                self.later(FETCH, Event::Fetch { at: name.into(), fetch, life });
            }
            Action::Settle { offer, reason } => {
                assert!(!reason.is_error() || self.refusals_are_fine, "{reason:?}");
                assert!(self.machines.get_mut(name).unwrap().settled.insert(offer), "settled twice");
            }
            Action::Inward => self.take(name),
            Action::Tell { topic, payload } => {
                let payload = String::from_utf8(payload.into()).unwrap();
                let machine = self.machines.get_mut(name).unwrap();
                machine.told += 1;
                machine.keep(&topic, &payload);
            }
        }
    }

    fn take(&mut self, name: &str) {
        let now = self.now;
        let machine = self.machines.get_mut(name).unwrap();
        let node = machine.node.as_mut().unwrap();
        let mut taken = Vec::new();
        while let Some(delivery) = node.next_inward(now) {
            if machine.full {
                node.inward_refused(delivery);
                break;
            }
            let inward = delivery.inward();
            let payload = String::from_utf8(inward.payload.to_vec()).unwrap();
            let expired = inward.expires.is_some_and(|at| at <= now);
            taken.push((inward.topic.to_owned(), payload, inward.retain, expired, delivery.place()));
            node.inward_taken(delivery, now);
        }
        for (topic, payload, retain, expired, place) in taken {
            if retain != Retain::No {
                machine.keep(&topic, if expired { "" } else { &payload });
            }
            if retain == Retain::Store || expired {
                continue;
            }
            machine.heard.push(Heard { text: format!("{topic} {payload}"), place });
        }
    }
}

impl Machine {
    fn keep(&mut self, topic: &str, payload: &str) {
        if payload.is_empty() {
            self.retained.remove(topic);
        } else {
            self.retained.insert(topic.into(), payload.into());
        }
    }
}
