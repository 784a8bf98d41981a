//! Reason codes in words.

use hobnail_core::mqtt::packet::Reason;

/// What a reason code means, as a user would say it.
#[must_use]
pub fn in_words(reason: Reason) -> &'static str {
    match reason {
        Reason::SUCCESS => "success",
        Reason::GRANTED_QOS_1 => "granted at QoS 1",
        Reason::GRANTED_QOS_2 => "granted at QoS 2",
        Reason::DISCONNECT_WITH_WILL => "disconnect with will",
        Reason::NO_MATCHING_SUBSCRIBERS => "nobody subscribes to it",
        Reason::NO_SUBSCRIPTION_EXISTED => "there was no such subscription",
        Reason::CONTINUE_AUTHENTICATION => "continue authentication",
        Reason::REAUTHENTICATE => "authenticate again",
        Reason::UNSPECIFIED => "it gave no reason",
        Reason::MALFORMED_PACKET => "malformed packet",
        Reason::PROTOCOL_ERROR => "protocol error",
        Reason::IMPLEMENTATION_SPECIFIC => "it cannot do that",
        Reason::UNSUPPORTED_PROTOCOL_VERSION => "it does not speak this version of MQTT; try another -V",
        Reason::CLIENT_ID_NOT_VALID => "it does not accept this client id",
        Reason::BAD_USER_OR_PASSWORD => "wrong user or password",
        Reason::NOT_AUTHORIZED => "not authorized",
        Reason::SERVER_UNAVAILABLE => "server unavailable",
        Reason::SERVER_BUSY => "server busy",
        Reason::BANNED => "banned",
        Reason::SERVER_SHUTTING_DOWN => "the server is shutting down",
        Reason::BAD_AUTHENTICATION_METHOD => "bad authentication method",
        Reason::KEEP_ALIVE_TIMEOUT => "it heard nothing for too long",
        Reason::SESSION_TAKEN_OVER => "another client connected with the same client id",
        Reason::TOPIC_FILTER_INVALID => "topic filter not valid",
        Reason::TOPIC_NAME_INVALID => "topic not valid",
        Reason::PACKET_ID_IN_USE => "packet id in use",
        Reason::PACKET_ID_NOT_FOUND => "packet id not found",
        Reason::RECEIVE_MAXIMUM_EXCEEDED => "too many messages at once",
        Reason::TOPIC_ALIAS_INVALID => "topic alias not valid",
        Reason::PACKET_TOO_LARGE => "packet too large",
        Reason::MESSAGE_RATE_TOO_HIGH => "message rate too high",
        Reason::QUOTA_EXCEEDED => "quota exceeded",
        Reason::ADMINISTRATIVE_ACTION => "closed by an administrator",
        Reason::PAYLOAD_FORMAT_INVALID => "the payload is not what its format says",
        Reason::RETAIN_NOT_SUPPORTED => "it keeps no retained messages",
        Reason::QOS_NOT_SUPPORTED => "it does not support this QoS",
        Reason::USE_ANOTHER_SERVER => "use another server",
        Reason::SERVER_MOVED => "the server moved",
        Reason::SHARED_NOT_SUPPORTED => "it has no shared subscriptions",
        Reason::CONNECTION_RATE_EXCEEDED => "too many connections at once",
        Reason::MAXIMUM_CONNECT_TIME => "connected for too long",
        Reason::SUBSCRIPTION_IDS_NOT_SUPPORTED => "it has no subscription identifiers",
        Reason::WILDCARDS_NOT_SUPPORTED => "it has no wildcard subscriptions",
        _ => "a reason code that the standard does not know",
    }
}
