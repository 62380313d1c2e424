//! The only clock. Every wait in the crate goes through here, so that a test can replace time.
//!
//! [`Clock::real`] reads the system's monotonic clock (the one behind Python's `time.monotonic()`). [`Clock::paused`]
//! stands still while anything can run, and jumps to the next deadline when nothing can. [`Clock::common`], the one of this process,
//! is a real one that can be made to stand still for the length of a test (see `clock/common.rs`).
//!
//! # Invariants
//! 1. `Moment` and epoch never go back, whatever happens to the system's wall clock; but where the common clock begins to stand still,
//!    or is given back, which is done only while nobody has read it who lives on.
//! 2. A clock that stands still advances only when no busy token is held and every task of its runtime has yielded.
//! 3. A [`Timer`] that is set to a moment fires at or after it, never before.

mod common;
mod epoch;
mod seat;
mod still;
mod timer;

use std::fmt;
use std::future::poll_fn;
use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

pub use seat::Seat;
use still::{Still, drive, lock};
pub use timer::Timer;

/// A point on the monotonic clock: the time since that clock's zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// A deadline that does not come.
    pub const NEVER: Moment = Moment(Duration::MAX);

    /// The time since the clock's zero.
    pub const fn since_zero(self) -> Duration {
        self.0
    }

    /// The time that has passed since `earlier`; zero if that is still to come.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(span))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;
    fn sub(self, span: Duration) -> Moment {
        Moment(self.0.saturating_sub(span))
    }
}

/// When something happened, on both scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// On the monotonic clock.
    pub moment: Moment,
    /// Since the Unix epoch.
    pub epoch: Duration,
}

/// A handle on the clock; cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<Source>);

struct Source {
    /// Whether time stands still while anything can run.
    stands: AtomicBool,
    /// Whether it always does.
    paused: bool,
    /// What is added to the system's monotonic clock, in nanoseconds: where a time that stood still went on from.
    ahead: AtomicI64,
    last_epoch: AtomicU64,
    still: Mutex<Still>,
    /// Told when somebody rests.
    rested: Condvar,
}

impl Source {
    fn new(paused: bool) -> Arc<Source> {
        Arc::new(Source {
            stands: AtomicBool::new(paused),
            paused,
            ahead: AtomicI64::new(0),
            last_epoch: AtomicU64::new(0),
            still: Mutex::new(Still::new()),
            rested: Condvar::new(),
        })
    }
}

/// The system's monotonic clock.
fn system_now() -> Moment {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Moment(Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0)))
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.still() {
            None => f.write_str("Clock(real)"),
            Some(still) => write!(f, "Clock(standing at {:?})", lock(still).now.0),
        }
    }
}

impl Clock {
    /// The system's clock.
    pub fn real() -> Clock {
        Clock(Source::new(false))
    }

    /// A clock that only moves when nothing else does, and the future that moves it: spawn that on the runtime whose tasks use
    /// the clock (a current-thread one).
    pub fn paused() -> (Clock, impl Future<Output = ()> + Send + 'static) {
        let clock = Clock(Source::new(true));
        let driver = drive(clock.clone());
        (clock, driver)
    }

    /// Where time is kept while it stands still; `None`: it does not.
    fn still(&self) -> Option<&Mutex<Still>> {
        self.0.stands.load(Ordering::Acquire).then_some(&self.0.still)
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        match self.still() {
            Some(still) => lock(still).now,
            None => {
                let now = system_now();
                match self.0.ahead.load(Ordering::Relaxed) {
                    0 => now,
                    ahead if ahead > 0 => now + Duration::from_nanos(ahead.unsigned_abs()),
                    behind => now - Duration::from_nanos(behind.unsigned_abs()),
                }
            }
        }
    }

    /// The present moment on both scales.
    pub fn stamp(&self) -> Stamp {
        if let Some(still) = self.still() {
            let moment = lock(still).now;
            return Stamp { moment, epoch: still::EPOCH + moment.0 };
        }
        let moment = self.now();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        let before = self.0.last_epoch.fetch_max(nanos, Ordering::Relaxed);
        Stamp { moment, epoch: Duration::from_nanos(before.max(nanos)) }
    }

    /// Waits for `deadline`.
    ///
    /// *Cancel safety*: dropping the future forgets the wait.
    pub async fn sleep_until(&self, deadline: Moment) {
        let mut timer = self.timer();
        timer.set(deadline);
        poll_fn(|cx| timer.poll_expired(cx)).await;
    }

    /// Waits for `span`.
    pub async fn sleep(&self, span: Duration) {
        self.sleep_until(self.now() + span).await;
    }

    /// Runs `work` until `deadline`; `None` if that came first (`work` is then dropped).
    pub async fn until<F: Future>(&self, deadline: Moment, work: F) -> Option<F::Output> {
        let mut work = std::pin::pin!(work);
        let mut timer = self.timer();
        timer.set(deadline);
        poll_fn(|cx| {
            if let Poll::Ready(value) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(value));
            }
            timer.poll_expired(cx).map(|()| None)
        })
        .await
    }

    /// A timer that can be set again and again.
    pub fn timer(&self) -> Timer {
        Timer::new(self.clone())
    }

    /// Keeps a clock that stands still from advancing for as long as the token is held. Costs nothing on the real clock.
    pub fn busy(&self) -> Busy {
        Busy(self.still().map(|still| (self.clone(), lock(still).begin())))
    }

    /// Tells a clock that stands still that something was made ready outside its sight (bytes in an in-memory pipe).
    pub fn stir(&self) {
        if let Some(still) = self.still() {
            lock(still).stir();
        }
    }
}

/// See [`Clock::busy`]. With it, the era it belongs to: one that outlives the standing still of the common clock counts no more.
#[derive(Debug)]
pub struct Busy(Option<(Clock, u64)>);

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some((clock, era)) = self.0.take() {
            lock(&clock.0.still).end(era);
            clock.0.rested.notify_all();
        }
    }
}
