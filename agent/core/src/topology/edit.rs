//! Changes a topology in its own text: what is not concerned stays byte for byte, comments and order included.
//!
//! The tree of the text says where everything stands, so an edit is a cut of a few bytes. The same edit is made in the
//! tree, without its places, and the new text has to parse to exactly that: where a file is written in a way that the
//! cut does not know, it is refused, never bent.

mod cut;
mod literal;
mod path;

pub use literal::Literal;
pub use path::{Path, PathError};

use std::fmt;

use serde::{Deserialize, Serialize};

use self::cut::Cut;
use super::check::in_range;
use super::report::{FileId, Report, SourceFile, nearest};
use super::yaml::{self, Node, Value};

/// One change of a topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "edit", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Edit {
    /// Give a key this value, whether or not it had one. Machines and roles on the way have to be there.
    Set { at: Path, to: Literal },
    /// A machine or role that is not there yet, or one more item of a list.
    Add { at: Path, to: Literal },
    /// Take out a machine, a role, an item, or a key, which then has its default.
    Remove { at: Path },
    /// Put a broker in this place among the brokers, from 1.
    Rank { broker: String, to: usize },
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { at, to } => write!(f, "set {at} {to}"),
            Self::Add { at, to } => write!(f, "add {at} {to}"),
            Self::Remove { at } => write!(f, "remove {at}"),
            Self::Rank { broker, to } => write!(f, "rank {broker} {to}"),
        }
    }
}

/// Which of the files changed, and what it says now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    pub file: usize,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("{0} is not a topology that could be edited")]
    Unreadable(String),
    #[error("no {kind} is called `{name}`{}", hint(.near.as_deref()))]
    Unknown { kind: &'static str, name: String, near: Option<String> },
    #[error(
        "`{name}` is one of `{range}`, which share one entry: change all of them by that name, or split the range in {file}"
    )]
    InRange { name: String, range: String, file: String },
    #[error("a {kind} called `{name}` is there already")]
    Exists { kind: &'static str, name: String },
    #[error("there is no `{0}`")]
    Nothing(Path),
    #[error("`{0}` can only be added by its name: brokers.NAME, clients.NAME, roles.NAME, or an item of a list")]
    NotAddable(Path),
    #[error("`{0}` has no keys of its own")]
    NoKeys(Path),
    #[error("a place among the brokers of {file} is a number from {first} to {last}")]
    Place { file: String, first: usize, last: usize },
    #[error("{0} is written in a way that cannot be changed safely from here: edit the file")]
    Layout(String),
}

fn hint(near: Option<&str>) -> String {
    near.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default()
}

/// Make this change in the files of a topology, the named one first. What it means is for the caller to check.
pub fn edit(files: &[SourceFile], edit: &Edit) -> Result<Edited, EditError> {
    let trees: Vec<Node> = files.iter().map(tree).collect::<Result<_, _>>()?;
    let (file, cut) = match edit {
        Edit::Set { at, to } => set(files, &trees, at, to)?,
        Edit::Add { at, to } => add(files, &trees, at, to)?,
        Edit::Remove { at } => remove(files, &trees, at)?,
        Edit::Rank { broker, to } => rank(files, &trees, broker, *to)?,
    };
    let (Some(source), Some(before)) = (files.get(file), trees.get(file)) else {
        return Err(EditError::Unreadable(String::new()));
    };
    let layout = || EditError::Layout(source.name.clone());
    let text = cut.in_text(&source.text, before).ok_or_else(layout)?;
    let mut wanted = Literal::of(before);
    cut.in_tree(&mut wanted).ok_or_else(layout)?;
    let after = tree(&SourceFile { name: source.name.clone(), text: text.clone() }).map_err(|_| layout())?;
    if Literal::of(&after) == wanted { Ok(Edited { file, text }) } else { Err(layout()) }
}

