//! `hobnail sub`: print the messages that match.

mod args;
mod format;
mod json;
mod print;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use hobnail_core::mqtt::client::{Client, Event};
use hobnail_core::mqtt::packet::{
    Disconnect, Props, Publish, QoS, RetainHandling, SubAck, SubscribeFilter, SubscribeOptions, Version,
};
use hobnail_core::mqtt::props;
use hobnail_core::topic;
use tokio::time::sleep_until;

pub use self::args::Args;
use self::args::Reconnect;
use self::print::{Printed, Printer};
use super::mqtt::connect::Settings;
use super::mqtt::stop::Stop;
use super::mqtt::{Outcome, block_on, refuse};
use crate::client::{Backoff, Connection, LinkError, ended, in_words};

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settled = args.connect.settle("sub").and_then(|settings| {
        let topics = args.topics(&settings)?;
        Ok((args.printer()?, topics, settings))
    });
    let (printer, topics, settings) = match settled {
        Ok(settled) => settled,
        Err(usage) => return Ok(refuse(&usage)),
    };
    let ends = args.wait.and_then(|wait| Instant::now().checked_add(wait));
    let listener = Listener { args, settings: &settings, topics: &topics, printer, count: 0, clearing: Vec::new() };
    match block_on(listener.listen(ends)) {
        Err(_) if args.connect.quiet => Ok(ExitCode::FAILURE),
        done => done,
    }
}

struct Listener<'a> {
    args: &'a Args,
    settings: &'a Settings,
    topics: &'a [String],
    printer: Printer,
    /// Messages printed so far.
    count: u64,
    /// Retained messages that are still to be cleared.
    clearing: Vec<String>,
}

/// What a connection's end means for the whole.
enum Turn {
    End(Outcome),
    Lost(Box<Client>, LinkError, Duration),
}

