//! The flags of `hobnail inbox`.

use std::time::Duration;

use hobnail_core::ids::Name;

use crate::cli::mqtt::Usage;
use crate::cli::mqtt::connect::ConnectArgs;
use crate::cli::talk;
use crate::whoami::whoami;

/// Read the messages that were sent to this machine, or to another name
///
/// Prints what waits, a line each, and takes each message out of the inbox once it is printed; exit code 1 where there
/// was none. The first time that a name's inbox is opened creates it. One reader at a time: a second one ends the first
/// with exit code 75.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
#[group(id = "mode", multiple = false, args = ["peek", "ack", "last", "open", "follow"])]
pub struct Args {
    /// Whose inbox [default: this machine's name]
    #[arg(value_parser = talk::name)]
    name: Option<Name>,
    /// Wait so many seconds for a first message; then exit code 27
    #[arg(short = 'W', long, value_name = "SECONDS", value_parser = talk::seconds)]
    pub wait: Option<Duration>,
    /// Go on for ever
    #[arg(long)]
    pub follow: bool,
    /// At most so many messages
    #[arg(short = 'C', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Print what waits, and leave it there; as much of it as the server sends at a time
    #[arg(long)]
    peek: bool,
    /// Take the message with this id out; can be given many times
    #[arg(long, value_name = "ID")]
    pub ack: Vec<String>,
    /// Print the message that was taken last once more
    #[arg(long)]
    last: bool,
    /// Only make sure that the inbox is there
    #[arg(long)]
    open: bool,
    /// Print id and sender before the message
    #[arg(short, long, conflicts_with = "json")]
    pub verbose: bool,
    /// One JSON object a message
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// What is done with the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Take,
    Peek,
    Acknowledge,
    Last,
    Open,
}

impl Args {
    pub fn mode(&self) -> Mode {
        match (self.peek, self.last, self.open) {
            (true, _, _) => Mode::Peek,
            (_, true, _) => Mode::Last,
            (_, _, true) => Mode::Open,
            (false, false, false) if self.ack.is_empty() => Mode::Take,
            (false, false, false) => Mode::Acknowledge,
        }
    }

    pub fn owner(&self) -> Result<Name, Usage> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => whoami(None).map_err(|error| Usage(format!("{error}; or name the inbox"))),
        }
    }
}
