//! The common clock: it stands still while a seat works or the runtime has something to do, jumps when neither is so, and goes on as
//! the system's.
//!
//! One runtime drives it, as the engine does; the test's own thread sits at it, as Python's does.

#![cfg(test)]

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use labtether::clock::{Clock, Moment, Seat};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The clock is one for the whole process: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

/// A runtime that drives the common clock, for the length of a test.
struct Driven {
    handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _one: std::sync::MutexGuard<'static, ()>,
}

impl Driven {
    fn new() -> Driven {
        let one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let clock = Clock::common();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_park(|| clock.about_to_sleep())
            .on_thread_unpark(|| clock.awake())
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = ended => {}
                    () = clock.be_nudged() => {}
                }
            });
        });
        Driven { handle, end: Some(end), thread: Some(thread), _one: one }
    }

    /// Runs `work` there; what it gives comes to this thread, which rests until then.
    fn run<T: Send + 'static>(&self, seat: &Arc<Seat>, work: impl Future<Output = T> + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        let (clock, told_to) = (Clock::common(), seat.clone());
        self.handle.spawn(async move {
            let value = work.await;
            let call =
                Arc::new(Call { seat: told_to, tell: Mutex::new(Some(Box::new(move || tell.send(value).unwrap()))) });
            if !clock.hold_back(|| Waker::from(call.clone())) {
                call.wake();
            }
        });
        seat.rest();
        let value = told.recv_timeout(Duration::from_secs(20)).expect("it did not end");
        seat.work();
        value
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        Clock::common().go_on();
        Clock::common().give_back();
        let _ = self.end.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

type Telling = Mutex<Option<Box<dyn FnOnce() + Send>>>;

/// Wakes the test's thread as a port or a parker would.
struct Call {
    seat: Arc<Seat>,
    tell: Telling,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.seat.call();
        if let Some(tell) = self.tell.lock().unwrap().take() {
            tell();
        }
    }
}

fn begin() -> Moment {
    Clock::common().now()
}

#[test]
fn a_long_sleep_takes_no_time_and_ends_at_its_nanosecond() {
    let driven = Driven::new();
    let (clock, seat) = (Clock::common(), Seat::at(Clock::common()));
    assert!(clock.stand_still(&seat));
    let began = begin();
    driven.run(&seat, clock.sleep(Duration::from_secs(86_400)));
    assert_eq!(clock.now(), began + Duration::from_secs(86_400));
    assert_eq!(clock.stood(), Some(Duration::from_secs(86_400)));
}

#[test]
fn it_begins_at_the_same_moment_every_time_and_only_once() {
    let _driven = Driven::new();
    let (clock, seat) = (Clock::common(), Seat::at(Clock::common()));
    assert!(!clock.is_virtual());
    assert!(clock.stand_still(&seat));
    let first = clock.stamp();
    assert!(!clock.stand_still(&seat), "it stands still already");
    clock.go_on();
    clock.give_back();
    assert!(clock.stand_still(&seat));
    assert_eq!(clock.stamp(), first);
}

#[test]
fn it_stands_while_a_seat_works_and_while_a_token_is_held() {
    let driven = Driven::new();
    let (clock, seat) = (Clock::common(), Seat::at(Clock::common()));
    assert!(clock.stand_still(&seat));
    let began = begin();
    let (tell, told) = mpsc::channel();
    driven.handle.spawn(async move {
        clock.sleep(ms(10)).await;
        tell.send(clock.now()).unwrap();
    });
    // The seat works.
    assert!(told.recv_timeout(ms(120)).is_err());
    assert_eq!(clock.now(), began);
    let busy = clock.busy();
    seat.rest();
    assert!(told.recv_timeout(ms(120)).is_err());
    assert_eq!(clock.now(), began);
    drop(busy);
    assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(began + ms(10)));
}

#[test]
fn a_token_of_an_era_that_is_over_counts_no_more() {
    let driven = Driven::new();
    let (clock, seat) = (Clock::common(), Seat::at(Clock::common()));
    let real = clock.busy();
    assert!(clock.stand_still(&seat));
    let old = clock.busy();
    clock.go_on();
    clock.give_back();
    assert!(clock.stand_still(&seat));
    let held = clock.busy();
    drop((real, old));
    let began = begin();
    seat.rest();
    thread::sleep(ms(60));
    assert_eq!(clock.now(), began, "the token that is held counts");
    drop(held);
    driven.run(&seat, clock.sleep(ms(10)));
}

