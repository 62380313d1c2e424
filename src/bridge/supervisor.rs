//! The Rust half of a Python nursery: its deadline, its cancellation, and the Rust children beside the Python ones.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::errors::to_python;
use super::label::Label;
use super::operation::{CANCEL_TIMEOUT, Operation};
use super::port::Port;
use super::values::span;
use super::work::{Value, Verdict, Work};
use crate::clock::Moment;
use crate::error::LinkError;
use crate::lifecycle::engine;
use crate::link::ticket::next_id;
use crate::nursery::outcome::{Fault, Outcome};
use crate::nursery::{Nursery, Rules};
use crate::sync::Trouble;
use crate::sync::event::Event;

type Wait<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How long Rust children may take to stop before they are dropped where they stand.
const GRACE: Duration = Duration::from_secs(2);

/// See the module.
#[pyclass(frozen, weakref, module = "labtether._core")]
pub(super) struct Supervisor {
    nursery: Nursery,
    key: u64,
    enforced: Mutex<Option<Wait<Arc<str>>>>,
    /// Set once it was told to stop; empty inside once that was said.
    overdue: Mutex<Option<Option<Wait<()>>>>,
    /// Set when its own task has been joined: then nothing of it is left, not even in the census.
    gone: Arc<Event>,
}

struct Ended {
    wait: Option<Wait<Outcome>>,
}

impl Work for Ended {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        let Some(wait) = &mut self.wait else { return Poll::Ready(Err(Trouble::Cancelled.into())) };
        wait.as_mut().poll(cx).map(|outcome| Ok(Value::Made(Box::new(move |py| failures(py, outcome)))))
    }

    fn cancel(&mut self) {
        self.wait = None;
    }
}

/// What failed, as exceptions: [(child, error), ...].
fn failures(py: Python<'_>, outcome: Outcome) -> PyResult<Py<PyAny>> {
    let Outcome::Failed(failures) = outcome else {
        return Ok(Vec::<String>::new().into_pyobject(py)?.into_any().unbind());
    };
    let rows = failures.into_iter().map(|failure| {
        let error = match &failure.fault {
            Fault::Error(error) => match error.downcast_ref::<LinkError>() {
                Some(error) => to_python(py, error, true),
                None => PyRuntimeError::new_err(format!("{}: {error}", failure.child)),
            },
            Fault::Panic(message) => {
                let panic = LinkError::Panic { task: failure.child.to_string(), message: message.clone() };
                to_python(py, &panic, true)
            }
        };
        (failure.child.to_string(), error.into_value(py))
    });
    Ok(rows.collect::<Vec<_>>().into_pyobject(py)?.into_any().unbind())
}

impl Supervisor {
    /// Its number in the census.
    pub(super) fn number(&self) -> u64 {
        self.nursery.id()
    }
}

#[pymethods]
impl Supervisor {
    /// A nursery on the runtime; cancelled with the lifecycle, and when `timeout` has passed. Not with the nursery around it: Python's
    /// scopes see to that, and know of shields.
    #[new]
    #[pyo3(signature = (name, timeout))]
    fn new(py: Python<'_>, name: &str, timeout: Option<f64>) -> PyResult<Supervisor> {
        let engine = engine().map_err(|error| to_python(py, &error, true))?;
        let root = &engine.place().nursery;
        let deadline = match timeout {
            Some(timeout) => engine.clock().now() + span(timeout)?,
            None => Moment::NEVER,
        };
        let rules = Rules { deadline, grace: GRACE, stays: true, together: true };
        let (nursery, supervisor) = Nursery::open(name, engine.clock(), root.census(), Some(root), rules);
        let gone = Event::new();
        let (told, run) = (gone.clone(), async move {
            drop(supervisor.run().await);
            Ok(())
        });
        if root
            .spawn(
                name,
                run,
                Some(Box::new(move |_| {
                    told.set();
                })),
            )
            .is_err()
        {
            // The process is ending: nothing runs, and nobody has to be waited for.
            gone.set();
        }
        Ok(Supervisor { nursery, key: next_id(), enforced: Mutex::default(), overdue: Mutex::default(), gone })
    }

