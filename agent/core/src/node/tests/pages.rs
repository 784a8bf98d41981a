//! What a machine runs by, read from another.

use super::WORKSHOP;
use super::lab::Lab;
use crate::ids::Name;
use crate::node::Counters;
use crate::node::pages::{BUSY_BYTES, PAGE_BYTES_MAX, TEXT_BYTES_MAX};

fn want_page(lab: &mut Lab, at: &str, of: &str, part: u16) -> u64 {
    let (of, now) = (Name::new(of).unwrap(), lab.now);
    let number = lab.node_mut(at).unwrap().handle_page_wanted(&of, part, now);
    lab.drain(at);
    number
}

/// All of what `to` runs by, as `from` gets to know it; `None` where a page does not come.
fn read(lab: &mut Lab, from: &str, to: &str) -> Option<Vec<u8>> {
    let (mut text, mut part) = (Vec::new(), 0);
    loop {
        let number = want_page(lab, from, to, part);
        lab.seconds(1);
        let came = lab.node_mut(from).unwrap().take_page(number)?;
        assert!(lab.node_mut(from).unwrap().take_page(number).is_none(), "it is given once");
        text.extend_from_slice(&came.body);
        part += 1;
        if part >= came.parts {
            return Some(text);
        }
    }
}

#[test]
fn every_machine_reads_what_every_other_runs_by() {
    let mut lab = Lab::new(WORKSHOP, 1);
    lab.seconds(3);
    for (size, to) in [(0, "office"), (1, "press"), (PAGE_BYTES_MAX, "hub"), (3 * PAGE_BYTES_MAX + 1, "office")] {
        let text: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        lab.node_mut(to).unwrap().handle_text(&text);
        for from in ["press", "hub", "office"] {
            assert_eq!(read(&mut lab, from, to), Some(text.clone()), "{from} reads {to}");
        }
    }
}

#[test]
fn who_is_gone_or_was_never_there_is_not_read() {
    let mut lab = Lab::new(WORKSHOP, 2);
    lab.seconds(3);
    lab.node_mut("office").unwrap().handle_text(b"text");
    lab.kill("office");
    assert_eq!(read(&mut lab, "press", "office"), None);
    assert_eq!(read(&mut lab, "press", "nobody"), None);
}

#[test]
fn a_text_that_is_too_long_has_no_pages() {
    let mut lab = Lab::new(WORKSHOP, 3);
    lab.seconds(3);
    for (size, parts) in [(TEXT_BYTES_MAX, TEXT_BYTES_MAX.div_ceil(PAGE_BYTES_MAX)), (TEXT_BYTES_MAX + 1, 0)] {
        lab.node_mut("hub").unwrap().handle_text(&vec![7; size]);
        let number = want_page(&mut lab, "press", "hub", 0);
        lab.seconds(1);
        assert_eq!(usize::from(lab.node_mut("press").unwrap().take_page(number).unwrap().parts), parts);
    }
}

#[test]
fn who_asks_too_fast_loses_pages_and_no_link() {
    let mut lab = Lab::new(WORKSHOP, 4);
    lab.seconds(3);
    lab.node_mut("office").unwrap().handle_text(&vec![7; PAGE_BYTES_MAX]);
    let (often, office) = (4 * BUSY_BYTES / PAGE_BYTES_MAX, Name::new("office").unwrap());
    let now = lab.now;
    for _ in 0..often {
        lab.node_mut("press").unwrap().handle_page_wanted(&office, 0, now);
    }
    want_page(&mut lab, "press", "office", 0);
    lab.seconds(2);
    let count = |lab: &mut Lab, of: fn(&Counters) -> u64| -> u64 {
        ["press", "office", "hub"].iter().map(|at| of(lab.node_mut(at).unwrap().counters())).sum()
    };
    assert_eq!(count(&mut lab, |counters| counters.links_unread), 0);
    let dropped = count(&mut lab, |counters| counters.pages_dropped);
    assert!((1..often as u64).contains(&dropped), "{dropped} of {often}");
    lab.seconds(2);
    assert!(read(&mut lab, "press", "office").is_some());
}
