//! Framings, checked whole, byte by byte, with trailing bytes, and at random cuts.

#![cfg(test)]

use bytes::{Bytes, BytesMut};
use labtether::framing::{BadFraming, BadMessage, FrameError, Framing, Lines};
use proptest::prelude::*;

/// A message, or the beginning of what was too long.
type Taken = Result<Vec<u8>, Vec<u8>>;

fn message(body: &[u8]) -> Taken {
    Ok(body.to_vec())
}

fn too_long(beginning: &[u8]) -> Taken {
    Err(beginning.to_vec())
}

fn terminators(ends: &[&[u8]]) -> Vec<Bytes> {
    ends.iter().map(|end| Bytes::copy_from_slice(end)).collect()
}

fn bad_lines(ends: &[&[u8]], send: Option<&'static [u8]>, keep: bool, max_length: usize) -> BadFraming {
    Lines::new(terminators(ends), send.map(Bytes::from_static), keep, max_length).expect_err("should be refused")
}

fn lines_of(ends: &[&[u8]], send: Option<&'static [u8]>, keep: bool, max_length: usize) -> Framing {
    Lines::new(terminators(ends), send.map(Bytes::from_static), keep, max_length).expect("should be accepted").into()
}

fn lines(ends: &[&[u8]]) -> Framing {
    lines_of(ends, None, false, Lines::MAX_LENGTH)
}

/// Takes until there is nothing to take.
fn take_all(framing: &Framing, received: &mut BytesMut, into: &mut Vec<Taken>) {
    loop {
        let before = received.len();
        match framing.take(received) {
            Ok(None) => {
                assert_eq!(received.len(), before, "`None` must leave the bytes alone");
                return;
            }
            Ok(Some(message)) => into.push(Ok(message.to_vec())),
            Err(FrameError::TooLong { beginning, .. }) => into.push(Err(beginning.to_vec())),
            Err(error) => panic!("{error}"),
        }
        assert!(received.len() < before, "something must have been removed");
    }
}

/// What comes of `stream` when it arrives in `pieces`, and what is left over.
fn feed<'a>(framing: &Framing, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Taken>, Vec<u8>) {
    let (mut received, mut taken) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        received.extend_from_slice(piece);
        take_all(framing, &mut received, &mut taken);
    }
    (taken, received.to_vec())
}

/// Runs one case whole, byte by byte, and with trailing bytes.
#[track_caller]
fn check(framing: &Framing, stream: &[u8], expected: &[Taken], left: &[u8]) {
    let whole = feed(framing, [stream]);
    assert_eq!(whole, (expected.to_vec(), left.to_vec()), "whole: {framing:?}");
    assert_eq!(feed(framing, stream.chunks(1)), whole, "byte by byte: {framing:?}");
    let mut longer = stream.to_vec();
    longer.push(b'~');
    let mut left = left.to_vec();
    left.push(b'~');
    assert_eq!(feed(framing, [longer.as_slice()]), (expected.to_vec(), left), "with trailing bytes: {framing:?}");
}

#[test]
fn lines_end_at_lf_and_drop_one_cr_by_default() {
    let default = Framing::from(Lines::default());
    check(&default, b"", &[], b"");
    check(&default, b"half", &[], b"half");
    check(&default, b"one\ntwo\r\n", &[message(b"one"), message(b"two")], b"");
    check(&default, b"\n\r\n\r\r\nx", &[message(b""), message(b""), message(b"\r")], b"x");
    check(&default, b"a\rb\n", &[message(b"a\rb")], b"");
    assert_eq!(default, lines(&[b"\n"]));
}

#[test]
fn only_a_terminator_of_exactly_lf_drops_a_cr() {
    check(&lines(&[b";\n"]), b"a\r;\nb\r\n", &[message(b"a\r")], b"b\r\n");
    check(&lines(&[b">"]), b"a\r>", &[message(b"a\r")], b"");
    check(&lines(&[b">", b"\n"]), b"a\r>b\r\n", &[message(b"a\r"), message(b"b")], b"");
    check(&Lines::crlf().into(), b"a\nb\r\r\nc\r", &[message(b"a\nb\r")], b"c\r");
}

