//! What has come by a connection and cannot be read yet, as only the kernel knows it.
//!
//! On a slow and full line packets are lost, and nothing that comes behind a lost one can be read until that has come,
//! too, for seconds at times. To who only reads, a machine that goes on sending looks dead meanwhile. The kernel counts
//! all that comes; asking it takes no rights (`sock_diag(7)`). Where it does not answer, reading is all there is.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use hobnail_core::time::Now;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};
use tokio::net::TcpStream;

/// Of `linux/netlink.h`, `linux/sock_diag.h` and `linux/inet_diag.h`.
const HEADER: usize = 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const INET_DIAG_INFO: u16 = 2;
const REPLY: usize = HEADER + 72;
const IPPROTO_TCP: u8 = 6;
/// Of `struct tcp_info` in `linux/tcp.h`: bytes that came in order, and packets that did not.
const BYTES_RECEIVED: usize = 128;
const RCV_OOOPACK: usize = 224;

/// What has come by one connection.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Came {
    bytes_in_order: u64,
    packets_out_of_order: u32,
}

/// One connection, as the kernel tells it from others, and what had come by it at the last look.
pub struct Packets {
    ends: Option<(SocketAddr, SocketAddr)>,
    seen: Cell<Option<(Now, Came)>>,
}

impl Packets {
    #[must_use]
    pub fn of(stream: &TcpStream) -> Self {
        Self { ends: stream.local_addr().ok().zip(stream.peer_addr().ok()), seen: Cell::default() }
    }

    /// Whether any have come since then that this knows of. The first look shows what there is to compare with.
    pub fn have_come_since(&self, then: Now, now: Now) -> bool {
        let Some(came) = self.ends.and_then(|(local, remote)| ask(local, remote)) else { return false };
        let before = self.seen.replace(Some((now, came)));
        before.is_some_and(|(at, before)| at >= then && before != came)
    }
}

fn ask(local: SocketAddr, remote: SocketAddr) -> Option<Came> {
    let kernel =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG)).ok()?;
    send(&kernel, &question(local, remote), SendFlags::empty()).ok()?;
    let mut answer = [0; 1024];
    let (_, length) = recv(&kernel, &mut answer, RecvFlags::DONTWAIT).ok()?;
    came(answer.get(..length)?)
}

fn question(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let scope = |address: SocketAddr| match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    };
    let mut body = vec![u8::try_from(family.as_raw()).unwrap_or_default(), IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(local.port().to_be_bytes());
    body.extend(remote.port().to_be_bytes());
    body.extend(sixteen(local.ip()));
    body.extend(sixteen(remote.ip()));
    body.extend(scope(local).to_ne_bytes());
    // Whatever connection it is that has these ends.
    body.extend([0xFF; 8]);
    let mut question = Vec::with_capacity(HEADER + body.len());
    question.extend(u32::try_from(HEADER + body.len()).unwrap_or_default().to_ne_bytes());
    question.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    question.extend(NLM_F_REQUEST.to_ne_bytes());
    question.extend([0; 8]);
    question.extend(body);
    question
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut all = [0; 16];
            all[..4].copy_from_slice(&address.octets());
            all
        }
        IpAddr::V6(address) => address.octets(),
    }
}

fn came(answer: &[u8]) -> Option<Came> {
    let number = |bytes: &[u8], at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    if number(answer, 4)? != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let mut rest = answer.get(REPLY..)?;
    loop {
        let length = usize::from(number(rest, 0)?);
        let info = rest.get(4..length)?;
        if number(rest, 2)? == INET_DIAG_INFO {
            let bytes = info.get(BYTES_RECEIVED..BYTES_RECEIVED + 8)?.try_into().ok()?;
            // Before Linux 5.4 these are not counted.
            let packets = info.get(RCV_OOOPACK..RCV_OOOPACK + 4).and_then(|packets| packets.try_into().ok());
            let packets = packets.map_or(0, u32::from_ne_bytes);
            return Some(Came { bytes_in_order: u64::from_ne_bytes(bytes), packets_out_of_order: packets });
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    /// The accepted end, which nobody reads, and the other one.
    fn connected(address: &str, port_at: &str) -> (TcpStream, std::net::TcpStream) {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let other = std::net::TcpStream::connect((port_at, port)).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        (TcpStream::from_std(accepted).unwrap(), other)
    }

    #[tokio::test]
    async fn what_nobody_has_read_has_come_all_the_same() {
        for (listens_at, called_at) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")] {
            let (stream, mut other) = connected(listens_at, called_at);
            let packets = Packets::of(&stream);
            assert!(!packets.have_come_since(Now(1), Now(2)), "{called_at}: there is nothing to compare with");
            assert!(!packets.have_come_since(Now(1), Now(3)), "{called_at}: nothing came");
            other.write_all(b"hello").unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(packets.have_come_since(Now(3), Now(4)), "{called_at}");
            assert!(!packets.have_come_since(Now(4), Now(5)), "{called_at}: it has come once");
            other.write_all(b"hello").unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(!packets.have_come_since(Now(6), Now(7)), "{called_at}: what was known is older");
        }
    }

    #[test]
    fn an_answer_of_another_shape_says_nothing() {
        let local: SocketAddr = "127.0.0.1:1".parse().unwrap();
        assert!(ask(local, local).is_none(), "there is no such connection");
        for length in 0..200 {
            assert!(came(&vec![0; length]).is_none());
            assert!(came(&vec![0xFF; length]).is_none());
            let mut named = vec![0; length];
            if let Some(kind) = named.get_mut(4..6) {
                kind.copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
            }
            assert!(came(&named).is_none());
        }
    }
}
