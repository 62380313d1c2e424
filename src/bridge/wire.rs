//! A link as Python's thin face sees it: arguments in, operations out. Converts, decides nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::clerk;
use super::errors::{bad_message, to_python};
use super::event::PyEvent;
use super::framing::PyFraming;
use super::label::Label;
use super::operation::Operation;
use super::options::Common;
use super::stream::Stream;
use super::turns::{Need, Turns};
use super::values::{PyPattern, TraceRow, span, trace_row};
use super::work::{Start, Work};
use crate::error::LinkError;
use crate::lifecycle::{self, engine};
use crate::link::job::{Ending, Request, Want, What};
use crate::link::session::Wish;
use crate::link::{Held, Link, Tether};

/// The part of a link that lives in Rust. Held by faces only; when the last lets go, the link closes itself.
#[pyclass(frozen, weakref, module = "labtether._core")]
pub(super) struct Wire {
    tether: Arc<Tether>,
    /// Whether commands are text.
    text: bool,
    turn: Duration,
    turns: Arc<Turns>,
}

impl Wire {
    pub(super) fn new(common: Common) -> Wire {
        let Common { config, text, turn } = common;
        let turns = Turns::new(&config.name);
        Wire { tether: Arc::new(Tether(Link::new(config))), text, turn, turns }
    }

    fn link(&self) -> &Arc<Link> {
        &self.tether.0
    }

    fn label(&self, verb: &'static str) -> Label {
        Label::on(verb, &self.link().config.name)
    }

    fn operation(&self, what: Label, start: Start) -> Operation {
        Operation::new(what, self.text, start)
    }

    fn job(
        &self,
        label: Label,
        what: What,
        talk: Option<u64>,
        limit: Option<f64>,
        turn: Option<f64>,
    ) -> PyResult<Operation> {
        let limit = limit.map_or(Ok(self.link().config.limit), span)?;
        let turn = turn.map_or(Ok(self.turn), span)?;
        let tether = self.tether.clone();
        let need = match what {
            What::Query { .. } => Need::Once,
            What::Talk { .. } => Need::Whole,
            _ => Need::None,
        };
        let turns = self.turns.clone();
        let ordered = matches!(what, What::Read(_) | What::Receive { .. });
        let operation = self.operation(
            label,
            Box::new(move || {
                let clock = engine()?.clock();
                turns.before(need, || {
                    let pending = tether.0.ask(what, talk, limit, turn, clock);
                    Box::new(Held { pending, tether })
                })
            }),
        );
        Ok(if ordered { operation.ordered() } else { operation })
    }

    fn frame(&self, body: &[u8], raw: bool) -> PyResult<Bytes> {
        match &self.link().config.framing {
            Some(framing) if !raw => framing.encode(body).map_err(|error| Python::attach(|py| bad_message(py, &error))),
            _ => Ok(Bytes::copy_from_slice(body)),
        }
    }

    fn framing(&self, given: Option<&Bound<'_, PyFraming>>) -> PyResult<crate::framing::Framing> {
        if let Some(framing) = given {
            let fresh = framing.get().fresh();
            clerk::needed(framing.py(), Some(&fresh))?;
            return Ok(fresh);
        }
        let own = self.link().config.framing.clone();
        own.ok_or_else(|| PyValueError::new_err("a link with framing=None needs framing= for each reply"))
    }

    fn raise(&self, py: Python<'_>, error: &LinkError) -> PyErr {
        to_python(py, error, self.text)
    }

    fn now(&self, py: Python<'_>) -> PyResult<&'static lifecycle::Engine> {
        engine().map_err(|error| self.raise(py, &error))
    }
}

#[pymethods]
impl Wire {
    /// Opens it.
    fn setup(&self, py: Python<'_>, place: String, replace: bool, once: bool) -> PyResult<Operation> {
        let link = self.link().clone();
        clerk::needed(py, link.config.framing.as_ref())?;
        let wish = Wish { place, replace, once };
        let tether = self.tether.clone();
        Ok(self.operation(
            Label::of("setting up", &link.config.name),
            Box::new(move || {
                let pending = engine()?.setup(&link, wish);
                Ok(Box::new(Held { pending, tether }) as Box<dyn Work>)
            }),
        ))
    }

    /// Closes it.
    fn stop(&self) -> Operation {
        let link = self.link().clone();
        self.operation(
            Label::of("stopping", &link.config.name),
            Box::new(move || match lifecycle::started() {
                Some(engine) => Ok(Box::new(engine.stop(&link)) as Box<dyn Work>),
                None => Err(engine().err().unwrap_or(LinkError::Forked).into()),
            }),
        )
        .shielded()
    }

