//! Named programs that talk to each other: `call`, `serve`, `send` and `inbox`, and plain MQTT clients on either side.

mod talk {
    pub mod across;
    pub mod door;
}

use std::fs;
use std::process::{Command, Stdio};

use talk::door::{Door, Running, until};

/// Mosquitto's clients; `None`, told on stderr, where they are not installed.
fn mosquitto(door: &Door, client: &str, args: &[&str]) -> Option<Command> {
    if Command::new(client).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("CI").is_none(), "{client} is missing; run tests/setup");
        eprintln!("skipped: {client} is missing; run tests/setup");
        return None;
    }
    let mut command = Command::new(client);
    command.args(["-p", &door.port, "-V", "5"]).args(args);
    Some(command)
}

#[test]
fn a_call_gets_what_the_command_of_the_service_prints() {
    let door = Door::open("");
    let _server = door.serve(&["upper", "--", "tr", "a-z", "A-Z"]);
    assert_eq!(door.run("call", &["solo/upper", "-m", "hello"]).ok(), "HELLO");
    assert_eq!(door.run("call", &["solo/upper", "-n"]).ok(), "");
    assert_eq!(door.feed("call", &["solo/upper", "-s"], b"two\nlines\n").ok(), "TWO\nLINES\n");
    let file = door.folder.path().join("request");
    fs::write(&file, "x".repeat(300_000)).unwrap();
    assert_eq!(door.run("call", &["solo/upper", "-f", file.to_str().unwrap()]).ok(), "X".repeat(300_000));
}

#[test]
fn a_service_may_have_several_words_and_any_name() {
    let door = Door::open("");
    let _server = door.serve(&["tool/change", "--name", "press-07", "--", "cat"]);
    assert_eq!(door.run("call", &["press-07/tool/change", "-m", "4"]).ok(), "4");
}

#[test]
fn hundreds_of_requests_in_flight_are_shared_by_several_servers_and_answered_in_order() {
    let door = Door::open("");
    let log = |number: usize| door.folder.path().join(format!("log{number}"));
    let servers: Vec<Running> = (0..3)
        .map(|number| {
            let script = format!("read line; echo $line >>{}; echo \"<$line>\"", log(number).display());
            door.serve(&["mark", "-j", "2", "--", "sh", "-c", &script])
        })
        .collect();
    let requests: String = (1..=300).map(|number| format!("{number}\n")).collect();
    let wanted: String = (1..=300).map(|number| format!("<{number}>\n")).collect();
    assert_eq!(door.feed("call", &["solo/mark", "-l", "-j", "64", "-W", "60"], requests.as_bytes()).ok(), wanted);
    let shares: Vec<usize> = (0..3).map(|number| fs::read_to_string(log(number)).unwrap().lines().count()).collect();
    assert_eq!(shares.iter().sum::<usize>(), 300, "each request was dealt with once");
    assert!(shares.iter().all(|share| *share > 30), "all of them work: {shares:?}");
    drop(servers);
}

#[test]
fn no_more_commands_run_at_a_time_than_there_are_jobs() {
    let door = Door::open("");
    let log = door.folder.path().join("log");
    let script = format!("echo + >>{0}; sleep 0.05; echo - >>{0}", log.display());
    let _server = door.serve(&["slow", "-j", "3", "--", "sh", "-c", &script]);
    door.feed("call", &["solo/slow", "-l", "-j", "30", "-W", "60"], "x\n".repeat(30).as_bytes()).ok();
    let (mut now, mut most) = (0, 0);
    for line in fs::read_to_string(log).unwrap().lines() {
        now += if line == "+" { 1 } else { -1 };
        most = most.max(now);
    }
    assert_eq!((now, most), (0, 3));
}

#[test]
fn a_call_that_nobody_answers_ends_with_27() {
    let door = Door::open("");
    let done = door.run("call", &["solo/nothing", "-m", "x", "-W", "0.2"]);
    assert_eq!((done.code, done.out.as_str()), (Some(27), ""));
    assert_eq!(done.err, "hobnail: solo/nothing: no answer within 0.2 s\n");
}

