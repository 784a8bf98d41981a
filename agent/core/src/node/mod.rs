//! The network half of an agent: links to other agents, the streams that pass over them, and who is home.
//!
//! It never opens a connection and never touches a disk: it says `Dial` and `Store`, and is told what came of it. It
//! knows nothing of MQTT sessions: publishes come as offers, and what other machines sent goes to the programs through
//! `next_inward`.
//!
//! ```text
//!  offer ─▶ outbox ─▶ own stream ─▶ follow ─▶ link ─▶ (another agent) ─▶ intake ─▶ its copy ─▶ follow ─▶ …
//!                         │ stored                                          │
//!                         └──▶ settled                                      └─▶ inward ─▶ its programs
//! ```
//!
//! Invariants: every copy of a stream is a prefix of the origin's. A message of a kept lane leaves this machine only
//! when it is on its disk. An offer is settled once, and not before what its topic asks for has happened. An origin
//! forgets a message only when it is stable, or when a limit makes it, which is counted.

mod bytes;
mod change;
mod copies;
mod facts;
mod fetch;
mod follow;
mod greet;
mod intake;
mod inward;
mod link;
mod outbox;
mod pages;
mod parked;
mod ping;
mod places;
mod presence;
mod retained;
mod saved;
mod settings;
mod status;
mod sweep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use crate::broker::{OfferId, Ticket};
use crate::envelope::{BootSalt, Opener, Sealer, SenderId};
use crate::frame::Fresh;
use crate::hlc::{Clock, Hlc};
use crate::home::{Command, Home};
use crate::ids::Name;
use crate::interest::Interest;
use crate::mqtt::packet::Reason;
use crate::stream::{StreamId, Weight};
use crate::time::Now;

use copies::Copy;
use facts::{Facts, StatusFact};
use fetch::{Ahead, Fetches};
use intake::Doubt;
use inward::Loose;
use link::Link;
use outbox::Outbox;
use pages::Pages;
use ping::Pings;
use presence::Presence;
use retained::Retained;
use sweep::Wants;

pub use bytes::{MARK, NotBelieved};
pub use change::Numbers;
pub use fetch::{Fetch, Fetched};
pub use inward::Delivery;
pub use link::{LinkId, Side};
pub use pages::{Came, PAGE_BYTES_MAX, TEXT_BYTES_MAX};
pub use ping::Pong;
pub use saved::{Saved, Write};
pub use settings::{Common, Identity, Settings};
pub use status::{Counters, LinkView, MachineView, Standing, Status};

/// Interest is told this long after it changed, so that a program's first hundred subscriptions are one fact.
const INTEREST_WAIT: Duration = Duration::from_millis(20);
/// How often a machine looks whether what it told of itself is still true.
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// How often it tells it again though nothing has changed.
const STATUS_REPEAT: Duration = Duration::from_secs(60);
/// After its start a broker waits so long for the others before it calls itself in step, and before it forgets anything
/// that a machine might still come for.
const GRACE: Duration = Duration::from_secs(30);
/// A broker that lacks what an origin has forgotten waits so long for a broker that may have it: long enough for one
/// that restarts, while the stream stands still. Then what is missing is given up.
const DOUBT_MAX: Duration = Duration::from_secs(600);
/// Streams that a machine keeps track of: of a hundred machines, the last few boots and lanes.
const STREAMS_MAX: usize = 4_096;
/// Bytes of records on their way by a link that the other side has not answered yet.
const WINDOW: u64 = 1 << 20;
/// Steps on their way to the disk. With more, every second one of each stream is told of: a disk that has stopped may make
/// them any number.
const UNSTORED_MAX: usize = 4 * STREAMS_MAX;

/// What the shell has to do, or the broker beside this. Drain after every call.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Dial this broker's agent door once. Answer with `handle_link_open` or `handle_dial_failed`.
    Dial(Name),
    /// Give up a dial that has not answered.
    Undial(Name),
    /// This link has bytes to send: call `poll_transmit`.
    Transmit(LinkId),
    /// Send what `poll_transmit` still gives, for a second at the most; close; call `handle_link_closed`.
    Close(LinkId),
    /// Make everything so far durable, then call `handle_stored` with this.
    Store(Ticket),
    /// Read this back; answer with `handle_fetched`.
    Fetch(Fetch),
    /// Tell the publisher.
    Settle { offer: OfferId, reason: Reason },
    /// Whether publishes that have to be kept can be taken at all.
    OutwardRoom(bool),
    /// `next_inward` has something.
    Inward,
    /// The programs here may know this from now on, by `Broker::handle_told`.
    Tell { topic: Box<str>, payload: Box<[u8]> },
}

/// What is on its way to the disk.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// A copy up to here.
    Copy(u64),
    /// That the programs have it up to here.
    Delivered(u64),
}

impl Progress {
    fn is_of_copy(self) -> bool {
        match self {
            Self::Copy(_) => true,
            Self::Delivered(_) => false,
        }
    }
}

