//! What is done with a line besides talking, in virtual time and on a pipe with lines: breaks, settings, modem lines, waiting for output.

#![cfg(test)]

mod common;

use common::asking::{asks, cancelled, cancels, is_pending, numbered, pattern};
use common::plug::{Plug, plugged};
use common::{Rig, SOON, kind, lines, ms, query, send, text, wait};
use labtether::clock::Moment;
use labtether::error::{Effect, LinkError};
use labtether::link::job::{Task, What};
use labtether::link::rules::{IdOf, Pacing, Resync, Rules};
use labtether::link::ticket::Answer;
use labtether::transport::control::{Change, Control, ControlError, Controlled, ModemLines};
use std::time::Duration;

async fn with(capacity: usize, change: impl FnOnce(&mut Rules)) -> (Rig, Plug) {
    let (link, bench, plug, place) = plugged(capacity, Some(lines()), |config| change(&mut config.rules)).await;
    (Rig { link, bench, place }, plug)
}

async fn open() -> (Rig, Plug) {
    with(4096, |_| {}).await
}

fn hold(span: u64) -> What {
    What::Control(Task::Break(ms(span)))
}

fn faster() -> Change {
    Change { baudrate: Some(115_200), ..Change::default() }
}

fn configure() -> What {
    What::Control(Task::Configure(faster()))
}

fn drain() -> What {
    What::Control(Task::Drain)
}

fn now(control: Control) -> What {
    What::Control(Task::Now(control))
}

/// What was done, and how many milliseconds after `began`.
fn done(plug: &Plug, began: Moment) -> Vec<(Control, u128)> {
    plug.done().into_iter().map(|(control, at)| (control, at.since(began).as_millis())).collect()
}

fn held(from: u128, to: u128) -> Vec<(Control, u128)> {
    vec![(Control::Break(true), from), (Control::Break(false), to)]
}

#[tokio::test]
async fn a_break_is_held_and_ended_and_has_the_line_meanwhile() {
    let (mut rig, plug) = open().await;
    let began = rig.clock().now();
    let mut breaking = rig.ask(hold(250), SOON);
    let mut next = rig.query("NEXT", SOON);
    rig.bench.hears_nothing(ms(249)).await;
    assert_eq!(rig.bench.hear().await, "NEXT");
    assert_eq!(rig.clock().now().since(began), ms(250));
    wait(&mut breaking).await.unwrap();
    assert_eq!(done(&plug, began), held(0, 250));
    rig.bench.say("next\n").await;
    assert_eq!(text(wait(&mut next).await.unwrap()), "next");
}

#[tokio::test]
async fn a_break_ends_when_its_asker_leaves() {
    for dropped in [true, false] {
        let (rig, plug) = open().await;
        let began = rig.clock().now();
        let mut breaking = rig.ask(hold(60_000), Duration::from_secs(100));
        rig.bench.pause(ms(100)).await;
        if dropped {
            drop(breaking);
            rig.bench.pause(ms(1)).await;
        } else {
            assert_eq!(cancelled(&mut breaking).await, Effect::Halted);
        }
        assert_eq!(done(&plug, began), held(0, 100));
    }
}

#[tokio::test]
async fn a_break_whose_asker_leaves_before_it_is_confirmed_is_ended_all_the_same() {
    let (mut rig, plug) = open().await;
    plug.sticks(true);
    let began = rig.clock().now();
    let mut breaking = rig.ask(hold(1000), SOON);
    rig.bench.pause(ms(100)).await;
    cancels(&mut breaking);
    rig.bench.pause(ms(100)).await;
    assert!(is_pending(&mut breaking));
    plug.sticks(false);
    assert_eq!(kind(&wait(&mut breaking).await), "cancelled");
    assert_eq!(done(&plug, began), held(200, 200));
    rig.is_in_step().await;
}

