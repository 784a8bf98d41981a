//! A publisher and a durable subscriber that live through the deaths of their agent, and remember everything. MQTT 3.1.1,
//! QoS 1, written out by hand, so that no library sends or acknowledges anything by itself.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::machine::until;

const TOPIC: &str = "line/press/count";
/// Publishes that wait for their acknowledgement.
const WINDOW: usize = 20;

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "one byte of length is enough here");
    [&[first, body.len() as u8], body].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

/// First byte and body.
fn read_packet(stream: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body)?;
    Ok((head[0], body))
}

/// A connection that was let in, and whether its session was there.
fn connect(door: SocketAddr, id: &str, flags: u8) -> io::Result<(TcpStream, BufReader<TcpStream>, bool)> {
    let mut stream = TcpStream::connect(door)?;
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream.try_clone()?);
    stream.write_all(&packet(0x10, &[&b"\0\x04MQTT\x04"[..], &[flags, 0, 0], &text(id)].concat()))?;
    let (first, body) = read_packet(&mut input)?;
    assert_eq!((first, body[1]), (0x20, 0), "{id} is not let in: {body:02x?}");
    Ok((stream, input, body[0] & 1 != 0))
}

/// Publishes 0, 1, 2 … and whatever was not acknowledged once more in the next life.
pub struct Mouth(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    /// How often each number was sent.
    sent: BTreeMap<u64, u32>,
    acked: u64,
    /// Numbers below this are published.
    limit: u64,
    over: bool,
}

impl Mouth {
    pub fn start(door: SocketAddr) -> Self {
        let said = Arc::new(Mutex::new(Said { limit: u64::MAX, ..Said::default() }));
        let mine = said.clone();
        thread::spawn(move || {
            let mut unacked = VecDeque::new();
            while !is_over(&mine) {
                // An agent that is down, or dies under way: the next one gets what is left.
                if speak(door, &mine, &mut unacked).is_err() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Self(said)
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().expect("whole")
    }

    pub fn acked(&self) -> u64 {
        self.said().acked
    }

    pub fn times_sent(&self, number: u64) -> u32 {
        self.said().sent.get(&number).copied().unwrap_or(0)
    }

    /// Send nothing new, and see everything acknowledged; how many there are.
    pub fn pause(&self) -> u64 {
        let mut said = self.said();
        let limit = said.sent.last_key_value().map_or(0, |(last, _)| last + 1);
        said.limit = limit;
        drop(said);
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
        if let Ok(mut said) = self.0.lock() {
            said.over = true;
        }
    }
}

fn is_over(said: &Mutex<Said>) -> bool {
    said.lock().map_or(true, |said| said.over)
}

fn speak(door: SocketAddr, said: &Mutex<Said>, unacked: &mut VecDeque<u64>) -> io::Result<()> {
    let (mut stream, mut input, _) = connect(door, "mouth", 2)?;
    let mut sent = 0;
    while !is_over(said) {
        while let Some(number) = next_to_send(&mut said.lock().expect("whole"), unacked, sent) {
            let id = (number % 65_535) as u16 + 1;
            let body = [&text(TOPIC)[..], &id.to_be_bytes(), number.to_string().as_bytes()].concat();
            stream.write_all(&packet(0x32, &body))?;
            sent += 1;
        }
        let Some(oldest) = unacked.front().copied() else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        let (first, body) = read_packet(&mut input)?;
        let id = (oldest % 65_535) as u16 + 1;
        assert_eq!((first, &body[..]), (0x40, &id.to_be_bytes()[..]), "acknowledged in the order of sending");
        unacked.pop_front();
        sent -= 1;
        said.lock().expect("whole").acked = oldest + 1;
    }
    Ok(())
}

fn next_to_send(said: &mut Said, unacked: &mut VecDeque<u64>, sent: usize) -> Option<u64> {
    if sent == unacked.len() {
        let next = said.acked + unacked.len() as u64;
        if unacked.len() >= WINDOW || next >= said.limit {
            return None;
        }
        unacked.push_back(next);
    }
    let number = unacked[sent];
    *said.sent.entry(number).or_default() += 1;
    Some(number)
}

/// A delivery as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub number: u64,
    pub again: bool,
}

/// Subscribes once, in a session that stays, and acknowledges everything.
pub struct Ears {
    door: SocketAddr,
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
}

impl Ears {
    /// Subscribed for good once this returns.
    pub fn start(door: SocketAddr) -> Self {
        let ears = Self { door, heard: Arc::default(), line: Arc::default() };
        ears.listen();
        until("subscribed", || ears.line().subscribed);
        ears
    }

    fn listen(&self) {
        let (door, heard, line) = (self.door, self.heard.clone(), self.line.clone());
        thread::spawn(move || {
            while !line.lock().map_or(true, |line| line.over) {
                if listen(door, &heard, &line).is_err() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().expect("whole")
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().expect("whole").clone()
    }

    pub fn newest(&self) -> Option<u64> {
        self.heard.lock().expect("whole").last().map(|heard| heard.number)
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

fn listen(door: SocketAddr, heard: &Mutex<Vec<Heard>>, line: &Mutex<Line>) -> io::Result<()> {
    let (mut stream, mut input, present) = connect(door, "ears", 0)?;
    if line.lock().expect("whole").subscribed {
        assert!(present, "the session is gone");
    } else {
        stream.write_all(&packet(0x82, &[&[0, 1][..], &text("line/#"), &[1]].concat()))?;
    }
    let mut now = line.lock().expect("whole");
    now.stream = Some(stream);
    now.connections += 1;
    drop(now);
    loop {
        let (first, body) = read_packet(&mut input)?;
        let mut line = line.lock().expect("whole");
        match first >> 4 {
            3 => {
                let (id, payload) = body[2 + TOPIC.len()..].split_at(2);
                let number = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok()).expect("a number");
                heard.lock().expect("whole").push(Heard { number, again: first & 8 != 0 });
                let Some(stream) = &mut line.stream else { return Ok(()) };
                stream.write_all(&packet(0x40, id))?;
            }
            9 => line.subscribed = true,
            13 => line.pongs += 1,
            other => panic!("packet {other} to a subscriber"),
        }
    }
}
