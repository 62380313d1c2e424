//! A port that goes and comes back, in virtual time: what fails, what waits, what is asked again, who is told, and when it is tried (laws 3 to 6).

#![cfg(test)]

mod common;

use bytes::Bytes;
use common::asking::{asks, cancelled, cancels, halt, is_pending, numbered, pattern, poll, question, receive};
use common::plug::{Plug, plugged};
use common::{Rig, SOON, kind, lines, ms, query, send, text, wait};
use labtether::clock::Moment;
use labtether::error::{Effect, LinkError};
use labtether::link::Config;
use labtether::link::feed::Feed;
use labtether::link::job::{Ending, Poll, Request, Task, Want, What};
use labtether::link::question::Question;
use labtether::link::rules::{IdOf, Reconnect, Resync};
use labtether::link::ticket::{Answer, Ticket, next_id};
use std::sync::Arc;
use std::time::Duration;

async fn with(change: impl FnOnce(&mut Config)) -> (Rig, Plug) {
    let (link, bench, plug, place) = plugged(4096, Some(lines()), |config| {
        let (first, limit) = (ms(100), ms(1000));
        config.rules.reconnect = Some(Reconnect { first, factor: 2.0, limit, give_up: None });
        change(config);
    })
    .await;
    (Rig { link, bench, place }, plug)
}

async fn open() -> (Rig, Plug) {
    with(|_| {}).await
}

impl Rig {
    /// The cable is pulled out.
    fn goes(&mut self, plug: &Plug) {
        // What is plugged into nothing leads nowhere.
        let unused = Plug::new(self.clock()).gives(1);
        drop(std::mem::replace(&mut self.bench, unused));
        drop(plug.tried());
    }

    /// It is plugged in again, and found.
    async fn comes_back(&mut self, plug: &Plug) {
        self.bench = plug.gives(4096);
        while self.link.state() != "open" {
            self.bench.pause(ms(1)).await;
        }
    }
}

async fn is_lost(ticket: &mut Ticket) {
    let verdict = wait(ticket).await;
    assert_eq!(kind(&verdict), "lost", "{verdict:?}");
}

fn idempotent(command: &str) -> What {
    asks(Question { idempotent: true, ..question(command) })
}

#[tokio::test]
async fn what_was_in_flight_fails_and_what_waited_is_asked_on_the_new_connection() {
    let (mut rig, plug) = open().await;
    let mut asked = rig.query("MOVE", SOON);
    let mut waited = rig.query("NEXT", SOON);
    let mut note = rig.ask(send("NOTE", false), SOON);
    assert_eq!(rig.bench.hear().await, "MOVE");
    rig.goes(&plug);
    is_lost(&mut asked).await;
    assert_eq!(rig.link.state(), "reconnecting");
    let mut later = rig.query("LATER", SOON);
    rig.bench.pause(ms(500)).await;
    assert!(is_pending(&mut waited) && is_pending(&mut later));
    rig.comes_back(&plug).await;
    rig.bench.answers("NEXT", "next").await;
    assert_eq!(rig.bench.hear().await, "NOTE");
    rig.bench.answers("LATER", "later").await;
    assert_eq!(text(wait(&mut waited).await.unwrap()), "next");
    assert_eq!(text(wait(&mut later).await.unwrap()), "later");
    wait(&mut note).await.unwrap();
    rig.is_in_step().await;
}

#[tokio::test]
async fn what_cannot_wait_fails_at_once_while_away() {
    let (mut rig, plug) = open().await;
    let mut before = rig.ask(receive(None), SOON);
    rig.goes(&plug);
    is_lost(&mut before).await;
    let began = rig.clock().now();
    for what in
        [send("STOP", true), receive(None), What::Read(Want::Some(1)), What::Control(Task::Drain), What::Discard]
    {
        is_lost(&mut rig.ask(what, SOON)).await;
    }
    assert_eq!(rig.clock().now(), began);
}

#[tokio::test]
async fn who_would_not_wait_so_long_for_his_turn_is_told_why_there_is_none() {
    let (mut rig, plug) = open().await;
    rig.goes(&plug);
    rig.bench.pause(ms(1)).await;
    let began = rig.clock().now();
    let mut brief = rig.link.ask(query("BRIEF"), None, SOON, ms(300), rig.clock());
    is_lost(&mut brief).await;
    assert_eq!(rig.clock().now().since(began), ms(300));
    // And who leaves has started nothing.
    let mut left = rig.query("LEFT", SOON);
    assert_eq!(cancelled(&mut left).await, Effect::NeverStarted);
    rig.comes_back(&plug).await;
    rig.is_in_step().await;
}

