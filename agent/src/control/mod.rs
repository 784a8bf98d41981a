//! The running agent's own socket: HTTP/1.1 with JSON on a Unix socket, for `hobnail status` and for `curl`.
//!
//! Whoever may open the socket may ask and command; its mode is 0660. It serves few at a time, waits for nobody for
//! long, and reads no more than a request line, headers and a short body.

pub mod ask;
mod dead;
pub mod http;
pub mod network;
pub mod place;
pub mod status;
mod topologies;

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hobnail_core::assign::Role;
use hobnail_core::health::{Code, Finding};
use hobnail_core::ids::Name;
use hobnail_core::node::Pong;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use self::http::{Answer, BODY_BYTES_MAX, HEAD_BYTES_MAX, Method, Refusal, Request};
use self::status::{History, InForce, NOTE_EVERY, Status, examine, examine_disk, resident_bytes};
use self::topologies::wish;
use crate::change::Held;
use crate::change::outcome::{Outcome, Verdict};
use crate::change::wish::{Ask, Asker};
use crate::doors::listen::{self, ListenError};
use crate::history;
use crate::keeping::State;
use crate::realm::Realm;
use crate::running::{Running, Wanted};

/// Conversations at a time; who comes then waits in the kernel.
const ASKERS_MAX: usize = 16;
/// Longest wait for a request, and for an answer to be taken.
const ASKER_WAIT: Duration = Duration::from_secs(5);
/// After a failed accept, such as for want of descriptors.
const ACCEPT_WAIT: Duration = Duration::from_secs(1);

const PROMOTE: &str = "/v1/promote/";
const PING: &str = "/v1/ping/";
/// Changes that are named in a finding; of more, only how many.
const UNSAVED_SHOWN: usize = 3;
const TOPOLOGY: &str = "/v1/topology/";
const HISTORY: &str = "/v1/history/";
const NOTHING_HERE: &str = "there is GET /v1/status, GET /v1/dead, POST /v1/ping/NAME, POST /v1/promote/NAME, POST /v1/promote to take it back, \
     POST /v1/reload, /v1/change and /v1/rollback/N, each also with /confirm or /dry-run behind it, \
     GET /v1/topology, /v1/topology/NAME, /v1/history and /v1/history/N";
/// Longest wait for another machine's answer, and how often it is looked for.
const PONG_WAIT: Duration = Duration::from_secs(3);
const PONG_LOOK_EVERY: Duration = Duration::from_millis(2);

#[derive(Serialize)]
struct Ponged<'a> {
    machine: &'a Name,
    round_trip_ms: f64,
}

#[derive(Serialize)]
struct Promoted<'a> {
    promoted: Option<&'a Name>,
}

/// Where the topology that is in force came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    File,
    /// The file was no good at the start.
    LastGood,
    /// Neither was there: safe mode.
    Nothing,
}

/// What is in force.
struct Facts {
    name: Name,
    network: Name,
    role: &'static str,
    doors: Vec<String>,
    topology: Box<str>,
    held: Held,
    origin: Origin,
    since: hobnail_core::time::Now,
}

/// What answers: everything about this agent that can be asked.
pub struct Desk {
    realm: Realm,
    facts: RefCell<Facts>,
    history: RefCell<History>,
    /// What the last look at the topology came to, where it is not in force.
    pending: RefCell<Option<Outcome>>,
    asker: Asker,
    /// The topologies that this machine has run by.
    kept: history::History,
}

impl Desk {
    #[must_use]
    pub fn new(running: &Running, held: &Held, origin: Origin, asker: Asker, kept: history::History) -> Self {
        let realm = running.realm().clone();
        let facts = RefCell::new(Facts::of(running, held, origin));
        Self { realm, facts, history: RefCell::default(), pending: RefCell::default(), asker, kept }
    }

    /// The same, and how it is.
    #[must_use]
    pub fn state(&self) -> String {
        let mut line = format!("{}; {} connections", self.line(), self.realm.connection_count());
        let disk = self.realm.disk().state;
        if disk != State::OnDisk {
            line = format!("{line}; {}", disk.word());
        }
        match &*self.pending.borrow() {
            Some(Outcome { error: Some(error), .. }) => format!("{line}; not reloaded: {error}"),
            Some(Outcome { error: None, .. }) | None => line,
        }
    }

