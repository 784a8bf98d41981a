//! `hobnail set`: another value for a key of the topology.

use std::process::ExitCode;

use clap::Subcommand;
use hobnail_core::topology::{Edit, Literal};

use super::change::keys::{BrokerKeys, ClientKeys, Rights, TopicKeys, set_each};
use super::change::{How, KeyPath, carry_out, refuse};

/// Give keys of the topology another value
///
/// Comments and order stay. `hobnail set heartbeat.every 200ms` reaches every key by its path; names with dots in them go
/// into quotes: clients."press-[01..20]".role, topics."alarm/#".ack. Keys of machines, roles and topic rules have flags too.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    /// The key, such as heartbeat.every or brokers.hub.host
    #[arg(required = true)]
    key: Option<KeyPath>,
    /// Its value, as it would stand in the file
    #[arg(required = true, allow_hyphen_values = true)]
    value: Option<String>,
    #[command(flatten)]
    how: How,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Keys of a client, or of all clients of a range
    Client {
        client: String,
        #[command(flatten)]
        keys: ClientKeys,
        #[command(flatten)]
        how: How,
    },
    /// Keys of a broker
    Broker {
        broker: String,
        #[command(flatten)]
        keys: BrokerKeys,
        #[command(flatten)]
        how: How,
    },
    /// Keys of a role
    Role {
        role: String,
        #[command(flatten)]
        keys: Rights,
        #[command(flatten)]
        how: How,
    },
    /// Keys of the topic rule with this `match`
    Topic {
        filter: String,
        #[command(flatten)]
        keys: TopicKeys,
        #[command(flatten)]
        how: How,
    },
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (how, edits) = match (&args.what, &args.key, &args.value) {
        (None, Some(at), Some(value)) => (&args.how, vec![Edit::Set { at: at.0.clone(), to: Literal::typed(value) }]),
        (Some(What::Client { client, keys, how }), ..) => (how, set_each("clients", client, keys.given())),
        (Some(What::Broker { broker, keys, how }), ..) => (how, set_each("brokers", broker, keys.given())),
        (Some(What::Role { role, keys, how }), ..) => (how, set_each("roles", role, keys.given())),
        (Some(What::Topic { filter, keys, how }), ..) => (how, set_each("topics", filter, keys.given())),
        (None, ..) => return Ok(refuse("a key and its value are wanted")),
    };
    if edits.is_empty() {
        return Ok(refuse("nothing to set: give at least one key, such as --role"));
    }
    carry_out(how, &edits)
}
