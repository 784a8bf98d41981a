//! What the broker has done and what its limits have cost, in numbers that only grow.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    pub connections_opened: u64,
    pub connects_received: u64,
    pub connections_accepted: u64,
    pub connections_refused: u64,
    pub messages_received: u64,
    pub messages_sent: u64,
    pub publishes_received: u64,
    pub publishes_sent: u64,
    /// Payload alone.
    pub publish_bytes_received: u64,
    pub publish_bytes_sent: u64,
    /// Of everything, as MQTT.
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub sessions_expired: u64,
    /// QoS 0 messages that a full queue had no room for.
    pub dropped_qos0: u64,
    /// Messages that `when_full` took.
    pub dropped_full: u64,
    pub dropped_expired: u64,
    /// Messages too large for the client they were for.
    pub dropped_too_large: u64,
    /// Messages that today's rights keep from a subscriber.
    pub dropped_rights: u64,
    /// Messages that a durable subscriber could not take.
    pub dead_letters: u64,
    /// Those of them that went because there were too many.
    pub dropped_dead: u64,
    pub refused_publishes: u64,
    pub refused_subscriptions: u64,
    pub refused_retained: u64,
    pub protocol_errors: u64,
    pub keep_alive_timeouts: u64,
    pub wrong_passwords: u64,
    /// Logins that were not looked at, because too many wrong passwords came from their address.
    pub logins_limited: u64,
    /// Offers that were settled when the connection of their publisher had gone.
    pub settled_unheard: u64,
    /// Messages that came from other machines and were taken.
    pub inward_received: u64,
    /// What was on disk and did not fit together: messages, sessions, subscriptions.
    pub unrestored: u64,
    /// Messages from other machines to topics that none of them may speak on, or that are none.
    pub refused_inward: u64,
}
