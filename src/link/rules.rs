//! What a link's owner decided for good: how messages end, what they mean, how long things may take. Data, and small questions to it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use regex::bytes::{Captures, Regex};

use crate::framing::Framing;
use crate::framing::oracle::Inquiry;

/// See the module.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The link's name.
    pub name: Arc<str>,
    /// The port in words.
    pub port: Arc<str>,
    /// How messages end; `None`: raw bytes.
    pub framing: Option<Framing>,
    /// The time limit of an exchange, where none is given.
    pub limit: Duration,
    /// How long past its deadline an owed reply is waited for.
    pub drain: Duration,
    /// How long the line has to be quiet after something unexpected.
    pub settle: Duration,
    /// How to get back in step at once; `None`: by waiting.
    pub resync: Option<Resync>,
    /// What tells a reply's command, where several may be in flight.
    pub ids: Option<IdOf>,
    /// Whether the instrument repeats what it hears.
    pub echo: Echo,
    /// Messages that are never a reply.
    pub unsolicited: Option<Regex>,
    /// Replies that are an error.
    pub error: Option<Regex>,
    /// Replies that say "busy".
    pub busy: Option<Regex>,
    /// What is said while nobody says anything.
    pub keepalive: Option<KeepAlive>,
    /// How a slow instrument is spoken to.
    pub pacing: Pacing,
    /// Whether and how a lost port is opened again.
    pub reconnect: Option<Reconnect>,
}

impl Default for Rules {
    /// Raw bytes, one question at a time, the times of the design.
    fn default() -> Rules {
        Rules {
            name: Arc::from(""),
            port: Arc::from(""),
            framing: None,
            limit: Duration::from_secs(5),
            drain: Duration::from_secs(1),
            settle: Duration::from_millis(20),
            resync: None,
            ids: None,
            echo: Echo::None,
            unsolicited: None,
            error: None,
            busy: None,
            keepalive: None,
            pacing: Pacing::default(),
            reconnect: None,
        }
    }
}

/// How to get back in step at once when a reply is owed.
#[derive(Clone, Debug)]
pub enum Resync {
    /// A command with a known answer: everything up to it is dropped.
    Command {
        /// As given.
        command: Bytes,
        /// As written.
        frame: Bytes,
        /// What its answer looks like.
        answer: Regex,
    },
    /// A break of this length resets the instrument.
    Break(Duration),
    /// The port is closed and opened again.
    Reopen,
}

/// Where in a message its id is.
#[derive(Clone, Debug)]
pub enum IdOf {
    /// The first group of this pattern.
    Group(Regex),
    /// These bytes.
    Slice(Range<usize>),
    /// Where a function of the user's says. No id is an empty one.
    Asked(Inquiry),
}

impl IdOf {
    /// The id in `body`, if it has one and that can be said here.
    pub fn of(&self, body: &Bytes) -> Option<Bytes> {
        match self {
            IdOf::Group(pattern) => {
                let group = pattern.captures(body)?.get(1)?;
                Some(body.slice(group.range()))
            }
            IdOf::Asked(_) => None,
            IdOf::Slice(range) => body.get(range.clone()).map(|id| body.slice_ref(id)),
        }
    }
}

/// Whether the instrument repeats what it hears, before its reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Echo {
    /// It does not.
    #[default]
    None,
    /// Byte by byte, the terminator too.
    Bytes,
    /// As a message of its own.
    Line,
}

/// A command that keeps an idle instrument awake.
#[derive(Clone, Debug)]
pub struct KeepAlive {
    /// As given.
    pub command: Bytes,
    /// As written.
    pub frame: Bytes,
    /// How its reply ends; `None`: it has none.
    pub reply: Option<Framing>,
    /// What its reply carries, on a link that matches by id.
    pub id: Option<Bytes>,
    /// After so much silence.
    pub every: Duration,
}

/// How fast a slow instrument is spoken to.
#[derive(Clone, Copy, Debug)]
pub struct Pacing {
    /// From the last byte in either direction to the next command.
    pub gap: Duration,
    /// From one chunk to the next.
    pub char_delay: Duration,
    /// Bytes in a chunk.
    pub chunk: usize,
}

impl Default for Pacing {
    fn default() -> Pacing {
        Pacing { gap: Duration::ZERO, char_delay: Duration::ZERO, chunk: 1 }
    }
}

/// Whether and how a lost port is opened again.
#[derive(Clone, Debug)]
pub struct Reconnect {
    /// Before the first attempt.
    pub first: Duration,
    /// The wait grows by this factor each time.
    pub factor: f64,
    /// And never beyond this.
    pub limit: Duration,
    /// After so long in vain the link is lost for good.
    pub give_up: Option<Duration>,
}

/// The code and the text that a pattern finds in a reply, under those names.
pub(super) fn code_and_text(pattern: &Regex, reply: &Bytes) -> Option<(Option<Bytes>, Option<Bytes>)> {
    let found = pattern.captures(reply)?;
    let part = |found: &Captures<'_>, name| found.name(name).map(|part| reply.slice(part.range()));
    Some((part(&found, "code"), part(&found, "text")))
}
