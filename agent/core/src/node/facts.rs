//! What every machine tells all others of itself, and the newest of it that has been heard: one value for each machine
//! and kind, ordered by the hybrid clock of the machine that said it.
//!
//! A fact travels by any road and in any order; the newest wins. That none was heard means nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::link::{Attached, LinkId};
use super::sweep::Wants;
use super::{Node, STATUS_EVERY, STATUS_REPEAT, Ticket, Write, greet};
use crate::envelope::SenderId;
use crate::frame::{FACT_BYTES_MAX, Fact, Frame, encode};
use crate::hlc::Hlc;
use crate::ids::Name;
use crate::interest::Interest;
use crate::time::Now;

/// Machines of a network that facts are kept of.
const OWNERS_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Filters that its programs subscribed to.
    Interest,
    /// How it is.
    Status,
    /// Which machines are attached to it.
    Attached,
    /// The broker that is to be everybody's home; the newest of all owners counts.
    Promoted,
}

impl Kind {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Interest => 1,
            Self::Status => 2,
            Self::Attached => 3,
            Self::Promoted => 4,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        [Self::Interest, Self::Status, Self::Attached, Self::Promoted].into_iter().find(|kind| kind.number() == number)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub hlc: Hlc,
    pub body: Box<[u8]>,
    pub heard: Now,
}

/// A machine, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusFact {
    pub boot: u64,
    pub version: Box<str>,
    pub uptime_s: u64,
    pub home: Option<Box<str>>,
    pub queue: u64,
    pub fingerprint: Box<str>,
    /// For how long it has run by that topology, where it says so.
    pub topology_s: Option<u64>,
    /// It is being stopped.
    pub leaving: bool,
}

#[derive(Debug, Default)]
pub struct Facts {
    known: BTreeMap<(Name, Kind), Said>,
    heard: bool,
}

impl Facts {
    pub fn get(&self, owner: &Name, kind: Kind) -> Option<&Said> {
        self.known.get(&(owner.clone(), kind))
    }

    pub fn of(&self, kind: Kind) -> impl Iterator<Item = (&Name, &Said)> {
        self.known.iter().filter(move |((_, of), _)| *of == kind).map(|((owner, _), said)| (owner, said))
    }

    pub fn keys(&self) -> impl Iterator<Item = &(Name, Kind)> {
        self.known.keys()
    }

    /// Whether this machine has ever been told of others.
    pub fn were_heard(&self) -> bool {
        self.heard
    }

    /// Keep it if it is news.
    fn hear(&mut self, owner: &Name, kind: Kind, said: Said, members: &BTreeSet<Name>) -> bool {
        let key = (owner.clone(), kind);
        let known = self.known.get(&key);
        if known.is_some_and(|known| known.hlc >= said.hlc) {
            return false;
        }
        if known.is_none() && self.known.len() >= OWNERS_MAX * 4 {
            // Whoever belongs to the network no longer gives way to whoever does.
            let stranger = self.known.keys().find(|(owner, _)| !members.contains(owner)).cloned();
            let Some(stranger) = stranger.filter(|_| members.contains(owner)) else { return false };
            self.known.remove(&stranger);
        }
        self.known.insert(key, said);
        true
    }

    /// The broker that was promoted last, and when. An empty body takes a promotion back.
    pub fn promoted(&self) -> Option<(Hlc, Option<Name>)> {
        let newest = self.of(Kind::Promoted).max_by_key(|(owner, said)| (said.hlc, *owner))?;
        let name = std::str::from_utf8(&newest.1.body).ok().and_then(|text| Name::new(text).ok());
        Some((newest.1.hlc, name))
    }
}

impl Node {
    pub(super) fn tell_interest(&mut self, now: Now) {
        self.weigh_interest();
        self.tell(Kind::Interest, self.local.to_bytes(), now);
    }

    pub(super) fn tell_promotion(&mut self, broker: Option<&Name>, now: Now) {
        self.tell(Kind::Promoted, broker.map_or(Vec::new(), |name| name.as_str().into()), now);
        self.home.handle_promoted(broker.cloned(), now);
    }

