//! What brought other embeddable brokers down, message by message. Each of these is quite legal.

use std::thread::{scope, sleep};
use std::time::Duration;

use super::stage::Stage;
use super::wire::{Client, ack, connect_with, packet, publish, read_packet, text};
use crate::run::agent::{Agent, solo};

#[test]
fn a_qos_2_message_that_is_sent_again_is_one_and_the_next_is_another() {
    let stage = Stage::set(&solo(""));
    let address = stage.agent.programs();
    let mut listener = Client::new(address, 4, "listener");
    listener.subscribe("t", 0);
    let hello = connect_with(4, 0x00, &text("twice"));
    let mut client = Client::greet(address, 4, &hello);
    client.publish("t", b"first", 2, 5);
    client.expect(&ack(0x50, 5));
    let mut again = publish(4, "t", b"first", 2, 5);
    again[0] |= 0x08;
    client.send(&again);
    client.expect(&ack(0x50, 5));
    // Lost before PUBCOMP; the id stays taken until it is released on the next connection.
    drop(client);
    let mut client = Client::greet(address, 4, &hello);
    client.send(&ack(0x62, 5));
    client.expect(&ack(0x70, 5));
    client.publish("t", b"second", 2, 5);
    client.expect(&ack(0x50, 5));
    client.send(&ack(0x62, 5));
    client.expect(&ack(0x70, 5));
    assert_eq!(listener.message().payload, b"first");
    assert_eq!(listener.message().payload, b"second");
    listener.ping();
    stage.end();
}

#[test]
fn topics_and_wills_in_any_language_arrive() {
    let stage = Stage::set(&solo(""));
    let address = stage.agent.programs();
    let mut listener = Client::new(address, 4, "listener");
    listener.subscribe("été/#", 1);
    let mut client = Client::new(address, 4, "client");
    client.publish("été/temp", "21 °C".as_bytes(), 1, 1);
    client.expect(&ack(0x40, 1));
    assert_eq!(listener.message().topic, "été/temp");
    let will = [text("mourned"), text("été/🌡"), text("fini")].concat();
    drop(Client::greet(address, 4, &connect_with(4, 0x06, &will)));
    let message = listener.message();
    assert_eq!((message.topic.as_str(), message.payload.as_slice()), ("été/🌡", b"fini".as_slice()));
    stage.end();
}

#[test]
fn the_only_member_of_a_group_that_drops_its_socket_finds_its_message_again() {
    let stage = Stage::set(&solo(""));
    let address = stage.agent.programs();
    let hello = connect_with(4, 0x00, &text("member"));
    let mut member = Client::greet(address, 4, &hello);
    member.subscribe("$share/g/job", 1);
    let mut client = Client::new(address, 4, "client");
    for number in 1..=3u8 {
        client.publish("job", &[number], 1, number.into());
        client.expect(&ack(0x40, number.into()));
    }
    let first = read_packet(&mut member.stream).expect("a job");
    assert_eq!(first.last(), Some(&1));
    drop(member);
    client.publish("job", &[4], 1, 4);
    client.expect(&ack(0x40, 4));
    let mut member = Client::greet(address, 4, &hello);
    let jobs: Vec<u8> = (0..4).map(|_| member.message().payload[0]).collect();
    assert_eq!(jobs, [1, 2, 3, 4]);
    stage.end();
}

#[test]
fn properties_of_version_5_are_left_out_for_older_subscribers() {
    let stage = Stage::set(&solo(""));
    let address = stage.agent.programs();
    let mut listener = Client::new(address, 4, "listener");
    listener.subscribe("t", 1);
    let mut client = Client::new(address, 5, "client");
    let props = b"\x26\0\x01k\0\x01v\x02\0\0\0\x3c\x03\0\x01t\x08\0\x01r\x09\0\x01c\x01\x01";
    client.send(&packet(0x32, &[&text("t"), &b"\0\x01"[..], &[props.len() as u8], props, b"hello"].concat()));
    client.expect(&ack(0x40, 1));
    listener.expect(&packet(0x32, b"\0\x01t\0\x01hello"));
    stage.end();
}

#[test]
fn an_online_subscriber_misses_nothing_of_fifty_thousand_messages_with_a_queue_of_200_kb() {
    let stage = Stage::set(&(solo("") + "limits: { queue_bytes: 200KB }\n"));
    let address = stage.agent.programs();
    scope(|scope| {
        let mut listener = Client::new(address, 4, "listener");
        listener.subscribe("bulk", 1);
        scope.spawn(move || {
            for number in 0..50_000u32 {
                assert_eq!(listener.message().payload[..4], number.to_be_bytes());
            }
        });
        let mut client = Client::new(address, 4, "client");
        let payload = [0; 96];
        for portion in 0..500u32 {
            let burst: Vec<u8> = (0..100u32)
                .flat_map(|id| {
                    let number = (portion * 100 + id).to_be_bytes();
                    publish(4, "bulk", &[&number[..], &payload].concat(), 1, id as u16 + 1)
                })
                .collect();
            client.send(&burst);
            for id in 1..=100 {
                client.expect(&ack(0x40, id));
            }
        }
    });
    stage.end();
}

#[test]
fn five_hundred_retained_messages_are_all_found() {
    let stage = Stage::set(&solo(""));
    let address = stage.agent.programs();
    let mut client = Client::new(address, 4, "client");
    for number in 0..500u16 {
        let mut message = publish(4, &format!("kept/{number}"), &number.to_be_bytes(), 1, number + 1);
        message[0] |= 1;
        client.send(&message);
        client.expect(&ack(0x40, number + 1));
    }
    let mut listener = Client::new(address, 4, "listener");
    listener.subscribe("kept/#", 1);
    let mut found: Vec<Vec<u8>> = (0..500).map(|_| listener.message().payload).collect();
    found.sort();
    let wanted: Vec<Vec<u8>> = (0..500u16).map(|number| number.to_be_bytes().to_vec()).collect();
    assert_eq!(found, wanted);
    stage.end();
}

#[test]
fn two_messages_may_be_acknowledged_in_the_other_order() {
    let stage = Stage::set(&solo(""));
    let address = stage.agent.programs();
    let mut listener = Client::new(address, 4, "listener");
    listener.subscribe("t", 1);
    let mut client = Client::new(address, 4, "client");
    client.publish("t", b"one", 1, 1);
    client.publish("t", b"two", 1, 2);
    for id in [1, 2] {
        client.expect(&ack(0x40, id));
    }
    for payload in ["one", "two"] {
        assert!(listener.next().ends_with(payload.as_bytes()));
    }
    listener.send(&[ack(0x40, 2), ack(0x40, 1)].concat());
    listener.ping();
    client.publish("t", b"three", 1, 3);
    assert_eq!(listener.message().payload, b"three");
    stage.end();
}

#[test]
fn a_keep_alive_of_0_is_let_in_and_stays() {
    let agent = Agent::start(&solo(""), "solo");
    // Every client here has one; this one says nothing for a while.
    let mut client = Client::new(agent.programs(), 4, "quiet");
    sleep(Duration::from_secs(1));
    client.ping();
}
