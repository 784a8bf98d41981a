//! What it costs to keep what is acknowledged: one publisher, one subscriber whose session is kept, and a disk that
//! nobody else writes to. Then the broker is killed, and what it had acknowledged is looked for.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{self, Client, PUBACK, PUBLISH, Stamp, Template};
use crate::server::{Autosave, Kind, Server};
use crate::{median, order};

const TOPIC: &str = "load/kept";
const PAYLOAD_BYTES: usize = 256;
const WARM_UP: Duration = Duration::from_millis(400);
/// Nothing has come for so long: what is missing is lost.
const QUIET: Duration = Duration::from_secs(2);
/// A broker that saves now and then gets the time to save the subscription.
const SAVED: Duration = Duration::from_millis(2_500);
/// Unacknowledged at most, in the columns of the table.
const WINDOWS: [u64; 3] = [1, 100, 1_000];
/// Acknowledged before the kill, or as many as this time allows.
const KILLED_AFTER: u64 = 3_000;
const KILLED_WITHIN: Duration = Duration::from_secs(3);

pub fn kinds(hobnail: &Path, mosquitto: &Path) -> Vec<Kind> {
    let saves = [Autosave::Default, Autosave::EverySecond, Autosave::EveryChange];
    let mosquitto = saves.map(|autosave| Kind::MosquittoStore(mosquitto.to_owned(), autosave));
    [Kind::Hobnail(hobnail.to_owned())].into_iter().chain(mosquitto).collect()
}

/// At one window.
#[derive(Clone, Copy)]
struct Rate {
    acked_per_s: f64,
    cpu_us: f64,
    device_bytes: f64,
}

#[derive(Clone, Copy)]
struct Killed {
    acked: u64,
    lost: u64,
}

#[derive(Clone)]
struct Run {
    rates: Vec<Rate>,
    killed: Killed,
}

pub fn compare(kinds: &[Kind], disk: &Path, rounds: usize, time: Duration) -> io::Result<()> {
    let device = Device::of(disk)?;
    let mut runs = vec![Vec::new(); kinds.len()];
    for round in 0..rounds {
        for index in order(kinds.len(), round) {
            let kind = &kinds[index];
            eprintln!("round {}: {}", round + 1, kind.name());
            let rates: io::Result<Vec<Rate>> =
                WINDOWS.iter().map(|window| rate(kind, disk, &device, *window, time)).collect();
            runs[index].push(Run { rates: rates?, killed: killed(kind, disk)? });
        }
    }
    print(kinds, &runs);
    Ok(())
}

/// What the kernel counts of a device.
struct Device {
    stat: PathBuf,
    folder: PathBuf,
}

impl Device {
    fn of(folder: &Path) -> io::Result<Self> {
        let device = fs::metadata(folder)?.dev();
        let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
        let stat = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
        if stat.exists() {
            return Ok(Self { stat, folder: folder.to_owned() });
        }
        Err(io::Error::other(format!("{} is on no block device", folder.display())))
    }

    /// Asked of it so far, with everything that the system still has in memory.
    fn written(&self) -> io::Result<u64> {
        if !Command::new("sync").arg("-f").arg(&self.folder).status()?.success() {
            return Err(io::Error::other("sync -f failed"));
        }
        let stat = fs::read_to_string(&self.stat)?;
        let sectors = stat.split_whitespace().nth(6).and_then(|field| field.parse::<u64>().ok());
        sectors.map(|sectors| sectors * 512).ok_or_else(|| io::Error::other("no sectors in /sys/…/stat"))
    }
}

/// A broker that has kept nothing yet.
fn fresh(kind: &Kind, disk: &Path) -> io::Result<(PathBuf, Server)> {
    let folder = disk.join("kept");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir(&folder)?;
    let server = Server::start(kind, &folder)?;
    Ok((folder, server))
}

fn rate(kind: &Kind, disk: &Path, device: &Device, window: u64, time: Duration) -> io::Result<Rate> {
    let (_, server) = fresh(kind, disk)?;
    let (mut hears, _) = Client::resume(server.ears, "kept")?;
    hears.subscribe(&[TOPIC.to_owned()], 1)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let hearing = scope.spawn(|| hear(&mut hears, |_| over.load(Relaxed)));
        let measured = measured(&server, device, window, time);
        over.store(true, Relaxed);
        hearing.join().unwrap_or_else(|_| Err(io::Error::other("the subscriber has panicked")))?;
        measured
    })
}

fn measured(server: &Server, device: &Device, window: u64, time: Duration) -> io::Result<Rate> {
    let mut publisher = Publisher::connect(server.mouth)?;
    let begin = Instant::now();
    publisher.publish(window, |_| begin.elapsed() >= WARM_UP)?;
    publisher.settle()?;
    let (written, cpu, before) = (device.written()?, server.cpu_s()?, publisher.acked);
    let begin = Instant::now();
    publisher.publish(window, |_| begin.elapsed() >= time)?;
    publisher.settle()?;
    let (took, acked) = (begin.elapsed(), publisher.acked - before);
    let cpu = server.cpu_s()? - cpu;
    let device_bytes = (device.written()? - written) as f64 / (acked.max(1) * PAYLOAD_BYTES as u64) as f64;
    Ok(Rate { acked_per_s: acked as f64 / took.as_secs_f64(), cpu_us: cpu * 1e6 / acked.max(1) as f64, device_bytes })
}

