//! Places, channels and events under threads whose every step shuttle orders, thousands of times by chance. The files under test are
//! compiled into this one, with shuttle's mutex in place of the system's: nothing else about them is different.

#![cfg(test)]
#![allow(unreachable_pub, dead_code, reason = "what is compiled in here is a library elsewhere")]

#[path = "../src/sync/board.rs"]
mod board;
#[path = "../src/sync/channel.rs"]
mod channel;
#[path = "../src/sync/deadlock.rs"]
mod deadlock;
#[path = "../src/sync/event.rs"]
mod event;
#[path = "../src/sync/passage.rs"]
mod passage;
#[path = "../src/sync/places.rs"]
mod places;

#[path = "interleavings/waiting.rs"]
mod waiting;

mod lock {
    pub(super) use shuttle::sync::{Mutex, MutexGuard};
}

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use board::{Board, Want};
use channel::{Channel, Sending};
use event::Event;
use labtether::clock::{self, Clock};
use labtether::sync::{Owner, Step, Trouble};
use places::{Hold, Places};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::thread::{self, JoinHandle};
use waiting::block;

/// Each claim is tried under so many schedules: half of them quite random, half with few switches at the worst places.
const SCHEDULES: usize = 2_000;

fn always(claim: fn()) {
    shuttle::check_random(claim, SCHEDULES);
    shuttle::check_pct(claim, SCHEDULES, 3);
}

fn all<T: 'static>(threads: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn board() -> Board {
    Board::new(&Clock::paused().0)
}

fn take(places: &Arc<Places>, owner: Owner, want: Want) -> Result<Hold, Trouble> {
    let mut wait = places.take(owner, want, 0)?;
    block(|cx| wait.poll(cx)).map(|(hold, _)| hold)
}

// -- Places ------------------------------------------------------------------------------------------------------------

#[test]
fn a_semaphore_lets_no_more_in_than_it_has_places_and_nobody_waits_for_ever() {
    always(|| {
        let board = board();
        let (places, inside) = (Places::semaphore(&board, "pumps", 2), Arc::new(AtomicUsize::new(0)));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (places, inside) = (places.clone(), inside.clone());
                thread::spawn(move || {
                    let hold = take(&places, Owner::fresh(), Want::Any).unwrap();
                    assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(hold);
                })
            })
            .collect();
        all(threads);
        assert_eq!(board.count(), (0, 0));
    });
}

#[test]
fn a_place_that_is_given_while_its_wait_is_cancelled_goes_to_the_next() {
    always(|| {
        let board = board();
        let lock = Places::lock(&board, "deck");
        let hold = lock.take_now(Owner::fresh(), Want::Any, 0);
        let mut wait = lock.take(Owner::fresh(), Want::Any, 0).unwrap();
        let last = Owner::fresh();
        let mut next = lock.take(last, Want::Any, 0).unwrap();
        let threads = [
            thread::spawn(move || drop(hold)),
            thread::spawn(move || {
                drop(wait.poll(&Context::from_waker(Waker::noop())));
                wait.cancel();
            }),
            thread::spawn(move || drop(block(|cx| next.poll(cx)).unwrap())),
        ];
        all(threads);
        assert_eq!(board.count(), (0, 0));
    });
}

#[test]
fn an_owner_that_ends_while_its_block_is_left_lets_go_once() {
    always(|| {
        let board = board();
        let lock = Places::lock(&board, "deck");
        let (first, second) = (Owner::fresh(), Owner::fresh());
        lock.take_now(first, Want::Any, 1).unwrap().keep();
        let mut wait = lock.take(second, Want::Any, 2).unwrap();
        let inside = Arc::new(AtomicBool::new(true));
        let (leaves, claims, entered) = (lock.clone(), lock.clone(), inside.clone());
        let ends = board.clone();
        let threads = [
            // Left by the block, and by the end of its owner: the second time it is known to have been let go of.
            thread::spawn(move || leaves.leave(second, 1).unwrap()),
            thread::spawn(move || ends.let_go(first)),
            thread::spawn(move || {
                let (hold, _) = block(|cx| wait.poll(cx)).unwrap();
                assert!(entered.swap(false, Ordering::SeqCst));
                hold.keep();
                assert!(claims.view().holders.iter().all(|held| held.owner == second));
                claims.leave(second, 2).unwrap();
            }),
        ];
        all(threads);
        assert!(!inside.load(Ordering::SeqCst));
        assert_eq!(board.count(), (0, 0));
    });
}

