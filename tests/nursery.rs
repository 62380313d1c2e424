//! Nothing outlives its scope (law 1), and no failure is silent (law 8): the nursery core, in virtual time.

#![cfg(test)]

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labtether::clock::{Clock, Moment};
use labtether::nursery::census::Census;
use labtether::nursery::outcome::{Ended, Fault, Outcome};
use labtether::nursery::{Nursery, Rules};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn open(rules: Rules) -> Nursery {
    let (clock, driver) = Clock::paused();
    tokio::spawn(driver);
    let census = Census::new(&clock);
    let (nursery, supervisor) = Nursery::open("run 7", &clock, &census, None, rules);
    tokio::spawn(supervisor.run());
    nursery
}

/// Counts itself out when it is dropped, however that comes about.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn among(count: &Arc<AtomicUsize>) -> Alive {
        count.fetch_add(1, Ordering::SeqCst);
        Alive(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn the_outcome_comes_after_the_last_childs_destructor() {
    let nursery = open(Rules::default());
    let alive = Arc::new(AtomicUsize::new(0));
    for n in 0..10 {
        let (alive, clock) = (Alive::among(&alive), nursery.clock().clone());
        let work = async move {
            clock.sleep(ms(n)).await;
            drop(alive);
            Ok(())
        };
        nursery.spawn("child", work, None).unwrap();
    }
    nursery.close();
    assert!(matches!(nursery.ended().await, Outcome::Ok));
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    assert_eq!(nursery.census().tree(), "");
}

#[tokio::test]
async fn nothing_is_started_in_a_nursery_that_has_ended() {
    let nursery = open(Rules::default());
    nursery.close();
    nursery.ended().await;
    let refused = nursery.spawn("late", async { Ok(()) }, None).unwrap_err();
    assert_eq!(refused.to_string(), "nursery run 7 has ended");
}

#[tokio::test]
async fn a_child_that_does_not_listen_is_dropped_after_the_grace_period() {
    let nursery = open(Rules { grace: ms(500), ..Rules::default() });
    let alive = Arc::new(AtomicUsize::new(0));
    let deaf = Alive::among(&alive);
    let deaf = async move {
        pending::<()>().await;
        drop(deaf);
        Ok(())
    };
    let ending = Arc::new(Mutex::new(None));
    let seen = ending.clone();
    let on_end = move |ended: &Ended| *seen.lock().unwrap() = Some(ended.clone());
    nursery.spawn("deaf", deaf, Some(Box::new(on_end))).unwrap();
    let told = nursery.clock().now();
    nursery.cancel("operator asked");
    let Outcome::Cancelled(reason) = nursery.ended().await else { panic!() };
    assert_eq!(&*reason, "operator asked");
    assert_eq!(nursery.clock().now().since(told), ms(500));
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    assert!(matches!(*ending.lock().unwrap(), Some(Ended::Aborted)));
}

#[tokio::test]
async fn a_child_that_listens_winds_up_in_its_own_time() {
    let nursery = open(Rules { grace: ms(500), ..Rules::default() });
    let (token, clock) = (nursery.token(), nursery.clock().clone());
    let parked = Arc::new(AtomicUsize::new(0));
    let parks = parked.clone();
    let work = async move {
        token.cancelled().await;
        clock.sleep(ms(300)).await;
        parks.store(1, Ordering::SeqCst);
        Ok(())
    };
    nursery.spawn("polite", work, None).unwrap();
    nursery.cancel("enough");
    nursery.ended().await;
    assert_eq!(parked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_first_failure_cancels_the_siblings_and_all_failures_are_reported() {
    let nursery = open(Rules::default());
    let fail = async { Err(Arc::new(io::Error::other("valve stuck")) as _) };
    let token = nursery.token();
    let fail_on_the_way_out = async move {
        token.cancelled().await;
        Err(Arc::new(io::Error::other("pump stuck")) as _)
    };
    nursery.spawn("pump", fail_on_the_way_out, None).unwrap();
    nursery.spawn("valve", fail, None).unwrap();
    let Outcome::Failed(failures) = nursery.ended().await else { panic!() };
    let failures: Vec<String> = failures.iter().map(|f| format!("{}: {}", f.child, f.fault)).collect();
    assert_eq!(failures, ["valve: valve stuck", "pump: pump stuck"]);
}

#[tokio::test]
async fn a_panic_is_a_failure_with_its_childs_name() {
    let nursery = open(Rules::default());
    nursery.spawn("careless", async { panic!("divided by zero volts") }, None).unwrap();
    let Outcome::Failed(failures) = nursery.ended().await else { panic!() };
    assert_eq!(&*failures[0].child, "careless");
    assert!(matches!(&failures[0].fault, Fault::Panic(message) if message == "divided by zero volts"));
}

#[tokio::test]
async fn where_children_are_strangers_one_failure_leaves_the_others_alone() {
    let nursery = open(Rules { stays: false, together: false, ..Rules::default() });
    nursery.spawn("careless", async { panic!("not mine") }, None).unwrap();
    let (clock, done) = (nursery.clock().clone(), Arc::new(AtomicUsize::new(0)));
    let finish = done.clone();
    let work = async move {
        clock.sleep(ms(100)).await;
        finish.store(1, Ordering::SeqCst);
        Ok(())
    };
    nursery.spawn("careful", work, None).unwrap();
    nursery.close();
    nursery.ended().await;
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_deadline_cancels_and_the_outcome_says_so() {
    let (clock, driver) = Clock::paused();
    tokio::spawn(driver);
    let census = Census::new(&clock);
    let deadline = clock.now() + Duration::from_secs(600);
    let rules = Rules { deadline, grace: ms(10), stays: false, together: true };
    let (nursery, supervisor) = Nursery::open("run", &clock, &census, None, rules);
    tokio::spawn(supervisor.run());
    nursery.spawn("slow", pending(), None).unwrap();
    let Outcome::Cancelled(reason) = nursery.ended().await else { panic!() };
    assert_eq!(&*reason, "its deadline passed");
    assert_eq!(clock.now(), deadline + ms(10));
}

#[tokio::test]
async fn cancelling_the_outer_reaches_the_innermost_before_the_outer_ends() {
    let outer = open(Rules::default());
    let rules = Rules::default();
    let (inner, supervisor) = Nursery::open("inner", outer.clock(), outer.census(), Some(&outer), rules);
    let supervise = async {
        supervisor.run().await;
        Ok(())
    };
    outer.spawn("inner", supervise, None).unwrap();
    let token = inner.token();
    let alive = Arc::new(AtomicUsize::new(0));
    let leaf = Alive::among(&alive);
    let work = async move {
        token.cancelled().await;
        drop(leaf);
        Ok(())
    };
    inner.spawn("leaf", work, None).unwrap();
    // The census shows the tree while it stands.
    let tree = outer.census().tree();
    assert!(
        tree.starts_with("nursery run 7") && tree.contains("\n  nursery inner") && tree.contains("\n    task leaf"),
        "{tree}"
    );
    outer.cancel("operator asked");
    outer.ended().await;
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    assert_eq!(outer.census().tree(), "");
}

#[tokio::test]
async fn a_timer_never_fires_early_and_can_be_moved_both_ways() {
    let (clock, driver) = Clock::paused();
    tokio::spawn(driver);
    for clock in [clock, Clock::real()] {
        let began = clock.now();
        let mut timer = clock.timer();
        timer.set(began + Duration::from_secs(3600));
        let early = clock.until(began + ms(20), std::future::poll_fn(|cx| timer.poll_expired(cx))).await;
        assert!(early.is_none());
        timer.set(clock.now() + ms(30));
        let moved = clock.now();
        std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
        assert!(clock.now().since(moved) >= ms(30));
        timer.set(Moment::NEVER);
        assert!(clock.until(clock.now() + ms(10), std::future::poll_fn(|cx| timer.poll_expired(cx))).await.is_none());
    }
}

#[tokio::test]
async fn a_paused_clock_stands_still_while_somebody_is_busy() {
    let (clock, driver) = Clock::paused();
    tokio::spawn(driver);
    let began = clock.now();
    let busy = clock.busy();
    let sleeper = {
        let clock = clock.clone();
        tokio::spawn(async move { clock.sleep(ms(1000)).await })
    };
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(clock.now(), began);
    drop(busy);
    sleeper.await.unwrap();
    assert_eq!(clock.now().since(began), ms(1000));
}
