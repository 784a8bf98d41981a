//! One shape against one broker: who publishes, who subscribes, what is counted and when.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::client::{self, Client, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Stamp, Template};
use crate::server::Server;
use crate::shapes::{Pace, Shape, UNACKNOWLEDGED};

/// Before anything counts.
const WARM_UP: Duration = Duration::from_millis(400);
/// Nothing has come for so long: what is missing is lost.
const QUIET: Duration = Duration::from_secs(2);
/// Most messages in one write.
const BATCH: u64 = 64;
/// A publisher that is behind its rate by more stamps its messages with the time they were due.
const LATE_NS: u64 = 5_000_000;

/// What one run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    pub delivered_per_s: f64,
    /// Server processor time for each delivered message, in microseconds.
    pub cpu_us: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Messages that no subscriber but the stuck one may miss, and missed.
    pub lost: f64,
    pub again: f64,
    pub rss_mib: f64,
}

/// What the threads of a run share.
struct Shared {
    epoch: Instant,
    subscribers: u64,
    sent: AtomicU64,
    received: AtomicU64,
    /// Messages that are not waited for any more.
    forgiven: AtomicU64,
    stop: AtomicBool,
    counts: AtomicBool,
    over: AtomicBool,
    publishers: OnceLock<Vec<Thread>>,
}

impl Shared {
    fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// How far the subscribers are behind, each on average.
    fn ahead(&self) -> u64 {
        let arrived = (self.received.load(Relaxed) + self.forgiven.load(Relaxed)) / self.subscribers;
        self.sent.load(Relaxed).saturating_sub(arrived)
    }
}

pub fn run(server: &Server, shape: &Shape, time: Duration) -> io::Result<Measured> {
    let shared = Shared {
        epoch: Instant::now(),
        subscribers: shape.subscribers as u64,
        sent: AtomicU64::new(0),
        received: AtomicU64::new(0),
        forgiven: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        counts: AtomicBool::new(false),
        over: AtomicBool::new(false),
        publishers: OnceLock::new(),
    };
    let mut stuck = Vec::new();
    if shape.stuck {
        let mut client = Client::connect(server.ears, "stuck")?;
        client.subscribe(&shape.topics.filters(), shape.qos)?;
        stuck.push(client);
    }
    let mut subscribers = Vec::new();
    for number in 0..shape.subscribers {
        let mut client = Client::connect(server.ears, &format!("sub-{number}"))?;
        client.subscribe(&shape.topics.filters(), shape.qos)?;
        subscribers.push(client);
    }
    server.await_path()?;
    let publishers: io::Result<Vec<Client>> =
        (0..shape.publishers).map(|number| Client::connect(server.mouth, &format!("pub-{number}"))).collect();
    let publishers = publishers?;
    thread::scope(|scope| {
        let shared = &shared;
        let readers: Vec<_> =
            subscribers.into_iter().map(|client| scope.spawn(move || subscribe(client, shape, shared))).collect();
        let writers: Vec<_> = publishers
            .into_iter()
            .zip(0..)
            .map(|(client, number)| scope.spawn(move || publish(client, number, shape, shared)))
            .collect();
        let threads = writers.iter().map(|writer| writer.thread().clone()).collect();
        // Set once, just here.
        let _ = shared.publishers.set(threads);
        let window = watch(server, shared, time);
        shared.stop.store(true, Relaxed);
        let written: io::Result<Vec<()>> = writers.into_iter().map(|writer| joined(writer.join())).collect();
        drain(shared);
        shared.over.store(true, Relaxed);
        let read: io::Result<Vec<Heard>> = readers.into_iter().map(|reader| joined(reader.join())).collect();
        written?;
        Ok(sum_up(window?, read?, shared))
    })
}

fn joined<T>(result: thread::Result<io::Result<T>>) -> io::Result<T> {
    result.unwrap_or_else(|_| Err(io::Error::other("a thread of the load has panicked")))
}

/// What was used and delivered while it counted.
struct Window {
    cpu_s: f64,
    seconds: f64,
    delivered: u64,
    rss_kib: u64,
}

