//! One connection's task: bytes from its socket through its framing to the core, and back.
//!
//! ```text
//!              core asks to close, or framing ends          all sent
//!   Serving ────────────────────────────────────▶ Flushing ─────────▶ Draining ──▶ over
//!      └──── the other side closes, an error ────────┴── out of time ────┴── end of input, out of time ──▶ over
//! ```
//!
//! Invariants: a connection that has nothing to send holds no output buffer; input goes through one buffer that all
//! tasks of the thread share; the core is told of the end exactly once, when the task is dropped.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};
use tracing::debug;

use super::framing::Framing;
use crate::wire::{Inside, Wire};

/// Most bytes that are read at once, and that one turn of a connection takes before the others have theirs.
const READ_BYTES: usize = 64 * 1024;
/// Most bytes that are taken from the core ahead of the socket; what the kernel does not take waits in the core,
/// where it is counted.
const ROOM_BYTES: usize = 64 * 1024;
/// A peer of a broken framing gets this long to take its farewell.
const FAREWELL: Duration = Duration::from_secs(2);

/// Answers of TLS and WebSocket framing that wait for a peer that does not read; beyond, it is let go.
const REPLIES_MAX: usize = 256 * 1024;
/// A buffer that grew beyond this for one large packet is given up afterwards.
const SPARE_BYTES_MAX: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static PLAIN: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

enum State {
    Serving,
    Flushing(Pin<Box<Sleep>>),
    Draining(Pin<Box<Sleep>>),
}

/// What one look at the input came to.
enum Input {
    /// A short read: the socket is empty.
    Some,
    /// A full read: there may be more, after the others.
    Full,
    Nothing,
    End,
}

pub struct Connection<I: Inside> {
    socket: Socket,
    framing: Framing,
    inside: I,
    wire: Rc<Wire>,
    out: Vec<u8>,
    sent: usize,
    /// What of `out` came from the core; the rest are answers of the framing.
    fetched: usize,
    state: State,
    /// The core knows that this is over.
    told: bool,
}

impl<I: Inside> Connection<I> {
    #[must_use]
    pub fn new(socket: Socket, framing: Framing, inside: I, wire: Rc<Wire>) -> Self {
        Self { socket, framing, inside, wire, out: Vec::new(), sent: 0, fetched: 0, state: State::Serving, told: false }
    }

    /// The same for a framing that has shaken hands already, and may hold bytes that came with the last of it.
    #[must_use]
    pub fn after_handshake(socket: Socket, framing: Framing, inside: I, wire: Rc<Wire>) -> Self {
        let mut connection = Self::new(socket, framing, inside, wire);
        connection.receive(&mut []);
        connection
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(linger) = self.wire.take_close()
                && matches!(self.state, State::Serving)
            {
                self.state = State::Flushing(Box::pin(sleep(linger)));
            }
            let flushed = match self.flush(cx) {
                Ok(flushed) => flushed,
                Err(_gone) => return Poll::Ready(()),
            };
            if self.is_out_of_time(cx) {
                return Poll::Ready(());
            }
            match &self.state {
                State::Serving => {
                    if self.wire.is_paused() {
                        return Poll::Pending;
                    }
                    match self.read(cx) {
                        Input::Some => {}
                        Input::Full => {
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        Input::Nothing => return Poll::Pending,
                        Input::End => return Poll::Ready(()),
                    }
                }
                State::Flushing(_) if flushed => {
                    if self.framing.finish(&mut self.out) {
                        continue;
                    }
                    if let Poll::Ready(Err(_gone)) = self.socket.shutdown(cx) {
                        return Poll::Ready(());
                    }
                    self.start_draining();
                }
                State::Flushing(_) => return Poll::Pending,
                State::Draining(_) => match self.discard(cx) {
                    Input::Some | Input::Full => {}
                    Input::Nothing => return Poll::Pending,
                    Input::End => return Poll::Ready(()),
                },
            }
        }
    }