    /// Its number in the census.
    #[getter]
    fn id(&self) -> u64 {
        self.nursery.id()
    }

    /// The number under which a port rings for it.
    #[getter]
    fn key(&self) -> u64 {
        self.key
    }

    /// Why it has to stop now, if it has; otherwise `port` rings when that may have changed.
    fn enforced(&self, port: &Bound<'_, Port>) -> Option<String> {
        let mut enforced = self.enforced.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = enforced.get_or_insert_with(|| {
            let nursery = self.nursery.clone();
            Box::pin(async move { nursery.enforced().await })
        });
        let waker = port.get().waker(self.key);
        let _timers = engine().ok()?.place().runtime.enter();
        match wait.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(reason) => {
                let known = reason.clone();
                *enforced = Some(Box::pin(async move { known }));
                Some(reason.to_string())
            }
            Poll::Pending => None,
        }
    }

    /// Whether it has gone on for so long after it was told to stop that the log should have it: said once. The first call starts the time;
    /// `port` rings when it is over.
    fn overdue(&self, port: &Bound<'_, Port>) -> bool {
        let mut overdue = self.overdue.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(engine) = engine() else { return false };
        let _timers = engine.place().runtime.enter();
        let wait = overdue.get_or_insert_with(|| {
            let (clock, until) = (engine.clock().clone(), engine.clock().now() + CANCEL_TIMEOUT);
            Some(Box::pin(async move { clock.sleep_until(until).await }))
        });
        let waker = port.get().waker(self.key);
        let over = wait.as_mut().is_some_and(|wait| wait.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        if over {
            *wait = None;
        }
        over
    }

    /// Why it is being cancelled, if it is.
    fn reason(&self) -> Option<String> {
        self.nursery.reason().map(|reason| reason.to_string())
    }

    /// Cancels it; Python children may go on for `patience` seconds.
    fn cancel(&self, reason: &str, patience: f64) -> PyResult<()> {
        self.nursery.cancel_after(reason, span(patience)?, GRACE);
        Ok(())
    }

    /// Lets it end when its Rust children have.
    fn close(&self) {
        self.nursery.close();
    }

    /// Waits until nothing of it is left. The failures: [(child, error), ...].
    fn ended(&self) -> Operation {
        let (nursery, mut gone) = (self.nursery.clone(), self.gone.wait());
        Operation::new(
            Label::of("ending nursery", self.nursery.name()),
            true,
            Box::new(move || {
                let wait: Wait<Outcome> = Box::pin(async move {
                    let outcome = nursery.ended().await;
                    poll_fn(|cx| gone.poll(cx)).await;
                    outcome
                });
                Ok(Box::new(Ended { wait: Some(wait) }) as Box<dyn Work>)
            }),
        )
    }

    /// A Rust child for a drill: after so many seconds it is "done", "fails", "panics"; or it is "deaf" to cancellation all that time.
    fn drill(&self, name: &str, kind: &str, seconds: f64) -> PyResult<()> {
        let span = span(seconds)?;
        let (clock, token) = (self.nursery.clock().clone(), self.nursery.token());
        let kind = match kind {
            "done" | "fails" | "panics" | "deaf" => kind.to_owned(),
            other => return Err(PyValueError::new_err(format!("no such drill: {other:?}"))),
        };
        let work = async move {
            if kind == "deaf" {
                clock.sleep(span).await;
                return Ok(());
            }
            tokio::select! {
                () = clock.sleep(span) => {}
                () = token.cancelled() => return Ok(()),
            }
            match kind.as_str() {
                "fails" => Err(Arc::from(Box::<dyn Error + Send + Sync>::from("this was a drill"))),
                #[expect(clippy::panic, reason = "the drill is about panics")]
                "panics" => panic!("this was a drill"),
                _ => Ok(()),
            }
        };
        self.nursery.spawn(name, work, None).map_err(|ended| {
            let error = LinkError::Scope { scope: ended.0.to_string() };
            Python::attach(|py| to_python(py, &error, true))
        })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.nursery.cancel("its nursery was forgotten");
    }
}
