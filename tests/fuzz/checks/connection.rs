//! A few clients that do anything, in any portions and at any time: no panic, nothing without bound, nothing sent that
//! the standard forbids, and nothing left behind when all of them are gone.

use std::time::Duration;

use hobnail_core::broker::{ConnId, Trust};
use hobnail_core::mqtt::encode;
use hobnail_core::mqtt::packet::{
    Connect, Packet, PacketId, Props, Publish, QoS, Subscribe, SubscribeFilter, SubscribeOptions, Version,
};

use super::script::{SLOTS, Script, Step};
use super::shell::{Shell, settings};

pub struct Stage {
    pub shell: Shell,
    slots: [Option<ConnId>; SLOTS],
    /// Which doors ask for a password.
    doors: u8,
}

pub fn check(input: &[u8]) {
    let mut script = Script::new(input);
    let mut stage = Stage::new(script.byte(), script.byte());
    while let Some((who, step)) = script.next(|who| stage.version(who)) {
        stage.act(who, step);
    }
    stage.all_leave();
    stage.nothing_is_left();
}

impl Stage {
    pub fn new(which: u8, doors: u8) -> Self {
        Self { shell: Shell::new(settings(which)), slots: [None; SLOTS], doors }
    }

    pub fn version(&self, who: usize) -> Version {
        let socket = self.slots[who].and_then(|conn| self.shell.sockets.get(&conn));
        socket.map_or(Version::V311, |socket| socket.client.version)
    }

    fn connection(&mut self, who: usize) -> ConnId {
        let trust = if self.doors & 1 << who == 0 { Trust::Local } else { Trust::Password };
        *self.slots[who].get_or_insert_with(|| self.shell.open(trust))
    }

    pub fn act(&mut self, who: usize, step: Step<'_>) {
        match step {
            Step::Bytes { bytes, piece } => {
                let conn = self.connection(who);
                self.shell.bytes(conn, &bytes, piece);
            }
            Step::Read { room } => {
                let conn = self.connection(who);
                self.shell.read(conn, room);
            }
            Step::Answer { which } => {
                let conn = self.connection(who);
                let answer = self.shell.sockets.get(&conn).and_then(|socket| socket.client.answer(which));
                self.shell.bytes(conn, &answer.unwrap_or_default(), usize::MAX);
            }
            Step::Drop => {
                if let Some(conn) = self.slots[who].take() {
                    self.shell.close(conn);
                }
            }
            Step::Wait(wait) => self.wait(wait),
            Step::Verdict { welcome } => {
                let conn = self.connection(who);
                self.shell.verdict(conn, if welcome { Some("device") } else { None });
            }
            Step::Settings { which } => self.shell.configure(settings(which)),
            Step::Innocent { .. } => {}
        }
    }

    fn wait(&mut self, wait: Duration) {
        let end = self.shell.now.after(wait);
        while self.shell.tick(end) {}
    }

    pub fn all_leave(&mut self) {
        for slot in &mut self.slots {
            if let Some(conn) = slot.take() {
                self.shell.close(conn);
            }
        }
    }

    /// When every session has ended and what was retained is cleared, no byte is still counted.
    fn nothing_is_left(&mut self) {
        self.shell.configure(settings(0));
        self.wait(Duration::from_secs(3 * 86_400));
        assert_eq!(self.shell.broker.connection_count(), 0);
        let conn = self.shell.open(Trust::Local);
        self.say(conn, &Packet::Connect(Box::new(hello("sweeper"))));
        let filters = vec![SubscribeFilter { filter: "#", options: SubscribeOptions::default() }];
        let id = PacketId(std::num::NonZeroU16::MIN);
        self.say(
            conn,
            &Packet::Subscribe(Subscribe { id, subscription_id: None, user_props: Props::default(), filters }),
        );
        while self.shell.read(conn, 1 << 20) {}
        let heard = self.shell.sockets.get_mut(&conn).map(|socket| std::mem::take(&mut socket.client.messages));
        for message in heard.into_iter().flatten() {
            self.say(conn, &Packet::Publish(clearing(&message.topic)));
            while self.shell.read(conn, 1 << 20) {}
        }
        self.shell.close(conn);
        // What waits for the sweep of expired messages may take a minute more.
        self.wait(Duration::from_secs(86_400));
        assert_eq!(self.shell.broker.memory_bytes(), 0, "messages that nobody waits for");
        assert_eq!(self.shell.broker.next_deadline(), None, "a deadline for nobody");
    }

    fn say(&mut self, conn: ConnId, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode(packet, Version::V311, &mut bytes).expect("it is short");
        self.shell.bytes(conn, &bytes, usize::MAX);
        assert!(self.shell.read(conn, 1 << 20) || matches!(packet, Packet::Publish(_)), "{packet:?} has no answer");
    }
}

pub fn hello(client_id: &str) -> Connect<'_> {
    Connect {
        version: Version::V311,
        clean_start: true,
        keep_alive_s: 0,
        client_id,
        will: None,
        user: None,
        password: None,
        session_expiry_s: None,
        receive_max: None,
        packet_bytes_max: None,
        topic_alias_max: 0,
        request_response_info: false,
        request_problem_info: true,
        auth_method: None,
        auth_data: None,
        user_props: Props::default(),
    }
}

fn clearing(topic: &str) -> Publish<'_> {
    let (qos, id, payload) = (QoS::AtMostOnce, None, b"".as_slice());
    let (topic_alias, expiry_s, props) = (None, None, Props::default());
    Publish { dup: false, retain: true, qos, id, topic, payload, topic_alias, expiry_s, props }
}

/// Each kind of step, alone and behind a CONNECT and a SUBSCRIBE.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for settings in 0..3u8 {
        for doors in [0, 1] {
            let start = [settings, doors, 16, 0, 1, 0, 0, 0, 0, 0, 4, 0, 11, 1, 2];
            let listen = [18, 0, 0, 0, 0, 0, 2, 0, 1, 2];
            for op in 0..32u8 {
                let mut seed = start.to_vec();
                seed.extend(listen);
                for round in 0..6u8 {
                    seed.extend([op, 0, round, 2, 40, 0, 0, 2, 5, 0]);
                }
                seeds.push(seed);
            }
        }
    }
    seeds
}
