//! Messages made so that one byte never stands in them, and ends them: SLIP (RFC 1055) and COBS (Cheshire and Baker, 1999).
//!
//! Nothing between two ends is no message. What is garbled before the first end that is heard looks like a message; only a checksum
//! can tell. It stands within the stuffing, and covers the body as it was before.

use std::task::Poll;

use bytes::{Bytes, BytesMut};

use super::checksum::{self, Checksum, Covers, Parts, Place};
use super::errors::bytes;
use super::{BadFraming, BadMessage, FrameError, Frames, Message};
use crate::error::Shown;

/// Which way of stuffing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuffing {
    /// The end is 0xC0. It goes out before a message too, which clears what noise has left (RFC 1055).
    Slip,
    /// The end is 0.
    Cobs,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuffed {
    stuffing: Stuffing,
    max_length: usize,
    checksum: Option<Checksum>,
}

const SLIP_END: u8 = 0xC0;
const SLIP_ESCAPE: u8 = 0xDB;
const SLIP_ESCAPED_END: u8 = 0xDC;
const SLIP_ESCAPED_ESCAPE: u8 = 0xDD;

impl Stuffing {
    fn end(self) -> u8 {
        match self {
            Stuffing::Slip => SLIP_END,
            Stuffing::Cobs => 0,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Stuffing::Slip => "SLIP",
            Stuffing::Cobs => "COBS",
        }
    }

    /// The most that `plain` bytes can become.
    fn longest(self, plain: usize) -> usize {
        match self {
            Stuffing::Slip => plain.saturating_mul(2),
            Stuffing::Cobs => plain.saturating_add(plain / 254 + 1),
        }
    }

    fn stuff(self, plain: &[u8]) -> Vec<u8> {
        match self {
            Stuffing::Cobs => [cobs::encode_vec(plain), vec![0]].concat(),
            Stuffing::Slip => {
                let mut wire = vec![SLIP_END];
                for &byte in plain {
                    match byte {
                        SLIP_END => wire.extend([SLIP_ESCAPE, SLIP_ESCAPED_END]),
                        SLIP_ESCAPE => wire.extend([SLIP_ESCAPE, SLIP_ESCAPED_ESCAPE]),
                        other => wire.push(other),
                    }
                }
                wire.push(SLIP_END);
                wire
            }
        }
    }

    /// What was stuffed; `None` if nothing stuffs to this.
    fn unstuff(self, wire: &[u8]) -> Option<Vec<u8>> {
        match self {
            Stuffing::Cobs => {
                let mut plain = vec![0; wire.len()];
                let report = cobs::decode(wire, &mut plain).ok()?;
                plain.truncate(report.frame_size());
                Some(plain)
            }
            Stuffing::Slip => {
                let (mut plain, mut bytes) = (Vec::with_capacity(wire.len()), wire.iter());
                while let Some(&byte) = bytes.next() {
                    plain.push(match (byte, if byte == SLIP_ESCAPE { bytes.next() } else { None }) {
                        (SLIP_ESCAPE, Some(&SLIP_ESCAPED_END)) => SLIP_END,
                        (SLIP_ESCAPE, Some(&SLIP_ESCAPED_ESCAPE)) => SLIP_ESCAPE,
                        (SLIP_ESCAPE, _) => return None,
                        (other, _) => other,
                    });
                }
                Some(plain)
            }
        }
    }
}

impl Stuffed {
    /// `max_length` counts the body.
    ///
    /// # Errors
    /// Nothing fits, or a checksum that does not stand with what it covers.
    pub fn new(stuffing: Stuffing, max_length: usize, checksum: Option<Checksum>) -> Result<Stuffed, BadFraming> {
        if max_length == 0 {
            return Err(BadFraming::NoLength);
        }
        if let Some(Checksum { place, covers, .. }) = &checksum
            && (*place, *covers) != (Place::BeforeEnd, Covers::Body)
        {
            let why = "in SLIP and COBS a checksum stands before the end and covers the body: nothing else is data";
            return Err(BadFraming::Excluded(why));
        }
        Ok(Stuffed { stuffing, max_length, checksum })
    }
}

impl Frames for Stuffed {
    fn encode(&self, body: &[u8]) -> Result<Bytes, BadMessage> {
        if body.len() > self.max_length {
            return Err(BadMessage::unfit(body, format!("is longer than {} bytes", self.max_length)));
        }
        let sealed = match &self.checksum {
            Some(checksum) => checksum.seal(Parts { start: &[], body, end: &[] })?,
            None => Vec::new(),
        };
        if self.stuffing == Stuffing::Slip && body.is_empty() && sealed.is_empty() {
            return Err(BadMessage::unfit(body, "is empty, and in SLIP nothing between two ends is no message"));
        }
        Ok(self.stuffing.stuff(&[body, &sealed].concat()).into())
    }

    fn cut(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        let end = self.stuffing.end();
        let plain = self.max_length.saturating_add(checksum::before_end(self.checksum.as_ref()));
        let most = self.stuffing.longest(plain);
        let idle = received.iter().take(most.saturating_add(1)).take_while(|byte| **byte == end).count();
        if idle > most {
            let why = format!("{idle} bytes of nothing but {}", Shown(&[end]));
            return Err(FrameError::broken(why, &received.split_to(most)));
        }
        let stuffed = received.get(idle..).unwrap_or_default();
        let window = stuffed.get(..most.saturating_add(1)).unwrap_or(stuffed);
        let Some(length) = memchr::memchr(end, window) else {
            if stuffed.len() <= most {
                return Ok(None);
            }
            return Err(FrameError::too_long(self.max_length, &received.split_to(idle + most)));
        };
        let unstuffed = stuffed.get(..length).and_then(|frame| self.stuffing.unstuff(frame));
        let all = idle + length + 1;
        let Some(inner) = unstuffed else {
            let why = format!("no {} frame", self.stuffing.name());
            return Err(FrameError::broken(why, &received.split_to(all)));
        };
        let Poll::Ready(body) = checksum::open(self.checksum.as_ref(), &[], &inner, &[], &[]) else { return Ok(None) };
        let wire = received.split_to(all).freeze();
        let body = body?;
        if body > self.max_length {
            return Err(FrameError::too_long(self.max_length, &wire));
        }
        Ok(Some(Message { body: Bytes::from(inner).slice(..body), wire }))
    }

    fn describe(&self) -> String {
        format!("{} frames", self.stuffing.name())
    }

    fn hint(&self, heard: &[u8]) -> String {
        let end = Shown(&[self.stuffing.end()]).to_string();
        format!("{} came but no {end}, which ends a {} frame", bytes(heard.len()), self.stuffing.name())
    }

    fn checksum(&self) -> Option<&Checksum> {
        self.checksum.as_ref()
    }

    fn checksum_mut(&mut self) -> Option<&mut Checksum> {
        self.checksum.as_mut()
    }
}
