//! The one door: Rust work under way becomes something Python can await.
//!
//! Two phases. While it runs, `send` polls, and yields a future of the running loop. When the await is cancelled, Rust is asked to stop,
//! and the await goes on (in `labtether/_await.py`, shielded) until Rust has said that it has; only then the cancellation continues.
//!
//! # Invariants
//! 1. Work starts at the first `send`, never at construction.
//! 2. The verdict is claimed inside `send`, on the awaiting thread.
//! 3. A collected or closed operation never waits: dropping the work tells its owner.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;
use pyo3::{PyTraverseError, PyVisit};

use super::answer::{describe, effect_of, stuck, to_value};
use super::errors::raised;
use super::inside::{Inside, rest};
use super::label::Label;
use super::port::Port;
use super::stage::{Stage, State, Step, UnderWay};
use super::whose::{is_blocking, parks, running_port, trio_wait};
use super::work::{Refusal, Start, Verdict};
use crate::error::Effect;
use crate::link::ticket::next_id;

/// How long a cancelled await waits for Rust before it gives up and says so.
pub(super) const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// See the module.
#[pyclass(frozen, weakref, module = "labtether._core")]
pub(super) struct Operation {
    inside: Mutex<State>,
    key: u64,
    /// What it does, in words.
    pub(super) what: Label,
    /// Whether commands are shown as text.
    text: bool,
    /// Begun even where the awaiting task is cancelled already: closing what is open.
    shielded: bool,
    /// Once claimed, its value has to reach its asker before the next one's does.
    ordered: bool,
    /// Asked by the lifespan of its link: a scope inside that, which was cancelled, does not keep it from parking its instrument.
    parks: AtomicBool,
    /// How much longer than others a cancelled await waits for it to end.
    pub(super) patience: Duration,
}

impl Operation {
    pub(super) fn new(what: Label, text: bool, start: Start) -> Operation {
        let inside = Mutex::new(State { stage: Stage::Idle(start), settling: None, effect: None });
        Operation {
            inside,
            key: next_id(),
            what,
            text,
            shielded: false,
            ordered: false,
            parks: AtomicBool::new(false),
            patience: Duration::ZERO,
        }
    }

    /// One that is begun even where the awaiting task is cancelled already.
    pub(super) fn shielded(mut self) -> Operation {
        self.shielded = true;
        self
    }

    /// One whose end takes `longer`: its instrument is told to stop, and is waited for.
    pub(super) fn patient(mut self, longer: Duration) -> Operation {
        self.patience = longer;
        self
    }

    /// One that the lifespan of its link asks for.
    pub(super) fn of_lifespan(self) -> Operation {
        self.parks.store(true, Ordering::Relaxed);
        self
    }

    /// One whose value is part of a sequence.
    pub(super) fn ordered(mut self) -> Operation {
        self.ordered = true;
        self
    }

    fn inside(&self) -> MutexGuard<'_, State> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts or polls. `waker` and `port` are where the work is to ring from now on.
    pub(super) fn poll(&self, waker: impl FnOnce() -> (Waker, Option<Py<Port>>)) -> Step {
        let mut inside = self.inside();
        if let Stage::Idle(_) = &inside.stage
            && let Stage::Idle(start) = std::mem::replace(&mut inside.stage, Stage::Over)
        {
            match start() {
                Ok(work) => {
                    let (waker, port) = waker();
                    inside.stage = Stage::Waiting(UnderWay { work, waker, port });
                }
                Err(error) => return Step::Refused(error),
            }
        }
        let Stage::Waiting(under_way) = &mut inside.stage else {
            return match std::mem::replace(&mut inside.stage, Stage::Over) {
                Stage::Settled(verdict) => Step::Ready(verdict),
                _ => Step::Pending,
            };
        };
        let mut cx = Context::from_waker(&under_way.waker);
        match under_way.work.poll(&mut cx) {
            Poll::Ready(verdict) => {
                inside.stage = Stage::Over;
                Step::Ready(verdict)
            }
            Poll::Pending => Step::Pending,
        }
    }

    pub(super) fn finish(&self, py: Python<'_>, verdict: Verdict) -> PyResult<Py<PyAny>> {
        match verdict {
            Ok(answer) => {
                let value = to_value(py, answer)?;
                // A tuple of one: StopIteration unpacks a tuple that is its only argument.
                Err(PyStopIteration::new_err((value,)))
            }
            Err(error) => Err(raised(py, &error, self.text)),
        }
    }

