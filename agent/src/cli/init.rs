//! `hobnail init`: a first topology, from three questions or from flags.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::load_or_tell;
use crate::atomic_file;
use crate::topology_files::Disk;

/// Write a first topology file, commented
///
/// Asks three questions on a terminal, or takes flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write it; nothing is overwritten
    #[arg(default_value = "topology.yaml")]
    file: PathBuf,
    /// The network's name
    #[arg(long)]
    network: Option<String>,
    /// A broker, best first; may be given several times
    #[arg(long = "broker", value_name = "NAME=ADDRESS")]
    brokers: Vec<String>,
    /// Another machine; may be given several times
    #[arg(long = "client", value_name = "NAME")]
    clients: Vec<String>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.file.exists() {
        bail!("{} is there already; give another name", args.file.display());
    }
    let asks = args.brokers.is_empty() && io::stdin().is_terminal();
    let (network, brokers, clients) = if asks {
        ask()?
    } else {
        (args.network.clone().unwrap_or_else(|| "home".to_owned()), args.brokers.clone(), args.clients.clone())
    };
    if brokers.is_empty() {
        bail!("name at least one broker, as in --broker hub=10.0.0.10");
    }
    let text = first_topology(&network, &brokers, &clients)?;
    let written = atomic_file::write_beside(&args.file, text.as_bytes())?;
    let checked = load_or_tell(written.path(), &mut Disk::without_secrets());
    let topology = match checked {
        Ok(topology) => topology,
        Err(code) => {
            eprintln!("hobnail: these answers make no topology; nothing was written");
            return Ok(code);
        }
    };
    written.put_in_place()?;
    eprintln!("wrote {}; the same file goes to every machine", args.file.display());
    if let Some(keys) = topology.keys {
        eprintln!("so does the key that `hobnail key new {}` makes", keys.active);
    }
    Ok(ExitCode::SUCCESS)
}

fn ask() -> anyhow::Result<(String, Vec<String>, Vec<String>)> {
    let words = |line: String| line.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let network = question("What is the network called?", "home")?;
    let brokers = question("Which machines carry the messages, best first, as name=address?", "hub=10.0.0.10")?;
    let clients = question("Which other machines are there? (names; none is fine)", "")?;
    Ok((network, words(brokers), words(clients)))
}

fn question(text: &str, default: &str) -> anyhow::Result<String> {
    let hint = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    eprint!("{text}{hint} ");
    io::stderr().flush()?;
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer)? == 0 {
        bail!("no answer");
    }
    let answer = answer.trim();
    Ok(if answer.is_empty() { default.to_owned() } else { answer.to_owned() })
}

fn first_topology(network: &str, brokers: &[String], clients: &[String]) -> anyhow::Result<String> {
    let mut text = format!(
        "# yaml-language-server: $schema=schema.json\n\
         # One network, described once. The same file goes to every machine; each finds its own entry by its name.\n\
         version: 1\nnetwork: {network}\n\n\
         # The machines that carry messages for the others, best first. Any of them may die.\nbrokers:\n"
    );
    let named: Vec<(&str, &str)> = brokers
        .iter()
        .map(|broker| broker.split_once('=').with_context(|| format!("`{broker}` is not NAME=ADDRESS")))
        .collect::<anyhow::Result<_>>()?;
    for (index, (name, host)) in named.iter().enumerate() {
        let backup = named.get(index + 1).map_or(String::new(), |(next, _)| format!(", backups: [{next}]"));
        text += &format!("  {name}: {{ host: {host}{backup} }}\n");
    }
    text += "\n# Every other machine. Without `publish` and `subscribe` lists it may use every topic; with one, only what\n\
             # is listed: press-1: { publish: [\"line/press-1/#\"], subscribe: [\"cmd/press-1/#\"] }\nclients:\n";
    for name in clients {
        text += &format!("  {name}: {{}}\n");
    }
    Ok(text)
}
