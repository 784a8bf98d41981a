use super::*;
use crate::mqtt::decode;
use crate::mqtt::packet::SubscribeOptions;

const T0: Now = Now(1_000_000);

fn hello<'a>() -> Connect<'a> {
    Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 60,
        client_id: "c",
        will: None,
        user: None,
        password: None,
        session_expiry_s: None,
        receive_max: None,
        packet_bytes_max: None,
        topic_alias_max: 2,
        request_response_info: false,
        request_problem_info: true,
        auth_method: None,
        auth_data: None,
        user_props: Props::default(),
    }
}

/// A client that has been taken in, nothing left to write.
fn open(window: u16, ack: ConnAck<'_>) -> Client {
    let mut client = Client::new(NonZeroU16::new(window).unwrap());
    greet(&mut client, ack);
    client
}

fn greet(client: &mut Client, ack: ConnAck<'_>) {
    client.connect(T0, hello()).unwrap();
    assert!(matches!(client.handle_packet(T0, Packet::ConnAck(Box::new(ack))), Ok(Event::Connected(_))));
    sent(client);
}

/// What the client has to say, by name, after which it has said it.
fn sent(client: &mut Client) -> Vec<&'static str> {
    let bytes = client.transmit().to_vec();
    client.transmitted(T0, bytes.len());
    let (mut rest, mut names) = (bytes.as_slice(), Vec::new());
    while let Some((packet, used)) = decode(rest, Some(Version::V5), usize::MAX).unwrap() {
        names.push(name(&packet));
        rest = &rest[used..];
    }
    assert!(rest.is_empty(), "half a packet is left: {rest:?}");
    names
}

fn id(number: u16) -> PacketId {
    PacketId(NonZeroU16::new(number).unwrap())
}

fn ack<'a>(number: u16, reason: Reason) -> Ack<'a> {
    Ack { id: id(number), reason, reason_string: None, user_props: Props::default() }
}

fn message<'a>(qos: QoS, number: Option<u16>) -> Publish<'a> {
    Publish {
        dup: false,
        retain: false,
        qos,
        id: number.map(id),
        topic: "a/b",
        payload: b"x",
        topic_alias: None,
        expiry_s: None,
        props: Props::default(),
    }
}

#[test]
fn nothing_can_be_published_before_the_server_has_taken_us_in() {
    let mut client = Client::new(NonZeroU16::MAX);
    assert_eq!(client.publish(&message(QoS::AtMostOnce, None)), Err(SendError::NotOpen));
    client.connect(T0, hello()).unwrap();
    assert_eq!(client.publish(&message(QoS::AtMostOnce, None)), Err(SendError::NotOpen));
    assert_eq!(sent(&mut client), ["CONNECT"]);
}

#[test]
fn a_refusal_closes_the_client() {
    let mut client = Client::new(NonZeroU16::MAX);
    client.connect(T0, hello()).unwrap();
    let no = ConnAck { reason: Reason::NOT_AUTHORIZED, ..ConnAck::default() };
    assert!(matches!(client.handle_packet(T0, Packet::ConnAck(Box::new(no))), Ok(Event::Refused(_))));
    assert_eq!(client.publish(&message(QoS::AtMostOnce, None)), Err(SendError::NotOpen));
    assert_eq!(client.next_deadline(), None);
}

#[test]
fn the_window_is_the_smaller_of_ours_and_the_servers() {
    for (own, servers, wanted) in [(3, None, 3), (3, Some(2), 2), (1, Some(9), 1)] {
        let mut client = open(own, ConnAck { receive_max: servers.and_then(NonZeroU16::new), ..ConnAck::default() });
        for _ in 0..wanted {
            client.publish(&message(QoS::AtLeastOnce, None)).unwrap();
        }
        assert!(!client.has_room());
        assert_eq!(client.publish(&message(QoS::AtLeastOnce, None)), Err(SendError::WindowFull));
        assert_eq!(client.publish(&message(QoS::AtMostOnce, None)), Ok(None), "QoS 0 needs no window");
        let done = client.handle_packet(T0, Packet::PubAck(ack(1, Reason::SUCCESS))).unwrap();
        assert_eq!(done, Event::Published(ack(1, Reason::SUCCESS)));
        assert!(client.has_room());
    }
}

