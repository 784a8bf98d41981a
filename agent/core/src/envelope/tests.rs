//! Sealing and opening.

use zeroize::Zeroizing;

use crate::ids::Name;
use crate::mqtt::packet::QoS;
use crate::topology::model::Lane;

use super::*;

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn key(byte: u8) -> Key {
    Key::Whole(NetworkKey::new(Zeroizing::new([byte; SECRET_LEN])))
}

fn ring(byte: u8) -> Keyring {
    Keyring::new(&name("workshop"), &key(byte), &[]).expect("one key")
}

fn stamp(seq: u64) -> Stamp {
    Stamp {
        qos: QoS::AtLeastOnce,
        retain: true,
        clear: false,
        lane: Lane::Disk,
        seq,
        incarnation: 0x0102_0304,
        content_type: ContentType(7),
        hlc: 0x1122_3344_5566_7788,
    }
}

#[test]
fn what_one_machine_seals_another_opens() {
    let mut sealer = Sealer::new(&ring(1), &name("press-1"), BootSalt([9; 16])).unwrap();
    let mut envelope = Vec::new();
    sealer.seal(stamp(5), "line/1", b"hello", &mut envelope).unwrap();
    assert_eq!(envelope.len(), OVERHEAD + 5);
    let mut scratch = Vec::new();
    let opened = Opener::new(&ring(1))
        .open(&envelope, "line/1", &mut scratch)
        .map(|opened| (opened.header, opened.body.to_vec()));
    let header = Header { key: ring(1).active(), sender: sealer.sender(), salt: BootSalt([9; 16]), stamp: stamp(5) };
    assert_eq!(opened, Ok((header, b"hello".to_vec())));
    assert_eq!(Header::peek(&envelope), Ok(header));
}
