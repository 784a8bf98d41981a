//! The pure core of hobnail: what every machine decides, and nothing that it does.
//!
//! Nothing here reads a clock, opens a socket or a file, starts a thread or draws a random number. Time and
//! randomness come in as arguments, deadlines go out as data, input and output are closed enums. So every run can be
//! replayed exactly. Dependencies point one way, in the order of the list below; `tests/tidy.rs` holds them to it.

pub mod agent;
pub mod assign;
pub mod broker;
pub mod caution;
pub mod envelope;
pub mod frame;
pub mod health;
pub mod hlc;
pub mod home;
pub mod ids;
pub mod interest;
pub mod keep;
pub mod mqtt;
pub mod node;
pub mod plan;
pub mod promise;
pub mod rights;
pub mod stream;
pub mod time;
pub mod topic;
pub mod topology;
