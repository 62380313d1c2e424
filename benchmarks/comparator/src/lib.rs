//! The same no-op as `labtether._core.no_op`, through `future_into_py`: a task that does nothing, on a tokio runtime of one thread.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3_async_runtimes::tokio::{future_into_py, get_runtime, init};

/// Module of the comparator.
#[pymodule]
fn labtether_comparator(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all();
    init(runtime);
    std::thread::Builder::new()
        .name("comparator".to_owned())
        .spawn(|| get_runtime().block_on(std::future::pending::<()>()))
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    module.add_function(wrap_pyfunction!(no_op, module)?)
}

/// A task that does nothing, awaited.
#[pyfunction]
fn no_op(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    future_into_py(py, async { Ok(()) })
}
