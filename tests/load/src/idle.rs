//! What a broker costs that has nothing to do.

use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::server::{Kind, Server};

/// For what was begun at start, or for the last connections, to settle.
const SETTLE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, Default)]
pub struct Idle {
    pub started_ms: f64,
    pub rss_mib: f64,
    pub bytes_per_connection: f64,
    pub accepted_per_s: f64,
}

pub fn idle(kind: &Kind, folder: &Path, connections: usize) -> io::Result<Idle> {
    let server = Server::start(kind, folder)?;
    sleep(SETTLE);
    let before = server.rss_kib()?;
    let begin = Instant::now();
    let clients: io::Result<Vec<Client>> =
        (0..connections).map(|number| Client::connect(server.mouth, &format!("idle-{number}"))).collect();
    let clients = clients?;
    let took = begin.elapsed();
    sleep(SETTLE);
    let after = server.rss_kib()?;
    let bytes = after.saturating_sub(before) as f64 * 1_024.0 / clients.len().max(1) as f64;
    Ok(Idle {
        started_ms: server.started_in.as_secs_f64() * 1_000.0,
        rss_mib: before as f64 / 1_024.0,
        bytes_per_connection: bytes,
        accepted_per_s: connections as f64 / took.as_secs_f64(),
    })
}
