//! Programs on the machines: a publisher that counts, and a subscriber that remembers what came when. MQTT 3.1.1,
//! QoS 1, written out by hand, so that no client library buffers or repeats anything.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::lab::{LIMIT, Lab};

/// Part of every payload; a capture is searched for it.
pub const MARK: &str = "nobody-else-may-read-this";

/// A message as a subscriber got it.
#[derive(Clone, Debug)]
pub struct Heard {
    pub topic: String,
    pub payload: Vec<u8>,
    pub at: Instant,
}

pub struct Subscriber {
    heard: Arc<Mutex<Vec<Heard>>>,
    socket: TcpStream,
}

/// Publishes `NAME SEQ MARK` to its topic at a steady pace.
pub struct Publisher {
    name: String,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    acked: Arc<AtomicU64>,
    writer: JoinHandle<()>,
    socket: TcpStream,
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut length = body.len();
    loop {
        let digit = (length % 128) as u8;
        length /= 128;
        packet.push(if length > 0 { digit | 128 } else { digit });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// First byte and body of the next packet; `None` once the connection is over.
fn read_packet(socket: &mut impl Read) -> Option<(u8, Vec<u8>)> {
    let mut byte = [0];
    socket.read_exact(&mut byte).ok()?;
    let (kind, mut length, mut shift) = (byte[0], 0, 0);
    loop {
        socket.read_exact(&mut byte).ok()?;
        length |= usize::from(byte[0] & 127) << shift;
        shift += 7;
        if byte[0] & 128 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).ok()?;
    Some((kind, body))
}

fn open(lab: &Lab, machine: &str, id: &str) -> TcpStream {
    let mut socket = lab.connect(machine);
    socket.set_nodelay(true).expect("set");
    socket.set_read_timeout(Some(LIMIT)).expect("set");
    let connect = [&b"\0\x04MQTT\x04\x02\0\0"[..], &text(id)].concat();
    socket.write_all(&packet(0x10, &connect)).expect("written");
    assert_eq!(read_packet(&mut socket), Some((0x20, vec![0, 0])), "{id} is not let in");
    socket.set_read_timeout(None).expect("set");
    socket
}

fn publish(topic: &str, id: u16, payload: &[u8], retain: bool) -> Vec<u8> {
    let body = [&text(topic)[..], &id.to_be_bytes(), payload].concat();
    packet(if retain { 0x33 } else { 0x32 }, &body)
}

/// One message, acknowledged.
pub fn publish_once(lab: &Lab, machine: &str, topic: &str, payload: &[u8], retain: bool) {
    let mut socket = open(lab, machine, &format!("once-{topic}"));
    socket.set_read_timeout(Some(LIMIT)).expect("set");
    socket.write_all(&publish(topic, 1, payload, retain)).expect("written");
    assert_eq!(read_packet(&mut socket), Some((0x40, vec![0, 1])), "{topic} is not acknowledged");
}

impl Subscriber {
    /// Subscribed once this returns.
    pub fn start(lab: &Lab, machine: &str, filter: &str) -> Self {
        let mut socket = open(lab, machine, &format!("sub {filter}"));
        let body = [&[0, 1][..], &text(filter), &[1]].concat();
        socket.write_all(&packet(0x82, &body)).expect("written");
        assert_eq!(read_packet(&mut socket), Some((0x90, vec![0, 1, 1])), "{filter} is not granted");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (list, input) = (heard.clone(), socket.try_clone().expect("a socket"));
        thread::spawn(move || listen(input, &list));
        Self { heard, socket }
    }

    /// What came so far.
    pub fn look<T>(&self, at: impl FnOnce(&[Heard]) -> T) -> T {
        at(&self.heard.lock().expect("whole"))
    }

    pub fn count(&self) -> usize {
        self.look(<[Heard]>::len)
    }

    /// The newest on a topic.
    pub fn last(&self, topic: &str) -> Option<Heard> {
        self.look(|all| all.iter().rev().find(|heard| heard.topic == topic).cloned())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // Ends the thread that reads.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn listen(mut socket: TcpStream, heard: &Mutex<Vec<Heard>>) {
    let mut input = std::io::BufReader::new(socket.try_clone().expect("a socket"));
    while let Some((kind, body)) = read_packet(&mut input) {
        if kind >> 4 != 3 {
            continue;
        }
        let at = Instant::now();
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..2 + length].to_vec()).expect("UTF-8");
        let mut rest = &body[2 + length..];
        if kind & 0x06 != 0 {
            let id = [rest[0], rest[1]];
            rest = &rest[2..];
            if socket.write_all(&packet(0x40, &id)).is_err() {
                return;
            }
        }
        let one = Heard { topic, payload: rest.to_vec(), at };
        heard.lock().expect("whole").push(one);
    }
}

impl Publisher {
    /// `per_second` messages to `topic`, until it is stopped.
    pub fn start(lab: &Lab, machine: &str, topic: &str, per_second: u32) -> Self {
        let name = format!("pub-{machine}");
        let mut socket = open(lab, machine, &name);
        let stop = Arc::new(AtomicBool::new(false));
        let (sent, acked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (input, count) = (socket.try_clone().expect("a socket"), acked.clone());
        thread::spawn(move || count_acks(input, &count));
        let (stopping, counting, topic) = (stop.clone(), sent.clone(), topic.to_owned());
        let (mine, kept) = (name.clone(), socket.try_clone().expect("a socket"));
        let writer = thread::spawn(move || {
            let begun = Instant::now();
            for seq in 0.. {
                let due = begun + Duration::from_secs(1) * u32::try_from(seq).expect("few") / per_second;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let payload = format!("{mine} {seq} {MARK}");
                let message = publish(&topic, id_of(seq), payload.as_bytes(), false);
                socket.write_all(&message).expect("the door of one's own machine takes everything");
                counting.store(seq + 1, Ordering::Relaxed);
            }
        });
        Self { name, stop, sent, acked, writer, socket: kept }
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stop, and see all acknowledged; how many there were.
    pub fn finish(self) -> (String, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.writer.join().expect("all is written");
        let sent = self.sent.load(Ordering::Relaxed);
        let acked = || self.acked.load(Ordering::Relaxed);
        reaches(sent, acked);
        assert_eq!(acked(), sent, "messages of {} that are acknowledged", self.name);
        // Ends the thread that reads.
        let _ = self.socket.shutdown(Shutdown::Both);
        (self.name, sent)
    }
}

fn id_of(seq: u64) -> u16 {
    u16::try_from(seq % 65_535 + 1).expect("at most 65,535")
}

/// PUBACKs come in the order of the publishes.
fn count_acks(socket: TcpStream, acked: &AtomicU64) {
    let mut input = std::io::BufReader::new(socket);
    while let Some((kind, body)) = read_packet(&mut input) {
        let count = acked.load(Ordering::Relaxed);
        assert_eq!((kind, &body[..]), (0x40, &id_of(count).to_be_bytes()[..]), "acknowledgement {count}");
        acked.store(count + 1, Ordering::Relaxed);
    }
}

/// Wait for it, with a limit.
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(LIMIT, what, condition);
}

pub fn until_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Wait until so many are there, and tell if they are. As long as more come, the machine is slow and nothing else: the
/// limit is for the next to come.
pub fn reaches(goal: u64, mut count: impl FnMut() -> u64) -> bool {
    let (mut most, mut end) = (count(), Instant::now() + LIMIT);
    while most < goal && Instant::now() < end {
        thread::sleep(Duration::from_millis(50));
        let now = count();
        if now > most {
            (most, end) = (now, Instant::now() + LIMIT);
        }
    }
    most >= goal
}
