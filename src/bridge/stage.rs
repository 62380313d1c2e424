//! How far an operation has come. Data only; `operation.rs` moves it on.

use std::task::Waker;

use pyo3::prelude::*;

use super::port::Port;
use super::work::{Refusal, Start, Verdict, Work};
use crate::error::Effect;

pub(super) enum Stage {
    Idle(Start),
    Waiting(UnderWay),
    /// The verdict has come, and is for whoever settles the cancellation.
    Settled(Verdict),
    Over,
}

pub(super) struct UnderWay {
    pub(super) work: Box<dyn Work>,
    pub(super) waker: Waker,
    pub(super) port: Option<Py<Port>>,
}

pub(super) struct State {
    pub(super) stage: Stage,
    /// The generator that sees a cancellation through.
    pub(super) settling: Option<Py<PyAny>>,
    /// What the instrument did, once a cancellation was seen through.
    pub(super) effect: Option<Effect>,
}

/// What one look at it gave.
pub(super) enum Step {
    Ready(Verdict),
    Refused(Refusal),
    Pending,
}
