//! Time that stands still: what it is, who waits for it, who keeps it from advancing.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::seat::Seats;
use super::{Clock, Moment};

/// A fixed day, so that a test's result is the same on every run: 2026-01-01.
pub(super) const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// Where it begins: far enough from zero for what is counted back.
pub(super) const START: Moment = Moment(Duration::from_secs(1_000));

/// See the module.
pub(super) struct Still {
    pub(super) now: Moment,
    next_timer: u64,
    timers: BTreeMap<(Moment, u64), Waker>,
    /// Counts whatever may have made a task ready; who drives watches it stand still.
    pub(super) activity: u64,
    /// What `activity` was when the runtime slept last. Of the common clock.
    pub(super) seen: u64,
    busy: usize,
    /// Which standing still this is.
    era: u64,
    pub(super) driver: Option<Waker>,
    /// Those outside the runtime who are woken when that has nothing more to do at this moment. Of the common clock.
    pub(super) held: Vec<Waker>,
    pub(super) seats: Seats,
}

pub(super) fn lock(still: &Mutex<Still>) -> MutexGuard<'_, Still> {
    still.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Still {
    pub(super) fn new() -> Still {
        Still {
            now: START,
            next_timer: 0,
            timers: BTreeMap::new(),
            activity: 0,
            seen: 0,
            busy: 0,
            era: 0,
            driver: None,
            held: Vec::new(),
            seats: Seats::default(),
        }
    }

    pub(super) fn stir(&mut self) {
        self.activity += 1;
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// Somebody is busy; until the [`end`](Still::end) of the era that is returned.
    pub(super) fn begin(&mut self) -> u64 {
        self.busy += 1;
        self.stir();
        self.era
    }

    pub(super) fn end(&mut self, era: u64) {
        if era == self.era {
            self.busy = self.busy.saturating_sub(1);
            self.stir();
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy > 0
    }

    /// Has `waker` woken at `deadline`; the key to take that back.
    pub(super) fn wake_at(&mut self, deadline: Moment, waker: Waker) -> (Moment, u64) {
        let key = (deadline, self.next_timer);
        self.next_timer += 1;
        self.timers.insert(key, waker);
        self.stir();
        key
    }

    /// Gives back the waker, to be dropped outside the lock.
    pub(super) fn forget(&mut self, key: (Moment, u64)) -> Option<Waker> {
        self.timers.remove(&key)
    }

    /// Jumps to the next deadline, if there is one: who is to be woken, in the order in which they are due.
    pub(super) fn jump(&mut self) -> Vec<Waker> {
        let Some((&(next, _), _)) = self.timers.first_key_value() else { return Vec::new() };
        self.now = self.now.max(next);
        let later = self.timers.split_off(&(self.now + Duration::from_nanos(1), 0));
        std::mem::replace(&mut self.timers, later).into_values().collect()
    }

    /// Time goes on by itself: who has to be woken to notice.
    pub(super) fn finish(&mut self) -> Vec<Waker> {
        self.era += 1;
        self.busy = 0;
        self.seats = Seats::default();
        let mut waiting: Vec<Waker> = std::mem::take(&mut self.timers).into_values().collect();
        waiting.append(&mut self.held);
        waiting.extend(self.driver.take());
        waiting
    }
}

/// How often every ready task gets to run, with nothing stirring, before a paused clock takes its runtime for idle. One round would do
/// for a chain of wake-ups that tokio runs in order; the others cover a task that is polled once before its waker is stored.
const QUIET_ROUNDS: u32 = 4;

pub(super) async fn drive(clock: Clock) {
    let still = &clock.0.still;
    loop {
        let mut seen = lock(still).activity;
        let mut quiet = 0;
        while quiet < QUIET_ROUNDS {
            tokio::task::yield_now().await;
            let activity = lock(still).activity;
            quiet = if activity == seen { quiet + 1 } else { 0 };
            seen = activity;
        }
        let due = {
            let mut still = lock(still);
            if still.is_busy() { Vec::new() } else { still.jump() }
        };
        if due.is_empty() {
            let before = seen;
            poll_fn(|cx| {
                let mut still = lock(still);
                if still.activity != before {
                    return Poll::Ready(());
                }
                still.driver = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
        }
        for waker in due {
            waker.wake();
        }
    }
}