#[tokio::test]
async fn what_may_be_repeated_is_asked_once_on_each_connection() {
    let (mut rig, plug) = open().await;
    let mut asked = rig.ask(idempotent("STATUS"), SOON);
    let mut behind = rig.query("NEXT", SOON);
    assert_eq!(rig.bench.hear().await, "STATUS");
    for _ in 0..3 {
        rig.goes(&plug);
        rig.bench.pause(ms(500)).await;
        assert!(is_pending(&mut asked));
        rig.comes_back(&plug).await;
        assert_eq!(rig.bench.hear().await, "STATUS");
        rig.bench.hears_nothing(ms(100)).await;
    }
    rig.bench.say("idle\n").await;
    assert_eq!(text(wait(&mut asked).await.unwrap()), "idle");
    rig.bench.answers("NEXT", "next").await;
    assert_eq!(text(wait(&mut behind).await.unwrap()), "next");
    rig.is_in_step().await;
}

#[tokio::test]
async fn what_may_be_repeated_and_was_left_is_not() {
    for abort in [None, Some(halt(Some("^HALTED")))] {
        for ids in [true, false] {
            let (mut rig, plug) = with(|config| {
                config.rules.ids = ids.then(|| IdOf::Group(pattern("^([0-9]+) ")));
            })
            .await;
            let mut left = rig.ask(asks(Question { abort: abort.clone(), idempotent: true, ..numbered("1 A") }), SOON);
            assert_eq!(rig.bench.hear().await, "1 A");
            cancels(&mut left);
            if abort.is_some() {
                assert_eq!(rig.bench.hear().await, "HALT");
            }
            rig.bench.pause(ms(1)).await;
            rig.goes(&plug);
            let verdict = kind(&wait(&mut left).await);
            assert_eq!(verdict, if abort.is_some() { "lost" } else { "cancelled" });
            rig.comes_back(&plug).await;
            rig.bench.hears_nothing(ms(3000)).await;
            rig.is_in_step().await;
        }
    }
}

#[tokio::test]
async fn queries_with_ids_fail_or_are_asked_again_each_by_itself() {
    let (mut rig, plug) = with(|config| config.rules.ids = Some(IdOf::Group(pattern("^([0-9]+) ")))).await;
    let mut once = rig.ask(asks(numbered("1 A")), SOON);
    let mut again = rig.ask(asks(Question { idempotent: true, ..numbered("2 B") }), SOON);
    let mut left = rig.ask(asks(numbered("3 C")), SOON);
    for command in ["1 A", "2 B", "3 C"] {
        assert_eq!(rig.bench.hear().await, command);
    }
    assert_eq!(cancelled(&mut left).await, Effect::Unconfirmed);
    rig.goes(&plug);
    is_lost(&mut once).await;
    // On the new connection no late reply can come: its id is free.
    let mut third = rig.ask(asks(numbered("3 D")), SOON);
    rig.comes_back(&plug).await;
    rig.bench.answers("2 B", "2 b").await;
    rig.bench.answers("3 D", "3 d").await;
    assert_eq!(text(wait(&mut again).await.unwrap()), "2 b");
    assert_eq!(text(wait(&mut third).await.unwrap()), "3 d");
}

#[tokio::test]
async fn an_exchange_ends_with_its_connection_and_says_so_to_whoever_asks_in_it() {
    let (mut rig, plug) = open().await;
    let talk = rig.talks(common::talk()).await;
    wait(&mut rig.inside(talk, send("home", false))).await.unwrap();
    assert_eq!(rig.bench.hear().await, "home");
    let mut ack = rig.inside(talk, receive(None));
    rig.goes(&plug);
    is_lost(&mut ack).await;
    is_lost(&mut rig.inside(talk, send("more", false))).await;
    rig.comes_back(&plug).await;
    is_lost(&mut rig.inside(talk, send("more", false))).await;
    is_lost(&mut rig.leaves(talk, Ending::Failed)).await;
    rig.bench.hears_nothing(ms(100)).await;
    rig.is_in_step().await;
}

