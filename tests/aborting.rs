//! Queries with an abort, in virtual time: what is written when their asker leaves or their time is up, what he is told it did, and who
//! gets the line when (laws 2 and 3).

#![cfg(test)]

mod common;

use common::asking::{cancelled, effect, is_pending, pattern, receive, stoppable};
use common::{Rig, SOON, kind, lines, ms, text, wait};
use labtether::error::{Effect, LinkError};
use labtether::link::ticket::{Pending, Ticket};

/// A link on which MOVE was asked, and heard.
async fn moving(reply: Option<&str>) -> (Rig, Ticket) {
    let mut rig = Rig::open().await;
    let ticket = rig.ask(stoppable("MOVE", reply), SOON);
    assert_eq!(rig.bench.hear().await, "MOVE");
    (rig, ticket)
}

#[tokio::test]
async fn before_its_first_byte_nothing_is_written_and_nothing_aborted() {
    let mut rig = Rig::with(4096, Some(lines()), |config| config.rules.pacing.gap = ms(100)).await;
    // The first waits for the gap, the second for the first.
    let mut first = rig.ask(stoppable("FIRST", Some("^HALTED")), SOON);
    let mut second = rig.ask(stoppable("SECOND", Some("^HALTED")), SOON);
    rig.bench.pause(ms(50)).await;
    assert_eq!(cancelled(&mut second).await, Effect::NeverStarted);
    assert_eq!(cancelled(&mut first).await, Effect::NeverStarted);
    rig.bench.hears_nothing(ms(5000)).await;
    assert_eq!(rig.link.counts().written, 0);
    rig.is_in_step().await;
}

#[tokio::test]
async fn an_abort_goes_out_at_once_and_its_answer_says_that_it_was_halted() {
    let (mut rig, mut ticket) = moving(Some("^HALTED")).await;
    let mut next = rig.query("NEXT", SOON);
    let began = rig.clock().now();
    ticket.cancel();
    assert_eq!(rig.bench.hear().await, "HALT");
    assert_eq!(rig.clock().now(), began, "no time passed");
    rig.bench.hears_nothing(ms(1500)).await;
    assert!(is_pending(&mut ticket), "he is told when it is over, and not before");
    rig.bench.say("HALTED\n").await;
    assert_eq!(effect(wait(&mut ticket).await), Effect::Halted);
    rig.bench.answers("NEXT", "next").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
    assert_eq!(rig.clock().now().since(began), ms(1520), "the line settled, and no more");
    rig.is_in_step().await;
}

#[tokio::test]
async fn a_reply_before_the_aborts_answer_says_that_it_ran_to_its_end() {
    let (mut rig, mut ticket) = moving(Some("^HALTED")).await;
    let mut next = rig.query("NEXT", SOON);
    ticket.cancel();
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.say("moved\n").await;
    rig.bench.hears_nothing(ms(500)).await;
    assert!(is_pending(&mut ticket), "the abort's answer is still awaited");
    rig.bench.say("HALTED\n").await;
    assert_eq!(effect(wait(&mut ticket).await), Effect::RanToCompletion);
    rig.bench.answers("NEXT", "next").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
    assert_eq!(rig.link.counts().late, 1);
    rig.is_in_step().await;
}

#[tokio::test]
async fn reply_and_answer_in_one_read_are_told_apart() {
    for (said, expected) in [("moved\nHALTED\n", Effect::RanToCompletion), ("HALTED\nmoved\n", Effect::Halted)] {
        let (mut rig, mut ticket) = moving(Some("^HALTED")).await;
        let mut next = rig.query("NEXT", SOON);
        ticket.cancel();
        assert_eq!(rig.bench.hear().await, "HALT");
        rig.bench.say(said).await;
        assert_eq!(effect(wait(&mut ticket).await), expected);
        rig.bench.answers("NEXT", "next").await;
        assert_eq!(text(wait(&mut next).await.unwrap()), "next");
        // A reply is nobody's unasked message either.
        rig.is_in_step().await;
        assert_eq!(rig.link.counts().late, 1);
    }
}

