//! Locks, semaphores, slots and turns against a model that is simple enough to be right: a list of who holds and a list of who waits.
//! Any sequence of asking, looking, giving up, leaving and ending is played on both, and after each step they agree.

#![cfg(test)]

#[path = "places/model.rs"]
mod model;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use labtether::clock::Clock;
use labtether::sync::board::{Block, Board, Kind, Want};
use labtether::sync::places::{Hold, Places, Wait};
use labtether::sync::{Owner, Step, Trouble};
use model::{Act, Held, Shelf, Stands, Waits, check_cycle, stuck};
use proptest::prelude::*;

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Pending {
    key: usize,
    owner: Owner,
    at: usize,
    block: Block,
    wait: Wait,
    stands: Stands,
    bell: Arc<Bell>,
    polled: bool,
}

struct Bench {
    board: Board,
    places: Vec<Arc<Places>>,
    shelves: Vec<Shelf>,
    owners: Vec<Owner>,
    pending: Vec<Pending>,
    holds: Vec<(usize, usize, Block, Hold)>,
    next: usize,
    /// The waits that the present step has granted.
    granted: Vec<usize>,
}

const TURN: usize = 4;

impl Bench {
    fn new() -> Bench {
        let board = Board::new(&Clock::paused().0);
        let names = ["A1", "A2", "A3"].map(Arc::from).to_vec();
        let places = vec![
            Places::lock(&board, "deck"),
            Places::lock(&board, "door"),
            Places::semaphore(&board, "pumps", 2),
            Places::slots(&board, "plates", names),
            Places::turn(&board, "scale"),
        ];
        let shelves = vec![
            Shelf::new(Kind::Lock, "lock deck", 1),
            Shelf::new(Kind::Lock, "lock door", 1),
            Shelf::new(Kind::Semaphore, "semaphore pumps", 2),
            Shelf::new(Kind::Slots, "slots plates", 3),
            Shelf::new(Kind::Turn, "a turn on scale", 1),
        ];
        let owners = (0..4).map(|_| Owner::fresh()).collect();
        let (pending, holds, granted) = Default::default();
        Bench { board, places, shelves, owners, pending, holds, next: 0, granted }
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// What `act` does, in the model and for real.
    fn play(&mut self, act: &Act) {
        // Who waits does nothing else meanwhile: that is what a task or a thread is.
        let idle = |bench: &Bench, who: usize| bench.pending.iter().all(|pending| pending.owner != bench.owners[who]);
        // And a block that is being entered is not left.
        let entered = |bench: &Bench, at, block| bench.pending.iter().all(|p| (p.at, p.block) != (at, block));
        match *act {
            Act::Ask { who, at, want, block, now } if idle(self, who) => {
                let want = if self.shelves[at].kind == Kind::Slots { want } else { Want::Any };
                match (at, now) {
                    (TURN, _) => self.ask_for_the_turn(self.owners[who]),
                    (_, true) => self.ask_now(self.owners[who], at, want, block),
                    (_, false) => self.ask(self.owners[who], at, want, block),
                }
            }
            Act::Leave { who, at, block } if at != TURN && idle(self, who) && entered(self, at, block) => {
                self.leave(self.owners[who], at, block)
            }
            Act::Poll(n) if n < self.pending.len() => self.poll(n),
            Act::Cancel { wait, dropped } if wait < self.pending.len() => {
                let mut gone = self.pending.remove(wait);
                match gone.stands {
                    Stands::Granted(hold, _, waited) => self.release(gone.at, hold, (!waited).then_some(gone.block)),
                    _ => self.shelves[gone.at].queue.retain(|waits| waits.wait != gone.key),
                }
                if dropped { drop(gone.wait) } else { gone.wait.cancel() }
            }
            Act::DropHold(n) if n < self.holds.len() => {
                let (at, hold, block, real) = self.holds.remove(n);
                self.release(at, hold, Some(block));
                drop(real);
            }
            Act::Keep(n) if n < self.holds.len() => self.holds.remove(n).3.keep(),
            Act::End(who) => self.end(who),
            _ => {}
        }
    }

    fn release(&mut self, at: usize, hold: usize, block: Option<Block>) {
        let next = self.number();
        let Some((wait, hold)) = self.shelves[at].release(hold, block, next) else { return };
        let place = self.shelves[at].held.last().unwrap().place;
        self.pending.iter_mut().find(|pending| pending.key == wait).unwrap().stands =
            Stands::Granted(hold, place, true);
        self.granted.push(wait);
    }

    /// What the model gives at once.
    fn take(&mut self, owner: Owner, at: usize, want: Want, block: Block) -> Option<(usize, u32)> {
        let next = self.number();
        let shelf = &mut self.shelves[at];
        if shelf.kind == Kind::Lock
            && let Some(held) = shelf.held.iter_mut().find(|held| held.owner == owner)
        {
            held.blocks.push(block);
            return Some((held.hold, held.place));
        }
        let place = shelf.free(want)?;
        shelf.held.push(Held { hold: next, owner, place, blocks: vec![block] });
        Some((next, place))
    }

    fn ask(&mut self, owner: Owner, at: usize, want: Want, block: Block) {
        let stands = match self.take(owner, at, want, block) {
            Some((hold, place)) => Stands::Granted(hold, place, false),
            None => Stands::Queued,
        };
        let answer = self.places[at].take(owner, want, block);
        self.enqueue((owner, at, want, block), stands, answer);
    }

    fn enqueue(&mut self, asked: (Owner, usize, Want, Block), stands: Stands, answer: Result<Wait, Trouble>) {
        let (owner, at, want, block) = asked;
        let asks = (stands == Stands::Queued).then_some((owner, at, want));
        let wait = match answer {
            Err(Trouble::Deadlock(cycle)) => {
                assert!(stuck(&self.shelves, asks).contains(&owner), "a false alarm: {cycle:?}");
                check_cycle(&self.shelves, &cycle, (owner, at, want));
                return;
            }
            answer => answer.unwrap(),
        };
        assert!(!stuck(&self.shelves, asks).contains(&owner), "a deadlock goes unseen");
        let key = self.number();
        if stands == Stands::Queued {
            self.shelves[at].queue.push(Waits { wait: key, owner, want, block });
        }
        self.pending.push(Pending { key, owner, at, block, wait, stands, bell: Arc::default(), polled: false });
    }

    fn ask_now(&mut self, owner: Owner, at: usize, want: Want, block: Block) {
        let real = self.places[at].take_now(owner, want, block);
        let taken = self.take(owner, at, want, block);
        assert_eq!(real.as_ref().map(Hold::place), taken.map(|(_, place)| place));
        self.holds.extend(real.zip(taken).map(|(real, (hold, _))| (at, hold, block, real)));
    }

    /// As a link does it: whoever finds it free has it, the others are written down.
    fn ask_for_the_turn(&mut self, owner: Owner) {
        if self.shelves[TURN].held.is_empty() {
            let hold = self.number();
            self.shelves[TURN].held.push(Held { hold, owner, place: 0, blocks: vec![0] });
            self.holds.push((TURN, hold, 0, self.places[TURN].mark(owner)));
        } else {
            let answer = self.places[TURN].wait_elsewhere(owner);
            self.enqueue((owner, TURN, Want::Any, 0), Stands::Queued, answer);
        }
    }

    fn poll(&mut self, n: usize) {
        let pending = &mut self.pending[n];
        let (owner, at, block, stands) = (pending.owner, pending.at, pending.block, pending.stands);
        pending.polled = true;
        let waker = Waker::from(pending.bell.clone());
        match (pending.wait.poll(&Context::from_waker(&waker)), stands) {
            (Poll::Pending, Stands::Queued) => {
                if at == TURN && self.shelves[TURN].held.is_empty() {
                    let pending = self.pending.remove(n);
                    self.shelves[TURN].queue.retain(|waits| waits.wait != pending.key);
                    drop(pending);
                    self.ask_for_the_turn(owner);
                }
            }
            (Poll::Ready(Ok((real, since))), Stands::Granted(hold, place, waited)) => {
                assert_eq!((real.place(), since.is_some()), (place, waited));
                self.pending.remove(n);
                self.holds.push((at, hold, block, real));
            }
            (Poll::Ready(Err(Trouble::Cancelled)), Stands::Void) => drop(self.pending.remove(n)),
            (polled, stands) => panic!("{polled:?} where the model says {stands:?}"),
        }
    }

    fn leave(&mut self, owner: Owner, at: usize, block: Block) {
        let left = self.shelves[at].left(owner, block);
        let not_held = Err(Trouble::NotHeld { what: self.shelves[at].name.to_owned() });
        assert_eq!(self.places[at].leave(owner, block), if left.is_some() { Ok(()) } else { not_held });
        left.flatten().into_iter().for_each(|(hold, block)| self.release(at, hold, Some(block)));
    }

    fn end(&mut self, who: usize) {
        let owner = std::mem::replace(&mut self.owners[who], Owner::fresh());
        self.shelves.iter_mut().for_each(|shelf| shelf.queue.retain(|waits| waits.owner != owner));
        for n in 0..self.pending.len() {
            let Pending { owner: whose, at, stands, .. } = self.pending[n];
            if whose == owner && !matches!(stands, Stands::Granted(_, _, false)) {
                self.pending[n].stands = Stands::Void;
            }
            if let Stands::Granted(hold, _, true) = stands
                && whose == owner
            {
                self.release(at, hold, None);
            }
        }
        for at in 0..self.shelves.len() {
            for Held { hold, blocks, .. } in
                self.shelves[at].held.clone().into_iter().filter(|held| held.owner == owner)
            {
                let orphans = &mut self.shelves[at].orphans;
                orphans.extend(blocks);
                // So many are remembered.
                orphans.drain(..orphans.len().saturating_sub(64));
                self.release(at, hold, None);
            }
        }
        self.board.let_go(owner);
    }

    /// The two agree, and exactly those were woken who were granted something.
    fn check(&mut self) {
        for (places, shelf) in self.places.iter().zip(&self.shelves) {
            let view = places.view();
            let held: Vec<_> = view.holders.iter().map(|held| (held.owner, held.place, held.blocks.clone())).collect();
            assert_eq!(
                held,
                shelf.held.iter().map(|held| (held.owner, held.place, held.blocks.clone())).collect::<Vec<_>>()
            );
            let waits: Vec<_> = view.waiters.iter().map(|(owner, want, _)| (*owner, *want)).collect();
            assert_eq!(waits, shelf.queue.iter().map(|waits| (waits.owner, waits.want)).collect::<Vec<_>>());
            assert_eq!(places.is_held(), !held.is_empty());
        }
        for pending in &self.pending {
            let woken = pending.polled && self.granted.contains(&pending.key);
            assert_eq!(pending.bell.0.swap(0, Ordering::SeqCst), usize::from(woken));
        }
        self.granted.clear();
        assert_eq!(stuck(&self.shelves, None), HashSet::new(), "nobody is ever stuck: who would be was refused");
    }

    /// Everybody ends, with their waits and holds still lying around: nothing is left, and every place can be taken again.
    fn finish(mut self) {
        for who in 0..self.owners.len() {
            self.end(who);
            self.check();
        }
        assert_eq!(self.board.count(), (0, 0));
        let mut late = std::mem::take(&mut self.pending);
        late.iter_mut().for_each(|pending| drop(pending.wait.poll(&Context::from_waker(Waker::noop()))));
        drop((late, std::mem::take(&mut self.holds)));
        assert_eq!(self.board.count(), (0, 0));
        let (last, places) = (Owner::fresh(), &self.places[..TURN]);
        let all = |places: &Arc<Places>| (0..places.view().size).map(|_| places.take_now(last, Want::Any, 0)).collect();
        let taken: Vec<Vec<Option<Hold>>> = places.iter().map(all).collect();
        assert!(taken.iter().flatten().all(Option::is_some));
        self.board.let_go(last);
    }
}

// -- The claims --------------------------------------------------------------------------------------------------------

fn play(acts: &[Act]) {
    let mut bench = Bench::new();
    for act in acts {
        bench.play(act);
        bench.check();
    }
    bench.finish();
}

fn want() -> impl Strategy<Value = Want> {
    prop_oneof![Just(Want::Any), (0..3_u32).prop_map(Want::This)]
}

fn ask() -> impl Strategy<Value = Act> {
    let asked = (0..4_usize, 0..5_usize, want(), 1..5_u64, proptest::bool::weighted(0.1));
    asked.prop_map(|(who, at, want, block, now)| Act::Ask { who, at, want, block, now })
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        16 => ask(),
        12 => (0..6_usize).prop_map(Act::Poll),
        4 => (0..6_usize, any::<bool>()).prop_map(|(wait, dropped)| Act::Cancel { wait, dropped }),
        6 => (0..8_usize).prop_map(Act::DropHold),
        6 => (0..8_usize).prop_map(Act::Keep),
        8 => (0..4_usize, 0..5_usize, 1..5_u64).prop_map(|(who, at, block)| Act::Leave { who, at, block }),
        2 => (0..4_usize).prop_map(Act::End),
    ]
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(1_500))]

    #[test]
    fn whatever_is_done_the_places_stand_as_in_the_model(acts in prop::collection::vec(act(), 1..80)) {
        play(&acts);
    }

    #[test]
    fn a_deadlock_is_refused_exactly_where_nobody_in_the_way_could_go_on(
        acts in prop::collection::vec(prop_oneof![8 => ask(), 2 => (0..3_usize).prop_map(Act::Poll), 2 => (0..4_usize).prop_map(Act::DropHold)], 30..90),
    ) {
        play(&acts);
    }
}

