//! Bytes that lose their meaning: an escape byte, and the one after it that is then only itself.

/// `body` as it goes on the wire: an `escape` before each byte that has a meaning, itself included.
pub(super) fn escaped(escape: Option<u8>, body: &[u8], means_something: impl Fn(u8) -> bool) -> Vec<u8> {
    let Some(escape) = escape else { return body.to_vec() };
    let mut wire = Vec::with_capacity(body.len());
    for &byte in body {
        if byte == escape || means_something(byte) {
            wire.push(escape);
        }
        wire.push(byte);
    }
    wire
}

/// What `wire` says, without its escapes.
pub(super) fn unescaped(escape: u8, wire: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(wire.len());
    let mut bytes = wire.iter();
    while let Some(&byte) = bytes.next() {
        body.push(if byte == escape { bytes.next().copied().unwrap_or(byte) } else { byte });
    }
    body
}

/// Where a walk along a stream has come to.
pub(super) struct Step<'a> {
    /// Just past the byte, or the escape and its byte.
    pub(super) end: usize,
    /// The bytes up to here that have a meaning, since the last that has none.
    pub(super) run: &'a [u8],
    /// How many bytes the body has by now.
    pub(super) plain: usize,
}

/// Walks along `stream` from `from`, byte by byte, to where `look` finds something. An escape at the very end waits for its byte.
pub(super) fn walk<T>(
    stream: &[u8],
    from: usize,
    escape: Option<u8>,
    mut look: impl FnMut(Step<'_>) -> Option<T>,
) -> Option<T> {
    let (mut run_from, mut at, mut plain) = (from, from, 0);
    while let Some(&byte) = stream.get(at) {
        at += 1;
        if Some(byte) == escape {
            stream.get(at)?;
            at += 1;
            run_from = at;
        }
        plain += 1;
        let run = stream.get(run_from..at).unwrap_or_default();
        if let Some(found) = look(Step { end: at, run, plain }) {
            return Some(found);
        }
    }
    None
}
