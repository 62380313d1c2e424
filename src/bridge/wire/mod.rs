//! A link as Python's thin face sees it: arguments in, operations out. Converts, decides nothing. Its methods are in `methods.rs`.

mod lifespan;
mod methods;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::clerk;
use super::errors::{bad_message, to_python};
use super::framing::PyFraming;
use super::label::Label;
use super::operation::Operation;
use super::options::Common;
use super::question::{PyMore, patience};
use super::turns::{Need, Turns};
use super::values::span;
use super::work::Start;
use crate::error::LinkError;
use crate::lifecycle::{self, engine};
use crate::link::job::{Asker, Ending, Task, What};
use crate::link::question::Question;
use crate::link::{Held, Link, Tether};
use crate::transport::control::Control;

pub(super) use lifespan::{belong_to, is_busy, make_way, park_in};

/// The part of a link that lives in Rust. Held by faces only; when the last lets go, the link closes itself.
#[pyclass(frozen, weakref, module = "labtether._core")]
pub(super) struct Wire {
    tether: Arc<Tether>,
    /// Whether commands are text.
    text: bool,
    turn: Duration,
    turns: Arc<Turns>,
    /// For readying a new connection: what is asked here goes before everybody else.
    first: bool,
    /// Of several faces of one link: that this one is not set up, while others may be.
    closed: AtomicBool,
}

impl Wire {
    pub(super) fn new(common: Common) -> Wire {
        let Common { config, text, turn } = common;
        let turns = Turns::new(&config.name);
        Wire {
            tether: Arc::new(Tether(Link::new(config))),
            text,
            turn,
            turns,
            first: false,
            closed: AtomicBool::new(false),
        }
    }

    /// The same link, for readying a new connection.
    fn for_readying(&self) -> Wire {
        let (tether, turns) = (self.tether.clone(), self.turns.clone());
        Wire { tether, text: self.text, turn: self.turn, turns, first: true, closed: AtomicBool::new(false) }
    }

    /// The same link, for another face of it, which is not set up.
    fn for_another(&self) -> Wire {
        Wire { first: false, closed: AtomicBool::new(true), ..self.for_readying() }
    }

    /// *Errors*: this face is not set up.
    fn is_usable(&self) -> Result<(), LinkError> {
        if self.closed.load(Ordering::Relaxed) { Err(self.link().not_set_up()) } else { Ok(()) }
    }

    pub(super) fn link(&self) -> &Arc<Link> {
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
        let limit = limit.map_or(Ok(self.link().config.rules.limit), span)?;
        let turn = turn.map_or(Ok(self.turn), span)?;
        let tether = self.tether.clone();
        let need = match what {
            What::Query(_) => Need::Once,
            What::Talk { .. } => Need::Whole,
            _ => Need::None,
        };
        let patience = match &what {
            What::Query(question) => patience(question, limit),
            _ => Duration::ZERO,
        };
        // What becomes of an exchange is told once, when it is left.
        let label = if talk.is_some() && !matches!(what, What::Leave(_)) { label.inside() } else { label };
        let turns = self.turns.clone();
        let asker = self.asker()?;
        let usable = self.is_usable();
        let ordered = matches!(what, What::Read(_) | What::Receive { .. });
        let operation = self.operation(
            label,
            Box::new(move || {
                let clock = engine()?.clock();
                usable?;
                turns.before(need, || {
                    let pending = tether.0.ask_as(asker, what, talk, limit, turn, clock);
                    Box::new(Held { pending, tether })
                })
            }),
        );
        let operation = operation.patient(patience);
        let operation = if asker == Asker::Lifespan { operation.of_lifespan() } else { operation };
        Ok(if ordered { operation.ordered() } else { operation })
    }

    fn frame(&self, body: &[u8], raw: bool) -> PyResult<Bytes> {
        match &self.link().config.rules.framing {
            Some(framing) if !raw => framing.encode(body).map_err(|error| Python::attach(|py| bad_message(py, &error))),
            _ => Ok(Bytes::copy_from_slice(body)),
        }
    }

    fn framing(&self, given: Option<&Bound<'_, PyFraming>>) -> PyResult<crate::framing::Framing> {
        if let Some(framing) = given {
            let fresh = framing.get().fresh();
            if fresh.wants_packets() != self.link().config.opener.keeps_packets() {
                return Err(PyValueError::new_err(
                    "on a link with framing=Packets() every reply is a packet, and on others none is: no framing= changes that",
                ));
            }
            clerk::needed(framing.py(), Some(&fresh))?;
            return Ok(fresh);
        }
        let own = self.link().config.rules.framing.clone();
        own.ok_or_else(|| PyValueError::new_err("a link with framing=None needs framing= for each reply"))
    }

    fn question(
        &self,
        command: &[u8],
        raw: bool,
        framing: Option<&Bound<'_, PyFraming>>,
        more: Option<&Bound<'_, PyMore>>,
    ) -> PyResult<Question> {
        let (frame, framing) = (self.frame(command, raw)?, self.framing(framing)?);
        let question = Question::new(Bytes::copy_from_slice(command), frame, framing);
        Ok(match more {
            Some(more) => more.get().of(question),
            None => question,
        })
    }

    /// Something done to the line at once, whoever has it.
    fn now(&self, verb: &'static str, control: Control) -> PyResult<Operation> {
        self.job(self.label(verb), What::Control(Task::Now(control)), None, None, None)
    }

    fn raise(&self, py: Python<'_>, error: &LinkError) -> PyErr {
        to_python(py, error, self.text)
    }

    fn engine(&self, py: Python<'_>) -> PyResult<&'static lifecycle::Engine> {
        self.is_usable().and_then(|()| engine()).map_err(|error| self.raise(py, &error))
    }
}

fn ending(clean: bool, cancelled: bool) -> Ending {
    match (clean, cancelled) {
        (true, _) => Ending::Clean,
        (false, false) => Ending::Failed,
        (false, true) => Ending::Cancelled,
    }
}