#[test]
fn two_locks_taken_crosswise_are_refused_to_one_and_never_hang_both() {
    always(|| {
        let board = board();
        let (deck, door) = (Places::lock(&board, "deck"), Places::lock(&board, "door"));
        let crosswise = |first: &Arc<Places>, second: &Arc<Places>| {
            let (first, second) = (first.clone(), second.clone());
            thread::spawn(move || {
                let owner = Owner::fresh();
                let first = take(&first, owner, Want::Any).unwrap();
                let second = take(&second, owner, Want::Any);
                drop(first);
                match second {
                    Ok(_) => 0,
                    Err(Trouble::Deadlock(cycle)) => cycle.len(),
                    Err(other) => panic!("{other:?}"),
                }
            })
        };
        let refused = all([crosswise(&deck, &door), crosswise(&door, &deck), crosswise(&deck, &door)]);
        assert!(refused.iter().all(|steps| [0, 2, 3].contains(steps)) && refused.contains(&0), "{refused:?}");
        assert_eq!(board.count(), (0, 0));
    });
}

#[test]
fn any_of_two_slots_is_had_by_whoever_is_next_while_others_want_one_by_name() {
    always(|| {
        let board = board();
        let slots = Places::slots(&board, "plates", vec![Arc::from("A1"), Arc::from("A2")]);
        let taken = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let threads: Vec<_> = [Want::This(1), Want::Any, Want::This(0), Want::Any]
            .into_iter()
            .map(|want| {
                let (slots, taken) = (slots.clone(), taken.clone());
                thread::spawn(move || {
                    let hold = take(&slots, Owner::fresh(), want).unwrap();
                    assert!(want == Want::Any || want == Want::This(hold.place()));
                    let place = &taken[hold.place() as usize];
                    assert!(!place.swap(true, Ordering::SeqCst));
                    thread::yield_now();
                    place.store(false, Ordering::SeqCst);
                })
            })
            .collect();
        all(threads);
        assert_eq!(board.count(), (0, 0));
    });
}

// -- Events ------------------------------------------------------------------------------------------------------------

#[test]
fn nobody_sleeps_through_an_event_and_one_call_makes_it_happen() {
    always(|| {
        let event = Event::new();
        let waits = (0..2).map(|_| {
            let mut wait = event.wait();
            thread::spawn(move || {
                block(|cx| wait.poll(cx));
                false
            })
        });
        let sets = (0..2).map(|_| {
            let event = event.clone();
            thread::spawn(move || event.set())
        });
        let firsts = all(waits.chain(sets).collect::<Vec<_>>()).into_iter().filter(|first| *first).count();
        assert_eq!((firsts, event.waiting()), (1, 0));
    });
}

// -- Channels ----------------------------------------------------------------------------------------------------------

fn send(channel: &Arc<Channel<u32>>, item: u32, owner: Option<Owner>) -> Result<(), Trouble> {
    let mut sending: Sending<u32> = channel.send(item, owner).map_err(|(_, trouble)| trouble)?;
    block(|cx| sending.poll(cx));
    Ok(())
}

fn receive_all(channel: &Arc<Channel<u32>>) -> Vec<u32> {
    let next = || {
        let mut receive = channel.receive();
        block(|cx| receive.poll(cx)).ok()
    };
    std::iter::from_fn(next).collect()
}

fn through(capacity: usize) {
    let board = board();
    let channel = Channel::new(&board, "plates", capacity);
    let keep = channel.sender().unwrap();
    let receivers: Vec<_> = (0..2)
        .map(|_| {
            let channel = channel.clone();
            thread::spawn(move || receive_all(&channel))
        })
        .collect();
    let senders: Vec<_> = [10, 20]
        .map(|first| {
            let (board, channel, owner) = (board.clone(), channel.clone(), Owner::fresh());
            thread::spawn(move || {
                (first..first + 2).for_each(|item| send(&channel, item, Some(owner)).unwrap());
                board.let_go(owner);
            })
        })
        .into();
    all(senders);
    drop(keep);
    let received = all(receivers);
    for each in &received {
        let in_order = |from: u32| each.iter().filter(move |item| **item / 10 == from).is_sorted();
        assert!(in_order(1) && in_order(2), "{each:?}");
    }
    let mut received = received.concat();
    received.sort_unstable();
    assert_eq!(received, [10, 11, 20, 21]);
    assert_eq!((channel.view().used, channel.view().sending, channel.view().receiving), (0, 0, 0));
}

#[test]
fn what_goes_into_a_channel_comes_out_once_and_in_order_whoever_sends_and_receives() {
    always(|| through(0));
    always(|| through(1));
}

