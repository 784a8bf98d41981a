//! Clients that others wrote, from five libraries, talk through a running agent.

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rumqttc::{Client, Event, LastWill, MqttOptions, Packet, Publish, QoS};
use support::{Agent, tool};

/// Every wait of these tests; far beyond what any of them takes.
const WAIT: Duration = Duration::from_secs(20);

fn script(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs it, and shows all that it said if it did not end well.
fn check(mut command: Command, agent: &mut Agent) {
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("all well"), "{command:?}\n{said}\n{}", agent.log());
    assert!(agent.is_alive(), "the agent is gone:\n{}", agent.log());
}

fn python(name: &str, level: &str) {
    let Some(python) = tool(&["target/venv/bin/python"]) else { return };
    let mut agent = Agent::start("");
    let mut command = Command::new(python);
    command.arg(script(name)).arg(agent.port.to_string()).arg(level);
    check(command, &mut agent);
}

fn node(websocket: bool, level: &str) {
    let Some(modules) = tool(&["target/node/node_modules/mqtt"]) else { return };
    let mut agent = Agent::start("");
    let url = match websocket {
        true => format!("ws://127.0.0.1:{}", agent.websocket_port),
        false => format!("mqtt://127.0.0.1:{}", agent.port),
    };
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules.parent().unwrap_or(Path::new("/")));
    command.arg(script("with_mqttjs.cjs")).arg(url).arg(level);
    check(command, &mut agent);
}

#[test]
fn paho_talks_3_1_1() {
    python("with_paho.py", "3");
}

#[test]
fn paho_talks_5() {
    python("with_paho.py", "5");
}

#[test]
fn gmqtt_talks_3_1_1() {
    python("with_gmqtt.py", "4");
}

#[test]
fn gmqtt_talks_5() {
    python("with_gmqtt.py", "5");
}

#[test]
fn mqttjs_talks_3_1_1() {
    node(false, "4");
}

#[test]
fn mqttjs_talks_5() {
    node(false, "5");
}

#[test]
fn mqttjs_talks_3_1_1_over_websocket() {
    node(true, "4");
}

#[test]
fn mqttjs_talks_5_over_websocket() {
    node(true, "5");
}

#[test]
fn mosquitto_pub_and_sub_talk_every_version_and_qos() {
    let Some(publish) = tool(&["/usr/bin/mosquitto_pub"]) else { return };
    let Some(subscribe) = tool(&["/usr/bin/mosquitto_sub"]) else { return };
    let agent = Agent::start("");
    let port = agent.port.to_string();
    for version in ["31", "311", "5"] {
        for qos in ["0", "1", "2"] {
            let topic = format!("été/{version}/{qos}");
            let sent = Command::new(&publish)
                .args(["-p", &port, "-V", version, "-q", qos, "-t", &topic, "-m", "kept", "-r"])
                .status()
                .expect("mosquitto_pub starts");
            assert!(sent.success(), "publish {version} {qos}");
            let got = Command::new(&subscribe)
                .args(["-p", &port, "-V", version, "-q", qos, "-t", &topic, "-C", "1", "-W", "10", "-F", "%t %q %r %p"])
                .output()
                .expect("mosquitto_sub starts");
            assert_eq!(String::from_utf8_lossy(&got.stdout), format!("{topic} {qos} 1 kept\n"), "{}", agent.log());
        }
    }
}

/// A rumqttc client whose incoming packets wait in a channel; it ends with its first error.
fn rumqttc_talker(port: u16, name: &str, will: Option<LastWill>) -> (Client, Receiver<Packet>) {
    let mut options = MqttOptions::new(name, "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(30)).set_max_packet_size(1 << 20, 1 << 20);
    if let Some(will) = will {
        options.set_last_will(will);
    }
    let (client, mut connection) = Client::new(options, 100);
    let (sender, packets) = channel();
    thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(packet)) => {
                    if sender.send(packet).is_err() {
                        break;
                    }
                }
                Ok(Event::Outgoing(_)) => {}
                Err(_) => break,
            }
        }
    });
    assert!(matches!(packets.recv_timeout(WAIT), Ok(Packet::ConnAck(_))), "{name} is let in");
    (client, packets)
}

fn arrival(packets: &Receiver<Packet>) -> Publish {
    loop {
        if let Packet::Publish(publish) = packets.recv_timeout(WAIT).expect("a message") {
            return publish;
        }
    }
}

fn subscribe(client: &Client, packets: &Receiver<Packet>, topic: &str, qos: QoS) {
    client.subscribe(topic, qos).expect("queued");
    while !matches!(packets.recv_timeout(WAIT).expect("a SUBACK"), Packet::SubAck(_)) {}
}

#[test]
fn rumqttc_talks_every_qos_and_gets_a_will() {
    let agent = Agent::start("");
    let will = LastWill::new("rust/gone", "farewell", QoS::AtLeastOnce, false);
    let (hearer, inbox) = rumqttc_talker(agent.port, "rust-hearer", None);
    let (talker, _acks) = rumqttc_talker(agent.port, "rust-talker", None);
    let large = vec![7_u8; 200_000];
    for granted in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let topic = format!("rust/été/{}", granted as u8);
        subscribe(&hearer, &inbox, &topic, granted);
        for sent in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            talker.publish(&topic, sent, false, large.clone()).expect("queued");
            let got = arrival(&inbox);
            assert_eq!((got.topic.as_str(), got.qos as u8), (topic.as_str(), (sent as u8).min(granted as u8)));
            assert!(got.payload == large, "the payload has changed");
        }
    }
    subscribe(&hearer, &inbox, "rust/gone", QoS::AtLeastOnce);
    let (doomed, doomed_packets) = rumqttc_talker(agent.port, "rust-doomed", Some(will));
    // Its thread ends at the next packet that it cannot hand on, and drops the socket without a DISCONNECT.
    drop(doomed_packets);
    doomed.publish("rust/any", QoS::AtLeastOnce, false, "").expect("queued");
    assert_eq!(arrival(&inbox).payload.as_ref(), b"farewell");
}
