//! The network that is changed, and each kind of change of it, as an edit of its topology.

use std::path::Path;

/// The port numbers and the folder that a topology's text is filled in with.
pub struct Places {
    pub ports: [u16; 9],
    pub folder: String,
}

/// Texts in the topology, and what takes their places.
pub type Edit = &'static [(&'static str, &'static str)];

pub struct Kind {
    /// The top-level key that it is a change of.
    pub key: &'static str,
    pub what: &'static str,
    pub edit: Edit,
}

/// `hub`, `spare` and `press` run in the test; `plc` is a program of it; the machines called `far` are away. The beats are
/// so slow because a home that is late with one is dialled anew, which is no matter of an edit.
const TOPOLOGY: &str = r#"version: 1
network: test
heartbeat: { every: 10s, miss: 10 }
failover: { hold_down: 60s }
keys: { active: k1, accept: [k2] }
store: { max: 64MB }
limits: { inflight: 50 }
brokers:
  hub:
    host: 127.0.0.1
    backups: [spare]
    doors:
      programs: "127.0.0.1:P0"
      websocket: "127.0.0.1:P1"
      unix: "FOLDER/one.sock"
      devices: { listen: "127.0.0.1:P2", cert: door.crt, cert_key: door.key }
      agents: P3
  spare: { host: 127.0.0.2, doors: { programs: "127.0.0.1:0", agents: P4 } }
roles:
  sensor: { publish: ["line/#"], subscribe: ["cmd/#"] }
clients:
  press: { role: sensor, doors: { programs: "127.0.0.1:0" } }
  plc: { device: true, password_file: plc.pw, publish: ["line/#"] }
  "far-[1..9]": {}
"#;

pub const KINDS: &[Kind] = &[
    kind("version", "the layout and the comments", &[("network: test", "# the same\nnetwork: \"test\"")]),
    kind("include", "another file is included", &[("heartbeat:", "include: [more.yaml]\nheartbeat:")]),
    kind("heartbeat", "the time between two beats", &[("every: 10s", "every: 9s")]),
    kind("heartbeat", "the beats that may be missed", &[("miss: 10", "miss: 11")]),
    kind("failover", "the time before the return to a better broker", &[("60s", "50s")]),
    kind("failover", "whether machines return by themselves", &[("60s", "60s, failback: manual")]),
    kind("keys", "another key seals, both open", &[("k1, accept: [k2]", "k2, accept: [k1]")]),
    kind("keys", "a key opens no more that no link was proved with", &[(", accept: [k2]", "")]),
    kind("keys", "the only key, without an overlap", &[("k1, accept: [k2]", "k2")]),
    kind("store", "the most that waits", &[("64MB", "32MB")]),
    kind("store", "what gives way in a full store", &[("64MB", "64MB, when_full: drop-newest")]),
    kind("limits", "all limits at once", &[("inflight: 50", ALL_LIMITS)]),
    kind("limits", "the limits of one machine", &[("    backups", "    limits: { queue: 500 }\n    backups")]),
    kind("rights", "the rights of all", &[("roles:", "rights: { publish: [\"a/#\"], subscribe: [\"#\"] }\nroles:")]),
    kind("roles", "the rights of a role", &[("[\"line/#\"], subscribe: [\"cmd/#\"]", "[\"x\"], subscribe: []")]),
    kind(
        "topics",
        "how messages are kept and sent",
        &[("roles:", "topics: [{ match: \"x/#\", max_age: 1d }]\nroles:")],
    ),
    kind("tests", "what the rights are meant to do", &[("roles:", A_TEST)]),
    kind("brokers", "the ranks", &[("    backups: [spare]\n", ""), ("brokers:\n", FIRST), (SPARE, "")]),
    kind("brokers", "who stands in", &[("    backups: [spare]\n", "")]),
    kind("brokers", "the rights of a broker's programs", &[("    backups", "    publish: [\"a/#\"]\n    backups")]),
    kind("brokers", "a broker's address", &[("127.0.0.2", "127.0.0.3")]),
    kind(
        "brokers",
        "a broker that is away is added",
        &[("roles:", "  far: { host: 127.0.0.9, doors: { agents: P8 } }\nroles:")],
    ),
    kind("brokers", "a broker is removed", &[("    backups: [spare]\n", ""), (SPARE, "")]),
    kind(
        "brokers",
        "a broker becomes a client",
        &[
            ("    backups: [spare]\n", ""),
            (SPARE, ""),
            ("clients:\n", "clients:\n  spare: { doors: { programs: \"127.0.0.1:0\" } }\n"),
        ],
    ),
    kind(
        "clients",
        "a client becomes a broker",
        &[
            (PRESS, ""),
            (
                "roles:",
                "  press: { host: 127.0.0.4, role: sensor, doors: { programs: \"127.0.0.1:0\", agents: P5 } }\nroles:",
            ),
        ],
    ),
    kind("clients", "a client that is away is added", &[("clients:\n", "clients:\n  far-10: {}\n")]),
    kind("clients", "a client is removed", &[(PRESS, "")]),
    kind("clients", "the role of a client", &[("press: { role: sensor, ", "press: { ")]),
    kind("clients", "the home of a client", &[("press: { role: sensor, ", "press: { role: sensor, home: spare, ")]),
    kind("clients", "a device is added", &[("  plc:", "  plc-2: { device: true, password_file: plc.pw }\n  plc:")]),
    kind("clients", "a device is removed", &[(PLC, "")]),
    kind("clients", "the rights of a device", &[(", publish: [\"line/#\"] }", ", publish: [\"x\"] }")]),
    kind("clients", "the password file of a device", &[("plc.pw", "other.pw")]),
    kind("doors", "the program door moves", &[("127.0.0.1:P0", "127.0.0.1:P6")]),
    kind("doors", "the program door is closed", &[("\"127.0.0.1:P0\"", "off")]),
    kind("doors", "the WebSocket door moves", &[("127.0.0.1:P1", "127.0.0.1:P6")]),
    kind("doors", "the WebSocket door is closed", &[("      websocket: \"127.0.0.1:P1\"\n", "")]),
    kind(
        "doors",
        "the pages that may use the WebSocket door",
        &[("      unix:", "      origins: [\"null\"]\n      unix:")],
    ),
    kind("doors", "the Unix door moves", &[("one.sock", "two.sock")]),
    kind("doors", "the Unix door is closed", &[("      unix: \"FOLDER/one.sock\"\n", "")]),
    kind("doors", "the device door moves", &[("127.0.0.1:P2", "127.0.0.1:P7")]),
    kind("doors", "the device door is closed", &[(DEVICES, ""), (PLC, "")]),
    kind("doors", "the device door becomes a plain one", &[("cert: door.crt, cert_key: door.key", "plain: true")]),
    kind(
        "doors",
        "the certificate of the device door",
        &[("door.crt, cert_key: door.key", "other.crt, cert_key: other.key")],
    ),
    kind("doors", "the agent door moves", &[("agents: P3", "agents: P8")]),
];

