use std::fs::File;
use std::io::{self, Write};

use hobnail_core::mqtt::packet::{Props, Publish, QoS};
use hobnail_core::mqtt::props::{self, Prop, PropsBuf};
use proptest::prelude::*;

use super::*;

fn message<'a>(topic: &'a str, qos: QoS, retain: bool, payload: &'a [u8], props: Props<'a>) -> Publish<'a> {
    let expiry_s = None;
    Publish { dup: false, retain, qos, id: None, topic, payload, topic_alias: None, expiry_s, props }
}

fn everything() -> PropsBuf {
    let mut all = PropsBuf::default();
    for prop in [
        Prop::Byte(props::PAYLOAD_FORMAT, 1),
        Prop::Text(props::CONTENT_TYPE, "text/plain"),
        Prop::Text(props::RESPONSE_TOPIC, "reply/1"),
        Prop::Binary(props::CORRELATION_DATA, &[0, 255, 16]),
        Prop::Pair("colour", "red"),
        Prop::Pair("colour", "a:b"),
        Prop::Pair("", ""),
    ] {
        all.push(prop);
    }
    all
}

/// A file with three messages, and where the records of each end.
fn written() -> (Vec<u8>, Vec<u64>) {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let all = everything();
    let mut ends = Vec::new();
    for (index, (topic, qos, retain)) in
        [("a/b", QoS::AtLeastOnce, false), ("a/b", QoS::ExactlyOnce, true), ("ü", QoS::AtMostOnce, false)]
            .into_iter()
            .enumerate()
    {
        let props = if index == 1 { all.as_props() } else { Props::default() };
        let added = writer.add(&message(topic, qos, retain, &[7; 5], props), 1_000 + index as u64).unwrap();
        assert_eq!(added, Added::Recorded);
        writer.flush().unwrap();
        ends.push(writer.kept().bytes);
    }
    writer.finish().unwrap();
    (writer.out().clone(), ends)
}

/// All messages, and whether the file came to its end.
fn read(bytes: &[u8]) -> Result<(Vec<Recorded>, bool), ReadError> {
    let mut reader = Reader::new(bytes, bytes.len() as u64)?;
    let mut messages = Vec::new();
    loop {
        match reader.step()? {
            Step::Message(message) => messages.push(message),
            Step::End => return Ok((messages, true)),
            Step::Cut => return Ok((messages, false)),
        }
    }
}

#[test]
fn what_was_recorded_is_read_with_all_it_had() {
    let (messages, ended) = read(&written().0).unwrap();
    assert!(ended);
    let facts: Vec<(&str, QoS, bool, u64)> =
        messages.iter().map(|one| (&*one.topic, one.qos, one.retain, one.at_ns)).collect();
    let wanted = [
        ("a/b", QoS::AtLeastOnce, false, 1_000),
        ("a/b", QoS::ExactlyOnce, true, 1_001),
        ("ü", QoS::AtMostOnce, false, 1_002),
    ];
    assert_eq!(facts, wanted);
    let props: Vec<&PropsBuf> = messages.iter().map(|one| &one.props).collect();
    assert_eq!(props, [&PropsBuf::default(), &everything(), &PropsBuf::default()]);
    assert!(messages.iter().all(|one| one.payload == [7; 5]));
}

#[test]
fn a_file_cut_anywhere_gives_every_message_before_the_cut() {
    let (bytes, ends) = written();
    let end = usize::try_from(ends[2]).unwrap() + 9;
    for cut in 8..bytes.len() {
        let (messages, ended) = read(&bytes[..cut]).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut as u64).count();
        assert_eq!((messages.len(), ended), (whole, cut >= end + 4), "cut at {cut}");
    }
    for cut in 0..8 {
        assert!(matches!(read(&bytes[..cut]), Err(ReadError::NotMcap)));
    }
}

