//! From bytes to packets, as strict as the standards. Borrows from the bytes; PUBLISH and acknowledgements allocate
//! nothing. What is wrong with a packet is known before any of it is acted on.

use super::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, Props, Publish, QoS, Reason, RetainHandling, SubAck,
    Subscribe, SubscribeFilter, SubscribeOptions, Unsubscribe, Version, Will,
};
use super::props::{self, NO_REPEATS, Prop, nonzero};
use super::reasons;
use super::wire::{DecodeError, Reader, varint};
use crate::topic::{self, TopicError};

/// Most filters in one SUBSCRIBE or UNSUBSCRIBE.
pub const FILTERS_MAX: usize = 1_024;

/// The first packet in `bytes` and how many bytes it takes; `None` where more are needed. `version` is `None` before
/// CONNECT, which brings its own. A packet that claims more than `packet_bytes_max` is refused by its claim alone.
pub fn decode(
    bytes: &[u8],
    version: Option<Version>,
    packet_bytes_max: usize,
) -> Result<Option<(Packet<'_>, usize)>, DecodeError> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let Some((length, length_len)) = varint(rest)? else { return Ok(None) };
    let total = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(1 + length_len);
    if total > packet_bytes_max {
        return Err(DecodeError::TooLarge(total));
    }
    let Some(body) = bytes.get(1 + length_len..total) else { return Ok(None) };
    let packet = match version {
        Some(version) => body_of(first, body, version)?,
        None if first >> 4 == 1 => connect(first & 0x0f, body)?,
        None => return Err(DecodeError::Protocol("the first packet is not a CONNECT")),
    };
    Ok(Some((packet, total)))
}

/// How many bytes the first packet in `bytes` says that it takes; `None` where it has not said so yet, or not soundly.
#[must_use]
pub fn length_of(bytes: &[u8]) -> Option<usize> {
    let (_, rest) = bytes.split_first()?;
    let (length, length_len) = varint(rest).ok()??;
    Some(usize::try_from(length).unwrap_or(usize::MAX).saturating_add(1 + length_len))
}

fn body_of(first: u8, body: &[u8], version: Version) -> Result<Packet<'_>, DecodeError> {
    let flags = first & 0x0f;
    let kind = first >> 4;
    let expected = match kind {
        3 => flags,
        // MQTT 3.1 says DUP and a QoS in more packets than PUBLISH, and says of the rest not to look (2.1).
        _ if version == Version::V31 => flags,
        6 | 8 | 10 => 0x02,
        _ => 0x00,
    };
    if flags != expected {
        return Err(DecodeError::Malformed("reserved bits of the first byte"));
    }
    let mut reader = Reader::new(body);
    let packet = match kind {
        1 => return connect(flags, body),
        2 => Packet::ConnAck(Box::new(connack(&mut reader, version)?)),
        3 => return publish(flags, body, version).map(Packet::Publish),
        4 => Packet::PubAck(ack(&mut reader, version, reasons::PUBLISHED)?),
        5 => Packet::PubRec(ack(&mut reader, version, reasons::PUBLISHED)?),
        6 => Packet::PubRel(ack(&mut reader, version, reasons::RELEASED)?),
        7 => Packet::PubComp(ack(&mut reader, version, reasons::RELEASED)?),
        8 => Packet::Subscribe(subscribe(&mut reader, version)?),
        9 => Packet::SubAck(suback(&mut reader, version)?),
        10 => Packet::Unsubscribe(unsubscribe(&mut reader, version)?),
        11 => Packet::UnsubAck(unsuback(&mut reader, version)?),
        12 => Packet::PingReq,
        13 => Packet::PingResp,
        14 => Packet::Disconnect(disconnect(&mut reader, version)?),
        15 if version == Version::V5 => Packet::Auth(auth(&mut reader)?),
        _ => return Err(DecodeError::Malformed("a packet type that does not exist")),
    };
    if !reader.is_empty() {
        return Err(DecodeError::Malformed("bytes behind its end"));
    }
    Ok(packet)
}

fn qos(bits: u8) -> Result<QoS, DecodeError> {
    match bits {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        2 => Ok(QoS::ExactlyOnce),
        _ => Err(DecodeError::Malformed("a QoS of 3")),
    }
}

fn packet_id(reader: &mut Reader<'_>) -> Result<PacketId, DecodeError> {
    let id = reader.u16()?;
    std::num::NonZeroU16::new(id).map(PacketId).ok_or(DecodeError::Protocol("a packet identifier of 0"))
}

