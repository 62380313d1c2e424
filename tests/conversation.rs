//! What a link does with its wire, as conversations in virtual time (laws 3 and 4, and turn-taking in the fine print).

#![cfg(test)]

mod common;

use bytes::Bytes;
use common::asking::poll;
use common::{Rig, SOON, kind, lines, ms, query, send, text, wait};
use labtether::error::{Effect, LinkError};
use labtether::link::feed::Feed;
use labtether::link::job::{Poll, Request, Want, What};
use labtether::link::rules::Resync;
use labtether::link::ticket::{Answer, Pending};
use std::time::Duration;

#[tokio::test]
async fn a_query_gets_its_reply() {
    let mut rig = Rig::open().await;
    let mut ticket = rig.query("S", SOON);
    assert_eq!(rig.bench.hear().await, "S");
    rig.bench.say("1.0 g\r\n").await;
    assert_eq!(text(wait(&mut ticket).await.unwrap()), "1.0 g");
}

#[tokio::test]
async fn a_cancelled_query_does_not_leave_its_reply_to_the_next_one() {
    let mut rig = Rig::open().await;
    let mut first = rig.query("FIRST", SOON);
    assert_eq!(rig.bench.hear().await, "FIRST");
    first.cancel();
    let Err(LinkError::Cancelled { effect, .. }) = wait(&mut first).await else { panic!() };
    assert_eq!(effect, Effect::Unconfirmed);
    let mut second = rig.query("SECOND", SOON);
    rig.bench.pause(ms(300)).await;
    rig.bench.say("one\n").await;
    assert_eq!(rig.bench.hear().await, "SECOND");
    rig.bench.say("two\n").await;
    assert_eq!(text(wait(&mut second).await.unwrap()), "two");
    assert_eq!(rig.link.counts().late, 1);
}

#[tokio::test]
async fn a_query_that_timed_out_does_not_leave_its_late_reply_to_the_next_one() {
    let mut rig = Rig::open().await;
    let asked = rig.clock().now();
    let mut first = rig.query("FIRST", ms(100));
    let verdict = wait(&mut first).await;
    assert_eq!(kind(&verdict), "timeout");
    assert_eq!(rig.clock().now().since(asked), ms(100));
    assert_eq!(rig.bench.hear().await, "FIRST");
    let mut second = rig.query("SECOND", ms(100));
    rig.bench.pause(ms(600)).await;
    rig.bench.say("one\n").await;
    assert_eq!(rig.bench.hear().await, "SECOND");
    rig.bench.say("two\n").await;
    assert_eq!(text(wait(&mut second).await.unwrap()), "two");
}

#[tokio::test]
async fn the_line_settles_after_a_late_reply() {
    let mut rig = Rig::open().await;
    let mut first = rig.query("FIRST", ms(100));
    assert_eq!(kind(&wait(&mut first).await), "timeout");
    let _ = rig.bench.hear().await;
    let _second = rig.query("SECOND", ms(100));
    rig.bench.say("one\n").await;
    let late = rig.clock().now();
    assert_eq!(rig.bench.hear().await, "SECOND");
    assert_eq!(rig.clock().now().since(late), ms(20));
}

#[tokio::test]
async fn a_debt_ends_with_its_deadline_and_a_drain() {
    let mut rig = Rig::open().await;
    let asked = rig.clock().now();
    let mut first = rig.query("FIRST", ms(100));
    assert_eq!(kind(&wait(&mut first).await), "timeout");
    let _ = rig.bench.hear().await;
    let _second = rig.query("SECOND", ms(100));
    assert_eq!(rig.bench.hear().await, "SECOND");
    assert_eq!(rig.clock().now().since(asked), ms(1100));
}

#[tokio::test]
async fn who_waits_too_long_for_a_debt_is_told_whose_it_is() {
    let mut rig = Rig::open().await;
    let mut first = rig.query("FIRST", Duration::MAX);
    let _ = rig.bench.hear().await;
    first.cancel();
    assert_eq!(kind(&wait(&mut first).await), "cancelled");
    let asked = rig.clock().now();
    let mut second = rig.query("SECOND", SOON);
    let Err(error @ LinkError::Busy { .. }) = wait(&mut second).await else { panic!() };
    assert_eq!(rig.clock().now().since(asked), Duration::from_secs(30));
    let text = error.to_string();
    assert!(text.contains("'FIRST'") && text.contains("resync="), "{text}");
}

#[tokio::test]
async fn with_resync_nothing_is_waited_for() {
    let answer = regex::bytes::Regex::new("^PONG$").unwrap();
    let frame = lines().encode(b"PING").unwrap();
    let resync = Resync::Command { command: Bytes::from_static(b"PING"), frame, answer };
    let mut rig = Rig::with(4096, Some(lines()), |config| config.rules.resync = Some(resync)).await;
    let mut first = rig.query("FIRST", SOON);
    let _ = rig.bench.hear().await;
    first.cancel();
    wait(&mut first).await.unwrap_err();
    let before = rig.clock().now();
    let mut second = rig.query("SECOND", SOON);
    assert_eq!(rig.bench.hear().await, "PING");
    rig.bench.say("one\nnoise\nPONG\n").await;
    assert_eq!(rig.bench.hear().await, "SECOND");
    assert_eq!(rig.clock().now(), before, "no time passed");
    rig.bench.say("two\n").await;
    assert_eq!(text(wait(&mut second).await.unwrap()), "two");
}

