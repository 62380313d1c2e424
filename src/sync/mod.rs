//! What tasks, loops, threads and languages share while they work together: places to take, events, channels. Knows nothing of bytes,
//! links or Python; whoever waits is a [`std::task::Waker`].
//!
//! # Invariants
//! 1. Nothing here waits while it holds a mutex, and no waker is woken and no item is dropped under one.
//! 2. First come, first served: what becomes free goes to the first who waits for it, and is his from that moment.
//! 3. A wait that is cancelled or dropped leaves nothing behind: what it had been given goes to the next.
//! 4. An owner that ends lets go of everything it holds, and of every place in a queue.

pub mod board;
pub mod channel;
mod deadlock;
pub mod event;
mod lock;
mod passage;
pub mod places;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

/// Who holds and who waits: a task or a thread, by a number that is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(u64);

impl Owner {
    /// One that has not been there before.
    pub fn fresh() -> Owner {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Owner(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// One step of a deadlock: `owner` waits for something that the next one in the cycle holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who waits.
    pub owner: Owner,
    /// For what, in words: "lock deck".
    pub awaits: String,
}

/// Why a wait did not end with what was waited for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Trouble {
    /// It could never end. The first step is the one who asked.
    #[error("a deadlock of {}", .0.len())]
    Deadlock(Vec<Step>),
    /// The channel has ended: no more can be sent, or all has been received.
    #[error("channel {name} has ended: {why}")]
    Closed {
        /// The channel's name.
        name: Arc<str>,
        /// Whose doing it was.
        why: &'static str,
    },
    /// There is no room.
    #[error("channel {name} is full ({capacity})")]
    Full {
        /// The channel's name.
        name: Arc<str>,
        /// How many it holds.
        capacity: usize,
    },
    /// There is nothing to receive.
    #[error("channel {name} is empty")]
    Empty {
        /// The channel's name.
        name: Arc<str>,
    },
    /// The wait was cancelled; nothing was taken.
    #[error("cancelled")]
    Cancelled,
    /// Who leaves does not hold it.
    #[error("{what} is not held by who leaves it")]
    NotHeld {
        /// What it is.
        what: String,
    },
}
