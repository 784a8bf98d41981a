//! Links over real sockets, with a core that only keeps what it is told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hobnail_core::assign::Link;
use hobnail_core::ids::Name;
use hobnail_core::node::Side;
use hobnail_core::topology::model::Host;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;
use tokio::task::{spawn_blocking, spawn_local};

use super::dial::{DialError, first_of};
use super::door::{Crowd, HANDSHAKES_MAX, origin, serve};
use super::packets::Packets;
use super::tls::Pins;
use super::{Links, Network};
use crate::doors::listen;
use crate::wire::{Inside, Wire};

/// What whoever was dialled says first.
const HELLO: &[u8] = b"hello";
const LIMIT: Duration = Duration::from_secs(20);

/// A core that keeps what came in, and sends what a test puts into it.
#[derive(Clone, Default)]
struct Fake(Rc<Told>);

#[derive(Default)]
struct Told {
    opened: RefCell<Vec<(String, Side, Rc<Line>)>>,
    failed: RefCell<Vec<String>>,
}

#[derive(Default)]
struct Line {
    received: RefCell<Vec<u8>>,
    to_send: RefCell<Vec<u8>>,
    echoes: Cell<bool>,
    closed: Cell<bool>,
    wire: RefCell<Option<Rc<Wire>>>,
}

impl Network for Fake {
    type Line = Rc<Line>;

    fn link_opened(&self, peer: &Name, side: Side, _: Packets) -> Option<(Rc<Line>, Rc<Wire>)> {
        let (line, wire) = (Rc::new(Line::default()), Rc::new(Wire::default()));
        *line.wire.borrow_mut() = Some(wire.clone());
        if side == Side::Accepted {
            line.say(HELLO);
        }
        self.0.opened.borrow_mut().push((peer.to_string(), side, line.clone()));
        Some((line, wire))
    }

    fn dial_failed(&self, to: &Name) {
        self.0.failed.borrow_mut().push(to.to_string());
    }
}

impl Line {
    fn say(&self, bytes: &[u8]) {
        self.to_send.borrow_mut().extend_from_slice(bytes);
        self.wire.borrow().as_ref().unwrap().ask_to_send();
    }
}

impl Inside for Rc<Line> {
    fn bytes(&self, bytes: &[u8]) {
        self.received.borrow_mut().extend_from_slice(bytes);
        if self.echoes.get() {
            self.say(bytes);
        }
    }

    fn transmit(&self, out: &mut Vec<u8>, room: usize) {
        let mut all = self.to_send.borrow_mut();
        let some = all.len().min(room);
        out.extend(all.drain(..some));
    }

