//! The way from Rust back into one running event loop: a queue, an armed flag and a descriptor that the loop watches.
//!
//! # Invariants
//! 1. Who rings (any Rust thread) never attaches to Python and holds nothing of Python's: a number, and the shared half.
//! 2. `armed` is cleared before the queue is emptied, so a ring is never missed; while it is set, rings cost no system call.
//! 3. The descriptor lives as long as anyone who could ring, so that a dead loop's number is never somebody else's.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyWeakrefMethods, PyWeakrefReference};
use pyo3::{PyTraverseError, PyVisit};

use super::doorbell::Doorbell;
use super::lull::Lull;
use super::seats::seat;
use super::values::span;
use super::whose::{in_trio, running_port};
use crate::clock::{Clock, Moment, Seat, Timer};
use crate::lifecycle::engine;
use crate::link::feed::is_for_a_reading;

/// How many waits are resumed in one go; the rest get the next turn of the loop, so that it stays responsive.
const BATCH: usize = 256;

struct Shared {
    bell: Doorbell,
    armed: AtomicBool,
    ready: Mutex<Vec<u64>>,
    /// Of the thread whose loop it is.
    seat: Arc<Seat>,
    lull: Arc<Lull>,
}

impl Shared {
    fn ready(&self) -> MutexGuard<'_, Vec<u64>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(self: &Arc<Self>, key: u64) {
        {
            let mut ready = self.ready();
            ready.push(key);
            self.seat.call();
        }
        if !is_for_a_reading() {
            self.ring_bell();
        } else if !self.armed.load(Ordering::SeqCst) {
            let shared = self.clone();
            self.lull.ring(move || shared.ring_for_all());
        }
    }

    fn ring_for_all(self: &Arc<Self>) {
        if !self.ready().is_empty() {
            self.ring_bell();
        }
    }

    fn ring_bell(self: &Arc<Self>) {
        if !self.armed.swap(true, Ordering::SeqCst) && !Clock::common().ring_later(|| Waker::from(self.clone())) {
            self.bell.ring();
        }
    }
}

/// Rings the bell.
impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.bell.ring();
    }
}

thread_local! {
    /// Whether [`locally`] watches who is rung.
    static COLLECTING: Cell<bool> = const { Cell::new(false) };
    static RUNG: RefCell<Vec<Arc<Ringer>>> = const { RefCell::new(Vec::new()) };
    /// The port of the trio run of this thread, weakly: asyncio's is found by its loop.
    static TRIO: RefCell<Option<Py<PyWeakrefReference>>> = const { RefCell::new(None) };
}

/// The port of the loop that runs here now.
fn here(py: Python<'_>) -> PyResult<Option<Py<Port>>> {
    if !in_trio(py)? {
        return running_port(py);
    }
    let known = TRIO.with_borrow(|known| known.as_ref().map(|port| port.clone_ref(py)));
    let port = known.and_then(|known| known.bind(py).upgrade()).and_then(|port| port.cast_into::<Port>().ok());
    Ok(port.filter(|port| !port.get().closed.load(Ordering::SeqCst)).map(Bound::unbind))
}

/// Does something that may ring for others. Those that wait in the loop that runs here are resumed by it directly: no descriptor is
/// written only to be read again by the same thread.
pub(super) fn locally<R>(py: Python<'_>, work: impl FnOnce() -> R) -> PyResult<R> {
    COLLECTING.set(true);
    let result = work();
    COLLECTING.set(false);
    let mut rung = RUNG.take().into_iter();
    if rung.len() == 0 {
        return Ok(result);
    }
    let outcome = match here(py) {
        Ok(Some(port)) => rung.try_for_each(|ringer| port.get().resume(py, &ringer)),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    // Where no loop runs; and nobody's wake-up may be lost by Ctrl-C.
    rung.for_each(|ringer| ringer.shared.ring(ringer.key));
    outcome.map(|()| result)
}

/// Rings for one wait.
struct Ringer {
    shared: Arc<Shared>,
    key: u64,
}

impl Wake for Ringer {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if COLLECTING.get() {
            RUNG.with_borrow_mut(|rung| rung.push(self.clone()));
        } else if !Clock::common().hold_back(|| Waker::from(self.clone())) {
            self.shared.ring(self.key);
        }
    }
}

/// One per running loop. The loop owns it (its reader does); Python keeps only weak references besides.
#[pyclass(frozen, weakref, module = "labtether._core")]
pub(super) struct Port {
    shared: Arc<Shared>,
    waiting: Mutex<HashMap<u64, Py<PyAny>>>,
    /// Rung every time, until they are dismissed.
    standing: Mutex<HashMap<u64, Py<PyAny>>>,
    closed: AtomicBool,
    /// When the loop wants to go on, where the clock stands still.
    alarm: Mutex<Timer>,
    /// Makes the future for a wait; bound to the loop.
    make: Mutex<Option<Py<PyAny>>>,
}

impl Port {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Py<PyAny>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> MutexGuard<'_, HashMap<u64, Py<PyAny>>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A waker that resumes wait `key` in this loop.
    pub(super) fn waker(&self, key: u64) -> Waker {
        Waker::from(Arc::new(Ringer { shared: self.shared.clone(), key }))
    }