fn tree(file: &SourceFile) -> Result<Node, EditError> {
    let mut report = Report::default();
    let tree = yaml::parse(FileId(0), &file.text, &mut report).filter(|_| report.is_clean());
    tree.ok_or_else(|| EditError::Unreadable(file.name.clone()))
}

fn set(files: &[SourceFile], trees: &[Node], at: &Path, to: &Literal) -> Result<(usize, Cut), EditError> {
    if let Some((kind, name)) = at.named() {
        known(files, trees, at, kind, name)?;
    }
    let (file, found) = deepest(trees, at);
    let missing = at.parts().get(found.len()..).unwrap_or_default();
    let Some((first, rest)) = missing.split_first() else {
        return Ok((file, Cut::Replace { at: found, to: to.clone() }));
    };
    let value = rest.iter().rev().fold(to.clone(), |value, key| Literal::Map(vec![(key.clone(), value)]));
    let holder = at.upto(found.len());
    match trees.get(file).and_then(|tree| node_at(tree, &found)).map(|node| &node.value) {
        Some(Value::Null | Value::Map(_)) => Ok((file, Cut::Insert { into: found, key: Some(first.clone()), value })),
        Some(Value::List(_)) => Err(EditError::Nothing(at.clone())),
        Some(Value::Scalar { .. }) | None => Err(EditError::NoKeys(holder)),
    }
}

fn add(files: &[SourceFile], trees: &[Node], at: &Path, to: &Literal) -> Result<(usize, Cut), EditError> {
    let (file, found) = deepest(trees, at);
    if let Some((kind, name)) = at.named().filter(|_| at.parts().len() == 2) {
        return match known(files, trees, at, kind, name) {
            Ok(()) => Err(EditError::Exists { kind, name: name.to_owned() }),
            Err(error @ EditError::InRange { .. }) => Err(error),
            Err(_) => set_anew(trees, at, to),
        };
    }
    let is_whole = found.len() == at.parts().len();
    let list = trees.get(file).and_then(|tree| node_at(tree, &found)).map(|node| &node.value);
    match list {
        Some(Value::List(_)) if is_whole => Ok((file, Cut::Insert { into: found, key: None, value: to.clone() })),
        _ if at.is_list() => set(files, trees, at, &Literal::List(vec![to.clone()])),
        Some(_) | None => Err(EditError::NotAddable(at.clone())),
    }
}

/// A name that nobody has, in the file that has others of its kind.
fn set_anew(trees: &[Node], at: &Path, to: &Literal) -> Result<(usize, Cut), EditError> {
    let (file, found) = deepest(trees, at);
    let [section, name] = at.parts() else { return Err(EditError::NotAddable(at.clone())) };
    let (key, value) = match found.is_empty() {
        true => (section, Literal::Map(vec![(name.clone(), to.clone())])),
        false => (name, to.clone()),
    };
    Ok((file, Cut::Insert { into: found, key: Some(key.clone()), value }))
}

fn remove(files: &[SourceFile], trees: &[Node], at: &Path) -> Result<(usize, Cut), EditError> {
    if let Some((kind, name)) = at.named() {
        known(files, trees, at, kind, name)?;
    }
    let (file, mut found) = deepest(trees, at);
    if found.len() < at.parts().len() || found.is_empty() {
        return Err(EditError::Nothing(at.clone()));
    }
    // A block of settings goes with its last key. A list of rights does not: none listed is not the same as no list.
    while let Some(holder) = found.split_last().map(|(_, holder)| holder).filter(|holder| !holder.is_empty())
        && at.upto(holder.len()).goes_when_empty()
        && trees.get(file).and_then(|tree| node_at(tree, holder)).is_some_and(|node| len(node) == 1)
    {
        found.pop();
    }
    Ok((file, Cut::Delete { at: found }))
}

