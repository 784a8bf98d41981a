//! Arbitrary bytes as a packet: what decodes encodes to bytes that decode to the same, and nothing panics.

use std::num::NonZeroU16;

use hobnail_core::mqtt::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, Props, Publish, QoS, Reason, RetainHandling, SubAck,
    Subscribe, SubscribeFilter, SubscribeOptions, Unsubscribe, Version, Will,
};
use hobnail_core::mqtt::props::{self, Prop, PropsBuf};
use hobnail_core::mqtt::{DecodeError, decode, encode};

/// Larger than any input.
const PACKET_BYTES_MAX: usize = 1 << 20;

/// The first byte says which version the connection speaks; the rest is what comes in.
pub fn check(input: &[u8]) {
    let Some((pick, bytes)) = input.split_first() else { return };
    let version = version(*pick);
    let Ok(Some((packet, used))) = decode(bytes, version, PACKET_BYTES_MAX) else { return };
    assert!(used <= bytes.len());
    for cut in [used - 1, used / 2] {
        assert_eq!(decode(&bytes[..cut], version, PACKET_BYTES_MAX), Ok(None), "a packet that is cut off decodes");
    }
    assert_eq!(decode(bytes, version, used - 1), Err(DecodeError::TooLarge(used)), "one byte over the limit");
    let spoken = if let Packet::Connect(connect) = &packet { connect.version } else { version.expect("not a CONNECT") };
    let mut encoded = Vec::new();
    encode(&packet, spoken, &mut encoded).expect("what came in is not too long to go out");
    let again = decode(&encoded, version, PACKET_BYTES_MAX);
    let Ok(Some((back, length))) = again else { panic!("{packet:?} as {encoded:?} gives {again:?}") };
    assert_eq!(length, encoded.len());
    assert_eq!(meaning(&back), meaning(&packet));
    let mut twice = Vec::new();
    encode(&back, spoken, &mut twice).expect("it was not too long before");
    assert_eq!(twice, encoded, "the second writing differs from the first");
}

fn version(pick: u8) -> Option<Version> {
    match pick % 4 {
        0 => None,
        1 => Some(Version::V31),
        2 => Some(Version::V311),
        _ => Some(Version::V5),
    }
}

/// A packet without what writing it may change: the order of properties, and those that a field says already.
fn meaning(packet: &Packet<'_>) -> String {
    let mut packet = packet.clone();
    let mut said = Vec::new();
    let mut user = |props: &mut Props<'_>| {
        said.extend(props.user().map(|pair| format!("{pair:?}")));
        *props = Props::default();
    };
    match &mut packet {
        Packet::Connect(connect) => user(&mut connect.user_props),
        Packet::ConnAck(connack) => user(&mut connack.user_props),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            user(&mut ack.user_props);
        }
        Packet::Subscribe(subscribe) => user(&mut subscribe.user_props),
        Packet::SubAck(ack) | Packet::UnsubAck(ack) => user(&mut ack.user_props),
        Packet::Unsubscribe(unsubscribe) => user(&mut unsubscribe.user_props),
        Packet::Disconnect(disconnect) => user(&mut disconnect.user_props),
        Packet::Auth(auth) => user(&mut auth.user_props),
        Packet::Publish(_) | Packet::PingReq | Packet::PingResp => {}
    }
    let mut others = |props: &mut Props<'_>, of_fields: &[u8]| {
        let others = props.iter().filter(|prop| !of_fields.contains(&prop.id()));
        said.extend(others.map(|prop| format!("{prop:?}")));
        *props = Props::default();
    };
    match &mut packet {
        Packet::Publish(publish) => others(&mut publish.props, &[props::MESSAGE_EXPIRY, props::TOPIC_ALIAS]),
        Packet::Connect(connect) => {
            if let Some(will) = &mut connect.will {
                others(&mut will.props, &[props::WILL_DELAY, props::MESSAGE_EXPIRY]);
            }
        }
        Packet::ConnAck(_) | Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => {}
        Packet::Subscribe(_) | Packet::SubAck(_) | Packet::Unsubscribe(_) | Packet::UnsubAck(_) => {}
        Packet::PingReq | Packet::PingResp | Packet::Disconnect(_) | Packet::Auth(_) => {}
    }
    format!("{packet:?} {said:?}")
}

/// Every packet in every version, with everything that it can carry.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (pick, version) in [(1, Version::V31), (2, Version::V311), (3, Version::V5)] {
        let mut user = PropsBuf::default();
        let mut message = PropsBuf::default();
        if version == Version::V5 {
            user.push(Prop::Pair("key", "value"));
            message.push(Prop::Byte(props::PAYLOAD_FORMAT, 1));
            message.push(Prop::Text(props::CONTENT_TYPE, "text/plain"));
            message.push(Prop::Text(props::RESPONSE_TOPIC, "re/ply"));
            message.push(Prop::Binary(props::CORRELATION_DATA, b"17"));
            message.push(Prop::Pair("key", "value"));
        }
        for packet in with_properties(version, user.as_props(), message.as_props()) {
            let picked = if matches!(packet, Packet::Connect(_)) { 0 } else { pick };
            let mut bytes = vec![picked];
            encode(&packet, version, &mut bytes).expect("short");
            seeds.push(bytes);
        }
    }
    seeds
}

