//! Events: they happen once, for good, and nobody who waits sleeps through it.

#![cfg(test)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use labtether::sync::event::{Event, Wait};
use proptest::prelude::*;

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Clone, Debug)]
enum Act {
    Wait,
    Poll { wait: usize, with_another_waker: bool },
    Drop(usize),
    Set,
}

struct Waiting {
    wait: Wait,
    bell: Arc<Bell>,
    asleep: bool,
}

fn play(acts: &[Act]) {
    let event = Event::new();
    let (mut happened, mut waiting) = (false, Vec::<Waiting>::new());
    for act in acts {
        match *act {
            Act::Wait => waiting.push(Waiting { wait: event.wait(), bell: Arc::default(), asleep: false }),
            Act::Poll { wait, with_another_waker } if wait < waiting.len() => {
                let waiting = &mut waiting[wait];
                if with_another_waker {
                    waiting.bell = Arc::default();
                }
                let waker = Waker::from(waiting.bell.clone());
                let polled = waiting.wait.poll(&Context::from_waker(&waker));
                assert_eq!(polled, if happened { Poll::Ready(()) } else { Poll::Pending });
                waiting.bell.0.store(0, Ordering::SeqCst);
                waiting.asleep = polled.is_pending();
            }
            Act::Drop(wait) if wait < waiting.len() => drop(waiting.remove(wait)),
            Act::Set => {
                assert_eq!(event.set(), !happened);
                happened = true;
            }
            _ => {}
        }
        assert_eq!(event.is_set(), happened);
        let asleep = waiting.iter().filter(|waiting| waiting.asleep);
        assert_eq!(event.waiting(), if happened { 0 } else { asleep.clone().count() });
        for waiting in asleep {
            assert_eq!(
                waiting.bell.0.load(Ordering::SeqCst),
                usize::from(happened),
                "woken when it happens, and only then"
            );
        }
    }
    drop(waiting);
    assert_eq!((event.waiting(), Arc::strong_count(&event)), (0, 1));
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Wait),
        6 => (0..6_usize, any::<bool>())
            .prop_map(|(wait, with_another_waker)| Act::Poll { wait, with_another_waker }),
        2 => (0..6_usize).prop_map(Act::Drop),
        1 => Just(Act::Set),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_waits_when_it_happens_is_woken_once_and_nobody_else_is(acts in prop::collection::vec(act(), 1..40)) {
        play(&acts);
    }
}

/// Writes its number down when it is woken.
struct Roll(usize, Arc<Mutex<Vec<usize>>>);

impl Wake for Roll {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0);
    }
}

#[test]
fn who_came_first_goes_on_first() {
    let (event, woken) = (Event::new(), Arc::new(Mutex::new(Vec::new())));
    let mut waits: Vec<Wait> = (0..5).map(|_| event.wait()).collect();
    for n in [3, 0, 4, 1, 2] {
        let waker = Waker::from(Arc::new(Roll(n, woken.clone())));
        assert!(waits[n].poll(&Context::from_waker(&waker)).is_pending());
    }
    event.set();
    assert_eq!(*woken.lock().unwrap(), [0, 1, 2, 3, 4]);
}

/// Looks at the event again from inside its own wake-up, as an eager executor would.
struct Eager(Arc<Event>, AtomicUsize);

impl Wake for Eager {
    fn wake(self: Arc<Self>) {
        assert!(self.0.is_set());
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_waker_may_use_the_event_that_woke_it() {
    let event = Event::new();
    let eager = Arc::new(Eager(event.clone(), AtomicUsize::new(0)));
    let mut wait = event.wait();
    assert!(wait.poll(&Context::from_waker(&Waker::from(eager.clone()))).is_pending());
    event.set();
    assert_eq!(eager.1.load(Ordering::SeqCst), 1);
    drop(wait);
}
