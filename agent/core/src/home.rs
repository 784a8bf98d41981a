//! Who is my broker: which brokers a machine dials, which links it trusts, and which of them is its home.
//!
//! One link each, over and over:
//!
//! ```text
//!            wanted, and its wait is over             handle_link_up
//!   Down ──────────────────────────────▶ Dialing ─────────────────────▶ Up ◀─────────┐
//!    ▲ ▲                                    │                           │ 2 beats     │ heard
//!    │ └──── handle_dial_failed, no answer ─┘                           │ missed      │
//!    │       in DIAL_MAX                                                ▼             │
//!    └───── handle_link_down; `miss` beats missed; not wanted ─────── Suspect ────────┘
//!
//!   A link that comes up uncalled (a broker dialled us) takes any state to Up.
//!
//! A home that does not answer a beat is dialled once more while its link stands, for that may have come to a halt over
//! lost packets while the machine is well; the new link takes the place of the old one. If it is dead, nothing comes of
//! that, and the link goes down in its time.
//! ```
//!
//! The home of a client, over its links:
//!
//! ```text
//!            a link is up and not suspect
//!   none ──────────────────────────────────▶ at B ──┐ a better broker is up and in step for
//!    ▲                                       │  ▲   │ `hold_down` and a little more; at once
//!    │                                       │  └───┘ for a promotion, and while SETTLE lasts
//!    └── B goes down, and no link is up ◀────┤
//!                                            └──▶ at C: B goes down, and C is up
//! ```
//!
//! A broker is its own home: it keeps links to all others, and `home` stays empty.
//!
//! This never opens a connection, never counts anything as proof but what came in by a link, and elects nobody: two
//! machines may disagree about their homes, and nothing is lost by it. Invariants: the home is a link that is up or
//! suspect; hold-down delays neither leaving a dead home nor taking one where there is none; nobody is judged by
//! silence while this machine may itself have slept; every dial after a failure waits, and ever longer.

mod backoff;
mod peer;
mod pulse;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

pub use backoff::{Backoff, Dice, WAIT_MAX, WAIT_MAX_IN_NEED, WAIT_MIN};
use peer::Peer;
pub use peer::{DIAL_SLOW, Pace, STEADY, State};
pub use pulse::{Life, Patience, Pulse};

use crate::ids::Name;
use crate::time::Now;
use crate::topology::model::{Failback, Failover, Heartbeat};

/// Links that a client keeps warm: its home, and the one it would go to next.
pub const WARM: usize = 2;
/// A dial without an answer counts as failed after this: two repeats of a lost first packet fit in.
pub const DIAL_MAX: Duration = Duration::from_secs(4);
/// How often a home that falls silent is dialled again, once for each beat that it does not answer.
pub const REDIALS_MAX: u32 = 2;
/// So long after its start a client takes a better broker without hold-down: which came first was chance.
pub const SETTLE: Duration = Duration::from_secs(2);

/// What this machine does about the brokers of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Wants one home and a second link.
    Client,
    /// Wants a link to every other broker.
    Broker,
}

/// What the topology says. Boot and a live edit both bring one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub role: Role,
    /// Other brokers, the most wanted first; one that comes twice counts where it came first.
    pub order: Vec<Name>,
    pub heartbeat: Heartbeat,
    pub failover: Failover,
}

/// What is to be done outside. Drain after every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Try to reach it once: answer with `handle_link_up` or `handle_dial_failed`.
    Dial(Name),
    /// Give the link, or the dial, up. It counts as down already: no answer is needed.
    Drop(Name),
    /// This is the home from now on, on the link that stands now. The last home, if any, is home no more.
    Attach(Name),
    /// There is no home.
    Detached,
    /// Say on this link that we are here, and how we are.
    SendBeat(Name),
}

/// One broker, as `status` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<'a> {
    pub name: &'a Name,
    pub state: State,
    pub since: Now,
    /// Last time anything came from it, while it is linked.
    pub heard: Option<Now>,
    pub in_step: bool,
}

