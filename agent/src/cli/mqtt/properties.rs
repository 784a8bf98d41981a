//! Version 5 properties as they stand on a command line: `-D publish user-property colour red`.

use hobnail_core::mqtt::props::{self, Prop, PropsBuf};

use super::Usage;

/// The packets that take properties.
const STAGES: [(&str, &[&str]); 6] = [
    (
        "connect",
        &[
            "authentication-data",
            "authentication-method",
            "maximum-packet-size",
            "receive-maximum",
            "request-problem-information",
            "request-response-information",
            "session-expiry-interval",
            "topic-alias-maximum",
            "user-property",
        ],
    ),
    (
        "publish",
        &[
            "content-type",
            "correlation-data",
            "message-expiry-interval",
            "payload-format-indicator",
            "response-topic",
            "topic-alias",
            "user-property",
        ],
    ),
    ("subscribe", &["subscription-identifier", "user-property"]),
    ("unsubscribe", &["user-property"]),
    ("disconnect", &["reason-string", "session-expiry-interval", "user-property"]),
    (
        "will",
        &[
            "content-type",
            "correlation-data",
            "message-expiry-interval",
            "payload-format-indicator",
            "response-topic",
            "user-property",
            "will-delay-interval",
        ],
    ),
];

/// Largest subscription identifier.
const SUBSCRIPTION_ID_MAX: u32 = 268_435_455;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Flag,
    Two,
    Four,
    Varint,
    Text,
    Binary,
    Pair,
}

const NAMES: [(&str, u8, Kind); 17] = [
    ("authentication-data", props::AUTH_DATA, Kind::Binary),
    ("authentication-method", props::AUTH_METHOD, Kind::Text),
    ("content-type", props::CONTENT_TYPE, Kind::Text),
    ("correlation-data", props::CORRELATION_DATA, Kind::Binary),
    ("maximum-packet-size", props::PACKET_BYTES_MAX, Kind::Four),
    ("message-expiry-interval", props::MESSAGE_EXPIRY, Kind::Four),
    ("payload-format-indicator", props::PAYLOAD_FORMAT, Kind::Flag),
    ("reason-string", props::REASON_STRING, Kind::Text),
    ("receive-maximum", props::RECEIVE_MAX, Kind::Two),
    ("request-problem-information", props::REQUEST_PROBLEM_INFO, Kind::Flag),
    ("request-response-information", props::REQUEST_RESPONSE_INFO, Kind::Flag),
    ("response-topic", props::RESPONSE_TOPIC, Kind::Text),
    ("session-expiry-interval", props::SESSION_EXPIRY, Kind::Four),
    ("subscription-identifier", props::SUBSCRIPTION_ID, Kind::Varint),
    ("topic-alias", props::TOPIC_ALIAS, Kind::Two),
    ("topic-alias-maximum", props::TOPIC_ALIAS_MAX, Kind::Two),
    ("will-delay-interval", props::WILL_DELAY, Kind::Four),
];

/// The properties of one packet.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    pub all: PropsBuf,
    pub users: PropsBuf,
}

#[derive(Clone, Debug, Default)]
pub struct Properties {
    pub connect: Stage,
    pub publish: Stage,
    pub subscribe: Stage,
    pub unsubscribe: Stage,
    pub disconnect: Stage,
    pub will: Stage,
}

impl Properties {
    /// Each entry is one `-D` with its words.
    pub fn parse(given: &[Vec<String>]) -> Result<Self, Usage> {
        let mut properties = Self::default();
        for words in given {
            properties.take(words).map_err(|wrong| Usage(format!("-D {}: {wrong}", words.join(" "))))?;
        }
        Ok(properties)
    }

    fn take(&mut self, words: &[String]) -> Result<(), String> {
        let [stage, name, values @ ..] = words else {
            return Err("it takes a packet, a property and its value".into());
        };
        let Some((_, allowed)) = STAGES.iter().find(|(known, _)| known == stage) else {
            let known: Vec<&str> = STAGES.iter().map(|(known, _)| *known).collect();
            return Err(format!("no packet {stage:?}; there are {}", known.join(", ")));
        };
        if !allowed.contains(&name.as_str()) {
            return Err(format!("{stage} takes {}", allowed.join(", ")));
        }
        let into = match stage.as_str() {
            "connect" => &mut self.connect,
            "publish" => &mut self.publish,
            "subscribe" => &mut self.subscribe,
            "unsubscribe" => &mut self.unsubscribe,
            "disconnect" => &mut self.disconnect,
            _ => &mut self.will,
        };
        let prop = read(name, values)?;
        let again = into.all.as_props().iter().any(|other| other.id() == prop.id());
        if again && prop.id() != props::USER_PROPERTY {
            return Err("it stands twice".into());
        }
        into.all.push(prop);
        if prop.id() == props::USER_PROPERTY {
            into.users.push(prop);
        }
        Ok(())
    }
}

