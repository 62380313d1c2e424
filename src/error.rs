//! What went wrong and whose move it is. Errors carry evidence; how they read in Python is decided in `bridge/errors.rs`.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

/// What was known when it went wrong.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The link's name.
    pub link: Arc<str>,
    /// The port: a path, or host and port.
    pub port: Arc<str>,
    /// What was asked, as it was given, before framing.
    pub command: Option<Bytes>,
    /// What had come in answer, as far as it had come.
    pub heard: Bytes,
    /// How long it took to fail, from the first byte written (or from the call, where nothing was).
    pub elapsed: Option<Duration>,
    /// The last events on the wire, oldest first, one readable line each.
    pub tail: Vec<String>,
}

/// Why a port did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenKind {
    /// There is no such port, or no such host.
    Missing,
    /// Several ports answer the description.
    Ambiguous,
    /// The user may not open it.
    Permission,
    /// Another process has it.
    InUse,
    /// The other side said no, or did not answer.
    Refused,
    /// A setting that the device cannot take.
    Unsupported,
}

impl OpenKind {
    /// The word that Python code compares with.
    pub const fn word(self) -> &'static str {
        match self {
            OpenKind::Missing => "missing",
            OpenKind::Ambiguous => "ambiguous",
            OpenKind::Permission => "permission",
            OpenKind::InUse => "in_use",
            OpenKind::Refused => "refused",
            OpenKind::Unsupported => "unsupported",
        }
    }
}

/// Why a port did not open, as a transport tells it.
#[derive(Clone, Debug, Error)]
#[error("{why}")]
pub struct OpenError {
    /// What sort of failure.
    pub kind: OpenKind,
    /// In words, with what the user can do about it; does not repeat the port.
    pub why: String,
    /// The system's number for it, where there is one.
    pub errno: Option<i32>,
}

impl OpenError {
    /// An error of `kind` that no system call reported.
    pub fn new(kind: OpenKind, why: impl Into<String>) -> OpenError {
        OpenError { kind, why: why.into(), errno: None }
    }
}

/// What the instrument did of an exchange that was cut short, as far as the wire can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Not one byte of it was written.
    NeverStarted,
    /// It was stopped: the abort was confirmed, or the reply to what was asked says that it was not finished.
    Halted,
    /// It was stopped between two commands: all that had been asked was answered, and nothing more was sent.
    HaltedAtBoundary,
    /// It was written, and its reply has come.
    RanToCompletion,
    /// It was written, in whole or in part, and nothing is known of what it did.
    Unconfirmed,
}

impl Effect {
    /// The word that Python code compares with.
    pub const fn word(self) -> &'static str {
        match self {
            Effect::NeverStarted => "never_started",
            Effect::Halted => "halted",
            Effect::HaltedAtBoundary => "halted_at_boundary",
            Effect::RanToCompletion => "ran_to_completion",
            Effect::Unconfirmed => "unconfirmed",
        }
    }
}

/// What the user's own code raised, on its way to whoever hears of it. Only the bridge knows what it is.
#[derive(Clone)]
pub struct Cause(pub Arc<dyn Any + Send + Sync>);

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cause")
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Cause) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Cause {}

