//! Who may publish and subscribe to what: lists of machines, roles and the network laid together, and the `tests:` that
//! hold them to what was meant.

use std::collections::BTreeMap;

use crate::ids::Name;
use crate::rights::{Allow, Rights};
use crate::topic;
use crate::topology::model::{Expect, Machine, RightsTest};
use crate::topology::raw::{RawRights, RawTest, Text};
use crate::topology::report::{Code, Report, Span, Spanned, nearest};

use super::units;

/// Where a publish right was written, and whether anybody may hear what it allows.
pub type Heard = BTreeMap<Span, (String, bool)>;

/// The lists that apply to one machine: its own and its role's together, or else the network's.
pub struct Lists<'a> {
    pub own: RawRightsRef<'a>,
    pub role: Option<&'a RawRights>,
    pub network: Option<&'a RawRights>,
}

#[derive(Clone, Copy)]
pub struct RawRightsRef<'a> {
    pub publish: Option<&'a Vec<Text>>,
    pub subscribe: Option<&'a Vec<Text>>,
}

impl<'a> RawRightsRef<'a> {
    fn of(raw: &'a RawRights) -> Self {
        Self { publish: raw.publish.as_ref(), subscribe: raw.subscribe.as_ref() }
    }

    fn lists_any(self) -> bool {
        self.publish.is_some() || self.subscribe.is_some()
    }
}

/// Rights with the places of their publish filters.
pub struct Effective {
    pub rights: Rights,
    pub publish_spans: Vec<Span>,
}

pub fn effective(machine: &Name, lists: &Lists<'_>, report: &mut Report) -> Effective {
    let mut sources: Vec<RawRightsRef<'_>> =
        lists.role.map(RawRightsRef::of).into_iter().chain([lists.own]).filter(|list| list.lists_any()).collect();
    if sources.is_empty() {
        sources.extend(lists.network.map(RawRightsRef::of).filter(|list| list.lists_any()));
    }
    if sources.is_empty() {
        return Effective { rights: Rights::default(), publish_spans: Vec::new() };
    }
    let (mut publish, mut subscribe, mut publish_spans) = (Vec::new(), Vec::new(), Vec::new());
    for source in sources {
        for text in source.publish.into_iter().flatten() {
            if let Some(filter) = filled(machine, text, report) {
                publish.push(filter);
                publish_spans.push(text.span);
            }
        }
        for text in source.subscribe.into_iter().flatten() {
            subscribe.extend(filled(machine, text, report));
        }
    }
    let rights = Rights { publish: Allow::Only(publish), subscribe: Allow::Only(subscribe) };
    Effective { rights, publish_spans }
}

/// The filter with `{name}` filled in.
fn filled(machine: &Name, text: &Text, report: &mut Report) -> Option<topic::Filter> {
    let mut written = String::new();
    let mut rest = text.value.as_str();
    while let Some((lead, tail)) = rest.split_once('{') {
        written.push_str(lead);
        let (variable, tail) = tail.split_once('}').unwrap_or((tail, ""));
        if variable != "name" {
            let message = format!("`{{{variable}}}` stands for nothing");
            let help = "`{name}`, the machine's own name, is the only variable";
            report.add_with_help(Code::UnknownVariable, text.span, message, help);
            return None;
        }
        written.push_str(machine.as_str());
        rest = tail;
    }
    written.push_str(rest);
    units::filter(text, &written, report)
}

/// Publish rights whose messages nobody in the network may ever get.
pub fn unheard(machines: &BTreeMap<Name, Machine>, spans: &BTreeMap<Name, Vec<Span>>, report: &mut Report) {
    let mut heard = Heard::new();
    for (name, machine) in machines {
        let (Allow::Only(filters), Some(spans)) = (&machine.rights.publish, spans.get(name)) else { continue };
        for (filter, span) in filters.iter().zip(spans) {
            let (_, known) = heard.entry(*span).or_insert_with(|| (filter.to_string(), false));
            *known = *known
                || machines.values().any(|other| match &other.rights.subscribe {
                    Allow::Everything => true,
                    Allow::Only(wanted) => wanted.iter().any(|w| topic::overlaps(w.as_str(), filter.as_str())),
                });
        }
    }
    for (span, (filter, _)) in heard.into_iter().filter(|(_, (_, heard))| !heard) {
        let help = "give some machine a `subscribe` that meets it, or take this right away";
        let message = format!("nobody may subscribe to anything under `{filter}`, so it never arrives anywhere");
        report.add_with_help(Code::RightUnheard, span, message, help);
    }
}

/// One line under `tests:`, tried.
pub fn test(raw: &Spanned<RawTest>, machines: &BTreeMap<Name, Machine>, report: &mut Report) -> Option<RightsTest> {
    let line = &raw.value;
    let impossible = |report: &mut Report, span: Span, message: String| {
        report.add(Code::TestImpossible, span, message);
    };
    let (client, publish) = (line.client.as_ref()?, line.publish.as_ref()?);
    if let Err(error) = topic::check_name(&publish.value) {
        impossible(report, publish.span, format!("nobody can publish to `{}`: {error}", publish.value));
        return None;
    }
    let sender = machine(client, machines, report)?;
    let expect = match (&line.delivered_to, line.denied) {
        (Some(names), None) if !names.is_empty() => {
            let mut receivers = Vec::new();
            for name in names {
                receivers.push(machine(name, machines, report)?.name.clone());
            }
            Expect::DeliveredTo(receivers)
        }
        (None, Some(true)) => Expect::Denied,
        (Some(_), Some(_)) => {
            impossible(report, raw.span, "a message cannot be both denied and delivered".to_owned());
            return None;
        }
        (Some(_) | None, None | Some(_)) => {
            let message = "this test expects nothing: write `delivered_to: [name]` or `denied: true`".to_owned();
            impossible(report, raw.span, message);
            return None;
        }
    };
    let topic = publish.value.as_str();
    if let Some(fault) = fault(sender, topic, &expect, machines) {
        report.add(Code::TestFailed, raw.span, fault);
        return None;
    }
    Some(RightsTest { client: sender.name.clone(), publish: topic.into(), expect })
}

fn fault(sender: &Machine, topic: &str, expect: &Expect, machines: &BTreeMap<Name, Machine>) -> Option<String> {
    let allowed = sender.rights.publish.topic(topic);
    match expect {
        Expect::Denied if allowed => Some(format!("{} may publish to `{topic}`, but should not", sender.name)),
        Expect::Denied => None,
        Expect::DeliveredTo(_) if !allowed => Some(format!("{} may not publish to `{topic}`", sender.name)),
        Expect::DeliveredTo(names) => {
            let deaf = names
                .iter()
                .find(|name| machines.get(*name).is_some_and(|receiver| !receiver.rights.subscribe.topic(topic)))?;
            Some(format!("{deaf} may not subscribe to `{topic}`"))
        }
    }
}

fn machine<'m>(text: &Text, machines: &'m BTreeMap<Name, Machine>, report: &mut Report) -> Option<&'m Machine> {
    if let Some(found) = machines.get(text.value.as_str()) {
        return Some(found);
    }
    let message = format!("no machine is called `{}`", text.value);
    match nearest(&text.value, machines.keys().map(Name::as_str)) {
        Some(word) => {
            report.add_with_help(Code::UnknownMachine, text.span, message, format!("did you mean `{word}`?"));
        }
        None => report.add(Code::UnknownMachine, text.span, message),
    }
    None
}
