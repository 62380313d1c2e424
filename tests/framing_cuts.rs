//! What holds for every framing, with and without a checksum: any cut of any stream gives the same, what was encoded comes back, and
//! every error removes something.

#![cfg(test)]

mod cutting;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cutting::{checksum, crc, feed, feed_anyhow};
use labtether::framing::checksum::{Checksum, Covers, Function, Order, Place, Style};
use labtether::framing::{
    Enclosed, Fixed, Framing, IeeeBlock, LengthPrefixed, Lines, ModbusRtu, Stuffed, Stuffing, UntilQuiet,
};
use proptest::prelude::*;

/// Every kind of checksum, written and placed in every way.
fn some_checksum() -> impl Strategy<Value = Checksum> {
    let kinds = ["CRC-16/MODBUS", "CRC-8/SMBUS", "CRC-5/USB", "CRC-32/ISO-HDLC", "CRC-24/OPENPGP", "CRC-82/DARC"];
    let kind = prop_oneof![
        prop::sample::select(kinds.to_vec()).prop_map(crc),
        Just(checksum(Function::Sum8)),
        Just(checksum(Function::Sum16)),
        Just(checksum(Function::Xor8)),
    ];
    let order = prop::sample::select(vec![Order::Little, Order::Big]);
    let styles = vec![Style::Raw, Style::Hex { capital: false }, Style::Hex { capital: true }, Style::Decimal];
    let places = prop::sample::select(vec![Place::BeforeEnd, Place::AfterEnd]);
    let covers = prop::sample::select(vec![Covers::Body, Covers::WithStart, Covers::WithBoth]);
    (kind, order, prop::sample::select(styles), places, covers)
        .prop_map(|(checksum, order, style, place, covers)| Checksum { order, style, place, covers, ..checksum })
}

/// One that cannot be taken for the end of a message: no raw bytes before it.
fn plain_checksum() -> impl Strategy<Value = Option<Checksum>> {
    prop::option::of(some_checksum().prop_map(|checksum| match (checksum.style, checksum.place) {
        (Style::Raw, Place::BeforeEnd) => Checksum { place: Place::AfterEnd, ..checksum },
        _ => checksum,
    }))
}

fn stuffed_checksum() -> impl Strategy<Value = Option<Checksum>> {
    let inside = |checksum| Checksum { place: Place::BeforeEnd, covers: Covers::Body, ..checksum };
    prop::option::of(some_checksum().prop_map(inside))
}

fn some_order() -> impl Strategy<Value = Order> {
    prop::sample::select(vec![Order::Little, Order::Big])
}

const ESCAPE: u8 = 0x1b;

