//! Random schedules of four clients against a reference that knows what each of them must, may and must not get.
//!
//! Two clients read and acknowledge at once: whatever the limits, they miss nothing at QoS 1 and 2. Two do so only when
//! the schedule says, in any order. One of each kind speaks version 5, one 3.1.1. Nobody gets what is not owed, nothing
//! at QoS 2 comes twice, and what one client published at one QoS comes in its order.

mod reference;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::bench::*;
use crate::broker::{ConnId, Settings};
use crate::mqtt::decode;
use crate::mqtt::packet::{Ack, Connect, Packet, Props, Publish, QoS, RetainHandling, SubscribeOptions, Version, Will};
use crate::topology::model::WhenFull;

use reference::{Reference, Sent, Stored, Wish, number};

const PROMPT: [bool; 4] = [true, true, false, false];
const VERSIONS: [Version; 4] = [V5, V311, V5, V311];
const NAMES: [&str; 4] = ["0", "1", "2", "3"];
const TOPICS: [&str; 4] = ["a", "a/b", "b/b", "c"];
const FILTERS: [&str; 8] = ["#", "a/#", "a/+", "a/b", "+/b", "$share/g/a/#", "$share/h/+/b", "$share/g/#"];
/// More than a client ever has on its way at once here.
const IDS: std::ops::Range<u16> = 1..200;

#[derive(Clone, Debug)]
enum Op {
    Connect {
        who: usize,
        clean: bool,
        expiry_s: u32,
        receive_max: u16,
        will: Option<(usize, QoS, bool, u32)>,
    },
    Drop {
        who: usize,
    },
    Leave {
        who: usize,
    },
    Subscribe {
        who: usize,
        filter: usize,
        options: SubscribeOptions,
        id: Option<u32>,
    },
    Unsubscribe {
        who: usize,
        filter: usize,
    },
    /// So many messages, in one portion.
    Publish {
        who: usize,
        topic: usize,
        qos: QoS,
        retain: bool,
        empty: bool,
        count: usize,
    },
    Read {
        who: usize,
    },
    Answer {
        who: usize,
        which: usize,
    },
    Wait {
        ms: u64,
    },
}

/// What a client owes for a message, and which it was.
#[derive(Clone, Debug, PartialEq)]
enum Owed {
    /// PUBACK.
    Ack(Message),
    /// PUBREC.
    Receipt(Message),
    /// PUBCOMP; whether PUBREL is here.
    Completion(bool),
}

/// What a client has sent and not been answered in full.
#[derive(Clone, Debug)]
enum Out {
    Publish(Sent),
    Release,
}

/// What the broker has still to deal with, as far as the reference is concerned.
#[derive(Clone, Debug)]
enum Pending {
    Publish(Sent, u16),
    Release(u16),
}

#[derive(Debug, Default)]
struct Client {
    conn: Option<ConnId>,
    owed: BTreeMap<u16, Owed>,
    out: Vec<(u16, Out)>,
    pending: VecDeque<Pending>,
}

struct Play {
    bench: Bench,
    clients: [Client; 4],
    reference: Reference,
    numbers: u32,
    in_flight_max: usize,
    memory_bytes_max: u64,
    dropped: (u64, u64),
}

type Judged = Result<(), String>;

impl Play {
    fn new(settings: Settings) -> Self {
        Self {
            in_flight_max: usize::from(settings.limits.inflight_max),
            memory_bytes_max: settings.limits.memory_bytes_max,
            bench: Bench::with(settings),
            clients: Default::default(),
            reference: Reference::new(PROMPT, VERSIONS.map(|version| version == V5)),
            numbers: 0,
            dropped: (0, 0),
        }
    }

    fn act(&mut self, op: &Op) -> Judged {
        // No two things happen at the same time, so that their order is plain.
        self.bench.now = self.bench.now.after(Duration::from_millis(1));
        match *op {
            Op::Connect { who, clean, expiry_s, receive_max, will } => {
                self.connect(who, clean, expiry_s, receive_max, will)?;
            }
            Op::Drop { who } => self.go(who, true)?,
            Op::Leave { who } => self.go(who, false)?,
            Op::Subscribe { who, filter, options, id } => self.subscribe(who, FILTERS[filter], options, id)?,
            Op::Unsubscribe { who, filter } => {
                if let Some(conn) = self.idle(who) {
                    self.bench.unsubscribe(conn, FILTERS[filter]);
                    self.reference.unsubscribe(who, FILTERS[filter]);
                }
            }
            Op::Publish { who, topic, qos, retain, empty, count } => {
                self.publish(who, TOPICS[topic], qos, retain, empty, count)?;
            }
            Op::Read { who } => _ = self.read(who)?,
            Op::Answer { who, which } => _ = self.answer(who, which)?,
            Op::Wait { ms } => self.wait(Duration::from_millis(ms))?,
        }
        self.settle()?;
        self.reference.nothing_is_missing_at_once()
    }

