//! A value of a topology without its place, and how it is written on one line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::super::report::{FileId, Report};
use super::super::yaml::{self, Node, Value};

/// Nothing at all and a map without keys mean the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Literal {
    Text(String),
    List(Vec<Literal>),
    Map(Vec<(String, Literal)>),
}

/// The marks around a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotes {
    /// Where it needs them.
    Needed,
    Double,
    Single,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a value of a topology")]
pub struct LiteralError;

impl Literal {
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    /// What somebody typed: YAML where it is some, and else the text as it is.
    #[must_use]
    pub fn typed(text: &str) -> Self {
        text.parse().unwrap_or_else(|_| Self::text(text))
    }

    /// The tree's depth is bounded by the parser, so this recursion is too.
    pub(super) fn of(node: &Node) -> Self {
        match &node.value {
            Value::Null => Self::Map(Vec::new()),
            Value::Scalar { text, .. } => Self::Text(text.clone()),
            Value::List(items) => Self::List(items.iter().map(Self::of).collect()),
            Value::Map(entries) => {
                Self::Map(entries.iter().map(|(key, value)| (key.text.clone(), Self::of(value))).collect())
            }
        }
    }

    /// On one line; `quotes` are those of texts, be they this one or the items of this list.
    pub(super) fn write(&self, quotes: Quotes, out: &mut String) {
        match self {
            Self::Text(text) => write_text(text, quotes, out),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    item.write(quotes, out);
                }
                out.push(']');
            }
            Self::Map(entries) if entries.is_empty() => out.push_str("{}"),
            Self::Map(entries) => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    out.push_str(if index == 0 { "{ " } else { ", " });
                    write_text(key, Quotes::Needed, out);
                    out.push_str(": ");
                    value.write(Quotes::Needed, out);
                }
                out.push_str(" }");
            }
        }
    }
}

impl FromStr for Literal {
    type Err = LiteralError;

    fn from_str(text: &str) -> Result<Self, LiteralError> {
        let mut report = Report::default();
        let node = yaml::parse(FileId(0), text, &mut report).filter(|_| report.is_clean());
        node.map(|node| Self::of(&node)).ok_or(LiteralError)
    }
}

impl TryFrom<String> for Literal {
    type Error = LiteralError;

    fn try_from(text: String) -> Result<Self, LiteralError> {
        text.parse()
    }
}

impl From<Literal> for String {
    fn from(literal: Literal) -> Self {
        literal.to_string()
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(Quotes::Needed, &mut out);
        f.write_str(&out)
    }
}

pub(super) fn write_text(text: &str, quotes: Quotes, out: &mut String) {
    let single = quotes == Quotes::Single && !text.chars().any(char::is_control);
    if single {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    } else if quotes == Quotes::Needed && is_plain(text) {
        out.push_str(text);
    } else {
        write_escaped(text, out);
    }
}

/// Whether it reads the same without quotes, wherever it stands.
fn is_plain(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '+' | '-' | '%');
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '+'));
    starts_well && text.chars().all(is_word) && !matches!(text, "null" | "Null" | "NULL")
}

fn write_escaped(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            other if other.is_control() || matches!(other, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04X}", u32::from(other)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
