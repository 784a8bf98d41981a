//! Standard output, for data. A reader that has seen enough, as `head` has, is no error.

use std::io::{ErrorKind, Write};

pub fn say(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// A value as JSON, laid out for people too.
pub fn say_json<T: serde::Serialize + ?Sized>(value: &T) -> anyhow::Result<()> {
    Ok(say(&(serde_json::to_string_pretty(value)? + "\n"))?)
}
