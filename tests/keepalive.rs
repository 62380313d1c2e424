//! What keeps an idle instrument awake, in virtual time: on time, only where nobody talks, and heard of where it fails (law 8).

#![cfg(test)]

mod common;

use bytes::Bytes;
use common::asking::{cancelled, is_pending, numbered, pattern, receive};
use common::{Rig, SOON, kind, lines, ms, send, text, wait};
use labtether::error::{Effect, LinkError};
use labtether::link::job::{Ending, What};
use labtether::link::log::Level;
use labtether::link::rules::{IdOf, KeepAlive, Rules};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Lines = Arc<Mutex<Vec<(Level, String)>>>;

/// "KA" after a second, answered unless `reply` says that it has none.
async fn with(reply: bool, change: impl FnOnce(&mut Rules)) -> (Rig, Lines) {
    let logged = Lines::default();
    let sink = logged.clone();
    let rig = Rig::with(4096, Some(lines()), |config| {
        let frame = lines().encode(b"KA").unwrap();
        let reply = reply.then(lines);
        let every = Duration::from_secs(1);
        config.rules.keepalive = Some(KeepAlive { command: Bytes::from_static(b"KA"), frame, reply, id: None, every });
        config.rules.limit = ms(300);
        change(&mut config.rules);
        config.log = Arc::new(move |line| sink.lock().unwrap().push((line.level, line.text)));
    })
    .await;
    (rig, logged)
}

async fn open() -> Rig {
    with(true, |_| {}).await.0
}

impl Rig {
    /// Hears the keep-alive `span` after `since`, and answers it.
    async fn is_kept_awake(&mut self, since: labtether::clock::Moment, span: u64) {
        self.bench.answers("KA", "ok").await;
        assert_eq!(self.clock().now().since(since), ms(span));
    }
}

#[tokio::test]
async fn it_is_on_time_while_nobody_asks() {
    let mut rig = open().await;
    let began = rig.clock().now();
    for second in 1..=5 {
        rig.is_kept_awake(began, second * 1000).await;
    }
    assert_eq!(kind(&wait(&mut rig.ask(receive(None), ms(100))).await), "timeout");
}

#[tokio::test]
async fn without_a_reply_it_is_only_written() {
    let (mut rig, _) = with(false, |_| {}).await;
    let began = rig.clock().now();
    for second in 1..=3 {
        assert_eq!(rig.bench.hear().await, "KA");
        assert_eq!(rig.clock().now().since(began), ms(second * 1000));
    }
    // What comes all the same is nobody's answer.
    rig.bench.say("ok\n").await;
    assert_eq!(text(wait(&mut rig.ask(receive(None), SOON)).await.unwrap()), "ok");
}

#[tokio::test]
async fn traffic_in_either_direction_postpones_it() {
    let mut rig = open().await;
    rig.bench.pause(ms(700)).await;
    wait(&mut rig.ask(send("NOTE", false), SOON)).await.unwrap();
    assert_eq!(rig.bench.hear().await, "NOTE");
    let sent = rig.clock().now();
    rig.is_kept_awake(sent, 1000).await;
    rig.bench.pause(ms(700)).await;
    rig.bench.say("by the way\n").await;
    let heard = rig.clock().now();
    rig.is_kept_awake(heard, 1000).await;
}

#[tokio::test]
async fn it_never_disturbs_who_has_the_line_or_waits_for_a_debt() {
    let mut rig = open().await;
    let mut slow = rig.query("SLOW", Duration::from_secs(60));
    assert_eq!(rig.bench.hear().await, "SLOW");
    rig.bench.hears_nothing(ms(5000)).await;
    rig.bench.say("slow\n").await;
    assert_eq!(text(wait(&mut slow).await.unwrap()), "slow");
    let talk = rig.talks(common::talk()).await;
    rig.bench.hears_nothing(ms(5000)).await;
    wait(&mut rig.leaves(talk, Ending::Clean)).await.unwrap();
    // It was due long ago.
    let left = rig.clock().now();
    rig.is_kept_awake(left, 0).await;
    let mut slow = rig.query("SLOW", Duration::from_secs(60));
    assert_eq!(rig.bench.hear().await, "SLOW");
    assert_eq!(cancelled(&mut slow).await, Effect::Unconfirmed);
    rig.bench.hears_nothing(ms(30_000)).await;
    rig.bench.say("slow\n").await;
    let late = rig.clock().now();
    rig.is_kept_awake(late, 1000).await;
}

