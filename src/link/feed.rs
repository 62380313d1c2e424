//! Messages on their way to an iterator: bounded, fetched in batches, never blocking the actor.
//!
//! When full, the oldest is dropped and counted: an instrument that talks on must not stop the wire, and the newest reading is the one wanted.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::ticket::{Answer, Heard, Pending, Verdict};
use crate::error::{Effect, LinkError};

thread_local! {
    /// Whether readers are being woken for a reading.
    static READING: Cell<bool> = const { Cell::new(false) };
}

/// Whether who is woken on this thread right now is woken for one of many readings. His waker may let a moment pass then, so that he is
/// woken for several; for errors and for the end it may not.
pub fn is_for_a_reading() -> bool {
    READING.get()
}

/// See the module.
#[derive(Debug)]
pub struct Feed {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Heard>,
    /// What its reader has to know, and after how many of the items; it goes on after that.
    told: VecDeque<(usize, LinkError)>,
    /// Everyone who waits; whoever looks first gets the batch.
    wakers: Vec<Waker>,
    /// How it ended: `Some(None)` in peace.
    ended: Option<Option<LinkError>>,
    dropped: u64,
}

/// The most that goes over in one batch, so that one reader cannot hold the loop.
const BATCH: usize = 512;

impl Feed {
    /// An empty one.
    pub fn new(capacity: usize) -> Arc<Feed> {
        Arc::new(Feed { capacity: capacity.max(1), state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message.
    pub fn push(&self, heard: Heard) {
        wake(self.keep(heard));
    }

    /// Adds a reading of a poll that goes on: more of the same is to come.
    pub fn push_reading(&self, heard: Heard) {
        let state = self.keep(heard);
        READING.set(true);
        wake(state);
        READING.set(false);
    }

    fn keep(&self, heard: Heard) -> MutexGuard<'_, State> {
        let mut state = self.state();
        if state.ended.is_some() {
            return state;
        }
        if state.items.len() >= self.capacity {
            state.items.pop_front();
            state.dropped += 1;
            for (after, _) in &mut state.told {
                *after = after.saturating_sub(1);
            }
        }
        state.items.push_back(heard);
        state
    }

    /// An error that does not end it: its reader meets it behind what came before.
    pub fn tell(&self, error: LinkError) {
        let mut state = self.state();
        let after = state.items.len();
        state.told.push_back((after, error));
        wake(state);
    }

    /// Ends it, by an error or in peace. What is in it can still be fetched; the first ending stands.
    pub fn end(&self, error: Option<LinkError>) {
        let mut state = self.state();
        state.ended.get_or_insert(error);
        wake(state);
    }

    /// A wait for the next batch.
    ///
    /// *Cancel safety*: messages stay in the feed until a batch is claimed.
    pub fn next(self: &Arc<Self>) -> NextBatch {
        NextBatch { feed: self.clone(), cancelled: false }
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let wakers = std::mem::take(&mut state.wakers);
    drop(state);
    for waker in wakers {
        waker.wake();
    }
}

/// See [`Feed::next`].
#[derive(Debug)]
pub struct NextBatch {
    feed: Arc<Feed>,
    cancelled: bool,
}

impl Pending for NextBatch {
    fn poll_claim(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        if self.cancelled {
            return Poll::Ready(Err(LinkError::Cancelled { effect: Effect::NeverStarted, about: Box::default() }));
        }
        let mut state = self.feed.state();
        let before_told = state.told.front().map_or(usize::MAX, |(after, _)| *after);
        if before_told == 0
            && let Some((_, error)) = state.told.pop_front()
        {
            return Poll::Ready(Err(error));
        }
        if !state.items.is_empty() {
            let many = state.items.len().min(BATCH).min(before_told);
            for (after, _) in &mut state.told {
                *after -= many;
            }
            let batch = state.items.drain(..many).collect();
            return Poll::Ready(Ok(Answer::Batch(batch, state.dropped)));
        }
        if let Some(ended) = &mut state.ended {
            return Poll::Ready(match ended.take() {
                Some(error) => Err(error),
                None => Ok(Answer::End(state.dropped)),
            });
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn cancel(&mut self) {
        self.cancelled = true;
        wake(self.feed.state());
    }
}
