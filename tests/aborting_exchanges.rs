//! Exchanges with an abort, in virtual time: left in peace, by a failure, or cut short; and queries whose asker would have them finished.

#![cfg(test)]

mod common;

use common::asking::{asks, cancelled, effect, halt, is_pending, pattern, question, receive, stoppable};
use common::{Rig, SOON, kind, lines, ms, send, text, wait};
use labtether::error::{Effect, LinkError};
use labtether::link::job::{Ending, Request, Want, What};
use labtether::link::question::Question;
use labtether::link::ticket::{Pending, Ticket};
use std::sync::Arc;

const ENDINGS: [Ending; 2] = [Ending::Failed, Ending::Cancelled];

fn stoppable_talk(reply: Option<&str>) -> What {
    What::Talk { place: Arc::from("at bench.py:7"), abort: Some(Box::new(halt(reply))) }
}

/// A link with an exchange open that is stopped by HALT.
async fn talking(reply: Option<&str>) -> (Rig, u64) {
    let rig = Rig::open().await;
    let talk = rig.talks(stoppable_talk(reply)).await;
    (rig, talk)
}

/// In it `message` was sent, and heard.
async fn says(rig: &mut Rig, talk: u64, message: &str) {
    wait(&mut rig.inside(talk, send(message, false))).await.unwrap();
    assert_eq!(rig.bench.hear().await, message);
}

async fn receives(rig: &mut Rig, talk: u64) -> String {
    text(wait(&mut rig.inside(talk, receive(None))).await.unwrap())
}

/// That whoever waits behind gets the line, and his own answer.
async fn goes_on(rig: &mut Rig, mut next: Ticket) {
    rig.bench.answers("NEXT", "next").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
    rig.is_in_step().await;
}

#[tokio::test]
async fn an_exchange_that_is_left_in_peace_is_not_aborted() {
    let (mut rig, talk) = talking(Some("^HALTED")).await;
    says(&mut rig, talk, "home").await;
    rig.bench.say("ACK\n").await;
    assert_eq!(receives(&mut rig, talk).await, "ACK");
    assert_eq!(effect(wait(&mut rig.leaves(talk, Ending::Clean)).await), Effect::RanToCompletion);
    rig.bench.hears_nothing(ms(3000)).await;
    rig.is_in_step().await;
}

#[tokio::test]
async fn an_exchange_in_which_nothing_was_said_is_not_aborted() {
    for ending in [Ending::Clean, Ending::Failed, Ending::Cancelled] {
        let (mut rig, talk) = talking(Some("^HALTED")).await;
        let next = rig.query("NEXT", SOON);
        let began = rig.clock().now();
        assert_eq!(effect(wait(&mut rig.leaves(talk, ending)).await), Effect::NeverStarted);
        assert_eq!(rig.clock().now(), began);
        goes_on(&mut rig, next).await;
    }
}

#[tokio::test]
async fn an_exchange_that_waits_for_its_answer_is_halted() {
    for ending in ENDINGS {
        let (mut rig, talk) = talking(Some("^HALTED")).await;
        let next = rig.query("NEXT", SOON);
        says(&mut rig, talk, "home").await;
        let mut answer = rig.inside(talk, receive(None));
        rig.bench.pause(ms(100)).await;
        let began = rig.clock().now();
        let mut leaving = rig.leaves(talk, ending);
        assert_eq!(rig.bench.hear().await, "HALT");
        assert_eq!(rig.clock().now(), began);
        assert_eq!(kind(&wait(&mut answer).await), "closed");
        rig.bench.hears_nothing(ms(500)).await;
        assert!(is_pending(&mut leaving));
        rig.bench.say("HALTED\n").await;
        assert_eq!(effect(wait(&mut leaving).await), Effect::Halted);
        goes_on(&mut rig, next).await;
    }
}

#[tokio::test]
async fn an_exchange_left_between_two_commands_is_halted_at_a_boundary_or_as_its_abort_confirms() {
    for ending in ENDINGS {
        for (reply, expected) in [(Some("^HALTED"), Effect::Halted), (None, Effect::HaltedAtBoundary)] {
            let (mut rig, talk) = talking(reply).await;
            let next = rig.query("NEXT", SOON);
            says(&mut rig, talk, "home").await;
            rig.bench.say("ACK\n").await;
            assert_eq!(receives(&mut rig, talk).await, "ACK");
            let mut leaving = rig.leaves(talk, ending);
            assert_eq!(rig.bench.hear().await, "HALT");
            if reply.is_some() {
                rig.bench.say("HALTED\n").await;
            }
            assert_eq!(effect(wait(&mut leaving).await), expected);
            goes_on(&mut rig, next).await;
        }
    }
}

