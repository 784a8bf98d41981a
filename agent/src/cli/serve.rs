//! `hobnail serve`: answer requests with what a command prints.
//!
//! A request is acknowledged when its answer has been sent, and the session ends with the connection: what a server that
//! dies had taken on goes to another one of the same service at once. No more are taken on than there are jobs.

mod job;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hobnail_core::ids::Name;
use hobnail_core::mqtt::client::{Client, Event};
use hobnail_core::mqtt::packet::{Disconnect, PacketId, Props, Publish, QoS, SubscribeFilter, SubscribeOptions};
use hobnail_core::mqtt::props::{CORRELATION_DATA, Prop, RESPONSE_TOPIC};
use tokio::task::JoinSet;

use self::job::{Job, Reply};
use super::mqtt::connect::{ConnectArgs, Settings};
use super::mqtt::stop::Stop;
use super::mqtt::{Outcome, Usage, block_on, refuse};
use super::talk::{self, ERROR};
use crate::client::{Backoff, Connection, LinkError, ended, in_words};
use crate::whoami::whoami;

/// Requests that wait for a job. There are no more than jobs of them where they come at QoS 1; what comes at QoS 0 beyond
/// this is refused.
const WAITING_MAX: usize = 1_000;
/// How long an answer stays of worth to whoever asked, in seconds.
const REPLY_EXPIRY_S: u32 = 600;

/// Answer requests with what a command prints
///
/// The command runs once for each request, with the request on its standard input; what it prints is the answer. A
/// command that fails makes the answer one of failure. Servers of one service share its requests.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// What others call by NAME/SERVICE, where NAME is this machine
    service: String,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Serve in this name [default: this machine's]
    #[arg(long, value_parser = talk::name)]
    name: Option<Name>,
    /// Most commands running at a time
    #[arg(short, long, default_value = "4", value_name = "COUNT")]
    jobs: NonZeroU16,
    /// A command that runs for longer than so many seconds is ended
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = talk::seconds)]
    limit: Duration,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settled = talk::settle(&args.connect, "serve").and_then(|settings| Ok((args.topic()?, settings)));
    let (topic, mut settings) = match settled {
        Ok(settled) => settled,
        Err(usage) => return Ok(refuse(&usage)),
    };
    settings.hello.clean_start = true;
    settings.hello.session_expiry_s = None;
    settings.hello.receive_max = Some(args.jobs);
    let (running, waiting) = (JoinSet::new(), VecDeque::new());
    let server = Server { args, topic, requests: BTreeMap::new(), running, waiting, count: 0 };
    match block_on(server.serve(&settings)) {
        Err(_) if args.connect.quiet => Ok(ExitCode::FAILURE),
        done => done,
    }
}

impl Args {
    fn topic(&self) -> Result<String, Usage> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => whoami(None).map_err(|error| Usage(error.to_string()))?,
        };
        talk::request_topic(&name, &self.service)
    }
}

/// A request that is being dealt with.
struct Request {
    /// To be acknowledged; `None` where the session that it came by is gone.
    packet: Option<PacketId>,
    to: Option<String>,
    correlation: Option<Vec<u8>>,
    reply: Option<Reply>,
}

struct Server<'a> {
    args: &'a Args,
    topic: String,
    /// By number, until they are answered.
    requests: BTreeMap<u64, Request>,
    running: JoinSet<(u64, Reply)>,
    waiting: VecDeque<(u64, Job)>,
    count: u64,
}

/// Why a connection is over.
enum Over {
    Lost(LinkError),
    Asked,
    NotWanted(String),
}

