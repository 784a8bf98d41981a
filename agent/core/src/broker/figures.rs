//! What the broker tells of itself under `$SYS/broker/`, in the words of Mosquitto where it has one for it.
//!
//! Nobody listening, nothing is worked out and no timer runs: who subscribes finds figures of that moment, and newer
//! ones every `EVERY` while anyone is subscribed. They are sent at QoS 0, since what a client away has missed of them is
//! of no worth, and take no room from the retained messages of programs.

use std::time::Duration;

use super::message::Content;
use super::retained::Retained;
use super::{Broker, Counters, Timer};
use crate::mqtt::packet::QoS;
use crate::time::Now;

/// What no client may publish to.
pub const ROOT: &str = "$SYS/";
/// How often the figures are worked out while anyone is subscribed to one.
const EVERY: Duration = Duration::from_secs(10);
/// Over what a load is averaged.
const SPANS: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

#[derive(Debug, Default)]
pub struct Figures {
    /// What was last told, by topic.
    pub retained: Retained,
    loads: [Load; 9],
    /// When the loads were last brought up to date.
    at: Now,
    armed: bool,
}

/// How much of something there is a minute, on average.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    before: u64,
    averages: [f64; SPANS.len()],
}

impl Load {
    /// An average forgets with its span; over a longer time than `EVERY` the rate counts as even.
    fn bring_up(&mut self, total: u64, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
        let rate = total.saturating_sub(self.before) as f64 * 60.0 / seconds;
        self.before = total;
        for (average, (_, span)) in self.averages.iter_mut().zip(SPANS) {
            *average = rate + (-seconds / span).exp() * (*average - rate);
        }
    }
}

/// What the loads are of, and their totals.
fn loads(counters: &Counters) -> [(&'static str, u64); 9] {
    [
        ("messages/received", counters.messages_received),
        ("messages/sent", counters.messages_sent),
        ("publish/dropped", counters.dropped_full + counters.dropped_qos0),
        ("publish/received", counters.publishes_received),
        ("publish/sent", counters.publishes_sent),
        ("bytes/received", counters.bytes_received),
        ("bytes/sent", counters.bytes_sent),
        ("sockets", counters.connections_opened),
        ("connections", counters.connects_received),
    ]
}

/// How full a broker is, beside what its limits allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Fill {
    pub connections: u64,
    pub connections_most: u64,
    pub connections_max: u64,
    pub sessions: u64,
    pub subscriptions: u64,
    pub retained: u64,
    pub retained_max: u64,
    pub retained_bytes: u64,
    pub retained_bytes_max: u64,
    /// Messages that anyone waits for or that are retained.
    pub messages: u64,
    pub messages_bytes: u64,
    pub messages_bytes_max: u64,
    /// Dead letters that somebody has to look at.
    pub dead_letters: u64,
}

impl Broker {
    #[must_use]
    pub fn fill(&self) -> Fill {
        let limits = &self.settings.limits;
        Fill {
            connections: self.open_count as u64,
            connections_most: self.open_count_max as u64,
            connections_max: limits.connections_max.into(),
            sessions: self.sessions.len() as u64,
            subscriptions: (self.tree.plain_len() + self.tree.shared_len()) as u64,
            retained: self.retained.len() as u64,
            retained_max: limits.retained_len_max.into(),
            retained_bytes: self.retained.bytes(),
            retained_bytes_max: limits.retained_bytes_max,
            messages: self.meter.count(),
            messages_bytes: self.memory_bytes(),
            messages_bytes_max: limits.memory_bytes_max,
            dead_letters: self.dead.iter().count() as u64,
        }
    }

    /// Someone subscribes: if nobody did before, the figures are as old as that.
    pub(super) fn want_figures(&mut self, now: Now) {
        if !self.figures.armed {
            self.figures.armed = true;
            self.tell_figures(now);
            self.timers.insert((now.after(EVERY), Timer::Figures));
        }
    }

    pub(super) fn figures_due(&mut self, now: Now) {
        self.figures.armed = false;
        if self.tree.has_branch(ROOT.trim_end_matches('/')) {
            self.want_figures(now);
        }
    }

