//! Several queries in flight at once, told apart by their ids, in virtual time: each gets its own reply, in whatever order they come (law 3).

#![cfg(test)]

mod common;

use common::asking::{asks, cancelled, effect, halt, is_pending, numbered, pattern, receive};
use common::{Rig, SOON, kind, lines, ms, query, send, text, wait};
use labtether::error::{Effect, LinkError};
use labtether::link::job::{Ending, What};
use labtether::link::question::Question;
use labtether::link::rules::{IdOf, Rules};
use labtether::link::ticket::{Pending, Ticket};
use std::time::Duration;

/// A link whose messages begin with a number; "ALARM" is unsolicited, "... ERR" an error.
async fn with(capacity: usize, change: impl FnOnce(&mut Rules)) -> Rig {
    Rig::with(capacity, Some(lines()), |config| {
        config.rules.ids = Some(IdOf::Group(pattern("^([0-9]+) ")));
        config.rules.unsolicited = Some(pattern("^ALARM"));
        config.rules.error = Some(pattern(" ERR"));
        change(&mut config.rules);
    })
    .await
}

async fn open() -> Rig {
    with(4096, |_| {}).await
}

fn ask(rig: &Rig, command: &str, limit: Duration) -> Ticket {
    rig.ask(asks(numbered(command)), limit)
}

fn ask_stoppable(rig: &Rig, command: &str, reply: Option<&str>, limit: Duration) -> Ticket {
    rig.ask(asks(Question { abort: Some(halt(reply)), ..numbered(command) }), limit)
}

async fn hears(rig: &mut Rig, commands: &[&str]) {
    for command in commands {
        assert_eq!(rig.bench.hear().await, *command);
    }
}

async fn said(ticket: &mut Ticket) -> String {
    text(wait(ticket).await.unwrap())
}

/// That nobody is answered by what was left over, and a fresh question is.
async fn is_in_step(rig: &mut Rig) {
    let mut fresh = ask(rig, "99 FRESH", SOON);
    hears(rig, &["99 FRESH"]).await;
    rig.bench.say("99 fresh\n").await;
    assert_eq!(said(&mut fresh).await, "99 fresh");
    assert_eq!(kind(&wait(&mut rig.ask(receive(None), ms(50))).await), "timeout");
}

#[tokio::test]
async fn replies_in_any_order_reach_their_questions() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        let mut rig = open().await;
        let mut tickets = [ask(&rig, "1 A", SOON), ask(&rig, "2 B", SOON), ask(&rig, "3 C", SOON)];
        hears(&mut rig, &["1 A", "2 B", "3 C"]).await;
        for index in order {
            rig.bench.say(&format!("{} done\n", index + 1)).await;
            rig.bench.pause(ms(10)).await;
            assert_eq!(said(&mut tickets[index]).await, format!("{} done", index + 1));
        }
        assert_eq!(rig.link.counts().exchanges, 3);
    }
}

#[tokio::test]
async fn a_reply_to_nobody_and_an_unsolicited_message_are_unasked() {
    let mut rig = open().await;
    let mut first = ask(&rig, "1 A", SOON);
    hears(&mut rig, &["1 A"]).await;
    rig.bench.say("ALARM 1 done\n7 done\nno number\n1 done\n").await;
    assert_eq!(said(&mut first).await, "1 done");
    for expected in ["ALARM 1 done", "7 done", "no number"] {
        assert_eq!(said(&mut rig.ask(receive(None), SOON)).await, expected);
    }
}

#[tokio::test]
async fn an_id_twice_is_its_askers_mistake_in_flight_and_in_the_queue() {
    let mut rig = open().await;
    let mut first = ask(&rig, "1 A", SOON);
    let mut again = ask(&rig, "1 B", SOON);
    let Err(LinkError::Argument { why }) = wait(&mut again).await else { panic!("no mistake") };
    assert!(why.contains("the id '1' is in flight already"), "{why}");
    // A query without an id has the line alone, and others wait.
    let mut alone = rig.query("ALONE", SOON);
    let mut queued = ask(&rig, "2 C", SOON);
    let mut twice = ask(&rig, "2 D", SOON);
    assert_eq!(kind(&wait(&mut twice).await), "other");
    hears(&mut rig, &["1 A"]).await;
    rig.bench.hears_nothing(ms(100)).await;
    rig.bench.say("1 done\n").await;
    hears(&mut rig, &["ALONE"]).await;
    rig.bench.say("alone\n").await;
    hears(&mut rig, &["2 C"]).await;
    rig.bench.say("2 done\n").await;
    for (ticket, expected) in [(&mut first, "1 done"), (&mut alone, "alone"), (&mut queued, "2 done")] {
        assert_eq!(said(ticket).await, expected);
    }
}

