//! Packets that go out in pieces: where a PUBLISH finds too little room it is begun, and the rest of its message stays
//! where it is shared. So many who take a large message slowly hold one copy of it, and no more bytes each than there was
//! room for.
//!
//! Invariants: nothing comes between the pieces of a packet. What was begun on one connection ends there, or with it.
//! While something is begun, the shell is asked to come for more.

use super::connection::Connection;
use super::message::{Content, Place};
use crate::mqtt::packet::Version;

/// A PUBLISH that is not whole yet.
#[derive(Debug)]
pub struct Begun {
    message: Place,
    /// How far its properties and its payload, one behind the other, have gone out.
    sent: usize,
    /// So many bytes of `Connection::control` go before what is left of it.
    behind: usize,
}

/// Where packets are put.
#[derive(Debug)]
pub struct Out<'o> {
    pub bytes: &'o mut Vec<u8>,
    /// There is room up to here.
    pub end: usize,
    /// What there was too little room for.
    pub begun: Option<Begun>,
}

impl Out<'_> {
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.bytes.len() < self.end
    }

    /// What follows the head of a PUBLISH.
    pub fn put_rest(&mut self, message: &Place, version: Version) {
        let skipped = if version == Version::V5 { 0 } else { message.props.len() };
        let sent = put_from(message, skipped, self.bytes, self.end);
        if sent < rest_len(message) {
            self.begun = Some(Begun { message: message.clone(), sent, behind: 0 });
        }
    }
}

impl Begun {
    /// The same where all of `control` goes before it.
    #[must_use]
    pub fn behind(self, control: &[u8]) -> Self {
        Self { behind: control.len(), ..self }
    }
}

impl Connection {
    /// Go on with what was begun. False while there is more of it, which has filled the room then.
    pub fn put_begun(&mut self, out: &mut Vec<u8>, end: usize) -> bool {
        while let Some(begun) = self.begun.front_mut() {
            let before = std::mem::take(&mut begun.behind).min(self.control.len());
            out.extend(self.control.drain(..before));
            begun.sent = put_from(&begun.message, begun.sent, out, end);
            if begun.sent < rest_len(&begun.message) {
                return false;
            }
            self.begun.pop_front();
        }
        true
    }
}

fn rest_len(message: &Content) -> usize {
    message.props.len() + message.payload.len()
}

/// Append as much of the properties and the payload as there is room for, from `at` on; says how far that was.
fn put_from(message: &Content, mut at: usize, out: &mut Vec<u8>, end: usize) -> usize {
    let mut start = 0;
    for part in [&message.props, &message.payload] {
        if let Some(rest) = at.checked_sub(start).and_then(|done| part.get(done..)) {
            let (piece, _) = rest.split_at(rest.len().min(end.saturating_sub(out.len())));
            out.extend_from_slice(piece);
            at += piece.len();
        }
        start += part.len();
    }
    at
}
