//! What the brokers are loaded with.

/// Traffic of one kind, as fast as the broker takes it or at a rate.
#[derive(Clone, Debug)]
pub struct Shape {
    pub name: &'static str,
    pub publishers: usize,
    pub subscribers: usize,
    pub qos: u8,
    pub size: usize,
    pub topics: Topics,
    pub pace: Pace,
    /// A further subscriber that stops reading.
    pub stuck: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topics {
    One,
    /// As many topics, each subscribed to by its name.
    Names(usize),
    /// As many wildcard subscriptions, each of which matches one topic.
    Wildcards(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All publishers together at most so many messages ahead of the subscribers. At QoS 1 and 2 each also waits for
    /// acknowledgements, `UNACKNOWLEDGED` over all of them.
    Ahead(u64),
    /// At QoS 1 and 2: acknowledgements are all that is waited for, whatever becomes of the subscribers.
    Acknowledged,
    /// Messages a second, whatever comes of them.
    Rate(u64),
}

impl Topics {
    /// Topics to publish to, in turn.
    pub fn names(self) -> Vec<String> {
        match self {
            Self::One => vec!["load/one".to_owned()],
            Self::Names(count) => (0..count).map(|number| format!("load/site/{number}/temperature")).collect(),
            Self::Wildcards(count) => (0..count).map(|number| format!("load/{number}/line/3")).collect(),
        }
    }

    pub fn filters(self) -> Vec<String> {
        match self {
            Self::One | Self::Names(_) => self.names(),
            Self::Wildcards(count) => (0..count).map(|number| format!("load/{number}/+/#")).collect(),
        }
    }
}

const AHEAD: u64 = 500;
/// Over all publishers.
pub const UNACKNOWLEDGED: u64 = 100;

fn shape(name: &'static str, publishers: usize, subscribers: usize, qos: u8) -> Shape {
    Shape { name, publishers, subscribers, qos, size: 256, topics: Topics::One, pace: Pace::Ahead(AHEAD), stuck: false }
}

/// From one machine to another, by a hub.
pub fn across() -> Shape {
    shape("by a hub, QoS 1", 1, 1, 1)
}

pub fn traffic() -> Vec<Shape> {
    vec![
        shape("1:1, QoS 0", 1, 1, 0),
        shape("1:1, QoS 1", 1, 1, 1),
        shape("1:1, QoS 2", 1, 1, 2),
        Shape { pace: Pace::Ahead(100), ..shape("1:20, QoS 0", 1, 20, 0) },
        Shape { pace: Pace::Ahead(100), ..shape("1:20, QoS 1", 1, 20, 1) },
        shape("20:1, QoS 0", 20, 1, 0),
        shape("20:1, QoS 1", 20, 1, 1),
        Shape { pace: Pace::Acknowledged, ..shape("20:1, QoS 1, waiting for PUBACK alone", 20, 1, 1) },
        Shape { size: 16 << 10, pace: Pace::Ahead(20), ..shape("1:1, QoS 0, 16 KiB", 1, 1, 0) },
        Shape { size: 16 << 10, pace: Pace::Ahead(20), ..shape("1:1, QoS 1, 16 KiB", 1, 1, 1) },
        Shape { topics: Topics::Names(1_000), ..shape("1,000 topics, QoS 0", 1, 1, 0) },
        Shape { topics: Topics::Wildcards(10_000), ..shape("10,000 wildcard subscriptions, QoS 0", 1, 1, 0) },
        Shape { pace: Pace::Rate(1_000), ..shape("1,000/s, QoS 1", 1, 1, 1) },
        Shape {
            size: 1_024,
            pace: Pace::Rate(5_000),
            stuck: true,
            ..shape("a subscriber stops reading, 5,000/s, QoS 1", 1, 3, 1)
        },
    ]
}
