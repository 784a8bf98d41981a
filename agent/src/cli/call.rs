//! `hobnail call`: ask a service, and print what it answers.

use std::collections::VecDeque;
use std::io::Write;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hobnail_core::ids::Name;
use hobnail_core::mqtt::client::{Client, Event};
use hobnail_core::mqtt::packet::{Ack, Disconnect, PacketId, Props, Publish, SubscribeFilter, SubscribeOptions};
use hobnail_core::mqtt::props::{CORRELATION_DATA, Prop, RESPONSE_TOPIC};

use super::mqtt::connect::{ConnectArgs, Settings};
use super::mqtt::source::{self, Next, Source};
use super::mqtt::stop::Stop;
use super::mqtt::{Outcome, Usage, block_on, refuse};
use super::out::say;
use super::talk::{self, ERROR, FROM};
use crate::client::{Connection, ended, in_words};

/// Ask a service of a machine, and print what it answers
///
/// The other side is `hobnail serve`, or any MQTT 5 client: the request goes to rpc/NAME/SERVICE with a response topic
/// and correlation data. With -l every line is a request; the answers come out in the same order, a line each.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
#[group(id = "what", required = true, multiple = false, args = ["message", "file", "lines", "null", "stdin"])]
pub struct Args {
    /// Whom to ask for what
    #[arg(value_name = "NAME/SERVICE")]
    service: String,
    /// The request
    #[arg(short, long, allow_hyphen_values = true)]
    message: Option<String>,
    /// Ask with what this file holds
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Ask with every line of standard input
    #[arg(short, long = "stdin-line")]
    lines: bool,
    /// Ask with nothing
    #[arg(short, long = "null-message")]
    null: bool,
    /// Ask with all of standard input
    #[arg(short, long = "stdin-file")]
    stdin: bool,
    /// Wait so many seconds for each answer; then exit code 27
    #[arg(short = 'W', long = "wait", value_name = "SECONDS", default_value = "10", value_parser = talk::seconds)]
    wait: Duration,
    /// Most requests on their way at a time
    #[arg(short, long, default_value = "16", value_name = "COUNT")]
    jobs: NonZeroU16,
    /// One JSON object an answer
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settled = talk::settle(&args.connect, "call").and_then(|settings| Ok((args.topic()?, settings)));
    let (topic, settings) = match settled {
        Ok(settled) => settled,
        Err(usage) => return Ok(refuse(&usage)),
    };
    let (reply_to, me) = (talk::reply_topic(&talk::me()), talk::me());
    let caller = Caller { args, topic, reply_to, me, calls: VecDeque::new(), count: 0, outcome: Outcome::Done };
    match block_on(caller.ask(&settings)) {
        Err(_) if args.connect.quiet => Ok(ExitCode::FAILURE),
        done => done,
    }
}

impl Args {
    fn topic(&self) -> Result<String, Usage> {
        let wrong = || Usage(format!("{:?} is not NAME/SERVICE", self.service));
        let (name, service) = self.service.split_once('/').ok_or_else(wrong)?;
        let name = Name::new(name).map_err(|error| Usage(format!("{name:?}: {error}")))?;
        talk::request_topic(&name, service)
    }

    fn source(&self) -> anyhow::Result<Source> {
        if self.lines {
            return Ok(Source::lines());
        }
        let payload = match (&self.message, &self.file) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(path)) => std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
            (None, None) if self.stdin => source::all_of_stdin()?,
            (None, None) => Vec::new(),
        };
        Ok(Source::repeated(payload, 1, Duration::ZERO))
    }
}

/// One request on its way.
struct Call {
    number: u64,
    packet: Option<PacketId>,
    asked: Instant,
    /// With how long it took.
    end: Option<(End, Duration)>,
}

impl Call {
    fn finish(&mut self, end: End) {
        self.end = Some((end, self.asked.elapsed()));
    }
}

/// What came of it.
enum End {
    Reply { payload: Vec<u8>, error: Option<String> },
    Refused(String),
    TimedOut,
}

struct Caller<'a> {
    args: &'a Args,
    topic: String,
    reply_to: String,
    me: String,
    /// In the order of the requests, which is that of the answers too.
    calls: VecDeque<Call>,
    count: u64,
    outcome: Outcome,
}

