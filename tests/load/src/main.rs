//! Loads hobnail and Mosquitto in turn, round by round, and prints the medians as one table.
//!
//! Both get the same clients, the same bytes and the same machine within seconds of each other, so ratios hold where
//! rates do not. Every run has a fresh server.

mod client;
mod idle;
mod network;
mod run;
mod server;
mod shapes;
mod store;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use idle::Idle;
use run::Measured;
use server::{Kind, Server};
use shapes::{Pace, Shape};

const USAGE: &str =
    "usage: load --hobnail BINARY [--mosquitto BINARY] [--rounds N] [--seconds S] [--connections N] [--only TEXT]
       load --network SEALED UNSEALED MOSQUITTO [--rounds N] [--seconds S]
       load --store HOBNAIL MOSQUITTO FOLDER [--rounds N] [--seconds S]";

struct Options {
    kinds: Vec<Kind>,
    rounds: usize,
    time: Duration,
    connections: usize,
    only: String,
    shapes: Vec<Shape>,
    /// A folder on a device that nobody else writes to: the store is measured, and nothing else.
    disk: Option<PathBuf>,
}

fn options() -> Option<Options> {
    let mut options = Options {
        kinds: Vec::new(),
        rounds: 5,
        time: Duration::from_millis(1_500),
        connections: 10_000,
        only: String::new(),
        shapes: shapes::traffic(),
        disk: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--hobnail" => options.kinds.push(Kind::Hobnail(PathBuf::from(value))),
            "--network" => {
                options.kinds.push(Kind::HobnailNetwork(PathBuf::from(value), "hobnail"));
                options.kinds.push(Kind::HobnailNetwork(PathBuf::from(words.next()?), "hobnail unsealed"));
                options.kinds.push(Kind::MosquittoNetwork(PathBuf::from(words.next()?)));
                (options.shapes, options.connections) = (vec![shapes::across()], 0);
            }
            "--store" => {
                options.kinds = store::kinds(Path::new(&value), Path::new(&words.next()?));
                options.disk = Some(PathBuf::from(words.next()?));
            }
            "--mosquitto" => options.kinds.push(Kind::Mosquitto(PathBuf::from(value))),
            "--rounds" => options.rounds = value.parse().ok().filter(|rounds| *rounds > 0)?,
            "--seconds" => options.time = Duration::try_from_secs_f64(value.parse().ok()?).ok()?,
            "--connections" => options.connections = value.parse().ok()?,
            "--only" => options.only = value,
            _ => return None,
        }
    }
    (!options.kinds.is_empty()).then_some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let done = match &options.disk {
        Some(disk) => store::compare(&options.kinds, disk, options.rounds, options.time),
        None => compare(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> io::Result<()> {
    let folder = std::env::temp_dir().join(format!("hobnail-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let done = rounds(options, &folder);
    std::fs::remove_dir_all(&folder)?;
    done
}

fn rounds(options: &Options, folder: &Path) -> io::Result<()> {
    let shapes: Vec<Shape> =
        options.shapes.iter().filter(|shape| shape.name.contains(&options.only)).cloned().collect();
    let kinds = &options.kinds;
    let mut traffic = vec![vec![Vec::new(); kinds.len()]; shapes.len()];
    let mut idles = vec![Vec::new(); kinds.len()];
    for round in 0..options.rounds {
        for (shape, cells) in shapes.iter().zip(&mut traffic) {
            for index in order(kinds.len(), round) {
                eprintln!("round {}: {}, {}", round + 1, shape.name, kinds[index].name());
                let server = Server::start(&kinds[index], folder)?;
                cells[index].push(run::run(&server, shape, time(options, shape))?);
            }
        }
        for index in order(kinds.len(), round).filter(|_| options.connections > 0) {
            eprintln!("round {}: {} idle connections, {}", round + 1, options.connections, kinds[index].name());
            idles[index].push(idle::idle(&kinds[index], folder, options.connections)?);
        }
    }
    for (shape, cells) in shapes.iter().zip(&traffic) {
        for (kind, runs) in kinds.iter().zip(cells) {
            spread(shape, kind, runs);
        }
    }
    print_traffic(kinds, &shapes, &traffic);
    if options.connections > 0 {
        print_idle(kinds, &idles, options.connections);
    }
    Ok(())
}

/// Who goes first changes from round to round.
pub fn order(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |index| (index + round) % count)
}

/// At a rate there is less to count, so it takes longer.
fn time(options: &Options, shape: &Shape) -> Duration {
    match shape.pace {
        Pace::Ahead(_) | Pace::Acknowledged => options.time,
        Pace::Rate(_) => options.time * 2,
    }
}

pub fn median<T>(runs: &[T], of: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        Some(upper) if values.len().is_multiple_of(2) => (upper + values[middle - 1]) / 2.0,
        Some(value) => *value,
        None => f64::NAN,
    }
}

fn most(runs: &[Measured], of: impl Fn(&Measured) -> f64) -> f64 {
    runs.iter().map(of).fold(0.0, f64::max)
}

/// What the medians come from, for whoever doubts them.
fn spread(shape: &Shape, kind: &Kind, runs: &[Measured]) {
    let mut cpu: Vec<f64> = runs.iter().map(|run| run.cpu_us).collect();
    cpu.sort_by(f64::total_cmp);
    let cpu: Vec<String> = cpu.iter().map(|us| format!("{us:.2}")).collect();
    let again = most(runs, |run| run.again);
    eprintln!("{}, {}: CPU µs {}; twice {again}", shape.name, kind.name(), cpu.join(" "));
}

fn print_traffic(kinds: &[Kind], shapes: &[Shape], traffic: &[Vec<Vec<Measured>>]) {
    let columns = ["CPU µs/msg", "k msg/s", "p50/p99 ms", "RSS MiB", "lost"];
    let names: Vec<String> =
        columns.iter().flat_map(|column| kinds.iter().map(move |kind| format!("{column}, {}", kind.name()))).collect();
    println!("| shape | {} | CPU ratio |", names.join(" | "));
    println!("|---|{}---|", "---|".repeat(names.len()));
    for (shape, cells) in shapes.iter().zip(traffic) {
        let mut row = Vec::new();
        let timed = matches!(shape.pace, Pace::Rate(_));
        row.extend(cells.iter().map(|runs| format!("{:.2}", median(runs, |run| run.cpu_us))));
        row.extend(cells.iter().map(|runs| format!("{:.1}", median(runs, |run| run.delivered_per_s / 1_000.0))));
        row.extend(cells.iter().map(|runs| match timed {
            true => format!("{:.2}/{:.2}", median(runs, |run| run.p50_ms), median(runs, |run| run.p99_ms)),
            false => "–".to_owned(),
        }));
        row.extend(cells.iter().map(|runs| format!("{:.1}", median(runs, |run| run.rss_mib))));
        row.extend(cells.iter().map(|runs| format!("{:.0}", most(runs, |run| run.lost))));
        let cpu: Vec<f64> = cells.iter().map(|runs| median(runs, |run| run.cpu_us)).collect();
        let ratio = cpu.first().zip(cpu.get(1)).map_or(f64::NAN, |(ours, theirs)| ours / theirs);
        println!("| {} | {} | {ratio:.2} |", shape.name, row.join(" | "));
    }
}

fn print_idle(kinds: &[Kind], idles: &[Vec<Idle>], connections: usize) {
    let names: Vec<&str> = kinds.iter().map(Kind::name).collect();
    println!("\n| idle | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));
    let row = |what: &str, of: &dyn Fn(&Idle) -> f64, digits: usize| {
        let cells: Vec<String> = idles.iter().map(|runs| format!("{:.digits$}", median(runs, of))).collect();
        println!("| {what} | {} |", cells.join(" | "));
    };
    row("start to first CONNACK, ms", &|idle| idle.started_ms, 1);
    row("RSS, MiB", &|idle| idle.rss_mib, 1);
    row(&format!("bytes per connection, of {connections}"), &|idle| idle.bytes_per_connection, 0);
    row("connections accepted/s", &|idle| idle.accepted_per_s, 0);
}
