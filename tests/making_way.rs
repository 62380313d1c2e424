//! The closing part of a lifespan has the line to itself: others are told, what had an abort is aborted, nothing owed is waited for.

#![cfg(test)]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::asking::{asks, cancelled, halt, is_pending, numbered, pattern, poll, receive, stoppable};
use common::{Rig, SOON, kind, lines, ms, query, send, text, wait};
use labtether::link::Link;
use labtether::link::feed::Feed;
use labtether::link::job::{Asker, Request, What};
use labtether::link::question::Question;
use labtether::link::rules::{IdOf, Resync};
use labtether::link::ticket::{Answer, Ticket};

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

/// Somebody has asked and left; the lifespan asks while that is owed.
async fn parks_while_a_reply_is_owed(rig: &mut Rig) -> Ticket {
    let mut left = rig.query("SLOW", SOON);
    assert_eq!(rig.bench.hear().await, "SLOW");
    cancelled(&mut left).await;
    let parks = of_lifespan(rig, query("PARK"));
    rig.bench.hears_nothing(ms(500)).await;
    let before = rig.clock().now();
    makes_way(rig);
    assert_eq!(rig.bench.hear().await, "PARK");
    assert!(rig.clock().now().since(before) <= ms(1), "what is owed is not waited for");
    parks
}

#[tokio::test]
async fn what_is_owed_to_others_is_not_waited_for_and_is_not_the_lifespans_answer() {
    let mut rig = Rig::open().await;
    let mut parks = parks_while_a_reply_is_owed(&mut rig).await;
    rig.bench.say("slow\n").await;
    assert!(is_pending(&mut parks));
    rig.bench.say("parked\n").await;
    assert_eq!(text(wait(&mut parks).await.unwrap()), "parked");
    let mut next = of_lifespan(&rig, query("NEXT"));
    rig.bench.answers("NEXT", "next").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
}

#[tokio::test]
async fn the_only_reply_there_is_is_the_lifespans_in_the_end() {
    let mut rig = Rig::open().await;
    let mut parks = parks_while_a_reply_is_owed(&mut rig).await;
    let before = rig.clock().now();
    rig.bench.say("parked\n").await;
    assert_eq!(text(wait(&mut parks).await.unwrap()), "parked");
    assert_eq!(rig.clock().now().since(before), SOON / 4, "another is waited for, for a quarter of its time");
}

#[tokio::test]
async fn with_resync_the_lifespan_asks_its_way_into_step() {
    let resync = Resync::Command {
        command: Bytes::from_static(b"SYNC"),
        frame: lines().encode(b"SYNC").unwrap(),
        answer: pattern("^in step"),
    };
    let mut rig = Rig::with(4096, Some(lines()), |config| config.rules.resync = Some(resync)).await;
    let mut left = rig.query("SLOW", SOON);
    assert_eq!(rig.bench.hear().await, "SLOW");
    cancelled(&mut left).await;
    makes_way(&rig);
    let mut parks = of_lifespan(&rig, query("PARK"));
    assert_eq!(rig.bench.hear().await, "SYNC");
    rig.bench.say("slow\nin step\n").await;
    rig.bench.answers("PARK", "parked").await;
    assert_eq!(text(wait(&mut parks).await.unwrap()), "parked");
}

#[tokio::test]
async fn a_child_of_the_lifespan_does_not_keep_the_line_from_it() {
    let mut rig = Rig::open().await;
    let mut watches = of_lifespan(&rig, query("WATCH"));
    assert_eq!(rig.bench.hear().await, "WATCH");
    rig.bench.hears_nothing(ms(50)).await;
    makes_way(&rig);
    let mut parks = of_lifespan(&rig, query("PARK"));
    let before = rig.clock().now();
    assert_eq!(rig.bench.hear().await, "PARK");
    assert_eq!(rig.clock().now().since(before), ms(1000));
    is_told(&mut watches).await;
    rig.bench.say("watched\nparked\n").await;
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

#[tokio::test]
async fn polls_of_others_end_and_ask_no_more() {
    let mut rig = Rig::open().await;
    let feed = Feed::new(1000);
    rig.link.tell(Request::Poll(poll(&feed)), rig.clock()).unwrap();
    rig.bench.answers("SI", "1").await;
    assert!(matches!(wait(&mut feed.next()).await, Ok(Answer::Batch(..))));
    makes_way(&rig);
    let end = wait(&mut feed.next()).await;
    assert_eq!(kind(&end), "closed", "{end:?}");
    rig.bench.hears_nothing(ms(500)).await;
}

#[tokio::test]
async fn what_others_have_in_flight_is_told_and_aborted() {
    let ids = Some(IdOf::Group(pattern("^([0-9]+) ")));
    let mut rig = Rig::with(4096, Some(lines()), |config| config.rules.ids = ids).await;
    let mut plain = rig.ask(asks(numbered("1 A")), SOON);
    let mut moves = rig.ask(asks(Question { abort: Some(halt(None)), ..numbered("2 MOVE") }), SOON);
    let mut own = of_lifespan(&rig, asks(numbered("3 OWN")));
    for command in ["1 A", "2 MOVE", "3 OWN"] {
        assert_eq!(rig.bench.hear().await, command);
    }
    makes_way(&rig);
    is_told(&mut plain).await;
    assert_eq!(rig.bench.hear().await, "HALT");
    is_told(&mut moves).await;
    rig.bench.say("1 a\n2 moved\n3 own\n").await;
    assert_eq!(text(wait(&mut own).await.unwrap()), "3 own");
}

#[tokio::test]
async fn an_exchange_of_the_lifespan_goes_on() {
    let mut rig = Rig::open().await;
    let mut opens = of_lifespan(&rig, What::Talk { place: Arc::from("at here"), abort: Some(Box::new(halt(None))) });
    let Ok(Answer::Number(talk)) = wait(&mut opens).await else { panic!("no exchange") };
    let inside = |what| rig.link.ask_as(Asker::Lifespan, what, Some(talk), SOON, SOON, rig.clock());
    let mut sent = inside(send("PARK", false));
    let mut parked = inside(receive(None));
    makes_way(&rig);
    rig.bench.answers("PARK", "parked").await;
    wait(&mut sent).await.unwrap();
    assert_eq!(text(wait(&mut parked).await.unwrap()), "parked");
}

#[tokio::test]
async fn a_child_of_the_lifespan_keeps_the_line_while_nobody_wants_it() {
    let mut rig = Rig::open().await;
    let mut watches = of_lifespan(&rig, query("WATCH"));
    assert_eq!(rig.bench.hear().await, "WATCH");
    rig.bench.hears_nothing(ms(50)).await;
    makes_way(&rig);
    rig.bench.pause(ms(1500)).await;
    assert!(is_pending(&mut watches));
    rig.bench.say("watched\n").await;
    assert_eq!(text(wait(&mut watches).await.unwrap()), "watched");
}

#[tokio::test]
async fn a_slow_answer_in_the_closing_part_is_waited_for() {
    let mut rig = Rig::open().await;
    makes_way(&rig);
    rig.bench.pause(ms(1)).await;
    let mut parks = of_lifespan(&rig, query("PARK"));
    let mut next = of_lifespan(&rig, query("NEXT"));
    assert_eq!(rig.bench.hear().await, "PARK");
    rig.bench.hears_nothing(ms(1500)).await;
    rig.bench.say("parked\n").await;
    assert_eq!(text(wait(&mut parks).await.unwrap()), "parked");
    rig.bench.answers("NEXT", "next").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
}
