//! From packets to bytes. What only version 5 has is left out for older clients.

use super::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, Props, Publish, QoS, Reason, SubAck, Subscribe,
    SubscribeOptions, Unsubscribe, Version, Will,
};
use super::props::{self, Prop, put};
use super::wire::{put_binary, put_u16, put_varint, varint_len};

/// Most that a packet's length can say.
pub const LENGTH_MAX: usize = 268_435_455;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet of more than {LENGTH_MAX} bytes")]
pub struct TooLong;

/// Append `packet` to `out`, or leave `out` as it is.
pub fn encode(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) -> Result<(), TooLong> {
    if let Packet::Publish(publish) = packet {
        return encode_publish(publish, version, out);
    }
    let mut body = Vec::new();
    let first = match packet {
        Packet::Connect(packet) => connect(packet, &mut body),
        Packet::ConnAck(packet) => connack(packet, version, &mut body),
        Packet::Publish(_) => 0x30,
        Packet::PubAck(packet) => ack(0x40, packet, version, &mut body),
        Packet::PubRec(packet) => ack(0x50, packet, version, &mut body),
        Packet::PubRel(packet) => ack(0x62, packet, version, &mut body),
        Packet::PubComp(packet) => ack(0x70, packet, version, &mut body),
        Packet::Subscribe(packet) => subscribe(packet, version, &mut body),
        Packet::SubAck(packet) => suback(0x90, packet, version, &mut body),
        Packet::Unsubscribe(packet) => unsubscribe(packet, version, &mut body),
        Packet::UnsubAck(packet) => suback(0xb0, packet, version, &mut body),
        Packet::PingReq => 0xc0,
        Packet::PingResp => 0xd0,
        Packet::Disconnect(packet) => disconnect(packet, version, &mut body),
        Packet::Auth(packet) => auth(packet, &mut body),
    };
    if body.len() > LENGTH_MAX {
        return Err(TooLong);
    }
    out.push(first);
    put_varint(out, body.len());
    out.extend_from_slice(&body);
    Ok(())
}

/// The four bytes of an acknowledgement that says no more than "yes".
pub fn encode_plain_ack(first: u8, id: PacketId, out: &mut Vec<u8>) {
    let [high, low] = id.0.get().to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}

/// A PUBLISH straight into `out`.
pub fn encode_publish(publish: &Publish<'_>, version: Version, out: &mut Vec<u8>) -> Result<(), TooLong> {
    let of_this_hop = &[props::MESSAGE_EXPIRY, props::TOPIC_ALIAS];
    let others = if version == Version::V5 { others_len(publish.props, of_this_hop) } else { 0 };
    let before = out.len();
    let length = put_publish_head(publish, &[], others, version, out)?;
    if version == Version::V5 {
        put_others(out, publish.props, of_this_hop);
    }
    out.extend_from_slice(publish.payload);
    debug_assert_eq!(out.len() - before, length, "it is as long as it says");
    Ok(())
}

/// The same up to where `publish.props` begin, for the broker's busiest road: they, in version 5, and the payload are to
/// follow as they are. There must be none among them that has its own field, and no subscription identifier; `ids` are
/// those. Says how long the whole packet is.
pub fn encode_publish_head(
    publish: &Publish<'_>,
    ids: &[u32],
    version: Version,
    out: &mut Vec<u8>,
) -> Result<usize, TooLong> {
    put_publish_head(publish, ids, publish.props.as_bytes().len(), version, out)
}

