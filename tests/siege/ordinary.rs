//! A client as there are many: it comes, subscribes, publishes, hears that, and goes; over and over.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use super::wire::{Client, Message, ack, connect, read_packet};
use crate::run::dial::dial;

/// From its coming to its going, at the most: the disk is flooded too, and a busy machine runs other tests beside.
const SLOWEST: Duration = Duration::from_secs(30);
/// Half of the times it takes less.
const MEDIAN: Duration = Duration::from_secs(5);
const LEVEL: u8 = 4;
const EVERY: Duration = Duration::from_millis(100);

pub struct Ordinary {
    over: Arc<AtomicBool>,
    client: JoinHandle<Vec<Duration>>,
}

impl Ordinary {
    pub fn start(door: SocketAddr) -> Self {
        let over = Arc::<AtomicBool>::default();
        let told = over.clone();
        let client = spawn(move || {
            let mut took = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let begun = Instant::now();
                come_and_go(door);
                took.push(begun.elapsed());
                sleep(EVERY);
            }
            took
        });
        Self { over, client }
    }

    /// It was served each time. Says how long it took.
    pub fn end(self) -> String {
        self.over.store(true, Ordering::Relaxed);
        let mut took = self.client.join().expect("an ordinary client was served");
        took.sort();
        let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
        assert!(slowest < SLOWEST && median < MEDIAN, "half took {median:?}, one took {slowest:?}");
        format!("an ordinary client, {} times, took {median:?}, at most {slowest:?}", took.len())
    }
}

fn come_and_go(door: SocketAddr) {
    let mut client = come_in(door);
    client.subscribe("ordinary", 1);
    client.publish("ordinary", b"here", 1, 1);
    // Its acknowledgement and itself, in either order.
    let mut kinds = [0; 2];
    for kind in &mut kinds {
        let packet = client.next();
        *kind = packet[0] >> 4;
        if *kind == 3 {
            client.send(&ack(0x40, Message::of(&packet, LEVEL).id));
        }
    }
    kinds.sort();
    assert_eq!(kinds, [3, 4]);
    client.ping();
    client.send(b"\xe0\0");
}

/// Where many come at once it may be pushed out before it has said a word, and tries again.
fn come_in(door: SocketAddr) -> Client {
    let begun = Instant::now();
    loop {
        let mut stream = dial(door);
        stream.set_read_timeout(Some(SLOWEST)).expect("a limit");
        let let_in = stream.write_all(&connect(LEVEL, "ordinary")).and_then(|()| read_packet(&mut stream));
        match let_in {
            Ok(connack) => {
                assert_eq!(connack, b"\x20\x02\0\0");
                return Client { stream, level: LEVEL };
            }
            Err(error) => assert!(begun.elapsed() < SLOWEST, "an ordinary client is not let in: {error}"),
        }
    }
}