fn lines_of(ends: &[&'static [u8]], checksum: Option<Checksum>, escape: bool, most: usize) -> Framing {
    let ends = ends.iter().map(|end| Bytes::from_static(end)).collect();
    let mut lines = Lines::new(ends, None, false, most).expect("are lines");
    if let Some(checksum) = checksum {
        lines = lines.with_checksum(checksum).expect("keep nothing");
    }
    if escape { lines.escaping(ESCAPE).expect("is no terminator") } else { lines }.into()
}

fn enclosed(start: &'static [u8], end: &'static [u8], escape: bool, most: usize, sum: Option<Checksum>) -> Framing {
    let (start, end) = (Bytes::from_static(start), Bytes::from_static(end));
    Enclosed::new(start, end, escape.then_some(ESCAPE), most, sum).expect("has a start and an end").into()
}

const ENDS: [&[&[u8]]; 4] = [&[b"\n"], &[b"\r\n"], &[b"\r", b">"], &[b"END", b"\x03"]];
const MARKS: [(&[u8], &[u8]); 5] =
    [(b"\x02", b"\x03"), (b"<", b">>"), (b"\xaa\x55", b"\r\n"), (b"~", b"~"), (b"ab", b"b")];

/// Framings that say how to send any bytes at all, and get them back.
fn transparent(most: usize) -> impl Strategy<Value = Framing> {
    let sums = || prop::option::of(some_checksum());
    let ends = prop::sample::select(ENDS.to_vec());
    let marks = prop::sample::select(MARKS.to_vec());
    prop_oneof![
        (ends, sums()).prop_map(move |(ends, sum)| lines_of(ends, sum, true, most)),
        (marks, sums()).prop_map(move |((start, end), sum)| enclosed(start, end, true, most, sum)),
        (1..=4_usize, some_order(), 0..3_usize, -3..3_i64, sums()).prop_map(
            move |(size, order, offset, adjust, sum)| {
                LengthPrefixed::new(size, order, offset, adjust, most, sum).expect("has a size").into()
            }
        ),
        prop::sample::select(vec!["", "\n", ";;"])
            .prop_map(move |end| { IeeeBlock::new(Bytes::from_static(end.as_bytes()), most).expect("fits").into() }),
        stuffed_checksum().prop_map(move |sum| Stuffed::new(Stuffing::Slip, most, sum).expect("covers data").into()),
        stuffed_checksum().prop_map(move |sum| Stuffed::new(Stuffing::Cobs, most, sum).expect("covers data").into()),
    ]
}

/// All framings.
fn any_framing(most: usize) -> impl Strategy<Value = Framing> {
    let sums = || prop::option::of(some_checksum());
    let ends = prop::sample::select(ENDS.to_vec());
    let marks = prop::sample::select(MARKS.to_vec());
    prop_oneof![
        4 => transparent(most),
        1 => (ends, sums()).prop_map(move |(ends, sum)| lines_of(ends, sum, false, most)),
        1 => (marks, sums()).prop_map(move |((start, end), sum)| enclosed(start, end, false, most, sum)),
        1 => (1..9_usize, sums()).prop_map(|(size, sum)| Fixed::new(Some(size), sum).expect("has a size").into()),
        1 => Just(Fixed::new(None, None).expect("needs no size").into()),
        1 => Just(ModbusRtu::new().expect("has its CRC").into()),
        1 => sums().prop_map(move |sum| {
            UntilQuiet::new(Duration::from_millis(20), most, sum).expect("is silent for a while").into()
        }),
        1 => (1..4_usize, any::<bool>()).prop_map(move |(count, escape)| {
            let ends = vec![Bytes::from_static(b"\r"), Bytes::from_static(b"\n")];
            let lines = Lines::new(ends, None, false, most).and_then(|lines| lines.counting(count)).expect("are lines");
            if escape { lines.escaping(ESCAPE).expect("is no terminator").into() } else { lines.into() }
        }),
    ]
}

/// Bytes that mean something to some framing.
fn meaningful() -> impl Strategy<Value = u8> {
    let marks = b"ab<>~#01239\r\n;END\x00\x01\x02\x03\x04\x06\x10\x16\x1b\x55\x83\xaa\xc0\xdb\xdc\xdd\xff";
    prop::sample::select(marks.to_vec())
}

/// Messages as they should be, messages with a byte changed, and plain nonsense.
fn some_stream(framing: &Framing, parts: &[(Vec<u8>, u8, u8)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (body, kind, place) in parts {
        let mut frame = match framing.encode(body) {
            Ok(frame) if kind % 3 != 0 => frame.to_vec(),
            _ => body.clone(),
        };
        if kind % 3 == 1 && !frame.is_empty() {
            let place = usize::from(*place) % frame.len();
            frame[place] ^= kind | 1;
        }
        stream.extend(frame);
    }
    stream
}

fn some_cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0_usize..120, 0..8)
}