#[tokio::test]
async fn a_query_cancelled_while_queued_is_never_written() {
    let mut rig = Rig::open().await;
    let mut first = rig.query("FIRST", SOON);
    let mut second = rig.query("SECOND", SOON);
    let mut third = rig.query("THIRD", SOON);
    assert_eq!(rig.bench.hear().await, "FIRST");
    second.cancel();
    let Err(LinkError::Cancelled { effect, .. }) = wait(&mut second).await else { panic!() };
    assert_eq!(effect, Effect::NeverStarted);
    rig.bench.say("one\n").await;
    assert_eq!(rig.bench.hear().await, "THIRD");
    rig.bench.say("three\n").await;
    assert_eq!(text(wait(&mut first).await.unwrap()), "one");
    assert_eq!(text(wait(&mut third).await.unwrap()), "three");
}

#[tokio::test]
async fn a_message_that_was_there_before_the_question_is_not_its_reply() {
    let mut rig = Rig::open().await;
    rig.bench.say("ALARM\n").await;
    let mut ticket = rig.query("S", SOON);
    assert_eq!(rig.bench.hear().await, "S");
    rig.bench.say("1\n").await;
    assert_eq!(text(wait(&mut ticket).await.unwrap()), "1");
    let mut unasked = rig.ask(What::Receive { pattern: None, framing: None, accept: None }, SOON);
    assert_eq!(text(wait(&mut unasked).await.unwrap()), "ALARM");
}

#[tokio::test]
async fn half_a_message_that_was_there_before_the_question_is_not_the_beginning_of_its_reply() {
    let mut rig = Rig::open().await;
    rig.bench.say("ALA").await;
    rig.bench.pause(ms(1)).await;
    let mut ticket = rig.query("S", SOON);
    rig.bench.pause(ms(5)).await;
    rig.bench.say("RM\n").await;
    assert_eq!(rig.bench.hear().await, "S");
    rig.bench.say("1\n").await;
    assert_eq!(text(wait(&mut ticket).await.unwrap()), "1");
    let mut unasked = rig.ask(What::Receive { pattern: None, framing: None, accept: None }, SOON);
    assert_eq!(text(wait(&mut unasked).await.unwrap()), "ALARM");
}

#[tokio::test]
async fn bytes_without_an_end_are_shown_in_the_timeout() {
    let mut rig = Rig::open().await;
    let mut ticket = rig.query("S", ms(200));
    let _ = rig.bench.hear().await;
    rig.bench.say("1.0 g\r").await;
    let Err(error @ LinkError::Timeout { .. }) = wait(&mut ticket).await else { panic!() };
    assert_eq!(error.about().unwrap().heard, "1.0 g\r");
    assert!(error.to_string().contains("6 bytes"), "{error}");
    assert!(error.about().unwrap().tail.iter().any(|line| line.contains("1.0 g")), "{error:?}");
}

#[tokio::test]
async fn a_message_too_long_is_an_error_and_the_rest_of_it_nobodys_reply() {
    let mut rig = Rig::open().await;
    let mut first = rig.query("FIRST", SOON);
    let _ = rig.bench.hear().await;
    rig.bench.say(&"x".repeat(1500)).await;
    assert_eq!(kind(&wait(&mut first).await), "frame");
    let mut second = rig.query("SECOND", SOON);
    rig.bench.say("tail\n").await;
    assert_eq!(rig.bench.hear().await, "SECOND");
    rig.bench.say("two\n").await;
    assert_eq!(text(wait(&mut second).await.unwrap()), "two");
}

#[tokio::test]
async fn a_send_does_not_wait_for_a_debt_but_a_query_does() {
    let mut rig = Rig::open().await;
    let mut first = rig.query("FIRST", SOON);
    let _ = rig.bench.hear().await;
    first.cancel();
    wait(&mut first).await.unwrap_err();
    let _second = rig.query("SECOND", SOON);
    let mut note = rig.ask(send("NOTE", false), SOON);
    assert_eq!(rig.bench.hear().await, "NOTE");
    wait(&mut note).await.unwrap();
}

#[tokio::test]
async fn a_stalled_line_times_out_and_lets_an_urgent_message_pass() {
    let mut rig = Rig::with(8, Some(lines()), |_| {}).await;
    let mut stuck = rig.ask(send("0123456789", false), ms(500));
    let mut behind = rig.ask(send("never", false), ms(500));
    let started = rig.clock().now();
    assert_eq!(kind(&wait(&mut stuck).await), "timeout");
    assert_eq!(rig.clock().now().since(started), ms(500));
    let Err(LinkError::Timeout { effect, .. }) = wait(&mut behind).await else { panic!() };
    assert_eq!(effect, Effect::NeverStarted);
    // The frame that was begun is still written whole when the line moves again, and nothing of the other.
    assert_eq!(rig.bench.hear().await, "0123456789");
    let mut after = rig.ask(send("after", false), ms(500));
    wait(&mut after).await.unwrap();
    assert_eq!(rig.bench.hear().await, "after");
}

