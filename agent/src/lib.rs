//! The shell of hobnail: sockets, files, signals and the command line around the pure core.

pub mod atomic_file;
pub mod auth;
pub mod change;
pub mod cli;
pub mod client;
pub mod control;
pub mod doctor;
pub mod doors;
pub mod history;
pub mod journal;
pub mod keeping;
pub mod keys;
pub mod links;
pub mod manager;
pub mod network;
pub mod pages;
pub mod realm;
pub mod run;
pub mod running;
pub mod secrets;
pub mod state_dir;
pub mod store;
pub mod texts;
pub mod topology_files;
pub mod whoami;
pub mod wire;
