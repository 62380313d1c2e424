//! Who runs: the trio task, the asyncio task or the thread, as an [`Owner`]. It ends with the task or the thread, however that ends, and
//! lets go of what it held.
//!
//! # Invariants
//! 1. An owner ends once: when its task is done, or was destroyed, or its loop was closed, or its thread ended; whichever is first.
//! 2. The table is keyed by a task's address, and a task's row goes before the address can be used again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyWeakrefMethods;
use pyo3::types::PyWeakrefReference;

use super::whose::{in_trio, is_blocking, running_loop};
use crate::clock::Clock;
use crate::sync::Owner;
use crate::sync::board::Board;

/// The one book of who holds what.
pub(super) fn board() -> &'static Board {
    static BOARD: OnceLock<Board> = OnceLock::new();
    BOARD.get_or_init(|| Board::new(Clock::common()))
}

struct Row {
    owner: Owner,
    /// Kept, or its callback would not be called.
    task: Py<PyWeakrefReference>,
}

#[derive(Default)]
struct Rows {
    by_task: HashMap<usize, Row>,
    tasks: HashMap<Owner, usize>,
    threads: HashMap<Owner, u64>,
}

fn rows() -> MutexGuard<'static, Rows> {
    static ROWS: OnceLock<Mutex<Rows>> = OnceLock::new();
    ROWS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

struct ThisThread(Owner);

impl Drop for ThisThread {
    fn drop(&mut self) {
        rows().threads.remove(&self.0);
        board().let_go(self.0);
    }
}

thread_local! {
    static THREAD: std::cell::OnceCell<ThisThread> = const { std::cell::OnceCell::new() };
}

fn this_thread(py: Python<'_>) -> PyResult<Owner> {
    if let Some(owner) = THREAD.with(|thread| thread.get().map(|this| this.0)) {
        return Ok(owner);
    }
    let ident: u64 = py.import("threading")?.call_method0("get_ident")?.extract()?;
    let owner = Owner::fresh();
    rows().threads.insert(owner, ident);
    Ok(THREAD.with(|thread| thread.get_or_init(|| ThisThread(owner)).0))
}

/// The task that runs in this thread, if one does.
pub(super) fn current_task(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    if in_trio(py)? {
        static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let current = CURRENT
            .get_or_try_init(py, || Ok::<_, PyErr>(py.import("trio.lowlevel")?.getattr("current_task")?.unbind()))?;
        return current.bind(py).call0().map(Some);
    }
    let Some(event_loop) = running_loop(py)? else { return Ok(None) };
    static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let current =
        CURRENT.get_or_try_init(py, || Ok::<_, PyErr>(py.import("asyncio")?.getattr("current_task")?.unbind()))?;
    let task = current.bind(py).call1((event_loop,))?;
    Ok((!task.is_none()).then_some(task))
}

/// Who runs; `None`: a callback of a loop, which is nobody's.
pub(super) fn current(py: Python<'_>) -> PyResult<Option<Owner>> {
    if is_blocking() {
        return this_thread(py).map(Some);
    }
    match current_task(py)? {
        Some(task) => of_task(&task).map(Some),
        None if running_loop(py)?.is_some() => Ok(None),
        None => this_thread(py).map(Some),
    }
}

/// Who runs, or in whose loop: for what has to have an owner.
pub(super) fn current_or_thread(py: Python<'_>) -> PyResult<Owner> {
    match current(py)? {
        Some(owner) => Ok(owner),
        None => this_thread(py),
    }
}

fn of_task(task: &Bound<'_, PyAny>) -> PyResult<Owner> {
    let key = task.as_ptr() as usize;
    if let Some(row) = rows().by_task.get(&key) {
        return Ok(row.owner);
    }
    let py = task.py();
    let owner = Owner::fresh();
    let end = Py::new(py, End(owner))?.into_bound(py).into_any();
    let row = Row { owner, task: PyWeakrefReference::new_with(task, end.clone())?.unbind() };
    {
        let mut rows = rows();
        rows.by_task.insert(key, row);
        rows.tasks.insert(owner, key);
    }
    // asyncio's tell when they are done, trio tells; one that is destroyed before it is done goes when it is collected.
    match task.getattr(intern!(py, "add_done_callback")) {
        Ok(add) => add.call1((end,))?,
        Err(_) => py.import("labtether._trio")?.call_method0(intern!(py, "watch_ends"))?,
    };
    Ok(owner)
}

