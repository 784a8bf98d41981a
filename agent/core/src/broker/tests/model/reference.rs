//! What a broker owes its clients, as plainly as it can be said: no queues, no limits, no packets. A copy that is owed
//! *must* come unless a limit may have taken it; nothing else may come at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::broker::tests::bench::{Message, Q0, Q2};
use crate::mqtt::packet::QoS;
use crate::time::Now;
use crate::topic;

/// A published message. The number is its payload; none is an empty one.
#[derive(Clone, Debug)]
pub struct Sent {
    pub number: Option<u32>,
    pub publisher: usize,
    pub topic: &'static str,
    pub qos: QoS,
    pub retain: bool,
}

#[derive(Clone, Debug)]
pub struct Wish {
    pub qos: QoS,
    pub no_local: bool,
    pub as_published: bool,
    pub id: Option<u32>,
}

/// One copy for one session.
#[derive(Debug)]
struct Copy {
    number: Option<u32>,
    publisher: usize,
    topic: &'static str,
    shape: Shape,
    must: bool,
    got: bool,
    /// It came because it was retained, and so in no order with the others.
    stored: bool,
}

/// What can be seen of a copy beside its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape {
    qos: QoS,
    retain: bool,
    ids: Vec<u32>,
}

/// One copy for one of a group.
#[derive(Debug)]
struct GroupCopy {
    group: &'static str,
    number: Option<u32>,
    topic: &'static str,
    sent_qos: QoS,
    sent_retain: bool,
    /// As each of them may get it: otherwise where it comes to one anew, who may have asked for it otherwise since.
    members: Vec<(usize, Shape)>,
    must: bool,
    /// A member was lost that may have had it without acknowledging it.
    may_repeat: bool,
}

#[derive(Debug)]
pub struct Session {
    pub connected: bool,
    expiry: Duration,
    ends: Option<Now>,
    will: Option<(Sent, Duration)>,
    will_at: Option<Now>,
    wishes: BTreeMap<&'static str, Wish>,
    copies: Vec<Copy>,
    /// Where in `copies` the last one was, by publisher and QoS.
    last: BTreeMap<(usize, QoS), usize>,
    /// Retained messages that a client which does not read at once may get, then or later.
    walks: Vec<(&'static str, Wish)>,
    /// QoS 2 messages from this client that it has not released.
    received: BTreeSet<u16>,
}

impl Session {
    /// A copy that must have come, of those that look the same fewer than must.
    fn missing(&self) -> Option<&Copy> {
        self.copies.iter().filter(|copy| copy.must && !copy.got).find(|missing| {
            let alike = |copy: &&Copy| {
                copy.number == missing.number && copy.topic == missing.topic && copy.shape == missing.shape
            };
            let got = self.copies.iter().filter(alike).filter(|copy| copy.got).count();
            got < self.copies.iter().filter(alike).filter(|copy| copy.must).count()
        })
    }
}

#[derive(Debug)]
pub struct Reference {
    /// Who reads and acknowledges at once, and speaks version 5.
    prompt: [bool; 4],
    five: [bool; 4],
    pub sessions: BTreeMap<usize, Session>,
    retained: BTreeMap<&'static str, Sent>,
    ever_retained: BTreeMap<u32, Sent>,
    group_copies: Vec<GroupCopy>,
    /// Who got what that was owed to a group, by number.
    group_got: BTreeMap<u32, Vec<(usize, Shape)>>,
}

/// Which message has this payload.
pub fn number(payload: &[u8]) -> Option<u32> {
    std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok())
}

/// The group of a filter and what it matches.
fn parts(filter: &'static str) -> (bool, &'static str) {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((_, filter)) => (true, filter),
        None => (false, filter),
    }
}

impl Reference {
    pub fn new(prompt: [bool; 4], five: [bool; 4]) -> Self {
        Self {
            prompt,
            five,
            sessions: BTreeMap::new(),
            retained: BTreeMap::new(),
            ever_retained: BTreeMap::new(),
            group_copies: Vec::new(),
            group_got: BTreeMap::new(),
        }
    }

    /// Whether a session is there.
    pub fn connect(
        &mut self,
        who: usize,
        clean: bool,
        expiry: Duration,
        will: Option<(Sent, Duration)>,
        now: Now,
    ) -> bool {
        if self.sessions.get(&who).is_some_and(|session| session.connected) {
            self.disconnect(who, true, now);
        }
        if clean {
            self.end(who);
        }
        let present = self.sessions.contains_key(&who);
        let session = self.sessions.entry(who).or_insert_with(|| Session {
            connected: true,
            expiry,
            ends: None,
            will: None,
            will_at: None,
            wishes: BTreeMap::new(),
            copies: Vec::new(),
            last: BTreeMap::new(),
            walks: Vec::new(),
            received: BTreeSet::new(),
        });
        (session.connected, session.expiry, session.ends) = (true, expiry, None);
        (session.will, session.will_at) = (will, None);
        present
    }

