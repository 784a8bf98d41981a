//! Wrong passwords by address, so that guessing is slow. Knows no users: an attacker must not be able to shut one out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::time::Now;

/// Wrong passwords from one address within `WINDOW` before it is heard no more until the window is over.
const FAILURES_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses remembered at a time. With more, the one whose window began first is forgotten.
const ADDRESSES_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub struct Failures(BTreeMap<IpAddr, Failed>);

#[derive(Clone, Copy, Debug)]
struct Failed {
    since: Now,
    count: u32,
}

impl Failures {
    pub fn note(&mut self, address: IpAddr, now: Now) {
        let network = network(address);
        if let Some(known) = self.0.get_mut(&network).filter(|known| now.since(known.since) < WINDOW) {
            known.count = known.count.saturating_add(1);
            return;
        }
        if self.0.len() >= ADDRESSES_MAX {
            let oldest = self.0.iter().min_by_key(|(_, failed)| failed.since).map(|(address, _)| *address);
            oldest.map(|oldest| self.0.remove(&oldest));
        }
        self.0.insert(network, Failed { since: now, count: 1 });
    }

    #[must_use]
    pub fn are_too_many(&self, address: IpAddr, now: Now) -> bool {
        let known = self.0.get(&network(address));
        known.is_some_and(|failed| failed.count >= FAILURES_MAX && now.since(failed.since) < WINDOW)
    }
}

/// Whoever has one IPv6 address has its whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            v6.to_ipv4_mapped().map_or_else(|| IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)), IpAddr::V4)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_is_shut_out_and_no_other_and_only_for_the_window() {
        let mut failures = Failures::default();
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        for _ in 0..FAILURES_MAX {
            assert!(!failures.are_too_many(at("2001:db8::1"), Now(5)));
            failures.note(at("2001:db8::1"), Now(5));
        }
        assert!(failures.are_too_many(at("2001:db8::ffff"), Now(5)));
        assert!(!failures.are_too_many(at("2001:db8:0:1::1"), Now(5)));
        assert!(!failures.are_too_many(at("2001:db8::1"), Now(5).after(WINDOW)));
    }

    #[test]
    fn the_table_does_not_grow_for_ever() {
        let mut failures = Failures::default();
        for number in 0..5_000u32 {
            failures.note(IpAddr::V4(number.into()), Now(u64::from(number)));
        }
        assert_eq!(failures.0.len(), ADDRESSES_MAX);
    }
}
