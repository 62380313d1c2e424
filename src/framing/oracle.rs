//! Asking the user's own code: a function of bytes that runs elsewhere, and whose answer may take its time.
//!
//! Who cuts a stream asks, goes on without an answer, is rung when it is there, and finds it when it asks again.
//!
//! # Invariants
//! 1. Asking never waits and never runs the user's code.
//! 2. A question that has been asked is not asked again until it was answered.
//! 3. A verdict that was handed out is forgotten: the same bytes, come again, are asked about again.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;

use crate::error::Cause;

/// What the user's code said, or raised.
pub type Verdict = Result<Bytes, Fault>;

/// What the user's code raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whose: "the framing's take()".
    pub what: String,
    /// In words.
    pub raised: String,
    /// The thing itself.
    pub cause: Cause,
    /// How many bytes it had removed by then.
    pub removed: usize,
}

/// A function of bytes to bytes that is not ours.
pub trait Oracle: Send + Sync {
    /// Whose it is, in words: "the framing's take()".
    fn name(&self) -> &str;

    /// Has it worked out elsewhere. Does not wait.
    fn ask(&self, question: Bytes, answer: Answer);

    /// Works it out here and now: for what is being sent, in its sender's own call.
    fn at_once(&self, question: &[u8]) -> Verdict;

    /// The same, for whoever is going to ask it: as long as it is kept, there is somebody to answer.
    fn engaged(self: Arc<Self>) -> Arc<dyn Oracle>;
}

/// More than one question is rare: whoever cuts the same stream has the same question.
const REMEMBERED: usize = 4;

/// What one link asks an oracle, and what it knows. Clones know the same.
#[derive(Clone)]
pub struct Inquiry {
    oracle: Arc<dyn Oracle>,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    ring: Option<Waker>,
    /// What was asked, oldest first, and what was said if anything was yet.
    asked: VecDeque<(Bytes, Option<Verdict>)>,
}

impl Inquiry {
    /// One that knows nothing yet.
    pub fn of(oracle: Arc<dyn Oracle>) -> Inquiry {
        Inquiry { oracle, known: Arc::default() }
    }

    /// Asks the same oracle, which is engaged for it, and shares nothing else.
    pub fn fresh(&self) -> Inquiry {
        Inquiry::of(self.oracle.clone().engaged())
    }

    /// Asks the same oracle, which answers on the spot: for whoever may run the user's code where they are.
    pub fn on_the_spot(&self) -> Inquiry {
        Inquiry::of(Arc::new(OnTheSpot(self.oracle.clone())))
    }

    /// Whose code it is, in words.
    pub fn name(&self) -> &str {
        self.oracle.name()
    }

    /// Who is to be rung from now on.
    pub fn attend(&self, ring: &Waker) {
        let mut known = self.known();
        if !known.ring.as_ref().is_some_and(|known| known.will_wake(ring)) {
            known.ring = Some(ring.clone());
        }
    }

    /// Whether something was asked that has not been answered.
    pub fn is_pending(&self) -> bool {
        self.known().asked.iter().any(|(_, verdict)| verdict.is_none())
    }

    /// What the oracle says of `question`, as soon as it does.
    pub fn ask(&self, question: &[u8]) -> Poll<Verdict> {
        self.ask_unless(question, |known, _| known == question).map(|(_, verdict)| {
            self.forget(question);
            verdict
        })
    }

    /// What the oracle said of a question for which `still_holds`, with its length; else of `question`. Stays known.
    pub(super) fn ask_unless(
        &self,
        question: &[u8],
        still_holds: impl Fn(&[u8], Option<&Verdict>) -> bool,
    ) -> Poll<(usize, Verdict)> {
        let find = || {
            let known = self.known();
            let found = known.asked.iter().find(|(asked, verdict)| still_holds(asked, verdict.as_ref()));
            found.map(|(asked, verdict)| match verdict {
                Some(verdict) => Poll::Ready((asked.len(), verdict.clone())),
                None => Poll::Pending,
            })
        };
        if let Some(found) = find() {
            return found;
        }
        let question = Bytes::copy_from_slice(question);
        {
            let mut known = self.known();
            while known.asked.len() >= REMEMBERED {
                known.asked.pop_front();
            }
            known.asked.push_back((question.clone(), None));
        }
        self.oracle.ask(question.clone(), Answer { known: self.known.clone(), question });
        // One that needs no time has answered by now.
        find().unwrap_or(Poll::Pending)
    }

    /// What was said of `question` has been used.
    pub(super) fn forget(&self, question: &[u8]) {
        self.known().asked.retain(|(asked, _)| asked != question);
    }

    /// See [`Oracle::at_once`].
    pub fn at_once(&self, question: &[u8]) -> Verdict {
        self.oracle.at_once(question)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct OnTheSpot(Arc<dyn Oracle>);

impl Oracle for OnTheSpot {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn ask(&self, question: Bytes, answer: Answer) {
        let verdict = self.0.at_once(&question);
        answer.give(verdict);
    }

    fn at_once(&self, question: &[u8]) -> Verdict {
        self.0.at_once(question)
    }

    fn engaged(self: Arc<Self>) -> Arc<dyn Oracle> {
        self
    }
}

impl fmt::Debug for Inquiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inquiry({})", self.name())
    }
}

impl PartialEq for Inquiry {
    fn eq(&self, other: &Inquiry) -> bool {
        Arc::ptr_eq(&self.known, &other.known)
    }
}

impl Eq for Inquiry {}

/// Where an answer goes.
pub struct Answer {
    known: Arc<Mutex<Known>>,
    question: Bytes,
}

impl Answer {
    /// The oracle has spoken: rings whoever attends.
    pub fn give(self, verdict: Verdict) {
        let ring = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let asked = known.asked.iter_mut().find(|(asked, verdict)| *asked == self.question && verdict.is_none());
            // Pushed out by newer questions: whoever needs it asks again.
            if let Some((_, slot)) = asked {
                *slot = Some(verdict);
            }
            known.ring.clone()
        };
        if let Some(ring) = ring {
            ring.wake();
        }
    }
}
