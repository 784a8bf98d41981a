//! The commands that never touch the network, as a user calls them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn hobnail(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    command.current_dir(folder).args(args).stdin(Stdio::null());
    command.env_remove("HOBNAIL_KEYS").env_remove("HOBNAIL_NAME").output().expect("hobnail starts")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[test]
fn explain_tells_every_hop_and_who_may_not() {
    let args = ["explain", "topologies/factory.yaml", "--from", "gate", "--topic", "alarm/gate"];
    let output = hobnail(root(), &args);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0));
    for line in [
        "  allowed by publish alarm/gate\n",
        "  topic rule alarm/#: urgent lane, acknowledged once it is on this machine's disk and another's\n",
        "  travels by york-hub, or while that is down by leeds-hub, leeds-spare\n",
        "  office  (subscribe alarm/#)\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert!(text.lines().last().unwrap().starts_with("may not get it: gate, plc-7, press-01,"), "{text}");
}

#[test]
fn explain_says_no_with_exit_code_1() {
    let args = ["explain", "topologies/factory.yaml", "--from", "gate", "--topic", "line/1", "--json"];
    let output = hobnail(root(), &args);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((json["allowed"].as_bool(), json["may_get"].as_array().map(Vec::len)), (Some(false), Some(0)));
    let output = hobnail(root(), &["explain", "topologies/factory.yaml", "--from", "gate", "--topic", "$SYS/x"]);
    assert_eq!((output.status.code(), said(&output)), (Some(1), String::new()));
}

#[test]
fn plan_names_whom_an_edit_drops() {
    let folder = tempfile::tempdir().unwrap();
    let old = fs::read_to_string(root().join("topologies/workshop.yaml")).unwrap();
    fs::write(folder.path().join("old.yaml"), &old).unwrap();
    fs::write(folder.path().join("new.yaml"), old.replace("10.0.0.11", "10.0.0.99")).unwrap();
    let output = hobnail(folder.path(), &["plan", "old.yaml", "new.yaml", "--name", "camera"]);
    assert_eq!(
        said(&output),
        "  1. link to spare at its new place 10.0.0.99:8883\n     drops: the link to spare\n\n\
         1 step, drops the link to spare; every other connection lives on\n"
    );
    let same = hobnail(folder.path(), &["plan", "old.yaml", "old.yaml", "--name", "camera"]);
    assert_eq!(said(&same), "nothing changes\n");
    let all = hobnail(folder.path(), &["plan", "old.yaml", "new.yaml"]);
    assert_eq!(said(&all).lines().count(), 5);
    let json = hobnail(folder.path(), &["plan", "old.yaml", "new.yaml", "--name", "camera", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json[0]["steps"][0]["drops"]["link"], "spare");
}

#[test]
fn plan_of_an_unknown_machine_fails_and_of_a_bad_file_exits_78() {
    let file = "topologies/workshop.yaml";
    assert_eq!(hobnail(root(), &["plan", file, file, "--name", "nobody"]).status.code(), Some(1));
    let bad = "tests/topologies-bad/no-broker.yaml";
    assert_eq!(hobnail(root(), &["plan", file, bad]).status.code(), Some(78));
}

#[test]
fn graph_draws_every_machine_in_every_format() {
    for format in ["svg", "mermaid", "dot"] {
        let output = hobnail(root(), &["graph", "topologies/factory.yaml", "--format", format]);
        assert_eq!(output.status.code(), Some(0), "{format}");
        let text = said(&output);
        for name in ["acme", "leeds-hub", "york-hub", "press-01", "press-20", "plc-7", "gate"] {
            assert!(text.contains(name), "{format} lacks {name}");
        }
    }
    let svg = said(&hobnail(root(), &["graph", "topologies/solo.yaml"]));
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(!svg.contains("href"), "the picture needs nothing from elsewhere");
}

#[test]
fn init_writes_a_topology_that_checks_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let args =
        ["init", "--network", "lab", "--broker", "hub=10.0.0.1", "--broker", "b=10.0.0.2", "--client", "press-1"];
    let first = hobnail(folder.path(), &args);
    assert_eq!(first.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&first.stderr).contains("`hobnail key new network`"), "what is to do next");
    let written = fs::read_to_string(folder.path().join("topology.yaml")).unwrap();
    assert!(written.contains("  hub: { host: 10.0.0.1, backups: [b] }\n"), "{written}");
    assert_eq!(hobnail(folder.path(), &["check", "topology.yaml"]).status.code(), Some(0));
    assert_eq!(hobnail(folder.path(), &args).status.code(), Some(1));
    assert_eq!(fs::read_to_string(folder.path().join("topology.yaml")).unwrap(), written);
}

