//! What can be wrong with what came, with what is to be sent, and with a framing itself.

use bytes::Bytes;
use thiserror::Error;

use super::oracle::Fault;
use crate::error::{Cause, Shown};

/// How much of what was unreadable its error shows.
const BEGINNING: usize = 40;

/// A copy of the first bytes: the error may be kept for long, and must not hold on to the whole buffer.
pub(super) fn beginning(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes.get(..BEGINNING).unwrap_or(bytes))
}

/// "1 byte", "2 bytes".
pub(super) fn bytes(count: usize) -> String {
    format!("{count} byte{}", if count == 1 { "" } else { "s" })
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
    /// Something came where a message should have begun.
    #[error("{} before {}: {}", bytes(*count), Shown(start), Shown(beginning))]
    Junk {
        /// What messages begin with.
        start: Bytes,
        /// How many bytes there were.
        count: usize,
        /// The first few of them.
        beginning: Bytes,
    },
    /// It has the bounds of a message, and cannot be one.
    #[error("{why}: {}", Shown(beginning))]
    Broken {
        /// In words.
        why: String,
        /// The first few bytes of it.
        beginning: Bytes,
    },
    /// It was garbled on its way.
    #[error("wrong checksum: {given} came, but {name} of {} is {computed}", Shown(beginning))]
    Checksum {
        /// Which checksum.
        name: String,
        /// The one that came, in hexadecimal digits.
        given: String,
        /// The one that what came has, in hexadecimal digits.
        computed: String,
        /// The first few bytes of what it was computed from.
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
            FrameError::TooLong { .. }
            | FrameError::Junk { .. }
            | FrameError::Broken { .. }
            | FrameError::Checksum { .. } => None,
        }
    }

    pub(super) fn too_long(limit: usize, what: &[u8]) -> FrameError {
        FrameError::TooLong { limit, beginning: beginning(what) }
    }

    pub(super) fn junk(start: &Bytes, what: &[u8]) -> FrameError {
        FrameError::Junk { start: start.clone(), count: what.len(), beginning: beginning(what) }
    }

    pub(super) fn broken(why: impl Into<String>, what: &[u8]) -> FrameError {
        FrameError::Broken { why: why.into(), beginning: beginning(what) }
    }
}

impl From<Fault> for FrameError {
    fn from(fault: Fault) -> FrameError {
        let Fault { what, raised, cause, .. } = fault;
        FrameError::Raised { what, raised, cause }
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
    /// There is no way to say it in this framing.
    #[error("{} {why}", Shown(body))]
    Unfit {
        /// What was to be sent.
        body: Bytes,
        /// In words that go on from it: "contains '\x03', which ends a message".
        why: String,
    },
    /// The user's own code raised something.
    #[error("{what} raised {raised}")]
    Raised {
        /// Whose: "the framing's encode()".
        what: String,
        /// In words.
        raised: String,
        /// What it raised.
        cause: Cause,
    },
}

impl BadMessage {
    /// What the user's code raised, if it was that.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            BadMessage::Raised { cause, .. } => Some(cause.clone()),
            BadMessage::AlreadyTerminated { .. } | BadMessage::Unfit { .. } => None,
        }
    }

    pub(super) fn unfit(body: &[u8], why: impl Into<String>) -> BadMessage {
        BadMessage::Unfit { body: Bytes::copy_from_slice(body), why: why.into() }
    }
}

impl From<Fault> for BadMessage {
    fn from(fault: Fault) -> BadMessage {
        let Fault { what, raised, cause, .. } = fault;
        BadMessage::Raised { what, raised, cause }
    }
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
    /// Something has no size.
    #[error("{0} must be at least 1")]
    Nothing(&'static str),
    /// A length field of no possible size.
    #[error("the size of a length field is 1, 2, 3 or 4 bytes, not {0}")]
    FieldSize(usize),
    /// Something with no bytes.
    #[error("{0} must have at least one byte")]
    Empty(&'static str),
    /// The escape is part of what it is to take the meaning from.
    #[error("the escape byte {} is part of {}, which then could never be found", Shown(escape), Shown(mark))]
    EscapeInMark {
        /// The escape byte.
        escape: Bytes,
        /// What it is part of.
        mark: Bytes,
    },
    /// Two settings that exclude each other.
    #[error("{0}")]
    Excluded(&'static str),
    /// Not in the catalogue.
    #[error("there is no CRC {0:?} in the catalogue")]
    NoSuchCrc(String),
}