#[tokio::test]
async fn a_reply_right_behind_the_aborts_answer_is_dropped() {
    let (mut rig, mut ticket) = moving(Some("^HALTED")).await;
    ticket.cancel();
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.say("HALTED\n").await;
    assert_eq!(effect(wait(&mut ticket).await), Effect::Halted);
    let mut next = rig.query("NEXT", SOON);
    rig.bench.pause(ms(15)).await;
    rig.bench.say("moved\n").await;
    let late = rig.clock().now();
    assert_eq!(rig.bench.hear().await, "NEXT");
    assert_eq!(rig.clock().now().since(late), ms(20), "the line settles after the last of it");
    rig.bench.say("next\n").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
    rig.is_in_step().await;
    assert_eq!(rig.link.counts().late, 1);
}

#[tokio::test]
async fn half_a_reply_that_had_come_is_finished_before_the_answer() {
    let (mut rig, mut ticket) = moving(Some("^HALTED")).await;
    rig.bench.say("mov").await;
    rig.bench.pause(ms(1)).await;
    ticket.cancel();
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.say("ed\nHALTED\n").await;
    assert_eq!(effect(wait(&mut ticket).await), Effect::RanToCompletion);
    rig.is_in_step().await;
}

#[tokio::test]
async fn a_reply_that_says_no_says_that_it_was_halted() {
    let mut rig = Rig::with(4096, Some(lines()), |config| {
        config.rules.error = Some(pattern("^ERR"));
    })
    .await;
    for abort in [Some("^HALTED"), None] {
        let mut ticket = rig.ask(stoppable("MOVE", abort), SOON);
        assert_eq!(rig.bench.hear().await, "MOVE");
        ticket.cancel();
        assert_eq!(rig.bench.hear().await, "HALT");
        rig.bench.say(if abort.is_some() { "ERR stopped\nHALTED\n" } else { "ERR stopped\n" }).await;
        assert_eq!(effect(wait(&mut ticket).await), Effect::Halted);
        rig.is_in_step().await;
    }
}

#[tokio::test]
async fn an_abort_that_is_not_answered_ends_by_its_own_limit() {
    let (mut rig, mut ticket) = moving(Some("^HALTED")).await;
    let mut next = rig.query("NEXT", SOON);
    let began = rig.clock().now();
    assert_eq!(cancelled(&mut ticket).await, Effect::Unconfirmed);
    assert_eq!(rig.clock().now().since(began), ms(2000));
    assert_eq!(rig.bench.hear().await, "HALT");
    // What is owed may still come: the next waits for as long as a drain.
    rig.bench.pause(ms(600)).await;
    rig.bench.say("moved\nHALTED\n").await;
    let late = rig.clock().now();
    assert_eq!(rig.bench.hear().await, "NEXT");
    assert_eq!(rig.clock().now().since(late), ms(20), "no longer than that once it has come");
    rig.bench.say("next\n").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
    rig.is_in_step().await;
}

#[tokio::test]
async fn after_an_abort_that_is_not_answered_the_next_waits_for_a_drain() {
    let (mut rig, mut ticket) = moving(Some("^HALTED")).await;
    let began = rig.clock().now();
    assert_eq!(cancelled(&mut ticket).await, Effect::Unconfirmed);
    let _next = rig.query("NEXT", SOON);
    assert_eq!(rig.bench.hear().await, "HALT");
    assert_eq!(rig.bench.hear().await, "NEXT");
    assert_eq!(rig.clock().now().since(began), ms(3000));
}

#[tokio::test]
async fn without_an_answer_of_its_own_the_reply_ends_an_abort() {
    let (mut rig, mut ticket) = moving(None).await;
    let began = rig.clock().now();
    ticket.cancel();
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.pause(ms(300)).await;
    rig.bench.say("moved\n").await;
    assert_eq!(effect(wait(&mut ticket).await), Effect::RanToCompletion);
    assert_eq!(rig.clock().now().since(began), ms(300));
    rig.is_in_step().await;
}

#[tokio::test]
async fn without_any_answer_an_abort_is_unconfirmed() {
    let (mut rig, mut ticket) = moving(None).await;
    let began = rig.clock().now();
    assert_eq!(cancelled(&mut ticket).await, Effect::Unconfirmed);
    assert_eq!(rig.clock().now().since(began), ms(2000));
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.is_in_step().await;
}

