//! Who subscribed to what: a tree by topic level. Knows nothing of sessions but their keys.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use sha2::{Digest, Sha256};

use super::table::Key;

/// The subscribers of one place in the tree.
#[derive(Debug)]
struct Node<S> {
    /// Boxed: a map keeps room for eleven even where it has one.
    children: BTreeMap<Box<str>, Box<Node<S>>>,
    plus: Option<Box<Node<S>>>,
    /// Those who end here.
    here: Vec<(Key, S)>,
    /// Those who end here with `#`.
    below: Vec<(Key, S)>,
    shared_here: Vec<Group<S>>,
    shared_below: Vec<Group<S>>,
}

/// The members of one shared subscription.
#[derive(Debug)]
struct Group<S> {
    name: Box<str>,
    members: Vec<(Key, S)>,
    /// Whose turn it is.
    turn: usize,
}

impl<S> Default for Node<S> {
    fn default() -> Self {
        Self {
            children: BTreeMap::new(),
            plus: None,
            here: Vec::new(),
            below: Vec::new(),
            shared_here: Vec::new(),
            shared_below: Vec::new(),
        }
    }
}

impl<S> Node<S> {
    fn is_empty(&self) -> bool {
        self.children.is_empty()
            && self.plus.is_none()
            && self.here.is_empty()
            && self.below.is_empty()
            && self.shared_here.is_empty()
            && self.shared_below.is_empty()
    }
}

/// Each place in the tree takes so much, its entry above included.
const PLACE_BYTES: usize = 256;
/// And so much more where others are below it.
const BRANCH_BYTES: usize = 320;
/// Each subscription takes so much and its text twice, what its session has of it included.
const SUBSCRIPTION_BYTES: usize = 256;

/// Filters with their subscribers. A filter's depth is bounded by `topic::TOPIC_LEVELS_MAX`, and so is every recursion
/// here.
#[derive(Debug)]
pub struct FilterTree<S> {
    root: Node<S>,
    plain_len: usize,
    shared_len: usize,
    bytes: usize,
}

impl<S> Default for FilterTree<S> {
    fn default() -> Self {
        Self { root: Node::default(), plain_len: 0, shared_len: 0, bytes: 0 }
    }
}

/// A filter as a client names it: alone, or shared with a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub group: Option<&'a str>,
    pub filter: &'a str,
}

/// Which group of those that a session is in: the same on every machine and in every life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMark(pub NonZeroU32);

impl GroupMark {
    /// `None` of a filter that is not shared.
    #[must_use]
    pub fn of(written: &str) -> Option<Self> {
        target(written)?.group?;
        let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(written));
        Some(Self(NonZeroU32::MIN | u32::from_be_bytes([a, b, c, d])))
    }
}

/// `$share/GROUP/FILTER` taken apart; `None` where it is malformed.
#[must_use]
pub fn target(written: &str) -> Option<Target<'_>> {
    let Some(rest) = written.strip_prefix("$share/") else {
        return Some(Target { group: None, filter: written });
    };
    let (group, filter) = rest.split_once('/')?;
    if group.is_empty() || group.contains(['#', '+']) || filter.is_empty() {
        return None;
    }
    Some(Target { group: Some(group), filter })
}

