//! What a client wants said when it is gone: kept from its CONNECT on, said when its delay is over or its session ends.

use std::time::Duration;

use super::Broker;
use super::message::Content;
use super::saved::Will;
use super::table::Key;
use crate::mqtt::{packet, props, put_others};
use crate::promise::end;
use crate::time::Now;

impl Broker {
    pub(super) fn will_of(&mut self, will: &packet::Will<'_>) -> Will {
        let mut block = Vec::new();
        put_others(&mut block, will.props, &[props::WILL_DELAY, props::MESSAGE_EXPIRY]);
        let message = self.meter.share(Content {
            topic: will.topic.into(),
            payload: will.payload.into(),
            props: block.into(),
            qos: will.qos,
            retain: will.retain,
            expires: None,
        });
        Will { message, delay_s: will.delay_s, expiry_s: will.expiry_s }
    }

    pub(super) fn publish_will(&mut self, session: Key, will: Will, now: Now) {
        let Will { message, expiry_s, .. } = will;
        let given = expiry_s.map(u64::from).map(Duration::from_secs);
        let message = match end(&self.settings.topics, &message.topic, given, now) {
            None => message,
            expires => self.meter.share(Content { expires, ..Content::clone(&message) }),
        };
        let mut found = Vec::new();
        self.matches(&message.topic, &mut found);
        let offered = self.settings.outward.then(|| message.clone());
        self.accept(message, &found, Some(session), now);
        if let Some(message) = offered {
            self.offer_unanswered(message);
        }
    }

    /// Publish the will of `session` if its time has come.
    pub(super) fn will_due(&mut self, session: Key, now: Now) {
        let Some(known) = self.sessions.get_mut(session) else { return };
        if !matches!(&known.will, Some((at, _)) if *at <= now) {
            return;
        }
        let Some((_, will)) = known.will.take() else { return };
        let allowed = known.principal.rights.publish.topic(&will.message.topic);
        if allowed {
            self.publish_will(session, will, now);
        } else {
            self.counters.refused_publishes += 1;
        }
        self.note_standing(session);
    }
}
