//! Holds the house rules that no compiler holds: the core stays pure, imports point one way, files and functions stay
//! small, state machines name every case. Each rule asserts that it saw something to check.

mod tidy {
    pub mod rules;
    pub mod source;
}

use std::process::Command;

use tidy::rules;
use tidy::source::{Source, sources};

/// Longest Rust file, in lines.
const FILE_LINES_MAX: usize = 600;
/// Longest function, in lines; one that is a single flat `match` may be longer.
const FN_LINES_MAX: usize = 70;

fn check(sources: &[Source], seen_min: usize, rule: impl Fn(&Source) -> Vec<String>) {
    assert!(sources.len() >= seen_min, "the rule saw only {} files", sources.len());
    let faults: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_core_has_no_clock_no_io_no_threads_no_randomness() {
    check(&sources("agent/core/src"), 10, rules::purity);
}

#[test]
fn a_core_that_reads_a_clock_is_caught() {
    for sin in [
        "fn f() { let t = std::time::Instant::now(); }",
        "use std::time::{Duration, SystemTime};",
        "use std::{fs, net::TcpStream};",
        "fn f() { std::thread::spawn(|| ()); }",
        "use std::collections::HashMap as Map;",
        "use ring::{aead, rand::SystemRandom};",
        "async fn f() { tokio::time::sleep(d).await }",
        "fn f() -> u8 { println!(\"{:?}\", std::env::var(\"X\")); 1 }",
    ] {
        let source = Source::from_text("agent/core/src/sin.rs", sin);
        assert!(!rules::purity(&source).is_empty(), "not caught: {sin}");
    }
    let innocent = Source::from_text("agent/core/src/ok.rs", "use std::time::Duration; // Instant::now is elsewhere");
    assert_eq!(rules::purity(&innocent), Vec::<String>::new());
}

/// ring brings a random source for others. The core uses its ciphers and hashes alone: `ring::rand`, without which
/// nothing in ring draws, is on the list of what the core may not name.
#[test]
fn the_cores_dependencies_do_no_io_of_their_own() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "-p", "hobnail-core", "-e", "normal", "--prefix", "none", "--offline", "--prune", "ring"])
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(tree.lines().count() > 3, "cargo tree said nothing: {}", String::from_utf8_lossy(&output.stderr));
    let banned = ["tokio", "mio", "rand", "getrandom", "socket2", "rustix", "libc", "nix", "chrono", "time", "tracing"];
    let found: Vec<&str> =
        tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| banned.contains(name)).collect();
    assert!(found.is_empty(), "the core depends on {found:?}");
}

#[test]
fn imports_in_the_core_point_one_way() {
    check(&sources("agent/core/src"), 10, rules::core_imports);
}

#[test]
fn an_import_against_the_grain_is_caught() {
    let sin = Source::from_text("agent/core/src/mqtt/decode.rs", "use crate::broker::Broker;");
    assert!(!rules::core_imports(&sin).is_empty());
}

#[test]
fn the_shell_never_reaches_into_the_command_line() {
    check(&sources("agent/src"), 3, rules::shell_imports);
}

#[test]
fn files_and_functions_stay_small() {
    let mut all = sources("agent");
    all.extend(sources("tests"));
    check(&all, 15, |source| rules::sizes(source, FILE_LINES_MAX, FN_LINES_MAX));
}

#[test]
fn a_function_that_grows_too_long_is_caught() {
    let body = "let x = 1;\n".repeat(FN_LINES_MAX + 1);
    let source = Source::from_text("agent/src/long.rs", &format!("fn f() {{\n{body}}}\n"));
    assert_eq!(rules::sizes(&source, FILE_LINES_MAX, FN_LINES_MAX).len(), 1);
}

#[test]
fn state_machines_name_every_case() {
    let mut machines = sources("agent/core/src/broker");
    machines.extend(sources("agent/core/src").into_iter().filter(|source| {
        ["agent/core/src/plan", "agent/core/src/assign", "agent/core/src/home"]
            .iter()
            .any(|stem| source.path.starts_with(stem))
    }));
    machines.retain(|source| !source.is_test());
    check(&machines, 3, rules::wildcard_arms);
}

#[test]
fn a_wildcard_arm_over_states_is_caught() {
    let sin = "fn f(s: S) { match s { S::Idle => 1, _ => 2 }; }";
    assert_eq!(rules::wildcard_arms(&Source::from_text("agent/core/src/broker/x.rs", sin)).len(), 1);
    let fine = "fn f(s: &str) { match s { \"a\" | \"b\" => 1, _ => 2 }; }";
    assert!(rules::wildcard_arms(&Source::from_text("agent/core/src/broker/x.rs", fine)).is_empty());
}

#[test]
fn nobody_silences_a_lint_without_a_reason() {
    let mut all = sources("agent");
    all.extend(sources("tests"));
    check(&all, 15, rules::bare_allows);
}
