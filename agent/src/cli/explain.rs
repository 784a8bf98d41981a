//! `hobnail explain`: the way of one message through the network, and who may not have it.

use std::process::ExitCode;

use anyhow::{Context, bail};
use hobnail_core::assign::homes;
use hobnail_core::ids::Name;
use hobnail_core::rights::Allow;
use hobnail_core::topic;
use hobnail_core::topology::Topology;
use hobnail_core::topology::model::{Ack, Kind, Lane, Machine};
use serde::Serialize;

use super::TopologyArgs;
use super::out::{say, say_json};

/// Show every hop and rule that a message takes, who would get it, and who may not
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    topology: TopologyArgs,
    /// The machine or device that publishes
    #[arg(long)]
    from: String,
    /// The topic it publishes to
    #[arg(long)]
    topic: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Explanation<'a> {
    from: &'a Name,
    topic: &'a str,
    allowed: bool,
    /// The filter that allows it; none where every topic is allowed, or this one is not.
    by: Option<&'a str>,
    rule: Option<&'a str>,
    ack: Ack,
    lane: Lane,
    max_age_s: Option<u64>,
    /// The brokers it may travel by, the first that is up.
    by_way_of: Vec<Name>,
    may_get: Vec<Receiver<'a>>,
    may_not: Vec<&'a Name>,
}

#[derive(Serialize)]
struct Receiver<'a> {
    name: &'a Name,
    by: Option<&'a str>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let topology = match args.topology.load() {
        Ok(topology) => topology,
        Err(code) => return Ok(code),
    };
    if let Err(error) = topic::check_name(&args.topic) {
        bail!("nobody can publish to `{}`: {error}", args.topic);
    }
    if args.topic.starts_with('$') {
        bail!("topics that begin with $ stay on their own machine; $SYS and $hobnail are told by its agent alone");
    }
    let sender = topology
        .machines
        .get(args.from.as_str())
        .with_context(|| format!("no machine is called `{}` in {}", args.from, args.topology.file.display()))?;
    let told = explain(&topology, sender, &args.topic);
    if args.json {
        say_json(&told)?;
    } else {
        say(&text(&told, sender))?;
    }
    Ok(if told.allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn explain<'a>(topology: &'a Topology, sender: &'a Machine, topic: &'a str) -> Explanation<'a> {
    let rule = topology.topics.iter().find(|rule| rule.filter.matches(topic));
    let home = match &sender.kind {
        Kind::Broker { .. } => None,
        Kind::Client { home } | Kind::Device { home, .. } => home.as_ref(),
    };
    let allowed = sender.rights.publish.topic(topic);
    let hears = |machine: &&Machine| allowed && machine.rights.subscribe.topic(topic);
    Explanation {
        from: &sender.name,
        topic,
        allowed,
        by: allowing(&sender.rights.publish, topic),
        rule: rule.map(|rule| rule.filter.as_str()),
        ack: rule.map_or(Ack::Disk, |rule| rule.ack),
        lane: rule.map_or(Lane::Disk, |rule| rule.lane),
        max_age_s: rule.and_then(|rule| rule.max_age).map(|age| age.as_secs()),
        by_way_of: homes(topology, home).into_iter().filter(|name| *name != sender.name).collect(),
        may_get: topology
            .machines
            .values()
            .filter(hears)
            .map(|machine| Receiver { name: &machine.name, by: allowing(&machine.rights.subscribe, topic) })
            .collect(),
        may_not: topology.machines.values().filter(|machine| !hears(machine)).map(|machine| &machine.name).collect(),
    }
}

fn allowing<'a>(allow: &'a Allow, topic: &str) -> Option<&'a str> {
    match allow {
        Allow::Everything => None,
        Allow::Only(filters) => filters.iter().find(|filter| filter.matches(topic)).map(|filter| filter.as_str()),
    }
}

fn text(told: &Explanation<'_>, sender: &Machine) -> String {
    let mut out = format!("{} publishes to {}\n", told.from, told.topic);
    if !told.allowed {
        out += "  refused: no `publish` of this machine, its role or the network matches\n";
        let Allow::Only(filters) = &sender.rights.publish else { return out };
        for filter in filters {
            out += &format!("    may publish to {filter}\n");
        }
        return out;
    }
    out += &match told.by {
        Some(filter) => format!("  allowed by publish {filter}\n"),
        None => "  allowed: it may publish to every topic\n".to_owned(),
    };
    let ack = match told.ack {
        Ack::Memory => "once it is accepted in memory",
        Ack::Disk => "once it is on this machine's disk",
        Ack::Replicated => "once it is on this machine's disk and another's",
    };
    let lane = match told.lane {
        Lane::Memory => "memory",
        Lane::Disk => "disk",
        Lane::Urgent => "urgent",
    };
    out += &match told.rule {
        Some(rule) => format!("  topic rule {rule}: {lane} lane, acknowledged {ack}\n"),
        None => format!("  no topic rule: {lane} lane, acknowledged {ack}\n"),
    };
    if let Some(age) = told.max_age_s {
        out += &format!("  worth delivering for {age} s\n");
    }
    let brokers: Vec<&str> = told.by_way_of.iter().map(Name::as_str).collect();
    match brokers.as_slice() {
        [] => out += "  stays on this machine: the network has no other broker\n",
        [only] => out += &format!("  travels by {only}\n"),
        [first, rest @ ..] => out += &format!("  travels by {first}, or while that is down by {}\n", rest.join(", ")),
    }
    out += "may get it, if a program there subscribes:\n";
    for receiver in &told.may_get {
        out += &match receiver.by {
            Some(filter) => format!("  {}  (subscribe {filter})\n", receiver.name),
            None => format!("  {}  (every topic)\n", receiver.name),
        };
    }
    if !told.may_not.is_empty() {
        let names: Vec<&str> = told.may_not.iter().map(|name| name.as_str()).collect();
        out += &format!("may not get it: {}\n", names.join(", "));
    }
    out
}
