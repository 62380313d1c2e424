//! Whose await it is: a trio task's, an asyncio loop's, or a thread's that blocks.

use std::cell::{Cell, RefCell};

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyWeakrefMethods, PyWeakrefReference};

use super::errors::to_python;
use super::inside::Inside;
use super::port::Port;
use crate::error::LinkError;
use crate::lifecycle;

thread_local! {
    static BLOCKING: Cell<bool> = const { Cell::new(false) };
    /// The loop that was last found running in this thread, and its port; both weakly, for neither is ours to keep.
    static LATEST: RefCell<Option<(Py<PyWeakrefReference>, Py<PyWeakrefReference>)>> = const { RefCell::new(None) };
}

/// Whether this thread was told to block, whatever runs in it.
#[pyfunction]
pub(super) fn is_blocking() -> bool {
    BLOCKING.get()
}

/// The port of the loop that runs in this thread; `None`: there is none, or the thread was told to block.
pub(super) fn running_port(py: Python<'_>) -> PyResult<Option<Py<Port>>> {
    if BLOCKING.get() {
        return Ok(None);
    }
    let Some(event_loop) = running_loop(py)? else { return Ok(None) };
    if let Some(port) = latest(py, &event_loop) {
        return Ok(Some(port));
    }
    static PORT_OF: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let port_of =
        PORT_OF.get_or_try_init(py, || py.import("labtether._ports")?.getattr("port_of").map(Bound::unbind))?;
    let port = port_of.bind(py).call1((&event_loop,))?.cast_into::<Port>()?;
    let found = (PyWeakrefReference::new(&event_loop)?.unbind(), PyWeakrefReference::new(&port)?.unbind());
    let before = LATEST.with(|latest| latest.replace(Some(found)));
    drop(before);
    Ok(Some(port.unbind()))
}

/// The asyncio loop that runs in this thread.
pub(super) fn running_loop(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let running = RUNNING.get_or_try_init(py, || {
        let found = py.import("asyncio.events")?.getattr("_get_running_loop")?;
        Ok::<_, PyErr>(found.unbind())
    })?;
    let event_loop = running.bind(py).call0()?;
    Ok((!event_loop.is_none()).then_some(event_loop))
}

/// Whether a loop runs in this thread: a trio task's or an asyncio one.
#[pyfunction]
pub(super) fn runs_a_loop(py: Python<'_>) -> PyResult<bool> {
    Ok(running_loop(py)?.is_some() || in_trio(py)?)
}

/// The port found last, if it is this loop's.
fn latest(py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> Option<Py<Port>> {
    let (known, port) = LATEST.with(|latest| {
        let latest = latest.borrow();
        latest.as_ref().map(|(known, port)| (known.clone_ref(py), port.clone_ref(py)))
    })?;
    let same = known.bind(py).upgrade().is_some_and(|known| known.is(event_loop));
    if same { port.bind(py).upgrade()?.cast_into::<Port>().ok().map(Bound::unbind) } else { None }
}

/// What awaits an operation in trio, if this is a trio task; `sheltered`: from every scope that is cancelled.
pub(super) fn trio_wait(py: Python<'_>, sheltered: bool) -> PyResult<Option<Bound<'_, PyAny>>> {
    if !in_trio(py)? {
        return Ok(None);
    }
    static WAIT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if sheltered {
        return py.import("labtether._trio")?.getattr("wait_sheltered").map(Some);
    }
    let wait = WAIT.get_or_try_init(py, || py.import("labtether._trio")?.getattr("wait").map(Bound::unbind))?;
    Ok(Some(wait.bind(py).clone()))
}

/// Whether the code that runs belongs to a lifespan that ends.
pub(super) fn parks(py: Python<'_>) -> PyResult<bool> {
    static PARKS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let parks = PARKS.get_or_try_init(py, || py.import("labtether._hosts")?.getattr("parks").map(Bound::unbind))?;
    parks.bind(py).call0()?.is_truthy()
}

/// Whether this is a trio task.
#[pyfunction]
pub(super) fn in_trio(py: Python<'_>) -> PyResult<bool> {
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let modules = MODULES.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?.unbind())
    })?;
    if !modules.bind(py).contains(intern!(py, "trio"))? {
        return Ok(false);
    }
    // trio writes its name there while it runs, in guest mode too; asked first, because asking trio itself costs an exception.
    static RUNNER: PyOnceLock<Option<Py<PyAny>>> = PyOnceLock::new();
    let runner = RUNNER.get_or_init(py, || Some(py.import("sniffio").ok()?.getattr("thread_local").ok()?.unbind()));
    if let Some(runner) = runner
        && runner.bind(py).getattr(intern!(py, "name"))?.is_none()
    {
        return Ok(false);
    }
    static IN_TASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let in_task =
        IN_TASK.get_or_try_init(py, || py.import("trio.lowlevel")?.getattr("in_trio_task").map(Bound::unbind))?;
    in_task.bind(py).call0()?.is_truthy()
}

/// Calls an async function of ours and runs its coroutine to its end on this thread: each operation in it blocks. Whatever else it awaits is
/// an error. Called here and not in Python, so that no interrupt comes between the coroutine and its first step.
#[pyfunction]
#[pyo3(signature = (function, *args, **kwargs))]
pub(super) fn block_on(
    py: Python<'_>,
    function: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    if lifecycle::is_forked() {
        return Err(to_python(py, &LinkError::Forked, false));
    }
    let _inside = Inside::enter(py);
    let coroutine = function.call(args, kwargs)?;
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
