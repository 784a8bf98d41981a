use std::num::NonZeroU16;

use proptest::prelude::*;

use super::packet::*;
use super::props::{self, Prop, PropsBuf};
use super::*;

const MAX: usize = 1 << 20;

fn id(n: u16) -> PacketId {
    PacketId(NonZeroU16::new(n).unwrap())
}

fn there_and_back(packet: &Packet<'_>, version: Version) {
    let mut bytes = Vec::new();
    encode(packet, version, &mut bytes).unwrap();
    let known = if matches!(packet, Packet::Connect(_)) { None } else { Some(version) };
    let (back, used) = decode(&bytes, known, MAX).unwrap().expect("whole");
    assert_eq!(used, bytes.len());
    assert_eq!(format!("{back:?}"), format!("{packet:?}"));
    for length in 0..bytes.len() {
        assert_eq!(decode(&bytes[..length], known, MAX), Ok(None), "cut to {length} of {bytes:?}");
    }
}

#[test]
fn every_packet_comes_back_as_it_went() {
    let mut user = PropsBuf::default();
    user.push(Prop::Pair("k", "v"));
    for version in [Version::V31, Version::V311, Version::V5] {
        let five = version == Version::V5;
        let user_props = if five { user.as_props() } else { Props::default() };
        let connect = Connect {
            version,
            clean_start: true,
            keep_alive_s: 60,
            client_id: "été",
            will: Some(Will {
                topic: "w",
                payload: b"gone",
                qos: QoS::AtLeastOnce,
                retain: true,
                delay_s: 0,
                expiry_s: None,
                props: user_props,
            }),
            user: Some("u"),
            password: Some(b"p"),
            session_expiry_s: None,
            receive_max: None,
            packet_bytes_max: None,
            topic_alias_max: 0,
            request_response_info: false,
            request_problem_info: true,
            auth_method: None,
            auth_data: None,
            user_props,
        };
        let publish = Publish {
            dup: true,
            retain: true,
            qos: QoS::ExactlyOnce,
            id: Some(id(7)),
            topic: "a/b",
            payload: b"x",
            topic_alias: None,
            expiry_s: None,
            props: user_props,
        };
        let ack = Ack { id: id(9), reason: Reason::SUCCESS, reason_string: None, user_props: Props::default() };
        let filters = vec![SubscribeFilter { filter: "a/#", options: SubscribeOptions::default() }];
        let reasons = if version == Version::V5 { vec![Reason::NO_SUBSCRIPTION_EXISTED] } else { vec![] };
        for packet in [
            Packet::Connect(Box::new(connect)),
            Packet::ConnAck(Box::new(ConnAck { session_present: true, ..ConnAck::default() })),
            Packet::Publish(publish),
            Packet::PubAck(ack.clone()),
            Packet::PubRec(ack.clone()),
            Packet::PubRel(ack.clone()),
            Packet::PubComp(ack),
            Packet::Subscribe(Subscribe { id: id(1), subscription_id: None, user_props, filters }),
            Packet::SubAck(SubAck { id: id(1), reason_string: None, user_props, reasons: vec![Reason(1)] }),
            Packet::Unsubscribe(Unsubscribe { id: id(2), user_props, filters: vec!["a", "b/+"] }),
            Packet::UnsubAck(SubAck { id: id(2), reason_string: None, user_props, reasons }),
            Packet::PingReq,
            Packet::PingResp,
            Packet::Disconnect(Disconnect::default()),
        ] {
            there_and_back(&packet, version);
        }
    }
}

/// What `bytes` answer with, in `version`.
fn refused(bytes: &[u8], version: Version) -> DecodeError {
    decode(bytes, Some(version), MAX).expect_err("refused")
}

