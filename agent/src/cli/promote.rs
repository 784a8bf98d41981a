//! `hobnail promote`: make a broker everybody's home.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use super::exit;
use super::out::say;
use super::status::AgentArgs;

/// How often it looks who has moved.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Make a broker everybody's home, with nothing lost
///
/// Any machine's agent can be asked; all of them follow. They move once the broker is in step with the others, and stay
/// until another is promoted or the promotion is taken back. While the broker is away they live as the topology says.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The broker
    #[arg(required_unless_present = "back")]
    broker: Option<String>,
    /// Take the promotion back: the order of the topology counts again
    #[arg(long, conflicts_with = "broker")]
    back: bool,
    /// Wait so many seconds until everybody has moved; 0 does not wait
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    #[command(flatten)]
    agent: AgentArgs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    machines: Vec<Machine>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Machine {
    name: String,
    state: String,
    role: String,
    home: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let target =
        args.broker.as_ref().map_or_else(|| "/v1/promote".to_owned(), |broker| format!("/v1/promote/{broker}"));
    if let Err(no_answer) = args.agent.ask("POST", &target) {
        return Ok(no_answer.end());
    }
    match &args.broker {
        Some(broker) if args.wait > 0 => follow(args, broker),
        Some(_) | None => Ok(ExitCode::SUCCESS),
    }
}

/// Until every client that is there lives at `broker`.
fn follow(args: &Args, broker: &str) -> anyhow::Result<ExitCode> {
    let end = Instant::now() + Duration::from_secs(args.wait);
    loop {
        let status = match args.agent.ask("GET", "/v1/status") {
            Ok(status) => status,
            Err(no_answer) => return Ok(no_answer.end()),
        };
        let node = Node::deserialize(status.get("node").unwrap_or(&Value::Null))
            .context("the agent's status is not what this version expects")?;
        let (moved, behind) = count(&node, broker);
        if behind.is_empty() {
            say(&format!("{broker} is home to all {moved} clients that are there\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        if Instant::now() >= end {
            eprintln!("hobnail: after {} s these are not at {broker} yet: {}", args.wait, behind.join(", "));
            return Ok(ExitCode::from(exit::TIMED_OUT));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// How many live there, and who does not.
fn count<'a>(node: &'a Node, broker: &str) -> (usize, Vec<&'a str>) {
    let here = |machine: &&Machine| machine.role == "client" && matches!(machine.state.as_str(), "online" | "late");
    let (moved, behind): (Vec<_>, Vec<_>) =
        node.machines.iter().filter(here).partition(|machine| machine.home.as_deref() == Some(broker));
    (moved.len(), behind.into_iter().map(|machine| machine.name.as_str()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_that_are_there_are_waited_for() {
        let machine = |name: &str, state: &str, role: &str, home: Option<&str>| Machine {
            name: name.into(),
            state: state.into(),
            role: role.into(),
            home: home.map(str::to_owned),
        };
        let node = Node {
            machines: vec![
                machine("hub", "online", "broker", None),
                machine("a", "online", "client", Some("spare")),
                machine("b", "late", "client", Some("hub")),
                machine("c", "offline", "client", Some("hub")),
                machine("d", "left", "client", None),
            ],
        };
        assert_eq!(count(&node, "spare"), (1, vec!["b"]));
    }
}
