//! The only clock. Every wait in the crate goes through here, so that a test can replace time.
//!
//! [`Clock::real`] reads the system's monotonic clock (the one behind Python's `time.monotonic()`). [`Clock::paused`]
//! stands still while anything can run, and jumps to the next deadline when nothing can.
//!
//! # Invariants
//! 1. `Moment` and epoch never go back, whatever happens to the system's wall clock.
//! 2. A paused clock advances only when no busy token is held and every task of its runtime has yielded.
//! 3. A [`Timer`] that is set to a moment fires at or after it, never before.

mod epoch;

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

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
pub struct Clock(Arc<Kind>);

enum Kind {
    Real { last_epoch: AtomicU64 },
    Paused(Mutex<Paused>),
}

struct Paused {
    now: Moment,
    next_timer: u64,
    timers: BTreeMap<(Moment, u64), Waker>,
    /// Counts whatever may have made a task ready; the driver watches it stand still.
    activity: u64,
    busy: usize,
    driver: Option<Waker>,
}

impl Paused {
    fn stir(&mut self) {
        self.activity += 1;
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}

fn lock(paused: &Mutex<Paused>) -> MutexGuard<'_, Paused> {
    paused.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Real { .. } => f.write_str("Clock(real)"),
            Kind::Paused(paused) => write!(f, "Clock(paused at {:?})", lock(paused).now.0),
        }
    }
}

impl Clock {
    /// The system's clock.
    pub fn real() -> Clock {
        Clock(Arc::new(Kind::Real { last_epoch: AtomicU64::new(0) }))
    }

    /// A clock that only moves when nothing else does, and the future that moves it: spawn that on the runtime whose tasks use
    /// the clock (a current-thread one).
    pub fn paused() -> (Clock, impl Future<Output = ()> + Send + 'static) {
        let clock = Clock(Arc::new(Kind::Paused(Mutex::new(Paused {
            now: Moment(Duration::from_secs(1_000)),
            next_timer: 0,
            timers: BTreeMap::new(),
            activity: 0,
            busy: 0,
            driver: None,
        }))));
        let driver = drive(clock.clone());
        (clock, driver)
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        match &*self.0 {
            Kind::Real { .. } => {
                let now = clock_gettime(ClockId::Monotonic);
                let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
                Moment(Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0)))
            }
            Kind::Paused(paused) => lock(paused).now,
        }
    }

    /// The present moment on both scales.
    pub fn stamp(&self) -> Stamp {
        let moment = self.now();
        let epoch = match &*self.0 {
            Kind::Real { last_epoch } => {
                let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let nanos = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
                let before = last_epoch.fetch_max(nanos, Ordering::Relaxed);
                Duration::from_nanos(before.max(nanos))
            }
            // A fixed day, so that a test's result is the same on every run: 2026-01-01.
            Kind::Paused(_) => Duration::from_secs(1_767_225_600) + moment.0,
        };
        Stamp { moment, epoch }
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
        Timer { clock: self.clone(), deadline: Moment::NEVER, armed: None }
    }

    /// Keeps a paused clock from advancing for as long as the token is held. Costs nothing on the real clock.
    pub fn busy(&self) -> Busy {
        if let Kind::Paused(paused) = &*self.0 {
            let mut paused = lock(paused);
            paused.busy += 1;
            paused.stir();
        }
        Busy(self.clone())
    }

    /// Tells a paused clock that something was made ready outside its sight (bytes in an in-memory pipe).
    pub fn stir(&self) {
        if let Kind::Paused(paused) = &*self.0 {
            lock(paused).stir();
        }
    }
}

/// See [`Clock::busy`].
#[derive(Debug)]
pub struct Busy(Clock);

impl Drop for Busy {
    fn drop(&mut self) {
        if let Kind::Paused(paused) = &*self.0.0 {
            let mut paused = lock(paused);
            paused.busy = paused.busy.saturating_sub(1);
            paused.stir();
        }
    }
}

/// One deadline that can be moved. Setting the real one later than it is armed costs nothing: it fires early inside, and is armed anew.
#[derive(Debug)]
pub struct Timer {
    clock: Clock,
    deadline: Moment,
    armed: Option<Armed>,
}

