//! What an operation does while it is awaited, whatever that is: a ticket of a link, a place in a queue, an item of a channel.

use std::task::{Context, Poll};

use pyo3::prelude::*;

use crate::error::LinkError;
use crate::link::ticket::{Answer, Pending};
use crate::sync::Trouble;

/// Makes the value in Python, on the awaiting thread. Dropped uncalled, it gives back what it had taken.
pub(super) type Make = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// What an operation gives.
pub(super) enum Value {
    Wire(Answer),
    Made(Make),
}

/// Why it gave nothing.
pub(super) enum Refusal {
    Link(LinkError),
    Sync(Trouble),
}

impl From<LinkError> for Refusal {
    fn from(error: LinkError) -> Refusal {
        Refusal::Link(error)
    }
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Refusal {
        Refusal::Sync(trouble)
    }
}

/// How an operation ends.
pub(super) type Verdict = Result<Value, Refusal>;

/// Work under way.
pub(super) trait Work: Send {
    /// Claims the verdict, or leaves `cx`'s waker to be woken when there is one. Not polled again after it was ready.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict>;

    /// Asks for an early end. The verdict still has to be awaited: it comes when the work has ended.
    fn cancel(&mut self);

    /// Whether only a task or a thread can end it. The engine ends all other work by itself.
    fn is_between_tasks(&self) -> bool {
        true
    }
}

impl<P: Pending> Work for P {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        self.poll_claim(cx).map(|verdict| verdict.map(Value::Wire).map_err(Refusal::Link))
    }

    fn cancel(&mut self) {
        Pending::cancel(self);
    }

    fn is_between_tasks(&self) -> bool {
        false
    }
}

/// Work that was not begun.
pub(super) type Start = Box<dyn FnOnce() -> Result<Box<dyn Work>, Refusal> + Send>;
