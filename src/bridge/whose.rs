//! Whose await it is: a trio task's, an asyncio loop's, or a thread's that blocks.

use std::cell::Cell;

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::errors::to_python;
use super::port::Port;
use crate::error::LinkError;
use crate::lifecycle;

thread_local! {
    static BLOCKING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread was told to block, whatever runs in it.
pub(super) fn is_blocking() -> bool {
    BLOCKING.get()
}

/// The port of the loop that runs in this thread; `None`: there is none, or the thread was told to block.
pub(super) fn running_port(py: Python<'_>) -> PyResult<Option<Py<Port>>> {
    if BLOCKING.get() {
        return Ok(None);
    }
    static PORT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let find = PORT.get_or_try_init(py, || py.import("labtether._ports")?.getattr("running").map(Bound::unbind))?;
    let port = find.bind(py).call0()?;
    if port.is_none() { Ok(None) } else { Ok(Some(port.cast_into::<Port>()?.unbind())) }
}

/// What awaits an operation in trio, if this is a trio task.
pub(super) fn trio_wait(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let modules = MODULES.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?.unbind())
    })?;
    if !modules.bind(py).contains(intern!(py, "trio"))? {
        return Ok(None);
    }
    static WAIT: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();
    let (in_trio, wait) = WAIT.get_or_try_init(py, || {
        let module = py.import("labtether._trio")?;
        Ok::<_, PyErr>((module.getattr("in_trio_task")?.unbind(), module.getattr("wait")?.unbind()))
    })?;
    Ok(in_trio.bind(py).call0()?.is_truthy()?.then(|| wait.bind(py).clone()))
}

/// Runs a coroutine of ours to its end on this thread: each operation in it blocks. Whatever else it awaits is an error.
#[pyfunction]
pub(super) fn block_on(py: Python<'_>, coroutine: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    if lifecycle::is_forked() {
        return Err(to_python(py, &LinkError::Forked, false));
    }
    let before = BLOCKING.replace(true);
    let outcome = coroutine.call_method1(intern!(py, "send"), (py.None(),));
    BLOCKING.set(before);
    match outcome {
        Ok(_) => {
            coroutine.call_method0(intern!(py, "close"))?;
            Err(PyRuntimeError::new_err("something other than a labtether operation was awaited in a blocking call"))
        }
        Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
            Ok(error.value(py).getattr(intern!(py, "value"))?.unbind())
        }
        Err(error) => Err(error),
    }
}
