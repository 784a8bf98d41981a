//! The topology language from outside: shipped files are silent, every bad file prints its golden text, every code has
//! a file that provokes it, and nothing that a disk can hold makes a check slow or panic.
//!
//! `HOBNAIL_BLESS=1 cargo test --test topologies` writes the golden texts anew; read the difference before you keep it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use hobnail::topology_files::load_from_disk;
use hobnail_core::envelope::{Key, NetworkKey, key_file};
use hobnail_core::topology::report::Code;

const BAD: &str = "tests/topologies-bad";

fn hobnail(folder: &str, args: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
    command.current_dir(root.join(folder)).args(args).env_remove("HOBNAIL_KEYS").output().expect("hobnail starts")
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

fn codes_in(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| Some(line.split_once(": error[")?.1.split_once(']')?.0.to_owned())).collect()
}

#[test]
fn every_shipped_topology_is_silent() {
    let files = yaml_files("topologies");
    assert!(files.len() >= 3, "saw only {} shipped files", files.len());
    for file in files {
        let output = hobnail("topologies", &["check", &file.to_string_lossy()]);
        assert_eq!(output.status.code(), Some(0), "{}", file.display());
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{} is not silent", file.display());
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# yaml-language-server: $schema=schema.json\n"), "{}", file.display());
    }
}

#[test]
fn every_bad_topology_prints_its_golden_text() {
    let files = yaml_files(BAD);
    assert!(files.len() >= 45, "saw only {} bad files", files.len());
    let bless = std::env::var_os("HOBNAIL_BLESS").is_some();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let output = hobnail(BAD, &["check", &name]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(78), "{name}");
        let golden = file.with_extension("txt");
        if bless {
            fs::write(&golden, &text).unwrap();
        }
        assert_eq!(text, fs::read_to_string(&golden).unwrap_or_default(), "{name}");
        let code = codes_in(&text);
        let about = name.trim_end_matches(".yaml");
        let expected = Code::ALL.iter().map(|code| code.name()).filter(|code| about.starts_with(code.as_str())).max();
        assert!(expected.is_none_or(|expected| code.contains(&expected)), "{name} provokes {code:?}");
    }
}

/// Codes that need more than a file: they have tests of their own below.
const BY_SET_UP: &[Code] = &[Code::KeyFileBad, Code::KeyFileMissing, Code::KeyFileOpen, Code::TooLarge];

#[test]
fn every_code_has_a_file_that_provokes_it() {
    let mut provoked: BTreeSet<String> = BY_SET_UP.iter().map(|code| code.name()).collect();
    for file in yaml_files(BAD) {
        provoked.extend(codes_in(&fs::read_to_string(file.with_extension("txt")).unwrap_or_default()));
    }
    let missing: Vec<String> = Code::ALL.iter().map(|code| code.name()).filter(|c| !provoked.contains(c)).collect();
    assert!(missing.is_empty(), "nothing provokes {missing:?}");
    assert!(Code::ALL.len() >= 30);
    let names: BTreeSet<String> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), Code::ALL.len(), "two codes share a name");
}

