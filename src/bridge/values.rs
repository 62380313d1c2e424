//! Small values that cross over: patterns, spans of time, ports, trace events.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use regex::bytes::{Regex, RegexBuilder};

use crate::link::trace::Event;
use crate::transport::ports::{self, PortInfo};

/// Seconds as Python gives them; infinity is no limit.
pub(super) fn span(seconds: f64) -> PyResult<Duration> {
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!("a time in seconds is not negative: {seconds}")));
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// A compiled pattern, searched in message bodies.
#[pyclass(frozen, name = "Pattern", module = "labtether._core")]
pub(super) struct PyPattern(pub(super) Regex);

#[pymethods]
impl PyPattern {
    #[new]
    #[pyo3(signature = (pattern, utf8, ignore_case=false, multi_line=false, dot_all=false, verbose=false))]
    fn new(
        pattern: &str,
        utf8: bool,
        ignore_case: bool,
        multi_line: bool,
        dot_all: bool,
        verbose: bool,
    ) -> PyResult<PyPattern> {
        RegexBuilder::new(pattern)
            .unicode(utf8)
            .case_insensitive(ignore_case)
            .multi_line(multi_line)
            .dot_matches_new_line(dot_all)
            .ignore_whitespace(verbose)
            .build()
            .map(PyPattern)
            .map_err(|error| {
                PyValueError::new_err(format!(
                    "this pattern cannot be matched in Rust ({}); for lookaround and back-references give a function of the message instead",
                    error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ")
                ))
            })
    }
}

/// An event of a trace: (epoch, monotonic, direction, data, note).
pub(super) type TraceRow<'py> = (f64, f64, &'static str, Bound<'py, PyBytes>, String);

pub(super) fn trace_row<'py>(py: Python<'py>, event: &Event) -> TraceRow<'py> {
    let (epoch, moment) = (event.at.epoch.as_secs_f64(), event.at.moment.since_zero().as_secs_f64());
    (epoch, moment, event.direction.sign(), PyBytes::new(py, &event.data), event.note.clone())
}

/// A serial port: device, name, description, vid, pid, serial_number, manufacturer, product, interface, location.
pub(super) type PortRow = (
    String,
    String,
    String,
    Option<u16>,
    Option<u16>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<u8>,
    Option<String>,
);

fn port_row(port: PortInfo) -> PortRow {
    let PortInfo { device, name, description, vid, pid, serial_number, manufacturer, product, interface, location } =
        port;
    (device, name, description, vid, pid, serial_number, manufacturer, product, interface, location)
}

/// The serial ports there are.
#[pyfunction]
pub(super) fn list_ports(py: Python<'_>) -> Vec<PortRow> {
    py.detach(ports::ports).into_iter().map(port_row).collect()
}