/// Publish to a subscriber that is away, kill the broker, start it again, and let the subscriber come back.
fn killed(kind: &Kind, disk: &Path) -> io::Result<Killed> {
    let (folder, server) = fresh(kind, disk)?;
    let (mut away, _) = Client::resume(server.ears, "kept")?;
    away.subscribe(&[TOPIC.to_owned()], 1)?;
    away.stream.write_all(&[0xe0, 0])?;
    drop(away);
    thread::sleep(SAVED);
    let mut publisher = Publisher::connect(server.mouth)?;
    let begin = Instant::now();
    publisher.publish(100, |acked| acked >= KILLED_AFTER || begin.elapsed() >= KILLED_WITHIN)?;
    // With SIGKILL.
    drop(server);
    let server = Server::start(kind, &folder)?;
    let (mut back, present) = Client::resume(server.ears, "kept")?;
    if !present {
        back.subscribe(&[TOPIC.to_owned()], 1)?;
    }
    let heard = hear(&mut back, |quiet| quiet > QUIET)?;
    let lost = (0..publisher.acked).filter(|number| !heard.contains(number)).count() as u64;
    Ok(Killed { acked: publisher.acked, lost })
}

/// Take and acknowledge what comes, until `enough` says so of the time since the last that came.
fn hear(client: &mut Client, enough: impl Fn(Duration) -> bool) -> io::Result<BTreeSet<u64>> {
    client.look_up()?;
    let (mut numbers, mut answers, mut last) = (BTreeSet::new(), Vec::new(), Instant::now());
    while !enough(last.elapsed()) {
        if !client.fill()? {
            continue;
        }
        client.packets(|packet| {
            if packet.first & 0xf0 == PUBLISH
                && let Some((Some(id), stamp)) = client::received(&packet)
            {
                numbers.insert(stamp.number);
                answers.extend(client::ack(PUBACK, id));
            }
        });
        if !answers.is_empty() {
            last = Instant::now();
        }
        client.stream.write_all(&answers)?;
        answers.clear();
    }
    Ok(numbers)
}

struct Publisher {
    client: Client,
    template: Template,
    sent: u64,
    /// They come in the order in which messages went.
    acked: u64,
}

impl Publisher {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let client = Client::connect(address, "says")?;
        Ok(Self { client, template: Template::new(TOPIC, 1, PAYLOAD_BYTES), sent: 0, acked: 0 })
    }

    /// With so many unacknowledged, until `enough` says so of those that are.
    fn publish(&mut self, window: u64, enough: impl Fn(u64) -> bool) -> io::Result<()> {
        let mut out = Vec::new();
        while !enough(self.acked) {
            while self.sent - self.acked < window {
                let stamp = Stamp { publisher: 0, number: self.sent, sent_ns: 0 };
                self.template.put(stamp, (self.sent % 65_535 + 1) as u16, &mut out);
                self.sent += 1;
            }
            self.client.stream.write_all(&out)?;
            out.clear();
            self.read()?;
        }
        Ok(())
    }

    /// Until everything is acknowledged.
    fn settle(&mut self) -> io::Result<()> {
        while self.acked < self.sent {
            self.read()?;
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        if !self.client.fill()? {
            return Err(io::Error::other("no acknowledgement in time"));
        }
        let acked = &mut self.acked;
        self.client.packets(|packet| *acked += u64::from(packet.first == PUBACK));
        Ok(())
    }
}

fn print(kinds: &[Kind], runs: &[Vec<Run>]) {
    let names: Vec<&str> = kinds.iter().map(Kind::name).collect();
    println!("| | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));
    let row = |what: &str, cell: &dyn Fn(&[Run]) -> String| {
        let cells: Vec<String> = runs.iter().map(|runs| cell(runs)).collect();
        println!("| {what} | {} |", cells.join(" | "));
    };
    for (place, window) in WINDOWS.iter().enumerate() {
        let of = |of: fn(&Rate) -> f64| move |runs: &[Run]| median(runs, |run| of(&run.rates[place]));
        row(&format!("{window} unacknowledged: acknowledged/s"), &|runs| {
            format!("{:.0}", of(|rate| rate.acked_per_s)(runs))
        });
        row("bytes to the device for each of payload", &|runs| format!("{:.1}", of(|rate| rate.device_bytes)(runs)));
        row("CPU µs for each message", &|runs| format!("{:.1}", of(|rate| rate.cpu_us)(runs)));
    }
    row("acknowledged, then lost by `kill -9`, worst round", &|runs| {
        let worst =
            runs.iter().map(|run| run.killed).max_by(|a, b| (a.lost * b.acked.max(1)).cmp(&(b.lost * a.acked.max(1))));
        worst.map_or_else(String::new, |killed| format!("{} of {}", killed.lost, killed.acked))
    });
}
