//! What hobnail itself tells the programs of its machine, under `$hobnail/`.
//!
//! The newest of each topic is retained and sent at QoS 0: what a client away has missed of it is of no worth. It is
//! never offered to the network, and no limit of the retained messages of programs keeps it out.

use super::message::Content;
use super::{Broker, outward};
use crate::mqtt::packet::QoS;
use crate::time::Now;

impl Broker {
    /// This is so from now on; an empty payload takes back what was told. Only below `$hobnail/`.
    pub fn handle_told(&mut self, topic: &str, payload: &[u8], now: Now) {
        debug_assert!(topic.starts_with(outward::OWN), "hobnail speaks in its own name only");
        let message = self.meter.share(Content {
            topic: topic.into(),
            payload: payload.into(),
            props: Box::default(),
            qos: QoS::AtMostOnce,
            retain: true,
            expires: None,
        });
        if payload.is_empty() {
            self.retained.clear(topic);
        } else {
            // As many as there are machines, and bounded where it comes from.
            let _ = self.retained.set(message.clone(), u32::MAX, u64::MAX);
        }
        let mut found = Vec::new();
        self.matches(topic, &mut found);
        self.route(message, &found, None, now);
        self.settle(now);
    }
}
