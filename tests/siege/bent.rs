//! A packet of every type, and the ways in which it can be wrong.

use super::wire::{Level, ack, connect_with, no_props, packet, publish, subscribe, text};

/// One of every type, those that only a server sends among them; each shorter than 128 bytes.
pub fn samples(level: Level) -> Vec<Vec<u8>> {
    let will = [text("bent"), no_props(level).to_vec(), text("will/topic"), text("gone"), text("user"), text("word")];
    let mut samples = vec![
        connect_with(level, 0xf6, &will.concat()),
        publish(level, "a/b", b"payload", 0, 0),
        publish(level, "a/b", b"payload", 1, 7),
        publish(level, "a/b", b"payload", 2, 8),
        ack(0x40, 7),
        ack(0x50, 7),
        ack(0x62, 7),
        ack(0x70, 7),
        subscribe(level, 9, &[("a/+", 1), ("b/#", 2)]),
        packet(0xa2, &[b"\0\x0a", no_props(level), &text("a/+")].concat()),
        packet(0x20, &[b"\0\0", no_props(level)].concat()),
        packet(0x90, &[b"\0\x09", no_props(level), b"\x01"].concat()),
        packet(0xb0, b"\0\x0a"),
        packet(0xc0, b""),
        packet(0xd0, b""),
        packet(0xe0, b""),
        packet(0x00, b"\0"),
        packet(0xf0, b"\0"),
    ];
    if level == 5 {
        let props = b"\x26\0\x01k\0\x01v\x02\0\0\0\x3c\x03\0\x01t\x08\0\x01r\x09\0\x01c\x01\x01\x23\0\x01";
        let body = [&text("a/b"), &b"\0\x07"[..], &[props.len() as u8], props, b"payload"].concat();
        samples.push(packet(0x32, &body));
        samples.push(packet(0xe0, b"\x04\x05\x11\0\0\0\x0a"));
        samples.push(packet(0x40, b"\0\x07\x10\x04\x1f\0\x01x"));
    }
    samples
}

/// The sample cut off at every byte, with the length it claims and with the length it has; claiming too much; with
/// every byte changed; and with bytes behind its end.
pub fn bend(sample: &[u8]) -> Vec<Vec<u8>> {
    let mut bent = Vec::new();
    for cut in 1..sample.len() {
        bent.push(sample[..cut].to_vec());
        bent.push(packet(sample[0], &sample[2..cut.max(2)]));
    }
    for claim in [&[0x7f][..], &[0xff, 0x01], &[0xff, 0xff, 0xff, 0x7f], &[0xff, 0xff, 0xff, 0xff, 0x01], &[0x80, 0]] {
        bent.push([&sample[..1], claim, &sample[2..]].concat());
    }
    for at in 0..sample.len() {
        for change in [0x00, 0xff, sample[at] ^ 0x80, sample[at].wrapping_add(1)] {
            let mut other = sample.to_vec();
            other[at] = change;
            bent.push(other);
        }
    }
    bent.push(packet(sample[0], &[&sample[2..], b"\0\xff more"].concat()));
    bent
}
