//! One change at a known place, made in the text and made in the tree.

use std::ops::Range;

use super::super::yaml::{Key, Node, Value};
use super::literal::{Literal, Quotes, write_text};
use super::{len, node_at};

/// Places are indices from the root down.
#[derive(Clone, Debug)]
pub enum Cut {
    Replace {
        at: Vec<usize>,
        to: Literal,
    },
    /// Behind the last entry; with a key into a map, without one into a list.
    Insert {
        into: Vec<usize>,
        key: Option<String>,
        value: Literal,
    },
    Delete {
        at: Vec<usize>,
    },
    /// One entry of a map to another place in it.
    Move {
        of: Vec<usize>,
        from: usize,
        to: usize,
    },
}

impl Cut {
    /// `None`: no such place.
    pub fn in_tree(&self, tree: &mut Literal) -> Option<()> {
        match self {
            Self::Replace { at, to } => *within(tree, at)? = to.clone(),
            Self::Insert { into, key, value } => match (within(tree, into)?, key) {
                (Literal::Map(entries), Some(key)) => entries.push((key.clone(), value.clone())),
                (Literal::List(items), None) => items.push(value.clone()),
                (Literal::Text(_) | Literal::List(_) | Literal::Map(_), _) => return None,
            },
            Self::Delete { at } => {
                let (last, holder) = at.split_last()?;
                match within(tree, holder)? {
                    Literal::Map(entries) if *last < entries.len() => drop(entries.remove(*last)),
                    Literal::List(items) if *last < items.len() => drop(items.remove(*last)),
                    Literal::Text(_) | Literal::List(_) | Literal::Map(_) => return None,
                }
            }
            Self::Move { of, from, to } => {
                let Literal::Map(entries) = within(tree, of)? else { return None };
                if *from >= entries.len() || *to >= entries.len() {
                    return None;
                }
                let entry = entries.remove(*from);
                entries.insert(*to, entry);
            }
        }
        Some(())
    }

    /// `None`: no such place, or none that can be told from the text.
    pub fn in_text(&self, text: &str, tree: &Node) -> Option<String> {
        match self {
            Self::Replace { at, to } => replace(text, tree, at, to),
            Self::Insert { into, key, value } => insert(text, tree, into, key.as_deref(), value),
            Self::Delete { at } => delete(text, tree, at),
            Self::Move { of, from, to } => shift(text, node_at(tree, of)?, *from, *to),
        }
    }
}

fn within<'l>(tree: &'l mut Literal, at: &[usize]) -> Option<&'l mut Literal> {
    at.iter().try_fold(tree, |node, at| match node {
        Literal::Map(entries) => entries.get_mut(*at).map(|(_, value)| value),
        Literal::List(items) => items.get_mut(*at),
        Literal::Text(_) => None,
    })
}

fn replace(text: &str, tree: &Node, at: &[usize], to: &Literal) -> Option<String> {
    let node = node_at(tree, at)?;
    let key = key_at(tree, at);
    let mut new = String::new();
    to.write(quotes_of(text, node), &mut new);
    let start = offset(node.span.start);
    let (range, lead) = match (&node.value, key) {
        (Value::Null, Some(key)) if node.span.start == node.span.end => {
            let end = behind_colon(text, key)?;
            (end..end, " ")
        }
        // What stood in lines of its own moves behind its key, unless a comment stands between the two.
        (Value::List(_) | Value::Map(_), Some(key)) if !is_flow(text, node) => {
            let colon = behind_colon(text, key)?;
            let bare = text.get(colon..start)?.trim().is_empty();
            if bare { (colon..end_of(text, node), " ") } else { (start..end_of(text, node), "") }
        }
        (Value::Null | Value::Scalar { .. } | Value::List(_) | Value::Map(_), _) => (start..end_of(text, node), ""),
    };
    put(text, range, &format!("{lead}{new}"))
}

fn insert(text: &str, tree: &Node, into: &[usize], key: Option<&str>, value: &Literal) -> Option<String> {
    let node = node_at(tree, into)?;
    if len(node) == 0 && !is_flow(text, node) {
        let whole = match key {
            Some(key) => Literal::Map(vec![(key.to_owned(), value.clone())]),
            None => Literal::List(vec![value.clone()]),
        };
        return replace(text, tree, into, &whole);
    }
    let slots = slots(text, node);
    let entry = |indent: &str| entry_text(key, value, into.is_empty() && !is_flow(text, node), eol(text), indent);
    let Some(last) = slots.last() else {
        let open = offset(node.span.start) + 1;
        let rest = text.get(open..end_of(text, node))?;
        let pad = if key.is_some() { " " } else { "" };
        return match rest.trim_start().starts_with([']', '}']) {
            true => put(text, open..open + rest.len() - rest.trim_start().len(), &format!("{pad}{}{pad}", entry(""))),
            false => put(text, open..open, &format!("{pad}{}", entry(""))),
        };
    };
    let (line, lead) = line_before(text, last.start)?;
    let indent = " ".repeat(last.start - line);
    if !is_flow(text, node) {
        let end = line_end(text, last.end);
        let dash = if key.is_some() { "" } else { "- " };
        return put(text, end..end, &format!("{}{indent}{dash}{}", eol(text), entry(&indent)));
    }
    let own_line = lead.trim().is_empty() && slots.len() > 1;
    let gap = if own_line { format!(",{}{indent}", eol(text)) } else { ", ".to_owned() };
    put(text, last.end..last.end, &format!("{gap}{}", entry("")))
}

