//! Bytes from nowhere, for one framing at a time: what `fuzz/` and `tests/framing_fuzz.rs` both run. The first byte picks the settings.

use bytes::{Bytes, BytesMut};
use labtether::framing::checksum::Order;
use labtether::framing::{Framing, IeeeBlock, LengthPrefixed, Lines, ModbusRtu, Stuffed, Stuffing};

/// Cuts `stream` whole and byte by byte: the same messages and errors, each of which removes something.
fn cut(framing: &Framing, stream: &[u8]) {
    let mut whole = BytesMut::from(stream);
    let mut at_once = Vec::new();
    drain(framing, &mut whole, &mut at_once);
    let (mut received, mut slowly) = (BytesMut::new(), Vec::new());
    for byte in stream {
        received.extend_from_slice(&[*byte]);
        drain(framing, &mut received, &mut slowly);
    }
    assert_eq!((at_once, whole), (slowly, received), "{framing:?}");
}

fn drain(framing: &Framing, received: &mut BytesMut, into: &mut Vec<Result<Bytes, String>>) {
    loop {
        let before = received.len();
        match framing.take(received) {
            Ok(None) => return assert_eq!(received.len(), before, "{framing:?}"),
            Ok(Some(body)) => into.push(Ok(body)),
            Err(error) => into.push(Err(error.to_string())),
        }
        assert!(received.len() < before, "{framing:?}");
    }
}

fn settings(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

/// Length prefixes.
pub(crate) fn length_prefixed(data: &[u8]) {
    let (first, rest) = settings(data);
    let order = if first & 4 == 0 { Order::Big } else { Order::Little };
    let (size, offset, adjust) = (usize::from(first & 3) + 1, usize::from(first >> 3 & 3), i64::from(first >> 5) - 4);
    cut(&LengthPrefixed::new(size, order, offset, adjust, 40, None).expect("has a size").into(), rest);
}

/// Blocks of IEEE 488.2.
pub(crate) fn ieee_block(data: &[u8]) {
    let (first, rest) = settings(data);
    let end: &[u8] = [b"\n".as_slice(), b"", b"\r\n", b";;"][usize::from(first & 3)];
    cut(&IeeeBlock::new(Bytes::from_static(end), 40).expect("fits").into(), rest);
}

/// Modbus RTU.
pub(crate) fn modbus_rtu(data: &[u8]) {
    cut(&ModbusRtu::new().expect("has its CRC").into(), data);
}

/// COBS, and that what it makes of anything comes back.
pub(crate) fn cobs(data: &[u8]) {
    let framing = Framing::from(Stuffed::new(Stuffing::Cobs, 600, None).expect("fits"));
    cut(&framing, data);
    if let Ok(frame) = framing.encode(data) {
        let mut received = BytesMut::from(&frame[..]);
        assert_eq!(framing.take(&mut received), Ok(Some(Bytes::copy_from_slice(data))));
    }
}

/// Lines, with and without an escape.
pub(crate) fn lines(data: &[u8]) {
    let (first, rest) = settings(data);
    let ends: &[&[u8]] = match first & 3 {
        0 => &[b"\n"],
        1 => &[b"\r\n"],
        2 => &[b"\r", b">"],
        _ => &[b"END", b"N", b"\x03"],
    };
    let ends = ends.iter().map(|end| Bytes::copy_from_slice(end)).collect();
    let lines = Lines::new(ends, None, first & 4 != 0, usize::from(first >> 5) + 1).expect("are lines");
    let lines = lines.counting(usize::from(first >> 4 & 1) + 1).expect("is a count");
    cut(&if first & 8 != 0 { lines.escaping(b'\\').expect("is no end") } else { lines }.into(), rest);
}
