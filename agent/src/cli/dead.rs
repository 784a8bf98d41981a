//! `hobnail dead`: messages that a subscriber could not take.

use std::process::ExitCode;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use super::out::{say, say_json};
use super::status::AgentArgs;

/// Messages that a durable subscriber could not take
///
/// A message goes here when its subscriber lost the connection 20 times before acknowledging it, or refused it. It is kept
/// on disk, as the newest of at most 1,000 and 4 MiB, until it is sent back or dropped.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// One line for each, the oldest first
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        agent: AgentArgs,
    },
    /// One of them, with what it says
    Show(One),
    /// Let it wait for its subscriber again
    Requeue(One),
    /// Do away with it
    Drop(One),
}

#[derive(Debug, clap::Args)]
struct One {
    /// Its number in the list
    number: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    agent: AgentArgs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Letters {
    dead: Vec<Letter>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Letter {
    number: u64,
    device: Option<String>,
    client: String,
    topic: String,
    bytes: u64,
    times: u32,
    reason: String,
    payload: Option<String>,
    payload_hex: String,
}

impl Letter {
    /// One line; whatever a client called itself cannot break it.
    fn line(&self) -> String {
        let device = self.device.as_ref().map(|device| format!("{device}: ")).unwrap_or_default();
        let (client, topic, times) = (self.client.escape_debug(), self.topic.escape_debug(), self.times);
        let count = if times == 1 { "once".to_owned() } else { format!("{times} times") };
        let (number, bytes, reason) = (self.number, self.bytes, &self.reason);
        format!("{number}  {device}{client}  {topic}  {bytes} bytes, failed {count}: {reason}\n")
    }
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (agent, json, method, path) = match &args.what {
        What::List { json, agent } => (agent, *json, "GET", "/v1/dead".to_owned()),
        What::Show(one) => (&one.agent, one.json, "GET", format!("/v1/dead/{}", one.number)),
        What::Requeue(one) => (&one.agent, one.json, "POST", format!("/v1/dead/{}/requeue", one.number)),
        What::Drop(one) => (&one.agent, one.json, "POST", format!("/v1/dead/{}/drop", one.number)),
    };
    let answer = match agent.ask(method, &path) {
        Ok(answer) => answer,
        Err(no_answer) => return Ok(no_answer.end()),
    };
    if json {
        say_json(&answer)?;
    } else {
        say(&text(&args.what, answer).context("the agent's answer is not what this version expects")?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(what: &What, answer: Value) -> serde_json::Result<String> {
    Ok(match what {
        What::List { .. } => Letters::deserialize(answer)?.dead.iter().map(Letter::line).collect(),
        What::Show(_) => {
            let letter = Letter::deserialize(answer)?;
            let said = letter
                .payload
                .as_ref()
                .map_or_else(|| format!("hex {}", letter.payload_hex), |payload| payload.escape_debug().to_string());
            format!("{}{said}\n", letter.line())
        }
        What::Requeue(one) => format!("{} waits for its subscriber again\n", one.number),
        What::Drop(one) => format!("{} is gone\n", one.number),
    })
}
