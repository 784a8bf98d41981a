//! `hobnail ping`: is that machine's agent there, and how far away?

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::exit;
use super::out::say;
use super::status::{AgentArgs, NoAnswer};
use crate::control::ask::AskError;

/// Ask another machine's agent for an answer, through the network
///
/// The question takes the way that messages take. Ends with 27 if no answer came at all.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machine
    machine: String,
    /// So many times
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Seconds between them
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    interval: f64,
    /// Print JSON, one line an answer
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    agent: AgentArgs,
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=3_600.0).contains(&seconds) { Ok(seconds) } else { Err("0 to 3600 seconds".to_owned()) }
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut times = Vec::new();
    for turn in 0..args.count {
        if turn > 0 {
            std::thread::sleep(Duration::from_secs_f64(args.interval));
        }
        match args.agent.ask("POST", &format!("/v1/ping/{}", args.machine)) {
            Ok(answer) => {
                let ms = answer.get("round_trip_ms").and_then(Value::as_f64).unwrap_or_default();
                times.push(ms);
                let line = if args.json { answer.to_string() } else { format!("{}: {ms:.1} ms", args.machine) };
                say(&(line + "\n"))?;
            }
            Err(NoAnswer::Ask(AskError::Refused { code: 504, error })) => eprintln!("hobnail: {error}"),
            Err(no_answer) => return Ok(no_answer.end()),
        }
    }
    if !args.json && args.count > 1 {
        say(&summary(args.count, &times))?;
    }
    Ok(if times.is_empty() { ExitCode::from(exit::TIMED_OUT) } else { ExitCode::SUCCESS })
}

fn summary(asked: u32, times: &[f64]) -> String {
    let (least, most) =
        times.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), ms| (least.min(*ms), most.max(*ms)));
    let mut text = format!("{asked} asked, {} answered", times.len());
    if !times.is_empty() {
        #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        text.push_str(&format!("; shortest {least:.1} ms, mean {mean:.1} ms, longest {most:.1} ms"));
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_what_was_lost() {
        assert_eq!(summary(3, &[]), "3 asked, 0 answered\n");
        assert_eq!(summary(3, &[1.0, 4.0]), "3 asked, 2 answered; shortest 1.0 ms, mean 2.5 ms, longest 4.0 ms\n");
    }
}
