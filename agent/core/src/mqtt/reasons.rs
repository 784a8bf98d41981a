//! Which packet may carry which reason code; whoever sends another breaks the protocol.

use super::packet::Reason;

pub const CONNECTED: &[Reason] = &[
    Reason::SUCCESS,
    Reason::UNSPECIFIED,
    Reason::MALFORMED_PACKET,
    Reason::PROTOCOL_ERROR,
    Reason::IMPLEMENTATION_SPECIFIC,
    Reason::UNSUPPORTED_PROTOCOL_VERSION,
    Reason::CLIENT_ID_NOT_VALID,
    Reason::BAD_USER_OR_PASSWORD,
    Reason::NOT_AUTHORIZED,
    Reason::SERVER_UNAVAILABLE,
    Reason::SERVER_BUSY,
    Reason::BANNED,
    Reason::BAD_AUTHENTICATION_METHOD,
    Reason::TOPIC_NAME_INVALID,
    Reason::PACKET_TOO_LARGE,
    Reason::QUOTA_EXCEEDED,
    Reason::PAYLOAD_FORMAT_INVALID,
    Reason::RETAIN_NOT_SUPPORTED,
    Reason::QOS_NOT_SUPPORTED,
    Reason::USE_ANOTHER_SERVER,
    Reason::SERVER_MOVED,
    Reason::CONNECTION_RATE_EXCEEDED,
];

/// PUBACK and PUBREC.
pub const PUBLISHED: &[Reason] = &[
    Reason::SUCCESS,
    Reason::NO_MATCHING_SUBSCRIBERS,
    Reason::UNSPECIFIED,
    Reason::IMPLEMENTATION_SPECIFIC,
    Reason::NOT_AUTHORIZED,
    Reason::TOPIC_NAME_INVALID,
    Reason::PACKET_ID_IN_USE,
    Reason::QUOTA_EXCEEDED,
    Reason::PAYLOAD_FORMAT_INVALID,
];

/// PUBREL and PUBCOMP.
pub const RELEASED: &[Reason] = &[Reason::SUCCESS, Reason::PACKET_ID_NOT_FOUND];

pub const SUBSCRIBED: &[Reason] = &[
    Reason::SUCCESS,
    Reason::GRANTED_QOS_1,
    Reason::GRANTED_QOS_2,
    Reason::UNSPECIFIED,
    Reason::IMPLEMENTATION_SPECIFIC,
    Reason::NOT_AUTHORIZED,
    Reason::TOPIC_FILTER_INVALID,
    Reason::PACKET_ID_IN_USE,
    Reason::QUOTA_EXCEEDED,
    Reason::SHARED_NOT_SUPPORTED,
    Reason::SUBSCRIPTION_IDS_NOT_SUPPORTED,
    Reason::WILDCARDS_NOT_SUPPORTED,
];

/// The return codes of a SUBACK before version 5.
pub const SUBSCRIBED_OLD: &[Reason] =
    &[Reason::SUCCESS, Reason::GRANTED_QOS_1, Reason::GRANTED_QOS_2, Reason::UNSPECIFIED];

pub const UNSUBSCRIBED: &[Reason] = &[
    Reason::SUCCESS,
    Reason::NO_SUBSCRIPTION_EXISTED,
    Reason::UNSPECIFIED,
    Reason::IMPLEMENTATION_SPECIFIC,
    Reason::NOT_AUTHORIZED,
    Reason::TOPIC_FILTER_INVALID,
    Reason::PACKET_ID_IN_USE,
];

pub const DISCONNECTED: &[Reason] = &[
    Reason::NORMAL_DISCONNECTION,
    Reason::DISCONNECT_WITH_WILL,
    Reason::UNSPECIFIED,
    Reason::MALFORMED_PACKET,
    Reason::PROTOCOL_ERROR,
    Reason::IMPLEMENTATION_SPECIFIC,
    Reason::NOT_AUTHORIZED,
    Reason::SERVER_BUSY,
    Reason::SERVER_SHUTTING_DOWN,
    Reason::BAD_AUTHENTICATION_METHOD,
    Reason::KEEP_ALIVE_TIMEOUT,
    Reason::SESSION_TAKEN_OVER,
    Reason::TOPIC_FILTER_INVALID,
    Reason::TOPIC_NAME_INVALID,
    Reason::RECEIVE_MAXIMUM_EXCEEDED,
    Reason::TOPIC_ALIAS_INVALID,
    Reason::PACKET_TOO_LARGE,
    Reason::MESSAGE_RATE_TOO_HIGH,
    Reason::QUOTA_EXCEEDED,
    Reason::ADMINISTRATIVE_ACTION,
    Reason::PAYLOAD_FORMAT_INVALID,
    Reason::RETAIN_NOT_SUPPORTED,
    Reason::QOS_NOT_SUPPORTED,
    Reason::USE_ANOTHER_SERVER,
    Reason::SERVER_MOVED,
    Reason::SHARED_NOT_SUPPORTED,
    Reason::CONNECTION_RATE_EXCEEDED,
    Reason::MAXIMUM_CONNECT_TIME,
    Reason::SUBSCRIPTION_IDS_NOT_SUPPORTED,
    Reason::WILDCARDS_NOT_SUPPORTED,
];

pub const AUTHENTICATING: &[Reason] = &[Reason::SUCCESS, Reason::CONTINUE_AUTHENTICATION, Reason::REAUTHENTICATE];
