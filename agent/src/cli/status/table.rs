//! A status for people: what is wrong first, then what is.

use hobnail_core::topology::report::Colour;

use super::{Disk, Finding, Link, Node, Seen};

mod machines;

/// The whole of it, ready to be printed. `now_ms` is the wall clock, where it is set.
pub fn draw(seen: &Seen, now_ms: Option<u64>, colour: Colour) -> String {
    let mut out = format!(
        "{} in network {}: {}, up {}, hobnail {}\n",
        seen.name,
        seen.network,
        seen.role,
        duration(seen.uptime_s),
        seen.version
    );
    out.push('\n');
    if seen.health.is_empty() {
        out.push_str(&paint("all is well\n", Paint::Good, colour));
    }
    for finding in &seen.health {
        out.push_str(&problem(finding, colour));
    }
    out.push('\n');
    if let Some(node) = seen.node.as_ref().filter(|node| !node.machines.is_empty()) {
        out.push_str(&machines::draw(node, now_ms, colour));
        out.push('\n');
    }
    for (label, text) in rows(seen) {
        out.push_str(&format!("{label:<10} {text}\n"));
    }
    out
}

fn rows(seen: &Seen) -> Vec<(&'static str, String)> {
    let (fill, counters) = (&seen.broker, &seen.counters);
    let doors = if seen.doors.is_empty() { "none".to_owned() } else { seen.doors.join(", ") };
    let memory = seen.resident_bytes.map_or_else(|| "unknown".to_owned(), bytes);
    let mut rows = Vec::new();
    if let Some(node) = &seen.node {
        rows.push(("home", home(node)));
        rows.push(("links", links(node)));
        rows.push(("network", traffic(node)));
    }
    rows.extend([
        ("doors", doors),
        (
            "programs",
            format!(
                "{} of {} connections, {} sessions, {} subscriptions",
                count(fill.connections),
                count(fill.connections_max),
                count(fill.sessions),
                count(fill.subscriptions)
            ),
        ),
        (
            "messages",
            format!(
                "{} in, {} out, {} dropped",
                count(counters.publishes_received),
                count(counters.publishes_sent),
                count(counters.dropped())
            ),
        ),
        (
            "kept",
            format!(
                "{} waiting or retained ({} of {}), {} retained",
                count(fill.messages),
                bytes(fill.messages_bytes),
                bytes(fill.messages_bytes_max),
                count(fill.retained)
            ),
        ),
        ("memory", memory),
    ]);
    rows.extend(seen.disk.as_ref().map(|disk| ("disk", kept(disk, seen.uptime_s))));
    rows
}

fn kept(disk: &Disk, uptime_s: u64) -> String {
    let time = disk.degraded_for_s.map(|time| format!(" for {}", duration(time))).unwrap_or_default();
    let mut text = format!("{}{time}, {} of {}", clean(&disk.state), bytes(disk.bytes), bytes(disk.bytes_max));
    if let Some(written) = disk.bytes_per_day {
        text.push_str(&format!("; {} MB written per day", count(written / 1_000_000)));
    }
    let tenths = disk.syncs.saturating_mul(10) / uptime_s.max(1);
    text.push_str(&format!("; {}.{} commits per second", count(tenths / 10), tenths % 10));
    if disk.waiting_bytes > 0 {
        text.push_str(&format!("; {} on their way", bytes(disk.waiting_bytes)));
    }
    if disk.set_aside > 0 {
        text.push_str(&format!("; {} damaged files set aside", count(disk.set_aside)));
    }
    text
}

fn home(node: &Node) -> String {
    let mut text = match &node.home {
        _ if node.broker => "itself".to_owned(),
        None => "none".to_owned(),
        Some(home) => format!("{} for {}", clean(home), duration(node.home_since_s)),
    };
    if let Some(promoted) = &node.promoted {
        text.push_str(&format!("; promoted: {}", clean(promoted)));
    }
    if node.queue > 0 {
        text.push_str(&format!("; {} messages on their way", count(node.queue)));
    }
    text
}