    /// The connection of a client whose publishes do not have to wait.
    fn idle(&self, who: usize) -> Option<ConnId> {
        self.clients[who].conn.filter(|_| self.clients[who].pending.is_empty())
    }

    fn next(&mut self, publisher: usize, topic: &'static str, qos: QoS, retain: bool) -> Sent {
        self.numbers += 1;
        Sent { number: Some(self.numbers), publisher, topic, qos, retain }
    }

    fn connect(
        &mut self,
        who: usize,
        clean: bool,
        expiry_s: u32,
        receive_max: u16,
        will: Option<(usize, QoS, bool, u32)>,
    ) -> Judged {
        let (version, five) = (VERSIONS[who], VERSIONS[who] == V5);
        // Where the memory is full already, nobody with a will is let in.
        let will = will.filter(|_| self.bench.broker.memory_bytes() <= self.memory_bytes_max);
        let will = will.map(|(topic, qos, retain, delay_s)| {
            (self.next(who, TOPICS[topic], qos, retain), if five { delay_s } else { 0 })
        });
        let payload = will.as_ref().map(|(sent, _)| text(sent)).unwrap_or_default();
        let connect = Connect {
            clean_start: clean,
            session_expiry_s: Some(expiry_s).filter(|_| five),
            receive_max: std::num::NonZeroU16::new(receive_max).filter(|_| five),
            will: will.as_ref().map(|(sent, delay_s)| Will {
                topic: sent.topic,
                payload: payload.as_bytes(),
                qos: sent.qos,
                retain: sent.retain,
                delay_s: *delay_s,
                expiry_s: None,
                props: Props::default(),
            }),
            ..hello(version, NAMES[who])
        };
        let expiry = match (five, clean) {
            (true, _) => Duration::from_secs(u64::from(expiry_s)),
            (false, true) => Duration::ZERO,
            (false, false) => limits().session_expiry_max,
        };
        let will = will.map(|(sent, delay_s)| (sent, Duration::from_secs(u64::from(delay_s))));
        let before = self.clients[who].conn.take();
        let conn = self.bench.greet(connect);
        self.clients[who].conn = Some(conn);
        self.clients[who].pending.clear();
        let present = self.reference.connect(who, clean, expiry, will, self.bench.now);
        self.sync_with(Some(who))?;
        if let Some(before) = before {
            self.bench.drop_socket(before);
            self.sync()?;
        }
        if !present {
            self.clients[who].owed.clear();
            self.clients[who].out.clear();
        }
        let heard = self.read(who)?;
        if !matches!(heard.first(), Some(Heard::ConnAck { present: told, .. }) if *told == present) {
            return Err(format!("{who} was greeted with {heard:?}, a session is there: {present}"));
        }
        self.send_again(who)
    }

    /// What was left unanswered on the connection before.
    fn send_again(&mut self, who: usize) -> Judged {
        for (id, out) in self.clients[who].out.clone() {
            let Some(conn) = self.clients[who].conn else { return Ok(()) };
            match out {
                Out::Publish(sent) => {
                    self.clients[who].pending.push_back(Pending::Publish(sent.clone(), id));
                    self.bench.publish(conn, Publish { dup: true, ..packet(&sent, &text(&sent), id) });
                }
                Out::Release => {
                    self.clients[who].pending.push_back(Pending::Release(id));
                    self.bench.send(conn, &Packet::PubRel(ack(id)));
                }
            }
            self.sync()?;
        }
        Ok(())
    }

    fn go(&mut self, who: usize, broke: bool) -> Judged {
        // Behind a publish that waits, a good-bye would wait too.
        let Some(conn) = self.clients[who].conn.filter(|_| broke || self.idle(who).is_some()) else { return Ok(()) };
        self.clients[who].conn = None;
        self.clients[who].pending.clear();
        if broke {
            self.bench.drop_socket(conn);
        } else {
            self.bench.leave(conn);
        }
        self.reference.disconnect(who, broke, self.bench.now);
        self.sync()
    }