impl<S: Copy> FilterTree<S> {
    /// How many subscriptions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.plain_len + self.shared_len
    }

    /// What all of it takes in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    #[must_use]
    pub fn plain_len(&self) -> usize {
        self.plain_len
    }

    #[must_use]
    pub fn shared_len(&self) -> usize {
        self.shared_len
    }

    fn len_of(&mut self, target: Target<'_>) -> &mut usize {
        if target.group.is_some() { &mut self.shared_len } else { &mut self.plain_len }
    }

    /// Whether any filter begins with this level, as written.
    #[must_use]
    pub fn has_branch(&self, level: &str) -> bool {
        self.root.children.contains_key(level)
    }

    /// Subscribe, and give back what this subscriber had there before.
    pub fn insert(&mut self, to: Target<'_>, who: Key, what: S) -> Option<S> {
        let (path, below) = split(to.filter);
        let mut node = &mut self.root;
        for level in path {
            node = match level {
                "+" => node.plus.get_or_insert_with(|| {
                    self.bytes += PLACE_BYTES;
                    Box::default()
                }),
                level => {
                    if !node.children.contains_key(level) {
                        self.bytes += weight(level, node.children.is_empty());
                        node.children.insert(level.into(), Box::default());
                    }
                    node.children.get_mut(level)?
                }
            };
        }
        let members = match to.group {
            None if below => &mut node.below,
            None => &mut node.here,
            Some(name) => {
                let groups = if below { &mut node.shared_below } else { &mut node.shared_here };
                let at = groups.iter().position(|group| &*group.name == name).unwrap_or_else(|| {
                    groups.push(Group { name: name.into(), members: Vec::new(), turn: 0 });
                    groups.len() - 1
                });
                let group = groups.get_mut(at)?;
                &mut group.members
            }
        };
        if let Some((_, known)) = members.iter_mut().find(|(member, _)| *member == who) {
            return Some(std::mem::replace(known, what));
        }
        members.push((who, what));
        self.bytes += weight_of(to);
        *self.len_of(to) += 1;
        None
    }

    pub fn remove(&mut self, from: Target<'_>, who: Key) -> Option<S> {
        let (path, below) = split(from.filter);
        let path: Vec<&str> = path.collect();
        let removed = remove(&mut self.root, &path, below, from.group, who, &mut self.bytes);
        if removed.is_some() {
            self.bytes -= weight_of(from);
            *self.len_of(from) -= 1;
        }
        removed
    }

    /// Whether anybody subscribed to exactly this filter, alone or in a group.
    #[must_use]
    pub fn holds(&self, filter: &str) -> bool {
        let (path, below) = split(filter);
        let mut node = &self.root;
        for level in path {
            let next = if level == "+" { node.plus.as_deref() } else { node.children.get(level).map(Box::as_ref) };
            let Some(next) = next else { return false };
            node = next;
        }
        let (alone, groups) = if below { (&node.below, &node.shared_below) } else { (&node.here, &node.shared_here) };
        !alone.is_empty() || !groups.is_empty()
    }

    /// The member of a group whose turn it is.
    pub fn member(&mut self, of: Target<'_>, pick: &mut dyn FnMut(Key, S) -> bool) -> Option<(Key, S)> {
        let (path, below) = split(of.filter);
        let mut node = &mut self.root;
        for level in path {
            node = if level == "+" { node.plus.as_deref_mut()? } else { node.children.get_mut(level)?.as_mut() };
        }
        let groups = if below { &mut node.shared_below } else { &mut node.shared_here };
        let group = groups.iter_mut().find(|group| Some(&*group.name) == of.group)?;
        let mut found = Vec::new();
        Visit { found: &mut found, pick }.turn(group);
        found.pop()
    }

    /// Tell `found` every subscription that matches `topic`, and offer each group's members to `pick` in turn until it
    /// takes one.
    pub fn visit(&mut self, topic: &str, found: &mut Vec<(Key, S)>, pick: &mut dyn FnMut(Key, S) -> bool) {
        let mut visit = Visit { found, pick };
        let (first, rest) = topic.split_once('/').map_or((topic, None), |(first, rest)| (first, Some(rest)));
        let system = topic.starts_with('$');
        visit.level(&mut self.root, first, rest, system);
    }
}

/// The levels of a filter but for a final `#`, and whether there was one.
fn split(filter: &str) -> (std::str::Split<'_, char>, bool) {
    if filter == "#" {
        // An empty path: the root itself.
        let mut none = "".split('/');
        none.next();
        return (none, true);
    }
    match filter.strip_suffix("/#") {
        Some(path) => (path.split('/'), true),
        None => (filter.split('/'), false),
    }
}

struct Visit<'v, S> {
    found: &'v mut Vec<(Key, S)>,
    pick: &'v mut dyn FnMut(Key, S) -> bool,
}

impl<S: Copy> Visit<'_, S> {
    /// `level` is the next level of the topic below `node`, `rest` what follows it.
    fn level(&mut self, node: &mut Node<S>, level: &str, rest: Option<&str>, system: bool) {
        if !system {
            self.take_below(node);
        }
        if let Some(child) = node.children.get_mut(level) {
            self.step(child, rest);
        }
        if let Some(plus) = node.plus.as_mut().filter(|_| !system) {
            self.step(plus, rest);
        }
    }

    fn step(&mut self, node: &mut Node<S>, rest: Option<&str>) {
        match rest.map(|rest| rest.split_once('/').map_or((rest, None), |(level, rest)| (level, Some(rest)))) {
            Some((level, rest)) => self.level(node, level, rest, false),
            None => {
                self.found.extend_from_slice(&node.here);
                for group in &mut node.shared_here {
                    self.turn(group);
                }
                // `a/#` matches `a` too.
                self.take_below(node);
            }
        }
    }

    fn take_below(&mut self, node: &mut Node<S>) {
        self.found.extend_from_slice(&node.below);
        for group in &mut node.shared_below {
            self.turn(group);
        }
    }

    fn turn(&mut self, group: &mut Group<S>) {
        let count = group.members.len();
        for step in 0..count {
            let at = (group.turn + step) % count;
            let Some((who, what)) = group.members.get(at).copied() else { return };
            if (self.pick)(who, what) {
                group.turn = (at + 1) % count;
                self.found.push((who, what));
                return;
            }
        }
        // Nobody can take it now: it waits for the one whose turn it is.
        if let Some(member) = group.members.get(group.turn % count.max(1)).copied() {
            group.turn = (group.turn + 1) % count;
            self.found.push(member);
        }
    }
}

/// What a place of this name takes beside others, or as the first of them.
fn weight(level: &str, first: bool) -> usize {
    PLACE_BYTES + level.len() + if first { BRANCH_BYTES } else { 0 }
}

