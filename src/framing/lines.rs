//! Messages that end at a terminator: what most instruments speak. Text encodings are not its business.

use bytes::{Bytes, BytesMut};
use memchr::{memchr_iter, memchr2_iter, memchr3_iter};

use super::{BadFraming, BadMessage, FrameError, Message};
use crate::error::Shown;

const LF: &[u8] = b"\n";
const CR: u8 = b'\r';

/// How much of a body that is too long its error shows.
const BEGINNING: usize = 40;

/// Lines: a message ends at the terminator that *ends* earliest, at the longest of those that end with the same byte.
///
/// This is the only rule that holds for any cut of any stream and never waits for a byte that may not come. Were the
/// one that begins earliest to win, `b"END"` and `b"N"` would have to hold "xEN" back until it is known whether a D
/// follows; were the shortest to win, "\n" would leave the CR of a "\r\n" that was given too. The earliest end is
/// known as soon as its last byte is there, and nothing that follows can change it.
///
/// A terminator of exactly "\n" takes one CR before it along: instruments that are said to end their lines in
/// "newline" often send CR LF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    terminators: Vec<Bytes>,
    send_terminator: Bytes,
    keep: bool,
    max_length: usize,
    /// The last byte of each terminator, none twice: only there can a message end.
    last_bytes: Vec<u8>,
    /// A message whose body fits has ended within so many bytes.
    window: usize,
}

impl Default for Lines {
    /// Ends at LF, takes a CR before it along, sends LF.
    fn default() -> Lines {
        Lines::ending_in(Bytes::from_static(LF))
    }
}

impl Lines {
    /// The most that a body has unless something else is said.
    pub const MAX_LENGTH: usize = 65_536;

    /// Messages end at any of `terminators`. What is sent ends in `send_terminator`, which may be empty; `None`: in
    /// the first of the `terminators`. `keep`: messages keep their terminator, and the CR that would go with it.
    /// `max_length` counts the body.
    ///
    /// # Errors
    /// These terminators, or this length, cannot work.
    pub fn new(
        terminators: Vec<Bytes>,
        send_terminator: Option<Bytes>,
        keep: bool,
        max_length: usize,
    ) -> Result<Lines, BadFraming> {
        let first = terminators.first().ok_or(BadFraming::NoTerminator)?;
        if terminators.iter().any(Bytes::is_empty) {
            return Err(BadFraming::EmptyTerminator);
        }
        for (place, one) in terminators.iter().enumerate() {
            for other in terminators.iter().skip(place + 1) {
                if one == other {
                    return Err(BadFraming::Repeated(one.clone()));
                }
                let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
                if long.starts_with(short) {
                    return Err(BadFraming::Hidden { long: long.clone(), short: short.clone() });
                }
            }
        }
        if max_length == 0 {
            return Err(BadFraming::NoLength);
        }
        let send_terminator = send_terminator.unwrap_or_else(|| first.clone());
        Ok(Lines::unchecked(terminators, send_terminator, keep, max_length))
    }

    /// Ends at CR LF, sends CR LF.
    pub fn crlf() -> Lines {
        Lines::ending_in(Bytes::from_static(b"\r\n"))
    }

    fn ending_in(terminator: Bytes) -> Lines {
        Lines::unchecked(vec![terminator.clone()], terminator, false, Lines::MAX_LENGTH)
    }

    fn unchecked(terminators: Vec<Bytes>, send_terminator: Bytes, keep: bool, max_length: usize) -> Lines {
        let mut last_bytes: Vec<u8> = terminators.iter().filter_map(|terminator| terminator.last().copied()).collect();
        last_bytes.sort_unstable();
        last_bytes.dedup();
        let longest = terminators.iter().map(|terminator| terminator.len() + usize::from(terminator == LF)).max();
        let window = max_length.saturating_add(longest.unwrap_or(0));
        Lines { terminators, send_terminator, keep, max_length, last_bytes, window }
    }

    /// Where messages end, in the order given.
    pub fn terminators(&self) -> &[Bytes] {
        &self.terminators
    }

    /// What is added to what is sent; may be empty.
    pub fn send_terminator(&self) -> &Bytes {
        &self.send_terminator
    }

    /// Whether messages keep their terminator.
    pub fn keeps_terminator(&self) -> bool {
        self.keep
    }

