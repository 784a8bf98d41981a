//! Arbitrary bytes as an envelope or as a key file, and arbitrary messages sealed and then damaged: nothing panics,
//! nothing opens that is not exactly what a machine sealed, and no two texts mean one key with different ids.

use std::iter;

use hobnail_core::envelope::{
    BootSalt, ContentType, Header, Key, Keyring, NetworkKey, OVERHEAD, OpenError, Opener, SEQ_MAX, Sealer, Stamp,
    key_file,
};
use hobnail_core::ids::Name;
use hobnail_core::mqtt::packet::QoS;
use hobnail_core::topology::model::Lane;

const TOPIC: &str = "line/1";

/// The first byte says what the rest is.
pub fn check(input: &[u8]) {
    let Some((pick, bytes)) = input.split_first() else { return };
    match pick % 3 {
        0 => as_envelope(bytes),
        1 => as_key_file(bytes),
        _ => as_message(bytes),
    }
}

#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (seq, body) in [&b""[..], b"21.5", &[0x5a; 100]].into_iter().enumerate() {
        let seq = u64::try_from(seq).expect("a few");
        let envelope = sealed(BootSalt([3; 16]), stamp(1, seq), TOPIC, body);
        seeds.push(iter::once(0).chain(envelope).collect());
    }
    let whole = key();
    let Key::Whole(network) = &whole else { unreachable!("it was made whole") };
    for key in [&whole, &Key::Relay(network.link_secret())] {
        seeds.push(iter::once(1).chain(key_file::render(key, &["a comment"]).bytes()).collect());
    }
    seeds.push(b"\x02\x01\x00\x00\x07\x00\x20\x05line/body".to_vec());
    seeds.push([&[2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0][..], &[7; 90]].concat());
    seeds
}

fn key() -> Key {
    Key::Whole(NetworkKey::new([0x42; 32].into()))
}

fn keyring() -> Keyring {
    Keyring::new(&name("workshop"), &key(), &[]).expect("one key")
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn stamp(pick: u8, seq: u64) -> Stamp {
    let bit = |number: u8| pick >> number & 1 == 1;
    Stamp {
        qos: [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(pick % 3)],
        retain: bit(2),
        clear: bit(3),
        lane: [Lane::Memory, Lane::Disk, Lane::Urgent][usize::from(pick >> 4) % 3],
        seq,
        incarnation: u32::from(pick) << 24,
        content_type: ContentType(pick.into()),
        hlc: seq ^ u64::MAX,
    }
}

fn sealed(salt: BootSalt, stamp: Stamp, topic: &str, body: &[u8]) -> Vec<u8> {
    let mut envelope = Vec::new();
    let mut sealer = Sealer::new(&keyring(), &name("press-1"), salt).expect("a whole key");
    sealer.seal(stamp, topic, body, &mut envelope).expect("a first seq");
    envelope
}

fn as_envelope(bytes: &[u8]) {
    let (peeked, mut scratch) = (Header::peek(bytes), Vec::new());
    match Opener::new(&keyring()).open(bytes, TOPIC, &mut scratch) {
        Ok(opened) => {
            assert_eq!(peeked, Ok(opened.header));
            let again = sealed(opened.header.salt, opened.header.stamp, TOPIC, opened.body);
            assert_eq!(again, bytes, "it opens, but nobody sealed it");
        }
        Err(error) => {
            assert_eq!(peeked.err(), if let OpenError::Malformed(why) = error { Some(why) } else { None });
            assert!(scratch.is_empty());
        }
    }
}

fn as_key_file(bytes: &[u8]) {
    match key_file::parse(bytes) {
        Ok(key) => {
            let text = key_file::render(&key, &[]);
            let again = key_file::parse(text.as_bytes()).expect("what was written can be read");
            assert_eq!(again.fingerprint(), key.fingerprint());
            assert_eq!(key_file::render(&again, &[]), text);
        }
        Err(problem) => assert!(problem.to_string().len() < 200),
    }
}

/// Flags, four bytes of seq, two of which bit to flip, the length of the topic, then topic and body.
fn as_message(bytes: &[u8]) {
    let Some(([flags, a, b, c, d, bit_high, bit_low, topic_len], rest)) = bytes.split_first_chunk::<8>() else {
        return;
    };
    let Some((topic, body)) = rest.split_at_checked((*topic_len).into()) else { return };
    let Ok(topic) = str::from_utf8(topic) else { return };
    let seq = u64::from_be_bytes([0, *a, *b, *c, *d, *a, *b, *c]) & SEQ_MAX;
    let stamp = stamp(*flags, seq);
    let mut envelope = sealed(BootSalt([*d; 16]), stamp, topic, body);
    assert_eq!(envelope.len(), OVERHEAD + body.len());
    let (mut opener, mut scratch) = (Opener::new(&keyring()), Vec::new());
    let opened = opener.open(&envelope, topic, &mut scratch).expect("what was sealed opens");
    assert_eq!((opened.header.stamp, opened.body), (stamp, body));
    let bit = usize::from(u16::from_be_bytes([*bit_high, *bit_low])) % (envelope.len() * 8);
    envelope[bit / 8] ^= 1 << (bit % 8);
    assert!(opener.open(&envelope, topic, &mut scratch).is_err(), "bit {bit} may be flipped");
}
