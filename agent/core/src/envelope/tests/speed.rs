//! What sealing costs. Not run unless asked for:
//! `cargo test --release -p hobnail-core -- --ignored --nocapture envelope::tests::speed`

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a measurement reads the clock")]
#![expect(clippy::print_stdout, reason = "a measurement tells its figures")]

use std::hint::black_box;

use super::*;

const ROUNDS: usize = 21;

/// Best and median nanoseconds of one `work`.
fn measure(times: u32, mut work: impl FnMut()) -> (f64, f64) {
    let mut took: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = std::time::Instant::now();
            (0..times).for_each(|_| work());
            start.elapsed().as_nanos() as f64 / f64::from(times)
        })
        .collect();
    took.sort_by(f64::total_cmp);
    (took[0], took[ROUNDS / 2])
}

#[test]
#[ignore = "a measurement"]
fn seal_and_open() {
    let keys = keyring(&key(1), &[]);
    for size in [16, 256, 1024, 16_384] {
        let body = vec![0x5a; size];
        let (mut sealer, mut opener) = (sealer(&keys, SALT), Opener::new(&keys));
        let (mut seq, mut out, mut scratch) = (0, Vec::new(), Vec::new());
        let times = 200_000_000 / (200 + u32::try_from(size).unwrap()) / 100;
        let seal = measure(times, || {
            out.clear();
            seq += 1;
            sealer.seal(stamp(seq), "line/press-07/temp", black_box(&body), &mut out).unwrap();
        });
        let open = measure(times, || {
            black_box(opener.open(&out, "line/press-07/temp", &mut scratch).unwrap());
        });
        let peek = measure(times, || {
            black_box(Header::peek(black_box(&out)).unwrap());
        });
        println!("{size:>6} B, ns best / median: seal {seal:.0?}, open {open:.0?}, peek {peek:.1?}");
    }
    let envelope = sealed(&mut sealer(&keys, SALT), 1, "t", b"x");
    let cold = measure(2_000, || {
        black_box(open(&mut Opener::new(&keys), &envelope, "t").unwrap());
    });
    println!("first envelope of a machine, with a new opener: {cold:.0?}");
}
