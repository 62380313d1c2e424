//! What can be asked of an actor. Data only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use regex::bytes::Regex;

use super::feed::Feed;
use super::question::{Abort, Question};
use super::ticket::Reply;
use crate::clock::Moment;
use crate::framing::Framing;
use crate::transport::control::{Change, Control};

/// A letter to the actor.
#[expect(missing_docs, reason = "the fields are what the variant names")]
#[derive(Debug)]
pub enum Request {
    /// Something to do, with a reply to give.
    Do(Job),
    /// The asker of this job has left.
    Cancel(u64),
    /// Somebody claimed a value that others wait behind.
    Claimed,
    /// The exchange is over.
    EndTalk { talk: u64, ending: Ending },
    /// Somebody wants a copy of unasked messages.
    Subscribe { id: u64, pattern: Option<Regex>, feed: Arc<Feed> },
    /// Asks again and again.
    Poll(Poll),
    /// The lifespan around the link has begun to end: from now on the line is its own. Why, for whoever else waits.
    MakeWay(Arc<str>),
    /// Unasked messages that a function of the user's looked at and did not want, oldest first.
    GiveBack(Vec<Bytes>),
    /// A subscription or a poll has no reader any more.
    Unsubscribe(u64),
    /// End of the session.
    Close(Closing),
}

/// How an exchange was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its body ended: what it did not fetch it did not want.
    Clean,
    /// Its body failed: what was sent and not answered is still owed.
    Failed,
    /// Its body was cut short anywhere: at least one more answer may be coming.
    Cancelled,
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// `stop()`, or the end of the scope.
    Stopped,
    /// Nothing refers to it any more.
    Forgotten,
    /// The process ends.
    Exit,
}

/// In whose place something is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asker {
    /// Anybody.
    #[default]
    Anyone,
    /// Whoever readies a new connection: nobody else may ask before.
    Readying,
    /// The lifespan that opened the link, which closes it too.
    Lifespan,
}

/// One thing to do.
#[derive(Debug)]
pub struct Job {
    /// Its ticket's number.
    pub id: u64,
    /// The exchange it is part of.
    pub talk: Option<u64>,
    /// What.
    pub what: What,
    /// How long it may take, counted from the first byte written, or from its turn where it writes nothing.
    pub limit: Duration,
    /// How long it may wait for its turn.
    pub turn: Duration,
    /// When it was asked.
    pub asked: Moment,
    /// In whose place.
    pub asker: Asker,
    /// Where the verdict goes.
    pub reply: Sink,
}

impl Job {
    /// What stops it, where it is a question with an abort.
    pub(super) fn abort(&self) -> Option<&Abort> {
        match &self.what {
            What::Query(question) => question.abort.as_ref(),
            _ => None,
        }
    }
}

/// Where a verdict goes.
#[derive(Debug)]
pub enum Sink {
    /// To a ticket.
    Ticket(Reply),
    /// To a poll, which goes on or ends by it.
    Poll(u64),
    /// To the link itself, which is to be kept awake by it.
    KeepAlive,
}

/// What a job does.
#[expect(missing_docs, reason = "the fields are what the variant names")]
#[derive(Debug)]
pub enum What {
    /// Write a command, give back the reply to it.
    Query(Box<Question>),
    /// Hold the line for a conversation. `place`: where it was begun. `abort`: how it is stopped if it is not left in peace.
    Talk { place: Arc<str>, abort: Option<Box<Abort>> },
    /// In an exchange: leave it, with its abort where that is called for. The answer is the effect.
    Leave(Ending),
    /// Something else than talking.
    Control(Task),
    /// Write.
    Send { command: Bytes, frame: Bytes, urgent: bool, raw: bool },
    /// The next message that was not a reply (in an exchange: that came); others than `pattern` are passed over, others than `accept`
    /// are somebody else's.
    Receive { pattern: Option<Regex>, framing: Option<Framing>, accept: Option<Regex> },
    /// Raw bytes.
    Read(Want),
    /// In an exchange: wait for what its waits that were given up are owed, and drop it.
    CatchUp,
    /// Throw away what has come and was not read.
    Discard,
}

/// What is to be done with the line besides talking.
#[derive(Clone, Debug)]
pub enum Task {
    /// Wait until all that was written has left the machine.
    Drain,
    /// Hold the line in break for so long.
    Break(Duration),
    /// Other settings.
    Configure(Change),
    /// At once, whoever has the line.
    Now(Control),
}

impl Task {
    /// Whether nobody else may have the line meanwhile.
    pub(super) fn wants_line(&self) -> bool {
        matches!(self, Task::Break(_) | Task::Configure(_))
    }
}

/// How many raw bytes.
#[derive(Clone, Debug)]
pub enum Want {
    /// Exactly so many.
    Exactly(usize),
    /// Up to and including this.
    Until(Bytes),
    /// What there is, at least one, at most so many.
    Some(usize),
}

/// A question that is asked at a steady pace.
#[derive(Debug)]
pub struct Poll {
    /// Its number, by which it is ended.
    pub id: u64,
    /// What is asked.
    pub question: Question,
    /// From one asking to the next; zero: as soon as the answer is there.
    pub every: Duration,
    /// How often at most.
    pub count: Option<u64>,
    /// For each reply.
    pub limit: Duration,
    /// For each turn.
    pub turn: Duration,
    /// Whether a failure is passed over instead of ending it.
    pub skip_errors: bool,
    /// In whose place.
    pub asker: Asker,
    /// Where the readings go.
    pub feed: Arc<Feed>,
}
