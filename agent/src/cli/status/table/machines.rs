//! The machines of the network, one a line: those that are not well first, then brokers, then by name.

use hobnail_core::topology::report::Colour;

use super::super::{Machine, Node};
use super::{Paint, clean, count, duration, paint};

const HEAD: [&str; 9] = ["machine", "state", "since", "role", "home", "round trip", "queue", "version", "topology"];

pub fn draw(node: &Node, now_ms: Option<u64>, colour: Colour) -> String {
    let mut machines: Vec<&Machine> = node.machines.iter().collect();
    machines.sort_by_key(|machine| (grade(machine), machine.role != "broker", &machine.name));
    let lines: Vec<[String; 9]> = machines.iter().map(|machine| cells(machine, now_ms)).collect();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count());
        cells.chain(HEAD.get(column).map(|head| head.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut out = line(&HEAD.map(str::to_owned), &widths);
    for (machine, cells) in machines.iter().zip(&lines) {
        let paint_as = match grade(machine) {
            0 => Paint::Bad,
            1 => Paint::Doubtful,
            _ => Paint::Plain,
        };
        out.push_str(&paint(&line(cells, &widths), paint_as, colour));
    }
    out
}

fn grade(machine: &Machine) -> u8 {
    match machine.state.as_str() {
        "offline" => 0,
        "late" => 1,
        "left" => 2,
        _ => 3,
    }
}

fn cells(machine: &Machine, now_ms: Option<u64>) -> [String; 9] {
    let dash = || "-".to_owned();
    let since = now_ms.zip(machine.since_ms).map(|(now, since)| duration(now.saturating_sub(since) / 1_000));
    // What cannot be said of a machine that is away is no longer true.
    let here = machine.uptime_s.is_some();
    [
        clean(&machine.name),
        clean(&machine.state),
        since.unwrap_or_else(dash),
        clean(&machine.role),
        machine.home.as_deref().filter(|_| here).map_or_else(dash, clean),
        machine.round_trip_ms.map_or_else(dash, |ms| format!("{ms:.1} ms")),
        machine.queue.filter(|_| here).map_or_else(dash, count),
        machine.version.as_deref().map_or_else(dash, clean),
        topology(machine).unwrap_or_else(dash),
    ]
}

/// What it runs by, and for how long it has.
fn topology(machine: &Machine) -> Option<String> {
    let topology = clean(machine.topology.as_deref()?);
    Some(machine.topology_s.map_or_else(|| topology.clone(), |time| format!("{topology} for {}", duration(time))))
}

fn line(cells: &[String; 9], widths: &[usize]) -> String {
    let mut out = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        out.push_str(&format!("{cell:<width$}  "));
    }
    let len = out.trim_end().len();
    out.truncate(len);
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_well_stands_first_and_what_is_not_known_is_a_dash() {
        let machine = |name: &str, state: &str, role: &str| Machine {
            name: name.into(),
            state: state.into(),
            role: role.into(),
            home: Some("hub".into()),
            since_ms: Some(1_000),
            uptime_s: (state == "online").then_some(5),
            version: Some("0.1.0".into()),
            queue: Some(1_234),
            topology: Some("91de96d11bda".into()),
            topology_s: (state == "online").then_some(65),
            round_trip_ms: (role == "broker").then_some(1.26),
        };
        let node = Node {
            machines: vec![
                machine("a", "online", "client"),
                machine("hub", "online", "broker"),
                machine("z", "offline", "client"),
            ],
            ..Node::default()
        };
        let text = draw(&node, Some(61_000), Colour::Plain);
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "machine  state    since  role    home  round trip  queue  version  topology",
                "z        offline  1m     client  -     -           -      0.1.0    91de96d11bda",
                "hub      online   1m     broker  hub   1.3 ms      1,234  0.1.0    91de96d11bda for 1m 5s",
                "a        online   1m     client  hub   -           1,234  0.1.0    91de96d11bda for 1m 5s",
            ]
        );
        assert!(draw(&node, None, Colour::Ansi).contains("\x1b[1;31mz"));
    }
}