    pub(super) fn tell_status(&mut self, now: Now) {
        self.status_due = now.after(STATUS_EVERY);
        let status = StatusFact {
            boot: self.boot,
            version: greet::AGENT.into(),
            uptime_s: now.since(self.started).as_secs(),
            home: self.home.home().map(|home| home.as_str().into()),
            queue: self.outbox.unsettled() as u64,
            fingerprint: self.settings.common.fingerprint.clone(),
            topology_s: Some(now.since(self.topology_since).as_secs()),
            leaving: self.leaving,
        };
        // Everybody hears of it, so what only grows is not worth telling often.
        let news = StatusFact { uptime_s: 0, topology_s: None, ..status.clone() };
        if news == self.status_told.0 && now.since(self.status_told.1) < STATUS_REPEAT {
            return;
        }
        self.status_told = (news, now);
        self.tell(Kind::Status, serde_json::to_vec(&status).unwrap_or_default(), now);
    }

    /// Which machines are reachable through here.
    pub(super) fn tell_attached(&mut self, now: Now) {
        if !self.settings.is_broker() {
            return;
        }
        let here = self.links.values().filter(|link| link.attached == Attached::Yes || (link.is_broker && link.ready));
        let names: Vec<&str> = here.map(|link| link.peer.as_str()).collect();
        let body = names.join("\n").into_bytes();
        if self.facts.get(&self.settings.me, Kind::Attached).is_none_or(|said| *said.body != *body) {
            self.tell(Kind::Attached, body, now);
        }
    }

    /// A client is nobody's home.
    pub(super) fn tell_attached_to_none(&mut self, now: Now) {
        if self.facts.get(&self.settings.me, Kind::Attached).is_some_and(|said| !said.body.is_empty()) {
            self.tell(Kind::Attached, Vec::new(), now);
        }
    }

    fn tell(&mut self, kind: Kind, body: Vec<u8>, now: Now) {
        let said = Said { hlc: self.stamp(now), body: body.into(), heard: now };
        let me = self.settings.me.clone();
        self.learn(&me, kind, said);
        self.pass_on(&me, kind, None);
    }

    /// Another agent told us something, of itself or of others.
    pub(super) fn hear_fact(&mut self, link: LinkId, fact: &Fact<'_>, now: Now) {
        let (Ok(owner), Some(kind)) = (Name::new(fact.owner), Kind::from_number(fact.kind)) else {
            self.counters.frames_unknown += 1;
            return;
        };
        let Some(known) = self.links.get(&link) else { return };
        // A client speaks for itself alone, and what could not be passed on is not kept.
        let may = !self.settings.is_broker() || known.is_broker || known.peer == owner;
        if !may || fact.body.len() > FACT_BYTES_MAX {
            self.counters.frames_refused += 1;
            return;
        }
        self.clock.hear(fact.hlc);
        self.facts.heard = true;
        // What this machine promoted in another life still holds, though it may have forgotten it.
        if owner == self.settings.me && kind != Kind::Promoted {
            return self.correct(kind, fact.hlc, now);
        }
        let interest = if kind == Kind::Interest { Interest::from_bytes(fact.body) } else { None };
        if kind == Kind::Interest && interest.is_none() {
            self.counters.frames_refused += 1;
            return;
        }
        let before = self.facts.promoted();
        let said = Said { hlc: fact.hlc, body: fact.body.into(), heard: now };
        if !self.learn(&owner, kind, said) {
            return;
        }
        if let Some(interest) = interest {
            self.note_interest(&owner, interest);
        }
        if kind == Kind::Promoted
            && let Some((hlc, name)) = self.facts.promoted()
            && before.is_none_or(|(earlier, _)| hlc > earlier)
        {
            self.home.handle_promoted(name, now);
        }
        self.pass_on(&owner, kind, Some(link));
    }

