//! MQTT over WebSocket, the server's side of RFC 6455: bytes to bytes, no socket is touched.
//!
//! The payload of binary frames is a byte stream to MQTT, so it is handed on as it comes and never collected: a frame
//! may be as long as it likes, and fragments need no joining. What is kept is bounded: the request's head, one frame
//! header, one control frame.

use base64ct::{Base64, Encoding};
use sha1::{Digest, Sha1};

use crate::pages::Pages;

/// Longest head of the upgrade request.
const HEAD_BYTES_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;
/// RFC 6455 5.5: a control frame holds at most this much.
const CONTROL_BYTES_MAX: usize = 125;
/// Pings are not answered while so much waits to be sent: who floods with pings has to read the pongs.
const REPLY_BACKLOG_MAX: usize = 16 * 1024;
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Close codes of RFC 6455 7.4.1.
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const UNSUPPORTED: u16 = 1003;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebSocketError {
    #[error("the request is not an upgrade to WebSocket: {0}")]
    NotUpgrade(&'static str),
    #[error("a web page that may not use this door")]
    ForeignPage,
    #[error("a frame is not as it may be: {0}")]
    BadFrame(&'static str),
    #[error("a text frame; MQTT is binary")]
    Text,
    #[error("closed by the other side")]
    Closed,
}

/// Where in the stream the next byte stands.
#[derive(Debug)]
enum State {
    /// In the request's head, of which this has come.
    Head(Vec<u8>),
    /// In a frame's header.
    Header,
    /// In the payload of a binary frame.
    Data {
        left: u64,
    },
    /// In a control frame.
    Control {
        opcode: u8,
        left: usize,
    },
    Closed,
}

#[derive(Debug)]
pub struct WebSocket {
    pages: Pages,
    state: State,
    /// The header, or the control frame's payload, as far as it has come.
    kept: Vec<u8>,
    mask: [u8; 4],
    /// How far into the mask the next byte is.
    turn: usize,
    /// A message has begun and its last fragment has not come.
    in_message: bool,
    said_goodbye: bool,
}

struct Header {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    length: u64,
}

impl WebSocket {
    #[must_use]
    pub fn new(pages: Pages) -> Self {
        Self {
            pages,
            state: State::Head(Vec::new()),
            kept: Vec::new(),
            mask: [0; 4],
            turn: 0,
            in_message: false,
            said_goodbye: false,
        }
    }

    /// Past the handshake, and not yet closed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self.state {
            State::Head(_) | State::Closed => false,
            State::Header | State::Data { .. } | State::Control { .. } => !self.said_goodbye,
        }
    }

    /// Hand the payload of binary frames to `deliver`, unmasked in place; put answers behind `reply`.
    pub fn receive(
        &mut self,
        bytes: &mut [u8],
        reply: &mut Vec<u8>,
        deliver: &mut dyn FnMut(&[u8]),
    ) -> Result<(), WebSocketError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match self.take(rest, reply, deliver) {
                Ok(taken) => taken,
                Err(error) => {
                    self.fail(error, reply);
                    return Err(error);
                }
            };
            rest = rest.get_mut(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// One binary frame around `plain`.
    pub fn wrap(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        if !plain.is_empty() && self.is_open() {
            put_frame(BINARY, plain, out);
        }
    }

    /// A close frame, if none was sent and the other side speaks frames.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.is_open() {
            self.goodbye(NORMAL, out);
        }
    }

    /// Take as many of `bytes` as belong to one thing, and say how many.
    fn take(
        &mut self,
        bytes: &mut [u8],
        reply: &mut Vec<u8>,
        deliver: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, WebSocketError> {
        match &mut self.state {
            State::Head(head) => {
                let Some((taken, response)) = upgrade(head, bytes, &self.pages)? else { return Ok(bytes.len()) };
                reply.extend_from_slice(response.as_bytes());
                self.state = State::Header;
                Ok(taken)
            }
            State::Header => self.take_header(bytes, reply),
            State::Data { left } => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= count as u64;
                let ends = *left == 0;
                let payload = bytes.get_mut(..count).unwrap_or_default();
                unmask(payload, self.mask, &mut self.turn);
                deliver(payload);
                if ends {
                    self.state = State::Header;
                }
                Ok(count)
            }
            State::Control { opcode, left } => {
                let (opcode, count) = (*opcode, (*left).min(bytes.len()));
                *left -= count;
                let ends = *left == 0;
                let payload = bytes.get_mut(..count).unwrap_or_default();
                unmask(payload, self.mask, &mut self.turn);
                self.kept.extend_from_slice(payload);
                if ends {
                    self.control(opcode, reply)?;
                }
                Ok(count)
            }
            State::Closed => Err(WebSocketError::Closed),
        }
    }

    fn take_header(&mut self, bytes: &[u8], reply: &mut Vec<u8>) -> Result<usize, WebSocketError> {
        for (index, byte) in bytes.iter().enumerate() {
            self.kept.push(*byte);
            if let Some(header) = header(&self.kept)? {
                self.kept.clear();
                self.begin(&header, reply)?;
                return Ok(index + 1);
            }
        }
        Ok(bytes.len())
    }

    fn begin(&mut self, header: &Header, reply: &mut Vec<u8>) -> Result<(), WebSocketError> {
        self.mask = header.mask;
        self.turn = 0;
        match header.opcode {
            BINARY if self.in_message => return Err(WebSocketError::BadFrame("a message within a message")),
            CONTINUATION if !self.in_message => return Err(WebSocketError::BadFrame("a continuation of nothing")),
            BINARY | CONTINUATION => {
                self.in_message = !header.fin;
                self.state = if header.length == 0 { State::Header } else { State::Data { left: header.length } };
            }
            TEXT => return Err(WebSocketError::Text),
            opcode @ (CLOSE | PING | PONG) => {
                let left = usize::try_from(header.length).unwrap_or(usize::MAX);
                if !header.fin || left > CONTROL_BYTES_MAX {
                    return Err(WebSocketError::BadFrame("a control frame that is long or in fragments"));
                }
                self.state = State::Control { opcode, left };
                if left == 0 {
                    self.control(opcode, reply)?;
                }
            }
            _ => return Err(WebSocketError::BadFrame("an unknown opcode")),
        }
        Ok(())
    }

    /// A whole control frame is here.
    fn control(&mut self, opcode: u8, reply: &mut Vec<u8>) -> Result<(), WebSocketError> {
        let payload = std::mem::take(&mut self.kept);
        self.state = State::Header;
        match opcode {
            CLOSE => return Err(WebSocketError::Closed),
            PING if reply.len() < REPLY_BACKLOG_MAX => put_frame(PONG, &payload, reply),
            _ => {}
        }
        Ok(())
    }

    /// Tell the other side why this ends.
    fn fail(&mut self, error: WebSocketError, reply: &mut Vec<u8>) {
        match (&self.state, error) {
            (State::Head(_), WebSocketError::NotUpgrade(why)) => {
                put_refusal("400 Bad Request", &format!("hobnail speaks MQTT over WebSocket here: {why}\n"), reply);
            }
            (State::Head(_), WebSocketError::ForeignPage) => {
                put_refusal("403 Forbidden", "the topology's doors.origins does not name this page's origin\n", reply);
            }
            (State::Closed, _) => {}
            (_, WebSocketError::Closed) => self.goodbye(NORMAL, reply),
            (_, WebSocketError::Text) => self.goodbye(UNSUPPORTED, reply),
            (_, WebSocketError::BadFrame(_) | WebSocketError::NotUpgrade(_) | WebSocketError::ForeignPage) => {
                self.goodbye(PROTOCOL_ERROR, reply);
            }
        }
        self.state = State::Closed;
    }

    fn goodbye(&mut self, code: u16, out: &mut Vec<u8>) {
        if !self.said_goodbye {
            self.said_goodbye = true;
            put_frame(CLOSE, &code.to_be_bytes(), out);
        }
    }
}

