//! A durable subscriber that lives through the deaths of its agent, and remembers everything.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::machine::until;
use super::wire::{connect, packet, read_packet, text};

/// A delivery as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who published it.
    pub from: Box<str>,
    pub number: u64,
    pub qos: u8,
    /// Which connection of its subscriber it came by.
    pub connection: u64,
    /// It says that it may be a repetition, or is one of a QoS 2 message by its identifier.
    pub again: bool,
}

/// Subscribes once, in a session that stays, and acknowledges everything. Only its agent's death ends a connection.
pub struct Ears {
    pub name: &'static str,
    qos: u8,
    pub door: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    line: Arc<Mutex<Line>>,
}

#[derive(Default)]
struct Line {
    stream: Option<TcpStream>,
    connections: u64,
    pongs: u64,
    subscribed: bool,
    over: bool,
    /// QoS 2 identifiers that were received and not yet released.
    holds: BTreeSet<[u8; 2]>,
}

impl Ears {
    pub fn start(door: SocketAddr) -> Self {
        Self::named("ears", 1, door)
    }

    /// Subscribed for good once this returns.
    pub fn named(name: &'static str, qos: u8, door: SocketAddr) -> Self {
        let ears = Self { name, qos, door, heard: Arc::default(), line: Arc::default() };
        ears.listen();
        until("subscribed", || ears.line().subscribed);
        ears
    }

    fn listen(&self) {
        let (name, qos, door, heard, line) = (self.name, self.qos, self.door, self.heard.clone(), self.line.clone());
        thread::spawn(move || {
            while !line.lock().map_or(true, |line| line.over) {
                if listen(name, qos, door, &heard, &line).is_err() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().expect("whole")
    }

    /// Everything, as it came.
    pub fn heard(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.heard.lock().expect("whole")
    }

    /// The newest of that publisher.
    pub fn newest(&self, from: &str) -> Option<u64> {
        self.heard().iter().filter(|heard| *heard.from == *from).map(|heard| heard.number).max()
    }

    /// Everything that was acknowledged here is dealt with there once this returns.
    pub fn ping(&self) {
        let pongs = self.line().pongs;
        let mut asked_by = None;
        until("a pong", || {
            let mut line = self.line();
            // The one that stands may be of an agent that is gone, and not have noticed.
            let connection = Some(line.connections);
            let stream = line.stream.as_mut().filter(|_| asked_by != connection);
            if stream.is_some_and(|stream| stream.write_all(b"\xc0\0").is_ok()) {
                asked_by = connection;
            }
            line.pongs > pongs
        });
    }

    /// Hang up, and stay away until `come_back`.
    pub fn leave(&self) {
        let mut line = self.line();
        line.over = true;
        if let Some(stream) = line.stream.take() {
            // It may be gone already.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    pub fn come_back(&self) {
        self.line().over = false;
        self.listen();
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        if let Ok(mut line) = self.line.lock() {
            line.over = true;
        }
    }
}

fn listen(name: &str, qos: u8, door: SocketAddr, heard: &Mutex<Vec<Heard>>, line: &Mutex<Line>) -> io::Result<()> {
    let (mut stream, mut input, present) = connect(door, name, 0)?;
    if line.lock().expect("whole").subscribed {
        assert!(present, "{name}: the session is gone");
    } else {
        stream.write_all(&packet(0x82, &[&[0, 1][..], &text("line/#"), &[qos]].concat()))?;
    }
    let mut now = line.lock().expect("whole");
    now.stream = Some(stream);
    now.connections += 1;
    drop(now);
    loop {
        let (first, body) = read_packet(&mut input)?;
        let mut line = line.lock().expect("whole");
        let answer = match first >> 4 {
            3 => {
                let (delivery, id) = read_publish(first, &body);
                let answer = packet(if delivery.qos == 2 { 0x50 } else { 0x40 }, &id);
                let again = if delivery.qos == 2 { !line.holds.insert(id) } else { delivery.again };
                heard.lock().expect("whole").push(Heard { again, connection: line.connections, ..delivery });
                answer
            }
            6 => {
                let id = [body[0], body[1]];
                line.holds.remove(&id);
                packet(0x70, &id)
            }
            9 => {
                line.subscribed = true;
                continue;
            }
            13 => {
                line.pongs += 1;
                continue;
            }
            other => panic!("packet {other} to a subscriber"),
        };
        let Some(stream) = &mut line.stream else { return Ok(()) };
        stream.write_all(&answer)?;
    }
}

/// The delivery and its identifier.
fn read_publish(first: u8, body: &[u8]) -> (Heard, [u8; 2]) {
    let (topic, rest) = body[2..].split_at(usize::from(body[1]));
    let (id, payload) = rest.split_at(2);
    let text = |bytes| std::str::from_utf8(bytes).expect("text");
    let from = text(topic).strip_prefix("line/").expect("what was subscribed to").into();
    let number = text(payload).parse().expect("a number");
    (Heard { from, number, qos: first >> 1 & 3, connection: 0, again: first & 8 != 0 }, [id[0], id[1]])
}