fn put_publish_head(
    publish: &Publish<'_>,
    ids: &[u32],
    others: usize,
    version: Version,
    out: &mut Vec<u8>,
) -> Result<usize, TooLong> {
    let expiry = if publish.expiry_s.is_some() { 5 } else { 0 };
    let alias = if publish.topic_alias.is_some() { 3 } else { 0 };
    let identifiers: usize = ids.iter().map(|id| 1 + varint_len(*id as usize)).sum();
    let props = expiry + alias + identifiers + others;
    let props_total = if version == Version::V5 { varint_len(props) + props } else { 0 };
    let id = if publish.id.is_some() { 2 } else { 0 };
    let length = 2 + publish.topic.len() + id + props_total + publish.payload.len();
    if length > LENGTH_MAX {
        return Err(TooLong);
    }
    let flags = u8::from(publish.dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain);
    out.push(0x30 | flags);
    put_varint(out, length);
    put_binary(out, publish.topic.as_bytes());
    if let Some(id) = publish.id {
        put_u16(out, id.0.get());
    }
    if version == Version::V5 {
        put_varint(out, props);
        if let Some(expiry) = publish.expiry_s {
            put(out, Prop::Four(props::MESSAGE_EXPIRY, expiry));
        }
        if let Some(alias) = publish.topic_alias {
            put(out, Prop::Two(props::TOPIC_ALIAS, alias.get()));
        }
        for id in ids {
            put(out, Prop::Varint(props::SUBSCRIPTION_ID, *id));
        }
    }
    Ok(1 + varint_len(length) + length)
}

/// The properties but for `left_out`, as they are.
pub fn put_others(out: &mut Vec<u8>, block: Props<'_>, left_out: &[u8]) {
    if block.is_empty() {
        return;
    }
    for prop in block.iter().filter(|prop| !left_out.contains(&prop.id())) {
        put(out, prop);
    }
}

fn others_len(block: Props<'_>, left_out: &[u8]) -> usize {
    let len = |prop: Prop<'_>| match prop {
        Prop::Byte(..) => 2,
        Prop::Two(..) => 3,
        Prop::Four(..) => 5,
        Prop::Varint(_, value) => 1 + varint_len(usize::try_from(value).unwrap_or(usize::MAX)),
        Prop::Text(_, text) => 3 + text.len(),
        Prop::Binary(_, bytes) => 3 + bytes.len(),
        Prop::Pair(key, value) => 5 + key.len() + value.len(),
    };
    block.iter().filter(|prop| !left_out.contains(&prop.id())).map(len).sum()
}

/// A property block with its length before it.
fn put_block(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut block = Vec::new();
    fill(&mut block);
    put_varint(out, block.len());
    out.extend_from_slice(&block);
}

fn put_text(out: &mut Vec<u8>, id: u8, text: Option<&str>) {
    if let Some(text) = text {
        put(out, Prop::Text(id, text));
    }
}

fn put_user(out: &mut Vec<u8>, block: Props<'_>) {
    for (key, value) in block.user() {
        put(out, Prop::Pair(key, value));
    }
}

fn connect(packet: &Connect<'_>, out: &mut Vec<u8>) -> u8 {
    let (name, level) = match packet.version {
        Version::V31 => ("MQIsdp", 3),
        Version::V311 => ("MQTT", 4),
        Version::V5 => ("MQTT", 5),
    };
    put_binary(out, name.as_bytes());
    out.push(level);
    let will_flags = packet.will.as_ref().map_or(0, |will| 0x04 | (will.qos as u8) << 3 | u8::from(will.retain) << 5);
    let user = u8::from(packet.user.is_some()) << 7 | u8::from(packet.password.is_some()) << 6;
    out.push(user | will_flags | u8::from(packet.clean_start) << 1);
    put_u16(out, packet.keep_alive_s);
    if packet.version == Version::V5 {
        put_block(out, |block| connect_props(packet, block));
    }
    put_binary(out, packet.client_id.as_bytes());
    if let Some(will) = &packet.will {
        put_will(will, packet.version, out);
    }
    if let Some(user) = packet.user {
        put_binary(out, user.as_bytes());
    }
    if let Some(password) = packet.password {
        put_binary(out, password);
    }
    0x10
}

