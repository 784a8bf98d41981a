//! Named programs that talk to each other: the topics and properties that `call`, `serve`, `send` and `inbox` agree on.
//!
//! They are plain MQTT 5, so any client can take either side:
//!
//! ```text
//!   rpc/NAME/SERVICE          a request, with response topic and correlation data; servers share them in group `serve`
//!   reply/NAME/ANYTHING       its reply, with that correlation data; user property `error` where it failed
//!   inbox/NAME                a message for NAME; user properties `id` and `from`
//!   inbox/NAME/last           the one taken last, retained
//!   inbox/NAME/mark           how a reader finds out that it has seen all that waits
//! ```

use std::time::{Duration, Instant};

use hobnail_core::ids::Name;
use hobnail_core::mqtt::client::Client;
use hobnail_core::mqtt::packet::{Props, Publish, QoS, Version};
use hobnail_core::mqtt::props::{Prop, PropsBuf};
use hobnail_core::topic;
use tokio::time::sleep_until;

use super::mqtt::connect::{ConnectArgs, Settings};
use super::mqtt::stop::Stop;
use super::mqtt::{Outcome, Usage};
use crate::client::{Backoff, Connection, LinkError};
use crate::whoami::whoami;

/// The user property that carries a message's own name.
pub const ID: &str = "id";
/// The user property that says which machine a message is from.
pub const FROM: &str = "from";
/// The user property that makes a reply one of failure, and says why.
pub const ERROR: &str = "error";

pub fn request_topic(name: &Name, service: &str) -> Result<String, Usage> {
    let topic = format!("rpc/{name}/{service}");
    let wrong = |why| Usage(format!("{service:?} cannot be a service: {why}"));
    if service.is_empty() || service.starts_with('/') {
        return Err(wrong("it is a word, or words with / in between".to_owned()));
    }
    topic::check_name(&topic).map_err(|error| wrong(error.to_string()))?;
    Ok(topic)
}

/// A topic for replies that nobody else listens to.
pub fn reply_topic(me: &str) -> String {
    format!("reply/{me}/{}", draw_id())
}

pub fn name(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|error| error.to_string())
}

/// This machine's name, where it has one that can be told.
pub fn me() -> String {
    whoami(None).map_or_else(|_nameless| "somebody".to_owned(), |name| name.to_string())
}

/// A name for one message or one process, which no other has.
pub fn draw_id() -> String {
    format!("{:016x}", Backoff::draw())
}

/// The flags, where they mean MQTT 5.
pub fn settle(connect: &ConnectArgs, command: &str) -> Result<Settings, Usage> {
    let settings = connect.settle(command)?;
    if settings.hello.version != Version::V5 {
        return Err(Usage(format!("{command} needs MQTT 5")));
    }
    Ok(settings)
}

/// A number of seconds, as a time limit.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "a number of seconds, such as 0.5".to_owned();
    let seconds = text.parse().map_err(|_not| wrong())?;
    Duration::try_from_secs_f64(seconds).ok().filter(|limit| !limit.is_zero()).ok_or_else(wrong)
}

/// Whole seconds for a message expiry: a message may live a little too long, never too short.
pub fn whole_seconds(limit: Duration) -> u32 {
    u32::try_from(limit.as_secs() + u64::from(limit.subsec_nanos() > 0)).unwrap_or(u32::MAX)
}

/// A QoS 1 publish.
pub fn message<'a>(topic: &'a str, payload: &'a [u8], props: Props<'a>) -> Publish<'a> {
    Publish {
        dup: false,
        retain: false,
        qos: QoS::AtLeastOnce,
        id: None,
        topic,
        payload,
        topic_alias: None,
        expiry_s: None,
        props,
    }
}

pub fn user_props(pairs: &[(&str, &str)]) -> PropsBuf {
    let mut props = PropsBuf::default();
    for (key, value) in pairs {
        props.push(Prop::Pair(key, value));
    }
    props
}

/// The payload in a JSON object: as a text where it is one, else in hexadecimal.
pub fn put_payload(object: &mut serde_json::Value, payload: &[u8]) {
    match std::str::from_utf8(payload) {
        Ok(text) => object["payload"] = text.into(),
        Err(_) => {
            let digits: Vec<String> = payload.iter().map(|byte| format!("{byte:02x}")).collect();
            object["payload_hex"] = digits.concat().into();
        }
    }
}

/// Connect, within the time there is.
pub async fn open(
    settings: &Settings,
    client: Client,
    ends: Option<Instant>,
    stop: &mut Stop,
) -> anyhow::Result<Result<Connection, Outcome>> {
    tokio::select! {
        opened = Connection::open(&settings.route, &settings.hello, client, settings.packets) => {
            let (connection, _) = opened.map_err(|(_, error)| error)?;
            Ok(Ok(connection))
        }
        outcome = called_off(ends, stop) => Ok(Err(outcome)),
    }
}

/// Wait until the connection has moved; an outcome where it is time to end. Cancel-safe, as its parts are.
pub async fn moved(
    connection: &mut Connection,
    ends: Option<Instant>,
    stop: &mut Stop,
) -> Result<Option<Outcome>, LinkError> {
    tokio::select! {
        turned = connection.turn() => turned.map(|()| None),
        outcome = called_off(ends, stop) => Ok(Some(outcome)),
    }
}

/// Wait for the time limit, or for somebody who asks to stop.
pub async fn called_off(ends: Option<Instant>, stop: &mut Stop) -> Outcome {
    tokio::select! {
        () = sleep_until(ends.unwrap_or_else(Instant::now).into()), if ends.is_some() => Outcome::TimedOut,
        () = stop.asked() => Outcome::Failed,
    }
}

pub fn is_past(ends: Option<Instant>) -> bool {
    ends.is_some_and(|ends| ends <= Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_one_word_or_several_and_no_wildcard() {
        let press = Name::new("press").unwrap();
        for good in ["add", "tool/change", "été"] {
            assert_eq!(request_topic(&press, good).unwrap(), format!("rpc/press/{good}"));
        }
        for bad in ["", "/add", "#", "a/+", "a\0"] {
            assert!(request_topic(&press, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_time_limit_is_told_in_whole_seconds_and_never_too_short() {
        for (limit, told) in [(0.2, 1), (1.0, 1), (1.5, 2), (60.0, 60)] {
            assert_eq!(whole_seconds(Duration::from_secs_f64(limit)), told);
        }
    }
}
