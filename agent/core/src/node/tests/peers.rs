//! Other agents that err, or mean harm, and prove who they are all the same.

use super::{Lab, WORKSHOP};
use crate::envelope::{SEQ_MAX, SenderId};
use crate::frame::{Beat, FACT_BYTES_MAX, Fact, Frame, Fresh, Hello, VERSION, encode};
use crate::hlc::Hlc;
use crate::ids::Name;
use crate::node::link::{LinkId, Side};
use crate::node::{Counters, Node};
use crate::stream::StreamId;
use crate::topology::model::Lane;

/// What stands in for an agent.
struct Peer {
    lab: Lab,
    link: LinkId,
    sender: SenderId,
}

impl Peer {
    /// A link to the hub by one who has greeted.
    fn greeted(name: &str) -> Self {
        let mut lab = Lab::new(WORKSHOP, 1);
        lab.seconds(2);
        lab.kill(name);
        lab.seconds(2);
        let sender = lab.id(name);
        let mut peer = Self { lab, link: LinkId(0), sender };
        peer.link = peer.call(name);
        peer.say(&[Frame::Hello(Hello { version: VERSION, name, boot: 7, agent: "9.9.9", hlc: Hlc(1) })]);
        peer
    }

    /// A client whose home the hub is.
    fn attached() -> Self {
        let mut peer = Self::greeted("press");
        peer.say(&[Frame::Attach { fresh: Fresh::No }, Frame::Ready]);
        peer
    }

    fn call(&mut self, name: &str) -> LinkId {
        let now = self.lab.now;
        self.hub().handle_link_open(&Name::new(name).unwrap(), Side::Accepted, now)
    }

    fn say(&mut self, frames: &[Frame<'_>]) {
        let mut said = Vec::new();
        frames.iter().for_each(|frame| encode(frame, &mut said));
        let (link, now) = (self.link, self.lab.now);
        self.hub().handle_link_bytes(link, &said, now);
    }

    fn hub(&mut self) -> &mut Node {
        self.lab.node_mut("hub").unwrap()
    }

    fn counters(&mut self) -> Counters {
        self.hub().counters().clone()
    }

    fn stream(&self) -> StreamId {
        StreamId { lane: Lane::Disk, sender: self.sender, incarnation: 9 << 16 }
    }
}

#[test]
fn who_says_ready_or_comes_home_out_of_turn_is_let_go() {
    let fresh = Fresh::No;
    let round = [Frame::Detach, Frame::Attach { fresh }, Frame::Ready];
    let rounds: Vec<_> = std::iter::repeat_n(round, 16).flatten().collect();
    let wrong: [(&str, Peer, &[Frame<'_>]); 6] = [
        ("ready again", Peer::attached(), &[Frame::Ready]),
        ("ready unasked", Peer::greeted("press"), &[Frame::Ready]),
        ("home again", Peer::attached(), &[Frame::Attach { fresh }]),
        ("in and out without pause", Peer::attached(), &rounds),
        ("a broker that is ready again", Peer::greeted("spare"), &[Frame::Ready, Frame::Ready]),
        ("a broker that calls another its home", Peer::greeted("spare"), &[Frame::Detach]),
    ];
    for (what, mut peer, frames) in wrong {
        assert_eq!(peer.counters().link_faults, 0, "{what}");
        peer.say(frames);
        assert_eq!(peer.counters().link_faults, 1, "{what}");
    }
    let mut peer = Peer::attached();
    peer.say(&rounds[..3 * 10]);
    assert_eq!(peer.counters().link_faults, 0, "one that is of two minds is borne with");
}

#[test]
fn who_calls_again_and_again_without_a_word_has_one_link_and_greets_in_few_bytes() {
    let mut peer = Peer::attached();
    let before = peer.hub().links.len();
    for _ in 0..100 {
        peer.link = peer.call("press");
        peer.lab.drain("hub");
    }
    peer.lab.millis(1);
    assert_eq!(peer.hub().links.len(), before + 1);
    let (link, now) = (peer.link, peer.lab.now);
    peer.hub().handle_link_bytes(link, &500_000_u32.to_be_bytes(), now);
    assert_eq!(peer.counters().link_faults, 1, "it would be kept until it is whole");
}

#[test]
fn numbers_beyond_every_stream_are_refused() {
    let mut peer = Peer::attached();
    let stream = peer.stream();
    peer.say(&[
        Frame::Skip { stream, from: 1, to: u64::MAX },
        Frame::Skip { stream, from: 1, to: SEQ_MAX + 1 },
        Frame::Trimmed { stream, upto: u64::MAX },
    ]);
    assert_eq!(peer.counters().frames_refused, 3);
    peer.say(&[Frame::Skip { stream, from: 1, to: SEQ_MAX }, Frame::Trimmed { stream, upto: SEQ_MAX }]);
    assert_eq!(peer.hub().copies[&stream].stream.last(), SEQ_MAX);
}

#[test]
fn a_fact_that_could_not_be_passed_on_is_not_kept() {
    let mut peer = Peer::attached();
    let body = vec![b' '; FACT_BYTES_MAX + 1];
    let fact = |length| Fact { owner: "press", kind: 2, hlc: Hlc(1 << 60), body: &body[..length] };
    peer.say(&[Frame::Fact(fact(FACT_BYTES_MAX + 1))]);
    assert_eq!(peer.counters().frames_refused, 1);
    peer.say(&[Frame::Fact(fact(FACT_BYTES_MAX))]);
    assert_eq!(peer.counters().frames_refused, 1);
}

#[test]
fn how_far_strangers_have_got_is_nobodys_business() {
    let mut peer = Peer::greeted("spare");
    peer.say(&[Frame::Ready]);
    let stream = peer.stream();
    peer.say(&[Frame::Skip { stream, from: 1, to: 9 }]);
    let machine = peer.lab.id("office");
    peer.say(&[Frame::Cursor { machine, stream, upto: 5 }]);
    for number in 0..100 {
        peer.say(&[Frame::Cursor { machine: SenderId(number), stream, upto: 5 }]);
    }
    assert_eq!(peer.counters().frames_refused, 100);
    assert_eq!(peer.hub().copies[&stream].cursors.len(), 1);
}

#[test]
fn nobody_has_heard_a_beat_that_was_not_sent() {
    let mut peer = Peer::greeted("spare");
    let beat =
        Beat { number: 1, heard: u32::MAX, heard_ago_us: 0, in_step: true, hlc: Hlc(1), every_ms: 200, bytes_heard: 0 };
    peer.say(&[Frame::Beat(beat)]);
    let link = peer.link;
    let link = &peer.hub().links[&link];
    assert!(link.beat_answered <= link.beat_sent, "{} of {}", link.beat_answered, link.beat_sent);
}

#[test]
fn two_machines_of_one_name_are_noticed_and_one_that_starts_again_is_not_taken_for_two() {
    let mut peer = Peer::attached();
    for boot in 8..12 {
        peer.link = peer.call("press");
        peer.say(&[Frame::Hello(Hello { version: VERSION, name: "press", boot, agent: "9.9.9", hlc: Hlc(1) })]);
    }
    assert_eq!((peer.counters().twins, peer.hub().presence.twin.as_ref().map(Name::as_str)), (4, Some("press")));
    let mut lab = Lab::new(WORKSHOP, 1);
    for _ in 0..5 {
        lab.seconds(2);
        lab.kill("press");
        lab.start("press");
    }
    lab.seconds(2);
    assert_eq!(lab.node("hub").counters().twins, 0);
}
