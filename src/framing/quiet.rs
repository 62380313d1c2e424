//! Messages that nothing ends but silence. How long the line has been silent is for others to know.

use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::checksum::{self, Checksum, Parts};
use super::errors::bytes;
use super::{BadFraming, BadMessage, FrameError, Frames, Message};

/// All that comes until the line has been silent for a while is one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntilQuiet {
    span: Duration,
    max_length: usize,
    checksum: Option<Checksum>,
}

impl UntilQuiet {
    /// `span` of silence ends a message. `max_length` counts the body.
    ///
    /// # Errors
    /// No silence, or nothing fits.
    pub fn new(span: Duration, max_length: usize, checksum: Option<Checksum>) -> Result<UntilQuiet, BadFraming> {
        if span.is_zero() {
            return Err(BadFraming::Excluded("the silence that ends a message takes some time"));
        }
        if max_length == 0 {
            return Err(BadFraming::NoLength);
        }
        Ok(UntilQuiet { span, max_length, checksum })
    }
}

impl Frames for UntilQuiet {
    fn encode(&self, body: &[u8]) -> Result<Bytes, BadMessage> {
        let sealed = match &self.checksum {
            Some(checksum) => checksum.seal(Parts { start: &[], body, end: &[] })?,
            None => Vec::new(),
        };
        Ok([body, &sealed].concat().into())
    }

    fn cut(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        let most = self.max_length.saturating_add(self.checksum.as_ref().map_or(0, Checksum::width));
        if received.len() <= most {
            return Ok(None);
        }
        Err(FrameError::too_long(self.max_length, &received.split_to(most)))
    }

    fn quiet(&self) -> Option<Duration> {
        Some(self.span)
    }

    fn cut_quiet(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        if received.is_empty() {
            return Ok(None);
        }
        // Nothing marks the end: before it and after it are the same.
        let width = self.checksum.as_ref().map_or(0, Checksum::width);
        let inner = received.get(..received.len().saturating_sub(width)).unwrap_or_default();
        let after = received.get(inner.len()..).unwrap_or_default();
        let opened = match checksum::after_end(self.checksum.as_ref()) {
            0 => checksum::open(self.checksum.as_ref(), &[], received, &[], &[]),
            _ => checksum::open(self.checksum.as_ref(), &[], inner, &[], after),
        };
        let Poll::Ready(body) = opened else { return Ok(None) };
        let wire = received.split().freeze();
        Ok(Some(Message { body: wire.slice(..body?), wire }))
    }

    fn describe(&self) -> String {
        format!("messages that end with {} s of silence", crate::error::Seconds(self.span))
    }

    fn hint(&self, heard: &[u8]) -> String {
        format!("{} came, and the line was not silent for {} s", bytes(heard.len()), crate::error::Seconds(self.span))
    }

    fn checksum(&self) -> Option<&Checksum> {
        self.checksum.as_ref()
    }

    fn checksum_mut(&mut self) -> Option<&mut Checksum> {
        self.checksum.as_mut()
    }
}