    /// Keep what is news; what lasts longer than a life is written.
    fn learn(&mut self, owner: &Name, kind: Kind, said: Said) -> bool {
        let news = self.facts.hear(owner, kind, said.clone(), &self.settings.common.machines);
        if news && matches!(kind, Kind::Interest | Kind::Promoted) {
            self.write(Write::Fact { owner: owner.clone(), kind, said });
            // After a power cut, too, we must know for whom to keep things.
            self.ticket = Ticket(self.ticket.0 + 1);
        }
        news
    }

    /// What one wants who does not belong to the network, as it is known here, is kept for nobody.
    pub(super) fn note_interest(&mut self, owner: &Name, interest: Interest) {
        if !self.settings.common.machines.contains(owner) {
            return;
        }
        let sender = SenderId::of(&self.settings.network, owner);
        self.interests.insert(owner.clone(), Wants { sender, interest });
    }

    /// What was known before the restart.
    pub(super) fn recall(&mut self, owner: &Name, kind: Kind, said: Said) {
        if kind == Kind::Interest
            && *owner != self.settings.me
            && let Some(interest) = Interest::from_bytes(&said.body)
        {
            self.note_interest(owner, interest);
            self.facts.heard = true;
        }
        self.clock.hear(said.hlc);
        self.facts.hear(owner, kind, Said { heard: self.started, ..said }, &self.settings.common.machines);
    }

    /// Somebody knows something newer of us than we said in this life: say it again, later than that.
    fn correct(&mut self, kind: Kind, hlc: Hlc, now: Now) {
        let newer = self.facts.get(&self.settings.me, kind).is_some_and(|said| said.hlc < hlc);
        if !newer {
            return;
        }
        match kind {
            Kind::Interest => self.tell_interest(now),
            Kind::Status => {
                self.status_told = Default::default();
                self.tell_status(now);
            }
            Kind::Promoted => {}
            Kind::Attached => {
                let body = self.facts.get(&self.settings.me, kind).map(|said| said.body.to_vec());
                self.tell(kind, body.unwrap_or_default(), now);
            }
        }
    }

    /// To whom it may be news: a broker tells everybody, a client its home.
    fn pass_on(&mut self, owner: &Name, kind: Kind, from: Option<LinkId>) {
        let open: Vec<LinkId> =
            self.links.iter().filter(|(id, link)| link.ready && Some(**id) != from).map(|(id, _)| *id).collect();
        for id in open {
            if let Some(link) = self.links.get_mut(&id)
                && link.peer != *owner
            {
                link.facts_dirty.insert((owner.clone(), kind));
                self.ask_transmit(id);
            }
        }
    }

    /// All that is known, for one who has just come.
    pub(super) fn tell_everything(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        // What it said itself too: in a new life, and with no clock to go by, it may not know that it said it.
        let all = self.facts.keys();
        if self.settings.is_broker() {
            link.facts_dirty.extend(all.cloned());
        } else {
            link.facts_dirty.extend(all.filter(|(owner, _)| *owner == self.settings.me).cloned());
        }
        self.ask_transmit(id);
    }

    /// Put what this link is to be told into `out`.
    pub(super) fn put_facts(&mut self, id: LinkId, out: &mut Vec<u8>, end: usize) {
        while out.len() < end
            && let Some(key) = self.links.get_mut(&id).and_then(|link| link.facts_dirty.pop_first())
        {
            self.put_fact(&key, out);
        }
    }

    pub(super) fn put_own_facts(&self, out: &mut Vec<u8>) {
        let own = self.facts.keys().filter(|(owner, _)| *owner == self.settings.me);
        own.for_each(|key| self.put_fact(key, out));
    }

    fn put_fact(&self, key: &(Name, Kind), out: &mut Vec<u8>) {
        if let Some(said) = self.facts.known.get(key) {
            let fact = Fact { owner: key.0.as_str(), kind: key.1.number(), hlc: said.hlc, body: &said.body };
            encode(&Frame::Fact(fact), out);
        }
    }
}
