//! `hobnail play`: what was recorded, published again.

use std::fs::File;
use std::io::BufReader;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use hobnail_core::mqtt::client::{Client, Event};
use hobnail_core::mqtt::packet::{Disconnect, QoS};
use hobnail_core::topic;
use tokio::time::sleep_until;

use super::mqtt::connect::{ConnectArgs, Settings};
use super::mqtt::progress::{Progress, counted};
use super::mqtt::refusals::Refusals;
use super::mqtt::stop::Stop;
use super::mqtt::{Outcome, Usage, block_on, refuse};
use super::talk;
use crate::client::{Connection, ended};
use crate::recording::{ReadError, Reader, Recorded, Step};

/// Bytes that may wait for the socket before the next message is taken.
const BACKLOG_MAX: usize = 256 * 1024;
/// A gap that nobody waits out; times in a file may be anything.
const FAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Publish what an MCAP file holds, as it was recorded
///
/// Ends only when the server has acknowledged everything that is to be acknowledged.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// The file, as `record` writes it
    file: PathBuf,
    /// How many times as fast as it was recorded, or `max`
    #[arg(long, default_value = "1", value_parser = speed)]
    speed: Speed,
    /// Only topics that match this; can be given many times
    #[arg(long, value_name = "FILTER")]
    topic: Vec<String>,
    /// Put this before every topic
    #[arg(long, default_value = "")]
    prefix: String,
    /// Most unacknowledged messages at a time
    #[arg(short = 'M', long, default_value = "1000", value_name = "COUNT")]
    max_inflight: NonZeroU16,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Clone, Copy, Debug)]
enum Speed {
    Times(f64),
    Max,
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let times = text.parse().ok().filter(|times: &f64| times.is_finite() && *times > 0.0);
    times.map(Speed::Times).ok_or_else(|| "a number above 0, or max".to_owned())
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = match talk::settle(&args.connect, "play").and_then(|settings| args.check().map(|()| settings)) {
        Ok(settings) => settings,
        Err(usage) => return Ok(refuse(&usage)),
    };
    match block_on(play(args, &settings)) {
        Err(_) if args.connect.quiet => Ok(ExitCode::FAILURE),
        done => done,
    }
}

impl Args {
    fn check(&self) -> Result<(), Usage> {
        for filter in &self.topic {
            topic::check_filter(filter).map_err(|wrong| Usage(format!("{filter:?} is no topic filter: {wrong}")))?;
        }
        if self.prefix.is_empty() {
            return Ok(());
        }
        topic::check_name(&self.prefix).map_err(|wrong| Usage(format!("--prefix {:?}: {wrong}", self.prefix)))
    }
}

async fn play(args: &Args, settings: &Settings) -> anyhow::Result<Outcome> {
    let mut stop = Stop::new()?;
    let source = Source::open(args).with_context(|| format!("cannot read {}", args.file.display()))?;
    let client = Client::new(args.max_inflight);
    let mut connection = match talk::open(settings, client, None, &mut stop).await? {
        Ok(connection) => connection,
        Err(outcome) => return Ok(outcome),
    };
    let quiet = args.connect.quiet;
    let (progress, refusals) = (Progress::new(quiet), Refusals::new(quiet));
    let mut player = Player { args, source, progress, refusals, messages: 0, bytes: 0, stopped: false };
    let played = player.pump(&mut connection, &mut stop).await;
    player.progress.end();
    if !quiet {
        eprintln!("hobnail: {} of {}", counted(player.messages, player.bytes), args.file.display());
        if player.source.cut {
            eprintln!("hobnail: the file breaks off there, before its end");
        }
    }
    let lost = connection.client().unacknowledged();
    played.map_err(|error| match lost {
        0 => error,
        _ => error.context(format!("{lost} messages are not acknowledged")),
    })?;
    connection.close(Disconnect::default()).await?;
    Ok(if player.stopped { Outcome::Failed } else { player.refusals.outcome() })
}

struct Player<'a> {
    args: &'a Args,
    source: Source<'a>,
    progress: Progress,
    refusals: Refusals,
    messages: u64,
    bytes: u64,
    stopped: bool,
}