#[test]
fn the_terminator_that_ends_earliest_wins_and_of_two_the_longest() {
    check(&lines(&[b"\r", b">"]), b"OK\r>ERR>\r", &[message(b"OK"), message(b""), message(b"ERR"), message(b"")], b"");
    check(&lines(&[b"END", b"N"]), b"xEND", &[message(b"xE")], b"D");
    check(&lines(&[b"\n", b"\r\n"]), b"a\r\r\nb\n", &[message(b"a\r"), message(b"b")], b"");
    check(
        &lines(&[b"\r", b"\n", b">", b"\x03"]),
        b"a\rb\nc>d\x03",
        &[b"a", b"b", b"c", b"d"].map(|body| message(body)),
        b"",
    );
    check(&lines(&[b"aab"]), b"aaaab", &[message(b"aa")], b"");
}

#[test]
fn keep_keeps_the_terminator_and_the_cr() {
    let keeping = |ends: &[&[u8]]| lines_of(ends, None, true, Lines::MAX_LENGTH);
    check(&keeping(&[b"\n"]), b"a\r\nb\n", &[message(b"a\r\n"), message(b"b\n")], b"");
    check(&keeping(&[b"\r", b">"]), b"a\r>", &[message(b"a\r"), message(b">")], b"");
    check(&lines_of(&[b"\n"], None, true, 2), b"ab\r\n", &[message(b"ab\r\n")], b"");
}

#[test]
fn a_body_over_the_limit_is_one_error_that_removes_what_it_must() {
    let four = |ends: &[&[u8]]| lines_of(ends, None, false, 4);
    check(&four(&[b"\n"]), b"abcd\nabcd\r\n", &[message(b"abcd"), message(b"abcd")], b"");
    // Known to be too long at its terminator: all of it goes.
    check(&four(&[b"\n"]), b"abcde\nx\n", &[too_long(b"abcde\n"), message(b"x")], b"");
    check(&four(&[b">", b"<END>"]), b"abcdefgh>x>", &[too_long(b"abcdefgh>"), message(b"x")], b"");
    // Known to be too long before its terminator has come: four bytes go.
    check(&four(&[b"\n"]), b"abcdef\nx\n", &[too_long(b"abcd"), message(b"ef"), message(b"x")], b"");
    check(&four(&[b"\r\n"]), b"abcde\r\n", &[too_long(b"abcd"), message(b"e")], b"");
    check(&four(&[b"\r\n"]), b"abcd\r\n", &[message(b"abcd")], b"");
    check(&four(&[b"\r\n"]), b"abcd\rx", &[too_long(b"abcd")], b"\rx");
}

#[test]
fn too_long_says_the_limit_and_shows_the_beginning() {
    let mut received = BytesMut::from([b'x'; 100].as_slice());
    let error = lines_of(&[b"\n"], None, false, 64).take(&mut received).expect_err("is too long");
    assert_eq!(received.len(), 36);
    assert_eq!(
        error.to_string(),
        format!(
            "longer than 64 bytes; it begins with '{}' (is the framing right? else raise max_length)",
            "x".repeat(40)
        )
    );
}

#[test]
fn the_largest_limit_is_no_limit() {
    check(&lines_of(&[b"\r\n"], None, false, usize::MAX), b"abc\r\nd", &[message(b"abc")], b"d");
}

#[test]
fn what_is_sent_ends_in_the_first_terminator_unless_told_otherwise() {
    let encoded = |framing: &Framing, body: &[u8]| framing.encode(body).expect("is a body");
    assert_eq!(encoded(&Lines::default().into(), b"*IDN?"), "*IDN?\n");
    assert_eq!(encoded(&Lines::default().into(), b"ends in CR\r"), "ends in CR\r\n");
    assert_eq!(encoded(&lines(&[b"\r", b">"]), b"a>b\rc"), "a>b\rc\r");
    assert_eq!(encoded(&lines_of(&[b"\r\n"], Some(b"\r"), false, 9), b"CR"), "CR\r");
    assert_eq!(encoded(&lines_of(&[b">"], Some(b""), false, 9), b"no end>"), "no end>");
    assert_eq!(encoded(&Lines::crlf().into(), b""), "\r\n");
}