#[tokio::test]
async fn a_late_reply_to_who_left_is_dropped_and_holds_nobody_up() {
    let mut rig = open().await;
    let mut left = ask(&rig, "1 A", SOON);
    let mut other = ask(&rig, "2 B", SOON);
    hears(&mut rig, &["1 A", "2 B"]).await;
    assert_eq!(cancelled(&mut left).await, Effect::Unconfirmed);
    let mut third = ask(&rig, "3 C", SOON);
    hears(&mut rig, &["3 C"]).await;
    rig.bench.say("1 done\n3 done\n2 done\n").await;
    assert_eq!(said(&mut other).await, "2 done");
    assert_eq!(said(&mut third).await, "3 done");
    assert_eq!(rig.link.counts().late, 1);
    is_in_step(&mut rig).await;
}

#[tokio::test]
async fn an_id_that_was_left_is_asked_again_only_after_its_late_reply() {
    let mut rig = open().await;
    let mut left = ask(&rig, "1 A", SOON);
    hears(&mut rig, &["1 A"]).await;
    assert_eq!(cancelled(&mut left).await, Effect::Unconfirmed);
    let mut again = ask(&rig, "1 B", SOON);
    let mut other = ask(&rig, "2 C", SOON);
    // Others pass it.
    hears(&mut rig, &["2 C"]).await;
    rig.bench.hears_nothing(ms(300)).await;
    rig.bench.say("1 a\n").await;
    hears(&mut rig, &["1 B"]).await;
    rig.bench.say("1 b\n2 c\n").await;
    assert_eq!(said(&mut again).await, "1 b");
    assert_eq!(said(&mut other).await, "2 c");
    is_in_step(&mut rig).await;
}

#[tokio::test]
async fn an_id_whose_reply_never_comes_is_free_after_its_deadline_and_a_drain() {
    for timeout in [true, false] {
        let mut rig = open().await;
        let began = rig.clock().now();
        let mut left = ask(&rig, "1 A", ms(500));
        hears(&mut rig, &["1 A"]).await;
        if timeout {
            let verdict = wait(&mut left).await;
            assert_eq!((kind(&verdict), effect(verdict)), ("timeout", Effect::Unconfirmed));
            assert_eq!(rig.clock().now().since(began), ms(500));
        } else {
            assert_eq!(cancelled(&mut left).await, Effect::Unconfirmed);
        }
        let mut again = ask(&rig, "1 B", ms(500));
        hears(&mut rig, &["1 B"]).await;
        assert_eq!(rig.clock().now().since(began), ms(1500));
        rig.bench.say("1 b\n").await;
        assert_eq!(said(&mut again).await, "1 b");
    }
}

#[tokio::test]
async fn an_id_that_never_went_out_is_free_at_once() {
    let mut rig = with(4096, |rules| rules.pacing.gap = ms(100)).await;
    let mut left = ask(&rig, "1 A", SOON);
    assert_eq!(cancelled(&mut left).await, Effect::NeverStarted);
    let mut again = ask(&rig, "1 B", SOON);
    hears(&mut rig, &["1 B"]).await;
    rig.bench.say("1 b\n").await;
    assert_eq!(said(&mut again).await, "1 b");
}

#[tokio::test]
async fn an_exchange_waits_for_all_and_goes_before_who_asks_later() {
    let mut rig = open().await;
    let mut flights = [ask(&rig, "1 A", SOON), ask(&rig, "2 B", SOON)];
    hears(&mut rig, &["1 A", "2 B"]).await;
    let mut opening = rig.ask(common::talk(), SOON);
    let mut later = ask(&rig, "3 C", SOON);
    rig.bench.hears_nothing(ms(100)).await;
    rig.bench.say("1 a\n").await;
    rig.bench.hears_nothing(ms(100)).await;
    assert!(is_pending(&mut opening));
    rig.bench.say("2 b\n").await;
    let Ok(labtether::link::ticket::Answer::Number(talk)) = wait(&mut opening).await else { panic!("no exchange") };
    wait(&mut rig.inside(talk, send("home", false))).await.unwrap();
    hears(&mut rig, &["home"]).await;
    let mut ack = rig.inside(talk, receive(None));
    rig.bench.say("3 is no reply yet\n").await;
    assert_eq!(said(&mut ack).await, "3 is no reply yet");
    wait(&mut rig.leaves(talk, Ending::Clean)).await.unwrap();
    hears(&mut rig, &["3 C"]).await;
    rig.bench.say("3 c\n").await;
    assert_eq!(said(&mut later).await, "3 c");
    for ticket in &mut flights {
        wait(ticket).await.unwrap();
    }
    is_in_step(&mut rig).await;
}

