//! One connection: bytes between a socket and the core's state machine.

use std::fmt;
use std::io;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use hobnail_core::mqtt::client::{self, Client, Event, HandleError, SendError, Silent};
use hobnail_core::mqtt::packet::{Connect, Disconnect, Packet, PacketId, Publish, QoS, Reason, Version, Will};
use hobnail_core::mqtt::props::PropsBuf;
use hobnail_core::mqtt::{DecodeError, decode};
use hobnail_core::time::Now;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{sleep, timeout};

use super::dial::{DialError, Duplex, Route, dial};
use super::reasons::in_words;

/// What one read of the socket may bring.
const READ_BYTES: usize = 64 * 1024;
/// Longest wait for the CONNACK.
const GREETING_MAX: Duration = Duration::from_secs(20);
/// Longest wait, after our goodbye, for the server to close.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// Who we are and what we ask for: a CONNECT that owns its parts.
#[derive(Clone, Debug)]
pub struct Hello {
    pub version: Version,
    pub client_id: String,
    pub clean_start: bool,
    pub keep_alive_s: u16,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub will: Option<HelloWill>,
    pub session_expiry_s: Option<u32>,
    pub receive_max: Option<NonZeroU16>,
    pub packet_bytes_max: Option<u32>,
    pub topic_alias_max: u16,
    pub request_response_info: bool,
    pub request_problem_info: bool,
    pub auth_method: Option<String>,
    pub auth_data: Option<Vec<u8>>,
    pub user_props: PropsBuf,
}

#[derive(Clone, Debug)]
pub struct HelloWill {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    pub delay_s: u32,
    pub expiry_s: Option<u32>,
    pub props: PropsBuf,
}

/// A password; its `Debug` prints nothing of it.
#[derive(Clone)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Whether the packets are told on stderr as they go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packets {
    Silent,
    Told,
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the server refused the connection: {}{}", in_words(*reason), in_brackets(text))]
    Refused { reason: Reason, text: String },
    #[error("the server did not answer CONNECT within {} s", GREETING_MAX.as_secs())]
    NoGreeting,
    #[error("the server closed the connection before it answered CONNECT{}", version_hint(*.0))]
    ClosedAtGreeting(Version),
    #[error("the server ended the connection: {}{}", in_words(*reason), in_brackets(text))]
    Ended { reason: Reason, text: String },
    #[error("the connection was lost")]
    Closed,
    #[error("the connection was lost")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Silent(#[from] Silent),
    #[error("what the server sent cannot be read{}", version_hint(*version))]
    Unreadable { version: Version, source: DecodeError },
    #[error(transparent)]
    Protocol(#[from] HandleError),
    #[error("cannot send")]
    Send(#[from] SendError),
}

fn in_brackets(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

fn version_hint(version: Version) -> &'static str {
    match version {
        Version::V5 => "; if it is an old one, try -V 311",
        Version::V311 | Version::V31 => "",
    }
}

/// What the server said as it took us in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    pub session_present: bool,
    pub assigned_client_id: Option<String>,
}

pub struct Connection {
    client: Client,
    read: ReadHalf<Box<dyn Duplex>>,
    write: WriteHalf<Box<dyn Duplex>>,
    input: Vec<u8>,
    /// Where in `input` the next packet starts.
    start: usize,
    packet_bytes_max: usize,
    /// Written bytes may still wait in the TLS layer.
    unflushed: bool,
    born: Instant,
    packets: Packets,
}