fn connect_props(packet: &Connect<'_>, out: &mut Vec<u8>) {
    if let Some(expiry) = packet.session_expiry_s {
        put(out, Prop::Four(props::SESSION_EXPIRY, expiry));
    }
    if let Some(receive_max) = packet.receive_max {
        put(out, Prop::Two(props::RECEIVE_MAX, receive_max.get()));
    }
    if let Some(max) = packet.packet_bytes_max {
        put(out, Prop::Four(props::PACKET_BYTES_MAX, max));
    }
    if packet.topic_alias_max > 0 {
        put(out, Prop::Two(props::TOPIC_ALIAS_MAX, packet.topic_alias_max));
    }
    if packet.request_response_info {
        put(out, Prop::Byte(props::REQUEST_RESPONSE_INFO, 1));
    }
    if !packet.request_problem_info {
        put(out, Prop::Byte(props::REQUEST_PROBLEM_INFO, 0));
    }
    put_text(out, props::AUTH_METHOD, packet.auth_method);
    if let Some(data) = packet.auth_data {
        put(out, Prop::Binary(props::AUTH_DATA, data));
    }
    put_user(out, packet.user_props);
}

fn put_will(will: &Will<'_>, version: Version, out: &mut Vec<u8>) {
    if version == Version::V5 {
        put_block(out, |block| {
            if will.delay_s > 0 {
                put(block, Prop::Four(props::WILL_DELAY, will.delay_s));
            }
            if let Some(expiry) = will.expiry_s {
                put(block, Prop::Four(props::MESSAGE_EXPIRY, expiry));
            }
            put_others(block, will.props, &[props::WILL_DELAY, props::MESSAGE_EXPIRY]);
        });
    }
    put_binary(out, will.topic.as_bytes());
    put_binary(out, will.payload);
}

/// The 3.1.1 return code that says most of what a reason says.
fn return_code(reason: Reason) -> u8 {
    match reason {
        Reason::SUCCESS => 0,
        Reason::UNSUPPORTED_PROTOCOL_VERSION => 1,
        Reason::CLIENT_ID_NOT_VALID => 2,
        Reason::BAD_USER_OR_PASSWORD => 4,
        Reason::NOT_AUTHORIZED | Reason::BANNED | Reason::BAD_AUTHENTICATION_METHOD => 5,
        _ => 3,
    }
}

fn connack(packet: &ConnAck<'_>, version: Version, out: &mut Vec<u8>) -> u8 {
    out.push(u8::from(packet.session_present));
    if version == Version::V5 {
        out.push(packet.reason.0);
        put_block(out, |block| connack_props(packet, block));
    } else {
        out.push(return_code(packet.reason));
    }
    0x20
}

fn connack_props(packet: &ConnAck<'_>, out: &mut Vec<u8>) {
    let mut flag = |id: u8, value: Option<bool>| {
        if let Some(value) = value {
            put(out, Prop::Byte(id, u8::from(value)));
        }
    };
    flag(props::RETAIN_AVAILABLE, packet.retain_available);
    flag(props::WILDCARD_AVAILABLE, packet.wildcard_available);
    flag(props::SUBSCRIPTION_IDS_AVAILABLE, packet.subscription_ids_available);
    flag(props::SHARED_AVAILABLE, packet.shared_available);
    // A maximum QoS of 2 is said by saying nothing.
    if let Some(qos) = packet.qos_max.filter(|qos| *qos != QoS::ExactlyOnce) {
        put(out, Prop::Byte(props::QOS_MAX, qos as u8));
    }
    if let Some(expiry) = packet.session_expiry_s {
        put(out, Prop::Four(props::SESSION_EXPIRY, expiry));
    }
    if let Some(receive_max) = packet.receive_max {
        put(out, Prop::Two(props::RECEIVE_MAX, receive_max.get()));
    }
    if let Some(max) = packet.packet_bytes_max {
        put(out, Prop::Four(props::PACKET_BYTES_MAX, max));
    }
    if packet.topic_alias_max > 0 {
        put(out, Prop::Two(props::TOPIC_ALIAS_MAX, packet.topic_alias_max));
    }
    if let Some(keep_alive) = packet.server_keep_alive_s {
        put(out, Prop::Two(props::SERVER_KEEP_ALIVE, keep_alive));
    }
    put_text(out, props::ASSIGNED_CLIENT_ID, packet.assigned_client_id);
    put_text(out, props::REASON_STRING, packet.reason_string);
    put_text(out, props::RESPONSE_INFO, packet.response_info);
    put_text(out, props::SERVER_REFERENCE, packet.server_reference);
    put_text(out, props::AUTH_METHOD, packet.auth_method);
    if let Some(data) = packet.auth_data {
        put(out, Prop::Binary(props::AUTH_DATA, data));
    }
    put_user(out, packet.user_props);
}

