//! Where the core leaves what it wants of one connection, and what that connection's task asks of the core.

use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::Duration;

/// The core's side of one connection, whatever its bytes mean: a program's MQTT or another machine's frames.
pub trait Inside {
    /// Bytes that came in, in any portions.
    fn bytes(&self, bytes: &[u8]);
    /// Put what is to be sent, about `room` bytes of it, behind `out`.
    fn transmit(&self, out: &mut Vec<u8>, room: usize);
    /// The connection is over. Called once.
    fn closed(&self);
}

/// What the core wants of one connection, and how its task is woken.
#[derive(Debug, Default)]
pub struct Wire {
    transmit: Cell<bool>,
    paused: Cell<bool>,
    held: Cell<bool>,
    close: Cell<Option<Duration>>,
    /// The task looks at this by itself before it sleeps again, so it needs no waking.
    running: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The core's end.
impl Wire {
    /// There is something to fetch with `Inside::transmit`.
    pub fn ask_to_send(&self) {
        self.transmit.set(true);
        self.wake();
    }

    /// Read no more until `resume`.
    pub fn pause(&self) {
        self.paused.set(true);
        self.wake();
    }

    pub fn resume(&self) {
        self.paused.set(false);
        self.wake();
    }

    /// Read no more until it is let go, whatever else is said; what is to be sent goes on.
    pub fn hold(&self, held: bool) {
        self.held.set(held);
        self.wake();
    }

    /// Read no more, send what there still is for `linger` at the most, then end.
    pub fn ask_to_close(&self, linger: Duration) {
        self.close.set(Some(linger));
        self.wake();
    }

    fn wake(&self) {
        if !self.running.get()
            && let Some(waker) = self.waker.borrow().as_ref()
        {
            waker.wake_by_ref();
        }
    }
}

/// The task's end.
impl Wire {
    /// The task runs from here on until `sleep`.
    pub fn run(&self, waker: &Waker) {
        self.running.set(true);
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    pub fn sleep(&self) {
        self.running.set(false);
    }

    pub fn take_transmit(&self) -> bool {
        self.transmit.replace(false)
    }

    /// The core may have more than fitted.
    pub fn ask_again(&self) {
        self.transmit.set(true);
    }

    pub fn is_paused(&self) -> bool {
        self.paused.get() || self.held.get()
    }

    /// How long what waits may still be sent, once the core has asked to close.
    pub fn take_close(&self) -> Option<Duration> {
        self.close.take()
    }
}