    /// Another topology is in force.
    pub fn set_running(&self, running: &Running, held: &Held, origin: Option<Origin>) {
        let (since, before) = (self.facts.borrow().since, self.facts.borrow().origin);
        let same = *self.facts.borrow().topology == *running.wanted().common.fingerprint;
        let facts = Facts::of(running, held, origin.unwrap_or(before));
        self.facts.replace(if same { Facts { since, ..facts } } else { facts });
    }

    /// What a look at the topology came to.
    pub fn set_outcome(&self, outcome: &Outcome) {
        let in_force = matches!(outcome.verdict, Verdict::Applied | Verdict::Unchanged);
        self.pending.replace((!in_force).then(|| outcome.clone()));
    }

    #[must_use]
    pub fn pending(&self) -> Option<Outcome> {
        self.pending.borrow().clone()
    }

    /// The files of what is in force, the topology itself first.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.facts.borrow().files()
    }

    #[must_use]
    pub fn origin(&self) -> Origin {
        self.facts.borrow().origin
    }

    /// The fingerprint of what is in force.
    #[must_use]
    pub fn topology(&self) -> Box<str> {
        self.facts.borrow().topology.clone()
    }

    /// What this agent is and where, in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let facts = self.facts.borrow();
        let doors = if facts.doors.is_empty() { "no doors".to_owned() } else { facts.doors.join(", ") };
        format!("{} in network {}, {doors}", facts.name, facts.network)
    }

    #[must_use]
    pub fn status(&self) -> Status {
        let (broker, counters) = self.realm.figures();
        let mut health = examine(&broker, &counters, &self.history.borrow());
        health.extend(self.findings());
        let node = self.realm.network_status();
        if let Some(node) = &node {
            health.extend(network::examine(node, &self.history.borrow().node_before()));
        }
        let agent_door = self.realm.agent_door();
        health.extend(self.history.borrow().strangers(agent_door));
        let disk = self.realm.disk();
        health.extend(examine_disk(&disk));
        let foreign_pages = self.realm.pages().refused();
        health.extend(self.history.borrow().foreign_pages(foreign_pages));
        health.sort();
        let facts = self.facts.borrow();
        Status {
            name: facts.name.clone(),
            network: facts.network.clone(),
            role: facts.role,
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_s: self.realm.uptime().as_secs(),
            doors: facts.doors.clone(),
            topology: InForce {
                fingerprint: facts.topology.clone(),
                files: facts.files(),
                unsaved: facts.held.unsaved.clone(),
                origin: facts.origin,
                in_force_s: self.realm.now().since(facts.since).as_secs(),
                pending: self.pending(),
            },
            resident_bytes: resident_bytes(),
            broker,
            counters,
            node,
            disk,
            agent_door,
            foreign_pages,
            health,
        }
    }

    /// What is wrong around the broker.
    fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if !self.realm.is_in_step() {
            found.push(Finding::new(Code::DeadlinesMissed, "the agent is late with its own work".to_owned()));
        }
        for door in self.facts.borrow().doors.iter().filter(|door| door.ends_with(" later")) {
            found.push(Finding::new(Code::DoorWaiting, format!("not open at the start: {door}")));
        }
        match self.facts.borrow().origin {
            Origin::File => {}
            Origin::LastGood => {
                found.push(Finding::new(Code::LastGoodTopology, "the last good topology is in force".to_owned()));
            }
            Origin::Nothing => {
                let text = "no topology: only programs here are served, and no publish is acknowledged".to_owned();
                found.push(Finding::new(Code::SafeMode, text));
            }
        }
        if let unsaved @ [_, ..] = self.facts.borrow().held.unsaved.as_slice() {
            let newest: Vec<&str> = unsaved.iter().rev().take(UNSAVED_SHOWN).map(String::as_str).collect();
            let text = format!("{} changes are not in the file, the newest: {}", unsaved.len(), newest.join("; "));
            found.push(Finding::new(Code::NotSaved, text));
        }
        if let Some(Outcome { verdict, error: Some(error), .. }) = &*self.pending.borrow() {
            let code = match verdict {
                Verdict::Doubted => Code::ConfirmNeeded,
                Verdict::Restart => Code::RestartNeeded,
                Verdict::RolledBack => Code::RolledBack,
                Verdict::Bad | Verdict::Failed | Verdict::Applied | Verdict::Unchanged | Verdict::WouldApply => {
                    Code::ReloadRefused
                }
            };
            found.push(Finding::new(code, error.clone()));
        }
        found
    }

    async fn answer(&self, request: &Request) -> Answer {
        match (request.method, request.path.as_str()) {
            (Method::Get, "/v1/status") => Answer::json(200, &self.status()),
            (Method::Post, "/v1/status") => Answer::error(405, "/v1/status is only to be read: use GET"),
            (Method::Get, path) if path.starts_with(PING) => Answer::error(405, "a question is asked: use POST"),
            (Method::Post, path) if let Some(machine) = path.strip_prefix(PING) => self.ping(machine).await,
            (Method::Get, "/v1/topology") => self.in_force(),
            (Method::Get, path) if let Some(machine) = path.strip_prefix(TOPOLOGY) => self.of_other(machine).await,
            (Method::Get, "/v1/history") => self.list_history().await,
            (Method::Get, path) if let Some(number) = path.strip_prefix(HISTORY) => self.history_entry(number).await,
            (Method::Post, path) if let Some((what, manner)) = wish(path) => match what.read(&request.body) {
                Ok(what) => self.change(Ask { what, manner }).await,
                Err(answer) => answer,
            },
            (Method::Get, path) if wish(path).is_some() => Answer::error(405, "a change is made: use POST"),
            (Method::Post, "/v1/promote") => self.promote(None),
            (Method::Get, path) if path.starts_with(PROMOTE) => Answer::error(405, "a promotion is made: use POST"),
            (Method::Post, path) if let Some(broker) = path.strip_prefix(PROMOTE) => self.promote(Some(broker)),
            (method, path) if let Some(rest) = path.strip_prefix(dead::ROOT) => dead::answer(&self.realm, method, rest),
            (Method::Get | Method::Post, _) => Answer::error(404, NOTHING_HERE),
        }
    }

    /// Cancel-safe: what was begun is ended, and told in the status.
    async fn change(&self, ask: Ask) -> Answer {
        match self.asker.ask(ask).await {
            Some(outcome) => Answer::json(200, &outcome),
            None => Answer::error(503, "too many ask at once, or the agent stops"),
        }
    }

    /// How long another machine's agent takes to answer. Cancel-safe: a question nobody comes back for is forgotten.
    async fn ping(&self, machine: &str) -> Answer {
        let Ok(machine) = Name::new(machine) else {
            return Answer::error(404, &format!("{machine:?} cannot be a machine's name"));
        };
        let Some(node) = self.realm.network_status() else {
            return Answer::error(409, "this machine is the only one of its network");
        };
        let known: Vec<&str> = node.machines.iter().map(|known| known.name.as_str()).collect();
        let Some(number) = known.contains(&machine.as_str()).then(|| self.realm.ping(&machine)).flatten() else {
            let error =
                format!("nothing was ever heard of an agent called \"{machine}\"; there is {}", known.join(", "));
            return Answer::error(404, &error);
        };
        let end = Instant::now() + PONG_WAIT;
        loop {
            match self.realm.pong(number) {
                Pong::After(time) => {
                    return Answer::json(
                        200,
                        &Ponged { machine: &machine, round_trip_ms: time.as_secs_f64() * 1_000.0 },
                    );
                }
                Pong::NotYet if Instant::now() < end => tokio::time::sleep(PONG_LOOK_EVERY).await,
                Pong::NotYet | Pong::Forgotten => {
                    return Answer::error(504, &format!("no answer from {machine} within {} s", PONG_WAIT.as_secs()));
                }
            }
        }
    }

    /// Carried out, or refused with the reason; that everybody has moved is to be seen in the status.
    fn promote(&self, broker: Option<&str>) -> Answer {
        let Some(node) = self.realm.network_status() else {
            return Answer::error(409, "this machine is the only one of its network");
        };
        let Some(broker) = broker else {
            info!("the promotion is taken back");
            self.realm.promote(None);
            return Answer::json(200, &Promoted { promoted: None });
        };
        let brokers = || node.machines.iter().filter(|machine| machine.role == "broker");
        let Some(found) = brokers().find(|machine| machine.name.as_str() == broker) else {
            if node.links.iter().any(|link| link.broker && link.peer.as_str() == broker) {
                return Answer::error(409, &format!("nothing has been heard of {broker} yet: try again in a moment"));
            }
            let known: Vec<&str> = brokers().map(|machine| machine.name.as_str()).collect();
            return Answer::error(404, &format!("no broker is called {broker:?}; there is {}", known.join(", ")));
        };
        if !found.state.is_here() {
            let state = found.state.word();
            return Answer::error(409, &format!("{broker} is {state}: it cannot be anybody's home now"));
        }
        info!(broker, "promoted");
        self.realm.promote(Some(&found.name));
        Answer::json(200, &Promoted { promoted: Some(&found.name) })
    }

    /// Note the counters each minute, so that "lately" can be told from "once".
    pub async fn keep_history(self: Rc<Self>) {
        loop {
            let (_, counters) = self.realm.figures();
            let node = self.realm.network_status().map(|node| node.counters).unwrap_or_default();
            self.history.borrow_mut().note(counters, node, self.realm.agent_door(), self.realm.pages().refused());
            tokio::time::sleep(NOTE_EVERY).await;
        }
    }
}