#[derive(Clone, Debug)]
struct Promotion {
    name: Name,
    /// Not carried out yet: it waits for no hold-down.
    fresh: bool,
}

/// The machine. See the diagram above.
#[derive(Clone, Debug)]
pub struct Home {
    rules: Rules,
    /// One for each name of `rules.order`, in that order.
    peers: Vec<Peer>,
    home: Option<Name>,
    home_since: Now,
    promotion: Option<Promotion>,
    settled_at: Now,
    beat_at: Now,
    patience: Patience,
    due: Option<Now>,
    dice: Dice,
    commands: VecDeque<Command>,
    changes: u64,
}

impl Home {
    /// A machine that has no link yet. `seed` differs from machine to machine and from boot to boot.
    #[must_use]
    pub fn new(rules: Rules, seed: u64, now: Now) -> Self {
        let mut home = Self {
            rules: Rules { order: Vec::new(), ..rules.clone() },
            peers: Vec::new(),
            home: None,
            home_since: now,
            promotion: None,
            settled_at: now.after(SETTLE),
            beat_at: now,
            patience: Patience::default(),
            due: None,
            dice: Dice::new(seed),
            commands: VecDeque::new(),
            changes: 0,
        };
        home.handle_rules(rules, now);
        home
    }

    /// The topology changed. Links that the edit does not concern stay.
    pub fn handle_rules(&mut self, mut rules: Rules, now: Now) {
        self.notice(now);
        let tempo = self.rules.heartbeat.every;
        if rules.heartbeat.every != tempo {
            // The other sides are to know of the new tempo before they miss the old one, and answer by it.
            self.beat_at = now;
            self.patience.handle_tempo(tempo.max(rules.heartbeat.every), now);
        }
        let mut old = std::mem::take(&mut self.peers);
        for name in std::mem::take(&mut rules.order) {
            if self.index(&name).is_some() {
                continue;
            }
            let kept = old.iter().position(|peer| peer.name == name).map(|at| old.remove(at));
            self.peers.push(kept.unwrap_or_else(|| Peer::new(name, now)));
        }
        rules.order = self.peers.iter().map(|peer| peer.name.clone()).collect();
        self.rules = rules;
        self.settle(now);
        // After the new home is taken, so that nobody is without one in between.
        for gone in old.into_iter().filter(|peer| peer.state != State::Down) {
            self.commands.push_back(Command::Drop(gone.name));
        }
    }

    /// A link to it stands, and it has proved who it is. A second one replaces the first.
    pub fn handle_link_up(&mut self, name: &Name, now: Now) {
        self.notice(now);
        let Some(at) = self.index(name) else { return };
        let again = self.home.as_ref() == Some(name);
        let beat_is_due = now >= self.beat_at;
        self.peers[at].link(now);
        if again {
            self.commands.push_back(Command::Attach(name.clone()));
        }
        self.settle(now);
        // The other side learns at once how we are, and the beat of all links keeps its time.
        if self.peers[at].state.is_linked() && !beat_is_due {
            self.commands.push_back(Command::SendBeat(name.clone()));
        }
    }

    /// Anything came in by the link to it.
    pub fn handle_heard(&mut self, name: &Name, now: Now) {
        self.notice(now);
        let Some(at) = self.index(name) else { return };
        if self.peers[at].hear(now) {
            self.peers[at].weigh(&mut self.dice, self.rules.failover, now);
            self.settle(now);
        }
    }

    /// It beat, and said how it gets on.
    pub fn handle_beat(&mut self, name: &Name, pace: Pace, now: Now) {
        self.handle_heard(name, now);
        let Some(at) = self.index(name) else { return };
        if self.peers[at].state.is_linked() && self.peers[at].pace != pace {
            self.peers[at].pace = pace;
            self.peers[at].weigh(&mut self.dice, self.rules.failover, now);
            self.settle(now);
        }
    }

