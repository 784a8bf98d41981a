//! Every byte that crosses the switch, as a packet socket sees it.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::lab::{Lab, within};

/// All protocols, in network order (if_ether.h).
const ETH_P_ALL: i32 = 3u16.to_be() as i32;
const BYTES_MAX: usize = 64 << 20;

pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Capture {
    pub fn start(lab: &Lab) -> Self {
        let mut socket = within(&lab.switch(), || {
            Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(ETH_P_ALL))).expect("a packet socket")
        });
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("set");
        socket.set_recv_buffer_size(16 << 20).expect("set");
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = thread::spawn(move || {
            let (mut packets, mut bytes, mut buffer) = (Vec::new(), 0, vec![0; 70_000]);
            loop {
                match socket.read(&mut buffer) {
                    Ok(length) => {
                        bytes += length;
                        assert!(bytes < BYTES_MAX, "the capture has grown too large");
                        packets.push(buffer[..length].to_vec());
                    }
                    Err(_) if stopping.load(Ordering::Relaxed) => return packets,
                    Err(_) => {}
                }
            }
        });
        Self { stop, thread }
    }

    /// The packets, once nothing more comes.
    pub fn stop(self) -> Vec<Vec<u8>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it captured")
    }
}

/// How many packets hold `text`.
pub fn holding(packets: &[Vec<u8>], text: &[u8]) -> usize {
    packets.iter().filter(|packet| packet.windows(text.len()).any(|window| window == text)).count()
}