#[tokio::test]
async fn in_an_exchange_the_late_reply_to_who_left_before_is_dropped() {
    let mut rig = open().await;
    let mut left = ask(&rig, "1 A", SOON);
    hears(&mut rig, &["1 A"]).await;
    assert_eq!(cancelled(&mut left).await, Effect::Unconfirmed);
    let talk = rig.talks(common::talk()).await;
    wait(&mut rig.inside(talk, send("home", false))).await.unwrap();
    let mut ack = rig.inside(talk, receive(None));
    rig.bench.say("1 a\nACK\n").await;
    assert_eq!(said(&mut ack).await, "ACK");
    assert_eq!(rig.link.counts().late, 1);
}

#[tokio::test]
async fn each_ends_by_its_own_deadline() {
    let mut rig = open().await;
    let began = rig.clock().now();
    let mut slow = ask(&rig, "1 A", ms(900));
    let mut brief = ask(&rig, "2 B", ms(300));
    hears(&mut rig, &["1 A", "2 B"]).await;
    assert_eq!(kind(&wait(&mut brief).await), "timeout");
    assert_eq!(rig.clock().now().since(began), ms(300));
    assert_eq!(kind(&wait(&mut slow).await), "timeout");
    assert_eq!(rig.clock().now().since(began), ms(900));
}

#[tokio::test]
async fn an_abort_in_flight_ends_by_its_answer_or_by_the_reply() {
    let cases = [
        ("HALTED\n", Some("^HALTED"), Effect::Halted),
        ("1 a\n", Some("^HALTED"), Effect::RanToCompletion),
        ("1 ERR stopped\n", Some("^HALTED"), Effect::Halted),
        ("1 a\n", None, Effect::RanToCompletion),
    ];
    for (reply, abort, expected) in cases {
        let mut rig = open().await;
        let mut stopped = ask_stoppable(&rig, "1 A", abort, SOON);
        let mut other = ask(&rig, "2 B", SOON);
        hears(&mut rig, &["1 A", "2 B"]).await;
        stopped.cancel();
        hears(&mut rig, &["HALT"]).await;
        stopped.cancel();
        // It holds nobody up.
        let mut third = ask(&rig, "3 C", SOON);
        hears(&mut rig, &["3 C"]).await;
        rig.bench.say("3 c\n").await;
        assert_eq!(said(&mut third).await, "3 c");
        assert!(is_pending(&mut stopped));
        rig.bench.say(reply).await;
        assert_eq!(effect(wait(&mut stopped).await), expected);
        if reply == "HALTED\n" {
            rig.bench.say("1 late\n").await;
        }
        rig.bench.say("2 b\n").await;
        assert_eq!(said(&mut other).await, "2 b");
        is_in_step(&mut rig).await;
    }
}

#[tokio::test]
async fn an_abort_in_flight_that_is_not_answered_ends_by_its_limit() {
    for timeout in [true, false] {
        let mut rig = open().await;
        let began = rig.clock().now();
        let mut stopped = ask_stoppable(&rig, "1 A", Some("^HALTED"), ms(500));
        hears(&mut rig, &["1 A"]).await;
        let took = if timeout {
            hears(&mut rig, &["HALT"]).await;
            assert_eq!(rig.clock().now().since(began), ms(500));
            2500
        } else {
            stopped.cancel();
            2000
        };
        let verdict = wait(&mut stopped).await;
        assert_eq!(kind(&verdict), if timeout { "timeout" } else { "cancelled" });
        assert_eq!(effect(verdict), Effect::Unconfirmed);
        assert_eq!(rig.clock().now().since(began), ms(took));
        // Its reply may still come, and is nobody's.
        rig.bench.pause(ms(500)).await;
        rig.bench.say("1 a\n").await;
        rig.bench.pause(ms(1)).await;
        assert_eq!(rig.link.counts().late, 1);
    }
}