impl Facts {
    fn of(running: &Running, held: &Held, origin: Origin) -> Self {
        // A text that cannot be JSON is none that others could read.
        running.realm().show_text(&serde_json::to_vec(&held.texts.absolute()).unwrap_or_default());
        let Wanted { assignment, common, .. } = running.wanted();
        Self {
            name: assignment.me.clone(),
            network: assignment.network.clone(),
            role: match assignment.role {
                Role::Broker { .. } => "broker",
                Role::Client => "client",
            },
            doors: running.doors(),
            topology: common.fingerprint.clone(),
            held: held.clone(),
            origin,
            since: running.realm().now(),
        }
    }

    /// The topology itself first.
    fn files(&self) -> Vec<PathBuf> {
        self.held.texts.files().iter().map(|file| PathBuf::from(&file.name)).collect()
    }
}

/// Open the socket: at `given`, where it has to be, or in the usual place, without which the agent lives as well.
pub fn open(given: Option<&Path>, me: &Name) -> Result<Option<(UnixListener, PathBuf)>, ListenError> {
    if let Some(path) = given {
        return Ok(Some((listen::unix(path)?, path.to_owned())));
    }
    let opened = place::own(me).map_err(anyhow::Error::from).and_then(|path| Ok((listen::unix(&path)?, path)));
    Ok(match opened {
        Ok(opened) => Some(opened),
        Err(error) => {
            warn!(error = format!("{error:#}"), "no control socket: `hobnail status` cannot ask this agent");
            None
        }
    })
}