#[test]
fn malformed_packets_are_refused() {
    let malformed: &[(&str, &[u8])] = &[
        ("2.1.1 type 0", &[0x00, 0]),
        ("2.1.2 flags of PUBREL", &[0x60, 2, 0, 1]),
        ("2.1.2 flags of PINGREQ", &[0xc1, 0]),
        ("2.2.3 length of five bytes", &[0x30, 0xff, 0xff, 0xff, 0xff, 1]),
        ("2.2.3 length not minimal", &[0xc0, 0x80, 0x00]),
        ("3.3.1.2 QoS 3", &[0x36, 5, 0, 1, b'a', 0, 1]),
        ("3.3.1.1 DUP at QoS 0", &[0x38, 3, 0, 1, b'a']),
        ("1.5.3 text is not UTF-8", &[0x30, 3, 0, 1, 0xff]),
        ("1.5.3 text holds U+0000", &[0x30, 3, 0, 1, 0]),
        ("3.8.3 reserved bits of a subscription", &[0x82, 6, 0, 1, 0, 1, b'a', 0xc0]),
        ("3.12 PINGREQ with a body", &[0xc0, 1, 0]),
        ("3.3.2 topic longer than the packet", &[0x30, 3, 0, 9, b'a']),
    ];
    for (rule, bytes) in malformed {
        for version in [Version::V311, Version::V5] {
            assert!(matches!(refused(bytes, version), DecodeError::Malformed(_)), "{rule}");
        }
    }
}

#[test]
fn protocol_errors_are_told_apart() {
    let cases: &[(&str, &[u8], Reason)] = &[
        ("2.2.1 packet id 0", &[0x32, 5, 0, 1, b'a', 0, 0], Reason::PROTOCOL_ERROR),
        ("3.3.2.1 wildcard in a topic", &[0x30, 4, 0, 1, b'#', 0], Reason::MALFORMED_PACKET),
        ("3.3.2.1 empty topic without alias", &[0x30, 3, 0, 0, 0], Reason::PROTOCOL_ERROR),
        ("3.3.2.3.4 alias 0", &[0x30, 7, 0, 1, b'a', 3, 0x23, 0, 0], Reason::TOPIC_ALIAS_INVALID),
        ("2.2.2.2 property twice", &[0x30, 8, 0, 1, b'a', 4, 1, 0, 1, 0], Reason::PROTOCOL_ERROR),
        ("2.2.2.2 unknown property", &[0x30, 6, 0, 1, b'a', 2, 0x7f, 0], Reason::MALFORMED_PACKET),
        ("3.3.2.3 property of another packet", &[0x30, 7, 0, 1, b'a', 3, 0x21, 0, 1], Reason::PROTOCOL_ERROR),
        ("3.3.2.3.2 payload format 2", &[0x30, 6, 0, 1, b'a', 2, 1, 2], Reason::PROTOCOL_ERROR),
        ("3.8.2.1.2 subscription id 0", &[0x82, 9, 0, 1, 2, 0x0b, 0, 0, 1, b'a', 0], Reason::PROTOCOL_ERROR),
        ("3.8.3 no filter", &[0x82, 3, 0, 1, 0], Reason::PROTOCOL_ERROR),
        ("3.8.3.1 retain handling 3", &[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x30], Reason::PROTOCOL_ERROR),
        ("3.8.3.1 no local on shared", b"\x82\x10\0\x01\0\0\x0a$share/g/a\x04", Reason::PROTOCOL_ERROR),
        ("4.7.1.1 a wildcard that is not last", b"\x82\x09\0\x01\0\0\x03#/a\0", Reason::MALFORMED_PACKET),
        ("4.7.3 an empty filter", b"\x82\x06\0\x01\0\0\0\0", Reason::MALFORMED_PACKET),
        ("4.8.2 a group without a name", b"\x82\x0f\0\x01\0\0\x09$share//a\0", Reason::MALFORMED_PACKET),
        ("4.8.2 a group without a filter", b"\x82\x0e\0\x01\0\0\x08$share/g\0", Reason::MALFORMED_PACKET),
        ("4.8.2 a group with a wildcard", b"\x82\x10\0\x01\0\0\x0a$share/+/a\0", Reason::MALFORMED_PACKET),
        ("4.7.1.2 to unsubscribe", b"\xa2\x07\0\x01\0\0\x02a+", Reason::MALFORMED_PACKET),
        ("3.10.3 no filter", &[0xa2, 3, 0, 1, 0], Reason::PROTOCOL_ERROR),
    ];
    for (rule, bytes, reason) in cases {
        assert_eq!(refused(bytes, Version::V5).reason(), *reason, "{rule}");
    }
    let deep = [b"\x30\xc9\x01\0\xc6".as_slice(), "a/".repeat(99).as_bytes(), b"\0"].concat();
    assert_eq!(
        refused(&deep, Version::V5).reason(),
        Reason::TOPIC_NAME_INVALID,
        "4.7.3 well formed, but too deep for us"
    );
}

