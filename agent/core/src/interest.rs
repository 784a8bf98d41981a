//! What a machine wants to hear: its programs' filters, made few, so that the whole network can know them.

use std::collections::BTreeSet;

use crate::topic::{self, Filter};

/// More filters than this are made wider until they fit.
pub const FILTERS_MAX: usize = 256;
/// As many are looked at closely.
const COMPARED_MAX: usize = 4 * FILTERS_MAX;
/// More bytes than this too.
const BYTES_MAX: usize = 32 << 10;

/// A few filters that together match all that is wanted, and perhaps more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest(Vec<Filter>);

impl Interest {
    /// Leave out what another one covers; then, while there are too many, cut the deepest level off all that have it.
    /// Topics that begin with `$` belong to one machine, so filters for them are nobody else's business.
    pub fn of<'a>(filters: impl IntoIterator<Item = &'a str>) -> Self {
        let mut wanted: BTreeSet<String> =
            filters.into_iter().filter(|filter| !filter.starts_with('$')).map(str::to_owned).collect();
        // Looking for what covers what takes the square of their number.
        while wanted.len() > COMPARED_MAX {
            wanted = cut(wanted.iter().map(String::as_str));
        }
        loop {
            let few = without_covered(&wanted);
            let bytes: usize = few.iter().map(|filter| filter.as_str().len() + 2).sum();
            if few.len() <= FILTERS_MAX && bytes <= BYTES_MAX {
                return Self(few);
            }
            wanted = cut(few.iter().map(Filter::as_str));
        }
    }

    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.0.iter().any(|filter| filter.matches(topic))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn filters(&self) -> &[Filter] {
        &self.0
    }

    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for filter in &self.0 {
            let text = filter.as_str();
            out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out
    }

    /// `None` for anything that `to_bytes` does not write.
    #[must_use]
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut filters = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
            let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            filters.push(Filter::new(std::str::from_utf8(text).ok()?).ok()?);
            bytes = rest;
        }
        (bytes.is_empty() && filters.len() <= FILTERS_MAX).then_some(Self(filters))
    }
}

fn without_covered(wanted: &BTreeSet<String>) -> Vec<Filter> {
    let mut few: Vec<Filter> = Vec::new();
    // Wider ones first, so that one pass is enough: a wildcard sorts before letters, but not always before its kin.
    let mut ordered: Vec<&String> = wanted.iter().collect();
    ordered.sort_by_key(|filter| (levels(filter), !filter.contains(['#', '+'])));
    for text in ordered {
        if few.iter().any(|wide| wide.covers(text)) {
            continue;
        }
        few.retain(|narrow| !topic::covers(text, narrow.as_str()));
        // What is no filter cannot have been subscribed to.
        few.extend(Filter::new(text));
    }
    few
}

/// `#` reaches down for ever, so it counts as less deep than what stands beside it.
fn levels(filter: &str) -> usize {
    filter.split('/').filter(|level| *level != "#").count()
}

/// All of them, the deepest ones a level shorter.
fn cut<'a>(filters: impl Iterator<Item = &'a str> + Clone) -> BTreeSet<String> {
    let deepest = filters.clone().map(levels).max().unwrap_or(1);
    filters.map(|filter| shorter(filter, deepest)).collect()
}

fn shorter(filter: &str, deepest: usize) -> String {
    if levels(filter) < deepest {
        return filter.to_owned();
    }
    let kept: Vec<&str> = filter.split('/').take(deepest.saturating_sub(1)).collect();
    if kept.is_empty() { "#".to_owned() } else { format!("{}/#", kept.join("/")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_covered_is_left_out() {
        let interest = Interest::of(["a/b", "a/+", "a/b/c", "x/#", "x", "x/y"]);
        let texts: Vec<&str> = interest.filters().iter().map(Filter::as_str).collect();
        assert_eq!(texts, ["x/#", "a/+", "a/b/c"]);
    }

    #[test]
    fn ten_thousand_filters_become_few_and_still_match() {
        let many: Vec<String> = (0..10_000).map(|n| format!("line/{}/machine/{n}", n % 100)).collect();
        let interest = Interest::of(many.iter().map(String::as_str));
        assert!(interest.filters().len() <= FILTERS_MAX, "{}", interest.filters().len());
        assert!(many.iter().all(|topic| interest.matches(topic)));
        assert!(!interest.matches("other"));
    }

    #[test]
    fn what_belongs_to_one_machine_is_not_told() {
        assert!(Interest::of(["$SYS/#", "$hobnail/nodes/+"]).is_empty());
    }

    #[test]
    fn filters_of_one_level_become_everything() {
        let many: Vec<String> = (0..300).map(|n| format!("t{n}")).collect();
        assert_eq!(Interest::of(many.iter().map(String::as_str)), Interest::of(["#"]));
    }

    proptest! {
        #[test]
        fn no_topic_is_lost_by_making_filters_few(
            filters in prop::collection::vec("[ab+]{1}(/[ab+]{1}){0,3}(/#)?", 0..12),
            topics in prop::collection::vec("[abc](/[abc]){0,4}", 0..12),
        ) {
            let interest = Interest::of(filters.iter().map(String::as_str));
            for topic in &topics {
                let wanted = filters.iter().any(|filter| topic::matches(filter, topic));
                prop_assert_eq!(interest.matches(topic), wanted, "{}", topic);
            }
            prop_assert_eq!(Interest::from_bytes(&interest.to_bytes()), Some(interest));
        }

        #[test]
        fn any_bytes_are_an_interest_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(interest) = Interest::from_bytes(&bytes) {
                prop_assert_eq!(interest.to_bytes(), bytes);
            }
        }
    }
}
