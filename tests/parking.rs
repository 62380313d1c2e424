//! What a closing part asks is answered by its own replies, whatever is owed to others (law 3), and nothing of others holds it up.

#![cfg(test)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::asking::{asks, cancelled, effect, halt, is_pending, numbered, pattern, question, receive, stoppable};
use common::{Rig, SOON, kind, lines, ms, query, send, text, wait};
use labtether::error::Effect;
use labtether::framing::Fixed;
use labtether::link::job::{Asker, Closing, Request, Task, What};
use labtether::link::question::Question;
use labtether::link::rules::{IdOf, KeepAlive, Pacing, Reconnect};
use labtether::link::ticket::Ticket;

fn makes_way(rig: &Rig) {
    rig.link.tell(Request::MakeWay(Arc::from("the scale is being stopped")), rig.clock()).unwrap();
}

fn parks_within(rig: &Rig, what: What, limit: Duration) -> Ticket {
    rig.link.ask_as(Asker::Lifespan, what, None, limit, SOON, rig.clock())
}

fn parks(rig: &Rig, command: &str) -> Ticket {
    parks_within(rig, query(command), SOON)
}

async fn said(ticket: &mut Ticket) -> String {
    text(wait(ticket).await.unwrap())
}

/// A link on which a query was left, whose reply is owed.
async fn owing() -> Rig {
    let mut rig = Rig::open().await;
    let mut left = rig.query("SLOW", SOON);
    assert_eq!(rig.bench.hear().await, "SLOW");
    cancelled(&mut left).await;
    rig
}

#[tokio::test]
async fn an_exchange_that_was_left_may_owe_more_and_the_answer_is_not_taken_for_it() {
    let mut rig = Rig::open().await;
    let talk = rig.talks(common::talk()).await;
    wait(&mut rig.inside(talk, send("MOVE", false))).await.unwrap();
    let mut waits = rig.inside(talk, receive(None));
    assert_eq!(rig.bench.hear().await, "MOVE");
    makes_way(&rig);
    assert_eq!(kind(&wait(&mut waits).await), "closed");
    let mut parked = parks(&rig, "PARK");
    assert_eq!(rig.bench.hear().await, "PARK");
    rig.bench.say("moved\n").await;
    rig.bench.pause(ms(100)).await;
    assert!(is_pending(&mut parked));
    rig.bench.say("parked\n").await;
    assert_eq!(said(&mut parked).await, "parked");
}

#[tokio::test]
async fn what_it_gave_up_itself_is_owed_behind_what_others_are() {
    let mut rig = owing().await;
    makes_way(&rig);
    let mut parked = parks_within(&rig, query("PARK"), ms(200));
    assert_eq!(rig.bench.hear().await, "PARK");
    assert_eq!(kind(&wait(&mut parked).await), "timeout");
    let mut vented = parks(&rig, "VENT");
    assert_eq!(rig.bench.hear().await, "VENT");
    rig.bench.say("slow\nparked\nvented\n").await;
    assert_eq!(said(&mut vented).await, "vented");
}

#[tokio::test]
async fn two_that_are_owed_are_both_waited_for() {
    let mut rig = Rig::open().await;
    let talk = rig.talks(common::talk()).await;
    for command in ["ONE", "TWO"] {
        wait(&mut rig.inside(talk, send(command, false))).await.unwrap();
        assert_eq!(rig.bench.hear().await, command);
    }
    let mut waits = [rig.inside(talk, receive(None)), rig.inside(talk, receive(None))];
    makes_way(&rig);
    for waiting in &mut waits {
        assert_eq!(kind(&wait(waiting).await), "closed");
    }
    let mut parked = parks(&rig, "PARK");
    assert_eq!(rig.bench.hear().await, "PARK");
    for late in ["one\n", "two\n"] {
        rig.bench.say(late).await;
        rig.bench.pause(ms(1100)).await;
        assert!(is_pending(&mut parked));
    }
    rig.bench.say("parked\n").await;
    assert_eq!(said(&mut parked).await, "parked");
}

#[tokio::test]
async fn an_owed_reply_that_is_half_in_is_not_torn_apart() {
    let fixed = |command| asks(Question { framing: Fixed::new(Some(8), None).unwrap().into(), ..question(command) });
    let mut rig = Rig::open().await;
    let mut left = rig.ask(fixed("SLOW"), SOON);
    assert_eq!(rig.bench.hear().await, "SLOW");
    rig.bench.say("slow").await;
    rig.bench.pause(ms(10)).await;
    cancelled(&mut left).await;
    makes_way(&rig);
    let mut parked = parks_within(&rig, fixed("PARK"), SOON);
    assert_eq!(rig.bench.hear().await, "PARK");
    rig.bench.say("-678parked-8").await;
    assert_eq!(said(&mut parked).await, "parked-8");
}

#[tokio::test]
async fn its_abort_does_not_take_what_is_owed_to_others_for_the_end_of_its_own() {
    let mut rig = owing().await;
    makes_way(&rig);
    let mut parked = parks_within(&rig, stoppable("PARK", Some("^halted")), ms(200));
    assert_eq!(rig.bench.hear().await, "PARK");
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.say("slow\nhalted\n").await;
    assert_eq!(effect(wait(&mut parked).await), Effect::Halted);
}