#[test]
fn a_request_whose_caller_has_given_up_is_not_dealt_with() {
    let door = Door::open("");
    let (log, go) = (door.folder.path().join("log"), door.folder.path().join("go"));
    let script =
        format!("read line; echo $line >>{}; while ! [ -e {} ]; do sleep 0.01; done", log.display(), go.display());
    let server = door.serve(&["slow", "-j", "1", "--", "sh", "-c", &script]);
    let first = door.start("call", &["solo/slow", "-m", "first", "-W", "60"]);
    until("the first is being dealt with", || log.exists());
    assert_eq!(door.run("call", &["solo/slow", "-m", "second", "-W", "0.5"]).code, Some(27));
    std::thread::sleep(std::time::Duration::from_secs(1));
    fs::write(&go, "").unwrap();
    assert_eq!(first.finish().code, Some(0));
    assert_eq!(door.run("call", &["solo/slow", "-m", "third"]).code, Some(0));
    assert_eq!(fs::read_to_string(log).unwrap(), "first\nthird\n");
    drop(server);
}

#[test]
fn a_command_that_fails_makes_the_answer_one_of_failure() {
    let door = Door::open("");
    let mut server = door.serve(&["bad", "--", "sh", "-c", "echo half; exit 3"]);
    let done = door.run("call", &["solo/bad", "-n"]);
    assert_eq!((done.code, done.out.as_str()), (Some(1), "half\n"));
    assert_eq!(done.err, "hobnail: solo/bad: sh failed: exit status: 3\n");
    server.expect("sh failed: exit status: 3");
    let done = door.run("call", &["solo/bad", "-n", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((&answer["ok"], &answer["payload"]), (&false.into(), &"half\n".into()));
    assert_eq!(answer["error"], "sh failed: exit status: 3");
}

#[test]
fn one_failure_among_many_answers_keeps_its_line() {
    let door = Door::open("");
    let script = "read n; [ $n != 2 ] || exit 1; echo $n";
    let _server = door.serve(&["odd", "--", "sh", "-c", script]);
    let done = door.feed("call", &["solo/odd", "-l"], b"1\n2\n3\n");
    assert_eq!((done.code, done.out.as_str()), (Some(1), "1\n\n3\n"));
}

#[test]
fn a_command_that_takes_too_long_is_ended_and_its_caller_told() {
    let door = Door::open("");
    let _server = door.serve(&["stuck", "--limit", "0.3", "--", "sleep", "1000"]);
    let done = door.run("call", &["solo/stuck", "-n", "-W", "30"]);
    assert_eq!((done.code, done.err.as_str()), (Some(1), "hobnail: solo/stuck: sleep took longer than 0.3 s\n"));
}

#[test]
fn what_a_killed_server_had_taken_on_another_one_answers() {
    let door = Door::open("");
    let taken = door.folder.path().join("taken");
    let script = format!("touch {}; sleep 1000", taken.display());
    let mut doomed = door.serve(&["work", "--", "sh", "-c", &script]);
    let call = door.start("call", &["solo/work", "-m", "x", "-W", "60"]);
    until("the first server has taken it on", || taken.exists());
    let _other = door.serve(&["work", "--", "cat"]);
    doomed.child.kill().unwrap();
    assert_eq!(call.finish().ok(), "x");
}

#[test]
fn a_server_that_is_told_to_stop_answers_what_it_has_taken_on() {
    let door = Door::open("");
    let (taken, go) = (door.folder.path().join("taken"), door.folder.path().join("go"));
    let script = format!("touch {}; while ! [ -e {} ]; do sleep 0.01; done; cat", taken.display(), go.display());
    let server = door.serve(&["work", "--", "sh", "-c", &script]);
    let call = door.start("call", &["solo/work", "-m", "x", "-W", "60"]);
    until("it has taken it on", || taken.exists());
    server.signal("TERM");
    fs::write(&go, "").unwrap();
    assert_eq!(call.finish().ok(), "x");
    assert_eq!(server.finish().code, Some(0));
}

#[test]
fn a_plain_client_calls_a_service() {
    let door = Door::open("");
    let _server = door.serve(&["upper", "--", "tr", "a-z", "A-Z"]);
    let args = ["-t", "rpc/solo/upper", "-e", "reply/me/1", "-m", "hello", "-q", "1", "-W", "30"];
    let Some(mut client) = mosquitto(&door, "mosquitto_rr", &args) else { return };
    let output = client.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "HELLO\n");
}

#[test]
fn a_plain_client_is_a_service() {
    let door = Door::open("");
    let args = ["-i", "adder", "-c", "-x", "60", "-t", "$share/serve/rpc/solo/add", "-q", "1"];
    let Some(mut service) = mosquitto(&door, "mosquitto_sub", &[&args[..], &["-E"]].concat()) else { return };
    assert!(service.status().unwrap().success());
    let call = door.start("call", &["solo/add", "-m", "1 2", "-W", "60"]);
    let args = [&args[..], &["-C", "1", "-F", "%R %D %p", "-W", "30"]].concat();
    let output = mosquitto(&door, "mosquitto_sub", &args).unwrap().output().unwrap();
    let line = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[1..], ["1", "1", "2"]);
    let answer = ["-t", words[0], "-q", "1", "-m", "3", "-D", "publish", "correlation-data", words[1]];
    assert!(mosquitto(&door, "mosquitto_pub", &answer).unwrap().status().unwrap().success());
    assert_eq!(call.finish().ok(), "3");
}