#[tokio::test]
async fn one_that_was_left_in_the_middle_of_its_frame_is_still_known_by_its_id() {
    for abort in [Some("^HALTED"), None] {
        let mut rig = with(4, |_| {}).await;
        let question = numbered("1 ABCDEFGH");
        let abort = abort.map(|reply| halt(Some(reply)));
        let mut left = rig.ask(asks(Question { abort: abort.clone(), ..question }), SOON);
        rig.bench.pause(ms(1)).await;
        left.cancel();
        hears(&mut rig, &["1 ABCDEFGH"]).await;
        if abort.is_some() {
            hears(&mut rig, &["HALT"]).await;
        }
        rig.bench.say("1 a\n").await;
        let expected = if abort.is_some() { Effect::RanToCompletion } else { Effect::Unconfirmed };
        assert_eq!(effect(wait(&mut left).await), expected);
        rig.bench.pause(ms(1)).await;
        assert_eq!(rig.link.counts().late, 1);
        is_in_step(&mut rig).await;
    }
}

#[tokio::test]
async fn an_id_whose_frame_is_stuck_on_the_line_is_not_free() {
    let mut rig = with(4, |_| {}).await;
    let mut left = ask(&rig, "1 ABCDEFGH", ms(100));
    assert_eq!(effect(wait(&mut left).await), Effect::Unconfirmed);
    rig.bench.pause(ms(5000)).await;
    let mut again = ask(&rig, "1 B", SOON);
    hears(&mut rig, &["1 ABCDEFGH"]).await;
    rig.bench.hears_nothing(ms(300)).await;
    rig.bench.say("1 a\n").await;
    hears(&mut rig, &["1 B"]).await;
    rig.bench.say("1 b\n").await;
    assert_eq!(said(&mut again).await, "1 b");
    is_in_step(&mut rig).await;
}

#[tokio::test]
async fn garbage_is_the_error_of_the_one_that_was_in_flight_and_of_nobody_else() {
    let garbage = &format!("{}\n", "x".repeat(1000 + 100));
    let mut rig = open().await;
    let mut alone = ask(&rig, "1 A", SOON);
    hears(&mut rig, &["1 A"]).await;
    rig.bench.say(garbage).await;
    assert_eq!(kind(&wait(&mut alone).await), "frame");
    // Whether that was its reply is not known: another of the same id would not be told from it.
    let mut again = ask(&rig, "1 B", SOON);
    rig.bench.hears_nothing(ms(100)).await;
    rig.bench.say("1 a\n").await;
    hears(&mut rig, &["1 B"]).await;
    let mut other = ask(&rig, "2 C", SOON);
    hears(&mut rig, &["2 C"]).await;
    rig.bench.say(garbage).await;
    rig.bench.say("2 c\n1 b\n").await;
    assert_eq!(said(&mut again).await, "1 b");
    assert_eq!(said(&mut other).await, "2 c");
}

#[tokio::test]
async fn garbage_does_not_end_an_abort_in_flight() {
    let mut rig = open().await;
    let mut stopped = ask_stoppable(&rig, "1 A", Some("^HALTED"), SOON);
    hears(&mut rig, &["1 A"]).await;
    stopped.cancel();
    hears(&mut rig, &["HALT"]).await;
    rig.bench.say(&format!("{}\n", "x".repeat(1100))).await;
    rig.bench.pause(ms(10)).await;
    rig.bench.say("HALTED\n").await;
    assert_eq!(effect(wait(&mut stopped).await), Effect::Halted);
}

#[tokio::test]
async fn a_stop_ends_all_that_are_in_flight() {
    let mut rig = open().await;
    let mut tickets = [
        ask(&rig, "1 A", SOON),
        ask_stoppable(&rig, "2 B", Some("^HALTED"), SOON),
        rig.ask(query("ALONE"), SOON),
        rig.ask(common::talk(), SOON),
        rig.ask(What::Discard, SOON),
    ];
    hears(&mut rig, &["1 A", "2 B"]).await;
    tickets[1].cancel();
    let began = rig.clock().now();
    let mut stop = rig.link.stop(&rig.place);
    for ticket in &mut tickets {
        assert_eq!(kind(&wait(ticket).await), "closed");
    }
    hears(&mut rig, &["HALT"]).await;
    wait(&mut stop).await.unwrap();
    assert!(rig.clock().now().since(began) <= ms(5));
    rig.leaves_nothing().await;
}
