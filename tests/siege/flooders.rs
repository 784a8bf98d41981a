//! Programs that mean no good, or know no measure: each does its one thing over and over, and comes back when it is thrown
//! out.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use super::wire::{ack, connect_with, packet, publish, read_packet, subscribe, text};

/// A write or an answer that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_millis(200);
const LEVEL: u8 = 4;
const CLEAN: u8 = 2;
const DURABLE: u8 = 0;

pub struct Flood {
    over: Arc<AtomicBool>,
    packets: Arc<AtomicU64>,
    flooders: Vec<JoinHandle<()>>,
}

/// What one of them goes by.
pub struct Flooder {
    door: SocketAddr,
    name: String,
    over: Arc<AtomicBool>,
    packets: Arc<AtomicU64>,
    /// Things done so far, to do each on a topic of its own.
    done: u64,
}

type Act = fn(&mut Flooder) -> io::Result<()>;

impl Flood {
    pub fn begin(door: SocketAddr, acts: &[(&str, u32, Act)]) -> Self {
        let (over, packets) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut flooders = Vec::new();
        for (what, many, act) in acts.iter().copied() {
            for number in 0..many {
                let name = format!("{what}-{number}");
                let mut flooder = Flooder { door, name, over: over.clone(), packets: packets.clone(), done: 0 };
                flooders.push(spawn(move || {
                    while !flooder.is_over() {
                        // Thrown out, not let in, or not read any more: it tries again.
                        let _ = act(&mut flooder);
                        sleep(Duration::from_millis(20));
                    }
                }));
            }
        }
        Self { over, packets, flooders }
    }

    /// Stop it; how many packets were sent.
    pub fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.flooders.into_iter().for_each(|flooder| flooder.join().expect("a flooder does not fail"));
        self.packets.load(Ordering::Relaxed)
    }
}

impl Flooder {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn enter(&self, flags: u8) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&self.door, PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(&connect_with(LEVEL, flags, &text(&self.name)))?;
        read_packet(&mut stream)?;
        Ok(stream)
    }

    fn next(&mut self) -> u64 {
        self.done += 1;
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.done
    }

    fn id(&self) -> u16 {
        (self.done % 65_535) as u16 + 1
    }

    /// Publish without an end, and read nothing.
    fn shout(&mut self, qos: u8, bytes: usize, topics: u64, retain: bool) -> io::Result<()> {
        let mut stream = self.enter(CLEAN)?;
        let payload = vec![b'x'; bytes];
        while !self.is_over() {
            let number = self.next() % topics;
            let topic = format!("flood/{}/{number}", self.name);
            let mut packet = publish(LEVEL, &topic, &payload, qos, self.id());
            packet[0] |= u8::from(retain);
            stream.write_all(&packet)?;
        }
        Ok(())
    }

    fn wait(&self) {
        while !self.is_over() {
            sleep(Duration::from_millis(50));
        }
    }
}

pub fn small(flooder: &mut Flooder) -> io::Result<()> {
    flooder.shout(0, 100, 5_000, false)
}

pub fn large(flooder: &mut Flooder) -> io::Result<()> {
    flooder.shout(0, 300 << 10, 50, false)
}

/// Nearly as large as a packet may be.
pub fn huge(flooder: &mut Flooder) -> io::Result<()> {
    flooder.shout(0, 1_000 << 10, 50, false)
}

pub fn unheard(flooder: &mut Flooder) -> io::Result<()> {
    flooder.shout(1, 1_000, 5_000, false)
}

pub fn never_released(flooder: &mut Flooder) -> io::Result<()> {
    flooder.shout(2, 1_000, 5_000, false)
}

pub fn retained(flooder: &mut Flooder) -> io::Result<()> {
    flooder.shout(0, 100, u64::MAX, true)
}

pub fn retained_large(flooder: &mut Flooder) -> io::Result<()> {
    flooder.shout(0, 100 << 10, u64::MAX, true)
}

