//! Which web pages may use the WebSocket door. A page from anywhere can make its browser knock there; those that may not
//! come in are counted, and told of now and then.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hobnail_core::topology::origin::Origins;
use tracing::warn;

/// Foreign pages are told of at most this often.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Of what a page says of itself, this much is told.
const TOLD_CHARS_MAX: usize = 100;

/// A handle; cloning it gives another one on the same.
#[derive(Clone, Debug, Default)]
pub struct Pages(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    origins: RefCell<Origins>,
    refused: Cell<u64>,
    told: Cell<Option<Instant>>,
}

impl Pages {
    /// From now on these may come in; who is in stays in.
    pub fn set(&self, origins: Origins) {
        self.0.origins.replace(origins);
    }

    /// Whether a page whose browser says this of it may come in.
    #[must_use]
    pub fn admit(&self, said: &str) -> bool {
        let admitted = self.0.origins.borrow().admit(said);
        if !admitted {
            self.refuse(said);
        }
        admitted
    }

    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.get()
    }

    fn refuse(&self, said: &str) {
        let refused = self.0.refused.get().saturating_add(1);
        self.0.refused.set(refused);
        if self.0.told.get().is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.0.told.set(Some(Instant::now()));
            let origin: String = said.chars().take(TOLD_CHARS_MAX).collect();
            warn!(?origin, refused, "a web page that doors.origins does not name came to the WebSocket door");
        }
    }
}
