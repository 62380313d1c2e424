//! What is done on a new connection before anyone's exchange, in virtual time; and a port that is opened anew to get back in step.

#![cfg(test)]

mod common;

use common::asking::{cancelled, is_pending};
use common::plug::{Plug, plugged};
use common::{Bench, Rig, SOON, kind, lines, ms, query, send, text, wait};
use labtether::error::Effect;
use labtether::link::feed::Feed;
use labtether::link::job::{Asker, Request};
use labtether::link::opener::Place;
use labtether::link::reconnecting::Ready;
use labtether::link::rules::{Reconnect, Resync};
use labtether::link::ticket::{Answer, Verdict, next_id};
use labtether::link::{Config, Link};
use std::sync::{Arc, Mutex, OnceLock};

type Cell = Arc<OnceLock<(Arc<Link>, Place)>>;
/// How each readying ended, in order; a readying that was given up has none.
type Results = Arc<Mutex<Vec<Verdict>>>;

/// Asks HELLO of each new connection, before everybody else, and is content with "hello".
fn says_hello(cell: &Cell, results: &Results) -> Ready {
    let (cell, results) = (cell.clone(), results.clone());
    Arc::new(move || {
        let (link, place) = cell.get().expect("opened once before").clone();
        let results = results.clone();
        Box::pin(async move {
            let mut hello = link.ask_as(Asker::Readying, query("HELLO"), None, ms(500), ms(500), place.clock());
            let verdict = wait(&mut hello).await;
            results.lock().unwrap().push(verdict.clone());
            match verdict {
                Ok(Answer::Message(heard, _)) if &heard.body[..] == b"hello" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
    })
}

async fn with(change: impl FnOnce(&mut Config)) -> (Rig, Plug, Results) {
    let (cell, results) = (Cell::default(), Results::default());
    let ready = says_hello(&cell, &results);
    let (link, bench, plug, place) = plugged(4096, Some(lines()), |config| {
        let (first, limit) = (ms(100), ms(1000));
        config.rules.reconnect = Some(Reconnect { first, factor: 2.0, limit, give_up: None });
        config.ready = Some(ready);
        change(config);
    })
    .await;
    assert!(cell.set((link.clone(), place.clone())).is_ok());
    (Rig { link, bench, place }, plug, results)
}

impl Rig {
    /// Another end of the cable; what hung on the old one hangs on nothing.
    fn hangs_on(&mut self, bench: Bench) {
        drop(std::mem::replace(&mut self.bench, bench));
    }

    fn goes(&mut self, plug: &Plug) {
        let unused = Plug::new(self.clock()).gives(1);
        self.hangs_on(unused);
        drop(plug.tried());
    }
}

#[tokio::test]
async fn a_new_connection_is_readied_before_anyone_asks() {
    let (mut rig, plug, results) = with(|_| {}).await;
    rig.goes(&plug);
    let mut waiting = rig.query("NEXT", SOON);
    let mut note = rig.ask(send("NOTE", false), SOON);
    let new = plug.gives(4096);
    rig.hangs_on(new);
    assert_eq!(rig.bench.hear().await, "HELLO");
    assert_eq!(rig.link.state(), "reconnecting");
    // Nobody else is let through, and what cannot wait is told so.
    let mut later = rig.query("LATER", SOON);
    assert_eq!(kind(&wait(&mut rig.ask(send("STOP", true), SOON)).await), "lost");
    rig.bench.hears_nothing(ms(300)).await;
    assert!(is_pending(&mut waiting) && is_pending(&mut note) && is_pending(&mut later));
    rig.bench.say("hello\n").await;
    rig.bench.answers("NEXT", "next").await;
    assert_eq!(rig.link.state(), "open");
    assert_eq!(rig.bench.hear().await, "NOTE");
    rig.bench.answers("LATER", "later").await;
    assert_eq!(text(wait(&mut waiting).await.unwrap()), "next");
    assert_eq!(text(wait(&mut later).await.unwrap()), "later");
    wait(&mut note).await.unwrap();
    assert_eq!(results.lock().unwrap().len(), 1);
    rig.is_in_step().await;
}

#[tokio::test]
async fn what_is_asked_at_once_while_readying_is_asked_one_by_one() {
    let cell = Cell::default();
    let in_ready = cell.clone();
    let (mut rig, plug, _results) = with(|config| {
        config.ready = Some(Arc::new(move || {
            let (link, place) = in_ready.get().expect("opened once before").clone();
            let ask = move |command| link.ask_as(Asker::Readying, query(command), None, SOON, SOON, place.clock());
            let (mut first, mut second) = (ask("A"), ask("B"));
            Box::pin(async move {
                let (first, second) = (text(wait(&mut first).await.unwrap()), text(wait(&mut second).await.unwrap()));
                if (first.as_str(), second.as_str()) == ("a", "b") { Ok(()) } else { Err(first + &second) }
            })
        }));
    })
    .await;
    assert!(cell.set((rig.link.clone(), rig.place.clone())).is_ok());
    rig.goes(&plug);
    let new = plug.gives(4096);
    rig.hangs_on(new);
    assert_eq!(rig.bench.hear().await, "A");
    rig.bench.hears_nothing(ms(100)).await;
    rig.bench.say("a\n").await;
    rig.bench.answers("B", "b").await;
    rig.is_in_step().await;
    assert_eq!(rig.link.state(), "open");
}

#[tokio::test]
async fn a_connection_that_cannot_be_readied_is_closed_and_another_looked_for() {
    let (mut rig, plug, results) = with(|_| {}).await;
    rig.goes(&plug);
    let mut waiting = rig.query("NEXT", SOON);
    for reply in [Some("who?\n"), None, Some("hello\n")] {
        let new = plug.gives(4096);
        rig.hangs_on(new);
        assert_eq!(rig.bench.hear().await, "HELLO");
        if let Some(reply) = reply {
            rig.bench.say(reply).await;
        }
        rig.bench.pause(ms(510)).await;
    }
    rig.bench.answers("NEXT", "next").await;
    assert_eq!(text(wait(&mut waiting).await.unwrap()), "next");
    let kinds: Vec<&str> = results.lock().unwrap().iter().map(kind).collect();
    assert_eq!(kinds, ["ok", "timeout", "ok"]);
    assert!(rig.notes().iter().any(|note| note.contains("it could not be readied")), "{:?}", rig.notes());
    rig.is_in_step().await;
}

#[tokio::test]
async fn a_connection_that_is_lost_while_it_is_readied_is_looked_for_again() {
    let (mut rig, plug, results) = with(|_| {}).await;
    rig.goes(&plug);
    let mut waiting = rig.query("NEXT", SOON);
    for _ in 0..3 {
        let new = plug.gives(4096);
        rig.hangs_on(new);
        assert_eq!(rig.bench.hear().await, "HELLO");
    }
    rig.bench.answers_hello().await;
    rig.bench.answers("NEXT", "next").await;
    assert_eq!(text(wait(&mut waiting).await.unwrap()), "next");
    // Two were given up in the middle.
    assert_eq!(results.lock().unwrap().last().map(kind), Some("ok"));
    rig.is_in_step().await;
}

impl Bench {
    async fn answers_hello(&mut self) {
        self.say("hello\n").await;
    }
}

#[tokio::test]
async fn connections_that_come_and_go_while_they_are_readied_wear_the_patience_out() {
    let (mut rig, plug, _results) = with(|config| {
        let policy = config.rules.reconnect.as_mut().unwrap();
        policy.give_up = Some(std::time::Duration::from_secs(5));
    })
    .await;
    rig.goes(&plug);
    let began = rig.clock().now();
    let mut waiting = rig.query("NEXT", SOON);
    let mut tried = Vec::new();
    while is_pending(&mut waiting) {
        // It is there, and gone before it can say anything.
        drop(plug.gives(4096));
        rig.bench.pause(ms(50)).await;
        tried.extend(plug.tried());
        assert!(rig.clock().now().since(began) <= ms(6000), "it is never given up");
    }
    assert_eq!(rig.link.state(), "lost");
    assert!(tried.len() <= 12, "the waits grow: {tried:?}");
}

#[tokio::test]
async fn a_port_that_cannot_be_opened_anew_says_why() {
    let (mut rig, plug, _results) = with(|config| {
        config.ready = None;
        config.rules.resync = Some(Resync::Reopen);
        config.rules.reconnect = None;
    })
    .await;
    let mut first = rig.query("FIRST", SOON);
    assert_eq!(rig.bench.hear().await, "FIRST");
    assert_eq!(cancelled(&mut first).await, Effect::Unconfirmed);
    plug.fails();
    let error = wait(&mut rig.query("SECOND", SOON)).await.unwrap_err();
    assert!(error.to_string().contains("there is no such port"), "{error}");
}

#[tokio::test]
async fn a_link_that_is_stopped_while_it_is_readied_ends_at_once() {
    let (mut rig, plug, _results) = with(|_| {}).await;
    rig.goes(&plug);
    let mut waiting = rig.query("NEXT", SOON);
    let new = plug.gives(4096);
    rig.hangs_on(new);
    assert_eq!(rig.bench.hear().await, "HELLO");
    let began = rig.clock().now();
    let mut stop = rig.link.stop(&rig.place);
    assert_eq!(kind(&wait(&mut waiting).await), "closed");
    wait(&mut stop).await.unwrap();
    assert_eq!(rig.clock().now(), began);
    rig.leaves_nothing().await;
}

#[tokio::test]
async fn a_resync_may_open_the_port_anew() {
    for reconnects in [true, false] {
        for fails in [false, true] {
            let (mut rig, plug, _results) = with(|config| {
                config.ready = None;
                config.rules.resync = Some(Resync::Reopen);
                config.rules.reconnect.take_if(|_| !reconnects);
            })
            .await;
            let mut first = rig.query("FIRST", SOON);
            assert_eq!(rig.bench.hear().await, "FIRST");
            assert_eq!(cancelled(&mut first).await, Effect::Unconfirmed);
            let feed = Feed::new(10);
            rig.link
                .tell(Request::Subscribe { id: next_id(), pattern: None, feed: feed.clone() }, rig.clock())
                .unwrap();
            if fails {
                plug.fails();
            }
            let bench = plug.gives(4096);
            let mut second = rig.query("SECOND", SOON);
            if fails && !reconnects {
                assert_eq!(kind(&wait(&mut second).await), "lost");
                continue;
            }
            rig.bench = bench;
            rig.bench.answers("SECOND", "two").await;
            assert_eq!(text(wait(&mut second).await.unwrap()), "two");
            // It was not lost: nobody is told.
            rig.bench.say("by the way\n").await;
            assert!(matches!(wait(&mut feed.next()).await, Ok(Answer::Batch(_, 0))));
        }
    }
}
