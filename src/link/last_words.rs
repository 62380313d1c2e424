//! The last words of a session: the aborts of what was begun, and the parking. They are written and not answered.
//!
//! # Invariants
//! 1. A frame that was begun has [`BEFORE_CUTTING`] to go out whole before them, as before any abort: glued to half a command they are lost.
//! 2. A line that takes nothing of them by then is cleared, but not once their first byte went.
//! 3. They keep the pace of the line, and of the instrument.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};

use super::actor::Actor;
use super::conversation::{Conversation, Current};
use super::output::{BEFORE_CUTTING, Owner};
use super::trace::Direction;
use crate::clock::{Moment, Stamp};

/// What is still to be written.
pub struct LastWords {
    /// The rest of a frame that was begun.
    begun: Bytes,
    last: Bytes,
    /// Whether its first byte went.
    moves: bool,
    /// When a line that has taken nothing of `last` is cleared.
    cleared_at: Moment,
}

impl LastWords {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }
}

impl Conversation {
    /// What is to be said at the end of the session, which waits for no answers: what stops all that was begun and can be stopped, and
    /// then `park`.
    pub fn last_words(&mut self, park: Option<&Bytes>, now: Stamp) -> LastWords {
        let cleared_at = now.moment + BEFORE_CUTTING;
        if self.is_away() {
            return LastWords { begun: Bytes::new(), last: Bytes::new(), moves: false, cleared_at };
        }
        // Raw bytes have no frame to keep whole.
        let front = self.output.front().filter(|frame| frame.is_begun());
        let moves = front.is_some_and(|frame| frame.urgent && !matches!(frame.owner, Owner::Send(_)));
        let begun = front.filter(|frame| !moves && !frame.is_raw());
        let begun = begun.map_or_else(Bytes::new, |frame| frame.rest.clone());
        let mut last = BytesMut::new();
        self.output.aborts().for_each(|frame| last.extend_from_slice(&frame.rest));
        let current = match &self.current {
            Some(Current::Query(asked)) if asked.started.is_some() => asked.job.abort(),
            Some(Current::Talk(talk)) if talk.started.is_some() || self.output.is_sending(talk.id) => {
                talk.abort.as_deref()
            }
            _ => None,
        };
        for abort in self.flights.aborts().into_iter().chain(current) {
            last.extend_from_slice(&abort.frame);
        }
        if !last.is_empty() {
            self.trace.note(now, "what was under way is aborted, and its answer not awaited");
        }
        last.extend_from_slice(park.map_or(&[], |park| park));
        LastWords { begun, last: last.freeze(), moves, cleared_at }
    }
}

impl Actor {
    /// Writes `words` until `deadline`. Whether all of it went.
    pub async fn say_last(&mut self, mut words: LastWords, deadline: Moment) -> bool {
        poll_fn(|cx| self.poll_last_words(&mut words, deadline, cx)).await
    }

    fn poll_last_words(&mut self, words: &mut LastWords, deadline: Moment, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            let is_last = words.begun.is_empty();
            let rest = if is_last { &mut words.last } else { &mut words.begun };
            if rest.is_empty() {
                return Poll::Ready(true);
            }
            match self.poll_write(cx, rest) {
                Poll::Ready(Ok(n)) => {
                    let went = rest.split_to(n.min(rest.len()));
                    self.conversation.trace.wire(self.clock.stamp(), Direction::Out, went);
                    words.moves |= is_last;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending => {
                    let now = self.clock.now();
                    if now >= deadline {
                        return Poll::Ready(false);
                    }
                    if now >= words.cleared_at && !words.moves {
                        words.begun.clear();
                        self.pipe.discard_output();
                        self.pace.empty_at = now;
                        words.cleared_at = now + BEFORE_CUTTING;
                        continue;
                    }
                    let look = if words.moves { Moment::NEVER } else { words.cleared_at };
                    self.timer.set(deadline.min(look).min(self.pace.retry_at));
                    ready!(self.timer.poll_expired(cx));
                    self.pace.woken(self.clock.now());
                }
            }
        }
    }
}