fn protocol(reader: &mut Reader<'_>) -> Result<Version, DecodeError> {
    match (reader.text()?, reader.u8()?) {
        ("MQIsdp", 3) => Ok(Version::V31),
        ("MQTT", 4) => Ok(Version::V311),
        ("MQTT", 5) => Ok(Version::V5),
        ("MQIsdp" | "MQTT", _) => Err(DecodeError::UnsupportedVersion),
        _ => Err(DecodeError::Malformed("not MQTT")),
    }
}

/// The version that the CONNECT in these bytes names, however broken it is behind that.
#[must_use]
pub fn version_of_connect(bytes: &[u8]) -> Option<Version> {
    let (_, rest) = bytes.split_first().filter(|(first, _)| **first >> 4 == 1)?;
    let (_, length_len) = varint(rest).ok()??;
    protocol(&mut Reader::new(rest.get(length_len..)?)).ok()
}

fn connect(first_flags: u8, body: &[u8]) -> Result<Packet<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let version = protocol(&mut reader)?;
    let flags = reader.u8()?;
    let has = |bit: u8| flags & bit != 0;
    // MQTT 3.1 does not use these bits, and does not say to look at them.
    if (has(0x01) || first_flags != 0) && version != Version::V31 {
        return Err(DecodeError::Malformed("reserved bits of a CONNECT"));
    }
    let will_qos = qos(flags >> 3 & 0x03)?;
    if !has(0x04) && (will_qos != QoS::AtMostOnce || has(0x20)) {
        return Err(DecodeError::Malformed("flags of a will without a will"));
    }
    if has(0x40) && !has(0x80) && version != Version::V5 {
        return Err(DecodeError::Malformed("a password without a user"));
    }
    let keep_alive_s = reader.u16()?;
    let mut connect = Connect {
        version,
        clean_start: has(0x02),
        keep_alive_s,
        client_id: "",
        will: None,
        user: None,
        password: None,
        session_expiry_s: None,
        receive_max: None,
        packet_bytes_max: None,
        topic_alias_max: 0,
        request_response_info: false,
        request_problem_info: true,
        auth_method: None,
        auth_data: None,
        user_props: Props::default(),
    };
    if version == Version::V5 {
        connect_props(&mut reader, &mut connect)?;
    }
    connect.client_id = reader.text()?;
    if has(0x04) {
        connect.will = Some(will(&mut reader, version, will_qos, has(0x20))?);
    }
    connect.user = if has(0x80) { Some(reader.text()?) } else { None };
    connect.password = if has(0x40) { Some(reader.binary()?) } else { None };
    if !reader.is_empty() {
        return Err(DecodeError::Malformed("bytes behind its end"));
    }
    Ok(Packet::Connect(Box::new(connect)))
}

fn connect_props<'a>(reader: &mut Reader<'a>, connect: &mut Connect<'a>) -> Result<(), DecodeError> {
    const ALLOWED: &[u8] = &[
        props::SESSION_EXPIRY,
        props::RECEIVE_MAX,
        props::PACKET_BYTES_MAX,
        props::TOPIC_ALIAS_MAX,
        props::REQUEST_RESPONSE_INFO,
        props::REQUEST_PROBLEM_INFO,
        props::USER_PROPERTY,
        props::AUTH_METHOD,
        props::AUTH_DATA,
    ];
    let block = props::read(reader, ALLOWED, NO_REPEATS, |prop, _| {
        match prop {
            Prop::Four(props::SESSION_EXPIRY, value) => connect.session_expiry_s = Some(value),
            Prop::Four(_, 0) => return Err(DecodeError::Protocol("a maximum packet size of 0")),
            Prop::Four(_, value) => connect.packet_bytes_max = Some(value),
            Prop::Two(props::RECEIVE_MAX, value) => connect.receive_max = Some(nonzero(value)?),
            Prop::Two(_, value) => connect.topic_alias_max = value,
            Prop::Byte(props::REQUEST_RESPONSE_INFO, value) => connect.request_response_info = value == 1,
            Prop::Byte(_, value) => connect.request_problem_info = value == 1,
            Prop::Text(_, method) => connect.auth_method = Some(method),
            Prop::Binary(_, data) => connect.auth_data = Some(data),
            Prop::Pair(..) | Prop::Varint(..) => {}
        }
        Ok(())
    })?;
    if connect.auth_data.is_some() && connect.auth_method.is_none() {
        return Err(DecodeError::Protocol("authentication data without a method"));
    }
    connect.user_props = Props(block);
    Ok(())
}

