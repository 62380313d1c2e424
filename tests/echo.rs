//! Instruments that repeat what they hear, in virtual time: the echo is taken out before the reply, and compared (law 3).

#![cfg(test)]

mod common;

use common::asking::{asks, cancelled, cancels, effect, halt, is_pending, pattern, question, receive, stoppable};
use common::{Rig, SOON, kind, lines, ms, send, text, wait};
use labtether::error::{Effect, LinkError};
use labtether::link::job::{Ending, What};
use labtether::link::question::Question;
use labtether::link::rules::{Echo, Rules};

const KINDS: [Echo; 2] = [Echo::Bytes, Echo::Line];

async fn with(capacity: usize, echo: Echo, change: impl FnOnce(&mut Rules)) -> Rig {
    Rig::with(capacity, Some(lines()), |config| {
        config.rules.echo = echo;
        change(&mut config.rules);
    })
    .await
}

async fn open(echo: Echo) -> Rig {
    with(4096, echo, |_| {}).await
}

/// Hears `command` and repeats it.
async fn echoes(rig: &mut Rig, command: &str) {
    rig.bench.answers(command, command).await;
}

/// That a fresh question gets its own answer.
async fn is_in_step(rig: &mut Rig) {
    let mut fresh = rig.query("FRESH", SOON);
    echoes(rig, "FRESH").await;
    rig.bench.say("fresh\n").await;
    assert_eq!(text(wait(&mut fresh).await.unwrap()), "fresh");
    assert_eq!(kind(&wait(&mut rig.ask(receive(None), ms(50))).await), "timeout");
}

#[tokio::test]
async fn an_echo_is_taken_out_however_it_is_cut() {
    for echo in KINDS {
        let said = "MOVE\nmoved\n";
        for cut in 0..said.len() {
            let mut rig = open(echo).await;
            let mut asked = rig.query("MOVE", SOON);
            assert_eq!(rig.bench.hear().await, "MOVE");
            let (begun, rest) = said.split_at(cut);
            rig.bench.say(begun).await;
            rig.bench.pause(ms(30)).await;
            rig.bench.say(rest).await;
            assert_eq!(text(wait(&mut asked).await.unwrap()), "moved");
            is_in_step(&mut rig).await;
        }
    }
}

#[tokio::test]
async fn an_echo_may_come_byte_by_byte_while_the_command_is_written() {
    for echo in KINDS {
        let mut rig = with(1, echo, |_| {}).await;
        let mut asked = rig.query("MOVE", SOON);
        for byte in "MOVE\n".chars() {
            rig.bench.pause(ms(5)).await;
            let heard = rig.bench.hears_a_byte().await;
            assert_eq!(char::from(heard), byte);
            rig.bench.say(&byte.to_string()).await;
        }
        rig.bench.say("moved\n").await;
        assert_eq!(text(wait(&mut asked).await.unwrap()), "moved");
    }
}

#[tokio::test]
async fn a_reply_that_reads_like_its_command_is_told_from_the_echo() {
    for echo in KINDS {
        let mut rig = open(echo).await;
        let mut asked = rig.query("7", SOON);
        assert_eq!(rig.bench.hear().await, "7");
        rig.bench.say("7\n7\n").await;
        assert_eq!(text(wait(&mut asked).await.unwrap()), "7");
        is_in_step(&mut rig).await;
    }
}

#[tokio::test]
async fn what_is_not_what_was_written_is_an_error_and_what_follows_it_nobodys() {
    for echo in KINDS {
        let mut rig = open(echo).await;
        let mut asked = rig.query("MOVE", SOON);
        let mut next = rig.query("NEXT", SOON);
        assert_eq!(rig.bench.hear().await, "MOVE");
        rig.bench.say("MOVF\nmoved\n").await;
        let Err(LinkError::Frame { why, .. }) = wait(&mut asked).await else { panic!("not garbled") };
        assert!(why.contains("its echo is not what was written"), "{why}");
        echoes(&mut rig, "NEXT").await;
        rig.bench.say("next\n").await;
        assert_eq!(text(wait(&mut next).await.unwrap()), "next");
        is_in_step(&mut rig).await;
    }
}

#[tokio::test]
async fn a_send_is_echoed_too_and_raw_bytes_are_not() {
    for echo in KINDS {
        let mut rig = open(echo).await;
        wait(&mut rig.ask(send("NOTE", false), SOON)).await.unwrap();
        echoes(&mut rig, "NOTE").await;
        let frame = bytes::Bytes::from_static(b"\x1b\n");
        let raw = What::Send { command: frame.clone(), frame, urgent: false, raw: true };
        wait(&mut rig.ask(raw, SOON)).await.unwrap();
        assert_eq!(rig.bench.hear().await, "\x1b");
        rig.bench.pause(ms(50)).await;
        is_in_step(&mut rig).await;
    }
}

