//! The agent's core as the tasks of this thread share it: each borrows it for one call, never across an await.
//!
//! A call into the core is followed at once by draining its actions. What concerns a connection or a link is left in its
//! `Wire`, which wakes that one's task; nothing is read or written here.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hobnail_core::agent::{Action, Agent};
use hobnail_core::assign::Assignment;
use hobnail_core::broker::{self, Broker, ConnId, Counters, Fill, Peer, RequeueError, Ticket, Verdict};
use hobnail_core::envelope::Keyring;
use hobnail_core::ids::Name;
use hobnail_core::node::{self, Came, Identity, LinkId, Node, Pong, Side};
use hobnail_core::time::Now;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::auth::Prover;
use crate::doors::DoorId;
use crate::keeping::{self, Keeping, Room};
use crate::links::packets::Packets;
use crate::links::{self, Links, Network};
use crate::pages::Pages;
use crate::store::Health;
use crate::wire::{Inside, Wire};

/// A deadline that was missed by this much shows that something is stuck.
const LATE_MAX: Duration = Duration::from_secs(5);
/// What the last words on a link may take.
const LINK_LINGER: Duration = Duration::from_secs(1);

/// A connection of a program or a device, as its task speaks with the core about it.
pub struct Program {
    realm: Realm,
    conn: ConnId,
}

impl Inside for Program {
    fn bytes(&self, bytes: &[u8]) {
        self.realm.with_broker(|broker, now| broker.handle_bytes(self.conn, bytes, now));
    }

    fn transmit(&self, out: &mut Vec<u8>, room: usize) {
        self.realm.with_broker(|broker, now| broker.poll_transmit(self.conn, out, room, now));
    }

    fn closed(&self) {
        self.realm.0.wires.borrow_mut().remove(&self.conn);
        self.realm.0.came_by.borrow_mut().remove(&self.conn);
        self.realm.with_broker(|broker, now| broker.handle_close(self.conn, now));
        self.realm.tell_if_empty();
    }
}

/// A link to another agent, as its task speaks with the core about it.
pub struct Line {
    realm: Realm,
    link: LinkId,
}

impl Inside for Line {
    fn bytes(&self, bytes: &[u8]) {
        self.realm.with_node(|node, now| node.handle_link_bytes(self.link, bytes, now));
    }

    fn transmit(&self, out: &mut Vec<u8>, room: usize) {
        self.realm.with_node(|node, now| node.poll_transmit(self.link, out, room, now));
    }

    fn closed(&self) {
        self.realm.0.lines.borrow_mut().remove(&self.link);
        self.realm.with_node(|node, now| node.handle_link_closed(self.link, now));
        self.realm.tell_if_empty();
    }
}

/// A handle on the realm; cloning it gives another handle on the same one.
#[derive(Clone)]
pub struct Realm(Rc<Shared>);

struct Shared {
    agent: RefCell<Agent>,
    wires: RefCell<HashMap<ConnId, Rc<Wire>>>,
    came_by: RefCell<HashMap<ConnId, DoorId>>,
    lines: RefCell<HashMap<LinkId, (Rc<Wire>, Packets)>>,
    /// Set once, where there is a network.
    links: OnceCell<Links<Realm>>,
    /// The home that was last told of.
    home: RefCell<Option<Name>>,
    prover: RefCell<Prover>,
    pages: Pages,
    keeping: Keeping,
    /// Who may be read, for all that the disk can take.
    room: Cell<Room>,
    epoch: Epoch,
    /// When the timer will look at the core next; `None` when it sleeps without an end.
    armed: Cell<Option<Now>>,
    earlier: Notify,
    emptied: Notify,
    /// The core wants to go on when everybody else has had a turn.
    resume: Notify,
}

/// The clock that everything here counts by; started once, before the core is made.
#[derive(Clone, Copy)]
pub struct Epoch {
    began: Instant,
    /// Where the life before this one ended.
    at: Now,
}

impl Epoch {
    #[must_use]
    pub fn begin(at: Now) -> Self {
        Self { began: Instant::now(), at }
    }

    #[must_use]
    pub fn now(self) -> Now {
        self.at.after(self.began.elapsed())
    }
}