#[derive(Debug)]
enum Armed {
    Real(Pin<Box<tokio::time::Sleep>>, Moment),
    Paused((Moment, u64)),
}

impl Timer {
    /// Moves the deadline. [`Moment::NEVER`] disarms it.
    pub fn set(&mut self, deadline: Moment) {
        if deadline == self.deadline {
            return;
        }
        self.deadline = deadline;
        if matches!(self.armed, Some(Armed::Paused(_))) {
            self.disarm();
        }
    }

    /// Ready once the deadline has passed; stays ready until it is moved.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.deadline == Moment::NEVER {
            return Poll::Pending;
        }
        match &*self.clock.0 {
            Kind::Real { .. } => self.poll_real(cx),
            Kind::Paused(paused) => {
                let mut paused = lock(paused);
                if let Some(Armed::Paused(key)) = self.armed.take() {
                    paused.timers.remove(&key);
                }
                if paused.now >= self.deadline {
                    return Poll::Ready(());
                }
                let key = (self.deadline, paused.next_timer);
                paused.next_timer += 1;
                paused.timers.insert(key, cx.waker().clone());
                paused.stir();
                self.armed = Some(Armed::Paused(key));
                Poll::Pending
            }
        }
    }

    fn poll_real(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // An earlier alarm is left as it is: most deadlines move on long before they come.
            if let Some(Armed::Real(sleep, at)) = &mut self.armed
                && *at <= self.deadline
            {
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if self.clock.now() >= self.deadline {
                    return Poll::Ready(());
                }
            }
            let now = self.clock.now();
            if now >= self.deadline {
                return Poll::Ready(());
            }
            let wake = tokio::time::Instant::now() + self.deadline.since(now).min(FAR);
            match &mut self.armed {
                Some(Armed::Real(sleep, at)) => {
                    sleep.as_mut().reset(wake);
                    *at = self.deadline;
                }
                _ => self.armed = Some(Armed::Real(Box::pin(tokio::time::sleep_until(wake)), self.deadline)),
            }
        }
    }

    /// When the task that polled last is woken, whatever the deadline has become since.
    pub fn alarm(&self) -> Moment {
        match &self.armed {
            Some(Armed::Real(sleep, at)) if !sleep.is_elapsed() => *at,
            Some(Armed::Paused((at, _))) => *at,
            _ => Moment::NEVER,
        }
    }

    fn disarm(&mut self) {
        if let (Some(Armed::Paused(key)), Kind::Paused(paused)) = (self.armed.take(), &*self.clock.0) {
            lock(paused).timers.remove(&key);
        }
    }
}

/// tokio's timers reach about two years; ours are armed anew when they fire early.
const FAR: Duration = Duration::from_secs(86_400);

impl Drop for Timer {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// How often every ready task gets to run, with nothing stirring, before a paused clock takes its runtime for idle. One round would do
/// for a chain of wake-ups that tokio runs in order; the others cover a task that is polled once before its waker is stored.
const QUIET_ROUNDS: u32 = 4;

async fn drive(clock: Clock) {
    let Kind::Paused(paused) = &*clock.0 else { return };
    loop {
        let mut seen = lock(paused).activity;
        let mut quiet = 0;
        while quiet < QUIET_ROUNDS {
            tokio::task::yield_now().await;
            let activity = lock(paused).activity;
            quiet = if activity == seen { quiet + 1 } else { 0 };
            seen = activity;
        }
        let due = {
            let mut paused = lock(paused);
            if paused.busy == 0
                && let Some((&(next, _), _)) = paused.timers.first_key_value()
            {
                paused.now = paused.now.max(next);
                let after = paused.now + Duration::from_nanos(1);
                let later = paused.timers.split_off(&(after, 0));
                std::mem::replace(&mut paused.timers, later)
            } else {
                BTreeMap::new()
            }
        };
        if due.is_empty() {
            let before = seen;
            poll_fn(|cx| {
                let mut paused = lock(paused);
                if paused.activity != before {
                    return Poll::Ready(());
                }
                paused.driver = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
        }
        for waker in due.into_values() {
            waker.wake();
        }
    }
}
