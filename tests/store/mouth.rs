//! A publisher that lives through the deaths of its agent, and remembers everything.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::machine::until;
use super::wire::{connect, packet, read_packet, text};

/// Publishes that wait for their acknowledgement.
const WINDOW: usize = 20;
/// Between two publishes, where several share a processor with all that they speak to.
const PACE: Duration = Duration::from_millis(4);

/// Publishes 0, 1, 2 … and whatever was not acknowledged once more in the next life: at QoS 1 as another message, at QoS 2
/// as the same one.
pub struct Mouth {
    pub name: &'static str,
    pub door: SocketAddr,
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    /// How often each number was sent as a message of its own; not of those that are forgotten.
    sent: BTreeMap<u64, u32>,
    /// Numbers below this are acknowledged, to the end.
    acked: u64,
    /// Numbers below this are published.
    limit: u64,
    over: bool,
}

/// A publish that is not acknowledged to the end.
struct Open {
    number: u64,
    /// QoS 2: the agent has it.
    received: bool,
}

impl Mouth {
    pub fn start(door: SocketAddr) -> Self {
        Self::begin("mouth", 1, door, Duration::ZERO)
    }

    /// The name of one publisher is its own in the whole network.
    pub fn named(name: &'static str, qos: u8, door: SocketAddr) -> Self {
        Self::begin(name, qos, door, PACE)
    }

    fn begin(name: &'static str, qos: u8, door: SocketAddr, pace: Duration) -> Self {
        let said = Arc::new(Mutex::new(Said { limit: u64::MAX, ..Said::default() }));
        let mut speaker = Speaker { name, qos, pace, door, said: said.clone(), open: VecDeque::new(), sent: 0 };
        thread::spawn(move || {
            while !is_over(&speaker.said) {
                // An agent that is down, or dies under way: the next one gets what is left.
                if speaker.speak().is_err() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Self { name, door, said }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().expect("whole")
    }

    pub fn acked(&self) -> u64 {
        self.said().acked
    }

    pub fn times_sent(&self, number: u64) -> u32 {
        self.said().sent.get(&number).copied().unwrap_or(0)
    }

    /// Nobody asks any more how often those below were sent.
    pub fn forget_below(&self, number: u64) {
        let mut said = self.said();
        said.sent = said.sent.split_off(&number);
    }

    /// Send nothing new.
    pub fn pause(&self) {
        let mut said = self.said();
        said.limit = said.sent.last_key_value().map_or(said.acked, |(last, _)| last + 1);
    }

    /// After `pause`: see everything acknowledged; how many there are.
    pub fn all_acked(&self) -> u64 {
        let limit = self.said().limit;
        until("everything acknowledged", || self.acked() >= limit);
        limit
    }

    pub fn go_on(&self) {
        self.said().limit = u64::MAX;
    }

    /// Send one more, and see it acknowledged.
    pub fn one_more(&self) {
        let limit = self.acked() + 1;
        self.said().limit = limit;
        until("one more acknowledged", || self.acked() >= limit);
    }
}

impl Drop for Mouth {
    fn drop(&mut self) {
        if let Ok(mut said) = self.said.lock() {
            said.over = true;
        }
    }
}

fn is_over(said: &Mutex<Said>) -> bool {
    said.lock().map_or(true, |said| said.over)
}

fn packet_id(number: u64) -> [u8; 2] {
    ((number % 65_535) as u16 + 1).to_be_bytes()
}

struct Speaker {
    name: &'static str,
    qos: u8,
    pace: Duration,
    door: SocketAddr,
    said: Arc<Mutex<Said>>,
    open: VecDeque<Open>,
    /// How many of those that are open were sent on this connection.
    sent: usize,
}

impl Speaker {
    /// One connection, until it breaks.
    fn speak(&mut self) -> io::Result<()> {
        let clean = if self.qos == 1 { 2 } else { 0 };
        let (mut stream, mut input, present) = connect(self.door, self.name, clean)?;
        assert!(present || self.open.iter().all(|open| !open.received), "{}: the session is gone", self.name);
        self.sent = 0;
        while !is_over(&self.said) {
            while let Some(bytes) = self.next_to_send() {
                stream.write_all(&bytes)?;
                thread::sleep(self.pace);
            }
            if self.open.is_empty() {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            let (first, body) = read_packet(&mut input)?;
            self.answered(first >> 4, &body, &mut stream)?;
        }
        Ok(())
    }

    fn next_to_send(&mut self) -> Option<Vec<u8>> {
        let mut said = self.said.lock().expect("whole");
        let is_first = self.sent == self.open.len();
        if is_first {
            let number = said.acked + self.open.len() as u64;
            if self.open.len() >= WINDOW || number >= said.limit {
                return None;
            }
            self.open.push_back(Open { number, received: false });
        }
        let Open { number, received } = self.open[self.sent];
        self.sent += 1;
        if received {
            return Some(packet(0x62, &packet_id(number)));
        }
        if is_first || self.qos == 1 {
            *said.sent.entry(number).or_default() += 1;
        }
        let dup = if is_first || self.qos == 1 { 0 } else { 8 };
        let topic = text(&format!("line/{}", self.name));
        let body = [&topic[..], &packet_id(number), number.to_string().as_bytes()].concat();
        Some(packet(0x30 | dup | self.qos << 1, &body))
    }

    fn answered(&mut self, kind: u8, body: &[u8], stream: &mut TcpStream) -> io::Result<()> {
        let oldest = self.open.front().expect("something is open");
        match (self.qos, kind) {
            (2, 5) => {
                let open = self.open.iter_mut().find(|open| packet_id(open.number)[..] == *body);
                open.expect("what it has was sent").received = true;
                return stream.write_all(&packet(0x62, body));
            }
            (2, 7) => assert!(oldest.received, "completed before it was received"),
            (1, 4) => {}
            other => panic!("packet {} to a publisher at QoS {}", other.1, other.0),
        }
        assert_eq!(body, packet_id(oldest.number), "acknowledged in the order of sending");
        self.said.lock().expect("whole").acked = oldest.number + 1;
        self.open.pop_front();
        self.sent -= 1;
        Ok(())
    }
}
