//! `hobnail remove`: something out of the topology.

use std::process::ExitCode;

use clap::Subcommand;
use hobnail_core::topology::Edit;

use super::change::keys::remove;
use super::change::{How, KeyPath, carry_out, refuse};

/// Take a machine, a role, a topic rule or a key out of the topology
///
/// A key that is taken out has its default again: `hobnail remove heartbeat.every`. Comments of others stay.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    /// The key, such as heartbeat.every or clients.camera.role
    #[arg(required = true)]
    key: Option<KeyPath>,
    #[command(flatten)]
    how: How,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A client, or a range of them
    Client {
        client: String,
        #[command(flatten)]
        how: How,
    },
    /// A broker
    Broker {
        broker: String,
        #[command(flatten)]
        how: How,
    },
    /// A role
    Role {
        role: String,
        #[command(flatten)]
        how: How,
    },
    /// The topic rule with this `match`
    Topic {
        filter: String,
        #[command(flatten)]
        how: How,
    },
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match (&args.what, &args.key) {
        (Some(What::Client { client, how }), _) => carry_out(how, &remove("clients", client)),
        (Some(What::Broker { broker, how }), _) => carry_out(how, &remove("brokers", broker)),
        (Some(What::Role { role, how }), _) => carry_out(how, &remove("roles", role)),
        (Some(What::Topic { filter, how }), _) => carry_out(how, &remove("topics", filter)),
        (None, Some(key)) => carry_out(&args.how, &[Edit::Remove { at: key.0.clone() }]),
        (None, None) => Ok(refuse("a key is wanted, or client, broker, role or topic with a name")),
    }
}
