//! What the fuzz targets check, as plain functions of bytes. The targets feed them what libFuzzer finds;
//! `tests/fuzzed.rs` feeds them seeds and small changes to seeds.

mod client;
pub mod codec;
pub mod connection;
pub mod envelope;
mod script;
mod shell;
pub mod stored;
pub mod two_connections;
