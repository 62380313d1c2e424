//! Bytes to messages and back. Pure: no I/O, no clock, no async, and no text either: what bytes mean is decided
//! further up.
//!
//! # Invariants
//! 1. Any cut of any stream gives the same messages and the same errors: what [`Framing::take`] does depends on the
//!    bytes from the start of a message up to its end, never on how many more have come.
//! 2. Every error removes at least one byte, so that a caller who goes on taking comes to an end.

mod lines;

use std::task::Waker;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

pub use lines::Lines;

use crate::error::{Cause, Shown};

/// How messages are told apart on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A message ends at a terminator.
    Lines(Lines),
}

impl Framing {
    /// What goes on the wire for `body`.
    ///
    /// # Errors
    /// `body` brings an end of its own.
    pub fn encode(&self, body: &[u8]) -> Result<Bytes, BadMessage> {
        match self {
            Framing::Lines(lines) => lines.encode(body),
        }
    }

    /// Takes the first whole message out of `received`, without its terminator.
    /// `None` means "not yet": `received` is left as it was, ready for more bytes.
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
        match self {
            Framing::Lines(lines) => lines.cut(received),
        }
    }

    /// Whoever takes from now on: rung when something outside (a checksum in Python, say) has been worked out, and taking again may
    /// give more. Nothing to do for a framing that asks nobody.
    pub fn attend(&self, ring: &Waker) {
        let _ = ring;
    }

    /// How long the line has to be silent for what has come to be a message, where silence ends one.
    pub fn quiet(&self) -> Option<Duration> {
        None
    }

    /// The line has been silent for so long: what has come is a message.
    ///
    /// # Errors
    /// As [`Framing::take`].
    pub fn cut_quiet(&self, received: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        let _ = received;
        Ok(None)
    }

    /// In words, for messages to people: "lines ending in '\r\n'".
    pub fn describe(&self) -> String {
        match self {
            Framing::Lines(lines) => lines.describe(),
        }
    }

    /// What may be wrong when `heard` came and the end of a message did not; `None` if nothing came.
    pub fn hint(&self, heard: &[u8]) -> Option<String> {
        match self {
            Framing::Lines(lines) => lines.hint(heard),
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

impl From<Lines> for Framing {
    fn from(lines: Lines) -> Framing {
        Framing::Lines(lines)
    }
}

/// The instrument's doing: what came cannot be a message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// No end of a message where there should have been one.
    #[error(
        "longer than {limit} bytes; it begins with {} (is the framing right? else raise max_length)",
        Shown(beginning)
    )]
    TooLong {
        /// The most that a body may have.
        limit: usize,
        /// The first few bytes of it.
        beginning: Bytes,
    },
    /// The user's own code raised something.
    #[error("{what} raised {raised}")]
    Raised {
        /// Whose: "the framing's take()".
        what: String,
        /// In words.
        raised: String,
        /// What it raised.
        cause: Cause,
    },
}

impl FrameError {
    /// What the user's code raised, if it was that.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            FrameError::Raised { cause, .. } => Some(cause.clone()),
            FrameError::TooLong { .. } => None,
        }
    }
}

/// The caller's doing: what was to be sent is not a body.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadMessage {
    /// The link terminates what it sends.
    #[error(
        "{} already ends in {}: the link adds the terminator {}; leave it off",
        Shown(body),
        Shown(found),
        Shown(added)
    )]
    AlreadyTerminated {
        /// What was to be sent.
        body: Bytes,
        /// The terminator that it ends in.
        found: Bytes,
        /// The terminator that is added to it.
        added: Bytes,
    },
}

/// The caller's doing: such a framing cannot work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadFraming {
    /// None was given.
    #[error("lines need at least one terminator")]
    NoTerminator,
    /// One has no bytes.
    #[error("a terminator must have at least one byte")]
    EmptyTerminator,
    /// One was given twice.
    #[error("the terminator {} is given twice", Shown(.0))]
    Repeated(Bytes),
    /// Wherever the long one stands, the short one has ended the message before.
    #[error("the terminator {} begins with another one, {}, and so would never be found", Shown(long), Shown(short))]
    Hidden {
        /// The one that would never be found.
        long: Bytes,
        /// The one that hides it.
        short: Bytes,
    },
    /// Nothing would ever fit.
    #[error("max_length must be at least 1")]
    NoLength,
}
