use super::*;

/// The example of RFC 6455 1.3, asking for MQTT.
const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: hub\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat, mqtt\r\n\r\n";

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut bytes = Vec::new();
    put_frame(first, payload, &mut bytes);
    bytes[0] = first;
    bytes[1] |= MASKED;
    let head = bytes.len() - payload.len();
    bytes.splice(head..head, mask);
    for (index, byte) in bytes[head + 4..].iter_mut().enumerate() {
        *byte ^= mask[index % 4];
    }
    bytes
}

/// What came out of `input`, given in portions of `step` bytes: delivered, answered, and how it ended.
fn feed(input: &[u8], step: usize) -> (Vec<u8>, Vec<u8>, Result<(), WebSocketError>) {
    let mut socket = WebSocket::new(Pages::default());
    let (mut got, mut reply) = (Vec::new(), Vec::new());
    for portion in input.to_vec().chunks_mut(step) {
        if let Err(error) = socket.receive(portion, &mut reply, &mut |bytes| got.extend_from_slice(bytes)) {
            return (got, reply, Err(error));
        }
    }
    (got, reply, Ok(()))
}

fn after_upgrade(frames: &[Vec<u8>]) -> Vec<u8> {
    [REQUEST.as_bytes().to_vec(), frames.concat()].concat()
}

#[test]
fn an_upgrade_is_answered_with_the_proof_of_the_standards_example() {
    let (_, reply, end) = feed(REQUEST.as_bytes(), 7);
    let reply = String::from_utf8(reply).unwrap();
    assert_eq!(end, Ok(()));
    assert!(reply.starts_with("HTTP/1.1 101 "), "{reply}");
    assert!(reply.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{reply}");
    assert!(reply.contains("Sec-WebSocket-Protocol: mqtt\r\n"), "{reply}");
}

#[test]
fn payload_comes_out_whole_however_the_bytes_and_frames_are_cut() {
    let long = vec![7; 70_000];
    let input = after_upgrade(&[
        frame(BINARY, b"one "),
        frame(FIN | PING, b"are you there"),
        frame(CONTINUATION, b"two "),
        frame(FIN | CONTINUATION, b""),
        frame(FIN | PONG, b""),
        frame(FIN | BINARY, &[b'x'; 300]),
        frame(FIN | BINARY, &long),
    ]);
    let wanted = [b"one two ".as_slice(), &[b'x'; 300], &long].concat();
    for step in [1, 2, 3, 5, 64, 1000, input.len()] {
        let (got, reply, end) = feed(&input, step);
        assert!(got == wanted && end == Ok(()), "in steps of {step}: {} bytes, {end:?}", got.len());
        assert!(reply.ends_with(b"\x8a\x0dare you there"), "in steps of {step}");
    }
}

#[test]
fn what_the_standard_forbids_is_told_and_ends_it() {
    let mut unmasked = frame(FIN | BINARY, b"");
    unmasked[1] &= !MASKED;
    let bad = WebSocketError::BadFrame;
    let cases = [
        (frame(FIN | TEXT, b"hi"), UNSUPPORTED, WebSocketError::Text),
        (frame(FIN | CLOSE, &NORMAL.to_be_bytes()), NORMAL, WebSocketError::Closed),
        (unmasked, PROTOCOL_ERROR, bad("a client's frame without a mask")),
        (frame(FIN | 0x40 | BINARY, b"x"), PROTOCOL_ERROR, bad("reserved bits")),
        (frame(FIN | CONTINUATION, b"x"), PROTOCOL_ERROR, bad("a continuation of nothing")),
        (frame(PING, b"x"), PROTOCOL_ERROR, bad("a control frame that is long or in fragments")),
        (frame(FIN | PING, &[0; 126]), PROTOCOL_ERROR, bad("a control frame that is long or in fragments")),
        (frame(FIN | 0x3, b"x"), PROTOCOL_ERROR, bad("an unknown opcode")),
        ([frame(BINARY, b"x"), frame(BINARY, b"y")].concat(), PROTOCOL_ERROR, bad("a message within a message")),
    ];
    for (bytes, code, error) in cases {
        let (_, reply, end) = feed(&after_upgrade(&[bytes]), 1);
        assert_eq!(end, Err(error));
        assert_eq!(reply[reply.len() - 4..], [&[FIN | CLOSE, 2], code.to_be_bytes().as_slice()].concat(), "{error}");
    }
}

#[test]
fn requests_that_are_no_upgrade_get_a_400() {
    let cases = [
        REQUEST.replace("GET", "POST"),
        REQUEST.replace("13", "8"),
        REQUEST.replace("Upgrade: WebSocket", "Upgrade: h2c"),
        REQUEST.replace("chat, mqtt", "chat"),
        REQUEST.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"),
        "\u{1}\u{2} not http\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES_MAX)),
    ];
    for request in cases {
        let (got, reply, end) = feed(request.as_bytes(), 100);
        assert!(matches!(end, Err(WebSocketError::NotUpgrade(_))), "{request:.60}: {end:?}");
        assert!(got.is_empty() && reply.starts_with(b"HTTP/1.1 400 "), "{request:.60}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_keep_much(input in proptest::collection::vec(proptest::num::u8::ANY, 0..600), step in 1..50usize) {
        let (got, ..) = feed(&input, step);
        proptest::prop_assert!(got.len() <= input.len());
        let (_, reply, _) = feed(&after_upgrade(&[input]), step);
        proptest::prop_assert!(reply.len() < REPLY_BACKLOG_MAX + 200);
    }
}