impl Connection {
    /// Connect and wait for the server's answer.
    pub async fn open(
        route: &Route,
        hello: &Hello,
        client: Client,
        packets: Packets,
    ) -> Result<(Self, Greeting), (Client, LinkError)> {
        let stream = match dial(route).await {
            Ok(stream) => stream,
            Err(error) => return Err((client, error.into())),
        };
        let (read, write) = tokio::io::split(stream);
        let mut connection = Self {
            client,
            read,
            write,
            input: Vec::new(),
            start: 0,
            packet_bytes_max: hello.packet_bytes_max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX),
            unflushed: false,
            born: Instant::now(),
            packets,
        };
        let greeting = timeout(GREETING_MAX, connection.greet(hello)).await;
        match greeting.unwrap_or(Err(LinkError::NoGreeting)) {
            Ok(greeting) => Ok((connection, greeting)),
            Err(error) => Err((connection.client, error)),
        }
    }

    async fn greet(&mut self, hello: &Hello) -> Result<Greeting, LinkError> {
        self.client.connect(self.now(), hello.connect())?;
        self.tell(">", "CONNECT");
        loop {
            match self.poll_event()? {
                Some(Event::Connected(ack)) => {
                    return Ok(Greeting {
                        session_present: ack.session_present,
                        assigned_client_id: ack.assigned_client_id.map(str::to_owned),
                    });
                }
                Some(Event::Refused(ack)) => {
                    let text = ack.reason_string.unwrap_or_default().to_owned();
                    return Err(LinkError::Refused { reason: ack.reason, text });
                }
                Some(Event::Closed(bye)) => return Err(ended(&bye)),
                // Before the greeting nothing else passes the state machine.
                Some(
                    Event::Quiet
                    | Event::Message(_)
                    | Event::Published(_)
                    | Event::Subscribed(_)
                    | Event::Unsubscribed(_),
                ) => continue,
                None => {}
            }
            match self.turn().await {
                Err(LinkError::Closed) => return Err(LinkError::ClosedAtGreeting(hello.version)),
                done => done?,
            }
        }
    }

    /// The state machine, to ask it and to send with; what it has to say leaves with the next [`Self::turn`].
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// How long this connection has stood.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// Keep the state machine for the next connection.
    #[must_use]
    pub fn into_client(self) -> Client {
        self.client
    }

    pub fn publish(&mut self, message: &Publish<'_>) -> Result<Option<PacketId>, LinkError> {
        let id = self.client.publish(message)?;
        if self.packets == Packets::Told {
            self.tell(">", &told(&Packet::Publish(Publish { id, ..message.clone() })));
        }
        Ok(id)
    }

    /// The next thing that the bytes read so far mean. Ask until `None`, then wait with [`Self::turn`].
    pub fn poll_event(&mut self) -> Result<Option<Event<'_>>, LinkError> {
        let now = self.now();
        let version = self.client.version();
        let bytes = self.input.get(self.start..).unwrap_or_default();
        let found = decode(bytes, Some(version), self.packet_bytes_max);
        let Some((packet, used)) = found.map_err(|source| LinkError::Unreadable { version, source })? else {
            return Ok(None);
        };
        self.start += used;
        if self.packets == Packets::Told {
            eprintln!("< {}", told(&packet));
        }
        Ok(Some(self.client.handle_packet(now, packet)?))
    }

    /// Wait until something moved: bytes came, bytes left, or a ping was due. Dropping this future loses nothing: a
    /// read, a write and a flush are each done in one poll or not at all.
    pub async fn turn(&mut self) -> Result<(), LinkError> {
        let now = self.now();
        self.client.handle_time(now)?;
        self.input.drain(..self.start);
        self.start = 0;
        if self.input.capacity() - self.input.len() < READ_BYTES / 4 {
            self.input.reserve(READ_BYTES);
        }
        let idle = self.client.next_deadline().map(|deadline| deadline.since(now));
        let writing = !self.client.transmit().is_empty();
        tokio::select! {
            read = self.read.read_buf(&mut self.input) => {
                if read? == 0 {
                    return Err(LinkError::Closed);
                }
            }
            moved = push(&mut self.write, self.client.transmit()), if writing || self.unflushed => {
                let count = moved?;
                if writing && count == 0 {
                    return Err(LinkError::Closed);
                }
                self.unflushed = writing;
                let now = self.now();
                self.client.transmitted(now, count);
            }
            () = sleep(idle.unwrap_or_default()), if idle.is_some() => {}
        }
        Ok(())
    }

    /// Whether every byte that we had to say has left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.client.transmit().is_empty() && !self.unflushed
    }

    /// Say goodbye, see it out, and wait, within a limit, for the server to close: then it has read everything.
    pub async fn close(mut self, goodbye: Disconnect<'_>) -> Result<(), LinkError> {
        self.client.disconnect(goodbye)?;
        self.tell(">", "DISCONNECT");
        let farewell = async {
            while !self.is_drained() {
                while self.poll_event()?.is_some() {}
                self.turn().await?;
            }
            self.write.shutdown().await?;
            loop {
                self.input.clear();
                self.start = 0;
                if self.read.read_buf(&mut self.input).await? == 0 {
                    return Ok(());
                }
            }
        };
        match timeout(GOODBYE_MAX, farewell).await {
            // A server that resets the connection after our goodbye, or is slow to close it, has still had our bytes.
            Err(_) | Ok(Ok(()) | Err(LinkError::Closed | LinkError::Io(_))) => Ok(()),
            Ok(Err(error)) => Err(error),
        }
    }

    fn now(&self) -> Now {
        Now::ZERO.after(self.born.elapsed())
    }

    fn tell(&self, direction: &str, what: &str) {
        if self.packets == Packets::Told {
            eprintln!("{direction} {what}");
        }
    }
}

