//! `hobnail graph`: the network as a picture or as the source of one.

mod svg;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use hobnail_core::ids::Name;
use hobnail_core::topology::Topology;
use hobnail_core::topology::model::{Kind, Machine};

use super::TopologyArgs;
use super::out::say;
use crate::atomic_file;

/// Draw the network: an SVG for the wall, or Mermaid or DOT for other tools
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    topology: TopologyArgs,
    /// What to draw
    #[arg(long, value_enum, default_value_t = Format::Svg)]
    format: Format,
    /// Write here; without it, to standard output
    #[arg(short, long)]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Svg,
    Mermaid,
    Dot,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let topology = match args.topology.load() {
        Ok(topology) => topology,
        Err(code) => return Ok(code),
    };
    let text = match args.format {
        Format::Svg => svg::draw(&topology),
        Format::Mermaid => mermaid(&topology),
        Format::Dot => dot(&topology),
    };
    match &args.output {
        Some(file) => atomic_file::write_beside(file, text.as_bytes())?.put_in_place()?,
        None => say(&text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The brokers by rank, each with the machines whose home it is.
fn by_home(topology: &Topology) -> Vec<(&Machine, Vec<&Machine>)> {
    let first = topology.ranking.first();
    let at = |broker: &Name| {
        let joins = |machine: &&Machine| match &machine.kind {
            Kind::Broker { .. } => false,
            Kind::Client { home } | Kind::Device { home, .. } => home.as_ref().or(first) == Some(broker),
        };
        topology.machines.values().filter(joins).collect()
    };
    topology.ranking.iter().filter_map(|name| Some((topology.machines.get(name)?, at(name)))).collect()
}

fn backups(machine: &Machine) -> &[Name] {
    match &machine.kind {
        Kind::Broker { backups, .. } => backups,
        Kind::Client { .. } | Kind::Device { .. } => &[],
    }
}

fn host(machine: &Machine) -> &str {
    match &machine.kind {
        Kind::Broker { host, .. } => &host.0,
        Kind::Client { .. } | Kind::Device { .. } => "",
    }
}

fn is_device(machine: &Machine) -> bool {
    matches!(machine.kind, Kind::Device { .. })
}

/// Names hold letters, digits, `-`, `_` and `.`; identifiers of Mermaid hold less.
fn id(name: &Name) -> String {
    name.as_str().replace(['-', '.'], "_")
}

fn mermaid(topology: &Topology) -> String {
    let mut out = format!("---\ntitle: {}\n---\nflowchart TB\n", topology.network);
    for (broker, machines) in by_home(topology) {
        out += &format!("  {}[[\"{}<br/>{}\"]]\n", id(&broker.name), broker.name, host(broker));
        for backup in backups(broker) {
            out += &format!("  {} -. backup .-> {}\n", id(&broker.name), id(backup));
        }
        for machine in machines {
            let (open, close, line) = if is_device(machine) { ("([", "])", "-.-") } else { ("[", "]", "---") };
            out += &format!("  {} {line} {}{open}\"{}\"{close}\n", id(&broker.name), id(&machine.name), machine.name);
        }
    }
    out
}

fn dot(topology: &Topology) -> String {
    let mut out = format!("graph \"{}\" {{\n  label=\"{}\"\n  node [shape=box]\n", topology.network, topology.network);
    for (broker, machines) in by_home(topology) {
        out += &format!("  \"{}\" [shape=box3d label=\"{}\\n{}\"]\n", broker.name, broker.name, host(broker));
        for backup in backups(broker) {
            out += &format!("  \"{}\" -- \"{backup}\" [style=dashed dir=forward label=backup]\n", broker.name);
        }
        for machine in machines {
            let style = if is_device(machine) { " [style=dotted]" } else { "" };
            out += &format!("  \"{}\" -- \"{}\"{style}\n", broker.name, machine.name);
        }
    }
    out + "}\n"
}