    /// Keeps the verdict for whoever asks for the result. Whether there is one.
    fn keep(&self, step: Step) -> bool {
        let verdict = match step {
            Step::Ready(verdict) => verdict,
            Step::Refused(error) => Err(error),
            Step::Pending => return false,
        };
        self.inside().stage = Stage::Settled(verdict);
        true
    }

    pub(super) fn refuse(&self, py: Python<'_>, error: &Refusal) -> PyResult<Py<PyAny>> {
        rest(py)?;
        Err(raised(py, error, self.text))
    }

    /// Whether it waits for tasks or threads, and not for the engine.
    pub(super) fn is_between_tasks(&self) -> bool {
        matches!(&self.inside().stage, Stage::Waiting(under_way) if under_way.work.is_between_tasks())
    }

    fn is_over(&self) -> bool {
        matches!(self.inside().stage, Stage::Over)
    }

    fn port(&self, py: Python<'_>) -> Option<Py<Port>> {
        match &self.inside().stage {
            Stage::Waiting(work) => work.port.as_ref().map(|port| port.clone_ref(py)),
            _ => None,
        }
    }

    fn step(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let _inside = Inside::enter(py);
        let settling = self.inside().settling.as_ref().map(|settling| settling.clone_ref(py));
        if let Some(settling) = settling {
            return settling.call_method0(py, intern!(py, "__next__"));
        }
        if self.is_over() {
            return Err(PyRuntimeError::new_err("this operation has been awaited already"));
        }
        let port = match self.port(py) {
            Some(port) => port,
            None => match running_port(py)? {
                Some(port) => port,
                None => return self.block(py),
            },
        };
        match self.poll(|| (port.get().waker(self.key), Some(port.clone_ref(py)))) {
            Step::Ready(verdict) => self.finish(py, verdict),
            Step::Refused(error) => self.refuse(py, &error),
            Step::Pending => Ok(port.get().future(py, self.key)?.unbind()),
        }
    }
}

