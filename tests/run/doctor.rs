//! `hobnail doctor` from outside: a healthy machine, and one fault at a time.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::agent::{self, Agent, solo};

/// A folder with a topology, keys and state; `doctor` on them.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(topology: &str) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for (name, mode) in [("keys", 0o700), ("state", 0o750)] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let bench = Self { folder };
        fs::write(bench.path("t.yaml"), topology).unwrap();
        bench
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn secret(&self, name: &str, text: &str, mode: u32) {
        let path = self.path("keys").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn doctor(&self, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
        command.arg("doctor").arg(self.path("t.yaml")).env_remove("HOBNAIL_NAME");
        command.arg("--keys").arg(self.path("keys")).arg("--state").arg(self.path("state"));
        command.args(more).output().unwrap()
    }

    /// What it finds, as (check, health, text, cure).
    fn findings(&self, more: &[&str]) -> Vec<(String, String, String, String)> {
        let output = self.doctor(&[&["--json"], more].concat());
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let word = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let findings = json.as_array().expect("a list").iter();
        let findings = findings
            .map(|one| (word(one, "check"), word(one, "health"), word(one, "text"), word(one, "cure")))
            // What this computer itself is like is not for this test to say.
            .filter(|(check, ..)| !["clock", "disk", "power", "service", "agent"].contains(&check.as_str()));
        findings.collect()
    }

    /// The one sick finding of `check`.
    fn sick(&self, check: &str, more: &[&str]) -> (String, String) {
        let all = self.findings(more);
        let found = all.iter().find(|(name, health, ..)| name == check && health == "sick");
        let (_, _, text, cure) = found.unwrap_or_else(|| panic!("{check} is well: {all:#?}"));
        assert!(!cure.is_empty(), "a cure for {text}");
        (text.clone(), cure.clone())
    }
}

const TWO: &str =
    "version: 1\nnetwork: two\nbrokers:\n  hub: { host: 127.0.0.1, doors: { agents: 1 } }\nclients:\n  me: {}\n";

#[test]
fn a_machine_that_runs_well_has_no_sick_finding() {
    let agent = Agent::start(&solo(""), "solo");
    let bench = Bench::new(&solo("").replace("127.0.0.1:0", &agent.programs().to_string()));
    let findings = bench.findings(&[]);
    let checks: Vec<&str> = findings.iter().map(|(check, ..)| check.as_str()).collect();
    assert_eq!(checks, ["topology", "secrets", "versions", "ports"]);
    assert!(findings.iter().all(|(_, health, ..)| health == "fine"), "{findings:#?}");
    let told = String::from_utf8(bench.doctor(&[]).stdout).unwrap();
    assert!(told.contains(&format!("fine  ports     the program door at {} is open\n", agent.programs())), "{told}");
}

#[test]
fn a_topology_with_problems_is_told_and_exits_1() {
    let bench = Bench::new("version: 1\n");
    assert!(bench.sick("topology", &[]).0.contains("t.yaml cannot be used"));
    assert_eq!(bench.doctor(&[]).status.code(), Some(1));
}

#[test]
fn a_machine_that_the_topology_does_not_know_is_told_how_to_say_its_name() {
    let bench = Bench::new(TWO);
    let (text, cure) = bench.sick("topology", &["--name", "stranger"]);
    assert!(text.contains("`stranger`") && cure.contains("HOBNAIL_NAME"), "{text} {cure}");
}

