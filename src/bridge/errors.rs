//! The one table from Rust errors to Python exceptions. The classes live in Python (`labtether/_errors.py`), where users look.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyBytes, PyDict, PyString};

use super::inside::Inside;
use super::owner;
use super::work::Refusal;
use crate::error::{Cause, Evidence, LinkError};
use crate::framing::{BadMessage, FrameError};
use crate::sync::{Step, Trouble};

fn classes(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    Ok(MODULE.get_or_try_init(py, || py.import("labtether._errors").map(Bound::unbind))?.bind(py))
}

/// A command as its asker gave it: text where the link speaks text.
pub(super) fn command<'py>(py: Python<'py>, bytes: &[u8], text: bool) -> Bound<'py, PyAny> {
    if !text {
        return PyBytes::new(py, bytes).into_any();
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => PyString::new(py, text).into_any(),
        Err(_) => PyString::new(py, &bytes.iter().copied().map(char::from).collect::<String>()).into_any(),
    }
}

/// `error` as a Python exception. `text`: whether commands are shown as str.
pub(super) fn to_python(py: Python<'_>, error: &LinkError, text: bool) -> PyErr {
    let _inside = Inside::enter(py);
    build(py, error, text).unwrap_or_else(|failure| failure)
}

/// Whatever an operation was refused with, as a Python exception.
pub(super) fn raised(py: Python<'_>, refusal: &Refusal, text: bool) -> PyErr {
    match refusal {
        Refusal::Link(error) => to_python(py, error, text),
        Refusal::Sync(error) => trouble(py, error),
    }
}

/// What went wrong between tasks, as a Python exception.
pub(super) fn trouble(py: Python<'_>, trouble: &Trouble) -> PyErr {
    let _inside = Inside::enter(py);
    let built = || {
        let more = PyDict::new(py);
        let (class, message) = match trouble {
            Trouble::Deadlock(steps) => {
                let cycle = cycle(py, steps);
                let message = format!("deadlock: {}", cycle.join("; "));
                more.set_item("cycle", cycle)?;
                ("Deadlock", message)
            }
            Trouble::Closed { .. } => ("ChannelClosed", trouble.to_string()),
            Trouble::Full { .. } => ("ChannelFull", trouble.to_string()),
            Trouble::Empty { .. } => ("ChannelEmpty", trouble.to_string()),
            // A cancellation is re-raised as the caller's own exception; this is for one whose task has ended under it.
            Trouble::Cancelled => ("ScopeClosed", "the scope of who waited has ended".to_owned()),
            Trouble::NotHeld { .. } => ("InternalError", trouble.to_string()),
        };
        Ok::<_, PyErr>(PyErr::from_value(classes(py)?.getattr(class)?.call((message,), Some(&more))?))
    };
    built().unwrap_or_else(|failure| failure)
}

/// "task 'a' waits for lock x, which task 'b' holds", once for each in the circle.
fn cycle(py: Python<'_>, steps: &[Step]) -> Vec<String> {
    let names: Vec<String> = steps.iter().map(|step| owner::name(py, step.owner)).collect();
    let holders = names.iter().cycle().skip(1);
    let waiters = names.iter().zip(steps).zip(holders);
    waiters.map(|((who, step), holder)| format!("{who} waits for {}, which {holder} holds", step.awaits)).collect()
}

