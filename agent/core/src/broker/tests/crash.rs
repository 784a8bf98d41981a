//! Random schedules of durable clients against a broker whose machine falls again and again, with a disk that keeps a
//! prefix of what was written and at least what it reported stored.
//!
//! Clients do as MQTT demands: they keep what they have not been answered, send it again with DUP, and take a QoS 2
//! message once for each identifier until it is released. What was acknowledged to a publisher reaches every subscriber,
//! in order; what a subscriber was sent and comes again says so; what it acknowledged, and the disk had heard of, never comes
//! again; QoS 2 comes exactly once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::bench::*;
use crate::broker::ConnId;
use crate::mqtt::packet::{Packet, Publish, QoS};

const PUBLISHERS: [&str; 2] = ["p0", "p1"];
const SUBSCRIBERS: [(&str, QoS); 3] = [("s0", Q2), ("s1", Q1), ("s2", Q2)];

#[derive(Clone, Debug)]
enum Op {
    Publish {
        who: usize,
        qos: QoS,
    },
    /// Everything that waits for it, read and acknowledged, up to so many packets.
    Read {
        who: usize,
        answers: usize,
    },
    Hear {
        who: usize,
    },
    Drop {
        publisher: bool,
        who: usize,
    },
    Sync,
    /// So much in a hundred of what was not reported stored is there afterwards.
    Fall {
        luck: usize,
    },
}

/// A client that publishes, and what it has not been answered to the end.
#[derive(Default)]
struct Publisher {
    conn: Option<ConnId>,
    open: VecDeque<Sent>,
    sent: u32,
    last_id: u16,
}

#[derive(Clone, Debug)]
struct Sent {
    id: u16,
    qos: QoS,
    text: String,
    /// PUBREC has come, PUBREL is out.
    released: bool,
}

#[derive(Default)]
struct Subscriber {
    conn: Option<ConnId>,
    /// What any of its connections was sent.
    sent: BTreeSet<String>,
    /// Heard by this connection, and not answered yet.
    inbox: VecDeque<Heard>,
    /// QoS 2 identifiers that are taken and not released.
    holds: BTreeSet<u16>,
    taken: Vec<String>,
    /// What it acknowledged to the end, since the disk last said that it is up to date.
    fresh: BTreeSet<String>,
    /// What it acknowledged, and the disk knew.
    settled: BTreeSet<String>,
}

struct Play {
    bench: Bench,
    publishers: [Publisher; 2],
    subscribers: [Subscriber; 3],
    /// By publisher and QoS, in the order of the publishes.
    acknowledged: BTreeMap<(usize, u8), Vec<String>>,
    /// What a publisher sent more than once: at QoS 1 that is another message.
    repeated: BTreeSet<String>,
    synced: usize,
}

type Judged = Result<(), String>;

impl Play {
    fn new() -> Self {
        let mut bench = Bench::limited(|limits| limits.inflight_max = 5);
        for (name, qos) in SUBSCRIBERS {
            let conn = bench.connect(durable(V5, name));
            bench.subscribe(conn, "t/#", qos);
            bench.drop_socket(conn);
        }
        bench.disk.slow = true;
        let synced = bench.disk.batches.len();
        Self {
            bench,
            publishers: Default::default(),
            subscribers: Default::default(),
            acknowledged: BTreeMap::new(),
            repeated: BTreeSet::new(),
            synced,
        }
    }

    fn act(&mut self, op: &Op) -> Judged {
        match *op {
            Op::Publish { who, qos } => self.publish(who, qos),
            Op::Hear { who } => self.hear(who)?,
            Op::Read { who, answers } => self.read(who, answers)?,
            Op::Drop { publisher: true, who } => {
                if let Some(conn) = self.publishers[who % 2].conn.take() {
                    self.bench.drop_socket(conn);
                }
            }
            Op::Drop { publisher: false, who } => {
                if let Some(conn) = self.subscribers[who].conn.take() {
                    self.bench.drop_socket(conn);
                }
            }
            Op::Sync => self.sync(),
            Op::Fall { luck } => self.fall(luck),
        }
        Ok(())
    }

    fn sync(&mut self) {
        self.bench.synced();
        self.synced = self.bench.disk.batches.len();
        for subscriber in &mut self.subscribers {
            subscriber.settled.append(&mut subscriber.fresh);
        }
    }

    fn fall(&mut self, luck: usize) {
        let unsynced = self.bench.disk.batches.len() - self.synced;
        let limits = crate::topology::model::Limits { inflight_max: 5, ..limits() };
        let settings = crate::broker::Settings { limits, ..settings() };
        self.bench.restart_with(settings, self.synced + unsynced * luck / 100);
        // What is there when the machine starts is on its disk.
        self.synced = self.bench.disk.batches.len();
        self.publishers.iter_mut().for_each(|publisher| publisher.conn = None);
        for subscriber in &mut self.subscribers {
            subscriber.conn = None;
            subscriber.fresh.clear();
        }
    }

