//! Changes of a running agent from the command line: in force at once, saved when that is asked for, taken back by number.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::agent::Agent;

const LIMIT: Duration = Duration::from_secs(20);
/// Kills of an agent that changes; `HOBNAIL_KILLS=300` for as many as the promise names.
const KILLS: u32 = 5;

const SOLO: &str = "# mine\nversion: 1\nnetwork: test\ndoors: { programs: \"127.0.0.1:0\" } # any\n\nbrokers:\n  solo: { host: localhost } # here\n";

/// One machine with a file, a state folder and a control socket of its own.
struct Machine {
    folder: tempfile::TempDir,
    name: &'static str,
    keys: Option<PathBuf>,
}

impl Machine {
    fn new(topology: &str, name: &'static str, keys: Option<&Path>) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::write(folder.path().join("t.yaml"), topology).unwrap();
        Self { folder, name, keys: keys.map(Path::to_owned) }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("t.yaml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn tool(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
        command.args(line.split(' ')).current_dir(self.folder.path()).env_remove("HOBNAIL_KEYS");
        command.env("HOBNAIL_CONTROL", self.folder.path().join("control"));
        command.env("HOBNAIL_STATE", self.folder.path().join("state"));
        command
    }

    fn start(&self, more: &str) -> Agent {
        let mut command = self.tool(&format!("run t.yaml --name {}{more}", self.name));
        if let Some(keys) = &self.keys {
            command.arg("--keys").arg(keys);
        }
        Agent::spawn(&mut command)
    }

    /// What came of a command that is to end so.
    #[track_caller]
    fn done(&self, line: &str, code: i32) -> String {
        let Output { status, stdout, stderr } = self.tool(line).output().unwrap();
        let said = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(code), "{line}: {said}");
        said
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        let output = self.tool(line).arg("--json").output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn unsaved(&self) -> Vec<String> {
        serde_json::from_value(self.json("status")["topology"]["unsaved"].clone()).unwrap()
    }

    /// Cause and account of every topology that is kept, once there are so many.
    fn history(&self, len: usize) -> Vec<(String, String)> {
        let end = Instant::now() + LIMIT;
        loop {
            let listed = self.json("history");
            assert_eq!(listed["damaged"], Value::Array(Vec::new()));
            let entries = listed["entries"].as_array().cloned().unwrap_or_default();
            let word = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            if entries.len() >= len {
                return entries.iter().map(|entry| (word(entry, "cause"), word(entry, "what"))).collect();
            }
            assert!(Instant::now() < end, "the history has {} entries", entries.len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn pair(cause: &str, what: &str) -> (String, String) {
    (cause.to_owned(), what.to_owned())
}

#[test]
fn a_change_is_in_force_at_once_and_in_the_file_when_it_is_saved() {
    let machine = Machine::new(SOLO, "solo", None);
    let _agent = machine.start("");
    machine.history(1);
    assert_eq!(machine.done("diff", 0), "");
    assert!(machine.done("save", 0).contains("nothing to save"));

    let dry = machine.done("set limits.queue 77 --dry-run", 0);
    assert!(dry.contains("1. change the limits") && dry.contains("dry run"), "{dry}");
    assert_eq!(machine.done("diff", 0), "");

    let said = machine.done("set limits.queue 77", 0);
    assert!(said.contains("1. change the limits") && said.contains("in force"), "{said}");
    assert_eq!(machine.text(), SOLO, "the file waits for `save`");
    assert_eq!(machine.unsaved(), ["set limits.queue 77"]);
    let page = machine.done("status", 0);
    assert!(page.contains("not-saved") && page.contains("hobnail save"), "{page}");
    let diff = machine.done("diff", 1);
    assert!(diff.contains("\n+limits: { queue: 77 }\n") && diff.contains("solo  "), "{diff}");
    assert_eq!(machine.history(2), [pair("boot", ""), pair("command", "set limits.queue 77")]);

    // Looking at a file that says what it said forgets nothing.
    machine.done("reload", 0);
    assert_eq!(machine.unsaved(), ["set limits.queue 77"]);

    assert!(machine.done("save", 0).starts_with("wrote "));
    assert_eq!(machine.text(), format!("{SOLO}limits: {{ queue: 77 }}\n"));
    assert_eq!((machine.unsaved(), machine.done("diff", 0)), (Vec::new(), String::new()));
    machine.done("remove limits.queue --save", 0);
    assert_eq!(machine.text(), SOLO);
    assert_eq!(machine.done("status", 0).matches("not-saved").count(), 0);
}

#[test]
fn a_pipe_in_the_place_of_the_file_is_told_and_nobody_waits_for_it() {
    let machine = Machine::new(SOLO, "solo", None);
    let _agent = machine.start("");
    machine.history(1);
    fs::remove_file(machine.file()).unwrap();
    assert!(Command::new("mkfifo").arg(machine.file()).status().unwrap().success());
    assert!(machine.done("reload", 78).contains("it is not a file"));
    assert!(machine.done("check t.yaml", 78).contains("it is not a file"));
    fs::remove_file(machine.file()).unwrap();
    fs::write(machine.file(), SOLO).unwrap();
    machine.done("reload", 0);
    assert_eq!(machine.done("status", 0).matches("reload-refused").count(), 0);
}

#[test]
fn a_file_that_is_not_in_force_is_not_taken_for_what_runs() {
    let machine = Machine::new(SOLO, "solo", None);
    let _agent = machine.start(" --no-watch");
    machine.history(1);
    for (edited, told) in
        [(SOLO.replace("brokers", "brokrs"), "the file is no topology"), (SOLO.replace("test", "other"), "")]
    {
        fs::write(machine.file(), &edited).unwrap();
        let diff = machine.done("diff", 1);
        assert!(diff.contains("--- ") && diff.contains(told), "{diff}");
        assert!(machine.done("save", 1).contains("is not what the agent read last"));
        assert_eq!(machine.text(), edited);
        machine.done("save --force", 0);
        assert_eq!((machine.text(), machine.done("diff", 0)), (SOLO.to_owned(), String::new()));
    }
}

#[test]
fn an_agent_that_is_called_otherwise_than_the_one_that_is_meant_is_not_asked() {
    let machine = Machine::new(SOLO, "solo", None);
    let _agent = machine.start("");
    machine.history(1);
    assert!(machine.done("set limits.queue 77 --name press", 75).contains("is called solo, not press"));
    assert_eq!(machine.unsaved(), Vec::<String>::new());
    machine.done("set limits.queue 77 --name solo", 0);
}

#[test]
fn a_change_that_makes_no_topology_changes_nothing() {
    let machine = Machine::new(SOLO, "solo", None);
    let _agent = machine.start("");
    machine.history(1);
    for (line, code, told) in [
        ("set limits.qeue 7", 78, "error[unknown-key]"),
        ("add client a", 1, "network.key is not there"),
        ("remove broker solo", 78, "error["),
        ("set client a --role r", 1, "no client is called `a`"),
        ("remove store.max", 1, "there is no `store.max`"),
        ("rollback 9", 1, "topology 9 cannot be had"),
        ("set network other", 1, "restart"),
    ] {
        let said = machine.done(line, code);
        assert!(said.contains(told), "{line}: {said}");
        assert_eq!((machine.unsaved(), machine.text().as_str()), (Vec::new(), SOLO), "{line}");
    }
    assert_eq!(machine.done("diff", 0), "");
    assert_eq!(machine.history(1).len(), 1);
}

#[test]
fn what_somebody_else_wrote_is_not_written_over_unasked_and_never_lost() {
    let machine = Machine::new(SOLO, "solo", None);
    let _agent = machine.start(" --no-watch");
    machine.done("set limits.queue 77", 0);
    let by_hand = format!("{SOLO}# by hand\nstore: {{ max: 1MB }}\n");
    fs::write(machine.file(), &by_hand).unwrap();
    assert!(machine.done("save", 1).contains("is not what the agent read last"));
    assert_eq!(machine.text(), by_hand);
    machine.done("save other.yaml", 0);
    let saved = format!("{SOLO}limits: {{ queue: 77 }}\n");
    assert_eq!(fs::read_to_string(machine.folder.path().join("other.yaml")).unwrap(), saved);
    assert!(machine.done("save other.yaml", 1).contains("is there already"));

    machine.done("save --force", 0);
    assert_eq!(machine.text(), saved);
    assert_eq!(fs::read_to_string(machine.folder.path().join("t.yaml.replaced")).unwrap(), by_hand);
    assert_eq!(machine.unsaved(), Vec::<String>::new());
}

#[test]
fn an_edited_file_takes_the_place_of_what_was_not_saved_and_the_history_still_has_it() {
    let machine = Machine::new(SOLO, "solo", None);
    let _agent = machine.start("");
    machine.done("set limits.queue 77", 0);
    machine.history(2);
    fs::write(machine.file(), format!("{SOLO}limits: {{ queue: 88 }}\n")).unwrap();
    let history = machine.history(3);
    assert_eq!(history[2], pair("edit", ""));
    assert_eq!(machine.unsaved(), Vec::<String>::new());
    assert!(machine.done("diff 2", 1).contains("\n-limits: { queue: 77 }\n+limits: { queue: 88 }\n"));

    machine.done("rollback 2", 0);
    assert_eq!(machine.unsaved(), ["rollback 2"]);
    assert_eq!(machine.done("diff 2", 0), "");
    assert_eq!(machine.history(4)[3], pair("rollback", "rollback 2"));
    assert!(machine.done("diff 1 3", 1).contains("\n+limits: { queue: 88 }\n"));
    machine.done("rollback 1 --save", 0);
    assert_eq!(machine.text(), SOLO, "byte for byte the file of the beginning");
}

struct Network {
    keys: tempfile::TempDir,
    topology: String,
}

impl Network {
    fn new() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let mut key = Command::new(env!("CARGO_BIN_EXE_hobnail"));
        assert!(key.args(["key", "new", "k1", "--keys"]).arg(keys.path()).output().unwrap().status.success());
        let [hub, spare] = [(); 2].map(|()| TcpListener::bind("0.0.0.0:0").unwrap());
        let [hub, spare] = [hub, spare].map(|held| held.local_addr().unwrap().port());
        let topology = format!(
            "version: 1\nnetwork: test\nheartbeat: {{ every: 500ms, miss: 3 }}\nkeys: {{ active: k1 }}\n\
             doors: {{ programs: \"127.0.0.1:0\" }}\nbrokers:\n\
             \x20 hub: {{ host: 127.0.0.1, backups: [spare], doors: {{ agents: {hub} }} }}\n\
             \x20 spare: {{ host: 127.0.0.1, doors: {{ agents: {spare} }} }}\nclients:\n\x20 press: {{}}\n\x20 office: {{}}\n"
        );
        Self { keys, topology }
    }

    fn machine(&self, name: &'static str) -> Machine {
        Machine::new(&self.topology, name, Some(self.keys.path()))
    }
}

fn wait_until(what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_another_machine_runs_by_is_read_from_it_and_compared() {
    let network = Network::new();
    let machines = ["hub", "spare", "press", "office"].map(|name| network.machine(name));
    let _agents = machines.each_ref().map(|machine| machine.start(""));
    let [_, _, press, office] = &machines;
    wait_until("office reads press", || press.tool("diff --with office").output().unwrap().status.success());

    office.done("set client office --publish a/b", 0);
    let diff = press.done("diff --with office", 1);
    assert!(diff.contains("\n-  office: {}\n+  office: { publish: [a/b] }\n"), "{diff}");
    let drifts = |machine: &Machine| machine.tool("status").output().map(|out| out.stdout).unwrap_or_default();
    wait_until("press hears of it", || String::from_utf8_lossy(&drifts(press)).contains("topology-drift"));
    office.done("remove clients.office.publish", 0);
    assert_eq!(press.done("diff --with office", 0), "");
    assert!(press.done("diff --with nobody", 1).contains("no answer from nobody"));
}

/// A thousand messages through four machines while each of them goes back and forth between two topologies.
#[test]
fn a_rollback_under_traffic_drops_nobody_and_loses_nothing() {
    let network = Network::new();
    let machines = ["hub", "spare", "press", "office"].map(|name| network.machine(name));
    let agents = machines.each_ref().map(|machine| machine.start(""));
    let [_, _, press, office] = &agents;
    let listen = format!("sub -p {} -t line/# -q 1 -C 1000 -W 60", office.programs().port());
    let listener = machines[3].tool(&listen).stdout(std::process::Stdio::piped()).spawn().unwrap();
    wait_until("press hears that office listens", || {
        let status = machines[2].json("status");
        let online = |machine: &Value| machine["state"] == "online";
        status["node"]["machines"].as_array().is_some_and(|all| all.len() == 4 && all.iter().all(online))
    });
    std::thread::sleep(Duration::from_millis(500));
    let moves = |machine: &Machine| machine.json("status")["node"]["home_changes"].as_u64();
    let at_hub = |machine: &Machine| machine.json("status")["node"]["home"] == "hub";
    wait_until("the clients come home", || machines.iter().skip(2).all(at_hub));
    let before = machines.each_ref().map(moves);
    let numbers: String = (0..1000).map(|number| format!("{number}\n")).collect();
    let mut publisher = machines[2].tool(&format!("pub -p {} -t line/1 -q 1 -l", press.programs().port()));
    let mut publisher = publisher.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut input = publisher.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        use std::io::Write;
        for line in numbers.split_inclusive('\n') {
            input.write_all(line.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    for machine in &machines {
        machine.done("set heartbeat.miss 5", 0);
        machine.done("set limits.queue 5000", 0);
        machine.history(3);
        let dry = machine.done("rollback 1 --dry-run", 0);
        assert!(!dry.contains("drops:"), "{dry}");
        machine.done("rollback 1", 0);
    }
    feeder.join().unwrap();
    assert!(publisher.wait().unwrap().success());
    let heard = String::from_utf8(listener.wait_with_output().unwrap().stdout).unwrap();
    let expected: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    assert_eq!(heard.lines().collect::<Vec<_>>(), expected, "each once and in order");
    assert_eq!(machines.each_ref().map(moves), before, "nobody has changed its home");
}

/// It begins again with the old topology or with the new one, and its history is whole.
#[test]
fn an_agent_may_be_killed_at_any_moment_of_a_change() {
    let kills: u32 = std::env::var("HOBNAIL_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let machine = Machine::new(SOLO, "solo", None);
    let mut seen = [0_u32; 2];
    for round in 0..kills {
        let mut agent = machine.start("");
        let before = machine.text();
        let mut changer = machine.tool(&format!("set limits.queue {} --save", round + 100)).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(u64::from(round * 37 % 120)));
        agent.kill();
        let _ = changer.wait();
        let after = machine.text();
        let wanted = format!("{SOLO}limits: {{ queue: {} }}\n", round + 100);
        assert!(after == before || after == wanted, "round {round}: {after}");
        seen[usize::from(after == wanted)] += 1;
    }
    eprintln!("{kills} kills: {} times the old file, {} times the new one", seen[0], seen[1]);
    let _agent = machine.start("");
    machine.history(1);
    assert!(machine.json("status")["topology"]["origin"] == "file");
}
