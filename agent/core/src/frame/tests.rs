use proptest::prelude::*;

use super::*;

fn streams() -> impl Strategy<Value = StreamId> {
    (any::<u64>(), any::<u32>(), 0..3u8).prop_map(|(sender, incarnation, lane)| StreamId {
        sender: SenderId(sender),
        incarnation,
        lane: Lane::from_number(lane).unwrap(),
    })
}

/// One of every kind, filled with what is given.
fn all<'a>(stream: StreamId, n: [u64; 4], name: &'a str, topic: &'a str, bytes: &'a [u8]) -> Vec<Frame<'a>> {
    let [a, b, c, d] = n;
    let carried = Carried { expiry_s: a as u32, topic, envelope: bytes };
    vec![
        Frame::Hello(Hello { version: a as u8, name, boot: b, agent: "0.1.0", hlc: Hlc(c) }),
        Frame::Attach { fresh: Fresh::New },
        Frame::Attach { fresh: Fresh::No },
        Frame::Attach { fresh: Fresh::Restarted },
        Frame::Detach,
        Frame::Have { stream, upto: a },
        Frame::Ready,
        Frame::Record(carried),
        Frame::Skip { stream, from: a, to: b },
        Frame::Got(Got { stream, received: a, stored: b, stable: c }),
        Frame::Need { stream, from: d },
        Frame::Retained(carried),
        Frame::Fact(Fact { owner: name, kind: a as u8, hlc: Hlc(b), body: bytes }),
        Frame::Beat(Beat {
            number: a as u32,
            heard: b as u32,
            heard_ago_us: c as u32,
            in_step: d % 2 == 0,
            hlc: Hlc(d),
            every_ms: b as u32,
            bytes_heard: a as u32,
        }),
        Frame::Cursor { machine: SenderId(a), stream, upto: b },
        Frame::Bye { reason: a as u8 },
        Frame::Trimmed { stream, upto: a },
        Frame::Gone { stream },
        Frame::Ping(Ping { to: name, from: topic, number: a, way: Way::There, hops: b as u8 }),
        Frame::Ping(Ping { to: topic, from: name, number: a, way: Way::Back, hops: b as u8 }),
        Frame::Page(Page {
            route: Ping { to: topic, from: name, number: a, way: Way::Back, hops: b as u8 },
            part: c as u16,
            parts: d as u16,
            body: bytes,
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_said_is_what_is_heard_whole_or_in_pieces(
        stream in streams(), n in any::<[u64; 4]>(), name in "[a-z-]{1,20}", topic in "[a-zé/]{1,30}",
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        for frame in all(stream, n, &name, &topic, &bytes) {
            let mut out = vec![9];
            encode(&frame, &mut out);
            let said = &out[1..];
            prop_assert_eq!(decode(said, 1000), Ok(Some((Some(frame), said.len()))));
            for cut in 0..said.len() {
                prop_assert_eq!(decode(&said[..cut], 1000), Ok(None), "cut at {}", cut);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_frame_or_a_fault_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), kind in 0..20u8) {
        let _ = decode(&bytes, 1000);
        let mut framed = u32::try_from(bytes.len() + 1).unwrap().to_be_bytes().to_vec();
        framed.push(kind);
        framed.extend_from_slice(&bytes);
        if let Ok(Some((_, length))) = decode(&framed, 1000) {
            prop_assert_eq!(length, framed.len());
        }
    }
}

#[test]
fn a_kind_from_the_future_is_passed_over() {
    assert_eq!(decode(&[0, 0, 0, 3, 200, 1, 2, 0], 1000), Ok(Some((None, 7))));
}

#[test]
fn a_claim_of_gigabytes_is_refused_at_once() {
    assert_eq!(decode(&[255, 255, 255, 255, 6], 1000), Err(FrameError::TooLong(u32::MAX as usize)));
    assert_eq!(decode(&[0, 0, 0, 0], 1000), Err(FrameError::CutOff(0)));
}

#[test]
fn a_record_to_a_wildcard_is_refused() {
    let mut out = Vec::new();
    encode(&Frame::Record(Carried { expiry_s: 0, topic: "a/#", envelope: &[] }), &mut out);
    assert_eq!(decode(&out, 1000), Err(FrameError::Invalid(6)));
}

#[test]
fn frames_of_the_version_before_and_of_the_next_one_are_understood() {
    let beat =
        Beat { number: 1, heard: 2, heard_ago_us: 3, in_step: true, hlc: Hlc(4), every_ms: 500, bytes_heard: 600 };
    let mut said = Vec::new();
    encode(&Frame::Beat(beat), &mut said);
    let with_body = |kind: u8, body: &[u8]| {
        let length = u32::try_from(body.len() + 1).unwrap();
        [&length.to_be_bytes()[..], &[kind], body].concat()
    };
    let (kind, body) = (said[4], &said[5..]);
    for (lacking, beat) in [(4, Beat { bytes_heard: 0, ..beat }), (8, Beat { every_ms: 0, bytes_heard: 0, ..beat })] {
        let before = with_body(kind, &body[..body.len() - lacking]);
        assert_eq!(decode(&before, 0), Ok(Some((Some(Frame::Beat(beat)), before.len()))));
    }
    let next = with_body(kind, &[body, b"and more"].concat());
    assert_eq!(decode(&next, 0), Ok(Some((Some(Frame::Beat(beat)), next.len()))), "more fields are passed over");
    let unknown = with_body(200, b"whatever it says");
    assert_eq!(decode(&unknown, 0), Ok(Some((None, unknown.len()))), "and so are frames of another kind");
}
