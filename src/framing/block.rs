//! Blocks of IEEE 488.2 (section 8.7.9 and 8.7.10): "#" and how long it is, then the data.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::errors::bytes;
use super::{BadFraming, BadMessage, FrameError, Frames, Message};
use crate::error::Shown;

const START: Bytes = Bytes::from_static(b"#");

/// How much that is no block is looked through for the start of one.
const JUNK: usize = 65_536;

/// `#<n><n digits: length><data>`, or `#0<data>` up to the terminator; and the terminator after it.
///
/// A line that is no block (an error text, say) is junk, known at its terminator. After a terminator of "\n" one CR before it is
/// dropped, behind a block as in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IeeeBlock {
    terminator: Bytes,
    max_length: usize,
}

impl IeeeBlock {
    /// What a waveform of several million points still fits into, and what a wrong digit does not make too long to wait for.
    pub const MAX_LENGTH: usize = 64 << 20;

    /// `terminator`: what follows a block; may be empty, but then there is no `#0`. `max_length` counts the data.
    ///
    /// # Errors
    /// Nothing fits.
    pub fn new(terminator: Bytes, max_length: usize) -> Result<IeeeBlock, BadFraming> {
        if max_length == 0 {
            return Err(BadFraming::NoLength);
        }
        Ok(IeeeBlock { terminator, max_length })
    }

    fn takes_cr(&self) -> bool {
        self.terminator.as_ref() == b"\n"
    }

    /// What does not begin with "#" has to go, up to one or through the end of its line.
    fn junk(&self, received: &mut BytesMut) -> FrameErrorOr<bool> {
        let window = received.get(..JUNK + self.terminator.len()).unwrap_or(received);
        let start = memchr::memchr(b'#', window);
        if start == Some(0) {
            return Ok(true);
        }
        let line = if self.terminator.is_empty() { None } else { memmem::find(window, &self.terminator) };
        let line = line.map(|at| at + self.terminator.len());
        let junk = match (start, line) {
            (Some(start), Some(line)) => start.min(line),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) if received.len() >= JUNK + self.terminator.len() => JUNK,
            (None, None) => return Ok(false),
        };
        Err(FrameError::junk(&START, &received.split_to(junk)))
    }

    /// How long the header is, and how much data it announces; `None` for a block that only its terminator ends.
    fn header(&self, received: &mut BytesMut) -> FrameErrorOr<Option<(usize, Option<usize>)>> {
        let Some(&count) = received.get(1) else { return Ok(None) };
        if !count.is_ascii_digit() {
            let seen = received.get(..2).unwrap_or_default();
            let error = FrameError::broken("a block whose '#' is not followed by a digit", seen);
            let _ = received.split_to(1);
            return Err(error);
        }
        let count = usize::from(count - b'0');
        if count == 0 {
            return Ok(Some((2, None)));
        }
        let digits = received.get(2..).unwrap_or_default();
        let digits = digits.get(..count).unwrap_or(digits);
        if let Some(wrong) = digits.iter().position(|digit| !digit.is_ascii_digit()) {
            let seen = received.get(..2 + wrong + 1).unwrap_or_default();
            let error = FrameError::broken("a block whose length is not a number", seen);
            let _ = received.split_to(1);
            return Err(error);
        }
        if digits.len() < count {
            return Ok(None);
        }
        let length = digits.iter().fold(0_usize, |length, digit| length * 10 + usize::from(digit - b'0'));
        if length > self.max_length {
            return Err(FrameError::too_long(self.max_length, &received.split_to(2 + count)));
        }
        Ok(Some((2 + count, Some(length))))
    }

    /// The end of the terminator that follows `data_end`, if all of it has come.
    fn terminated(&self, received: &mut BytesMut, data_end: usize) -> FrameErrorOr<Option<usize>> {
        let tail = received.get(data_end..).unwrap_or_default();
        let ends: [&[u8]; 2] = [&self.terminator, if self.takes_cr() { b"\r\n" } else { &self.terminator }];
        for end in ends {
            if tail.starts_with(end) {
                return Ok(Some(data_end + end.len()));
            }
            if end.starts_with(tail) {
                return Ok(None);
            }
        }
        let why = format!("a block of {data_end} bytes that is not followed by {}", Shown(&self.terminator));
        Err(FrameError::broken(why, &received.split_to(data_end)))
    }

    /// A block that only its terminator ends.
    fn indefinite(&self, received: &mut BytesMut) -> FrameErrorOr<Option<Message>> {
        if self.terminator.is_empty() {
            let why = "a block of no given length, which nothing would end without a terminator";
            return Err(FrameError::broken(why, &received.split_to(2)));
        }
        let most = 2 + self.max_length;
        let window = most + self.terminator.len() + usize::from(self.takes_cr());
        let seen = received.get(..window).unwrap_or(received);
        let Some(at) = seen.get(2..).and_then(|data| memmem::find(data, &self.terminator)) else {
            if received.len() < window {
                return Ok(None);
            }
            return Err(FrameError::too_long(self.max_length, &received.split_to(most)));
        };
        let at = at + 2;
        let cr = self.takes_cr() && at > 2 && received.get(at - 1) == Some(&b'\r');
        let wire = received.split_to(at + self.terminator.len()).freeze();
        let end = at - usize::from(cr);
        if end > most {
            return Err(FrameError::too_long(self.max_length, &wire));
        }
        Ok(Some(Message { body: wire.slice(2..end), wire }))
    }
}

type FrameErrorOr<T> = Result<T, FrameError>;

impl Frames for IeeeBlock {
    fn encode(&self, body: &[u8]) -> Result<Bytes, BadMessage> {
        let length = body.len().to_string();
        if body.len() > self.max_length || length.len() > 9 {
            return Err(BadMessage::unfit(body, format!("is longer than {} bytes", self.max_length)));
        }
        Ok([b"#", length.len().to_string().as_bytes(), length.as_bytes(), body, &self.terminator].concat().into())
    }

    fn cut(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        if !self.junk(received)? {
            return Ok(None);
        }
        let Some((header, length)) = self.header(received)? else { return Ok(None) };
        let Some(length) = length else { return self.indefinite(received) };
        let end = header + length;
        if received.len() < end {
            return Ok(None);
        }
        let Some(all) = self.terminated(received, end)? else { return Ok(None) };
        let wire = received.split_to(all).freeze();
        Ok(Some(Message { body: wire.slice(header..end), wire }))
    }

    fn describe(&self) -> String {
        "IEEE 488.2 blocks".to_owned()
    }

    fn hint(&self, heard: &[u8]) -> String {
        let came = format!("{} came", bytes(heard.len()));
        if heard.first() != Some(&b'#') {
            return format!("{came} but no '#', which starts a block");
        }
        match self.header(&mut BytesMut::from(heard)) {
            Ok(Some((header, Some(length)))) if heard.len() < header + length => {
                format!("{} of the {length} bytes came that the block announced", heard.len() - header)
            }
            _ => format!("{came} but no {}, which ends a block", Shown(&self.terminator)),
        }
    }
}
