//! Links that come, attach, beat, and go.

use std::time::Duration;

use super::follow::leaves_upto;
use super::link::{Attached, Link, LinkId, Phase, Side};
use super::{Action, Node};
use crate::envelope::SenderId;
use crate::frame::{Beat, Frame, Fresh, Hello, VERSION, decode, encode};
use crate::home::Pace;
use crate::ids::Name;
use crate::stream::StreamId;
use crate::time::Now;

pub const AGENT: &str = env!("CARGO_PKG_VERSION");

/// Control frames that the other side may leave unread before its link is given up.
const CONTROL_BYTES_MAX: usize = 4 << 20;
/// Times that a machine may call this broker its home between two looks at it.
const ATTACHMENTS_MAX: u8 = 16;
/// Input that is not yet a whole frame and is kept when none is expected.
const INPUT_BYTES_KEPT: usize = 4 << 10;

/// Why a link ends, as BYE says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    Stopping,
    /// Another link to the same machine took its place.
    Replaced,
    /// What it said was against the rules.
    Fault,
    /// It speaks a language that is not known here.
    Version,
    /// It is not needed any more.
    Unneeded,
}

impl Parting {
    fn number(self) -> u8 {
        match self {
            Self::Stopping => 1,
            Self::Replaced => 2,
            Self::Fault => 3,
            Self::Version => 4,
            Self::Unneeded => 5,
        }
    }
}

impl Node {
    /// A link stands, and its TLS has proved that `peer` is on the other side.
    pub fn handle_link_open(&mut self, peer: &Name, side: Side, now: Now) -> LinkId {
        // One that calls again and again without a word has one link all the same.
        let unheard = |link: &Link| link.phase == Phase::Greeting && link.side == Side::Accepted && link.peer == *peer;
        if side == Side::Accepted
            && let Some(id) = self.links.iter().find(|(_, link)| unheard(link)).map(|(id, _)| *id)
        {
            self.bye(id, Parting::Replaced);
        }
        self.links_opened += 1;
        let id = LinkId(self.links_opened);
        let sender = SenderId::of(&self.settings.network, peer);
        let is_broker = self.settings.is_a_broker(peer);
        let mut link = Link::new(peer.clone(), sender, side, is_broker, now);
        if side == Side::Dialed && self.by_peer.contains_key(peer) && self.home.is_answered_by(peer) {
            // It was called since it did not answer, and it has answered meanwhile: what is on its way goes on.
            self.links.insert(id, link);
            self.close(id);
            return id;
        }
        let hello = Hello {
            version: VERSION,
            name: self.settings.me.as_str(),
            boot: self.boot,
            agent: AGENT,
            hlc: self.clock.last(),
        };
        encode(&Frame::Hello(hello), &mut link.control);
        self.links.insert(id, link);
        self.ask_transmit(id);
        self.settle(now);
        id
    }

    pub fn handle_link_bytes(&mut self, id: LinkId, bytes: &[u8], now: Now) {
        self.heard(id, bytes.len(), now);
        let Some(link) = self.links.get_mut(&id) else { return };
        let mut input = std::mem::take(&mut link.input);
        let whole = if input.is_empty() {
            bytes
        } else {
            input.extend_from_slice(bytes);
            &input
        };
        let used = self.frames(id, whole, now);
        if used < whole.len() {
            self.bear_with(id, now);
        }
        if let Some(link) = self.links.get_mut(&id).filter(|link| link.phase != Phase::Closing) {
            let rest = whole.get(used..).unwrap_or(&[]);
            if input.is_empty() {
                link.input.extend_from_slice(rest);
            } else {
                input.drain(..used);
                if input.capacity() > INPUT_BYTES_KEPT && input.is_empty() {
                    input = Vec::new();
                }
                link.input = input;
            }
        }
        self.settle(now);
    }

    /// Links that have been silent for longer than a beat, and since when. Before each `handle_timeout` and
    /// `handle_link_open`, which may judge them, call `handle_stirring` for those by which something has come since.
    pub fn quiet_links(&self, now: Now) -> impl Iterator<Item = (LinkId, Now)> {
        let beat = self.settings.heartbeat;
        let quiet = move |link: &Link| link.pulse.quiet_at(beat) <= now;
        let links = self.links.iter().map(|(id, link)| (*id, link));
        links.filter(move |(_, link)| quiet(link)).map(|(id, link)| (id, link.pulse.heard()))
    }

    /// Something has come by this link that cannot be read yet: it stands behind a packet that was lost, or is a part
    /// of what is read as a whole.
    pub fn handle_stirring(&mut self, id: LinkId, now: Now) {
        self.heard(id, 1, now);
        self.bear_with(id, now);
        self.settle(now);
    }

