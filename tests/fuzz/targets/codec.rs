//! Arbitrary bytes as a packet; see `checks/codec.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hobnail_fuzz::codec::check(bytes));
