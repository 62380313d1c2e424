//! Who outside the runtime works and who waits, while the common clock stands still.
//!
//! # Invariants
//! 1. Who was called out of its rest works from that instant, and not from the one in which its thread gets to run.
//! 2. Only the seat that made the clock stand still holds it for as long as it works. Any other, and one that was called by name only,
//!    holds it for [`AWAY`] at most: it may wait for something that nobody here knows of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::still::lock;
use super::{Clock, Moment, system_now};

/// How long, by the system's clock, somebody holds the clock who does not come back.
pub(super) const AWAY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Seats(BTreeMap<u64, Sitting>);

struct Sitting {
    /// Since when it works, by the system's clock; `None`: it rests.
    working: Option<Moment>,
    /// Whether it holds the clock however long it works.
    stays: bool,
    /// Whether it waits for the runtime while it works.
    lends: bool,
    /// It was called, and has not looked yet.
    called: bool,
}

impl Seats {
    fn of(&mut self, id: u64) -> &mut Sitting {
        self.0.entry(id).or_insert(Sitting { working: None, stays: false, lends: false, called: false })
    }

    /// Whether somebody works, and until when one has to wait at most to find that it does not.
    pub(super) fn working(&self) -> Option<Moment> {
        let now = system_now();
        self.0.values().filter_map(|sitting| sitting.until(now)).max()
    }

    /// Whether somebody works, and does not wait for the runtime.
    pub(super) fn acts(&self) -> bool {
        let now = system_now();
        self.0.values().any(|sitting| !sitting.lends && sitting.until(now).is_some())
    }
}

impl Sitting {
    fn until(&self, now: Moment) -> Option<Moment> {
        let until = if self.stays && !self.called { Moment::NEVER } else { self.working? + AWAY };
        (self.working.is_some() && now < until).then_some(until)
    }
}

/// A thread that works with what runs on the clock, or has it wait.
#[derive(Debug)]
pub struct Seat {
    clock: Clock,
    id: u64,
}

impl Seat {
    /// A seat at `clock`.
    pub fn at(clock: &Clock) -> Arc<Seat> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Seat { clock: clock.clone(), id: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Sitting) -> T) -> Option<T> {
        let still = self.clock.still()?;
        let mut still = lock(still);
        let value = change(still.seats.of(self.id));
        still.stir();
        drop(still);
        self.clock.0.rested.notify_all();
        Some(value)
    }

    /// It works, of its own accord.
    pub fn work(&self) {
        self.change(|sitting| {
            sitting.working = Some(system_now());
            sitting.called = false;
        });
    }

    /// It works, and the clock waits for it however long that takes.
    pub fn stay(&self) {
        self.change(|sitting| sitting.stays = true);
        self.work();
    }

    /// Somebody calls it out of its rest.
    pub fn call(&self) {
        self.change(|sitting| {
            sitting.working = Some(system_now());
            sitting.called = true;
        });
    }

    /// Whether it has ever worked or rested while the clock stood still.
    pub fn sits(&self) -> bool {
        self.clock.still().is_some_and(|still| lock(still).seats.0.contains_key(&self.id))
    }

    /// It waits for what runs on the clock, unless it was called since it looked last. Whether it does wait.
    pub fn rest(&self) -> bool {
        let rests = self.change(|sitting| {
            if std::mem::take(&mut sitting.called) {
                return false;
            }
            sitting.working = None;
            true
        });
        rests.unwrap_or(true)
    }

    /// While it does `work` it waits for the runtime, at this very moment: that has its turn, and time does not advance.
    pub fn lend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.change(|sitting| sitting.lends = true);
        let value = work();
        self.change(|sitting| sitting.lends = false);
        value
    }

    /// Its thread has ended.
    pub fn leave(&self) {
        if let Some(still) = self.clock.still() {
            let mut still = lock(still);
            still.seats.0.remove(&self.id);
            still.stir();
            drop(still);
            self.clock.0.rested.notify_all();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}