#[tokio::test]
async fn the_end_of_a_break_that_is_not_confirmed_is_waited_for_and_no_longer_than_its_limit() {
    for confirmed in [true, false] {
        let (rig, plug) = open().await;
        let began = rig.clock().now();
        let mut breaking = rig.ask(hold(250), ms(500));
        rig.bench.pause(ms(100)).await;
        plug.sticks(true);
        rig.bench.pause(ms(400)).await;
        assert!(is_pending(&mut breaking));
        if confirmed {
            plug.sticks(false);
            wait(&mut breaking).await.unwrap();
            assert_eq!(done(&plug, began), held(0, 500));
        } else {
            assert_eq!(kind(&wait(&mut breaking).await), "timeout");
            assert_eq!(rig.clock().now().since(began), ms(750));
        }
    }
}

#[tokio::test]
async fn a_break_that_the_line_does_not_take_ends_by_its_deadline() {
    let (rig, plug) = open().await;
    plug.sticks(true);
    let began = rig.clock().now();
    let mut breaking = rig.ask(hold(250), ms(500));
    let Err(LinkError::Timeout { hint, .. }) = wait(&mut breaking).await else { panic!("no timeout") };
    assert_eq!(hint, "the device has not confirmed it");
    assert_eq!(rig.clock().now().since(began), ms(500));
}

#[tokio::test]
async fn settings_change_when_everything_before_has_left() {
    let (mut rig, plug) = with(4, |_| {}).await;
    plug.desk.lock().unwrap().queued = 7;
    let began = rig.clock().now();
    let mut note = rig.ask(send("NOTE 1234", false), SOON);
    let mut changing = rig.ask(configure(), SOON);
    let mut after = rig.ask(send("AFTER", false), SOON);
    rig.bench.pause(ms(50)).await;
    assert_eq!(rig.bench.hear().await, "NOTE 1234");
    wait(&mut note).await.unwrap();
    rig.bench.hears_nothing(ms(50)).await;
    assert_eq!(done(&plug, began), [], "the kernel still holds some of it");
    plug.desk.lock().unwrap().queued = 0;
    wait(&mut changing).await.unwrap();
    let at = rig.clock().now().since(began).as_millis();
    assert!(at <= 105, "{at}");
    assert_eq!(done(&plug, began), [(Control::Configure(faster()), at)]);
    assert_eq!(rig.bench.hear().await, "AFTER");
    wait(&mut after).await.unwrap();
}

#[tokio::test]
async fn settings_wait_for_their_turn_and_who_has_the_line_for_none() {
    let (mut rig, plug) = open().await;
    let began = rig.clock().now();
    let mut asked = rig.query("MOVE", SOON);
    let mut changing = rig.ask(configure(), SOON);
    assert_eq!(rig.bench.hear().await, "MOVE");
    // The lines can be looked at whoever has the line.
    let modem = ModemLines { cts: Some(true), ..ModemLines::default() };
    plug.desk.lock().unwrap().says.push_back(Ok(Controlled::Lines(modem)));
    let Ok(Answer::Lines(seen)) = wait(&mut rig.ask(now(Control::ReadLines), SOON)).await else { panic!("no lines") };
    assert_eq!(seen, modem);
    rig.bench.pause(ms(100)).await;
    assert_eq!(done(&plug, began), [(Control::ReadLines, 0)]);
    rig.bench.say("moved\n").await;
    assert_eq!(text(wait(&mut asked).await.unwrap()), "moved");
    wait(&mut changing).await.unwrap();
    assert_eq!(done(&plug, began), [(Control::Configure(faster()), 100)]);
}

#[tokio::test]
async fn settings_wait_for_all_that_are_in_flight() {
    let (mut rig, plug) = with(4096, |rules| rules.ids = Some(IdOf::Group(pattern("^([0-9]+) ")))).await;
    let mut first = rig.ask(asks(numbered("1 A")), SOON);
    let mut changing = rig.ask(configure(), SOON);
    let mut second = rig.ask(asks(numbered("2 B")), SOON);
    assert_eq!(rig.bench.hear().await, "1 A");
    rig.bench.hears_nothing(ms(100)).await;
    rig.bench.say("1 a\n").await;
    wait(&mut changing).await.unwrap();
    assert_eq!(plug.done().len(), 1);
    assert_eq!(rig.bench.hear().await, "2 B");
    rig.bench.say("2 b\n").await;
    assert_eq!(text(wait(&mut first).await.unwrap()), "1 a");
    assert_eq!(text(wait(&mut second).await.unwrap()), "2 b");
}

