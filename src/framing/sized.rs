//! Messages whose size is known beforehand, or is said by a length field in front of them.

use std::task::Poll;

use bytes::{Bytes, BytesMut};

use super::checksum::{self, Checksum, Order, Parts};
use super::errors::bytes;
use super::{BadFraming, BadMessage, FrameError, Frames, Message};

/// Bodies of one size, and a checksum after them. What is sent may have any size: commands and replies seldom have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    size: Option<usize>,
    checksum: Option<Checksum>,
}

/// How much may pile up where nobody has said what size it has.
const UNSIZED: usize = 65_536;

impl Fixed {
    /// Bodies of `size` bytes, the checksum not counted. `None`: nobody has said it yet, and nothing is a message.
    ///
    /// # Errors
    /// A size of 0.
    pub fn new(size: Option<usize>, checksum: Option<Checksum>) -> Result<Fixed, BadFraming> {
        if size == Some(0) {
            return Err(BadFraming::Nothing("the size of a message"));
        }
        Ok(Fixed { size, checksum })
    }

    /// Byte by byte, for who compares streams.
    pub const fn one_byte() -> Fixed {
        Fixed { size: Some(1), checksum: None }
    }
}

impl Frames for Fixed {
    fn encode(&self, body: &[u8]) -> Result<Bytes, BadMessage> {
        let sealed = seal(self.checksum.as_ref(), &[], body)?;
        Ok([body, &sealed].concat().into())
    }

    fn cut(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        let Some(size) = self.size else {
            if received.len() < UNSIZED {
                return Ok(None);
            }
            return Err(FrameError::too_long(UNSIZED, &received.split_to(UNSIZED)));
        };
        whole(received, 0, size, self.checksum.as_ref())
    }

    fn describe(&self) -> String {
        match self.size {
            Some(size) => format!("messages of {}", bytes(size)),
            None => "messages of a size that depends on the command".to_owned(),
        }
    }

    fn hint(&self, heard: &[u8]) -> String {
        let width = self.checksum.as_ref().map_or(0, Checksum::width);
        match self.size {
            Some(size) => format!("{} of {} bytes came", heard.len(), size + width),
            None => format!("{} came, and nothing says how many there should be", bytes(heard.len())),
        }
    }

    fn checksum(&self) -> Option<&Checksum> {
        self.checksum.as_ref()
    }

    fn checksum_mut(&mut self) -> Option<&mut Checksum> {
        self.checksum.as_mut()
    }
}

/// A length field says how much follows it.
///
/// With an `offset`, a body begins with the bytes that stand before the field; the field itself is never part of it. The checksum
/// stands behind the body and is not counted: an instrument that counts it is met with a negative `adjust`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LengthPrefixed {
    size: usize,
    order: Order,
    offset: usize,
    adjust: i64,
    max_length: usize,
    checksum: Option<Checksum>,
}

impl LengthPrefixed {
    /// `size`, `order`: of the length field. `offset`: how many bytes of the body stand before it. `adjust` is added to what the
    /// field says, to get how many bytes of the body stand behind it. `max_length` counts the body.
    ///
    /// # Errors
    /// A field of no such size, or nothing that fits.
    pub fn new(
        size: usize,
        order: Order,
        offset: usize,
        adjust: i64,
        max_length: usize,
        checksum: Option<Checksum>,
    ) -> Result<LengthPrefixed, BadFraming> {
        if !(1..=4).contains(&size) {
            return Err(BadFraming::FieldSize(size));
        }
        if max_length == 0 {
            return Err(BadFraming::NoLength);
        }
        Ok(LengthPrefixed { size, order, offset, adjust, max_length, checksum })
    }
}

