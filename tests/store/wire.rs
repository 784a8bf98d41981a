//! MQTT 3.1.1, written out by hand, so that no library sends or acknowledges anything by itself.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "one byte of length is enough here");
    [&[first, body.len() as u8], body].concat()
}

pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

/// First byte and body.
pub fn read_packet(stream: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body)?;
    Ok((head[0], body))
}

/// A connection that was let in, and whether its session was there.
pub fn connect(door: SocketAddr, id: &str, flags: u8) -> io::Result<(TcpStream, BufReader<TcpStream>, bool)> {
    let mut stream = TcpStream::connect(door)?;
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream.try_clone()?);
    stream.write_all(&packet(0x10, &[&b"\0\x04MQTT\x04"[..], &[flags, 0, 0], &text(id)].concat()))?;
    let (first, body) = read_packet(&mut input)?;
    assert_eq!((first, body[1]), (0x20, 0), "{id} is not let in: {body:02x?}");
    Ok((stream, input, body[0] & 1 != 0))
}