fn ended(py: Python<'_>, owner: Owner) {
    let row = {
        let mut rows = rows();
        rows.tasks.remove(&owner).and_then(|key| rows.by_task.remove(&key))
    };
    // Its weak reference is dropped outside the lock.
    drop(row);
    py.detach(|| board().let_go(owner));
}

/// Called when a task has ended: with the task, or with a weak reference to what it was.
#[pyclass(frozen, module = "labtether._core")]
struct End(Owner);

#[pymethods]
impl End {
    fn __call__(&self, py: Python<'_>, _what: &Bound<'_, PyAny>) {
        ended(py, self.0);
    }
}

/// The task that runs has done its part: what it holds is let go of now.
#[pyfunction]
pub(super) fn let_go(py: Python<'_>) -> PyResult<()> {
    if let Some(task) = current_task(py)? {
        task_ended(py, &task);
    }
    Ok(())
}

/// `task` has ended.
#[pyfunction]
pub(super) fn task_ended(py: Python<'_>, task: &Bound<'_, PyAny>) {
    let known = rows().by_task.get(&(task.as_ptr() as usize)).map(|row| row.owner);
    if let Some(owner) = known {
        ended(py, owner);
    }
}

/// A loop was closed: its tasks will never run again.
#[pyfunction]
pub(super) fn loop_closed(py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
    let tasks: Vec<(Owner, Py<PyWeakrefReference>)> =
        rows().by_task.values().map(|row| (row.owner, row.task.clone_ref(py))).collect();
    for (owner, task) in tasks {
        let Some(task) = task.bind(py).upgrade() else { continue };
        let own = task.call_method0(intern!(py, "get_loop"));
        if own.is_ok_and(|own| own.is(event_loop)) {
            ended(py, owner);
        }
    }
    Ok(())
}

/// What an owner is called, in words: "task 'heater'", "thread 'MainThread'".
pub(super) fn name(py: Python<'_>, owner: Owner) -> String {
    let (task, thread) = {
        let rows = rows();
        let task = rows.tasks.get(&owner).and_then(|key| rows.by_task.get(key)).map(|row| row.task.clone_ref(py));
        (task, rows.threads.get(&owner).copied())
    };
    if let Some(task) = task.and_then(|task| task.bind(py).upgrade()) {
        let name = task.call_method0(intern!(py, "get_name")).or_else(|_| task.getattr(intern!(py, "name")));
        return name.map_or_else(|_| "a task".to_owned(), |name| format!("task '{name}'"));
    }
    match thread {
        Some(ident) => {
            let known = thread_name(py, ident).ok().flatten();
            known.map_or_else(|| format!("thread {ident}"), |name| format!("thread '{name}'"))
        }
        None => "somebody who has ended".to_owned(),
    }
}

/// What who runs is called: the name of the task or of the thread.
#[pyfunction]
pub(super) fn who(py: Python<'_>) -> PyResult<String> {
    let owner = current_or_thread(py)?;
    let name = name(py, owner);
    Ok(name.split_once('\'').and_then(|(_, rest)| rest.strip_suffix('\'')).unwrap_or(&name).to_owned())
}

fn thread_name(py: Python<'_>, ident: u64) -> PyResult<Option<String>> {
    for thread in py.import("threading")?.call_method0("enumerate")?.try_iter()? {
        let thread = thread?;
        if thread.getattr("ident")?.extract::<u64>().is_ok_and(|known| known == ident) {
            return thread.getattr("name")?.extract().map(Some);
        }
    }
    Ok(None)
}
