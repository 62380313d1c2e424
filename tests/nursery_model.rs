//! Trees of nurseries against a model: children that finish, fail, panic, do not listen, start others; cancels with patience and grace;
//! deadlines. In virtual time, so that the model says not only how each of them ends but when.

#![cfg(test)]

#[path = "nursery_model/model.rs"]
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labtether::clock::{Clock, Moment};
use labtether::nursery::census::Census;
use labtether::nursery::outcome::{Ended, Outcome};
use labtether::nursery::{Finish, Nursery, NurseryEnded, Rules, Supervisor};
use model::{End, Life, Scope, Verdict, foretell};
use proptest::prelude::*;

fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

/// What really happened.
struct World {
    plan: Vec<Scope>,
    began: Moment,
    clock: Clock,
    census: Census,
    nurseries: Vec<Nursery>,
    /// How many works of each nursery exist, running or not.
    works: Vec<AtomicUsize>,
    over: Vec<AtomicBool>,
    ends: Mutex<Vec<(String, &'static str, u64)>>,
    started: Mutex<BTreeSet<String>>,
    accepted: AtomicUsize,
}

/// Counts itself out when its work is dropped, however that comes about.
struct Counted(Arc<World>, usize);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.works[self.1].fetch_sub(1, Ordering::SeqCst);
    }
}

impl World {
    fn elapsed(&self) -> u64 {
        self.clock.now().since(self.began).as_micros() as u64
    }

    fn spawn<F>(self: &Arc<World>, at: usize, name: String, work: F) -> Result<(), NurseryEnded>
    where
        F: Future<Output = Finish> + Send + 'static,
    {
        self.works[at].fetch_add(1, Ordering::SeqCst);
        let (counted, world, ending) = (Counted(self.clone(), at), self.clone(), self.clone());
        let (known, ended) = (name.clone(), name.clone());
        let work = async move {
            let counted = counted;
            assert!(!world.over[at].load(Ordering::SeqCst), "{known} is started after its nursery has ended");
            world.started.lock().unwrap().insert(known);
            let finish = work.await;
            drop(counted);
            finish
        };
        let on_end = move |how: &Ended| {
            assert!(!ending.over[at].load(Ordering::SeqCst), "{ended} ends after its nursery");
            let how = match how {
                Ended::Done => "done",
                Ended::Failed(_) => "failed",
                Ended::Aborted => "aborted",
            };
            let when = ending.elapsed();
            ending.ends.lock().unwrap().push((ended, how, when));
        };
        self.nurseries[at].spawn(&name, work, Some(Box::new(on_end)))?;
        self.accepted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Of a nursery that has ended nothing is left, nor of those inside it: no work, no entry in the census.
    fn check_gone(&self, at: usize) {
        assert_eq!(self.works[at].load(Ordering::SeqCst), 0, "a work outlives nursery {at}");
        let id = self.nurseries[at].id();
        let left: Vec<_> =
            self.census.alive().into_iter().filter(|entry| entry.id == id || entry.parent == Some(id)).collect();
        assert!(left.is_empty(), "{left:?}");
        (0..self.plan.len())
            .filter(|inner| self.plan[*inner].parent == Some(at))
            .for_each(|inner| self.check_gone(inner));
    }
}

fn live(world: &Arc<World>, at: usize, name: &str, life: Life) -> Result<(), NurseryEnded> {
    let (world, known, this) = (world.clone(), name.to_owned(), world.clone());
    let work = async move {
        let (clock, token) = (&world.clock, world.nurseries[at].token());
        let due = clock.now() + us(life.after);
        match life.lingers {
            None => clock.sleep_until(due).await,
            Some(lingers) => tokio::select! {
                () = token.cancelled() => clock.sleep(us(lingers)).await,
                () = clock.sleep_until(due) => {}
            },
        }
        match life.end {
            End::Done => {}
            End::Fails => return Err(Arc::new(io::Error::other("stuck")) as _),
            // Without the hook, which would print a backtrace each time.
            End::Panics => std::panic::resume_unwind(Box::new("stuck")),
            End::Starts(next, more) => {
                live(&world, at, &format!("{known}+"), *next).expect("it has a child that lives");
                clock.sleep(us(more)).await;
            }
        }
        Ok(())
    };
    this.spawn(at, name.to_owned(), work)
}

async fn supervise(world: Arc<World>, at: usize, supervisor: Supervisor) -> Finish {
    let outcome = supervisor.run().await;
    world.check_gone(at);
    assert!(!world.over[at].swap(true, Ordering::SeqCst));
    match outcome {
        Outcome::Failed(_) => Err(Arc::new(io::Error::other("inside")) as _),
        _ => Ok(()),
    }
}

fn in_words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Ok => "ok".to_owned(),
        Outcome::Cancelled(reason) => format!("cancelled: {reason}"),
        Outcome::Failed(failures) => {
            let names: Vec<_> = failures.iter().map(|failure| &*failure.child).collect();
            format!("failed: {}", names.join(", "))
        }
    }
}

