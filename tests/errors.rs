//! What a reply may be besides a reply, in virtual time: an error, "busy", something nobody asked for, or another device's (law 3).

#![cfg(test)]

mod common;

use bytes::Bytes;
use common::asking::{asks, cancelled, effect, halt, pattern, question, receive};
use common::{Rig, SOON, kind, lines, ms, send, text, wait};
use labtether::error::{Effect, LinkError};
use labtether::link::feed::Feed;
use labtether::link::job::{Ending, Request, What};
use labtether::link::question::Question;
use labtether::link::rules::{Resync, Rules};
use labtether::link::ticket::{Answer, Verdict, next_id};

async fn with(change: impl FnOnce(&mut Rules)) -> Rig {
    Rig::with(4096, Some(lines()), |config| change(&mut config.rules)).await
}

/// Errors are "ERR code text", "BUSY" is busy, "ALARM" is unsolicited.
async fn strict() -> Rig {
    with(|rules| {
        rules.error = Some(pattern(r"^ERR (?P<code>-?\d+)(?: (?P<text>.*))?$"));
        rules.busy = Some(pattern("^BUSY"));
        rules.unsolicited = Some(pattern("^ALARM"));
    })
    .await
}

/// Device 1's part of a shared line: what begins with another number is another's.
fn of_device_1(command: &str) -> Question {
    Question { accept: Some(pattern("^1 ")), ..question(command) }
}

#[track_caller]
fn instrument(verdict: Verdict) -> (bool, Option<Bytes>, Option<Bytes>, Bytes) {
    match verdict {
        Err(LinkError::Instrument { busy, code, text, reply, .. }) => (busy, code, text, reply),
        other => panic!("no error of the instrument: {other:?}"),
    }
}

async fn unasked(rig: &Rig) -> String {
    text(wait(&mut rig.ask(receive(None), ms(100))).await.unwrap())
}

#[tokio::test]
async fn a_reply_that_is_an_error_is_one_to_its_asker_alone() {
    let mut rig = strict().await;
    let mut asked = rig.query("MOVE", SOON);
    let mut next = rig.query("NEXT", SOON);
    rig.bench.answers("MOVE", "ERR -113 Undefined header").await;
    let verdict = wait(&mut asked).await;
    let about = verdict.as_ref().unwrap_err().about().unwrap().clone();
    assert_eq!((about.command.as_deref(), &about.heard[..]), (Some(&b"MOVE"[..]), &b"ERR -113 Undefined header"[..]));
    let whole = Bytes::from_static(b"ERR -113 Undefined header");
    let (code, words) = (Bytes::from_static(b"-113"), Bytes::from_static(b"Undefined header"));
    assert_eq!(instrument(verdict), (false, Some(code), Some(words), whole));
    rig.bench.answers("NEXT", "next").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
    rig.is_in_step().await;
}

#[tokio::test]
async fn an_error_without_a_text_and_a_busy_one_are_told_apart() {
    let mut rig = strict().await;
    for (reply, busy, code) in [("ERR 7", false, Some("7")), ("BUSY, later", true, None)] {
        let mut asked = rig.query("MOVE", SOON);
        rig.bench.answers("MOVE", reply).await;
        let code = code.map(|code| Bytes::copy_from_slice(code.as_bytes()));
        assert_eq!(instrument(wait(&mut asked).await), (busy, code, None, Bytes::copy_from_slice(reply.as_bytes())));
    }
    rig.is_in_step().await;
}

#[tokio::test]
async fn busy_goes_before_an_error_where_both_fit() {
    let mut rig = with(|rules| {
        rules.error = Some(pattern("^ERR"));
        rules.busy = Some(pattern("^ERR busy"));
    })
    .await;
    for (reply, is_busy) in [("ERR busy", true), ("ERR wrong", false)] {
        let mut asked = rig.query("MOVE", SOON);
        rig.bench.answers("MOVE", reply).await;
        assert_eq!(instrument(wait(&mut asked).await).0, is_busy);
    }
}

#[tokio::test]
async fn in_an_exchange_an_error_is_one_unless_it_was_asked_for_by_name() {
    let mut rig = strict().await;
    let talk = rig.talks(common::talk()).await;
    for wanted in [None, Some("^DONE"), Some("^ERR")] {
        wait(&mut rig.inside(talk, send("MOVE", false))).await.unwrap();
        assert_eq!(rig.bench.hear().await, "MOVE");
        let mut answer = rig.inside(talk, receive(wanted));
        rig.bench.say("ERR 7 stuck\n").await;
        let verdict = wait(&mut answer).await;
        if wanted == Some("^ERR") {
            assert_eq!(text(verdict.unwrap()), "ERR 7 stuck");
        } else {
            assert_eq!(instrument(verdict).1.as_deref(), Some(&b"7"[..]));
        }
    }
    // All was answered: nothing is owed.
    assert_eq!(effect(wait(&mut rig.leaves(talk, Ending::Failed)).await), Effect::HaltedAtBoundary);
    rig.is_in_step().await;
}

