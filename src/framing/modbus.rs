//! Modbus RTU (Modbus over serial line, specification V1.02; Modbus application protocol V1.1b3).

use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::catalogue::Crc;
use super::checksum::{self, Checksum, Covers, Function, Order, Parts, Place, Style};
use super::errors::bytes;
use super::{BadFraming, BadMessage, FrameError, Frames, Message};

/// A body is an address, a function code and what goes with it; the CRC is ours.
///
/// Replies say how long they are by their function code. One with a code whose length nobody knows ends with silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModbusRtu {
    crc: Checksum,
}

/// The most that a frame has, its CRC included (serial line specification, 2.5.1).
const LONGEST: usize = 256;

/// Address, function code and one byte (a count or an exception code); nothing shorter is a reply.
const SHORTEST: usize = 3;

/// What ends a reply of unknown length. The standard's 3.5 characters are lost in the latency of a USB adapter, 16 ms by default.
const QUIET: Duration = Duration::from_millis(50);

impl ModbusRtu {
    /// There is only one.
    ///
    /// # Errors
    /// Its CRC is not in the catalogue, which cannot be.
    pub fn new() -> Result<ModbusRtu, BadFraming> {
        const NAME: &str = "CRC-16/MODBUS";
        let crc = Crc::named(NAME).ok_or_else(|| BadFraming::NoSuchCrc(NAME.to_owned()))?;
        let (function, order, style) = (Function::Crc(crc), Order::Little, Style::Raw);
        Ok(ModbusRtu { crc: Checksum { function, order, style, place: Place::BeforeEnd, covers: Covers::Body } })
    }

    /// How long the reply at the front is, without its CRC; as far as its function code says so.
    fn length(received: &[u8]) -> Option<Length> {
        Some(match received.get(1)? {
            // A count of bytes, and so many bytes.
            1..=4 | 23 => match received.get(2) {
                Some(&count) => Length::Known(SHORTEST + usize::from(count)),
                None => Length::NotYet,
            },
            // Two words: an address, and a value or a count.
            5 | 6 | 15 | 16 => Length::Known(6),
            // Three words: an address and two masks.
            22 => Length::Known(8),
            // An exception: the function code with its highest bit set, and why.
            0x80.. => Length::Known(SHORTEST),
            _ => Length::Unknown,
        })
    }

    fn open(&self, received: &mut BytesMut, all: usize) -> Result<Option<Message>, FrameError> {
        let wire = received.split_to(all).freeze();
        match checksum::open(Some(&self.crc), &[], &wire, &[], &[]) {
            Poll::Ready(body) => Ok(Some(Message { body: wire.slice(..body?), wire })),
            // It asks nobody.
            Poll::Pending => Ok(None),
        }
    }
}

enum Length {
    Known(usize),
    Unknown,
    NotYet,
}

impl Frames for ModbusRtu {
    fn encode(&self, body: &[u8]) -> Result<Bytes, BadMessage> {
        let most = LONGEST - self.crc.width();
        if !(2..=most).contains(&body.len()) {
            let why = format!("has {} bytes: an address, a function code and its data are 2 to {most}", body.len());
            return Err(BadMessage::unfit(body, why));
        }
        let crc = self.crc.seal(Parts { start: &[], body, end: &[] })?;
        Ok([body, &crc].concat().into())
    }

    fn cut(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        let all = match ModbusRtu::length(received) {
            None | Some(Length::NotYet) => return Ok(None),
            Some(Length::Unknown) if received.len() < LONGEST => return Ok(None),
            Some(Length::Unknown) => return Err(FrameError::too_long(LONGEST, &received.split_to(LONGEST))),
            Some(Length::Known(body)) => body + self.crc.width(),
        };
        if all > LONGEST {
            return Err(FrameError::too_long(LONGEST, &received.split_to(SHORTEST)));
        }
        if received.len() < all {
            return Ok(None);
        }
        self.open(received, all)
    }

    fn quiet(&self) -> Option<Duration> {
        Some(QUIET)
    }

    fn cut_quiet(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        match ModbusRtu::length(received) {
            Some(Length::Unknown) => {
                let all = received.len();
                self.open(received, all)
            }
            _ => Ok(None),
        }
    }

    fn describe(&self) -> String {
        "Modbus RTU frames".to_owned()
    }

    fn hint(&self, heard: &[u8]) -> String {
        let came = format!("{} came", bytes(heard.len()));
        match ModbusRtu::length(heard) {
            Some(Length::Known(body)) => format!("{came} of {}", body + self.crc.width()),
            _ => format!("{came}, which is no whole frame"),
        }
    }
}
