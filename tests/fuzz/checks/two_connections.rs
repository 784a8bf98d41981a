//! An innocent publisher and subscriber beside clients that do anything: the two are never disconnected, and lose
//! nothing at QoS 1 and 2. Where a limit makes the broker refuse a message, the publisher must have been told.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::time::Duration;

use hobnail_core::broker::{ConnId, Trust};
use hobnail_core::mqtt::encode;
use hobnail_core::mqtt::packet::{
    Ack, Connect, Packet, PacketId, Props, Publish, QoS, Reason, Subscribe, SubscribeFilter, SubscribeOptions, Version,
};
use hobnail_core::topology::model::WhenFull;

use super::connection::{Stage, hello};
use super::script::{Script, Step};
use super::shell::Shell;

const TOPIC: &str = "innocent/t";
/// Every message of the pair begins with this, and only theirs: nobody else may publish to their topic.
const MARK: &[u8] = b"innocent";
/// How long the pair may have to wait for the others: twice the patience that a queue standing still gets.
const WAIT: Duration = Duration::from_secs(2);

pub fn check(input: &[u8]) {
    let mut script = Script::new(input);
    let (which, doors, speaks) = (script.byte(), script.byte(), script.byte());
    let mut stage = Stage::new(which, doors);
    let mut pair = Pair::join(&mut stage.shell, speaks);
    while let Some((who, step)) = script.next(|who| stage.version(who)) {
        match step {
            Step::Innocent { qos } => pair.publish(&mut stage.shell, qos),
            Step::Wait(wait) => pair.wait(&mut stage.shell, wait),
            Step::Bytes { .. } | Step::Read { .. } | Step::Answer { .. } | Step::Drop => stage.act(who, step),
            Step::Verdict { .. } | Step::Settings { .. } => stage.act(who, step),
        }
        pair.go_on(&mut stage.shell);
    }
    // All the others fall silent, their sockets open or not, and the pair must get through.
    for _ in 0..4 {
        pair.publish(&mut stage.shell, QoS::AtLeastOnce);
        pair.publish(&mut stage.shell, QoS::ExactlyOnce);
        pair.wait(&mut stage.shell, WAIT);
    }
    pair.has_everything();
}

struct Pair {
    from: ConnId,
    to: ConnId,
    sent: u32,
    /// By packet identifier: what was sent and not yet answered in full.
    open: BTreeMap<u16, (u32, QoS)>,
    /// Messages that the broker said no to.
    refused: BTreeSet<u32>,
    acknowledged: BTreeSet<u32>,
    /// What the subscriber got, in order, by QoS.
    got: BTreeMap<QoS, Vec<u32>>,
}

impl Pair {
    fn join(shell: &mut Shell, speaks: u8) -> Self {
        let version = |bit: u8| if speaks & bit == 0 { Version::V311 } else { Version::V5 };
        let from = enter(shell, &Connect { version: version(1), ..hello("from") });
        let to = enter(shell, &Connect { version: version(2), ..hello("to") });
        // The noise of the others comes to it too.
        let filters = [TOPIC, "noise/#"].map(|filter| SubscribeFilter {
            filter,
            options: SubscribeOptions { qos: QoS::ExactlyOnce, ..SubscribeOptions::default() },
        });
        let (id, filters) = (PacketId(NonZeroU16::MIN), filters.to_vec());
        let packet = Subscribe { id, subscription_id: None, user_props: Props::default(), filters };
        say(shell, to, version(2), &Packet::Subscribe(packet));
        Self {
            from,
            to,
            sent: 0,
            open: BTreeMap::new(),
            refused: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            got: BTreeMap::new(),
        }
    }

    /// Publish the next message, unless three are still unanswered: no more are allowed.
    fn publish(&mut self, shell: &mut Shell, qos: QoS) {
        if self.open.len() >= 3 {
            return;
        }
        let Some(id) = (1..=4).find(|id| !self.open.contains_key(id)) else { return };
        self.sent += 1;
        self.open.insert(id, (self.sent, qos));
        let payload = [MARK, &self.sent.to_be_bytes()].concat();
        let publish = Publish {
            dup: false,
            retain: false,
            qos,
            id: NonZeroU16::new(id).map(PacketId),
            topic: TOPIC,
            payload: &payload,
            topic_alias: None,
            expiry_s: None,
            props: Props::default(),
        };
        let version = shell.sockets[&self.from].client.version;
        say(shell, self.from, version, &Packet::Publish(publish));
        self.go_on(shell);
    }