/// A new section at the root gets a line for each of its entries, everything else one line.
fn entry_text(key: Option<&str>, value: &Literal, at_root: bool, eol: &str, indent: &str) -> String {
    let mut out = String::new();
    if let Some(key) = key {
        write_text(key, Quotes::Needed, &mut out);
        out.push(':');
        if at_root
            && let Literal::Map(entries) = value
            && entries.iter().all(|(_, value)| matches!(value, Literal::Map(_)))
        {
            for (key, value) in entries {
                out.push_str(&format!("{eol}{indent}  "));
                write_text(key, Quotes::Needed, &mut out);
                out.push_str(&format!(": {value}"));
            }
            return out;
        }
        out.push(' ');
    }
    out + &value.to_string()
}

fn delete(text: &str, tree: &Node, at: &[usize]) -> Option<String> {
    let (&index, holder) = at.split_last()?;
    let node = node_at(tree, holder)?;
    let slots = slots(text, node);
    let slot = slots.get(index)?;
    let next = slots.get(index + 1);
    if is_flow(text, node) {
        return delete_in_flow(text, node, &slots, index);
    }
    if slots.len() == 1 && matches!(node.value, Value::List(_)) {
        return replace(text, tree, holder, &Literal::List(Vec::new()));
    }
    let (line, lead) = line_before(text, slot.start)?;
    if !lead.trim().is_empty() {
        // It stands behind the dash of a list.
        return put(text, slot.start..next.map_or(slot.end, |next| next.start), "");
    }
    let end = line_end(text, slot.end);
    match text.get(end..)?.find('\n') {
        Some(newline) => put(text, line..end + newline + 1, ""),
        None => put(text, text.get(..line)?.trim_end_matches(['\n', '\r']).len()..end, ""),
    }
}

fn delete_in_flow(text: &str, node: &Node, slots: &[Range<usize>], index: usize) -> Option<String> {
    let slot = slots.get(index)?;
    let before = index.checked_sub(1).and_then(|before| slots.get(before));
    let neighbour = before.map(|before| before.end..slot.start).or_else(|| Some(slot.end..slots.get(index + 1)?.start));
    let Some(gap) = neighbour else {
        let inside = offset(node.span.start) + 1..end_of(text, node).checked_sub(1)?;
        let commented = text.get(inside.clone())?.replace(text.get(slot.clone())?, "").contains('#');
        return put(text, if commented { slot.clone() } else { inside }, "");
    };
    if !text.get(gap.clone())?.contains('#') {
        return put(text, gap.start.min(slot.start)..gap.end.max(slot.end), "");
    }
    // Comments beside it stay: only it and the comma go.
    let comma = gap.start + comma_in(text.get(gap.clone())?)?;
    let (first, second) =
        if comma < slot.start { (comma..comma + 1, slot.clone()) } else { (slot.clone(), comma..comma + 1) };
    put(&put(text, second, "")?, first, "")
}

/// The entries change places, each with the comment lines right above it; what stands between them stays.
fn shift(text: &str, node: &Node, from: usize, to: usize) -> Option<String> {
    let mut slots = slots(text, node);
    if !is_flow(text, node) {
        for slot in &mut slots {
            *slot = with_comments(text, slot)?;
        }
    }
    let mut order: Vec<usize> = (0..slots.len()).collect();
    if from >= order.len() || to >= order.len() {
        return None;
    }
    let moved = order.remove(from);
    order.insert(to, moved);
    let mut out = text.get(..slots.first()?.start)?.to_owned();
    for (place, entry) in order.into_iter().enumerate() {
        out.push_str(text.get(slots.get(entry)?.clone())?);
        let gap = slots.get(place)?.end..slots.get(place + 1).map_or(text.len(), |next| next.start);
        out.push_str(text.get(gap)?);
    }
    Some(out)
}