    fn tell_figures(&mut self, now: Now) {
        let elapsed = now.since(self.figures.at);
        self.figures.at = now;
        for (topic, figure) in self.words(now) {
            self.tell_figure(topic, &figure, now);
        }
        for (name, figure) in self.numbers() {
            self.tell_figure(name, &figure.to_string(), now);
        }
        let totals = loads(&self.counters);
        for (index, (name, total)) in totals.into_iter().enumerate() {
            let Some(load) = self.figures.loads.get_mut(index) else { continue };
            load.bring_up(total, elapsed);
            for ((span, _), average) in SPANS.into_iter().zip(load.averages) {
                self.tell_figure(&format!("load/{name}/{span}"), &format!("{average:.2}"), now);
            }
        }
    }

    fn words(&self, now: Now) -> [(&'static str, String); 2] {
        [
            ("version", concat!("hobnail version ", env!("CARGO_PKG_VERSION")).to_owned()),
            ("uptime", format!("{} seconds", now.since(self.started).as_secs())),
        ]
    }

    fn numbers(&self) -> Vec<(&'static str, u64)> {
        let counters = &self.counters;
        let (connected, known) = (self.open_count as u64, self.sessions.len() as u64);
        let disconnected = known.saturating_sub(connected);
        vec![
            ("clients/total", known),
            ("clients/connected", connected),
            ("clients/active", connected),
            ("clients/disconnected", disconnected),
            ("clients/inactive", disconnected),
            ("clients/maximum", self.open_count_max as u64),
            ("clients/expired", counters.sessions_expired),
            ("messages/received", counters.messages_received),
            ("messages/sent", counters.messages_sent),
            ("messages/stored", self.meter.count()),
            ("store/messages/count", self.meter.count()),
            ("store/messages/bytes", self.memory_bytes()),
            ("publish/messages/received", counters.publishes_received),
            ("publish/messages/sent", counters.publishes_sent),
            ("publish/messages/dropped", counters.dropped_full + counters.dropped_qos0),
            ("publish/bytes/received", counters.publish_bytes_received),
            ("publish/bytes/sent", counters.publish_bytes_sent),
            ("bytes/received", counters.bytes_received),
            ("bytes/sent", counters.bytes_sent),
            ("subscriptions/count", self.tree.plain_len() as u64),
            ("shared_subscriptions/count", self.tree.shared_len() as u64),
            ("retained messages/count", self.retained.len() as u64),
            // From here on Mosquitto has no words.
            ("retained messages/bytes", self.retained.bytes()),
            ("dropped/qos0", counters.dropped_qos0),
            ("dropped/full", counters.dropped_full),
            ("dropped/expired", counters.dropped_expired),
            ("dropped/too large", counters.dropped_too_large),
            ("dropped/rights", counters.dropped_rights),
            ("refused/connections", counters.connections_refused),
            ("refused/publishes", counters.refused_publishes),
            ("refused/subscriptions", counters.refused_subscriptions),
            ("refused/retained", counters.refused_retained),
            ("refused/passwords", counters.wrong_passwords),
            ("refused/logins unseen", counters.logins_limited),
            ("faults/protocol", counters.protocol_errors),
            ("faults/keep alive", counters.keep_alive_timeouts),
        ]
    }

    /// Only what has changed is sent.
    fn tell_figure(&mut self, name: &str, figure: &str, now: Now) {
        let topic: Box<str> = format!("{ROOT}broker/{name}").into();
        if self.figures.retained.get(&topic).is_some_and(|known| *known.payload == *figure.as_bytes()) {
            return;
        }
        let message = self.meter.share(Content {
            topic,
            payload: figure.as_bytes().into(),
            props: Box::default(),
            qos: QoS::AtMostOnce,
            retain: true,
            expires: None,
        });
        // As many as are told above, and no more.
        let _ = self.figures.retained.set(message.clone(), u32::MAX, u64::MAX);
        let mut found = Vec::new();
        self.matches(&message.topic, &mut found);
        self.route(message, &found, None, now);
    }
}
