//! The clerk: the one thread that runs functions of the user's for which Rust needs an answer (checksums, framings, reply ids).
//!
//! It is a daemon thread of Python (`labtether/_clerk.py`) that fetches errands from here, so that no frame of ours is under the
//! user's code: one that never returns is left behind at the end of the process. Whoever asks is on the runtime's thread, and never
//! touches Python: it leaves an errand, and is rung.
//!
//! # Invariants
//! 1. The register refers to functions weakly: an object whose method is its own link's checksum can be collected. Who makes an oracle
//!    sees to it that the function lives as long as it is needed.
//! 2. No Python code runs while the desk is locked.
//! 3. The thread starts when a link is set up, or asked, that needs it, and ends when nobody has been engaged for a while, or with the
//!    process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::{PyReferenceError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyWeakrefMethods, PyWeakrefReference};

use super::inside::Inside;
use crate::clock::{Busy, Clock};
use crate::error::Cause;
use crate::framing::Framing;
use crate::framing::oracle::{Answer, Fault, Oracle, Verdict};
use crate::lifecycle;

/// How long the thread stays when nothing needs it.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long the end of the process waits for a function to return.
const LAST_PATIENCE: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Desk {
    errands: VecDeque<(u64, Bytes, Asker)>,
    functions: HashMap<u64, Function>,
    next: u64,
    /// How many there are who may ask.
    engaged: usize,
    /// Whether the thread runs.
    running: bool,
    closed: bool,
    /// Whose function runs now.
    doing: Option<Arc<str>>,
}

/// Whom the answer goes to. Until then the clock does not advance where it stands still.
struct Asker(Answer, Busy);

impl Asker {
    fn give(self, verdict: Verdict) {
        self.0.give(verdict);
        drop(self.1);
    }
}

struct Function {
    held: Held,
    name: Arc<str>,
}

enum Held {
    Weakly(Py<PyWeakrefReference>),
    /// Nothing can refer to it weakly.
    Fast(Py<PyAny>),
}

static DESK: LazyLock<Mutex<Desk>> = LazyLock::new(Mutex::default);
static CHANGED: Condvar = Condvar::new();

fn desk() -> MutexGuard<'static, Desk> {
    DESK.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Function {
    fn get(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        match &self.held {
            Held::Weakly(function) => function.bind(py).upgrade().map(Bound::unbind),
            Held::Fast(function) => Some(function.clone_ref(py)),
        }
    }
}

/// Asks a function of bytes to bytes, on the clerk's thread. `name`: whose it is, in words: "the framing's take()".
///
/// The caller keeps `function` alive for as long as it may be asked, and asks through [`Oracle::engaged`] (`Inquiry::fresh`).
pub(super) fn oracle(function: &Bound<'_, PyAny>, name: &str) -> PyResult<Arc<dyn Oracle>> {
    if !function.is_callable() {
        return Err(PyTypeError::new_err(format!("{name} is a function, not {}", function.get_type().name()?)));
    }
    let held = match PyWeakrefReference::new(function) {
        Ok(function) => Held::Weakly(function.unbind()),
        Err(_) => Held::Fast(function.clone().unbind()),
    };
    let name: Arc<str> = Arc::from(name);
    let mut desk = desk();
    desk.next += 1;
    let key = desk.next;
    desk.functions.insert(key, Function { held, name: name.clone() });
    Ok(Arc::new(Asked { key, name }))
}

struct Asked {
    key: u64,
    name: Arc<str>,
}

impl Oracle for Asked {
    fn name(&self) -> &str {
        &self.name
    }

    fn ask(&self, question: Bytes, answer: Answer) {
        if lifecycle::is_forked() {
            return;
        }
        let asker = Asker(answer, Clock::common().busy());
        desk().errands.push_back((self.key, question, asker));
        CHANGED.notify_all();
    }

    fn at_once(&self, question: &[u8]) -> Verdict {
        Python::attach(|py| {
            let _inside = Inside::enter(py);
            let function = function_of(py, self.key).ok_or_else(|| gone(&self.name))?;
            let said = function.call1(py, (PyBytes::new(py, question),));
            said.and_then(|said| bytes_of(said.bind(py))).map_err(|error| fault(py, &self.name, error))
        })
    }

    fn engaged(self: Arc<Asked>) -> Arc<dyn Oracle> {
        if !lifecycle::is_forked() {
            desk().engaged += 1;
        }
        Arc::new(Engaged(self))
    }
}

/// As long as there is one, the thread stays.
struct Engaged(Arc<Asked>);

impl Oracle for Engaged {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn ask(&self, question: Bytes, answer: Answer) {
        self.0.ask(question, answer);
    }

    fn at_once(&self, question: &[u8]) -> Verdict {
        self.0.at_once(question)
    }

    fn engaged(self: Arc<Engaged>) -> Arc<dyn Oracle> {
        self
    }
}

