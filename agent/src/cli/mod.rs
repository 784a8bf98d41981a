//! The command line: one file a command, each a thin road from arguments to the core and back.

mod add;
mod call;
mod change;
mod check;
mod completions;
mod dead;
mod diff;
mod doctor;
mod explain;
mod fmt;
mod graph;
mod history;
mod inbox;
mod init;
mod key;
mod mqtt;
mod out;
mod passwd;
mod ping;
mod plan;
mod play;
mod promote;
mod publish;
mod rank;
mod record;
mod reload;
mod remove;
mod rollback;
mod run;
mod save;
mod schema;
mod send;
mod serve;
mod set;
mod status;
mod subscribe;
mod talk;
mod version;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hobnail_core::topology::report::Colour;
use hobnail_core::topology::{Loaded, Topology, load};

use crate::texts::Texts;
use crate::topology_files::Disk;

/// How a command ends, beside success and failure.
pub mod exit {
    /// A topology that cannot be used.
    pub const BAD_TOPOLOGY: u8 = 78;
    /// A command line that cannot be meant.
    pub const USAGE: u8 = 2;
    /// The system does not permit it.
    pub const PERMISSION: u8 = 77;
    /// Nobody is there to answer, or somebody else was given it.
    pub const TRY_LATER: u8 = 75;
    /// A time limit ran out.
    pub const TIMED_OUT: u8 = 27;
}

#[derive(Debug, Parser)]
#[command(
    name = "hobnail",
    version,
    about = "One dependable message network out of a handful of cheap machines",
    after_help = "Exit codes: 0 ok, 1 failed or no, 2 usage, 27 timed out, 75 try later, 77 permission, 78 bad topology",
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Plan(plan::Args),
    Reload(reload::Args),
    Explain(explain::Args),
    Graph(graph::Args),
    Init(init::Args),
    Fmt(fmt::Args),
    Set(set::Args),
    Add(add::Args),
    Remove(remove::Args),
    Rank(rank::Args),
    Save(save::Args),
    Diff(diff::Args),
    History(history::Args),
    Rollback(rollback::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(completions::ManArgs),
    Version(version::Args),
    #[command(name = "pub")]
    Publish(publish::Args),
    #[command(name = "sub")]
    Subscribe(subscribe::Args),
    Call(call::Args),
    Serve(serve::Args),
    Send(send::Args),
    Inbox(inbox::Args),
    Record(record::Args),
    Play(play::Args),
    Passwd(passwd::Args),
    Doctor(doctor::Args),
    Status(status::Args),
    Dead(dead::Args),
    Promote(promote::Args),
    Ping(ping::Args),
    Key(key::Args),
}

/// Do what the command line says.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Graph(args) => graph::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Fmt(args) => fmt::run(&args),
        Command::Set(args) => set::run(&args),
        Command::Add(args) => add::run(&args),
        Command::Remove(args) => remove::run(&args),
        Command::Rank(args) => rank::run(&args),
        Command::Save(args) => save::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::History(args) => history::run(&args),
        Command::Rollback(args) => rollback::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => completions::run_man(&args),
        Command::Version(args) => version::run(&args),
        Command::Publish(args) => publish::run(&args),
        Command::Subscribe(args) => subscribe::run(&args),
        Command::Call(args) => call::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Send(args) => send::run(&args),
        Command::Inbox(args) => inbox::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Play(args) => play::run(&args),
        Command::Passwd(args) => passwd::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Dead(args) => dead::run(&args),
        Command::Promote(args) => promote::run(&args),
        Command::Ping(args) => ping::run(&args),
        Command::Key(args) => key::run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("hobnail: {error:#}");
        ExitCode::FAILURE
    })
}

/// A topology file, and where its secrets are.
#[derive(Debug, clap::Args)]
pub struct TopologyArgs {
    /// The topology file
    pub file: PathBuf,
    /// Look for keys and passwords here; without this, in /etc/hobnail/keys where that is there
    #[arg(long, value_name = "FOLDER", env = "HOBNAIL_KEYS")]
    pub keys: Option<PathBuf>,
}

impl TopologyArgs {
    /// Read and checked, whatever comes of it.
    pub fn look(&self) -> Loaded {
        load(&self.file.to_string_lossy(), &mut Disk::new(self.keys.as_deref(), None))
    }

    /// The checked topology, or the exit code after all problems have been told.
    pub fn load(&self) -> Result<Topology, ExitCode> {
        self.load_as(None)
    }

    /// The same for the machine that is called so.
    pub fn load_as(&self, name: Option<&str>) -> Result<Topology, ExitCode> {
        load_or_tell(&self.file, &mut Disk::new(self.keys.as_deref(), name))
    }
}

pub fn load_or_tell(file: &Path, disk: &mut Disk) -> Result<Topology, ExitCode> {
    load_with_texts(file, disk).map(|(topology, _)| topology)
}

pub fn load_with_texts(file: &Path, disk: &mut Disk) -> Result<(Topology, Texts), ExitCode> {
    let loaded = load(&file.to_string_lossy(), disk);
    match loaded.topology {
        Some(topology) => Ok((topology, Texts::of(&loaded.report))),
        None => {
            eprint!("{}", loaded.report.render(colour(std::io::stderr().is_terminal())));
            Err(ExitCode::from(exit::BAD_TOPOLOGY))
        }
    }
}

/// Colour where a person looks, and has not said no.
pub fn colour(terminal: bool) -> Colour {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if terminal && !refused { Colour::Ansi } else { Colour::Plain }
}
