//! Exchanges on a link's wire, as conversations in virtual time: what a wait that was given up leaves behind (law 3).

#![cfg(test)]

mod common;

use bytes::Bytes;
use common::{Rig, SOON, kind, lines, ms, query, send, talk, text, wait};
use labtether::link::job::{Ending, Request, Want, What};
use labtether::link::ticket::{Answer, Pending, Ticket};
use regex::bytes::Regex;

fn receive(pattern: Option<&str>) -> What {
    What::Receive { pattern: pattern.map(|pattern| Regex::new(pattern).unwrap()), framing: Some(lines()), accept: None }
}

fn until_lf() -> What {
    What::Read(Want::Until(Bytes::from_static(b"\n")))
}

/// A link with an exchange open.
struct Talking {
    rig: Rig,
    id: u64,
}

impl Talking {
    async fn open() -> Talking {
        let rig = Rig::open().await;
        let Ok(Answer::Number(id)) = wait(&mut rig.ask(talk(), SOON)).await else { panic!("no exchange") };
        Talking { rig, id }
    }

    fn ask(&self, what: What, limit: std::time::Duration) -> Ticket {
        self.rig.link.ask(what, Some(self.id), limit, SOON, self.rig.clock())
    }

    async fn sends(&mut self, message: &str) {
        wait(&mut self.ask(send(message, false), SOON)).await.unwrap();
        assert_eq!(self.rig.bench.hear().await, message);
    }

    async fn receives(&mut self) -> String {
        text(wait(&mut self.ask(receive(None), SOON)).await.unwrap())
    }

    fn ends(&self, ending: Ending) {
        self.rig.link.tell(Request::EndTalk { talk: self.id, ending }, self.rig.clock()).unwrap();
    }
}

async fn cancelled(ticket: &mut Ticket) {
    ticket.cancel();
    assert_eq!(kind(&wait(ticket).await), "cancelled");
}

#[tokio::test]
async fn an_exchange_has_the_line_to_itself() {
    let mut rig = Rig::open().await;
    let mut opening = rig.ask(talk(), SOON);
    let Ok(Answer::Number(talk)) = wait(&mut opening).await else { panic!() };
    let mut outside = rig.query("OUTSIDE", SOON);
    let inside = |what| rig.link.ask(what, Some(talk), SOON, SOON, rig.clock());
    let mut sending = inside(send("home", false));
    let mut ack = inside(What::Receive { pattern: None, framing: Some(lines()), accept: None });
    let mut done =
        inside(What::Receive { pattern: Some(Regex::new("^OK").unwrap()), framing: Some(lines()), accept: None });
    assert_eq!(rig.bench.hear().await, "home");
    rig.bench.say("ACK\nmoving\nmoving\nOK\n").await;
    wait(&mut sending).await.unwrap();
    assert_eq!(text(wait(&mut ack).await.unwrap()), "ACK");
    let Ok(Answer::Message(heard, skipped)) = wait(&mut done).await else { panic!() };
    assert_eq!((&heard.body[..], skipped.len()), (&b"OK"[..], 2));
    rig.link.tell(Request::EndTalk { talk, ending: Ending::Clean }, rig.clock()).unwrap();
    assert_eq!(rig.bench.hear().await, "OUTSIDE");
    rig.bench.say("1\n").await;
    assert_eq!(text(wait(&mut outside).await.unwrap()), "1");
}

#[tokio::test]
async fn what_a_failed_exchange_was_owed_is_dropped() {
    let mut rig = Rig::open().await;
    let Ok(Answer::Number(talk)) = wait(&mut rig.ask(talk(), SOON)).await else { panic!() };
    wait(&mut rig.link.ask(send("home", false), Some(talk), SOON, SOON, rig.clock())).await.unwrap();
    let _ = rig.bench.hear().await;
    rig.link.tell(Request::EndTalk { talk, ending: Ending::Failed }, rig.clock()).unwrap();
    let mut next = rig.query("NEXT", SOON);
    rig.bench.say("ACK\n").await;
    assert_eq!(rig.bench.hear().await, "NEXT");
    rig.bench.say("next\n").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
}

