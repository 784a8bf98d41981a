//! What lies between a socket's bytes and what they say: nothing, WebSocket frames, or TLS. Bytes to bytes; no socket is touched.

use std::io::{BufRead, Write};
use std::sync::Arc;

use rustls::{Connection, ServerConfig, ServerConnection};

use super::websocket::{WebSocket, WebSocketError};

pub enum Framing {
    Plain,
    WebSocket(Box<WebSocket>),
    Tls(Box<Tls>),
}

pub struct Tls {
    session: Connection,
    finished: bool,
}

/// Nothing more comes in: what is in `reply` may still go out.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("TLS: {0}")]
    Io(#[from] std::io::Error),
    #[error("the other side has said goodbye")]
    Goodbye,
    #[error("WebSocket: {0}")]
    WebSocket(#[from] WebSocketError),
}

impl Framing {
    /// The server's side of TLS, from its first byte on.
    pub fn tls(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self::after_handshake(ServerConnection::new(config)?.into()))
    }

    /// TLS whose handshake is over, or at least begun. It may hold bytes that came with the handshake: see `receive`.
    #[must_use]
    pub fn after_handshake(mut session: Connection) -> Self {
        // Bounded by what is taken from the broker at once; everything is taken out again in the same call.
        session.set_buffer_limit(None);
        Self::Tls(Box::new(Tls { session, finished: false }))
    }

    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    /// Past its handshake, so that MQTT may be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::WebSocket(socket) => socket.is_open(),
            Self::Tls(tls) => !tls.session.is_handshaking(),
        }
    }

    /// Hand the plain bytes within `bytes`, and those that the framing held already, to `deliver`; put what the framing
    /// itself has to answer behind `reply`.
    pub fn receive(
        &mut self,
        bytes: &mut [u8],
        reply: &mut Vec<u8>,
        mut deliver: impl FnMut(&[u8]),
    ) -> Result<(), Ended> {
        match self {
            Self::Plain => {
                deliver(bytes);
                Ok(())
            }
            Self::WebSocket(socket) => Ok(socket.receive(bytes, reply, &mut deliver)?),
            Self::Tls(tls) => tls.receive(bytes, reply, &mut deliver),
        }
    }

    /// Put plain bytes, framed, behind `out`.
    pub fn wrap(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Ended> {
        match self {
            Self::Plain => out.extend_from_slice(plain),
            Self::WebSocket(socket) => socket.wrap(plain, out),
            Self::Tls(tls) => {
                tls.session.writer().write_all(plain)?;
                tls.collect(out)?;
            }
        }
        Ok(())
    }

    /// Say goodbye in the framing's own words; true the first time that there are any.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        match self {
            Self::Plain => {}
            Self::WebSocket(socket) => socket.finish(out),
            Self::Tls(tls) if !tls.finished => {
                tls.finished = true;
                tls.session.send_close_notify();
                // Writing to memory does not fail, and after a goodbye nothing would follow from it.
                let _ = tls.collect(out);
            }
            Self::Tls(_) => {}
        }
        out.len() > before
    }
}

impl Tls {
    fn receive(&mut self, bytes: &[u8], reply: &mut Vec<u8>, deliver: &mut dyn FnMut(&[u8])) -> Result<(), Ended> {
        let mut rest = bytes;
        loop {
            if !rest.is_empty() {
                self.session.read_tls(&mut rest)?;
            }
            self.take(reply, deliver)?;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Work off what `read_tls` has brought.
    fn take(&mut self, reply: &mut Vec<u8>, deliver: &mut dyn FnMut(&[u8])) -> Result<(), Ended> {
        let state = match self.session.process_new_packets() {
            Ok(state) => state,
            Err(error) => {
                self.finished = true;
                self.collect(reply)?;
                return Err(error.into());
            }
        };
        let mut left = state.plaintext_bytes_to_read();
        while left > 0 {
            let mut reader = self.session.reader();
            let plain = reader.fill_buf()?;
            let count = plain.len();
            deliver(plain);
            reader.consume(count);
            left = left.saturating_sub(count.max(1));
        }
        self.collect(reply)?;
        if state.peer_has_closed() { Err(Ended::Goodbye) } else { Ok(()) }
    }

    fn collect(&mut self, out: &mut Vec<u8>) -> std::io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(out)?;
        }
        Ok(())
    }
}