    pub fn disconnect(&mut self, who: usize, broke: bool, now: Now) {
        let Some(session) = self.sessions.get_mut(&who) else { return };
        session.connected = false;
        session.walks.clear();
        session.ends = Some(now.after(session.expiry));
        for copy in session.copies.iter_mut().filter(|copy| copy.shape.qos == Q0) {
            copy.must = false;
        }
        for copy in &mut self.group_copies {
            copy.must &= copy.members.iter().all(|(member, _)| *member != who);
        }
        if broke {
            session.will_at = session.will.as_ref().map(|(_, delay)| now.after((*delay).min(session.expiry)));
        } else {
            session.will = None;
        }
        self.pass(now);
    }

    /// What is due by now, in the order of its time.
    pub fn pass(&mut self, now: Now) {
        loop {
            let due = |at: Option<Now>| at.filter(|at| *at <= now);
            let ends = self.sessions.iter().filter_map(|(who, s)| Some((due(s.ends)?, 1, *who)));
            let wills = self.sessions.iter().filter_map(|(who, s)| Some((due(s.will_at)?, 0, *who)));
            match ends.chain(wills).min() {
                None => return,
                Some((_, 0, who)) => self.say_will(who),
                Some((_, _, who)) => self.end(who),
            }
        }
    }

    fn say_will(&mut self, who: usize) {
        let Some(session) = self.sessions.get_mut(&who) else { return };
        session.will_at = None;
        if let Some((will, _)) = session.will.take() {
            self.route(&will);
        }
    }

    fn end(&mut self, who: usize) {
        if self.sessions.get(&who).is_some_and(|session| session.will_at.is_some()) {
            self.say_will(who);
        }
        let Some(session) = self.sessions.remove(&who) else { return };
        for group in session.wishes.keys() {
            let members = self.members(group);
            for copy in self.group_copies.iter_mut().filter(|copy| copy.group == *group) {
                copy.must = false;
                copy.may_repeat = true;
                for (member, wish) in &members {
                    let anew = (*member, shape(&[wish], copy.sent_qos, copy.sent_retain, self.five[*member]));
                    if !copy.members.contains(&anew) {
                        copy.members.push(anew);
                    }
                }
            }
        }
    }

    fn members(&self, group: &'static str) -> Vec<(usize, Wish)> {
        self.sessions.iter().filter_map(|(who, s)| Some((*who, s.wishes.get(group)?.clone()))).collect()
    }

    pub fn subscribe(&mut self, who: usize, filter: &'static str, wish: Wish, stored: Stored) {
        let (five, prompt) = (self.five[who], self.prompt[who]);
        let Some(session) = self.sessions.get_mut(&who) else { return };
        let is_new = session.wishes.insert(filter, wish.clone()).is_none();
        let (shared, filter) = parts(filter);
        if shared || stored == Stored::Never || stored == Stored::IfNew && !is_new {
            return;
        }
        if !prompt {
            session.walks.push((filter, wish));
            return;
        }
        for sent in self.retained.values().filter(|sent| topic::matches(filter, sent.topic)) {
            let shape = Shape { retain: true, ..shape(&[&wish], sent.qos, true, five) };
            let (number, publisher, topic) = (sent.number, sent.publisher, sent.topic);
            session.copies.push(Copy { number, publisher, topic, shape, must: true, got: false, stored: true });
        }
    }

    pub fn unsubscribe(&mut self, who: usize, filter: &'static str) {
        if let Some(session) = self.sessions.get_mut(&who) {
            session.wishes.remove(filter);
        }
        for copy in self.group_copies.iter_mut().filter(|copy| copy.group == filter) {
            copy.must = false;
        }
    }

    /// A publish of `who` was let in; false where it is one that came before.
    pub fn publish(&mut self, sent: &Sent, id: u16, refused: bool) {
        let five = self.five[sent.publisher];
        let Some(session) = self.sessions.get_mut(&sent.publisher) else { return };
        if sent.qos == Q2 {
            if session.received.contains(&id) {
                return;
            }
            if !refused || !five {
                session.received.insert(id);
            }
        }
        if !refused {
            self.route(sent);
        }
    }