async fn play(plan: Vec<Scope>) {
    let forecast = foretell(&plan);
    if forecast.unclear {
        return;
    }
    let (clock, driver) = Clock::paused();
    let (began, census) = (clock.now(), Census::new(&clock));
    let (mut nurseries, mut supervisors) = (Vec::<Nursery>::new(), Vec::new());
    for (at, scope) in plan.iter().enumerate() {
        let deadline = scope.deadline.map_or(Moment::NEVER, |deadline| began + us(deadline));
        let rules = Rules { deadline, grace: us(scope.grace), stays: false, together: scope.together };
        let parent = scope.parent.map(|parent| &nurseries[parent]);
        let (nursery, supervisor) = Nursery::open(&format!("n{at}"), &clock, &census, parent, rules);
        nurseries.push(nursery);
        supervisors.push(supervisor);
    }
    let works = plan.iter().map(|_| AtomicUsize::new(0)).collect();
    let over = plan.iter().map(|_| AtomicBool::new(false)).collect();
    let (ends, started, accepted) = Default::default();
    let world = Arc::new(World { plan, began, clock, census, nurseries, works, over, ends, started, accepted });
    let mut watchers = Vec::new();
    for (at, supervisor) in supervisors.into_iter().enumerate() {
        let supervise = supervise(world.clone(), at, supervisor);
        match world.plan[at].parent {
            Some(parent) => world.spawn(parent, format!("scope {at}"), supervise).unwrap(),
            None => drop(tokio::spawn(supervise)),
        }
        for (n, life) in world.plan[at].children.iter().enumerate() {
            live(&world, at, &format!("{at}.{n}"), life.clone()).unwrap();
        }
        drop(tokio::spawn(steer(world.clone(), at)));
        watchers.push(tokio::spawn(watch(world.clone(), at)));
    }
    let at_once = world.plan.iter().zip(&world.nurseries).filter(|(scope, _)| scope.closes == 0);
    at_once.for_each(|(_, nursery)| nursery.close());
    tokio::spawn(driver);
    let mut verdicts = Vec::new();
    for watcher in watchers {
        verdicts.push(watcher.await.unwrap());
    }
    assert_eq!(verdicts, forecast.verdicts);
    let ends = world.ends.lock().unwrap().clone();
    assert_eq!(ends.len(), world.accepted.load(Ordering::SeqCst), "each child that was accepted ends once");
    let ends: BTreeMap<_, _> = ends.into_iter().map(|(name, how, when)| (name, (how, when))).collect();
    assert_eq!(ends, forecast.ends);
    assert_eq!(*world.started.lock().unwrap(), forecast.started);
    for at in 0..world.plan.len() {
        assert!(world.spawn(at, "late".to_owned(), async { Ok(()) }).is_err());
    }
    assert_eq!(world.census.tree(), "");
}

/// Closes and cancels a nursery when that is due.
async fn steer(world: Arc<World>, at: usize) {
    let scope = &world.plan[at];
    let mut due: Vec<_> = scope.cancels.iter().map(|cancel| (cancel.0, Some(*cancel))).collect();
    due.extend((scope.closes > 0).then_some((scope.closes, None)));
    due.sort_unstable();
    for (when, cancel) in due {
        world.clock.sleep_until(world.began + us(when)).await;
        match cancel {
            Some((_, patience, grace)) => {
                world.nurseries[at].cancel_after(&format!("cancel {when}"), us(patience), us(grace));
            }
            None => world.nurseries[at].close(),
        }
    }
}

