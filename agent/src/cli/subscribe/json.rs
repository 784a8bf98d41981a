//! A message as one JSON object on one line, in the shape that Mosquitto's `%j` has.

use std::fmt::Write as _;
use std::io::{self, Write};

use hobnail_core::mqtt::packet::{Publish, QoS};
use hobnail_core::mqtt::props::{self, Prop};
use jiff::Zoned;
use jiff::fmt::strtime;
use serde::de::IgnoredAny;

/// How the payload stands in the object.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// As a text; what is no UTF-8 is replaced.
    Escaped,
    /// As a text where it is UTF-8, else as `payload_hex`: nothing is lost.
    Lossless,
    /// As JSON itself, checked already.
    Raw(&'a str),
}

pub fn print(out: &mut impl Write, message: &Publish<'_>, now: &Zoned, payload: Payload<'_>) -> io::Result<()> {
    let time = strtime::format("%Y-%m-%dT%H:%M:%S.%6f%z", now).unwrap_or_default();
    let (qos, retain, bytes) = (message.qos as u8, u8::from(message.retain), message.payload.len());
    write!(out, "{{\"tst\":\"{time}\",\"topic\":{},", quoted(message.topic))?;
    write!(out, "\"qos\":{qos},\"retain\":{retain},\"payloadlen\":{bytes},")?;
    if let Some(id) = message.id.filter(|_| message.qos != QoS::AtMostOnce) {
        write!(out, "\"mid\":{},", id.0)?;
    }
    if !message.props.is_empty() {
        write!(out, "\"properties\":{{{}}},", properties(message))?;
    }
    match (payload, std::str::from_utf8(message.payload)) {
        (Payload::Raw(raw), _) => write!(out, "\"payload\":{raw}}}"),
        (Payload::Escaped | Payload::Lossless, Ok("")) => out.write_all(b"\"payload\":null}"),
        (Payload::Escaped | Payload::Lossless, Ok(text)) => write!(out, "\"payload\":{}}}", quoted(text)),
        (Payload::Escaped, Err(_)) => {
            write!(out, "\"payload\":{}}}", quoted(&String::from_utf8_lossy(message.payload)))
        }
        (Payload::Lossless, Err(_)) => {
            out.write_all(b"\"payload_hex\":\"")?;
            message.payload.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
            out.write_all(b"\"}")
        }
    }
}

/// The properties in the order they came; all user properties stand where the first one does.
fn properties(message: &Publish<'_>) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut users_done = false;
    for prop in message.props.iter() {
        let name = name(prop.id());
        match prop {
            Prop::Byte(_, value) => parts.push(format!("\"{name}\":{value}")),
            Prop::Two(_, value) => parts.push(format!("\"{name}\":{value}")),
            Prop::Four(_, value) | Prop::Varint(_, value) => parts.push(format!("\"{name}\":{value}")),
            Prop::Text(_, text) => parts.push(format!("\"{name}\":{}", quoted(text))),
            Prop::Binary(_, bytes) => {
                parts.push(format!("\"{name}\":{}", quoted(&String::from_utf8_lossy(bytes))));
            }
            Prop::Pair(..) if users_done => {}
            Prop::Pair(..) => {
                users_done = true;
                let pairs = message.props.user().map(|(key, value)| format!("{}:{}", quoted(key), quoted(value)));
                parts.push(format!("\"user-properties\":{{{}}}", pairs.collect::<Vec<_>>().join(",")));
            }
        }
    }
    parts.join(",")
}

/// Those that a PUBLISH can have.
fn name(id: u8) -> &'static str {
    match id {
        props::PAYLOAD_FORMAT => "payload-format-indicator",
        props::MESSAGE_EXPIRY => "message-expiry-interval",
        props::CONTENT_TYPE => "content-type",
        props::RESPONSE_TOPIC => "response-topic",
        props::CORRELATION_DATA => "correlation-data",
        props::SUBSCRIPTION_ID => "subscription-identifier",
        props::TOPIC_ALIAS => "topic-alias",
        _ => "unknown",
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            letter if letter < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// `payload` without the blanks between its words, so that it stays on one line; `None` where it is no JSON. Empty is
/// `null`.
pub fn minified(payload: &[u8]) -> Option<String> {
    if payload.is_empty() {
        return Some("null".into());
    }
    serde_json::from_slice::<IgnoredAny>(payload).ok()?;
    let text = std::str::from_utf8(payload).ok()?;
    let (mut out, mut in_text, mut escaped) = (String::with_capacity(text.len()), false, false);
    for letter in text.chars() {
        if in_text {
            in_text = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
        } else if letter == '"' {
            in_text = true;
        } else if matches!(letter, ' ' | '\t' | '\n' | '\r') {
            continue;
        }
        out.push(letter);
    }
    Some(out)
}
