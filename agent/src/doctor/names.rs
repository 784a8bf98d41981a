//! Whether the brokers' names resolve, and whether their agents answer.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hobnail_core::assign::Link;
use hobnail_core::ids::Name;

use super::{Machine, Symptom, fine, plain, sick};

/// All brokers are asked at once, and have this long together: for a name, then for a connection.
const NAME_MAX: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(3);

pub fn check(machine: &Machine) -> Vec<Symptom> {
    let Ok(assignment) = &machine.assignment else { return Vec::new() };
    thread::scope(|scope| {
        let asked: Vec<_> =
            assignment.links.iter().map(|(name, link)| scope.spawn(move || broker(name, link))).collect();
        asked.into_iter().filter_map(|asked| asked.join().ok()).collect()
    })
}

fn broker(name: &Name, link: &Link) -> Symptom {
    let host = &*link.host.0;
    let addresses = match resolve(host, link.port) {
        Ok(addresses) => addresses,
        Err(error) => {
            let cure = "an address instead in the topology, or a line in /etc/hosts; getent hosts NAME tries again";
            return sick(format!("{name}: {host} does not resolve: {}", plain(&error)), cure);
        }
    };
    let mut last = io::Error::from(ErrorKind::NotFound);
    for address in &addresses {
        match TcpStream::connect_timeout(address, CONNECT_MAX) {
            Ok(_) => return fine(format!("{name} answers at {address}")),
            Err(error) => last = error,
        }
    }
    let port = link.port;
    let cure = if last.kind() == ErrorKind::ConnectionRefused {
        format!("on {name}: systemctl status hobnail; its agent door is port {port}")
    } else if last.kind() == ErrorKind::TimedOut {
        format!("is {name} switched on? does a firewall let port {port} through?")
    } else {
        format!("ip route get {host}; ping {host}")
    };
    sick(format!("{name} does not answer at {host}:{port}: {}", plain(&last)), cure)
}

/// Looking up may take minutes where a name server is dead, so it has a thread, which is left behind then.
fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let host = host.to_owned();
    thread::spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Nobody waits any more after the time limit.
        let _ = sender.send(found);
    });
    receiver.recv_timeout(NAME_MAX).unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use hobnail_core::topology::model::Host;

    use super::*;
    use crate::doctor::Health;

    fn ask(host: &str, port: u16) -> Symptom {
        broker(&Name::new("hub").unwrap(), &Link { host: Host(host.into()), port })
    }

    #[test]
    fn who_answers_is_fine_and_who_refuses_or_has_no_address_comes_with_a_cure() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(ask("127.0.0.1", port).health, Health::Fine);
        drop(listener);
        let refused = ask("127.0.0.1", port);
        assert!(refused.text.contains("refused") && refused.cure.unwrap().contains("systemctl status"));
        let unknown = ask("no-such-machine.invalid", port);
        assert!(unknown.text.contains("does not resolve"), "{}", unknown.text);
    }
}
