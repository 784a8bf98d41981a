//! A pair of innocent clients: one publishes, the other listens, and both notice what is done to them meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use super::wire::{Client, ack};

/// How often the one says something to the other.
const EVERY: Duration = Duration::from_millis(5);
/// Longer than this nothing may take, on a machine that runs other tests beside.
const SLOWEST: Duration = Duration::from_secs(5);
/// Half of the messages take less: an unoptimised agent on a busy machine gives each attacker its turn of 64 KiB.
const MEDIAN: Duration = Duration::from_millis(500);
const TOPIC: &str = "innocent/talk";

pub struct Pair {
    over: Arc<AtomicBool>,
    publisher: JoinHandle<u64>,
    subscriber: JoinHandle<Vec<Duration>>,
}

impl Pair {
    pub fn start(address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut listener = Client::new(address, 4, "innocent-listener");
        listener.subscribe("innocent/#", 1);
        let talker = Client::new(address, 5, "innocent-talker");
        let start = Instant::now();
        let told = over.clone();
        Self {
            over,
            publisher: spawn(move || talk(talker, start, &told)),
            subscriber: spawn(move || listen(listener, start)),
        }
    }

    /// Nothing was lost, nothing came twice or out of order, and nothing was late. Says how long they took.
    pub fn end(self) -> String {
        self.over.store(true, Ordering::Relaxed);
        let sent = self.publisher.join().expect("the publisher was served");
        let mut took = self.subscriber.join().expect("the subscriber was served");
        assert_eq!(took.len() as u64, sent, "every message, once");
        took.sort();
        let median = took.get(took.len() / 2).copied().unwrap_or_default();
        let slowest = took.last().copied().unwrap_or_default();
        assert!(slowest < SLOWEST && median < MEDIAN, "half took {median:?}, one took {slowest:?}");
        format!("{sent} messages took {median:?}, the slowest {slowest:?}")
    }
}

/// Number after number with the time it is said at, each acknowledged before the next; `u64::MAX` at the end.
fn talk(mut client: Client, start: Instant, over: &AtomicBool) -> u64 {
    let mut number = 0u64;
    loop {
        let last = over.load(Ordering::Relaxed);
        let said = if last { u64::MAX } else { number };
        let now = u64::try_from(start.elapsed().as_micros()).expect("a short test");
        client.publish(TOPIC, &[said.to_be_bytes(), now.to_be_bytes()].concat(), 1, 1);
        client.expect(&ack(0x40, 1));
        if last {
            return number;
        }
        number += 1;
        sleep(EVERY);
    }
}

/// How long each took.
fn listen(mut client: Client, start: Instant) -> Vec<Duration> {
    let mut took = Vec::new();
    loop {
        let message = client.message();
        let (number, at) = message.payload.split_at(8);
        let number = u64::from_be_bytes(number.try_into().expect("8 bytes"));
        let at = Duration::from_micros(u64::from_be_bytes(at.try_into().expect("8 bytes")));
        if number == u64::MAX {
            return took;
        }
        assert_eq!(number, took.len() as u64, "in order, none missing, none twice");
        took.push(start.elapsed().saturating_sub(at));
    }
}
