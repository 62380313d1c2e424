//! How a slow instrument is spoken to, in virtual time: the pause before a command, the pause between bytes, and what counts as late (law 4).

#![cfg(test)]

mod common;

use common::asking::{asks, cancelled, effect, numbered, pattern, stoppable};
use common::{Rig, SOON, kind, lines, ms, query, send, text, wait};
use labtether::clock::Moment;
use labtether::error::Effect;
use labtether::link::rules::{IdOf, Pacing, Rules};
use labtether::link::ticket::Pending;

async fn with(pacing: Pacing, change: impl FnOnce(&mut Rules)) -> Rig {
    Rig::with(4096, Some(lines()), |config| {
        config.rules.pacing = pacing;
        change(&mut config.rules);
    })
    .await
}

async fn with_gap(gap: u64) -> Rig {
    with(Pacing { gap: ms(gap), ..Pacing::default() }, |_| {}).await
}

async fn with_delay(char_delay: u64, chunk: usize) -> Rig {
    with(Pacing { char_delay: ms(char_delay), chunk, ..Pacing::default() }, |_| {}).await
}

impl Rig {
    fn since(&self, began: Moment) -> u128 {
        self.clock().now().since(began).as_millis()
    }
}

#[tokio::test]
async fn a_gap_is_kept_from_the_last_byte_in_either_direction() {
    let mut rig = with_gap(100).await;
    let opened = rig.clock().now();
    let mut first = rig.query("FIRST", SOON);
    assert_eq!(rig.bench.hear().await, "FIRST");
    assert_eq!(rig.since(opened), 100, "from the opening on");
    rig.bench.pause(ms(250)).await;
    rig.bench.say("one\n").await;
    let answered = rig.clock().now();
    assert_eq!(text(wait(&mut first).await.unwrap()), "one");
    rig.bench.pause(ms(30)).await;
    let mut second = rig.query("SECOND", SOON);
    assert_eq!(rig.bench.hear().await, "SECOND");
    assert_eq!(rig.since(answered), 100, "from what was heard");
    rig.bench.say("two\n").await;
    assert_eq!(text(wait(&mut second).await.unwrap()), "two");
    rig.bench.pause(ms(500)).await;
    let began = rig.clock().now();
    for message in ["A", "B", "C"] {
        wait(&mut rig.ask(send(message, false), SOON)).await.unwrap();
        assert_eq!(rig.bench.hear().await, message);
    }
    assert_eq!(rig.since(began), 200, "from what was said");
}

#[tokio::test]
async fn what_comes_while_a_gap_is_kept_begins_it_anew() {
    let mut rig = with_gap(100).await;
    let began = rig.clock().now();
    let _asked = rig.query("FIRST", SOON);
    rig.bench.pause(ms(60)).await;
    rig.bench.say("by the way\n").await;
    assert_eq!(rig.bench.hear().await, "FIRST");
    assert_eq!(rig.since(began), 160);
}

#[tokio::test]
async fn what_is_urgent_keeps_no_gap() {
    let mut rig = with_gap(100).await;
    let began = rig.clock().now();
    let mut stuck = rig.ask(send("NOTE", false), SOON);
    wait(&mut rig.ask(send("STOP", true), SOON)).await.unwrap();
    assert_eq!(rig.bench.hear().await, "STOP");
    assert_eq!(rig.since(began), 0);
    assert_eq!(rig.bench.hear().await, "NOTE");
    assert_eq!(rig.since(began), 100);
    wait(&mut stuck).await.unwrap();
    let mut moving = rig.ask(stoppable("MOVE", Some("^HALTED")), SOON);
    assert_eq!(rig.bench.hear().await, "MOVE");
    let moved = rig.clock().now();
    moving.cancel();
    assert_eq!(rig.bench.hear().await, "HALT");
    assert_eq!(rig.since(moved), 0);
}

#[tokio::test]
async fn a_clock_starts_at_the_first_byte() {
    let mut rig = with_gap(1000).await;
    let began = rig.clock().now();
    let mut brief = rig.query("BRIEF", ms(50));
    assert_eq!(rig.bench.hear().await, "BRIEF");
    assert_eq!(rig.since(began), 1000);
    let verdict = wait(&mut brief).await;
    assert_eq!((kind(&verdict), rig.since(began)), ("timeout", 1050));
    assert_eq!(effect(verdict), Effect::Unconfirmed);
    // A send is done when it is written.
    let mut sent = rig.ask(send("NOTE", false), ms(0));
    wait(&mut sent).await.unwrap();
    assert_eq!(rig.bench.hear().await, "NOTE");
}

#[tokio::test]
async fn a_clock_does_not_start_while_others_keep_their_gaps() {
    let mut rig = with_gap(200).await;
    let began = rig.clock().now();
    let mut sends = ["A", "B", "C"].map(|message| rig.ask(send(message, false), ms(50)));
    let mut asked = rig.query("MOVE", ms(50));
    for command in ["A", "B", "C", "MOVE"] {
        assert_eq!(rig.bench.hear().await, command);
    }
    assert_eq!(rig.since(began), 800);
    rig.bench.say("moved\n").await;
    for sent in &mut sends {
        wait(sent).await.unwrap();
    }
    assert_eq!(text(wait(&mut asked).await.unwrap()), "moved");
}

