//! Sealing and opening, with published vectors, every flipped bit, and everything in the wrong place.

mod files;
mod properties;
mod speed;
mod vectors;

use zeroize::Zeroizing;

use crate::ids::Name;
use crate::mqtt::packet::QoS;
use crate::topology::model::Lane;

use super::*;

const SALT: BootSalt = BootSalt([9; 16]);

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn network_key(byte: u8) -> NetworkKey {
    NetworkKey::new(Zeroizing::new([byte; SECRET_LEN]))
}

fn key(byte: u8) -> Key {
    Key::Whole(network_key(byte))
}

fn relay(byte: u8) -> Key {
    Key::Relay(network_key(byte).link_secret())
}

fn keyring(active: &Key, accepted: &[Key]) -> Keyring {
    Keyring::new(&name("workshop"), active, accepted).expect("keys that differ")
}

fn sealer(keyring: &Keyring, salt: BootSalt) -> Sealer {
    Sealer::new(keyring, &name("press-1"), salt).expect("a whole key")
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

fn sealed(sealer: &mut Sealer, seq: u64, topic: &str, body: &[u8]) -> Vec<u8> {
    let mut envelope = Vec::new();
    sealer.seal(stamp(seq), topic, body, &mut envelope).expect("a fresh seq");
    envelope
}

fn open(opener: &mut Opener, envelope: &[u8], topic: &str) -> Result<Vec<u8>, OpenError> {
    let mut scratch = b"from before".to_vec();
    let opened = opener.open(envelope, topic, &mut scratch).map(|opened| opened.body.to_vec());
    assert!(opened.is_ok() || scratch.is_empty(), "a refusal leaves bytes behind");
    opened
}

#[test]
fn what_one_machine_seals_another_opens() {
    let keys = keyring(&key(1), &[]);
    let mut sealer = sealer(&keys, SALT);
    let mut opener = Opener::new(&keyring(&key(1), &[]));
    for (seq, body) in [&b""[..], b"hello", &[0xab; 100_000]].into_iter().enumerate() {
        let seq = u64::try_from(seq).unwrap();
        let envelope = sealed(&mut sealer, seq, "line/1", body);
        assert_eq!(envelope.len(), OVERHEAD + body.len());
        let header = Header { key: keys.active(), sender: sealer.sender(), salt: SALT, stamp: stamp(seq) };
        assert_eq!(Header::peek(&envelope), Ok(header));
        let mut scratch = Vec::new();
        assert_eq!(opener.open(&envelope, "line/1", &mut scratch), Ok(Opened { header, body }));
    }
}

#[test]
fn every_flipped_bit_of_an_envelope_is_refused() {
    let keys = keyring(&key(1), &[]);
    let good = sealed(&mut sealer(&keys, SALT), 5, "line/1", b"hello");
    let mut opener = Opener::new(&keys);
    let mut forged = 0;
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        match open(&mut opener, &bad, "line/1") {
            Ok(_) => panic!("bit {bit} may be flipped"),
            Err(OpenError::UnknownKey(_)) => assert!((32..64).contains(&bit), "bit {bit} is no part of the key's id"),
            Err(OpenError::Malformed(_)) => assert!(bit < 56 * 8),
            Err(OpenError::Forged) => forged += 1,
            Err(OpenError::RelayKey(_)) => panic!("there is no relay's key"),
        }
    }
    // All but version, suite, flags, key id, six bits of the lane and the reserved bytes can only be told by the tag.
    assert!(forged > (56 - 8 - 1 - 2) * 8 + (5 + 16) * 8, "only {forged} were tried against the tag");
    assert_eq!(open(&mut opener, &good, "line/1"), Ok(b"hello".to_vec()));
}

#[test]
fn an_envelope_means_nothing_in_another_place() {
    let keys = keyring(&key(1), &[]);
    let mut machine = sealer(&keys, SALT);
    let first = sealed(&mut machine, 1, "line/1", b"one");
    let second = sealed(&mut machine, 2, "line/1", b"two");
    let mut opener = Opener::new(&keys);
    for topic in ["line/2", "line/", "line/11", "", "x", &"l".repeat(70_000)] {
        assert_eq!(open(&mut opener, &first, topic), Err(OpenError::Forged), "{topic:.9}");
    }
    let elsewhere = Keyring::new(&name("workshop2"), &key(1), &[]).unwrap();
    assert_eq!(open(&mut Opener::new(&elsewhere), &first, "line/1"), Err(OpenError::Forged));

    let other = sealed(&mut Sealer::new(&keys, &name("press-2"), SALT).unwrap(), 1, "line/1", b"one");
    for (what, from) in [("seq and body", &second), ("sender", &other)] {
        let mut grafted = from.clone();
        grafted[..HEADER_LEN].copy_from_slice(&first[..HEADER_LEN]);
        assert_eq!(open(&mut opener, &grafted, "line/1"), Err(OpenError::Forged), "{what}");
    }
    for cut in 0..first.len() {
        assert!(open(&mut opener, &first[..cut], "line/1").is_err(), "cut at {cut}");
    }
    assert!(open(&mut opener, &[&first[..], &[0]].concat(), "line/1").is_err(), "a byte more");
}