#[test]
fn a_missing_an_open_and_a_nonsense_key_are_sick_and_the_rest_is_examined_all_the_same() {
    let bench = Bench::new(TWO);
    let named = ["--name", "me"];
    assert!(bench.sick("secrets", &named).0.contains("network.key is not there"));
    bench.secret("network.key", "nonsense\n", 0o644);
    assert!(bench.sick("secrets", &named).0.contains("chmod 600"));
    bench.secret("network.key", "nonsense\n", 0o600);
    assert!(bench.sick("secrets", &named).0.contains("holds no key"));
    assert!(bench.sick("names", &named).0.starts_with("hub does not answer at 127.0.0.1:1: connection refused"));
    fs::remove_file(bench.path("keys/network.key")).unwrap();
    let mut make = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    assert!(make.args(["key", "new", "--keys"]).arg(bench.path("keys")).output().unwrap().status.success());
    assert!(bench.findings(&named).iter().all(|(check, health, ..)| check != "secrets" || health == "fine"));
    fs::set_permissions(bench.path("keys"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(bench.sick("secrets", &named).1.starts_with("chmod 700 "));
}

#[test]
fn a_door_that_another_program_has_is_told_with_the_programs_name() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = Bench::new(&solo("").replace("127.0.0.1:0", &listener.local_addr().unwrap().to_string()));
    let (text, cure) = bench.sick("ports", &[]);
    assert!(text.contains(&format!("(process {})", std::process::id())) && cure.contains("disable"), "{text}");
    drop(listener);
    assert!(bench.sick("ports", &[]).0.starts_with("nobody listens at "));
}

#[test]
fn an_edit_after_the_start_is_noticed() {
    let mut command = agent::hobnail(&solo(""), "solo");
    let file = command.get_args().nth(1).expect("run FILE").to_owned();
    let _agent = Agent::spawn(&mut command);
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_hobnail")).arg("doctor").arg(&file).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("was edited after process"), "{told}");
}

/// By what it runs, not by the times of files: those need a clock.
#[test]
fn an_agent_of_a_network_that_runs_another_topology_than_the_file_is_noticed() {
    let held = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = held.local_addr().unwrap().port();
    drop(held);
    let text = TWO.replace("agents: 1", &format!("agents: {port}, programs: \"127.0.0.1:0\""));
    let bench = Bench::new(&text);
    let mut make = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    assert!(make.args(["key", "new", "--keys"]).arg(bench.path("keys")).output().unwrap().status.success());
    let mut run = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    run.arg("run").arg(bench.path("t.yaml")).args(["--name", "hub", "--keys"]).arg(bench.path("keys"));
    run.arg("--state").arg(bench.path("state")).env("RUNTIME_DIRECTORY", bench.folder.path());
    let _hub = Agent::spawn(run.env_remove("HOBNAIL_CONTROL"));
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    // The second file is none that the agent could read meanwhile.
    for (name, more, drifted) in
        [("t.yaml", "# a remark\n", false), ("next.yaml", "topics: [{ match: \"a/#\", ack: memory }]\n", true)]
    {
        let file = bench.path(name);
        fs::write(&file, format!("{text}{more}")).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_hobnail"));
        doctor.arg("doctor").arg(&file).args(["--name", "hub", "--keys"]).arg(bench.path("keys"));
        let output = doctor.env("RUNTIME_DIRECTORY", bench.folder.path()).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(told.contains("the agent runs "), drifted, "{told}");
        assert!(!told.contains("was edited after"), "{told}");
    }
}

#[test]
fn a_bundle_holds_the_findings_and_no_secret_and_overwrites_nothing() {
    let bench = Bench::new(TWO);
    bench.secret("network.key", "hobnail 0123456789abcdef0123456789abcdef\n", 0o600);
    let topology = format!("{TWO}# pasted by mistake: 0123456789abcdef0123456789abcdef\n# password: hunter2\n");
    fs::write(bench.path("t.yaml"), topology).unwrap();
    let bundle = bench.path("b.tar");
    let args = ["--name", "me", "--bundle", bundle.to_str().unwrap()];
    bench.doctor(&args);
    assert_eq!(fs::metadata(&bundle).unwrap().permissions().mode() & 0o777, 0o600);
    let unpacked = Command::new("tar").arg("-xOf").arg(&bundle).output().unwrap();
    let text = String::from_utf8_lossy(&unpacked.stdout);
    assert!(unpacked.status.success());
    for there in ["# pasted by mistake: [removed]", "# password: [removed]", "network.key", "\"check\": \"clock\""] {
        assert!(text.contains(there), "{there} is not in the bundle");
    }
    assert!(!text.contains("0123456789abcdef") && !text.contains("hunter2"));
    let again = bench.doctor(&args);
    assert!(String::from_utf8_lossy(&again.stderr).contains("failed to write"), "the old bundle stays");
    assert!(Path::new(&bundle).exists());
}