fn some_parts() -> impl Strategy<Value = Vec<(Vec<u8>, u8, u8)>> {
    prop::collection::vec((prop::collection::vec(meaningful(), 0..14), any::<u8>(), any::<u8>()), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_any_stream_gives_the_same_messages_and_errors(
        (framing, parts, cuts) in (1_usize..14).prop_flat_map(|most| (any_framing(most), some_parts(), some_cuts())),
    ) {
        let stream = some_stream(&framing, &parts);
        let (taken, _) = feed_anyhow(&framing, &stream, &cuts);
        prop_assert!(taken.len() <= stream.len());
    }

    #[test]
    fn any_bytes_that_were_encoded_come_back(
        framing in transparent(300),
        bodies in prop::collection::vec(prop::collection::vec(prop_oneof![meaningful(), any::<u8>()], 0..40), 0..5),
        cuts in some_cuts(),
    ) {
        let (mut wire, mut sent) = (Vec::new(), Vec::new());
        for body in bodies {
            // Shorter than what stands before its length field, or nothing at all in SLIP: there is no way to say it.
            let Ok(frame) = framing.encode(&body) else { continue };
            wire.extend_from_slice(&frame);
            sent.push(Ok(body));
        }
        prop_assert_eq!(feed_anyhow(&framing, &wire, &cuts), (sent, vec![]));
    }

    #[test]
    fn text_comes_back_from_lines_and_enclosures(
        (sum, ends, marks) in (
            plain_checksum(), prop::sample::select(ENDS[..3].to_vec()), prop::sample::select(MARKS[..4].to_vec()),
        ),
        bodies in prop::collection::vec("[A-Za-z0-9 .,+-]{0,30}", 0..5),
        cuts in some_cuts(),
    ) {
        for framing in [lines_of(ends, sum.clone(), false, 99), enclosed(marks.0, marks.1, false, 99, sum)] {
            let (mut wire, mut sent) = (Vec::new(), Vec::new());
            for body in &bodies {
                let Ok(frame) = framing.encode(body.as_bytes()) else {
                    prop_assert!(body.is_empty());
                    continue;
                };
                wire.extend_from_slice(&frame);
                sent.push(Ok(body.clone().into_bytes()));
            }
            prop_assert_eq!(feed_anyhow(&framing, &wire, &cuts), (sent, vec![]));
        }
    }

    #[test]
    fn bodies_of_one_size_come_back(
        (size, bodies) in (1_usize..20).prop_flat_map(|size| {
            (Just(size), prop::collection::vec(prop::collection::vec(any::<u8>(), size), 0..5))
        }),
        sum in prop::option::of(some_checksum()),
        cuts in some_cuts(),
    ) {
        let framing = Framing::from(Fixed::new(Some(size), sum).expect("has a size"));
        let wire: Vec<u8> = bodies.iter().flat_map(|body| framing.encode(body).expect("is a body")).collect();
        prop_assert_eq!(feed_anyhow(&framing, &wire, &cuts), (bodies.into_iter().map(Ok).collect(), vec![]));
    }

    #[test]
    fn modbus_replies_come_back(
        replies in prop::collection::vec(
            (any::<u8>(), prop::sample::select(vec![1_u8, 2, 3, 4, 5, 6, 15, 16, 22, 23, 0x83, 0xab]),
             prop::collection::vec(any::<u8>(), 6..60)),
            0..5,
        ),
        cuts in some_cuts(),
    ) {
        let framing = Framing::from(ModbusRtu::new().expect("has its CRC"));
        let bodies: Vec<Vec<u8>> = replies.into_iter().map(|(address, function, rest)| match function {
            1..=4 | 23 => [&[address, function, rest.len() as u8], rest.as_slice()].concat(),
            22 => [&[address, function], &rest[..6]].concat(),
            0x80.. => vec![address, function, rest[0]],
            _ => [&[address, function], &rest[..4]].concat(),
        }).collect();
        let wire: Vec<u8> = bodies.iter().flat_map(|body| framing.encode(body).expect("is a body")).collect();
        prop_assert_eq!(feed_anyhow(&framing, &wire, &cuts), (bodies.into_iter().map(Ok).collect(), vec![]));
    }

    #[test]
    fn what_comes_until_silence_comes_back(
        body in prop::collection::vec(any::<u8>(), 1..60),
        sum in prop::option::of(some_checksum()),
        cut in 0_usize..60,
    ) {
        let framing = Framing::from(UntilQuiet::new(Duration::from_millis(5), 60, sum).expect("is silent"));
        let wire = framing.encode(&body).expect("is a body");
        let mut received = BytesMut::from(&wire[..cut.min(wire.len())]);
        prop_assert_eq!(framing.take(&mut received), Ok(None));
        received.extend_from_slice(&wire[cut.min(wire.len())..]);
        prop_assert_eq!(framing.take(&mut received), Ok(None));
        prop_assert_eq!(framing.cut_quiet(&mut received).map(|message| message.map(|it| it.body.to_vec())), Ok(Some(body)));
        prop_assert!(received.is_empty());
        prop_assert_eq!(framing.cut_quiet(&mut received), Ok(None));
    }

    #[test]
    fn a_changed_bit_is_never_taken_for_what_was_sent(
        sum in some_checksum(),
        body in prop::collection::vec(any::<u8>(), 1..20),
        (place, bit) in (any::<prop::sample::Index>(), 0..8_u8),
    ) {
        // The size is fixed, so that the checksum is all there is to tell.
        let framing = Framing::from(Fixed::new(Some(body.len()), Some(sum)).expect("has a size"));
        let mut wire = framing.encode(&body).expect("is a body").to_vec();
        let place = place.index(wire.len());
        // One bit: more may agree by chance, above all in five bits of CRC.
        wire[place] ^= 1 << bit;
        let (taken, left) = feed(&framing, [wire.as_slice()]);
        prop_assert!(left.is_empty());
        // Hexadecimal digits may change their case.
        let same = matches!(&taken[..], [Ok(it)] if *it == body) && place >= body.len();
        prop_assert!(same || matches!(&taken[..], [Err(why)] if why.contains("wrong checksum: ")), "{:?}", taken);
    }
}