    /// A connection, where everything open is sent again, in order.
    fn publisher(&mut self, who: usize) -> ConnId {
        if let Some(conn) = self.publishers[who].conn {
            return conn;
        }
        let conn = self.bench.greet(durable(V5, PUBLISHERS[who]));
        let heard = self.bench.hear(conn);
        let Some(Heard::ConnAck { present, .. }) = heard.first() else { panic!("{heard:?}") };
        let publisher = &mut self.publishers[who];
        if !present {
            // Its session was never on the disk: whatever was open begins anew.
            publisher.open.iter_mut().for_each(|sent| sent.released = false);
        }
        publisher.conn = Some(conn);
        for sent in publisher.open.clone() {
            if sent.released {
                self.bench.send(conn, &Packet::PubRel(ack(sent.id)));
            } else {
                self.repeated.insert(sent.text.clone());
                let topic = format!("t/{who}");
                self.bench.publish(conn, Publish { dup: true, ..message(&topic, &sent.text, sent.qos, sent.id) });
            }
        }
        conn
    }

    fn publish(&mut self, who: usize, qos: QoS) {
        if self.publishers[who].open.len() >= 4 {
            return;
        }
        let conn = self.publisher(who);
        let publisher = &mut self.publishers[who];
        publisher.sent += 1;
        // Few identifiers, so that they are soon used again.
        while publisher.open.iter().any(|sent| sent.id == publisher.last_id % 6 + 1) {
            publisher.last_id += 1;
        }
        let id = publisher.last_id % 6 + 1;
        publisher.last_id += 1;
        let text = format!("{who} {} {}", qos as u8, publisher.sent);
        publisher.open.push_back(Sent { id, qos, text: text.clone(), released: false });
        self.bench.publish(conn, message(&format!("t/{who}"), &text, qos, id));
    }

    fn hear(&mut self, who: usize) -> Judged {
        let conn = self.publisher(who);
        for heard in self.bench.hear(conn) {
            let publisher = &mut self.publishers[who];
            let (Heard::PubAck(id, _) | Heard::PubRec(id, _) | Heard::PubComp(id, _)) = heard else {
                return Err(format!("a publisher hears {heard:?}"));
            };
            let Some(at) = publisher.open.iter().position(|sent| sent.id == id) else { continue };
            let sent = publisher.open[at].clone();
            match heard {
                Heard::PubRec(..) if sent.qos == Q2 => {
                    if !sent.released {
                        self.acknowledged.entry((who, 2)).or_default().push(sent.text);
                    }
                    self.publishers[who].open[at].released = true;
                    self.bench.send(conn, &Packet::PubRel(ack(id)));
                }
                Heard::PubComp(..) if sent.released => drop(publisher.open.remove(at)),
                Heard::PubAck(..) if sent.qos == Q1 => {
                    publisher.open.remove(at);
                    self.acknowledged.entry((who, 1)).or_default().push(sent.text);
                }
                Heard::PubAck(..) | Heard::PubRec(..) | Heard::PubComp(..) => {
                    return Err(format!("{heard:?} for {sent:?}"));
                }
                Heard::ConnAck { .. } | Heard::Publish(_) | Heard::PubRel(..) | Heard::SubAck(..) => {}
                Heard::UnsubAck(..) | Heard::PingResp | Heard::Disconnect(_) | Heard::Other(_) => {}
            }
        }
        Ok(())
    }

    fn subscriber(&mut self, who: usize) -> Result<ConnId, String> {
        if let Some(conn) = self.subscribers[who].conn {
            return Ok(conn);
        }
        let conn = self.bench.greet(durable(V5, SUBSCRIBERS[who].0));
        let mut bytes = Vec::new();
        assert!(self.bench.asked.remove(&conn));
        self.bench.broker.poll_transmit(conn, &mut bytes, 1, self.bench.now);
        self.bench.drain();
        match self.bench.read(conn, &bytes)[..] {
            [Heard::ConnAck { present: true, .. }] => {}
            ref other => return Err(format!("its session is gone: {other:?}")),
        }
        self.subscribers[who].conn = Some(conn);
        self.subscribers[who].inbox.clear();
        Ok(conn)
    }