#[tokio::test]
async fn an_urgent_message_cuts_what_is_being_written() {
    let mut rig = Rig::with(8, Some(lines()), |_| {}).await;
    let mut cut = rig.ask(query("0123456789"), SOON);
    rig.bench.pause(ms(1)).await;
    let started = rig.clock().now();
    let mut halt = rig.ask(send("HALT", true), SOON);
    assert_eq!(kind(&wait(&mut cut).await), "busy");
    assert!(rig.clock().now().since(started) <= ms(50));
    // What the pipe held was recalled, as the kernel's queue of a serial port is.
    assert_eq!(rig.bench.hear().await, "HALT");
    wait(&mut halt).await.unwrap();
}

#[tokio::test]
async fn bytes_read_for_a_cancelled_await_go_back_to_the_front() {
    let mut rig = Rig::with(4096, None, |_| {}).await;
    let mut first = rig.ask(What::Read(Want::Exactly(3)), SOON);
    let mut second = rig.ask(What::Read(Want::Exactly(3)), SOON);
    rig.bench.say("abcdef").await;
    rig.bench.pause(ms(1)).await;
    // Both could be served; the first is lent its bytes and has not claimed them, so the second waits.
    first.cancel();
    assert_eq!(kind(&wait(&mut first).await), "cancelled");
    assert_eq!(text(wait(&mut second).await.unwrap()), "abc");
    let mut third = rig.ask(What::Read(Want::Exactly(3)), SOON);
    assert_eq!(text(wait(&mut third).await.unwrap()), "def");
}

#[tokio::test]
async fn a_read_that_timed_out_keeps_its_bytes_for_the_next() {
    let mut rig = Rig::with(4096, None, |_| {}).await;
    let mut first = rig.ask(What::Read(Want::Exactly(6)), ms(100));
    rig.bench.say("abc").await;
    let verdict = wait(&mut first).await;
    assert_eq!(kind(&verdict), "timeout");
    assert_eq!(verdict.unwrap_err().about().unwrap().heard, "abc");
    let mut second = rig.ask(What::Read(Want::Until(Bytes::from_static(b"c"))), ms(100));
    assert_eq!(text(wait(&mut second).await.unwrap()), "abc");
}

#[tokio::test]
async fn timeouts_of_minutes_take_no_time() {
    let mut rig = Rig::open().await;
    let began = rig.clock().now();
    let mut ticket = rig.query("S", Duration::from_secs(3600));
    assert_eq!(kind(&wait(&mut ticket).await), "timeout");
    assert_eq!(rig.clock().now().since(began), Duration::from_secs(3600));
    assert_eq!(rig.bench.hear().await, "S");
}

#[tokio::test]
async fn a_poll_does_not_drift_and_loses_beats_rather_than_shifting_them() {
    let mut rig = Rig::open().await;
    let feed = Feed::new(1000);
    let poll = Poll { count: Some(4), ..poll(&feed) };
    let began = rig.clock().now();
    rig.link.tell(Request::Poll(poll), rig.clock()).unwrap();
    let mut asked = Vec::new();
    for slow in [30, 250, 10, 0] {
        assert_eq!(rig.bench.hear().await, "SI");
        asked.push(rig.clock().now().since(began).as_millis());
        rig.bench.pause(ms(slow)).await;
        rig.bench.say("1\n").await;
    }
    assert_eq!(asked, [0, 100, 400, 500]);
    let mut readings = 0;
    while let Ok(Answer::Batch(batch, 0)) = wait(&mut feed.next()).await {
        readings += batch.len();
    }
    assert_eq!(readings, 4);
}

#[tokio::test]
async fn losing_the_port_fails_what_waits_and_what_comes_after() {
    let mut rig = Rig::open().await;
    let mut waiting = rig.query("S", SOON);
    let _ = rig.bench.hear().await;
    let Rig { link, bench, place } = rig;
    drop(bench);
    assert_eq!(kind(&wait(&mut waiting).await), "lost");
    assert_eq!(link.state(), "lost");
    let mut next = link.ask(query("S"), None, SOON, SOON, place.clock());
    assert_eq!(kind(&wait(&mut next).await), "lost");
    wait(&mut link.stop(&place)).await.unwrap();
    assert_eq!(link.state(), "closed");
}

#[tokio::test]
async fn stop_fails_what_waits_and_leaves_nothing() {
    let mut rig = Rig::open().await;
    let mut waiting = rig.query("S", SOON);
    let mut queued = rig.query("T", SOON);
    let _ = rig.bench.hear().await;
    wait(&mut rig.link.stop(&rig.place)).await.unwrap();
    assert_eq!(kind(&wait(&mut waiting).await), "closed");
    assert_eq!(kind(&wait(&mut queued).await), "closed");
    wait(&mut rig.link.stop(&rig.place)).await.unwrap();
    rig.place.nursery.close();
    rig.place.nursery.ended().await;
    assert_eq!(rig.place.nursery.census().tree(), "");
}