fn will<'a>(reader: &mut Reader<'a>, version: Version, qos: QoS, retain: bool) -> Result<Will<'a>, DecodeError> {
    const ALLOWED: &[u8] = &[
        props::WILL_DELAY,
        props::PAYLOAD_FORMAT,
        props::MESSAGE_EXPIRY,
        props::CONTENT_TYPE,
        props::RESPONSE_TOPIC,
        props::CORRELATION_DATA,
        props::USER_PROPERTY,
    ];
    let mut will = Will { topic: "", payload: &[], qos, retain, delay_s: 0, expiry_s: None, props: Props::default() };
    if version == Version::V5 {
        let block = props::read(reader, ALLOWED, NO_REPEATS, |prop, _| {
            match prop {
                Prop::Four(props::WILL_DELAY, value) => will.delay_s = value,
                Prop::Four(_, value) => will.expiry_s = Some(value),
                Prop::Text(props::RESPONSE_TOPIC, text) => check_topic(text)?,
                Prop::Text(..) | Prop::Byte(..) | Prop::Two(..) => {}
                Prop::Varint(..) | Prop::Binary(..) | Prop::Pair(..) => {}
            }
            Ok(())
        })?;
        will.props = Props(block);
    }
    will.topic = reader.text()?;
    check_topic(will.topic)?;
    will.payload = reader.binary()?;
    Ok(will)
}

fn check_topic(text: &str) -> Result<(), DecodeError> {
    topic::check_name(text).map_err(|error| match error {
        TopicError::TooLong | TopicError::TooDeep => DecodeError::TopicNameInvalid,
        TopicError::Empty => DecodeError::Protocol("a topic of no length"),
        TopicError::Nul | TopicError::HashNotLast | TopicError::PlusNotAlone => DecodeError::Malformed("a topic"),
        TopicError::NoGroup | TopicError::WildcardInName => DecodeError::Malformed("a wildcard in a topic"),
    })
}

/// One that is well formed but deeper than what we take is refused by itself, with a reason of its own.
fn check_subscription(text: &str) -> Result<(), DecodeError> {
    let checked = topic::check_subscription(text);
    let well_formed = matches!(checked, Ok(()) | Err(TopicError::TooLong | TopicError::TooDeep));
    if well_formed { Ok(()) } else { Err(DecodeError::Malformed("a topic filter")) }
}

fn publish(flags: u8, body: &[u8], version: Version) -> Result<Publish<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let (dup, retain, qos) = (flags & 0x08 != 0, flags & 0x01 != 0, qos(flags >> 1 & 0x03)?);
    if dup && qos == QoS::AtMostOnce {
        return Err(DecodeError::Malformed("DUP at QoS 0"));
    }
    let topic = reader.text()?;
    let id = if qos == QoS::AtMostOnce { None } else { Some(packet_id(&mut reader)?) };
    let mut publish = Publish {
        dup,
        retain,
        qos,
        id,
        topic,
        payload: &[],
        topic_alias: None,
        expiry_s: None,
        props: Props::default(),
    };
    if version == Version::V5 {
        publish_props(&mut reader, &mut publish)?;
    }
    if !topic.is_empty() || publish.topic_alias.is_none() {
        check_topic(topic)?;
    }
    publish.payload = reader.rest();
    Ok(publish)
}

fn publish_props<'a>(reader: &mut Reader<'a>, publish: &mut Publish<'a>) -> Result<(), DecodeError> {
    const ALLOWED: &[u8] = &[
        props::PAYLOAD_FORMAT,
        props::MESSAGE_EXPIRY,
        props::TOPIC_ALIAS,
        props::RESPONSE_TOPIC,
        props::CORRELATION_DATA,
        props::USER_PROPERTY,
        props::SUBSCRIPTION_ID,
        props::CONTENT_TYPE,
    ];
    let block = props::read(reader, ALLOWED, props::SUBSCRIPTION_ID, |prop, _| {
        match prop {
            Prop::Four(_, value) => publish.expiry_s = Some(value),
            Prop::Two(_, value) => {
                let alias = std::num::NonZeroU16::new(value).ok_or(DecodeError::TopicAliasInvalid)?;
                publish.topic_alias = Some(alias);
            }
            Prop::Varint(_, 0) => return Err(DecodeError::Protocol("a subscription identifier of 0")),
            Prop::Text(props::RESPONSE_TOPIC, text) => check_topic(text)?,
            Prop::Text(..) | Prop::Byte(..) | Prop::Varint(..) | Prop::Binary(..) | Prop::Pair(..) => {}
        }
        Ok(())
    })?;
    publish.props = Props(block);
    Ok(())
}