#[test]
fn an_inbox_keeps_what_is_sent_until_it_is_taken() {
    let door = Door::open("");
    assert_eq!(door.run("inbox", &["--open"]).ok(), "");
    let ids: Vec<String> =
        ["one", "two", "three"].map(|text| door.run("send", &["solo", "-m", text]).ok().trim_end().to_owned()).into();
    for _again in 0..2 {
        let seen = door.run("inbox", &["--peek", "-v"]).ok();
        assert_eq!(seen, format!("{} solo one\n{} solo two\n{} solo three\n", ids[0], ids[1], ids[2]));
    }
    assert_eq!(door.run("inbox", &["-C", "1"]).ok(), "one\n");
    assert_eq!(door.run("inbox", &["--last"]).ok(), "one\n");
    assert_eq!(door.run("inbox", &["--ack", &ids[2]]).ok(), "");
    let done = door.run("inbox", &["--ack", &ids[2]]);
    assert_eq!((done.code, done.err), (Some(1), format!("hobnail: not in this inbox: {}\n", ids[2])));
    let seen = door.run("inbox", &["--peek", "--json"]).ok();
    let message: serde_json::Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(message, serde_json::json!({ "id": ids[1], "from": "solo", "payload": "two" }));
    assert_eq!(door.run("inbox", &[]).ok(), "two\n");
    assert_eq!(door.run("inbox", &[]).code, Some(1), "nothing is left");
    assert_eq!(door.run("inbox", &["--last", "-v"]).ok(), format!("{} solo two\n", ids[1]));
    assert_eq!(door.run("inbox", &["other", "--last"]).code, Some(1));
}

#[test]
fn an_inbox_can_be_waited_at() {
    let door = Door::open("");
    let done = door.run("inbox", &["-W", "0.2"]);
    assert_eq!((done.code, done.err.as_str()), (Some(27), "hobnail: nothing came\n"));
    let reader = door.start("inbox", &["-W", "60", "-d"]);
    let mut reader = reader;
    reader.expect("< SUBACK");
    door.run("send", &["solo", "-m", "here"]).ok();
    assert_eq!(reader.finish().ok(), "here\n");
    let mut reader = door.start("inbox", &["--follow", "-C", "2", "-d"]);
    reader.expect("< SUBACK");
    door.run("send", &["solo", "-m", "1"]).ok();
    door.run("send", &["solo", "-m", "2"]).ok();
    door.run("send", &["solo", "-m", "3"]).ok();
    assert_eq!(reader.finish().ok(), "1\n2\n");
    assert_eq!(door.run("inbox", &[]).ok(), "3\n");
}

#[test]
fn an_inbox_with_more_than_fits_in_flight_is_taken_whole_and_in_order() {
    let door = Door::open("");
    door.run("inbox", &["press", "--open"]).ok();
    let lines: String = (1..=1000).map(|number| format!("{number}\n")).collect();
    door.feed("pub", &["-t", "inbox/press", "-q", "1", "-l"], lines.as_bytes()).ok();
    let seen = door.run("inbox", &["press", "--peek"]).ok();
    assert!(seen.starts_with("1\n2\n3\n") && seen.lines().count() >= 100, "{} lines", seen.lines().count());
    assert_eq!(door.run("inbox", &["press", "-C", "10"]).ok().lines().count(), 10);
    let rest: String = (11..=1000).map(|number| format!("{number}\n")).collect();
    assert_eq!(door.run("inbox", &["press"]).ok(), rest);
}

