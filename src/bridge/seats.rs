//! Python's threads at the clock: while a test has it stand still, it is known who works and who waits. And what Python needs to know of
//! the time.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::errors::to_python;
use super::sleep::asleep_now;
use crate::clock::{self, Clock, Seat};
use crate::lifecycle::{engine, started};
use crate::nursery::thread::Parker;

struct Here(Arc<Seat>);

impl Drop for Here {
    fn drop(&mut self) {
        self.0.leave();
    }
}

thread_local! {
    static HERE: Here = Here(Seat::at(Clock::common()));
}

/// The seat of this thread.
pub(super) fn seat() -> Arc<Seat> {
    // At the very end of a thread, when it has left already, one that nobody knows.
    HERE.try_with(|here| here.0.clone()).unwrap_or_else(|_| Seat::at(Clock::common()))
}

/// While it lives, the thread may rest; it works when this is dropped.
pub(super) struct Waiting<'a>(pub(super) &'a Seat);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.work();
    }
}

/// Calls a thread out of its rest.
struct Call {
    seat: Arc<Seat>,
    waker: Waker,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !Clock::common().hold_back(|| Waker::from(self.clone())) {
            self.seat.call();
            self.waker.wake_by_ref();
        }
    }
}

/// What wakes the thread that waits at `parker`.
pub(super) fn called(seat: &Arc<Seat>, parker: &Parker) -> Waker {
    let waker = parker.waker();
    if Clock::common().is_virtual() { Waker::from(Arc::new(Call { seat: seat.clone(), waker })) } else { waker }
}

/// What the clock of the process shows: seconds since the epoch, and on the clock of `time.monotonic()`.
#[pyfunction]
pub(super) fn clock_now() -> (f64, f64) {
    let stamp = Clock::common().stamp();
    (stamp.epoch.as_secs_f64(), stamp.moment.since_zero().as_secs_f64())
}

/// The seconds of `time.monotonic()`; virtual ones in virtual time.
#[pyfunction]
pub(super) fn monotonic() -> f64 {
    Clock::common().now().since_zero().as_secs_f64()
}

/// How many seconds of virtual time have passed; None: it is not on.
#[pyfunction]
pub(super) fn virtual_seconds() -> Option<f64> {
    Clock::common().stood().map(|passed| passed.as_secs_f64())
}

/// Makes the clock stand still but when nothing can run; it waits for this thread whenever that works. None: done; else what is open and
/// was opened by another time. Raises RuntimeError if it stands still already.
#[pyfunction]
pub(super) fn begin_virtual_time(py: Python<'_>) -> PyResult<Option<Vec<String>>> {
    let engine = engine().map_err(|error| to_python(py, &error, true))?;
    match asleep_now() {
        0 => {}
        1 => return Ok(Some(vec!["a sleep".to_owned()])),
        more => return Ok(Some(vec![format!("{more} sleeps")])),
    }
    match engine.stand_still(&seat()) {
        Some(there) => Ok(Some(there).filter(|there| !there.is_empty())),
        None => Err(PyRuntimeError::new_err("virtual time is on already; it is one for the whole process")),
    }
}

/// Lets the clock go on.
#[pyfunction]
pub(super) fn end_virtual_time() {
    if let Some(engine) = started() {
        engine.go_on();
    }
}

/// This thread waits for others of Python's, and not for the clock: they may have their turn. Whether the clock has waited for it until
/// now, and nothing calls it.
#[pyfunction]
pub(super) fn rest_here() -> bool {
    let seat = seat();
    seat.sits() && seat.rest()
}

/// This thread works. `again`: if it has been met before, while the clock stood still.
#[pyfunction]
#[pyo3(signature = (again=false))]
pub(super) fn work_here(again: bool) {
    let seat = seat();
    if !again || seat.sits() {
        seat.work();
    }
}

/// Keeps a clock that stands still from advancing until it is ended.
#[pyclass(frozen, module = "labtether._core")]
pub(super) struct Busy(Mutex<Option<clock::Busy>>);

#[pymethods]
impl Busy {
    #[new]
    fn new() -> Busy {
        Busy(Mutex::new(Some(Clock::common().busy())))
    }

    /// May be called twice.
    fn end(&self) {
        let busy = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(busy);
    }
}

/// A seat, to be called from another thread.
#[pyclass(frozen, module = "labtether._core")]
pub(super) struct Place(Arc<Seat>);

#[pymethods]
impl Place {
    /// The seat of this thread.
    #[new]
    fn new() -> Place {
        Place(seat())
    }

    /// What its thread waits for may have come: the clock waits for it, for a while.
    fn call(&self) {
        self.0.call();
    }
}

/// Lets the runtime have its turn while this thread does `work`, which waits for it at this very moment.
pub(super) fn lend<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    let seat = seat();
    py.detach(|| seat.lend(work))
}
