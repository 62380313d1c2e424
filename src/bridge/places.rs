//! Locks, semaphores and slots as Python sees them: who asks is who runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::label::Label;
use super::operation::Operation;
use super::owner::{board, current, current_or_thread, name};
use super::port::locally;
use super::work::{Value, Verdict, Work};
use crate::clock::{Clock, Moment};
use crate::sync::Trouble;
use crate::sync::board::{Block, Want};
use crate::sync::places::{Hold, Places, Wait};

/// What becomes of a place that was waited for: kept for the block, or put where its taker finds it.
type Arrive = Box<dyn FnOnce(Hold, Option<Moment>) -> Option<Arc<str>> + Send>;

struct Waiting {
    wait: Wait,
    arrive: Option<Arrive>,
}

impl Work for Waiting {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        self.wait.poll(cx).map(|got| {
            let (hold, since) = got?;
            let arrive = self.arrive.take();
            // Until this is called the hold is the value's: one that nobody fetches is let go of.
            Ok(Value::Made(Box::new(move |py| {
                let place = arrive.and_then(|arrive| arrive(hold, since));
                Ok(place.as_deref().into_pyobject(py)?.into_any().unbind())
            })))
        })
    }

    fn cancel(&mut self) {
        self.wait.cancel();
    }
}

/// A holder or a waiter: who, which place or None, for how many seconds, how often.
type Row = (String, Option<String>, f64, usize);

/// See the module.
#[pyclass(frozen, weakref, name = "Places", module = "labtether._core")]
pub(super) struct PyPlaces(Arc<Places>);

impl PyPlaces {
    fn operation(&self, verb: &'static str, want: Want, block: Block, arrive: Arrive) -> Operation {
        let places = self.0.clone();
        Operation::new(
            Label::of(verb, self.0.name()),
            true,
            Box::new(move || {
                let owner = Python::attach(current_or_thread).map_err(|_| Trouble::Cancelled)?;
                let wait = places.take(owner, want, block)?;
                Ok(Box::new(Waiting { wait, arrive: Some(arrive) }) as Box<dyn Work>)
            }),
        )
    }

    fn wanted(&self, place: Option<&str>) -> PyResult<Want> {
        match place {
            None => Ok(Want::Any),
            Some(place) => self
                .0
                .find(place)
                .map(Want::This)
                .ok_or_else(|| PyValueError::new_err(format!("{} has no place {place:?}", self.0.what()))),
        }
    }
}

#[pymethods]
impl PyPlaces {
    #[staticmethod]
    fn lock(name: &str) -> PyPlaces {
        PyPlaces(Places::lock(board(), name))
    }

    #[staticmethod]
    fn semaphore(name: &str, size: u32) -> PyPlaces {
        PyPlaces(Places::semaphore(board(), name, size))
    }

    #[staticmethod]
    fn slots(name: &str, names: Vec<String>) -> PyPlaces {
        PyPlaces(Places::slots(board(), name, names.iter().map(|name| Arc::from(name.as_str())).collect()))
    }

    /// Takes a place for `block` of who runs, until that is left or who runs ends.
    fn enter(&self, block: Block) -> Operation {
        let keep = |hold: Hold, _since| {
            hold.keep();
            None
        };
        self.operation("taking", Want::Any, block, Box::new(keep))
    }

    /// `block` is left.
    fn leave(&self, py: Python<'_>, block: Block) -> PyResult<()> {
        let owner = current_or_thread(py)?;
        locally(py, || self.0.leave(owner, block))?.map_err(|trouble| {
            PyRuntimeError::new_err(format!("{trouble}: {} left it, and does not hold it", name(py, owner)))
        })
    }

    /// A place still to be taken: any, or the one of that name.
    /// `again`: it may be taken again while it is held.
    #[pyo3(signature = (place=None, again=false))]
    fn taking(slf: &Bound<'_, Self>, place: Option<&str>, again: bool) -> PyResult<Taking> {
        let want = slf.get().wanted(place)?;
        Ok(Taking { places: slf.clone().unbind(), want, again, inside: Arc::default() })
    }

    /// How many places there are; who holds, the longest first; who waits, in order.
    fn view(&self, py: Python<'_>) -> (u32, Vec<Row>, Vec<Row>) {
        let view = self.0.view();
        let now = Clock::common().now();
        let row = |owner, place: Option<&Arc<str>>, since: Moment, depth| {
            (name(py, owner), place.map(ToString::to_string), now.since(since).as_secs_f64(), depth)
        };
        let holders = view.holders.iter();
        let holders = holders.map(|held| row(held.owner, self.0.place(held.place), held.since, held.blocks.len()));
        let waiters = view.waiters.iter().map(|&(owner, want, since)| {
            let place = match want {
                Want::This(place) => self.0.place(place),
                Want::Any => None,
            };
            row(owner, place, since, 0)
        });
        (view.size, holders.collect(), waiters.collect())
    }

    /// Whether who runs holds a place.
    fn is_mine(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(owner) = current(py)? else { return Ok(false) };
        Ok(self.0.view().holders.iter().any(|held| held.owner == owner))
    }
}

#[derive(Default)]
struct Inside {
    holds: Vec<Hold>,
    waited: f64,
    /// Alive while somebody waits for it.
    entering: Weak<()>,
}

/// One place of some slots, a lock or a semaphore, for one block: let go of with the last reference.
#[pyclass(frozen, weakref, module = "labtether._core")]
pub(super) struct Taking {
    places: Py<PyPlaces>,
    want: Want,
    again: bool,
    inside: Arc<Mutex<Inside>>,
}

fn lock(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Taking {
    fn put(inside: &Mutex<Inside>, hold: Hold, since: Option<Moment>) -> Option<Arc<str>> {
        let name = hold.name().cloned();
        let waited = since.map_or(0.0, |since| Clock::common().now().since(since).as_secs_f64());
        let mut inside = lock(inside);
        inside.holds.push(hold);
        inside.waited = waited;
        name
    }
}

#[pymethods]
impl Taking {
    /// Takes the place; its name is the value.
    fn enter(&self) -> PyResult<Operation> {
        let entering = {
            let mut inside = lock(&self.inside);
            let is_free = inside.holds.is_empty() && inside.entering.strong_count() == 0;
            if !(self.again || is_free) {
                return Err(PyRuntimeError::new_err(
                    "this place has been taken already, or is waited for; call take() again",
                ));
            }
            let entering = Arc::new(());
            inside.entering = Arc::downgrade(&entering);
            entering
        };
        let inside = self.inside.clone();
        let arrive = move |hold, since| {
            drop(entering);
            Taking::put(&inside, hold, since)
        };
        Ok(self.places.get().operation("taking a place of", self.want, 0, Box::new(arrive)))
    }

    /// Gives it back. Whether it was taken.
    fn leave(&self, py: Python<'_>) -> PyResult<bool> {
        let hold = lock(&self.inside).holds.pop();
        let was_taken = hold.is_some();
        locally(py, || drop(hold)).map(|()| was_taken)
    }

    /// The place that was taken.
    #[getter]
    fn place(&self) -> Option<String> {
        lock(&self.inside).holds.last().and_then(Hold::name).map(|name| name.to_string())
    }

    /// For how many seconds it had to be waited for; 0 if it was free.
    #[getter]
    fn waited(&self) -> f64 {
        lock(&self.inside).waited
    }
}
