//! The other end of the control socket: one question to a running agent.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::http::read_answer;

/// An agent that does not answer by then does not answer.
const WAIT: Duration = Duration::from_secs(20);
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("failed to reach the agent at {0}: {1}")]
    Reach(PathBuf, io::Error),
    #[error("the agent at {0} gave no answer that makes sense")]
    Nonsense(PathBuf),
    /// The agent said no.
    #[error("{error}")]
    Refused { code: u16, error: String },
}

impl AskError {
    /// For want of permission, as the exit code tells.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Reach(_, error) => error.kind() == io::ErrorKind::PermissionDenied,
            Self::Nonsense(_) | Self::Refused { .. } => false,
        }
    }
}

/// `method` is `GET` or `POST`, `target` a path.
pub fn ask(socket: &Path, method: &str, target: &str) -> Result<Value, AskError> {
    ask_with(socket, method, target, "")
}

/// The same with a body, in JSON.
pub fn ask_with(socket: &Path, method: &str, target: &str, body: &str) -> Result<Value, AskError> {
    let exchange = || -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.set_write_timeout(Some(WAIT))?;
        stream.write_all(
            format!(
                "{method} {target} HTTP/1.1\r\nHost: hobnail\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|error| AskError::Reach(socket.to_owned(), error))?;
    let nonsense = || AskError::Nonsense(socket.to_owned());
    let (code, body) = read_answer(&answer).ok_or_else(nonsense)?;
    let value: Value = serde_json::from_slice(body).map_err(|_| nonsense())?;
    if (200..300).contains(&code) {
        return Ok(value);
    }
    let error = value.get("error").and_then(Value::as_str).unwrap_or("refused without a reason").to_owned();
    Err(AskError::Refused { code, error })
}
