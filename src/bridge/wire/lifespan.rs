//! A link and the lifespan that opened it: in whose place something is asked, and who has the line when the lifespan ends.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::super::values::span;
use super::Wire;
use crate::lifecycle;
use crate::link::job::{Asker, Closing, Request};

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

/// At the end of the process: in so many seconds these links are parked and closed, whatever Python does then. No thread of Python's could
/// do that: it starts none any more.
#[pyfunction]
pub(in crate::bridge) fn park_in(wires: Vec<Bound<'_, Wire>>, seconds: f64) -> PyResult<()> {
    let (span, links) = (span(seconds)?, wires.iter().map(|wire| wire.get().link().clone()).collect::<Vec<_>>());
    if let Some(engine) = lifecycle::started() {
        engine.spawn("parking", async move {
            engine.clock().sleep(span).await;
            for link in links {
                link.end(Closing::Exit);
            }
        });
    }
    Ok(())
}

/// Whether somebody is being answered, waits, or is owed something.
#[pyfunction]
pub(in crate::bridge) fn is_busy(wire: &Bound<'_, Wire>) -> bool {
    wire.get().link().is_busy()
}