fn watch(server: &Server, shared: &Shared, time: Duration) -> io::Result<Window> {
    thread::sleep(WARM_UP);
    let (begin, before, cpu) = (Instant::now(), shared.received.load(Relaxed), server.cpu_s()?);
    shared.counts.store(true, Relaxed);
    thread::sleep(time);
    shared.counts.store(false, Relaxed);
    Ok(Window {
        cpu_s: server.cpu_s()? - cpu,
        seconds: begin.elapsed().as_secs_f64(),
        delivered: shared.received.load(Relaxed) - before,
        rss_kib: server.rss_kib()?,
    })
}

/// Wait for what is still on its way.
fn drain(shared: &Shared) {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let received = shared.received.load(Relaxed);
        if received >= shared.sent.load(Relaxed) * shared.subscribers {
            return;
        }
        if received != last {
            (last, since) = (received, Instant::now());
        }
        if since.elapsed() > QUIET {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// What one subscriber has heard.
#[derive(Default)]
struct Heard {
    once: u64,
    again: u64,
    latencies_us: Vec<u32>,
}

fn sum_up(window: Window, heard: Vec<Heard>, shared: &Shared) -> Measured {
    let wanted = shared.sent.load(Relaxed) * shared.subscribers;
    let once: u64 = heard.iter().map(|one| one.once).sum();
    let again: u64 = heard.iter().map(|one| one.again).sum();
    let mut latencies: Vec<u32> = heard.into_iter().flat_map(|one| one.latencies_us).collect();
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).map_or(f64::NAN, |us| f64::from(*us) / 1_000.0)
    };
    let (p50_ms, p99_ms) = (at(0.5), at(0.99));
    Measured {
        delivered_per_s: window.delivered as f64 / window.seconds,
        cpu_us: window.cpu_s * 1e6 / window.delivered.max(1) as f64,
        p50_ms,
        p99_ms,
        lost: wanted.saturating_sub(once) as f64,
        again: again as f64,
        rss_mib: window.rss_kib as f64 / 1_024.0,
    }
}

fn subscribe(mut client: Client, shape: &Shape, shared: &Shared) -> io::Result<Heard> {
    client.look_up()?;
    let mut heard = Heard::default();
    let mut next = vec![0u64; shape.publishers];
    let timed = matches!(shape.pace, Pace::Rate(_));
    let mut answers = Vec::new();
    while !shared.over.load(Relaxed) {
        if !client.fill()? {
            continue;
        }
        let (mut count, now_ns, counts) = (0, shared.now_ns(), shared.counts.load(Relaxed));
        client.packets(|packet| match packet.first {
            PUBREL => answers.extend(client::ack(PUBCOMP, [packet.body[0], packet.body[1]])),
            first if first & 0xf0 == PUBLISH => {
                let Some((id, stamp)) = client::received(&packet) else { return };
                count += 1;
                let Some(due) = next.get_mut(stamp.publisher as usize) else { return };
                if stamp.number >= *due {
                    heard.once += 1;
                    *due = stamp.number + 1;
                } else {
                    heard.again += 1;
                }
                if timed && counts {
                    heard.latencies_us.push((now_ns.saturating_sub(stamp.sent_ns) / 1_000) as u32);
                }
                if let Some(id) = id {
                    answers.extend(client::ack(if first & 0x06 == 0x02 { PUBACK } else { PUBREC }, id));
                }
            }
            _ => {}
        });
        client.stream.write_all(&answers)?;
        answers.clear();
        shared.received.fetch_add(count, Relaxed);
        shared.publishers.get().into_iter().flatten().for_each(Thread::unpark);
    }
    Ok(heard)
}

/// One publisher: what it sends, in which order, and what is not yet acknowledged.
struct Publisher<'r> {
    client: Client,
    number: u32,
    templates: Vec<Template>,
    sent: u64,
    unanswered: u64,
    out: Vec<u8>,
    shared: &'r Shared,
}

