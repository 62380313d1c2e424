//! What an RFC 2217 server is asked for besides carrying bytes: lines, breaks, settings, throwing away; confirmed, refused or not answered.

use std::task::{Context, Waker};

use labtether::transport::control::{Change, Control, Controlled, ModemLines};
use labtether::transport::serial::Parity;

use crate::rfc2217::{control, done, unsupported, waits};
use crate::telnet::{COM_PORT, DONT, IAC, session};
use crate::{fill, is_quiet, read_exactly, write};

fn dtr(on: bool) -> Control {
    Control::SetLines { dtr: Some(on), rts: None }
}

#[tokio::test]
async fn a_line_is_set_when_the_server_has_said_so() {
    let (mut pipe, mut far) = session(1).await;
    let both = Control::SetLines { dtr: Some(true), rts: Some(false) };
    let (set, ()) = tokio::join!(control(&mut pipe, both), async {
        for line in [8, 12] {
            assert_eq!(far.hear_command(5).await, [line]);
            far.say_command(105, &[line]).await;
        }
        far.say(b"x").await;
    });
    assert_eq!(set.unwrap(), done());
    assert_eq!(read_exactly(&mut pipe, 1).await, b"x");
    let (refused, ()) = tokio::join!(control(&mut pipe, dtr(false)), async {
        assert_eq!(far.hear_command(5).await, [9]);
        far.say_command(105, &[8]).await;
    });
    assert_eq!(unsupported(refused), "dtr: asked for off, the server says on");
    // sredird answers with its flow control.
    let (set, ()) = tokio::join!(control(&mut pipe, dtr(false)), async {
        far.hear_command(5).await;
        far.say_command(105, &[1]).await;
    });
    assert_eq!(set.unwrap(), done());
}

#[tokio::test]
async fn a_late_answer_is_not_the_answer_to_the_next_question() {
    let (mut pipe, mut far) = session(4096).await;
    assert!(waits(&mut pipe, &dtr(true)));
    pipe.abandon_control();
    assert!(waits(&mut pipe, &dtr(false)));
    far.say_command(105, &[8]).await;
    assert!(waits(&mut pipe, &dtr(false)));
    far.say_command(105, &[9]).await;
    assert_eq!(control(&mut pipe, dtr(false)).await.unwrap(), done());
    assert_eq!(far.hear_command(5).await, [8]);
    assert_eq!(far.hear_command(5).await, [9]);
    assert!(far.is_quiet(), "asked twice");
    // The first is never answered: the answer to the second is not mistaken for that.
    assert!(waits(&mut pipe, &dtr(true)));
    pipe.abandon_control();
    assert!(waits(&mut pipe, &dtr(false)));
    far.say_command(105, &[9]).await;
    assert_eq!(control(&mut pipe, dtr(false)).await.unwrap(), done());
    // A server that never answers is not remembered for ever.
    for n in 0..20 {
        assert!(waits(&mut pipe, &dtr(n % 2 == 0)));
        pipe.abandon_control();
    }
}

#[tokio::test]
async fn the_lines_are_as_the_server_told_last() {
    let (mut pipe, mut far) = session(4096).await;
    assert_eq!(control(&mut pipe, Control::ReadLines).await.unwrap(), Controlled::Lines(ModemLines::default()));
    far.say(b"a").await;
    // CTS and carrier, with what changed; then an overrun on the line. Neither is a byte of it.
    far.say_command(107, &[0x99]).await;
    far.say_command(106, &[0x02]).await;
    far.say(b"b").await;
    assert_eq!(read_exactly(&mut pipe, 2).await, b"ab");
    let (cts, dsr, ri, cd) = (Some(true), Some(false), Some(false), Some(true));
    let lines = ModemLines { cts, dsr, ri, cd, dtr: None, rts: None };
    assert_eq!(control(&mut pipe, Control::ReadLines).await.unwrap(), Controlled::Lines(lines));
}

#[tokio::test]
async fn a_break_begins_and_ends_when_the_server_says_so() {
    let (mut pipe, mut far) = session(1).await;
    // ser2net 4.3 says "on" when it has ended one.
    for (on, asked, answer) in [(true, 5, 5), (false, 6, 5), (true, 5, 5), (false, 6, 6)] {
        let (held, ()) = tokio::join!(control(&mut pipe, Control::Break(on)), async {
            assert_eq!(far.hear_command(5).await, [asked]);
            far.say_command(105, &[answer]).await;
        });
        assert_eq!(held.unwrap(), done());
    }
}

#[tokio::test]
async fn a_break_that_was_given_up_does_not_hold_the_line() {
    let (mut pipe, mut far) = session(4096).await;
    assert!(waits(&mut pipe, &Control::Break(true)));
    pipe.abandon_control();
    assert_eq!((far.hear_command(5).await, far.hear_command(5).await), (vec![5], vec![6]));
    let (mut pipe, mut far) = session(4096).await;
    assert!(waits(&mut pipe, &Control::Break(true)));
    pipe.close();
    assert_eq!((far.hear_command(5).await, far.hear_command(5).await), (vec![5], vec![6]));
}