#[tokio::test]
async fn a_message_whose_asker_left_is_there_for_any_kind_of_wait() {
    let mut talking = Talking::open().await;
    let mut first = talking.ask(receive(None), SOON);
    let mut second = talking.ask(until_lf(), SOON);
    talking.rig.bench.say("one\r\ntwo\r\n").await;
    talking.rig.bench.pause(ms(1)).await;
    cancelled(&mut first).await;
    assert_eq!(text(wait(&mut second).await.unwrap()), "one\r\n");
    let mut third = talking.ask(until_lf(), SOON);
    talking.rig.bench.pause(ms(1)).await;
    cancelled(&mut third).await;
    assert_eq!(talking.receives().await, "two");
}

#[tokio::test]
async fn what_was_passed_over_for_who_left_can_still_be_received() {
    let mut talking = Talking::open().await;
    let mut done = talking.ask(receive(Some("^OK")), ms(50));
    talking.rig.bench.say("moving\nstill moving\n").await;
    assert_eq!(kind(&wait(&mut done).await), "timeout");
    let mut done = talking.ask(receive(Some("^OK")), SOON);
    talking.rig.bench.say("OK\n").await;
    talking.rig.bench.pause(ms(1)).await;
    cancelled(&mut done).await;
    for expected in ["moving", "still moving", "OK"] {
        assert_eq!(talking.receives().await, expected);
    }
}

#[tokio::test]
async fn what_was_passed_over_on_the_way_to_garbage_can_still_be_received() {
    let mut talking = Talking::open().await;
    let mut done = talking.ask(receive(Some("^OK")), SOON);
    talking.rig.bench.say("moving\n").await;
    talking.rig.bench.say(&"x".repeat(2000)).await;
    assert_eq!(kind(&wait(&mut done).await), "frame");
    assert_eq!(talking.receives().await, "moving");
}

#[tokio::test]
async fn a_reply_that_was_taken_back_is_owed_again() {
    let mut talking = Talking::open().await;
    talking.sends("A").await;
    talking.sends("B").await;
    let mut first = talking.ask(receive(None), SOON);
    talking.rig.bench.say("a\n").await;
    talking.rig.bench.pause(ms(1)).await;
    cancelled(&mut first).await;
    assert_eq!(talking.receives().await, "a");
    talking.ends(Ending::Failed);
    let mut next = talking.rig.query("NEXT", SOON);
    talking.rig.bench.pause(ms(500)).await;
    talking.rig.bench.say("b\n").await;
    assert_eq!(talking.rig.bench.hear().await, "NEXT");
    talking.rig.bench.say("next\n").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
}

#[tokio::test]
async fn a_reply_taken_back_after_its_exchange_is_nobodys() {
    let mut talking = Talking::open().await;
    talking.sends("A").await;
    let mut reply = talking.ask(receive(None), SOON);
    talking.rig.bench.say("a\n").await;
    talking.rig.bench.pause(ms(1)).await;
    talking.ends(Ending::Clean);
    talking.rig.bench.pause(ms(1)).await;
    cancelled(&mut reply).await;
    let mut stray = talking.rig.ask(receive(None), ms(100));
    assert_eq!(kind(&wait(&mut stray).await), "timeout");
    assert_eq!(talking.rig.link.counts().late, 1);
}

#[tokio::test]
async fn what_a_clean_exchange_did_not_fetch_is_nobodys() {
    let mut talking = Talking::open().await;
    talking.sends("A").await;
    talking.rig.bench.say("a\nmore\nhal").await;
    assert_eq!(talking.receives().await, "a");
    talking.ends(Ending::Clean);
    talking.rig.bench.say("f\n").await;
    let mut stray = talking.rig.ask(receive(None), ms(100));
    assert_eq!(kind(&wait(&mut stray).await), "timeout");
    let notes: Vec<String> = talking.rig.link.trace.events().into_iter().map(|event| event.note).collect();
    assert!(notes.contains(&"not fetched: 'more'".to_owned()), "{notes:?}");
}