fn build(py: Python<'_>, error: &LinkError, text: bool) -> PyResult<PyErr> {
    let more = PyDict::new(py);
    let class = match error {
        LinkError::Closed { .. } => "LinkClosed",
        LinkError::Busy { lifespan, .. } => {
            more.set_item("lifespan", *lifespan)?;
            "LinkBusy"
        }
        LinkError::Open { cause, .. } => {
            more.set_item("kind", cause.kind.word())?;
            more.set_item("errno", cause.errno)?;
            "OpenFailed"
        }
        LinkError::Lost { cause, .. } => {
            more.set_item("errno", cause.raw_os_error())?;
            "LinkLost"
        }
        LinkError::Timeout { effect, .. } => {
            more.set_item("effect", effect.word())?;
            "LinkTimeout"
        }
        LinkError::Frame { .. } => "FrameError",
        LinkError::Instrument { busy, code, text: words, reply, .. } => {
            for (name, part) in [("code", code), ("text", words)] {
                more.set_item(name, part.as_ref().map(|part| command(py, part, true)))?;
            }
            more.set_item("reply", command(py, reply, text))?;
            if *busy { "InstrumentBusy" } else { "InstrumentError" }
        }
        LinkError::Unsupported { .. } => "Unsupported",
        LinkError::Argument { why } => return Ok(PyValueError::new_err(why.clone())),
        LinkError::Cleanup { stuck, .. } => {
            more.set_item("stuck", stuck)?;
            "CleanupTimeout"
        }
        LinkError::Scope { .. } => "ScopeClosed",
        LinkError::Forked => "ForkedProcess",
        // A cancellation is re-raised as the caller's own exception; this is for a reader who asked twice.
        LinkError::Cancelled { .. } => "LinkClosed",
        LinkError::Panic { .. } => "InternalError",
    };
    let class = classes(py)?.getattr(class)?;
    if let Some(about) = error.about() {
        evidence(py, about, text, &more)?;
    }
    let value = class.call((error.to_string(),), Some(&more))?;
    if let Some(tail) = error.about().map(|about| &about.tail).filter(|tail| !tail.is_empty()) {
        let note =
            format!("last on the wire of {}:\n  {}", error.about().map_or("", |about| &about.link), tail.join("\n  "));
        value.call_method1("add_note", (note,))?;
    }
    let error = match error {
        LinkError::Frame { cause: Some(cause), .. } => own_fault(py, value, cause)?,
        _ => value,
    };
    Ok(PyErr::from_value(error))
}

/// What the user's code raised: a ValueError says that the message is bad; anything else is raised as it is.
fn own_fault<'py>(py: Python<'py>, garbled: Bound<'py, PyAny>, cause: &Cause) -> PyResult<Bound<'py, PyAny>> {
    let Some(raised) = cause.0.downcast_ref::<PyErr>() else { return Ok(garbled) };
    let raised = raised.value(py);
    if raised.is_instance_of::<PyValueError>() {
        garbled.setattr("__cause__", raised)?;
        return Ok(garbled);
    }
    raised.call_method1("add_note", (format!("labtether: {garbled}"),))?;
    Ok(raised.clone().into_any())
}

/// What the user's code raised, if it was that.
pub(super) fn exception_of<'py>(py: Python<'py>, cause: &Cause) -> Option<Bound<'py, PyAny>> {
    cause.0.downcast_ref::<PyErr>().map(|raised| raised.value(py).clone().into_any())
}

/// What is to be sent cannot be: a ValueError, or what the user's own code raised, as it raised it.
pub(super) fn bad_message(py: Python<'_>, error: &BadMessage) -> PyErr {
    let raised = error.cause().and_then(|cause| cause.0.downcast_ref::<PyErr>().map(|raised| raised.clone_ref(py)));
    raised.unwrap_or_else(|| PyValueError::new_err(error.to_string()))
}

/// Bytes that are no message, and came over no link.
pub(super) fn unframed(py: Python<'_>, error: &FrameError) -> PyErr {
    let _inside = Inside::enter(py);
    let built = || {
        let garbled = classes(py)?.getattr("FrameError")?.call1((error.to_string(),))?;
        error.cause().map_or(Ok(garbled.clone()), |cause| own_fault(py, garbled, &cause))
    };
    built().map_or_else(|failure: PyErr| failure, PyErr::from_value)
}

fn evidence(py: Python<'_>, about: &Evidence, text: bool, more: &Bound<'_, PyDict>) -> PyResult<()> {
    let known = [
        ("link", PyString::new(py, &about.link).into_any()),
        ("port", PyString::new(py, &about.port).into_any()),
        ("heard", PyBytes::new(py, &about.heard).into_any()),
    ];
    more.update(known.into_py_dict(py)?.as_mapping())?;
    if let Some(bytes) = &about.command {
        more.set_item("command", command(py, bytes, text))?;
    }
    if let Some(elapsed) = about.elapsed {
        more.set_item("elapsed", elapsed.as_secs_f64())?;
    }
    Ok(())
}
