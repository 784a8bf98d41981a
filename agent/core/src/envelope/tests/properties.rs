//! What holds for every message, not only for the ones that came to mind.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn any_stamp() -> impl Strategy<Value = Stamp> {
    let qos = prop::sample::select(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][..]);
    let flags = (qos, any::<bool>(), any::<bool>());
    let fields = (flags, any_lane(), 0..=SEQ_MAX, any::<u32>(), any::<u16>(), any::<u64>());
    fields.prop_map(|((qos, retain, clear), lane, seq, incarnation, content_type, hlc)| Stamp {
        qos,
        retain,
        clear,
        lane,
        seq,
        incarnation,
        content_type: ContentType(content_type),
        hlc,
    })
}

fn any_lane() -> impl Strategy<Value = Lane> {
    prop::sample::select(&[Lane::Memory, Lane::Disk, Lane::Urgent][..])
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

proptest! {
    #[test]
    fn a_flipped_bit_of_envelope_or_topic_is_refused(
        stamp in any_stamp(), salt: [u8; 16], topic in "[a-zé/]{1,40}", body in any_body(), at: prop::sample::Index,
    ) {
        let keys = keyring(&key(1), &[key(2)]);
        let mut envelope = Vec::new();
        sealer(&keys, BootSalt(salt)).seal(stamp, &topic, &body, &mut envelope).unwrap();
        let mut opener = Opener::new(&keys);
        prop_assert_eq!(open(&mut opener, &envelope, &topic), Ok(body));

        let bit = at.index((envelope.len() + topic.len()) * 8);
        let mut whole = [&envelope[..], topic.as_bytes()].concat();
        whole[bit / 8] ^= 1 << (bit % 8);
        let (envelope, topic) = whole.split_at(envelope.len());
        // What is not UTF-8 is no topic, and never gets here.
        if let Ok(topic) = str::from_utf8(topic) {
            prop_assert!(open(&mut opener, envelope, topic).is_err(), "bit {}", bit);
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written(stamp in any_stamp(), salt: [u8; 16], id: u32, sender: u64) {
        let header = Header { key: KeyId(id), sender: SenderId(sender), salt: BootSalt(salt), stamp };
        let envelope = [&header.encode()[..], &[0; TAG_LEN]].concat();
        prop_assert_eq!(Header::peek(&envelope), Ok(header));
        prop_assert_eq!(&envelope[16..40], &[&salt[..], &header.order()[..]].concat());
    }

    /// One header, one meaning: what can be read is written back byte for byte.
    #[test]
    fn a_header_has_one_spelling(mut bytes in prop::collection::vec(any::<u8>(), 0..120), plausible: bool) {
        if plausible && bytes.len() > 47 {
            bytes[..3].copy_from_slice(&[1, 1, 0]);
            bytes[3] &= 15;
            bytes[32] &= 3;
            bytes[46..48].fill(0);
        }
        if let Ok(header) = Header::peek(&bytes) {
            prop_assert_eq!(&header.encode()[..], &bytes[..HEADER_LEN]);
        }
    }

    #[test]
    fn bytes_from_nowhere_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), topic in ".{0,20}") {
        let keys = keyring(&key(1), &[]);
        prop_assert!(open(&mut Opener::new(&keys), &bytes, &topic).is_err());
    }

    /// Whatever is asked of sealers of one machine that differ only in their salts, as those of a cloned disk do.
    #[test]
    fn no_key_and_nonce_come_twice(asked in prop::collection::vec((0..4usize, any_lane(), 0..6u64, any::<bool>()), 1..80)) {
        let (one, two) = (keyring(&key(1), &[key(2)]), keyring(&key(2), &[key(1)]));
        let mut sealers: Vec<Sealer> = (0..4).map(|salt| sealer(&one, BootSalt([salt; 16]))).collect();
        let mut used = BTreeSet::new();
        for (which, lane, seq, other_key) in asked {
            let sealer = &mut sealers[which];
            sealer.rekey(if other_key { &two } else { &one }).unwrap();
            let mut envelope = Vec::new();
            if sealer.seal(Stamp { lane, ..stamp(seq) }, "t", b"x", &mut envelope).is_ok() {
                let header = Header::peek(&envelope).unwrap();
                prop_assert!(used.insert((header.key, header.sender, envelope[16..40].to_vec())));
            }
        }
    }

    #[test]
    fn different_salts_make_different_subkeys(a: [u8; 16], b: [u8; 16]) {
        prop_assume!(a != b);
        let keys = keyring(&key(1), &[]);
        let bodies = [a, b].map(|salt| sealed(&mut sealer(&keys, BootSalt(salt)), 1, "t", &[0; 32])[HEADER_LEN..].to_vec());
        prop_assert_ne!(&bodies[0][..32], &bodies[1][..32], "one key stream under two salts");
    }

    #[test]
    fn a_key_file_of_any_bytes_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(key_file::parse(&bytes).is_err());
    }

    #[test]
    fn every_key_survives_its_file(secret: [u8; SECRET_LEN], whole: bool) {
        let network = NetworkKey::new(Zeroizing::new(secret));
        let key = if whole { Key::Whole(network) } else { Key::Relay(network.link_secret()) };
        let read = key_file::parse(key_file::render(&key, &[]).as_bytes()).unwrap();
        prop_assert_eq!(read.fingerprint(), key.fingerprint());
        prop_assert_eq!(matches!(read, Key::Whole(_)), whole);
    }
}
