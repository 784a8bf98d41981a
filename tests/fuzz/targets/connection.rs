//! Arbitrary scripts of a few clients; see `checks/connection.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hobnail_fuzz::connection::check(bytes));