async fn watch(world: Arc<World>, at: usize) -> Verdict {
    let enforced = tokio::spawn({
        let world = world.clone();
        async move {
            world.nurseries[at].enforced().await;
            world.elapsed()
        }
    });
    let outcome = in_words(world.nurseries[at].ended().await);
    let ended = world.elapsed();
    world.check_gone(at);
    // Late cancels are noted too; then all is told.
    let enforced = world.clock.until(world.began + Duration::from_secs(10), enforced).await;
    Verdict { outcome, ended, enforced: enforced.map(Result::unwrap) }
}

// -- The claims --------------------------------------------------------------------------------------------------------

const WHILE: std::ops::Range<u64> = 1..60_000;

fn life() -> impl Strategy<Value = Life> {
    let plain = || prop_oneof![3 => Just(End::Done), 1 => Just(End::Fails), 1 => Just(End::Panics)];
    let lived = |end| {
        (1..200_000_u64, proptest::option::of(WHILE), end).prop_map(|(after, lingers, end)| Life {
            after,
            lingers,
            end,
        })
    };
    let starts = (lived(plain().boxed()), WHILE).prop_map(|(next, more)| End::Starts(Box::new(next), more));
    prop_oneof![5 => lived(plain().boxed()), 1 => lived(starts.boxed())]
}

fn cancel() -> impl Strategy<Value = (u64, u64, u64)> {
    (1..200_000_u64, 0..50_000_u64, 0..30_000_u64)
}

fn scope() -> impl Strategy<Value = (Scope, usize)> {
    let deadline = proptest::option::weighted(0.2, 1..300_000_u64);
    let closes = prop_oneof![3 => Just(0), 1 => 1..300_000_u64];
    let cancels = prop::collection::vec(cancel(), 0..2);
    let children = prop::collection::vec(life(), 0..4);
    let together = proptest::bool::weighted(0.8);
    (0..30_000_u64, deadline, together, closes, cancels, children, any::<usize>()).prop_map(
        |(grace, deadline, together, closes, cancels, children, parent)| {
            (Scope { parent: None, grace, deadline, together, closes, cancels, children }, parent)
        },
    )
}

/// An inner nursery has less grace than the one around it, by more than anybody's patience.
fn plan() -> impl Strategy<Value = Vec<Scope>> {
    prop::collection::vec(scope(), 1..5).prop_map(|scopes| {
        let mut plan: Vec<Scope> = Vec::new();
        let mut depths = Vec::new();
        for (at, (mut scope, parent)) in scopes.into_iter().enumerate() {
            scope.parent = (at > 0).then(|| parent % at.max(1));
            let depth = scope.parent.map_or(0, |parent| depths[parent] + 1);
            let least = (4 - depth) * 100_000;
            scope.grace += least;
            scope.cancels.iter_mut().for_each(|cancel| cancel.2 += least);
            depths.push(depth);
            plan.push(scope);
        }
        plan
    })
}

fn run(plan: Vec<Scope>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // Joined and not awaited in place: a panic that unwinds through `block_on` would spoil the thread for the cases after it.
    let played = runtime.block_on(async { tokio::spawn(play(plan)).await });
    played.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_nursery_ends_how_and_when_the_model_says_and_leaves_nothing(plan in plan()) {
        run(plan);
    }
}

#[test]
fn a_failure_three_scopes_deep_cancels_all_of_them_one_after_the_other() {
    let life = |after, lingers, end| Life { after, lingers, end };
    let scope = |parent, child| Scope {
        parent,
        grace: 500_000,
        deadline: None,
        together: true,
        closes: 0,
        cancels: Vec::new(),
        children: vec![child],
    };
    let plan = vec![
        scope(None, life(900_000, Some(30), End::Done)),
        scope(Some(0), life(900_000, Some(20), End::Fails)),
        scope(Some(1), life(5, None, End::Panics)),
    ];
    let outcomes: Vec<_> =
        foretell(&plan).verdicts.into_iter().map(|verdict| (verdict.outcome, verdict.ended)).collect();
    let expected = [("failed: scope 1", 55), ("failed: scope 2, 1.0", 25), ("failed: 2.0", 5)];
    assert_eq!(outcomes, expected.map(|(outcome, ended)| (outcome.to_owned(), ended)));
    run(plan);
}
