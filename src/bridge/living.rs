//! Python's own threads and scopes in the census.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use super::errors::to_python;
use super::supervisor::Supervisor;
use crate::lifecycle::{engine, started};
use crate::nursery::census::{Alive, Kind};

/// A thread of Python's that works for a nursery: in the census until it ends.
#[pyclass(frozen, weakref, module = "labtether._core")]
pub(super) struct Living(Mutex<Option<Alive>>);

#[pymethods]
impl Living {
    /// A thread called `name`, in `parent` or in the lifecycle.
    #[new]
    #[pyo3(signature = (name, parent=None))]
    fn new(py: Python<'_>, name: &str, parent: Option<&Bound<'_, Supervisor>>) -> PyResult<Living> {
        let engine = engine().map_err(|error| to_python(py, &error, true))?;
        let root = &engine.place().nursery;
        let parent = parent.map_or_else(|| root.id(), |parent| parent.get().number());
        Ok(Living(Mutex::new(Some(root.census().enter(Some(parent), Kind::Thread, &Arc::from(name))))))
    }

    /// It has ended.
    fn end(&self) {
        let alive = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(alive);
    }
}

/// One that is alive: number, number of its scope, kind, name, age in seconds.
type Row = (u64, Option<u64>, &'static str, String, f64);

/// Everyone in the census, oldest first.
#[pyfunction]
pub(super) fn census() -> Vec<Row> {
    let Some(engine) = started() else { return Vec::new() };
    let now = engine.clock().now();
    let everyone = engine.place().nursery.census().alive();
    let row = |entry: crate::nursery::census::Entry| {
        let age = now.since(entry.since).as_secs_f64();
        (entry.id, entry.parent, entry.kind.word(), entry.name.to_string(), age)
    };
    everyone.into_iter().map(row).collect()
}