#[tokio::test]
async fn sends_of_others_that_wait_for_the_line_are_told_and_urgent_ones_go() {
    let pacing = Pacing { gap: ms(200), ..Pacing::default() };
    let mut rig = Rig::with(4096, Some(lines()), |config| config.rules.pacing = pacing).await;
    let mut sends: Vec<Ticket> = (1..4).map(|n| rig.ask(send(&format!("MOVE {n}"), false), SOON)).collect();
    assert_eq!(rig.bench.hear().await, "MOVE 1");
    wait(&mut sends[0]).await.unwrap();
    makes_way(&rig);
    for ticket in &mut sends[1..] {
        assert_eq!(kind(&wait(ticket).await), "closed");
    }
    let mut parked = parks(&rig, "PARK");
    rig.bench.answers("PARK", "parked").await;
    assert_eq!(said(&mut parked).await, "parked");
}

#[tokio::test]
async fn a_break_of_others_does_not_hold_it_up() {
    let (link, bench, _plug, place) = common::plug::plugged(4096, Some(lines()), |_| {}).await;
    let mut rig = Rig { link, bench, place };
    let mut held = rig.ask(What::Control(Task::Break(Duration::from_secs(20))), SOON);
    rig.bench.pause(ms(10)).await;
    makes_way(&rig);
    let mut parked = parks(&rig, "PARK");
    let before = rig.clock().now();
    rig.bench.answers("PARK", "parked").await;
    assert!(rig.clock().now().since(before) <= ms(50));
    assert_eq!(said(&mut parked).await, "parked");
    assert_eq!(kind(&wait(&mut held).await), "closed");
}

#[tokio::test]
async fn a_keep_alive_neither_begins_nor_is_told_of_in_it() {
    let frame = lines().encode(b"KA").unwrap();
    let keepalive =
        KeepAlive { command: Bytes::from_static(b"KA"), frame, reply: Some(lines()), id: None, every: ms(300) };
    let mut rig = Rig::with(4096, Some(lines()), |config| {
        config.rules.keepalive = Some(keepalive);
        config.rules.error = Some(pattern("^ERR"));
    })
    .await;
    rig.bench.answers("KA", "ERR 7").await;
    rig.bench.pause(ms(10)).await;
    makes_way(&rig);
    let mut sent = parks_within(&rig, send("PARK", false), SOON);
    assert_eq!(rig.bench.hear().await, "PARK");
    wait(&mut sent).await.unwrap();
    rig.bench.hears_nothing(ms(1000)).await;
}

#[tokio::test]
async fn the_abort_of_what_was_in_flight_goes_out_although_the_link_is_closed_at_once() {
    let ids = Some(IdOf::Group(pattern("^([0-9]+) ")));
    let mut rig = Rig::with(4096, Some(lines()), |config| {
        config.rules.ids = ids;
        config.rules.pacing = Pacing { char_delay: ms(2), ..Pacing::default() };
    })
    .await;
    let mut moves = rig.ask(asks(Question { abort: Some(halt(Some("^halted"))), ..numbered("1 MOVE") }), SOON);
    assert_eq!(rig.bench.hear().await, "1 MOVE");
    makes_way(&rig);
    let mut stop = rig.link.stop(&rig.place);
    assert_eq!(rig.bench.hear().await, "HALT");
    wait(&mut stop).await.unwrap();
    assert_eq!(kind(&wait(&mut moves).await), "closed");
}

#[tokio::test]
async fn an_exchange_whose_first_words_are_half_out_is_aborted_at_the_end() {
    let mut rig = Rig::with(4, Some(lines()), |_| {}).await;
    let talk = rig.talks(What::Talk { place: Arc::from("at here"), abort: Some(Box::new(halt(None))) }).await;
    let _sent = rig.inside(talk, send("MOVE 1234", false));
    rig.bench.pause(ms(1)).await;
    let mut stop = rig.link.stop(&rig.place);
    assert_eq!(rig.bench.hear().await, "MOVE 1234");
    assert_eq!(rig.bench.hear().await, "HALT");
    wait(&mut stop).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_lost_fails_what_it_waits_for_at_once_and_no_last_words_are_tried() {
    let reconnect = Reconnect { first: ms(100), factor: 2.0, limit: ms(1000), give_up: None };
    let (link, bench, _plug, place) = common::plug::plugged(4096, Some(lines()), |config| {
        config.rules.reconnect = Some(reconnect);
        config.park = Some(Bytes::from_static(b"RUST\n"));
    })
    .await;
    let mut rig = Rig { link, bench, place };
    makes_way(&rig);
    let mut first = parks_within(&rig, asks(Question { idempotent: true, ..question("PARK") }), SOON);
    let mut second = parks(&rig, "VENT");
    assert_eq!(rig.bench.hear().await, "PARK");
    let Rig { link, bench, place } = rig;
    let before = place.clock().now();
    drop(bench);
    for ticket in [&mut first, &mut second] {
        assert_eq!(kind(&wait(ticket).await), "lost");
    }
    link.tell(Request::Close(Closing::Exit), place.clock()).unwrap();
    while link.state() != "closed" {
        place.clock().sleep(ms(1)).await;
    }
    assert!(place.clock().now().since(before) <= ms(50));
}