/// From the first of the comment lines right above an entry to the end of its last line.
fn with_comments(text: &str, slot: &Range<usize>) -> Option<Range<usize>> {
    let (mut start, _) = line_before(text, slot.start)?;
    while let Some(above) = start.checked_sub(1) {
        let (line, _) = line_before(text, above)?;
        if !text.get(line..above)?.trim_start().starts_with('#') {
            break;
        }
        start = line;
    }
    Some(start..line_end(text, slot.end))
}

/// Where each entry of a list or map stands, key and value, dash and item.
fn slots(text: &str, node: &Node) -> Vec<Range<usize>> {
    match &node.value {
        Value::Map(entries) => {
            let end = |key: &Key, value: &Node| match value.value {
                Value::Null if value.span.start == value.span.end => {
                    behind_colon(text, key).unwrap_or(offset(key.span.end))
                }
                Value::Null | Value::Scalar { .. } | Value::List(_) | Value::Map(_) => end_of(text, value),
            };
            entries.iter().map(|(key, value)| offset(key.span.start)..end(key, value)).collect()
        }
        Value::List(items) => {
            let flow = is_flow(text, node);
            let dash = |start: usize| text.get(..start).and_then(|before| before.rfind('-')).unwrap_or(start);
            let start = |item: &Node| if flow { offset(item.span.start) } else { dash(offset(item.span.start)) };
            items.iter().map(|item| start(item)..end_of(text, item)).collect()
        }
        Value::Null | Value::Scalar { .. } => Vec::new(),
    }
}

/// Whether a list or map is written in brackets. They come before its first entry; what begins together with that may
/// have brackets in it, but not around it.
fn is_flow(text: &str, node: &Node) -> bool {
    let first = match &node.value {
        Value::List(items) => items.first().map(|item| item.span.start),
        Value::Map(entries) => entries.first().map(|(key, _)| key.span.start),
        Value::Null | Value::Scalar { .. } => return false,
    };
    let bracket = text.get(offset(node.span.start)..).is_some_and(|rest| rest.starts_with(['[', '{']));
    bracket && first != Some(node.span.start)
}

/// Where a value ends, blanks and comments behind it aside. The tree's depth is bounded by the parser.
fn end_of(text: &str, node: &Node) -> usize {
    let (start, end) = (offset(node.span.start), offset(node.span.end));
    if is_flow(text, node) {
        // The span of a collection ends where its last bracket begins.
        return end + 1;
    }
    let last = slots(text, node).pop();
    last.map_or_else(|| text.get(start..end).map_or(end, |own| start + own.trim_end().len()), |last| last.end)
}

fn key_at<'n>(tree: &'n Node, at: &[usize]) -> Option<&'n Key> {
    let (last, holder) = at.split_last()?;
    match &node_at(tree, holder)?.value {
        Value::Map(entries) => entries.get(*last).map(|(key, _)| key),
        Value::Null | Value::Scalar { .. } | Value::List(_) => None,
    }
}

/// Right behind the colon of a key, or behind the key where it has none.
fn behind_colon(text: &str, key: &Key) -> Option<usize> {
    let end = offset(key.span.end);
    let rest = text.get(end..)?;
    let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    Some(if rest.get(blanks..)?.starts_with(':') { end + blanks + 1 } else { end })
}

/// The quotes that a text has, or that every item of a list has.
fn quotes_of(text: &str, node: &Node) -> Quotes {
    let of = |node: &Node| match text.get(offset(node.span.start)..).and_then(|rest| rest.chars().next()) {
        Some('"') => Quotes::Double,
        Some('\'') => Quotes::Single,
        Some(_) | None => Quotes::Needed,
    };
    match &node.value {
        Value::Scalar { .. } => of(node),
        Value::List(items) => match items.first().map(of) {
            Some(first) if items.iter().all(|item| of(item) == first) => first,
            Some(_) | None => Quotes::Needed,
        },
        Value::Null | Value::Map(_) => Quotes::Needed,
    }
}

/// Where the line of `at` begins, and what stands on it before.
fn line_before(text: &str, at: usize) -> Option<(usize, &str)> {
    let before = text.get(..at)?;
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    Some((line, text.get(line..at)?))
}

/// Where the line of `at` ends, its line break aside.
fn line_end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or("");
    let line = rest.split('\n').next().unwrap_or("");
    at + line.strip_suffix('\r').unwrap_or(line).len()
}

fn eol(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// The comma between two entries, comments aside.
fn comma_in(gap: &str) -> Option<usize> {
    let mut at = 0;
    for line in gap.split_inclusive('\n') {
        let code = line.split('#').next().unwrap_or("");
        if let Some(comma) = code.find(',') {
            return Some(at + comma);
        }
        at += line.len();
    }
    None
}

fn put(text: &str, range: Range<usize>, new: &str) -> Option<String> {
    Some([text.get(..range.start)?, new, text.get(range.end..)?].concat())
}

fn offset(at: u32) -> usize {
    at as usize
}
