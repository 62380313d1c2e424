//! A link and the lifespan that opened it: in whose place something is asked, and who has the line when the lifespan ends.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::Wire;
use crate::lifecycle;
use crate::link::job::{Asker, Request};

impl Wire {
    /// In whose place something is asked here and now.
    pub(super) fn asker(&self) -> PyResult<Asker> {
        let lifespan = self.link().lifespan();
        if self.first {
            Ok(Asker::Readying)
        } else if lifespan != 0 && Python::attach(|py| is_inside(py, lifespan))? {
            Ok(Asker::Lifespan)
        } else {
            Ok(Asker::Anyone)
        }
    }
}

/// Whether the code that runs is part of lifespan `number`.
fn is_inside(py: Python<'_>, number: u64) -> PyResult<bool> {
    static INSIDE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let inside =
        INSIDE.get_or_try_init(py, || py.import("labtether._hosts")?.getattr("is_inside").map(Bound::unbind))?;
    inside.bind(py).call1((number,))?.is_truthy()
}

/// The link belongs to this lifespan from now on; zero: to none.
#[pyfunction]
pub(in crate::bridge) fn belong_to(wire: &Bound<'_, Wire>, lifespan: u64) {
    wire.get().link().belong_to(lifespan);
}

/// The lifespan around the link has begun to end: whoever else asks is told why. Does nothing if the link is closed.
#[pyfunction]
pub(in crate::bridge) fn make_way(wire: &Bound<'_, Wire>, why: &str) {
    if let Some(engine) = lifecycle::started() {
        // Closed: then nobody waits.
        let _ = wire.get().link().tell(Request::MakeWay(Arc::from(why)), engine.clock());
    }
}

/// Whether somebody is being answered, waits, or is owed something.
#[pyfunction]
pub(in crate::bridge) fn is_busy(wire: &Bound<'_, Wire>) -> bool {
    wire.get().link().is_busy()
}
