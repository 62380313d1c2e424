//! Scripts as Python writes them: arguments checked there, converted here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use pyo3::{PyTraverseError, PyVisit};

use crate::bridge::clerk;
use crate::bridge::errors::exception_of;
use crate::bridge::faults::{PyFault, in_force};
use crate::bridge::framing::PyFraming;
use crate::bridge::values::{PyPattern, span};
use crate::framing::oracle::Inquiry;
use crate::simulate::{Accepts, Part, Played, Report, Script, Step, Template, Verdict, Words};

/// A script that may be written on while it is played. Keeps the user's functions alive that it asks.
#[pyclass(frozen, name = "Script", module = "labtether._core")]
pub(in crate::bridge) struct PyScript {
    played: Played,
    functions: Mutex<Vec<Py<PyAny>>>,
}

/// One part of what is said.
#[pyclass(frozen, name = "Part", module = "labtether._core")]
pub(in crate::bridge) struct PyPart {
    part: Part,
    function: Option<Py<PyAny>>,
}

/// A step as told: the command and where it was written, how often it has to come and may, how often it has.
type StepRow = (String, String, usize, Option<usize>, usize);
/// A command, what became of it, which step took it, which steps were awaited.
type HeardRow<'py> = (Bound<'py, PyBytes>, &'static str, Option<usize>, Vec<usize>);
/// A command, what was asked, what it raised.
type RaisedRow<'py> = (Bound<'py, PyBytes>, String, String, Option<Bound<'py, PyAny>>);
/// The whole report.
type ReportRow<'py> = (Vec<StepRow>, Vec<Vec<usize>>, Vec<usize>, Vec<HeardRow<'py>>, Vec<RaisedRow<'py>>);

impl PyScript {
    pub(super) fn played(&self) -> Played {
        self.played.clone()
    }

    fn keep(&self, parts: &[PyRef<'_, PyPart>]) -> Vec<Part> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = parts.iter().map(|part| {
            functions.extend(part.function.as_ref().map(|function| function.clone_ref(part.py())));
            part.part.clone()
        });
        kept.collect()
    }

    fn changed<T>(&self, step: usize, change: impl FnOnce(&mut Step) -> T) -> PyResult<T> {
        let mut script = self.played.script();
        let step = script.step(step).ok_or_else(|| PyIndexError::new_err("there is no such step"))?;
        Ok(change(step))
    }
}

#[pymethods]
impl PyPart {
    /// These bytes, as they go on the wire.
    #[staticmethod]
    #[pyo3(signature = (frame, after, asked, faults))]
    fn frame(frame: Vec<u8>, after: f64, asked: bool, faults: Vec<Bound<'_, PyFault>>) -> PyResult<PyPart> {
        PyPart::of(Words::Frame(frame.into()), after, asked, &faults, None)
    }

    /// A message with names in it.
    #[staticmethod]
    #[pyo3(signature = (text, after, asked, faults))]
    fn template(text: Vec<u8>, after: f64, asked: bool, faults: Vec<Bound<'_, PyFault>>) -> PyResult<PyPart> {
        PyPart::of(Words::Template(Template::new(text)), after, asked, &faults, None)
    }

    /// What a function says: a command to a 1 and what goes on the wire, or to nothing.
    #[staticmethod]
    #[pyo3(signature = (function, after, faults))]
    fn function(function: Bound<'_, PyAny>, after: f64, faults: Vec<Bound<'_, PyFault>>) -> PyResult<PyPart> {
        let oracle = clerk::oracle(&function, "the script's reply function")?.engaged();
        clerk::start(function.py())?;
        PyPart::of(Words::Asked(Inquiry::of(oracle)), after, true, &faults, Some(function.unbind()))
    }

    /// The cable comes off, or is on again.
    #[staticmethod]
    #[pyo3(signature = (on, after))]
    fn cable(on: bool, after: f64) -> PyResult<PyPart> {
        PyPart::of(if on { Words::Plug } else { Words::Unplug }, after, false, &[], None)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.function)
    }
}

impl PyPart {
    fn of(
        words: Words,
        after: f64,
        asked: bool,
        faults: &[Bound<'_, PyFault>],
        function: Option<Py<PyAny>>,
    ) -> PyResult<PyPart> {
        let faults = (!faults.is_empty()).then(|| Arc::new(Mutex::new(in_force(faults))));
        Ok(PyPart { part: Part { after: span(after)?, words, asked, faults }, function })
    }
}

#[pymethods]
impl PyScript {
    /// Empty, for an instrument that hears and says messages of this framing.
    #[new]
    #[pyo3(signature = (framing))]
    fn new(py: Python<'_>, framing: &Bound<'_, PyFraming>) -> PyResult<PyScript> {
        let fresh = framing.get().fresh();
        clerk::needed(py, Some(&fresh))?;
        let functions = Mutex::new(vec![framing.clone().into_any().unbind()]);
        Ok(PyScript { played: Played::new(Script::new(fresh)), functions })
    }