#[test]
fn what_a_cancelled_receive_was_given_is_received_by_another() {
    always(|| {
        let channel = Channel::new(&board(), "plates", 1);
        let (sends, receives) = (channel.clone(), channel.clone());
        let mut given_up = channel.receive();
        let threads = [
            thread::spawn(move || {
                let got = match given_up.poll(&Context::from_waker(Waker::noop())) {
                    Poll::Ready(Ok(item)) => vec![item],
                    _ => vec![],
                };
                given_up.cancel();
                got
            }),
            thread::spawn(move || {
                (1..=2).for_each(|item| send(&sends, item, None).unwrap());
                sends.close();
                vec![]
            }),
            thread::spawn(move || receive_all(&receives)),
        ];
        let mut received = all(threads).concat();
        // The end may have been told to the one while the other still held an item, which then lies in the channel.
        received.extend(std::iter::from_fn(|| channel.receive_now().ok()));
        received.sort_unstable();
        assert_eq!(received, [1, 2]);
    });
}

#[test]
fn a_send_that_is_taken_back_was_either_received_or_is_returned() {
    always(|| {
        let channel = Channel::new(&board(), "plates", 0);
        let (sends, receives) = (channel.clone(), channel.clone());
        let sender = channel.sender().unwrap();
        let threads = [
            thread::spawn(move || {
                let mut sending = sends.send(7, None).unwrap();
                thread::yield_now();
                let back = sending.take_back();
                drop(sender);
                back.into_iter().collect()
            }),
            thread::spawn(move || receive_all(&receives)),
        ];
        assert_eq!(all(threads).concat(), [7]);
    });
}

// -- The port ----------------------------------------------------------------------------------------------------------

/// The protocol of `src/bridge/port.rs`, which needs Python to be compiled: a queue, an armed flag, and a bell that counts.
#[derive(Default)]
struct Port {
    ready: Mutex<Vec<u64>>,
    armed: AtomicBool,
    bell: AtomicUsize,
    rings: AtomicUsize,
}

impl Port {
    fn ring(&self, key: u64) {
        self.ready.lock().unwrap().push(key);
        if !self.armed.swap(true, Ordering::SeqCst) {
            self.rings.fetch_add(1, Ordering::SeqCst);
            self.bell.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn take(&self) -> Vec<u64> {
        self.bell.store(0, Ordering::SeqCst);
        self.armed.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.ready.lock().unwrap())
    }
}

#[test]
fn a_ring_is_never_missed_by_a_loop_that_sleeps_until_the_bell_rings() {
    always(|| {
        let port = Arc::new(Port::default());
        let ringers: Vec<_> = (0..3)
            .map(|ringer| {
                let port = port.clone();
                thread::spawn(move || (0..2).for_each(|n| port.ring(ringer * 10 + n)))
            })
            .collect();
        let mut heard = Vec::new();
        while heard.len() < 6 {
            // The loop's select: it returns when the bell can be heard. One that never can is a livelock, which shuttle reports.
            if port.bell.load(Ordering::SeqCst) > 0 {
                heard.extend(port.take());
            } else {
                thread::yield_now();
            }
        }
        all(ringers);
        heard.sort_unstable();
        assert_eq!(heard, [0, 1, 10, 11, 20, 21]);
        assert!(port.rings.load(Ordering::SeqCst) <= 6);
    });
}

#[test]
fn a_send_that_succeeds_is_received_by_whoever_receives_to_the_end() {
    always(|| {
        let channel = Channel::new(&board(), "plates", 1);
        channel.send_now(1, None).unwrap();
        let (sends, receives) = (channel.clone(), channel.clone());
        let sender = thread::spawn(move || send(&sends, 2, None).is_ok());
        channel.close();
        let received = receive_all(&receives);
        assert_eq!(sender.join().unwrap(), received.contains(&2), "{received:?} {:?}", channel.view());
    });
}

#[test]
fn who_has_sent_once_can_send_again_though_the_last_sender_leaves_meanwhile() {
    always(|| {
        let channel = Channel::new(&board(), "plates", 9);
        let (sender, sends, owner) = (channel.sender().unwrap(), channel.clone(), Owner::fresh());
        let twice =
            thread::spawn(move || (1..3).map(|item| sends.send_now(item, Some(owner)).is_ok()).collect::<Vec<_>>());
        drop(sender);
        let twice = twice.join().unwrap();
        assert_eq!(twice[0], twice[1]);
    });
}
