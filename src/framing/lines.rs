//! Messages that end at a terminator: what most instruments speak. Text encodings are not its business.

use std::task::Poll;

use bytes::{Bytes, BytesMut};
use memchr::{memchr_iter, memchr2_iter, memchr3_iter};

use super::checksum::{self, Checksum, Parts};
use super::errors::bytes;
use super::escape::{escaped, unescaped, walk};
use super::{BadFraming, BadMessage, FrameError, Frames, MAX_LENGTH, Message};
use crate::error::Shown;

const LF: &[u8] = b"\n";
const CR: u8 = b'\r';

/// Lines: a message ends at the terminator that *ends* earliest, at the longest of those that end with the same byte.
///
/// This is the only rule that holds for any cut of any stream and never waits for a byte that may not come. Were the
/// one that begins earliest to win, `b"END"` and `b"N"` would have to hold "xEN" back until it is known whether a D
/// follows; were the shortest to win, "\n" would leave the CR of a "\r\n" that was given too. The earliest end is
/// known as soon as its last byte is there, and nothing that follows can change it.
///
/// A terminator of exactly "\n" takes one CR before it along: instruments that are said to end their lines in
/// "newline" often send CR LF.
///
/// With a `count`, so many terminators end one message, and those within it are part of its body: a prompt, say, that comes once for
/// each command. With an `escape`, the byte after it is only itself: no part of a terminator, and not an escape. A checksum in raw
/// bytes before the terminator may look like one, and then ends the message: let it follow the terminator, be digits, or be escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    terminators: Vec<Bytes>,
    send_terminator: Bytes,
    keep: bool,
    max_length: usize,
    count: usize,
    escape: Option<u8>,
    checksum: Option<Checksum>,
    /// The last byte of each terminator, none twice: only there can a message end.
    last_bytes: Vec<u8>,
    /// A message whose body fits has ended within so many bytes, its checksum not counted.
    window: usize,
}

enum Found {
    /// Up to where the body goes, with a checksum that comes before the end, and where the terminator ends.
    End {
        inner: usize,
        end: usize,
    },
    /// Nothing that fits can end any more; so much has to go.
    TooLong(usize),
    NotYet,
}

impl Default for Lines {
    /// Ends at LF, takes a CR before it along, sends LF.
    fn default() -> Lines {
        Lines::ending_in(Bytes::from_static(LF))
    }
}

impl Lines {
    /// The most that a body has unless something else is said.
    pub const MAX_LENGTH: usize = MAX_LENGTH;

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

    /// So many terminators end one message.
    ///
    /// # Errors
    /// None.
    pub fn counting(self, count: usize) -> Result<Lines, BadFraming> {
        if count == 0 { Err(BadFraming::Nothing("count")) } else { Ok(Lines { count, ..self }) }
    }

    /// `escape` takes the meaning from the byte after it.
    ///
    /// # Errors
    /// It is part of a terminator.
    pub fn escaping(self, escape: u8) -> Result<Lines, BadFraming> {
        let mark = self.terminators.iter().chain([&self.send_terminator]).find(|mark| mark.contains(&escape));
        if let Some(mark) = mark.cloned() {
            return Err(BadFraming::EscapeInMark { escape: Bytes::copy_from_slice(&[escape]), mark });
        }
        Ok(Lines { escape: Some(escape), ..self })
    }

    /// Each message brings a checksum.
    ///
    /// # Errors
    /// Messages keep their terminators, and a checksum stands in between.
    pub fn with_checksum(self, checksum: Checksum) -> Result<Lines, BadFraming> {
        if self.keep {
            return Err(BadFraming::Excluded("lines with a checksum do not keep their terminator"));
        }
        Ok(Lines { checksum: Some(checksum), ..self })
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
        let (count, escape, checksum) = (1, None, None);
        Lines { terminators, send_terminator, keep, max_length, count, escape, checksum, last_bytes, window }
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

    fn find(&self, received: &[u8]) -> Found {
        let width = checksum::before_end(self.checksum.as_ref());
        let window = self.window.saturating_add(width);
        if self.escape.is_some() {
            return self.find_escaped(received, window, self.max_length.saturating_add(width));
        }
        let seen = received.get(..window).unwrap_or(received);
        let (mut from, mut inner) = (0, 0);
        for _ in 0..self.count {
            let line = seen.get(from..).unwrap_or_default();
            let Some((end, terminator)) = self.first_end(line) else {
                // Where the line does end depends on bytes that may not have come, so a fixed number goes; no terminator lies across
                // the cut, for it would have ended within the window.
                let most = self.max_length.saturating_add(width);
                return if received.len() < window { Found::NotYet } else { Found::TooLong(most) };
            };
            inner = from + body_length(line, end, terminator);
            from += end;
        }
        Found::End { inner, end: from }
    }

    fn find_escaped(&self, received: &[u8], window: usize, most: usize) -> Found {
        let (mut cut, mut since, mut count) = (0, 0, 0);
        let found = walk(received, 0, self.escape, |step| {
            let run = step.run.get(step.run.len().saturating_sub(step.end - since)..).unwrap_or_default();
            if let Some(terminator) = self.ending(run) {
                count += 1;
                since = step.end;
                if count == self.count {
                    let inner = step.end - run.len() + body_length(run, run.len(), terminator);
                    return Some(Found::End { inner, end: step.end });
                }
            }
            if step.plain <= most {
                cut = step.end;
            }
            (step.plain >= window).then_some(Found::TooLong(cut))
        });
        found.unwrap_or(Found::NotYet)
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
            self.ending(so_far).map(|longest| (so_far.len(), longest))
        })
    }

    /// The longest terminator that `so_far` ends in.
    fn ending(&self, so_far: &[u8]) -> Option<&Bytes> {
        let ending = self.terminators.iter().filter(|terminator| so_far.ends_with(terminator));
        ending.max_by_key(|terminator| terminator.len())
    }

    fn ends(&self) -> String {
        let ends: Vec<String> = self.terminators.iter().map(|terminator| Shown(terminator).to_string()).collect();
        ends.join(" or ")
    }
}

