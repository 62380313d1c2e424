//! The options that every kind of link has, as Python hands them over: checked there, converted here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::errors::bad_message;
use super::framing::PyFraming;
use super::values::{PyPattern, span};
use crate::lifecycle::log;
use crate::link::Config;
use crate::link::conversation::Resync;
use crate::link::opener::Opener;
use crate::transport::serial::{Parity, StopBits};

/// A link's configuration, and what only its face needs.
pub(super) struct Common {
    pub(super) config: Config,
    pub(super) text: bool,
    pub(super) turn: Duration,
}

/// The options every kind of link has; Python has checked them and filled in the defaults.
pub(super) fn common(opener: Box<dyn Opener>, options: &Bound<'_, PyDict>) -> PyResult<Common> {
    fn get<'py, T: FromPyObjectOwned<'py>>(options: &Bound<'py, PyDict>, key: &str) -> PyResult<T> {
        let value = options.get_item(key)?.ok_or_else(|| PyValueError::new_err(format!("option {key} is missing")))?;
        value.extract::<T>().map_err(Into::into)
    }
    let framing: Option<Py<PyFraming>> = get(options, "framing")?;
    let framing = framing.map(|framing| framing.get().fresh());
    let resync: Option<(Vec<u8>, Py<PyPattern>)> = get(options, "resync")?;
    let framed = |body: Vec<u8>| -> PyResult<Bytes> {
        match &framing {
            Some(framing) => framing.encode(&body).map_err(|error| bad_message(options.py(), &error)),
            None => Ok(Bytes::from(body)),
        }
    };
    let resync = match resync {
        Some((command, answer)) => Some(Resync {
            frame: framed(command.clone())?,
            command: Bytes::from(command),
            answer: answer.get().0.clone(),
        }),
        None => None,
    };
    let park: Option<(Vec<u8>, bool)> = get(options, "park")?;
    let park = match park {
        Some((bytes, true)) => Some(Bytes::from(bytes)),
        Some((body, false)) => Some(framed(body)?),
        None => None,
    };
    let config = Config {
        name: Arc::from(get::<String>(options, "name")?),
        port: Arc::from(get::<String>(options, "port")?),
        opener,
        framing,
        limit: span(get(options, "timeout")?)?,
        drain: span(get(options, "drain")?)?,
        settle: span(get(options, "settle")?)?,
        resync,
        trace: get(options, "trace")?,
        close_timeout: span(get(options, "close_timeout")?)?,
        park,
        log: log(),
    };
    Ok(Common { config, text: get(options, "text")?, turn: span(get(options, "turn")?)? })
}

/// pyserial's letters.
pub(super) fn parity_of(letter: &str) -> PyResult<Parity> {
    match letter {
        "N" => Ok(Parity::None),
        "E" => Ok(Parity::Even),
        "O" => Ok(Parity::Odd),
        "M" => Ok(Parity::Mark),
        "S" => Ok(Parity::Space),
        other => Err(PyValueError::new_err(format!("parity is one of N, E, O, M, S, not {other:?}"))),
    }
}

/// pyserial's numbers.
pub(super) fn stop_bits_of(number: f64) -> PyResult<StopBits> {
    match number {
        1.0 => Ok(StopBits::One),
        1.5 => Ok(StopBits::OnePointFive),
        2.0 => Ok(StopBits::Two),
        other => Err(PyValueError::new_err(format!("stopbits is 1, 1.5 or 2, not {other}"))),
    }
}