#[test]
fn a_qos_2_publish_goes_through_all_four_packets() {
    let mut client = open(9, ConnAck::default());
    assert_eq!(client.publish(&message(QoS::ExactlyOnce, None)), Ok(Some(id(1))));
    assert_eq!(client.handle_packet(T0, Packet::PubRec(ack(1, Reason::SUCCESS))), Ok(Event::Quiet));
    assert_eq!(sent(&mut client), ["PUBLISH", "PUBREL"]);
    assert_eq!(client.unacknowledged(), 1);
    let done = client.handle_packet(T0, Packet::PubComp(ack(1, Reason::SUCCESS)));
    assert!(matches!(done, Ok(Event::Published(_))));
    assert_eq!(client.unacknowledged(), 0);
}

#[test]
fn a_refused_qos_2_publish_ends_at_pubrec() {
    let mut client = open(9, ConnAck::default());
    client.publish(&message(QoS::ExactlyOnce, None)).unwrap();
    sent(&mut client);
    let done = client.handle_packet(T0, Packet::PubRec(ack(1, Reason::NOT_AUTHORIZED))).unwrap();
    assert_eq!(done, Event::Published(ack(1, Reason::NOT_AUTHORIZED)));
    assert_eq!((client.unacknowledged(), sent(&mut client).len()), (0, 0));
}

#[test]
fn an_acknowledgement_of_nothing_changes_nothing() {
    let mut client = open(9, ConnAck::default());
    client.publish(&message(QoS::ExactlyOnce, None)).unwrap();
    for packet in [Packet::PubAck(ack(1, Reason::SUCCESS)), Packet::PubComp(ack(7, Reason::SUCCESS))] {
        assert_eq!(client.handle_packet(T0, packet), Ok(Event::Quiet));
    }
    assert_eq!(client.unacknowledged(), 1);
}

#[test]
fn a_qos_2_message_is_handed_on_once_until_its_pubrel() {
    let mut client = open(9, ConnAck::default());
    let again = || Packet::Publish(message(QoS::ExactlyOnce, Some(5)));
    assert!(matches!(client.handle_packet(T0, again()), Ok(Event::Message(_))));
    assert_eq!(client.handle_packet(T0, again()), Ok(Event::Quiet));
    assert_eq!(sent(&mut client), ["PUBREC", "PUBREC"]);
    client.handle_packet(T0, Packet::PubRel(ack(5, Reason::SUCCESS))).unwrap();
    assert_eq!(sent(&mut client), ["PUBCOMP"]);
    assert!(matches!(client.handle_packet(T0, again()), Ok(Event::Message(_))), "the id is free again");
}

#[test]
fn a_kept_session_remembers_what_was_handed_on_and_a_new_one_does_not() {
    for (session_present, wanted) in [(true, false), (false, true)] {
        let mut client = open(9, ConnAck::default());
        client.handle_packet(T0, Packet::Publish(message(QoS::ExactlyOnce, Some(5)))).unwrap();
        greet(&mut client, ConnAck { session_present, ..ConnAck::default() });
        let event = client.handle_packet(T0, Packet::Publish(message(QoS::ExactlyOnce, Some(5)))).unwrap();
        assert_eq!(matches!(event, Event::Message(_)), wanted, "session present: {session_present}");
    }
}

#[test]
fn a_used_packet_id_is_passed_over() {
    let mut client = open(u16::MAX, ConnAck::default());
    assert_eq!(client.publish(&message(QoS::AtLeastOnce, None)), Ok(Some(id(1))));
    let options = SubscribeOptions::default();
    let filters = [SubscribeFilter { filter: "#", options }];
    assert_eq!(client.subscribe(&filters, None, Props::default()), Ok(id(2)));
    client.last_id = u16::MAX;
    assert_eq!(client.publish(&message(QoS::AtLeastOnce, None)), Ok(Some(id(3))));
}

#[test]
fn an_alias_stands_for_the_topic_it_came_with() {
    let mut client = open(9, ConnAck::default());
    let aliased = |topic, alias| {
        let topic_alias = NonZeroU16::new(alias);
        Packet::Publish(Publish { topic, topic_alias, ..message(QoS::AtMostOnce, None) })
    };
    client.handle_packet(T0, aliased("long/topic", 2)).unwrap();
    let Ok(Event::Message(second)) = client.handle_packet(T0, aliased("", 2)) else { panic!("no message") };
    assert_eq!(second.topic, "long/topic");
    assert_eq!(client.handle_packet(T0, aliased("", 1)), Err(HandleError::UnknownAlias(1)));
    assert_eq!(client.handle_packet(T0, aliased("x", 3)), Err(HandleError::UnknownAlias(3)), "we offered two");
}