impl Player<'_> {
    /// Move messages from the file to the server until there are no more and all are acknowledged.
    async fn pump(&mut self, connection: &mut Connection, stop: &mut Stop) -> anyhow::Result<()> {
        loop {
            while let Some(event) = connection.poll_event()? {
                match event {
                    Event::Published(ack) => self.refusals.note(&ack),
                    Event::Closed(bye) => return Err(ended(&bye).into()),
                    Event::Quiet | Event::Connected(_) | Event::Refused(_) => {}
                    Event::Message(_) | Event::Subscribed(_) | Event::Unsubscribed(_) => {}
                }
            }
            let due = self.feed(connection)?;
            self.progress.tell(self.messages, self.bytes);
            let over = self.stopped || self.source.ahead.is_none();
            if over && connection.is_drained() && connection.client().unacknowledged() == 0 {
                let fault = self.source.fault.take().filter(|_| !self.stopped);
                return fault.map_or(Ok(()), |fault| {
                    Err(fault).with_context(|| format!("cannot read on in {}", self.args.file.display()))
                });
            }
            tokio::select! {
                turned = connection.turn() => turned?,
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {}
                () = stop.asked(), if !self.stopped => self.stopped = true,
            }
        }
    }

    /// Publish all that is due, as far as window and socket take it; when the next is due, where that is what it waits
    /// for.
    fn feed(&mut self, connection: &mut Connection) -> anyhow::Result<Option<Instant>> {
        while !self.stopped {
            let Some(message) = &self.source.ahead else { break };
            let due = self.source.due(message);
            if due > Instant::now() {
                return Ok(Some(due));
            }
            let full = message.qos != QoS::AtMostOnce && !connection.client().has_room();
            if full || connection.client().transmit().len() >= BACKLOG_MAX {
                break;
            }
            let topic = format!("{}{}", self.args.prefix, message.topic);
            let sent = connection.publish(&message.publish(&topic));
            sent.with_context(|| format!("cannot publish {} bytes to {topic}", message.payload.len()))?;
            self.messages += 1;
            self.bytes += u64::try_from(message.payload.len()).unwrap_or(u64::MAX);
            self.source.go_on();
        }
        Ok(None)
    }
}

/// The file, one message ahead.
struct Source<'a> {
    args: &'a Args,
    reader: Reader<BufReader<File>>,
    ahead: Option<Recorded>,
    /// When the first message was played, and when it was recorded.
    start: (Instant, u64),
    /// The file has no proper end.
    cut: bool,
    /// Why there is nothing ahead, where the file is damaged.
    fault: Option<ReadError>,
}

impl<'a> Source<'a> {
    fn open(args: &'a Args) -> Result<Self, ReadError> {
        let file = File::open(&args.file)?;
        let bytes = file.metadata()?.len();
        let reader = Reader::new(BufReader::new(file), bytes)?;
        let mut source = Self { args, reader, ahead: None, start: (Instant::now(), 0), cut: false, fault: None };
        source.go_on();
        source.start.1 = source.ahead.as_ref().map_or(0, |first| first.at_ns);
        match source.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(source),
        }
    }

    /// The next message that is wanted.
    fn go_on(&mut self) {
        self.ahead = loop {
            match self.reader.step() {
                Ok(Step::Message(message)) if !self.wants(&message) => {}
                Ok(Step::Message(message)) => break Some(message),
                Ok(Step::End) => break None,
                Ok(Step::Cut) => {
                    self.cut = true;
                    break None;
                }
                Err(fault) => {
                    self.fault = Some(fault);
                    break None;
                }
            }
        };
    }

    fn wants(&self, message: &Recorded) -> bool {
        self.args.topic.is_empty() || self.args.topic.iter().any(|filter| topic::matches(filter, &message.topic))
    }

    /// When a message is to be played; one with an earlier time than the first, at once.
    fn due(&self, message: &Recorded) -> Instant {
        let (start, first_ns) = self.start;
        let gap = Duration::from_nanos(message.at_ns.saturating_sub(first_ns));
        let gap = match self.args.speed {
            Speed::Times(times) => Duration::try_from_secs_f64(gap.as_secs_f64() / times).unwrap_or(FAR),
            Speed::Max => Duration::ZERO,
        };
        start + gap.min(FAR)
    }
}