/// Fifty publishes at a time, each acknowledged.
pub fn answered(flooder: &mut Flooder) -> io::Result<()> {
    let mut stream = flooder.enter(CLEAN)?;
    while !flooder.is_over() {
        for _ in 0..50 {
            let topic = format!("flood/{}", flooder.next() % 10);
            stream.write_all(&publish(LEVEL, &topic, &[b'x'; 500], 1, flooder.id()))?;
        }
        for _ in 0..50 {
            read_packet(&mut stream)?;
        }
    }
    Ok(())
}

/// A durable session that wants everything, and is away.
pub fn away(flooder: &mut Flooder) -> io::Result<()> {
    let mut stream = flooder.enter(DURABLE)?;
    stream.write_all(&subscribe(LEVEL, 1, &[("flood/#", 1)]))?;
    read_packet(&mut stream)?;
    drop(stream);
    flooder.wait();
    Ok(())
}

/// Wants everything, and reads nothing.
pub fn deaf(flooder: &mut Flooder) -> io::Result<()> {
    let mut stream = flooder.enter(CLEAN)?;
    let qos = flooder.name.bytes().last().map_or(0, |last| last % 3);
    stream.write_all(&subscribe(LEVEL, 1, &[("#", qos)]))?;
    flooder.wait();
    Ok(())
}

/// Takes one message now and then.
pub fn slow(flooder: &mut Flooder) -> io::Result<()> {
    let mut stream = flooder.enter(CLEAN)?;
    stream.write_all(&subscribe(LEVEL, 1, &[("flood/#", 1)]))?;
    while !flooder.is_over() {
        let message = read_packet(&mut stream)?;
        if message[0] & 6 != 0 {
            let at = message.len().min(5);
            stream.write_all(&ack(0x40, u16::from_be_bytes([0, message[at - 1]])))?;
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Connections that say the beginning of something, a hundred at a time.
pub fn half_open(flooder: &mut Flooder) -> io::Result<()> {
    let hello = connect_with(LEVEL, CLEAN, &text(&flooder.name));
    let mut all = Vec::new();
    for number in 0..100 {
        let mut stream = TcpStream::connect_timeout(&flooder.door, PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        flooder.next();
        stream.write_all(&hello[..number % hello.len()])?;
        all.push(stream);
    }
    sleep(Duration::from_millis(100));
    Ok(())
}

/// A large packet that is never whole, from each of twenty.
pub fn half_said(flooder: &mut Flooder) -> io::Result<()> {
    let mut all = Vec::new();
    let name = flooder.name.clone();
    for number in 0..20 {
        flooder.name = format!("{name}-{number}");
        let mut stream = flooder.enter(CLEAN)?;
        let large = publish(LEVEL, "flood/half", &vec![b'x'; 900 << 10], 1, 1);
        // What is not read any more is enough.
        let _ = stream.write_all(&large[..large.len() - 1]);
        flooder.next();
        all.push(stream);
    }
    flooder.name = name;
    sleep(Duration::from_secs(1));
    Ok(())
}

/// New subscriptions without an end.
pub fn curious(flooder: &mut Flooder) -> io::Result<()> {
    let mut stream = flooder.enter(DURABLE)?;
    while !flooder.is_over() {
        let base = flooder.next();
        let filters: Vec<String> = (0..100).map(|more| format!("curious/{}/{base}/{more}/+/x", flooder.name)).collect();
        let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 1)).collect();
        stream.write_all(&subscribe(LEVEL, 1, &filters))?;
        read_packet(&mut stream)?;
    }
    Ok(())
}

/// Comes with a large will, and goes without a word.
pub fn wills(flooder: &mut Flooder) -> io::Result<()> {
    let will = [text("c"), text("flood/will"), text(vec![b'x'; 60_000])].concat();
    let mut stream = TcpStream::connect_timeout(&flooder.door, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    flooder.next();
    stream.write_all(&connect_with(LEVEL, 0x2e, &will))?;
    stream.write_all(&packet(0xc0, b""))
}
