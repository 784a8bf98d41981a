//! Who listens where this machine's doors are.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use hobnail_core::assign::{Assignment, Door};

use super::{Machine, Symptom, fine, note, sick};

/// The state LISTEN in the kernel's table.
const LISTEN: &str = "0A";

pub fn check(machine: &Machine) -> Vec<Symptom> {
    let Ok(assignment) = &machine.assignment else { return Vec::new() };
    let listeners = listeners();
    doors(assignment).map(|(name, address)| door(&name, address, &listeners)).collect()
}

/// The doors that take a port, and where.
fn doors(assignment: &Assignment) -> impl Iterator<Item = (String, SocketAddr)> {
    assignment.doors.iter().filter_map(|(kind, door)| {
        let address = match door {
            Door::Tcp(address) | Door::Tls { listen: address, .. } => *address,
            Door::Agents(port) => (Ipv4Addr::UNSPECIFIED, *port).into(),
            Door::Unix(_) => return None,
        };
        Some((format!("{kind} door"), address))
    })
}

fn door(name: &str, address: SocketAddr, listeners: &[(SocketAddr, u64)]) -> Symptom {
    let takes = |listens: SocketAddr| {
        let everywhere = listens.ip().is_unspecified() || address.ip().is_unspecified();
        listens.port() == address.port() && (everywhere || listens.ip() == address.ip())
    };
    let Some((_, inode)) = listeners.iter().find(|(listens, _)| takes(*listens)) else {
        return absent(name, address);
    };
    match owner(*inode) {
        Some((_, program)) if program == "hobnail" => fine(format!("the {name} at {address} is open")),
        Some((1, _)) => fine(format!("the {name} at {address} is held open by systemd")),
        Some((pid, program)) => sick(
            format!("{program} (process {pid}) listens at {address}, where the {name} is to be"),
            format!("systemctl disable --now {program}, or another port for the door in the topology"),
        ),
        None => note(format!("someone listens at {address}"), "as root, hobnail doctor says who"),
    }
}

fn absent(name: &str, address: SocketAddr) -> Symptom {
    let ours = UdpSocket::bind((address.ip(), 0));
    if ours.is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable) {
        let cure = "ip address; the door opens by itself as soon as the address is there";
        return note(format!("the {name} waits: this machine does not have {}", address.ip()), cure);
    }
    sick(
        format!("nobody listens at {address}: the {name} is not open"),
        "systemctl start hobnail; systemctl status hobnail",
    )
}

/// Every listening TCP socket with its inode.
fn listeners() -> Vec<(SocketAddr, u64)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(listener).collect()
}

fn listener(line: &str) -> Option<(SocketAddr, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (place, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (ip, port) = place.split_once(':')?;
    let address = SocketAddr::new(ip_of(ip)?, u16::from_str_radix(port, 16).ok()?);
    (*state == LISTEN).then_some((address, inode.parse().ok()?))
}

/// The kernel prints each word of four bytes as this machine holds it.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let bytes: Vec<u8> = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
    let whole: [u8; 16] = bytes.try_into().ok()?;
    let ip = Ipv6Addr::from(whole);
    Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4))
}

/// The process that has the socket, and its name. Of other users' processes only root learns that.
fn owner(inode: u64) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |pid: &u32| {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        open.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|link| link.to_str() == Some(&wanted)))
    };
    let named = |pid| Some((pid, fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned()));
    // A socket that systemd has handed over belongs to both; of a server and its children, the server was there first.
    pids.filter(has).filter_map(named).min_by_key(|(pid, name): &(u32, String)| (name == "systemd", *pid))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::doctor::Health;

    #[test]
    fn a_listener_is_found_with_its_process() {
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(place) else { continue };
            let address = listener.local_addr().unwrap();
            let found = listeners().into_iter().find(|(listens, _)| *listens == address).expect("in the table");
            assert_eq!(owner(found.1).unwrap().0, std::process::id());
            let symptom = door("program door", address, &listeners());
            assert_eq!(symptom.health, Health::Sick, "this test is not called hobnail: {}", symptom.text);
        }
    }

    #[test]
    fn an_address_that_is_not_here_is_told_from_a_door_that_is_shut() {
        assert_eq!(door("d", "192.0.2.1:1883".parse().unwrap(), &[]).health, Health::Note);
        assert_eq!(door("d", "127.0.0.1:1".parse().unwrap(), &[]).health, Health::Sick);
    }
}