#[test]
fn a_body_with_a_terminator_of_its_own_is_refused() {
    let error = Framing::from(Lines::crlf()).encode(b"S\r\n").expect_err("is terminated");
    assert_eq!(error.to_string(), r"'S\r\n' already ends in '\r\n': the link adds the terminator '\r\n'; leave it off");
    for (framing, body) in [(lines(&[b"\r", b">"]), b"a>"), (lines_of(&[b">"], Some(b"\r"), false, 9), b"a\r")] {
        assert!(matches!(framing.encode(body), Err(BadMessage::AlreadyTerminated { .. })), "{framing:?}");
    }
}

#[test]
fn lines_that_cannot_work_are_refused() {
    let bytes = Bytes::from_static;
    for (error, expected, text) in [
        (bad_lines(&[], None, false, 9), BadFraming::NoTerminator, "lines need at least one terminator"),
        (
            bad_lines(&[b"\r", b""], None, false, 9),
            BadFraming::EmptyTerminator,
            "a terminator must have at least one byte",
        ),
        (
            bad_lines(&[b"a", b"\r", b"\r\n"], None, false, 9),
            BadFraming::Hidden { long: bytes(b"\r\n"), short: bytes(b"\r") },
            r"the terminator '\r\n' begins with another one, '\r', and so would never be found",
        ),
        (
            bad_lines(&[b"\r\n", b"\r"], None, false, 9),
            BadFraming::Hidden { long: bytes(b"\r\n"), short: bytes(b"\r") },
            r"the terminator '\r\n' begins with another one, '\r', and so would never be found",
        ),
        (
            bad_lines(&[b">", b">"], None, false, 9),
            BadFraming::Repeated(bytes(b">")),
            "the terminator '>' is given twice",
        ),
        (bad_lines(&[b"\n"], Some(b""), false, 0), BadFraming::NoLength, "max_length must be at least 1"),
    ] {
        assert_eq!(error, expected);
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn framings_describe_themselves() {
    assert_eq!(Framing::from(Lines::crlf()).describe(), r"lines ending in '\r\n'");
    assert_eq!(lines(&[b"\r", b">"]).describe(), r"lines ending in '\r' or '>'");
}

#[test]
fn a_hint_guesses_the_terminator_from_what_came() {
    let hint = |heard: &[u8]| Framing::from(Lines::crlf()).hint(heard);
    assert_eq!(hint(b""), None);
    assert_eq!(
        hint(b"S S   42.00000 g \r").as_deref(),
        Some(r"18 bytes came but no '\r\n'; they end in '\r': is the terminator '\r'?")
    );
    assert_eq!(hint(b"x").as_deref(), Some(r"1 byte came but no '\r\n'"));
    assert_eq!(hint(b"\n").as_deref(), Some(r"1 byte came but no '\r\n'; it ends in '\n': is the terminator '\n'?"));
    assert_eq!(
        hint(b"\xf8\x80\xfe\x00\xc1").as_deref(),
        Some(r"5 bytes came but no '\r\n'; most of it is not text: are baud rate and parity right?")
    );
    assert_eq!(
        lines(&[b"\r", b"\n"]).hint(b"ready>").as_deref(),
        Some(r"6 bytes came but no '\r' or '\n'; they end in '>': is the terminator '>'?")
    );
}

#[test]
fn messages_share_the_buffer_they_came_in() {
    let framing = Framing::from(Lines::default());
    let mut received = BytesMut::from(b"S S   42.00000 g\r\n".repeat(10_000).as_slice());
    let buffer = received.as_ptr_range();
    let mut count = 0;
    while let Ok(Some(message)) = framing.take(&mut received) {
        assert_eq!(message, "S S   42.00000 g");
        assert!(buffer.contains(&message.as_ptr()), "message {count} was copied");
        count += 1;
    }
    assert_eq!(count, 10_000);
}

/// The rules, said as plainly as they can be: for each end, in order, does some terminator end there?
fn plainly(ends: &[Bytes], keep: bool, max_length: usize, stream: &[u8]) -> (Vec<Taken>, Vec<u8>) {
    let (mut taken, mut rest) = (Vec::new(), stream.to_vec());
    let window =
        ends.iter().map(|end| max_length + end.len() + usize::from(end == "\n")).max().expect("has terminators");
    'messages: loop {
        for stop in 1..=rest.len().min(window) {
            let Some(end) = ends.iter().filter(|end| rest[..stop].ends_with(end)).max_by_key(|end| end.len()) else {
                continue;
            };
            let line: Vec<u8> = rest.drain(..stop).collect();
            let body = line.strip_suffix(end.as_ref()).expect("ends so");
            let body = if end == "\n" { body.strip_suffix(b"\r").unwrap_or(body) } else { body };
            taken.push(match body.len() <= max_length {
                false => too_long(&line),
                true if keep => message(&line),
                true => message(body),
            });
            continue 'messages;
        }
        if rest.len() < window {
            return (taken, rest);
        }
        taken.push(too_long(&rest.drain(..max_length).collect::<Vec<_>>()));
    }
}

fn small_bytes(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"ab\r\n".to_vec()), length)
}

