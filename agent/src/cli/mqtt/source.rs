//! Where the messages come from that a command sends.
//!
//! Lines are read by a thread of their own in blocks; at most [`BLOCKS_MAX`] of them wait, then the thread does.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// What the reading thread reads at once.
const BLOCK_BYTES: usize = 64 * 1024;
/// Blocks that wait between the thread and us: enough that neither waits for the other's turn.
const BLOCKS_MAX: usize = 4;
/// Longest message: what one packet can hold.
const PAYLOAD_BYTES_MAX: usize = 268_435_455;

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("failed to read standard input")]
    Read(#[from] io::Error),
    #[error("a line on standard input is longer than a packet can be ({PAYLOAD_BYTES_MAX} bytes)")]
    LineTooLong,
    #[error("standard input is longer than a packet can be ({PAYLOAD_BYTES_MAX} bytes)")]
    InputTooLong,
}

pub enum Source {
    Repeated { payload: Vec<u8>, left: u64, pause: Duration, due: Instant },
    Lines(Lines),
}

/// What the source has now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    Message(&'a [u8]),
    /// Nothing for so long, or until the connection has room again.
    Later(Option<Duration>),
    /// Nothing before [`Source::wait`] has brought more.
    Bytes,
    End,
}

pub struct Lines {
    blocks: mpsc::Receiver<io::Result<Vec<u8>>>,
    held: Vec<u8>,
    start: usize,
    /// Up to here there is no line end behind `start`.
    searched: usize,
    ended: bool,
}

impl Source {
    pub fn repeated(payload: Vec<u8>, count: u64, pause: Duration) -> Self {
        Self::Repeated { payload, left: count, pause, due: Instant::now() }
    }

    pub fn lines() -> Self {
        let (sender, blocks) = mpsc::channel(BLOCKS_MAX);
        // Detached: a read of standard input cannot be called off, and the process ends without it.
        std::thread::spawn(move || {
            let mut input = io::stdin().lock();
            loop {
                let mut block = vec![0; BLOCK_BYTES];
                let read = match input.read(&mut block) {
                    Ok(0) => return,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Ok(count) => {
                        block.truncate(count);
                        Ok(block)
                    }
                    Err(error) => Err(error),
                };
                let failed = read.is_err();
                if sender.blocking_send(read).is_err() || failed {
                    return;
                }
            }
        });
        Self::Lines(Lines { blocks, held: Vec::new(), start: 0, searched: 0, ended: false })
    }

    pub fn poll(&mut self) -> Result<Next<'_>, SourceError> {
        match self {
            Self::Repeated { left: 0, .. } => Ok(Next::End),
            Self::Repeated { payload, left, pause, due } => {
                let wait = due.saturating_duration_since(Instant::now());
                if !wait.is_zero() {
                    return Ok(Next::Later(Some(wait)));
                }
                *left -= 1;
                *due = Instant::now() + *pause;
                Ok(Next::Message(payload))
            }
            Self::Lines(lines) => lines.poll(),
        }
    }

    /// Wait for more input; dropped, nothing is lost.
    pub async fn wait(&mut self) -> Result<(), SourceError> {
        match self {
            Self::Repeated { .. } => Ok(()),
            Self::Lines(lines) => {
                let block = lines.blocks.recv().await;
                lines.take(block)
            }
        }
    }

    /// No more from here.
    pub fn end(&mut self) {
        *self = Self::repeated(Vec::new(), 0, Duration::ZERO);
    }
}

impl Lines {
    fn poll(&mut self) -> Result<Next<'_>, SourceError> {
        let fresh = self.held.get(self.searched..).unwrap_or_default();
        let (from, to) = match fresh.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let found = (self.start, self.searched + at);
                self.start = self.searched + at + 1;
                found
            }
            None if !self.ended => {
                self.searched = self.held.len();
                return Ok(Next::Bytes);
            }
            None if self.start == self.held.len() => return Ok(Next::End),
            // The last line has no end.
            None => {
                let found = (self.start, self.held.len());
                self.start = self.held.len();
                found
            }
        };
        self.searched = self.start;
        Ok(Next::Message(self.held.get(from..to).unwrap_or_default()))
    }

    fn take(&mut self, block: Option<io::Result<Vec<u8>>>) -> Result<(), SourceError> {
        let Some(block) = block else {
            self.ended = true;
            return Ok(());
        };
        let block = block?;
        self.held.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        if self.held.len() + block.len() > PAYLOAD_BYTES_MAX && !block.contains(&b'\n') {
            return Err(SourceError::LineTooLong);
        }
        self.held.extend_from_slice(&block);
        Ok(())
    }
}

pub fn all_of_stdin() -> Result<Vec<u8>, SourceError> {
    let mut payload = Vec::new();
    let limit = u64::try_from(PAYLOAD_BYTES_MAX).unwrap_or(u64::MAX);
    io::stdin().lock().take(limit + 1).read_to_end(&mut payload)?;
    if payload.len() > PAYLOAD_BYTES_MAX { Err(SourceError::InputTooLong) } else { Ok(payload) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(blocks: &[&str]) -> Vec<String> {
        let (_sender, receiver) = mpsc::channel(1);
        let mut lines = Lines { blocks: receiver, held: Vec::new(), start: 0, searched: 0, ended: false };
        let mut waiting = blocks.iter();
        let mut found = Vec::new();
        loop {
            match lines.poll().unwrap() {
                Next::Message(line) => found.push(String::from_utf8_lossy(line).into_owned()),
                Next::Bytes => {
                    let block = waiting.next().map(|text| Ok(text.as_bytes().to_vec()));
                    lines.take(block).unwrap();
                }
                Next::Later(_) => unreachable!("lines never pause"),
                Next::End => return found,
            }
        }
    }

    #[test]
    fn lines_are_cut_the_same_however_the_blocks_fall() {
        let text = "one\n\nthree\r\nlast";
        let whole = cut(&[text]);
        assert_eq!(whole, ["one", "", "three\r", "last"]);
        for at in 0..text.len() {
            let (head, tail) = text.split_at(at);
            assert_eq!(cut(&[head, tail]), whole, "cut at {at}");
        }
    }

    #[test]
    fn a_final_line_end_makes_no_empty_message() {
        assert_eq!(cut(&["a\n"]), ["a"]);
        assert_eq!(cut(&[]), Vec::<String>::new());
    }
}