    fn subscribe(&mut self, who: usize, filter: &'static str, options: SubscribeOptions, id: Option<u32>) -> Judged {
        let Some(conn) = self.idle(who) else { return Ok(()) };
        let five = VERSIONS[who] == V5;
        let plain = SubscribeOptions { qos: options.qos, ..SubscribeOptions::default() };
        let mut options = if five { options } else { plain };
        options.no_local &= !filter.starts_with("$share");
        let id = id.filter(|_| five);
        self.bench.subscribe_with(conn, filter, options, id);
        let wish = Wish { qos: options.qos, no_local: options.no_local, as_published: options.retain_as_published, id };
        let stored = match options.retain_handling {
            RetainHandling::Always => Stored::Always,
            RetainHandling::IfNew => Stored::IfNew,
            RetainHandling::Never => Stored::Never,
        };
        self.reference.subscribe(who, filter, wish, stored);
        self.sync()
    }

    fn publish(
        &mut self,
        who: usize,
        topic: &'static str,
        qos: QoS,
        retain: bool,
        empty: bool,
        count: usize,
    ) -> Judged {
        let Some(conn) = self.clients[who].conn else { return Ok(()) };
        let mut bytes = Vec::new();
        for _ in 0..count {
            let exact = self.clients[who].out.iter().filter(|(_, out)| match out {
                Out::Publish(sent) => sent.qos == Q2,
                Out::Release => true,
            });
            if qos == Q2 && exact.count() >= self.in_flight_max {
                break;
            }
            let mut sent = self.next(who, topic, qos, retain);
            if empty && retain {
                sent.number = None;
            }
            let used: Vec<u16> = self.clients[who].out.iter().map(|(id, _)| *id).collect();
            let Some(id) = IDS.into_iter().find(|id| !used.contains(id)) else { break };
            let id = if qos == Q0 { 0 } else { id };
            crate::mqtt::encode(&Packet::Publish(packet(&sent, &text(&sent), id)), VERSIONS[who], &mut bytes).unwrap();
            self.clients[who].pending.push_back(Pending::Publish(sent.clone(), id));
            if qos != Q0 {
                self.clients[who].out.push((id, Out::Publish(sent)));
            }
        }
        self.bench.bytes(conn, &bytes);
        self.sync()
    }

    fn wait(&mut self, wait: Duration) -> Judged {
        let end = self.bench.now.after(wait);
        while let Some(due) = self.bench.broker.next_deadline().filter(|due| *due <= end) {
            self.bench.now = self.bench.now.max(due);
            self.bench.broker.handle_timeout(self.bench.now);
            self.bench.drain();
            self.sync()?;
            self.settle()?;
        }
        self.bench.now = end;
        Ok(())
    }

    fn sync(&mut self) -> Judged {
        self.sync_with(None)
    }

    /// Tell the reference what the broker has dealt with by now.
    fn sync_with(&mut self, back: Option<usize>) -> Judged {
        let counters = self.bench.broker.counters();
        let dropped = (counters.dropped_full, counters.dropped_qos0);
        self.reference.pass(self.bench.now);
        let mut retained: BTreeMap<&'static str, Vec<Sent>> = BTreeMap::new();
        for (who, version) in VERSIONS.into_iter().enumerate() {
            let Some(conn) = self.clients[who].conn else { continue };
            if self.bench.closed.contains(&conn) {
                return Err(format!("{who} was disconnected"));
            }
            let Some(connection) = self.bench.broker.conns.get(conn.0) else { continue };
            let waiting = packets(&connection.input, version, |_| Some(0)).len();
            let refused = packets(&connection.control, version, |packet| {
                let (Packet::PubAck(ack) | Packet::PubRec(ack)) = packet else { return None };
                Some(ack.id.0.get()).filter(|_| ack.reason.is_error())
            });
            while self.clients[who].pending.len() > waiting {
                match self.clients[who].pending.pop_front() {
                    Some(Pending::Publish(sent, id)) => {
                        self.reference.publish(&sent, id, refused.contains(&id));
                        if sent.retain {
                            retained.entry(sent.topic).or_default().push(sent);
                        }
                    }
                    Some(Pending::Release(id)) => self.reference.release(who, id),
                    None => {}
                }
            }
        }
        for (topic, all) in retained {
            let found = self.bench.broker.retained.get(topic).map(|message| number(&message.payload));
            self.reference.one_was_last(&all, found.flatten());
        }
        if dropped.0 != self.dropped.0 {
            self.reference.limit_took(back);
        }
        if dropped.1 != self.dropped.1 {
            self.reference.limit_took_qos0();
        }
        self.dropped = dropped;
        Ok(())
    }

    /// Those who read and acknowledge at once do.
    fn settle(&mut self) -> Judged {
        loop {
            let mut moved = false;
            for who in (0..4).filter(|who| PROMPT[*who]) {
                moved |= !self.read(who)?.is_empty();
                while self.answer(who, 0)? {
                    moved = true;
                }
            }
            if !moved {
                return Ok(());
            }
        }
    }