#[tokio::test]
async fn several_sends_are_echoed_in_their_order() {
    for echo in KINDS {
        let mut rig = open(echo).await;
        for message in ["A", "B", "C"] {
            wait(&mut rig.ask(send(message, false), SOON)).await.unwrap();
        }
        let mut asked = rig.query("Q", SOON);
        for command in ["A", "B", "C", "Q"] {
            assert_eq!(rig.bench.hear().await, command);
        }
        rig.bench.say("A\nB\nC\nQ\nq\n").await;
        assert_eq!(text(wait(&mut asked).await.unwrap()), "q");
    }
}

#[tokio::test]
async fn what_is_unsolicited_may_come_before_an_echo() {
    for echo in KINDS {
        let mut rig = with(4096, echo, |rules| rules.unsolicited = Some(pattern("^ALARM"))).await;
        let mut asked = rig.query("MOVE", SOON);
        assert_eq!(rig.bench.hear().await, "MOVE");
        rig.bench.say("ALARM 1\n").await;
        rig.bench.pause(ms(5)).await;
        rig.bench.say("ALA").await;
        rig.bench.pause(ms(5)).await;
        rig.bench.say("RM 2\nMOVE\nALARM 3\nmoved\n").await;
        assert_eq!(text(wait(&mut asked).await.unwrap()), "moved");
        for number in 1..=3 {
            assert_eq!(text(wait(&mut rig.ask(receive(None), SOON)).await.unwrap()), format!("ALARM {number}"));
        }
        is_in_step(&mut rig).await;
    }
}

#[tokio::test]
async fn who_leaves_before_the_echo_leaves_both_echo_and_reply_to_be_dropped() {
    for echo in KINDS {
        for timeout in [true, false] {
            let mut rig = open(echo).await;
            let mut left = rig.query("MOVE", ms(500));
            assert_eq!(rig.bench.hear().await, "MOVE");
            if timeout {
                assert_eq!(kind(&wait(&mut left).await), "timeout");
            } else {
                assert_eq!(cancelled(&mut left).await, Effect::Unconfirmed);
            }
            let mut next = rig.query("NEXT", SOON);
            rig.bench.say("MOVE\n").await;
            rig.bench.hears_nothing(ms(200)).await;
            rig.bench.say("moved\n").await;
            echoes(&mut rig, "NEXT").await;
            rig.bench.say("next\n").await;
            assert_eq!(text(wait(&mut next).await.unwrap()), "next");
            is_in_step(&mut rig).await;
        }
    }
}

#[tokio::test]
async fn who_leaves_in_the_middle_of_a_frame_leaves_its_echo_to_be_dropped_too() {
    for echo in KINDS {
        let mut rig = with(4, echo, |_| {}).await;
        let mut left = rig.query("MOVE 1234", SOON);
        rig.bench.pause(ms(1)).await;
        assert_eq!(cancelled(&mut left).await, Effect::Unconfirmed);
        let mut next = rig.query("NEXT", SOON);
        echoes(&mut rig, "MOVE 1234").await;
        rig.bench.hears_nothing(ms(300)).await;
        rig.bench.say("moved\n").await;
        echoes(&mut rig, "NEXT").await;
        rig.bench.say("next\n").await;
        assert_eq!(text(wait(&mut next).await.unwrap()), "next");
        is_in_step(&mut rig).await;
    }
}

#[tokio::test]
async fn a_send_that_passes_what_is_owed_is_echoed_after_it() {
    for echo in KINDS {
        let mut rig = open(echo).await;
        let mut left = rig.query("MOVE", SOON);
        assert_eq!(cancelled(&mut left).await, Effect::Unconfirmed);
        wait(&mut rig.ask(send("NOTE", false), SOON)).await.unwrap();
        let mut next = rig.query("NEXT", SOON);
        echoes(&mut rig, "MOVE").await;
        echoes(&mut rig, "NOTE").await;
        rig.bench.hears_nothing(ms(100)).await;
        rig.bench.say("moved\n").await;
        echoes(&mut rig, "NEXT").await;
        rig.bench.say("next\n").await;
        assert_eq!(text(wait(&mut next).await.unwrap()), "next");
        is_in_step(&mut rig).await;
    }
}

