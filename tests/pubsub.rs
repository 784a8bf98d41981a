//! `hobnail pub` and `hobnail sub` against Mosquitto and against an agent, and beside Mosquitto's own clients.

mod pubsub {
    pub mod server;
}
#[path = "support/ports.rs"]
mod ports;

use std::io::{BufRead, BufReader};
use std::process::Command;

use pubsub::server::{Server, feed, start};

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_qos_arrives_in_every_version() {
    for server in Server::each() {
        for version in ["5", "311", "31"] {
            for qos in ["0", "1", "2"] {
                let subscriber =
                    server.subscribe(&["-V", version, "-t", "a/#", "-q", qos, "-C", "2", "-F", "%t %q %p"]);
                server.publish(&["-V", version, "-t", "a/b", "-q", qos, "-m", "one"]);
                server.publish(&["-V", version, "-t", "a/c", "-q", qos, "-m", "-two"]);
                let wanted = format!("a/b {qos} one\na/c {qos} -two\n");
                assert_eq!(subscriber.finish(), (Some(0), wanted), "version {version}");
            }
        }
    }
}

#[test]
fn a_hundred_thousand_lines_arrive_complete_and_in_order() {
    for server in Server::each() {
        let lines: String = (1..=100_000).map(|number| format!("line {number}\n")).collect();
        for qos in ["1", "2"] {
            let subscriber = server.subscribe(&["-t", "lines", "-q", qos, "-C", "100000"]);
            let reader = std::thread::spawn(|| subscriber.finish());
            let output = feed(server.hobnail("pub", &["-t", "lines", "-q", qos, "-l"]), lines.as_bytes());
            assert!(output.status.success(), "{}", stderr(&output));
            let (code, text) = reader.join().unwrap();
            assert_eq!(code, Some(0));
            assert!(text == lines, "QoS {qos}: {} of {} bytes, or another order", text.len(), lines.len());
        }
    }
}

#[test]
fn qos_0_lines_have_all_been_read_by_the_server_when_pub_ends() {
    for server in Server::each() {
        let subscriber = server.subscribe(&["-t", "lines", "-C", "2000"]);
        let lines: String = (1..=2000).map(|number| format!("{number}\n")).collect();
        let output = feed(server.hobnail("pub", &["-t", "lines", "-l"]), lines.as_bytes());
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(subscriber.finish(), (Some(0), lines));
    }
}

#[test]
fn stdin_and_files_are_sent_whole() {
    for server in Server::each() {
        let path = server.folder.path().join("message");
        std::fs::write(&path, "two\nlines\n").unwrap();
        let subscriber = server.subscribe(&["-t", "x", "-C", "4", "-F", "[%p]", "-q", "1"]);
        server.publish(&["-t", "x", "-f", path.to_str().unwrap(), "-q", "1"]);
        assert!(feed(server.hobnail("pub", &["-t", "x", "-s", "-q", "1"]), b"a\nb").status.success());
        server.publish(&["-t", "x", "-m", "again", "-q", "2", "--repeat", "2", "--repeat-delay", "0.01"]);
        assert_eq!(subscriber.finish().1, "[two\nlines\n]\n[a\nb]\n[again]\n[again]\n");
    }
}

#[test]
fn a_time_limit_ends_with_27() {
    for server in Server::each() {
        let output = server.hobnail("sub", &["-t", "x", "-W", "0.2"]).output().unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(27), "hobnail: timed out\n"));
    }
}

/// Formats that print the same as Mosquitto's do. The time of day is in none of them.
const FORMATS: &[&str] = &[
    "%t|%10t|%-10t|%.2t|%5.2t|%010t|",
    "%p|%3p|%012p|%-14p|%20p|",
    "%x|%X|%4x|%5X|",
    "%l|%05l|%-5l|%5l|%q|%r|%m|%4m|",
    "%P|%A|%05A|%C|%5C|%-5C|%.1C|%D|%E|%08E|%F|%3F|%R|%9R|%S|%4S|",
    "%%|@@|@Y|@B|@j|\\t|\\n|\\0|\\a|\\e|\\v|\\r|\\\\|plain",
    "@a @A @b @d @D @e @F @g @G @h @m @u @U @V @w @W @y @Z @z @C",
];

