//! The handle on a simulated instrument in service: what it is told, and what may be asked of it from any thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;

use super::wire::{Direction, Event, Wire};
use crate::clock::{Clock, Stamp};
use crate::transport::{HostSettings, Transport};

/// The most commands that are remembered; then the oldest go.
const HEARD: usize = 10_000;

/// The handle on an instrument that is being served. Letting go of it stops nothing.
pub struct Served {
    shared: Arc<Mutex<Shared>>,
    clock: Clock,
}

/// What the service and its handle both see.
#[derive(Default)]
pub(super) struct Shared {
    heard: VecDeque<Bytes>,
    wire: Wire,
    pub(super) orders: VecDeque<Order>,
    pub(super) waker: Option<Waker>,
    pub(super) abandoned: bool,
}

impl Shared {
    pub(super) fn remember(&mut self, command: &[u8]) {
        if self.heard.len() >= HEARD {
            self.heard.pop_front();
        }
        // A copy, which does not hold on to the buffer it came in.
        self.heard.push_back(Bytes::copy_from_slice(command));
    }

    pub(super) fn log(&mut self, at: Stamp, direction: Direction, data: &[u8]) {
        self.wire.log(Event { at, direction, data: Bytes::copy_from_slice(data), note: "" });
    }

    pub(super) fn note(&mut self, at: Stamp, note: &'static str) {
        self.wire.log(Event { at, direction: Direction::Happened, data: Bytes::new(), note });
    }
}

/// What an instrument in service is told.
pub(super) enum Order {
    Stop,
    Disconnect,
    Reconnect(Option<Box<dyn Transport>>),
    PowerCycle,
    Look(Arc<Mutex<Option<Look>>>),
}

/// How things stand with an instrument in service.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// What it said last that no host has read, as far as its system knows.
    pub unread: Bytes,
    /// Some of that answers a command.
    pub unread_reply: bool,
    /// What it heard that is no whole command yet.
    pub partial: Bytes,
    /// It has yet to say something that answers a command.
    pub owes: bool,
    /// How the host has set its line, or had when it was last connected.
    pub settings: Option<HostSettings>,
    /// A cable is on.
    pub connected: bool,
}

impl Served {
    pub(super) fn new(shared: Arc<Mutex<Shared>>, clock: Clock) -> Served {
        Served { shared, clock }
    }

    /// The commands it has heard, without their terminators, oldest first; the last ten thousand of them.
    pub fn heard(&self) -> Vec<Bytes> {
        lock(&self.shared).heard.iter().cloned().collect()
    }

    /// What went over its wire, oldest first; the last ten thousand pieces.
    pub fn wire(&self) -> Vec<Event> {
        lock(&self.shared).wire.events()
    }

    /// Ends its service and closes its side of the pipe. What it had yet to say is not said.
    pub fn stop(&self) {
        self.order(Order::Stop);
    }

    /// Pulls the cable: its side of the pipe is closed. The instrument itself goes on, and does not notice.
    pub fn disconnect(&self) {
        self.order(Order::Disconnect);
    }

    /// Plugs the cable in again.
    pub fn replug(&self) {
        self.order(Order::Reconnect(None));
    }

    /// Plugs in another cable, in place of the present one if there is any.
    pub fn reconnect(&self, pipe: Box<dyn Transport>) {
        self.order(Order::Reconnect(Some(pipe)));
    }

    /// Switches it off and on again: what it had yet to say is not said, but what it says when it comes up.
    pub fn power_cycle(&self) {
        self.order(Order::PowerCycle);
    }

    /// How things stand with it once everything ordered so far is done; found in the place that is returned, soon.
    pub fn look(&self) -> Arc<Mutex<Option<Look>>> {
        let place = Arc::default();
        self.order(Order::Look(Arc::clone(&place)));
        place
    }

    /// It may have something to say that it did not know of.
    pub fn nudge(&self) {
        wake(lock(&self.shared), &self.clock);
    }

    fn order(&self, order: Order) {
        let mut shared = lock(&self.shared);
        shared.orders.push_back(order);
        wake(shared, &self.clock);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.abandoned = true;
        wake(shared, &self.clock);
    }
}

pub(super) fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(mut shared: MutexGuard<'_, Shared>, clock: &Clock) {
    let waker = shared.waker.take();
    drop(shared);
    clock.stir();
    if let Some(waker) = waker {
        waker.wake();
    }
}