#[tokio::test]
async fn a_query_whose_time_is_up_is_aborted_and_says_what_it_did() {
    for (said, expected) in [
        (Some("HALTED\n"), Effect::Halted),
        (Some("moved\nHALTED\n"), Effect::RanToCompletion),
        (None, Effect::Unconfirmed),
    ] {
        let mut rig = Rig::open().await;
        let began = rig.clock().now();
        let mut ticket = rig.ask(stoppable("MOVE", Some("^HALTED")), ms(500));
        assert_eq!(rig.bench.hear().await, "MOVE");
        assert_eq!(rig.bench.hear().await, "HALT");
        assert_eq!(rig.clock().now().since(began), ms(500));
        if let Some(said) = said {
            rig.bench.pause(ms(100)).await;
            rig.bench.say(said).await;
        }
        let verdict = wait(&mut ticket).await;
        let Err(LinkError::Timeout { effect, limit, about, .. }) = &verdict else { panic!("{verdict:?}") };
        assert_eq!((*effect, *limit), (expected, ms(500)));
        assert_eq!(about.command.as_deref(), Some(&b"MOVE"[..]));
        let took = if said.is_some() { 600 } else { 2500 };
        assert_eq!(rig.clock().now().since(began), ms(took));
        rig.is_in_step().await;
    }
}

#[tokio::test]
async fn a_query_of_which_nothing_was_written_in_time_is_not_aborted() {
    let mut rig = Rig::with(4, Some(lines()), |_| {}).await;
    // The line is stuck with a part of this.
    let mut stuck = rig.ask(common::send("0123456789", false), ms(1000));
    let mut ticket = rig.ask(stoppable("MOVE", Some("^HALTED")), ms(500));
    assert_eq!(effect(wait(&mut ticket).await), Effect::NeverStarted);
    assert_eq!(kind(&wait(&mut stuck).await), "timeout");
    assert_eq!(rig.bench.hear().await, "0123456789");
    rig.bench.hears_nothing(ms(5000)).await;
    rig.is_in_step().await;
}

#[tokio::test]
async fn a_frame_that_was_begun_goes_out_whole_before_the_abort_where_the_line_moves() {
    let mut rig = Rig::with(4, Some(lines()), |_| {}).await;
    let mut ticket = rig.ask(stoppable("MOVE 1234", Some("^HALTED")), SOON);
    rig.bench.pause(ms(1)).await;
    ticket.cancel();
    assert_eq!(rig.bench.hear().await, "MOVE 1234");
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.say("moved\nHALTED\n").await;
    assert_eq!(effect(wait(&mut ticket).await), Effect::RanToCompletion);
    rig.is_in_step().await;
}

#[tokio::test]
async fn a_frame_that_is_stuck_is_cut_for_the_abort() {
    let mut rig = Rig::with(4, Some(lines()), |_| {}).await;
    let mut ticket = rig.ask(stoppable("MOVE 1234", Some("^HALTED")), SOON);
    rig.bench.pause(ms(1)).await;
    let began = rig.clock().now();
    ticket.cancel();
    rig.bench.pause(ms(50)).await;
    assert_eq!(rig.bench.hear().await, "HALT");
    assert_eq!(rig.clock().now().since(began), ms(50), "it was on the wire by then");
    rig.bench.say("HALTED\n").await;
    assert_eq!(effect(wait(&mut ticket).await), Effect::Halted);
    rig.is_in_step().await;
}

#[tokio::test]
async fn an_abort_is_given_its_time_from_its_last_byte_on() {
    let mut rig = Rig::with(4, Some(lines()), |_| {}).await;
    let mut ticket = rig.ask(stoppable("MOVE 1234", Some("^HALTED")), SOON);
    rig.bench.pause(ms(1)).await;
    let began = rig.clock().now();
    ticket.cancel();
    rig.bench.pause(ms(500)).await;
    assert_eq!(rig.bench.hear().await, "HALT");
    assert_eq!(effect(wait(&mut ticket).await), Effect::Unconfirmed);
    assert_eq!(rig.clock().now().since(began), ms(2500));
}

#[tokio::test]
async fn an_abort_that_the_line_does_not_take_is_given_up_and_never_follows() {
    let mut rig = Rig::with(1, Some(lines()), |_| {}).await;
    let mut ticket = rig.ask(stoppable("MOVE", Some("^HALTED")), SOON);
    rig.bench.pause(ms(1)).await;
    let began = rig.clock().now();
    assert_eq!(cancelled(&mut ticket).await, Effect::Unconfirmed);
    assert!(rig.clock().now().since(began) <= ms(2050));
    let heard = rig.bench.hear().await;
    assert_eq!(heard, "HALT", "one byte of it was on the line, and so the rest follows");
    rig.is_in_step().await;
}