#[test]
fn init_writes_nothing_from_answers_that_make_no_topology() {
    let folder = tempfile::tempdir().unwrap();
    let output = hobnail(folder.path(), &["init", "--broker", "hub=10.0.0.999"]);
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn fmt_lays_out_without_losing_a_comment_and_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.yaml");
    let wild =
        "version: 1   \nnetwork: n\n\n\n\nbrokers: # all\n      hub: # first\n         host: 10.0.0.1  # here\n# end\n";
    fs::write(&file, wild).unwrap();
    assert_eq!(hobnail(folder.path(), &["fmt", "--check", "t.yaml"]).status.code(), Some(1));
    assert_eq!(fs::read_to_string(&file).unwrap(), wild);
    assert_eq!(hobnail(folder.path(), &["fmt", "t.yaml"]).status.code(), Some(0));
    let tidy = "version: 1\nnetwork: n\n\nbrokers: # all\n  hub: # first\n    host: 10.0.0.1  # here\n# end\n";
    assert_eq!(fs::read_to_string(&file).unwrap(), tidy);
    assert_eq!(hobnail(folder.path(), &["fmt", "--check", "t.yaml"]).status.code(), Some(0));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the file");
}

#[test]
fn shipped_topologies_are_laid_out() {
    let output = hobnail(
        root(),
        &["fmt", "--check", "topologies/solo.yaml", "topologies/workshop.yaml", "topologies/factory.yaml"],
    );
    assert_eq!((output.status.code(), said(&output)), (Some(0), String::new()));
}

#[test]
fn completions_and_manual_pages_come_from_the_same_commands() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        assert!(said(&hobnail(root(), &["completions", shell])).contains("explain"), "{shell}");
    }
    let mut unread = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = unread.args(["completions", "bash"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(hobnail(folder.path(), &["man", "pages"]).status.code(), Some(0));
    let page = fs::read_to_string(folder.path().join("pages/hobnail-check.1")).unwrap();
    assert!(page.contains("Check a topology file"), "{page}");
}

#[test]
fn a_machine_needs_the_keys_of_its_network_and_no_secret_of_another_machine() {
    let folder = tempfile::tempdir().unwrap();
    for key in ["k1", "k2"] {
        let made = hobnail(folder.path(), &["key", "new", key, "--keys", "."]);
        assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let factory = root().join("topologies/factory.yaml");
    let check = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
        command.arg("check").arg(&factory).arg("--keys").arg(folder.path()).env("HOBNAIL_NAME", name);
        let output = command.output().unwrap();
        (output.status.code(), said(&output))
    };
    assert_eq!(check("office"), (Some(0), String::new()));
    for (name, missing) in [("leeds-hub", 2), ("york-hub", 1), ("laptop", 2)] {
        let (code, told) = check(name);
        assert_eq!((code, told.matches("is not there").count()), (Some(78), missing), "{name}: {told}");
    }
}

#[test]
fn a_wrong_command_line_exits_2_and_data_stays_apart_from_talk() {
    assert_eq!(hobnail(root(), &["chekc"]).status.code(), Some(2));
    let output = hobnail(root(), &["explain", "no-such-file.yaml", "--from", "a", "--topic", "b"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(output.stdout.is_empty() && !output.stderr.is_empty());
}
