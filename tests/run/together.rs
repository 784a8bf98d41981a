//! Two brokers and a client on one machine: what `status`, `promote` and `$hobnail/` say of their network.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::agent::{Agent, hobnail};
use crate::ports::free_ports;

/// How long a network may take to come to what a test waits for.
const LIMIT: Duration = Duration::from_secs(20);

struct Network {
    folder: tempfile::TempDir,
    topology: String,
}

impl Network {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = tool(&["key", "new", "k1", "--keys"]).arg(folder.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let [hub, spare] = free_ports();
        let topology = format!(
            "version: 1\nnetwork: test\nheartbeat: {{ every: 100ms, miss: 3 }}\nkeys: {{ active: k1 }}\n\
             doors: {{ programs: \"127.0.0.1:0\" }}\nbrokers:\n\
             \x20 hub: {{ host: 127.0.0.1, backups: [spare], doors: {{ agents: {hub} }} }}\n\
             \x20 spare: {{ host: 127.0.0.1, doors: {{ agents: {spare} }} }}\nclients:\n\x20 press: {{}}\n"
        );
        Self { folder, topology }
    }

    fn start(&self, name: &str) -> Agent {
        self.start_with(name, self.folder.path())
    }

    fn start_with(&self, name: &str, keys: &Path) -> Agent {
        let mut command = hobnail(&self.topology, name);
        command.env("RUNTIME_DIRECTORY", self.folder.path()).env_remove("HOBNAIL_CONTROL");
        Agent::spawn(command.arg("--keys").arg(keys))
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = tool(arguments);
        command.env("RUNTIME_DIRECTORY", self.folder.path()).env_remove("HOBNAIL_CONTROL").output().unwrap()
    }

    /// The status of `name`, once `is` says yes to it.
    fn status_when(&self, name: &str, is: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LIMIT;
        loop {
            let output = self.ask(&["status", "--name", name, "--json"]);
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if is(&status) {
                return status;
            }
            assert!(Instant::now() < end, "{name} never came to it: {status:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn tool(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    command.args(arguments);
    command
}

fn state<'a>(status: &'a Value, machine: &str) -> &'a str {
    let machines = status["node"]["machines"].as_array().map_or(&[][..], Vec::as_slice);
    let found = machines.iter().find(|found| found["name"] == machine);
    found.and_then(|found| found["state"].as_str()).unwrap_or("unknown")
}

fn all_online(status: &Value) -> bool {
    ["hub", "spare", "press"].iter().all(|name| state(status, name) == "online")
        && status["health"] == Value::Array(vec![])
}

fn codes(status: &Value) -> Vec<&str> {
    status["health"].as_array().unwrap().iter().filter_map(|finding| finding["code"].as_str()).collect()
}

#[test]
fn status_promote_and_presence_tell_of_the_whole_network() {
    let network = Network::new();
    let [mut hub, _spare, press] = ["hub", "spare", "press"].map(|name| network.start(name));
    let status = network.status_when("press", all_online);
    assert_eq!(status["node"]["home"], "hub");
    network.status_when("spare", all_online);

    let ponged = network.ask(&["ping", "press", "-c", "2", "-i", "0", "--name", "spare"]);
    let text = String::from_utf8_lossy(&ponged.stdout);
    assert!(text.starts_with("press: ") && text.contains("\n2 asked, 2 answered; shortest "), "{text}");

    let refused = network.ask(&["promote", "nobody", "--name", "press"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is hub, spare"));
    let promoted = network.ask(&["promote", "spare", "--name", "spare"]);
    assert_eq!(String::from_utf8_lossy(&promoted.stdout), "spare is home to all 1 clients that are there\n");
    let status = network.status_when("press", |status| status["node"]["home"] == "spare");
    assert_eq!((&status["node"]["promoted"], &status["health"]), (&"spare".into(), &Value::Array(vec![])));

    hub.kill();
    let status = network.status_when("press", |status| state(status, "hub") == "offline");
    assert_eq!(codes(&status), ["machine-offline", "second-link-missing"]);
    let page = String::from_utf8(network.ask(&["status", "--name", "press"]).stdout).unwrap();
    assert!(page.contains("warning[machine-offline]: cannot be seen from here: hub\n  cure: "), "{page}");
    assert!(page.contains("\nmachine  state    since  role"), "{page}");
    let refused = network.ask(&["promote", "hub", "--name", "press"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("hub is offline"), "{refused:?}");
    let silent = network.ask(&["ping", "hub", "-c", "1", "--name", "press"]);
    assert_eq!((silent.status.code(), silent.stdout.as_slice()), (Some(27), &b""[..]));
    assert!(String::from_utf8_lossy(&silent.stderr).contains("no answer from hub within 3 s"), "{silent:?}");

    let told = said_to_programs(&press, "$hobnail/nodes/hub");
    assert_eq!((&told["state"], &told["uptime_s"]), (&"offline".into(), &Value::Null));
}

/// What stands retained under `topic` for the programs of this agent.
fn said_to_programs(agent: &Agent, topic: &str) -> Value {
    let port = agent.programs().port().to_string();
    let output = tool(&["sub", "-p", &port, "-C", "1", "-W", "10", "-t", topic]).output().unwrap();
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_machine_with_another_key_gets_nowhere_and_is_counted() {
    let network = Network::new();
    let other = tempfile::tempdir().unwrap();
    assert!(tool(&["key", "new", "k1", "--keys"]).arg(other.path()).output().unwrap().status.success());
    let [_hub, _spare] = ["hub", "spare"].map(|name| network.start(name));
    let _press = network.start_with("press", other.path());
    let status = network.status_when("press", |status| status["node"]["queue"].is_u64() && !codes(status).is_empty());
    assert!(codes(&status).contains(&"no-home"), "{status:#}");
    let hub = network.status_when("hub", |status| state(status, "spare") == "online");
    assert_eq!(state(&hub, "press"), "offline");
}
