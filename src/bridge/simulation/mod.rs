//! A simulated instrument on a real pseudo-terminal, for Python: any serial library can be on the other end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::errors::to_python;
use super::values::span;
use crate::lifecycle::{Engine, engine};
use crate::simulate::{Balance, Served, serve};
use crate::transport::pty::Pty;

/// See the module. Ends when it is stopped, or with its last reference.
#[pyclass(frozen, module = "labtether._core")]
pub(super) struct Simulation {
    served: Served,
    path: Mutex<String>,
    over: Arc<AtomicBool>,
}

fn new_pty(engine: &Engine) -> PyResult<(Pty, String)> {
    let _inside = engine.place().runtime.enter();
    Pty::open().map_err(|error| PyOSError::new_err(format!("no pseudo-terminal: {error}")))
}

#[pymethods]
impl Simulation {
    /// A balance that takes `settle` seconds for a stable weight of `grams`.
    #[staticmethod]
    #[pyo3(signature = (grams, settle))]
    fn balance(py: Python<'_>, grams: f64, settle: f64) -> PyResult<Simulation> {
        let engine = engine().map_err(|error| to_python(py, &error, true))?;
        let (pty, path) = new_pty(engine)?;
        let balance = Balance::new().with_load(grams).with_settle(span(settle)?);
        let (served, service) = serve(balance, Box::new(pty), engine.clock().clone());
        let over = Arc::new(AtomicBool::new(false));
        let when_over = over.clone();
        engine.spawn("simulated balance", async move {
            service.await;
            when_over.store(true, Ordering::Release);
        });
        Ok(Simulation { served, path: Mutex::new(path), over })
    }

    /// The port's path now; another one after each `reconnect`.
    #[getter]
    fn path(&self) -> String {
        self.path.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The commands it has heard, without terminators.
    fn heard<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        self.served.heard().iter().map(|command| PyBytes::new(py, command)).collect()
    }

    /// Pulls the cable.
    fn disconnect(&self) {
        self.served.disconnect();
    }

    /// Plugs it in again, as another pseudo-terminal; its path.
    fn reconnect(&self, py: Python<'_>) -> PyResult<String> {
        let engine = engine().map_err(|error| to_python(py, &error, true))?;
        let (pty, path) = new_pty(engine)?;
        self.served.reconnect(Box::new(pty));
        self.path.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&path);
        Ok(path)
    }

    /// Switches it off. Waits until its side of the pseudo-terminal is closed.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.served.stop();
        let engine = engine().map_err(|error| to_python(py, &error, true))?;
        py.detach(|| {
            let clock = engine.clock();
            let deadline = clock.now() + Duration::from_secs(2);
            let parker = crate::nursery::thread::Parker::here();
            while clock.now() < deadline {
                if self.over.load(Ordering::Acquire) {
                    return Ok(());
                }
                parker.nap(Duration::from_millis(2));
            }
            Err(PyRuntimeError::new_err("the simulated instrument did not stop within 2 s"))
        })
    }
}