    fn read(&mut self, who: usize) -> Result<Vec<Heard>, String> {
        let Some(conn) = self.clients[who].conn else { return Ok(Vec::new()) };
        let mut bytes = Vec::new();
        while self.bench.asked.remove(&conn) {
            let now = self.bench.now;
            self.bench.broker.poll_transmit(conn, &mut bytes, 200, now);
            self.bench.drain();
            self.sync()?;
        }
        let heard = self.bench.read(conn, &bytes);
        for packet in &heard {
            self.hear(who, packet).map_err(|why| format!("{who} hears {packet:?}: {why}"))?;
        }
        Ok(heard)
    }

    fn hear(&mut self, who: usize, packet: &Heard) -> Judged {
        match packet {
            Heard::Publish(message) => self.hear_message(who, message)?,
            Heard::PubAck(id, _) => self.forget_out(who, *id)?,
            Heard::PubRec(id, reason) if reason.is_error() => self.forget_out(who, *id)?,
            Heard::PubRec(id, _) => {
                let out = self.clients[who].out.iter_mut().find(|(out, _)| out == id);
                *out.ok_or("nothing was sent")? = (*id, Out::Release);
                self.clients[who].pending.push_back(Pending::Release(*id));
                let Some(conn) = self.clients[who].conn else { return Ok(()) };
                self.bench.send(conn, &Packet::PubRel(ack(*id)));
                self.sync()?;
            }
            Heard::PubComp(id, _) => self.forget_out(who, *id)?,
            Heard::PubRel(id, _) => {
                let owed = self.clients[who].owed.get_mut(id).ok_or("there is no such message")?;
                if !matches!(owed, Owed::Completion(_)) {
                    return Err("it was not received".to_owned());
                }
                *owed = Owed::Completion(true);
            }
            Heard::ConnAck { .. } | Heard::SubAck(..) | Heard::UnsubAck(..) => {}
            Heard::PingResp | Heard::Disconnect(_) | Heard::Other(_) => return Err("nobody asked".to_owned()),
        }
        Ok(())
    }

    fn forget_out(&mut self, who: usize, id: u16) -> Judged {
        let out = &mut self.clients[who].out;
        let at = out.iter().position(|(out, _)| *out == id).ok_or("nothing was sent")?;
        out.remove(at);
        Ok(())
    }

    fn hear_message(&mut self, who: usize, message: &Message) -> Judged {
        let first = Message { dup: false, ..message.clone() };
        let owed = match message.qos {
            QoS::AtMostOnce => return self.reference.got(who, message),
            QoS::AtLeastOnce => Owed::Ack(first),
            QoS::ExactlyOnce => Owed::Receipt(first),
        };
        let before = self.clients[who].owed.get(&message.id);
        if message.dup {
            return if before == Some(&owed) { Ok(()) } else { Err(format!("sent again, where {before:?} is owed")) };
        }
        if before.is_some() {
            return Err(format!("its identifier stands for {before:?}"));
        }
        self.clients[who].owed.insert(message.id, owed);
        self.reference.got(who, message)
    }

