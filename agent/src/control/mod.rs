//! The running agent's own socket: HTTP/1.1 with JSON on a Unix socket, for `hobnail status` and for `curl`.
//!
//! Whoever may open the socket may ask and command; its mode is 0660. It serves few at a time, waits for nobody for
//! long, and reads nothing but a request line with headers.

pub mod ask;
pub mod http;
pub mod network;
pub mod place;
pub mod status;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hobnail_core::assign::{Assignment, Role};
use hobnail_core::health::{Code, Finding};
use hobnail_core::ids::Name;
use hobnail_core::node::Pong;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use self::http::{Answer, HEAD_BYTES_MAX, Method, Refusal, Request};
use self::status::{History, NOTE_EVERY, Status, examine, examine_disk, resident_bytes};
use crate::doors::listen::{self, ListenError};
use crate::realm::Realm;

/// Conversations at a time; who comes then waits in the kernel.
const ASKERS_MAX: usize = 16;
/// Longest wait for a request, and for an answer to be taken.
const ASKER_WAIT: Duration = Duration::from_secs(5);
/// After a failed accept, such as for want of descriptors.
const ACCEPT_WAIT: Duration = Duration::from_secs(1);

const PROMOTE: &str = "/v1/promote/";
const PING: &str = "/v1/ping/";
const NOTHING_HERE: &str =
    "there is GET /v1/status, POST /v1/ping/NAME, POST /v1/promote/NAME, POST /v1/promote to take it back";
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

/// What the last look at the topology came to, where there is something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It stays as it was.
    Refused(String),
    /// Some steps wait for a restart.
    Waits(usize),
}

impl fmt::Display for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "not reloaded: {error}"),
            Self::Waits(steps) => write!(f, "changes that wait for a restart: {steps}"),
        }
    }
}

/// What answers: everything about this agent that can be asked.
pub struct Desk {
    realm: Realm,
    name: Name,
    network: Name,
    role: &'static str,
    doors: Vec<String>,
    history: RefCell<History>,
    reload: RefCell<Option<Reload>>,
}

impl Desk {
    #[must_use]
    pub fn new(realm: Realm, wanted: &Assignment, doors: &[String]) -> Self {
        let role = match wanted.role {
            Role::Broker { .. } => "broker",
            Role::Client => "client",
        };
        let (name, network) = (wanted.me.clone(), wanted.network.clone());
        Self {
            realm,
            name,
            network,
            role,
            doors: doors.to_vec(),
            history: RefCell::default(),
            reload: RefCell::default(),
        }
    }

    pub fn set_reload(&self, reload: Option<Reload>) {
        self.reload.replace(reload);
    }

    #[must_use]
    pub fn reload(&self) -> Option<Reload> {
        self.reload.borrow().clone()
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
        Status {
            name: self.name.clone(),
            network: self.network.clone(),
            role: self.role,
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_s: self.realm.uptime().as_secs(),
            doors: self.doors.clone(),
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
        for door in self.doors.iter().filter(|door| door.ends_with(" later")) {
            found.push(Finding::new(Code::DoorWaiting, format!("not open at the start: {door}")));
        }
        match &*self.reload.borrow() {
            None => {}
            Some(Reload::Refused(error)) => found.push(Finding::new(Code::ReloadRefused, error.clone())),
            Some(Reload::Waits(steps)) => {
                found.push(Finding::new(Code::RestartNeeded, format!("{steps} changes of the topology wait")));
            }
        }
        found
    }

    async fn answer(&self, request: &Request) -> Answer {
        match (request.method, request.path.as_str()) {
            (Method::Get, "/v1/status") => Answer::json(200, &self.status()),
            (Method::Post, "/v1/status") => Answer::error(405, "/v1/status is only to be read: use GET"),
            (Method::Get, path) if path.starts_with(PING) => Answer::error(405, "a question is asked: use POST"),
            (Method::Post, path) if let Some(machine) = path.strip_prefix(PING) => self.ping(machine).await,
            (Method::Post, "/v1/promote") => self.promote(None),
            (Method::Get, path) if path.starts_with(PROMOTE) => Answer::error(405, "a promotion is made: use POST"),
            (Method::Post, path) if let Some(broker) = path.strip_prefix(PROMOTE) => self.promote(Some(broker)),
            (Method::Get | Method::Post, _) => Answer::error(404, NOTHING_HERE),
        }
    }

    /// How long another machine's agent takes to answer. Cancel-safe: a question nobody comes back for is forgotten.
    async fn ping(&self, machine: &str) -> Answer {
        let Ok(machine) = Name::new(machine) else {
            return Answer::error(404, &format!("{machine:?} cannot be a machine's name"));
        };
        let Some(number) = self.realm.ping(&machine) else {
            return Answer::error(409, "this machine is the only one of its network");
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
    let mut head = Vec::with_capacity(1024);
    loop {
        let room = HEAD_BYTES_MAX.saturating_sub(head.len());
        if (&mut *stream).take(room as u64).read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
        match http::parse(&head) {
            Ok(None) => {}
            Ok(Some(request)) => return Ok(Some(Ok(request))),
            Err(refusal) => return Ok(Some(Err(refusal))),
        }
    }
}
