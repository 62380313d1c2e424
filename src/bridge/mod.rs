//! The only place that says `pyo3`: Rust work becomes Python awaitables, Rust errors become Python exceptions.

mod answer;
mod blocking;
mod channel;
mod clerk;
mod devices;
mod doorbell;
mod engine;
mod errors;
mod event;
mod faults;
mod framing;
mod inside;
mod label;
mod living;
mod open;
mod operation;
mod options;
mod owner;
mod places;
mod port;
mod question;
mod remote;
mod simulation;
mod sleep;
mod stream;
mod supervisor;
mod turns;
mod usb;
mod values;
mod whose;
mod wire;
mod work;

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
    module.add_class::<simulation::PyScript>()?;
    module.add_class::<simulation::PyPart>()?;
    module.add_class::<faults::PyFault>()?;
    module.add_class::<framing::PyFraming>()?;
    module.add_class::<framing::PyChecksum>()?;
    module.add_class::<clerk::Errand>()?;
    module.add_class::<values::PyPattern>()?;
    module.add_class::<question::PyAbort>()?;
    module.add_class::<question::PyMore>()?;
    module.add_class::<wire::Wire>()?;
    module.add_class::<supervisor::Supervisor>()?;
    module.add_class::<living::Living>()?;
    module.add_class::<places::PyPlaces>()?;
    module.add_class::<places::Taking>()?;
    module.add_class::<event::PyEvent>()?;
    module.add_class::<channel::PyChannel>()?;
    module.add_class::<channel::PySender>()?;
    module.add_function(wrap_pyfunction!(living::census, module)?)?;
    module.add_function(wrap_pyfunction!(owner::who, module)?)?;
    module.add_function(wrap_pyfunction!(owner::let_go, module)?)?;
    module.add_function(wrap_pyfunction!(owner::task_ended, module)?)?;
    module.add_function(wrap_pyfunction!(owner::loop_closed, module)?)?;
    module.add_function(wrap_pyfunction!(sleep::sleep, module)?)?;
    module.add_function(wrap_pyfunction!(sleep::sleep_until, module)?)?;
    module.add_function(wrap_pyfunction!(whose::block_on, module)?)?;
    module.add_function(wrap_pyfunction!(whose::runs_a_loop, module)?)?;
    module.add_function(wrap_pyfunction!(whose::is_blocking, module)?)?;
    module.add_function(wrap_pyfunction!(whose::in_trio, module)?)?;
    module.add_function(wrap_pyfunction!(open::serial_link, module)?)?;
    module.add_function(wrap_pyfunction!(open::tcp_link, module)?)?;
    module.add_function(wrap_pyfunction!(remote::rfc2217_link, module)?)?;
    module.add_function(wrap_pyfunction!(usb::usb_link, module)?)?;
    module.add_function(wrap_pyfunction!(open::simulated_link, module)?)?;
    module.add_function(wrap_pyfunction!(devices::simulated_devices, module)?)?;
    module.add_function(wrap_pyfunction!(values::list_ports, module)?)?;
    module.add_function(wrap_pyfunction!(faults::rehearse, module)?)?;
    module.add_function(wrap_pyfunction!(framing::crc_names, module)?)?;
    module.add_function(wrap_pyfunction!(clerk::next_errand, module)?)?;
    module.add_function(wrap_pyfunction!(engine::start, module)?)?;
    module.add_function(wrap_pyfunction!(engine::shut_down, module)?)?;
    module.add_function(wrap_pyfunction!(inside::leave_daemons, module)?)?;
    module.add_function(wrap_pyfunction!(engine::before_fork, module)?)?;
    module.add_function(wrap_pyfunction!(engine::after_fork_in_parent, module)?)?;
    module.add_function(wrap_pyfunction!(engine::after_fork_in_child, module)?)?;
    module.add_function(wrap_pyfunction!(engine::panics, module)?)?;
    module.add_function(wrap_pyfunction!(engine::alive, module)?)?;
    module.add_function(wrap_pyfunction!(engine::next_log_record, module)?)?;
    module.add_function(wrap_pyfunction!(engine::log_wires, module)?)?;
    module.add_function(wrap_pyfunction!(engine::no_op, module)?)?;
    Ok(())
}