#[tokio::test]
async fn a_send_that_is_left_in_the_middle_is_echoed_all_the_same() {
    for echo in KINDS {
        let mut rig = with(4, echo, |_| {}).await;
        let mut left = rig.ask(send("NOTE 1234", false), SOON);
        rig.bench.pause(ms(1)).await;
        assert_eq!(cancelled(&mut left).await, Effect::Unconfirmed);
        let mut next = rig.query("NEXT", SOON);
        echoes(&mut rig, "NOTE 1234").await;
        echoes(&mut rig, "NEXT").await;
        rig.bench.say("next\n").await;
        assert_eq!(text(wait(&mut next).await.unwrap()), "next");
        is_in_step(&mut rig).await;
    }
}

#[tokio::test]
async fn an_abort_is_echoed_and_so_is_what_it_stops() {
    for echo in KINDS {
        let mut rig = open(echo).await;
        let mut asked = rig.ask(stoppable("MOVE", Some("^HALTED")), SOON);
        assert_eq!(rig.bench.hear().await, "MOVE");
        cancels(&mut asked);
        assert_eq!(rig.bench.hear().await, "HALT");
        rig.bench.say("MOVE\nHALT\n").await;
        rig.bench.pause(ms(100)).await;
        assert!(is_pending(&mut asked), "neither is a reply");
        rig.bench.say("HALTED\n").await;
        assert_eq!(effect(wait(&mut asked).await), Effect::Halted);
        is_in_step(&mut rig).await;
    }
}

#[tokio::test]
async fn the_echo_of_an_abort_that_nobody_heard_is_not_waited_for_any_more() {
    for echo in KINDS {
        let mut rig = open(echo).await;
        let mut asked = rig.ask(stoppable("MOVE", Some("^HALTED")), SOON);
        assert_eq!(cancelled(&mut asked).await, Effect::Unconfirmed);
        for command in ["MOVE", "HALT"] {
            assert_eq!(rig.bench.hear().await, command);
        }
        is_in_step(&mut rig).await;
    }
}

#[tokio::test]
async fn the_echo_of_a_frame_that_was_left_in_the_middle_is_not_its_reply() {
    for echo in KINDS {
        let mut rig = with(4, echo, |_| {}).await;
        let mut asked = rig.ask(asks(Question { abort: Some(halt(None)), ..question("MOVE 1234") }), SOON);
        rig.bench.pause(ms(1)).await;
        cancels(&mut asked);
        echoes(&mut rig, "MOVE 1234").await;
        echoes(&mut rig, "HALT").await;
        rig.bench.pause(ms(100)).await;
        assert!(is_pending(&mut asked), "nothing has been answered");
        assert_eq!(effect(wait(&mut asked).await), Effect::Unconfirmed);
        is_in_step(&mut rig).await;
    }
}

#[tokio::test]
async fn an_exchange_gets_replies_and_no_echoes() {
    for echo in KINDS {
        let mut rig = open(echo).await;
        let talk = rig.talks(common::talk()).await;
        for (command, reply) in [("A", "a"), ("B", "b")] {
            wait(&mut rig.inside(talk, send(command, false))).await.unwrap();
            echoes(&mut rig, command).await;
            rig.bench.say(&format!("{reply}\n")).await;
            assert_eq!(text(wait(&mut rig.inside(talk, receive(None))).await.unwrap()), reply);
        }
        // A wrong one is told to who waits, and what was asked before is not believed any more.
        wait(&mut rig.inside(talk, send("C", false))).await.unwrap();
        assert_eq!(rig.bench.hear().await, "C");
        let mut answer = rig.inside(talk, receive(None));
        rig.bench.say("X\nc\n").await;
        assert_eq!(kind(&wait(&mut answer).await), "frame");
        assert_eq!(effect(wait(&mut rig.leaves(talk, Ending::Clean)).await), Effect::Unconfirmed);
        rig.bench.pause(ms(50)).await;
        is_in_step(&mut rig).await;
    }
}

#[tokio::test]
async fn an_exchange_that_is_left_before_its_echo_is_owed_that_too() {
    for echo in KINDS {
        let mut rig = open(echo).await;
        let talk = rig.talks(common::talk()).await;
        wait(&mut rig.inside(talk, send("home", false))).await.unwrap();
        assert_eq!(rig.bench.hear().await, "home");
        assert_eq!(effect(wait(&mut rig.leaves(talk, Ending::Failed)).await), Effect::Unconfirmed);
        let mut next = rig.query("NEXT", SOON);
        rig.bench.say("home\n").await;
        rig.bench.hears_nothing(ms(200)).await;
        rig.bench.say("ACK\n").await;
        echoes(&mut rig, "NEXT").await;
        rig.bench.say("next\n").await;
        assert_eq!(text(wait(&mut next).await.unwrap()), "next");
    }
}
