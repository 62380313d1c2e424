//! The only place that says `pyo3`: Rust work becomes Python awaitables, Rust errors become Python exceptions.

mod answer;
mod doorbell;
mod engine;
mod errors;
mod inside;
mod label;
mod operation;
mod options;
mod port;
mod simulation;
mod stream;
mod values;
mod whose;
mod wire;

use pyo3::prelude::*;

/// The native half of labtether. Everything a user touches is in the Python package around it.
#[pymodule(gil_used = true)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("CANCEL_TIMEOUT", operation::CANCEL_TIMEOUT.as_secs_f64())?;
    module.add_class::<operation::Operation>()?;
    module.add_class::<port::Port>()?;
    module.add_class::<stream::Stream>()?;
    module.add_class::<simulation::Simulation>()?;
    module.add_class::<values::PyFraming>()?;
    module.add_class::<values::PyPattern>()?;
    module.add_class::<wire::Wire>()?;
    module.add_function(wrap_pyfunction!(whose::block_on, module)?)?;
    module.add_function(wrap_pyfunction!(values::list_ports, module)?)?;
    module.add_function(wrap_pyfunction!(engine::start, module)?)?;
    module.add_function(wrap_pyfunction!(engine::shut_down, module)?)?;
    module.add_function(wrap_pyfunction!(inside::leave_daemons, module)?)?;
    module.add_function(wrap_pyfunction!(engine::before_fork, module)?)?;
    module.add_function(wrap_pyfunction!(engine::after_fork_in_parent, module)?)?;
    module.add_function(wrap_pyfunction!(engine::after_fork_in_child, module)?)?;
    module.add_function(wrap_pyfunction!(engine::panics, module)?)?;
    module.add_function(wrap_pyfunction!(engine::alive, module)?)?;
    module.add_function(wrap_pyfunction!(engine::next_log_record, module)?)?;
    module.add_function(wrap_pyfunction!(engine::no_op, module)?)?;
    Ok(())
}
