//! Whose turn it is on a link, written down for the search for deadlocks: the link itself gives turns out, and knows nothing of locks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use pyo3::prelude::*;

use super::owner::{board, current_or_thread};
use super::work::{Refusal, Value, Verdict, Work};
use crate::link::ticket::Answer;
use crate::sync::places::{Hold, Places, Wait};
use crate::sync::{Owner, Trouble};

/// For how long a turn is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Not at all.
    None,
    /// For one query.
    Once,
    /// For an exchange, until it is over.
    Whole,
}

/// The turns on one link.
pub(super) struct Turns {
    places: Arc<Places>,
    /// By the numbers of the exchanges that are open.
    open: Mutex<HashMap<u64, Hold>>,
}

impl Turns {
    pub(super) fn new(link: &str) -> Arc<Turns> {
        Arc::new(Turns { places: Places::turn(board(), link), open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Hold>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for something that needs a turn, in the way `need` says. For a query nothing is written down while nobody has the link to
    /// himself, which is nearly always.
    ///
    /// *Errors*: who has it waits, however indirectly, for who asks; then nothing was asked.
    pub(super) fn before(
        self: &Arc<Turns>,
        need: Need,
        ask: impl FnOnce() -> Box<dyn Work>,
    ) -> Result<Box<dyn Work>, Refusal> {
        let is_held = need != Need::None && self.places.is_held();
        if !is_held && need != Need::Whole {
            return Ok(ask());
        }
        let owner = Python::attach(current_or_thread).map_err(|_| Trouble::Cancelled)?;
        let waiting = (is_held || need == Need::Whole).then(|| self.places.wait_elsewhere(owner)).transpose()?;
        let opens = (need == Need::Whole).then(|| (self.clone(), owner));
        Ok(Box::new(InTurn { waiting, opens, work: ask() }))
    }

    /// The exchange is over.
    pub(super) fn over(&self, talk: u64) {
        let hold = self.open().remove(&talk);
        drop(hold);
    }
}

struct InTurn {
    work: Box<dyn Work>,
    waiting: Option<Wait>,
    opens: Option<(Arc<Turns>, Owner)>,
}

impl Work for InTurn {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        let verdict = match self.work.poll(cx) {
            Poll::Ready(verdict) => verdict,
            Poll::Pending => return Poll::Pending,
        };
        self.waiting = None;
        if let (Some((turns, owner)), Ok(Value::Wire(Answer::Number(talk)))) = (&self.opens, &verdict) {
            let hold = turns.places.mark(*owner);
            turns.open().insert(*talk, hold);
        }
        Poll::Ready(verdict)
    }

    fn cancel(&mut self) {
        self.work.cancel();
    }

    fn is_between_tasks(&self) -> bool {
        self.work.is_between_tasks()
    }
}