/// The header in `bytes`, once it is whole.
fn header(bytes: &[u8]) -> Result<Option<Header>, WebSocketError> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(WebSocketError::BadFrame("reserved bits"));
    }
    if second & MASKED == 0 {
        return Err(WebSocketError::BadFrame("a client's frame without a mask"));
    }
    let (length, rest) = match (second & 0x7f, rest) {
        (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest),
        (127, [a, b, c, d, e, f, g, h, rest @ ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest),
        (126 | 127, _) => return Ok(None),
        (length, rest) => (u64::from(length), rest),
    };
    let Ok(mask) = <[u8; 4]>::try_from(rest) else { return Ok(None) };
    if length > u64::MAX / 2 {
        return Err(WebSocketError::BadFrame("a length with its highest bit set"));
    }
    Ok(Some(Header { fin: first & FIN != 0, opcode: first & 0x0f, mask, length }))
}

fn unmask(bytes: &mut [u8], mask: [u8; 4], turn: &mut usize) {
    let mut mask = mask;
    mask.rotate_left(*turn % 4);
    *turn = (*turn + bytes.len()) % 4;
    for chunk in bytes.chunks_mut(4) {
        for (byte, mask) in chunk.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
}

fn put_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(FIN | opcode);
    let length = payload.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

fn put_refusal(status: &str, text: &str, out: &mut Vec<u8>) {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\n");
    out.extend_from_slice(format!("{head}Content-Length: {}\r\n\r\n{text}", text.len()).as_bytes());
}

/// The answer to the request whose head ends within `bytes`, and how many of them belong to it; `None` where it has
/// not ended.
fn upgrade(head: &mut Vec<u8>, bytes: &[u8], pages: &Pages) -> Result<Option<(usize, String)>, WebSocketError> {
    let had = head.len();
    let room = HEAD_BYTES_MAX - had;
    head.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) => {
            let response = accept(&request)?;
            admit(&request, pages)?;
            Ok(Some((length.saturating_sub(had), response)))
        }
        Ok(httparse::Status::Partial) if head.len() < HEAD_BYTES_MAX => Ok(None),
        Ok(httparse::Status::Partial) => Err(WebSocketError::NotUpgrade("its head is too long")),
        Err(_) => Err(WebSocketError::NotUpgrade("it is not HTTP")),
    }
}