#[tokio::test]
async fn what_is_owed_and_half_heard_goes_with_the_connection() {
    let (mut rig, plug) = open().await;
    let mut left = rig.query("MOVE", Duration::from_secs(600));
    assert_eq!(rig.bench.hear().await, "MOVE");
    assert_eq!(cancelled(&mut left).await, Effect::Unconfirmed);
    rig.bench.say("mov").await;
    rig.bench.pause(ms(1)).await;
    rig.goes(&plug);
    rig.bench.pause(ms(1)).await;
    rig.comes_back(&plug).await;
    let back = rig.clock().now();
    rig.is_in_step().await;
    assert!(rig.clock().now().since(back) <= ms(100), "nothing is waited for but quiet");
}

fn asking_into_step(config: &mut Config) {
    let (command, frame) = (Bytes::from_static(b"PING"), Bytes::from_static(b"PING\n"));
    config.rules.resync = Some(Resync::Command { command, frame, answer: pattern("^PONG$") });
}

/// The answer to what was in flight at the loss comes on the new connection, and reaches nobody.
#[tokio::test]
async fn a_link_that_can_ask_its_way_into_step_does_so_on_the_new_connection_before_anybody_asks() {
    for left in [false, true] {
        let (mut rig, plug) = with(asking_into_step).await;
        let mut asked = rig.query("MOVE", SOON);
        assert_eq!(rig.bench.hear().await, "MOVE");
        if left {
            assert_eq!(cancelled(&mut asked).await, Effect::Unconfirmed);
            rig.goes(&plug);
        } else {
            rig.goes(&plug);
            is_lost(&mut asked).await;
        }
        let mut next = rig.query("NEXT", SOON);
        rig.comes_back(&plug).await;
        assert_eq!(rig.bench.hear().await, "PING");
        rig.bench.say("moved\nPONG\n").await;
        rig.bench.answers("NEXT", "next").await;
        assert_eq!(text(wait(&mut next).await.unwrap()), "next");
        // With nothing in flight there is nothing to ask into step.
        rig.goes(&plug);
        rig.bench.pause(ms(1)).await;
        rig.comes_back(&plug).await;
        rig.is_in_step().await;
    }
}

#[tokio::test]
async fn subscribers_are_told_and_go_on() {
    let (mut rig, plug) = open().await;
    let feed = Feed::new(10);
    rig.link.tell(Request::Subscribe { id: next_id(), pattern: None, feed: feed.clone() }, rig.clock()).unwrap();
    rig.bench.say("one\n").await;
    rig.bench.pause(ms(1)).await;
    rig.goes(&plug);
    rig.bench.pause(ms(1)).await;
    rig.comes_back(&plug).await;
    rig.bench.say("two\n").await;
    for expected in [Some("one"), None, Some("two")] {
        match (wait(&mut feed.next()).await, expected) {
            (Ok(Answer::Batch(batch, 0)), Some(expected)) => {
                assert_eq!(batch.iter().map(|heard| &heard.body[..]).collect::<Vec<_>>(), [expected.as_bytes()]);
            }
            (Err(LinkError::Lost { .. }), None) => {}
            (other, _) => panic!("{other:?} instead of {expected:?}"),
        }
    }
}

fn polls(feed: &Arc<Feed>, skip_errors: bool) -> Request {
    Request::Poll(Poll { skip_errors, ..poll(feed) })
}

#[tokio::test]
async fn a_poll_ends_or_goes_on_as_it_was_told() {
    for skip_errors in [true, false] {
        for waits in [true, false] {
            let (mut rig, plug) = open().await;
            let feed = Feed::new(10);
            let mut slow = waits.then(|| rig.query("SLOW", SOON));
            rig.link.tell(polls(&feed, skip_errors), rig.clock()).unwrap();
            // It has asked, or waits for its turn.
            assert_eq!(rig.bench.hear().await, if waits { "SLOW" } else { "SI" });
            rig.goes(&plug);
            if let Some(slow) = &mut slow {
                is_lost(slow).await;
            }
            rig.bench.pause(ms(3000)).await;
            rig.comes_back(&plug).await;
            if skip_errors {
                rig.bench.answers("SI", "1").await;
                assert!(matches!(wait(&mut feed.next()).await, Ok(Answer::Batch(_, 0))));
                rig.bench.answers("SI", "2").await;
            } else {
                assert!(matches!(wait(&mut feed.next()).await, Err(LinkError::Lost { .. })));
                rig.bench.hears_nothing(ms(1000)).await;
                rig.is_in_step().await;
            }
        }
    }
}