#[tokio::test]
async fn draining_waits_until_all_has_left_or_its_time_is_up() {
    let (mut rig, plug) = with(4, |_| {}).await;
    let began = rig.clock().now();
    wait(&mut rig.ask(drain(), SOON)).await.unwrap();
    assert_eq!(rig.clock().now(), began);
    let mut note = rig.ask(send("NOTE 1234", false), SOON);
    let mut brief = rig.ask(drain(), ms(100));
    let Err(LinkError::Timeout { hint, .. }) = wait(&mut brief).await else { panic!("no timeout") };
    assert!(hint.contains("flow control"), "{hint}");
    assert_eq!(rig.clock().now().since(began), ms(100));
    let mut patient = rig.ask(drain(), SOON);
    rig.bench.pause(ms(50)).await;
    assert_eq!(rig.bench.hear().await, "NOTE 1234");
    wait(&mut note).await.unwrap();
    wait(&mut patient).await.unwrap();
    assert_eq!(rig.clock().now().since(began), ms(150));
    assert_eq!(done(&plug, began), []);
}

#[tokio::test]
async fn each_that_waits_behind_another_ends_by_its_own_deadline() {
    let (mut rig, _plug) = with(4, |_| {}).await;
    let _note = rig.ask(send("NOTE 1234", false), Duration::from_secs(3600));
    let mut patient = rig.ask(drain(), Duration::from_secs(60));
    let began = rig.clock().now();
    let mut brief = rig.ask(now(Control::ReadLines), ms(500));
    assert_eq!(kind(&wait(&mut brief).await), "timeout");
    assert_eq!(rig.clock().now().since(began), ms(500));
    assert_eq!(rig.bench.hear().await, "NOTE 1234");
    wait(&mut patient).await.unwrap();
}

#[tokio::test]
async fn who_leaves_before_it_was_begun_has_done_nothing() {
    let (mut rig, plug) = with(4, |_| {}).await;
    let began = rig.clock().now();
    let mut note = rig.ask(send("NOTE 1234", false), SOON);
    let mut breaking = rig.ask(hold(100), SOON);
    let mut behind = rig.ask(now(Control::SetLines { dtr: Some(true), rts: None }), SOON);
    let mut queued = rig.ask(configure(), SOON);
    rig.bench.pause(ms(10)).await;
    for ticket in [&mut queued, &mut behind, &mut breaking] {
        assert_eq!(cancelled(ticket).await, Effect::NeverStarted);
    }
    assert_eq!(rig.bench.hear().await, "NOTE 1234");
    wait(&mut note).await.unwrap();
    rig.is_in_step().await;
    assert_eq!(done(&plug, began), []);
}

#[tokio::test]
async fn what_a_device_cannot_do_it_says_and_the_line_goes_on() {
    let (mut rig, plug) = open().await;
    for what in [hold(100), configure(), now(Control::WriteEof)] {
        plug.desk.lock().unwrap().says.push_back(Err(ControlError::Unsupported("it has none".to_owned())));
        let Err(LinkError::Unsupported { why, .. }) = wait(&mut rig.ask(what, SOON)).await else { panic!("it can") };
        assert_eq!(why, "it has none");
        rig.is_in_step().await;
    }
    // What has to be left out is in the trace.
    plug.desk.lock().unwrap().says.push_back(Ok(Controlled::Done(vec!["parity is left as it is".to_owned()])));
    wait(&mut rig.ask(configure(), SOON)).await.unwrap();
    assert!(rig.notes().contains(&"parity is left as it is".to_owned()));
    // A pipe without lines cannot do anything.
    let plain = Rig::open().await;
    assert_eq!(kind(&wait(&mut plain.ask(hold(100), SOON)).await), "other");
}

