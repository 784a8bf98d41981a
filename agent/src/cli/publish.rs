//! `hobnail pub`: publish one message, one many times, or every line that comes in.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use hobnail_core::mqtt::client::{Client, Event};
use hobnail_core::mqtt::packet::{Disconnect, Publish, QoS, Version};
use hobnail_core::mqtt::props;
use hobnail_core::topic;

use super::mqtt::connect::{ConnectArgs, Settings, qos};
use super::mqtt::refusals::Refusals;
use super::mqtt::source::{self, Next, Source};
use super::mqtt::stop::Stop;
use super::mqtt::{Outcome, Usage, block_on, refuse};
use crate::client::{Connection, ended};

/// Bytes that may wait for the socket before the next message is taken: enough to keep it busy, no more.
const BACKLOG_MAX: usize = 256 * 1024;

/// Publish messages, with Mosquitto's flags
///
/// MQTT 5 unless -V says otherwise. Ends only when the server has acknowledged everything that is to be acknowledged.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
#[group(id = "what", required = true, multiple = false, args = ["message", "file", "lines", "null", "stdin"])]
pub struct Args {
    /// Topic to publish to
    #[arg(short, long, required_unless_present = "url")]
    topic: Option<String>,
    /// The message
    #[arg(short, long, allow_hyphen_values = true)]
    message: Option<String>,
    /// Send what this file holds
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Send every line of standard input as a message of its own
    #[arg(short, long = "stdin-line")]
    lines: bool,
    /// Send an empty message
    #[arg(short, long = "null-message")]
    null: bool,
    /// Send all of standard input as one message
    #[arg(short, long = "stdin-file")]
    stdin: bool,
    /// Quality of service
    #[arg(short, long, default_value = "0", value_parser = qos)]
    qos: QoS,
    /// Let the server keep the message for later subscribers
    #[arg(short, long)]
    retain: bool,
    /// Most unacknowledged messages at a time
    #[arg(short = 'M', long, default_value = "1000", value_name = "COUNT")]
    max_inflight: NonZeroU16,
    /// Send the message this many times
    #[arg(long, default_value_t = 1, value_name = "COUNT", conflicts_with = "lines")]
    repeat: u64,
    /// Wait this long in between, in seconds
    #[arg(long, default_value = "0", value_name = "SECONDS", value_parser = seconds)]
    repeat_delay: Duration,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = match args.connect.settle("pub").and_then(|settings| args.check(&settings).map(|()| settings)) {
        Ok(settings) => settings,
        Err(usage) => return Ok(refuse(&usage)),
    };
    match block_on(publish(args, &settings)) {
        Err(_) if args.connect.quiet => Ok(ExitCode::FAILURE),
        done => done,
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = |_| "a number of seconds, such as 0.5".to_owned();
    Duration::try_from_secs_f64(text.parse().map_err(|_not| "a number of seconds, such as 0.5".to_owned())?)
        .map_err(wrong)
}

impl Args {
    fn topic<'a>(&'a self, settings: &'a Settings) -> &'a str {
        self.topic.as_deref().or(settings.url_topic.as_deref()).unwrap_or_default()
    }

    fn check(&self, settings: &Settings) -> Result<(), Usage> {
        let topic = self.topic(settings);
        topic::check_name(topic).map_err(|wrong| Usage(format!("cannot publish to {topic:?}: {wrong}")))
    }

    fn source(&self) -> anyhow::Result<Source> {
        let message = |payload| Source::repeated(payload, self.repeat, self.repeat_delay);
        if self.lines {
            return Ok(Source::lines());
        }
        if let Some(text) = &self.message {
            return Ok(message(text.clone().into_bytes()));
        }
        if let Some(path) = &self.file {
            let payload = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            return Ok(message(payload));
        }
        Ok(message(if self.stdin { source::all_of_stdin()? } else { Vec::new() }))
    }
}

async fn publish(args: &Args, settings: &Settings) -> anyhow::Result<Outcome> {
    let mut source = args.source()?;
    let mut stop = Stop::new()?;
    let client = Client::new(args.max_inflight);
    let opening = Connection::open(&settings.route, &settings.hello, client, settings.packets);
    let mut connection = tokio::select! {
        opened = opening => opened.map_err(|(_, error)| error)?.0,
        () = stop.asked() => return Ok(Outcome::Failed),
    };
    let mut refusals = Refusals::new(args.connect.quiet);
    let pumped = pump(args, settings, &mut connection, &mut source, &mut stop, &mut refusals).await;
    let lost = connection.client().unacknowledged();
    if let Err(error) = pumped {
        return Err(match lost {
            0 => error,
            _ => error.context(format!("{lost} messages are not acknowledged")),
        });
    }
    let goodbye = &settings.properties.disconnect;
    let disconnect = Disconnect {
        session_expiry_s: goodbye.number(props::SESSION_EXPIRY),
        reason_string: goodbye.all.as_props().text(props::REASON_STRING),
        user_props: goodbye.users.as_props(),
        ..Disconnect::default()
    };
    connection.close(disconnect).await?;
    Ok(refusals.outcome())
}

/// Move messages from the source to the server until there are no more and all are acknowledged. The source is read
/// only as fast as the window and the socket take it.
async fn pump(
    args: &Args,
    settings: &Settings,
    connection: &mut Connection,
    source: &mut Source,
    stop: &mut Stop,
    refusals: &mut Refusals,
) -> anyhow::Result<()> {
    let stage = &settings.properties.publish;
    let mut message = Publish {
        dup: false,
        retain: args.retain,
        qos: args.qos,
        id: None,
        topic: args.topic(settings),
        payload: &[],
        topic_alias: stage.two(props::TOPIC_ALIAS).and_then(NonZeroU16::new),
        expiry_s: stage.number(props::MESSAGE_EXPIRY),
        props: if settings.hello.version == Version::V5 { stage.all.as_props() } else { Default::default() },
    };
    let mut stopping = false;
    loop {
        while let Some(event) = connection.poll_event()? {
            match event {
                Event::Published(ack) => refusals.note(&ack),
                Event::Closed(bye) => return Err(ended(&bye).into()),
                Event::Quiet
                | Event::Connected(_)
                | Event::Refused(_)
                | Event::Message(_)
                | Event::Subscribed(_)
                | Event::Unsubscribed(_) => {}
            }
        }
        let next = loop {
            let full = args.qos != QoS::AtMostOnce && !connection.client().has_room();
            if full || connection.client().transmit().len() >= BACKLOG_MAX {
                break Next::Later(None);
            }
            match source.poll()? {
                Next::Message(payload) => {
                    let sent = connection.publish(&Publish { payload, ..message.clone() });
                    sent.with_context(|| format!("cannot publish {} bytes", payload.len()))?;
                    // From now on the alias stands for the topic.
                    if message.topic_alias.is_some() {
                        message.topic = "";
                    }
                }
                Next::Later(at) => break Next::Later(at),
                Next::Bytes => break Next::Bytes,
                Next::End => break Next::End,
            }
        };
        let done = stopping || matches!(next, Next::End);
        if done && connection.is_drained() && connection.client().unacknowledged() == 0 {
            return Ok(());
        }
        let pause = if let Next::Later(at) = next { at } else { None };
        tokio::select! {
            turned = connection.turn() => turned?,
            more = source.wait(), if matches!(next, Next::Bytes) && !stopping => more?,
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            () = stop.asked(), if !stopping => {
                stopping = true;
                source.end();
            }
        }
    }
}
