//! `hobnail inbox`: read the messages that were sent to a name.
//!
//! The mailbox is a durable session of the server, named after its owner: what waits there waits in the session, and is
//! gone once it is acknowledged. To know that it has seen all that waits, a reader sends a mark to itself, which comes
//! back behind everything that was there before.

mod args;

use std::io::Write;
use std::num::NonZeroU16;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hobnail_core::mqtt::client::{Client, Event};
use hobnail_core::mqtt::packet::{
    Disconnect, PacketId, Props, Publish, QoS, Reason, RetainHandling, SubscribeFilter, SubscribeOptions,
};
use hobnail_core::mqtt::props::PropsBuf;

pub use self::args::Args;
use self::args::Mode;
use super::mqtt::connect::Settings;
use super::mqtt::stop::Stop;
use super::mqtt::{Outcome, block_on, refuse};
use super::talk::{self, FROM, ID};
use crate::client::{Connection, LinkError, ended, in_words};

/// Mark and backlog may be held back behind what is not acknowledged; after so long without news there is no more.
const QUIET: Duration = Duration::from_secs(1);
/// The same for our mark alone, where enough has been seen before it.
const QUIET_AT_END: Duration = Duration::from_millis(200);
/// Longest wait for the server to take us in and let us subscribe.
const OPENING_MAX: Duration = Duration::from_secs(20);

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settled = talk::settle(&args.connect, "inbox").and_then(|settings| Ok((args.owner()?, settings)));
    let (owner, mut settings) = match settled {
        Ok(settled) => settled,
        Err(usage) => return Ok(refuse(&usage)),
    };
    let topic = format!("inbox/{owner}");
    let mode = args.mode();
    if mode != Mode::Last {
        settings.hello.client_id = format!("inbox-{owner}");
        settings.hello.clean_start = false;
        settings.hello.session_expiry_s = Some(u32::MAX);
    }
    let reader = Reader {
        args,
        mode,
        last_topic: format!("{topic}/last"),
        mark_topic: format!("{topic}/mark"),
        topic,
        mark: talk::draw_id(),
        wanted: args.ack.clone(),
        taken: 0,
        last: None,
        done_with: Vec::new(),
        seen_all: false,
        heard: Instant::now(),
    };
    match block_on(reader.read(&settings)) {
        Err(_) if args.connect.quiet => Ok(ExitCode::FAILURE),
        done => done,
    }
}

struct Reader<'a> {
    args: &'a Args,
    mode: Mode,
    topic: String,
    last_topic: String,
    mark_topic: String,
    /// What our mark says.
    mark: String,
    /// Ids that are still to be acknowledged.
    wanted: Vec<String>,
    /// Messages that were printed or acknowledged.
    taken: u64,
    /// The one taken last, to be kept for `--last`.
    last: Option<(Vec<u8>, PropsBuf)>,
    /// Printed, or not wanted: to be acknowledged once the output has left.
    done_with: Vec<PacketId>,
    /// All that waited when we came has been seen.
    seen_all: bool,
    /// When something came last.
    heard: Instant,
}