    fn is_out_of_time(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.state {
            State::Serving => false,
            State::Flushing(until) | State::Draining(until) => until.as_mut().poll(cx).is_ready(),
        }
    }

    /// Read on until the other side has closed: closing with input unread would make the kernel throw away what was
    /// just sent.
    fn start_draining(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Serving);
        self.state = match state {
            State::Flushing(until) | State::Draining(until) => State::Draining(until),
            State::Serving => State::Draining(Box::pin(sleep(FAREWELL))),
        };
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Input {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match self.socket.poll_read(cx, &mut buffer) {
                Poll::Pending => return Input::Nothing,
                Poll::Ready(Err(_gone)) => return Input::End,
                Poll::Ready(Ok(())) => {}
            }
            let full = buffer.remaining() == 0;
            let bytes = buffer.filled_mut();
            if bytes.is_empty() {
                return Input::End;
            }
            self.receive(bytes);
            if self.out.len() - self.sent.max(self.fetched) > REPLIES_MAX {
                return Input::End;
            }
            if full { Input::Full } else { Input::Some }
        })
    }

    fn receive(&mut self, bytes: &mut [u8]) {
        let inside = &self.inside;
        let received = self.framing.receive(bytes, &mut self.out, |plain| inside.bytes(plain));
        if let Err(ended) = received {
            debug!(%ended, "a connection's framing ended");
            self.tell_closed();
            self.state = State::Flushing(Box::pin(sleep(FAREWELL)));
        }
    }

    fn discard(&mut self, cx: &mut Context<'_>) -> Input {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match self.socket.poll_read(cx, &mut buffer) {
                Poll::Pending => Input::Nothing,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => Input::Some,
                Poll::Ready(Ok(()) | Err(_)) => Input::End,
            }
        })
    }

    /// Send what waits here, then what the core has, until the socket takes no more. True once all is sent.
    fn flush(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        loop {
            if self.sent == self.out.len() {
                (self.sent, self.fetched) = (0, 0);
                self.out.clear();
                if !self.framing.is_open() || !self.wire.take_transmit() {
                    give_back(std::mem::take(&mut self.out));
                    return Ok(true);
                }
                self.fetch();
                continue;
            }
            let waiting = self.out.get(self.sent..).unwrap_or_default();
            match self.socket.poll_write(cx, waiting) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => self.sent += count,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(false),
            }
        }
    }

    /// Take from the core what fits; where it had something, ask again once that is sent.
    fn fetch(&mut self) {
        if self.out.capacity() == 0 {
            self.out = SPARE.take();
        }
        let had_some = if self.framing.is_plain() {
            self.inside.transmit(&mut self.out, ROOM_BYTES);
            if self.out.capacity() > SPARE_BYTES_MAX {
                // It doubled for one large packet, which may wait here for long.
                self.out.shrink_to_fit();
            }
            !self.out.is_empty()
        } else {
            let mut plain = PLAIN.take();
            self.inside.transmit(&mut plain, ROOM_BYTES);
            let had_some = !plain.is_empty();
            if self.framing.wrap(&plain, &mut self.out).is_err() {
                self.state = State::Flushing(Box::pin(sleep(FAREWELL)));
            }
            plain.clear();
            if plain.capacity() <= SPARE_BYTES_MAX {
                PLAIN.set(plain);
            }
            had_some
        };
        self.fetched = self.out.len();
        if had_some {
            self.wire.ask_again();
        }
    }

    fn tell_closed(&mut self) {
        if !self.told {
            self.told = true;
            self.inside.closed();
        }
    }
}

/// Keep one buffer for whoever sends next.
fn give_back(buffer: Vec<u8>) {
    if (1..=SPARE_BYTES_MAX).contains(&buffer.capacity()) {
        SPARE.set(buffer);
    }
}

impl<I: Inside + Unpin> Future for Connection<I> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.wire.run(cx.waker());
        let done = this.step(cx);
        this.wire.sleep();
        done
    }
}

impl<I: Inside> Drop for Connection<I> {
    fn drop(&mut self) {
        self.tell_closed();
    }
}

impl Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
