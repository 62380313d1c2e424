//! Waiting for a time, in Rust: kept by the runtime's timers, whatever a loop does meanwhile.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tokio::runtime::Handle;

use super::label::Label;
use super::operation::Operation;
use super::values::span;
use super::work::{Value, Verdict, Work};
use crate::clock::Clock;
use crate::lifecycle::engine;
use crate::link::ticket::Answer;
use crate::sync::Trouble;

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How many sleep.
static ASLEEP: AtomicUsize = AtomicUsize::new(0);

/// How many sleep now, by the clock as it is.
pub(super) fn asleep_now() -> usize {
    ASLEEP.load(Ordering::Relaxed)
}

struct Asleep {
    wait: Option<Wait>,
    runtime: Handle,
}

impl Asleep {
    fn new(wait: Wait, runtime: Handle) -> Asleep {
        ASLEEP.fetch_add(1, Ordering::Relaxed);
        Asleep { wait: Some(wait), runtime }
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        ASLEEP.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Work for Asleep {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        let _timers = self.runtime.enter();
        match &mut self.wait {
            Some(wait) => wait.as_mut().poll(cx).map(|()| Ok(Value::Wire(Answer::Nothing))),
            None => Poll::Ready(Err(Trouble::Cancelled.into())),
        }
    }

    fn cancel(&mut self) {
        let _timers = self.runtime.enter();
        self.wait = None;
    }
}

fn asleep(wait: impl FnOnce(Clock) -> Wait + Send + 'static) -> Operation {
    Operation::new(
        Label::of("sleeping", &Arc::from("")),
        true,
        Box::new(move || {
            let engine = engine()?;
            let runtime = engine.place().runtime.clone();
            let wait = {
                let _timers = runtime.enter();
                wait(engine.clock().clone())
            };
            Ok(Box::new(Asleep::new(wait, runtime)) as Box<dyn Work>)
        }),
    )
}

/// Sleeps for so many seconds from the moment it is awaited.
#[pyfunction]
pub(super) fn sleep(seconds: f64) -> PyResult<Operation> {
    let span = span(seconds)?;
    Ok(asleep(move |clock| {
        let deadline = clock.now() + span;
        Box::pin(async move { clock.sleep_until(deadline).await })
    }))
}

/// Sleeps until the wall clock shows so many seconds since 1970.
#[pyfunction]
pub(super) fn sleep_until(epoch: f64) -> PyResult<Operation> {
    if epoch.is_nan() {
        return Err(PyValueError::new_err("an epoch is a number of seconds since 1970, not nan"));
    }
    let epoch = span(epoch.max(0.0))?;
    Ok(asleep(move |clock| Box::pin(async move { clock.sleep_until_epoch(epoch).await })))
}
