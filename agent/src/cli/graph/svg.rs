//! The network as one self-contained picture: a column for each broker, best on the left, the machines whose home it is
//! below it, backups as arcs above.

use hobnail_core::topology::Topology;
use hobnail_core::topology::model::Machine;

use super::{backups, by_home, host, is_device};

const MARGIN: usize = 40;
const TITLE: usize = 70;
/// Room for the arcs of backups.
const ARCS: usize = 70;
const BOX_WIDTH: usize = 150;
const BOX_HEIGHT: usize = 30;
const GAP: usize = 12;
const BROKER_HEIGHT: usize = 58;
/// Machines below one broker stand in lines of their own from this many on.
const ROWS: usize = 10;
const COLUMN_GAP: usize = 56;

const STYLE: &str = "\
text{font-family:ui-sans-serif,system-ui,sans-serif;fill:#1f2933}\
.title{font-size:24px;font-weight:600}.sub{font-size:13px;fill:#66727f}\
.name{font-size:13px;text-anchor:middle}.host{font-size:11px;text-anchor:middle;fill:#dbe7f3}\
.broker{fill:#1d4e79}.broker-name{font-size:15px;font-weight:600;text-anchor:middle;fill:#fff}\
.rank{font-size:11px;fill:#dbe7f3}.client{fill:#eef4fa;stroke:#9db7cf}\
.device{fill:#fdf6e9;stroke:#c9a860;stroke-dasharray:5 3}.wire{stroke:#b6c6d6;fill:none;stroke-width:1.5}\
.backup{stroke:#b4532a;fill:none;stroke-width:2}.legend{font-size:12px;fill:#66727f}\
.sheet{fill:#fff}";

pub fn draw(topology: &Topology) -> String {
    let groups = by_home(topology);
    let widths: Vec<usize> = groups.iter().map(|(_, machines)| width(machines.len())).collect();
    let total: usize = widths.iter().sum::<usize>() + COLUMN_GAP * widths.len().saturating_sub(1);
    let total = total.max(460);
    let rows = groups.iter().map(|(_, machines)| machines.len().min(ROWS)).max().unwrap_or(0);
    let top = MARGIN + TITLE + ARCS;
    let height = top + BROKER_HEIGHT + 40 + rows * (BOX_HEIGHT + GAP) + 60 + MARGIN;
    let sheet_width = total + 2 * MARGIN;

    let mut body = String::new();
    let mut centres = Vec::new();
    let mut left = MARGIN;
    for (rank, ((broker, machines), width)) in groups.iter().zip(&widths).enumerate() {
        centres.push((broker.name.clone(), left + width / 2));
        body += &group(rank, broker, machines, left, *width, top);
        left += width + COLUMN_GAP;
    }
    let mut arcs = String::new();
    for (broker, _) in &groups {
        for backup in backups(broker) {
            let at = |name| centres.iter().find(|(known, _)| known == name).map(|(_, x)| *x);
            if let (Some(from), Some(to)) = (at(&broker.name), at(backup)) {
                arcs += &arc(from, to, top);
            }
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {sheet_width} {height}\" width=\"{sheet_width}\" \
         height=\"{height}\" role=\"img\" aria-label=\"network {name}\">\n<style>{STYLE}</style>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#b4532a\"/></marker></defs>\n\
         <rect class=\"sheet\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"{}\">{name}</text>\n\
         <text class=\"sub\" x=\"{MARGIN}\" y=\"{}\">{}</text>\n{arcs}{body}{}</svg>\n",
        MARGIN + 18,
        MARGIN + 40,
        counted(topology),
        legend(height - MARGIN),
        name = topology.network,
    )
}

fn counted(topology: &Topology) -> String {
    let devices = topology.machines.values().filter(|machine| is_device(machine)).count();
    let brokers = topology.ranking.len();
    let clients = topology.machines.len() - brokers - devices;
    let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    format!("{}, {}, {}", count(brokers, "broker"), count(clients, "client"), count(devices, "device"))
}

/// How many boxes stand side by side below a broker.
fn columns(machines: usize) -> usize {
    machines.div_ceil(ROWS).max(1)
}

fn width(machines: usize) -> usize {
    columns(machines) * (BOX_WIDTH + GAP) - GAP
}

fn group(rank: usize, broker: &Machine, machines: &[&Machine], left: usize, width: usize, top: usize) -> String {
    let centre = left + width / 2;
    let box_width = BOX_WIDTH + 20;
    let box_left = centre.saturating_sub(box_width / 2);
    let mut out = String::new();
    let first = top + BROKER_HEIGHT + 40;
    for (index, machine) in machines.iter().enumerate() {
        let x = left + (index / ROWS) * (BOX_WIDTH + GAP);
        let y = first + (index % ROWS) * (BOX_HEIGHT + GAP);
        if index % ROWS == 0 {
            let column = x + BOX_WIDTH / 2;
            let middle = top + BROKER_HEIGHT + 20;
            out +=
                &format!("<path class=\"wire\" d=\"M{centre} {} V{middle} H{column} V{y}\"/>\n", top + BROKER_HEIGHT);
        } else {
            let column = x + BOX_WIDTH / 2;
            out += &format!("<path class=\"wire\" d=\"M{column} {} V{y}\"/>\n", y - GAP);
        }
        let class = if is_device(machine) { "device" } else { "client" };
        out += &format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"6\"/>\
             <text class=\"name\" x=\"{}\" y=\"{}\">{}</text>\n",
            x + BOX_WIDTH / 2,
            y + 20,
            shortened(machine.name.as_str(), 20)
        );
    }
    out + &format!(
        "<rect class=\"broker\" x=\"{box_left}\" y=\"{top}\" width=\"{box_width}\" height=\"{BROKER_HEIGHT}\" rx=\"9\"/>\
         <text class=\"rank\" x=\"{}\" y=\"{}\">{}</text>\
         <text class=\"broker-name\" x=\"{centre}\" y=\"{}\">{}</text>\
         <text class=\"host\" x=\"{centre}\" y=\"{}\">{}</text>\n",
        box_left + 10,
        top + 17,
        rank + 1,
        top + 27,
        shortened(broker.name.as_str(), 18),
        top + 45,
        shortened(host(broker), 24),
    )
}

/// From above one broker to above its backup, higher the farther they are apart.
fn arc(from: usize, to: usize, top: usize) -> String {
    let rise = (20 + from.abs_diff(to) / 8).min(ARCS - 8);
    let peak = top.saturating_sub(rise * 4 / 3);
    let y = top - 4;
    format!("<path class=\"backup\" marker-end=\"url(#tip)\" d=\"M{from} {y} C{from} {peak} {to} {peak} {to} {y}\"/>\n")
}

fn legend(y: usize) -> String {
    let x = MARGIN;
    format!(
        "<path class=\"backup\" marker-end=\"url(#tip)\" d=\"M{x} {0} h34\"/><text class=\"legend\" x=\"{1}\" \
         y=\"{y}\">stood in for by</text><rect class=\"client\" x=\"{2}\" y=\"{3}\" width=\"22\" height=\"13\" rx=\"3\"/>\
         <text class=\"legend\" x=\"{4}\" y=\"{y}\">machine</text><rect class=\"device\" x=\"{5}\" y=\"{3}\" \
         width=\"22\" height=\"13\" rx=\"3\"/><text class=\"legend\" x=\"{6}\" y=\"{y}\">device, no agent</text>\n",
        y - 4,
        x + 42,
        x + 150,
        y - 11,
        x + 180,
        x + 250,
        x + 280,
    )
}

/// Names hold no character that XML would mind; hosts neither.
fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    kept + "…"
}
