//! What is asked: a command, how its reply ends, and what is to be done if its asker leaves. Data only.

use std::time::Duration;

use bytes::Bytes;
use regex::bytes::Regex;

use crate::framing::Framing;

/// One command, and what is known of its reply.
#[derive(Clone, Debug)]
pub struct Question {
    /// As given.
    pub command: Bytes,
    /// As written.
    pub frame: Bytes,
    /// How the reply ends.
    pub framing: Framing,
    /// What the reply will carry, on a link that matches by id.
    pub id: Option<Bytes>,
    /// Other messages are not its reply: they are somebody else's on the same line.
    pub accept: Option<Regex>,
    /// What is sent if its asker leaves, or its time is up.
    pub abort: Option<Abort>,
    /// An asker who leaves waits for the reply all the same.
    pub finish: bool,
    /// Asked twice it does what it does asked once: after a lost connection it is asked again.
    pub idempotent: bool,
}

impl Question {
    /// A plain one.
    pub fn new(command: Bytes, frame: Bytes, framing: Framing) -> Question {
        Question { command, frame, framing, id: None, accept: None, abort: None, finish: false, idempotent: false }
    }
}

/// A message that stops what the instrument does.
#[derive(Clone, Debug)]
pub struct Abort {
    /// As given.
    pub command: Bytes,
    /// As written.
    pub frame: Bytes,
    /// What its answer looks like; `None`: it has none of its own.
    pub reply: Option<Regex>,
    /// How long its answer is waited for.
    pub limit: Duration,
}
