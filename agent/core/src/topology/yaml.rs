//! YAML as a tree that knows where everything stands. The only module that knows which parser reads it.
//!
//! Never recurses on the input, never expands an alias, and stops at stated limits, so that no file can cost more than
//! its own length.

use std::collections::BTreeSet;

use granit_parser::{Event, Parser, ScalarStyle, ScanError};

use super::report::{Code, FileId, Report, Span};

/// Deepest nesting.
pub const DEPTH_MAX: usize = 24;
/// Most nodes in one file.
pub const NODES_MAX: usize = 100_000;

#[derive(Clone, Debug)]
pub struct Node {
    pub span: Span,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Scalar { text: String, plain: bool },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub struct Key {
    pub text: String,
    pub span: Span,
}

/// A collection that is still open.
enum Open {
    List { span: Span, items: Vec<Node> },
    Map { span: Span, entries: Vec<(Key, Node)>, seen: BTreeSet<String>, key: Option<Key> },
}

/// The tree of one file; `None` where its syntax is broken, which the report then says.
pub fn parse(file: FileId, text: &str, report: &mut Report) -> Option<Node> {
    if let Some(span) = indented_with_tab(file, text) {
        report.add_with_help(
            Code::TabIndentation,
            span,
            "a tab indents this line; YAML indents with spaces only",
            "replace the tab by two spaces",
        );
        return None;
    }
    let mut builder = Builder { report, open: Vec::new(), root: None, nodes: 0 };
    for step in Parser::new_from_str(text) {
        match step {
            Ok((event, span)) => {
                let at = range(file, text, &span);
                if builder.take(event, at).is_err() {
                    return None;
                }
            }
            Err(error) => {
                syntax_error(file, text, &error, builder.report);
                return None;
            }
        }
    }
    let root = builder.root;
    match root {
        Some(Node { value: Value::Map(_) | Value::List(_) | Value::Scalar { .. }, .. }) => root,
        Some(Node { value: Value::Null, .. }) | None => {
            let span = Span { file, start: 0, end: 0 };
            report.add_with_help(Code::Empty, span, "the file says nothing", "`hobnail init` writes a first topology");
            None
        }
    }
}

/// The tree was given up; the report says why.
struct Refused;

struct Builder<'r> {
    report: &'r mut Report,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Refused> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                self.refuse_anchor(anchor, span)?;
                let plain = style == ScalarStyle::Plain;
                self.scalar(text.into_owned(), plain, span)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.refuse_anchor(anchor, span)?;
                self.push(Open::List { span, items: Vec::new() })
            }
            Event::MappingStart(_, anchor, _) => {
                self.refuse_anchor(anchor, span)?;
                self.push(Open::Map { span, entries: Vec::new(), seen: BTreeSet::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(_) | Event::UnresolvedAlias(_) => self.refuse_anchor(1, span),
            Event::DocumentStart(..) if self.root.is_some() => {
                self.report.add(Code::YamlSyntax, span, "a second document begins here; a topology is one document");
                Err(Refused)
            }
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::Anchor(..)
            | Event::Comment(..)
            | _ => Ok(()),
        }
    }

    fn refuse_anchor(&mut self, anchor: usize, span: Span) -> Result<(), Refused> {
        if anchor == 0 {
            return Ok(());
        }
        let help = "write the value out, or give machines a common `role`";
        self.report.add_with_help(Code::AliasRefused, span, "YAML anchors and aliases are not used here", help);
        Err(Refused)
    }

    fn push(&mut self, open: Open) -> Result<(), Refused> {
        let (Open::List { span, .. } | Open::Map { span, .. }) = &open;
        if self.open.len() >= DEPTH_MAX {
            self.report.add(Code::TooDeep, *span, format!("nested deeper than {DEPTH_MAX} levels"));
            return Err(Refused);
        }
        self.open.push(open);
        Ok(())
    }

    fn scalar(&mut self, text: String, plain: bool, span: Span) -> Result<(), Refused> {
        if let Some(Open::Map { seen, key: key @ None, .. }) = self.open.last_mut() {
            if !seen.insert(text.clone()) {
                let help = "keep one of the two; YAML would silently forget the first";
                self.report.add_with_help(Code::DuplicateKey, span, format!("`{text}` stands here twice"), help);
            }
            *key = Some(Key { text, span });
            return Ok(());
        }
        let null = plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
        let value = if null { Value::Null } else { Value::Scalar { text, plain } };
        self.finish(Node { span, value })
    }

    fn close(&mut self, end: Span) -> Result<(), Refused> {
        let node = match self.open.pop() {
            Some(Open::List { span, items }) => Node { span: to(span, end), value: Value::List(items) },
            Some(Open::Map { span, entries, .. }) => Node { span: to(span, end), value: Value::Map(entries) },
            None => return Ok(()),
        };
        self.finish(node)
    }

    /// Put a finished node where it belongs.
    fn finish(&mut self, node: Node) -> Result<(), Refused> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            self.report.add(Code::TooLarge, node.span, format!("more than {NODES_MAX} values in one file"));
            return Err(Refused);
        }
        match self.open.last_mut() {
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    self.report.add(Code::YamlSyntax, node.span, "a list or map cannot be a key here");
                    return Err(Refused);
                }
            },
            None => self.root = Some(node),
        }
        Ok(())
    }
}