impl Realm {
    #[must_use]
    pub fn new(broker: Broker, node: Option<Node>, prover: Prover, keeping: Keeping, epoch: Epoch) -> Self {
        let realm = Self(Rc::new(Shared {
            agent: RefCell::new(Agent::new(broker, node, epoch.now())),
            wires: RefCell::default(),
            came_by: RefCell::default(),
            lines: RefCell::default(),
            links: OnceCell::new(),
            home: RefCell::default(),
            prover: RefCell::new(prover),
            pages: Pages::default(),
            keeping,
            room: Cell::default(),
            epoch,
            armed: Cell::new(None),
            earlier: Notify::new(),
            emptied: Notify::new(),
            resume: Notify::new(),
        }));
        realm.look_at_the_wall();
        realm
    }

    /// From here on the core may dial. Until then it has asked for nothing that was carried out.
    pub fn join(&self, links: Links<Self>) {
        // A second set of links would be a second life; the first one stays.
        let _ = self.0.links.set(links);
        self.drain();
    }

    #[must_use]
    pub fn now(&self) -> Now {
        self.0.epoch.now()
    }

    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.0.epoch.began.elapsed()
    }

    fn with_broker(&self, call: impl FnOnce(&mut Broker, Now)) {
        let now = self.now();
        self.0.agent.borrow_mut().with_broker(now, |broker| call(broker, now));
        self.drain();
    }

    fn with_node(&self, call: impl FnOnce(&mut Node, Now)) {
        let now = self.now();
        self.0.agent.borrow_mut().with_node(now, |node| call(node, now));
        self.drain();
    }

    /// A connection has come in.
    pub fn open(&self, peer: Peer, door: DoorId) -> (Program, Rc<Wire>) {
        let now = self.now();
        let conn = self.0.agent.borrow_mut().with_broker(now, |broker| broker.handle_open(peer, now));
        let wire = Rc::new(Wire::default());
        wire.hold(self.0.room.get() > Room::Behind);
        self.0.wires.borrow_mut().insert(conn, wire.clone());
        self.0.came_by.borrow_mut().insert(conn, door);
        self.drain();
        (Program { realm: self.clone(), conn }, wire)
    }

    /// Let go of everybody who came in by one of these doors.
    pub fn shut_out(&self, doors: &[DoorId]) {
        let came_by = self.0.came_by.borrow();
        let out: Vec<ConnId> = came_by.iter().filter(|(_, door)| doors.contains(door)).map(|(conn, _)| *conn).collect();
        drop(came_by);
        self.with_broker(|broker, now| broker.handle_shut_out(out, now));
    }

    /// Do as an edited topology says. `birth` is what another node begins with, if there is to be one.
    pub fn change(&self, broker: broker::Settings, network: Option<node::Settings>, birth: (Identity, node::Saved)) {
        let now = self.now();
        self.0.agent.borrow_mut().handle_settings(broker, network, || birth, now);
        self.look_at_the_wall();
        self.drain();
    }

    /// What the topology says, with the sizes that this machine has.
    #[must_use]
    pub fn sized(&self, wanted: &Assignment) -> Assignment {
        self.0.keeping.sized(wanted)
    }

    /// Ask this one about passwords from now on.
    pub fn set_prover(&self, prover: Prover) {
        self.0.prover.replace(prover);
    }

    /// Whether a broker is there for this machine: its home, or on a broker any other.
    #[must_use]
    pub fn has_home(&self) -> bool {
        let agent = self.0.agent.borrow();
        let Some(node) = agent.node() else { return false };
        node.home().is_some() || node.status(self.now()).links.iter().any(|link| link.broker && link.state == "up")
    }

    pub fn verdict(&self, conn: ConnId, verdict: Verdict) {
        self.with_broker(|broker, now| broker.handle_verdict(conn, verdict, now));
    }

    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.0.agent.borrow().broker().connection_count()
    }

    /// How full the broker is, and what it has counted.
    #[must_use]
    pub fn figures(&self) -> (Fill, Counters) {
        let agent = self.0.agent.borrow();
        (agent.broker().fill(), *agent.broker().counters())
    }

    /// What the network half says; `None` where no other machine is in the network.
    #[must_use]
    pub fn network_status(&self) -> Option<node::Status> {
        self.0.agent.borrow().node().map(|node| node.status(self.now()))
    }

    /// Seal and open with these keys from now on.
    pub fn rekey(&self, keyring: Keyring) {
        self.with_node(|node, now| node.handle_keyring(keyring, now));
    }

    /// Which web pages may use the WebSocket door.
    #[must_use]
    pub fn pages(&self) -> &Pages {
        &self.0.pages
    }

    /// What has come to the agent door, and to nothing.
    #[must_use]
    pub fn agent_door(&self) -> links::Counters {
        self.0.links.get().map(Links::counters).unwrap_or_default()
    }

    /// Look at the broker.
    pub fn look<R>(&self, call: impl FnOnce(&Broker) -> R) -> R {
        call(self.0.agent.borrow().broker())
    }

    pub fn requeue_dead(&self, number: u64) -> Result<(), RequeueError> {
        let now = self.now();
        let done = self.0.agent.borrow_mut().with_broker(now, |broker| broker.handle_requeue(number, now));
        self.drain();
        done
    }

    /// False where there is no such one.
    pub fn drop_dead(&self, number: u64) -> bool {
        let now = self.now();
        let dropped = self.0.agent.borrow_mut().with_broker(now, |broker| broker.handle_drop_dead(number, now));
        self.drain();
        dropped
    }

    /// Make this broker everybody's home; `None` goes back to the order of the topology.
    pub fn promote(&self, broker: Option<&Name>) {
        self.with_node(|node, now| node.handle_promote(broker, now));
    }

    /// Ask whether that machine is there; `pong` tells. `None` where there is no network.
    #[must_use]
    pub fn ping(&self, machine: &Name) -> Option<u64> {
        let now = self.now();
        let number = self.0.agent.borrow_mut().with_node(now, |node| node.handle_ping(machine, now));
        self.drain();
        number
    }

    #[must_use]
    pub fn pong(&self, number: u64) -> Pong {
        let now = self.now();
        self.0.agent.borrow_mut().with_node(now, |node| node.take_pong(number)).unwrap_or(Pong::Forgotten)
    }

    /// What other machines are told when they ask what runs here.
    pub fn show_text(&self, text: &[u8]) {
        self.with_node(|node, _| node.handle_text(text));
    }

    /// Ask for a page of what that machine runs by; `take_page` has it once it came. `None` where there is no network.
    #[must_use]
    pub fn want_page(&self, machine: &Name, part: u16) -> Option<u64> {
        let now = self.now();
        let number = self.0.agent.borrow_mut().with_node(now, |node| node.handle_page_wanted(machine, part, now));
        self.drain();
        number
    }

    #[must_use]
    pub fn take_page(&self, number: u64) -> Option<Came> {
        let now = self.now();
        self.0.agent.borrow_mut().with_node(now, |node| node.take_page(number)).flatten()
    }

    /// Whether deadlines are met: the thread gets its turns, and the task that keeps time is alive.
    #[must_use]
    pub fn is_in_step(&self) -> bool {
        let due = self.0.agent.borrow().next_deadline();
        due.is_none_or(|due| self.now().since(due) < LATE_MAX)
    }

    /// Ask every connection and link to close, and return once all of them have.
    pub async fn stop(&self) {
        self.with_node(|node, now| node.handle_stop(now));
        self.with_broker(|broker, now| broker.handle_stop(now));
        while !self.is_empty() {
            self.0.emptied.notified().await;
        }
    }

    fn is_empty(&self) -> bool {
        self.0.wires.borrow().is_empty() && self.0.lines.borrow().is_empty()
    }

    fn tell_if_empty(&self) {
        if self.is_empty() {
            self.0.emptied.notify_one();
        }
    }

    /// Tell the core when a deadline has passed. Sleeps exactly until the next one.
    pub async fn keep_time(self) {
        loop {
            let next = self.0.agent.borrow().next_deadline();
            self.0.armed.set(next);
            match next {
                None => self.0.earlier.notified().await,
                Some(at) => {
                    let wait = at.since(self.now());
                    // Both are cancel-safe: a sleep holds nothing, and a permit of `Notify` stays until it is taken.
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.0.earlier.notified() => continue,
                    }
                    let now = self.now();
                    if now >= at {
                        self.look_at_the_wall();
                        self.look_at_quiet_links(now);
                        self.0.agent.borrow_mut().handle_timeout(now);
                        self.drain();
                    }
                }
            }
        }
    }

    /// Let the core go on where it stopped so that others might have their turn.
    pub async fn keep_going(self) {
        loop {
            self.0.resume.notified().await;
            tokio::task::yield_now().await;
            let now = self.now();
            self.0.agent.borrow_mut().resume(now);
            self.drain();
        }
    }

    /// Tell the core how far the disk has come, and everybody how it stands.
    pub async fn keep_stored(self) {
        let mut standing = self.0.keeping.standing();
        let (mut stored, mut health) = Default::default();
        loop {
            let now = standing.borrow_and_update().clone();
            if now.health != health {
                keeping::tell(&self.0.keeping.view().folder, &now.health);
                let room = now.health == Health::Fine;
                self.with_broker(|broker, now| broker.handle_disk_room(room, now));
            }
            if now.stored > stored {
                self.0.agent.borrow_mut().handle_stored(Ticket(now.stored.0), self.now());
                self.drain();
            }
            (stored, health) = (now.stored, now.health);
            let changed = self.read_those(self.0.keeping.go_on(), &mut self.0.agent.borrow_mut());
            if changed {
                self.drain();
            }
            // Cancel-safe: what changed meanwhile is seen at the next look. An end means that nothing changes any more.
            if standing.changed().await.is_err() {
                return;
            }
        }
    }

    /// Give the core what it wanted read back.
    pub async fn keep_reading(self) {
        let Some(mut answers) = self.0.keeping.answers() else { return };
        // Cancel-safe; the end comes with the thread's.
        while let Some(fetched) = answers.recv().await {
            let now = self.now();
            self.0.agent.borrow_mut().handle_fetched(fetched, now);
            self.drain();
        }
    }

    /// Read on, or no more, as the disk has room for what comes of it. Whether that is otherwise than before.
    fn read_those(&self, room: Room, agent: &mut Agent) -> bool {
        let before = self.0.room.replace(room);
        if before == room {
            return false;
        }
        let (was_deaf, deaf) = (before > Room::Enough, room > Room::Enough);
        self.0.lines.borrow().values().for_each(|(wire, _)| wire.hold(deaf));
        if was_deaf != deaf {
            agent.with_node(self.now(), |node| node.handle_deaf(deaf, self.now()));
        }
        self.0.wires.borrow().values().for_each(|wire| wire.hold(room > Room::Behind));
        true
    }

    /// How the disk is.
    #[must_use]
    pub fn disk(&self) -> keeping::View {
        self.0.keeping.view()
    }

    /// Everything that the core wanted kept is on the disk after this, or never was acknowledged.
    pub fn flush(&self, within: Duration) {
        self.0.keeping.close(within);
    }

    /// What the wall clock says, for what is ordered across machines; it may be wrong, and may be set at any time.
    fn look_at_the_wall(&self) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (wall, now) = (i64::try_from(wall.as_micros()), i64::try_from(self.now().0));
        if let (Ok(wall), Ok(now)) = (wall, now) {
            self.0.agent.borrow_mut().with_node(self.now(), |node| node.handle_wall(wall - now));
        }
    }

    /// Nobody is to be taken for dead who still sends what cannot be read yet.
    fn look_at_quiet_links(&self, now: Now) {
        let mut agent = self.0.agent.borrow_mut();
        let quiet: Vec<_> = agent.node().map(|node| node.quiet_links(now).collect()).unwrap_or_default();
        let lines = self.0.lines.borrow();
        let stirs = |(link, since): &(LinkId, Now)| {
            lines.get(link).is_some_and(|(_, packets)| packets.have_come_since(*since, now))
        };
        for (link, _) in quiet.into_iter().filter(stirs) {
            agent.with_node(now, |node| node.handle_stirring(link, now));
        }
    }

    fn drain(&self) {
        let mut agent = self.0.agent.borrow_mut();
        while let Some(action) = agent.poll_action() {
            self.carry_out(action, &mut agent);
        }
        self.tell_home(agent.node());
        if let Some(next) = agent.next_deadline()
            && self.0.armed.get().is_none_or(|armed| next < armed)
        {
            self.0.armed.set(Some(next));
            self.0.earlier.notify_one();
        }
    }

    fn tell_home(&self, node: Option<&Node>) {
        let home = node.and_then(Node::home);
        if self.0.home.borrow().as_ref() == home {
            return;
        }
        match home {
            Some(home) => info!(%home, "at home"),
            None if node.is_some_and(|node| !node.is_broker()) => {
                warn!("no broker can be reached: what others want waits here");
            }
            // A broker is its own home, and one that is alone needs none.
            None => {}
        }
        *self.0.home.borrow_mut() = home.cloned();
    }

    fn carry_out(&self, action: Action, agent: &mut Agent) {
        match action {
            Action::Door(action) => self.at_a_door(action, agent),
            Action::Dial(name) => match self.0.links.get() {
                Some(links) => links.dial(&name),
                None => drop(agent.with_node(self.now(), |node| node.handle_dial_failed(&name, self.now()))),
            },
            Action::Undial(name) => {
                if let Some(links) = self.0.links.get() {
                    links.undial(&name);
                }
            }
            Action::LinkTransmit(link) => self.at_a_link(link, Wire::ask_to_send),
            Action::LinkClose(link) => self.at_a_link(link, |wire| wire.ask_to_close(LINK_LINGER)),
            Action::Store(ticket) => {
                let room = self.0.keeping.keep(ticket, std::iter::from_fn(|| agent.poll_write()));
                self.read_those(room, agent);
            }
            Action::Fetch(fetch) => self.0.keeping.fetch(fetch),
            Action::Resume => self.0.resume.notify_one(),
        }
    }

    fn at_a_link(&self, link: LinkId, leave: impl FnOnce(&Wire)) {
        if let Some((wire, _)) = self.0.lines.borrow().get(&link) {
            leave(wire);
        }
    }

    fn at_a_door(&self, action: broker::Action, agent: &mut Agent) {
        let wires = self.0.wires.borrow();
        match action {
            broker::Action::Transmit(conn) => tell(&wires, conn, Wire::ask_to_send),
            broker::Action::PauseReading(conn) => tell(&wires, conn, Wire::pause),
            broker::Action::ResumeReading(conn) => tell(&wires, conn, Wire::resume),
            broker::Action::Close { conn, linger } => tell(&wires, conn, |wire| wire.ask_to_close(linger)),
            broker::Action::Authenticate { conn, user, password } => {
                if let Err(verdict) = self.0.prover.borrow().ask(conn, user, password) {
                    let now = self.now();
                    agent.with_broker(now, |broker| broker.handle_verdict(conn, verdict, now));
                }
            }
            // Between the core's halves, which does not come out of them.
            broker::Action::Offer { .. }
            | broker::Action::InwardRoom
            | broker::Action::Wanted(_)
            | broker::Action::Unwanted(_)
            | broker::Action::Store(_) => {}
        }
    }
}

impl Network for Realm {
    type Line = Line;

    fn link_opened(&self, peer: &Name, side: Side, packets: Packets) -> Option<(Line, Rc<Wire>)> {
        let now = self.now();
        self.look_at_quiet_links(now);
        let link = self.0.agent.borrow_mut().with_node(now, |node| node.handle_link_open(peer, side, now))?;
        let wire = Rc::new(Wire::default());
        wire.hold(self.0.room.get() > Room::Enough);
        self.0.lines.borrow_mut().insert(link, (wire.clone(), packets));
        self.drain();
        Some((Line { realm: self.clone(), link }, wire))
    }

    fn dial_failed(&self, to: &Name) {
        self.with_node(|node, now| node.handle_dial_failed(to, now));
    }
}

/// An action for a connection that is already gone concerns nobody.
fn tell(wires: &HashMap<ConnId, Rc<Wire>>, conn: ConnId, leave: impl FnOnce(&Wire)) {
    if let Some(wire) = wires.get(&conn) {
        leave(wire);
    }
}
