//! What `home` promises: a table of transitions, one claim a test, then a small network under random faults.

mod bench;
mod claims;
mod laws;
mod table;
