//! Faults as Python makes them: arguments checked there, converted here.

use std::num::{NonZeroU32, NonZeroUsize};

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::values::span;
use crate::simulate::faults::{Fault, Faults, Happening, Sizes, Which};

/// A fault, checked.
#[pyclass(frozen, name = "Fault", module = "labtether._core")]
pub(super) struct PyFault(Fault);

/// `faults`, in force.
pub(super) fn in_force(faults: &[Bound<'_, PyFault>]) -> Faults {
    Faults::new(faults.iter().map(|fault| fault.get().0.clone()).collect())
}

/// Which messages: their numbers, the chance of each, the seed.
type PyWhich = (Option<Vec<u64>>, f64, u64);

fn which_of((only, chance, seed): PyWhich) -> Which {
    Which { only: only.map(|only| only.into_iter().collect()), chance, seed }
}

fn positive(number: u32, what: &str) -> PyResult<NonZeroU32> {
    NonZeroU32::new(number).ok_or_else(|| PyValueError::new_err(format!("{what} is at least 1, not 0")))
}

#[derive(FromPyObject)]
enum PySizes {
    Every(usize),
    Given(Vec<usize>),
}

fn sizes_of(sizes: Option<PySizes>, seed: u64) -> PyResult<Sizes> {
    let checked = |size| NonZeroUsize::new(size).ok_or_else(|| PyValueError::new_err("a size is at least 1, not 0"));
    Ok(match sizes {
        None => Sizes::Random { seed },
        Some(PySizes::Every(size)) => Sizes::Every(checked(size)?),
        Some(PySizes::Given(sizes)) => Sizes::Given(sizes.into_iter().map(checked).collect::<PyResult<_>>()?),
    })
}

#[pymethods]
impl PyFault {
    /// The values of each kind in the order in which its dataclass has them, `only`, `chance` and `seed` as one.
    #[new]
    #[pyo3(signature = (kind, *values))]
    fn new(kind: &str, values: &Bound<'_, PyTuple>) -> PyResult<PyFault> {
        Ok(PyFault(match kind {
            "Delay" => {
                let (seconds, which): (f64, PyWhich) = values.extract()?;
                Fault::Delay { by: span(seconds)?, which: which_of(which) }
            }
            "Jitter" => {
                let (seconds, seed): (f64, u64) = values.extract()?;
                Fault::Jitter { most: span(seconds)?, seed }
            }
            "Rate" => {
                let (baudrate, bits): (u32, u32) = values.extract()?;
                Fault::Rate { baudrate: positive(baudrate, "baudrate")?, bits: positive(bits, "bits")? }
            }
            "Fragment" => {
                let (sizes, gap, seed): (Option<PySizes>, f64, u64) = values.extract()?;
                Fault::Fragment { sizes: sizes_of(sizes, seed)?, gap: span(gap)? }
            }
            "Coalesce" => {
                let (seconds,): (f64,) = values.extract()?;
                Fault::Coalesce { within: span(seconds)? }
            }
            "Drop" => {
                let (which,): (PyWhich,) = values.extract()?;
                Fault::Drop { which: which_of(which) }
            }
            "Garble" => {
                let (flips, which): (usize, PyWhich) = values.extract()?;
                Fault::Garble { flips, which: which_of(which) }
            }
            "Duplicate" => {
                let (times, gap, which): (u32, f64, PyWhich) = values.extract()?;
                Fault::Duplicate { times, gap: span(gap)?, which: which_of(which) }
            }
            "Echo" => Fault::Echo,
            "Truncate" => {
                let (keep, which): (usize, PyWhich) = values.extract()?;
                Fault::Truncate { keep, which: which_of(which) }
            }
            "Silence" => {
                let (after, messages): (u64, Option<u64>) = values.extract()?;
                Fault::Silence { after, messages }
            }
            "Disconnect" => {
                let (after, in_message, back): (u64, Option<usize>, Option<f64>) = values.extract()?;
                Fault::Disconnect { after, in_message, back: back.map(span).transpose()? }
            }
            "Refuse" => {
                let (times,): (u64,) = values.extract()?;
                Fault::Refuse { times }
            }
            other => return Err(PyValueError::new_err(format!("there is no fault {other:?}"))),
        }))
    }

    fn __repr__(&self) -> String {
        format!("<Fault {:?}>", self.0)
    }
}

/// When, in seconds; "bytes", "disconnect" or "reconnect"; and the bytes.
type HappeningRow<'py> = (f64, &'static str, Bound<'py, PyBytes>);

/// What comes of a conversation, without any wire: each part with its time, whether the instrument says it (else the
/// host sends it), and its bytes.
#[pyfunction]
pub(super) fn rehearse<'py>(
    py: Python<'py>,
    faults: Vec<Bound<'py, PyFault>>,
    conversation: Vec<(f64, bool, Vec<u8>)>,
) -> PyResult<Vec<HappeningRow<'py>>> {
    let mut faults = in_force(&faults);
    let mut happenings = Vec::new();
    for (at, says, bytes) in conversation {
        let (at, bytes) = (span(at)?, Bytes::from(bytes));
        happenings.extend(if says { faults.say(at, &bytes) } else { faults.hear(at, &bytes) });
    }
    happenings.sort_by_key(Happening::at);
    let row = |happening: &Happening| {
        let (what, bytes): (_, &[u8]) = match happening {
            Happening::Bytes { bytes, .. } => ("bytes", bytes),
            Happening::Disconnect { .. } => ("disconnect", b""),
            Happening::Reconnect { .. } => ("reconnect", b""),
        };
        (happening.at().as_secs_f64(), what, PyBytes::new(py, bytes))
    };
    Ok(happenings.iter().map(row).collect())
}
