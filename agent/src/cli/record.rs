//! `hobnail record`: the messages that match, into a file.

use std::fs::{self, File, OpenOptions};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use hobnail_core::mqtt::client::{Client, Event};
use hobnail_core::mqtt::packet::{Disconnect, Props, Publish, QoS, SubAck, SubscribeFilter, SubscribeOptions};
use hobnail_core::topic;

use super::mqtt::connect::{ConnectArgs, Settings};
use super::mqtt::progress::{Progress, counted};
use super::mqtt::stop::Stop;
use super::mqtt::{Outcome, Usage, block_on, refuse};
use super::talk;
use crate::client::{Connection, ended, in_words};
use crate::recording::{Added, Writer};

/// Record the messages that match, with QoS, retain and properties, to an MCAP file
///
/// Ctrl-C ends the file properly; one that was cut off by a power cut can be played up to there.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Topic filters
    #[arg(required = true)]
    filter: Vec<String>,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    /// End after this long, such as 90s, 10m or 2h
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    limit: Option<Duration>,
    /// End after so many messages
    #[arg(short = 'C', long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = match talk::settle(&args.connect, "record").and_then(|settings| args.check().map(|()| settings)) {
        Ok(settings) => settings,
        Err(usage) => return Ok(refuse(&usage)),
    };
    match block_on(record(args, &settings)) {
        Err(_) if args.connect.quiet => Ok(ExitCode::FAILURE),
        done => done,
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a time, such as 90s, 10m or 2h".to_owned();
    let (number, unit) = text.split_at(text.find(|digit: char| digit.is_ascii_alphabetic()).unwrap_or(text.len()));
    let unit_s = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_not| wrong())?;
    Duration::try_from_secs_f64(number * unit_s).ok().filter(|limit| !limit.is_zero()).ok_or_else(wrong)
}

impl Args {
    fn check(&self) -> Result<(), Usage> {
        for filter in &self.filter {
            topic::check_filter(filter).map_err(|wrong| Usage(format!("{filter:?} is no topic filter: {wrong}")))?;
            if filter.starts_with("$share/") {
                return Err(Usage(format!("{filter:?} would take messages away from others; record a plain filter")));
            }
        }
        if !self.force && self.output.symlink_metadata().is_ok() {
            return Err(Usage(format!("{} is there already; --force writes over it", self.output.display())));
        }
        Ok(())
    }

    fn create(&self) -> anyhow::Result<Writer<File>> {
        let mut options = OpenOptions::new();
        options.write(true);
        if self.force {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        let file = options.open(&self.output);
        file.and_then(Writer::new).with_context(|| format!("cannot write {}", self.output.display()))
    }
}

async fn record(args: &Args, settings: &Settings) -> anyhow::Result<Outcome> {
    let mut stop = Stop::new()?;
    let client = Client::new(NonZeroU16::MAX);
    let mut connection = match talk::open(settings, client, None, &mut stop).await? {
        Ok(connection) => connection,
        Err(outcome) => return Ok(outcome),
    };
    let progress = Progress::new(args.connect.quiet);
    let mut recorder = Recorder { args, writer: args.create()?, progress, left_out: 0, answered: false };
    let taken = recorder.take(&mut connection, &mut stop).await;
    let outcome = recorder.finish(taken)?;
    // The file is whole; a server that does not hear our goodbye changes nothing about it.
    let _ = connection.close(Disconnect::default()).await;
    Ok(outcome)
}

struct Recorder<'a> {
    args: &'a Args,
    writer: Writer<File>,
    progress: Progress,
    /// Messages that the file has no room for.
    left_out: u64,
    /// The server has taken the subscription.
    answered: bool,
}

impl Recorder<'_> {
    /// Until somebody asks to stop, the time is over, or there are enough.
    async fn take(&mut self, connection: &mut Connection, stop: &mut Stop) -> anyhow::Result<()> {
        let options = SubscribeOptions { qos: QoS::ExactlyOnce, retain_as_published: true, ..Default::default() };
        let filters: Vec<SubscribeFilter<'_>> =
            self.args.filter.iter().map(|filter| SubscribeFilter { filter, options }).collect();
        connection.client().subscribe(&filters, None, Props::default())?;
        let ends = self.args.limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            let enough = self.drain(connection)?;
            // What is acknowledged with the next turn is in the file.
            self.writer.flush().with_context(|| format!("cannot write {}", self.args.output.display()))?;
            let kept = self.writer.kept();
            self.progress.tell(kept.messages, kept.bytes);
            if enough || talk::moved(connection, ends, stop).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// Record what has come; true where that was enough.
    fn drain(&mut self, connection: &mut Connection) -> anyhow::Result<bool> {
        let mut recorded = self.writer.kept().messages;
        while self.args.count.is_none_or(|count| recorded < count) {
            let Some(event) = connection.poll_event()? else { return Ok(false) };
            match event {
                Event::Message(message) => recorded += u64::from(self.add(&message)? == Added::Recorded),
                Event::Subscribed(ack) => self.handle_suback(&ack)?,
                Event::Closed(bye) => return Err(ended(&bye).into()),
                Event::Quiet | Event::Connected(_) | Event::Refused(_) => {}
                Event::Published(_) | Event::Unsubscribed(_) => {}
            }
        }
        Ok(true)
    }

    fn handle_suback(&mut self, ack: &SubAck<'_>) -> anyhow::Result<()> {
        let answers = self.args.filter.iter().zip(&ack.reasons);
        if let Some((filter, reason)) = answers.clone().find(|(_, reason)| reason.is_error()) {
            bail!("the server refused the subscription to {filter:?}: {}", in_words(*reason));
        }
        self.answered = true;
        self.say(&format!("recording to {}", self.args.output.display()));
        Ok(())
    }

    fn add(&mut self, message: &Publish<'_>) -> anyhow::Result<Added> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let added = self.writer.add(message, u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        let added = added.with_context(|| format!("cannot write {}", self.args.output.display()))?;
        if added == Added::LeftOut {
            self.left_out += 1;
            if self.left_out == 1 {
                self.say("messages are left out: too many topics for one file, or properties of more than 128 KiB");
            }
        }
        Ok(added)
    }

    /// End the file, whatever happened, and say what is in it.
    fn finish(&mut self, taken: anyhow::Result<()>) -> anyhow::Result<Outcome> {
        self.progress.end();
        if !self.answered && self.writer.kept().messages == 0 && taken.is_err() {
            if !self.args.force {
                // Ours, and empty; the error says more than another one would.
                let _ = fs::remove_file(&self.args.output);
            }
            return taken.map(|()| Outcome::Failed);
        }
        let ended = self.writer.finish().and_then(|()| self.writer.out().sync_all());
        if ended.is_err() {
            // Where even the end finds no room, the file can be read without it.
            let _ = self.writer.rescue();
        }
        let kept = self.writer.kept();
        self.say(&format!("{} in {}", counted(kept.messages, kept.bytes), self.args.output.display()));
        taken?;
        ended.with_context(|| format!("cannot write {}", self.args.output.display()))?;
        if self.left_out == 0 {
            return Ok(Outcome::Done);
        }
        self.say(&format!("{} messages were left out", self.left_out));
        Ok(Outcome::Failed)
    }

    fn say(&mut self, what: &str) {
        self.progress.end();
        if !self.args.connect.quiet {
            eprintln!("hobnail: {what}");
        }
    }
}
