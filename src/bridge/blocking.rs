//! An operation awaited by a thread that has no loop, or was told to block.

use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;

use super::answer::{describe, stuck};
use super::inside::nap;
use super::operation::{CANCEL_TIMEOUT, Operation};
use super::seats::{Waiting, called, seat};
use super::stage::Step;
use super::work::Refusal;
use crate::lifecycle::{engine, is_ending};
use crate::nursery::thread::Parker;

/// How often a blocked thread looks for signals.
const LOOK_FOR_SIGNALS: Duration = Duration::from_millis(50);

impl Operation {
    /// Waits on this thread, which has no loop or was told to block.
    pub(super) fn block(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let parker = Parker::here();
        let seat = seat();
        // Works again, however this ends.
        let _waiting = Waiting(&seat);
        loop {
            match self.poll(|| (called(&seat, &parker), None)) {
                Step::Ready(verdict) => return self.finish(py, verdict),
                Step::Refused(error) => return self.refuse(py, &error),
                Step::Pending => {}
            }
            if !seat.rest() {
                continue;
            }
            py.detach(|| nap(&parker, LOOK_FOR_SIGNALS));
            if let Some(error) = self.stranded() {
                return self.refuse(py, &error);
            }
            if let Err(interrupt) = py.check_signals() {
                self.cancel();
                let note = self.await_end(py, &parker);
                interrupt.value(py).call_method1(intern!(py, "add_note"), (note,))?;
                return Err(interrupt);
            }
        }
    }

    /// An interrupted thread waits for the acknowledgement like any other; a second interrupt does not shorten that.
    fn await_end(&self, py: Python<'_>, parker: &Parker) -> String {
        let clock = crate::clock::Clock::real();
        let deadline = clock.now() + CANCEL_TIMEOUT + self.patience;
        while clock.now() < deadline {
            if let Step::Ready(verdict) = self.poll(|| (parker.waker(), None)) {
                return describe(&self.what, &verdict);
            }
            py.detach(|| nap(parker, LOOK_FOR_SIGNALS));
        }
        stuck(&self.what, CANCEL_TIMEOUT.saturating_add(self.patience))
    }

    /// What only other threads of Python can end will not come once the process ends: it waits for this one.
    fn stranded(&self) -> Option<Refusal> {
        if !(is_ending() && self.is_between_tasks()) {
            return None;
        }
        self.close();
        engine().err().map(Refusal::Link)
    }
}