#[test]
fn the_runtime_works_while_a_seat_does_but_for_a_while() {
    let driven = Driven::new();
    let (clock, seat) = (Clock::common(), Seat::at(Clock::common()));
    assert!(clock.stand_still(&seat));
    let (tell, told) = mpsc::channel();
    driven.handle.spawn(async move { tell.send(()).unwrap() });
    assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(()), "nobody is kept from working for ever");
    let (tell, told) = mpsc::channel();
    driven.handle.spawn(async move { tell.send(()).unwrap() });
    assert_eq!(seat.lend(|| told.recv_timeout(Duration::from_secs(20))), Ok(()));
    assert_eq!(clock.stood(), Some(Duration::ZERO));
}

#[test]
fn who_is_called_works_from_that_instant() {
    let _driven = Driven::new();
    let (clock, seat) = (Clock::common(), Seat::at(Clock::common()));
    assert!(clock.stand_still(&seat));
    assert!(seat.rest());
    seat.call();
    assert!(!seat.rest(), "it looks first");
    assert!(seat.rest());
}

#[test]
fn a_seat_that_does_not_come_back_is_waited_for_no_longer_than_a_second() {
    let driven = Driven::new();
    let (clock, seat, other) = (Clock::common(), Seat::at(Clock::common()), Seat::at(Clock::common()));
    assert!(clock.stand_still(&seat));
    other.work();
    driven.run(&seat, clock.sleep(ms(10)));
    assert_eq!(clock.stood(), Some(ms(10)));
    // One whose thread has ended is not waited for at all.
    other.work();
    drop(other);
    driven.run(&seat, clock.sleep(ms(10)));
}

#[test]
fn those_outside_are_woken_when_the_runtime_has_nothing_more_to_do() {
    let driven = Driven::new();
    let (clock, seat) = (Clock::common(), Seat::at(Clock::common()));
    assert!(clock.stand_still(&seat));
    let log = Arc::new(Mutex::new(Vec::new()));
    let (first, second) = (log.clone(), log.clone());
    let (tell, told) = mpsc::channel();
    let done = seat.clone();
    driven.handle.spawn(async move {
        clock.sleep(ms(10)).await;
        let say = move || {
            first.lock().unwrap().push("told");
            tell.send(()).unwrap();
        };
        let call = Arc::new(Call { seat: done, tell: Mutex::new(Some(Box::new(say))) });
        assert!(clock.hold_back(|| Waker::from(call)));
    });
    driven.handle.spawn(async move {
        clock.sleep(ms(10)).await;
        for _ in 0..500 {
            tokio::task::yield_now().await;
        }
        second.lock().unwrap().push("ran");
    });
    seat.rest();
    told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(*log.lock().unwrap(), ["ran", "told"]);
}

#[test]
fn it_goes_on_from_where_it_stood_and_timers_end() {
    let driven = Driven::new();
    let (clock, seat) = (Clock::common(), Seat::at(Clock::common()));
    assert!(clock.stand_still(&seat));
    driven.run(&seat, clock.sleep(Duration::from_secs(1000)));
    let before = clock.now();
    let (tell, told) = mpsc::channel();
    driven.handle.spawn(async move {
        clock.sleep(ms(20)).await;
        tell.send(clock.now()).unwrap();
    });
    clock.go_on();
    assert!(clock.is_shifted());
    let ended = told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(ended >= before + ms(20));
    assert!(clock.now() >= ended);
    clock.give_back();
    assert!(!clock.is_shifted());
    let real = Clock::real().now();
    assert!(clock.now() >= real);
}

#[test]
fn a_timer_set_by_the_real_time_and_polled_again_in_the_virtual_one() {
    let driven = Driven::new();
    let (clock, seat) = (Clock::common(), Seat::at(Clock::common()));
    let mut timer = clock.timer();
    {
        let _timers = driven.handle.enter();
        timer.set(clock.now() + Duration::from_secs(3600));
        assert!(timer.poll_expired(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert!(clock.stand_still(&seat));
    timer.set(clock.now() + ms(5));
    assert!(timer.poll_expired(&mut Context::from_waker(Waker::noop())).is_pending());
    driven.run(&seat, clock.sleep(ms(5)));
    assert!(timer.poll_expired(&mut Context::from_waker(Waker::noop())).is_ready());
}