fn weight_of(to: Target<'_>) -> usize {
    SUBSCRIPTION_BYTES + 2 * (to.filter.len() + to.group.map_or(0, str::len))
}

fn remove<S: Copy>(
    node: &mut Node<S>,
    path: &[&str],
    below: bool,
    group: Option<&str>,
    who: Key,
    bytes: &mut usize,
) -> Option<S> {
    let Some((level, rest)) = path.split_first() else {
        return remove_here(node, below, group, who);
    };
    if *level == "+" {
        let child = node.plus.as_mut()?;
        let removed = remove(child, rest, below, group, who, bytes);
        if child.is_empty() {
            node.plus = None;
            *bytes -= PLACE_BYTES;
        }
        return removed;
    }
    let child = node.children.get_mut(*level)?;
    let removed = remove(child, rest, below, group, who, bytes);
    if child.is_empty() {
        node.children.remove(*level);
        *bytes -= weight(level, node.children.is_empty());
    }
    removed
}

fn remove_here<S: Copy>(node: &mut Node<S>, below: bool, group: Option<&str>, who: Key) -> Option<S> {
    let take = |members: &mut Vec<(Key, S)>| {
        let at = members.iter().position(|(member, _)| *member == who)?;
        Some(members.remove(at).1)
    };
    let Some(name) = group else {
        return take(if below { &mut node.below } else { &mut node.here });
    };
    let groups = if below { &mut node.shared_below } else { &mut node.shared_here };
    let at = groups.iter().position(|group| &*group.name == name)?;
    let removed = take(&mut groups.get_mut(at)?.members);
    groups.retain(|group| !group.members.is_empty());
    removed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::table::Table;
    use super::*;
    use crate::topic;

    fn level() -> impl Strategy<Value = String> {
        prop_oneof!["[ab]", Just(String::new()), Just("+".to_owned()), Just("$s".to_owned())]
    }

    fn filters() -> impl Strategy<Value = String> {
        (prop::collection::vec(level(), 1..4), any::<bool>()).prop_map(|(mut levels, hash)| {
            if hash {
                levels.push("#".to_owned());
            }
            levels.join("/")
        })
    }

    fn topics() -> impl Strategy<Value = String> {
        prop::collection::vec(prop_oneof!["[ab]", Just(String::new()), Just("$s".to_owned())], 1..5)
            .prop_map(|levels| levels.join("/"))
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_matching_one_by_one_finds(
            wanted in prop::collection::vec(filters(), 0..12),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            given in prop::collection::vec(topics(), 1..8),
        ) {
            let mut keys = Table::default();
            let mut tree = FilterTree::default();
            let mut known: Vec<(String, Key)> = Vec::new();
            for filter in wanted.into_iter().filter(|filter| topic::check_filter(filter).is_ok()) {
                let who = keys.insert(());
                prop_assert_eq!(tree.insert(Target { group: None, filter: &filter }, who, 1), None);
                known.push((filter, who));
            }
            for index in gone {
                if known.is_empty() { break }
                let (filter, who) = known.remove(index.index(known.len()));
                prop_assert_eq!(tree.remove(Target { group: None, filter: &filter }, who), Some(1));
            }
            prop_assert_eq!(tree.len(), known.len());
            for topic in given.into_iter().filter(|topic| topic::check_name(topic).is_ok()) {
                let mut found = Vec::new();
                tree.visit(&topic, &mut found, &mut |_, _| true);
                let found: BTreeSet<Key> = found.into_iter().map(|(who, _)| who).collect();
                let expected = known.iter().filter(|(filter, _)| topic::matches(filter, &topic)).map(|(_, who)| *who);
                prop_assert_eq!(found, expected.collect(), "{}", topic);
            }
            for (filter, who) in known {
                tree.remove(Target { group: None, filter: &filter }, who);
            }
            prop_assert!(tree.root.is_empty(), "a tree without subscriptions keeps no nodes");
            prop_assert_eq!(tree.bytes(), 0);
        }
    }

    #[test]
    fn a_group_takes_turns_and_skips_who_cannot() {
        let mut keys = Table::default();
        let mut tree = FilterTree::default();
        let members: Vec<Key> = (0..3).map(|_| keys.insert(())).collect();
        for member in &members {
            tree.insert(target("$share/g/a/#").unwrap(), *member, 0);
        }
        let mut turns = Vec::new();
        for _ in 0..4 {
            let mut found = Vec::new();
            tree.visit("a/b", &mut found, &mut |who, _| who != members[1]);
            assert_eq!(found.len(), 1);
            turns.push(found[0].0);
        }
        assert_eq!(turns, [members[0], members[2], members[0], members[2]]);
    }

    #[test]
    fn malformed_shares_are_told() {
        for bad in ["$share/", "$share/g", "$share//a", "$share/g/", "$share/g+/a"] {
            assert_eq!(target(bad), None, "{bad}");
        }
        assert_eq!(target("$share/g/a/b"), Some(Target { group: Some("g"), filter: "a/b" }));
    }
}
