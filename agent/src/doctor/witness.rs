//! The other machine of a plug-pull test: it keeps the newest number that it was told is on the disk.
//!
//! ```text
//!   begin ID BOOT     a test; forgets the one before        → ok
//!   17                so far it is on the disk, by that test
//!   end               it was called off                     → ok
//!   heard             what of the newest test?              → ID BOOT 17, or `nothing`
//! ```
//!
//! Lines of text over TCP, no secret in them: for the time of a test, on a network whose machines are trusted.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Whoever says nothing for so long has no power any more; a card may think for seconds.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Longer than any line; one that is not at its end then is none.
const LINE_BYTES_MAX: u64 = 128;
/// One tests, another asks; more are let go at once.
const CONNECTIONS_MAX: usize = 8;

/// What was heard of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub id: u64,
    /// Of the system, as the kernel names it.
    pub boot: String,
    /// The newest that was on the disk.
    pub number: u64,
}

#[derive(Clone)]
pub struct Witness {
    heard: Arc<Mutex<Option<Heard>>>,
    connections: Arc<AtomicUsize>,
}

impl Witness {
    /// Serve a listener in a thread of its own, as long as the process lives.
    pub fn start(listener: TcpListener) -> io::Result<Self> {
        let witness = Self { heard: Arc::default(), connections: Arc::default() };
        let serving = witness.clone();
        thread::Builder::new().name("witness".into()).spawn(move || serving.serve(&listener))?;
        Ok(witness)
    }

    #[must_use]
    pub fn heard(&self) -> Option<Heard> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, listener: &TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept() else {
                // Out of descriptors, or a visitor that has gone: neither is cured by haste.
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            if self.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                self.connections.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let witness = self.clone();
            let spawned = thread::Builder::new().spawn(move || {
                // A visitor that makes no sense is let go; what it said in sense before that stands.
                let _ = witness.listen_to(&stream);
                witness.connections.fetch_sub(1, Ordering::Relaxed);
            });
            if spawned.is_err() {
                self.connections.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn listen_to(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        let (mut reader, mut writer) = (BufReader::new(stream), stream);
        let mut mine = None;
        while let Some(line) = line(&mut reader)? {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["begin", id, boot] if is_boot(boot) => {
                    let id = number(id)?;
                    *self.lock() = Some(Heard { id, boot: boot.to_owned(), number: 0 });
                    mine = Some(id);
                    writer.write_all(b"ok\n")?;
                }
                ["end"] => {
                    drop(self.lock().take_if(|heard| Some(heard.id) == mine));
                    writer.write_all(b"ok\n")?;
                }
                ["heard"] => {
                    let told = self.heard().map(|Heard { id, boot, number }| format!("{id} {boot} {number}\n"));
                    writer.write_all(told.unwrap_or_else(|| "nothing\n".to_owned()).as_bytes())?;
                }
                [newest] => self.note(mine, number(newest)?),
                _ => return Err(ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }

    fn note(&self, id: Option<u64>, number: u64) {
        if let Some(heard) = self.lock().as_mut().filter(|heard| Some(heard.id) == id) {
            heard.number = heard.number.max(number);
        }
    }
}

/// A connection to the witness.
pub struct ToWitness(TcpStream);

impl ToWitness {
    pub fn connect(address: &str) -> io::Result<Self> {
        let mut failed = ErrorKind::NotFound.into();
        for address in address.to_socket_addrs()? {
            match Self::open(address) {
                Ok(stream) => return Ok(Self(stream)),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn open(address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        Ok(stream)
    }

    pub fn begin(&mut self, id: u64, boot: &str) -> io::Result<()> {
        self.agree(&format!("begin {id} {boot}"))
    }

    pub fn tell(&mut self, number: u64) -> io::Result<()> {
        self.say(&number.to_string())
    }

    pub fn end(&mut self) -> io::Result<()> {
        self.agree("end")
    }

    pub fn heard(&mut self) -> io::Result<Option<Heard>> {
        self.say("heard")?;
        let answer = self.answer()?;
        let words: Vec<&str> = answer.split(' ').collect();
        match words[..] {
            ["nothing"] => Ok(None),
            [id, boot, newest] if is_boot(boot) => {
                Ok(Some(Heard { id: number(id)?, boot: boot.to_owned(), number: number(newest)? }))
            }
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }

    fn agree(&mut self, words: &str) -> io::Result<()> {
        self.say(words)?;
        if self.answer()? == "ok" { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
    }

    fn say(&mut self, words: &str) -> io::Result<()> {
        self.0.write_all(format!("{words}\n").as_bytes())
    }

    fn answer(&mut self) -> io::Result<String> {
        line(&mut BufReader::new(&self.0))?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }
}

/// A line without its end; `None` where there is no more.
fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if reader.take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let whole = line.strip_suffix('\n').ok_or(ErrorKind::InvalidData)?;
    Ok(Some(whole.to_owned()))
}

fn number(word: &str) -> io::Result<u64> {
    word.parse().map_err(|_not| ErrorKind::InvalidData.into())
}

/// It goes through a terminal and back over the network.
fn is_boot(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness() -> (Witness, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (Witness::start(listener).unwrap(), address)
    }

    fn asked(address: &str) -> Option<Heard> {
        ToWitness::connect(address).unwrap().heard().unwrap()
    }

    #[test]
    fn it_keeps_the_newest_number_of_the_newest_test_until_that_is_called_off() {
        let (_witness, address) = witness();
        assert_eq!(asked(&address), None);
        let mut first = ToWitness::connect(&address).unwrap();
        first.begin(1, "a-b").unwrap();
        first.tell(9).unwrap();
        first.tell(4).unwrap();
        // By the same connection, so behind what was told there.
        assert_eq!(first.heard().unwrap(), Some(Heard { id: 1, boot: "a-b".into(), number: 9 }));
        let mut second = ToWitness::connect(&address).unwrap();
        second.begin(2, "c").unwrap();
        first.tell(10).unwrap();
        first.end().unwrap();
        assert_eq!(first.heard().unwrap().map(|heard| (heard.id, heard.number)), Some((2, 0)), "the first is over");
        second.end().unwrap();
        assert_eq!(second.heard().unwrap(), None);
    }

    #[test]
    fn nonsense_and_too_many_are_let_go_and_change_nothing() {
        let (witness, address) = witness();
        let mut sound = ToWitness::connect(&address).unwrap();
        sound.begin(7, "b").unwrap();
        sound.tell(3).unwrap();
        for nonsense in
            [&b"begin 1\n"[..], b"-1\n", b"begin 9 \x1b[2J\n", b"99999999999999999999\n", b"\xff\xfe\n", &[b'1'; 4096]]
        {
            let mut stranger = TcpStream::connect(&address).unwrap();
            stranger.set_read_timeout(Some(ANSWER_MAX)).unwrap();
            // It may be let go before it has said everything.
            let _ = stranger.write_all(nonsense);
            assert!(!matches!(stranger.read(&mut [0; 8]), Ok(1..)), "no answer to {nonsense:?}");
        }
        let crowd: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(&address).unwrap()).collect();
        sound.tell(4).unwrap();
        assert_eq!(sound.heard().unwrap().map(|heard| heard.number), Some(4));
        assert!(witness.connections.load(Ordering::Relaxed) <= CONNECTIONS_MAX + 1);
        drop(crowd);
    }
}