fn put_answer_block(reason_string: Option<&str>, user_props: Props<'_>, out: &mut Vec<u8>) {
    put_block(out, |block| {
        put_text(block, props::REASON_STRING, reason_string);
        put_user(block, user_props);
    });
}

fn ack(first: u8, packet: &Ack<'_>, version: Version, out: &mut Vec<u8>) -> u8 {
    put_u16(out, packet.id.0.get());
    let says_more = packet.reason_string.is_some() || packet.user_props.user().next().is_some();
    if version == Version::V5 && (packet.reason != Reason::SUCCESS || says_more) {
        out.push(packet.reason.0);
        if says_more {
            put_answer_block(packet.reason_string, packet.user_props, out);
        }
    }
    first
}

fn subscribe(packet: &Subscribe<'_>, version: Version, out: &mut Vec<u8>) -> u8 {
    put_u16(out, packet.id.0.get());
    if version == Version::V5 {
        put_block(out, |block| {
            if let Some(id) = packet.subscription_id {
                put(block, Prop::Varint(props::SUBSCRIPTION_ID, id));
            }
            put_user(block, packet.user_props);
        });
    }
    for filter in &packet.filters {
        put_binary(out, filter.filter.as_bytes());
        out.push(option_bits(filter.options, version));
    }
    0x82
}

fn option_bits(options: SubscribeOptions, version: Version) -> u8 {
    let qos = options.qos as u8;
    if version != Version::V5 {
        return qos;
    }
    let handling = (options.retain_handling as u8) << 4;
    handling | u8::from(options.retain_as_published) << 3 | u8::from(options.no_local) << 2 | qos
}

fn suback(first: u8, packet: &SubAck<'_>, version: Version, out: &mut Vec<u8>) -> u8 {
    put_u16(out, packet.id.0.get());
    if version == Version::V5 {
        put_answer_block(packet.reason_string, packet.user_props, out);
        out.extend(packet.reasons.iter().map(|reason| reason.0));
    } else if first == 0x90 {
        // 3.1.1 knows one failure only.
        out.extend(packet.reasons.iter().map(|reason| if reason.is_error() { 0x80 } else { reason.0 }));
    }
    first
}

fn unsubscribe(packet: &Unsubscribe<'_>, version: Version, out: &mut Vec<u8>) -> u8 {
    put_u16(out, packet.id.0.get());
    if version == Version::V5 {
        put_block(out, |block| put_user(block, packet.user_props));
    }
    for filter in &packet.filters {
        put_binary(out, filter.as_bytes());
    }
    0xa2
}

fn disconnect(packet: &Disconnect<'_>, version: Version, out: &mut Vec<u8>) -> u8 {
    if version != Version::V5 || *packet == Disconnect::default() {
        return 0xe0;
    }
    out.push(packet.reason.0);
    if *packet != (Disconnect { reason: packet.reason, ..Disconnect::default() }) {
        put_block(out, |block| {
            if let Some(expiry) = packet.session_expiry_s {
                put(block, Prop::Four(props::SESSION_EXPIRY, expiry));
            }
            put_text(block, props::REASON_STRING, packet.reason_string);
            put_text(block, props::SERVER_REFERENCE, packet.server_reference);
            put_user(block, packet.user_props);
        });
    }
    0xe0
}

fn auth(packet: &Auth<'_>, out: &mut Vec<u8>) -> u8 {
    if *packet != Auth::default() {
        out.push(packet.reason.0);
        put_block(out, |block| {
            put_text(block, props::AUTH_METHOD, packet.method);
            if let Some(data) = packet.data {
                put(block, Prop::Binary(props::AUTH_DATA, data));
            }
            put_text(block, props::REASON_STRING, packet.reason_string);
            put_user(block, packet.user_props);
        });
    }
    0xf0
}
