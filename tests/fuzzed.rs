//! What the fuzz targets check, on their seeds and on small changes to them. `tests/deep fuzz` looks for longer.

use proptest::prelude::*;

#[path = "fuzz/checks/lib.rs"]
mod checks;

/// A seed with some bytes changed, taken out or put in.
fn changed(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), 0..4, any::<u8>());
    (prop::sample::select(seeds), prop::collection::vec(change, 0..6)).prop_map(|(mut bytes, changes)| {
        for (at, kind, byte) in changes {
            let at = at.index(bytes.len() + 1);
            match (kind, bytes.get_mut(at)) {
                (0, Some(_)) => {
                    bytes.remove(at);
                }
                (1, _) => bytes.insert(at, byte),
                (2, Some(here)) => *here = here.wrapping_add(1),
                (_, Some(here)) => *here = byte,
                (_, None) => {}
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_decodes_encodes_to_what_decodes_to_the_same(input in changed(checks::codec::seeds())) {
        checks::codec::check(&input);
    }

    #[test]
    fn whatever_clients_do_stays_within_bounds_and_leaves_nothing(input in changed(checks::connection::seeds())) {
        checks::connection::check(&input);
    }

    #[test]
    fn whatever_others_do_an_innocent_pair_gets_through(input in changed(checks::connection::seeds())) {
        checks::two_connections::check(&input);
    }

    #[test]
    fn whatever_a_disk_holds_an_agent_starts_and_so_does_the_next(input in changed(checks::stored::seeds())) {
        checks::stored::check(&input);
    }

    #[test]
    fn nothing_opens_that_was_not_sealed(input in changed(checks::envelope::seeds())) {
        checks::envelope::check(&input);
    }
}

#[test]
fn every_seed_passes() {
    for seed in checks::envelope::seeds() {
        checks::envelope::check(&seed);
    }
    for seed in checks::stored::seeds() {
        checks::stored::check(&seed);
    }
    for seed in checks::codec::seeds() {
        checks::codec::check(&seed);
    }
    for seed in checks::connection::seeds() {
        checks::connection::check(&seed);
        checks::two_connections::check(&seed);
    }
}
