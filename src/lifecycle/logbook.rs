//! Lines for Python's log, written by threads that must never wait for Python. Bounded: when full, the oldest go, and are counted.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::link::log::{Level, Line, Topic};

/// See the module.
#[derive(Debug, Default)]
pub struct Logbook {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    records: VecDeque<Line>,
    dropped: u64,
    closed: bool,
}

/// The same bound as other bridges use between a native runtime and `logging`.
const CAPACITY: usize = 2048;

impl Logbook {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line.
    pub fn write(&self, line: Line) {
        let mut state = self.state();
        if state.records.len() >= CAPACITY {
            state.records.pop_front();
            state.dropped += 1;
        }
        state.records.push_back(line);
        drop(state);
        self.changed.notify_one();
    }

    /// Blocks until there is a line; `None` once the book is closed and read to its end.
    pub fn next(&self) -> Option<Line> {
        let mut state = self.state();
        loop {
            if state.dropped > 0 {
                let text = format!(
                    "{} log lines were dropped: Python was too busy to read them",
                    std::mem::take(&mut state.dropped)
                );
                return Some(Line { level: Level::Warning, topic: Topic::Log, text, link: None, traffic: None });
            }
            if let Some(record) = state.records.pop_front() {
                return Some(record);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No more will come.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }
}
