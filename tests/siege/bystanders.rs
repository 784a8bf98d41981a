//! A pair of innocent clients: one publishes, the other listens, and both notice what is done to them meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use super::wire::{Client, ack};

/// How often the one says something to the other.
const EVERY: Duration = Duration::from_millis(5);
/// Longer than this nothing may take, on a machine that runs other tests beside: no harm was done below it.
const LATE: Duration = Duration::from_secs(2);
const TOPIC: &str = "innocent/talk";

pub struct Pair {
    over: Arc<AtomicBool>,
    publisher: JoinHandle<u64>,
    subscriber: JoinHandle<(u64, Duration)>,
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

    /// Nothing was lost, nothing came twice or out of order, and nothing was late. Says what the slowest took.
    pub fn end(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        let sent = self.publisher.join().expect("the publisher was served");
        let (heard, slowest) = self.subscriber.join().expect("the subscriber was served");
        assert_eq!(heard, sent, "every message, once");
        assert!(slowest < LATE, "a message took {slowest:?}");
        slowest
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

fn listen(mut client: Client, start: Instant) -> (u64, Duration) {
    let (mut next, mut slowest) = (0u64, Duration::ZERO);
    loop {
        let message = client.message();
        let (number, at) = message.payload.split_at(8);
        let number = u64::from_be_bytes(number.try_into().expect("8 bytes"));
        let at = Duration::from_micros(u64::from_be_bytes(at.try_into().expect("8 bytes")));
        slowest = slowest.max(start.elapsed().saturating_sub(at));
        if number == u64::MAX {
            return (next, slowest);
        }
        assert_eq!(number, next, "in order, none missing, none twice");
        next += 1;
    }
}