    pub fn release(&mut self, who: usize, id: u16) {
        if let Some(session) = self.sessions.get_mut(&who) {
            session.received.remove(&id);
        }
    }

    /// `all` were retained under one topic in one step: of several clients only the broker knows who came last, and it has
    /// `found`.
    pub fn one_was_last(&mut self, all: &[Sent], found: Option<u32>) {
        let several = all.iter().any(|sent| sent.publisher != all[0].publisher);
        if let Some(last) = all.iter().rev().find(|sent| several && sent.number == found) {
            self.retain(last);
        }
    }

    fn retain(&mut self, sent: &Sent) {
        match sent.number {
            Some(number) => {
                self.retained.insert(sent.topic, sent.clone());
                self.ever_retained.insert(number, sent.clone());
            }
            None => _ = self.retained.remove(sent.topic),
        }
    }

    fn route(&mut self, sent: &Sent) {
        if sent.retain {
            self.retain(sent);
        }
        let (number, publisher, topic) = (sent.number, sent.publisher, sent.topic);
        let mut groups: BTreeMap<&'static str, Vec<(usize, Shape)>> = BTreeMap::new();
        for (who, session) in &mut self.sessions {
            let mut plain = Vec::new();
            for (filter, wish) in &session.wishes {
                let (shared, matched) = parts(filter);
                if !topic::matches(matched, topic) {
                    continue;
                }
                if shared {
                    let shape = shape(&[wish], sent.qos, sent.retain, self.five[*who]);
                    groups.entry(filter).or_default().push((*who, shape));
                } else if !(wish.no_local && *who == publisher) {
                    plain.push(wish);
                }
            }
            if plain.is_empty() {
                continue;
            }
            let shape = shape(&plain, sent.qos, sent.retain, self.five[*who]);
            if shape.qos == Q0 && !session.connected {
                continue;
            }
            let must = shape.qos != Q0 || self.prompt[*who];
            session.copies.push(Copy { number, publisher, topic, shape, must, got: false, stored: false });
        }
        for (group, members) in groups {
            let here = |(who, _): &(usize, Shape)| self.prompt[*who] && self.sessions[who].connected;
            self.group_copies.push(GroupCopy {
                group,
                number,
                topic,
                sent_qos: sent.qos,
                sent_retain: sent.retain,
                must: members.iter().all(here),
                members,
                may_repeat: false,
            });
        }
    }

    /// A limit has taken something: from whom, only the broker knows, but never from who reads and acknowledges, unless
    /// it has come `back` in this very step.
    pub fn limit_took(&mut self, back: Option<usize>) {
        for (who, session) in &mut self.sessions {
            if session.connected && self.prompt[*who] && back != Some(*who) {
                continue;
            }
            for copy in session.copies.iter_mut().filter(|copy| copy.shape.qos != Q0) {
                copy.must = false;
            }
        }
    }

    /// A full queue has taken messages at QoS 0, as it may.
    pub fn limit_took_qos0(&mut self) {
        for session in self.sessions.values_mut() {
            for copy in session.copies.iter_mut().filter(|copy| copy.shape.qos == Q0) {
                copy.must = false;
            }
        }
        for copy in &mut self.group_copies {
            copy.must &= copy.members.iter().all(|(_, shape)| shape.qos != Q0);
        }
    }

    /// `who` has got a message that it had not got before.
    pub fn got(&mut self, who: usize, message: &Message) -> Result<(), String> {
        let number = number(&message.payload);
        let mut ids = message.ids.clone();
        ids.sort_unstable();
        let shape = Shape { qos: message.qos, retain: message.retain, ids };
        let session = self.sessions.get_mut(&who).ok_or("there is no session")?;
        let walked = |(filter, wish): &(&str, Wish)| {
            let stored = number.and_then(|number| self.ever_retained.get(&number));
            stored.is_some_and(|stored| {
                topic::matches(filter, &message.topic)
                    && stored.topic == message.topic
                    && shape.qos == stored.qos.min(wish.qos)
                    && shape.retain
            })
        };
        if session.walks.iter().any(walked) {
            // It may be a copy with the flag, or come because it was retained: nobody can tell.
            session.copies.iter_mut().filter(|copy| copy.shape.retain).for_each(|copy| copy.must = false);
            return Ok(());
        }
        let alike = |copy: &Copy| copy.number == number && copy.topic == message.topic && copy.shape == shape;
        // Whether it came by a group cannot be told then, and so no order.
        let unordered = self.group_copies.iter().any(|copy| {
            copy.number == number && copy.topic == message.topic && copy.members.contains(&(who, shape.clone()))
        });
        let last = |copy: &Copy| session.last.get(&(copy.publisher, shape.qos)).copied();
        let in_order =
            |(at, copy): &(usize, &Copy)| unordered || copy.stored || last(copy).is_none_or(|last| last < *at);
        let open = || session.copies.iter().enumerate().filter(|(_, copy)| !copy.got && alike(copy));
        // Which of two that look the same it is cannot be told: the first that keeps the order.
        let owed = open()
            .filter(in_order)
            .min_by_key(|(at, copy)| (copy.stored, unordered && !copy.must, *at))
            .map(|(at, _)| at);
        let late = open().next().is_some();
        if let Some(at) = owed {
            let copy = &mut session.copies[at];
            copy.got = true;
            if !copy.stored && !unordered {
                session.last.insert((copy.publisher, shape.qos), at);
            }
            return Ok(());
        }
        match self.got_as_one_of_a_group(who, number, message, shape) {
            Err(_) if late => Err(format!("{message:?} comes after a later one")),
            owed => owed,
        }
    }

