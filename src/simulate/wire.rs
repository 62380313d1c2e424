//! What went over a simulated instrument's wire, both ways, with times. A record; decides nothing.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::clock::Stamp;

/// The most that is remembered; then the oldest goes.
const REMEMBERED: usize = 10_000;

/// Seen from the instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It heard this.
    Heard,
    /// It said this.
    Said,
    /// Something happened.
    Happened,
}

impl Direction {
    /// As in a transcript.
    pub const fn sign(self) -> &'static str {
        match self {
            Direction::Heard => ">",
            Direction::Said => "<",
            Direction::Happened => "!",
        }
    }
}

/// One piece of the record: what one read or write carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Stamp,
    /// Which way.
    pub direction: Direction,
    /// What; empty where something happened.
    pub data: Bytes,
    /// What happened.
    pub note: &'static str,
}

/// See the module.
#[derive(Default)]
pub(super) struct Wire(VecDeque<Event>);

impl Wire {
    pub(super) fn log(&mut self, event: Event) {
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(event);
    }

    /// What it remembers, oldest first.
    pub(super) fn events(&self) -> Vec<Event> {
        self.0.iter().cloned().collect()
    }
}
