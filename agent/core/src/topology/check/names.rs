//! Names of machines, with ranges spread out: `press-[01..20]` is twenty machines.

use crate::ids::Name;
use crate::topology::raw::Text;
use crate::topology::report::{Code, Report};

use super::units;

/// Most machines in one network.
pub const MACHINES_MAX: usize = 1_000;

/// The names that one key stands for; empty where the report says why.
pub fn spread(key: &Text, report: &mut Report) -> Vec<Name> {
    let written = key.value.as_str();
    if !written.contains(['[', ']']) {
        return units::name(key, report).into_iter().collect();
    }
    let Some((lead, from, to, tail)) = parts(written) else {
        let message = format!("`{written}` is not a range");
        report.add_with_help(Code::BadRange, key.span, message, "write it as \"press-[01..20]\"");
        return Vec::new();
    };
    let width = from.len();
    let (Ok(first), Ok(last)) = (from.parse::<u32>(), to.parse::<u32>()) else {
        report.add(Code::BadRange, key.span, format!("`{from}` and `{to}` are not both numbers of a range"));
        return Vec::new();
    };
    if first > last || to.len() != width {
        let message = format!("`{from}..{to}` is not a range upwards with equally long numbers");
        let help =
            format!("write [{:0width$}..{:0width$}]", first.min(last), first.max(last), width = width.max(to.len()));
        report.add_with_help(Code::BadRange, key.span, message, help);
        return Vec::new();
    }
    if last - first >= MACHINES_MAX as u32 {
        report.add(Code::OutOfRange, key.span, format!("a network has at most {MACHINES_MAX} machines"));
        return Vec::new();
    }
    let mut names = Vec::new();
    for number in first..=last {
        let one = Text { value: format!("{lead}{number:0width$}{tail}"), span: key.span };
        match units::name(&one, report) {
            Some(name) => names.push(name),
            None => return Vec::new(),
        }
    }
    names
}

/// Whether `name` is one of those that `range` stands for.
pub fn in_range(range: &str, name: &str) -> bool {
    let Some((lead, from, to, tail)) = parts(range) else { return false };
    let number = name.strip_prefix(lead).and_then(|rest| rest.strip_suffix(tail));
    let digits = number.filter(|number| number.len() == from.len() && number.chars().all(|c| c.is_ascii_digit()));
    digits.is_some_and(|number| from <= number && number <= to)
}

/// `lead[from..to]tail`.
fn parts(written: &str) -> Option<(&str, &str, &str, &str)> {
    let (lead, rest) = written.split_once('[')?;
    let (range, tail) = rest.split_once(']')?;
    let (from, to) = range.split_once("..")?;
    let digits = |text: &str| !text.is_empty() && text.len() <= 6 && text.chars().all(|c| c.is_ascii_digit());
    (digits(from) && digits(to) && !tail.contains(['[', ']'])).then_some((lead, from, to, tail))
}