#[pymethods]
impl Operation {
    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let _inside = Inside::enter(py);
        if is_blocking() {
            return Ok(slf.clone().into_any());
        }
        let sheltered = slf.get().parks.load(Ordering::Relaxed) && parks(py)?;
        slf.get().parks.store(sheltered, Ordering::Relaxed);
        match trio_wait(py, sheltered)? {
            Some(wait) => wait.call1((slf,))?.call_method0(intern!(py, "__await__")),
            None => Ok(slf.clone().into_any()),
        }
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.step(py)
    }

    fn send(&self, py: Python<'_>, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.step(py)
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw(
        slf: &Bound<'_, Self>,
        kind: Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let _inside = Inside::enter(py);
        drop(traceback);
        let error = match value.filter(|value| !value.is_none()) {
            Some(value) => value,
            None if kind.is_instance_of::<pyo3::exceptions::PyBaseException>() => kind,
            None => kind.call0()?,
        };
        let this = slf.get();
        let settling = this.inside().settling.as_ref().map(|settling| settling.clone_ref(py));
        if let Some(settling) = settling {
            return settling.call_method1(py, intern!(py, "throw"), (error,));
        }
        if !matches!(this.inside().stage, Stage::Waiting(_)) {
            return Err(PyErr::from_value(error));
        }
        static SETTLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let settle =
            SETTLE.get_or_try_init(py, || py.import("labtether._await")?.getattr("settle").map(Bound::unbind))?;
        let settling = settle.call1(py, (slf, error))?;
        this.inside().settling = Some(settling.clone_ref(py));
        settling.call_method0(py, intern!(py, "__next__"))
    }

    /// Ends the await without waiting: whoever does the work is told, and sees it through.
    pub(super) fn close(&self) {
        let (stage, settling) = {
            let mut inside = self.inside();
            if let Stage::Settled(verdict) = &inside.stage {
                inside.effect = effect_of(verdict);
            }
            (std::mem::replace(&mut inside.stage, Stage::Over), inside.settling.take())
        };
        drop((stage, settling));
    }

    /// Asks Rust to stop; the verdict still comes.
    pub(super) fn cancel(&self) {
        if let Stage::Waiting(work) = &mut self.inside().stage {
            work.work.cancel();
        }
    }

    /// Starts the work in `port`'s loop, or looks at it. Whether the verdict is there.
    fn poll_in(&self, py: Python<'_>, port: &Bound<'_, Port>) -> bool {
        let port = port.clone().unbind();
        self.keep(self.poll(|| (port.get().waker(self.key), Some(port.clone_ref(py)))))
    }

    /// While a cancellation is seen through: whether Rust has ended.
    fn settled(&self) -> bool {
        if matches!(self.inside().stage, Stage::Settled(_) | Stage::Over) {
            return true;
        }
        self.keep(self.poll(|| (Waker::noop().clone(), None)))
    }

    /// Another future to yield while the wait goes on.
    fn future(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.port(py) {
            Some(port) => Ok(port.get().future(py, self.key)?.unbind()),
            None => Err(PyRuntimeError::new_err("this operation waits in no loop")),
        }
    }

    /// The value, or the error raised, once it is there.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let _inside = Inside::enter(py);
        let verdict = match std::mem::replace(&mut self.inside().stage, Stage::Over) {
            Stage::Settled(verdict) => verdict,
            _ => return Err(PyRuntimeError::new_err("this operation has been awaited already")),
        };
        match verdict {
            Ok(answer) => to_value(py, answer),
            Err(error) => Err(raised(py, &error, self.text)),
        }
    }

    /// What became of it, in words, for a note on the cancellation; None where nothing had been begun.
    fn epitaph(&self) -> Option<String> {
        match &self.inside().stage {
            Stage::Idle(_) | Stage::Over => None,
            // An exchange speaks for what is done in it.
            Stage::Settled(_) if self.what.is_inside() => None,
            Stage::Settled(verdict) if effect_of(verdict) == Some(Effect::NeverStarted) => None,
            Stage::Settled(verdict) => Some(describe(&self.what, verdict)),
            Stage::Waiting(_) => Some(stuck(&self.what, CANCEL_TIMEOUT.saturating_add(self.patience))),
        }
    }

    /// What became of a cancelled exchange: link, command, effect. None where it is no exchange, or nothing is known.
    fn left<'py>(&self, py: Python<'py>) -> Option<(String, Option<Bound<'py, PyBytes>>, &'static str)> {
        let inside = self.inside();
        let Stage::Settled(verdict) = &inside.stage else { return None };
        let (link, command) = self.what.exchange()?;
        let command = command.map(|command| PyBytes::new(py, command));
        Some((link.to_string(), command, effect_of(verdict)?.word()))
    }

    /// What the instrument did, where the await was cancelled.
    #[getter]
    fn effect(&self) -> Option<&'static str> {
        self.inside().effect.map(Effect::word)
    }

    /// The number under which a port knows it.
    #[getter]
    fn key(&self) -> u64 {
        self.key
    }

    /// Seconds for which a cancelled await waits, besides CANCEL_TIMEOUT.
    #[getter(patience)]
    fn patience_seconds(&self) -> f64 {
        self.patience.as_secs_f64()
    }

    /// Whether it is begun in a cancelled task too.
    #[getter(shielded)]
    fn is_shielded(&self) -> bool {
        self.shielded
    }

    /// Whether scopes that are cancelled do not cancel it: it parks an instrument.
    #[getter]
    fn parks(&self) -> bool {
        self.parks.load(Ordering::Relaxed)
    }

    /// Whether nothing may come between the claim of its value and its return.
    #[getter(ordered)]
    fn is_ordered(&self) -> bool {
        self.ordered
    }

    fn __repr__(&self) -> String {
        let stage = match &self.inside().stage {
            Stage::Idle(_) => "not awaited yet",
            Stage::Waiting(_) => "pending",
            Stage::Settled(_) | Stage::Over => "done",
        };
        format!("<Operation {}: {stage}>", self.what)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(inside) = self.inside.try_lock() {
            if let Some(settling) = &inside.settling {
                visit.call(settling)?;
            }
            if let Stage::Waiting(UnderWay { port: Some(port), .. }) = &inside.stage {
                visit.call(port)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.close();
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let inside = self.inside.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Stage::Waiting(UnderWay { port: Some(port), .. }) = &inside.stage {
            port.get().forget(self.key);
        }
    }
}
