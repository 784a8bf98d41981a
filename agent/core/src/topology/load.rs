//! Reads a topology and everything it includes, through the surroundings that the shell lends.

use serde::Deserialize;
use serde_json::Value as Json;

use super::check;
use super::de::NodeDecoder;
use super::model::Topology;
use super::raw::{Named, RawTopology, Text};
use super::report::{Code, FileId, Report, SourceFile, Span};
use super::structure::{self, Part};
use super::yaml;

/// Largest file read.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Most files of one topology.
pub const FILES_MAX: usize = 64;

/// What a check may ask of the world around it.
pub trait Surroundings {
    /// The bytes of a file, cut off after `FILE_BYTES_MAX + 1`.
    fn read(&mut self, path: &str) -> Result<Vec<u8>, String>;
    /// How the file of a secret stands.
    fn secret(&mut self, file: SecretFile<'_>) -> SecretFact;
    /// Which machine this is: it needs the network's secrets and its own. `None`: those of all are looked at.
    fn me(&self) -> Option<&str> {
        None
    }
}

/// A file that holds a secret, as the topology names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretFile<'a> {
    /// `k2.key` in the key directory.
    Key(&'a str),
    /// A device's password, beside the keys unless its path is absolute.
    Password(&'a str),
    /// The private key of a certificate.
    CertificateKey(&'a str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretFact {
    Fine,
    Missing {
        path: String,
    },
    /// Others than its owner can read it.
    Open {
        path: String,
        mode: u32,
    },
    /// There, and private, but not what it should be.
    Bad {
        path: String,
        problem: String,
    },
    /// This machine is not where the secrets live: a laptop, a build server.
    NotLooked,
}

/// The outcome of a check.
#[derive(Debug)]
pub struct Loaded {
    /// `None` where the report has problems.
    pub topology: Option<Topology>,
    pub report: Report,
}

/// Read and check the topology at `path`, whole.
pub fn load(path: &str, surroundings: &mut dyn Surroundings) -> Loaded {
    let mut reader = Reader { schema: schema(), report: Report::default(), open: Vec::new() };
    let raw = reader.file(path, None, Part::Whole, surroundings);
    let mut report = reader.report;
    let topology = raw.and_then(|raw| check::check(&raw, surroundings, &mut report));
    let topology = topology.filter(|_| report.is_clean());
    Loaded { topology, report }
}

/// The JSON Schema of a topology file.
#[must_use]
pub fn schema() -> Json {
    let mut schema = schemars::schema_for!(RawTopology).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".into(), "hobnail topology".into());
    }
    schema
}

struct Reader {
    schema: Json,
    report: Report,
    /// The files that are being read, from the root down.
    open: Vec<String>,
}

impl Reader {
    fn file(
        &mut self,
        path: &str,
        named_at: Option<Span>,
        part: Part,
        surroundings: &mut dyn Surroundings,
    ) -> Option<RawTopology> {
        let text = self.text(path, named_at, surroundings)?;
        let file = FileId(u16::try_from(self.report.files.len()).ok()?);
        self.report.files.push(SourceFile { name: path.to_owned(), text: text.clone() });
        let mut node = yaml::parse(file, &text, &mut self.report)?;
        if !structure::check(&mut node, part, &self.schema, &mut self.report) {
            return None;
        }
        let mut raw = match RawTopology::deserialize(NodeDecoder(&node)) {
            Ok(raw) => raw,
            Err(error) => {
                self.report.add(Code::WrongType, node.span, error.to_string());
                return None;
            }
        };
        self.open.push(path.to_owned());
        let mut whole = true;
        for include in std::mem::take(&mut raw.include) {
            match self.include(path, &include, surroundings) {
                Some(part) => merge(&mut raw, part, &mut self.report),
                None => whole = false,
            }
        }
        self.open.pop();
        whole.then_some(raw)
    }

    fn include(&mut self, from: &str, include: &Text, surroundings: &mut dyn Surroundings) -> Option<RawTopology> {
        let path = beside(from, &include.value);
        if self.open.contains(&path) {
            let message = format!("`{}` includes itself, by way of {}", include.value, self.open.join(", "));
            self.report.add(Code::IncludeCycle, include.span, message);
            return None;
        }
        if self.report.files.len() >= FILES_MAX {
            self.report.add(Code::TooLarge, include.span, format!("more than {FILES_MAX} files in one topology"));
            return None;
        }
        self.file(&path, Some(include.span), Part::Included, surroundings)
    }

    /// The file's text, if it is one; what is wrong with it is told at the place that named it.
    fn text(&mut self, path: &str, named_at: Option<Span>, surroundings: &mut dyn Surroundings) -> Option<String> {
        let (code, message, shown, at) = match surroundings.read(path) {
            Err(error) => (Code::Unreadable, format!("cannot read {path}: {error}"), String::new(), 0),
            Ok(bytes) if bytes.len() > FILE_BYTES_MAX => {
                let message = format!("{path} is larger than {FILE_BYTES_MAX} bytes; is it a topology?");
                (Code::TooLarge, message, String::new(), 0)
            }
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => return Some(text),
                Err(error) => {
                    let at = u32::try_from(error.utf8_error().valid_up_to()).unwrap_or(0);
                    let shown = String::from_utf8_lossy(error.as_bytes()).into_owned();
                    (Code::NotUtf8, format!("{path} is not UTF-8 text"), shown, at)
                }
            },
        };
        let span = named_at.unwrap_or_else(|| {
            self.report.files.push(SourceFile { name: path.to_owned(), text: shown });
            Span { file: FileId(0), start: at, end: at }
        });
        self.report.add(code, span, message);
        None
    }
}

/// `include`, seen from the folder of `from`.
fn beside(from: &str, include: &str) -> String {
    match from.rsplit_once('/') {
        Some((folder, _)) if !include.starts_with('/') => format!("{folder}/{include}"),
        _ => include.to_owned(),
    }
}

/// Lay an included part under the whole. A setting may stand in one file only.
fn merge(whole: &mut RawTopology, part: RawTopology, report: &mut Report) {
    one(&mut whole.version, part.version, "version", |text| text.span, report);
    one(&mut whole.network, part.network, "network", |text| text.span, report);
    one(&mut whole.heartbeat, part.heartbeat, "heartbeat", |block| block.span, report);
    one(&mut whole.failover, part.failover, "failover", |block| block.span, report);
    one(&mut whole.keys, part.keys, "keys", |block| block.span, report);
    one(&mut whole.store, part.store, "store", |block| block.span, report);
    one(&mut whole.doors, part.doors, "doors", |block| block.span, report);
    one(&mut whole.limits, part.limits, "limits", |block| block.span, report);
    one(&mut whole.rights, part.rights, "rights", |block| block.span, report);
    append(&mut whole.brokers, part.brokers);
    append(&mut whole.roles, part.roles);
    append(&mut whole.clients, part.clients);
    whole.topics.extend(part.topics);
    whole.tests.extend(part.tests);
}

fn one<T>(whole: &mut Option<T>, part: Option<T>, key: &str, span: impl Fn(&T) -> Span, report: &mut Report) {
    match (&whole, part) {
        (_, None) => {}
        (None, Some(part)) => *whole = Some(part),
        (Some(_), Some(part)) => {
            let message = format!("`{key}` is set in two files; keep it in one");
            report.add(Code::DuplicateSetting, span(&part), message);
        }
    }
}

fn append<T>(whole: &mut Named<T>, part: Named<T>) {
    whole.0.extend(part.0);
}