/// Write what there is; where there is nothing, flush what the layers below still hold.
async fn push(write: &mut WriteHalf<Box<dyn Duplex>>, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return write.flush().await.map(|()| 0);
    }
    write.write(bytes).await
}

/// The error that a server's DISCONNECT is.
#[must_use]
pub fn ended(bye: &Disconnect<'_>) -> LinkError {
    LinkError::Ended { reason: bye.reason, text: bye.reason_string.unwrap_or_default().to_owned() }
}

fn told(packet: &Packet<'_>) -> String {
    let name = client::name(packet);
    match packet {
        Packet::Publish(message) => {
            let id = message.id.map_or(0, |id| id.0.get());
            let (qos, retain, bytes) = (message.qos as u8, u8::from(message.retain), message.payload.len());
            format!("{name} id {id}, qos {qos}, retain {retain}, {:?}, {bytes} bytes", message.topic)
        }
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            format!("{name} id {}, {}", ack.id.0, in_words(ack.reason))
        }
        Packet::SubAck(ack) | Packet::UnsubAck(ack) => {
            let reasons: Vec<&str> = ack.reasons.iter().map(|reason| in_words(*reason)).collect();
            format!("{name} id {}, {}", ack.id.0, reasons.join(", "))
        }
        Packet::ConnAck(ack) => format!("{name} {}", in_words(ack.reason)),
        Packet::Disconnect(bye) => format!("{name} {}", in_words(bye.reason)),
        Packet::Connect(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::PingReq
        | Packet::PingResp
        | Packet::Auth(_) => name.to_owned(),
    }
}

impl Hello {
    fn connect(&self) -> Connect<'_> {
        Connect {
            version: self.version,
            clean_start: self.clean_start,
            keep_alive_s: self.keep_alive_s,
            client_id: &self.client_id,
            will: self.will.as_ref().map(HelloWill::will),
            user: self.user.as_deref(),
            password: self.password.as_ref().map(|secret| secret.0.as_slice()),
            session_expiry_s: self.session_expiry_s,
            receive_max: self.receive_max,
            packet_bytes_max: self.packet_bytes_max,
            topic_alias_max: self.topic_alias_max,
            request_response_info: self.request_response_info,
            request_problem_info: self.request_problem_info,
            auth_method: self.auth_method.as_deref(),
            auth_data: self.auth_data.as_deref(),
            user_props: self.user_props.as_props(),
        }
    }
}

impl HelloWill {
    fn will(&self) -> Will<'_> {
        Will {
            topic: &self.topic,
            payload: &self.payload,
            qos: self.qos,
            retain: self.retain,
            delay_s: self.delay_s,
            expiry_s: self.expiry_s,
            props: self.props.as_props(),
        }
    }
}