#[test]
fn a_ring_of_locks_is_refused_to_who_closes_it_with_every_step_named() {
    let board = Board::new(&Clock::paused().0);
    for length in 1..6 {
        let owners: Vec<_> = (0..length).map(|_| Owner::fresh()).collect();
        let plates: Vec<_> =
            (0..length).map(|n| Places::slots(&board, &n.to_string(), vec![Arc::from("A1")])).collect();
        let holds: Vec<_> =
            owners.iter().zip(&plates).map(|(owner, plate)| plate.take_now(*owner, Want::Any, 0)).collect();
        let mut waits = Vec::new();
        for n in 0..length - 1 {
            waits.push(plates[n + 1].take(owners[n], Want::This(0), 0).unwrap());
        }
        let Err(Trouble::Deadlock(cycle)) = plates[0].take(owners[length - 1], Want::Any, 0) else { panic!("unseen") };
        let expected = (0..length).map(|n| (n + length - 1) % length);
        let expected = expected.map(|n| Step { owner: owners[n], awaits: format!("slots {}", (n + 1) % length) });
        assert_eq!(cycle, expected.collect::<Vec<_>>());
        drop((waits, holds));
    }
    assert_eq!(board.count(), (0, 0));
}

#[test]
fn a_block_that_is_destroyed_late_does_not_give_back_what_the_next_owner_has() {
    let acts = [
        Act::Ask { who: 0, at: 0, want: Want::Any, block: 1, now: true },
        Act::Keep(0),
        Act::End(0),
        Act::Ask { who: 1, at: 0, want: Want::Any, block: 2, now: true },
        Act::Leave { who: 1, at: 0, block: 1 },
        Act::Ask { who: 2, at: 0, want: Want::Any, block: 3, now: false },
        Act::Poll(0),
    ];
    play(&acts);
}

#[test]
fn who_was_given_its_place_waits_for_nobody_any_more() {
    let board = Board::new(&Clock::paused().0);
    let (plates, lock) =
        (Places::slots(&board, "plates", ["A1", "A2"].map(Arc::from).to_vec()), Places::lock(&board, "deck"));
    let (other, asker, given) = (Owner::fresh(), Owner::fresh(), Owner::fresh());
    let first = plates.take_now(other, Want::Any, 0);
    let _second = plates.take_now(asker, Want::Any, 0);
    let _held = lock.take_now(given, Want::Any, 0);
    let _wait = plates.take(given, Want::Any, 0).unwrap();
    drop(first);
    assert!(lock.take(asker, Want::Any, 0).is_ok(), "it has a plate, and only has to look");
}
