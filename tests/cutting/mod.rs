//! Feeding a framing with streams that are cut here and there, for the tests of framings.

use bytes::BytesMut;
use labtether::framing::Framing;
use labtether::framing::catalogue::Crc;
use labtether::framing::checksum::{Checksum, Covers, Function, Order, Place, Style};

/// Bodies, and errors in words.
pub(crate) type Taken = Vec<Result<Vec<u8>, String>>;

/// Takes until there is nothing to take. Each step must remove something, or leave all as it was and be the last.
pub(crate) fn take_all(framing: &Framing, received: &mut BytesMut, into: &mut Taken) {
    loop {
        let before = received.clone();
        match framing.cut(received) {
            Ok(None) => {
                assert_eq!(*received, before, "`None` must leave the bytes alone: {framing:?}");
                return;
            }
            Ok(Some(message)) => {
                assert!(before.starts_with(&message.wire), "the wire is not what came: {framing:?}");
                assert_eq!(before.len(), received.len() + message.wire.len(), "{framing:?}");
                into.push(Ok(message.body.to_vec()));
            }
            Err(error) => into.push(Err(error.to_string())),
        }
        assert!(received.len() < before.len(), "something must have been removed: {framing:?}");
        assert!(before.ends_with(received), "only the front may be removed: {framing:?}");
    }
}

/// What comes of a stream that arrives in `pieces`, and what is left over.
pub(crate) fn feed<'a>(framing: &Framing, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Taken, Vec<u8>) {
    let (mut received, mut taken) = (BytesMut::new(), Taken::new());
    for piece in pieces {
        received.extend_from_slice(piece);
        take_all(framing, &mut received, &mut taken);
    }
    (taken, received.to_vec())
}

/// The same, whole, byte by byte and cut at `cuts`: it must not matter.
#[track_caller]
#[allow(dead_code, reason = "not every test binary cuts at random")]
pub(crate) fn feed_anyhow(framing: &Framing, stream: &[u8], cuts: &[usize]) -> (Taken, Vec<u8>) {
    let whole = feed(framing, [stream]);
    assert_eq!(feed(framing, stream.chunks(1)), whole, "byte by byte: {framing:?}");
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| *cut.min(&stream.len())).chain([0, stream.len()]).collect();
    cuts.sort_unstable();
    let pieces = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]);
    assert_eq!(feed(framing, pieces), whole, "cut at {cuts:?}: {framing:?}");
    whole
}

/// A checksum as it is most often: before the end, in raw bytes, over the body.
pub(crate) fn checksum(function: Function) -> Checksum {
    let order = match &function {
        Function::Crc(crc) if crc.is_reflected() => Order::Little,
        _ => Order::Big,
    };
    Checksum { function, order, style: Style::Raw, place: Place::BeforeEnd, covers: Covers::Body }
}

/// One of the catalogue.
pub(crate) fn crc(name: &str) -> Checksum {
    checksum(Function::Crc(Crc::named(name).expect("is in the catalogue")))
}
