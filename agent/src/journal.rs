//! systemd's journal, spoken to in its own protocol, so that `journalctl HOBNAIL_PEER=spare` finds what concerns a peer.
//!
//! The message that people read holds the fields too: `journalctl` shows nothing else of an entry.

use std::env;
use std::fmt::{self, Write};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const SOCKET: &str = "/run/systemd/journal/socket";

pub struct Journal(UnixDatagram);

impl Journal {
    /// Where standard error leads to the journal anyway, this is the better road there.
    #[must_use]
    pub fn where_stderr_leads() -> Option<Self> {
        let facts = fs::metadata("/proc/self/fd/2").ok()?;
        let stream = env::var("JOURNAL_STREAM").ok()?;
        if stream != format!("{}:{}", facts.dev(), facts.ino()) {
            return None;
        }
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect(SOCKET).ok()?;
        Some(Self(socket))
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::default();
        event.record(&mut entry);
        let bytes = entry.bytes(*event.metadata().level(), event.metadata().target());
        if self.0.send(&bytes).is_err() {
            // Full, restarted, or the entry is too large: standard error leads there as well, and waits.
            eprintln!("{}{}", entry.message, entry.shown);
        }
    }
}

/// One event on its way.
#[derive(Default)]
struct Entry {
    message: String,
    /// The fields as a person reads them after the message.
    shown: String,
    fields: Vec<(String, String)>,
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), format!("{value:?}"));
    }
}

impl Entry {
    fn add(&mut self, name: &str, value: String) {
        if name == "message" {
            self.message = value;
            return;
        }
        // Writing to a string cannot fail.
        let _ = write!(self.shown, " {name}={value}");
        self.fields.push((format!("HOBNAIL_{}", name.to_uppercase().replace(['.', '-'], "_")), value));
    }

    fn bytes(&self, level: Level, target: &str) -> Vec<u8> {
        let priority = match level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            _ => "7",
        };
        let mut bytes = Vec::new();
        put(&mut bytes, "MESSAGE", &format!("{}{}", self.message, self.shown));
        put(&mut bytes, "PRIORITY", priority);
        put(&mut bytes, "SYSLOG_IDENTIFIER", "hobnail");
        put(&mut bytes, "HOBNAIL_MODULE", target);
        for (name, value) in &self.fields {
            put(&mut bytes, name, value);
        }
        bytes
    }
}

/// With its length before it a value may hold anything, line ends included, and forge no other field.
fn put(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(b'\n');
    bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// What the journal would make of the bytes.
    fn parsed(mut bytes: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let name = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let len = u64::from_le_bytes(bytes[end + 1..end + 9].try_into().unwrap()) as usize;
            let value = String::from_utf8(bytes[end + 9..end + 9 + len].to_vec()).unwrap();
            assert_eq!(bytes[end + 9 + len], b'\n');
            bytes = &bytes[end + 10 + len..];
            fields.push((name, value));
        }
        fields
    }

    #[test]
    fn an_event_arrives_whole_and_its_fields_can_be_searched() {
        let (ours, journal) = UnixDatagram::pair().unwrap();
        let subscriber = tracing_subscriber::registry().with(Journal(ours));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(peer = %"spare", epoch = 7, evil = "a\nPRIORITY=0", "became home");
        });
        let mut bytes = [0; 4096];
        let len = journal.recv(&mut bytes).unwrap();
        let fields = parsed(&bytes[..len]);
        let has = |name: &str, value: &str| fields.iter().any(|field| *field == (name.into(), value.into()));
        assert!(has("MESSAGE", "became home peer=spare epoch=7 evil=a\nPRIORITY=0"), "{fields:?}");
        assert!(has("HOBNAIL_PEER", "spare") && has("HOBNAIL_EPOCH", "7") && has("PRIORITY", "4"), "{fields:?}");
        assert_eq!(fields.iter().filter(|(name, _)| name == "PRIORITY").count(), 1);
    }
}
