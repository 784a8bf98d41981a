//! Arbitrary scripts beside an innocent pair; see `checks/two_connections.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hobnail_fuzz::two_connections::check(bytes));