#[tokio::test]
async fn in_an_exchange_what_was_passed_over_before_an_error_is_still_there() {
    let mut rig = strict().await;
    let talk = rig.talks(common::talk()).await;
    wait(&mut rig.inside(talk, send("MOVE", false))).await.unwrap();
    let mut done = rig.inside(talk, receive(Some("^DONE")));
    rig.bench.say("moving\nERR 7 stuck\n").await;
    assert_eq!(kind(&wait(&mut done).await), "other");
    assert_eq!(text(wait(&mut rig.inside(talk, receive(None))).await.unwrap()), "moving");
}

#[tokio::test]
async fn what_is_unsolicited_is_never_a_reply_and_nothing_to_wait_for() {
    let mut rig = strict().await;
    let feed = Feed::new(10);
    rig.link.tell(Request::Subscribe { id: next_id(), pattern: None, feed: feed.clone() }, rig.clock()).unwrap();
    let mut asked = rig.query("MOVE", SOON);
    assert_eq!(rig.bench.hear().await, "MOVE");
    rig.bench.say("ALARM 1\nmoved\nALARM 2\n").await;
    assert_eq!(text(wait(&mut asked).await.unwrap()), "moved");
    let talk = rig.talks(common::talk()).await;
    wait(&mut rig.inside(talk, send("home", false))).await.unwrap();
    let mut ack = rig.inside(talk, receive(None));
    rig.bench.say("ALARM 3\nACK\n").await;
    assert_eq!(text(wait(&mut ack).await.unwrap()), "ACK");
    wait(&mut rig.leaves(talk, Ending::Clean)).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let Ok(Answer::Batch(batch, 0)) = wait(&mut feed.next()).await else { panic!("no batch") };
        heard.extend(batch.into_iter().map(|heard| String::from_utf8_lossy(&heard.body).into_owned()));
    }
    assert_eq!(heard, ["ALARM 1", "ALARM 2", "ALARM 3"]);
    assert_eq!(rig.link.counts().late, 0);
}

#[tokio::test]
async fn what_is_unsolicited_does_not_pay_what_is_owed() {
    for cut in 0.."ALARM\n".len() {
        let mut rig = strict().await;
        let mut first = rig.query("FIRST", SOON);
        assert_eq!(rig.bench.hear().await, "FIRST");
        assert_eq!(cancelled(&mut first).await, Effect::Unconfirmed);
        let mut second = rig.query("SECOND", SOON);
        let (begun, ended) = "ALARM\n".split_at(cut);
        rig.bench.say(begun).await;
        rig.bench.pause(ms(50)).await;
        rig.bench.say(ended).await;
        rig.bench.hears_nothing(ms(500)).await;
        rig.bench.say("one\n").await;
        rig.bench.answers("SECOND", "two").await;
        assert_eq!(text(wait(&mut second).await.unwrap()), "two");
        assert_eq!(unasked(&rig).await, "ALARM");
        rig.is_in_step().await;
    }
}

#[tokio::test]
async fn what_is_unsolicited_is_heard_while_a_cancelled_exchange_is_waited_out() {
    for cut in 0.."ALARM\n".len() {
        let mut rig = strict().await;
        let talk = rig.talks(common::talk()).await;
        wait(&mut rig.inside(talk, send("home", false))).await.unwrap();
        assert_eq!(rig.bench.hear().await, "home");
        let mut ack = rig.inside(talk, receive(None));
        rig.bench.say("ACK\n").await;
        assert_eq!(text(wait(&mut ack).await.unwrap()), "ACK");
        let (begun, ended) = "ALARM\n".split_at(cut);
        wait(&mut rig.leaves(talk, Ending::Cancelled)).await.unwrap();
        rig.bench.say(begun).await;
        rig.bench.pause(ms(5)).await;
        rig.bench.say(ended).await;
        rig.bench.pause(ms(5)).await;
        rig.bench.say("DONE\n").await;
        assert_eq!(unasked(&rig).await, "ALARM");
        rig.bench.pause(ms(2000)).await;
        rig.is_in_step().await;
        assert_eq!(rig.link.counts().late, 1);
    }
}

#[tokio::test]
async fn in_an_exchange_what_is_unsolicited_does_not_pay_what_a_wait_was_owed() {
    let mut rig = strict().await;
    let talk = rig.talks(common::talk()).await;
    wait(&mut rig.inside(talk, send("A", false))).await.unwrap();
    let mut first = rig.inside(talk, receive(None));
    rig.bench.pause(ms(1)).await;
    assert_eq!(cancelled(&mut first).await, Effect::Unconfirmed);
    let mut level = rig.inside(talk, What::CatchUp);
    rig.bench.say("ALARM\n").await;
    rig.bench.pause(ms(100)).await;
    assert!(common::asking::is_pending(&mut level));
    rig.bench.say("a\n").await;
    wait(&mut level).await.unwrap();
    assert_eq!(unasked(&rig).await, "ALARM");
    assert_eq!(rig.link.counts().late, 1);
}