/// A reason string and user properties, which most answers may carry.
fn answer_props<'a>(reader: &mut Reader<'a>) -> Result<(Option<&'a str>, Props<'a>), DecodeError> {
    const ALLOWED: &[u8] = &[props::REASON_STRING, props::USER_PROPERTY];
    let mut reason_string = None;
    let block = props::read(reader, ALLOWED, NO_REPEATS, |prop, _| {
        if let Prop::Text(_, text) = prop {
            reason_string = Some(text);
        }
        Ok(())
    })?;
    Ok((reason_string, Props(block)))
}

/// A reason code, if it is one of those that this packet knows.
fn reason(code: u8, known: &[Reason]) -> Result<Reason, DecodeError> {
    let reason = Reason(code);
    if known.contains(&reason) { Ok(reason) } else { Err(DecodeError::Malformed("a reason code of no such packet")) }
}

fn ack<'a>(reader: &mut Reader<'a>, version: Version, known: &[Reason]) -> Result<Ack<'a>, DecodeError> {
    let id = packet_id(reader)?;
    let mut ack = Ack { id, reason: Reason::SUCCESS, reason_string: None, user_props: Props::default() };
    if version == Version::V5 && !reader.is_empty() {
        ack.reason = reason(reader.u8()?, known)?;
        if !reader.is_empty() {
            (ack.reason_string, ack.user_props) = answer_props(reader)?;
        }
    }
    Ok(ack)
}

fn subscribe<'a>(reader: &mut Reader<'a>, version: Version) -> Result<Subscribe<'a>, DecodeError> {
    const ALLOWED: &[u8] = &[props::SUBSCRIPTION_ID, props::USER_PROPERTY];
    let id = packet_id(reader)?;
    let mut subscribe = Subscribe { id, subscription_id: None, user_props: Props::default(), filters: Vec::new() };
    if version == Version::V5 {
        let block = props::read(reader, ALLOWED, NO_REPEATS, |prop, _| match prop {
            Prop::Varint(_, 0) => Err(DecodeError::Protocol("a subscription identifier of 0")),
            Prop::Varint(_, value) => {
                subscribe.subscription_id = Some(value);
                Ok(())
            }
            Prop::Byte(..) | Prop::Two(..) | Prop::Four(..) => Ok(()),
            Prop::Text(..) | Prop::Binary(..) | Prop::Pair(..) => Ok(()),
        })?;
        subscribe.user_props = Props(block);
    }
    while !reader.is_empty() {
        let filter = reader.text()?;
        check_subscription(filter)?;
        let options = subscribe_options(reader.u8()?, version)?;
        if options.no_local && filter.starts_with("$share/") {
            return Err(DecodeError::Protocol("no local on a shared subscription"));
        }
        if subscribe.filters.len() >= FILTERS_MAX {
            return Err(DecodeError::Protocol("too many filters in one packet"));
        }
        subscribe.filters.push(SubscribeFilter { filter, options });
    }
    if subscribe.filters.is_empty() {
        return Err(DecodeError::Protocol("a SUBSCRIBE without a filter"));
    }
    Ok(subscribe)
}

fn subscribe_options(bits: u8, version: Version) -> Result<SubscribeOptions, DecodeError> {
    let reserved = if version == Version::V5 { 0xc0 } else { 0xfc };
    if bits & reserved != 0 {
        return Err(DecodeError::Malformed("reserved bits of a subscription"));
    }
    let retain_handling = match bits >> 4 & 0x03 {
        0 => RetainHandling::Always,
        1 => RetainHandling::IfNew,
        2 => RetainHandling::Never,
        _ => return Err(DecodeError::Protocol("a retain handling of 3")),
    };
    Ok(SubscribeOptions {
        qos: qos(bits & 0x03)?,
        no_local: bits & 0x04 != 0,
        retain_as_published: bits & 0x08 != 0,
        retain_handling,
    })
}