impl Frames for Lines {
    fn encode(&self, body: &[u8]) -> Result<Bytes, BadMessage> {
        let added = &self.send_terminator;
        // Where nothing is added, an end of the caller's own is as it should be; where it is escaped, it is none.
        if !added.is_empty()
            && self.escape.is_none()
            && let Some(found) = std::iter::once(added).chain(&self.terminators).find(|end| body.ends_with(end))
        {
            let body = Bytes::copy_from_slice(body);
            return Err(BadMessage::AlreadyTerminated { body, found: found.clone(), added: added.clone() });
        }
        let sealed = match &self.checksum {
            Some(checksum) => checksum.seal(Parts { start: &[], body, end: added })?,
            None => Vec::new(),
        };
        // A CR at the end of a body would be taken along with a LF.
        let means = |byte| byte == CR || std::iter::once(added).chain(&self.terminators).any(|end| end.contains(&byte));
        let hidden = |body: &[u8]| escaped(self.escape, body, means);
        Ok(match checksum::after_end(self.checksum.as_ref()) {
            0 => [hidden(&[body, &sealed].concat()).as_slice(), added].concat(),
            _ => [hidden(body).as_slice(), added, &sealed].concat(),
        }
        .into())
    }

    fn cut(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        let (inner, end) = match self.find(received) {
            Found::NotYet => return Ok(None),
            Found::TooLong(cut) => return Err(FrameError::too_long(self.max_length, &received.split_to(cut))),
            Found::End { inner, end } => (inner, end),
        };
        let checksum = self.checksum.as_ref();
        let all = end.saturating_add(checksum::after_end(checksum));
        let Some(after) = received.get(end..all) else { return Ok(None) };
        let line = received.get(..inner).unwrap_or_default();
        let plain = self.escape.map(|escape| Bytes::from(unescaped(escape, line)));
        let ending = received.get(inner..end).unwrap_or_default();
        let opened = checksum::open(checksum, &[], plain.as_deref().unwrap_or(line), ending, after);
        let Poll::Ready(body) = opened else { return Ok(None) };
        let wire = received.split_to(all).freeze();
        let body = body?;
        if body > self.max_length {
            // A short terminator can end a body that is too long within the window of a longer one: then all of the line goes.
            return Err(FrameError::too_long(self.max_length, &wire));
        }
        let body = match plain {
            Some(plain) if self.keep => [&plain, wire.get(inner..end).unwrap_or_default()].concat().into(),
            Some(plain) => plain.slice(..body),
            None if self.keep => wire.clone(),
            None => wire.slice(..body),
        };
        Ok(Some(Message { body, wire }))
    }

    fn describe(&self) -> String {
        format!("lines ending in {}", self.ends())
    }

    fn hint(&self, heard: &[u8]) -> String {
        let came = format!("{} came but no {}", bytes(heard.len()), self.ends());
        if let Some(end) = LIKELY_ENDS.iter().find(|end| heard.ends_with(end)) {
            let pronoun = if heard.len() == 1 { "it ends" } else { "they end" };
            let end = Shown(end);
            return format!("{came}; {pronoun} in {end}: is the terminator {end}?");
        }
        // A wrong speed or parity turns text into bytes from all over the range.
        let text = heard.iter().filter(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()).count();
        if text * 2 < heard.len() {
            return format!("{came}; most of it is not text: are baud rate and parity right?");
        }
        came
    }

    fn checksum(&self) -> Option<&Checksum> {
        self.checksum.as_ref()
    }

    fn checksum_mut(&mut self) -> Option<&mut Checksum> {
        self.checksum.as_mut()
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
