//! An event: it has not happened yet, or it has, for good.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use super::lock::{Mutex, MutexGuard};

/// See the module.
#[derive(Debug, Default)]
pub struct Event(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    happened: bool,
    next: u64,
    waiting: BTreeMap<u64, Option<Waker>>,
}

impl Event {
    /// One that has not happened.
    pub fn new() -> Arc<Event> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It happens: everybody who waits goes on, first come first. Whether this was the call that did it.
    pub fn set(&self) -> bool {
        let (waiting, first) = {
            let mut state = self.state();
            let first = !std::mem::replace(&mut state.happened, true);
            (std::mem::take(&mut state.waiting), first)
        };
        waiting.into_values().flatten().for_each(Waker::wake);
        first
    }

    /// Whether it has happened.
    pub fn is_set(&self) -> bool {
        self.state().happened
    }

    /// How many wait for it.
    pub fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// A wait for it.
    pub fn wait(self: &Arc<Event>) -> Wait {
        let id = {
            let mut state = self.state();
            state.next += 1;
            state.next
        };
        Wait { event: self.clone(), id }
    }
}

/// A wait for an event.
#[derive(Debug)]
pub struct Wait {
    event: Arc<Event>,
    id: u64,
}

impl Wait {
    /// Whether it has happened; otherwise `cx`'s waker is woken when it does.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.event.state();
        if state.happened {
            return Poll::Ready(());
        }
        state.waiting.insert(self.id, Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.event.state().waiting.remove(&self.id);
    }
}
