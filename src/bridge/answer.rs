//! Verdicts in Python: values, and words for what became of a cancelled operation.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::label::Label;
use super::work::{Refusal, Value, Verdict};
use crate::error::{Effect, LinkError, Seconds};
use crate::link::ticket::{Answer, Heard};
use crate::sync::Trouble;
use crate::transport::control::ModemLines;

pub(super) fn stuck(what: &Label, patience: Duration) -> String {
    format!("labtether: {what} did not stop within {} s of being told to", Seconds(patience))
}

/// What a cancelled operation came to, for a note on the cancellation.
pub(super) fn describe(what: &Label, verdict: &Verdict) -> String {
    match (effect_of(verdict), verdict) {
        (Some(effect), _) => format!("labtether: {what} was cancelled: {}", effect.word()),
        (None, Err(Refusal::Link(error))) => format!("labtether: {what} also failed: {error}"),
        (None, Err(Refusal::Sync(trouble))) => format!("labtether: {what} also failed: {trouble}"),
        (None, Ok(_)) => format!("labtether: {what} was cancelled"),
    }
}

/// What a cancelled operation did after all.
pub(super) fn effect_of(verdict: &Verdict) -> Option<Effect> {
    match verdict {
        Ok(Value::Wire(Answer::Effect(effect))) => Some(*effect),
        Ok(_) => Some(Effect::RanToCompletion),
        Err(Refusal::Sync(Trouble::Cancelled)) => Some(Effect::NeverStarted),
        Err(Refusal::Link(LinkError::Cancelled { effect, .. } | LinkError::Timeout { effect, .. })) => Some(*effect),
        Err(_) => None,
    }
}

fn heard<'py>(py: Python<'py>, heard: &Heard) -> PyResult<Bound<'py, PyTuple>> {
    let body = PyBytes::new(py, &heard.body);
    let (epoch, moment) = (heard.at.epoch.as_secs_f64(), heard.at.moment.since_zero().as_secs_f64());
    (body, epoch, moment).into_pyobject(py)
}

pub(super) fn to_value(py: Python<'_>, value: Value) -> PyResult<Py<PyAny>> {
    let answer = match value {
        Value::Wire(answer) => answer,
        Value::Made(make) => return make(py),
    };
    Ok(match answer {
        Answer::Nothing => py.None(),
        Answer::Effect(effect) => effect.word().into_pyobject(py)?.into_any().unbind(),
        Answer::Lines(ModemLines { cts, dsr, ri, cd, dtr, rts }) => {
            (cts, dsr, ri, cd, dtr, rts).into_pyobject(py)?.into_any().unbind()
        }
        Answer::Number(number) => number.into_pyobject(py)?.into_any().unbind(),
        Answer::Bytes(bytes) => PyBytes::new(py, &bytes).into_any().unbind(),
        Answer::Message(message, skipped) if skipped.is_empty() => PyBytes::new(py, &message.body).into_any().unbind(),
        Answer::Message(message, skipped) => {
            let skipped = skipped.iter().map(|one| PyBytes::new(py, &one.body));
            (PyBytes::new(py, &message.body), PyList::new(py, skipped.collect::<Vec<_>>())?)
                .into_pyobject(py)?
                .into_any()
                .unbind()
        }
        Answer::Batch(batch, dropped) => {
            let batch = batch.iter().map(|one| heard(py, one)).collect::<PyResult<Vec<_>>>()?;
            (PyList::new(py, batch)?, dropped).into_pyobject(py)?.into_any().unbind()
        }
        Answer::End(dropped) => (py.None(), dropped).into_pyobject(py)?.into_any().unbind(),
    })
}