fn traffic(node: &Node) -> String {
    let counters = &node.counters;
    format!(
        "{} for others, {} sent on links, {} from others, {} dropped or refused; {} held",
        count(counters.offered),
        count(counters.records_sent),
        count(counters.delivered),
        count(counters.lost()),
        bytes(node.bytes)
    )
}

fn links(node: &Node) -> String {
    let one = |link: &Link| match link.rtt_us {
        Some(us) if link.state == "up" => format!("{} {}", clean(&link.peer), round_trip(us)),
        Some(_) | None => format!("{} {}", clean(&link.peer), clean(&link.state)),
    };
    let mut shown: Vec<String> = node.links.iter().filter(|link| link.broker).map(one).collect();
    let clients = node.links.iter().filter(|link| !link.broker).count();
    if clients > 0 {
        shown.push(format!("{clients} clients"));
    }
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

fn round_trip(us: u64) -> String {
    if us < 10_000 { format!("{}.{} ms", us / 1_000, us % 1_000 / 100) } else { format!("{} ms", us / 1_000) }
}

fn problem(finding: &Finding, colour: Colour) -> String {
    let paint_as = match finding.grade.as_str() {
        "problem" => Paint::Bad,
        "warning" => Paint::Doubtful,
        _ => Paint::Plain,
    };
    let head = paint(&format!("{}[{}]", finding.grade, finding.code), paint_as, colour);
    format!("{head}: {}\n  cure: {}\n", clean(&finding.text), clean(&finding.cure))
}

#[derive(Clone, Copy)]
enum Paint {
    Plain,
    Good,
    Doubtful,
    Bad,
}

fn paint(text: &str, paint: Paint, colour: Colour) -> String {
    let code = match (colour, paint) {
        (Colour::Plain, _) | (Colour::Ansi, Paint::Plain) => return text.to_owned(),
        (Colour::Ansi, Paint::Good) => 32,
        (Colour::Ansi, Paint::Doubtful) => 33,
        (Colour::Ansi, Paint::Bad) => 31,
    };
    format!("\x1b[1;{code}m{text}\x1b[0m")
}

/// What came over a socket may not steer the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `3d 4h`, the two largest parts.
pub fn duration(seconds: u64) -> String {
    let parts = [(seconds / 86_400, 'd'), (seconds / 3_600 % 24, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let first = parts.iter().position(|(part, _)| *part > 0).unwrap_or(parts.len() - 1);
    let shown = parts.iter().skip(first).take(2).filter(|(part, _)| *part > 0 || first == parts.len() - 1);
    shown.map(|(part, unit)| format!("{part}{unit}")).collect::<Vec<_>>().join(" ")
}

/// `1.2 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (bytes.saturating_mul(10) / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        (tenths, unit) = (tenths / 1024, unit + 1);
    }
    let unit = UNITS.get(unit).copied().unwrap_or_default();
    if tenths % 10 == 0 || tenths >= 1_000 {
        format!("{} {unit}", tenths / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

/// `12,345`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_plain() {
        for (seconds, shown) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3_661, "1h 1m"), (86_400, "1d"), (90_061, "1d 1h"), (86_460, "1d")]
        {
            assert_eq!(duration(seconds), shown, "{seconds}");
        }
        for (size, shown) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1 KiB"),
            (1_536, "1.5 KiB"),
            (134_217_728, "128 MiB"),
            (8_493_466, "8.1 MiB"),
            (u64::MAX, "1677721 TiB"),
        ] {
            assert_eq!(bytes(size), shown, "{size}");
        }
        assert_eq!([count(0), count(999), count(1_000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn problems_stand_first_with_their_cure_and_nothing_steers_the_terminal() {
        let finding = Finding {
            grade: "problem".into(),
            code: "memory-full".into(),
            text: "full\x1b[2J".into(),
            cure: "raise it".into(),
        };
        let seen = Seen { name: "hub".into(), health: vec![finding], ..Seen::default() };
        let text = draw(&seen, None, Colour::Plain);
        assert!(text.contains("\n\nproblem[memory-full]: full [2J\n  cure: raise it\n\ndoors "), "{text}");
        assert!(!text.contains('\x1b'));
        assert!(draw(&Seen::default(), None, Colour::Ansi).contains("\x1b[1;32mall is well"));
    }
}
