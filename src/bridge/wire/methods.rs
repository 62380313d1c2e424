//! What a link does, one method each.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use pyo3::prelude::*;

use super::super::clerk;
use super::super::event::PyEvent;
use super::super::framing::PyFraming;
use super::super::label::Label;
use super::super::operation::Operation;
use super::super::options::{parity_of, stop_bits_of};
use super::super::question::{PyAbort, PyMore, abort};
use super::super::stream::Stream;
use super::super::values::{PyPattern, TraceRow, span, trace_row};
use super::super::work::Work;
use super::{Wire, ending};
use crate::error::LinkError;
use crate::lifecycle::{self, engine};
use crate::link::Held;
use crate::link::job::{Request, Task, Want, What};
use crate::link::rules::IdOf;
use crate::link::session::Wish;
use crate::transport::control::{Change, Control};

#[pymethods]
impl Wire {
    /// Opens it.
    fn setup(&self, py: Python<'_>, place: String, replace: bool, once: bool) -> PyResult<Operation> {
        let link = self.link().clone();
        clerk::needed(py, link.config.rules.framing.as_ref())?;
        if matches!(&link.config.rules.ids, Some(IdOf::Asked(_))) {
            clerk::start(py)?;
        }
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

    #[pyo3(signature = (command, raw, framing, limit, turn, more))]
    fn query(
        &self,
        command: &[u8],
        raw: bool,
        framing: Option<&Bound<'_, PyFraming>>,
        limit: Option<f64>,
        turn: Option<f64>,
        more: Option<&Bound<'_, PyMore>>,
    ) -> PyResult<Operation> {
        let question = self.question(command, raw, framing, more)?;
        let label = self.label("the query").with(&question.command);
        self.job(label, What::Query(Box::new(question)), None, limit, turn)
    }

    /// What stops the instrument: framed for this link, with what its answer looks like and how long that is waited for.
    #[pyo3(signature = (message, raw, reply, limit))]
    fn abort(&self, message: &[u8], raw: bool, reply: Option<&Bound<'_, PyPattern>>, limit: f64) -> PyResult<PyAbort> {
        abort(message, self.frame(message, raw)?, reply, limit)
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

    #[pyo3(signature = (pattern, framing, accept, limit, talk))]
    fn receive(
        &self,
        pattern: Option<&Bound<'_, PyPattern>>,
        framing: Option<&Bound<'_, PyFraming>>,
        accept: Option<&Bound<'_, PyPattern>>,
        limit: Option<f64>,
        talk: Option<u64>,
    ) -> PyResult<Operation> {
        let pattern = pattern.map(|pattern| pattern.get().0.clone());
        let accept = accept.map(|accept| accept.get().0.clone());
        let framing = match (framing, talk) {
            (None, None) => None,
            (given, _) => Some(self.framing(given)?),
        };
        self.job(self.label("receiving"), What::Receive { pattern, framing, accept }, talk, limit, None)
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
    #[pyo3(signature = (place, limit, turn, abort))]
    fn open_talk(
        &self,
        place: &str,
        limit: Option<f64>,
        turn: Option<f64>,
        abort: Option<&Bound<'_, PyAbort>>,
    ) -> PyResult<Operation> {
        let abort = abort.map(|abort| Box::new(abort.get().0.clone()));
        self.job(self.label("an exchange"), What::Talk { place: Arc::from(place), abort }, None, limit, turn)
    }

    /// Gives the line back, and waits for the abort if there is one; what the instrument did is the value.
    fn leave_talk(&self, talk: u64, clean: bool, cancelled: bool, patience: f64) -> PyResult<Operation> {
        self.turns.over(talk);
        let what = What::Leave(ending(clean, cancelled));
        let operation = self.job(self.label("leaving an exchange"), what, Some(talk), None, None)?;
        Ok(operation.shielded().patient(span(patience)?))
    }

    /// Holds the line in break.
    #[pyo3(signature = (seconds, turn, talk))]
    fn send_break(&self, seconds: f64, turn: Option<f64>, talk: Option<u64>) -> PyResult<Operation> {
        let task = Task::Break(span(seconds)?);
        self.job(self.label("a break"), What::Control(task), talk, None, turn)
    }

    /// Sets the modem lines that are given.
    #[pyo3(signature = (dtr, rts))]
    fn set_lines(&self, dtr: Option<bool>, rts: Option<bool>) -> PyResult<Operation> {
        self.now("setting the lines", Control::SetLines { dtr, rts })
    }

    /// The modem lines: cts, dsr, ri, cd, dtr, rts.
    fn lines(&self) -> PyResult<Operation> {
        self.now("reading the lines", Control::ReadLines)
    }

    /// Ends the stream to the instrument; it can still talk.
    fn write_eof(&self) -> PyResult<Operation> {
        self.now("ending the output", Control::WriteEof)
    }

    /// Waits until what was written has left.
    #[pyo3(signature = (limit))]
    fn drain(&self, limit: Option<f64>) -> PyResult<Operation> {
        self.job(self.label("draining"), What::Control(Task::Drain), None, limit, None)
    }

    /// Other settings of the line, from now on.
    #[pyo3(signature = (baudrate, bytesize, parity, stopbits, xonxoff, rtscts, dsrdtr, turn))]
    #[expect(clippy::too_many_arguments, reason = "pyserial's settings, one each")]
    fn configure(
        &self,
        baudrate: Option<u32>,
        bytesize: Option<u8>,
        parity: Option<&str>,
        stopbits: Option<f64>,
        xonxoff: Option<bool>,
        rtscts: Option<bool>,
        dsrdtr: Option<bool>,
        turn: Option<f64>,
    ) -> PyResult<Operation> {
        let parity = parity.map(parity_of).transpose()?;
        let stopbits = stopbits.map(stop_bits_of).transpose()?;
        let change = Change { baudrate, bytesize, parity, stopbits, xonxoff, rtscts, dsrdtr };
        self.job(self.label("configuring"), What::Control(Task::Configure(change)), None, None, turn)
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

    /// The error that a reply is; None for any other.
    fn refusal(&self, py: Python<'_>, heard: &[u8]) -> Option<PyErr> {
        let now = lifecycle::started().map(|engine| engine.clock().now());
        let error = self.link().refusal(&Bytes::copy_from_slice(heard), now)?;
        Some(self.raise(py, &error))
    }

    /// Gives the line back. Does not wait, and does nothing if the link is closed.
    fn end_talk(&self, talk: u64, clean: bool, cancelled: bool) {
        self.turns.over(talk);
        let ending = ending(clean, cancelled);
        if let Some(engine) = lifecycle::started() {
            // Closed meanwhile: then the exchange has ended with the link.
            let _ = self.link().tell(Request::EndTalk { talk, ending }, engine.clock());
        }
    }

    #[pyo3(signature = (command, raw, framing, every, count, limit, turn, skip_errors, capacity, more))]
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
        more: Option<&Bound<'_, PyMore>>,
    ) -> PyResult<Stream> {
        let question = self.question(command, raw, framing, more)?;
        let limit = limit.map_or(Ok(self.link().config.rules.limit), span)?;
        let turn = turn.map_or(Ok(self.turn), span)?;
        let every = span(every)?;
        let engine = self.engine(py)?;
        let label = self.label("the poll").with(&question.command);
        let stream = Stream::new(self.tether.clone(), capacity, label, self.text);
        let poll = crate::link::job::Poll {
            id: stream.id,
            question,
            every,
            count,
            limit,
            turn,
            skip_errors,
            asker: self.asker()?,
            feed: stream.feed.clone(),
        };
        self.link().tell(Request::Poll(poll), engine.clock()).map_err(|error| self.raise(py, &error))?;
        Ok(stream)
    }

    #[pyo3(signature = (pattern, capacity))]
    fn messages(&self, py: Python<'_>, pattern: Option<&Bound<'_, PyPattern>>, capacity: usize) -> PyResult<Stream> {
        let engine = self.engine(py)?;
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
        if lifecycle::is_forked() || self.is_usable().is_err() { "closed" } else { self.link().state() }
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

    /// The same link, for readying a new connection: what is asked here goes before everybody else.
    fn first(&self) -> Wire {
        self.for_readying()
    }

    /// The same link, for another face of it, which is not set up.
    fn another(&self) -> Wire {
        self.for_another()
    }

    /// Of several faces of one link: whether this one is set up.
    fn set_closed(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// Closes it in the background, with its last words: nothing refers to it any more.
    fn forget(&self) {
        if !lifecycle::is_forked() {
            self.link().end(crate::link::job::Closing::Forgotten);
        }
    }
}
