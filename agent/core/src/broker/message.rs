//! A message on its way: one copy, however many wait for it.

use std::rc::Rc;

use crate::mqtt::packet::{Props, QoS};
use crate::time::Now;

/// Counted with every message for its bookkeeping.
const OVERHEAD: usize = 96;

#[derive(Debug)]
pub struct Message {
    pub topic: Box<str>,
    pub payload: Box<[u8]>,
    /// Encoded properties that travel on unchanged.
    pub props: Box<[u8]>,
    pub qos: QoS,
    pub retain: bool,
    pub expires: Option<Now>,
}

pub type Shared = Rc<Message>;

impl Message {
    #[must_use]
    pub fn size(&self) -> u64 {
        (self.topic.len() + self.payload.len() + self.props.len() + OVERHEAD) as u64
    }

    #[must_use]
    pub fn is_expired(&self, now: Now) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// Seconds that are left, as a receiver is told.
    #[must_use]
    pub fn expiry_s(&self, now: Now) -> Option<u32> {
        let left = self.expires?.since(now);
        Some(u32::try_from(left.as_secs() + u64::from(left.subsec_nanos() > 0)).unwrap_or(u32::MAX))
    }

    #[must_use]
    pub fn props(&self) -> Props<'_> {
        Props(&self.props)
    }
}