#[test]
fn codes_that_a_packet_does_not_have_are_refused() {
    let cases: &[(&str, Version, &[u8])] = &[
        ("3.1.1 3.2.2.3 return code 6", Version::V311, &[0x20, 2, 0, 6]),
        ("3.1.1 3.9.3 return code 3", Version::V311, &[0x90, 3, 0, 1, 3]),
        ("3.1.1 3.9.3 a return code of version 5", Version::V311, &[0x90, 3, 0, 1, 0x97]),
        ("3.1.1 3.9.3 no return code", Version::V311, &[0x90, 2, 0, 1]),
        ("3.1.1 3.11.3 UNSUBACK with a payload", Version::V311, &[0xb0, 3, 0, 1, 0]),
        ("3.1.1 3.4.3 PUBACK with a payload", Version::V311, &[0x40, 3, 0, 1, 0]),
        ("3.1.1 3.14 DISCONNECT with a body", Version::V311, &[0xe0, 1, 0]),
        ("5 3.2.2.2 CONNACK", Version::V5, &[0x20, 3, 0, 0x8d, 0]),
        ("5 3.4.2.1 PUBACK", Version::V5, &[0x40, 3, 0, 1, 0x92]),
        ("5 3.5.2.1 PUBREC", Version::V5, &[0x50, 3, 0, 1, 1]),
        ("5 3.6.2.1 PUBREL", Version::V5, &[0x62, 3, 0, 1, 0x80]),
        ("5 3.7.2.1 PUBCOMP", Version::V5, &[0x70, 3, 0, 1, 0x10]),
        ("5 3.9.3 SUBACK", Version::V5, &[0x90, 4, 0, 1, 0, 3]),
        ("5 3.9.3 SUBACK to nothing", Version::V5, &[0x90, 3, 0, 1, 0]),
        ("5 3.11.3 UNSUBACK", Version::V5, &[0xb0, 4, 0, 1, 0, 1]),
        ("5 3.14.2.1 DISCONNECT", Version::V5, &[0xe0, 1, 0x10]),
        ("5 3.15.2.1 AUTH", Version::V5, &[0xf0, 2, 0x80, 0]),
    ];
    for (rule, version, bytes) in cases {
        assert!(matches!(refused(bytes, *version), DecodeError::Malformed(_)), "{rule}");
    }
    assert_eq!(refused(&[0x20, 2, 1, 5], Version::V311).reason(), Reason::PROTOCOL_ERROR, "3.1.1 3.2.2.2");
    assert_eq!(refused(&[0x20, 3, 1, 0x87, 0], Version::V5).reason(), Reason::PROTOCOL_ERROR, "5 3.2.2.1.1");
}

#[test]
fn mqtt5_3_14_2_2_1_a_disconnect_says_no_more_than_it_has_to() {
    let reason = Disconnect { reason: Reason::PROTOCOL_ERROR, ..Disconnect::default() };
    for (packet, wanted) in [(Disconnect::default(), b"\xe0\0".as_slice()), (reason, b"\xe0\x01\x82")] {
        let mut bytes = Vec::new();
        encode(&Packet::Disconnect(packet), Version::V5, &mut bytes).unwrap();
        assert_eq!(bytes, wanted);
    }
}