    /// The most that a body may have.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    pub(super) fn encode(&self, body: &[u8]) -> Result<Bytes, BadMessage> {
        let added = &self.send_terminator;
        // Where nothing is added, an end of the caller's own is as it should be.
        if !added.is_empty()
            && let Some(found) = std::iter::once(added).chain(&self.terminators).find(|end| body.ends_with(end))
        {
            let body = Bytes::copy_from_slice(body);
            return Err(BadMessage::AlreadyTerminated { body, found: found.clone(), added: added.clone() });
        }
        Ok([body, added].concat().into())
    }

    pub(super) fn cut(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        let window = received.get(..self.window).unwrap_or(received);
        let Some((end, terminator)) = self.first_end(window) else {
            if received.len() < self.window {
                return Ok(None);
            }
            // Nothing that fits can end any more. Where the line does end depends on bytes that may not have come, so
            // a fixed number goes; no terminator lies across the cut, for it would have ended within the window.
            return Err(self.too_long(&received.split_to(self.max_length)));
        };
        let body = body_length(window, end, terminator);
        let wire = received.split_to(end);
        if body > self.max_length {
            // A short terminator can end a body that is too long within the window of a longer one: then all of the
            // line goes.
            return Err(self.too_long(&wire));
        }
        let wire = wire.freeze();
        let body = if self.keep { wire.clone() } else { wire.slice(..body) };
        Ok(Some(Message { body, wire }))
    }

    /// Just past the first terminator in `stream`, and which it is.
    fn first_end(&self, stream: &[u8]) -> Option<(usize, &Bytes)> {
        match *self.last_bytes.as_slice() {
            [one] => self.first_of(stream, memchr_iter(one, stream)),
            [one, two] => self.first_of(stream, memchr2_iter(one, two, stream)),
            [one, two, three] => self.first_of(stream, memchr3_iter(one, two, three, stream)),
            ref any => {
                let places = stream.iter().enumerate().filter(|(_, byte)| any.contains(byte)).map(|(place, _)| place);
                self.first_of(stream, places)
            }
        }
    }

    /// `places`: where the last byte of a terminator stands, in order.
    fn first_of(&self, stream: &[u8], mut places: impl Iterator<Item = usize>) -> Option<(usize, &Bytes)> {
        places.find_map(|place| {
            let so_far = stream.get(..=place)?;
            let ending = self.terminators.iter().filter(|terminator| so_far.ends_with(terminator));
            ending.max_by_key(|terminator| terminator.len()).map(|longest| (so_far.len(), longest))
        })
    }

    fn too_long(&self, line: &[u8]) -> FrameError {
        // A copy: the error may be kept for long, and must not hold on to the whole buffer.
        let beginning = Bytes::copy_from_slice(line.get(..BEGINNING).unwrap_or(line));
        FrameError::TooLong { limit: self.max_length, beginning }
    }

    pub(super) fn describe(&self) -> String {
        format!("lines ending in {}", self.ends())
    }

    fn ends(&self) -> String {
        let ends: Vec<String> = self.terminators.iter().map(|terminator| Shown(terminator).to_string()).collect();
        ends.join(" or ")
    }

    pub(super) fn hint(&self, heard: &[u8]) -> Option<String> {
        let bytes = match heard.len() {
            0 => return None,
            1 => "1 byte".to_owned(),
            many => format!("{many} bytes"),
        };
        let came = format!("{bytes} came but no {}", self.ends());
        if let Some(end) = LIKELY_ENDS.iter().find(|end| heard.ends_with(end)) {
            let pronoun = if heard.len() == 1 { "it ends" } else { "they end" };
            let end = Shown(end);
            return Some(format!("{came}; {pronoun} in {end}: is the terminator {end}?"));
        }
        // A wrong speed or parity turns text into bytes from all over the range.
        let text = heard.iter().filter(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()).count();
        if text * 2 < heard.len() {
            return Some(format!("{came}; most of it is not text: are baud rate and parity right?"));
        }
        Some(came)
    }
}

/// How instruments end their lines, the longer before what they end in. 0x03 is ETX, as in BioTek readers.
const LIKELY_ENDS: [&[u8]; 8] = [b"\r\n", b"\n\r", b"\n", b"\r", b"\0", b"\x03", b">", b";"];

/// How much of the line that ends at `end` is body.
fn body_length(line: &[u8], end: usize, terminator: &Bytes) -> usize {
    let body = end.saturating_sub(terminator.len());
    let carriage_return = terminator == LF && line.get(..body).is_some_and(|body| body.last() == Some(&CR));
    body - usize::from(carriage_return)
}