#[tokio::test]
async fn a_poll_that_begins_while_away_waits_too() {
    let (mut rig, plug) = open().await;
    rig.goes(&plug);
    rig.bench.pause(ms(1)).await;
    let feed = Feed::new(10);
    rig.link.tell(polls(&feed, false), rig.clock()).unwrap();
    rig.bench.pause(ms(5000)).await;
    rig.comes_back(&plug).await;
    rig.bench.answers("SI", "1").await;
    assert!(matches!(wait(&mut feed.next()).await, Ok(Answer::Batch(_, 0))));
}

/// The waits between attempts, in milliseconds, and the first one's.
fn waits(began: Moment, tried: &[Moment]) -> Vec<u128> {
    let from = std::iter::once(&began).chain(tried);
    from.zip(tried).map(|(from, to)| to.since(*from).as_millis()).collect()
}

#[tokio::test]
async fn the_wait_between_attempts_grows_to_its_limit_and_is_shortened_by_chance() {
    let mut firsts = std::collections::BTreeSet::new();
    for _ in 0..10 {
        let (mut rig, plug) = open().await;
        let began = rig.clock().now();
        rig.goes(&plug);
        rig.bench.pause(Duration::from_secs(10)).await;
        let waits = waits(began, &plug.tried());
        for (wait, longest) in waits.iter().zip([100, 200, 400, 800].into_iter().chain(std::iter::repeat(1000))) {
            assert!((longest * 8 / 10..=longest).contains(wait), "{waits:?}");
        }
        assert!(waits.len() >= 12, "{waits:?}");
        firsts.insert(waits);
        // Once back it begins anew.
        rig.comes_back(&plug).await;
        rig.goes(&plug);
        let began = rig.clock().now();
        rig.bench.pause(ms(101)).await;
        assert_eq!(plug.tried().len(), 1, "{:?}", rig.clock().now().since(began));
    }
    assert!(firsts.len() > 1, "ten links in one room would all try at once: {firsts:?}");
}

#[tokio::test]
async fn a_link_is_given_up_when_it_was_told_to() {
    let (mut rig, plug) = with(|config| {
        let give_up = Some(Duration::from_secs(5));
        config.rules.reconnect = Some(Reconnect { first: ms(100), factor: 2.0, limit: ms(1000), give_up });
    })
    .await;
    rig.goes(&plug);
    let began = rig.clock().now();
    let mut waiting = rig.query("MOVE", SOON);
    is_lost(&mut waiting).await;
    let took = rig.clock().now().since(began);
    assert!((ms(3900)..=ms(5000)).contains(&took), "{took:?}");
    assert_eq!(rig.link.state(), "lost");
    is_lost(&mut rig.query("MOVE", SOON)).await;
    rig.leaves_nothing().await;
}

#[tokio::test]
async fn stopping_a_link_that_is_away_ends_it_at_once() {
    for slow in [true, false] {
        let (mut rig, plug) = open().await;
        if slow {
            plug.is_slow();
        }
        rig.goes(&plug);
        let mut waiting = rig.query("MOVE", SOON);
        rig.bench.pause(ms(500)).await;
        let began = rig.clock().now();
        let mut stop = rig.link.stop(&rig.place);
        assert_eq!(kind(&wait(&mut waiting).await), "closed");
        wait(&mut stop).await.unwrap();
        // An attempt that does not end is waited for like any opening that is given up.
        let most = if slow { ms(1500) } else { ms(0) };
        assert!(rig.clock().now().since(began) <= most);
        rig.leaves_nothing().await;
        let tried = plug.tried().len();
        assert!(tried > 0);
    }
}

#[tokio::test]
async fn without_a_policy_a_link_that_is_lost_stays_so() {
    let (mut rig, plug) = with(|config| config.rules.reconnect = None).await;
    rig.goes(&plug);
    rig.bench.pause(ms(5000)).await;
    assert_eq!((rig.link.state(), plug.tried().len()), ("lost", 0));
}
