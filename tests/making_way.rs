//! The closing part of a lifespan has the line to itself: others are told, what had an abort is aborted, nothing owed is waited for.

#![cfg(test)]

mod common;

use std::sync::Arc;

use common::asking::{cancelled, halt, is_pending, receive, stoppable};
use common::{Rig, SOON, kind, ms, query, send, text, wait};
use labtether::link::Link;
use labtether::link::job::{Asker, Request, What};
use labtether::link::ticket::Ticket;

const WHY: &str = "the scale is being stopped";

fn makes_way(rig: &Rig) {
    rig.link.tell(Request::MakeWay(Arc::from(WHY)), rig.clock()).unwrap();
}

fn of_lifespan(rig: &Rig, what: What) -> Ticket {
    let link: &Arc<Link> = &rig.link;
    link.ask_as(Asker::Lifespan, what, None, SOON, SOON, rig.clock())
}

async fn is_told(ticket: &mut Ticket) {
    let verdict = wait(ticket).await;
    assert_eq!(kind(&verdict), "closed", "{verdict:?}");
    assert!(verdict.unwrap_err().to_string().contains(WHY));
}

#[tokio::test]
async fn whoever_else_waits_is_told_and_the_lifespan_is_answered() {
    let mut rig = Rig::open().await;
    let mut first = rig.query("SLOW", SOON);
    assert_eq!(rig.bench.hear().await, "SLOW");
    let mut queued = rig.query("NEXT", SOON);
    let mut listens = rig.ask(receive(None), SOON);
    makes_way(&rig);
    is_told(&mut first).await;
    is_told(&mut queued).await;
    is_told(&mut listens).await;
    let mut parks = of_lifespan(&rig, query("PARK"));
    let mut late = rig.query("LATE", SOON);
    is_told(&mut late).await;
    rig.bench.answers("PARK", "parked").await;
    assert_eq!(text(wait(&mut parks).await.unwrap()), "parked");
}

#[tokio::test]
async fn what_the_lifespan_itself_waits_for_goes_on() {
    let mut rig = Rig::open().await;
    let mut own = of_lifespan(&rig, query("OWN"));
    assert_eq!(rig.bench.hear().await, "OWN");
    let mut queued = of_lifespan(&rig, query("NEXT"));
    makes_way(&rig);
    assert!(is_pending(&mut own));
    rig.bench.say("own\n").await;
    assert_eq!(text(wait(&mut own).await.unwrap()), "own");
    rig.bench.answers("NEXT", "next").await;
    assert_eq!(text(wait(&mut queued).await.unwrap()), "next");
}

#[tokio::test]
async fn a_reply_that_is_owed_to_others_is_not_waited_for() {
    let mut rig = Rig::open().await;
    let mut left = rig.query("SLOW", SOON);
    assert_eq!(rig.bench.hear().await, "SLOW");
    cancelled(&mut left).await;
    let mut parks = of_lifespan(&rig, query("PARK"));
    rig.bench.hears_nothing(ms(500)).await;
    let before = rig.clock().now();
    makes_way(&rig);
    assert_eq!(rig.bench.hear().await, "PARK");
    assert!(rig.clock().now().since(before) <= ms(50), "it waits for no longer than the line needs to be quiet");
    rig.bench.say("parked\n").await;
    assert_eq!(text(wait(&mut parks).await.unwrap()), "parked");
}

#[tokio::test]
async fn what_others_have_begun_is_aborted_first() {
    let mut rig = Rig::open().await;
    let mut moves = rig.ask(stoppable("MOVE", Some("^halted")), SOON);
    assert_eq!(rig.bench.hear().await, "MOVE");
    let mut parks = of_lifespan(&rig, query("PARK"));
    makes_way(&rig);
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.hears_nothing(ms(20)).await;
    rig.bench.say("halted\n").await;
    is_told(&mut moves).await;
    rig.bench.answers("PARK", "parked").await;
    assert_eq!(text(wait(&mut parks).await.unwrap()), "parked");
}

#[tokio::test]
async fn an_exchange_of_others_is_over_and_aborted() {
    let mut rig = Rig::open().await;
    let talk = rig.talks(What::Talk { place: Arc::from("at here"), abort: Some(Box::new(halt(None))) }).await;
    let mut sent = rig.inside(talk, send("MOVE", false));
    assert_eq!(rig.bench.hear().await, "MOVE");
    wait(&mut sent).await.unwrap();
    let mut waits = rig.inside(talk, receive(None));
    makes_way(&rig);
    assert_eq!(rig.bench.hear().await, "HALT");
    is_told(&mut waits).await;
    is_told(&mut rig.inside(talk, receive(None))).await;
}