#[tokio::test]
async fn a_message_of_another_device_is_not_the_reply() {
    let mut rig = Rig::open().await;
    let mut asked = rig.ask(asks(of_device_1("1 MOVE")), SOON);
    assert_eq!(rig.bench.hear().await, "1 MOVE");
    rig.bench.say("2 ready\n1 moved\n").await;
    assert_eq!(text(wait(&mut asked).await.unwrap()), "1 moved");
    assert_eq!(unasked(&rig).await, "2 ready");
    let talk = rig.talks(common::talk()).await;
    wait(&mut rig.inside(talk, send("1 home", false))).await.unwrap();
    let accept = Some(pattern("^1 "));
    let mut ack = rig.inside(talk, What::Receive { pattern: None, framing: None, accept });
    rig.bench.say("2 steady\n1 ACK\n").await;
    assert_eq!(text(wait(&mut ack).await.unwrap()), "1 ACK");
    assert_eq!(unasked(&rig).await, "2 steady");
}

#[tokio::test]
async fn a_message_of_another_device_does_not_pay_what_is_owed() {
    let mut rig = Rig::open().await;
    let mut first = rig.ask(asks(of_device_1("1 MOVE")), SOON);
    assert_eq!(rig.bench.hear().await, "1 MOVE");
    assert_eq!(cancelled(&mut first).await, Effect::Unconfirmed);
    let mut second = rig.ask(asks(of_device_1("1 STATUS")), SOON);
    rig.bench.say("2 ready\n").await;
    rig.bench.hears_nothing(ms(500)).await;
    rig.bench.say("1 moved\n").await;
    rig.bench.answers("1 STATUS", "1 idle").await;
    assert_eq!(text(wait(&mut second).await.unwrap()), "1 idle");
    assert_eq!(unasked(&rig).await, "2 ready");
}

#[tokio::test]
async fn a_message_of_another_device_is_no_part_of_an_abort() {
    let mut rig = Rig::open().await;
    let abort = Some(halt(Some("^1 HALTED")));
    let mut asked = rig.ask(asks(Question { abort, ..of_device_1("1 MOVE") }), SOON);
    assert_eq!(rig.bench.hear().await, "1 MOVE");
    common::asking::cancels(&mut asked);
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.say("2 ready\n1 HALTED\n").await;
    assert_eq!(effect(wait(&mut asked).await), Effect::Halted);
    assert_eq!(unasked(&rig).await, "2 ready");
}

#[tokio::test]
async fn a_receive_takes_what_it_accepts_and_leaves_the_rest() {
    let mut rig = Rig::open().await;
    rig.bench.say("2 one\n1 two\n1 three\n").await;
    let accept = || Some(pattern("^1 "));
    let mut by_name = rig.ask(What::Receive { pattern: Some(pattern("three")), framing: None, accept: accept() }, SOON);
    assert_eq!(text(wait(&mut by_name).await.unwrap()), "1 three");
    let mut accepted = rig.ask(What::Receive { pattern: None, framing: None, accept: accept() }, SOON);
    assert_eq!(text(wait(&mut accepted).await.unwrap()), "1 two");
    assert_eq!(unasked(&rig).await, "2 one");
}

#[tokio::test]
async fn garbage_is_an_error_and_what_follows_it_nobodys_reply() {
    let mut rig = strict().await;
    let mut asked = rig.query("MOVE", SOON);
    let mut next = rig.query("NEXT", SOON);
    assert_eq!(rig.bench.hear().await, "MOVE");
    rig.bench.say(&"x".repeat(2000)).await;
    assert_eq!(kind(&wait(&mut asked).await), "frame");
    rig.bench.say("moved\nALARM\n").await;
    rig.bench.answers("NEXT", "next").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
    assert_eq!(unasked(&rig).await, "ALARM");
    rig.is_in_step().await;
}

#[tokio::test]
async fn what_a_resync_is_answered_may_be_an_error_elsewhere() {
    let frame = lines().encode(b"PING").unwrap();
    let resync = Resync::Command { command: Bytes::from_static(b"PING"), frame, answer: pattern("^ERR ping$") };
    let mut rig = with(|rules| {
        rules.error = Some(pattern("^ERR"));
        rules.resync = Some(resync);
    })
    .await;
    let mut first = rig.query("FIRST", SOON);
    assert_eq!(rig.bench.hear().await, "FIRST");
    assert_eq!(cancelled(&mut first).await, Effect::Unconfirmed);
    let mut second = rig.query("SECOND", SOON);
    assert_eq!(rig.bench.hear().await, "PING");
    rig.bench.say("one\nERR ping\n").await;
    rig.bench.answers("SECOND", "two").await;
    assert_eq!(text(wait(&mut second).await.unwrap()), "two");
}
