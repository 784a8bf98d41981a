//! A client with brokers that do as they are told, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{Command, Home, Pace, Role, Rules, State};
use crate::ids::Name;
use crate::time::Now;
use crate::topology::model::{Failback, Failover, Heartbeat};

pub const EVERY: Duration = Duration::from_millis(200);
pub const HOLD: Duration = Duration::from_secs(60);
/// How finely time passes.
const STEP: Duration = Duration::from_millis(10);

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn rules(role: Role, order: &[&str]) -> Rules {
    Rules {
        role,
        order: order.iter().map(|text| name(text)).collect(),
        heartbeat: Heartbeat { every: EVERY, miss: 3 },
        failover: Failover { hold_down: HOLD, failback: Failback::Auto },
    }
}

/// What a broker does to those who dial it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Takes links and beats.
    Well(Pace),
    /// Its process is gone: links are reset, dials refused.
    Gone,
    /// The network to it is cut, or it is frozen: nothing comes back.
    Silent,
    /// The link has come to a halt over lost packets; a new one would do.
    Halted,
}

pub const WELL: Mood = Mood::Well(Pace::InStep);

/// One machine and its brokers.
pub struct Bench {
    pub home: Home,
    pub now: Now,
    pub moods: BTreeMap<Name, Mood>,
    /// Every command with when it came, beats aside.
    pub log: Vec<(Now, Command)>,
    pub beats: u64,
    beat_at: Now,
    answers: Vec<(Now, Name)>,
}

impl Bench {
    pub fn new(rules: Rules, seed: u64) -> Self {
        // Not zero, so that a machine that takes zero for "now" is found out.
        let now = Now::ZERO.after(secs(1_000));
        let moods = rules.order.iter().map(|name| (name.clone(), WELL)).collect();
        let home = Home::new(rules, seed, now);
        Self { home, now, moods, log: Vec::new(), beats: 0, beat_at: now, answers: Vec::new() }
    }

    pub fn client(order: &[&str]) -> Self {
        Self::new(rules(Role::Client, order), 7)
    }

    pub fn set(&mut self, broker: &str, mood: Mood) {
        let broker = name(broker);
        self.moods.insert(broker.clone(), mood);
        if mood == Mood::Gone && self.is_linked(&broker) {
            self.home.handle_link_down(&broker, self.now);
            self.drain();
        }
    }

    pub fn is_linked(&self, broker: &Name) -> bool {
        self.home.state(broker).is_some_and(|view| view.state.is_linked())
    }

    pub fn state(&self, broker: &str) -> State {
        self.home.state(&name(broker)).unwrap().state
    }

    pub fn home(&self) -> Option<&str> {
        self.home.home().map(Name::as_str)
    }

    pub fn linked(&self) -> Vec<&str> {
        let linked = self.home.views().filter(|view| view.state.is_linked());
        linked.map(|view| view.name.as_str()).collect()
    }

    /// Let time pass, with everything that comes due in it.
    pub fn pass(&mut self, wait: Duration) {
        let end = self.now.after(wait);
        while self.now < end {
            self.now = self.now.after(STEP.min(end.since(self.now)));
            self.step();
        }
    }

    /// Let time pass until the broker's link is in that state.
    pub fn pass_until(&mut self, broker: &str, state: State) {
        let end = self.now.after(secs(100));
        while self.state(broker) != state {
            assert!(self.now < end, "{broker} is {:?}, not {state:?}", self.state(broker));
            self.pass(STEP);
        }
    }

    /// Let time pass until nothing has come from the broker for so long.
    pub fn pass_until_unheard(&mut self, broker: &str, silence: Duration) {
        let heard = self.home.state(&name(broker)).unwrap().heard.unwrap();
        self.pass(heard.after(silence).since(self.now));
    }

    /// This machine sleeps; what the others send meanwhile waits for it.
    pub fn sleep(&mut self, wait: Duration) {
        self.now = self.now.after(wait);
    }

    pub fn drain(&mut self) {
        while let Some(command) = self.home.poll() {
            match &command {
                Command::SendBeat(to) => {
                    assert!(self.is_linked(to), "a beat for {to}, which is not linked");
                    self.beats += 1;
                    continue;
                }
                Command::Dial(to) => self.answers.push((self.now.after(ms(5)), to.clone())),
                Command::Drop(gone) => self.answers.retain(|(_, name)| name != gone),
                Command::Attach(_) | Command::Detached => {}
            }
            self.log.push((self.now, command));
        }
    }

    pub fn dials(&self, broker: &str) -> Vec<Now> {
        let to = Command::Dial(name(broker));
        self.log.iter().filter(|(_, command)| *command == to).map(|(at, _)| *at).collect()
    }

    /// Every home with when it was taken; empty text for none.
    pub fn homes(&self) -> Vec<(Now, String)> {
        let home = |command: &Command| match command {
            Command::Attach(name) => Some(name.to_string()),
            Command::Detached => Some(String::new()),
            Command::Dial(_) | Command::Drop(_) | Command::SendBeat(_) => None,
        };
        self.log.iter().filter_map(|(at, command)| Some((*at, home(command)?))).collect()
    }

    fn step(&mut self) {
        let due: Vec<Name> = self.answers.iter().filter(|(at, _)| *at <= self.now).map(|(_, to)| to.clone()).collect();
        self.answers.retain(|(at, _)| *at > self.now);
        for to in due {
            match self.moods.get(&to) {
                Some(Mood::Well(_)) => self.home.handle_link_up(&to, self.now),
                Some(Mood::Halted) => {
                    self.moods.insert(to.clone(), WELL);
                    self.home.handle_link_up(&to, self.now);
                }
                Some(Mood::Gone) => self.home.handle_dial_failed(&to, self.now),
                Some(Mood::Silent) | None => {}
            }
            self.drain();
        }
        if self.now >= self.beat_at {
            self.beat_at = self.now.after(EVERY);
            for (broker, mood) in self.moods.clone() {
                if let (Mood::Well(pace), true) = (mood, self.is_linked(&broker)) {
                    self.home.handle_beat(&broker, pace, self.now);
                    self.home.handle_answered(&broker, self.now);
                }
            }
        }
        let mut turns = 0;
        while self.home.next_deadline().is_some_and(|at| at <= self.now) {
            self.home.handle_timeout(self.now);
            self.drain();
            turns += 1;
            assert!(turns < 10, "its deadline {:?} never leaves {:?}", self.home.next_deadline(), self.now);
        }
        self.drain();
    }
}
