//! What another machine runs by, fetched from it page by page over the links that stand. As with a ping, nothing waits
//! for an answer, nothing is kept of it on the way, and a lost page is asked for again by whoever still wants it.
//!
//! The links are what protects it: only members have them, sealed between each two. There is no secret in a topology,
//! and the brokers that pass it on have one of their own.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Node;
use super::link::{LinkId, Phase};
use crate::frame::{Frame, Page, Ping, Way, encode};
use crate::ids::Name;
use crate::time::Now;

/// Longest page.
pub const PAGE_BYTES_MAX: usize = 16 << 10;
/// Longest text that is told to others; of a longer one they hear that there are no pages.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Pages that somebody here waits for.
const WANTED_MAX: usize = 8;
/// A link with so much to say already has no room for pages: what machines tell each other by themselves comes first.
pub(super) const BUSY_BYTES: usize = 256 << 10;

#[derive(Debug, Default)]
pub struct Pages {
    /// What others may read here.
    own: Rc<[u8]>,
    last: u64,
    wanted: BTreeMap<u64, Wanted>,
}

#[derive(Debug)]
struct Wanted {
    of: Name,
    part: u16,
    came: Option<Came>,
}

/// One page of another machine's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    /// How many there are; none where there is nothing to read, or too much.
    pub parts: u16,
    pub body: Box<[u8]>,
}

impl Node {
    /// What other machines are told when they ask what runs here.
    pub fn handle_text(&mut self, text: &[u8]) {
        self.pages.own = if text.len() > TEXT_BYTES_MAX { Rc::default() } else { text.into() };
    }

    /// Ask for a page of what `machine` runs by, counted from 0; `take_page` has it under the number that this gives.
    pub fn handle_page_wanted(&mut self, machine: &Name, part: u16, now: Now) -> u64 {
        self.pages.last += 1;
        let number = self.pages.last;
        if self.pages.wanted.len() >= WANTED_MAX {
            self.pages.wanted.pop_first();
        }
        let is_me = *machine == self.settings.me;
        let came = is_me.then(|| self.pages.page(part));
        self.pages.wanted.insert(number, Wanted { of: machine.clone(), part, came });
        if !is_me {
            let me = self.settings.me.clone();
            let route = Ping { to: machine.as_str(), from: me.as_str(), number, way: Way::There, hops: 0 };
            self.pass_page(&Page { route, part, parts: 0, body: &[] });
        }
        self.settle(now);
        number
    }

    /// Once it is there, and once.
    pub fn take_page(&mut self, number: u64) -> Option<Came> {
        self.pages.wanted.get(&number)?.came.as_ref()?;
        self.pages.wanted.remove(&number)?.came
    }

    pub(super) fn page_comes(&mut self, id: LinkId, page: &Page<'_>) {
        if !self.may_route(id, &page.route) {
            return;
        }
        if page.route.to != self.settings.me.as_str() {
            if let Some(route) = self.next_hop(&page.route) {
                self.pass_page(&Page { route, ..*page });
            }
            return;
        }
        match page.route.way {
            Way::There => {
                let (me, Came { parts, body }) = (self.settings.me.clone(), self.pages.page(page.part));
                let Ping { from, number, .. } = page.route;
                let route = Ping { to: from, from: me.as_str(), number, way: Way::Back, hops: 0 };
                self.pass_page(&Page { route, part: page.part, parts, body: &body });
            }
            Way::Back => {
                let asked = |wanted: &&mut Wanted| wanted.of.as_str() == page.route.from && wanted.part == page.part;
                let wanted = self.pages.wanted.get_mut(&page.route.number).filter(asked);
                if let Some(wanted) = wanted.filter(|wanted| wanted.came.is_none()) {
                    wanted.came = Some(Came { parts: page.parts, body: page.body.into() });
                }
            }
        }
    }

    fn pass_page(&mut self, page: &Page<'_>) {
        let Some(id) = Name::new(page.route.to).ok().and_then(|to| self.link_towards(&to)) else { return };
        let Some(link) = self.links.get_mut(&id).filter(|link| link.phase == Phase::Open) else { return };
        if link.control.len() + page.body.len() > BUSY_BYTES || page.body.len() > PAGE_BYTES_MAX {
            self.counters.pages_dropped += 1;
            return;
        }
        encode(&Frame::Page(*page), &mut link.control);
        self.ask_transmit(id);
    }
}

impl Pages {
    fn page(&self, part: u16) -> Came {
        let parts = u16::try_from(self.own.len().div_ceil(PAGE_BYTES_MAX)).unwrap_or(0);
        let body = self.own.chunks(PAGE_BYTES_MAX).nth(usize::from(part)).unwrap_or_default();
        Came { parts, body: body.into() }
    }
}
