//! SUBSCRIBE and UNSUBSCRIBE.

use super::filter_tree::{GroupMark, target};
use super::session::{Granted, RetainedWalk};
use super::table::Key;
use super::why::Words;
use super::{Action, Broker, Write, outward};
use crate::mqtt::packet::{
    Packet, PacketId, Props, Reason, RetainHandling, SubAck, Subscribe, SubscribeFilter, Unsubscribe, Version,
};
use crate::time::Now;
use crate::topic;

/// Who has fewer subscriptions than this may still subscribe when nobody else may for want of memory.
const FEW: usize = 16;

impl Broker {
    pub(super) fn subscribe(&mut self, conn: Key, packet: &Subscribe<'_>, now: Now) {
        let Some(open) = self.conns.get(conn).and_then(|connection| connection.open()) else { return };
        let (session, version) = (open.session, open.version);
        let reasons: Vec<Reason> = packet
            .filters
            .iter()
            .map(|filter| self.subscribe_one(session, filter, packet.subscription_id, now))
            .collect();
        self.counters.refused_subscriptions += reasons.iter().filter(|reason| reason.is_error()).count() as u64;
        self.send_subacks(conn, version, packet.id, &reasons, Packet::SubAck);
    }

    fn subscribe_one(&mut self, session: Key, wanted: &SubscribeFilter<'_>, id: Option<u32>, now: Now) -> Reason {
        let Some(to) = target(wanted.filter).filter(|to| topic::check_filter(to.filter).is_ok()) else {
            return Reason::TOPIC_FILTER_INVALID;
        };
        let is_wanted_now = self.is_unwanted(to.filter);
        let Some(known) = self.sessions.get_mut(session) else { return Reason::UNSPECIFIED };
        if !known.principal.rights.subscribe.filter(to.filter) && !outward::is_for_everyone(to.filter) {
            return Reason::NOT_AUTHORIZED;
        }
        let is_new = !known.subscriptions.contains_key(wanted.filter);
        let limits = &self.settings.limits;
        let bytes_max = limits.filters_bytes_max / 4 * if known.subscriptions.len() < FEW { 4 } else { 3 };
        let no_room = self.tree.len() >= limits.subscriptions_max as usize || self.tree.bytes() as u64 > bytes_max;
        if is_new && no_room {
            return Reason::QUOTA_EXCEEDED;
        }
        if to.filter.starts_with(super::figures::ROOT) {
            self.want_figures(now);
        }
        let Some(known) = self.sessions.get_mut(session) else { return Reason::UNSPECIFIED };
        let granted = Granted { options: wanted.options, id, group: GroupMark::of(wanted.filter) };
        let before = known.subscriptions.insert(wanted.filter.into(), granted);
        if let Some(number) = known.durable().filter(|_| before != Some(granted)) {
            self.ledger.write(Write::Subscribed { session: number, filter: wanted.filter.into(), granted });
        }
        self.tree.insert(to, session, granted);
        if is_wanted_now {
            self.actions.push_back(Action::Wanted(to.filter.into()));
        }
        let wants_retained = match wanted.options.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => is_new,
            RetainHandling::Never => false,
        };
        if wants_retained && to.group.is_none() {
            known.walks.insert(to.filter.into(), RetainedWalk { after: None, granted });
        }
        Reason(wanted.options.qos as u8)
    }

    pub(super) fn unsubscribe(&mut self, conn: Key, packet: &Unsubscribe<'_>) {
        let Some(open) = self.conns.get(conn).and_then(|connection| connection.open()) else { return };
        let (session, version) = (open.session, open.version);
        let reasons: Vec<Reason> = packet.filters.iter().map(|filter| self.unsubscribe_one(session, filter)).collect();
        self.send_subacks(conn, version, packet.id, &reasons, Packet::UnsubAck);
    }

    /// The words are those of the first refusal.
    fn send_subacks(
        &mut self,
        conn: Key,
        version: Version,
        id: PacketId,
        reasons: &[Reason],
        packet: fn(SubAck<'static>) -> Packet<'static>,
    ) {
        let first = reasons.iter().copied().find(|reason| reason.is_error()).unwrap_or(Reason::SUCCESS);
        self.send_why(conn, version, first, Words::IfWanted, |reason_string| {
            packet(SubAck { id, reason_string, user_props: Props::default(), reasons: reasons.to_vec() })
        });
    }

    fn unsubscribe_one(&mut self, session: Key, filter: &str) -> Reason {
        let Some(from) = target(filter).filter(|from| topic::check_filter(from.filter).is_ok()) else {
            return Reason::TOPIC_FILTER_INVALID;
        };
        let Some(known) = self.sessions.get_mut(session) else { return Reason::UNSPECIFIED };
        if known.subscriptions.remove(filter).is_none() {
            return Reason::NO_SUBSCRIPTION_EXISTED;
        }
        known.walks.remove(filter);
        if let Some(number) = known.durable() {
            self.ledger.write(Write::Unsubscribed { session: number, filter: filter.into() });
        }
        self.tree.remove(from, session);
        self.unwanted(from.filter);
        Reason::SUCCESS
    }
}