#[tokio::test]
async fn the_answer_that_an_exchange_waited_for_by_name_says_that_it_ran_to_its_end() {
    let (mut rig, talk) = talking(Some("^HALTED")).await;
    let next = rig.query("NEXT", SOON);
    says(&mut rig, talk, "home").await;
    let _done = rig.inside(talk, receive(Some("^DONE")));
    rig.bench.say("moving\n").await;
    rig.bench.pause(ms(1)).await;
    let mut leaving = rig.leaves(talk, Ending::Cancelled);
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.say("moving\nDONE\nHALTED\n").await;
    assert_eq!(effect(wait(&mut leaving).await), Effect::RanToCompletion);
    goes_on(&mut rig, next).await;
}

#[tokio::test]
async fn any_part_of_a_longer_exchange_says_nothing_of_its_end() {
    let (mut rig, talk) = talking(Some("^HALTED")).await;
    let next = rig.query("NEXT", SOON);
    says(&mut rig, talk, "home").await;
    let _ack = rig.inside(talk, receive(None));
    rig.bench.pause(ms(1)).await;
    let mut leaving = rig.leaves(talk, Ending::Cancelled);
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.say("ACK\n").await;
    assert_eq!(effect(wait(&mut leaving).await), Effect::Unconfirmed);
    goes_on(&mut rig, next).await;
}

#[tokio::test]
async fn what_was_not_fetched_is_not_the_aborts_answer() {
    let (mut rig, talk) = talking(Some("^ACK")).await;
    let next = rig.query("NEXT", SOON);
    says(&mut rig, talk, "home").await;
    rig.bench.say("ACK\n").await;
    rig.bench.pause(ms(10)).await;
    let mut leaving = rig.leaves(talk, Ending::Failed);
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.pause(ms(10)).await;
    assert!(is_pending(&mut leaving), "that was said before the abort");
    rig.bench.say("ACK\n").await;
    assert_eq!(effect(wait(&mut leaving).await), Effect::Halted);
    goes_on(&mut rig, next).await;
}

#[tokio::test]
async fn an_abort_that_an_exchange_gets_no_answer_to_ends_by_its_limit() {
    for reply in [Some("^HALTED"), None] {
        let (mut rig, talk) = talking(reply).await;
        let next = rig.query("NEXT", SOON);
        says(&mut rig, talk, "home").await;
        let began = rig.clock().now();
        assert_eq!(effect(wait(&mut rig.leaves(talk, Ending::Failed)).await), Effect::Unconfirmed);
        assert_eq!(rig.clock().now().since(began), ms(2000));
        assert_eq!(rig.bench.hear().await, "HALT");
        goes_on(&mut rig, next).await;
        assert_eq!(rig.clock().now().since(began), ms(3050), "a drain, and the look at what is left over");
    }
}

#[tokio::test]
async fn an_exchange_cut_in_the_middle_of_its_first_frame_was_begun() {
    for ending in ENDINGS {
        let mut rig = Rig::with(4, Some(lines()), |_| {}).await;
        let talk = rig.talks(stoppable_talk(Some("^HALTED"))).await;
        let mut sending = rig.inside(talk, send("home 123", false));
        rig.bench.pause(ms(1)).await;
        let mut leaving = rig.leaves(talk, ending);
        assert_eq!(kind(&wait(&mut sending).await), "closed");
        assert_eq!(rig.bench.hear().await, "home 123");
        assert_eq!(rig.bench.hear().await, "HALT");
        rig.bench.say("HALTED\n").await;
        assert_eq!(effect(wait(&mut leaving).await), Effect::Halted);
        rig.is_in_step().await;
    }
}

