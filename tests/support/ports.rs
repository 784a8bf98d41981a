//! Ports for agents that a test starts: free ones that nobody is given by chance.
//!
//! A port that the system picked and that was given back may be picked again for any connection that goes out, before
//! the agent binds it or while a test keeps it closed. What is below the range for outgoing connections is nobody's.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FROM: u16 = 10_000;
const COUNT: u16 = 22_000;

/// Each port once in a process; where in the range it begins depends on the process.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let candidates = std::iter::repeat_with(|| {
        let place = u32::from(GIVEN.fetch_add(1, Ordering::Relaxed)) + std::process::id() * 37;
        FROM + (place % u32::from(COUNT)) as u16
    });
    let mut free = candidates.take(1_000).filter(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok());
    [(); N].map(|()| free.next().expect("a free port"))
}
