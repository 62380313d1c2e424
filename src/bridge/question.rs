//! What a question carries besides its command: made in Python only where it is needed, and checked there.

use std::time::Duration;

use bytes::Bytes;
use pyo3::prelude::*;

use super::values::{PyPattern, span};
use crate::link::question::{Abort, Question};

/// A message that stops what the instrument does, framed for its link.
#[pyclass(frozen, name = "Abort", module = "labtether._core")]
pub(super) struct PyAbort(pub(super) Abort);

/// See the module.
#[pyclass(frozen, name = "More", module = "labtether._core")]
#[derive(Clone)]
pub(super) struct PyMore {
    id: Option<Bytes>,
    accept: Option<regex::bytes::Regex>,
    abort: Option<Abort>,
    finish: bool,
    idempotent: bool,
}

#[pymethods]
impl PyMore {
    #[new]
    #[pyo3(signature = (id, accept, abort, finish, idempotent))]
    fn new(
        id: Option<Vec<u8>>,
        accept: Option<&Bound<'_, PyPattern>>,
        abort: Option<&Bound<'_, PyAbort>>,
        finish: bool,
        idempotent: bool,
    ) -> PyMore {
        PyMore {
            id: id.map(Bytes::from),
            accept: accept.map(|accept| accept.get().0.clone()),
            abort: abort.map(|abort| abort.get().0.clone()),
            finish,
            idempotent,
        }
    }
}

impl PyMore {
    /// `question`, with all of it.
    pub(super) fn of(&self, question: Question) -> Question {
        let PyMore { id, accept, abort, finish, idempotent } = self.clone();
        Question { id, accept, abort, finish, idempotent, ..question }
    }
}

/// How long one who leaves such a question may have to wait, besides the time that every cancelled await has.
pub(super) fn patience(question: &Question, limit: Duration) -> Duration {
    let abort = question.abort.as_ref().map_or(Duration::ZERO, |abort| abort.limit);
    if question.finish { limit.max(abort) } else { abort }
}

/// An abort of `command`, which goes out as `frame`.
pub(super) fn abort(
    command: &[u8],
    frame: Bytes,
    reply: Option<&Bound<'_, PyPattern>>,
    limit: f64,
) -> PyResult<PyAbort> {
    let reply = reply.map(|reply| reply.get().0.clone());
    Ok(PyAbort(Abort { command: Bytes::copy_from_slice(command), frame, reply, limit: span(limit)? }))
}