fn rank(files: &[SourceFile], trees: &[Node], broker: &str, to: usize) -> Result<(usize, Cut), EditError> {
    let at = Path::new(["brokers", broker]);
    known(files, trees, &at, "broker", broker)?;
    let (file, found) = deepest(trees, &at);
    let (Some((&from, of)), Some(source)) = (found.split_last(), files.get(file)) else {
        return Err(EditError::Nothing(at));
    };
    // The brokers of included files rank behind those of the file that includes them.
    let brokers = |tree: &Node| child(tree, "brokers").and_then(|at| node_at(tree, &[at])).map_or(0, len);
    let before: usize = trees.iter().take(file).map(brokers).sum();
    let here = trees.get(file).map_or(0, brokers);
    match to.checked_sub(before + 1).filter(|to| *to < here) {
        Some(to) => Ok((file, Cut::Move { of: of.to_vec(), from, to })),
        None => Err(EditError::Place { file: source.name.clone(), first: before + 1, last: before + here }),
    }
}

/// That a machine or role is there, by exactly this name.
fn known(files: &[SourceFile], trees: &[Node], at: &Path, kind: &'static str, name: &str) -> Result<(), EditError> {
    let section = at.parts().first().map_or("", String::as_str);
    let mut names: Vec<&str> = Vec::new();
    for (file, tree) in files.iter().zip(trees) {
        let Some(Value::Map(entries)) =
            child(tree, section).and_then(|at| node_at(tree, &[at])).map(|node| &node.value)
        else {
            continue;
        };
        for (key, _) in entries {
            if key.text == name {
                return Ok(());
            }
            if kind == "client" && in_range(&key.text, name) {
                let (name, range) = (name.to_owned(), key.text.clone());
                return Err(EditError::InRange { name, range, file: file.name.clone() });
            }
            names.push(&key.text);
        }
    }
    let near = nearest(name, names).map(str::to_owned);
    Err(EditError::Unknown { kind, name: name.to_owned(), near })
}

/// The file that goes along most of a path, and how far: the place of each step among its siblings.
fn deepest(trees: &[Node], path: &Path) -> (usize, Vec<usize>) {
    let mut best = (0, Vec::new());
    for (file, tree) in trees.iter().enumerate() {
        let (mut found, mut node) = (Vec::new(), tree);
        for part in path.parts() {
            let Some((at, next)) = child(node, part).and_then(|at| Some((at, node_at(node, &[at])?))) else { break };
            found.push(at);
            node = next;
        }
        if found.len() > best.1.len() {
            best = (file, found);
        }
    }
    best
}

/// The key of a map by its name; the item of a list by what it matches, or by its number from 1.
fn child(node: &Node, part: &str) -> Option<usize> {
    let matches = |item: &Node| match &item.value {
        Value::Map(entries) => entries.iter().any(|(key, value)| {
            key.text == "match" && matches!(&value.value, Value::Scalar { text, .. } if text == part)
        }),
        Value::Null | Value::Scalar { .. } | Value::List(_) => false,
    };
    match &node.value {
        Value::Map(entries) => entries.iter().position(|(key, _)| key.text == part),
        Value::List(items) => items.iter().position(matches).or_else(|| {
            part.parse::<usize>().ok().and_then(|number| number.checked_sub(1)).filter(|at| *at < items.len())
        }),
        Value::Null | Value::Scalar { .. } => None,
    }
}

fn node_at<'n>(node: &'n Node, at: &[usize]) -> Option<&'n Node> {
    at.iter().try_fold(node, |node, at| match &node.value {
        Value::Map(entries) => entries.get(*at).map(|(_, value)| value),
        Value::List(items) => items.get(*at),
        Value::Null | Value::Scalar { .. } => None,
    })
}

fn len(node: &Node) -> usize {
    match &node.value {
        Value::Map(entries) => entries.len(),
        Value::List(items) => items.len(),
        Value::Null | Value::Scalar { .. } => 0,
    }
}

#[cfg(test)]
mod tests;