    fn closed(&self) {
        assert!(!self.closed.replace(true), "closed twice");
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A stand-in for the seeds that follow from a network's key: any function of key and name does.
fn seed(key: u8, name: &Name) -> Box<[u8; 32]> {
    let mut seed = [key; 32];
    seed.iter_mut().zip(name.as_str().bytes()).for_each(|(seed, byte)| *seed ^= byte);
    Box::new(seed)
}

fn pins(me: &str, others: &[&str], keys: &[u8]) -> Pins {
    let others: Vec<Name> = others.iter().map(|other| name(other)).collect();
    let seeds = |name: &Name| keys.iter().map(|key| seed(*key, name)).collect();
    Pins::new(&name(me), &others, seeds).unwrap()
}

struct Agent {
    links: Links<Fake>,
    fake: Fake,
    _stop: watch::Sender<bool>,
}

/// A machine that finds `hub` at `door`, and pins these others.
fn agent(me: &str, others: &[&str], keys: &[u8], door: Option<SocketAddr>) -> Agent {
    let fake = Fake::default();
    let links = Links::new(fake.clone());
    links.set(Some(pins(me, others, keys)), &places(door));
    Agent { links, fake, _stop: watch::channel(false).0 }
}

fn places(door: Option<SocketAddr>) -> BTreeMap<Name, Link> {
    let link = |door: SocketAddr| Link { host: Host(door.ip().to_string().into()), port: door.port() };
    door.map(|door| (name("hub"), link(door))).into_iter().collect()
}

/// The same with an agent door.
fn with_door(me: &str, others: &[&str], keys: &[u8]) -> (Agent, SocketAddr) {
    let mut agent = agent(me, others, keys, None);
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let door = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    agent._stop = stop;
    spawn_local(serve(listener, agent.links.clone(), stopping));
    (agent, door)
}

impl Agent {
    fn line(&self) -> Rc<Line> {
        self.fake.0.opened.borrow().last().expect("a link").2.clone()
    }

    fn opened(&self) -> Vec<(String, Side)> {
        self.fake.0.opened.borrow().iter().map(|(peer, side, _)| (peer.clone(), *side)).collect()
    }

    fn dials_failed(&self) -> usize {
        self.fake.0.failed.borrow().len()
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn run(test: impl Future<Output = ()>) {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap().block_on(test);
}

#[test]
fn two_machines_prove_who_they_are_and_talk_both_ways() {
    run(async {
        let (hub, door) = with_door("hub", &["press"], &[1]);
        let press = agent("press", &["hub"], &[1], Some(door));
        press.links.dial(&name("hub"));
        until("both know", || !press.opened().is_empty() && !hub.opened().is_empty()).await;
        assert_eq!(press.opened(), [("hub".to_owned(), Side::Dialed)]);
        assert_eq!(hub.opened(), [("press".to_owned(), Side::Accepted)]);

        // More than any buffer holds at once, there and back.
        let much: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        hub.line().echoes.set(true);
        press.line().say(&much);
        until("all is back", || press.line().received.borrow().len() >= HELLO.len() + much.len()).await;
        assert!(press.line().received.borrow().strip_prefix(HELLO) == Some(&much[..]));

        press.line().wire.borrow().as_ref().unwrap().ask_to_close(Duration::from_secs(1));
        until("both are told", || press.line().closed.get() && hub.line().closed.get()).await;
        assert_eq!(press.dials_failed(), 0);
    });
}

#[test]
fn bytes_that_come_with_the_last_of_the_handshake_are_not_lost() {
    run(async {
        let (hub, door) = with_door("hub", &["press"], &[1]);
        let pins = pins("press", &["hub"], &[1]);
        let config = pins.for_dial(&name("hub")).unwrap();
        let session = rustls::ClientConnection::new(config, super::tls::any_name()).unwrap();
        // A socket that is written to as rarely as possible: Finished and the first words leave together.
        spawn_blocking(move || {
            let mut socket = std::net::TcpStream::connect(door).unwrap();
            let mut session = session;
            session.writer().write_all(b"early").unwrap();
            while session.is_handshaking() {
                while session.wants_write() && session.is_handshaking() {
                    session.write_tls(&mut socket).unwrap();
                }
                session.read_tls(&mut socket).unwrap();
                session.process_new_packets().unwrap();
            }
            let mut last = Vec::new();
            while session.wants_write() {
                session.write_tls(&mut last).unwrap();
            }
            socket.write_all(&last).unwrap();
            let _ = socket.read(&mut [0; 64]);
        });
        until("the link", || !hub.opened().is_empty()).await;
        until("the first words", || *hub.line().received.borrow() == b"early").await;
    });
}

/// What the door makes of somebody who dials with these keys.
fn stranger(me: &'static str, keys: &'static [u8], others: &'static [&'static str]) {
    run(async move {
        let (hub, door) = with_door("hub", &["press"], &[1]);
        let stranger = agent(me, others, keys, Some(door));
        stranger.links.dial(&name("hub"));
        until("counted", || hub.links.counters().strangers == 1).await;
        until("told", || stranger.dials_failed() == 1).await;
        assert!(hub.opened().is_empty() && stranger.opened().is_empty(), "a core heard of it");
    });
}

#[test]
fn another_networks_key_gets_nowhere_and_is_counted() {
    stranger("press", &[2], &["hub"]);
}

#[test]
fn a_machine_that_is_not_in_the_topology_gets_nowhere_and_is_counted() {
    stranger("lathe", &[1], &["hub"]);
}

#[test]
fn who_claims_to_be_the_broker_itself_gets_nowhere() {
    stranger("hub", &[1], &["hub"]);
}

#[test]
fn a_broker_with_another_name_is_not_taken_for_the_one_that_was_dialled() {
    run(async {
        let (spare, door) = with_door("spare", &["press", "hub"], &[1]);
        let press = agent("press", &["hub", "spare"], &[1], Some(door));
        press.links.dial(&name("hub"));
        until("told", || press.dials_failed() == 1).await;
        assert!(press.opened().is_empty() && spare.opened().is_empty());
    });
}

#[test]
fn a_client_that_shows_no_key_is_refused() {
    run(async {
        let (hub, door) = with_door("hub", &["press"], &[1]);
        let pins = pins("press", &["hub"], &[1]);
        let mut config = (*pins.for_dial(&name("hub")).unwrap()).clone();
        #[derive(Debug)]
        struct Keyless;
        impl rustls::client::ResolvesClientCert for Keyless {
            fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
                None
            }
            fn has_certs(&self) -> bool {
                false
            }
            fn only_raw_public_keys(&self) -> bool {
                true
            }
        }
        config.client_auth_cert_resolver = Arc::new(Keyless);
        let stream = tokio::net::TcpStream::connect(door).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        if let Ok(mut stream) = connector.connect(super::tls::any_name(), stream).await {
            let read = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 16]).await;
            assert!(!matches!(read, Ok(count) if count > 0), "the door spoke to it");
        }
        until("counted", || hub.links.counters().strangers == 1).await;
        assert!(hub.opened().is_empty());
    });
}