    /// It has heard a beat of ours that it had not heard before.
    pub fn handle_answered(&mut self, name: &Name, now: Now) {
        if let Some(at) = self.index(name) {
            self.peers[at].answered(now);
            self.settle(now);
        }
    }

    /// This machine reads nothing of what comes by its links from now on, or reads again: meanwhile their silence says
    /// nothing.
    pub fn handle_deaf(&mut self, deaf: bool, now: Now) {
        self.patience.handle_deaf(deaf, self.rules.heartbeat, now);
        self.settle(now);
    }

    /// Whether its link stands, and no beat on it is without an answer for longer than that takes.
    #[must_use]
    pub fn is_answered_by(&self, name: &Name) -> bool {
        self.index(name).is_some_and(|at| self.peers[at].state.is_linked() && self.peers[at].redials == 0)
    }

    /// It says how often it beats.
    pub fn handle_tempo(&mut self, name: &Name, every: Duration) {
        if let Some(at) = self.index(name) {
            self.peers[at].pulse.handle_tempo(every);
        }
    }

    /// The link was closed or reset. Only of the link that stands: not of one that another replaced.
    pub fn handle_link_down(&mut self, name: &Name, now: Now) {
        self.notice(now);
        self.fail(name, now);
        self.settle(now);
    }

    /// It could not be reached, or did not prove who it is.
    pub fn handle_dial_failed(&mut self, name: &Name, now: Now) {
        self.notice(now);
        if self.index(name).is_some_and(|at| self.peers[at].state == State::Dialing) {
            self.fail(name, now);
        }
        self.settle(now);
    }

    /// Someone promoted this broker, or took the promotion back. To be called once for each time.
    pub fn handle_promoted(&mut self, name: Option<Name>, now: Now) {
        self.notice(now);
        self.promotion = name.map(|name| Promotion { name, fresh: true });
        self.settle(now);
    }

    /// `next_deadline` has come. Early calls do no harm.
    pub fn handle_timeout(&mut self, now: Now) {
        self.notice(now);
        self.settle(now);
    }

    pub fn poll(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When `handle_timeout` is to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Now> {
        self.due
    }

    /// `None` on a broker, and where no broker is reachable.
    #[must_use]
    pub fn home(&self) -> Option<&Name> {
        self.home.as_ref()
    }

    /// Since when the home is what `home` says.
    #[must_use]
    pub fn home_since(&self) -> Now {
        self.home_since
    }

    /// How often the home has changed, to none and from none included.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    #[must_use]
    pub fn state(&self, name: &Name) -> Option<View<'_>> {
        self.views().find(|view| view.name == name)
    }