#[test]
fn a_missing_key_file_and_an_open_one_are_told_with_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let topology = folder.path().join("t.yaml");
    fs::write(
        &topology,
        "version: 1\nnetwork: n\nkeys: { active: k2, accept: [k1] }\nbrokers:\n  hub: { host: 10.0.0.10 }\n",
    )
    .unwrap();
    let open = folder.path().join("k1.key");
    fs::write(&open, "x").unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let loaded = load_from_disk(&topology, Some(folder.path()));
    let text = loaded.report.render(hobnail_core::topology::report::Colour::Plain);
    assert_eq!(codes_in(&text), BTreeSet::from(["key-file-missing".to_owned(), "key-file-open".to_owned()]));
    assert!(text.contains(&format!("help: chmod 600 {}", open.display())), "{text}");
    assert!(text.contains("(mode 0644)"), "{text}");
    assert!(loaded.topology.is_none());

    fs::set_permissions(&open, fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["k1", "k2"] {
        let key = Key::Whole(NetworkKey::new([if name == "k1" { 1 } else { 2 }; 32].into()));
        let file = folder.path().join(format!("{name}.key"));
        fs::write(&file, key_file::render(&key, &[])).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert!(load_from_disk(&topology, Some(folder.path())).topology.is_some());
}

#[test]
fn a_machine_with_nothing_but_devices_needs_no_network_key() {
    let folder = tempfile::tempdir().unwrap();
    let topology = folder.path().join("t.yaml");
    let text = "version: 1\nnetwork: n\ndoors: { devices: { listen: \"127.0.0.1:1884\", plain: true } }\nbrokers:\n  hub: { host: 10.0.0.10 }\n\
        clients:\n  plc: { device: true, password_file: plc.pw }\n";
    fs::write(&topology, text).unwrap();
    let file = folder.path().join("plc.pw");
    fs::write(&file, "x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let loaded = load_from_disk(&topology, Some(folder.path()));
    let told = loaded.report.render(hobnail_core::topology::report::Colour::Plain);
    assert!(loaded.topology.is_some_and(|topology| topology.keys.is_none()), "{told}");
}

#[test]
fn a_key_file_that_holds_no_key_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let topology = folder.path().join("t.yaml");
    fs::write(&topology, "version: 1\nnetwork: n\nbrokers:\n  hub: { host: 10.0.0.10 }\nclients: { a: {} }\n").unwrap();
    let told = || {
        let loaded = load_from_disk(&topology, Some(folder.path()));
        loaded.report.render(hobnail_core::topology::report::Colour::Plain)
    };
    let text = told();
    assert!(text.contains("t.yaml:2:10: error[key-file-missing]"), "a network without `keys` has one: {text}");
    assert!(text.contains("`hobnail key new network`"), "{text}");
    let file = folder.path().join("network.key");
    let good = key_file::render(&Key::Whole(NetworkKey::new([7; 32].into())), &[]).to_string();
    fs::write(&file, good.replace("07070707 ", "07070708 ")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let text = told();
    assert!(text.contains("error[key-file-bad]") && text.contains("one of the two is mistyped"), "{text}");
    fs::write(&file, good).unwrap();
    assert_eq!(told(), "");

    fs::remove_file(&file).unwrap();
    let device = "version: 1\nnetwork: n\nbrokers:\n  hub: { host: 10.0.0.10, doors: { devices: { listen: \"10.0.0.10:1884\", plain: true } } }\n\
                  clients: { a: { device: true, password_file: a.pw } }\n";
    fs::write(&topology, device).unwrap();
    fs::write(folder.path().join("a.pw"), "x").unwrap();
    fs::set_permissions(folder.path().join("a.pw"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(told(), "", "devices have no agent, so one agent alone needs no key");
}

#[test]
fn ten_megabytes_of_garbage_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("garbage.yaml");
    let garbage: Vec<u8> = (0..10_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(&file, garbage).unwrap();
    let started = Instant::now();
    let output = hobnail(".", &["check", &file.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stdout).contains("error[too-large]"));
    assert!(started.elapsed() < Duration::from_secs(2), "took {:?}", started.elapsed());
}

#[test]
fn every_truncation_of_a_shipped_topology_is_answered_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut.yaml");
    let mut seen = 0;
    for file in yaml_files("topologies") {
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            fs::write(&cut, &whole[..length]).unwrap();
            let loaded = load_from_disk(&cut, None);
            assert_eq!(loaded.topology.is_some(), loaded.report.is_clean(), "{} at {length}", file.display());
            seen += 1;
        }
    }
    assert!(seen > 1_000);
}

#[test]
fn a_hundred_machines_are_checked_in_under_20_ms() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hundred.yaml");
    let mut text = String::from("version: 1\nnetwork: big\nbrokers:\n");
    for n in 0..5 {
        text += &format!("  hub-{n}: {{ host: 10.0.0.{} }}\n", n + 10);
    }
    text += "roles:\n  sensor: { publish: [\"line/{name}/#\"], subscribe: [\"cmd/{name}/#\", \"line/#\"] }\nclients:\n";
    for n in 0..95 {
        text += &format!("  press-{n:02}: {{ role: sensor, home: hub-{} }}\n", n % 5);
    }
    fs::write(&file, text).unwrap();
    let mut times: Vec<Duration> = (0..9)
        .map(|_| {
            let started = Instant::now();
            assert!(load_from_disk(&file, None).topology.is_some());
            started.elapsed()
        })
        .collect();
    times.sort();
    // Unoptimised code is several times slower than what is shipped; the promise is about what is shipped.
    let limit = if cfg!(debug_assertions) { 100 } else { 20 };
    assert!(times[4] < Duration::from_millis(limit), "median {:?}", times[4]);
}

#[test]
fn the_shipped_schema_is_the_one_that_the_program_prints() {
    let output = hobnail(".", &["schema"]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/schema.json");
    if std::env::var_os("HOBNAIL_BLESS").is_some() {
        fs::write(&path, &output.stdout).unwrap();
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), fs::read_to_string(path).unwrap());
}

#[test]
fn json_tells_the_same_problems_as_the_text() {
    let text = hobnail(BAD, &["check", "all-at-once.yaml"]);
    let json = hobnail(BAD, &["check", "--json", "all-at-once.yaml"]);
    let problems: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let codes: BTreeSet<String> =
        problems.as_array().unwrap().iter().map(|problem| problem["code"].as_str().unwrap().to_owned()).collect();
    assert_eq!(codes, codes_in(&String::from_utf8(text.stdout).unwrap()));
    assert_eq!(problems[0]["line"], 3);
    assert_eq!(problems[0]["column"], 21);
}
