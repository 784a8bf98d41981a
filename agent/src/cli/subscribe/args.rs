//! The flags of `hobnail sub`, with Mosquitto's letters.

use std::time::Duration;

use hobnail_core::mqtt::packet::QoS;
use hobnail_core::topic;

use super::format::Format;
use super::print::{Printer, Shape};
use crate::cli::mqtt::Usage;
use crate::cli::mqtt::connect::{ConnectArgs, Settings, qos};

/// Print the messages that match, with Mosquitto's flags
///
/// MQTT 5 unless -V says otherwise. Connects again when the connection is lost.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, after_help = FORMATS)]
pub struct Args {
    /// Subscribe to this; can be given many times
    #[arg(short, long = "topic")]
    topic: Vec<String>,
    /// Leave out messages that match this; can be given many times
    #[arg(short = 'T', long)]
    pub filter_out: Vec<String>,
    /// Unsubscribe from this; can be given many times
    #[arg(short = 'U', long)]
    pub unsubscribe: Vec<String>,
    /// Quality of service
    #[arg(short, long, default_value = "0", value_parser = qos)]
    pub qos: QoS,
    /// End after so many messages
    #[arg(short = 'C', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after so many seconds, with exit code 27
    #[arg(short = 'W', value_name = "SECONDS", value_parser = seconds)]
    pub wait: Option<Duration>,
    /// Leave out retained messages
    #[arg(short = 'R', long, conflicts_with = "retained_only")]
    pub no_retained: bool,
    /// Only retained messages; end at the first that is not
    #[arg(long)]
    pub retained_only: bool,
    /// Clear the retained messages that arrive
    #[arg(long)]
    pub remove_retained: bool,
    /// Print the topic before the payload
    #[arg(short, long)]
    verbose: bool,
    /// No line end after a message
    #[arg(short = 'N', long)]
    no_line_end: bool,
    /// Print in this format, or `json`
    #[arg(short = 'F', long, conflicts_with = "verbose", allow_hyphen_values = true)]
    format: Option<String>,
    /// One JSON object a line
    #[arg(long, conflicts_with_all = ["format", "verbose"])]
    json: bool,
    /// End when the server has answered the subscription
    #[arg(short = 'E', long)]
    pub exit_after_suback: bool,
    /// Do not get what this client publishes itself (MQTT 5)
    #[arg(long)]
    pub no_local: bool,
    /// Keep the retain flag as it was published (MQTT 5)
    #[arg(long)]
    pub retain_as_published: bool,
    /// When to try again after a connection failed or was lost
    #[arg(long, value_enum, default_value_t = Reconnect::OnceConnected, value_name = "WHEN")]
    pub reconnect: Reconnect,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Reconnect {
    /// End with an error
    Never,
    /// Try again if there was a connection before
    OnceConnected,
    /// Try for ever, refused or not
    Always,
}

const FORMATS: &str = "\
Formats (-F): %t topic, %p payload, %x %X payload in hexadecimal, %l its length, %d %f payload as a double or a float, \
%q QoS, %r retained, %m message id, %j %J JSON (payload as text, as JSON), %I local time, %U Unix time, \
%A topic alias, %C content type, %D correlation data, %E expiry, %F payload format, %P user properties, \
%R response topic, %S subscription identifier, %% a percent sign; width and flags as in %-10t, %010l, %.5t; \
@X strftime, @N nanoseconds; \\n \\t \\r \\0 \\a \\e \\v \\\\";

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "a number of seconds above 0".to_owned();
    let seconds: f64 = text.parse().map_err(|_not| wrong())?;
    Duration::try_from_secs_f64(seconds).ok().filter(|wait| !wait.is_zero()).ok_or_else(wrong)
}

impl Args {
    pub fn topics(&self, settings: &Settings) -> Result<Vec<String>, Usage> {
        let topics: Vec<String> = self.topic.iter().chain(&settings.url_topic).cloned().collect();
        if topics.is_empty() && self.unsubscribe.is_empty() {
            return Err(Usage("name a topic to subscribe to with -t".into()));
        }
        for filter in topics.iter().chain(&self.filter_out).chain(&self.unsubscribe) {
            let plain = filter
                .strip_prefix("$share/")
                .and_then(|rest| rest.split_once('/'))
                .map_or(filter.as_str(), |(_, f)| f);
            topic::check_filter(plain).map_err(|wrong| Usage(format!("{filter:?} is no topic filter: {wrong}")))?;
        }
        Ok(topics)
    }

    pub fn printer(&self) -> Result<Printer, Usage> {
        let shape = match self.format.as_deref() {
            Some("json") => Shape::Json,
            Some(text) => Shape::Format(Format::parse(text).map_err(|wrong| Usage(format!("-F: {wrong}")))?),
            None if self.json => Shape::Json,
            None if self.verbose => Shape::Verbose,
            None => Shape::Payload,
        };
        Ok(Printer::new(shape, !self.no_line_end))
    }
}