/// Answer whoever asks until `stop` turns true. Cancel-safe: an accept either has given a socket or has not.
pub async fn serve(listener: UnixListener, desk: Rc<Desk>, mut stop: watch::Receiver<bool>) {
    let mut askers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if askers.len() < ASKERS_MAX => match accepted {
                Ok((stream, _)) => {
                    askers.spawn_local(converse(stream, desk.clone()));
                }
                Err(error) => {
                    warn!(%error, "failed to accept a question");
                    tokio::time::sleep(ACCEPT_WAIT).await;
                }
            },
            // What became of one conversation concerns no other.
            _ = askers.join_next(), if !askers.is_empty() => {}
            // An error means that whoever could say stop is gone, which says it too.
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// One question, one answer.
async fn converse(mut stream: UnixStream, desk: Rc<Desk>) {
    let answer = match tokio::time::timeout(ASKER_WAIT, read_request(&mut stream)).await {
        Ok(Ok(Some(Ok(request)))) => {
            debug!(path = request.path, "asked");
            desk.answer(&request).await
        }
        Ok(Ok(Some(Err(refusal)))) => Answer::error(refusal.code(), &refusal.to_string()),
        // Gone, broken or silent: there is nobody to tell.
        Ok(Ok(None) | Err(_)) | Err(_) => return,
    };
    let said = tokio::time::timeout(ASKER_WAIT, async {
        stream.write_all(&answer.encode()).await?;
        stream.shutdown().await
    });
    // Whoever leaves before the answer does not want it.
    let _ = said.await;
}

/// `None`: the other side closed before it had asked.
async fn read_request(stream: &mut UnixStream) -> io::Result<Option<Result<Request, Refusal>>> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        let room = (HEAD_BYTES_MAX + BODY_BYTES_MAX).saturating_sub(bytes.len());
        if (&mut *stream).take(room as u64).read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
        match http::parse(&bytes) {
            Ok(None) => {}
            Ok(Some(request)) => return Ok(Some(Ok(request))),
            Err(refusal) => return Ok(Some(Err(refusal))),
        }
    }
}
