//! A message on its way: one copy, however many wait for it.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;

use crate::mqtt::packet::{Props, QoS};
use crate::time::Now;

/// Counted with every message for its bookkeeping.
const OVERHEAD: usize = 96;
/// Counted for every place where a message waits, once for each.
pub const PLACE_BYTES: u64 = 64;

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub topic: Box<str>,
    pub payload: Box<[u8]>,
    /// Encoded properties that travel on unchanged.
    pub props: Box<[u8]>,
    pub qos: QoS,
    pub retain: bool,
    pub expires: Option<Now>,
}

/// A message that is counted for as long as it is anywhere; made by `Meter::share`.
#[derive(Debug)]
pub struct Message {
    content: Content,
    meter: Meter,
    /// Where it is on disk.
    pub kept: Kept,
}

/// What a message is on disk, while it is anything there.
#[derive(Debug, Default)]
pub struct Kept {
    pub number: Cell<u64>,
    /// Sessions that wait for it; with none, it is not there.
    pub waits: Cell<u32>,
    /// Whether it goes from there is found out at the end of what is being done.
    pub going: Cell<bool>,
    /// It is there as its topic's newest.
    pub retained: Cell<bool>,
}

pub type Shared = Rc<Message>;

/// How many messages exist, and their bytes. A clone is another handle on the same count.
#[derive(Clone, Debug, Default)]
pub struct Meter(Rc<Sum>);

#[derive(Debug, Default)]
struct Sum {
    count: Cell<u64>,
    bytes: Cell<u64>,
}

impl Meter {
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.count.get()
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.get()
    }

    /// Count `content`, and let it be shared. Whoever lets go of it last, in the broker or beyond it, ends the
    /// counting.
    #[must_use]
    pub fn share(&self, content: Content) -> Rc<Message> {
        let message = Message { content, meter: self.clone(), kept: Kept::default() };
        self.0.count.set(self.count() + 1);
        self.0.bytes.set(self.bytes() + message.size());
        Rc::new(message)
    }
}

/// A message where it waits. That takes memory too, and a message may wait in many places.
#[derive(Debug)]
pub struct Place(Shared);

impl Place {
    #[must_use]
    pub fn new(message: Shared) -> Self {
        let bytes = &message.meter.0.bytes;
        bytes.set(bytes.get() + PLACE_BYTES);
        Self(message)
    }
}

impl Clone for Place {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let bytes = &self.0.meter.0.bytes;
        bytes.set(bytes.get() - PLACE_BYTES);
    }
}

impl Deref for Place {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Deref for Message {
    type Target = Content;

    fn deref(&self) -> &Content {
        &self.content
    }
}

/// What a message of these parts counts for.
#[must_use]
pub fn size(topic: &str, payload: &[u8], props: &[u8]) -> u64 {
    (topic.len() + payload.len() + props.len() + OVERHEAD) as u64
}

impl Message {
    /// One that counts nowhere: as it comes from the disk, before it is anywhere else.
    #[must_use]
    pub fn uncounted(content: Content) -> Rc<Self> {
        Meter::default().share(content)
    }
}

impl Content {
    #[must_use]
    pub fn size(&self) -> u64 {
        size(&self.topic, &self.payload, &self.props)
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

impl Drop for Message {
    fn drop(&mut self) {
        let Meter(sum) = &self.meter;
        sum.count.set(sum.count.get() - 1);
        sum.bytes.set(sum.bytes.get() - self.size());
    }
}

/// Who counts it is no part of what a message is.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.content == other.content
    }
}

impl Eq for Message {}
