//! Who goes first on a link's wire, in virtual time: urgent messages, resynchronising, several who wait for the same thing (laws 3 and 4).

#![cfg(test)]

mod common;

use bytes::Bytes;
use common::{Rig, SOON, kind, lines, ms, query, send, text, wait};
use labtether::error::LinkError;
use labtether::link::feed::Feed;
use labtether::link::job::{Ending, Request, Want, What};
use labtether::link::rules::Resync;
use labtether::link::ticket::{Answer, Pending, next_id};
use regex::bytes::Regex;

fn receive() -> What {
    What::Receive { pattern: None, framing: None, accept: None }
}

async fn with_resync() -> Rig {
    let frame = lines().encode(b"PING").unwrap();
    let resync = Resync::Command { command: Bytes::from_static(b"PING"), frame, answer: Regex::new("^PONG$").unwrap() };
    Rig::with(4096, Some(lines()), |config| config.rules.resync = Some(resync)).await
}

/// A link that is owed the answer to FIRST and has written PING for SECOND.
async fn resynchronising() -> (Rig, labtether::link::ticket::Ticket) {
    let mut rig = with_resync().await;
    let mut first = rig.query("FIRST", SOON);
    let _ = rig.bench.hear().await;
    first.cancel();
    wait(&mut first).await.unwrap_err();
    let second = rig.query("SECOND", SOON);
    assert_eq!(rig.bench.hear().await, "PING");
    (rig, second)
}

#[tokio::test]
async fn urgent_messages_keep_their_order_and_do_not_cut_each_other() {
    let mut rig = Rig::with(4, Some(lines()), |_| {}).await;
    let mut cut = rig.ask(query("0123456789"), SOON);
    rig.bench.pause(ms(1)).await;
    let mut first = rig.ask(send("FIRST", true), SOON);
    let mut second = rig.ask(send("SECOND", true), SOON);
    assert_eq!(kind(&wait(&mut cut).await), "busy");
    // Longer than a cut takes: what is urgent itself is not discarded.
    rig.bench.pause(ms(200)).await;
    assert_eq!(rig.bench.hear().await, "FIRST");
    assert_eq!(rig.bench.hear().await, "SECOND");
    wait(&mut first).await.unwrap();
    wait(&mut second).await.unwrap();
}

#[tokio::test]
async fn an_urgent_message_that_nobody_wants_any_more_cuts_nothing() {
    let mut rig = Rig::with(4, Some(lines()), |_| {}).await;
    let mut asked = rig.ask(query("0123456789"), SOON);
    rig.bench.pause(ms(1)).await;
    let mut halt = rig.ask(send("HALT", true), SOON);
    halt.cancel();
    assert_eq!(kind(&wait(&mut halt).await), "cancelled");
    rig.bench.pause(ms(200)).await;
    assert_eq!(rig.bench.hear().await, "0123456789");
    rig.bench.say("1\n").await;
    assert_eq!(text(wait(&mut asked).await.unwrap()), "1");
}

#[tokio::test]
async fn a_command_that_was_cut_after_its_asker_left_is_owed_no_answer_for_long() {
    let mut rig = Rig::with(4, Some(lines()), |_| {}).await;
    let mut left = rig.ask(query("0123456789"), std::time::Duration::from_secs(600));
    rig.bench.pause(ms(1)).await;
    left.cancel();
    assert_eq!(kind(&wait(&mut left).await), "cancelled");
    let mut halt = rig.ask(send("HALT", true), SOON);
    rig.bench.pause(ms(40)).await;
    assert_eq!(rig.bench.hear().await, "HALT");
    wait(&mut halt).await.unwrap();
    let sent = rig.clock().now();
    let _next = rig.ask(query("NEXT"), SOON);
    assert_eq!(rig.bench.hear().await, "NEXT");
    assert!(rig.clock().now().since(sent) <= ms(1020), "until the line is quiet, or a drain");
}

#[tokio::test]
async fn a_message_that_expects_no_answer_passes_a_link_that_is_getting_back_in_step() {
    let (mut rig, mut second) = resynchronising().await;
    let mut note = rig.ask(send("NOTE", false), SOON);
    assert_eq!(rig.bench.hear().await, "NOTE");
    wait(&mut note).await.unwrap();
    rig.bench.say("one\nPONG\n").await;
    assert_eq!(rig.bench.hear().await, "SECOND");
    rig.bench.say("two\n").await;
    assert_eq!(text(wait(&mut second).await.unwrap()), "two");
}

#[tokio::test]
async fn a_link_that_gets_no_answer_to_its_resync_says_so() {
    let (rig, mut second) = resynchronising().await;
    let began = rig.clock().now();
    let Err(LinkError::Busy { why, .. }) = wait(&mut second).await else { panic!("not busy") };
    assert!(why.contains("resync"), "{why}");
    assert_eq!(rig.clock().now().since(began), SOON);
}

#[tokio::test]
async fn a_read_may_want_more_than_is_kept_unread() {
    let many = 3_000_000;
    let mut rig = Rig::with(65536, None, |_| {}).await;
    let mut read = rig.ask(What::Read(Want::Exactly(many)), SOON);
    for _ in 0..many / 1000 {
        rig.bench.say(&"x".repeat(1000)).await;
    }
    let Answer::Bytes(bytes) = wait(&mut read).await.unwrap() else { panic!("no bytes") };
    assert_eq!(bytes.len(), many);
}