    fn heard(&mut self, id: LinkId, bytes: usize, now: Now) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.pulse.handle_heard(now);
        link.bytes_heard = link.bytes_heard.wrapping_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if link.is_broker && self.by_peer.get(&link.peer) == Some(&id) {
            let peer = link.peer.clone();
            self.home.handle_heard(&peer, now);
        }
    }

    /// More of a frame is on its way, and beats and their answers stand behind it.
    fn bear_with(&mut self, id: LinkId, now: Now) {
        let Some(link) = self.links.get(&id).filter(|link| link.phase == Phase::Open) else { return };
        if !link.is_broker {
            let wait = self.settings.heartbeat.every / 2;
            if now.since(link.beat_sent_at) >= wait {
                self.send_beat(id, now);
            }
        } else if self.by_peer.get(&link.peer) == Some(&id) {
            let peer = link.peer.clone();
            self.home.handle_answered(&peer, now);
        }
    }

    /// Deal with every whole frame, and say how many bytes are done with.
    fn frames(&mut self, id: LinkId, bytes: &[u8], now: Now) -> usize {
        let mut used = 0;
        loop {
            let Some(phase) = self.links.get(&id).map(|link| link.phase) else { return bytes.len() };
            if phase == Phase::Closing {
                return bytes.len();
            }
            // Nobody greets at length.
            let payload_max = if phase == Phase::Greeting { 0 } else { self.settings.common.packet_bytes_max };
            match decode(bytes.get(used..).unwrap_or(&[]), payload_max) {
                Ok(None) => return used,
                Ok(Some((frame, length))) => {
                    used += length;
                    match frame {
                        Some(frame) => self.frame(id, phase, &frame, now),
                        None => self.counters.frames_unknown += 1,
                    }
                }
                Err(_) => {
                    self.fault(id);
                    return bytes.len();
                }
            }
        }
    }

    fn frame(&mut self, id: LinkId, phase: Phase, frame: &Frame<'_>, now: Now) {
        match (phase, frame) {
            (Phase::Greeting, Frame::Hello(hello)) => self.greeted(id, hello, now),
            (Phase::Greeting, _) | (Phase::Open, Frame::Hello(_)) => self.fault(id),
            (Phase::Closing, _) => {}
            (Phase::Open, Frame::Attach { fresh }) => self.attach_comes(id, *fresh),
            (Phase::Open, Frame::Detach) => self.detach_comes(id, now),
            (Phase::Open, Frame::Have { stream, upto }) => self.have_comes(id, *stream, *upto),
            (Phase::Open, Frame::Ready) => self.ready_comes(id, now),
            (Phase::Open, Frame::Record(carried)) => self.record_comes(id, carried, now),
            (Phase::Open, Frame::Skip { stream, from, to }) => self.skip_comes(id, *stream, *from, *to),
            (Phase::Open, Frame::Trimmed { stream, upto }) => self.trimmed_comes(id, *stream, *upto, now),
            (Phase::Open, Frame::Gone { stream }) => self.gone_comes(id, *stream),
            (Phase::Open, Frame::Got(got)) => self.got_comes(id, *got, now),
            (Phase::Open, Frame::Need { stream, from }) => self.need_comes(id, *stream, *from),
            (Phase::Open, Frame::Retained(carried)) => self.retained_comes(id, carried, now),
            (Phase::Open, Frame::Fact(fact)) => self.hear_fact(id, fact, now),
            (Phase::Open, Frame::Beat(beat)) => self.beat_comes(id, beat, now),
            (Phase::Open, Frame::Cursor { machine, stream, upto }) => self.cursor_comes(id, *machine, *stream, *upto),
            (Phase::Open, Frame::Ping(ping)) => self.ping_comes(id, ping, now),
            (Phase::Open, Frame::Page(page)) => self.page_comes(id, page),
            (Phase::Open, Frame::Bye { .. }) => self.close(id),
        }
    }

    fn greeted(&mut self, id: LinkId, hello: &Hello<'_>, now: Now) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if hello.version.abs_diff(VERSION) > 1 {
            self.counters.versions_refused += 1;
            return self.bye(id, Parting::Version);
        }
        if hello.name != link.peer.as_str() {
            return self.fault(id);
        }
        link.phase = Phase::Open;
        link.greeted = true;
        link.boot = hello.boot;
        link.agent = hello.agent.into();
        let (peer, is_broker) = (link.peer.clone(), link.is_broker);
        self.clock.hear(hello.hlc);
        if let Some(other) = self.by_peer.get(&peer).copied()
            && !self.replaces(id, other)
        {
            return self.bye(id, Parting::Replaced);
        }
        if let Some(other) = self.by_peer.insert(peer.clone(), id) {
            self.look_for_twins(id, other, now);
            self.bye(other, Parting::Replaced);
            self.left(other, now);
        }
        if is_broker {
            self.home.handle_link_up(&peer, now);
        }
        if self.settings.is_broker() && is_broker {
            self.name_copies(id);
        }
    }

    /// A machine that has begun another life does not go on speaking in the one before.
    fn look_for_twins(&mut self, new: LinkId, old: LinkId, now: Now) {
        let (Some(new), Some(old)) = (self.links.get(&new), self.links.get(&old)) else { return };
        if new.boot != old.boot && now.since(old.pulse.heard()) <= self.settings.heartbeat.every * 2 {
            self.counters.twins += 1;
            self.presence.twin = Some(new.peer.clone());
        }
    }

    /// Of two links to one machine both sides keep the same: the newer one if the machine or its caller is another,
    /// else the one that the machine with the lesser name called by.
    fn replaces(&self, new: LinkId, old: LinkId) -> bool {
        let (Some(new), Some(old)) = (self.links.get(&new), self.links.get(&old)) else { return true };
        if new.boot != old.boot || new.side == old.side {
            return true;
        }
        // The name of the caller decides.
        match new.side {
            Side::Dialed => self.settings.me < new.peer,
            Side::Accepted => new.peer < self.settings.me,
        }
    }

    /// Tell the other side where each of the copies ends that it might go on with.
    fn name_copies(&mut self, id: LinkId) {
        let Some(link) = self.links.get(&id) else { return };
        let (sender, to_broker, broker) = (link.sender, link.is_broker, self.settings.is_broker());
        let of_interest = |stream: &StreamId| match (broker, to_broker) {
            // To a client: its own streams. To a home: everybody else's.
            (true, false) => stream.sender == sender,
            (true, true) => true,
            (false, _) => stream.sender != self.me,
        };
        let mut out = Vec::new();
        for (stream, copy) in self.copies.iter().filter(|(stream, _)| of_interest(stream)) {
            let upto = copy.stream.last();
            if upto > 0 {
                encode(&Frame::Have { stream: *stream, upto }, &mut out);
            }
        }
        encode(&Frame::Ready, &mut out);
        self.say(id, &out);
    }

    /// Our machine of home says that this broker is to be it.
    pub(super) fn attach_to(&mut self, name: &Name, now: Now) {
        let before = self.links.iter().filter(|(_, link)| link.attached == Attached::Yes && link.is_broker);
        let before: Vec<LinkId> = before.map(|(id, _)| *id).collect();
        for id in before {
            self.say_frame(id, &Frame::Detach);
            if let Some(link) = self.links.get_mut(&id) {
                link.attached = Attached::No;
                link.ready = false;
                link.forget_flows();
            }
        }
        let Some(id) = self.by_peer.get(name).copied() else { return };
        self.say_frame(id, &Frame::Attach { fresh: self.fresh });
        self.introduce(id, now);
        if let Some(link) = self.links.get_mut(&id) {
            link.attached = Attached::Yes;
            link.forget_flows();
        }
        self.name_copies(id);
        self.status_due = now;
    }

    /// Our home is to know what we want to hear before it looks for something to tell us.
    fn introduce(&mut self, id: LinkId, now: Now) {
        if self.interest_due.take().is_some() {
            self.tell_interest(now);
        }
        let mut out = Vec::new();
        self.put_own_facts(&mut out);
        self.say(id, &out);
    }

    fn attach_comes(&mut self, id: LinkId, fresh: Fresh) {
        let broker = self.settings.is_broker();
        let Some(link) = self.links.get_mut(&id) else { return };
        link.attachments += 1;
        if !broker || link.is_broker || link.attached != Attached::No || link.attachments > ATTACHMENTS_MAX {
            return self.fault(id);
        }
        link.attached = Attached::Naming { fresh };
    }

    fn detach_comes(&mut self, id: LinkId, now: Now) {
        let broker = self.settings.is_broker();
        let Some(link) = self.links.get_mut(&id) else { return };
        if !broker || link.is_broker {
            return self.fault(id);
        }
        link.attached = Attached::No;
        link.ready = false;
        link.forget_flows();
        self.tell_attached(now);
    }

    fn have_comes(&mut self, id: LinkId, stream: StreamId, upto: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (sender, is_broker) = (link.sender, link.is_broker);
        if link.flows.len() >= super::STREAMS_MAX && !link.flows.contains_key(&stream) {
            return;
        }
        if !link.is_homeless(stream) {
            link.restart(stream, upto);
        }
        if is_broker {
            self.note_claim(stream, upto);
            self.note_heard(stream);
        }
        if let Some(copy) = self.copies.get_mut(&stream) {
            if is_broker {
                // A disk that was wiped counts as wiped. What is on it otherwise, it tells when all is named.
                let holder = copy.holders.entry(sender).or_default();
                *holder = (*holder).min(upto);
            } else if let Some(cursor) = copy.cursors.get_mut(&sender) {
                // Its disk was restored, or did not keep all that it had.
                *cursor = (*cursor).min(upto);
            }
        }
    }

    fn ready_comes(&mut self, id: LinkId, now: Now) {
        let broker = self.settings.is_broker();
        let Some(link) = self.links.get_mut(&id) else { return };
        let was = link.attached;
        let may = match (broker, link.is_broker) {
            // What it wants it has to say first: not to know it is not to know that it wants nothing.
            (true, false) => matches!(was, Attached::Naming { .. }) && self.interests.contains_key(&link.peer),
            (true, true) => !link.ready,
            (false, _) => true,
        };
        if !may {
            return self.fault(id);
        }
        if !broker && (was == Attached::No || link.ready) {
            // An answer to an earlier question.
            return;
        }
        link.ready = true;
        let sender = link.sender;
        if let Attached::Naming { fresh } = was {
            link.attached = Attached::Yes;
            if fresh == Fresh::New || self.gave_up {
                link.walk_anew();
            }
            self.begin_with_now(id, fresh);
            self.name_copies(id);
            // What it sent became stable meanwhile, perhaps.
            for stream in self.copies.keys().copied().filter(|stream| stream.sender == sender).collect::<Vec<_>>() {
                self.owe_got(id, stream);
            }
        } else if was == Attached::Yes {
            // Our home has told us where everything begins.
            self.fresh = Fresh::No;
        }
        if let Some(link) = self.between_brokers(id) {
            link.walk_anew();
            let (peer, boot) = (link.peer.clone(), link.boot);
            if self.lives.insert(peer, boot) != Some(boot) {
                // It has restarted, so what it had in memory is gone.
                self.begin_with_now(id, Fresh::Restarted);
            }
            for stream in self.copies.keys().copied().collect::<Vec<_>>() {
                self.owe_got(id, stream);
            }
        }
        if let Some(link) = self.links.get_mut(&id) {
            let all = self.copies.keys().copied().filter(|stream| stream.sender != sender);
            link.pending.extend(all);
        }
        self.tell_attached(now);
        self.relay_what_lags(id);
        self.tell_everything(id);
    }

    /// Streams that a machine cannot know any more begin with what comes now.
    fn begin_with_now(&mut self, id: LinkId, fresh: Fresh) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let unknown = |stream: &StreamId| match fresh {
            Fresh::No => false,
            Fresh::Restarted => !stream.lane.is_kept(),
            Fresh::New => true,
        };
        let sender = link.sender;
        let mut out = Vec::new();
        for (stream, copy) in self.copies.iter().filter(|(stream, _)| stream.sender != sender && unknown(stream)) {
            let upto = leaves_upto(self.me, *stream, copy);
            if upto > 0 && !link.flows.contains_key(stream) {
                encode(&Frame::Skip { stream: *stream, from: 1, to: upto }, &mut out);
                link.restart(*stream, upto);
            }
        }
        self.say(id, &out);
    }

    pub(super) fn send_beat(&mut self, id: LinkId, now: Now) {
        let (in_step, hlc) = (self.in_step, self.clock.last());
        self.tell_growth(id);
        let Some(link) = self.links.get_mut(&id) else { return };
        link.beat_sent = link.beat_sent.wrapping_add(1);
        link.beat_sent_at = now;
        let ago = now.since(link.beat_heard_at).as_micros();
        let beat = Beat {
            number: link.beat_sent,
            heard: link.beat_heard,
            heard_ago_us: u32::try_from(ago).unwrap_or(u32::MAX),
            in_step,
            hlc,
            every_ms: u32::try_from(self.settings.heartbeat.every.as_millis()).unwrap_or(u32::MAX),
            bytes_heard: link.bytes_heard,
        };
        self.say_frame(id, &Frame::Beat(beat));
    }

    fn beat_comes(&mut self, id: LinkId, beat: &Beat, now: Now) {
        self.clock.hear(beat.hlc);
        let Some(link) = self.links.get_mut(&id) else { return };
        link.beat_heard = beat.number;
        link.beat_heard_at = now;
        // Nobody has heard what was not said.
        let heard = beat.heard.min(link.beat_sent);
        let is_answer = heard > link.beat_answered || beat.bytes_heard != link.bytes_answered;
        link.bytes_answered = beat.bytes_heard;
        link.beat_answered = link.beat_answered.max(heard);
        if beat.heard == link.beat_sent && beat.heard != 0 {
            let there = u64::from(beat.heard_ago_us);
            let whole = u64::try_from(now.since(link.beat_sent_at).as_micros()).unwrap_or(u64::MAX);
            link.rtt_us = Some(whole.saturating_sub(there));
        }
        let every = Duration::from_millis(u64::from(beat.every_ms));
        link.pulse.handle_tempo(every);
        let (peer, is_broker) = (link.peer.clone(), link.is_broker);
        if is_broker {
            self.home.handle_tempo(&peer, every);
            let pace = if beat.in_step { Pace::InStep } else { Pace::Behind };
            self.home.handle_beat(&peer, pace, now);
            if is_answer {
                self.home.handle_answered(&peer, now);
            }
        } else {
            // Clients beat; we answer.
            self.send_beat(id, now);
        }
    }

    /// The connection is gone, whoever closed it.
    pub fn handle_link_closed(&mut self, id: LinkId, now: Now) {
        let Some(link) = self.links.get(&id) else { return };
        let peer = link.peer.clone();
        if self.by_peer.get(&peer) == Some(&id) {
            self.by_peer.remove(&peer);
            if link.is_broker {
                self.home.handle_link_down(&peer, now);
            }
        } else if link.side == Side::Dialed && !link.greeted && !self.by_peer.contains_key(&peer) {
            self.home.handle_dial_failed(&peer, now);
        }
        self.left(id, now);
        self.links.remove(&id);
        self.settle(now);
    }

    /// What hung on this link hangs on it no longer.
    pub(super) fn left(&mut self, id: LinkId, now: Now) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let was = std::mem::replace(&mut link.attached, Attached::No);
        let is_broker = link.is_broker;
        link.ready = false;
        link.forget_flows();
        if was == Attached::Yes || is_broker {
            self.tell_attached(now);
        }
        for copy in self.copies.values_mut() {
            if copy.source == Some(id) {
                copy.source = None;
                copy.needed = false;
            }
        }
        self.doubts.retain(|_, doubt| doubt.origin != id);
    }

    /// The machine of home gives this link up.
    pub(super) fn drop_link(&mut self, name: &Name, now: Now) {
        let Some(id) = self.by_peer.remove(name) else {
            self.actions.push_back(Action::Undial(name.clone()));
            return;
        };
        self.bye(id, Parting::Unneeded);
        self.left(id, now);
    }

    pub(super) fn bye(&mut self, id: LinkId, why: Parting) {
        self.say_frame(id, &Frame::Bye { reason: why.number() });
        self.close(id);
    }

    fn fault(&mut self, id: LinkId) {
        self.counters.link_faults += 1;
        self.bye(id, Parting::Fault);
    }

    pub(super) fn close(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id)
            && link.phase != Phase::Closing
        {
            link.phase = Phase::Closing;
            self.actions.push_back(Action::Close(id));
        }
    }

    pub(super) fn say_frame(&mut self, id: LinkId, frame: &Frame<'_>) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.phase != Phase::Closing) else { return };
        encode(frame, &mut link.control);
        self.after_saying(id);
    }

    pub(super) fn say(&mut self, id: LinkId, frames: &[u8]) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.phase != Phase::Closing) else { return };
        link.control.extend_from_slice(frames);
        self.after_saying(id);
    }

    fn after_saying(&mut self, id: LinkId) {
        let too_much = self.links.get(&id).is_some_and(|link| link.control.len() > CONTROL_BYTES_MAX);
        if too_much {
            self.counters.links_unread += 1;
            return self.close(id);
        }
        self.ask_transmit(id);
    }

    /// Links of clients that have fallen silent; those of brokers are judged by `home`.
    pub(super) fn judge_clients(&mut self, now: Now) {
        let silent = |link: &Link| self.home.is_gone(&link.pulse, now) && link.phase != Phase::Closing;
        let counted = |id: &LinkId, link: &Link| link.is_broker && self.by_peer.get(&link.peer) == Some(id);
        let dead = self.links.iter().filter(|(id, link)| !counted(id, link) && silent(link));
        let dead: Vec<LinkId> = dead.map(|(id, _)| *id).collect();
        for id in dead {
            self.counters.links_silent += 1;
            self.close(id);
        }
    }
}