#[test]
fn a_reader_that_is_killed_leaves_what_it_has_not_printed() {
    let door = Door::open("");
    door.run("inbox", &["--open"]).ok();
    for text in ["1", "2", "3"] {
        door.run("send", &["solo", "-m", text]).ok();
    }
    let mut reader = door.start("inbox", &["--peek", "--follow"]);
    assert_eq!(reader.child.wait().unwrap().code(), Some(2), "peek and follow exclude each other");
    let mut command = door.hobnail("inbox", &["-d"]);
    // Nobody reads what it prints, so it acknowledges nothing.
    command.stdout(Stdio::from(std::io::pipe().unwrap().1));
    assert!(!command.stderr(Stdio::null()).status().unwrap().success());
    assert_eq!(door.run("inbox", &[]).ok(), "1\n2\n3\n");
}

#[test]
fn a_second_reader_ends_the_first_with_75() {
    let door = Door::open("");
    let mut first = door.start("inbox", &["--follow", "-d"]);
    first.expect("< SUBACK");
    assert_eq!(door.run("inbox", &[]).code, Some(1));
    let done = first.finish();
    assert_eq!(done.code, Some(75));
    assert!(done.err.contains("somebody else opened this inbox"), "{}", done.err);
}

#[test]
fn a_message_without_an_id_is_known_by_its_fingerprint() {
    let door = Door::open("");
    door.run("inbox", &["--open"]).ok();
    for text in ["foobar", "a"] {
        door.run("pub", &["-t", "inbox/solo", "-q", "1", "-m", text]).ok();
    }
    assert_eq!(door.run("inbox", &["--peek", "-v"]).ok(), "85944171f73967e8 - foobar\naf63dc4c8601ec8c - a\n");
    door.run("inbox", &["--ack", "af63dc4c8601ec8c"]).ok();
    assert_eq!(door.run("inbox", &[]).ok(), "foobar\n");
}

#[test]
fn a_message_nobody_wants_any_more_is_gone() {
    let door = Door::open("");
    door.run("inbox", &["--open"]).ok();
    door.run("send", &["solo", "-m", "late", "-e", "1"]).ok();
    door.run("send", &["solo", "-m", "good", "-e", "100"]).ok();
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    assert_eq!(door.run("inbox", &[]).ok(), "good\n");
}

#[test]
fn plain_clients_send_to_an_inbox_and_read_it() {
    let door = Door::open("");
    door.run("inbox", &["--open"]).ok();
    let Some(mut sender) = mosquitto(&door, "mosquitto_pub", &["-t", "inbox/solo", "-q", "1", "-m", "plain"]) else {
        return;
    };
    assert!(sender.status().unwrap().success());
    assert_eq!(door.run("inbox", &["-C", "1"]).ok(), "plain\n");
    door.run("send", &["solo", "-m", "fancy"]).ok();
    let args = ["-i", "inbox-solo", "-c", "-x", "3600", "-q", "1", "-t", "inbox/solo", "-C", "1", "-W", "30"];
    let output = mosquitto(&door, "mosquitto_sub", &args).unwrap().output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "fancy\n");
    assert_eq!(door.run("inbox", &[]).code, Some(1));
    let args = ["-t", "inbox/solo/last", "-C", "1", "-W", "30"];
    let output = mosquitto(&door, "mosquitto_sub", &args).unwrap().output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "plain\n");
}

#[test]
fn what_the_rights_forbid_is_told() {
    let door = Door::open("rights: { publish: [\"other/#\"], subscribe: [\"other/#\"] }\n");
    let done = door.run("send", &["solo", "-m", "x"]);
    assert_eq!((done.code, done.err.as_str()), (Some(1), "hobnail: the server refused the message: not authorized\n"));
    let done = door.run("inbox", &[]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("does not let us read inbox/solo: not authorized"), "{}", done.err);
    let done = door.run("call", &["solo/x", "-n"]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("lets nobody answer"), "{}", done.err);
    let done = door.run("serve", &["x", "--", "cat"]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("lets us serve nothing: not authorized"), "{}", done.err);
}

#[test]
fn a_command_line_that_cannot_be_meant_ends_with_2() {
    let door = Door::open("");
    for (command, args) in [
        ("call", &["solo", "-n"][..]),
        ("call", &["solo/#", "-n"]),
        ("call", &["so lo/x", "-n"]),
        ("call", &["solo/x"]),
        ("call", &["solo/x", "-n", "-V", "311"]),
        ("serve", &["x"]),
        ("serve", &["+", "--", "cat"]),
        ("send", &["solo"]),
        ("send", &["a/b", "-m", "x"]),
        ("inbox", &["--peek", "--last"]),
        ("inbox", &["-W", "0"]),
    ] {
        assert_eq!(door.run(command, args).code, Some(2), "{command} {args:?}");
    }
}