    /// Whether `stop` has anything to do: nothing was ever started, or the process is ending and everything is stopped.
    fn never_started(&self) -> bool {
        !lifecycle::is_forked() && (lifecycle::started().is_none() || self.link().state() == "closed")
    }

    #[pyo3(signature = (command, raw, framing, limit, turn))]
    fn query(
        &self,
        command: &[u8],
        raw: bool,
        framing: Option<&Bound<'_, PyFraming>>,
        limit: Option<f64>,
        turn: Option<f64>,
    ) -> PyResult<Operation> {
        let (frame, framing) = (self.frame(command, raw)?, self.framing(framing)?);
        let command = Bytes::copy_from_slice(command);
        let label = self.label("the query").with(&command);
        self.job(label, What::Query { command, frame, framing }, None, limit, turn)
    }

    #[pyo3(signature = (message, raw, urgent, limit, turn, talk))]
    fn send(
        &self,
        message: &[u8],
        raw: bool,
        urgent: bool,
        limit: Option<f64>,
        turn: Option<f64>,
        talk: Option<u64>,
    ) -> PyResult<Operation> {
        let frame = self.frame(message, raw)?;
        let command = Bytes::copy_from_slice(message);
        let label = self.label("sending").with(&command);
        self.job(label, What::Send { command, frame, urgent, raw: false }, talk, limit, turn)
    }

    #[pyo3(signature = (data, limit, turn))]
    fn write(&self, data: &[u8], limit: Option<f64>, turn: Option<f64>) -> PyResult<Operation> {
        let frame = Bytes::copy_from_slice(data);
        let label = self.label("writing").counting(data.len());
        self.job(label, What::Send { command: frame.clone(), frame, urgent: false, raw: true }, None, limit, turn)
    }

    #[pyo3(signature = (pattern, framing, limit, talk))]
    fn receive(
        &self,
        pattern: Option<&Bound<'_, PyPattern>>,
        framing: Option<&Bound<'_, PyFraming>>,
        limit: Option<f64>,
        talk: Option<u64>,
    ) -> PyResult<Operation> {
        let pattern = pattern.map(|pattern| pattern.get().0.clone());
        let framing = match (framing, talk) {
            (None, None) => None,
            (given, _) => Some(self.framing(given)?),
        };
        self.job(self.label("receiving"), What::Receive { pattern, framing }, talk, limit, None)
    }

    /// Unasked messages that were not wanted after all go back to the front. Does nothing if the link is closed.
    fn give_back(&self, bodies: Vec<Vec<u8>>) {
        if let Some(engine) = lifecycle::started() {
            let bodies = bodies.into_iter().map(Bytes::from).collect();
            // Closed meanwhile: then there is nobody to receive them.
            let _ = self.link().tell(Request::GiveBack(bodies), engine.clock());
        }
    }

    #[pyo3(signature = (n, limit, turn, talk))]
    fn read(&self, n: usize, limit: Option<f64>, turn: Option<f64>, talk: Option<u64>) -> PyResult<Operation> {
        self.job(self.label("reading").counting(n), What::Read(Want::Exactly(n)), talk, limit, turn)
    }

    #[pyo3(signature = (end, limit, turn, talk))]
    fn read_until(
        &self,
        end: Vec<u8>,
        limit: Option<f64>,
        turn: Option<f64>,
        talk: Option<u64>,
    ) -> PyResult<Operation> {
        let end = Bytes::from(end);
        self.job(self.label("reading until").with(&end), What::Read(Want::Until(end)), talk, limit, turn)
    }

    #[pyo3(signature = (max_bytes, limit, turn, talk))]
    fn read_some(
        &self,
        max_bytes: usize,
        limit: Option<f64>,
        turn: Option<f64>,
        talk: Option<u64>,
    ) -> PyResult<Operation> {
        self.job(
            self.label("reading at most").counting(max_bytes),
            What::Read(Want::Some(max_bytes)),
            talk,
            limit,
            turn,
        )
    }

    fn discard_input(&self) -> PyResult<Operation> {
        self.job(self.label("discarding input"), What::Discard, None, None, None)
    }

    /// Takes the line for an exchange begun at `place`; its number is the value.
    #[pyo3(signature = (place, limit, turn))]
    fn open_talk(&self, place: &str, limit: Option<f64>, turn: Option<f64>) -> PyResult<Operation> {
        self.job(self.label("an exchange"), What::Talk { place: Arc::from(place) }, None, limit, turn)
    }

    /// Waits for what is owed to the waits of exchange `talk` that were given up, and drops it.
    fn catch_up(&self, talk: u64) -> PyResult<Operation> {
        self.job(self.label("catching up"), What::CatchUp, Some(talk), None, None)
    }

