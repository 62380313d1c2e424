//! Each framing and each checksum by examples: from standards where there are some, whole, byte by byte and with trailing bytes.

#![cfg(test)]

mod cutting;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cutting::{checksum, crc, feed, feed_anyhow};
use labtether::framing::catalogue::{self, Crc};
use labtether::framing::checksum::{Checksum, Covers, Function, Order, Place, Style};
use labtether::framing::{
    BadFraming, BadMessage, Enclosed, Fixed, FrameError, Framing, IeeeBlock, LengthPrefixed, Lines, ModbusRtu, Stuffed,
    Stuffing, UntilQuiet,
};

/// `Ok`: a body. `Err`: how an error begins.
type Expected<'a> = Result<&'a [u8], &'a str>;

/// Runs one case whole, byte by byte, and with trailing bytes.
#[track_caller]
fn check(framing: impl Into<Framing>, stream: &[u8], expected: &[Expected<'_>], left: &[u8]) {
    let framing = framing.into();
    let (taken, rest) = feed_anyhow(&framing, stream, &[]);
    assert_eq!(taken.len(), expected.len(), "{taken:?}");
    for (taken, expected) in taken.iter().zip(expected) {
        match (taken, expected) {
            (Ok(body), Ok(expected)) => assert_eq!(body, expected),
            (Err(error), Err(expected)) => assert!(error.starts_with(expected), "{error:?} is not {expected:?}"),
            _ => panic!("{taken:?} is not {expected:?}"),
        }
    }
    assert_eq!(rest, left);
    if taken.iter().all(Result::is_ok) {
        let longer = [stream, b"\xa5"].concat();
        assert_eq!(feed(&framing, [longer.as_slice()]).0, taken, "with a trailing byte");
    }
}

fn encoded(framing: impl Into<Framing>, body: &[u8]) -> Vec<u8> {
    framing.into().encode(body).expect("is a body").to_vec()
}

fn refused(framing: impl Into<Framing>, body: &[u8]) -> String {
    framing.into().encode(body).expect_err("should be refused").to_string()
}

fn ends(ends: &[&'static [u8]]) -> Lines {
    Lines::new(ends.iter().map(|end| Bytes::from_static(end)).collect(), None, false, 64).expect("are lines")
}

fn enclosed(start: &'static [u8], end: &'static [u8]) -> Framing {
    let (start, end) = (Bytes::from_static(start), Bytes::from_static(end));
    Enclosed::new(start, end, None, 16, None).expect("has a start and an end").into()
}

fn prefixed(size: usize, order: Order, offset: usize, adjust: i64, sum: Option<Checksum>) -> LengthPrefixed {
    LengthPrefixed::new(size, order, offset, adjust, 1000, sum).expect("has a size")
}

fn block(terminator: &'static [u8]) -> IeeeBlock {
    IeeeBlock::new(Bytes::from_static(terminator), 1000).expect("fits")
}

fn stuffed(stuffing: Stuffing) -> Stuffed {
    Stuffed::new(stuffing, 300, None).expect("fits")
}

fn modbus() -> ModbusRtu {
    ModbusRtu::new().expect("has its CRC")
}

#[test]
fn a_count_of_prompts_ends_one_message() {
    let two = ends(&[b">"]).counting(2).expect("is a count");
    check(two.clone(), b"OK>37.0>x>", &[Ok(b"OK>37.0")], b"x>");
    assert_eq!(encoded(two, b"!TEMP"), b"!TEMP>");
    let mixed = ends(&[b"\r", b"\n"]).counting(2).expect("is a count");
    check(mixed, b"a\r\nb\n\n", &[Ok(b"a\r"), Ok(b"b\n")], b"");
    assert_eq!(ends(&[b">"]).counting(0), Err(BadFraming::Nothing("count")));
}

#[test]
fn an_escape_takes_the_meaning_from_the_next_byte() {
    // A Prologix GPIB adapter wants CR, LF, ESC and + escaped in what goes to the instrument.
    let lines = ends(&[b"\n"]).escaping(0x1b).expect("is no terminator");
    assert_eq!(encoded(lines.clone(), b"a\nb\x1b\r"), b"a\x1b\nb\x1b\x1b\x1b\r\n");
    check(lines.clone(), b"a\x1b\nb\x1b\x1b\x1b\r\nx\r\n", &[Ok(b"a\nb\x1b\r"), Ok(b"x")], b"");
    check(lines, b"\x1b\n", &[], b"\x1b\n");
    let across = ends(&[b"\r\n"]).escaping(0x1b).expect("is no terminator");
    check(across, b"a\r\x1b\n\r\n", &[Ok(b"a\r\n")], b"");
    let error = ends(&[b"\n", b"\x1b["]).escaping(0x1b).expect_err("is part of one");
    assert_eq!(error.to_string(), r"the escape byte '\x1b' is part of '\x1b[', which then could never be found");
}

#[test]
fn what_is_escaped_counts_once_towards_the_limit() {
    let four = Lines::new(vec![Bytes::from_static(b"\n")], None, false, 4).and_then(|lines| lines.escaping(b'\\'));
    let four = four.expect("are lines");
    check(four.clone(), b"\\a\\b\\c\\d\n", &[Ok(b"abcd")], b"");
    check(four, b"\\a\\b\\c\\d\\ef\nx\n", &[Err("longer than 4 bytes"), Ok(b"ef"), Ok(b"x")], b"");
}

#[test]
fn fixed_sizes_count_the_body_and_not_the_checksum() {
    check(Fixed::new(Some(3), None).expect("has a size"), b"abcdefg", &[Ok(b"abc"), Ok(b"def")], b"g");
    // HT2000: a sum of 16 bits after replies of fixed length.
    let summed = Fixed::new(Some(3), Some(checksum(Function::Sum16))).expect("has a size");
    check(
        summed.clone(),
        b"abc\x01\x26abd\x01\x26",
        &[Ok(b"abc"), Err("wrong checksum: 0x0126 came, but Sum16 of 'abd' is 0x0127")],
        b"",
    );
    assert_eq!(encoded(summed, b"any size"), b"any size\x03\x23");
    assert_eq!(Fixed::new(Some(0), None), Err(BadFraming::Nothing("the size of a message")));
}

#[test]
fn a_length_prefix_says_how_much_follows_it() {
    check(prefixed(2, Order::Big, 0, 0, None), b"\x00\x03abc\x00\x00\x00\x01x", &[Ok(b"abc"), Ok(b""), Ok(b"x")], b"");
    check(prefixed(2, Order::Little, 0, 0, None), b"\x03\x00abc", &[Ok(b"abc")], b"");
    check(prefixed(1, Order::Big, 0, 0, None), b"\x02ab\x05ab", &[Ok(b"ab")], b"\x05ab");
    check(prefixed(3, Order::Big, 0, 0, None), b"\x00\x00\x02ab", &[Ok(b"ab")], b"");
    check(prefixed(4, Order::Little, 0, 0, None), b"\x02\x00\x00\x00ab", &[Ok(b"ab")], b"");
    // BenchCel: an id, a length of 16 bits, the lowest first, the payload.
    let benchcel = prefixed(2, Order::Little, 1, 0, None);
    check(benchcel.clone(), b"\x69\x02\x00ok\x69", &[Ok(b"\x69ok")], b"\x69");
    assert_eq!(encoded(benchcel.clone(), b"\x69ok"), b"\x69\x02\x00ok");
    assert_eq!(refused(benchcel, b""), "'' is shorter than the 1 byte that stand before its length");
    // A length that counts itself.
    let itself = prefixed(2, Order::Big, 0, -2, None);
    check(itself.clone(), b"\x00\x05abc", &[Ok(b"abc")], b"");
    assert_eq!(encoded(itself, b"abc"), b"\x00\x05abc");
}

#[test]
fn the_checksum_behind_a_length_prefix_is_not_counted() {
    let order = Order::Big;
    let body = prefixed(1, order, 1, 0, Some(checksum(Function::Xor8)));
    assert_eq!(encoded(body, b"\x10ab"), b"\x10\x02ab\x03");
    let all = prefixed(1, order, 1, 0, Some(Checksum { covers: Covers::WithStart, ..checksum(Function::Xor8) }));
    check(all, b"\x10\x02ab\x11", &[Ok(b"\x10ab")], b"");
    // Where the instrument counts it.
    let counted = prefixed(1, order, 0, -1, Some(checksum(Function::Xor8)));
    check(counted, b"\x03ab\x03", &[Ok(b"ab")], b"");
}

#[test]
fn a_length_that_cannot_be_is_an_error_and_not_a_wait() {
    check(prefixed(2, Order::Big, 0, 0, None), b"\xff\xff\x00\x01x", &[Err("longer than 1000 bytes"), Ok(b"x")], b"");
    let itself = prefixed(1, Order::Big, 0, -2, None);
    check(itself, b"\x01\x03x", &[Err("a length of 1, which with -2 is less than nothing"), Ok(b"x")], b"");
    assert_eq!(
        refused(prefixed(1, Order::Big, 0, 0, None), &[0; 256]).split_once("has").map(|it| it.1),
        Some(" a length of 256, which does not go into a field of 1 byte")
    );
    assert!(matches!(LengthPrefixed::new(5, Order::Big, 0, 0, 9, None), Err(BadFraming::FieldSize(5))));
}

#[test]
fn enclosed_messages_name_what_stood_before_them_once() {
    check(enclosed(b"\x02", b"\x03"), b"\x02abc\x03\x02\x03", &[Ok(b"abc"), Ok(b"")], b"");
    check(
        enclosed(b"\x02", b"\x03"),
        b"noise\x02abc\x03\r\n\x02d",
        &[Err(r"5 bytes before '\x02': 'noise'"), Ok(b"abc"), Err(r"2 bytes before '\x02': '\r\n'")],
        b"\x02d",
    );
    check(
        enclosed(b"<", b">"),
        b"<half<whole>",
        &[Err("a message that ends where the next one starts: '<half'"), Ok(b"whole")],
        b"",
    );
    check(enclosed(b"~", b"~"), b"~a~~~~b~", &[Ok(b"a"), Ok(b"b")], b"");
    check(enclosed(b"<", b">"), &[b'x'; 20], &[Err("16 bytes before '<'")], b"xxxx");
    check(enclosed(b"<", b">"), b"<abcdefghijklmnopqrs>", &[Err("longer than 16 bytes")], b"qrs>");
}

#[test]
fn enclosed_bodies_that_would_not_come_back_are_refused() {
    assert_eq!(encoded(enclosed(b"\x02", b"\x03"), b"R"), b"\x02R\x03");
    assert_eq!(refused(enclosed(b"\x02", b"\x03"), b"a\x03b"), r"'a\x03b' contains '\x03', which ends a message");
    assert_eq!(refused(enclosed(b"\x02", b"\x03"), b"\x02"), r"'\x02' contains '\x02', which starts a message");
    assert_eq!(refused(enclosed(b"<", b">"), &[b'x'; 17]), format!("'{}' is longer than 16 bytes", "x".repeat(17)));
    assert!(refused(enclosed(b"~", b"~"), b"").contains("is empty"));
    // The body's end and the mark's beginning make an end that comes too early.
    assert!(refused(enclosed(b"<", b"::"), b"a:").contains("contains '::'"));
    assert!(matches!(
        Enclosed::new(Bytes::new(), Bytes::from_static(b">"), None, 9, None),
        Err(BadFraming::Empty("the start"))
    ));
}

#[test]
fn dle_stuffing_is_an_escape_with_two_marks() {
    let dle = Enclosed::new(Bytes::from_static(b"\x02"), Bytes::from_static(b"\x03"), Some(0x10), 64, None);
    let dle = Framing::from(dle.expect("has marks"));
    assert_eq!(encoded(dle.clone(), b"a\x03\x10\x02"), b"\x02a\x10\x03\x10\x10\x10\x02\x03");
    check(dle, b"\x02a\x10\x03\x10\x10\x10\x02\x03", &[Ok(b"a\x03\x10\x02")], b"");
}

#[test]
fn a_checksum_covers_what_it_is_told_to_and_stands_where_it_is_told_to() {
    // Cavro and Tecan pumps: STX, the body, ETX, and all of it exclusive or.
    let (start, end) = (Bytes::from_static(b"\x02"), Bytes::from_static(b"\x03"));
    let sum = Checksum { place: Place::AfterEnd, covers: Covers::WithBoth, ..checksum(Function::Xor8) };
    let cavro = Framing::from(Enclosed::new(start, end, None, 64, Some(sum)).expect("has marks"));
    let xor = 0x02 ^ b'1' ^ b'Q' ^ 0x03;
    assert_eq!(encoded(cavro.clone(), b"1Q"), [2, b'1', b'Q', 3, xor]);
    check(cavro.clone(), &[2, b'1', b'Q', 3, xor], &[Ok(b"1Q")], b"");
    check(cavro, &[2, b'1', b'Q', 3, 0], &[Err("wrong checksum: 0x00 came, but Xor8 of '\\x021Q\\x03' is 0x61")], b"");
    // NMEA 0183: the body exclusive or, in capital hexadecimal digits between "*" and the end. The star is part of the body here.
    let hex = Checksum { style: Style::Hex { capital: true }, ..checksum(Function::Sum8) };
    let lines = ends(&[b"\r"]).with_checksum(hex).expect("keep nothing");
    assert_eq!(encoded(lines.clone(), b"#01RD"), b"#01RD1A\r");
    check(lines.clone(), b"#01RD1a\r", &[Ok(b"#01RD")], b"");
    check(lines.clone(), b"#01RDzz\r", &[Err("wrong checksum: 'zz' came, but Sum8 of '#01RD' is 0x1A")], b"");
    check(lines, b"1\r", &[Err("too short for its checksum of 2 bytes: '1'")], b"");
}

#[test]
fn the_order_of_a_crc_is_that_of_its_reflection_or_as_told() {
    let lines = |sum: Checksum| Framing::from(ends(&[b"\r"]).with_checksum(sum).expect("keep nothing"));
    // CRC-16/MODBUS of "123456789" is 0x4B37, CRC-16/XMODEM 0x31C3 (the catalogue).
    let after = |sum: Checksum| Checksum { place: Place::AfterEnd, ..sum };
    assert_eq!(encoded(lines(after(crc("CRC-16/MODBUS"))), b"123456789"), b"123456789\r\x37\x4b");
    assert_eq!(encoded(lines(after(crc("crc16 xmodem"))), b"123456789"), b"123456789\r\x31\xc3");
    let hex = |order| Checksum { order, style: Style::Hex { capital: false }, ..crc("CRC-16/XMODEM") };
    assert_eq!(encoded(lines(hex(Order::Big)), b"123456789"), b"12345678931c3\r");
    assert_eq!(encoded(lines(hex(Order::Little)), b"123456789"), b"123456789c331\r");
    check(lines(hex(Order::Little)), b"1c331\r", &[Err("wrong checksum: 0x31C3 came")], b"");
    let decimal = |function| Checksum { style: Style::Decimal, ..checksum(function) };
    assert_eq!(encoded(lines(decimal(Function::Sum8)), b"\x01"), b"\x01001\r");
    assert_eq!(encoded(lines(decimal(Function::Sum16)), b"\x01"), b"\x0100001\r");
}

#[test]
fn every_crc_of_the_catalogue_has_its_check_value() {
    let names = catalogue::names();
    assert!(names.len() >= 112 && names.contains(&"CRC-16/ISO-IEC-14443-3-A".to_owned()), "{names:?}");
    for name in names {
        let crc = Crc::named(&name).unwrap_or_else(|| panic!("{name} is not found"));
        assert_eq!(crc.name(), name);
        assert_eq!(crc.of(b"123456789"), crc.check(), "{name}");
    }
    for (name, value) in [("CRC-16/MODBUS", 0x4b37), ("CRC-32/ISO-HDLC", 0xcbf4_3926), ("CRC-8/SMBUS", 0xf4)] {
        assert_eq!(Crc::named(name).expect("is there").of(b"123456789"), value, "{name}");
    }
    assert_eq!(Crc::named("CRC-16/MODBUZ"), None);
}

#[test]
fn blocks_of_ieee_488_2_say_their_length_or_end_at_the_terminator() {
    check(block(b"\n"), b"#15HELLO\n#0to the end\n", &[Ok(b"HELLO"), Ok(b"to the end")], b"");
    check(block(b"\n"), b"#213\n#3;>\r\n\x00\xff1234\r\n", &[Ok(b"\n#3;>\r\n\x00\xff1234")], b"");
    check(block(b""), b"#10#11x", &[Ok(b""), Ok(b"x")], b"");
    assert_eq!(encoded(block(b"\n"), &[b'x'; 12]), b"#212xxxxxxxxxxxx\n");
}

#[test]
fn what_is_no_block_is_named_at_the_end_of_its_line() {
    check(block(b"\n"), b"-113,\"Undefined header\"\n#11x\n", &[Err("24 bytes before '#': '-113,"), Ok(b"x")], b"");
    check(block(b"\n"), b":CURV #11x\n", &[Err("6 bytes before '#': ':CURV '"), Ok(b"x")], b"");
    check(
        block(b"\n"),
        b"#x#11x\n",
        &[Err("a block whose '#' is not followed by a digit: '#x'"), Err("1 byte before"), Ok(b"x")],
        b"",
    );
    check(block(b"\n"), b"#21x\n", &[Err("a block whose length is not a number: '#21x'"), Err("4 bytes")], b"");
    check(block(b"\n"), b"#49999\n", &[Err("longer than 1000 bytes"), Err("1 byte before '#'")], b"");
    check(
        block(b"\n"),
        b"#11xy\n#11z\n",
        &[Err(r"a block of 4 bytes that is not followed by '\n': '#11x'"), Err("2 bytes"), Ok(b"z")],
        b"",
    );
    check(block(b""), b"#0x", &[Err("a block of no given length")], b"x");
    // So much that is no block is an error before the block is there, and after.
    let long = [vec![b'x'; 70_000].as_slice(), b"#11y\n"].concat();
    let (taken, left) = feed(&block(b"\n").into(), [long.as_slice()]);
    assert_eq!(feed(&block(b"\n").into(), long.chunks(1000)), (taken.clone(), left));
    assert!(
        matches!(&taken[..], [Err(first), Err(_), Ok(_)] if first.starts_with("65536 bytes before '#'")),
        "{taken:?}"
    );
}

#[test]
fn modbus_replies_are_as_long_as_their_function_code_says() {
    // Modbus over serial line V1.02, appendix B: the CRC of 02 07 is 0x1241, sent as 41 12.
    assert_eq!(encoded(modbus(), b"\x02\x07"), b"\x02\x07\x41\x12");
    // Modbus application protocol V1.1b3, 6.3: reading three registers from 0x6B on, here of unit 0x11.
    assert_eq!(encoded(modbus(), b"\x11\x03\x00\x6b\x00\x03"), b"\x11\x03\x00\x6b\x00\x03\x76\x87");
    let reply: &[u8] = b"\x11\x03\x06\x02\x2b\x00\x00\x00\x64";
    let (exception, written): (&[u8], &[u8]) = (b"\x11\x83\x02", b"\x11\x06\x00\x01\x00\x03");
    let wire: Vec<u8> = [reply, exception, written].iter().flat_map(|body| encoded(modbus(), body)).collect();
    check(modbus(), &wire, &[Ok(reply), Ok(exception), Ok(written)], b"");
    let mut garbled = encoded(modbus(), reply);
    garbled[4] ^= 1;
    check(modbus(), &garbled, &[Err("wrong checksum: ")], b"");
    check(modbus(), b"\x11\x03\xff\x00", &[Err("longer than 256 bytes")], b"\x00");
    assert!(refused(modbus(), b"\x11").contains("are 2 to 254"));
}

#[test]
fn a_modbus_reply_of_unknown_length_ends_with_silence() {
    let framing = Framing::from(modbus());
    assert_eq!(framing.quiet(), Some(Duration::from_millis(50)));
    let wire = encoded(modbus(), b"\x11\x2b\x0e\x01");
    let mut received = BytesMut::from(wire.as_slice());
    assert_eq!(framing.take(&mut received), Ok(None));
    let message = framing.cut_quiet(&mut received).expect("is right").expect("is there");
    assert_eq!((message.body.as_ref(), message.wire.as_ref()), (b"\x11\x2b\x0e\x01".as_slice(), wire.as_slice()));
    // One of known length that is not all there is waited for: an adapter's latency is silence too.
    let mut half = BytesMut::from(b"\x11\x03\x06\x02".as_slice());
    assert_eq!(framing.cut_quiet(&mut half), Ok(None));
    check(modbus(), &[0x11; 256], &[Err("longer than 256 bytes")], b"");
}

#[test]
fn slip_is_as_rfc_1055_has_it() {
    let slip = stuffed(Stuffing::Slip);
    assert_eq!(encoded(slip.clone(), b"a\xc0b\xdbc"), b"\xc0a\xdb\xdcb\xdb\xddc\xc0");
    check(slip.clone(), b"\xc0a\xdb\xdcb\xdb\xddc\xc0\xc0\xc0x\xc0", &[Ok(b"a\xc0b\xdbc"), Ok(b"x")], b"");
    check(slip.clone(), b"a\xdbx\xc0b\xc0", &[Err(r"no SLIP frame: 'a\xdbx\xc0'"), Ok(b"b")], b"");
    check(slip.clone(), b"\xdb\xc0", &[Err("no SLIP frame")], b"");
    assert!(refused(slip, b"").contains("is empty"));
}

#[test]
fn cobs_is_as_its_paper_has_it() {
    // Cheshire and Baker, Consistent Overhead Byte Stuffing, IEEE/ACM Transactions on Networking 7 (1999), figure 3.
    let body = b"\x45\x00\x00\x2c\x4c\x79\x00\x00\x40\x06\x4f\x37";
    let wire = b"\x02\x45\x01\x04\x2c\x4c\x79\x01\x05\x40\x06\x4f\x37\x00";
    assert_eq!(encoded(stuffed(Stuffing::Cobs), body), wire);
    check(stuffed(Stuffing::Cobs), wire, &[Ok(body)], b"");
    let long: Vec<u8> = (1..=254).collect();
    check(stuffed(Stuffing::Cobs), &[&[0xff], long.as_slice(), &[0]].concat(), &[Ok(&long)], b"");
    check(stuffed(Stuffing::Cobs), &[&[0xff], long.as_slice(), &[1, 0]].concat(), &[Ok(&long)], b"");
    check(stuffed(Stuffing::Cobs), b"\0\0\x01\0\x01\x01\0", &[Ok(b""), Ok(b"\0")], b"");
    check(stuffed(Stuffing::Cobs), b"\x05ab\0\x02x\0", &[Err(r"no COBS frame: '\x05ab\x00'"), Ok(b"x")], b"");
    let after = Checksum { place: Place::AfterEnd, ..checksum(Function::Sum8) };
    assert!(Stuffed::new(Stuffing::Cobs, 9, Some(after)).is_err());
}

#[test]
fn framings_say_what_they_are_and_what_may_be_missing() {
    let hint = |framing: &Framing, heard: &[u8]| framing.hint(heard).expect("something came");
    for (framing, heard, words, missing) in [
        (
            Framing::from(Fixed::new(Some(6), None).expect("has a size")),
            b"ab".as_slice(),
            "messages of 6 bytes",
            "2 of 6 bytes came",
        ),
        (
            prefixed(2, Order::Big, 0, 0, None).into(),
            b"\x01\x00x",
            "messages with a length field of 2 bytes",
            "3 bytes came; the length field says 256: are its size, order, offset and adjust right?",
        ),
        (
            enclosed(b"\x02", b"\x03"),
            b"OK\r",
            r"messages between '\x02' and '\x03'",
            r"3 bytes came but no '\x02', which starts a message",
        ),
        (block(b"\n").into(), b"#15HE", "IEEE 488.2 blocks", "2 of the 5 bytes came that the block announced"),
        (modbus().into(), b"\x11\x03\x02", "Modbus RTU frames", "3 bytes came of 7"),
        (stuffed(Stuffing::Cobs).into(), b"\x05", "COBS frames", r"1 byte came but no '\x00', which ends a COBS frame"),
        (
            UntilQuiet::new(Duration::from_millis(50), 9, None).expect("is silent").into(),
            b"x",
            "messages that end with 0.05 s of silence",
            "1 byte came, and the line was not silent for 0.05 s",
        ),
    ] {
        assert_eq!(framing.describe(), words);
        assert_eq!(hint(&framing, heard), missing);
        assert_eq!(framing.hint(b""), None);
    }
}

#[test]
fn errors_of_bytes_have_no_cause() {
    let error = FrameError::Broken { why: "no block".to_owned(), beginning: Bytes::new() };
    assert_eq!(error.cause(), None);
    assert_eq!(BadMessage::Unfit { body: Bytes::new(), why: String::new() }.cause(), None);
}