/// A change that waits until the agents are started again.
pub const OTHER_NETWORK: Kind = kind("network", "the network's name", &[("network: test", "network: other")]);

const SPARE: &str = "  spare: { host: 127.0.0.2, doors: { programs: \"127.0.0.1:0\", agents: P4 } }\n";
const FIRST: &str = "brokers:\n  spare: { host: 127.0.0.2, backups: [hub], doors: { programs: \"127.0.0.1:0\", \
                     agents: P4 } }\n";
const PRESS: &str = "  press: { role: sensor, doors: { programs: \"127.0.0.1:0\" } }\n";
const PLC: &str = "  plc: { device: true, password_file: plc.pw, publish: [\"line/#\"] }\n";
const DEVICES: &str = "      devices: { listen: \"127.0.0.1:P2\", cert: door.crt, cert_key: door.key }\n";
const A_TEST: &str = "tests: [{ client: press, publish: line/1, delivered_to: [hub] }]\nroles:";
const ALL_LIMITS: &str = "connections: 500, packet: 2MiB, inflight: 60, queue: 5000, queue_bytes: 8MiB, \
    memory: 64MiB, retained: 5000, retained_bytes: 8MiB, subscriptions: 5000, session_expiry: 1d, keep_alive: 60s";

const fn kind(key: &'static str, what: &'static str, edit: Edit) -> Kind {
    Kind { key, what, edit }
}

impl Places {
    pub fn new(ports: [u16; 9], folder: &Path) -> Self {
        Self { ports, folder: folder.to_str().expect("a text").to_owned() }
    }

    /// The topology after this edit.
    pub fn topology(&self, edit: Edit) -> String {
        let mut text = TOPOLOGY.to_owned();
        for (now, then) in edit {
            let before = text.clone();
            text = text.replacen(now, then, 1);
            assert_ne!(text, before, "`{now}` is there to be edited");
        }
        for (number, port) in self.ports.iter().enumerate() {
            text = text.replace(&format!("P{number}"), &port.to_string());
        }
        text.replace("FOLDER", &self.folder)
    }
}
