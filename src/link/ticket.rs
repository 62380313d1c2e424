//! Asking and waiting are separate: who asks holds a [`Ticket`], the actor holds the [`Reply`]. No I/O here.
//!
//! # Invariants
//! 1. A reply is given exactly once: dropping a [`Reply`] unanswered says that the link is closed.
//! 2. A value is claimed by polling the ticket, never at completion, so that an unclaimed one can still be taken back.
//! 3. Only the actor decides what a cancelled ticket ends as; the ticket just asks, and learns.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::job::Request;
use crate::clock::Stamp;
use crate::error::{Effect, Evidence, LinkError};
use crate::nursery::outcome::is_unwinding;
use crate::transport::control::ModemLines;

/// A message, and when its last byte came.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Without its terminator.
    pub body: Bytes,
    /// When the read that completed it returned.
    pub at: Stamp,
}

/// What an operation gives.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It is done.
    Nothing,
    /// Raw bytes, as many as were asked for.
    Bytes(Bytes),
    /// One message, and those that were passed over on the way to it.
    Message(Heard, Vec<Heard>),
    /// What has gathered since the last look, and how many were dropped for want of room, ever.
    Batch(Vec<Heard>, u64),
    /// Nothing more will come.
    End(u64),
    /// A number, for whoever asks for one.
    Number(u64),
    /// What an exchange that was left did to the instrument.
    Effect(Effect),
    /// The lines of a serial port.
    Lines(ModemLines),
}

/// How an operation ends.
pub type Verdict = Result<Answer, LinkError>;

/// Something that is under way in Rust and awaited elsewhere.
pub trait Pending: Send {
    /// Claims the verdict, or leaves `cx`'s waker to be woken when there is one. Not polled again after it was ready.
    fn poll_claim(&mut self, cx: &mut Context<'_>) -> Poll<Verdict>;

    /// Asks for an early end. The verdict still has to be awaited: it comes when the work has ended.
    fn cancel(&mut self);
}

/// A number for a job, never used twice in this process.
pub fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[derive(Debug, Default)]
struct State {
    waker: Option<Waker>,
    verdict: Option<Verdict>,
    /// Whom to tell when the value has been claimed.
    tell: Option<mpsc::UnboundedSender<Request>>,
    /// The value may be taken back: it belongs to the wire until it is claimed.
    lent: bool,
    /// The asker has left: a lent value now waits for the actor, not for the asker.
    left: bool,
}

#[derive(Debug, Default)]
struct Slot(Mutex<State>);

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, verdict: Verdict, lent: bool) {
        let mut state = self.state();
        state.verdict = Some(verdict);
        state.lent = lent;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The asking side.
#[derive(Debug)]
pub struct Ticket {
    id: u64,
    slot: Arc<Slot>,
    actor: Option<mpsc::UnboundedSender<Request>>,
    over: bool,
}

/// The answering side.
#[derive(Debug)]
pub struct Reply {
    slot: Arc<Slot>,
    link: Arc<str>,
    answered: bool,
}

/// A ticket and its reply. `actor` is told when the ticket is cancelled or dropped.
pub fn ticket(id: u64, link: &Arc<str>, actor: Option<mpsc::UnboundedSender<Request>>) -> (Ticket, Reply) {
    let slot = Arc::new(Slot::default());
    let reply = Reply { slot: slot.clone(), link: link.clone(), answered: false };
    (Ticket { id, slot, actor, over: false }, reply)
}

impl Pending for Ticket {
    fn poll_claim(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        let mut state = self.slot.state();
        let held_back = state.left && state.lent;
        match state.verdict.take() {
            Some(verdict) if !held_back => {
                self.over = true;
                if let Some(actor) = state.tell.take() {
                    // The actor may have ended meanwhile; then nobody waits for the news.
                    let _ = actor.send(Request::Claimed);
                }
                Poll::Ready(verdict)
            }
            other => {
                state.verdict = other;
                if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    state.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn cancel(&mut self) {
        self.slot.state().left = true;
        let heard = self.actor.as_ref().is_some_and(|actor| actor.send(Request::Cancel(self.id)).is_ok());
        if !heard {
            // The wire has ended, and with it whatever the value could be given back to.
            self.slot.state().lent = false;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.over {
            self.cancel();
        }
    }
}

impl Reply {
    /// Gives the verdict and wakes who waits.
    pub fn give(mut self, verdict: Verdict) {
        self.answered = true;
        self.slot.give(verdict, false);
    }

    /// Gives a value that may be taken back for as long as it is unclaimed.
    pub fn lend(mut self, answer: Answer) -> Lent {
        self.answered = true;
        self.slot.give(Ok(answer), true);
        Lent { slot: self.slot.clone() }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.answered {
            let about = Box::new(Evidence { link: self.link.clone(), ..Evidence::default() });
            let why = if is_unwinding() { "an internal error ended it; please report it" } else { "it was stopped" };
            self.slot.give(Err(LinkError::Closed { about, why: why.to_owned() }), false);
        }
    }
}

/// A value that was given and may not have been claimed yet.
#[derive(Debug)]
pub struct Lent {
    slot: Arc<Slot>,
}

impl Lent {
    /// Whether it is still unclaimed; if so, `actor` is told when it is claimed.
    pub fn is_unclaimed(&self, actor: &mpsc::UnboundedSender<Request>) -> bool {
        let mut state = self.slot.state();
        if state.verdict.is_some() {
            state.tell.get_or_insert_with(|| actor.clone());
        }
        state.verdict.is_some()
    }

    /// The wire has ended: whoever still wants the value may have it; who has left gets it as a value nobody needs.
    pub fn settle(&self) {
        let mut state = self.slot.state();
        state.lent = false;
        let waker = if state.left { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the value back and leaves a confirmed cancellation in its place. `None`: it was claimed.
    pub fn take_back(&self, about: Box<Evidence>) -> Option<Answer> {
        let mut state = self.slot.state();
        let answer = match state.verdict.take() {
            Some(Ok(answer)) => answer,
            other => {
                state.verdict = other;
                return None;
            }
        };
        state.verdict = Some(Err(LinkError::Cancelled { effect: Effect::NeverStarted, about }));
        state.lent = false;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Some(answer)
    }
}

/// What is known of a link without asking it.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Exchanges that got their answer.
    pub exchanges: u64,
    /// Bytes written.
    pub written: u64,
    /// Bytes read.
    pub read: u64,
    /// When the last byte went, either way.
    pub last: Option<Stamp>,
    /// Replies that came after nobody wanted them any more.
    pub late: u64,
    /// Messages nobody fetched in time.
    pub dropped: u64,
}

/// What anyone may look at while the actor works.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Whether something is being said, or waits to be.
    pub busy: AtomicBool,
    counts: Mutex<Counts>,
}

impl Gauge {
    /// The latest counts.
    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows new ones.
    pub fn show(&self, counts: &Counts) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone_from(counts);
    }
}