#[test]
fn formats_print_what_mosquitto_sub_prints() {
    let Some(server) = Server::open() else { return };
    server.publish(&[
        "-t",
        "a/b",
        "-r",
        "-q",
        "1",
        "-m",
        "hello \"q\"",
        "-D",
        "publish",
        "user-property",
        "k",
        "v",
        "-D",
        "publish",
        "user-property",
        "k",
        "w",
        "-D",
        "publish",
        "content-type",
        "text",
        "-D",
        "publish",
        "response-topic",
        "r/t",
        "-D",
        "publish",
        "correlation-data",
        "cd",
        "-D",
        "publish",
        "payload-format-indicator",
        "1",
    ]);
    let port = server.port.to_string();
    let mut compared = 0;
    for version in ["5", "311"] {
        for format in FORMATS.iter().flat_map(|format| [vec!["-F", format], vec!["-F", format, "-N"]]).chain([
            vec!["-v"],
            vec!["-N"],
            vec!["-v", "-N"],
            vec![],
        ]) {
            let args = ["-p", &port, "-V", version, "-t", "a/b", "-q", "1", "-C", "1", "-W", "20"];
            let theirs = Command::new("mosquitto_sub").args(args).args(&format).output().unwrap();
            let ours =
                Command::new(env!("CARGO_BIN_EXE_hobnail")).arg("sub").args(args).args(&format).output().unwrap();
            assert!(!theirs.stdout.is_empty(), "mosquitto_sub {format:?}: {}", stderr(&theirs));
            assert_eq!(
                String::from_utf8_lossy(&ours.stdout),
                String::from_utf8_lossy(&theirs.stdout),
                "{format:?} in version {version}"
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 2 * (2 * FORMATS.len() + 4));
}

/// Everything behind the time stamp.
fn untimed(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line).into_owned();
    assert!(text.starts_with("{\"tst\":\"2"), "{text}");
    text.split_once("\",").unwrap().1.to_owned()
}

#[test]
fn json_is_what_mosquitto_sub_prints() {
    let Some(server) = Server::open() else { return };
    let port = server.port.to_string();
    for (payload, format) in
        [("q\"\\\n\u{1}é", "%j"), ("{ \"a b\" : [1, 2, {\"x\":\"\\\" \"}], \"t\": true }", "%J"), ("\"text\"", "%J")]
    {
        server.publish(&["-t", "j", "-r", "-q", "1", "-m", payload, "-D", "publish", "user-property", "k", "v"]);
        let args = ["-p", &port, "-V", "5", "-t", "j", "-q", "1", "-C", "1", "-W", "20", "-F", format];
        let theirs = Command::new("mosquitto_sub").args(args).output().unwrap();
        let ours = Command::new(env!("CARGO_BIN_EXE_hobnail")).arg("sub").args(args).output().unwrap();
        assert_eq!(untimed(&ours.stdout), untimed(&theirs.stdout), "{payload:?}");
    }
}

#[test]
fn json_lines_lose_no_byte_of_a_payload() {
    for server in Server::each() {
        for (payload, key, wanted) in [(&b"\xff\x00"[..], "payload_hex", "ff00"), (b"plain", "payload", "plain")] {
            assert!(feed(server.hobnail("pub", &["-t", "j", "-r", "-s", "-q", "1"]), payload).status.success());
            let output = server.hobnail("sub", &["-t", "j", "-C", "1", "-W", "20", "--json"]).output().unwrap();
            let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(object[key], wanted);
        }
    }
}

#[test]
fn a_payload_that_is_no_json_is_told_and_the_rest_goes_on() {
    let Some(server) = Server::open() else { return };
    server.publish(&["-t", "j", "-r", "-q", "1", "-m", "no json"]);
    let output = server.hobnail("sub", &["-t", "j", "-C", "1", "-W", "20", "-F", "%J"]).output().unwrap();
    assert_eq!(output.stdout, b"\n");
    assert!(stderr(&output).contains("not valid JSON on topic j"), "{}", stderr(&output));
}

#[test]
fn filters_choose_what_is_printed() {
    for server in Server::each() {
        server.publish(&["-t", "old/a", "-r", "-q", "1", "-m", "kept"]);
        server.publish(&["-t", "old/b", "-r", "-q", "1", "-m", "kept"]);
        for version in ["5", "311"] {
            let args = ["-V", version, "-t", "#", "-v", "-q", "1", "-C", "1", "-W", "20"];
            let fresh = server.subscribe(&[&args[..], &["-R"]].concat());
            server.publish(&["-t", "new", "-q", "1", "-m", "x"]);
            assert_eq!(fresh.finish().1, "new x\n");
            let other = server.hobnail("sub", &[&args[..], &["-T", "old/a"]].concat()).output().unwrap();
            assert_eq!(other.stdout, b"old/b kept\n");
        }
        let retained = server.subscribe(&["-t", "#", "-v", "--retained-only", "--remove-retained", "-q", "1"]);
        server.publish(&["-t", "new", "-q", "1", "-m", "x"]);
        assert_eq!(retained.finish(), (Some(0), "old/a kept\nold/b kept\n".into()));
        let nothing = server.hobnail("sub", &["-t", "#", "-W", "0.3"]).output().unwrap();
        assert_eq!((nothing.status.code(), nothing.stdout), (Some(27), Vec::new()), "the retained ones are gone");
    }
}

#[test]
fn a_will_is_published_when_its_client_is_killed() {
    for server in Server::each() {
        let watcher = server.subscribe(&["-t", "gone/#", "-v", "-q", "1", "-C", "1", "-W", "20"]);
        let mut doomed = server.subscribe(&[
            "-t",
            "x",
            "--will-topic",
            "gone/now",
            "--will-payload",
            "bye",
            "--will-qos",
            "1",
            "--will-retain",
            "-D",
            "will",
            "content-type",
            "text",
        ]);
        doomed.child.kill().unwrap();
        assert_eq!(watcher.finish().1, "gone/now bye\n");
        let args = ["-t", "gone/now", "-C", "1", "-W", "20", "-F", "%r %C"];
        assert_eq!(server.hobnail("sub", &args).output().unwrap().stdout, b"1 text\n");
    }
}

#[test]
fn a_unix_socket_serves_as_well() {
    for server in Server::each() {
        let socket = server.folder.path().join("socket");
        let hobnail = |args: &[&str]| {
            let (command, rest) = args.split_first().unwrap();
            let mut hobnail = Command::new(env!("CARGO_BIN_EXE_hobnail"));
            hobnail.arg(command).arg("--unix").arg(&socket).args(rest).output().unwrap()
        };
        assert!(hobnail(&["pub", "-t", "u", "-m", "x", "-q", "2", "-r"]).status.success());
        assert_eq!(hobnail(&["sub", "-t", "u", "-C", "1", "-W", "20"]).stdout, b"x\n");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_sub_quietly() {
    for server in Server::each() {
        let mut subscriber = server.subscribe(&["-t", "x", "-q", "1"]);
        server.publish(&["-t", "x", "-m", "one", "-q", "1"]);
        let mut line = String::new();
        BufReader::new(subscriber.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "one\n");
        server.publish(&["-t", "x", "-m", "two", "-q", "1"]);
        assert_eq!(subscriber.await_exit(), Some(0));
        assert!(!subscriber.told().contains("hobnail:"));
    }
}

#[test]
fn a_subscriber_comes_back_after_the_server_did() {
    for mut server in Server::each() {
        let subscriber = server.subscribe(&["-t", "x", "-q", "1", "-C", "1", "-W", "40"]);
        server.restart();
        let publisher = server.hobnail("pub", &["-t", "x", "-m", "back", "-q", "1", "-r"]).output().unwrap();
        assert!(publisher.status.success(), "{}", stderr(&publisher));
        assert_eq!(subscriber.finish(), (Some(0), "back\n".into()));
    }
}

#[test]
fn a_refusal_is_told_in_words_and_ends_with_1() {
    let acl = "allow_anonymous true\nacl_file FOLDER/acl";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acl");
    std::fs::write(&path, "topic readwrite open/#\n").unwrap();
    let Some(server) = start(&acl.replace("FOLDER", &folder.path().display().to_string())) else { return };
    let refused = server.hobnail("pub", &["-t", "shut", "-m", "x", "-q", "1"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(stderr(&refused), "hobnail: the server refused the message: not authorized\n");
    let Some(locked) = start("allow_anonymous false") else { return };
    let refused = locked.hobnail("sub", &["-t", "x"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(stderr(&refused), "hobnail: the server refused the connection: not authorized\n");
}

#[test]
fn where_nothing_listens_the_cure_is_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    for command in [vec!["pub", "-t", "x", "-m", "y"], vec!["sub", "-t", "x"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_hobnail")).args(&command).args(["-p", &port]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let wanted = format!("nothing listens on 127.0.0.1:{port}; is the agent running? (hobnail run FILE)");
        assert!(stderr(&output).contains(&wanted), "{}", stderr(&output));
    }
}

#[test]
fn what_cannot_be_meant_ends_with_2() {
    for args in [
        &["pub", "-t", "a/#", "-m", "x"][..],
        &["pub", "-t", "a"],
        &["pub", "-t", "a", "-m", "x", "-n"],
        &["pub", "-t", "a", "-m", "x", "-q", "3"],
        &["pub", "-t", "a", "-m", "x", "-c"],
        &["pub", "-t", "a", "-m", "x", "-V", "4"],
        &["pub", "-t", "a", "-m", "x", "-V", "311", "-D", "publish", "content-type", "x"],
        &["sub"],
        &["sub", "-t", "a/#/b"],
        &["sub", "-t", "a", "-F", "%z"],
        &["sub", "-t", "a", "-L", "http://x/y"],
        &["sub", "-t", "a", "-D", "publish", "receive-maximum", "1"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_hobnail")).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
    }
}

/// An authority and a certificate of its for `localhost`, made in `folder`; `false`, told, where there is no openssl.
fn make_certificates(folder: &std::path::Path) -> bool {
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "openssl is not installed, and CI is to run this test");
        eprintln!("skipped: openssl is not installed");
        return false;
    }
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    for line in [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 9",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out request -subj /CN=localhost",
        "x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 9 -extfile names",
    ] {
        let output = Command::new("openssl").args(line.split(' ')).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    true
}

#[test]
fn tls_trusts_only_the_named_authority_and_the_right_host() {
    let folder = tempfile::tempdir().unwrap();
    if !make_certificates(folder.path()) {
        return;
    }
    let at = |name: &str| folder.path().join(name).display().to_string();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (authority, certificate, key) = (at("ca.pem"), at("cert.pem"), at("key.pem"));
    let extra = format!("allow_anonymous true\nlistener {port}\ncertfile {certificate}\nkeyfile {key}");
    let Some(server) = start(&extra) else { return };
    server.await_listener(port.parse().unwrap());
    for (args, code) in [
        (&["-h", "localhost", "--cafile", &authority][..], 0),
        (&["-h", "127.0.0.1", "--cafile", &authority], 1),
        (&["-h", "127.0.0.1", "--cafile", &authority, "--insecure"], 0),
        (&["-h", "localhost", "--cafile", &key], 1),
        (&["-h", "localhost"], 1),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hobnail"));
        let output = command.args(["pub", "-p", &port, "-t", "x", "-m", "y", "-q", "1"]).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
    }
}
