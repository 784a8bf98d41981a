//! The connections that stand: those of programs, each held by the test, and those between machines, as the system
//! lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::{Read, Write};

pub trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// A connection, by where it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Through this door of this machine.
    Door(&'static str, &'static str),
    /// From the first machine to the second.
    Link(&'static str, &'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Door("hub", "programs") => write!(f, "hub's program"),
            Self::Door("hub", "web-socket") => write!(f, "hub's page"),
            Self::Door("hub", "unix") => write!(f, "hub's program at the Unix socket"),
            Self::Door("hub", "devices") => write!(f, "the device"),
            Self::Door(machine, _) => write!(f, "{machine}'s program"),
            Self::Link(from, to) => write!(f, "{} – {}", from.min(to), from.max(to)),
        }
    }
}

impl Place {
    /// Where it could have been the other machine that dialled: brokers dial each other.
    pub fn other_way(self) -> Option<Self> {
        match self {
            Self::Link(from @ ("hub" | "spare"), to @ ("hub" | "spare")) => Some(Self::Link(to, from)),
            Self::Link(..) | Self::Door(..) => None,
        }
    }
}

/// A connection of a program, and how it asks whether anybody is there.
pub struct Held {
    pub wire: Box<dyn Wire>,
    pub ping: Vec<u8>,
    pub pong: Vec<u8>,
}

impl Held {
    /// Whether it is served still.
    pub fn is_served(&mut self) -> bool {
        let mut answer = vec![0; self.pong.len()];
        let asked = self.wire.write_all(&self.ping).and_then(|()| self.wire.flush());
        asked.is_ok() && self.wire.read_exact(&mut answer).is_ok() && answer == self.pong
    }
}

/// The connections of these processes to these ports, which stand: their places, and what tells each from its successor.
pub fn links(machines: &[(&'static str, u32)], doors: &BTreeMap<u16, &'static str>) -> BTreeMap<Place, BTreeSet<u64>> {
    let mut links = BTreeMap::<Place, BTreeSet<u64>>::new();
    let connections = connections();
    for (machine, process) in machines {
        for socket in sockets(*process) {
            if let Some(to) = connections.get(&socket).and_then(|port| doors.get(port)) {
                links.entry(Place::Link(machine, to)).or_default().insert(socket);
            }
        }
    }
    links
}

/// Every established connection of TCP: its inode, and the port at its other end.
fn connections() -> BTreeMap<u64, u16> {
    let list = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let lines = list("/proc/net/tcp") + &list("/proc/net/tcp6");
    let established = lines.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let port = u16::from_str_radix(fields.get(2)?.rsplit(':').next()?, 16).ok()?;
        let inode = fields.get(9)?.parse().ok()?;
        (*fields.get(3)? == "01").then_some((inode, port))
    });
    established.collect()
}

fn sockets(process: u32) -> BTreeSet<u64> {
    let files = fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").filter_map(Result::ok);
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    links.filter_map(|to| to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}