impl Server<'_> {
    async fn serve(mut self, settings: &Settings) -> anyhow::Result<Outcome> {
        let mut stop = Stop::new()?;
        let mut backoff = Backoff::default();
        // As many answers may be unacknowledged as there can be requests.
        let mut client = Client::new(NonZeroU16::MAX).acknowledging_by_hand();
        loop {
            let opening = Connection::open(&settings.route, &settings.hello, client, settings.packets);
            let opened = tokio::select! {
                opened = opening => opened,
                () = stop.asked() => return Ok(Outcome::Done),
            };
            let (back, error, stood) = match opened {
                Ok((mut connection, _)) => {
                    self.forget_packets();
                    match self.listen(&mut connection, &mut stop).await {
                        Over::Asked => return self.leave(connection, &mut stop).await,
                        Over::NotWanted(why) => anyhow::bail!("the server lets us serve nothing: {why}"),
                        Over::Lost(error) => {
                            let stood = connection.age();
                            (connection.into_client(), error, stood)
                        }
                    }
                }
                Err((_, error @ LinkError::Refused { .. })) => return Err(error.into()),
                Err((client, error)) => (client, error, Duration::ZERO),
            };
            client = back;
            let wait = backoff.wait_after(stood, Backoff::draw());
            self.say(&format!("{:#}; trying again in {:.1} s", anyhow::Error::from(error), wait.as_secs_f32()));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.asked() => return Ok(Outcome::Done),
            }
        }
    }

    async fn listen(&mut self, connection: &mut Connection, stop: &mut Stop) -> Over {
        let filter = format!("$share/serve/{}", self.topic);
        let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..Default::default() };
        let subscribed =
            connection.client().subscribe(&[SubscribeFilter { filter: &filter, options }], None, Props::default());
        if let Err(error) = subscribed {
            return Over::Lost(error.into());
        }
        loop {
            match self.turn(connection) {
                Ok(None) => {}
                Ok(Some(why)) => return Over::NotWanted(why),
                Err(error) => return Over::Lost(error),
            }
            tokio::select! {
                turned = connection.turn() => if let Err(error) = turned {
                    return Over::Lost(error);
                },
                Some(done) = self.running.join_next() => self.note(done.ok()),
                () = stop.asked() => return Over::Asked,
            }
        }
    }

    /// Take requests and send answers; a text where the server does not want us.
    fn turn(&mut self, connection: &mut Connection) -> Result<Option<String>, LinkError> {
        while let Some(event) = connection.poll_event()? {
            match event {
                Event::Message(request) => self.take(&request),
                Event::Subscribed(ack) => match ack.reasons.iter().find(|reason| reason.is_error()) {
                    Some(reason) => return Ok(Some(in_words(*reason).to_owned())),
                    None => self.say(&format!("serving {}", self.topic)),
                },
                Event::Published(ack) if ack.reason.is_error() => {
                    self.say(&format!("the server refused an answer: {}", in_words(ack.reason)));
                }
                Event::Closed(bye) => return Err(ended(&bye)),
                Event::Quiet | Event::Connected(_) | Event::Refused(_) => {}
                Event::Published(_) | Event::Unsubscribed(_) => {}
            }
        }
        self.answer(connection)?;
        Ok(None)
    }

    fn take(&mut self, message: &Publish<'_>) {
        let props = message.props;
        self.count += 1;
        let mut request = Request {
            packet: message.id,
            to: props.text(RESPONSE_TOPIC).map(str::to_owned),
            correlation: props.binary(CORRELATION_DATA).map(<[u8]>::to_vec),
            reply: None,
        };
        if self.requests.len() >= WAITING_MAX + usize::from(self.args.jobs.get()) {
            // Where even refusals find no way out, silence is the answer.
            if self.requests.len() >= 2 * WAITING_MAX + usize::from(self.args.jobs.get()) {
                return;
            }
            request.reply = Some(Reply::failed("too many requests wait".to_owned()));
        } else {
            let left = message.expiry_s.map(|seconds| Duration::from_secs(seconds.into()));
            let limit = left.map_or(self.args.limit, |left| left.min(self.args.limit));
            self.waiting.push_back((self.count, Job::new(&self.args.command, message.payload.to_vec(), limit)));
        }
        self.requests.insert(self.count, request);
        self.start();
    }

    /// As many commands as may run.
    fn start(&mut self) {
        while self.running.len() < usize::from(self.args.jobs.get())
            && let Some((number, job)) = self.waiting.pop_front()
        {
            self.running.spawn(async move { (number, job.run().await) });
        }
    }

    fn note(&mut self, done: Option<(u64, Reply)>) {
        self.start();
        let Some((number, reply)) = done else { return };
        if let Some(error) = &reply.error {
            self.say(error);
        }
        if let Some(request) = self.requests.get_mut(&number) {
            request.reply = Some(reply);
        }
    }

    /// Send the answers that are there, each before its request is acknowledged.
    fn answer(&mut self, connection: &mut Connection) -> Result<(), LinkError> {
        let is_ready = |(number, request): (&u64, &Request)| request.reply.is_some().then_some(*number);
        while connection.client().has_room()
            && let Some(request) =
                self.requests.iter().find_map(is_ready).and_then(|ready| self.requests.remove(&ready))
        {
            if let (Some(to), Some(reply)) = (&request.to, &request.reply) {
                self.send(connection, to, request.correlation.as_deref(), reply)?;
            }
            if let Some(id) = request.packet {
                connection.client().acknowledge(id)?;
            }
        }
        Ok(())
    }

    /// An answer that cannot be sent, since it is too long or where it should go is no topic, is told of and dropped.
    fn send(
        &self,
        connection: &mut Connection,
        to: &str,
        correlation: Option<&[u8]>,
        reply: &Reply,
    ) -> Result<(), LinkError> {
        if hobnail_core::topic::check_name(to).is_err() {
            self.say("a request came whose response topic is none");
            return Ok(());
        }
        let error = reply.error.as_deref().map(|error| [(ERROR, error)]);
        let mut props = talk::user_props(error.as_ref().map_or(&[], |pair| pair.as_slice()));
        if let Some(correlation) = correlation {
            props.push(Prop::Binary(CORRELATION_DATA, correlation));
        }
        let message = talk::message(to, &reply.payload, props.as_props());
        match connection.publish(&Publish { expiry_s: Some(REPLY_EXPIRY_S), ..message }) {
            Err(LinkError::Send(error)) if reply.error.is_none() => {
                let instead = Reply::failed(format!("the answer cannot be sent: {error}"));
                self.say("an answer is longer than the server takes");
                self.send(connection, to, correlation, &instead)
            }
            sent => sent.map(|_| ()),
        }
    }

    /// The session that requests came by is gone, and the server has handed them to somebody else. What runs already is
    /// answered all the same: whoever asked takes the first answer.
    fn forget_packets(&mut self) {
        for (number, _) in self.waiting.drain(..) {
            self.requests.remove(&number);
        }
        for request in self.requests.values_mut() {
            request.packet = None;
        }
    }

    /// Take no more, answer what is running, and go. Asked a second time, go at once.
    async fn leave(mut self, mut connection: Connection, stop: &mut Stop) -> anyhow::Result<Outcome> {
        let filter = format!("$share/serve/{}", self.topic);
        connection.client().unsubscribe(&[&filter], Props::default())?;
        let ends = Instant::now().checked_add(self.args.limit);
        loop {
            let refused = self.turn(&mut connection)?.is_some();
            let done = self.requests.is_empty() && connection.is_drained();
            if refused || done && connection.client().unacknowledged() == 0 {
                break;
            }
            tokio::select! {
                turned = connection.turn() => turned?,
                Some(done) = self.running.join_next() => self.note(done.ok()),
                _ = talk::called_off(ends, stop) => break,
            }
        }
        connection.close(Disconnect::default()).await?;
        Ok(Outcome::Done)
    }

    fn say(&self, what: &str) {
        if !self.args.connect.quiet {
            eprintln!("hobnail: {what}");
        }
    }
}