fn accept(request: &httparse::Request<'_, '_>) -> Result<String, WebSocketError> {
    let all = |name: &'static str| {
        let named = request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.filter_map(|header| std::str::from_utf8(header.value).ok())
    };
    let lists = |name, word: &str| {
        all(name).flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    let or = |found: bool, why| if found { Ok(()) } else { Err(WebSocketError::NotUpgrade(why)) };
    or(request.method == Some("GET") && request.version == Some(1), "it is not a GET of HTTP/1.1")?;
    or(lists("upgrade", "websocket") && lists("connection", "upgrade"), "no `Upgrade: websocket`")?;
    or(all("sec-websocket-version").any(|version| version.trim() == "13"), "no `Sec-WebSocket-Version: 13`")?;
    let key = all("sec-websocket-key").next().map(str::trim).filter(|key| key.len() == 24);
    let key = key.ok_or(WebSocketError::NotUpgrade("no `Sec-WebSocket-Key` of 16 bytes"))?;
    let offered = ["mqtt", "mqttv3.1"].into_iter().find(|name| lists("sec-websocket-protocol", name));
    let protocol = offered.ok_or(WebSocketError::NotUpgrade("no `Sec-WebSocket-Protocol: mqtt`"))?;
    let digest = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    let proof = Base64::encode_string(&digest);
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {proof}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
    ))
}

/// Browsers name the page that asks; other programs do not, and could name any.
fn admit(request: &httparse::Request<'_, '_>, pages: &Pages) -> Result<(), WebSocketError> {
    let mut origins = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("origin"));
    let admitted = origins.all(|origin| pages.admit(&String::from_utf8_lossy(origin.value)));
    if admitted { Ok(()) } else { Err(WebSocketError::ForeignPage) }
}

#[cfg(test)]
mod tests;