#[test]
fn an_unknown_key_is_told_apart_from_a_forgery() {
    let (mine, theirs) = (keyring(&key(1), &[]), keyring(&key(2), &[]));
    let envelope = sealed(&mut sealer(&theirs, SALT), 1, "t", b"x");
    assert_eq!(open(&mut Opener::new(&mine), &envelope, "t"), Err(OpenError::UnknownKey(theirs.active())));
}

#[test]
fn a_relay_can_peek_and_link_but_neither_open_nor_seal() {
    let (whole, half) = (keyring(&key(1), &[]), keyring(&relay(1), &[]));
    let envelope = sealed(&mut sealer(&whole, SALT), 1, "t", b"x");
    let id = whole.active();
    assert_eq!((half.active(), half.can_seal(), whole.can_seal()), (id, false, true));
    assert_eq!(Header::peek(&envelope).map(|header| header.key), Ok(id));
    assert_eq!(open(&mut Opener::new(&half), &envelope, "t"), Err(OpenError::RelayKey(id)));
    assert_eq!(Sealer::new(&half, &name("hub"), SALT).err(), Some(SealError::RelayKey(id)));
    let seed = |keys: &Keyring| keys.link_seed(id, &name("hub")).map(|seed| *seed);
    assert!(seed(&whole).is_some());
    assert_eq!(seed(&half), seed(&whole));
}

#[test]
fn links_of_different_machines_networks_and_keys_have_different_seeds() {
    let mut seeds = std::collections::BTreeSet::new();
    let names = ["a", "ab", "b", "bb", "hub"];
    for byte in [1, 2] {
        let secret = network_key(byte).link_secret();
        for (network, machine) in names.iter().flat_map(|network| names.map(|machine| (network, machine))) {
            seeds.insert(*link_seed(&secret, &name(network), &name(machine)));
        }
    }
    assert_eq!(seeds.len(), 2 * names.len() * names.len());
    assert!(keyring(&key(1), &[]).link_seed(key(2).id(), &name("hub")).is_none(), "a key that is not held");
}

#[test]
fn a_key_is_replaced_while_both_are_accepted() {
    let (old, both, new) = (keyring(&key(1), &[]), keyring(&key(2), &[key(1)]), keyring(&key(2), &[]));
    let (old_id, new_id) = (old.active(), new.active());
    assert_eq!(both.ids().collect::<Vec<_>>(), [new_id, old_id]);
    let mut sealer = sealer(&old, SALT);
    let before = sealed(&mut sealer, 1, "t", b"before");
    sealer.rekey(&both).unwrap();
    let after = sealed(&mut sealer, 2, "t", b"after");
    assert_eq!(Header::peek(&after).map(|header| header.key), Ok(new_id));

    let mut opener = Opener::new(&old);
    assert_eq!(open(&mut opener, &before, "t"), Ok(b"before".to_vec()));
    assert_eq!(open(&mut opener, &after, "t"), Err(OpenError::UnknownKey(new_id)));
    opener.rekey(&both);
    assert_eq!(open(&mut opener, &before, "t"), Ok(b"before".to_vec()));
    assert_eq!(open(&mut opener, &after, "t"), Ok(b"after".to_vec()));
    opener.rekey(&new);
    assert_eq!(opener.kept(), 1, "what came of the old key is gone");
    assert_eq!(open(&mut opener, &before, "t"), Err(OpenError::UnknownKey(old_id)));
    assert_eq!(open(&mut opener, &after, "t"), Ok(b"after".to_vec()));
}

#[test]
fn one_key_twice_is_no_keyring() {
    for accepted in [vec![key(1)], vec![relay(1)], vec![key(2), key(2)]] {
        let made = Keyring::new(&name("n"), &key(1), &accepted);
        assert!(matches!(made, Err(KeyringError::SameId(_))), "{accepted:?}");
    }
}