    fn got_as_one_of_a_group(
        &mut self,
        who: usize,
        number: Option<u32>,
        message: &Message,
        shape: Shape,
    ) -> Result<(), String> {
        let copies = self.group_copies.iter().filter(|copy| copy.number == number && copy.topic == message.topic);
        let copies: Vec<&GroupCopy> = copies.collect();
        let Some(number) = number else {
            // Empty ones look all the same.
            let owed = copies.iter().any(|copy| copy.members.contains(&(who, shape.clone())));
            return if owed { Ok(()) } else { Err(format!("{message:?} was not owed to {who}")) };
        };
        let got = self.group_got.entry(number).or_default();
        got.push((who, shape));
        if assignable(got, &copies) { Ok(()) } else { Err(format!("{message:?} was not owed to {who}")) }
    }

    /// What is owed at once to those who read at once, and to the groups of which all do.
    pub fn nothing_is_missing_at_once(&self) -> Result<(), String> {
        let here = self.sessions.iter().filter(|(who, session)| session.connected && self.prompt[**who]);
        if let Some(missing) = here.filter_map(|(_, session)| session.missing()).next() {
            return Err(format!("a reader misses {missing:?}"));
        }
        for copy in self.group_copies.iter().filter(|copy| copy.must) {
            let Some(number) = copy.number else { continue };
            let of_number = self.group_copies.iter().filter(|copy| copy.number == Some(number));
            // One that was taken for a copy which need not have come may have been the group's.
            let perhaps = |copy: &&Copy| copy.number == Some(number) && copy.got && !copy.must;
            let perhaps = self.sessions.values().flat_map(|session| &session.copies).filter(perhaps).count();
            let got = self.group_got.get(&number).map_or(0, Vec::len) + perhaps;
            if got < of_number.filter(|copy| copy.must).count() {
                return Err(format!("a group misses {copy:?}"));
            }
        }
        Ok(())
    }

    /// What is owed to `who`, when it has taken and acknowledged everything.
    pub fn nothing_is_missing(&self, who: usize) -> Result<(), String> {
        match self.sessions.get(&who).and_then(Session::missing) {
            Some(missing) => Err(format!("{who} misses {missing:?}")),
            None => Ok(()),
        }
    }
}

/// Whether each of those who got something got another copy of those that there were.
fn assignable(got: &[(usize, Shape)], copies: &[&GroupCopy]) -> bool {
    let Some((first, rest)) = got.split_first() else { return true };
    let fitting = copies.iter().enumerate().filter(|(_, copy)| copy.members.contains(first));
    fitting.into_iter().any(|(at, copy)| {
        let left: Vec<&GroupCopy> =
            copies.iter().enumerate().filter(|(other, _)| *other != at || copy.may_repeat).map(|(_, c)| *c).collect();
        assignable(rest, &left)
    })
}

/// When a subscription wants the retained messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    Always,
    IfNew,
    Never,
}

/// One copy for several subscriptions: the best QoS, any wish for the flag, all identifiers.
fn shape(wishes: &[&Wish], sent_qos: QoS, sent_retain: bool, five: bool) -> Shape {
    let best = wishes.iter().map(|wish| wish.qos).max().unwrap_or_default();
    let mut ids: Vec<u32> = wishes.iter().filter_map(|wish| wish.id).filter(|_| five).collect();
    ids.sort_unstable();
    Shape { qos: sent_qos.min(best), retain: sent_retain && wishes.iter().any(|wish| wish.as_published), ids }
}