impl Publisher<'_> {
    fn put(&mut self, count: u64, sent_ns: u64) {
        for _ in 0..count {
            let template = &self.templates[(self.sent % self.templates.len() as u64) as usize];
            let stamp = Stamp { publisher: self.number, number: self.sent, sent_ns };
            template.put(stamp, (self.sent % 65_535 + 1) as u16, &mut self.out);
            self.sent += 1;
        }
        self.shared.sent.fetch_add(count, Relaxed);
    }

    fn write(&mut self) -> io::Result<()> {
        self.client.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Take answers in; what has to be said to them goes out with the next write.
    fn read(&mut self) -> io::Result<()> {
        if !self.client.fill()? {
            return Ok(());
        }
        let (out, unanswered) = (&mut self.out, &mut self.unanswered);
        self.client.packets(|packet| match packet.first {
            PUBREC => out.extend(client::ack(PUBREL, [packet.body[0], packet.body[1]])),
            PUBACK | PUBCOMP => *unanswered = unanswered.saturating_sub(1),
            _ => {}
        });
        Ok(())
    }

    /// The answers to all that was sent.
    fn finish(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + QUIET * 5;
        while self.unanswered > 0 && Instant::now() < deadline {
            self.write()?;
            self.read()?;
        }
        self.write()
    }
}

fn publish(client: Client, number: u32, shape: &Shape, shared: &Shared) -> io::Result<()> {
    client.look_up()?;
    let templates = shape.topics.names().iter().map(|topic| Template::new(topic, shape.qos, shape.size)).collect();
    let mut publisher = Publisher { client, number, templates, sent: 0, unanswered: 0, out: Vec::new(), shared };
    match shape.pace {
        Pace::Ahead(most) if shape.qos == 0 => keep_ahead(&mut publisher, most),
        Pace::Ahead(most) => keep_unanswered(&mut publisher, shape, most),
        Pace::Acknowledged => keep_unanswered(&mut publisher, shape, u64::MAX),
        Pace::Rate(rate) => keep_rate(&mut publisher, rate, shape.qos),
    }
}

fn keep_ahead(publisher: &mut Publisher<'_>, most: u64) -> io::Result<()> {
    let shared = publisher.shared;
    let mut moved = Instant::now();
    while !shared.stop.load(Relaxed) {
        let ahead = shared.ahead();
        // A little room is not worth a write.
        if ahead < most - most / 4 {
            moved = Instant::now();
            publisher.put((most - ahead).min(BATCH), shared.now_ns());
            publisher.write()?;
        } else if moved.elapsed() > QUIET / 2 {
            shared.forgiven.fetch_add(ahead * shared.subscribers, Relaxed);
        } else {
            thread::park_timeout(Duration::from_millis(10));
        }
    }
    Ok(())
}

fn keep_unanswered(publisher: &mut Publisher<'_>, shape: &Shape, ahead_max: u64) -> io::Result<()> {
    let shared = publisher.shared;
    let most = (UNACKNOWLEDGED / shape.publishers as u64).max(1);
    let mut moved = Instant::now();
    while !shared.stop.load(Relaxed) {
        let ahead = shared.ahead();
        let count = (most - publisher.unanswered).min(ahead_max.saturating_sub(ahead));
        if count > 0 {
            moved = Instant::now();
        } else if publisher.unanswered == 0 {
            if moved.elapsed() > QUIET / 2 {
                shared.forgiven.fetch_add(ahead * shared.subscribers, Relaxed);
            }
            thread::park_timeout(Duration::from_millis(10));
            continue;
        }
        publisher.put(count, shared.now_ns());
        publisher.unanswered += count;
        publisher.write()?;
        publisher.read()?;
    }
    publisher.finish()
}

fn keep_rate(publisher: &mut Publisher<'_>, rate: u64, qos: u8) -> io::Result<()> {
    let shared = publisher.shared;
    let begin = shared.now_ns();
    while !shared.stop.load(Relaxed) {
        let (due, now) = (begin + publisher.sent * 1_000_000_000 / rate, shared.now_ns());
        if due > now {
            thread::sleep(Duration::from_nanos(due - now));
            continue;
        }
        publisher.put(1, if now - due > LATE_NS { due } else { now });
        publisher.unanswered += u64::from(qos > 0);
        // Answers stay in the socket until the end: a few bytes a message.
        publisher.write()?;
    }
    publisher.finish()
}
