//! Messages between a start and an end.

use std::task::Poll;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::checksum::{self, Checksum, Parts};
use super::errors::bytes;
use super::escape::{escaped, unescaped, walk};
use super::{BadFraming, BadMessage, FrameError, Frames, Message};
use crate::error::Shown;

/// A message stands between `start` and `end`, and contains neither (but escaped).
///
/// What comes before a start is junk: one error, when the start is there. A start within a message means that the message before was
/// cut off: an error too, and the new one is read. Where start and end are the same, nothing between two of them is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enclosed {
    start: Bytes,
    end: Bytes,
    escape: Option<u8>,
    max_length: usize,
    checksum: Option<Checksum>,
}

enum Found {
    /// From where the body is read, up to where, and where the end has ended.
    End { open: usize, inner: usize, end: usize },
    /// A new message begins here.
    Start(usize),
    /// Nothing ended; so much has to go.
    TooLong(usize),
}

impl Enclosed {
    /// `escape`: a byte that takes the meaning from the next one. `max_length` counts the body.
    ///
    /// # Errors
    /// A start or an end of no bytes, or one that contains the escape; nothing that fits.
    pub fn new(
        start: Bytes,
        end: Bytes,
        escape: Option<u8>,
        max_length: usize,
        checksum: Option<Checksum>,
    ) -> Result<Enclosed, BadFraming> {
        for (mark, what) in [(&start, "the start"), (&end, "the end")] {
            if mark.is_empty() {
                return Err(BadFraming::Empty(what));
            }
            if let Some(escape) = escape.filter(|escape| mark.contains(escape)) {
                return Err(BadFraming::EscapeInMark { escape: Bytes::copy_from_slice(&[escape]), mark: mark.clone() });
            }
        }
        if max_length == 0 {
            return Err(BadFraming::NoLength);
        }
        Ok(Enclosed { start, end, escape, max_length, checksum })
    }

    fn is_symmetric(&self) -> bool {
        self.start == self.end
    }

    /// What stands before the start has to go.
    fn junk(&self, received: &mut BytesMut) -> Result<bool, FrameError> {
        let window = self.max_length.saturating_add(self.start.len());
        let seen = received.get(..window).unwrap_or(received);
        match memmem::find(seen, &self.start) {
            Some(0) => Ok(true),
            Some(at) => Err(FrameError::junk(&self.start, &received.split_to(at))),
            // No start lies across the cut, for it would have been found.
            None if received.len() >= window => Err(FrameError::junk(&self.start, &received.split_to(self.max_length))),
            None => Ok(false),
        }
    }

    /// Where the body begins: after the start, or after the last of several where ends look like starts.
    fn opening(&self, received: &mut BytesMut) -> Result<usize, FrameError> {
        let one = self.start.len();
        if !self.is_symmetric() {
            return Ok(one);
        }
        let most = self.max_length / one + 2;
        let starts = received.chunks(one).take(most).take_while(|chunk| **chunk == *self.start).count();
        if starts == most {
            return Err(FrameError::junk(&self.start, &received.split_to((most - 1) * one)));
        }
        Ok(starts * one)
    }

    fn find(&self, received: &[u8], open: usize) -> Option<Found> {
        let width = checksum::before_end(self.checksum.as_ref());
        let most = self.max_length.saturating_add(width);
        let window = most.saturating_add(self.start.len().max(self.end.len()));
        let mut cut = open;
        walk(received, open, self.escape, |step| {
            let ends = |mark: &Bytes| step.run.ends_with(mark);
            let starts = !self.is_symmetric() && ends(&self.start);
            // Of two that end with the same byte, the longer.
            if ends(&self.end) && !(starts && self.start.len() > self.end.len()) {
                return Some(Found::End { open, inner: step.end - self.end.len(), end: step.end });
            }
            if starts {
                return Some(Found::Start(step.end - self.start.len()));
            }
            if step.plain <= most {
                cut = step.end;
            }
            (step.plain >= window).then_some(Found::TooLong(cut))
        })
    }
}

impl Frames for Enclosed {
    fn encode(&self, body: &[u8]) -> Result<Bytes, BadMessage> {
        let means = |byte| self.start.contains(&byte) || self.end.contains(&byte);
        let mut wire = self.start.to_vec();
        let sealed = match &self.checksum {
            Some(checksum) => checksum.seal(Parts { start: &self.start, body, end: &self.end })?,
            None => Vec::new(),
        };
        let after = checksum::after_end(self.checksum.as_ref()) > 0;
        let inner = if after { body.to_vec() } else { [body, &sealed].concat() };
        if self.is_symmetric() && inner.is_empty() {
            return Err(BadMessage::unfit(
                body,
                "is empty, and between two ends that look like starts that is nothing",
            ));
        }
        wire.extend(escaped(self.escape, &inner, means));
        wire.extend_from_slice(&self.end);
        // What the other side would make of it: the marks may lie across the body's own ends.
        match self.find(&wire, self.start.len()) {
            Some(Found::End { end, .. }) if end == wire.len() => {}
            Some(Found::TooLong(_)) => {
                return Err(BadMessage::unfit(body, format!("is longer than {} bytes", self.max_length)));
            }
            Some(Found::Start(_)) => {
                return Err(BadMessage::unfit(
                    body,
                    format!("contains {}, which starts a message", Shown(&self.start)),
                ));
            }
            _ => return Err(BadMessage::unfit(body, format!("contains {}, which ends a message", Shown(&self.end)))),
        }
        if after {
            wire.extend(sealed);
        }
        Ok(wire.into())
    }

    fn cut(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        if !self.junk(received)? {
            return Ok(None);
        }
        let open = self.opening(received)?;
        let (open, inner, end) = match self.find(received, open) {
            None => return Ok(None),
            Some(Found::Start(at)) => {
                return Err(FrameError::broken(
                    "a message that ends where the next one starts",
                    &received.split_to(at),
                ));
            }
            Some(Found::TooLong(cut)) => {
                return Err(FrameError::too_long(self.max_length, &received.split_to(cut)));
            }
            Some(Found::End { open, inner, end }) => (open, inner, end),
        };
        let checksum = self.checksum.as_ref();
        let all = end.saturating_add(checksum::after_end(checksum));
        let Some(after) = received.get(end..all) else { return Ok(None) };
        let between = received.get(open..inner).unwrap_or_default();
        let plain = self.escape.map(|escape| Bytes::from(unescaped(escape, between)));
        let opened = checksum::open(checksum, &self.start, plain.as_deref().unwrap_or(between), &self.end, after);
        let Poll::Ready(body) = opened else { return Ok(None) };
        let wire = received.split_to(all).freeze();
        let body = body?;
        if body > self.max_length {
            return Err(FrameError::too_long(self.max_length, &wire));
        }
        let body = plain.unwrap_or_else(|| wire.slice(open..inner)).slice(..body);
        Ok(Some(Message { body, wire }))
    }

    fn describe(&self) -> String {
        format!("messages between {} and {}", Shown(&self.start), Shown(&self.end))
    }

    fn hint(&self, heard: &[u8]) -> String {
        let count = bytes(heard.len());
        match memmem::find(heard, &self.start) {
            None => format!("{count} came but no {}, which starts a message", Shown(&self.start)),
            Some(_) => format!("{count} came but no {}, which ends a message", Shown(&self.end)),
        }
    }

    fn checksum(&self) -> Option<&Checksum> {
        self.checksum.as_ref()
    }

    fn checksum_mut(&mut self) -> Option<&mut Checksum> {
        self.checksum.as_mut()
    }
}
