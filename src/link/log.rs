//! What a link has to say to the log, with fields that can be searched. Where it goes is the caller's business.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::clock::Stamp;

/// How loud a line in the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Traffic.
    Debug,
    /// Worth knowing.
    Info,
    /// Something went wrong that somebody will hear of.
    Warning,
    /// Something of ours is stuck or broken.
    Error,
}

/// What a line is about: the last part of its logger's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// What happens to a link.
    Link,
    /// What goes over a wire.
    Wire,
    /// The log itself.
    Log,
}

impl Topic {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Topic::Link => "link",
            Topic::Wire => "wire",
            Topic::Log => "log",
        }
    }
}

/// One event on a wire.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// When.
    pub at: Stamp,
    /// ">", "<" or "!".
    pub direction: &'static str,
    /// The bytes.
    pub data: Bytes,
}

/// A line for the log.
#[derive(Clone, Debug)]
pub struct Line {
    /// How loud.
    pub level: Level,
    /// About what.
    pub topic: Topic,
    /// What it says.
    pub text: String,
    /// The link's name and port, where it is about one.
    pub link: Option<(Arc<str>, Arc<str>)>,
    /// The event, where it is about one.
    pub traffic: Option<Traffic>,
}

/// Where log lines go; must not block.
pub type Log = Arc<dyn Fn(Line) + Send + Sync>;

static WIRE_WANTED: AtomicBool = AtomicBool::new(false);

/// Whether anybody reads what goes over the wires.
pub fn is_wire_wanted() -> bool {
    WIRE_WANTED.load(Ordering::Relaxed)
}

/// See [`is_wire_wanted`].
pub fn want_wire(wanted: bool) {
    WIRE_WANTED.store(wanted, Ordering::Relaxed);
}