impl Reader<'_> {
    async fn read(mut self, settings: &Settings) -> anyhow::Result<Outcome> {
        let mut stop = Stop::new()?;
        let opening = Instant::now().checked_add(OPENING_MAX);
        let client = Client::new(NonZeroU16::MAX).acknowledging_by_hand();
        let mut connection = match talk::open(settings, client, opening, &mut stop).await? {
            Ok(connection) => connection,
            Err(outcome) => return Ok(outcome),
        };
        let outcome = match self.serve(&mut connection, &mut stop).await {
            Ok(outcome) => outcome,
            Err(Trouble::Link(LinkError::Ended { reason: Reason::SESSION_TAKEN_OVER, .. })) => {
                self.say("somebody else opened this inbox");
                return Ok(Outcome::TryLater);
            }
            Err(Trouble::Link(error)) => return Err(error.into()),
            Err(Trouble::Other(error)) => return Err(error),
        };
        self.settle(&mut connection).await?;
        connection.close(Disconnect::default()).await?;
        Ok(outcome)
    }

    /// What we said last must be there before we go, and our mark is not to be found by whoever reads next.
    async fn settle(&mut self, connection: &mut Connection) -> Result<(), LinkError> {
        self.heard = Instant::now();
        loop {
            while let Some(event) = connection.poll_event()? {
                let Event::Message(message) = event else { continue };
                if message.topic != self.mark_topic {
                    continue;
                }
                self.seen_all |= message.payload == self.mark.as_bytes();
                let id = message.id;
                if let Some(id) = id {
                    connection.client().acknowledge(id)?;
                }
            }
            let left = QUIET_AT_END.saturating_sub(self.heard.elapsed());
            let said = connection.is_drained() && connection.client().unacknowledged() == 0;
            if said && (self.seen_all || left.is_zero()) {
                return Ok(());
            }
            tokio::select! {
                turned = connection.turn() => turned?,
                () = tokio::time::sleep(left), if said => {}
            }
        }
    }

    /// Until there is a reason to end.
    async fn serve(&mut self, connection: &mut Connection, stop: &mut Stop) -> Result<Outcome, Trouble> {
        self.subscribe(connection).map_err(Trouble::Link)?;
        let ends = self.args.wait.and_then(|wait| Instant::now().checked_add(wait));
        loop {
            self.drain(connection)?;
            self.acknowledge(connection)?;
            if let Some(outcome) = self.outcome(talk::is_past(ends)) {
                return Ok(outcome);
            }
            let quiet = Some(self.heard + QUIET);
            let next = if self.seen_all { ends } else { quiet };
            match talk::moved(connection, next, stop).await.map_err(Trouble::Link)? {
                None => {}
                Some(Outcome::TimedOut) => self.seen_all |= self.heard.elapsed() >= QUIET,
                Some(asked @ (Outcome::Done | Outcome::Failed | Outcome::TryLater)) => {
                    return Ok(if self.args.follow { Outcome::Done } else { asked });
                }
            }
        }
    }

    fn subscribe(&self, connection: &mut Connection) -> Result<(), LinkError> {
        let topic = if self.mode == Mode::Last { &self.last_topic } else { &self.topic };
        let retain_handling = if self.mode == Mode::Last { RetainHandling::Always } else { RetainHandling::Never };
        let options = SubscribeOptions { qos: QoS::AtLeastOnce, retain_handling, ..Default::default() };
        let filters = [topic, &self.mark_topic].map(|filter| SubscribeFilter { filter, options });
        connection.client().subscribe(&filters, None, Props::default())?;
        // The server deals with this behind the subscription, and with what waits before this.
        let expiry_s = Some(talk::whole_seconds(OPENING_MAX));
        let mark = Publish { expiry_s, ..talk::message(&self.mark_topic, self.mark.as_bytes(), Props::default()) };
        connection.publish(&mark)?;
        Ok(())
    }

    /// Handle what has come, up to as many messages as are wanted.
    fn drain(&mut self, connection: &mut Connection) -> Result<(), Trouble> {
        while !self.has_enough() {
            let Some(event) = connection.poll_event().map_err(Trouble::Link)? else { break };
            match event {
                Event::Message(message) => {
                    self.heard = Instant::now();
                    self.handle(&message)?;
                }
                Event::Subscribed(ack) => {
                    if let Some(reason) = ack.reasons.iter().find(|reason| reason.is_error()) {
                        let why = in_words(*reason);
                        return Err(anyhow::anyhow!("the server does not let us read {}: {why}", self.topic).into());
                    }
                }
                Event::Closed(bye) => return Err(Trouble::Link(ended(&bye))),
                Event::Quiet | Event::Connected(_) | Event::Refused(_) => {}
                Event::Published(_) | Event::Unsubscribed(_) => {}
            }
        }
        Ok(())
    }

    fn handle(&mut self, message: &Publish<'_>) -> Result<(), Trouble> {
        if message.topic == self.mark_topic {
            // Those of readers that are gone mean nothing.
            self.seen_all |= message.payload == self.mark.as_bytes();
            self.done_with.extend(message.id);
            return Ok(());
        }
        match self.mode {
            Mode::Open => {}
            Mode::Take => {
                self.print(message)?;
                self.done_with.extend(message.id);
                self.last = Some((message.payload.to_vec(), kept(message.props)));
            }
            Mode::Peek => self.print(message)?,
            Mode::Last => {
                self.print(message)?;
                self.done_with.extend(message.id);
            }
            Mode::Acknowledge => {
                let id = id_of(message);
                if let Some(at) = self.wanted.iter().position(|wanted| *wanted == id) {
                    self.wanted.remove(at);
                    self.taken += 1;
                    self.done_with.extend(message.id);
                    self.last = Some((message.payload.to_vec(), kept(message.props)));
                }
            }
        }
        Ok(())
    }

    /// Acknowledge what has been printed, and keep the last of it for `--last`.
    fn acknowledge(&mut self, connection: &mut Connection) -> Result<(), Trouble> {
        if let Some((payload, props)) = self.last.take().filter(|(payload, _)| !payload.is_empty()) {
            let message = talk::message(&self.last_topic, &payload, props.as_props());
            connection.publish(&Publish { retain: true, ..message }).map_err(Trouble::Link)?;
        }
        for id in self.done_with.drain(..) {
            connection.client().acknowledge(id).map_err(|error| Trouble::Link(error.into()))?;
        }
        Ok(())
    }

    fn has_enough(&self) -> bool {
        match self.mode {
            Mode::Take | Mode::Peek => self.args.count.is_some_and(|count| self.taken >= count),
            Mode::Last => self.taken > 0,
            Mode::Acknowledge => self.wanted.is_empty(),
            Mode::Open => false,
        }
    }

    /// How it ends, if it does.
    fn outcome(&self, out_of_time: bool) -> Option<Outcome> {
        if self.has_enough() {
            return Some(Outcome::Done);
        }
        if self.args.follow || !self.seen_all {
            return None;
        }
        match self.mode {
            Mode::Open => Some(Outcome::Done),
            Mode::Take | Mode::Peek if self.taken > 0 => Some(Outcome::Done),
            Mode::Take | Mode::Peek if out_of_time => {
                self.say("nothing came");
                Some(Outcome::TimedOut)
            }
            Mode::Take | Mode::Peek => self.args.wait.is_none().then_some(Outcome::Failed),
            Mode::Last => {
                self.say("no message was taken from this inbox");
                Some(Outcome::Failed)
            }
            Mode::Acknowledge => {
                self.say(&format!("not in this inbox: {}", self.wanted.join(", ")));
                Some(Outcome::Failed)
            }
        }
    }

    fn say(&self, what: &str) {
        if !self.args.connect.quiet {
            eprintln!("hobnail: {what}");
        }
    }

    fn print(&mut self, message: &Publish<'_>) -> Result<(), Trouble> {
        self.taken += 1;
        let (id, from) = (id_of(message), user(message.props, FROM));
        let mut line = Vec::new();
        if self.args.json {
            let mut object = serde_json::json!({ "id": id });
            if let Some(from) = from {
                object["from"] = from.into();
            }
            talk::put_payload(&mut object, message.payload);
            line.extend_from_slice(object.to_string().as_bytes());
        } else {
            if self.args.verbose {
                line.extend_from_slice(format!("{id} {} ", from.unwrap_or("-")).as_bytes());
            }
            line.extend_from_slice(message.payload);
        }
        line.push(b'\n');
        let mut stdout = std::io::stdout().lock();
        // Not acknowledged where nobody can have read it.
        stdout.write_all(&line).and_then(|()| stdout.flush()).map_err(|error| Trouble::Other(error.into()))
    }
}

enum Trouble {
    Link(LinkError),
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

fn user<'a>(props: Props<'a>, key: &str) -> Option<&'a str> {
    props.user().find(|(known, _)| *known == key).map(|(_, value)| value)
}

/// A message's own id; one that came without has the fingerprint of its payload.
fn id_of(message: &Publish<'_>) -> String {
    match user(message.props, ID) {
        Some(id) => id.to_owned(),
        None => fingerprint(message.payload),
    }
}

/// FNV-1a: the same for the same payload in every version of hobnail.
fn fingerprint(payload: &[u8]) -> String {
    let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", payload.iter().fold(0xcbf2_9ce4_8422_2325, add))
}

fn kept(props: Props<'_>) -> PropsBuf {
    let mut kept = PropsBuf::default();
    for prop in props.iter().filter(|prop| prop.id() != hobnail_core::mqtt::props::SUBSCRIPTION_ID) {
        kept.push(prop);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    #[test]
    fn a_fingerprint_is_fnv_1a() {
        assert_eq!(fingerprint(b""), "cbf29ce484222325");
        assert_eq!(fingerprint(b"a"), "af63dc4c8601ec8c");
        assert_eq!(fingerprint(b"foobar"), "85944171f73967e8");
    }
}
