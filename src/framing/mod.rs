//! Bytes to messages and back. Pure: no I/O, no clock, no async, and no text either: what bytes mean is decided
//! further up.
//!
//! Code of the user's own is asked through an [`oracle`]: then what can be said depends on its answer too, and on nothing else.
//!
//! # Invariants
//! 1. Any cut of any stream gives the same messages and the same errors: what [`Framing::take`] does depends on the
//!    bytes from the start of a message up to its end, never on how many more have come.
//! 2. Every error removes at least one byte, so that a caller who goes on taking comes to an end.
//! 3. Nothing that came makes anyone wait for more bytes than `max_length` and what goes around a body: a longer one is an error.

mod block;
pub mod catalogue;
pub mod checksum;
mod enclosed;
mod errors;
mod escape;
mod lines;
mod modbus;
pub mod oracle;
mod own;
mod packets;
mod quiet;
mod sized;
mod stuffed;

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

pub use block::IeeeBlock;
use checksum::Checksum;
pub use enclosed::Enclosed;
use errors::bytes;
pub use errors::{BadFraming, BadMessage, FrameError};
pub use lines::Lines;
pub use modbus::ModbusRtu;
use oracle::Inquiry;
pub use own::Own;
pub use packets::Packets;
pub use quiet::UntilQuiet;
pub use sized::{Fixed, LengthPrefixed};
pub use stuffed::{Stuffed, Stuffing};

/// The most that a body has unless something else is said.
pub const MAX_LENGTH: usize = 65_536;

/// How messages are told apart on the wire. A clone costs next to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A message ends at a terminator.
    Lines(Arc<Lines>),
    /// All messages have one size.
    Fixed(Arc<Fixed>),
    /// A field says how long a message is.
    LengthPrefixed(Arc<LengthPrefixed>),
    /// A message stands between a start and an end.
    Enclosed(Arc<Enclosed>),
    /// Blocks of IEEE 488.2.
    IeeeBlock(Arc<IeeeBlock>),
    /// Modbus RTU.
    ModbusRtu(Arc<ModbusRtu>),
    /// Silence ends a message.
    UntilQuiet(Arc<UntilQuiet>),
    /// SLIP and COBS.
    Stuffed(Arc<Stuffed>),
    /// Packets of a pipe that has them.
    Packets(Arc<Packets>),
    /// The user's own.
    Own(Arc<Own>),
}

/// What each framing does in its own way.
trait Frames {
    /// See [`Framing::encode`].
    fn encode(&self, body: &[u8]) -> Result<Bytes, BadMessage>;

    /// See [`Framing::cut`].
    fn cut(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError>;

    /// See [`Framing::quiet`].
    fn quiet(&self) -> Option<Duration> {
        None
    }

    /// See [`Framing::cut_quiet`].
    fn cut_quiet(&self, _received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        Ok(None)
    }

    /// See [`Framing::describe`].
    fn describe(&self) -> String;

    /// See [`Framing::hint`]; something came.
    fn hint(&self, heard: &[u8]) -> String;

    /// The checksum that goes with each message, if any does.
    fn checksum(&self) -> Option<&Checksum> {
        None
    }

    /// The same, to be changed.
    fn checksum_mut(&mut self) -> Option<&mut Checksum> {
        None
    }
}

macro_rules! each {
    ($self:expr, $one:ident => $it:expr) => {
        match $self {
            Framing::Lines($one) => $it,
            Framing::Fixed($one) => $it,
            Framing::LengthPrefixed($one) => $it,
            Framing::Enclosed($one) => $it,
            Framing::IeeeBlock($one) => $it,
            Framing::ModbusRtu($one) => $it,
            Framing::UntilQuiet($one) => $it,
            Framing::Stuffed($one) => $it,
            Framing::Packets($one) => $it,
            Framing::Own($one) => $it,
        }
    };
}

impl Framing {
    fn kind(&self) -> &dyn Frames {
        each!(self, framing => &**framing)
    }

    fn checksum_mut(&mut self) -> Option<&mut Checksum> {
        each!(self, framing => Arc::make_mut(framing).checksum_mut())
    }