fn some_terminators() -> impl Strategy<Value = Vec<Bytes>> {
    prop::collection::vec(small_bytes(1..4).prop_map(Bytes::from), 1..5)
        .prop_filter("one hides another", |ends| Lines::new(ends.clone(), None, false, 1).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_any_stream_gives_the_same_messages_and_errors(
        ends in some_terminators(),
        keep in any::<bool>(),
        max_length in 1_usize..9,
        stream in small_bytes(0..60),
        cuts in prop::collection::vec(0_usize..60, 0..8),
    ) {
        let framing = Framing::from(Lines::new(ends.clone(), None, keep, max_length).expect("was filtered"));
        let whole = feed(&framing, [stream.as_slice()]);
        prop_assert_eq!(&whole, &plainly(&ends, keep, max_length, &stream));
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).chain([0, stream.len()]).collect();
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]);
        prop_assert_eq!(&feed(&framing, pieces), &whole);
        prop_assert_eq!(&feed(&framing, stream.chunks(1)), &whole);
    }

    #[test]
    fn taking_what_was_encoded_gives_it_back(
        ends in some_terminators(),
        bodies in prop::collection::vec(small_bytes(0..12), 0..6),
    ) {
        let framing = lines(&ends.iter().map(Bytes::as_ref).collect::<Vec<_>>());
        let mut wire = Vec::new();
        let mut sent = Vec::new();
        for body in bodies {
            // A body whose end forms a terminator together with the one that is added cannot come back whole.
            let Ok(encoded) = framing.encode(&body) else { continue };
            if plainly(&ends, false, 99, &encoded) == (vec![message(&body)], vec![]) {
                wire.extend_from_slice(&encoded);
                sent.push(Ok(body));
            }
        }
        prop_assert_eq!(feed(&framing, [wire.as_slice()]), (sent, vec![]));
    }

    #[test]
    fn plain_text_survives_every_terminator(
        body in "[ -~&&[^>]]{0,40}",
        end in prop::sample::select(vec!["\n", "\r", "\r\n", ">", "\0"]),
    ) {
        let framing = lines(&[end.as_bytes()]);
        let wire = framing.encode(body.as_bytes()).expect("has no terminator");
        prop_assert_eq!(feed(&framing, [wire.as_ref()]), (vec![message(body.as_bytes())], vec![]));
    }
}
