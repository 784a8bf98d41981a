//! Dead letters over the control socket: what there is, one of them whole, back to its client, or away.

use hobnail_core::broker::{Dead, RequeueError};
use serde::Serialize;

use super::http::{Answer, Method};
use crate::realm::Realm;

pub const ROOT: &str = "/v1/dead";

#[derive(Serialize)]
struct Letters<'a> {
    dead: Vec<Letter<'a>>,
}

/// One dead letter, without what it says.
#[derive(Serialize)]
struct Letter<'a> {
    number: u64,
    /// The device it was for, where it was for one.
    device: Option<&'a str>,
    client: &'a str,
    topic: &'a str,
    qos: u8,
    bytes: usize,
    times: u32,
    reason: String,
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    letter: Letter<'a>,
    /// Where it is text.
    payload: Option<&'a str>,
    payload_hex: String,
}

#[derive(Serialize)]
struct Done {
    number: u64,
    done: &'static str,
}

/// `rest` is what follows `ROOT` in the path.
pub fn answer(realm: &Realm, method: Method, rest: &str) -> Answer {
    let mut parts = rest.trim_start_matches('/').split('/');
    let (number, verb, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    if number.is_empty() {
        return match method {
            Method::Get => {
                realm.look(|broker| Answer::json(200, &Letters { dead: broker.dead().map(letter).collect() }))
            }
            Method::Post => Answer::error(405, "the list is only to be read: use GET"),
        };
    }
    let Ok(number) = number.parse::<u64>() else {
        return Answer::error(404, &format!("{number:?} is no number of a dead letter"));
    };
    match (method, verb, more) {
        (Method::Get, None, None) => show(realm, number),
        (Method::Post, Some("requeue"), None) => requeue(realm, number),
        (Method::Post, Some("drop"), None) if realm.drop_dead(number) => {
            Answer::json(200, &Done { number, done: "dropped" })
        }
        (Method::Post, Some("drop"), None) => unknown(number),
        (Method::Get | Method::Post, _, _) => {
            Answer::error(404, "there is GET /v1/dead/NUMBER, POST /v1/dead/NUMBER/requeue and /v1/dead/NUMBER/drop")
        }
    }
}

fn show(realm: &Realm, number: u64) -> Answer {
    realm.look(|broker| {
        let Some(found) = broker.dead().find(|(known, _)| *known == number) else { return unknown(number) };
        let payload = &found.1.message.payload;
        let payload_hex = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        Answer::json(200, &Whole { letter: letter(found), payload: std::str::from_utf8(payload).ok(), payload_hex })
    })
}

fn requeue(realm: &Realm, number: u64) -> Answer {
    match realm.requeue_dead(number) {
        Ok(()) => Answer::json(200, &Done { number, done: "requeued" }),
        Err(RequeueError::Unknown) => unknown(number),
        Err(error @ (RequeueError::NoSession | RequeueError::Full)) => Answer::error(409, &error.to_string()),
    }
}

fn unknown(number: u64) -> Answer {
    Answer::error(404, &format!("there is no dead letter {number}"))
}

fn letter((number, dead): (u64, &Dead)) -> Letter<'_> {
    let (device, client) = match dead.client_id.split_once('\0') {
        Some((device, client)) => (Some(device), client),
        None => (None, &*dead.client_id),
    };
    let reason = match dead.refused {
        Some(reason) => format!("refused with reason code 0x{:02x}", reason.0),
        None => "the connection ended each time before it was acknowledged".to_owned(),
    };
    let message = &dead.message;
    let (topic, bytes) = (&*message.topic, message.payload.len());
    Letter { number, device, client, topic, qos: dead.qos as u8, bytes, times: dead.times, reason }
}
