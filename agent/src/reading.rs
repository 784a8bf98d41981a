//! What the core wants read back from the disk: a thread reads, since a card may take its time, and the answers come to
//! the realm one by one.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use hobnail_core::node::{Fetch, Fetched};
use tokio::sync::mpsc;

use crate::store::{Reader, Stretch};

/// More than the core asks for at once, so nobody ever waits for room.
const ASKED_MAX: usize = 256;

/// The asking end of the thread, which ends with it.
pub struct Reads(SyncSender<Fetch>);

impl Reads {
    /// Start the thread.
    pub fn start(reader: Reader) -> io::Result<(Self, mpsc::Receiver<Fetched>)> {
        let (ask, asked) = sync_channel(ASKED_MAX);
        let (answer, answers) = mpsc::channel(2 * ASKED_MAX);
        thread::Builder::new().name("reader".into()).spawn(move || serve(&reader, &asked, &answer))?;
        Ok((Self(ask), answers))
    }

    pub fn ask(&self, fetch: Fetch) {
        // The thread lives as long as this.
        let _ = self.0.send(fetch);
    }
}

fn serve(reader: &Reader, asked: &Receiver<Fetch>, answers: &mpsc::Sender<Fetched>) {
    while let Ok(Fetch { number, row, from, upto, bytes_max }) = asked.recv() {
        let Stretch { upto, records } = reader.row(&row, from, upto, bytes_max);
        if answers.blocking_send(Fetched { number, upto, things: records }).is_err() {
            return;
        }
    }
}