#[tokio::test]
async fn what_has_come_by_the_deadline_counts_however_late_it_is_looked_at() {
    let mut rig = Rig::with(4096, None, |_| {}).await;
    let mut read = rig.ask(What::Read(Want::Exactly(3)), ms(100));
    rig.bench.pause(ms(100)).await;
    rig.bench.say("abc").await;
    let verdict = wait(&mut read).await;
    // Both in the same instant: either is right, and nothing is lost.
    if kind(&verdict) == "timeout" {
        let mut again = rig.ask(What::Read(Want::Exactly(3)), SOON);
        assert_eq!(text(wait(&mut again).await.unwrap()), "abc");
    } else {
        assert_eq!(text(verdict.unwrap()), "abc");
    }
}

#[tokio::test]
async fn messages_that_were_given_back_come_again_in_their_order() {
    let mut rig = Rig::open().await;
    rig.bench.say("one\ntwo\nthree\n").await;
    for expected in ["one", "two"] {
        assert_eq!(text(wait(&mut rig.ask(receive(), SOON)).await.unwrap()), expected);
    }
    let back = vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    rig.link.tell(Request::GiveBack(back), rig.clock()).unwrap();
    for expected in ["one", "two", "three"] {
        assert_eq!(text(wait(&mut rig.ask(receive(), SOON)).await.unwrap()), expected);
    }
}

#[tokio::test]
async fn whoever_waits_for_a_batch_is_woken() {
    let mut rig = Rig::open().await;
    let feed = Feed::new(10);
    let request = Request::Subscribe { id: next_id(), pattern: None, feed: feed.clone() };
    rig.link.tell(request, rig.clock()).unwrap();
    let (mut first, mut second) = (feed.next(), feed.next());
    let both = async { tokio::join!(wait(&mut first), wait(&mut second)) };
    let said = async {
        rig.bench.say("one\n").await;
        rig.bench.pause(ms(10)).await;
        rig.bench.say("two\n").await;
    };
    let ((first, second), ()) = tokio::join!(both, said);
    for verdict in [first, second] {
        let Ok(Answer::Batch(batch, 0)) = verdict else { panic!("no batch") };
        assert_eq!(batch.len(), 1);
    }
}

#[tokio::test]
async fn what_waited_behind_a_query_goes_out_when_that_times_out() {
    let mut rig = Rig::open().await;
    let mut silent = rig.query("S", ms(500));
    assert_eq!(rig.bench.hear().await, "S");
    let began = rig.clock().now();
    let mut halt = rig.ask(send("HALT", false), SOON);
    assert_eq!(kind(&wait(&mut silent).await), "timeout");
    wait(&mut halt).await.unwrap();
    assert_eq!(rig.clock().now().since(began), ms(500), "a message that expects no answer waits for no debt");
    assert_eq!(rig.bench.hear().await, "HALT");
}

#[tokio::test]
async fn who_waited_behind_a_query_gets_back_in_step_when_that_times_out() {
    let mut rig = with_resync().await;
    let mut silent = rig.query("S", ms(500));
    assert_eq!(rig.bench.hear().await, "S");
    let began = rig.clock().now();
    let _next = rig.query("NEXT", SOON);
    assert_eq!(kind(&wait(&mut silent).await), "timeout");
    assert_eq!(rig.bench.hear().await, "PING");
    assert_eq!(rig.clock().now().since(began), ms(500));
}

#[tokio::test]
async fn an_owed_reply_of_any_size_is_dropped_whole() {
    let many = 3_000_000;
    let mut rig = Rig::with(65536, Some(lines()), |_| {}).await;
    let Ok(Answer::Number(talk)) = wait(&mut rig.ask(common::talk(), SOON)).await else { panic!("no exchange") };
    wait(&mut rig.link.ask(send("DUMP", false), Some(talk), SOON, SOON, rig.clock())).await.unwrap();
    assert_eq!(rig.bench.hear().await, "DUMP");
    let mut dump = rig.link.ask(What::Read(Want::Exactly(many)), Some(talk), SOON, SOON, rig.clock());
    rig.bench.pause(ms(1)).await;
    dump.cancel();
    assert_eq!(kind(&wait(&mut dump).await), "cancelled");
    rig.link.tell(Request::EndTalk { talk, ending: Ending::Failed }, rig.clock()).unwrap();
    let began = rig.clock().now();
    let mut next = rig.query("NEXT", SOON);
    for _ in 0..many / 1000 {
        rig.bench.say(&format!("{}\n", "x".repeat(999))).await;
    }
    assert_eq!(rig.bench.hear().await, "NEXT");
    assert_eq!(rig.clock().now().since(began), ms(20), "it was read as fast as it came, and then the line settled");
    rig.bench.say("next\n").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
}

#[tokio::test]
async fn a_message_that_is_half_in_is_waited_for_although_an_older_one_was_waited_for_long_ago() {
    let mut rig = Rig::open().await;
    let mut first = rig.query("FIRST", SOON);
    assert_eq!(rig.bench.hear().await, "FIRST");
    first.cancel();
    // Dropped; then the line has to be quiet, which is not waited for longer than a drain from now.
    rig.bench.say("first\n").await;
    rig.bench.hears_nothing(ms(990)).await;
    rig.bench.say("ALARM").await;
    let mut second = rig.query("SECOND", SOON);
    rig.bench.hears_nothing(ms(15)).await;
    rig.bench.say(" 3\n").await;
    rig.bench.answers("SECOND", "second").await;
    assert_eq!(text(wait(&mut second).await.unwrap()), "second");
}