#[tokio::test]
async fn a_clock_does_not_start_while_another_command_is_spelled_out() {
    let mut rig = with_delay(10, 1).await;
    let began = rig.clock().now();
    let mut note = rig.ask(send(&"x".repeat(40), false), SOON);
    let mut asked = rig.query("MOVE", ms(100));
    assert_eq!(rig.bench.hear().await, "x".repeat(40));
    rig.bench.answers("MOVE", "moved").await;
    assert_eq!(rig.since(began), 450);
    wait(&mut note).await.unwrap();
    assert_eq!(text(wait(&mut asked).await.unwrap()), "moved");
}

#[tokio::test]
async fn queries_with_ids_keep_their_gaps_too() {
    let gap = Pacing { gap: ms(200), ..Pacing::default() };
    let mut rig = with(gap, |rules| rules.ids = Some(IdOf::Group(pattern("^([0-9]+) ")))).await;
    let began = rig.clock().now();
    let mut tickets = ["1 A", "2 B", "3 C"].map(|command| rig.ask(asks(numbered(command)), ms(500)));
    for (command, at) in [("1 A", 200), ("2 B", 400), ("3 C", 600)] {
        assert_eq!(rig.bench.hear().await, command);
        assert_eq!(rig.since(began), at);
    }
    rig.bench.say("3 c\n1 a\n2 b\n").await;
    for (ticket, reply) in tickets.iter_mut().zip(["1 a", "2 b", "3 c"]) {
        assert_eq!(text(wait(ticket).await.unwrap()), reply);
    }
}

#[tokio::test]
async fn bytes_go_one_by_one_or_in_chunks() {
    for (chunk, pauses) in [(1, 9), (3, 3), (10, 0), (100, 0)] {
        let mut rig = with_delay(10, chunk).await;
        let began = rig.clock().now();
        let mut asked = rig.query("123456789", SOON);
        rig.bench.answers("123456789", "done").await;
        assert_eq!(rig.since(began), 10 * pauses, "chunks of {chunk}");
        assert_eq!(text(wait(&mut asked).await.unwrap()), "done");
        let written: Vec<usize> = rig.link.trace.events().iter().map(|event| event.data.len()).collect();
        assert!(written[1..written.len() - 1].iter().all(|n| *n <= chunk), "{written:?}");
    }
}

#[tokio::test]
async fn the_pause_between_bytes_is_kept_from_one_command_to_the_next() {
    let mut rig = with_delay(10, 100).await;
    let began = rig.clock().now();
    for (message, at) in [("A", 0), ("B", 10), ("C", 20)] {
        wait(&mut rig.ask(send(message, false), SOON)).await.unwrap();
        assert_eq!(rig.bench.hear().await, message);
        assert_eq!(rig.since(began), at);
    }
}

#[tokio::test]
async fn a_gap_and_a_pause_between_bytes_go_together() {
    let mut rig = with(Pacing { gap: ms(100), char_delay: ms(10), chunk: 1 }, |_| {}).await;
    let began = rig.clock().now();
    let mut first = rig.ask(send("AB", false), SOON);
    let mut second = rig.ask(send("CD", false), SOON);
    assert_eq!(rig.bench.hear().await, "AB");
    assert_eq!(rig.since(began), 120);
    assert_eq!(rig.bench.hear().await, "CD");
    assert_eq!(rig.since(began), 240);
    wait(&mut first).await.unwrap();
    wait(&mut second).await.unwrap();
}

#[tokio::test]
async fn who_leaves_while_a_gap_is_kept_was_never_started() {
    let mut rig = with_gap(100).await;
    let mut left = rig.query("LEFT", SOON);
    let mut note = rig.ask(send("NOTE", false), SOON);
    rig.bench.pause(ms(50)).await;
    assert_eq!(cancelled(&mut left).await, Effect::NeverStarted);
    assert_eq!(cancelled(&mut note).await, Effect::NeverStarted);
    rig.bench.hears_nothing(ms(1000)).await;
    assert_eq!(rig.link.counts().written, 0);
}

#[tokio::test]
async fn a_frame_that_is_spelled_out_is_whole_before_the_next_unless_that_is_urgent() {
    let mut rig = with_delay(10, 1).await;
    let mut slow = rig.ask(query("12345678"), SOON);
    rig.bench.pause(ms(15)).await;
    let began = rig.clock().now();
    let mut stop = rig.ask(send("STOP", true), SOON);
    assert_eq!(kind(&wait(&mut slow).await), "busy", "it was cut");
    wait(&mut stop).await.unwrap();
    assert!(rig.since(began) <= 80, "{} ms", rig.since(began));
    assert!(rig.bench.hear().await.ends_with("STOP"));
}