fn with_properties<'a>(version: Version, user_props: Props<'a>, props: Props<'a>) -> Vec<Packet<'a>> {
    let id = PacketId(NonZeroU16::MIN);
    let ack = |reason| Ack { id, reason, reason_string: Some("because"), user_props };
    let options = SubscribeOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::IfNew,
    };
    let filters = vec![
        SubscribeFilter { filter: "a/+/#", options },
        SubscribeFilter { filter: "$share/g/b", options: SubscribeOptions { no_local: false, ..options } },
    ];
    let answers = |reasons| SubAck { id, reason_string: Some("because"), user_props, reasons };
    vec![
        Packet::Connect(Box::new(connect(version, user_props, props))),
        Packet::ConnAck(Box::new(connack(user_props))),
        Packet::Publish(publish(QoS::AtMostOnce, "a/b", props)),
        Packet::Publish(publish(QoS::AtLeastOnce, "été", Props::default())),
        Packet::Publish(publish(QoS::ExactlyOnce, "a", props)),
        Packet::PubAck(ack(Reason::NO_MATCHING_SUBSCRIBERS)),
        Packet::PubRec(ack(Reason::QUOTA_EXCEEDED)),
        Packet::PubRel(ack(Reason::PACKET_ID_NOT_FOUND)),
        Packet::PubComp(ack(Reason::SUCCESS)),
        Packet::Subscribe(Subscribe { id, subscription_id: Some(300), user_props, filters }),
        Packet::SubAck(answers(vec![Reason::GRANTED_QOS_2, Reason::UNSPECIFIED])),
        Packet::Unsubscribe(Unsubscribe { id, user_props, filters: vec!["a/+/#", "$share/g/b"] }),
        Packet::UnsubAck(answers(vec![Reason::SUCCESS, Reason::NO_SUBSCRIPTION_EXISTED])),
        Packet::PingReq,
        Packet::PingResp,
        Packet::Disconnect(Disconnect {
            reason: Reason::DISCONNECT_WITH_WILL,
            session_expiry_s: Some(9),
            reason_string: Some("because"),
            server_reference: Some("elsewhere:1883"),
            user_props,
        }),
        Packet::Auth(Auth {
            reason: Reason::CONTINUE_AUTHENTICATION,
            method: Some("scram"),
            data: Some(b"n,,"),
            reason_string: Some("because"),
            user_props,
        }),
    ]
}

fn publish<'a>(qos: QoS, topic: &'a str, props: Props<'a>) -> Publish<'a> {
    let id = if qos == QoS::AtMostOnce { None } else { Some(PacketId(NonZeroU16::MAX)) };
    let (topic_alias, expiry_s) = (NonZeroU16::new(3), Some(60));
    Publish { dup: false, retain: true, qos, id, topic, payload: b"payload", topic_alias, expiry_s, props }
}

fn connect<'a>(version: Version, user_props: Props<'a>, props: Props<'a>) -> Connect<'a> {
    let (topic, payload, qos) = ("will/topic", b"gone".as_slice(), QoS::AtLeastOnce);
    Connect {
        version,
        clean_start: false,
        keep_alive_s: 60,
        client_id: "client",
        will: Some(Will { topic, payload, qos, retain: true, delay_s: 5, expiry_s: Some(7), props }),
        user: Some("user"),
        password: Some(b"password"),
        session_expiry_s: Some(3_600),
        receive_max: NonZeroU16::new(10),
        packet_bytes_max: Some(1_000),
        topic_alias_max: 4,
        request_response_info: true,
        request_problem_info: false,
        auth_method: Some("scram"),
        auth_data: Some(b"n,,"),
        user_props,
    }
}

fn connack(user_props: Props<'_>) -> ConnAck<'_> {
    ConnAck {
        session_present: true,
        reason: Reason::SUCCESS,
        session_expiry_s: Some(1),
        receive_max: NonZeroU16::new(2),
        qos_max: Some(QoS::AtLeastOnce),
        retain_available: Some(false),
        packet_bytes_max: Some(3),
        assigned_client_id: Some("auto-1"),
        topic_alias_max: 4,
        reason_string: Some("because"),
        wildcard_available: Some(true),
        subscription_ids_available: Some(true),
        shared_available: Some(false),
        server_keep_alive_s: Some(30),
        response_info: Some("reply/"),
        server_reference: Some("elsewhere"),
        auth_method: Some("scram"),
        auth_data: Some(b"r="),
        user_props,
    }
}
