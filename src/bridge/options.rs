//! The options that every kind of link has, as Python hands them over: checked there, converted here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use regex::bytes::Regex;

use super::clerk;
use super::errors::bad_message;
use super::framing::PyFraming;
use super::seats::seat;
use super::values::{PyPattern, span};
use crate::framing::Framing;
use crate::framing::oracle::Inquiry;
use crate::lifecycle::{engine, log};
use crate::link::Config;
use crate::link::opener::Opener;
use crate::link::reconnecting::Ready;
use crate::link::rules::{Echo, IdOf, KeepAlive, Pacing, Reconnect, Resync, Rules};
use crate::nursery::thread::on_thread;
use crate::transport::serial::{Parity, StopBits};

/// A link's configuration, and what only its face needs.
pub(super) struct Common {
    pub(super) config: Config,
    pub(super) text: bool,
    pub(super) turn: Duration,
}

/// How to get back in step: a command with its answer, a break of so many seconds, or neither: opened again.
type Policy = (Option<Vec<u8>>, Option<Py<PyPattern>>, Option<f64>);

/// A keep-alive: command, whether it is raw, seconds, whether it has a reply, the id in it.
type Awake = (Vec<u8>, bool, f64, bool, Option<Vec<u8>>);

/// Where a reply's id is: the group of a pattern, a slice, or where a function says.
type Ids = (Option<Py<PyPattern>>, Option<(usize, usize)>, Option<Py<PyAny>>);

/// The options every kind of link has; Python has checked them and filled in the defaults.
pub(super) fn common(opener: Box<dyn Opener>, options: &Bound<'_, PyDict>) -> PyResult<Common> {
    fn get<'py, T: FromPyObjectOwned<'py>>(options: &Bound<'py, PyDict>, key: &str) -> PyResult<T> {
        let value = options.get_item(key)?.ok_or_else(|| PyValueError::new_err(format!("option {key} is missing")))?;
        value.extract::<T>().map_err(Into::into)
    }
    let framing: Option<Py<PyFraming>> = get(options, "framing")?;
    let framing = framing.map(|framing| framing.get().fresh());
    if framing.as_ref().is_some_and(Framing::wants_packets) && !opener.keeps_packets() {
        return Err(PyValueError::new_err("Packets are for links that have packets: lt.usb"));
    }
    let framed = |body: &[u8], raw: bool| -> PyResult<Bytes> {
        match &framing {
            Some(framing) if !raw => framing.encode(body).map_err(|error| bad_message(options.py(), &error)),
            _ => Ok(Bytes::copy_from_slice(body)),
        }
    };
    let pattern = |key: &str| -> PyResult<Option<Regex>> {
        let pattern: Option<Py<PyPattern>> = get(options, key)?;
        Ok(pattern.map(|pattern| pattern.get().0.clone()))
    };
    let park: Option<(Vec<u8>, bool)> = get(options, "park")?;
    let park = park.map(|(body, raw)| framed(&body, raw)).transpose()?;
    let resync: Option<Policy> = get(options, "resync")?;
    let resync = match resync {
        Some((Some(command), Some(answer), _)) => Some(Resync::Command {
            frame: framed(&command, false)?,
            command: Bytes::from(command),
            answer: answer.get().0.clone(),
        }),
        Some((_, _, Some(seconds))) => Some(Resync::Break(span(seconds)?)),
        Some(_) => Some(Resync::Reopen),
        None => None,
    };
    let keepalive: Option<Awake> = get(options, "keepalive")?;
    let keepalive = match keepalive {
        Some((command, raw, every, replies, id)) => Some(KeepAlive {
            frame: framed(&command, raw)?,
            command: Bytes::from(command),
            reply: framing.clone().filter(|_| replies),
            id: id.map(Bytes::from),
            every: span(every)?,
        }),
        None => None,
    };
    let ids: Option<Ids> = get(options, "ids")?;
    let ids = match ids {
        Some((Some(pattern), ..)) => Some(IdOf::Group(pattern.get().0.clone())),
        Some((_, Some((start, end)), _)) => Some(IdOf::Slice(start..end)),
        Some((_, _, function)) => {
            let function = function.ok_or_else(|| PyValueError::new_err("match has no reply"))?;
            let oracle = clerk::oracle(function.bind(options.py()), "the reply function of ById")?;
            Some(IdOf::Asked(Inquiry::of(oracle).fresh()))
        }
        None => None,
    };
    let echo = match get::<String>(options, "echo")?.as_str() {
        "bytes" => Echo::Bytes,
        "line" => Echo::Line,
        _ => Echo::None,
    };
    let reconnect: Option<(f64, f64, f64, Option<f64>)> = get(options, "reconnect")?;
    let reconnect = match reconnect {
        Some((first, factor, limit, give_up)) => Some(Reconnect {
            first: span(first)?,
            factor,
            limit: span(limit)?,
            give_up: give_up.map(span).transpose()?,
        }),
        None => None,
    };
    let pacing = Pacing {
        gap: span(get(options, "gap")?)?,
        char_delay: span(get(options, "char_delay")?)?,
        chunk: get(options, "chunk")?,
    };
    let rules = Rules {
        limit: span(get(options, "timeout")?)?,
        drain: span(get(options, "drain")?)?,
        settle: span(get(options, "settle")?)?,
        resync,
        ids,
        echo,
        unsolicited: pattern("unsolicited")?,
        error: pattern("error")?,
        busy: pattern("busy")?,
        keepalive,
        pacing,
        reconnect,
        framing,
        ..Rules::default()
    };
    let name: String = get(options, "name")?;
    let config = Config {
        name: Arc::from(name.as_str()),
        port: Arc::from(get::<String>(options, "port")?),
        opener,
        rules,
        trace: get(options, "trace")?,
        close_timeout: span(get(options, "close_timeout")?)?,
        park,
        ready: get::<Option<Py<PyAny>>>(options, "ready")?.map(|call| ready(call, &name)),
        log: log(),
    };
    Ok(Common { config, text: get(options, "text")?, turn: span(get(options, "turn")?)? })
}

/// Calls `call` on a thread of its own, with a name: it runs the user's code, which may take its time.
fn ready(call: Py<PyAny>, name: &str) -> Ready {
    let (call, thread) = (Arc::new(call), format!("labtether-ready-{name}"));
    Arc::new(move || {
        let (call, thread) = (call.clone(), thread.clone());
        Box::pin(async move {
            let engine = engine().map_err(|error| error.to_string())?;
            let nursery = &engine.place().nursery;
            let busy = engine.clock().busy();
            let work = move || {
                seat().work();
                drop(busy);
                let called = Python::try_attach(|py| call.call0(py).map(drop).map_err(|error| error.to_string()));
                called.unwrap_or_else(|| Err("the process is ending".to_owned()))
            };
            match on_thread(nursery.census(), Some(nursery.id()), &thread, work, drop).await {
                Ok(Some(result)) => result,
                Ok(None) => Err(format!("thread {thread} panicked")),
                Err(error) => Err(format!("no thread to run it on: {error}")),
            }
        })
    })
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
