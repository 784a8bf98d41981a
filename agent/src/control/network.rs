//! What is wrong with this machine's part in its network.

use std::fmt::Display;

use hobnail_core::health::{Code, Finding};
use hobnail_core::node::{Counters, LinkView, MachineView, Standing, Status};

/// More names than these are counted only.
const NAMES_SHOWN: usize = 5;
/// So often in ten minutes two lives of a machine speak at once before it is taken for two machines.
const TWINS_MIN: u64 = 3;

/// `before` is what had been counted some ten minutes ago.
#[must_use]
pub fn examine(status: &Status, before: &Counters) -> Vec<Finding> {
    let mut found = counted(status, before);
    found.extend(links(status));
    found.extend(machines(status));
    found
}

fn counted(status: &Status, before: &Counters) -> Vec<Finding> {
    let lately = |count: fn(&Counters) -> u64| count(&status.counters).saturating_sub(count(before));
    let counts = [
        (Code::KeyUnknown, lately(|c| c.unknown_key), "messages came under a key that is not here"),
        (Code::EnvelopeRefused, lately(|c| c.forged + c.malformed), "messages came that no key opens"),
        (Code::OutboxFull, lately(|c| c.dropped_full + c.refused_full), "messages for other machines had no room"),
        (Code::VersionRefused, lately(|c| c.versions_refused), "links were refused over the version"),
        (Code::LinkFaults, lately(|c| c.link_faults), "links ended over a fault"),
    ];
    let some = counts.into_iter().filter(|(_, count, _)| *count > 0);
    let some = some.map(|(code, count, what)| Finding::new(code, format!("{count} {what} in the last ten minutes")));
    // One that was started again at once may look so, once.
    let twin = status.twin.as_ref().filter(|_| lately(|c| c.twins) >= TWINS_MIN);
    let twin = twin.map(|name| Finding::new(Code::Twins, format!("two machines call themselves {name}")));
    some.chain(twin).collect()
}

fn links(status: &Status) -> Vec<Finding> {
    let mut found = Vec::new();
    let brokers: Vec<&LinkView> = status.links.iter().filter(|link| link.broker).collect();
    let linked = |link: &&&LinkView| matches!(link.state, "up" | "suspect");
    let suspect: Vec<&_> = brokers.iter().filter(|link| link.state == "suspect").map(|link| &link.peer).collect();
    if !suspect.is_empty() {
        found.push(Finding::new(Code::LinkSuspect, format!("beats are missing from {}", list(&suspect))));
    }
    if status.broker {
        let missing: Vec<&_> = brokers.iter().filter(|link| !linked(link)).map(|link| &link.peer).collect();
        if !missing.is_empty() {
            found.push(Finding::new(Code::BrokerUnlinked, format!("no link to {}", list(&missing))));
        }
        if !status.in_step {
            found.push(Finding::new(Code::Behind, "this broker has not yet all that the others have".to_owned()));
        }
        return found;
    }
    let Some(home) = &status.home else {
        let text = format!("no broker can be reached; {} messages wait here", status.queue);
        found.push(Finding::new(Code::NoHome, text));
        return found;
    };
    let better = brokers.iter().take_while(|link| link.peer != *home).map(|link| &link.peer);
    let better: Vec<&_> = better.filter(|_| status.promoted.as_ref() != Some(home)).collect();
    if !better.is_empty() {
        found.push(Finding::new(
            Code::NotBestHome,
            format!("at home with {home}, though {} comes first", list(&better)),
        ));
    }
    if brokers.len() > 1 && brokers.iter().filter(linked).count() < 2 {
        found.push(Finding::new(Code::SecondLinkMissing, format!("{home} is the only broker that can be reached")));
    }
    found
}

fn machines(status: &Status) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut find = |code: Code, of: &dyn Fn(&&MachineView) -> bool, what: &str| {
        let names: Vec<&_> = status.machines.iter().filter(of).map(|machine| &machine.name).collect();
        if !names.is_empty() {
            found.push(Finding::new(code, format!("{what}: {}", list(&names))));
        }
    };
    find(Code::MachineOffline, &|machine| machine.state == Standing::Offline, "cannot be seen from here");
    let strays = |machine: &&MachineView| {
        machine.state.is_here() && machine.topology.as_ref().is_some_and(|print| *print != status.fingerprint)
    };
    find(Code::TopologyDrift, &strays, "another topology than here is in force on");
    let version = env!("CARGO_PKG_VERSION");
    let other = |machine: &&MachineView| {
        machine.state.is_here() && machine.version.as_ref().is_some_and(|other| **other != *version)
    };
    find(Code::VersionDrift, &other, "another version than here runs on");
    found
}