    fn wait(&mut self, shell: &mut Shell, wait: Duration) {
        let end = shell.now.after(wait);
        while shell.tick(end) {
            self.go_on(shell);
        }
        self.go_on(shell);
    }

    /// Both read and answer until there is nothing more.
    fn go_on(&mut self, shell: &mut Shell) {
        loop {
            let moved = shell.read(self.from, 1 << 20) | shell.read(self.to, 1 << 20);
            let answered = self.hear_answers(shell) | self.hear_messages(shell);
            if !moved && !answered {
                break;
            }
        }
        for conn in [self.from, self.to] {
            assert!(!shell.sockets[&conn].closing, "one of the innocent was disconnected");
        }
    }

    fn hear_answers(&mut self, shell: &mut Shell) -> bool {
        let Some(socket) = shell.sockets.get_mut(&self.from) else { return false };
        let (version, when_full) = (socket.client.version, shell.when_full());
        let Some(socket) = shell.sockets.get_mut(&self.from) else { return false };
        let (answers, completed) =
            (std::mem::take(&mut socket.client.answers), std::mem::take(&mut socket.client.completed));
        let heard = !answers.is_empty() || !completed.is_empty();
        for (id, reason) in answers {
            let (number, qos) = self.open[&id];
            if reason.is_error() {
                assert_eq!(reason, Reason::QUOTA_EXCEEDED);
                assert_ne!(when_full, WhenFull::DropOldest, "it refuses nothing");
                self.refused.insert(number);
                self.open.remove(&id);
            } else if qos == QoS::ExactlyOnce {
                self.acknowledged.insert(number);
                let id = PacketId(NonZeroU16::new(id).expect("it was sent"));
                let ack = Ack { id, reason: Reason::SUCCESS, reason_string: None, user_props: Props::default() };
                say(shell, self.from, version, &Packet::PubRel(ack));
            } else {
                self.acknowledged.insert(number);
                self.open.remove(&id);
            }
        }
        for id in completed {
            assert!(self.open.remove(&id).is_some(), "PUBCOMP for what was not sent");
        }
        heard
    }

    fn hear_messages(&mut self, shell: &mut Shell) -> bool {
        let Some(socket) = shell.sockets.get_mut(&self.to) else { return false };
        let messages = std::mem::take(&mut socket.client.messages);
        for message in &messages {
            let Some(number) = message.payload.strip_prefix(MARK).filter(|_| message.topic == TOPIC) else { continue };
            let number = number.try_into().map(u32::from_be_bytes).expect("a number behind the mark");
            assert!(!message.dup, "its connection never broke");
            self.got.entry(message.qos).or_default().push(number);
        }
        let mut answered = false;
        for which in (0..socket.client.owed.len()).rev() {
            let Some(answer) = shell.sockets[&self.to].client.answer(which) else { continue };
            shell.bytes(self.to, &answer, usize::MAX);
            answered = true;
        }
        answered || !messages.is_empty()
    }

    fn has_everything(&self) {
        assert!(self.open.is_empty(), "no answer to {:?}", self.open);
        let got: BTreeSet<u32> = self.got.values().flatten().copied().collect();
        assert_eq!(self.got.values().map(Vec::len).sum::<usize>(), got.len(), "twice: {:?}", self.got);
        let missing: Vec<u32> = (1..=self.sent).filter(|number| !got.contains(number)).collect();
        let refused: Vec<u32> = self.refused.iter().copied().collect();
        assert_eq!(missing, refused, "lost, though they were acknowledged: {:?}", self.acknowledged);
        for (qos, numbers) in &self.got {
            assert!(numbers.is_sorted(), "out of order at {qos:?}: {numbers:?}");
        }
    }
}

/// Come in by the door of devices, so that nobody can take the session over.
fn enter(shell: &mut Shell, connect: &Connect<'_>) -> ConnId {
    let conn = shell.open(Trust::Password);
    let connect = Connect { user: Some("innocent"), password: Some(b"secret"), ..connect.clone() };
    let version = connect.version;
    say(shell, conn, version, &Packet::Connect(Box::new(connect)));
    shell.verdict(conn, Some("innocent"));
    conn
}

fn say(shell: &mut Shell, conn: ConnId, version: Version, packet: &Packet<'_>) {
    let mut bytes = Vec::new();
    encode(packet, version, &mut bytes).expect("it is short");
    shell.bytes(conn, &bytes, usize::MAX);
}
