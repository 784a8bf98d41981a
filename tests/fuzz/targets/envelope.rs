//! Arbitrary bytes as an envelope, a key file or a message; see `checks/envelope.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hobnail_fuzz::envelope::check(bytes));
