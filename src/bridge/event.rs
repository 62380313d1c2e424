//! Events as Python sees them.

use std::sync::Arc;
use std::task::{Context, Poll};

use pyo3::prelude::*;

use super::label::Label;
use super::operation::Operation;
use super::port::locally;
use super::work::{Value, Verdict, Work};
use crate::link::ticket::Answer;
use crate::sync::Trouble;
use crate::sync::event::{Event, Wait};

/// See the module.
#[pyclass(frozen, weakref, name = "Event", module = "labtether._core")]
pub(super) struct PyEvent {
    event: Arc<Event>,
    name: Arc<str>,
}

struct Waiting {
    wait: Wait,
    cancelled: bool,
}

impl Work for Waiting {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        if self.cancelled {
            return Poll::Ready(Err(Trouble::Cancelled.into()));
        }
        self.wait.poll(cx).map(|()| Ok(Value::Wire(Answer::Nothing)))
    }

    fn cancel(&mut self) {
        self.cancelled = true;
    }
}

impl PyEvent {
    /// The event itself, for Rust work that sets it.
    pub(super) fn shared(&self) -> Arc<Event> {
        self.event.clone()
    }
}

#[pymethods]
impl PyEvent {
    #[new]
    fn new(name: &str) -> PyEvent {
        PyEvent { event: Event::new(), name: Arc::from(name) }
    }

    /// It happens. Whether this was the call that did it.
    fn set(&self, py: Python<'_>) -> PyResult<bool> {
        locally(py, || self.event.set())
    }

    /// Whether it has happened.
    fn is_set(&self) -> bool {
        self.event.is_set()
    }

    /// How many wait for it.
    fn waiting(&self) -> usize {
        self.event.waiting()
    }

    /// Waits for it.
    fn wait(&self) -> Operation {
        let event = self.event.clone();
        Operation::new(
            Label::of("waiting for", &self.name),
            true,
            Box::new(move || Ok(Box::new(Waiting { wait: event.wait(), cancelled: false }) as Box<dyn Work>)),
        )
    }
}