#[tokio::test]
async fn without_an_abort_an_exchange_cut_in_the_middle_of_its_first_frame_was_begun_too() {
    for ending in [Ending::Clean, Ending::Failed, Ending::Cancelled] {
        let mut rig = Rig::with(4, Some(lines()), |_| {}).await;
        let talk = rig.talks(common::talk()).await;
        let _sending = rig.inside(talk, send("home 123", false));
        rig.bench.pause(ms(1)).await;
        assert_eq!(effect(wait(&mut rig.leaves(talk, ending)).await), Effect::Unconfirmed);
        let next = rig.query("NEXT", SOON);
        assert_eq!(rig.bench.hear().await, "home 123");
        rig.bench.pause(ms(300)).await;
        rig.bench.say("ACK\n").await;
        goes_on(&mut rig, next).await;
    }
}

#[tokio::test]
async fn an_exchange_that_was_never_fetched_is_aborted_where_it_was_begun() {
    // Its ticket is dropped unclaimed: nobody can leave it.
    let mut rig = Rig::open().await;
    let opening = rig.ask(stoppable_talk(Some("^HALTED")), SOON);
    drop(opening);
    let next = rig.query("NEXT", SOON);
    goes_on(&mut rig, next).await;
}

#[tokio::test]
async fn an_exchange_is_aborted_without_anybody_who_waits_for_it() {
    let (mut rig, talk) = talking(Some("^HALTED")).await;
    let next = rig.query("NEXT", SOON);
    says(&mut rig, talk, "home").await;
    rig.link.tell(Request::EndTalk { talk, ending: Ending::Cancelled }, rig.clock()).unwrap();
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.hears_nothing(ms(500)).await;
    rig.bench.say("HALTED\n").await;
    goes_on(&mut rig, next).await;
}

#[tokio::test]
async fn who_leaves_a_second_time_is_told_that_it_is_over() {
    let (mut rig, talk) = talking(Some("^HALTED")).await;
    says(&mut rig, talk, "home").await;
    let mut leaving = rig.leaves(talk, Ending::Failed);
    assert_eq!(rig.bench.hear().await, "HALT");
    assert_eq!(kind(&wait(&mut rig.leaves(talk, Ending::Cancelled)).await), "closed");
    leaving.cancel();
    rig.bench.hears_nothing(ms(100)).await;
    assert!(is_pending(&mut leaving));
    rig.bench.say("HALTED\n").await;
    assert_eq!(effect(wait(&mut leaving).await), Effect::Halted);
    let mut inside = rig.inside(talk, send("more", false));
    let Err(LinkError::Closed { why, .. }) = wait(&mut inside).await else { panic!("not closed") };
    assert_eq!(why, "the exchange is over");
    rig.is_in_step().await;
}

#[tokio::test]
async fn on_raw_bytes_an_abort_is_answered_by_whatever_comes_with_it() {
    let mut rig = Rig::with(4096, None, |_| {}).await;
    let talk = rig.talks(stoppable_talk(Some("HALTED"))).await;
    wait(&mut rig.inside(talk, send("dump", false))).await.unwrap();
    assert_eq!(rig.bench.hear().await, "dump");
    let mut read = rig.inside(talk, What::Read(Want::Exactly(100)));
    rig.bench.say("0123").await;
    rig.bench.pause(ms(1)).await;
    let mut leaving = rig.leaves(talk, Ending::Cancelled);
    assert_eq!(kind(&wait(&mut read).await), "closed");
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.say("45HALTED").await;
    assert_eq!(effect(wait(&mut leaving).await), Effect::Halted);
    let mut stray = rig.ask(What::Read(Want::Some(100)), ms(100));
    assert_eq!(kind(&wait(&mut stray).await), "timeout");
}

#[tokio::test]
async fn stop_and_loss_in_the_middle_of_an_exchanges_abort_end_it() {
    let (mut rig, talk) = talking(Some("^HALTED")).await;
    says(&mut rig, talk, "home").await;
    let mut leaving = rig.leaves(talk, Ending::Cancelled);
    assert_eq!(rig.bench.hear().await, "HALT");
    let began = rig.clock().now();
    let mut stop = rig.link.stop(&rig.place);
    assert_eq!(kind(&wait(&mut leaving).await), "closed");
    wait(&mut stop).await.unwrap();
    assert_eq!(rig.clock().now(), began);
    rig.leaves_nothing().await;

    let (mut rig, talk) = talking(Some("^HALTED")).await;
    says(&mut rig, talk, "home").await;
    let mut leaving = rig.leaves(talk, Ending::Cancelled);
    assert_eq!(rig.bench.hear().await, "HALT");
    drop(rig.bench);
    assert_eq!(kind(&wait(&mut leaving).await), "lost");
    wait(&mut rig.link.stop(&rig.place)).await.unwrap();
}