#[test]
fn a_sealer_refuses_a_seq_that_it_has_passed_in_that_lane() {
    let keys = keyring(&key(1), &[]);
    let mut sealer = sealer(&keys, SALT);
    let mut out = b"kept".to_vec();
    let mut seal = |lane, seq| sealer.seal(Stamp { lane, ..stamp(seq) }, "t", b"x", &mut out).map(|()| out.len());
    let one = OVERHEAD + 1;
    assert_eq!(seal(Lane::Disk, 5), Ok(4 + one));
    assert_eq!(seal(Lane::Disk, 5), Err(SealError::SeqUsed { seq: 5 }));
    assert_eq!(seal(Lane::Disk, 4), Err(SealError::SeqUsed { seq: 4 }));
    assert_eq!(seal(Lane::Urgent, 5), Ok(4 + 2 * one));
    assert_eq!(seal(Lane::Disk, 7), Ok(4 + 3 * one));
    assert_eq!(seal(Lane::Disk, SEQ_MAX), Ok(4 + 4 * one));
    assert_eq!(seal(Lane::Memory, SEQ_MAX + 1), Err(SealError::SeqTooHigh { seq: SEQ_MAX + 1 }));
    assert_eq!(seal(Lane::Memory, 0), Ok(4 + 5 * one));
    assert_eq!(out.len(), 4 + 5 * one);
    assert!(out.starts_with(b"kept"));

    sealer.rekey(&keys).unwrap();
    let again = sealer.seal(stamp(5), "t", b"y", &mut Vec::new());
    assert_eq!(again, Err(SealError::SeqUsed { seq: 5 }), "a new keyring may hold the old key");
}

#[test]
fn a_topic_longer_than_any_seals_nothing_and_uses_no_seq() {
    let mut sealer = sealer(&keyring(&key(1), &[]), SALT);
    let mut out = Vec::new();
    let topic = "t".repeat(65_536);
    assert_eq!(sealer.seal(stamp(1), &topic, b"x", &mut out), Err(SealError::TopicTooLong));
    assert!(out.is_empty());
    assert_eq!(sealer.seal(stamp(1), &topic[1..], b"x", &mut out), Ok(()));
}

#[test]
fn the_table_of_subkeys_is_bounded_and_closed_to_forgers() {
    let keys = keyring(&key(1), &[]);
    let mut opener = Opener::new(&keys);
    let salted = |number: usize| BootSalt(u128::try_from(number).unwrap().to_be_bytes());
    for number in 0..SUBKEYS_MAX + 10 {
        let mut envelope = sealed(&mut sealer(&keys, salted(number)), 1, "t", b"x");
        assert_eq!(open(&mut opener, &envelope, "t"), Ok(b"x".to_vec()));
        envelope[16] ^= 0x80;
        assert_eq!(open(&mut opener, &envelope, "t"), Err(OpenError::Forged));
        assert_eq!(opener.kept(), (number + 1).min(SUBKEYS_MAX));
    }
    assert!(!opener.keeps(salted(9)) && opener.keeps(salted(10)), "the longest unused one goes first");
    let used_again = sealed(&mut sealer(&keys, salted(10)), 1, "t", b"x");
    assert_eq!(open(&mut opener, &used_again, "t"), Ok(b"x".to_vec()));
    let new = sealed(&mut sealer(&keys, salted(5000)), 1, "t", b"x");
    assert_eq!(open(&mut opener, &new, "t"), Ok(b"x".to_vec()));
    assert!(opener.keeps(salted(10)) && !opener.keeps(salted(11)));
}

#[test]
fn a_header_that_we_do_not_know_is_malformed_by_name() {
    let good = sealed(&mut sealer(&keyring(&key(1), &[]), SALT), 1, "t", b"");
    let peek = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        Header::peek(&bad)
    };
    assert_eq!(peek(0, 2), Err(Malformed::Version(2)));
    assert_eq!(peek(1, 0), Err(Malformed::Suite(0)));
    assert_eq!(peek(2, 1), Err(Malformed::Flags(0x0105)));
    assert_eq!(peek(3, 0b011), Err(Malformed::Flags(3)));
    assert_eq!(peek(3, 0b1_0000), Err(Malformed::Flags(16)));
    assert_eq!(peek(32, 3), Err(Malformed::Lane(3)));
    assert_eq!(peek(46, 1), Err(Malformed::Reserved(0x0100)));
    assert_eq!(peek(47, 1), Err(Malformed::Reserved(1)));
    assert_eq!(Header::peek(&good[..OVERHEAD - 1]), Err(Malformed::TooShort(OVERHEAD - 1)));
    assert!(Header::peek(&good).is_ok());
}

#[test]
fn no_secret_shows_in_debug() {
    let keys = keyring(&key(0xab), &[relay(0xcd)]);
    let sealer = sealer(&keys, SALT);
    let shown = format!(
        "{:?} {:?} {keys:?} {sealer:?} {:?}",
        network_key(0xab),
        network_key(0xab).payload_secret(),
        Opener::new(&keys)
    );
    let link = *network_key(0xcd).link_secret().reveal();
    for secret in [format!("{:?}", [0xabu8; 2]), format!("{:?}", &link[..2]), "abab".to_owned()] {
        let inside = secret.trim_matches(['[', ']']);
        assert!(!shown.contains(inside), "{inside} is in {shown}");
    }
    assert!(shown.contains("NetworkKey(…)") && shown.contains("LinkSecret(…)") && shown.contains("PayloadSecret(…)"));
}