    /// One more step: in the order (`among`: in the block at that place), or known at any time. Its number.
    #[pyo3(signature = (exactly, like, written, place, least, most, ordered, among))]
    #[expect(clippy::too_many_arguments, reason = "one call from one place")]
    fn step(
        &self,
        exactly: Option<Vec<u8>>,
        like: Option<&Bound<'_, PyPattern>>,
        written: String,
        place: String,
        least: usize,
        most: Option<usize>,
        ordered: bool,
        among: Option<usize>,
    ) -> usize {
        let accepts = Accepts { exactly: exactly.map(Bytes::from), like: like.map(|like| like.get().0.clone()) };
        let written = (written, place);
        let step = Step { accepts, written, least, most, parts: Vec::new(), sets: Vec::new(), count: 0 };
        let mut script = self.played.script();
        if ordered { script.expect(step, among) } else { script.when(step) }
    }

    /// A block in any order; its place.
    fn any_order(&self) -> usize {
        self.played.script().any_order()
    }

    /// One more part of what is said to a step.
    fn add(&self, step: usize, part: PyRef<'_, PyPart>) -> PyResult<()> {
        let mut parts = self.keep(&[part]);
        self.changed(step, |step| step.parts.append(&mut parts))
    }

    /// How often a step has to come and may.
    fn times(&self, step: usize, least: usize, most: Option<usize>) -> PyResult<()> {
        self.changed(step, |step| (step.least, step.most) = (least, most))
    }

    /// A step sets a state.
    fn sets(&self, step: usize, name: String, value: Vec<u8>) -> PyResult<()> {
        self.changed(step, |step| step.sets.push((name, Template::new(value))))
    }

    /// It says this after the step before, or at once.
    fn push(&self, parts: Vec<PyRef<'_, PyPart>>, now: bool) {
        let parts = self.keep(&parts);
        let mut script = self.played.script();
        if now { script.push_now(parts) } else { script.push(parts) }
    }

    /// It is busy: so many times, or so many seconds from now.
    fn busy(&self, parts: Vec<PyRef<'_, PyPart>>, times: Option<usize>, seconds: Option<f64>) -> PyResult<()> {
        let lasts: Option<Duration> = seconds.map(span).transpose()?;
        let parts = self.keep(&parts);
        self.played.script().be_busy(parts, times, lasts);
        Ok(())
    }

    /// What it says to what nobody expects.
    fn otherwise(&self, parts: Vec<PyRef<'_, PyPart>>, allowed: bool) {
        let parts = self.keep(&parts);
        self.played.script().otherwise(parts, allowed);
    }

    /// What it says to a host that connects, and when it is switched on.
    fn greeting(&self, parts: Vec<PyRef<'_, PyPart>>) {
        let parts = self.keep(&parts);
        self.played.script().greeting(parts);
    }

    /// What a state is.
    fn get<'py>(&self, py: Python<'py>, name: &str) -> Option<Bound<'py, PyBytes>> {
        self.played.script().state().get(name).map(|value| PyBytes::new(py, value))
    }

    /// Sets a state, or takes it away; whether it was there.
    fn put(&self, name: String, value: Option<Vec<u8>>) -> bool {
        let mut script = self.played.script();
        match value {
            Some(value) => script.state().insert(name, value.into()).is_some(),
            None => script.state().remove(&name).is_some(),
        }
    }

    /// The states there are.
    fn names<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyString>> {
        self.played.script().state().keys().map(|name| PyString::new(py, name)).collect()
    }

    /// Nothing is said any more, and nothing asked; how it went is kept.
    fn close(&self) {
        let said = self.played.script().close();
        let functions = std::mem::take(&mut *self.functions.lock().unwrap_or_else(PoisonError::into_inner));
        drop((said, functions));
    }

    /// How it went.
    fn report<'py>(&self, py: Python<'py>) -> ReportRow<'py> {
        let Report { steps, order, rules, heard, raised } = self.played.script().report();
        let steps = steps.into_iter().map(|step| {
            let (written, place) = step.written;
            (written, place, step.least, step.most, step.count)
        });
        let heard = heard.into_iter().map(|heard| {
            let (kind, step, awaited) = match heard.verdict {
                Verdict::Step(step) => ("step", Some(step), Vec::new()),
                Verdict::Busy => ("busy", None, Vec::new()),
                Verdict::Otherwise => ("otherwise", None, Vec::new()),
                Verdict::Unexpected { awaited } => ("unexpected", None, awaited),
            };
            (PyBytes::new(py, &heard.command), kind, step, awaited)
        });
        let raised = raised.into_iter().map(|raised| {
            let error = exception_of(py, &raised.why.cause);
            (PyBytes::new(py, &raised.command), raised.why.what, raised.why.raised, error)
        });
        (steps.collect(), order, rules, heard.collect(), raised.collect())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(functions) = self.functions.try_lock() {
            for function in functions.iter() {
                visit.call(function)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let functions = std::mem::take(&mut *self.functions.lock().unwrap_or_else(PoisonError::into_inner));
        drop(functions);
    }
}
