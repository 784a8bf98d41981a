//! A program that talks to itself through its agent, one message after the other, and notices what it loses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long an answer may take before a message counts as lost.
const LIMIT: Duration = Duration::from_secs(10);

pub struct Programs {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<u64, String>>>,
}

impl Programs {
    /// So many of them, each with one connection.
    pub fn start(door: SocketAddr, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |number: usize| {
            let stop = stop.clone();
            let stream = connect(door, &format!("p{number}"));
            std::thread::spawn(move || talk(stream, number, &stop))
        };
        let threads = (0..count).map(start).collect();
        Self { stop, threads }
    }

    /// How many messages went round. Panics if a connection was dropped or a message lost.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.threads.into_iter().map(|thread| thread.join().expect("no panic"));
        let counts: Result<Vec<u64>, String> = ended.collect();
        let counts = counts.expect("every message comes back on the connection that it went out by");
        assert!(counts.iter().all(|count| *count > 0), "every program talked: {counts:?}");
        counts.iter().sum()
    }
}

/// A connection with a clean session, accepted.
pub fn connect(door: SocketAddr, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(door).expect("the door is open");
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut packet = b"\x10\0\0\x04MQTT\x04\x02\0\0\0".to_vec();
    packet.push(id.len() as u8);
    packet.extend(id.as_bytes());
    packet[1] = (packet.len() - 2) as u8;
    stream.write_all(&packet).unwrap();
    expect(&mut stream, b"\x20\x02\0\0").expect("accepted");
    stream
}

/// Whether its other end has closed it.
pub fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    matches!(stream.read(&mut [0; 64]), Ok(0))
}

fn expect(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).map_err(|error| error.to_string())?;
    if got == bytes { Ok(()) } else { Err(format!("{got:?} came instead of {bytes:?}")) }
}

fn talk(mut stream: TcpStream, number: usize, stop: &AtomicBool) -> Result<u64, String> {
    let topic = [b't', b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
    let failed = |error: std::io::Error| error.to_string();
    let [t, a, b] = topic;
    stream.write_all(&[0x82, 8, 0, 1, 0, 3, t, a, b, 1]).map_err(failed)?;
    expect(&mut stream, &[0x90, 3, 0, 1, 1])?;
    let mut count = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        let body = count.to_be_bytes();
        stream.write_all(&[&[0x32, 15, 0, 3, t, a, b, 0, 7][..], &body].concat()).map_err(failed)?;
        // The message and its acknowledgement, in either order.
        let (mut answered, mut heard) = (false, false);
        while !(answered && heard) {
            let mut head = [0; 2];
            stream.read_exact(&mut head).map_err(|error| format!("message {count} of {number}: {error}"))?;
            let mut rest = vec![0; usize::from(head[1])];
            stream.read_exact(&mut rest).map_err(failed)?;
            if head[0] == 0x40 {
                answered = true;
            } else if head[0] & 0xf0 == 0x30 && rest.ends_with(&body) {
                heard = true;
                stream.write_all(&[0x40, 2, rest[5], rest[6]]).map_err(failed)?;
            } else {
                return Err(format!("{head:?} {rest:?} came at message {count}"));
            }
        }
    }
    Ok(count)
}