#[test]
fn silence_brings_a_ping_and_more_silence_ends_it() {
    let mut client = open(9, ConnAck::default());
    let due = client.next_deadline().unwrap();
    assert_eq!(due, T0.after(Duration::from_secs(60)));
    client.handle_time(Now(due.0 - 1)).unwrap();
    assert!(client.transmit().is_empty(), "too early");
    client.handle_time(due).unwrap();
    assert_eq!(sent(&mut client), ["PINGREQ"]);
    let late = client.next_deadline().unwrap();
    assert!(client.handle_time(late).is_err());
    client.handle_packet(late, Packet::PingResp).unwrap();
    assert!(client.handle_time(late).is_ok());
}

#[test]
fn a_keep_alive_of_0_never_pings_and_the_servers_own_wins() {
    let mut client = Client::new(NonZeroU16::MAX);
    client.connect(T0, Connect { keep_alive_s: 0, ..hello() }).unwrap();
    client.handle_packet(T0, Packet::ConnAck(Box::default())).unwrap();
    assert_eq!(client.next_deadline(), None);
    let client = open(9, ConnAck { server_keep_alive_s: Some(5), ..ConnAck::default() });
    assert_eq!(client.next_deadline(), Some(T0.after(Duration::from_secs(5))));
}

#[test]
fn what_the_server_cannot_take_is_refused_here() {
    let mut client = open(
        9,
        ConnAck {
            packet_bytes_max: Some(20),
            qos_max: Some(QoS::AtLeastOnce),
            retain_available: Some(false),
            ..ConnAck::default()
        },
    );
    let large = Publish { payload: &[0; 30], ..message(QoS::AtLeastOnce, None) };
    assert!(matches!(client.publish(&large), Err(SendError::TooLarge { .. })));
    assert_eq!(client.publish(&message(QoS::ExactlyOnce, None)), Err(SendError::QosTooHigh(1)));
    let retained = Publish { retain: true, ..message(QoS::AtMostOnce, None) };
    assert_eq!(client.publish(&retained), Err(SendError::RetainUnavailable));
    assert!(client.transmit().is_empty(), "a refused packet leaves no bytes");
    assert!(client.publish(&message(QoS::AtLeastOnce, None)).is_ok());
}

#[test]
fn a_packet_that_only_a_client_sends_is_an_error() {
    let mut client = open(9, ConnAck::default());
    assert_eq!(client.handle_packet(T0, Packet::PingReq), Err(HandleError::Unexpected("PINGREQ")));
    assert_eq!(client.handle_packet(T0, Packet::ConnAck(Box::default())), Err(HandleError::Unexpected("CONNACK")));
}

#[test]
fn after_goodbye_nothing_is_handed_on() {
    let mut client = open(9, ConnAck::default());
    client.disconnect(Disconnect::default()).unwrap();
    assert_eq!(sent(&mut client), ["DISCONNECT"]);
    let late = Packet::Publish(message(QoS::AtLeastOnce, Some(1)));
    assert_eq!(client.handle_packet(T0, late), Ok(Event::Quiet));
    assert!(client.transmit().is_empty(), "what was not handed on is not acknowledged");
}

#[test]
fn written_bytes_do_not_pile_up() {
    let mut client = open(9, ConnAck::default());
    let big = Publish { payload: &[0; 1000], ..message(QoS::AtMostOnce, None) };
    for _ in 0..1000 {
        client.publish(&big).unwrap();
        client.transmitted(T0, 1000);
    }
    assert!(client.out.len() < 2 * SENT_BYTES_MAX, "{} bytes are held", client.out.len());
}

#[test]
fn by_hand_a_qos_1_message_is_acknowledged_when_its_owner_says_so() {
    let mut client = Client::new(NonZeroU16::MAX).acknowledging_by_hand();
    assert_eq!(client.acknowledge(id(7)), Err(SendError::NotOpen));
    for _connection in 0..2 {
        greet(&mut client, ConnAck::default());
        let handed = client.handle_packet(T0, Packet::Publish(message(QoS::AtLeastOnce, Some(7)))).unwrap();
        assert!(matches!(handed, Event::Message(_)));
        assert_eq!(sent(&mut client), Vec::<&str>::new());
        client.acknowledge(id(7)).unwrap();
        assert_eq!(sent(&mut client), ["PUBACK"]);
        client.handle_packet(T0, Packet::Publish(message(QoS::ExactlyOnce, Some(8)))).unwrap();
        assert_eq!(sent(&mut client), ["PUBREC"], "QoS 2 has its own exchange");
    }
}
