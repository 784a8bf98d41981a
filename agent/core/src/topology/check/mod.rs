//! From the raw types to the model: every rule that needs more than one key, and every default.

mod doors;
mod machines;
mod names;
mod rights;
mod settings;
mod units;

use super::load::{SecretFact, SecretFile, Surroundings};
use super::model::{Kind, Topology};
use super::raw::RawTopology;
use super::report::{Code, Report, Span};

pub use names::{MACHINES_MAX, in_range};

/// The language's version that this program reads.
pub const VERSION: u64 = 1;

/// The model, as far as one can be made; it counts only if the report stays clean.
pub fn check(raw: &RawTopology, surroundings: &mut dyn Surroundings, report: &mut Report) -> Option<Topology> {
    if let Some(version) = raw.version.as_ref().filter(|version| version.value != VERSION) {
        let message = format!("version {} of the topology language is not known here", version.value);
        let help = format!("this program reads version {VERSION}");
        report.add_with_help(Code::UnknownVersion, version.span, message, help);
        return None;
    }
    let network = raw.network.as_ref().and_then(|name| units::name(name, report));
    let heartbeat = settings::heartbeat(raw, report);
    let failover = settings::failover(raw, report);
    let built = machines::build(raw, surroundings, report);
    let agents = built.machines.values().filter(|machine| !matches!(machine.kind, Kind::Device { .. })).count();
    let keys = settings::keys(raw, agents, surroundings, report);
    let topics = settings::topics(raw, report);
    if !report.is_clean() {
        // What follows weighs the rights of whole machines, and would only tell the problems above a second time.
        return None;
    }
    rights::unheard(&built.machines, &built.publish_spans, report);
    let tests = raw.tests.iter().filter_map(|test| rights::test(test, &built.machines, report)).collect();
    Some(Topology {
        network: network?,
        heartbeat,
        failover,
        keys,
        machines: built.machines,
        ranking: built.ranking,
        topics,
        tests,
    })
}

/// Tell what is wrong with the file of a secret, with the command that mends it.
fn secret(file: SecretFile<'_>, span: Span, surroundings: &mut dyn Surroundings, report: &mut Report) {
    match surroundings.secret(file) {
        SecretFact::Fine | SecretFact::NotLooked => {}
        SecretFact::Missing { path } => {
            let help = match file {
                SecretFile::Key(name) => format!(
                    "copy it from another machine of the network; the first of all comes from `hobnail key new {name}`"
                ),
                SecretFile::Password(_) => format!("write it with `hobnail passwd {path}`"),
                SecretFile::CertificateKey(_) => "put the certificate's private key there, mode 0600".to_owned(),
            };
            report.add_with_help(Code::KeyFileMissing, span, format!("{path} is not there"), help);
        }
        SecretFact::Open { path, mode } => {
            let message = format!("others can read {path} (mode {mode:04o})");
            report.add_with_help(Code::KeyFileOpen, span, message, format!("chmod 600 {path}"));
        }
        SecretFact::Bad { path, problem } => {
            let help =
                "copy it once more from another machine of the network; `hobnail key show` gives the same id on both";
            report.add_with_help(Code::KeyFileBad, span, format!("{path} holds no key: {problem}"), help);
        }
    }
}
