//! The packets of MQTT, for every version in one shape. What only version 5 has is a default in the others.
//!
//! Packets borrow from the buffer they were read from, so reading one allocates nothing.

use std::num::NonZeroU16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `MQIsdp`, level 3.
    V31,
    /// `MQTT`, level 4.
    V311,
    /// `MQTT`, level 5.
    V5,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QoS {
    #[default]
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(pub NonZeroU16);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    Connect(Box<Connect<'a>>),
    ConnAck(Box<ConnAck<'a>>),
    Publish(Publish<'a>),
    PubAck(Ack<'a>),
    PubRec(Ack<'a>),
    PubRel(Ack<'a>),
    PubComp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(SubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    pub version: Version,
    pub clean_start: bool,
    pub keep_alive_s: u16,
    pub client_id: &'a str,
    pub will: Option<Will<'a>>,
    pub user: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    /// `None`: not sent, which is 0 in version 5. In 3.1.1 `clean_start` alone decides.
    pub session_expiry_s: Option<u32>,
    pub receive_max: Option<NonZeroU16>,
    pub packet_bytes_max: Option<u32>,
    pub topic_alias_max: u16,
    pub request_response_info: bool,
    pub request_problem_info: bool,
    pub auth_method: Option<&'a str>,
    pub auth_data: Option<&'a [u8]>,
    pub user_props: Props<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: QoS,
    pub retain: bool,
    pub delay_s: u32,
    pub expiry_s: Option<u32>,
    /// All properties of the will; delay and expiry are left out when this is written, for the fields above say them.
    pub props: Props<'a>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnAck<'a> {
    pub session_present: bool,
    /// A version 5 reason code; written as the 3.1.1 return code nearest to it for older clients.
    pub reason: Reason,
    pub session_expiry_s: Option<u32>,
    pub receive_max: Option<NonZeroU16>,
    pub qos_max: Option<QoS>,
    pub retain_available: Option<bool>,
    pub packet_bytes_max: Option<u32>,
    pub assigned_client_id: Option<&'a str>,
    pub topic_alias_max: u16,
    pub reason_string: Option<&'a str>,
    pub wildcard_available: Option<bool>,
    pub subscription_ids_available: Option<bool>,
    pub shared_available: Option<bool>,
    pub server_keep_alive_s: Option<u16>,
    pub response_info: Option<&'a str>,
    pub server_reference: Option<&'a str>,
    pub auth_method: Option<&'a str>,
    pub auth_data: Option<&'a [u8]>,
    pub user_props: Props<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    pub dup: bool,
    pub retain: bool,
    pub qos: QoS,
    /// `Some` exactly at QoS 1 and 2.
    pub id: Option<PacketId>,
    /// Empty only in version 5 with an alias.
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub topic_alias: Option<NonZeroU16>,
    pub expiry_s: Option<u32>,
    /// All properties; alias and expiry are left out when this is written, for the fields above say them.
    pub props: Props<'a>,
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    pub id: PacketId,
    pub reason: Reason,
    pub reason_string: Option<&'a str>,
    pub user_props: Props<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    pub id: PacketId,
    pub subscription_id: Option<u32>,
    pub user_props: Props<'a>,
    /// At least one.
    pub filters: Vec<SubscribeFilter<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeFilter<'a> {
    /// As sent, `$share/` and all; well-formed UTF-8, but not yet a checked filter.
    pub filter: &'a str,
    pub options: SubscribeOptions,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    #[default]
    Always = 0,
    IfNew = 1,
    Never = 2,
}

/// SUBACK and UNSUBACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    pub id: PacketId,
    pub reason_string: Option<&'a str>,
    pub user_props: Props<'a>,
    /// One a filter, in order. A 3.1.1 UNSUBACK carries none.
    pub reasons: Vec<Reason>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    pub id: PacketId,
    pub user_props: Props<'a>,
    /// At least one.
    pub filters: Vec<&'a str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disconnect<'a> {
    pub reason: Reason,
    pub session_expiry_s: Option<u32>,
    pub reason_string: Option<&'a str>,
    pub server_reference: Option<&'a str>,
    pub user_props: Props<'a>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth<'a> {
    pub reason: Reason,
    pub method: Option<&'a str>,
    pub data: Option<&'a [u8]>,
    pub reason_string: Option<&'a str>,
    pub user_props: Props<'a>,
}

/// A run of encoded version 5 properties, already checked. Only the codec makes one that is not empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Props<'a>(pub(crate) &'a [u8]);

/// A version 5 reason code, as the number on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(pub u8);

impl Reason {
    pub const SUCCESS: Self = Self(0x00);
    pub const NORMAL_DISCONNECTION: Self = Self(0x00);
    pub const GRANTED_QOS_1: Self = Self(0x01);
    pub const GRANTED_QOS_2: Self = Self(0x02);
    pub const DISCONNECT_WITH_WILL: Self = Self(0x04);
    pub const NO_MATCHING_SUBSCRIBERS: Self = Self(0x10);
    pub const NO_SUBSCRIPTION_EXISTED: Self = Self(0x11);
    pub const CONTINUE_AUTHENTICATION: Self = Self(0x18);
    pub const REAUTHENTICATE: Self = Self(0x19);
    pub const UNSPECIFIED: Self = Self(0x80);
    pub const MALFORMED_PACKET: Self = Self(0x81);
    pub const PROTOCOL_ERROR: Self = Self(0x82);
    pub const IMPLEMENTATION_SPECIFIC: Self = Self(0x83);
    pub const UNSUPPORTED_PROTOCOL_VERSION: Self = Self(0x84);
    pub const CLIENT_ID_NOT_VALID: Self = Self(0x85);
    pub const BAD_USER_OR_PASSWORD: Self = Self(0x86);
    pub const NOT_AUTHORIZED: Self = Self(0x87);
    pub const SERVER_UNAVAILABLE: Self = Self(0x88);
    pub const SERVER_BUSY: Self = Self(0x89);
    pub const BANNED: Self = Self(0x8A);
    pub const SERVER_SHUTTING_DOWN: Self = Self(0x8B);
    pub const BAD_AUTHENTICATION_METHOD: Self = Self(0x8C);
    pub const KEEP_ALIVE_TIMEOUT: Self = Self(0x8D);
    pub const SESSION_TAKEN_OVER: Self = Self(0x8E);
    pub const TOPIC_FILTER_INVALID: Self = Self(0x8F);
    pub const TOPIC_NAME_INVALID: Self = Self(0x90);
    pub const PACKET_ID_IN_USE: Self = Self(0x91);
    pub const PACKET_ID_NOT_FOUND: Self = Self(0x92);
    pub const RECEIVE_MAXIMUM_EXCEEDED: Self = Self(0x93);
    pub const TOPIC_ALIAS_INVALID: Self = Self(0x94);
    pub const PACKET_TOO_LARGE: Self = Self(0x95);
    pub const MESSAGE_RATE_TOO_HIGH: Self = Self(0x96);
    pub const QUOTA_EXCEEDED: Self = Self(0x97);
    pub const ADMINISTRATIVE_ACTION: Self = Self(0x98);
    pub const PAYLOAD_FORMAT_INVALID: Self = Self(0x99);
    pub const RETAIN_NOT_SUPPORTED: Self = Self(0x9A);
    pub const QOS_NOT_SUPPORTED: Self = Self(0x9B);
    pub const USE_ANOTHER_SERVER: Self = Self(0x9C);
    pub const SERVER_MOVED: Self = Self(0x9D);
    pub const SHARED_NOT_SUPPORTED: Self = Self(0x9E);
    pub const CONNECTION_RATE_EXCEEDED: Self = Self(0x9F);
    pub const MAXIMUM_CONNECT_TIME: Self = Self(0xA0);
    pub const SUBSCRIPTION_IDS_NOT_SUPPORTED: Self = Self(0xA1);
    pub const WILDCARDS_NOT_SUPPORTED: Self = Self(0xA2);

    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }
}