    /// Something to yield to the loop until wait `key` is rung.
    pub(super) fn future<'py>(&self, py: Python<'py>, key: u64) -> PyResult<Bound<'py, PyAny>> {
        let make = {
            let make = self.make.lock().unwrap_or_else(PoisonError::into_inner);
            make.as_ref().map(|make| make.clone_ref(py))
        };
        let future = match make {
            Some(make) => make.bind(py).call0()?,
            None => return Err(PyOSError::new_err("the port has no event loop")),
        };
        self.hold(key, future.clone().unbind());
        Ok(future)
    }

    /// Keeps `ringable` until wait `key` is rung.
    fn hold(&self, key: u64, ringable: Py<PyAny>) {
        // The replaced one is dropped after the lock: its destructor may run Python.
        let replaced = self.waiting().insert(key, ringable);
        drop(replaced);
    }

    /// Resumes a wait of this loop with its next turn; any other is rung.
    fn resume(&self, py: Python<'_>, ringer: &Ringer) -> PyResult<()> {
        if !Arc::ptr_eq(&ringer.shared, &self.shared) {
            ringer.shared.ring(ringer.key);
            return Ok(());
        }
        let ringable = self.waiting().remove(&ringer.key);
        if let Some(ringable) = ringable {
            ringable.call_method0(py, intern!(py, "soon")).inspect_err(|_| ringer.shared.ring(ringer.key))?;
        }
        Ok(())
    }

    /// Nobody waits for `key` any more.
    pub(super) fn forget(&self, key: u64) {
        let forgotten = self.waiting().remove(&key);
        drop(forgotten);
    }
}

#[pymethods]
impl Port {
    #[new]
    #[pyo3(signature = (make=None))]
    fn new(make: Option<Py<PyAny>>) -> PyResult<Port> {
        let bell = Doorbell::new().map_err(|error| PyOSError::new_err(error.to_string()))?;
        let shared = Arc::new(Shared {
            bell,
            armed: AtomicBool::new(false),
            ready: Mutex::default(),
            seat: seat(),
            lull: Arc::default(),
        });
        Ok(Port {
            shared,
            waiting: Mutex::default(),
            standing: Mutex::default(),
            closed: AtomicBool::new(false),
            alarm: Mutex::new(Clock::common().timer()),
            make: Mutex::new(make),
        })
    }

    /// It serves the trio run of this thread.
    fn serve_trio(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = PyWeakrefReference::new(slf)?.unbind();
        let before = TRIO.replace(Some(this));
        drop(before);
        Ok(())
    }

    /// The descriptor to watch for reading.
    fn fileno(&self) -> i32 {
        self.shared.bell.watched().as_raw_fd()
    }

    /// Whether any wait is pending.
    fn pending(&self) -> bool {
        !self.waiting().is_empty()
    }

    /// Has `take` give `ringable` back when wait `key` is rung.
    fn register(&self, key: u64, ringable: Py<PyAny>) {
        self.hold(key, ringable);
    }

    /// Has `ringable` rung every time `key` is, until `dismiss`. Not counted as a wait.
    fn attend(&self, key: u64, ringable: Py<PyAny>) {
        let replaced = self.standing().insert(key, ringable);
        drop(replaced);
    }

    /// See `attend`.
    fn dismiss(&self, key: u64) {
        let dismissed = self.standing().remove(&key);
        drop(dismissed);
    }

    /// Nobody waits for `key` any more: who rings for it rings for nothing.
    #[pyo3(name = "forget")]
    fn forget_wait(&self, key: u64) {
        self.forget(key);
    }

    /// Rings for wait `key`, as Rust would.
    fn ring(&self, key: u64) {
        self.shared.ring(key);
    }

    /// In virtual time: the loop has nothing to do for so many seconds, or until something happens. Whether it may wait: it is rung then.
    /// It may not where the time has come, or where it was called since it looked last, and should look again.
    fn rest(&self, seconds: Option<f64>) -> PyResult<bool> {
        let until = seconds.map(span).transpose()?.map_or(Moment::NEVER, |span| Clock::common().now() + span);
        let Ok(engine) = engine() else { return Ok(true) };
        {
            let _timers = engine.place().runtime.enter();
            let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
            alarm.set(until);
            if alarm.poll_expired(&mut Context::from_waker(&self.waker(0))).is_ready() {
                return Ok(false);
            }
        }
        let ready = self.shared.ready();
        if ready.is_empty() {
            return Ok(self.shared.seat.rest());
        }
        // It may have been rung in a way that was not to be waited for.
        self.shared.bell.ring();
        Ok(true)
    }

    /// Something else is about to wake the loop.
    fn call(&self) {
        self.shared.seat.call();
    }

    /// The loop works again.
    fn work(&self) {
        self.alarm.lock().unwrap_or_else(PoisonError::into_inner).set(Moment::NEVER);
        self.shared.seat.work();
    }

    /// Gives the loop up: called where the loop ends while the port may live on.
    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *self.waiting());
        let standing = std::mem::take(&mut *self.standing());
        let make = self.make.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop((waiting, standing, make));
    }

    /// Adds to `ready` what waits for those that were rung, to be resumed by the caller: no code of the user's runs under a frame of
    /// ours. It is the caller's list, so that an interrupt right behind this call loses nothing.
    fn take(&self, ready: &Bound<'_, PyList>) -> PyResult<()> {
        self.shared.bell.silence();
        self.shared.armed.store(false, Ordering::SeqCst);
        let mut keys = std::mem::take(&mut *self.shared.ready()).into_iter();
        for key in keys.by_ref().take(BATCH) {
            let ringable =
                self.waiting().remove(&key).or_else(|| Some(self.standing().get(&key)?.clone_ref(ready.py())));
            if let Some(ringable) = ringable {
                ready.append(ringable)?;
            }
        }
        keys.for_each(|key| self.shared.ring(key));
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(waiting) = self.waiting.try_lock() {
            for ringable in waiting.values() {
                visit.call(ringable)?;
            }
        }
        if let Ok(standing) = self.standing.try_lock() {
            for ringable in standing.values() {
                visit.call(ringable)?;
            }
        }
        if let Ok(make) = self.make.try_lock()
            && let Some(make) = &*make
        {
            visit.call(make)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.close();
    }
}