impl Caller<'_> {
    async fn ask(mut self, settings: &Settings) -> anyhow::Result<Outcome> {
        let mut source = self.args.source()?;
        let mut stop = Stop::new()?;
        let ends = Instant::now().checked_add(self.args.wait);
        let mut connection = match talk::open(settings, Client::new(self.args.jobs), ends, &mut stop).await? {
            Ok(connection) => connection,
            Err(outcome) => return Ok(outcome),
        };
        let options = SubscribeOptions { qos: hobnail_core::mqtt::packet::QoS::AtLeastOnce, ..Default::default() };
        let filter = SubscribeFilter { filter: &self.reply_to, options };
        connection.client().subscribe(&[filter], None, Props::default())?;
        while !self.drain(&mut connection)? {
            if let Some(outcome) = talk::moved(&mut connection, ends, &mut stop).await? {
                return Ok(outcome);
            }
        }
        loop {
            self.drain(&mut connection)?;
            self.give_up();
            self.print()?;
            let more = self.send(&mut connection, &mut source)?;
            if self.calls.is_empty() && more == More::None {
                connection.close(Disconnect::default()).await?;
                return Ok(self.outcome);
            }
            let due = self.calls.iter().filter(|call| call.end.is_none()).map(|call| call.asked).min();
            let due = due.and_then(|asked| asked.checked_add(self.args.wait));
            tokio::select! {
                turned = connection.turn() => turned?,
                read = source.wait(), if more == More::WithInput => read?,
                outcome = talk::called_off(due, &mut stop) => if outcome != Outcome::TimedOut {
                    return Ok(outcome);
                }
            }
        }
    }

    /// As many requests as may be on their way.
    fn send(&mut self, connection: &mut Connection, source: &mut Source) -> anyhow::Result<More> {
        loop {
            if self.calls.len() >= usize::from(self.args.jobs.get()) || !connection.client().has_room() {
                return Ok(More::Later);
            }
            let payload = match source.poll()? {
                Next::Message(payload) => payload,
                Next::Bytes => return Ok(More::WithInput),
                Next::Later(_) => return Ok(More::Later),
                Next::End => return Ok(More::None),
            };
            self.count += 1;
            let mut props = talk::user_props(&[(FROM, &self.me)]);
            props.push(Prop::Text(RESPONSE_TOPIC, &self.reply_to));
            let number = self.count.to_string();
            props.push(Prop::Binary(CORRELATION_DATA, number.as_bytes()));
            // Whoever gets it later need not do it any more.
            let expiry_s = Some(talk::whole_seconds(self.args.wait));
            let request = Publish { expiry_s, ..talk::message(&self.topic, payload, props.as_props()) };
            let packet = connection.publish(&request)?;
            self.calls.push_back(Call { number: self.count, packet, asked: Instant::now(), end: None });
        }
    }

    /// Handle everything that has come; true where the subscription is in force now.
    fn drain(&mut self, connection: &mut Connection) -> anyhow::Result<bool> {
        let mut subscribed = false;
        while let Some(event) = connection.poll_event()? {
            match event {
                Event::Message(reply) => self.take(&reply),
                Event::Published(ack) => self.note(&ack),
                Event::Subscribed(ack) => {
                    if let Some(reason) = ack.reasons.iter().find(|reason| reason.is_error()) {
                        bail!("the server lets nobody answer: {} ({})", in_words(*reason), self.reply_to);
                    }
                    subscribed = true;
                }
                Event::Closed(bye) => return Err(ended(&bye).into()),
                Event::Quiet | Event::Connected(_) | Event::Refused(_) | Event::Unsubscribed(_) => {}
            }
        }
        Ok(subscribed)
    }

    /// An answer. One that nobody waits for any more, or a second one, is passed over.
    fn take(&mut self, reply: &Publish<'_>) {
        let number = reply.props.binary(CORRELATION_DATA).unwrap_or_default();
        let is_it = |call: &&mut Call| call.end.is_none() && call.number.to_string().as_bytes() == number;
        let call = self.calls.iter_mut().find(is_it);
        if let Some(call) = call {
            let error = reply.props.user().find(|(key, _)| *key == ERROR).map(|(_, why)| why.to_owned());
            call.finish(End::Reply { payload: reply.payload.to_vec(), error });
        }
    }

    fn note(&mut self, ack: &Ack<'_>) {
        let call = self.calls.iter_mut().find(|call| call.packet == Some(ack.id));
        let Some(call) = call.filter(|call| call.end.is_none()) else { return };
        call.packet = None;
        if ack.reason.is_error() {
            call.finish(End::Refused(format!("the server refused the request: {}", in_words(ack.reason))));
        }
    }

    fn give_up(&mut self) {
        let waits = |call: &&mut Call| call.end.is_none() && call.asked.elapsed() >= self.args.wait;
        for call in self.calls.iter_mut().filter(waits) {
            call.finish(End::TimedOut);
        }
    }

    /// Print what is answered, as far as nothing before it is still open.
    fn print(&mut self) -> anyhow::Result<()> {
        while let Some(Call { number, end: Some((end, took)), .. }) = self.calls.pop_front_if(|call| call.end.is_some())
        {
            let (payload, error, worse) = match end {
                End::Reply { payload, error: None } => (payload, None, Outcome::Done),
                End::Reply { payload, error } => (payload, error, Outcome::Failed),
                End::Refused(why) => (Vec::new(), Some(why), Outcome::Failed),
                End::TimedOut => {
                    let limit = self.args.wait.as_secs_f32();
                    (Vec::new(), Some(format!("no answer within {limit} s")), Outcome::TimedOut)
                }
            };
            if self.outcome == Outcome::Done || worse == Outcome::Failed {
                self.outcome = worse;
            }
            if let Some(why) = error.as_ref().filter(|_| !self.args.connect.quiet) {
                eprintln!("hobnail: {}: {why}", self.args.service);
            }
            if self.args.json {
                say(&(in_json(number, &payload, error.as_deref(), took) + "\n"))?;
            } else {
                print_raw(payload, self.args.lines)?;
            }
        }
        Ok(())
    }
}

/// Whether there is more to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    /// When an answer has made room.
    Later,
    /// When standard input has brought more.
    WithInput,
    None,
}

/// As it came; with `line`, one line whatever it was.
fn print_raw(mut payload: Vec<u8>, line: bool) -> std::io::Result<()> {
    if line && payload.last() != Some(&b'\n') {
        payload.push(b'\n');
    }
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(&payload).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn in_json(number: u64, payload: &[u8], error: Option<&str>, took: Duration) -> String {
    let mut object = serde_json::json!({
        "request": number,
        "ok": error.is_none(),
        "ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    });
    talk::put_payload(&mut object, payload);
    if let Some(error) = error {
        object["error"] = error.into();
    }
    object.to_string()
}
