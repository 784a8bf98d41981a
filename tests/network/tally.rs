//! What a subscriber's memory says about a publisher: lost, twice, out of order, and how long nothing came.

use std::time::{Duration, Instant};

use super::programs::{Heard, Subscriber, reaches};

/// The sequence numbers of one publisher's messages, as they came.
pub fn seqs(heard: &[Heard], publisher: &str) -> Vec<(u64, Instant)> {
    let prefix = format!("{publisher} ");
    let of = |heard: &Heard| {
        let text = std::str::from_utf8(&heard.payload).ok()?.strip_prefix(&prefix)?;
        Some((text.split(' ').next()?.parse().ok()?, heard.at))
    };
    heard.iter().filter_map(of).collect()
}

/// Everything came, once, in order: `sent` messages of `publisher`, of which nothing is missing at the end.
pub fn expect_all(subscriber: &Subscriber, who: &str, publisher: &str, sent: u64) {
    reaches(sent, || subscriber.look(|all| seqs(all, publisher).len()) as u64);
    let got: Vec<u64> = subscriber.look(|all| seqs(all, publisher)).into_iter().map(|(seq, _)| seq).collect();
    let mut sorted = got.clone();
    sorted.sort_unstable();
    sorted.dedup();
    let lost: Vec<u64> = (0..sent).filter(|seq| sorted.binary_search(seq).is_err()).collect();
    let twice = got.len() - sorted.len();
    assert!(
        lost.is_empty() && twice == 0,
        "{who} got {} of {sent} messages of {publisher}: {} lost (first {:?}), {twice} twice",
        sorted.len(),
        lost.len(),
        lost.first()
    );
    let turned = got.windows(2).find(|pair| pair[0] > pair[1]);
    assert!(turned.is_none(), "{who} got messages of {publisher} out of order: {turned:?}");
}

/// The longest time without a message of `publisher`, of those that a wait from `from` to now shows. Ends with a message
/// that was sent after `from`, so that no gap is cut off.
pub fn longest_gap(subscriber: &Subscriber, publisher: &str, from: Instant) -> Duration {
    let all = subscriber.look(|all| seqs(all, publisher));
    let times = all.iter().map(|(_, at)| *at).skip_while(|at| *at + Duration::from_millis(100) < from);
    let times: Vec<Instant> = times.collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().expect("messages came")
}

/// Wait until `subscriber` has a message of `publisher` at or after number `seq`.
pub fn await_seq(subscriber: &Subscriber, publisher: &str, seq: u64) {
    // Counted from 1, so that message 0 is waited for, too.
    let newest = || {
        subscriber.look(|all| {
            let newest = seqs(&all[all.len().saturating_sub(200)..], publisher);
            newest.iter().map(|(got, _)| *got + 1).max().unwrap_or(0)
        })
    };
    assert!(reaches(seq + 1, newest), "message {seq} of {publisher} does not come, nor any from {} on", newest());
}

/// The value that `percent` of 100 are at or below.
pub fn percentile(values: &[Duration], percent: usize) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

/// One line of figures, for whoever runs this by name.
pub fn report(what: &str, gaps: &[Duration]) {
    let [p50, p99, max] = [50, 99, 100].map(|percent| percentile(gaps, percent));
    eprintln!("{what}: {} times, longest gap p50 {p50:.0?}, p99 {p99:.0?}, most {max:.0?}", gaps.len());
}