impl Drop for Engaged {
    fn drop(&mut self) {
        // The lock may have been held by a thread that a forked child does not have.
        if !lifecycle::is_forked() {
            let mut desk = desk();
            desk.engaged = desk.engaged.saturating_sub(1);
            drop(desk);
            CHANGED.notify_all();
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // The lock may have been held by a thread that a forked child does not have.
        if lifecycle::is_forked() {
            return;
        }
        let function = desk().functions.remove(&self.key);
        // The lock is free by now. Without Python at hand, the reference is given back by whoever has it next.
        drop(function);
    }
}

fn function_of(py: Python<'_>, key: u64) -> Option<Py<PyAny>> {
    desk().functions.get(&key).and_then(|function| function.get(py))
}

fn bytes_of(said: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    Ok(Bytes::copy_from_slice(said.cast::<PyBytes>()?.as_bytes()))
}

fn gone(name: &str) -> Fault {
    let error = PyReferenceError::new_err(format!("{name} has been collected: nothing refers to it any more"));
    let raised = "ReferenceError: it has been collected".to_owned();
    Fault { what: name.to_owned(), raised, cause: Cause(Arc::new(error)), removed: 0 }
}

fn fault(py: Python<'_>, name: &str, error: PyErr) -> Fault {
    // What take() raised after it had removed bytes comes with their number.
    let removed = error.value(py).getattr_opt(intern!(py, "_labtether_removed")).ok().flatten();
    let removed = removed.and_then(|removed| removed.extract().ok());
    let error = removed.and_then(|_| error.cause(py)).unwrap_or(error);
    let kind = error.get_type(py).name().map_or_else(|_| "an error".to_owned(), |kind| kind.to_string());
    let text = error.value(py).str().map_or_else(|_| String::new(), |text| text.to_string());
    let raised = if text.is_empty() { kind } else { format!("{kind}: {text}") };
    Fault { what: name.to_owned(), raised, cause: Cause(Arc::new(error)), removed: removed.unwrap_or(0) }
}

/// Starts the thread, if `framing` asks somebody and it does not run yet.
pub(super) fn needed(py: Python<'_>, framing: Option<&Framing>) -> PyResult<()> {
    if framing.is_some_and(Framing::asks) { start(py) } else { Ok(()) }
}

/// Starts the thread, if it does not run yet.
pub(super) fn start(py: Python<'_>) -> PyResult<()> {
    {
        let mut desk = desk();
        if desk.running || desk.closed || lifecycle::is_forked() {
            return Ok(());
        }
        desk.running = true;
    }
    let _inside = Inside::enter(py);
    let started = py.import("labtether._clerk").and_then(|clerk| clerk.call_method0("start"));
    if started.is_err() {
        desk().running = false;
    }
    started.map(drop)
}

/// The process ends: no more errands. The name of the function that does not return, if one does not.
pub(super) fn close(py: Python<'_>) -> Option<String> {
    {
        let mut desk = desk();
        desk.closed = true;
        desk.errands.clear();
    }
    CHANGED.notify_all();
    py.detach(|| {
        let ended = CHANGED.wait_timeout_while(desk(), LAST_PATIENCE, |desk| desk.running);
        let (desk, _) = ended.unwrap_or_else(PoisonError::into_inner);
        desk.doing.as_ref().filter(|_| desk.running).map(ToString::to_string)
    })
}

/// A function to be called with a question, and where its answer goes.
#[pyclass(frozen, module = "labtether._core")]
pub(super) struct Errand {
    function: Py<PyAny>,
    question: Bytes,
    name: Arc<str>,
    asker: Mutex<Option<Asker>>,
}

impl Errand {
    fn give(&self, verdict: Verdict) {
        let asker = self.asker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(asker) = asker {
            asker.give(verdict);
        }
    }
}

#[pymethods]
impl Errand {
    /// What is to be called.
    #[getter]
    fn function(&self, py: Python<'_>) -> Py<PyAny> {
        self.function.clone_ref(py)
    }

    /// What it is called with.
    #[getter]
    fn question<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.question)
    }

    /// What it said.
    fn answer(&self, py: Python<'_>, said: &Bound<'_, PyAny>) {
        match bytes_of(said) {
            Ok(said) => self.give(Ok(said)),
            Err(error) => self.give(Err(fault(py, &self.name, error))),
        }
    }

    /// What it raised.
    fn fail(&self, py: Python<'_>, error: &Bound<'_, PyAny>) {
        self.give(Err(fault(py, &self.name, PyErr::from_value(error.clone()))));
    }
}

/// Blocks until there is something to do; None: the thread may end.
#[pyfunction]
pub(super) fn next_errand(py: Python<'_>) -> Option<Errand> {
    loop {
        let (key, question, asker) = py.detach(wait)?;
        let _inside = Inside::enter(py);
        let (function, name) = {
            let mut desk = desk();
            let Some(function) = desk.functions.get(&key) else { continue };
            let (found, name) = (function.get(py), function.name.clone());
            desk.doing = Some(name.clone());
            (found, name)
        };
        match function {
            Some(function) => return Some(Errand { function, question, name, asker: Mutex::new(Some(asker)) }),
            None => asker.give(Err(gone(&name))),
        }
    }
}

fn wait() -> Option<(u64, Bytes, Asker)> {
    let mut desk = desk();
    desk.doing = None;
    loop {
        if desk.closed {
            break;
        }
        if let Some(errand) = desk.errands.pop_front() {
            return Some(errand);
        }
        if desk.engaged == 0 {
            let waited = CHANGED.wait_timeout(desk, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            desk = waited.0;
            if waited.1.timed_out() && desk.engaged == 0 && desk.errands.is_empty() {
                break;
            }
        } else {
            desk = CHANGED.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
    }
    desk.running = false;
    drop(desk);
    CHANGED.notify_all();
    None
}
