//! Arbitrary things on a disk; see `checks/stored.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hobnail_fuzz::stored::check(bytes));
