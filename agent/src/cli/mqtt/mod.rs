//! What the commands that talk to a server share: the flags that say where to connect and as whom, properties, where
//! messages come from, and how they end.

pub mod connect;
pub mod progress;
pub mod properties;
pub mod refusals;
pub mod source;
pub mod stop;

use std::process::ExitCode;

use anyhow::Context;

/// A command line that cannot be meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// How a command that talks to a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Failed,
    TimedOut,
    /// Somebody else has it now.
    TryLater,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Failed => Self::FAILURE,
            Outcome::TimedOut => Self::from(super::exit::TIMED_OUT),
            Outcome::TryLater => Self::from(super::exit::TRY_LATER),
        }
    }
}

/// Run to the end on one thread.
pub fn block_on(work: impl Future<Output = anyhow::Result<Outcome>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    Ok(runtime.block_on(work)?.into())
}

/// Tell what is wrong with the command line.
pub fn refuse(usage: &Usage) -> ExitCode {
    eprintln!("hobnail: {usage}");
    ExitCode::from(super::exit::USAGE)
}
