//! What Python has to do for the engine: end it, tell it about forks, read its log.

use std::sync::{Arc, OnceLock};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::clerk;
use super::errors::to_python;
use super::inside::begin_to_end;
use super::label::Label;
use super::operation::Operation;
use super::values::span;
use super::work::Work;
use crate::lifecycle::{self, engine};
use crate::link::log::{Level, want_wire};
use crate::link::ticket::{Answer, next_id, ticket};

/// Starts the runtime thread, if it does not run yet.
#[pyfunction]
pub(super) fn start(py: Python<'_>) -> PyResult<()> {
    let started = py.detach(engine);
    started.map_err(|error| to_python(py, &error, true))?;
    if let Some(runtime) = lifecycle::runtime() {
        // Interop crates ask this holder for a runtime; ours is the one. It is refused if it has one, which is this one.
        let _ = pyo3_async_runtimes::tokio::init_with_runtime(runtime);
    }
    Ok(())
}

/// Ends everything, within two seconds, of which `spent` have gone. Returns the names of what did not end.
#[pyfunction]
pub(super) fn shut_down(py: Python<'_>, spent: f64) -> PyResult<Vec<String>> {
    begin_to_end();
    let spent = span(spent)?;
    let mut left = py.detach(|| lifecycle::shut_down(spent));
    left.extend(clerk::close(py));
    Ok(left)
}

/// Registered with `os.register_at_fork`.
#[pyfunction]
pub(super) fn before_fork() {
    lifecycle::before_fork();
}

/// Registered with `os.register_at_fork`.
#[pyfunction]
pub(super) fn after_fork_in_parent() {
    lifecycle::after_fork_in_parent();
}

/// Registered with `os.register_at_fork`.
#[pyfunction]
pub(super) fn after_fork_in_child() {
    lifecycle::after_fork_in_child();
}

/// How many Rust panics this process has seen.
#[pyfunction]
pub(super) fn panics() -> u64 {
    lifecycle::panics()
}

/// A number that nothing else has: for what is rung through a port.
#[pyfunction]
pub(super) fn next_key() -> u64 {
    next_id()
}

/// Who is alive, as a tree in words, and how many there are.
#[pyfunction]
pub(super) fn alive() -> (String, usize) {
    lifecycle::started().map_or_else(|| (String::new(), 0), |engine| (engine.tree(), engine.alive()))
}

/// A line for Python's log: the number of its level, what it is about, what it says, its fields.
type LogRow<'py> = (u32, &'static str, String, Bound<'py, PyDict>);

/// Blocks until something was logged; None: no more will come.
#[pyfunction]
pub(super) fn next_log_record(py: Python<'_>) -> PyResult<Option<LogRow<'_>>> {
    let Some(engine) = lifecycle::started() else { return Ok(None) };
    let book = engine.logbook().clone();
    let Some(line) = py.detach(move || book.next()) else { return Ok(None) };
    // The numbers of Python's logging module.
    let level = match line.level {
        Level::Debug => 10,
        Level::Info => 20,
        Level::Warning => 30,
        Level::Error => 40,
    };
    let fields = PyDict::new(py);
    if let Some((link, port)) = &line.link {
        fields.set_item("link", &**link)?;
        fields.set_item("port", &**port)?;
    }
    if let Some(traffic) = &line.traffic {
        fields.set_item("time", traffic.at.epoch.as_secs_f64())?;
        fields.set_item("direction", traffic.direction)?;
        fields.set_item("data", PyBytes::new(py, &traffic.data))?;
    }
    Ok(Some((level, line.topic.word(), line.text, fields)))
}

/// Whether what goes over the wires is logged.
#[pyfunction]
pub(super) fn log_wires(wanted: bool) {
    want_wire(wanted);
}

/// A task that does nothing on the runtime, awaited: the least the bridge can cost. For benchmarks and for tests of the bridge.
#[pyfunction]
pub(super) fn no_op() -> Operation {
    static NAME: OnceLock<Arc<str>> = OnceLock::new();
    let name = NAME.get_or_init(|| Arc::from("nothing")).clone();
    Operation::new(
        Label::on("nothing", &name),
        true,
        Box::new(move || {
            let (ticket, reply) = ticket(next_id(), &name, None);
            engine()?.spawn("nothing", async move { reply.give(Ok(Answer::Nothing)) });
            Ok(Box::new(ticket) as Box<dyn Work>)
        }),
    )
}