fn list<T: Display>(names: &[T]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES_SHOWN).map(T::to_string).collect();
    let more = names.len().saturating_sub(NAMES_SHOWN);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use hobnail_core::ids::Name;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn link(peer: &str, state: &'static str) -> LinkView {
        LinkView {
            peer: name(peer),
            broker: true,
            state,
            since_s: 1,
            rtt_us: None,
            in_step: true,
            version: "".into(),
            attached: false,
            in_flight_bytes: 0,
        }
    }

    fn machine(of: &str, state: Standing) -> MachineView {
        MachineView {
            name: name(of),
            state,
            role: "client",
            home: None,
            since_ms: None,
            boot: None,
            uptime_s: None,
            version: Some(env!("CARGO_PKG_VERSION").into()),
            round_trip_ms: None,
            queue: None,
            topology: Some("same".into()),
            topology_s: None,
        }
    }

    fn client(links: Vec<LinkView>) -> Status {
        Status {
            me: name("press"),
            network: name("n"),
            broker: false,
            home: Some(name("hub")),
            home_since_s: 1,
            home_changes: 1,
            promoted: None,
            fingerprint: "same".into(),
            in_step: true,
            uptime_s: 1,
            queue: 3,
            bytes: 0,
            memory_bytes: 0,
            streams: 0,
            retained: 0,
            links,
            machines: Vec::new(),
            twin: None,
            counters: Counters::default(),
        }
    }

    fn words(status: &Status) -> Vec<&'static str> {
        examine(status, &Counters::default()).iter().map(|finding| finding.code.word()).collect()
    }

    #[test]
    fn a_machine_that_starts_again_is_no_twin_and_two_that_go_on_are() {
        for (twins, found) in [(1, vec![]), (TWINS_MIN, vec!["twins"])] {
            let links = vec![link("hub", "up"), link("spare", "up")];
            let status = Status { twin: Some(name("camera")), ..client(links) };
            let status = Status { counters: Counters { twins, ..Counters::default() }, ..status };
            assert_eq!(words(&status), found);
        }
    }

    #[test]
    fn a_client_with_its_two_best_links_is_well() {
        let status = client(vec![link("hub", "up"), link("spare", "up"), link("york", "down")]);
        assert_eq!(words(&status), Vec::<&str>::new());
    }

    #[test]
    fn what_a_dead_broker_means_to_a_client_is_told() {
        let mut status = client(vec![link("hub", "dialing"), link("spare", "up")]);
        status.home = Some(name("spare"));
        assert_eq!(words(&status), ["not-best-home", "second-link-missing"]);
        status.promoted = Some(name("spare"));
        assert_eq!(words(&status), ["second-link-missing"]);
        status.home = None;
        let findings = examine(&status, &Counters::default());
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].text, "no broker can be reached; 3 messages wait here");
    }

    #[test]
    fn a_broker_misses_every_other_broker() {
        let links = vec![link("hub", "up"), link("spare", "suspect"), link("york", "down")];
        let status = Status { broker: true, home: None, in_step: false, ..client(links) };
        assert_eq!(words(&status), ["link-suspect", "broker-unlinked", "behind"]);
    }

    #[test]
    fn machines_that_are_gone_or_differ_are_named_and_many_are_counted() {
        let mut status = client(vec![link("hub", "up")]);
        let gone = (1..=8).map(|n| machine(&format!("m{n}"), Standing::Offline));
        status.machines = gone.chain([machine("left", Standing::Left), machine("well", Standing::Online)]).collect();
        status.machines.push(MachineView { topology: Some("other".into()), ..machine("stray", Standing::Online) });
        status.machines.push(MachineView { version: Some("0.0.1".into()), ..machine("old", Standing::Late) });
        let texts: Vec<String> =
            examine(&status, &Counters::default()).into_iter().map(|finding| finding.text).collect();
        assert_eq!(
            texts,
            [
                "cannot be seen from here: m1, m2, m3, m4, m5 and 3 more",
                "another topology than here is in force on: stray",
                "another version than here runs on: old",
            ]
        );
    }

    #[test]
    fn only_what_was_counted_lately_is_found() {
        let mut status = client(vec![link("hub", "up")]);
        status.counters = Counters { unknown_key: 5, forged: 1, dropped_full: 2, ..Counters::default() };
        assert_eq!(words(&status), ["key-unknown", "envelope-refused", "outbox-full"]);
        assert_eq!(examine(&status, &status.counters.clone()), []);
    }
}
