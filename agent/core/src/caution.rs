//! Whether an edit of the topology takes away so much that it may be a file cut in half: the first part of a YAML file is
//! most often a file too. Such an edit waits for somebody to say that it is meant.
//!
//! This judges an edit of a running machine, never a first topology.

use std::collections::BTreeSet;
use std::fmt;

use crate::ids::Name;
use crate::topology::Topology;
use crate::topology::model::Kind;

/// An edit may take away this many of a hundred machines and be believed.
const GONE_PERCENT_MAX: usize = 30;

/// What is to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caution {
    /// This machine has no place in it.
    Me(Name),
    /// Every broker, or more than one at once: what only they keep would be nowhere.
    Brokers(Vec<Name>),
    Machines {
        gone: usize,
        of: usize,
    },
}

/// What is to be confirmed before `wanted` takes the place of `running` on the machine `me`.
#[must_use]
pub fn caution(running: &Topology, wanted: &Topology, me: &Name) -> Option<Caution> {
    if !runs_agent(wanted, me) {
        return Some(Caution::Me(me.clone()));
    }
    let (before, after) = (brokers(running), brokers(wanted));
    let gone: Vec<Name> = before.difference(&after).map(|name| (*name).clone()).collect();
    // Alone, it keeps nothing for others.
    let has_others = running.machines.values().any(|machine| machine.name != *me && !is_device(&machine.kind));
    if has_others && (gone.len() > 1 || gone.len() == before.len()) {
        return Some(Caution::Brokers(gone));
    }
    let of = running.machines.len();
    let gone = running.machines.keys().filter(|name| !wanted.machines.contains_key(*name)).count();
    (gone * 100 > of * GONE_PERCENT_MAX).then_some(Caution::Machines { gone, of })
}

fn brokers(topology: &Topology) -> BTreeSet<&Name> {
    topology.ranking.iter().collect()
}

fn runs_agent(topology: &Topology, me: &Name) -> bool {
    topology.machines.get(me).is_some_and(|machine| !is_device(&machine.kind))
}

fn is_device(kind: &Kind) -> bool {
    match kind {
        Kind::Device { .. } => true,
        Kind::Broker { .. } | Kind::Client { .. } => false,
    }
}

impl fmt::Display for Caution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Me(name) => write!(f, "it has no place for this machine, {name}"),
            Self::Brokers(gone) => {
                let names: Vec<&str> = gone.iter().map(Name::as_str).collect();
                let names = names.join(", ");
                write!(f, "it takes away the broker{} {names} at once", if gone.len() == 1 { "" } else { "s" })
            }
            Self::Machines { gone, of } => write!(f, "it takes away {gone} of {of} machines"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::parse;

    /// So many clients, and these brokers.
    fn topology(brokers: &[&str], clients: &[&str]) -> Topology {
        let mut text = "version: 1\nnetwork: n\nkeys: { active: k1 }\nbrokers:\n".to_owned();
        for (at, broker) in brokers.iter().enumerate() {
            text += &format!("  {broker}: {{ host: 10.0.0.{} }}\n", at + 1);
        }
        text += "clients:\n";
        for client in clients {
            text += &format!("  {client}: {{}}\n");
        }
        parse(&text)
    }

    #[test]
    fn what_is_believed_and_what_has_to_be_confirmed() {
        let name = |text: &str| Name::new(text).unwrap();
        let all = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let running = topology(&["hub", "spare"], &all);
        let brokers = |names: &[&str]| Some(Caution::Brokers(names.iter().map(|text| name(text)).collect()));
        let cases = [
            ("the same", topology(&["hub", "spare"], &all), None),
            ("one broker less", topology(&["hub"], &[&all[..], &["spare"]].concat()), None),
            ("the hub replaced", topology(&["third", "spare"], &[&all[..], &["hub"]].concat()), None),
            (
                "both replaced",
                topology(&["third"], &[&all[..], &["hub", "spare"]].concat()),
                brokers(&["hub", "spare"]),
            ),
            ("three of ten gone", topology(&["hub", "spare"], &all[..5]), None),
            ("four of ten gone", topology(&["hub", "spare"], &all[..4]), Some(Caution::Machines { gone: 4, of: 10 })),
            ("this machine gone", topology(&["hub", "spare"], &all[1..]), Some(Caution::Me(name("a")))),
        ];
        for (what, wanted, expected) in cases {
            assert_eq!(caution(&running, &wanted, &name("a")), expected, "{what}");
        }
        let alone = topology(&["solo"], &[]);
        assert_eq!(caution(&alone, &topology(&["hub"], &["solo"]), &name("solo")), None, "it kept nothing for others");
        let pair = topology(&["hub"], &["a"]);
        assert_eq!(caution(&pair, &topology(&["a"], &["hub"]), &name("a")), brokers(&["hub"]));
    }
}