fn to(start: Span, end: Span) -> Span {
    Span { end: start.end.max(end.start), ..start }
}

fn range(file: FileId, text: &str, span: &granit_parser::Span) -> Span {
    let (start, end) = span.byte_range().map_or((text.len(), text.len()), |range| (range.start, range.end));
    Span { file, start: offset(start), end: offset(end) }
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn syntax_error(file: FileId, text: &str, error: &ScanError, report: &mut Report) {
    let at = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
    let span = Span { file, start: offset(at), end: offset(at + 1) };
    let rest = text.get(at..).unwrap_or("");
    if let Some(span) = bare_hash(file, text) {
        let help = "an unquoted `#` begins a comment; write it in quotes, as \"#\" or \"line/#\"";
        report.add_with_help(Code::UnquotedHash, span, "a comment cuts this list short", help);
    } else if rest.trim().is_empty() || error.info().starts_with("unclosed") {
        let last = text.trim_end();
        let start = offset(last.char_indices().next_back().map_or(0, |(at, _)| at));
        let span = Span { file, start, end: offset(last.len()) };
        let help = "a bracket, brace or quote is still open; was the file written to the end?";
        report.add_with_help(Code::Truncated, span, "the file ends in the middle of a value", help);
    } else {
        report.add(Code::YamlSyntax, span, format!("this is not YAML: {}", error.info()));
    }
}

/// The first line whose indentation holds a tab, outside of lines that say nothing.
fn indented_with_tab(file: FileId, text: &str) -> Option<Span> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let body = line.trim_start_matches([' ', '\t']);
        let indent = line.len() - body.len();
        let says_something = !body.trim().is_empty() && !body.starts_with('#');
        if let Some(tab) = line.get(..indent).and_then(|lead| lead.find('\t')).filter(|_| says_something) {
            return Some(Span { file, start: offset(start + tab), end: offset(start + tab + 1) });
        }
        start += line.len();
    }
    None
}

/// A `#` where an item of a list on one line should be: `[a, #]`.
fn bare_hash(file: FileId, text: &str) -> Option<Span> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let cut = line.match_indices('#').find(|(at, _)| {
            let before = line.get(..*at).unwrap_or("");
            let open = before.matches('[').count() > before.matches(']').count();
            open && before.trim_end().ends_with(['[', ',']) && before.matches('"').count() % 2 == 0
        });
        if let Some((at, _)) = cut {
            return Some(Span { file, start: offset(start + at), end: offset(start + at + 1) });
        }
        start += line.len();
    }
    None
}
