//! Channels against a model: a list of what lies in it in order of being sent, one of those that want to send and one of those that
//! want to receive. Any sequence of sending, receiving, looking, giving up, closing and ending is played on both.

#![cfg(test)]

#[path = "channel/model.rs"]
mod model;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use labtether::clock::Clock;
use labtether::sync::board::Board;
use labtether::sync::channel::{Channel, Receive, Sender, Sending};
use labtether::sync::{Owner, Trouble};
use model::Model;
use proptest::prelude::*;

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// One item; how many there are in the world is counted, so that none is lost or doubled by accident.
#[derive(Debug)]
struct Item(usize, #[expect(dead_code, reason = "its count is what matters")] Arc<()>);

#[derive(Clone, Debug)]
enum Act {
    Send { by: Option<usize> },
    SendNow { by: Option<usize> },
    PollSend(usize),
    TakeBack(usize),
    DropSend(usize),
    Receive,
    ReceiveNow,
    PollReceive(usize),
    CancelReceive { wait: usize, dropped: bool },
    MakeSender,
    DropSender(usize),
    OwnerEnds(usize),
    Close,
}

/// A wait, how often it was woken, and whether it was looked at in vain.
struct Wait<T> {
    key: usize,
    real: T,
    bell: Arc<Bell>,
    asleep: bool,
}

impl<T> Wait<T> {
    fn new(key: usize, real: T) -> Wait<T> {
        Wait { key, real, bell: Arc::default(), asleep: false }
    }

    fn poll<R>(&mut self, poll: impl FnOnce(&mut T, &Context<'_>) -> Poll<R>) -> Poll<R> {
        self.bell.0.store(0, Ordering::SeqCst);
        let waker = Waker::from(self.bell.clone());
        let polled = poll(&mut self.real, &Context::from_waker(&waker));
        self.asleep = polled.is_pending();
        polled
    }

    fn was_woken(&self) -> bool {
        !self.asleep || self.bell.0.load(Ordering::SeqCst) > 0
    }
}

struct Bench {
    board: Board,
    real: Arc<Channel<Item>>,
    model: Model,
    owners: Vec<Owner>,
    sending: Vec<Wait<Sending<Item>>>,
    receiving: Vec<Wait<Receive<Item>>>,
    senders: Vec<Sender<Item>>,
    next: usize,
    alive: Arc<()>,
}

impl Bench {
    fn new(capacity: usize) -> Bench {
        let board = Board::new(&Clock::paused().0);
        let real = Channel::new(&board, "plates", capacity);
        let model = Model { capacity, ..Model::default() };
        let owners = (0..3).map(|_| Owner::fresh()).collect();
        let (sending, receiving, senders, alive) = Default::default();
        Bench { board, real, model, owners, sending, receiving, senders, next: 0, alive }
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn item(&mut self) -> Item {
        Item(self.number(), self.alive.clone())
    }

    fn note_sender(&mut self, by: Option<usize>) {
        self.model.owners.extend(by);
    }

    fn play(&mut self, act: &Act) {
        match *act {
            Act::Send { by } => {
                let item = self.item();
                let key = item.0;
                match self.real.send(item, by.map(|by| self.owners[by])) {
                    Ok(real) => {
                        assert!(!self.model.ended);
                        self.note_sender(by);
                        self.model.offered.insert(key);
                        self.model.settle();
                        // What had room at once is sent, whatever becomes of the wait.
                        self.sending.push(Wait::new(key, real));
                        if self.model.is_in(key) {
                            self.poll_send(self.sending.len() - 1);
                        }
                    }
                    Err((item, trouble)) => {
                        assert!(self.model.ended && matches!(trouble, Trouble::Closed { .. }) && item.0 == key);
                    }
                }
            }
            Act::SendNow { by } => {
                let item = self.item();
                let key = item.0;
                match self
                    .real
                    .send_now(item, by.map(|by| self.owners[by]))
                    .map_err(|(item, trouble)| (item.0, trouble))
                {
                    Ok(()) => {
                        assert!(!self.model.ended && self.model.room());
                        self.note_sender(by);
                        self.model.offered.insert(key);
                        self.model.settle();
                    }
                    Err((back, Trouble::Closed { .. })) => assert!(self.model.ended && back == key),
                    Err((back, trouble)) => {
                        assert!(matches!(trouble, Trouble::Full { .. }) && !self.model.room() && back == key);
                        self.note_sender(by);
                    }
                }
            }
            Act::PollSend(n) if n < self.sending.len() => self.poll_send(n),
            Act::TakeBack(n) if n < self.sending.len() => {
                let mut wait = self.sending.remove(n);
                let back = wait.real.take_back().map(|item| item.0);
                assert_eq!(back, self.take_back(wait.key));
            }
            Act::DropSend(n) if n < self.sending.len() => {
                let wait = self.sending.remove(n);
                drop(wait.real);
                self.take_back(wait.key);
            }
            Act::Receive => {
                let (key, real) = (self.number(), self.real.receive());
                self.receiving.push(Wait::new(key, real));
            }
            Act::ReceiveNow => {
                let real = self.real.receive_now().map(|item| item.0);
                match (real, self.model.next()) {
                    (Ok(item), Some(Ok(expected))) => assert_eq!(item, expected),
                    (Err(Trouble::Closed { .. }), Some(Err(()))) | (Err(Trouble::Empty { .. }), None) => {}
                    unlike => panic!("{unlike:?}"),
                }
            }
            Act::PollReceive(n) if n < self.receiving.len() => self.poll_receive(n),
            Act::CancelReceive { wait, dropped } if wait < self.receiving.len() => {
                let mut wait = self.receiving.remove(wait);
                let given = self.model.waits.remove(&wait.key).flatten();
                self.model.lies.extend(given);
                self.model.settle();
                if dropped { drop(wait.real) } else { wait.real.cancel() }
            }
            Act::MakeSender => match self.real.sender() {
                Ok(sender) => {
                    assert!(!self.model.ended);
                    self.model.senders += 1;
                    self.senders.push(sender);
                }
                Err(trouble) => assert!(self.model.ended && matches!(trouble, Trouble::Closed { .. })),
            },
            Act::DropSender(n) if n < self.senders.len() => {
                drop(self.senders.remove(n));
                self.model.senders -= 1;
                self.model.end_if_nobody_sends();
            }
            Act::OwnerEnds(who) => {
                self.board.let_go(std::mem::replace(&mut self.owners[who], Owner::fresh()));
                if self.model.owners.remove(&who) {
                    self.model.end_if_nobody_sends();
                }
            }
            Act::Close => {
                self.real.close();
                self.model.ended = true;
            }
            _ => {}
        }
    }

    fn poll_send(&mut self, n: usize) {
        let wait = &mut self.sending[n];
        let is_in = wait.poll(Sending::poll).is_ready();
        assert_eq!(is_in, self.model.is_in(wait.key));
        if is_in {
            drop(self.sending.remove(n));
        }
    }

    fn take_back(&mut self, key: usize) -> Option<usize> {
        let back = self.model.offered.take(&key).or_else(|| self.model.lies.take(&key));
        self.model.taken_back.extend(back);
        self.model.settle();
        back
    }

    fn poll_receive(&mut self, n: usize) {
        let wait = &mut self.receiving[n];
        let key = wait.key;
        let polled = wait.poll(Receive::poll).map_ok(|item| item.0);
        let known = self.model.waits.get(&key).copied().flatten();
        let expected = match known {
            Some(given) => {
                self.model.received.push(given);
                Some(Ok(given))
            }
            // Behind those that wait already, for there is nothing.
            None => self.model.next(),
        };
        match (polled, expected) {
            (Poll::Pending, None) => {
                self.model.waits.entry(key).or_insert(None);
                self.model.settle();
                return;
            }
            (Poll::Ready(Ok(item)), Some(Ok(expected))) => assert_eq!(item, expected),
            (Poll::Ready(Err(Trouble::Closed { .. })), Some(Err(()))) => {}
            unlike => panic!("{unlike:?}"),
        }
        self.model.waits.remove(&key);
        drop(self.receiving.remove(n));
    }

    fn check(&self) {
        let (view, model) = (self.real.view(), &self.model);
        let given: Vec<usize> = model.waits.values().copied().flatten().collect();
        assert_eq!(view.used, model.lies.len() + given.len());
        assert_eq!(view.sending, model.offered.len());
        assert_eq!(view.receiving, model.waits.len() - given.len());
        assert_eq!(view.senders, model.senders + model.owners.len());
        assert_eq!(view.ended.is_some(), model.ended);
        assert_eq!(view.counts.received, model.received.len() as u64);
        assert_eq!(view.counts.sent as usize, model.received.len() + model.lies.len() + given.len());
        let mut seen = Vec::new();
        self.real.each(|item| seen.push(item.0));
        let lies: Vec<usize> = model.lies.iter().chain(&model.offered).copied().chain(given).collect();
        assert_eq!(seen, lies);
        assert_eq!(Arc::strong_count(&self.alive) - 1, lies.len(), "an item lives on elsewhere, or was dropped");
        // No wake-up is lost: who would be ready now has been woken since it last looked.
        for wait in &self.sending {
            assert!(wait.was_woken() || !model.is_in(wait.key), "{} is in, and its sender sleeps", wait.key);
        }
        for wait in &self.receiving {
            let given = model.waits.get(&wait.key).copied().flatten();
            assert!(wait.was_woken() || given.is_none() && !model.is_over(), "a receiver sleeps over {given:?}");
        }
    }

    /// It is closed; what was sent before comes out, and then the end, for everybody.
    fn finish(mut self) {
        self.real.close();
        self.model.ended = true;
        while !self.receiving.is_empty() {
            self.poll_receive(0);
            self.check();
        }
        while let Ok(item) = self.real.receive_now() {
            assert_eq!(self.model.next(), Some(Ok(item.0)));
            drop(item);
            self.check();
        }
        while !self.sending.is_empty() {
            self.poll_send(0);
        }
        assert!(self.model.is_over());
        assert!(self.model.taken_back.is_disjoint(&self.model.received.iter().copied().collect()));
        let once: BTreeSet<usize> = self.model.received.iter().copied().collect();
        assert_eq!(once.len(), self.model.received.len(), "something was received twice");
    }
}

// -- The claims --------------------------------------------------------------------------------------------------------

fn act() -> impl Strategy<Value = Act> {
    let by = || proptest::option::of(0..3_usize);
    prop_oneof![
        6 => by().prop_map(|by| Act::Send { by }),
        4 => by().prop_map(|by| Act::SendNow { by }),
        5 => (0..5_usize).prop_map(Act::PollSend),
        1 => (0..5_usize).prop_map(Act::TakeBack),
        1 => (0..5_usize).prop_map(Act::DropSend),
        4 => Just(Act::Receive),
        2 => Just(Act::ReceiveNow),
        8 => (0..5_usize).prop_map(Act::PollReceive),
        3 => (0..5_usize, any::<bool>()).prop_map(|(wait, dropped)| Act::CancelReceive { wait, dropped }),
        1 => Just(Act::MakeSender),
        1 => (0..3_usize).prop_map(Act::DropSender),
        1 => (0..3_usize).prop_map(Act::OwnerEnds),
    ]
}

fn play(capacity: usize, acts: &[Act]) {
    let mut bench = Bench::new(capacity);
    for act in acts {
        bench.play(act);
        bench.check();
    }
    bench.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_a_channel_stands_as_in_the_model(
        capacity in 0..4_usize,
        acts in prop::collection::vec(act(), 1..80),
        close in any::<prop::sample::Index>(),
    ) {
        let mut acts = acts;
        acts.insert(close.index(acts.len() + 1), Act::Close);
        play(capacity, &acts);
        acts.retain(|act| !matches!(act, Act::Close));
        play(capacity, &acts);
    }
}

#[test]
fn what_a_cancelled_receive_was_given_comes_out_before_what_was_sent_later() {
    let board = Board::new(&Clock::paused().0);
    let channel = Channel::new(&board, "plates", 1);
    let mut first = channel.receive();
    let cx = Context::from_waker(Waker::noop());
    assert!(first.poll(&cx).is_pending());
    channel.send_now(1, None).unwrap();
    channel.send_now(2, None).unwrap();
    first.cancel();
    assert_eq!((channel.receive_now(), channel.receive_now()), (Ok(1), Ok(2)));
}