    /// Every broker of the rules, most wanted first.
    pub fn views(&self) -> impl Iterator<Item = View<'_>> {
        self.peers.iter().map(|peer| View {
            name: &peer.name,
            state: peer.state,
            since: peer.since,
            heard: peer.state.is_linked().then(|| peer.pulse.heard()),
            in_step: peer.state.is_linked() && peer.pace == Pace::InStep,
        })
    }

    #[must_use]
    pub fn promoted(&self) -> Option<&Name> {
        self.promotion.as_ref().map(|promotion| &promotion.name)
    }

    /// Whether a link that is not ours to dial has been silent for so long that nothing will come by it any more: twice
    /// as long as its own end waits, which may be just about to replace it.
    #[must_use]
    pub fn is_gone(&self, pulse: &Pulse, now: Now) -> bool {
        !self.patience.holds(now) && now >= pulse.gone_at(self.rules.heartbeat)
    }

    fn index(&self, name: &Name) -> Option<usize> {
        self.peers.iter().position(|peer| peer.name == *name)
    }

    fn notice(&mut self, now: Now) {
        self.patience.handle_now(self.due, self.rules.heartbeat, now);
    }

    fn fail(&mut self, name: &Name, now: Now) {
        let longest = self.wait_max();
        if let Some(at) = self.index(name) {
            self.peers[at].fail(longest, &mut self.dice, now);
        }
    }

    /// One mutation has been made: judge the links, choose the home, reach for what is missing, beat on what stands.
    fn settle(&mut self, now: Now) {
        self.judge(now);
        self.choose(now);
        self.dial_again(now);
        self.reach(now);
        self.beat(now);
        self.due = self.earliest(now);
    }

    fn judge(&mut self, now: Now) {
        let (longest, beat) = (self.wait_max(), self.rules.heartbeat);
        let patient = self.patience.holds(now);
        for peer in &mut self.peers {
            let dropped = match peer.state {
                State::Down => false,
                State::Dialing | State::Up | State::Suspect if patient => false,
                State::Dialing => now >= peer.since.after(DIAL_MAX),
                State::Up | State::Suspect => match peer.pulse.life(beat, now) {
                    Life::Well => false,
                    Life::Suspect => {
                        peer.suspect(now);
                        false
                    }
                    Life::Dead => true,
                },
            };
            if dropped {
                peer.fail(longest, &mut self.dice, now);
                self.commands.push_back(Command::Drop(peer.name.clone()));
            }
        }
    }

    /// Where the home leaves beats unanswered: a fresh link to it, if it still lives.
    fn dial_again(&mut self, now: Now) {
        let every = self.rules.heartbeat.every;
        let home = self.home.as_ref().and_then(|home| self.index(home)).filter(|_| !self.patience.holds(now));
        let Some(peer) = home.map(|at| &mut self.peers[at]) else { return };
        let before = peer.redials;
        while peer.dial_again_at(every).is_some_and(|at| now >= at) {
            peer.redials += 1;
        }
        if peer.redials > before {
            self.commands.push_back(Command::Dial(peer.name.clone()));
        }
    }

    fn choose(&mut self, now: Now) {
        let at = self.home.as_ref().and_then(|home| self.index(home)).filter(|at| self.peers[*at].state.is_linked());
        let wanted = match (self.rules.role, at) {
            (Role::Broker, _) => None,
            (Role::Client, None) => self.best_link(),
            (Role::Client, Some(at)) => self.better_than(at, now).or(Some(at)),
        };
        let wanted = wanted.map(|at| self.peers[at].name.clone());
        if let Some(promotion) = &mut self.promotion
            && wanted.as_ref() == Some(&promotion.name)
        {
            promotion.fresh = false;
        }
        if wanted == self.home {
            return;
        }
        self.commands.push_back(wanted.clone().map_or(Command::Detached, Command::Attach));
        self.home = wanted;
        self.home_since = now;
        self.changes += 1;
    }

    /// Where there is no home: the best link that is up, in step before rank.
    fn best_link(&self) -> Option<usize> {
        let up = (0..self.peers.len()).filter(|at| self.peers[*at].state == State::Up);
        up.min_by_key(|at| (self.peers[*at].pace == Pace::Behind, self.rank(*at)))
    }

    /// The best broker that ranks before the home and that may be returned to now.
    fn better_than(&self, home: usize, now: Now) -> Option<usize> {
        let better = self.returns(home, now).filter(|(_, from)| now >= *from && !self.patience.holds(now));
        better.map(|(at, _)| at).min_by_key(|at| self.rank(*at))
    }

    /// Brokers that rank before the home and are fit to be it, each with the time from which it may be returned to.
    fn returns(&self, home: usize, now: Now) -> impl Iterator<Item = (usize, Now)> {
        let before = (0..self.peers.len()).filter(move |at| self.rank(*at) < self.rank(home));
        before.filter_map(move |at| {
            let peer = &self.peers[at];
            let (since, jitter) = peer.good?;
            let promotion = self.promotion.as_ref().filter(|promotion| promotion.name == peer.name);
            if promotion.is_some_and(|promotion| promotion.fresh) || now < self.settled_at {
                return Some((at, since));
            }
            let allowed = promotion.is_some() || self.rules.failover.failback == Failback::Auto;
            allowed.then(|| (at, since.after(self.rules.failover.hold_down).after(jitter)))
        })
    }

    /// A promoted broker ranks first while it is up and in step, and for as long as it is home.
    fn rank(&self, at: usize) -> usize {
        let peer = &self.peers[at];
        let promoted = self.promoted() == Some(&peer.name);
        let fit = peer.good.is_some() || (self.home.as_ref() == Some(&peer.name) && peer.state.is_linked());
        if promoted && fit { 0 } else { at + 1 }
    }

    /// Dial what is missing, and let go of links that are too many.
    fn reach(&mut self, now: Now) {
        let in_need = self.in_need();
        let (mut room, warm) = match self.rules.role {
            Role::Client => (WARM, WARM),
            Role::Broker => (usize::MAX, usize::MAX),
        };
        let mut sound = 0;
        for at in self.link_order() {
            let peer = &mut self.peers[at];
            match peer.state {
                State::Up | State::Suspect if sound >= warm => {
                    peer.leave(now);
                    self.commands.push_back(Command::Drop(peer.name.clone()));
                    continue;
                }
                State::Up | State::Suspect => sound += usize::from(peer.is_sound(now)),
                State::Dialing => {}
                State::Down if room == 0 => peer.dial_at = None,
                State::Down => {
                    let dial_at = peer.appoint(in_need, &mut self.dice, now);
                    if now >= dial_at {
                        peer.enter(State::Dialing, now);
                        self.commands.push_back(Command::Dial(peer.name.clone()));
                    }
                }
            }
            room = room.saturating_sub(usize::from(peer.holds_room(now)));
        }
    }

    /// The home, then what is promoted, then by rank.
    fn link_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.peers.len()).collect();
        let key = |at: &usize| {
            let name = Some(&self.peers[*at].name);
            (self.home.as_ref() != name, self.promoted() != name)
        };
        order.sort_by_key(key);
        order
    }

    fn beat(&mut self, now: Now) {
        if now >= self.beat_at {
            let linked = self.peers.iter().filter(|peer| peer.state.is_linked());
            self.commands.extend(linked.map(|peer| Command::SendBeat(peer.name.clone())));
            self.beat_at = now.after(self.rules.heartbeat.every);
        }
    }

    fn in_need(&self) -> bool {
        self.rules.role == Role::Broker || self.home.is_none()
    }

    fn wait_max(&self) -> Duration {
        if self.in_need() { WAIT_MAX_IN_NEED } else { WAIT_MAX }
    }

    fn earliest(&self, now: Now) -> Option<Now> {
        let beat = self.rules.heartbeat;
        let patient = |at: Now| at.max(self.patience.until());
        let mut linked = 0;
        let mut due: Option<Now> = None;
        let mut consider = |at: Now| due = Some(due.map_or(at, |due| due.min(at)));
        for peer in &self.peers {
            match peer.state {
                State::Down => peer.dial_at.into_iter().for_each(&mut consider),
                State::Dialing => {
                    let slow_at = peer.since.after(DIAL_SLOW);
                    consider(if now < slow_at { slow_at } else { patient(peer.since.after(DIAL_MAX)) });
                }
                State::Up => {
                    let quiet_at = peer.pulse.quiet_at(beat);
                    consider(if now < quiet_at { quiet_at } else { patient(peer.pulse.suspect_at(beat)) });
                }
                State::Suspect => consider(patient(peer.pulse.dead_at(beat))),
            }
            linked += usize::from(peer.state.is_linked());
        }
        if linked > 0 {
            consider(self.beat_at);
        }
        if linked > WARM {
            let steady = self.peers.iter().filter(|peer| peer.state == State::Up);
            steady.map(|peer| peer.linked_since.after(STEADY)).filter(|at| *at > now).for_each(&mut consider);
        }
        if let Some(home) = self.home.as_ref().and_then(|home| self.index(home)) {
            self.returns(home, now).map(|(_, from)| patient(from)).for_each(&mut consider);
            self.peers[home].dial_again_at(beat.every).map(patient).into_iter().for_each(&mut consider);
        }
        due
    }
}