#[expect(missing_docs, reason = "the fields are the evidence, named in each variant's text")]
/// `Closed` and `Busy` are ours to mend, `Open` and `Lost` the world's, `Timeout`, `Frame` and `Instrument` the instrument's.
#[derive(Clone, Debug, Error)]
pub enum LinkError {
    /// Not set up, or stopped.
    #[error("{} is closed: {why}", about.link)]
    Closed { about: Box<Evidence>, why: String },
    /// Another link of this process has the port, or the turn did not come. `lifespan`: whose link has the port, by number; zero: nobody's.
    #[error("{} is busy: {why}", about.link)]
    Busy { about: Box<Evidence>, why: String, lifespan: u64 },
    /// The port did not open.
    #[error("cannot open {}: {cause}", about.port)]
    Open { about: Box<Evidence>, cause: OpenError },
    /// The port went away underneath us.
    #[error("{} is gone ({}): {cause}", about.link, about.port)]
    Lost { about: Box<Evidence>, cause: Arc<io::Error> },
    /// The deadline passed. `hint` says how far things had come.
    #[error("{}{}; {hint}", about.link, Within(about, *limit))]
    Timeout { about: Box<Evidence>, limit: Duration, effect: Effect, hint: String },
    /// What came could not be a message.
    #[error("{} sent something unreadable{}: {why}", about.link, Asked(about))]
    Frame { about: Box<Evidence>, why: String, cause: Option<Cause> },
    /// It answered with an error, or (`busy`) that it is busy and no retry is left.
    #[error("{} answered {} with an error: {}", about.link, About(about), InWords(code.as_ref(), text.as_ref(), reply))]
    Instrument { about: Box<Evidence>, busy: bool, code: Option<Bytes>, text: Option<Bytes>, reply: Bytes },
    /// What was asked cannot be, whatever the instrument does.
    #[error("{why}")]
    Argument { why: String },
    /// Its device cannot do that.
    #[error("{} ({}) cannot do that: {why}", about.link, about.port)]
    Unsupported { about: Box<Evidence>, why: String },
    /// The caller's own cancellation, confirmed. Never leaves the bridge as an error.
    #[error("cancelled ({})", effect.word())]
    Cancelled { effect: Effect, about: Box<Evidence> },
    /// Something did not end when it was told to.
    #[error("{} did not close within {} s: {}", about.link, Seconds(*limit), stuck.join(", "))]
    Cleanup { about: Box<Evidence>, limit: Duration, stuck: Vec<String> },
    /// The scope it was to live in has ended.
    #[error("{scope} has ended: nothing can be started in it")]
    Scope { scope: String },
    /// This process is a fork of the one that opened the link.
    #[error(
        "this process was forked from one that uses labtether, whose threads it did not inherit; \
         use the 'spawn' start method (multiprocessing.set_start_method(\"spawn\"))"
    )]
    Forked,
    /// Something of ours panicked. The message is the panic's.
    #[error("internal error in {task}: {message} (please report this)")]
    Panic { task: String, message: String },
}

impl LinkError {
    /// The same, saying what the instrument did after all.
    pub fn with_effect(mut self, known: Effect) -> LinkError {
        if let LinkError::Timeout { effect, .. } = &mut self {
            *effect = known;
        }
        self
    }

    /// The evidence, where there is any.
    pub fn about(&self) -> Option<&Evidence> {
        match self {
            LinkError::Closed { about, .. }
            | LinkError::Busy { about, .. }
            | LinkError::Open { about, .. }
            | LinkError::Lost { about, .. }
            | LinkError::Timeout { about, .. }
            | LinkError::Frame { about, .. }
            | LinkError::Instrument { about, .. }
            | LinkError::Unsupported { about, .. }
            | LinkError::Cancelled { about, .. }
            | LinkError::Cleanup { about, .. } => Some(about),
            LinkError::Argument { .. } | LinkError::Scope { .. } | LinkError::Forked | LinkError::Panic { .. } => None,
        }
    }
}

#[derive(Clone, Copy)]
struct Within<'a>(&'a Evidence, Duration);

impl fmt::Display for Within<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = Seconds(self.1);
        match &self.0.command {
            Some(command) => write!(f, ": no reply to {} within {limit} s", Shown(command)),
            None => write!(f, ": nothing within {limit} s"),
        }
    }
}

struct About<'a>(&'a Evidence);

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.command {
            Some(command) => Shown(command).fmt(f),
            None => f.write_str("what it was sent"),
        }
    }
}

/// "-113 (Undefined header)", as far as the pattern found code and text; else the whole reply.
struct InWords<'a>(Option<&'a Bytes>, Option<&'a Bytes>, &'a Bytes);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Some(code), Some(text)) => write!(f, "{} ({})", code.escape_ascii(), text.escape_ascii()),
            (Some(one), None) | (None, Some(one)) => write!(f, "{}", one.escape_ascii()),
            (None, None) => Shown(self.2).fmt(f),
        }
    }
}

struct Asked<'a>(&'a Evidence);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.command {
            Some(command) => write!(f, " in answer to {}", Shown(command)),
            None => Ok(()),
        }
    }
}

/// Seconds without needless zeros.
pub struct Seconds(pub Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.3}", self.0.as_secs_f64());
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Bytes as a person reads them on the wire: quoted, control characters escaped, long ones cut in the middle.
pub struct Shown<'a>(pub &'a [u8]);

/// Longest run of bytes that is shown whole.
const SHOWN_WHOLE: usize = 80;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, tail) = (self.0.get(..SHOWN_WHOLE / 2), self.0.get(self.0.len().saturating_sub(SHOWN_WHOLE / 4)..));
        match (head, tail) {
            (Some(head), Some(tail)) if self.0.len() > SHOWN_WHOLE => {
                write!(f, "'{}...{}' ({} bytes)", head.escape_ascii(), tail.escape_ascii(), self.0.len())
            }
            _ => write!(f, "'{}'", self.0.escape_ascii()),
        }
    }
}
