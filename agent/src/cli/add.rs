//! `hobnail add`: something new in the topology.

use std::process::ExitCode;

use clap::Subcommand;

use super::change::keys::{BrokerKeys, ClientKeys, Rights, TopicKeys, add, add_topic};
use super::change::{How, carry_out};

/// Add a machine, a role or a topic rule to the topology
///
/// It stands behind the others of its kind. Comments and order stay.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A client, or a range of them: 'press-[01..20]'
    Client {
        client: String,
        #[command(flatten)]
        keys: ClientKeys,
        #[command(flatten)]
        how: How,
    },
    /// A broker, ranked last; `hobnail rank` moves it
    Broker {
        broker: String,
        #[command(flatten)]
        keys: BrokerKeys,
        #[command(flatten)]
        how: How,
    },
    /// Rights that several machines share
    Role {
        role: String,
        #[command(flatten)]
        keys: Rights,
        #[command(flatten)]
        how: How,
    },
    /// A rule for the topics that match; of several the first counts
    Topic {
        filter: String,
        #[command(flatten)]
        keys: TopicKeys,
        #[command(flatten)]
        how: How,
    },
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Client { client, keys, how } => carry_out(how, &add("clients", client, keys.given())),
        What::Broker { broker, keys, how } => carry_out(how, &add("brokers", broker, keys.given())),
        What::Role { role, keys, how } => carry_out(how, &add("roles", role, keys.given())),
        What::Topic { filter, keys, how } => carry_out(how, &add_topic(filter, keys.given())),
    }
}