#[tokio::test]
async fn what_is_unsolicited_is_heard_although_an_exchange_is_aborted_or_left() {
    for abort in [true, false] {
        let mut rig = Rig::with(4096, Some(lines()), |config| config.rules.unsolicited = Some(pattern("^ALARM"))).await;
        let what = if abort { stoppable_talk(Some("^HALTED")) } else { common::talk() };
        let talk = rig.talks(what).await;
        says(&mut rig, talk, "home").await;
        rig.bench.say("ALARM 1\nACK\n").await;
        assert_eq!(receives(&mut rig, talk).await, "ACK");
        rig.bench.say("ALARM 2\n").await;
        rig.bench.pause(ms(1)).await;
        let ending = if abort { Ending::Failed } else { Ending::Clean };
        let mut leaving = rig.leaves(talk, ending);
        if abort {
            assert_eq!(rig.bench.hear().await, "HALT");
            rig.bench.say("ALARM 3\nHALTED\n").await;
        } else {
            rig.bench.say("ALARM 3\n").await;
        }
        wait(&mut leaving).await.unwrap();
        for number in 1..=3 {
            let heard = text(wait(&mut rig.ask(receive(None), SOON)).await.unwrap());
            assert_eq!(heard, format!("ALARM {number}"), "with an abort: {abort}");
        }
    }
}

#[tokio::test]
async fn an_asker_who_wants_it_finished_waits_for_the_reply() {
    let mut rig = Rig::open().await;
    let mut ticket = rig.ask(asks(Question { finish: true, ..question("MOVE") }), SOON);
    let mut behind = rig.ask(asks(Question { finish: true, ..question("BEHIND") }), SOON);
    assert_eq!(rig.bench.hear().await, "MOVE");
    ticket.cancel();
    // What was not begun has nothing to finish.
    assert_eq!(cancelled(&mut behind).await, Effect::NeverStarted);
    rig.bench.hears_nothing(ms(1000)).await;
    assert!(is_pending(&mut ticket));
    rig.bench.say("moved\n").await;
    assert_eq!(text(wait(&mut ticket).await.unwrap()), "moved");
    rig.is_in_step().await;
    assert_eq!(rig.link.counts().late, 0);
}

#[tokio::test]
async fn who_would_have_it_finished_is_still_bound_by_its_deadline() {
    let mut rig = Rig::open().await;
    let began = rig.clock().now();
    let mut ticket = rig.ask(asks(Question { finish: true, ..question("MOVE") }), ms(500));
    assert_eq!(rig.bench.hear().await, "MOVE");
    ticket.cancel();
    assert_eq!(kind(&wait(&mut ticket).await), "timeout");
    assert_eq!(rig.clock().now().since(began), ms(500));
}

#[tokio::test]
async fn an_abort_goes_before_finishing() {
    let mut rig = Rig::open().await;
    let mut ticket = rig.ask(asks(Question { finish: true, abort: Some(halt(None)), ..question("MOVE") }), SOON);
    assert_eq!(rig.bench.hear().await, "MOVE");
    ticket.cancel();
    assert_eq!(rig.bench.hear().await, "HALT");
    rig.bench.say("moved\n").await;
    assert_eq!(effect(wait(&mut ticket).await), Effect::RanToCompletion);
}

#[tokio::test]
async fn the_end_of_the_session_aborts_what_was_begun_and_waits_for_no_answer() {
    let (mut rig, talk) = talking(Some("^halted")).await;
    says(&mut rig, talk, "MOVE").await;
    let mut queued = rig.ask(stoppable("NEXT", None), SOON);
    let mut stopped = rig.link.stop(&rig.place);
    assert_eq!(rig.bench.hear().await, "HALT");
    wait(&mut stopped).await.unwrap();
    assert_eq!(kind(&wait(&mut queued).await), "closed");
    assert!(!rig.bench.is_spoken_to(), "what was never begun needs no abort");
}