#[test]
fn a_first_packet_is_a_connect_that_is_whole() {
    let connect = |bytes: &[u8]| decode(bytes, None, MAX).map(|found| found.is_some());
    assert_eq!(connect(b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0"), Ok(true));
    let refused: &[(&str, &[u8])] = &[
        ("3.1 not the first packet", &[0xc0, 0]),
        ("3.1.2.2 level 9", b"\x10\x0c\0\x04MQTT\x09\x02\0\0\0\0"),
        ("3.1.2.1 another protocol", b"\x10\x0c\0\x04HTTP\x04\x02\0\0\0\0"),
        ("3.1.2.3 reserved flag", b"\x10\x0c\0\x04MQTT\x04\x03\0\0\0\0"),
        ("3.1.2.6 will QoS without a will", b"\x10\x0c\0\x04MQTT\x04\x0a\0\0\0\0"),
        ("3.1.2.9 password without a user", b"\x10\x0e\0\x04MQTT\x04\x42\0\0\0\0\0\0"),
        ("3.1.3 bytes behind its end", b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\0\0"),
        ("3.1.2.11.3 receive maximum 0", b"\x10\x10\0\x04MQTT\x05\x02\0\0\x03\x21\0\0\0\0"),
        ("3.1.2.11.4 packet size 0", b"\x10\x12\0\x04MQTT\x05\x02\0\0\x05\x27\0\0\0\0\0\0"),
        ("3.1.2.11.10 data without method", b"\x10\x11\0\x04MQTT\x05\x02\0\0\x04\x16\0\x01a\0\0"),
    ];
    for (rule, bytes) in refused {
        assert!(connect(bytes).is_err(), "{rule}");
    }
    assert_eq!(connect(refused[1].1), Err(DecodeError::UnsupportedVersion));
}

#[test]
fn a_packet_that_claims_too_much_is_refused_before_it_arrives() {
    assert_eq!(decode(&[0x30, 0xff, 0xff, 0x7f], Some(Version::V311), 1_000), Err(DecodeError::TooLarge(2_097_155)));
}

#[test]
fn alias_and_expiry_are_written_from_their_fields_only() {
    let mut block = PropsBuf::default();
    block.push(Prop::Four(props::MESSAGE_EXPIRY, 9));
    block.push(Prop::Text(props::CONTENT_TYPE, "text/plain"));
    block.push(Prop::Two(props::TOPIC_ALIAS, 3));
    let publish = Publish {
        dup: false,
        retain: false,
        qos: QoS::AtMostOnce,
        id: None,
        topic: "t",
        payload: b"",
        topic_alias: None,
        expiry_s: Some(4),
        props: block.as_props(),
    };
    let mut out = Vec::new();
    encode_publish(&publish, Version::V5, &mut out).unwrap();
    let Ok(Some((Packet::Publish(back), _))) = decode(&out, Some(Version::V5), MAX) else { panic!("{out:?}") };
    assert_eq!((back.expiry_s, back.topic_alias), (Some(4), None));
    assert_eq!(back.props.text(props::CONTENT_TYPE), Some("text/plain"));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), first in any::<u8>()) {
        for version in [None, Some(Version::V31), Some(Version::V311), Some(Version::V5)] {
            let mut framed = vec![first, u8::try_from(bytes.len()).unwrap()];
            framed.extend(&bytes);
            let _ = decode(&framed, version, MAX);
            let _ = decode(&bytes, version, MAX);
        }
    }

    #[test]
    fn what_decodes_encodes_to_what_decodes_the_same(
        body in prop::collection::vec(any::<u8>(), 0..40),
        first in any::<u8>(),
        five in any::<bool>(),
    ) {
        let version = if five { Version::V5 } else { Version::V311 };
        let mut framed = vec![first, u8::try_from(body.len()).unwrap()];
        framed.extend(&body);
        if let Ok(Some((packet, _))) = decode(&framed, Some(version), MAX) {
            let mut again = Vec::new();
            encode(&packet, version, &mut again).unwrap();
            let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
            let known = if matches!(packet, Packet::Connect(_)) { None } else { Some(version) };
            let decoded = decode(&again, known, MAX);
            prop_assert!(matches!(decoded, Ok(Some(_))), "{packet:?} as {again:?} gives {decoded:?}");
        }
    }
}