#[test]
fn messages_beyond_the_last_channel_are_left_out_and_known_ones_are_not() {
    let mut writer = Writer::new(std::io::sink()).unwrap();
    for number in 0..=65_535u32 {
        let topic = number.to_string();
        let added = writer.add(&message(&topic, QoS::AtMostOnce, false, b"", Props::default()), 0).unwrap();
        let wanted = if number < 65_535 { Added::Recorded } else { Added::LeftOut };
        assert_eq!(added, wanted, "{number}");
    }
    let known = message("0", QoS::AtMostOnce, false, b"", Props::default());
    assert_eq!(writer.add(&known, 0).unwrap(), Added::Recorded);
}

/// Takes seven bytes at a time, and after them fails once.
#[derive(Default)]
struct Stubborn {
    taken: Vec<u8>,
    fails: bool,
}

impl Write for Stubborn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.fails, false) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let count = bytes.len().min(7);
        self.taken.extend(&bytes[..count]);
        self.fails = self.taken.len() > 100;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_write_that_failed_goes_on_where_it_was() {
    let mut writer = Writer::new(Stubborn::default()).unwrap();
    writer.add(&message("a", QoS::AtLeastOnce, false, &[7; 300], Props::default()), 1).unwrap();
    let mut failures = 0;
    while writer.flush().is_err() {
        assert_eq!(writer.kept().messages, 0);
        failures += 1;
    }
    assert!(failures > 10, "{failures}");
    assert_eq!(writer.kept().bytes, writer.out().taken.len() as u64);
    let (messages, _) = read(&writer.out().taken).unwrap();
    assert_eq!(messages.len(), 1);
}

#[test]
fn after_a_failed_write_the_file_ends_with_the_last_whole_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rescued");
    let mut writer = Writer::new(File::create(&path).unwrap()).unwrap();
    let one = message("a", QoS::AtLeastOnce, false, b"one", Props::default());
    writer.add(&one, 1).unwrap();
    writer.flush().unwrap();
    writer.add(&one, 2).unwrap();
    // Half of a record has left.
    writer.out().write_all(&[kind::MESSAGE, 99, 0, 0]).unwrap();
    writer.rescue().unwrap();
    let (messages, ended) = read(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!((messages.len(), ended, writer.kept().messages), (1, true, 1));
}

#[test]
fn a_length_beyond_the_file_takes_no_memory_and_ends_it() {
    let (mut bytes, ends) = written();
    bytes.truncate(usize::try_from(ends[2]).unwrap());
    bytes.push(5);
    bytes.extend_from_slice(&u64::MAX.to_le_bytes());
    let (messages, ended) = read(&bytes).unwrap();
    assert_eq!((messages.len(), ended), (3, false));
}

#[test]
fn chunks_are_refused_by_name_and_other_records_are_passed_over() {
    let with = |kind: u8| {
        let (bytes, _) = written();
        [&bytes[..8], &[kind, 3, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3], &bytes[8..]].concat()
    };
    assert!(matches!(read(&with(kind::CHUNK)), Err(ReadError::Chunks)));
    assert_eq!(read(&with(0x09)).unwrap().0.len(), 3);
}

#[test]
fn a_topic_that_cannot_be_published_to_is_refused() {
    for topic in ["", "a/#", "a\0"] {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.add(&message(topic, QoS::AtMostOnce, false, b"", Props::default()), 0).unwrap();
        writer.finish().unwrap();
        assert!(matches!(read(writer.out()), Err(ReadError::Bad { .. })), "{topic:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        // What comes of it does not matter: it ends, without a panic.
        let _ = read(&bytes);
        let _ = read(&[&MAGIC[..], &bytes].concat());
    }

    #[test]
    fn bent_files_are_read_or_refused(at in 8usize..500, value: u8, cut in 8usize..600) {
        let (mut bytes, _) = written();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        bytes.truncate(cut);
        if let Ok((messages, _)) = read(&bytes) {
            prop_assert!(messages.len() <= 3);
        }
    }
}
