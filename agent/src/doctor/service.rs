//! What systemd says of the service.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Machine, Symptom, ask, fine, note, sick};

const FACTS: &str = "--property=LoadState,ActiveState,UnitFileState,NRestarts,ExecMainStatus,StatusText";

pub fn check(machine: &Machine) -> Vec<Symptom> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Vec::new();
    }
    ask("systemctl", &["show", FACTS, "hobnail.service"]).map(|answer| judge(&answer, machine)).unwrap_or_default()
}

fn judge(answer: &str, machine: &Machine) -> Vec<Symptom> {
    let facts: BTreeMap<&str, &str> = answer.lines().filter_map(|line| line.split_once('=')).collect();
    let fact = |name| facts.get(name).copied().unwrap_or_default();
    if fact("LoadState") != "loaded" {
        return vec![note("there is no hobnail.service", "install the package, or `./install.sh` of the tarball")];
    }
    let file = machine.file.display();
    let mut symptoms = vec![match (fact("ActiveState"), fact("ExecMainStatus")) {
        ("active" | "reloading", _) => fine(fact("StatusText")),
        ("inactive", _) => sick("the service is stopped", "systemctl enable --now hobnail"),
        (_, "78") => {
            let cure = format!("hobnail check {file}; then systemctl start hobnail");
            sick("the service stays down: its topology cannot be used", cure)
        }
        (state, status) => sick(format!("the service is {state}, last exit {status}"), "journalctl -u hobnail -n 50"),
    }];
    if fact("UnitFileState") == "disabled" {
        symptoms.push(note("the service does not start at boot", "systemctl enable hobnail"));
    }
    if !matches!(fact("NRestarts"), "" | "0") {
        let text = format!("it had to be restarted, times: {}", fact("NRestarts"));
        symptoms.push(note(text, "journalctl -u hobnail tells why"));
    }
    symptoms
}