fn suback<'a>(reader: &mut Reader<'a>, version: Version) -> Result<SubAck<'a>, DecodeError> {
    let id = packet_id(reader)?;
    if version == Version::V5 {
        let (reason_string, user_props) = answer_props(reader)?;
        return Ok(SubAck { id, reason_string, user_props, reasons: answers(reader, reasons::SUBSCRIBED)? });
    }
    let reasons = answers(reader, reasons::SUBSCRIBED_OLD)?;
    Ok(SubAck { id, reason_string: None, user_props: Props::default(), reasons })
}

fn unsuback<'a>(reader: &mut Reader<'a>, version: Version) -> Result<SubAck<'a>, DecodeError> {
    let id = packet_id(reader)?;
    if version != Version::V5 {
        return Ok(SubAck { id, reason_string: None, user_props: Props::default(), reasons: Vec::new() });
    }
    let (reason_string, user_props) = answer_props(reader)?;
    Ok(SubAck { id, reason_string, user_props, reasons: answers(reader, reasons::UNSUBSCRIBED)? })
}

/// The reason codes to the end of the packet, one for each filter.
fn answers(reader: &mut Reader<'_>, known: &[Reason]) -> Result<Vec<Reason>, DecodeError> {
    let codes = reader.bytes(reader.rest().len().min(FILTERS_MAX))?;
    if codes.is_empty() {
        return Err(DecodeError::Malformed("an answer to no filter"));
    }
    codes.iter().map(|code| reason(*code, known)).collect()
}

fn unsubscribe<'a>(reader: &mut Reader<'a>, version: Version) -> Result<Unsubscribe<'a>, DecodeError> {
    let id = packet_id(reader)?;
    let mut unsubscribe = Unsubscribe { id, user_props: Props::default(), filters: Vec::new() };
    if version == Version::V5 {
        let block = props::read(reader, &[props::USER_PROPERTY], NO_REPEATS, |_, _| Ok(()))?;
        unsubscribe.user_props = Props(block);
    }
    while !reader.is_empty() {
        if unsubscribe.filters.len() >= FILTERS_MAX {
            return Err(DecodeError::Protocol("too many filters in one packet"));
        }
        let filter = reader.text()?;
        check_subscription(filter)?;
        unsubscribe.filters.push(filter);
    }
    if unsubscribe.filters.is_empty() {
        return Err(DecodeError::Protocol("an UNSUBSCRIBE without a filter"));
    }
    Ok(unsubscribe)
}

fn disconnect<'a>(reader: &mut Reader<'a>, version: Version) -> Result<Disconnect<'a>, DecodeError> {
    const ALLOWED: &[u8] =
        &[props::SESSION_EXPIRY, props::REASON_STRING, props::USER_PROPERTY, props::SERVER_REFERENCE];
    let mut disconnect = Disconnect::default();
    if version != Version::V5 || reader.is_empty() {
        return Ok(disconnect);
    }
    disconnect.reason = reason(reader.u8()?, reasons::DISCONNECTED)?;
    if reader.is_empty() {
        return Ok(disconnect);
    }
    let block = props::read(reader, ALLOWED, NO_REPEATS, |prop, _| {
        match prop {
            Prop::Four(_, value) => disconnect.session_expiry_s = Some(value),
            Prop::Text(props::REASON_STRING, text) => disconnect.reason_string = Some(text),
            Prop::Text(_, text) => disconnect.server_reference = Some(text),
            Prop::Byte(..) | Prop::Two(..) | Prop::Varint(..) | Prop::Binary(..) | Prop::Pair(..) => {}
        }
        Ok(())
    })?;
    disconnect.user_props = Props(block);
    Ok(disconnect)
}

fn auth<'a>(reader: &mut Reader<'a>) -> Result<Auth<'a>, DecodeError> {
    const ALLOWED: &[u8] = &[props::AUTH_METHOD, props::AUTH_DATA, props::REASON_STRING, props::USER_PROPERTY];
    let mut auth = Auth::default();
    if reader.is_empty() {
        return Ok(auth);
    }
    auth.reason = reason(reader.u8()?, reasons::AUTHENTICATING)?;
    let block = props::read(reader, ALLOWED, NO_REPEATS, |prop, _| {
        match prop {
            Prop::Text(props::AUTH_METHOD, text) => auth.method = Some(text),
            Prop::Text(_, text) => auth.reason_string = Some(text),
            Prop::Binary(_, data) => auth.data = Some(data),
            Prop::Byte(..) | Prop::Two(..) | Prop::Four(..) | Prop::Varint(..) | Prop::Pair(..) => {}
        }
        Ok(())
    })?;
    auth.user_props = Props(block);
    Ok(auth)
}

