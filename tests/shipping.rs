//! What is shipped beside the program says the same thing in every place.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The settings of a unit, without comments.
fn settings(unit: &str) -> Vec<String> {
    let lines = unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_template_is_the_service_with_an_instances_own_files() {
    let (service, template) = (read("systemd/hobnail.service"), read("systemd/hobnail@.service"));
    let expected = service
        .replace("hobnail, this machine's part of", "hobnail %i, a machine's part of")
        .replace("/etc/hobnail/topology.yaml", "/etc/hobnail/%i.yaml")
        .replace("StateDirectory=hobnail\n", "StateDirectory=hobnail-%i\n")
        .replace(
            "keys:/etc/hobnail/keys\n",
            "keys:/etc/hobnail/%i.keys\nEnvironment=HOBNAIL_KEYS=/etc/hobnail/%i.keys\n",
        )
        .replace("/etc/default/hobnail\n", "/etc/default/hobnail-%i\n");
    assert!(settings(&service).len() > 40);
    assert_eq!(settings(&template), settings(&expected));
}

#[test]
fn a_bad_topology_is_not_tried_again_and_a_reload_tells_what_the_agent_says() {
    let service = settings(&read("systemd/hobnail.service"));
    let at = |line: &str| service.iter().position(|other| other == line).unwrap_or_else(|| panic!("no {line}"));
    at("RestartPreventExitStatus=78");
    at("ExecReload=/usr/bin/hobnail reload --pid $MAINPID");
    let waits = service.iter().find(|line| line.contains("-online.target") || line.contains("time-sync"));
    assert_eq!(waits, None, "it starts without a network and without a clock");
}

#[test]
fn the_socket_listens_where_the_shipped_topology_has_its_program_door() {
    let socket = settings(&read("systemd/hobnail.socket"));
    assert!(socket.contains(&"ListenStream=127.0.0.1:1883".to_owned()), "{socket:?}");
    assert!(read("topologies/solo.yaml").contains("127.0.0.1:1883"));
}