fn read<'a>(name: &str, values: &'a [String]) -> Result<Prop<'a>, String> {
    let known = NAMES.iter().find(|(known, _, _)| *known == name);
    let (id, kind) = known.map_or((props::USER_PROPERTY, Kind::Pair), |(_, id, kind)| (*id, *kind));
    if values.iter().any(|value| value.len() > usize::from(u16::MAX)) {
        return Err("a value has at most 65535 bytes".into());
    }
    let number = |text: &str, max: u32| {
        let value = text.parse::<u32>().ok().filter(|value| *value <= max);
        value.ok_or_else(|| format!("{text:?} is not a number from 0 to {max}"))
    };
    match (kind, values) {
        (Kind::Pair, [key, value]) => Ok(Prop::Pair(key, value)),
        (Kind::Pair, _) => Err("a user property takes a name and a value".into()),
        (Kind::Flag, [text]) => Ok(Prop::Byte(id, u8::from(number(text, 1)? == 1))),
        (Kind::Two, [text]) => {
            let value = u16::try_from(number(text, u16::MAX.into())?).unwrap_or(u16::MAX);
            if value == 0 && id != props::TOPIC_ALIAS_MAX {
                Err("it may not be 0".into())
            } else {
                Ok(Prop::Two(id, value))
            }
        }
        (Kind::Four, [text]) => match number(text, u32::MAX)? {
            0 if id == props::PACKET_BYTES_MAX => Err("it may not be 0".into()),
            value => Ok(Prop::Four(id, value)),
        },
        (Kind::Varint, [text]) => match number(text, SUBSCRIPTION_ID_MAX)? {
            0 => Err("it may not be 0".into()),
            value => Ok(Prop::Varint(id, value)),
        },
        (Kind::Text, [text]) => Ok(Prop::Text(id, text)),
        (Kind::Binary, [text]) => Ok(Prop::Binary(id, text.as_bytes())),
        (Kind::Flag | Kind::Two | Kind::Four | Kind::Varint | Kind::Text | Kind::Binary, _) => {
            Err("it takes one value".into())
        }
    }
}

impl Stage {
    /// The number that a property has, whatever its width.
    #[must_use]
    pub fn number(&self, wanted: u8) -> Option<u32> {
        self.all.as_props().iter().find(|prop| prop.id() == wanted).and_then(|prop| match prop {
            Prop::Byte(_, value) => Some(value.into()),
            Prop::Two(_, value) => Some(value.into()),
            Prop::Four(_, value) | Prop::Varint(_, value) => Some(value),
            Prop::Text(..) | Prop::Binary(..) | Prop::Pair(..) => None,
        })
    }

    #[must_use]
    pub fn two(&self, wanted: u8) -> Option<u16> {
        self.number(wanted).and_then(|value| u16::try_from(value).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Properties, String> {
        let words = line.split(' ').map(str::to_owned).collect();
        Properties::parse(&[words]).map_err(|usage| usage.0)
    }

    #[test]
    fn a_property_is_refused_where_its_packet_does_not_take_it() {
        for line in [
            "publish receive-maximum 3",
            "connect topic-alias 1",
            "publish topic-alias 0",
            "connect receive-maximum 65536",
            "publish payload-format-indicator 2",
            "subscribe subscription-identifier 268435456",
            "publish user-property lonely",
            "publish content-type a b",
            "hello user-property a b",
        ] {
            assert!(parse(line).is_err(), "taken: {line}");
        }
    }

    #[test]
    fn values_are_kept_with_their_width() {
        let properties = parse("connect receive-maximum 65535").unwrap();
        assert_eq!(properties.connect.two(props::RECEIVE_MAX), Some(65_535));
        let properties = parse("publish user-property a b").unwrap();
        assert_eq!(properties.publish.users.as_props().user().collect::<Vec<_>>(), [("a", "b")]);
    }

    #[test]
    fn only_user_properties_may_stand_twice() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let twice = |line: &str| Properties::parse(&[words(line), words(line)]);
        assert!(twice("publish user-property a b").is_ok());
        assert!(twice("publish content-type a").is_err());
    }
}
