//! Ways into a running agent's doors, as a client has them: plain TCP, WebSocket, and TLS with a password.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::agent::{self, Agent, solo};

pub type Certificate = CertificateDer<'static>;
type TlsStream = StreamOwned<ClientConnection, TcpStream>;

pub fn door(agent: &Agent, word: &str) -> SocketAddr {
    let place = agent.line().split(&format!("{word} at ")).nth(1).expect("the line names the door");
    place.split([',', ' ']).next().and_then(|place| place.parse().ok()).expect("an address")
}

pub fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the door is open");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
    stream
}

/// Read and hold against what is expected.
pub fn expect(stream: &mut impl Read, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).expect("an answer within the time limit");
    assert!(got == bytes, "{got:02x?} is not {bytes:02x?}");
}

pub const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01x";
pub const CONNACK: &[u8] = b"\x20\x02\0\0";

pub fn websocket(address: SocketAddr) -> TcpStream {
    let (stream, head) = knock(address, "");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

/// Ask for a WebSocket with these header lines more, and the head of the answer.
pub fn knock(address: SocketAddr, more: &str) -> (TcpStream, String) {
    let mut stream = dial(address);
    let request = format!(
        "GET /mqtt HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n{more}\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer within the time limit");
        head.push(byte[0]);
    }
    (stream, String::from_utf8_lossy(&head).into_owned())
}

/// A masked binary frame; a mask of zeros leaves the payload readable.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x82, 0x80 | u8::try_from(payload.len()).expect("short"), 0, 0, 0, 0];
    bytes.extend_from_slice(payload);
    bytes
}

/// A certificate for `localhost` in `folder`, or nothing where no tool can make one.
pub fn certify(folder: &Path) -> Option<()> {
    let openssl = agent::tool("openssl")?;
    let made = Command::new(openssl)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:false", "-keyout", "door.key", "-out", "door.crt"])
        .current_dir(folder)
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    private(&folder.join("door.key"));
    Some(())
}

fn private(file: &PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("made private");
}

/// A topology with a device door, these doors more, and one device, `plc`, whose password is `sesame`. Its key files are
/// written to `keys`; nothing where no tool can make a certificate.
pub fn with_a_device(keys: &Path, more_doors: &str) -> Option<String> {
    certify(keys)?;
    let mut passwd = Command::new(env!("CARGO_BIN_EXE_hobnail"))
        .args(["passwd", "--password-stdin", "plc.pw"])
        .current_dir(keys)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("hobnail starts");
    passwd.stdin.take().expect("piped").write_all(b"sesame\n").expect("sent");
    assert!(passwd.wait().expect("ends").success());
    let devices = ", devices: { listen: \"127.0.0.1:0\", cert: door.crt, cert_key: door.key }";
    let device = "clients:\n  plc: { device: true, password_file: plc.pw, publish: [\"line/#\"] }\n";
    Some(solo(&format!("{devices}{more_doors}")) + device)
}

pub fn tls(address: SocketAddr, keys: &Path) -> TlsStream {
    tls_trusting(address, &[&certificate(keys)])
}

pub fn tls_trusting(address: SocketAddr, known: &[&Certificate]) -> TlsStream {
    let mut roots = RootCertStore::empty();
    for certificate in known {
        roots.add((*certificate).clone()).expect("fit to trust");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).expect("a client"), dial(address))
}

pub fn connect_as(user: &str, password: &str) -> Vec<u8> {
    let mut packet = b"\x10\0\0\x04MQTT\x04\xc2\0\0\0\x01d".to_vec();
    for text in [user, password] {
        packet.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
        packet.extend(text.as_bytes());
    }
    packet[1] = u8::try_from(packet.len() - 2).expect("short");
    packet
}

pub fn certificate(keys: &Path) -> Certificate {
    certificate_in(&keys.join("door.crt"))
}

pub fn certificate_in(file: &Path) -> Certificate {
    CertificateDer::from_pem_file(file).expect("a certificate")
}