impl Frames for LengthPrefixed {
    fn encode(&self, body: &[u8]) -> Result<Bytes, BadMessage> {
        let Some((head, rest)) = body.split_at_checked(self.offset) else {
            let why = format!("is shorter than the {} that stand before its length", bytes(self.offset));
            return Err(BadMessage::unfit(body, why));
        };
        if body.len() > self.max_length {
            return Err(BadMessage::unfit(body, format!("is longer than {} bytes", self.max_length)));
        }
        let length = i64::try_from(rest.len()).unwrap_or(i64::MAX).saturating_sub(self.adjust);
        let Some(length) = u128::try_from(length).ok().filter(|length| *length < 1 << (8 * self.size)) else {
            let why = format!("has a length of {length}, which does not go into a field of {}", bytes(self.size));
            return Err(BadMessage::unfit(body, why));
        };
        let start = [head, &self.order.bytes(length, self.size)].concat();
        let sealed = seal(self.checksum.as_ref(), &start, rest)?;
        Ok([start.as_slice(), rest, &sealed].concat().into())
    }

    fn cut(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        let start = self.offset.saturating_add(self.size);
        let Some(field) = received.get(self.offset..start) else { return Ok(None) };
        let said = i64::try_from(self.order.value(field)).unwrap_or(i64::MAX);
        let rest = said.saturating_add(self.adjust);
        let Ok(rest) = usize::try_from(rest) else {
            let why = format!("a length of {said}, which with {:+} is less than nothing", self.adjust);
            return Err(FrameError::broken(why, &received.split_to(start)));
        };
        if self.offset.saturating_add(rest) > self.max_length {
            return Err(FrameError::too_long(self.max_length, &received.split_to(start)));
        }
        let Some(message) = whole(received, start, rest, self.checksum.as_ref())? else { return Ok(None) };
        if self.offset == 0 {
            return Ok(Some(message));
        }
        let head = message.wire.get(..self.offset).unwrap_or_default();
        let body = [head, &message.body].concat().into();
        Ok(Some(Message { body, wire: message.wire }))
    }

    fn describe(&self) -> String {
        format!("messages with a length field of {}", bytes(self.size))
    }

    fn hint(&self, heard: &[u8]) -> String {
        let came = format!("{} came", bytes(heard.len()));
        let start = self.offset + self.size;
        let Some(field) = heard.get(self.offset..start) else {
            return format!("{came}, fewer than the {start} up to the end of the length field");
        };
        let said = self.order.value(field);
        format!("{came}; the length field says {said}: are its size, order, offset and adjust right?")
    }

    fn checksum(&self) -> Option<&Checksum> {
        self.checksum.as_ref()
    }

    fn checksum_mut(&mut self) -> Option<&mut Checksum> {
        self.checksum.as_mut()
    }
}

/// A checksum's bytes for a message that nothing but its size ends.
fn seal(checksum: Option<&Checksum>, start: &[u8], body: &[u8]) -> Result<Vec<u8>, BadMessage> {
    checksum.map_or(Ok(Vec::new()), |checksum| checksum.seal(Parts { start, body, end: &[] }))
}

/// A message of known size: `start` bytes, `size` bytes of body, the checksum.
fn whole(
    received: &mut BytesMut,
    start: usize,
    size: usize,
    checksum: Option<&Checksum>,
) -> Result<Option<Message>, FrameError> {
    let body = start.saturating_add(size);
    let all = body.saturating_add(checksum.map_or(0, Checksum::width));
    let Some(frame) = received.get(..all) else { return Ok(None) };
    let (head, rest) = frame.split_at_checked(start).unwrap_or_default();
    let right = match checksum.map(|checksum| checksum.place) {
        Some(checksum::Place::AfterEnd) => {
            let (inner, after) = rest.split_at_checked(size).unwrap_or_default();
            checksum::open(checksum, head, inner, &[], after)
        }
        _ => checksum::open(checksum, head, rest, &[], &[]),
    };
    let Poll::Ready(right) = right else { return Ok(None) };
    let wire = received.split_to(all).freeze();
    right?;
    Ok(Some(Message { body: wire.slice(start..body), wire }))
}