    /// False where there is nothing to answer.
    fn answer(&mut self, who: usize, which: usize) -> Result<bool, String> {
        let client = &mut self.clients[who];
        let Some(conn) = client.conn else { return Ok(false) };
        let ready: Vec<u16> =
            client.owed.iter().filter(|(_, owed)| **owed != Owed::Completion(false)).map(|(id, _)| *id).collect();
        let Some(id) = ready.get(which % ready.len().max(1)).copied() else { return Ok(false) };
        let answer: fn(Ack<'static>) -> Packet<'static> = match client.owed.remove(&id) {
            Some(Owed::Ack(_)) => Packet::PubAck,
            Some(Owed::Receipt(_)) => {
                client.owed.insert(id, Owed::Completion(false));
                Packet::PubRec
            }
            Some(Owed::Completion(_)) | None => Packet::PubComp,
        };
        self.bench.send(conn, &answer(ack(id)));
        self.sync()?;
        Ok(true)
    }

    /// Everyone comes back, and takes and acknowledges what there is.
    fn end(&mut self, when_full: WhenFull) -> Judged {
        for who in 0..4 {
            if self.clients[who].conn.is_none() && self.reference.sessions.contains_key(&who) {
                self.connect(who, false, 60, 0, None)?;
            }
        }
        loop {
            self.settle()?;
            let mut moved = false;
            for who in 0..4 {
                moved |= !self.read(who)?.is_empty();
                while self.answer(who, 0)? {
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        for who in 0..4 {
            self.reference.nothing_is_missing(who)?;
            let client = &self.clients[who];
            if !client.pending.is_empty() || client.conn.is_some() && !client.out.is_empty() {
                return Err(format!("{who} was not answered: {client:?}, when full: {when_full:?}"));
            }
        }
        Ok(())
    }
}

fn text(sent: &Sent) -> String {
    sent.number.map(|number| number.to_string()).unwrap_or_default()
}

fn packet<'a>(sent: &Sent, payload: &'a str, id: u16) -> Publish<'a> {
    Publish { retain: sent.retain, ..message(sent.topic, payload, sent.qos, id) }
}

/// What `wanted` finds in the whole packets at the front of `bytes`.
fn packets(mut bytes: &[u8], version: Version, wanted: impl Fn(&Packet<'_>) -> Option<u16>) -> Vec<u16> {
    let mut found = Vec::new();
    while let Ok(Some((packet, length))) = decode(bytes, Some(version), usize::MAX) {
        found.extend(wanted(&packet));
        bytes = &bytes[length..];
    }
    found
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(Q0), Just(Q1), Just(Q2)]
}

fn options() -> impl Strategy<Value = SubscribeOptions> {
    let handling = prop_oneof![Just(RetainHandling::Always), Just(RetainHandling::IfNew), Just(RetainHandling::Never)];
    (qos(), any::<bool>(), any::<bool>(), handling).prop_map(|(qos, no_local, retain_as_published, retain_handling)| {
        SubscribeOptions { qos, no_local, retain_as_published, retain_handling }
    })
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let who = || 0usize..4;
    let will = prop::option::of((0usize..4, qos(), any::<bool>(), prop_oneof![Just(0u32), Just(2)]));
    let expiry = prop_oneof![Just(0u32), Just(3), Just(3_600)];
    let connect = (who(), any::<bool>(), expiry, 0u16..4, will)
        .prop_map(|(who, clean, expiry_s, receive_max, will)| Op::Connect { who, clean, expiry_s, receive_max, will });
    let subscribe = (who(), 0usize..8, options(), prop::option::of(1u32..4))
        .prop_map(|(who, filter, options, id)| Op::Subscribe { who, filter, options, id });
    let publish = (who(), 0usize..4, qos(), prop::bool::weighted(0.3), prop::bool::weighted(0.2), 1usize..8)
        .prop_map(|(who, topic, qos, retain, empty, count)| Op::Publish { who, topic, qos, retain, empty, count });
    let op = prop_oneof![
        3 => connect,
        1 => who().prop_map(|who| Op::Drop { who }),
        1 => who().prop_map(|who| Op::Leave { who }),
        4 => subscribe,
        1 => (who(), 0usize..8).prop_map(|(who, filter)| Op::Unsubscribe { who, filter }),
        6 => publish,
        2 => who().prop_map(|who| Op::Read { who }),
        4 => (who(), 0usize..6).prop_map(|(who, which)| Op::Answer { who, which }),
        1 => prop_oneof![Just(200u64), Just(1_500), Just(4_000)].prop_map(|ms| Op::Wait { ms }),
    ];
    prop::collection::vec(op, 1..60)
}

fn tight() -> impl Strategy<Value = Settings> {
    let when_full = prop_oneof![Just(WhenFull::DropOldest), Just(WhenFull::DropNewest), Just(WhenFull::Block)];
    let queue_len = prop_oneof![Just(1u32), Just(2), Just(5), Just(10_000)];
    let queue_bytes = prop_oneof![Just(1u64), Just(300), Just(1 << 20)];
    let memory = prop_oneof![Just(1u64), Just(800), Just(1 << 24)];
    let in_flight = prop_oneof![Just(1u16), Just(2), Just(10)];
    (when_full, queue_len, queue_bytes, memory, in_flight).prop_map(|(when_full, len, bytes, memory, in_flight)| {
        let mut settings = settings();
        settings.when_full = when_full;
        settings.limits.queue_len_max = len;
        settings.limits.queue_bytes_max = bytes;
        settings.limits.memory_bytes_max = memory;
        settings.limits.inflight_max = in_flight;
        settings
    })
}

fn judge(settings: Settings, ops: &[Op]) -> Judged {
    let when_full = settings.when_full;
    let mut play = Play::new(settings);
    for (number, op) in ops.iter().enumerate() {
        play.act(op).map_err(|why| format!("step {number}, {op:?}: {why}"))?;
    }
    play.end(when_full)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everyone_gets_what_is_owed_and_nothing_else(settings in tight(), ops in ops()) {
        let judged = judge(settings, &ops);
        prop_assert!(judged.is_ok(), "{}", judged.unwrap_err());
    }
}
