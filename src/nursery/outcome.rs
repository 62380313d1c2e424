//! How a piece of work ended, as a value. Nothing here runs anything.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Why a child counts as failed.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It returned an error.
    Error(Arc<dyn Error + Send + Sync>),
    /// It panicked; the text is the panic's.
    Panic(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Error(error) => error.fmt(f),
            Fault::Panic(message) => write!(f, "panicked: {message}"),
        }
    }
}

/// One child's failure.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The child's name.
    pub child: Arc<str>,
    /// What went wrong.
    pub fault: Fault,
}

/// How one child ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// It returned of its own accord.
    Done,
    /// It failed.
    Failed(Fault),
    /// It was still running when the grace period was over, and was dropped where it stood.
    Aborted,
}

/// How a nursery ended. Published only when nothing of it is left.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Every child returned.
    Ok,
    /// At least one child failed, in the order in which they did.
    Failed(Vec<Failure>),
    /// It was cancelled, and no child failed on the way out.
    Cancelled(Arc<str>),
}

/// Whether this thread is unwinding: what is dropped now was not ended, it was torn down.
pub fn is_unwinding() -> bool {
    std::thread::panicking()
}

/// What a panic said, as far as it was text.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
