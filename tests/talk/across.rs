//! The same between machines: who asks and who answers, who sends and who reads, each at an agent of its own.

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;

use super::door::{Door, until};

/// A hub and two clients, each with its agent; what they say to each other is sealed.
struct Machines {
    topology: String,
    folder: Arc<tempfile::TempDir>,
}

impl Machines {
    fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut key = Command::new(env!("CARGO_BIN_EXE_hobnail"));
        let made = key.args(["key", "new", "k1", "--keys"]).arg(folder.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let held = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let topology = format!(
            "version: 1\nnetwork: test\nheartbeat: {{ every: 200ms, miss: 5 }}\nkeys: {{ active: k1 }}\n\
             doors: {{ programs: \"127.0.0.1:0\" }}\nbrokers:\n  hub: {{ host: 127.0.0.1, doors: {{ agents: {port} }} }}\n\
             clients:\n  press: {{}}\n  office: {{}}\n"
        );
        Self { topology, folder }
    }

    fn start(&self, name: &'static str) -> Door {
        Door::of(name, &self.topology, self.folder.clone())
    }
}

/// Wait until what is subscribed at the one is known at the other.
fn await_path(from: &Door, to: &Door, topic: &str) {
    let mut ears = to.start("sub", &["-t", topic, "-C", "1", "-d"]);
    ears.expect("< SUBACK");
    until(&format!("a message on {topic} arrives"), || {
        from.run("pub", &["-t", topic, "-m", "x"]).ok();
        ears.child.try_wait().unwrap().is_some()
    });
}

#[test]
fn a_service_of_one_machine_answers_programs_of_all_others() {
    let machines = Machines::new();
    let [hub, press, office] = ["hub", "press", "office"].map(|name| machines.start(name));
    let _servers = [press.serve(&["upper", "--", "tr", "a-z", "A-Z"]), press.serve(&["fails", "--", "false"])];
    for asker in [&office, &hub, &press] {
        await_path(asker, &press, "path/press");
        assert_eq!(asker.run("call", &["press/upper", "-m", "hello", "-W", "30"]).ok(), "HELLO");
        assert_eq!(asker.run("call", &["press/fails", "-n", "-W", "30"]).code, Some(1), "a failure is told as one");
    }
    let asked = ["one", "two", "three", "four"]
        .map(|word| (word, office.start("call", &["press/upper", "-m", word, "-W", "30"])));
    for (word, call) in asked {
        assert_eq!(call.finish().ok(), word.to_uppercase(), "each gets the answer to its own question");
    }
    assert_eq!(office.run("call", &["press/nothing", "-n", "-W", "1"]).code, Some(27), "nobody serves that");
}

#[test]
fn a_service_of_a_machine_that_comes_back_answers_again() {
    let machines = Machines::new();
    let [_hub, press, office] = ["hub", "press", "office"].map(|name| machines.start(name));
    let server = press.serve(&["echo", "--", "cat"]);
    await_path(&office, &press, "path/press");
    assert_eq!(office.run("call", &["press/echo", "-m", "1", "-W", "30"]).ok(), "1");
    drop((server, press));
    assert_eq!(office.run("call", &["press/echo", "-m", "2", "-W", "1"]).code, Some(27));
    let press = machines.start("press");
    let _server = press.serve(&["echo", "--", "cat"]);
    await_path(&office, &press, "path/press");
    assert_eq!(office.run("call", &["press/echo", "-m", "3", "-W", "30"]).ok(), "3");
}

#[test]
fn an_inbox_is_filled_from_other_machines_and_also_while_the_hub_is_away() {
    let machines = Machines::new();
    let [hub, press, office] = ["hub", "press", "office"].map(|name| machines.start(name));
    assert_eq!(press.run("inbox", &["--open"]).ok(), "");
    await_path(&office, &press, "path/press");
    await_path(&hub, &press, "path/press");
    let mut ids: Vec<String> = Vec::new();
    for (sender, text) in [(&office, "of office"), (&hub, "of the hub")] {
        ids.push(sender.run("send", &["press", "-m", text]).ok().trim_end().to_owned());
        let shown = format!("{} {} {text}\n", ids.last().unwrap(), if text == "of office" { "office" } else { "hub" });
        until(text, || press.run("inbox", &["--peek", "-v"]).out.ends_with(&shown));
    }
    drop(hub);
    office.run("send", &["press", "-m", "meanwhile"]).ok();
    let _hub = machines.start("hub");
    until("what was sent meanwhile arrives", || press.run("inbox", &["--peek"]).out.lines().count() == 3);
    assert_eq!(press.run("inbox", &["--ack", &ids[1]]).ok(), "");
    assert_eq!(press.run("inbox", &[]).ok(), "of office\nmeanwhile\n");
    assert_eq!(press.run("inbox", &[]).code, Some(1), "nothing is left, and nothing came twice");
}