#[tokio::test]
async fn a_port_that_is_gone_says_so() {
    let (rig, plug) = open().await;
    let gone = std::io::Error::other("no such device");
    plug.desk.lock().unwrap().says.push_back(Err(ControlError::Lost(gone)));
    assert_eq!(kind(&wait(&mut rig.ask(configure(), SOON)).await), "lost");
}

#[tokio::test]
async fn in_an_exchange_a_line_is_broken_and_set_too() {
    let (mut rig, plug) = open().await;
    let began = rig.clock().now();
    let talk = rig.talks(common::talk()).await;
    wait(&mut rig.inside(talk, hold(100))).await.unwrap();
    wait(&mut rig.inside(talk, configure())).await.unwrap();
    let mut expected = held(0, 100);
    expected.push((Control::Configure(faster()), 100));
    assert_eq!(done(&plug, began), expected);
    wait(&mut rig.inside(talk, send("home", false))).await.unwrap();
    assert_eq!(rig.bench.hear().await, "home");
}

#[tokio::test]
async fn what_is_urgent_goes_out_although_the_line_is_being_set() {
    let (mut rig, plug) = open().await;
    plug.sticks(true);
    let mut changing = rig.ask(configure(), ms(500));
    wait(&mut rig.ask(send("STOP", true), SOON)).await.unwrap();
    assert_eq!(rig.bench.hear().await, "STOP");
    assert_eq!(kind(&wait(&mut changing).await), "timeout");
}

#[tokio::test]
async fn a_stop_ends_what_is_done_to_the_line_and_no_break_is_left() {
    let (rig, plug) = open().await;
    let began = rig.clock().now();
    let mut breaking = rig.ask(hold(60_000), Duration::from_secs(100));
    let mut behind = rig.ask(drain(), SOON);
    rig.bench.pause(ms(100)).await;
    let mut stop = rig.link.stop(&rig.place);
    assert_eq!(kind(&wait(&mut breaking).await), "closed");
    assert_eq!(kind(&wait(&mut behind).await), "closed");
    wait(&mut stop).await.unwrap();
    assert_eq!(done(&plug, began), held(0, 100));
    rig.leaves_nothing().await;
}

#[tokio::test]
async fn a_break_gets_a_link_back_in_step() {
    let resync = |rules: &mut Rules| rules.resync = Some(Resync::Break(ms(250)));
    for works in [true, false] {
        let (mut rig, plug) = with(4096, resync).await;
        let mut first = rig.query("FIRST", SOON);
        assert_eq!(rig.bench.hear().await, "FIRST");
        assert_eq!(cancelled(&mut first).await, Effect::Unconfirmed);
        if !works {
            plug.desk.lock().unwrap().says.push_back(Err(ControlError::Unsupported("it has none".to_owned())));
        }
        let began = rig.clock().now();
        let mut second = rig.ask(query("SECOND"), SOON);
        if works {
            rig.bench.pause(ms(100)).await;
            rig.bench.say("one\n").await;
            rig.bench.answers("SECOND", "two").await;
            assert_eq!(text(wait(&mut second).await.unwrap()), "two");
            assert_eq!(done(&plug, began), held(0, 250));
            rig.is_in_step().await;
        } else {
            let Err(LinkError::Busy { why, .. }) = wait(&mut second).await else { panic!("not busy") };
            assert!(why.contains("the break that was to reset it failed") && why.contains("it has none"), "{why}");
        }
    }
}

#[tokio::test]
async fn a_gap_is_kept_before_a_break_by_what_was_asked_first() {
    let (mut rig, plug) = with(4096, |rules| rules.pacing = Pacing { gap: ms(100), ..Pacing::default() }).await;
    let began = rig.clock().now();
    let _note = rig.ask(send("NOTE", false), SOON);
    let mut breaking = rig.ask(hold(50), SOON);
    assert_eq!(rig.bench.hear().await, "NOTE");
    wait(&mut breaking).await.unwrap();
    assert_eq!(done(&plug, began), held(100, 150));
}