#[derive(Debug)]
pub struct Node {
    settings: Settings,
    me: SenderId,
    started: Now,
    /// When the topology came to be this one.
    topology_since: Now,
    /// Since when it has the role that it has.
    serving_since: Now,
    boot: u64,
    /// Which of this machine's lives it is, counted from 1.
    life: u32,
    clock: Clock,
    /// No stamp passes this before it is written that one does.
    clock_saved: Hlc,
    salt: BootSalt,
    /// Salts drawn since start.
    drawn: u32,
    /// `None` where this machine only relays.
    sealer: Option<Sealer>,
    opener: Opener,
    home: Home,
    links: BTreeMap<LinkId, Link>,
    /// The link that counts, of each machine that has one.
    by_peer: BTreeMap<Name, LinkId>,
    links_opened: u64,
    copies: BTreeMap<StreamId, Copy>,
    /// How often any of them grew.
    growths: u64,
    doubts: BTreeMap<StreamId, Doubt>,
    /// Messages were given up for want of places.
    gave_up: bool,
    outbox: Outbox,
    facts: Facts,
    /// What other machines want to hear.
    interests: BTreeMap<Name, Wants>,
    /// What the programs here want to hear.
    wanted: BTreeSet<Box<str>>,
    local: Interest,
    /// That has changed since.
    local_is_old: bool,
    interest_due: Option<Now>,
    status_due: Now,
    /// What was told, the uptime aside, and when.
    status_told: (StatusFact, Now),
    leaving: bool,
    presence: Presence,
    pings: Pings,
    pages: Pages,
    sweep_due: Now,
    trim_due: Now,
    retained: Retained,
    loose: Loose,
    /// Streams with something for the programs here.
    deliverable: BTreeSet<StreamId>,
    /// Streams that have, too, and wait for the disk.
    undelivered: BTreeSet<StreamId>,
    /// What was read back for the programs.
    ahead: Ahead,
    fetches: Fetches,
    /// The programs have no room.
    inward_blocked: bool,
    inward_said: bool,
    /// What is to be written and was not fetched yet.
    writes: VecDeque<Write>,
    /// Progress that is not known to be on disk.
    unstored: VecDeque<(Ticket, StreamId, Progress)>,
    ticket: Ticket,
    ticket_said: Ticket,
    /// Streams that have grown since the last sweep.
    grown: BTreeSet<StreamId>,
    /// Caught up with every broker that can be reached.
    in_step: bool,
    /// Was in step once, or waited for it long enough.
    settled: bool,
    fresh: Fresh,
    /// The life in which each other broker was last seen.
    lives: BTreeMap<Name, u64>,
    /// Of all copies.
    weight: Weight,
    counters: Counters,
    scratch: Vec<u8>,
    actions: VecDeque<Action>,
}

impl Node {
    /// A machine that has just started, with what its store read back.
    #[must_use]
    pub fn new(settings: Settings, identity: &Identity, saved: Saved, now: Now) -> Self {
        Self::after(Numbers::default(), settings, identity, saved, now)
    }

    /// The same in a process that had another node before.
    #[must_use]
    pub fn after(numbers: Numbers, settings: Settings, identity: &Identity, saved: Saved, now: Now) -> Self {
        let me = SenderId::of(&settings.network, &settings.me);
        let life = saved.lives.max(numbers.lives).saturating_add(1);
        let opener = Opener::new(&settings.keyring);
        let sealer = Sealer::new(&settings.keyring, &settings.me, identity.salt()).ok();
        let (every, waits) = (settings.heartbeat.every, settings.waits_for_others());
        let home = Home::new(settings.home_rules(), identity.seed(), now);
        let mut node = Self {
            me,
            started: now,
            topology_since: now,
            serving_since: now,
            boot: identity.boot(),
            life,
            clock: Clock::default(),
            clock_saved: Hlc::default(),
            salt: identity.salt(),
            drawn: 0,
            sealer,
            opener,
            home,
            links: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            links_opened: numbers.links,
            copies: BTreeMap::new(),
            growths: 0,
            doubts: BTreeMap::new(),
            gave_up: saved.gave_up,
            outbox: Outbox::new(me, identity.incarnation(life)),
            facts: Facts::default(),
            interests: BTreeMap::new(),
            wanted: BTreeSet::new(),
            local: Interest::default(),
            local_is_old: false,
            interest_due: Some(now),
            status_due: now,
            status_told: Default::default(),
            leaving: false,
            presence: Presence::default(),
            pings: Pings::default(),
            pages: Pages::default(),
            sweep_due: now.after(every),
            trim_due: now.after(GRACE),
            retained: Retained::default(),
            loose: Loose::default(),
            deliverable: BTreeSet::new(),
            undelivered: BTreeSet::new(),
            ahead: Ahead::default(),
            fetches: Fetches::after(numbers.fetches),
            inward_blocked: false,
            inward_said: false,
            writes: VecDeque::new(),
            unstored: VecDeque::new(),
            ticket: numbers.ticket,
            ticket_said: numbers.ticket,
            grown: BTreeSet::new(),
            in_step: !waits,
            settled: !waits,
            fresh: Fresh::New,
            lives: BTreeMap::new(),
            weight: Weight::default(),
            counters: Counters::default(),
            scratch: Vec::new(),
            actions: VecDeque::new(),
            settings,
        };
        node.write(Write::Lives(life));
        node.ticket = Ticket(node.ticket.0 + 1);
        node.restore(saved);
        node.settle(now);
        node
    }

