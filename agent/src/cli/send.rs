//! `hobnail send`: put a message into somebody's inbox.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hobnail_core::ids::Name;
use hobnail_core::mqtt::client::{Client, Event};
use hobnail_core::mqtt::packet::{Disconnect, Publish};

use super::mqtt::connect::{ConnectArgs, Settings};
use super::mqtt::stop::Stop;
use super::mqtt::{Outcome, block_on, refuse, source};
use super::out::say;
use super::talk::{self, FROM, ID};
use crate::client::{ended, in_words};

/// Put a message into the inbox of a machine or program
///
/// Prints the message's id once the server has it. The other side reads it with `hobnail inbox NAME`, whenever that is;
/// the inbox is there from the first time that somebody opened it so.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
#[group(id = "what", required = true, multiple = false, args = ["message", "file", "stdin"])]
pub struct Args {
    /// Whose inbox
    #[arg(value_parser = talk::name)]
    name: Name,
    /// The message
    #[arg(short, long, allow_hyphen_values = true)]
    message: Option<String>,
    /// Send what this file holds
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Send all of standard input
    #[arg(short, long = "stdin-file")]
    stdin: bool,
    /// Nobody wants it after so many seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = talk::seconds)]
    expires: Option<Duration>,
    /// Give up after so many seconds, with exit code 27
    #[arg(short = 'W', long = "wait", value_name = "SECONDS", default_value = "10", value_parser = talk::seconds)]
    wait: Duration,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = match talk::settle(&args.connect, "send") {
        Ok(settings) => settings,
        Err(usage) => return Ok(refuse(&usage)),
    };
    let payload = match (&args.message, &args.file) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(path)) => std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        (None, None) => source::all_of_stdin()?,
    };
    match block_on(send(args, &settings, &payload)) {
        Err(_) if args.connect.quiet => Ok(ExitCode::FAILURE),
        done => done,
    }
}

async fn send(args: &Args, settings: &Settings, payload: &[u8]) -> anyhow::Result<Outcome> {
    let ends = Instant::now().checked_add(args.wait);
    let mut stop = Stop::new()?;
    let mut connection = match talk::open(settings, Client::new(NonZeroU16::MIN), ends, &mut stop).await? {
        Ok(connection) => connection,
        Err(outcome) => return Ok(outcome),
    };
    let (id, topic) = (talk::draw_id(), format!("inbox/{}", args.name));
    let props = talk::user_props(&[(ID, &id), (FROM, &talk::me())]);
    let expiry_s = args.expires.map(talk::whole_seconds);
    connection.publish(&Publish { expiry_s, ..talk::message(&topic, payload, props.as_props()) })?;
    loop {
        while let Some(event) = connection.poll_event()? {
            match event {
                Event::Published(ack) if ack.reason.is_error() => {
                    bail!("the server refused the message: {}", in_words(ack.reason));
                }
                Event::Published(_) => {
                    say(&format!("{id}\n"))?;
                    connection.close(Disconnect::default()).await?;
                    return Ok(Outcome::Done);
                }
                Event::Closed(bye) => return Err(ended(&bye).into()),
                Event::Quiet | Event::Connected(_) | Event::Refused(_) => {}
                Event::Message(_) | Event::Subscribed(_) | Event::Unsubscribed(_) => {}
            }
        }
        if let Some(outcome) = talk::moved(&mut connection, ends, &mut stop).await? {
            if outcome == Outcome::TimedOut && !args.connect.quiet {
                eprintln!("hobnail: the server did not acknowledge the message in time");
            }
            return Ok(outcome);
        }
    }
}