#[tokio::test]
async fn who_asks_meanwhile_waits_for_its_reply_and_never_gets_it() {
    let mut rig = open().await;
    assert_eq!(rig.bench.hear().await, "KA");
    let mut asked = rig.query("MOVE", SOON);
    rig.bench.hears_nothing(ms(200)).await;
    rig.bench.say("ok\n").await;
    rig.bench.answers("MOVE", "moved").await;
    assert_eq!(text(wait(&mut asked).await.unwrap()), "moved");
}

#[tokio::test]
async fn its_failure_is_in_the_log_at_once_and_told_once_to_the_next_who_asks() {
    let (mut rig, logged) = with(true, |_| {}).await;
    assert_eq!(rig.bench.hear().await, "KA");
    rig.bench.pause(ms(310)).await;
    let said = logged.lock().unwrap().clone();
    let failures: Vec<_> = said.iter().filter(|(_, text)| text.contains("the keep-alive failed")).collect();
    assert!(matches!(failures[..], [(Level::Error, _)]), "{said:?}");
    let mut told = rig.query("MOVE", SOON);
    let Err(LinkError::Timeout { about, .. }) = wait(&mut told).await else { panic!("not told") };
    assert_eq!(about.command.as_deref(), Some(&b"KA"[..]));
    rig.bench.hears_nothing(ms(100)).await;
    // Its late reply is nobody's.
    let mut next = rig.query("NEXT", SOON);
    rig.bench.say("ok\n").await;
    rig.bench.answers("NEXT", "next").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
}

#[tokio::test]
async fn a_reply_that_is_an_error_or_garbage_is_a_failure_too() {
    for garbage in [true, false] {
        let (mut rig, _) = with(true, |rules| rules.error = Some(pattern("^ERR"))).await;
        assert_eq!(rig.bench.hear().await, "KA");
        rig.bench.say(&if garbage { "x".repeat(1100) } else { "ERR asleep\n".to_owned() }).await;
        rig.bench.pause(ms(100)).await;
        let verdict = wait(&mut rig.query("MOVE", SOON)).await;
        assert_eq!(kind(&verdict), if garbage { "frame" } else { "other" });
    }
}

#[tokio::test]
async fn its_failure_stops_neither_what_is_urgent_nor_who_leaves() {
    let mut rig = open().await;
    assert_eq!(rig.bench.hear().await, "KA");
    rig.bench.pause(ms(310)).await;
    wait(&mut rig.ask(send("STOP", true), SOON)).await.unwrap();
    assert_eq!(rig.bench.hear().await, "STOP");
    assert_eq!(kind(&wait(&mut rig.ask(What::Discard, SOON)).await), "timeout", "it is told to the next");
}

#[tokio::test]
async fn who_waits_for_what_comes_unasked_keeps_nothing_awake_by_it() {
    let mut rig = open().await;
    let began = rig.clock().now();
    let mut waiting = rig.ask(receive(None), Duration::from_secs(60));
    rig.is_kept_awake(began, 1000).await;
    rig.is_kept_awake(began, 2000).await;
    assert!(is_pending(&mut waiting));
}

#[tokio::test]
async fn where_queries_have_ids_so_has_it() {
    let (mut rig, _) = with(true, |rules| {
        rules.ids = Some(IdOf::Group(pattern("^([0-9]+) ")));
        let keepalive = rules.keepalive.as_mut().unwrap();
        keepalive.command = Bytes::from_static(b"0 KA");
        keepalive.frame = lines().encode(b"0 KA").unwrap();
        keepalive.id = Some(Bytes::from_static(b"0"));
    })
    .await;
    assert_eq!(rig.bench.hear().await, "0 KA");
    let mut asked = rig.ask(common::asking::asks(numbered("1 A")), SOON);
    assert_eq!(rig.bench.hear().await, "1 A");
    rig.bench.say("1 a\n0 ok\n").await;
    assert_eq!(text(wait(&mut asked).await.unwrap()), "1 a");
    let heard = rig.clock().now();
    assert_eq!(rig.bench.hear().await, "0 KA");
    assert_eq!(rig.clock().now().since(heard), ms(1000));
}

#[tokio::test]
async fn it_ends_with_the_link() {
    let rig = open().await;
    rig.bench.pause(ms(500)).await;
    wait(&mut rig.link.stop(&rig.place)).await.unwrap();
    let written = rig.link.counts().written;
    rig.bench.pause(ms(5000)).await;
    assert_eq!(rig.link.counts().written, written);
    rig.leaves_nothing().await;
}