    /// What goes on the wire for `body`. Code of the user's own runs here and now.
    ///
    /// # Errors
    /// `body` cannot be said in this framing, or the user's code raised something.
    pub fn encode(&self, body: &[u8]) -> Result<Bytes, BadMessage> {
        self.kind().encode(body)
    }

    /// Takes the first whole message out of `received`, without what is around its body.
    /// `None` means "not yet": `received` is left as it was, ready for more bytes. (Code of the user's own may have dropped some.)
    ///
    /// # Errors
    /// What came cannot be a message. The offending bytes are removed; take again for what follows them.
    pub fn take(&self, received: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        Ok(self.cut(received)?.map(|message| message.body))
    }

    /// The same, with the bytes that made the message, for whoever may have to put them back.
    ///
    /// # Errors
    /// As [`Framing::take`].
    pub fn cut(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        self.kind().cut(received)
    }

    /// Whoever takes from now on: rung when something outside (a checksum in Python, say) has been worked out, and taking again may
    /// give more. Nothing to do for a framing that asks nobody.
    pub fn attend(&self, ring: &Waker) {
        if let Some(inquiry) = self.inquiry() {
            inquiry.attend(ring);
        }
    }

    /// The same framing, for another stream: it remembers nothing, and rings nobody.
    #[must_use]
    pub fn fresh(&self) -> Framing {
        self.asking(Inquiry::fresh)
    }

    /// The same framing, for whoever may run code of the user's own where they are: nothing has to be waited for.
    #[must_use]
    pub fn on_the_spot(&self) -> Framing {
        self.asking(Inquiry::on_the_spot)
    }

    fn asking(&self, other: impl Fn(&Inquiry) -> Inquiry) -> Framing {
        let mut copy = self.clone();
        let Some(inquiry) = self.inquiry().map(other) else { return copy };
        if let Framing::Own(own) = &mut copy {
            Arc::make_mut(own).set_inquiry(inquiry);
        } else if let Some(checksum) = copy.checksum_mut() {
            checksum.set_inquiry(inquiry);
        }
        copy
    }

    /// How long the line has to be silent for what has come to be a message, where silence ends one.
    pub fn quiet(&self) -> Option<Duration> {
        self.kind().quiet()
    }

    /// The line has been silent for so long: what has come is a message, as far as silence ends one. `None` where nothing has come,
    /// where it is not silence that ends it, or where code of the user's own was asked; then cut again when it has rung.
    ///
    /// # Errors
    /// As [`Framing::take`].
    pub fn cut_quiet(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        self.kind().cut_quiet(received)
    }

    /// In words, for messages to people: "lines ending in '\r\n'".
    pub fn describe(&self) -> String {
        self.kind().describe()
    }

    /// What may be wrong when `heard` came and the end of a message did not; `None` if nothing came.
    pub fn hint(&self, heard: &[u8]) -> Option<String> {
        if let Some(inquiry) = self.inquiry().filter(|inquiry| inquiry.is_pending()) {
            return Some(format!("{} came, but {} has not returned", bytes(heard.len()), inquiry.name()));
        }
        if heard.is_empty() { None } else { Some(self.kind().hint(heard)) }
    }

    /// Whether it wants a pipe that keeps packets apart.
    pub fn wants_packets(&self) -> bool {
        matches!(self, Framing::Packets(_))
    }

    /// Whether code of the user's own is asked.
    pub fn asks(&self) -> bool {
        self.inquiry().is_some()
    }

    /// Where the user's code is asked, if it is.
    fn inquiry(&self) -> Option<&Inquiry> {
        match self {
            Framing::Own(own) => Some(own.inquiry()),
            other => other.kind().checksum().and_then(Checksum::inquiry),
        }
    }
}

/// A message that was taken out of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub body: Bytes,
    /// As it came, with its end.
    pub wire: Bytes,
}

macro_rules! from {
    ($($kind:ident)*) => {
        $(impl From<$kind> for Framing {
            fn from(framing: $kind) -> Framing {
                Framing::$kind(Arc::new(framing))
            }
        })*
    };
}

from! { Lines Fixed LengthPrefixed Enclosed IeeeBlock ModbusRtu UntilQuiet Stuffed Packets Own }
