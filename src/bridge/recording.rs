//! A recording of a link, for Python: what it has come to, and its end.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyTimeoutError};
use pyo3::prelude::*;

use super::errors::to_python;
use super::wire::Wire;
use crate::lifecycle::{self, engine};
use crate::link::recording::Recording;

/// See the module. Dropping it stops nothing.
#[pyclass(frozen, name = "Recording", module = "labtether._core")]
pub(super) struct PyRecording(pub(super) Recording);

/// How long writing what is left may take.
const PATIENCE: Duration = Duration::from_secs(2);

#[pymethods]
impl PyRecording {
    /// Ends it; all that happened until now is in the file then. Does nothing in a forked child: the parent writes on.
    ///
    /// *Errors*: the file did not take it in time.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        if lifecycle::is_forked() || py.detach(|| self.0.stop(PATIENCE)) {
            return Ok(());
        }
        Err(PyTimeoutError::new_err(format!("the file has not taken it within {} s", PATIENCE.as_secs())))
    }

    /// Its state, events written, bytes of traffic in them, events dropped.
    fn tally(&self) -> (&'static str, u64, u64, u64) {
        if lifecycle::is_forked() {
            // A thread of the parent's may have held its lock in the instant of the fork, and always will.
            return ("stopped", 0, 0, 0);
        }
        let tally = self.0.tally();
        (tally.state, tally.events, tally.bytes, tally.dropped)
    }

    /// Why the file failed: errno, if it has one, and words.
    fn failed(&self) -> Option<(Option<i32>, String)> {
        if lifecycle::is_forked() {
            return None;
        }
        self.0.failed().map(|error| (error.raw_os_error(), error.to_string()))
    }
}

/// Writes all that happens on a link from now on to the file `path`, after the line `header`.
#[pyfunction]
pub(super) fn record(py: Python<'_>, wire: &Bound<'_, Wire>, path: PathBuf, header: &str) -> PyResult<PyRecording> {
    let engine = engine().map_err(|error| to_python(py, &error, true))?;
    let link = wire.get().link();
    let begun = py.detach(|| engine.record(link, &path, header));
    begun.map(PyRecording).map_err(|error| cannot_record(&error, &path.to_string_lossy()))
}

/// As Python's own `open` would raise it: the subclass of OSError that goes with its number.
fn cannot_record(error: &io::Error, path: &str) -> PyErr {
    match error.raw_os_error() {
        Some(number) => {
            let words = error.to_string();
            let words = words.split(" (os error").next().unwrap_or(&words).to_owned();
            PyOSError::new_err((number, words, path.to_owned()))
        }
        None => PyOSError::new_err(error.to_string()),
    }
}