#[tokio::test]
async fn the_answer_to_the_last_words_of_a_clean_exchange_is_not_the_next_questions() {
    let mut talking = Talking::open().await;
    talking.sends("A").await;
    talking.ends(Ending::Clean);
    let left = talking.rig.clock().now();
    let mut next = talking.rig.query("NEXT", SOON);
    talking.rig.bench.pause(ms(10)).await;
    talking.rig.bench.say("a\n").await;
    assert_eq!(talking.rig.bench.hear().await, "NEXT");
    assert_eq!(talking.rig.clock().now().since(left), ms(30));
    talking.rig.bench.say("next\n").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
}

#[tokio::test]
async fn catching_up_drops_the_late_answer_of_a_wait_that_was_given_up() {
    let mut talking = Talking::open().await;
    talking.sends("A").await;
    let mut reply = talking.ask(receive(None), ms(100));
    assert_eq!(kind(&wait(&mut reply).await), "timeout");
    let mut level = talking.ask(What::CatchUp, SOON);
    talking.rig.bench.pause(ms(600)).await;
    talking.rig.bench.say("a\n").await;
    wait(&mut level).await.unwrap();
    talking.sends("B").await;
    talking.rig.bench.say("b\n").await;
    assert_eq!(talking.receives().await, "b");
}

#[tokio::test]
async fn catching_up_ends_a_drain_after_the_wait_that_was_given_up() {
    let mut talking = Talking::open().await;
    talking.sends("A").await;
    let asked = talking.rig.clock().now();
    let mut reply = talking.ask(receive(None), ms(100));
    assert_eq!(kind(&wait(&mut reply).await), "timeout");
    wait(&mut talking.ask(What::CatchUp, SOON)).await.unwrap();
    assert_eq!(talking.rig.clock().now().since(asked), ms(1100));
    let again = talking.rig.clock().now();
    wait(&mut talking.ask(What::CatchUp, SOON)).await.unwrap();
    assert_eq!(talking.rig.clock().now(), again);
}

#[tokio::test]
async fn bytes_of_a_cancelled_read_are_not_the_reply_of_who_has_the_line_now() {
    let mut rig = Rig::with(4096, None, |_| {}).await;
    let mut read = rig.ask(What::Read(Want::Exactly(3)), SOON);
    rig.bench.say("abc").await;
    rig.bench.pause(ms(1)).await;
    let mut asked = rig.ask(query("Q"), SOON);
    assert_eq!(rig.bench.hear().await, "Q");
    cancelled(&mut read).await;
    rig.bench.say("q\n").await;
    assert_eq!(text(wait(&mut asked).await.unwrap()), "q");
    let mut again = rig.ask(What::Read(Want::Exactly(3)), SOON);
    assert_eq!(text(wait(&mut again).await.unwrap()), "abc");
}

#[tokio::test]
async fn what_a_cancelled_exchange_would_have_fetched_next_is_not_the_next_questions() {
    let mut talking = Talking::open().await;
    talking.sends("home").await;
    talking.rig.bench.say("ACK\n").await;
    assert_eq!(talking.receives().await, "ACK");
    talking.ends(Ending::Cancelled);
    let left = talking.rig.clock().now();
    let mut next = talking.rig.query("NEXT", SOON);
    talking.rig.bench.pause(ms(700)).await;
    talking.rig.bench.say("DONE\n").await;
    assert_eq!(talking.rig.bench.hear().await, "NEXT");
    assert_eq!(talking.rig.clock().now().since(left), ms(720));
    talking.rig.bench.say("next\n").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
}

#[tokio::test]
async fn a_cancelled_exchange_that_was_answered_keeps_the_line_for_a_drain_and_no_longer() {
    let mut talking = Talking::open().await;
    talking.sends("STATUS").await;
    talking.rig.bench.say("idle\n").await;
    assert_eq!(talking.receives().await, "idle");
    talking.ends(Ending::Cancelled);
    let left = talking.rig.clock().now();
    let _next = talking.rig.query("NEXT", SOON);
    assert_eq!(talking.rig.bench.hear().await, "NEXT");
    assert_eq!(talking.rig.clock().now().since(left), ms(1000));
}
