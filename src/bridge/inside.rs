//! The end of the interpreter, and the daemon threads that are then inside calls of ours.
//!
//! Before 3.14 CPython ends a daemon thread that comes back to it then by unwinding the stack, which aborts the process where Rust
//! frames are on it. So before the interpreter is taken down, each such thread is brought to a halt in here, and stays.
//!
//! # Invariants
//! 1. Every function of ours that runs Python code holds an [`Inside`] around it.
//! 2. After [`leave_daemons`] no thread but the one that called it enters, and none that is inside goes back.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::prelude::*;

use crate::clock::Clock;
use crate::nursery::thread::{Parker, ThreadId, this_thread};

/// The thread that ends the process, once it does.
static LAST: OnceLock<ThreadId> = OnceLock::new();
static OVER: AtomicBool = AtomicBool::new(false);
/// How many threads run Python code from a frame of ours.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// How long the end waits for threads to come to a halt. One that computes for longer is left to its fate.
const HALTING: Duration = Duration::from_millis(250);

/// See [`rest`].
const REST: Duration = Duration::from_millis(10);

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// While it lives, this thread may run Python code from a frame of ours.
pub(super) struct Inside(());

impl Inside {
    /// Enters; at the end of the interpreter it does not return.
    pub(super) fn enter(py: Python<'_>) -> Inside {
        let depth = DEPTH.get();
        if depth == 0 {
            THREADS.fetch_add(1, Ordering::SeqCst);
        }
        DEPTH.set(depth + 1);
        let inside = Inside(());
        if is_over() {
            py.detach(halt);
        }
        inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 {
            THREADS.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Whether this thread must not go back to Python any more.
fn is_over() -> bool {
    OVER.load(Ordering::SeqCst) && is_left_behind()
}

/// Whether the process is being ended, by another thread.
fn is_left_behind() -> bool {
    LAST.get().is_some_and(|&last| last != this_thread())
}

/// This thread ends the process.
pub(super) fn begin_to_end() {
    // Only the first counts; it may be called again from the same thread.
    let _ = LAST.set(this_thread());
}

/// Once the process is ending every new call fails at once. A daemon thread that tries again and again would keep the interpreter from
/// the thread that ends it: there, the error takes a rest on its way. Others are waited for, and must not be held up.
pub(super) fn rest(py: Python<'_>) -> PyResult<()> {
    if is_left_behind() && py.import("threading")?.call_method0("current_thread")?.getattr("daemon")?.is_truthy()? {
        py.detach(|| nap(&Parker::here(), REST));
    }
    Ok(())
}

/// This thread has been inside, and stays.
fn halt() {
    THREADS.fetch_sub(1, Ordering::SeqCst);
    let parker = Parker::here();
    loop {
        parker.nap(Duration::MAX);
    }
}

/// A moment of waiting, detached, in a thread that is inside.
pub(super) fn nap(parker: &Parker, span: Duration) {
    parker.nap(span);
    if is_over() {
        halt();
    }
}

/// The interpreter is about to be taken down by this thread: every other that is inside is halted, or comes to a halt when it comes in.
#[pyfunction]
pub(super) fn leave_daemons(py: Python<'_>) {
    begin_to_end();
    if OVER.swap(true, Ordering::SeqCst) {
        return;
    }
    py.detach(|| {
        let (parker, clock) = (Parker::here(), Clock::real());
        let deadline = clock.now() + HALTING;
        while THREADS.load(Ordering::SeqCst) > 0 && clock.now() < deadline {
            parker.nap(Duration::from_millis(1));
        }
    });
}
