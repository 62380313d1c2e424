//! How often a loop is woken for the readings of polls: at once where it has been left alone for a while, else when that while is over, for
//! all that have come by then. Waking it costs more than a reading does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::lifecycle;

/// How long a loop is left alone after it was woken for a reading.
const LULL: Duration = Duration::from_millis(1);

/// See the module.
#[derive(Default)]
pub(super) struct Lull(Mutex<State>);

#[derive(Default)]
struct State {
    until: Option<Moment>,
    /// Somebody rings when it is over.
    awaited: bool,
}

impl Lull {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `ring` now and begins the next lull, or calls it when this one is over; not at all if that will be done already.
    pub(super) fn ring<F: Fn() + Send + 'static>(self: &Arc<Self>, ring: F) {
        let Some(engine) = lifecycle::started() else { return ring() };
        let clock = engine.clock();
        if clock.is_virtual() {
            // It waits for those who have something to do: none of its time passes meanwhile, and each ring has its moment.
            return ring();
        }
        let mut state = self.state();
        if state.awaited {
            return;
        }
        let over = state.until.filter(|until| *until > clock.now());
        state.awaited = true;
        drop(state);
        let rings = Rings { lull: self.clone(), clock: clock.clone(), ring };
        if let Some(over) = over {
            engine.spawn("ring for readings", async move {
                rings.clock.sleep_until(over).await;
            });
        }
    }
}

/// Rings when it is dropped: where the engine starts nothing any more, and drops the work, nobody is to wait for ever.
struct Rings<F: Fn()> {
    lull: Arc<Lull>,
    clock: Clock,
    ring: F,
}

impl<F: Fn()> Drop for Rings<F> {
    fn drop(&mut self) {
        let until = Some(self.clock.now() + LULL);
        // First: who comes from now on, too late for this ring, sees to one of his own.
        *self.lull.state() = State { until, awaited: false };
        (self.ring)();
    }
}
