//! Single values: times, sizes, numbers, addresses, names, filters. Each says exactly what is wrong with it.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::ids::Name;
use crate::topic;
use crate::topology::model::Host;
use crate::topology::origin::Origin;
use crate::topology::raw::Text;
use crate::topology::report::{Code, Report, Spanned};

const TIME_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

pub fn duration(text: &Text, range: RangeInclusive<Duration>, report: &mut Report) -> Option<Duration> {
    let units = (TIME_UNITS, Code::BadDuration, "a time such as 500ms, 60s, 5m, 2h or 7d");
    let wait = Duration::from_millis(with_unit(text, units, report)?);
    if range.contains(&wait) {
        return Some(wait);
    }
    let message = format!("`{}` is not between {:?} and {:?}", text.value, range.start(), range.end());
    report.add(Code::OutOfRange, text.span, message);
    None
}

pub fn size(text: &Text, range: RangeInclusive<u64>, report: &mut Report) -> Option<u64> {
    let bytes = with_unit(text, (SIZE_UNITS, Code::BadSize, "a size such as 64KiB, 256MB or 1GiB"), report)?;
    if range.contains(&bytes) {
        return Some(bytes);
    }
    let message = format!("`{}` is not between {} and {} bytes", text.value, range.start(), range.end());
    report.add(Code::OutOfRange, text.span, message);
    None
}

fn with_unit(text: &Text, units: (&[(&str, u64)], Code, &str), report: &mut Report) -> Option<u64> {
    let (units, code, example) = units;
    let written = text.value.trim();
    let digits = written.len() - written.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = written.split_at(digits);
    let unit = unit.trim();
    let Ok(number) = number.parse::<u64>() else {
        report.add_with_help(code, text.span, format!("`{written}` is not a whole number with a unit"), example);
        return None;
    };
    if unit.is_empty() {
        let message = format!("`{written}` has no unit");
        report.add_with_help(Code::MissingUnit, text.span, message, format!("write {example}"));
        return None;
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let known: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        let help = format!("units are {}", known.join(", "));
        report.add_with_help(code, text.span, format!("`{unit}` is not a unit here"), help);
        return None;
    };
    // Too large for any range that follows, and told as such.
    Some(number.saturating_mul(*factor))
}

pub fn number(given: &Spanned<u64>, range: RangeInclusive<u64>, report: &mut Report) -> Option<u64> {
    if range.contains(&given.value) {
        return Some(given.value);
    }
    let message = format!("{} is not between {} and {}", given.value, range.start(), range.end());
    report.add(Code::OutOfRange, given.span, message);
    None
}

pub fn address(text: &Text, report: &mut Report) -> Option<SocketAddr> {
    if let Ok(address) = text.value.parse::<SocketAddr>() {
        return Some(address);
    }
    let help = if text.value.parse::<IpAddr>().is_ok() {
        "a port is missing: write it behind a colon, as in \"127.0.0.1:1883\"".to_owned()
    } else if text.value.parse::<u16>().is_ok() {
        format!("write \"127.0.0.1:{}\"", text.value)
    } else {
        "write an address and a port, as in \"127.0.0.1:1883\" or \"[::1]:1883\"".to_owned()
    };
    report.add_with_help(Code::BadAddress, text.span, format!("`{}` is not an address and port", text.value), help);
    None
}

/// An address, or a name that a look-up may know.
pub fn host(text: &Text, report: &mut Report) -> Option<Host> {
    let written = text.value.as_str();
    if written.parse::<IpAddr>().is_ok() {
        return Some(Host(written.into()));
    }
    let numeric = !written.is_empty() && written.chars().all(|c| c.is_ascii_digit() || c == '.');
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
    };
    if !numeric && written.len() <= 253 && written.trim_end_matches('.').split('.').all(label) {
        return Some(Host(written.into()));
    }
    let help = if written.contains(':') {
        "leave the port out; it is `agents` under `doors`"
    } else {
        "write an address such as 10.0.0.10, or a name such as hub.local"
    };
    report.add_with_help(Code::BadHost, text.span, format!("`{written}` is neither an address nor a host name"), help);
    None
}

pub fn origin(text: &Text, report: &mut Report) -> Option<Origin> {
    match Origin::new(&text.value) {
        Ok(origin) => Some(origin),
        Err(error) => {
            let message = format!("`{}` is not where a page comes from: {error}", text.value);
            let help =
                "write scheme, host and port as in \"https://dash.example:8443\", or \"null\" for pages from files";
            report.add_with_help(Code::BadOrigin, text.span, message, help);
            None
        }
    }
}

pub fn name(text: &Text, report: &mut Report) -> Option<Name> {
    match Name::new(&text.value) {
        Ok(name) => Some(name),
        Err(error) => {
            report.add(Code::BadName, text.span, format!("`{}`: {error}", text.value));
            None
        }
    }
}

/// A filter as written, before its variables are filled.
pub fn filter(text: &Text, written: &str, report: &mut Report) -> Option<topic::Filter> {
    match topic::Filter::new(written) {
        Ok(filter) => Some(filter),
        Err(error) => {
            let message = format!("`{written}` is not a topic filter: {error}");
            report.add(Code::BadFilter, text.span, message);
            None
        }
    }
}
