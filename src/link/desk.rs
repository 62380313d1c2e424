//! Where the actor sits: its task while it is awake, and whoever asks while it sleeps. No I/O of its own.
//!
//! Waking a thread to write what this one could write costs more than all the rest of a query, so who finds the actor asleep does it
//! in its place: under the same lock, by the same code. Who finds it awake leaves a letter.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::Poll;

use super::actor::{Actor, End};
use super::job::Job;
use crate::clock::Stamp;
use crate::transport::Transport;

/// See the module. Empty before the session is open and after it.
#[derive(Default)]
pub struct Desk(Mutex<Option<Actor>>);

impl Desk {
    /// Runs `actor` here to its end, and gives it back for closing.
    pub async fn seat(&self, actor: Actor) -> Option<(Actor, End)> {
        *self.lock() = Some(actor);
        // Where the task is dropped, the actor and its port go with it.
        let _leaves = Leaves(self);
        poll_fn(|cx| {
            let mut seat = self.lock();
            // Taken out meanwhile: if it panics, it is gone, and with it all that waits for it.
            let Some(mut actor) = seat.take() else { return Poll::Ready(None) };
            match actor.poll(cx) {
                Poll::Ready(end) => Poll::Ready(Some((actor, end))),
                Poll::Pending => {
                    *seat = Some(actor);
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Option<Actor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what `job` asks, as far as that can be done at once, if the actor is asleep; else gives it back. Never waits.
    pub fn ask(&self, job: Job) -> Option<Job> {
        let mut seat = match self.0.try_lock() {
            Ok(seat) => seat,
            Err(TryLockError::Poisoned(seat)) => seat.into_inner(),
            Err(TryLockError::WouldBlock) => return Some(job),
        };
        let Some(actor) = &mut *seat else { return Some(job) };
        actor.ask_now(job);
        None
    }
}

impl Desk {
    /// Gives the actor that sits here a new pipe, for now only for whoever readies it; gives it back if there is none.
    pub(super) fn plug(&self, pipe: Box<dyn Transport>, now: Stamp) -> Option<Box<dyn Transport>> {
        let mut seat = self.lock();
        let Some(actor) = &mut *seat else { return Some(pipe) };
        actor.plug(pipe, now);
        actor.wake();
        None
    }

    /// Takes its pipe away again.
    pub(super) fn unplug(&self, now: Stamp) -> Option<Box<dyn Transport>> {
        let mut seat = self.lock();
        let actor = seat.as_mut()?;
        actor.conversation.back_off(now);
        Some(actor.unplug())
    }

    /// The new connection is ready.
    pub(super) fn open_to_all(&self) {
        if let Some(actor) = &mut *self.lock() {
            actor.conversation.open_to_all();
            actor.wake();
        }
    }
}

struct Leaves<'a>(&'a Desk);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        let actor = self.0.lock().take();
        drop(actor);
    }
}
