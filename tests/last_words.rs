//! What a session says before it closes: the abort of what was begun, each once and whole, and the parking. In virtual time.

#![cfg(test)]

mod common;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use common::asking::{asks, halt, numbered, pattern, stoppable};
use common::{Rig, SOON, kind, lines, ms, send, wait};
use labtether::link::job::{Closing, Request, What};
use labtether::link::question::Question;
use labtether::link::rules::{IdOf, Pacing};
use labtether::link::ticket::{Pending, Ticket};
use labtether::transport::Transport;

/// Stops the link, and reads on until the line is closed: all that the instrument still hears.
async fn heard_at_the_end(rig: &mut Rig) -> String {
    let mut stop = rig.link.stop(&rig.place);
    let heard = hears_out(rig).await;
    wait(&mut stop).await.unwrap();
    heard
}

async fn hears_out(rig: &mut Rig) -> String {
    let mut heard = BytesMut::new();
    while poll_fn(|cx| rig.bench.pipe.poll_read(cx, &mut heard)).await.is_ok_and(|n| n > 0) {}
    String::from_utf8(heard.to_vec()).unwrap()
}

fn moves(rig: &Rig, reply: Option<&str>) -> Ticket {
    rig.ask(stoppable("MOVE 1234", reply), SOON)
}

#[tokio::test]
async fn a_query_that_was_begun_is_aborted() {
    let mut rig = Rig::open().await;
    let mut ticket = moves(&rig, Some("^HALTED"));
    assert_eq!(rig.bench.hear().await, "MOVE 1234");
    assert_eq!(heard_at_the_end(&mut rig).await, "HALT\n");
    assert_eq!(kind(&wait(&mut ticket).await), "closed");
}

#[tokio::test]
async fn what_was_not_begun_is_not_aborted() {
    let mut rig =
        Rig::with(4096, Some(lines()), |config| config.rules.pacing = Pacing { gap: ms(500), ..pace(0, 1) }).await;
    let mut first = rig.query("FIRST", SOON);
    rig.bench.answers("FIRST", "first").await;
    wait(&mut first).await.unwrap();
    let mut ticket = moves(&rig, None);
    rig.bench.pause(ms(1)).await;
    assert_eq!(heard_at_the_end(&mut rig).await, "");
    assert_eq!(kind(&wait(&mut ticket).await), "closed");
}

#[tokio::test]
async fn a_frame_that_is_half_out_goes_out_whole_before_the_abort() {
    let mut rig = Rig::with(4, Some(lines()), |_| {}).await;
    let _ticket = moves(&rig, None);
    rig.bench.pause(ms(1)).await;
    assert_eq!(heard_at_the_end(&mut rig).await, "MOVE 1234\nHALT\n");
}

#[tokio::test]
async fn a_line_that_is_stuck_is_cleared_for_it() {
    let mut rig = Rig::with(5, Some(lines()), |_| {}).await;
    let _ticket = moves(&rig, None);
    rig.bench.pause(ms(1)).await;
    let mut stop = rig.link.stop(&rig.place);
    rig.bench.pause(ms(30)).await;
    assert_eq!(hears_out(&mut rig).await, "HALT\n");
    wait(&mut stop).await.unwrap();
}

#[tokio::test]
async fn an_abort_that_is_under_way_is_said_once() {
    for already in [0, 2, 5] {
        // So many of its bytes went before the end.
        let mut rig = Rig::with(if already == 0 { 10 } else { already }, Some(lines()), |_| {}).await;
        let mut ticket = moves(&rig, Some("^HALTED"));
        if already > 0 {
            assert_eq!(rig.bench.hear().await, "MOVE 1234");
        } else {
            rig.bench.pause(ms(1)).await;
        }
        ticket.cancel();
        rig.bench.pause(ms(1)).await;
        let expected = if already == 0 { "MOVE 1234\nHALT\n" } else { "HALT\n" };
        assert_eq!(heard_at_the_end(&mut rig).await, expected, "{already} bytes of it went before");
    }
}

#[tokio::test]
async fn all_that_is_in_flight_is_aborted() {
    let ids = Some(IdOf::Group(pattern("^([0-9]+) ")));
    let mut rig = Rig::with(4096, Some(lines()), |config| config.rules.ids = ids).await;
    let moving = |command| asks(Question { abort: Some(halt(None)), ..numbered(command) });
    let _tickets = [rig.ask(moving("1 A"), SOON), rig.ask(moving("2 B"), SOON), rig.ask(asks(numbered("3 C")), SOON)];
    for command in ["1 A", "2 B", "3 C"] {
        assert_eq!(rig.bench.hear().await, command);
    }
    assert_eq!(heard_at_the_end(&mut rig).await, "HALT\nHALT\n");
}

#[tokio::test]
async fn an_exchange_is_aborted_if_it_has_said_anything() {
    for says in [true, false] {
        let mut rig = Rig::open().await;
        let talk = rig.talks(What::Talk { place: Arc::from("at here"), abort: Some(Box::new(halt(None))) }).await;
        if says {
            wait(&mut rig.inside(talk, send("MOVE", false))).await.unwrap();
            assert_eq!(rig.bench.hear().await, "MOVE");
        }
        assert_eq!(heard_at_the_end(&mut rig).await, if says { "HALT\n" } else { "" });
    }
}

#[tokio::test]
async fn parking_comes_after_the_abort_and_keeps_the_instruments_pace() {
    let mut rig = Rig::with(4096, Some(lines()), |config| {
        config.park = Some(b"PARK\n".to_vec().into());
        config.rules.pacing = pace(3, 1);
    })
    .await;
    let _ticket = moves(&rig, None);
    assert_eq!(rig.bench.hear().await, "MOVE 1234");
    rig.bench.pause(ms(10)).await;
    let began = rig.clock().now();
    rig.link.tell(Request::Close(Closing::Exit), rig.clock()).unwrap();
    assert_eq!(rig.bench.hear().await, "HALT");
    assert_eq!(rig.bench.hear().await, "PARK");
    assert_eq!(rig.clock().now().since(began), ms(9 * 3), "a byte each 3 ms");
    assert_eq!(hears_out(&mut rig).await, "");
}

#[tokio::test]
async fn raw_bytes_have_no_frame_to_keep_whole() {
    let mut rig = Rig::with(4, Some(lines()), |config| config.park = Some(b"PARK\n".to_vec().into())).await;
    let bytes = Bytes::from_static(b"0123456789");
    let _ticket = rig.ask(What::Send { command: bytes.clone(), frame: bytes, urgent: false, raw: true }, SOON);
    rig.bench.pause(ms(1)).await;
    rig.link.tell(Request::Close(Closing::Exit), rig.clock()).unwrap();
    assert_eq!(hears_out(&mut rig).await, "0123PARK\n");
}

#[tokio::test]
async fn a_line_that_stalls_in_the_middle_is_given_up_at_the_limit() {
    let mut rig = Rig::with(4, Some(lines()), |_| {}).await;
    let _ticket = moves(&rig, None);
    assert_eq!(rig.bench.hear().await, "MOVE 1234");
    let began = rig.clock().now();
    let mut stop = rig.link.stop(&rig.place);
    wait(&mut stop).await.unwrap();
    assert_eq!(rig.clock().now().since(began), ms(2000));
}

fn pace(delay: u64, chunk: usize) -> Pacing {
    Pacing { char_delay: Duration::from_millis(delay), chunk, ..Pacing::default() }
}