    fn read(&mut self, who: usize, answers: usize) -> Judged {
        let conn = self.subscriber(who)?;
        let heard = self.bench.hear(conn);
        for heard in &heard {
            let Heard::Publish(message) = heard else { continue };
            let text = String::from_utf8(message.payload.clone()).unwrap();
            let is_first = self.subscribers[who].sent.insert(text.clone());
            if !is_first && !message.dup && !self.repeated.contains(&text) {
                return Err(format!("{who} gets {text} again, and it does not say so"));
            }
        }
        self.subscribers[who].inbox.extend(heard);
        for _ in 0..answers {
            let Some(heard) = self.subscribers[who].inbox.pop_front() else { break };
            if let Heard::PubRel(id, _) = heard {
                self.subscribers[who].holds.remove(&id);
                self.bench.send(conn, &Packet::PubComp(ack(id)));
                continue;
            }
            let Heard::Publish(message) = heard else { return Err(format!("a subscriber hears {heard:?}")) };
            self.take(who, conn, message)?;
        }
        Ok(())
    }

    fn take(&mut self, who: usize, conn: ConnId, message: Message) -> Judged {
        let text = String::from_utf8(message.payload).unwrap();
        let subscriber = &mut self.subscribers[who];
        if message.qos == Q1 {
            let repeated = self.repeated.contains(&text);
            if subscriber.settled.contains(&text) && (!repeated || text.contains(" 2 ")) {
                return Err(format!("{who} acknowledged {text}, which comes again"));
            }
            if !subscriber.taken.contains(&text) {
                subscriber.taken.push(text.clone());
            }
            subscriber.fresh.insert(text);
            self.bench.send(conn, &Packet::PubAck(ack(message.id)));
            return Ok(());
        }
        if subscriber.holds.insert(message.id) {
            if subscriber.taken.contains(&text) {
                return Err(format!("{who} gets {text} twice at QoS 2"));
            }
            subscriber.taken.push(text);
        }
        self.bench.send(conn, &Packet::PubRec(ack(message.id)));
        Ok(())
    }

    /// The machine stays up, and everybody has the time to come to an end.
    fn come_to_an_end(&mut self) -> Judged {
        // Whatever is open needs a few rounds for each message; a limit shows what never ends.
        let mut quiet = 0;
        for _ in 0..200 {
            let before = self.bench.broker.counters().messages_sent;
            for who in 0..PUBLISHERS.len() {
                self.hear(who)?;
            }
            for who in 0..SUBSCRIBERS.len() {
                self.read(who, usize::MAX)?;
            }
            self.sync();
            // What waited for the disk comes in the round after.
            quiet = if self.bench.broker.counters().messages_sent == before { quiet + 1 } else { 0 };
            if quiet > 2 {
                break;
            }
        }
        if let Some(stuck) = self.publishers.iter().flat_map(|publisher| &publisher.open).next() {
            return Err(format!("nobody answers {stuck:?}"));
        }
        for ((publisher, qos), all) in &self.acknowledged {
            for (who, subscriber) in self.subscribers.iter().enumerate() {
                let of_it = format!("{publisher} {qos} ");
                let taken = || subscriber.taken.iter().filter(|text| text.starts_with(&of_it));
                if let Some(lost) = all.iter().find(|text| !subscriber.taken.contains(text)) {
                    return Err(format!("{who} never got {lost}"));
                }
                let numbers: Vec<u32> = taken().map(|text| text[4..].parse().unwrap()).collect();
                if !numbers.is_sorted() {
                    return Err(format!("{who} got {of_it}in the order {numbers:?}"));
                }
            }
        }
        if self.bench.broker.fill().messages > 0 || !self.bench.disk.saved.messages.is_empty() {
            return Err("something is left behind".to_owned());
        }
        Ok(())
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let qos = || prop_oneof![Just(Q1), Just(Q2)];
    let op = prop_oneof![
        6 => (0..2usize, qos()).prop_map(|(who, qos)| Op::Publish { who, qos }),
        4 => (0..3usize, 1..8usize).prop_map(|(who, answers)| Op::Read { who, answers }),
        4 => (0..2usize).prop_map(|who| Op::Hear { who }),
        1 => (any::<bool>(), 0..3usize).prop_map(|(publisher, who)| Op::Drop { publisher, who }),
        4 => Just(Op::Sync),
        2 => (0..=100usize).prop_map(|luck| Op::Fall { luck }),
    ];
    prop::collection::vec(op, 10..80)
}

proptest! {
    #[test]
    fn whatever_falls_when_nothing_acknowledged_is_lost_or_comes_twice(ops in ops()) {
        let mut play = Play::new();
        for (at, op) in ops.iter().enumerate() {
            play.act(op).map_err(|fault| TestCaseError::fail(format!("at {at}, {op:?}: {fault}")))?;
        }
        play.come_to_an_end().map_err(TestCaseError::fail)?;
    }
}