#[test]
fn while_a_key_is_replaced_both_sides_of_the_change_link_to_each_other() {
    for (broker_keys, client_keys) in [(&[2, 1][..], &[1, 2][..]), (&[1, 2], &[2, 1]), (&[1, 2], &[1])] {
        run(async {
            let (hub, door) = with_door("hub", &["press"], broker_keys);
            let press = agent("press", &["hub"], client_keys, Some(door));
            press.links.dial(&name("hub"));
            until("linked", || !press.opened().is_empty() && !hub.opened().is_empty()).await;
        });
    }
}

#[test]
fn a_machine_that_is_expelled_loses_its_link_and_the_others_keep_theirs() {
    run(async {
        let (hub, door) = with_door("hub", &["press", "office"], &[1]);
        let press = agent("press", &["hub"], &[1], Some(door));
        let office = agent("office", &["hub"], &[1], Some(door));
        press.links.dial(&name("hub"));
        until("linked", || hub.opened().len() == 1).await;
        office.links.dial(&name("hub"));
        until("linked", || hub.opened().len() == 2 && !office.opened().is_empty()).await;
        hub.links.set(Some(pins("hub", &["office"], &[1])), &places(None));
        until("let go", || press.line().closed.get()).await;
        office.line().say(b"still here");
        until("heard", || *hub.line().received.borrow() == b"still here").await;
    });
}

#[test]
fn silence_and_noise_at_the_door_keep_no_machine_out() {
    run(async {
        let (hub, door) = with_door("hub", &["press"], &[1]);
        let silent: Vec<std::net::TcpStream> =
            (0..HANDSHAKES_MAX + 20).map(|_| std::net::TcpStream::connect(door).unwrap()).collect();
        let mut noisy = std::net::TcpStream::connect(door).unwrap();
        noisy.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let press = agent("press", &["hub"], &[1], Some(door));
        press.links.dial(&name("hub"));
        until("let in", || !hub.opened().is_empty() && !press.opened().is_empty()).await;
        until("noise counted", || hub.links.counters().strangers == 1).await;
        until("crowd counted", || hub.links.counters().crowded_out >= 20).await;
        // The rest of the silent ones run out of time.
        until("silence counted", || hub.links.counters().unfinished >= 100).await;
        drop(silent);
    });
}

#[test]
fn who_floods_the_door_crowds_out_itself() {
    run(async {
        let crowd = Crowd::default();
        let idle = || spawn_local(std::future::pending::<()>());
        let one = idle();
        crowd.join(origin("10.0.0.7".parse().unwrap()), crowd.next_id(), one.abort_handle());
        let flood: Vec<_> = (0..HANDSHAKES_MAX * 3).map(|_| idle()).collect();
        for (n, task) in flood.iter().enumerate() {
            // A single IPv6 host has 2^64 addresses.
            let address = format!("2001:db8::{n:x}").parse().unwrap();
            crowd.join(origin(address), crowd.next_id(), task.abort_handle());
        }
        let gone = || flood.iter().filter(|task| task.is_finished()).count();
        until("the flood has gone", || gone() > HANDSHAKES_MAX * 2).await;
        assert_eq!(gone(), HANDSHAKES_MAX * 2 + 1);
        assert!(!one.is_finished(), "the innocent one had to give way");
    });
}

#[test]
fn every_address_is_tried_and_a_silent_one_only_costs_a_head_start() {
    let address = |n: u8| SocketAddr::from(([10, 0, 0, n], 1));
    run(async {
        let begun = Instant::now();
        let found = first_of([1, 2, 3].map(address).to_vec(), |at| async move {
            if at == address(1) {
                return std::future::pending().await;
            }
            let refused = || DialError::Connect(at, std::io::ErrorKind::ConnectionRefused.into());
            if at == address(2) { Err(refused()) } else { Ok(at) }
        });
        assert_eq!(found.await.unwrap(), address(3));
        assert!(begun.elapsed() < Duration::from_secs(2));
        let nobody = first_of::<(), _>([1, 2].map(address).to_vec(), |at| async move {
            Err(match at == address(1) {
                true => DialError::Handshake(at, std::io::ErrorKind::Other.into()),
                false => DialError::Connect(at, std::io::ErrorKind::ConnectionRefused.into()),
            })
        });
        assert!(matches!(nobody.await, Err(DialError::Handshake(..))), "the telling error is told");
    });
}

#[test]
fn a_dial_to_nobody_ends_within_its_limit_and_the_core_hears_of_it() {
    run(async {
        // Listens, and never answers.
        let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let press = agent("press", &["hub"], &[1], Some(mute.local_addr().unwrap()));
        let begun = Instant::now();
        press.links.dial(&name("hub"));
        press.links.dial(&name("nowhere"));
        until("nowhere is told at once", || press.dials_failed() == 1).await;
        until("told", || press.dials_failed() == 2).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        // A dial whose broker moves is over at once.
        press.links.dial(&name("hub"));
        press.links.set(Some(pins("press", &["hub"], &[1])), &places(None));
        assert_eq!(press.dials_failed(), 3);
    });
}
