//! The clock of this process, which a test can make stand still.
//!
//! While it does, those who use it take turns: the runtime runs while every seat rests, or for lack of patience; those it wakes are
//! woken when it has nothing more to do; and when that is so and all of them rest again, time jumps to the next deadline. So what
//! happens at one moment happens in the same order on every run.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{LazyLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::still::{START, lock};
use super::{Clock, Moment, Ordering, Seat, Source, system_now};

/// For how long the runtime waits for its turn. A seat may wait for it in a way that nobody here knows of.
const PATIENCE: Duration = Duration::from_millis(50);

thread_local! {
    /// Whether this is the thread of the common clock's runtime.
    static RUNTIME: Cell<bool> = const { Cell::new(false) };
    /// Whether those who were held back are being woken.
    static WAKING: Cell<bool> = const { Cell::new(false) };
    /// Which bells are rung when each of them has been told.
    static BELLS: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
}

impl Clock {
    /// The clock of this process: the system's, but while a test has made it stand still.
    pub fn common() -> &'static Clock {
        static COMMON: LazyLock<Clock> = LazyLock::new(|| Clock(Source::new(false)));
        &COMMON
    }

    /// Whether it stands still, and will go on.
    pub fn is_virtual(&self) -> bool {
        !self.0.paused && self.still().is_some()
    }

    /// How far it has jumped since it stands still, if it does.
    pub fn stood(&self) -> Option<Duration> {
        self.still().map(|still| lock(still).now.since(START))
    }

    /// Makes it stand still, from a fixed moment on; the clock waits for `seat` whenever that works. Whether this call did it. Nobody may
    /// wait for anything by it now.
    pub fn stand_still(&self, seat: &Seat) -> bool {
        {
            let mut still = lock(&self.0.still);
            if self.still().is_some() {
                return false;
            }
            still.now = START;
            self.0.stands.store(true, Ordering::SeqCst);
        }
        seat.stay();
        true
    }

    /// Lets it go on from where it stands, at the system's pace, until it is [`given_back`](Clock::give_back).
    pub fn go_on(&self) {
        let waiting = {
            let mut still = lock(&self.0.still);
            if !self.is_virtual() {
                return;
            }
            let (then, now) = (still.now.since_zero(), system_now().since_zero());
            let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
            self.0.ahead.store(nanos(then).saturating_sub(nanos(now)), Ordering::SeqCst);
            self.0.stands.store(false, Ordering::SeqCst);
            still.finish()
        };
        self.0.rested.notify_all();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Nobody lives who has read it while it stood still: it shows the system's time again.
    pub fn give_back(&self) {
        self.0.ahead.store(0, Ordering::SeqCst);
    }

    /// Whether it goes on from where it stood.
    pub fn is_shifted(&self) -> bool {
        self.0.ahead.load(Ordering::Relaxed) != 0
    }

    /// In a forked child, where nobody drives it any more.
    pub fn abandon(&self) {
        if !self.0.paused {
            self.0.stands.store(false, Ordering::SeqCst);
        }
    }

    /// This is the thread of its runtime, which runs this future for as long as it lives, calls
    /// [`about_to_sleep`](Clock::about_to_sleep) whenever it has nothing to do, and [`awake`](Clock::awake) after that.
    pub async fn be_nudged(&self) {
        RUNTIME.set(true);
        let mut late = pin!(None);
        poll_fn(|cx| {
            let until = {
                let mut still = lock(&self.0.still);
                if !still.driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
                    still.driver = Some(cx.waker().clone());
                }
                if self.is_virtual() { still.seats.working() } else { None }
            };
            // Who does not come back is not told of: it has to be looked for.
            let until = until.filter(|&until| until != Moment::NEVER);
            late.set(until.map(|until| tokio::time::sleep(until.since(system_now()))));
            match late.as_mut().as_pin_mut().map(|late| late.poll(cx)) {
                Some(Poll::Ready(())) => cx.waker().wake_by_ref(),
                Some(Poll::Pending) | None => {}
            }
            Poll::<()>::Pending
        })
        .await;
    }

    /// The runtime has nothing to do. Time advances here.
    pub fn about_to_sleep(&self) {
        let Some(still) = self.still() else { return };
        let mut still = lock(still);
        if still.seen != still.activity {
            // What was handed to it before the last of this activity is found in another round at the latest.
            still.seen = still.activity;
            let again = still.driver.take();
            drop(still);
            again.into_iter().for_each(Waker::wake);
        } else if !still.held.is_empty() {
            let held = std::mem::take(&mut still.held);
            drop(still);
            WAKING.set(true);
            held.into_iter().for_each(Waker::wake);
            WAKING.set(false);
            BELLS.take().into_iter().for_each(Waker::wake);
        } else if !still.is_busy() && still.seats.working().is_none() {
            let due = still.jump();
            drop(still);
            due.into_iter().for_each(Waker::wake);
        }
    }

    /// The runtime has been woken: it waits for its turn.
    pub fn awake(&self) {
        let Some(still) = self.still() else { return };
        let still = lock(still);
        let acts = |still: &mut super::Still| self.is_virtual() && still.seats.acts();
        drop(self.0.rested.wait_timeout_while(still, PATIENCE, acts).unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether `bell`, behind which somebody has been put, will be rung when that is done for all who are woken at this moment: one that
    /// is rung in the middle would divide them by chance.
    pub fn ring_later(&self, bell: impl FnOnce() -> Waker) -> bool {
        let later = WAKING.get();
        if later {
            BELLS.with_borrow_mut(|bells| bells.push(bell()));
        }
        later
    }

    /// Somebody outside the runtime is to be woken. Whether that will be done when the runtime has nothing more to do at this moment.
    pub fn hold_back(&self, waker: impl FnOnce() -> Waker) -> bool {
        let Some(still) = self.still() else { return false };
        if !RUNTIME.get() || WAKING.get() {
            return false;
        }
        let waker = waker();
        let mut still = lock(still);
        still.held.push(waker);
        still.stir();
        true
    }
}