impl Listener<'_> {
    /// Until there is a reason to end: connections one after the other, a wait in between.
    async fn listen(mut self, ends: Option<Instant>) -> anyhow::Result<Outcome> {
        let mut stop = Stop::new()?;
        let mut backoff = Backoff::default();
        let mut client = Client::new(std::num::NonZeroU16::MAX);
        let mut connected = false;
        loop {
            let opening = Connection::open(&self.settings.route, &self.settings.hello, client, self.settings.packets);
            let opened = tokio::select! {
                opened = opening => opened,
                outcome = self.called_off(ends, &mut stop) => return Ok(outcome),
            };
            let lost = match opened {
                Ok((connection, _)) => {
                    connected = true;
                    match self.serve(connection, ends, &mut stop).await? {
                        Turn::End(outcome) => return Ok(outcome),
                        Turn::Lost(client, error, stood) => (*client, error, stood),
                    }
                }
                Err((client, error)) => (client, error, Duration::ZERO),
            };
            let (back, error, stood) = lost;
            client = back;
            let again = match self.args.reconnect {
                Reconnect::Never => false,
                Reconnect::OnceConnected => connected && !is_refusal(&error),
                Reconnect::Always => true,
            };
            if !again {
                return Err(error.into());
            }
            let wait = backoff.wait_after(stood, Backoff::draw());
            self.say(&format!("{:#}; trying again in {:.1} s", anyhow::Error::from(error), wait.as_secs_f32()));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                outcome = self.called_off(ends, &mut stop) => return Ok(outcome),
            }
        }
    }

    /// Waits for the time limit or for somebody who asks to stop.
    async fn called_off(&self, ends: Option<Instant>, stop: &mut Stop) -> Outcome {
        let far = || Instant::now() + Duration::from_secs(u32::MAX.into());
        tokio::select! {
            () = sleep_until(ends.unwrap_or_else(far).into()), if ends.is_some() => {
                self.say("timed out");
                Outcome::TimedOut
            }
            () = stop.asked() => Outcome::Done,
        }
    }

    fn say(&self, what: &str) {
        if !self.args.connect.quiet {
            eprintln!("hobnail: {what}");
        }
    }

    async fn serve(
        &mut self,
        mut connection: Connection,
        ends: Option<Instant>,
        stop: &mut Stop,
    ) -> anyhow::Result<Turn> {
        self.subscribe(&mut connection)?;
        loop {
            let outcome = match self.drain(&mut connection) {
                Ok(None) => {
                    self.printer.flush()?;
                    if self.printer.nobody_reads() {
                        return Ok(Turn::End(Outcome::Done));
                    }
                    self.clear(&mut connection)?;
                    tokio::select! {
                        turned = connection.turn() => match turned {
                            Ok(()) => continue,
                            Err(error) => return Ok(lost(connection, error)),
                        },
                        outcome = self.called_off(ends, stop) => outcome,
                    }
                }
                Ok(Some(outcome)) => outcome,
                Err(Trouble::Link(error)) => return Ok(lost(connection, error)),
                Err(Trouble::Output(error)) => return Err(error),
            };
            self.printer.flush()?;
            self.clear(&mut connection)?;
            self.settle(&mut connection).await?;
            self.goodbye(connection).await?;
            return Ok(Turn::End(outcome));
        }
    }

    fn subscribe(&self, connection: &mut Connection) -> Result<(), LinkError> {
        let properties = &self.settings.properties;
        let options = self.args.options(self.settings.hello.version);
        let filters: Vec<SubscribeFilter<'_>> =
            self.topics.iter().map(|filter| SubscribeFilter { filter, options }).collect();
        let id = properties.subscribe.number(props::SUBSCRIPTION_ID);
        if !filters.is_empty() {
            connection.client().subscribe(&filters, id, properties.subscribe.users.as_props())?;
        }
        let unwanted: Vec<&str> = self.args.unsubscribe.iter().map(String::as_str).collect();
        if !unwanted.is_empty() {
            connection.client().unsubscribe(&unwanted, properties.unsubscribe.users.as_props())?;
        }
        Ok(())
    }

    /// Handle everything that has come; an outcome where that was the last.
    fn drain(&mut self, connection: &mut Connection) -> Result<Option<Outcome>, Trouble> {
        while let Some(event) = connection.poll_event()? {
            match event {
                Event::Message(message) => {
                    if let Some(outcome) = self.handle_message(&message)? {
                        return Ok(Some(outcome));
                    }
                }
                Event::Subscribed(ack) => {
                    if let Some(outcome) = self.handle_suback(&ack) {
                        return Ok(Some(outcome));
                    }
                }
                Event::Unsubscribed(_) if self.topics.is_empty() => return Ok(Some(Outcome::Done)),
                Event::Closed(bye) => return Err(Trouble::Link(ended(&bye))),
                Event::Quiet
                | Event::Connected(_)
                | Event::Refused(_)
                | Event::Published(_)
                | Event::Unsubscribed(_) => {}
            }
        }
        Ok(None)
    }

    fn handle_suback(&self, ack: &SubAck<'_>) -> Option<Outcome> {
        let refused = ack.reasons.iter().filter(|reason| reason.is_error()).count();
        for (filter, reason) in self.topics.iter().zip(&ack.reasons).filter(|(_, reason)| reason.is_error()) {
            let text = ack.reason_string.map(|text| format!(" ({text})")).unwrap_or_default();
            self.say(&format!("the server refused the subscription to {filter:?}: {}{text}", in_words(*reason)));
        }
        if refused == ack.reasons.len() {
            return Some(Outcome::Failed);
        }
        self.args.exit_after_suback.then_some(Outcome::Done)
    }

    fn handle_message(&mut self, message: &Publish<'_>) -> Result<Option<Outcome>, Trouble> {
        if self.args.retained_only && !message.retain {
            return Ok(Some(Outcome::Done));
        }
        let stale = self.args.no_retained && message.retain;
        if stale || self.args.filter_out.iter().any(|filter| topic::matches(filter, message.topic)) {
            return Ok(None);
        }
        if self.args.remove_retained && message.retain {
            self.clearing.push(message.topic.to_owned());
        }
        match self.printer.print(message).map_err(Trouble::Output)? {
            Printed::Whole => {}
            Printed::Partly(why) => self.say(&why),
            Printed::NobodyReads => return Ok(Some(Outcome::Done)),
        }
        self.count += 1;
        Ok((self.args.count == Some(self.count)).then_some(Outcome::Done))
    }

    /// Ask for retained messages to be cleared, as many as the window takes.
    fn clear(&mut self, connection: &mut Connection) -> Result<(), LinkError> {
        while connection.client().has_room() {
            let Some(topic) = self.clearing.pop() else { break };
            let empty = Publish {
                dup: false,
                retain: true,
                qos: QoS::AtLeastOnce,
                id: None,
                topic: &topic,
                payload: &[],
                topic_alias: None,
                expiry_s: None,
                props: Props::default(),
            };
            connection.publish(&empty)?;
        }
        Ok(())
    }

    /// See what was asked for acknowledged.
    async fn settle(&mut self, connection: &mut Connection) -> Result<(), LinkError> {
        while !self.clearing.is_empty() || connection.client().unacknowledged() > 0 {
            while connection.poll_event()?.is_some() {}
            self.clear(connection)?;
            if connection.client().unacknowledged() > 0 {
                connection.turn().await?;
            }
        }
        Ok(())
    }

    async fn goodbye(&self, connection: Connection) -> Result<(), LinkError> {
        let stage = &self.settings.properties.disconnect;
        let disconnect = Disconnect {
            session_expiry_s: stage.number(props::SESSION_EXPIRY),
            reason_string: stage.all.as_props().text(props::REASON_STRING),
            user_props: stage.users.as_props(),
            ..Disconnect::default()
        };
        connection.close(disconnect).await
    }
}

/// What goes wrong while messages are handled.
enum Trouble {
    Link(LinkError),
    Output(anyhow::Error),
}

impl From<LinkError> for Trouble {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

fn lost(connection: Connection, error: LinkError) -> Turn {
    let stood = connection.age();
    Turn::Lost(Box::new(connection.into_client()), error, stood)
}

/// Whether the server knows us and does not want us: asking again would change nothing.
fn is_refusal(error: &LinkError) -> bool {
    matches!(error, LinkError::Refused { .. })
}

impl Args {
    fn options(&self, version: Version) -> SubscribeOptions {
        let retain_handling =
            if self.no_retained && version == Version::V5 { RetainHandling::Never } else { RetainHandling::Always };
        SubscribeOptions {
            qos: self.qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling,
        }
    }
}