#[tokio::test]
async fn settings_change_together_or_not_at_all() {
    let (mut pipe, mut far) = session(4096).await;
    let change = Change { baudrate: Some(19_200), rtscts: Some(true), ..Change::default() };
    far.commands.clear();
    let (set, ()) = tokio::join!(control(&mut pipe, Control::Configure(change)), far.confirm(|_| None));
    assert_eq!(set.unwrap(), done());
    assert_eq!((&far.commands[0].1[..], &far.commands[4].1[..]), (&[0, 0, 0x4b, 0][..], &[3][..]));
    // Refused: the rest of it goes back.
    let change = Change { baudrate: Some(300), parity: Some(Parity::Even), ..Change::default() };
    far.commands.clear();
    let (refused, ()) = tokio::join!(control(&mut pipe, Control::Configure(change)), async {
        far.confirm(|code| (code == 3).then(|| vec![1])).await;
        far.confirm(|_| None).await;
    });
    assert_eq!(unsupported(refused), "parity: asked for E, the server has N");
    assert_eq!((&far.commands[0].1[..], &far.commands[5].1[..]), (&[0, 0, 1, 44][..], &[0, 0, 0x4b, 0][..]));
    // The next starts from there.
    let change = Change { bytesize: Some(7), ..Change::default() };
    far.commands.clear();
    let (set, ()) = tokio::join!(control(&mut pipe, Control::Configure(change)), far.confirm(|_| None));
    assert_eq!(set.unwrap(), done());
    let asked: Vec<u8> = far.commands.iter().flat_map(|(_, value)| value.clone()).collect();
    assert_eq!(asked, [0, 0, 0x4b, 0, 7, 1, 1, 3]);
    for (change, why) in [
        (Change { xonxoff: Some(true), ..Change::default() }, "RFC 2217 has one flow control at a time"),
        (Change { baudrate: Some(0), ..Change::default() }, "0 is no speed"),
    ] {
        assert!(unsupported(control(&mut pipe, Control::Configure(change)).await).ends_with(why));
    }
    assert!(unsupported(control(&mut pipe, Control::WriteEof).await).starts_with("write_eof"));
    assert!(far.is_quiet());
}

#[tokio::test]
async fn discarded_input_is_gone_at_the_server_too_and_what_follows_is_kept() {
    let (mut pipe, mut far) = session(1).await;
    far.say(b"o").await;
    pipe.discard_input();
    let (heard, ()) = tokio::join!(read_exactly(&mut pipe, 3), async {
        assert_eq!(far.hear_command(12).await, [1]);
        // On its way when the server was asked.
        far.say(b"ld").await;
        far.say_command(112, &[1]).await;
        far.say(b"new").await;
    });
    assert_eq!(heard, b"new");
    // A server that says nothing to that, but answers something later, has come past it.
    pipe.discard_input();
    let (set, ()) = tokio::join!(control(&mut pipe, dtr(true)), async {
        far.hear_command(12).await;
        far.hear_command(5).await;
        far.say_command(105, &[8]).await;
    });
    assert_eq!(set.unwrap(), done());
    let (heard, ()) = tokio::join!(read_exactly(&mut pipe, 3), far.say(b"new"));
    assert_eq!(heard, b"new");
}

#[tokio::test]
async fn output_is_discarded_only_where_it_is_stuck() {
    let (mut pipe, mut far) = session(4096).await;
    write(&mut pipe, b"last words\n").await;
    pipe.discard_output();
    assert_eq!(far.hear_bytes(11).await, b"last words\n");
    assert!(far.is_quiet(), "the server was told to throw them away");
    let taken = fill(&mut pipe);
    pipe.discard_output();
    assert!(taken > 0 && pipe.queued_output() > 0);
    far.hear_bytes(taken).await;
    assert!(is_quiet(&mut pipe));
    assert_eq!(far.hear_command(12).await, [2]);
    far.say_command(112, &[2]).await;
    write(&mut pipe, b"HALT\n").await;
    assert_eq!(far.hear_bytes(5).await, b"HALT\n");
}

#[tokio::test]
async fn a_server_that_withdraws_still_carries_bytes() {
    let (mut pipe, mut far) = session(4096).await;
    far.say_command(108, &[]).await;
    assert!(is_quiet(&mut pipe));
    pipe.discard_input();
    far.say(&[IAC, DONT, COM_PORT]).await;
    far.say(b"12.5").await;
    assert_eq!(read_exactly(&mut pipe, 4).await, b"12.5");
    write(&mut pipe, b"S\xff").await;
    assert_eq!(far.hear_bytes(2).await, b"S\xff");
    for what in [dtr(true), Control::Break(true), Control::Configure(Change::default())] {
        let why = unsupported(control(&mut pipe, what).await);
        assert!(why.ends_with("the server no longer speaks RFC 2217"), "{why}");
    }
}

#[tokio::test]
async fn a_server_that_asks_and_takes_no_answer_is_not_listened_to_for_ever() {
    let (mut pipe, mut far) = session(1 << 17).await;
    fill(&mut pipe);
    // Options that we have to refuse, three bytes each; nothing of the answers is taken.
    let question = [IAC, 253, 99].repeat(30_000);
    far.say(&question).await;
    assert!(is_quiet(&mut pipe));
    let before = pipe.queued_output();
    far.say(&question).await;
    assert!(is_quiet(&mut pipe));
    assert_eq!(pipe.queued_output(), before);
    assert!(pipe.poll_write(&mut Context::from_waker(Waker::noop()), b"x").is_pending());
}