#[tokio::test]
async fn a_second_cancel_changes_nothing() {
    let (mut rig, mut ticket) = moving(Some("^HALTED")).await;
    ticket.cancel();
    assert_eq!(rig.bench.hear().await, "HALT");
    ticket.cancel();
    rig.bench.hears_nothing(ms(100)).await;
    ticket.cancel();
    assert!(is_pending(&mut ticket));
    rig.bench.say("HALTED\n").await;
    assert_eq!(effect(wait(&mut ticket).await), Effect::Halted);
    rig.is_in_step().await;
}

#[tokio::test]
async fn a_query_whose_time_is_up_and_whose_asker_leaves_then_is_aborted_once() {
    let mut rig = Rig::open().await;
    let mut ticket = rig.ask(stoppable("MOVE", Some("^HALTED")), ms(500));
    assert_eq!(rig.bench.hear().await, "MOVE");
    assert_eq!(rig.bench.hear().await, "HALT");
    ticket.cancel();
    rig.bench.hears_nothing(ms(100)).await;
    rig.bench.say("HALTED\n").await;
    assert_eq!(effect(wait(&mut ticket).await), Effect::Halted);
    rig.is_in_step().await;
}

#[tokio::test]
async fn a_ticket_that_is_dropped_is_aborted_too() {
    let (mut rig, ticket) = moving(Some("^HALTED")).await;
    drop(ticket);
    let mut next = rig.query("NEXT", SOON);
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.hears_nothing(ms(500)).await;
    rig.bench.say("HALTED\n").await;
    rig.bench.answers("NEXT", "next").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
    rig.is_in_step().await;
}

#[tokio::test]
async fn who_waits_behind_an_abort_for_too_long_is_told_of_it() {
    let (mut rig, mut ticket) = moving(Some("^HALTED")).await;
    ticket.cancel();
    assert_eq!(rig.bench.hear().await, "HALT");
    let mut next = rig.link.ask(common::query("NEXT"), None, SOON, ms(500), rig.clock());
    let Err(LinkError::Busy { why, .. }) = wait(&mut next).await else { panic!("not busy") };
    assert!(why.contains("an abort, 'HALT',"), "{why}");
    // What expects no answer would only disturb: it waits, too.
    let mut note = rig.ask(common::send("NOTE", false), SOON);
    rig.bench.hears_nothing(ms(500)).await;
    rig.bench.say("HALTED\n").await;
    assert_eq!(effect(wait(&mut ticket).await), Effect::Halted);
    assert_eq!(rig.bench.hear().await, "NOTE");
    wait(&mut note).await.unwrap();
}

#[tokio::test]
async fn stopping_the_link_in_the_middle_of_an_abort_ends_it() {
    let (mut rig, mut ticket) = moving(Some("^HALTED")).await;
    ticket.cancel();
    assert_eq!(rig.bench.hear().await, "HALT");
    let began = rig.clock().now();
    let mut stop = rig.link.stop(&rig.place);
    assert_eq!(kind(&wait(&mut ticket).await), "closed");
    wait(&mut stop).await.unwrap();
    assert_eq!(rig.clock().now(), began);
    rig.leaves_nothing().await;
}

#[tokio::test]
async fn losing_the_port_in_the_middle_of_an_abort_ends_it() {
    let (mut rig, mut ticket) = moving(Some("^HALTED")).await;
    ticket.cancel();
    assert_eq!(rig.bench.hear().await, "HALT");
    let Rig { link, bench, place } = rig;
    drop(bench);
    assert_eq!(kind(&wait(&mut ticket).await), "lost");
    wait(&mut link.stop(&place)).await.unwrap();
}

#[tokio::test]
async fn what_is_unsolicited_is_neither_the_reply_nor_the_aborts_answer() {
    let mut rig = Rig::with(4096, Some(lines()), |config| {
        config.rules.unsolicited = Some(pattern("^ALARM"));
    })
    .await;
    let mut ticket = rig.ask(stoppable("MOVE", Some("HALTED")), SOON);
    assert_eq!(rig.bench.hear().await, "MOVE");
    ticket.cancel();
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.say("ALARM HALTED\n").await;
    rig.bench.pause(ms(100)).await;
    assert!(is_pending(&mut ticket));
    rig.bench.say("HALTED\n").await;
    assert_eq!(effect(wait(&mut ticket).await), Effect::Halted);
    assert_eq!(text(wait(&mut rig.ask(receive(None), SOON)).await.unwrap()), "ALARM HALTED");
    rig.is_in_step().await;
}