    /// The error for a message that Python could not make sense of.
    #[pyo3(signature = (why, heard, command))]
    fn unreadable(&self, py: Python<'_>, why: String, heard: Vec<u8>, command: Option<Vec<u8>>) -> PyErr {
        let now = lifecycle::started().map(|engine| engine.clock().now());
        let error = self.link().unreadable(why, heard.into(), command.map(Bytes::from), now);
        self.raise(py, &error)
    }

    /// Gives the line back. Does not wait, and does nothing if the link is closed.
    fn end_talk(&self, talk: u64, clean: bool, cancelled: bool) {
        self.turns.over(talk);
        let ending = match (clean, cancelled) {
            (true, _) => Ending::Clean,
            (false, false) => Ending::Failed,
            (false, true) => Ending::Cancelled,
        };
        if let Some(engine) = lifecycle::started() {
            // Closed meanwhile: then the exchange has ended with the link.
            let _ = self.link().tell(Request::EndTalk { talk, ending }, engine.clock());
        }
    }

    #[pyo3(signature = (command, raw, framing, every, count, limit, turn, skip_errors, capacity))]
    #[expect(clippy::too_many_arguments, reason = "a poll's settings, one each")]
    fn poll(
        &self,
        py: Python<'_>,
        command: &[u8],
        raw: bool,
        framing: Option<&Bound<'_, PyFraming>>,
        every: f64,
        count: Option<u64>,
        limit: Option<f64>,
        turn: Option<f64>,
        skip_errors: bool,
        capacity: usize,
    ) -> PyResult<Stream> {
        let (frame, framing) = (self.frame(command, raw)?, self.framing(framing)?);
        let limit = limit.map_or(Ok(self.link().config.limit), span)?;
        let turn = turn.map_or(Ok(self.turn), span)?;
        let every = span(every)?;
        let engine = self.now(py)?;
        let command = Bytes::copy_from_slice(command);
        let label = self.label("the poll").with(&command);
        let stream = Stream::new(self.tether.clone(), capacity, label, self.text);
        let poll = crate::link::job::Poll {
            id: stream.id,
            command,
            frame,
            framing,
            every,
            count,
            limit,
            turn,
            skip_errors,
            feed: stream.feed.clone(),
        };
        self.link().tell(Request::Poll(poll), engine.clock()).map_err(|error| self.raise(py, &error))?;
        Ok(stream)
    }

    #[pyo3(signature = (pattern, capacity))]
    fn messages(&self, py: Python<'_>, pattern: Option<&Bound<'_, PyPattern>>, capacity: usize) -> PyResult<Stream> {
        let engine = self.now(py)?;
        let pattern = pattern.map(|pattern| pattern.get().0.clone());
        let stream = Stream::new(self.tether.clone(), capacity, self.label("messages"), self.text);
        let request = Request::Subscribe { id: stream.id, pattern, feed: stream.feed.clone() };
        self.link().tell(request, engine.clock()).map_err(|error| self.raise(py, &error))?;
        Ok(stream)
    }

    /// closed, opening, open, closing or lost.
    #[getter]
    fn state(&self) -> &'static str {
        // A forked child has a copy of the parent's memory, not of its links.
        if lifecycle::is_forked() { "closed" } else { self.link().state() }
    }

    /// Where it was set up, if it is.
    #[getter]
    fn set_up_at(&self) -> Option<String> {
        self.link().set_up_at()
    }

    /// Exchanges, bytes written, bytes read, late replies, messages dropped, and the monotonic time of the last byte.
    fn counts(&self) -> (u64, u64, u64, u64, u64, Option<f64>) {
        let counts = self.link().counts();
        let last = counts.last.map(|last| last.moment.since_zero().as_secs_f64());
        (counts.exchanges, counts.written, counts.read, counts.late, counts.dropped, last)
    }

    /// The last events on the wire, oldest first.
    fn trace<'py>(&self, py: Python<'py>) -> Vec<TraceRow<'py>> {
        self.link().trace.events().iter().map(|event| trace_row(py, event)).collect()
    }

    /// Sets `event` when no session is left: lost, or stopped.
    fn set_when_over(&self, event: &Bound<'_, PyEvent>) {
        let (link, event) = (self.link().clone(), event.get().shared());
        if let Some(engine) = lifecycle::started() {
            engine.spawn("watch", async move {
                link.over().await;
                event.set();
            });
        }
    }

    /// The error of a link that was lost; None for any other.
    fn lost(&self, py: Python<'_>) -> Option<PyErr> {
        let lost = self.link().why_lost(lifecycle::started()?.clock().now())?;
        Some(self.raise(py, &lost))
    }

    /// Closes it in the background, with its last words: nothing refers to it any more.
    fn forget(&self) {
        if !lifecycle::is_forked() {
            self.link().end(crate::link::job::Closing::Forgotten);
        }
    }
}