fn connack<'a>(reader: &mut Reader<'a>, version: Version) -> Result<ConnAck<'a>, DecodeError> {
    let flags = reader.u8()?;
    if flags & 0xfe != 0 {
        return Err(DecodeError::Malformed("reserved bits of a CONNACK"));
    }
    let code = reader.u8()?;
    let mut connack = ConnAck { session_present: flags == 1, ..ConnAck::default() };
    if version != Version::V5 {
        connack.reason = reason_of_return_code(code)?;
    } else {
        connack.reason = reason(code, reasons::CONNECTED)?;
        connack_props(reader, &mut connack)?;
    }
    if connack.session_present && connack.reason != Reason::SUCCESS {
        return Err(DecodeError::Protocol("a refusal with a session"));
    }
    Ok(connack)
}

/// The version 5 reason that says what a 3.1.1 return code says.
fn reason_of_return_code(code: u8) -> Result<Reason, DecodeError> {
    match code {
        0 => Ok(Reason::SUCCESS),
        1 => Ok(Reason::UNSUPPORTED_PROTOCOL_VERSION),
        2 => Ok(Reason::CLIENT_ID_NOT_VALID),
        3 => Ok(Reason::SERVER_UNAVAILABLE),
        4 => Ok(Reason::BAD_USER_OR_PASSWORD),
        5 => Ok(Reason::NOT_AUTHORIZED),
        _ => Err(DecodeError::Malformed("a return code that does not exist")),
    }
}

fn connack_props<'a>(reader: &mut Reader<'a>, connack: &mut ConnAck<'a>) -> Result<(), DecodeError> {
    const ALLOWED: &[u8] = &[
        props::SESSION_EXPIRY,
        props::RECEIVE_MAX,
        props::QOS_MAX,
        props::RETAIN_AVAILABLE,
        props::PACKET_BYTES_MAX,
        props::ASSIGNED_CLIENT_ID,
        props::TOPIC_ALIAS_MAX,
        props::REASON_STRING,
        props::USER_PROPERTY,
        props::WILDCARD_AVAILABLE,
        props::SUBSCRIPTION_IDS_AVAILABLE,
        props::SHARED_AVAILABLE,
        props::SERVER_KEEP_ALIVE,
        props::RESPONSE_INFO,
        props::SERVER_REFERENCE,
        props::AUTH_METHOD,
        props::AUTH_DATA,
    ];
    let block = props::read(reader, ALLOWED, NO_REPEATS, |prop, _| {
        match prop {
            Prop::Four(props::SESSION_EXPIRY, value) => connack.session_expiry_s = Some(value),
            Prop::Four(_, value) => connack.packet_bytes_max = Some(value),
            Prop::Two(props::RECEIVE_MAX, value) => connack.receive_max = Some(nonzero(value)?),
            Prop::Two(props::TOPIC_ALIAS_MAX, value) => connack.topic_alias_max = value,
            Prop::Two(_, value) => connack.server_keep_alive_s = Some(value),
            Prop::Byte(props::QOS_MAX, value) => connack.qos_max = Some(qos(value)?),
            Prop::Byte(props::RETAIN_AVAILABLE, value) => connack.retain_available = Some(value == 1),
            Prop::Byte(props::WILDCARD_AVAILABLE, value) => connack.wildcard_available = Some(value == 1),
            Prop::Byte(props::SUBSCRIPTION_IDS_AVAILABLE, value) => {
                connack.subscription_ids_available = Some(value == 1);
            }
            Prop::Byte(_, value) => connack.shared_available = Some(value == 1),
            Prop::Text(props::ASSIGNED_CLIENT_ID, text) => connack.assigned_client_id = Some(text),
            Prop::Text(props::REASON_STRING, text) => connack.reason_string = Some(text),
            Prop::Text(props::RESPONSE_INFO, text) => connack.response_info = Some(text),
            Prop::Text(props::SERVER_REFERENCE, text) => connack.server_reference = Some(text),
            Prop::Text(_, text) => connack.auth_method = Some(text),
            Prop::Binary(_, data) => connack.auth_data = Some(data),
            Prop::Varint(..) | Prop::Pair(..) => {}
        }
        Ok(())
    })?;
    connack.user_props = Props(block);
    Ok(())
}