    /// The wall clock was looked at: microseconds from `Now` to 1970.
    pub fn handle_wall(&mut self, offset_us: i64) {
        self.clock.set_wall(offset_us);
    }

    /// A program subscribed to a filter that nobody here had subscribed to.
    pub fn handle_wanted(&mut self, filter: &str, now: Now) {
        if self.wanted.insert(filter.into()) {
            self.interest_changed(now);
        }
    }

    pub fn handle_unwanted(&mut self, filter: &str, now: Now) {
        if self.wanted.remove(filter) {
            self.interest_changed(now);
        }
    }

    fn interest_changed(&mut self, now: Now) {
        // At home it counts for what comes next; the others hear of it with what else changes just now.
        self.local_is_old = true;
        self.interest_due.get_or_insert(now.after(INTEREST_WAIT));
    }

    /// Once for all that has changed: it takes the square of the number of filters.
    fn weigh_interest(&mut self) {
        if std::mem::take(&mut self.local_is_old) {
            self.local = Interest::of(self.wanted.iter().map(|filter| &**filter));
        }
    }

    /// Could not reach it, or it did not prove who it is.
    pub fn handle_dial_failed(&mut self, broker: &Name, now: Now) {
        self.home.handle_dial_failed(broker, now);
        self.settle(now);
    }

    /// The shell holds all links, since the disk is far behind, or lets them go.
    pub fn handle_deaf(&mut self, deaf: bool, now: Now) {
        self.home.handle_deaf(deaf, now);
        self.settle(now);
    }

    /// Everything up to this ticket is on disk.
    pub fn handle_stored(&mut self, ticket: Ticket, now: Now) {
        while let Some((at, stream, progress)) = self.unstored.front().copied()
            && at <= ticket
        {
            self.unstored.pop_front();
            match progress {
                Progress::Copy(seq) => self.stored(stream, seq),
                Progress::Delivered(seq) => self.delivery_stored(stream, seq),
            }
        }
        self.settle(now);
    }

    /// Call at or after `next_deadline`.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.home.next_deadline().is_some_and(|due| due <= now) {
            self.home.handle_timeout(now);
        }
        if self.interest_due.is_some_and(|due| due <= now) {
            self.interest_due = None;
            self.tell_interest(now);
        }
        if self.status_due <= now {
            self.tell_status(now);
        }
        if self.sweep_due <= now {
            self.sweep_due = now.after(self.settings.heartbeat.every);
            self.sweep(now);
        }
        if self.trim_due <= now {
            self.trim_due = now.after(sweep::TRIM_EVERY);
            self.trim_copies(now);
        }
        self.settle(now);
    }

    #[must_use]
    pub fn next_deadline(&self) -> Option<Now> {
        let own = [Some(self.status_due), Some(self.sweep_due), Some(self.trim_due), self.interest_due];
        own.into_iter().flatten().chain(self.home.next_deadline()).min()
    }

    /// Make this broker everybody's home; `None` goes back to the order of the topology.
    pub fn handle_promote(&mut self, broker: Option<&Name>, now: Now) {
        self.tell_promotion(broker, now);
        self.settle(now);
    }

    /// Say good-bye on every link.
    pub fn handle_stop(&mut self, now: Now) {
        self.tell_leaving(now);
        self.settle(now);
    }

    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// One event has been dealt with: carry out what it led to.
    fn settle(&mut self, now: Now) {
        while let Some(command) = self.home.poll() {
            match command {
                Command::Dial(name) => self.actions.push_back(Action::Dial(name)),
                Command::Drop(name) => self.drop_link(&name, now),
                Command::Attach(name) => self.attach_to(&name, now),
                Command::Detached => {}
                Command::SendBeat(name) => {
                    if let Some(link) = self.by_peer.get(&name).copied() {
                        self.send_beat(link, now);
                    }
                }
            }
        }
        if self.ticket > self.ticket_said {
            self.ticket_said = self.ticket;
            self.actions.push_back(Action::Store(self.ticket));
        }
        let has_inward = !self.deliverable.is_empty() || self.loose.has_some();
        if has_inward && !self.inward_blocked && !self.inward_said {
            self.inward_said = true;
            self.actions.push_back(Action::Inward);
        }
    }

    fn ask_transmit(&mut self, link: LinkId) {
        if let Some(known) = self.links.get_mut(&link)
            && !known.transmit_asked
        {
            known.transmit_asked = true;
            self.actions.push_back(Action::Transmit(link));
        }
    }
}

/// How a record is held.
type Held = Rc<crate::stream::Record>;

#[cfg(test)]
mod tests;
